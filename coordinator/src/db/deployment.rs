//! Policy bundles, ceremonies, and the records of operations that belong to no request. The records move into the
//! transparency log when that arrives.

use std::collections::BTreeMap;

use countersign_policy::{Envelope, Hash, KeyId, Timestamp};

use super::tx::{Value, to_json};
use super::{Datastore, DbError};

/// A bundle as stored.
#[derive(Debug, Clone)]
pub struct StoredBundle {
    /// Its digest.
    pub digest: Hash,
    /// Its version.
    pub version: u64,
    /// The statement.
    pub envelope: Envelope,
    /// The transcripts that came with it.
    pub transcripts: Vec<Envelope>,
    /// Whether enough nodes follow it.
    pub activated: bool,
}

/// One operation that is not a request's: a refused statement, a bundle, a ceremony.
#[derive(Debug, Clone)]
pub struct AuditRecord {
    /// When.
    pub at: Timestamp,
    /// What was attempted.
    pub operation: String,
    /// A digest or name.
    pub subject: String,
    /// Who.
    pub member: String,
    /// How it ended.
    pub outcome: String,
    /// For people.
    pub detail: String,
}

impl Datastore {
    /// Keeps a bundle that was verified. Repeating it adds transcripts, if there were none.
    pub(crate) async fn store_bundle(&self, bundle: &StoredBundle) -> Result<(), DbError> {
        self.run_tx("store_bundle", &(bundle,), |tx, &(bundle,)| Box::pin(async move {
            let now = tx.now().await?;
            tx.execute(
                "INSERT INTO bundles (digest, version, envelope, transcripts, received_at, activated_at) \
                 VALUES ($1, $2, $3, $4, $5, $6) \
                 ON CONFLICT (digest) DO UPDATE SET transcripts = excluded.transcripts \
                 WHERE bundles.transcripts = '[]'",
                &[
                    Value::Text(&bundle.digest.to_hex()),
                    Value::Int(i64::try_from(bundle.version).map_err(DbError::corrupt)?),
                    Value::Text(&to_json(&bundle.envelope)?),
                    Value::Text(&to_json(&bundle.transcripts)?),
                    Value::Int(now),
                    Value::OptInt(bundle.activated.then_some(now)),
                ],
            )
            .await
            .map(|_| ())
        }))
        .await
    }

    /// Marks a stored bundle as the active one of its version.
    pub(crate) async fn activate_bundle(&self, digest: Hash) -> Result<(), DbError> {
        self.run_tx("activate_bundle", &(digest,), |tx, &(digest,)| {
            Box::pin(async move {
                let now = tx.now().await?;
                tx.execute(
                "UPDATE bundles SET activated_at = COALESCE(activated_at, $2) WHERE digest = $1",
                &[Value::Text(&digest.to_hex()), Value::Int(now)],
            )
            .await
            .map(|_| ())
            })
        })
        .await
    }

    /// The bundles above `version`, oldest first; those that wait for nodes come with `activated` false.
    pub(crate) async fn bundles_above(&self, version: u64) -> Result<Vec<StoredBundle>, DbError> {
        let version = i64::try_from(version).map_err(DbError::corrupt)?;
        self.run_read("bundles_above", &(version,), |tx, &(version,)| Box::pin(async move {
            let sql = "SELECT digest, version, envelope, transcripts, activated_at FROM bundles \
                       WHERE version > $1 ORDER BY version, received_at";
            let rows = tx.query(sql, &[Value::Int(version)]).await?;
            rows.iter()
                .map(|row| {
                    Ok(StoredBundle {
                        digest: row.parse("digest")?,
                        version: u64::try_from(row.int("version")?).map_err(DbError::corrupt)?,
                        envelope: row.json("envelope")?,
                        transcripts: row.json("transcripts")?,
                        activated: row.opt_int("activated_at")?.is_some(),
                    })
                })
                .collect()
        }))
        .await
    }

    /// When each bundle was followed by a coordinator of this database, by digest; those that were not have no time.
    pub(crate) async fn activation_times(
        &self,
    ) -> Result<BTreeMap<Hash, Option<Timestamp>>, DbError> {
        self.run_read("activation_times", &(), |tx, &()| {
            Box::pin(async move {
                let rows = tx
                    .query("SELECT digest, activated_at FROM bundles", &[])
                    .await?;
                rows.iter()
                    .map(|row| {
                        let at = row.opt_int("activated_at")?;
                        Ok((row.parse("digest")?, at.map(Timestamp::from_millis)))
                    })
                    .collect()
            })
        })
        .await
    }

    /// Keeps a ceremony order.
    pub(crate) async fn store_ceremony(
        &self,
        key: &KeyId,
        order: &Envelope,
    ) -> Result<(), DbError> {
        self.run_tx("store_ceremony", &(key, order), |tx, &(key, order)| Box::pin(async move {
            let now = tx.now().await?;
            tx.execute(
                "INSERT INTO ceremonies (digest, key_id, order_envelope, created_at) VALUES ($1, $2, $3, $4) \
                 ON CONFLICT DO NOTHING",
                &[
                    Value::Text(&order.digest().to_hex()),
                    Value::Text(key.as_str()),
                    Value::Text(&to_json(order)?),
                    Value::Int(now),
                ],
            )
            .await
            .map(|_| ())
        }))
        .await
    }

    /// A ceremony order by its digest.
    pub(crate) async fn ceremony(&self, digest: Hash) -> Result<Option<Envelope>, DbError> {
        self.run_read("ceremony", &(digest,), |tx, &(digest,)| {
            Box::pin(async move {
                let sql = "SELECT order_envelope FROM ceremonies WHERE digest = $1";
                let row = tx.query_one(sql, &[Value::Text(&digest.to_hex())]).await?;
                row.map(|row| row.json("order_envelope")).transpose()
            })
        })
        .await
    }

    /// Appends a record.
    pub(crate) async fn audit(&self, id: &str, record: &AuditRecord) -> Result<(), DbError> {
        let detail: String = record.detail.chars().take(2000).collect();
        let detail = detail.as_str();
        self.run_tx(
            "audit",
            &(id, record, detail),
            |tx, &(id, record, detail)| {
                Box::pin(async move {
                    tx.execute(
                "INSERT INTO audit_records (id, at, operation, subject, member, outcome, detail) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7)",
                &[
                    Value::Text(id),
                    Value::Int(record.at.as_millis()),
                    Value::Text(&record.operation),
                    Value::Text(&record.subject),
                    Value::Text(&record.member),
                    Value::Text(&record.outcome),
                    Value::Text(detail),
                ],
            )
            .await
            .map(|_| ())
                })
            },
        )
        .await
    }

    /// The newest records.
    pub async fn audit_records(&self, limit: u32) -> Result<Vec<AuditRecord>, DbError> {
        self.run_read("audit_records", &(limit,), |tx, &(limit,)| Box::pin(async move {
            let sql = "SELECT at, operation, subject, member, outcome, detail FROM audit_records \
                       ORDER BY at DESC, id LIMIT $1";
            let rows = tx.query(sql, &[Value::Int(i64::from(limit))]).await?;
            rows.iter()
                .map(|row| {
                    Ok(AuditRecord {
                        at: Timestamp::from_millis(row.int("at")?),
                        operation: row.text("operation")?,
                        subject: row.text("subject")?,
                        member: row.text("member")?,
                        outcome: row.text("outcome")?,
                        detail: row.text("detail")?,
                    })
                })
                .collect()
        }))
        .await
    }
}
