//! Leases: which coordinator process works on which request. They are by the database's clock. A lease only saves double
//! work; that a request is never signed twice is the signers' ledger's doing.

use countersign_policy::Hash;

use super::requests::{load, read};
use super::tx::Value;
use super::{Datastore, DbError, StoredRequest};

/// The name of one coordinator process and how long its leases last.
#[derive(Debug, Clone)]
pub struct Lease {
    instance: String,
    millis: i64,
}

impl Lease {
    /// For one process: `instance` is never used again by another one.
    pub fn new(instance: String, millis: i64) -> Self {
        Self { instance, millis }
    }

    /// The process.
    pub fn instance(&self) -> &str {
        &self.instance
    }

    pub(super) fn until(&self, now: i64) -> i64 {
        now.saturating_add(self.millis)
    }
}

impl Datastore {
    /// Takes over up to `limit` unfinished requests that nobody works on.
    pub(crate) async fn claim_due(
        &self,
        lease: &Lease,
        limit: i64,
    ) -> Result<Vec<StoredRequest>, DbError> {
        self.run_tx("claim_due", &(lease, limit), |tx, &(lease, limit)| Box::pin(async move {
            let now = tx.now().await?;
            let sql = tx.pick(
                "SELECT id, initiator, external_id, wallet, key_id, network, envelope, facts, state, state_data, \
                   attempt, revision, created_at, updated_at, expires_at FROM requests \
                 WHERE state IN ('RECEIVED', 'PENDING_APPROVAL', 'AUTHORIZED', 'SIGNING', 'STOPPING') \
                   AND lease_until < $1 ORDER BY lease_until LIMIT $2",
                "SELECT id, initiator, external_id, wallet, key_id, network, envelope, facts, state, state_data, \
                   attempt, revision, created_at, updated_at, expires_at FROM requests \
                 WHERE state IN ('RECEIVED', 'PENDING_APPROVAL', 'AUTHORIZED', 'SIGNING', 'STOPPING') \
                   AND lease_until < $1 ORDER BY lease_until LIMIT $2 FOR UPDATE SKIP LOCKED",
            );
            let rows = tx.query(sql, &[Value::Int(now), Value::Int(limit)]).await?;
            let requests = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
            for request in &requests {
                tx.execute(
                    "UPDATE requests SET claimed_by = $2, lease_until = $3 WHERE id = $1",
                    &[
                        Value::Text(&request.id.to_hex()),
                        Value::Text(lease.instance()),
                        Value::Int(lease.until(now)),
                    ],
                )
                .await?;
            }
            Ok(requests)
        }))
        .await
    }

    /// Takes over one request if nobody else works on it.
    pub(crate) async fn claim(
        &self,
        lease: &Lease,
        id: Hash,
    ) -> Result<Option<StoredRequest>, DbError> {
        self.run_tx("claim", &(lease, id), |tx, &(lease, id)| Box::pin(async move {
            let now = tx.now().await?;
            let claimed = tx
                .execute(
                    "UPDATE requests SET claimed_by = $2, lease_until = $3 \
                     WHERE id = $1 AND (lease_until < $4 OR claimed_by = $2 OR (claimed_by IS NULL AND state = 'SIGNING')) \
                       AND state IN ('RECEIVED', 'PENDING_APPROVAL', 'AUTHORIZED', 'SIGNING', 'STOPPING')",
                    &[
                        Value::Text(&id.to_hex()),
                        Value::Text(lease.instance()),
                        Value::Int(lease.until(now)),
                        Value::Int(now),
                    ],
                )
                .await?;
            if claimed == 0 { Ok(None) } else { load(tx, id).await }
        }))
        .await
    }

    /// Keeps the leases of the requests that this process works on. Returns those that are lost.
    pub(crate) async fn renew(&self, lease: &Lease, ids: &[Hash]) -> Result<Vec<Hash>, DbError> {
        self.run_tx("renew", &(lease, ids), |tx, &(lease, ids)| {
            Box::pin(async move {
                let now = tx.now().await?;
                let mut lost = Vec::new();
                for id in ids {
                    let renewed = tx
                    .execute(
                        "UPDATE requests SET lease_until = $3 WHERE id = $1 AND claimed_by = $2",
                        &[
                            Value::Text(&id.to_hex()),
                            Value::Text(lease.instance()),
                            Value::Int(lease.until(now)),
                        ],
                    )
                    .await?;
                    if renewed == 0 {
                        lost.push(*id);
                    }
                }
                Ok(lost)
            })
        })
        .await
    }

    /// Gives back everything that this process holds.
    pub(crate) async fn release_all(&self, lease: &Lease) -> Result<u64, DbError> {
        self.run_tx("release_all", &(lease,), |tx, &(lease,)| Box::pin(async move {
            tx.execute(
                "UPDATE requests SET claimed_by = NULL, lease_until = 0 WHERE claimed_by = $1 \
                   AND state IN ('RECEIVED', 'PENDING_APPROVAL', 'AUTHORIZED', 'SIGNING', 'STOPPING')",
                &[Value::Text(lease.instance())],
            )
            .await
        }))
        .await
    }

    /// The revision of a request, to notice that somebody changed it.
    pub(crate) async fn revision(&self, id: Hash) -> Result<i64, DbError> {
        self.run_read("revision", &(id,), |tx, &(id,)| {
            Box::pin(async move {
                let sql = "SELECT revision FROM requests WHERE id = $1";
                match tx.query_one(sql, &[Value::Text(&id.to_hex())]).await? {
                    Some(row) => row.int("revision"),
                    None => Err(DbError::corrupt("a request vanished")),
                }
            })
        })
        .await
    }
}
