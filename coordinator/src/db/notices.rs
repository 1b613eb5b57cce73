//! Statements that every node has to know (freezes, unfreezes, observations, vetoes), and which nodes have them.

use std::collections::BTreeSet;

use countersign_policy::{Envelope, Hash, MemberId, Timestamp};

use super::tx::{Row, Value, to_json};
use super::{Datastore, DbError};

/// The kinds of notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum NoticeKind {
    /// An officer, or a node, stops something.
    Freeze,
    /// A quorum of officers ends freezes.
    Unfreeze,
    /// A quorum of chain observers says what became of a transaction.
    Observation,
    /// A policy approver stops a bundle.
    Veto,
}

impl NoticeKind {
    const ALL: [NoticeKind; 4] = [Self::Freeze, Self::Unfreeze, Self::Observation, Self::Veto];

    /// The name in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Freeze => "freeze",
            Self::Unfreeze => "unfreeze",
            Self::Observation => "observation",
            Self::Veto => "veto",
        }
    }
}

/// A notice as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Digest of the statement.
    pub digest: Hash,
    /// Its kind.
    pub kind: NoticeKind,
    /// What it is about.
    pub subject: String,
    /// Who issued it.
    pub member: MemberId,
    /// The statement.
    pub envelope: Envelope,
    /// When it came, by the database's clock.
    pub created_at: Timestamp,
}

impl Datastore {
    /// Keeps a verified notice that `nodes` have to be given. False when it is known.
    pub(crate) async fn add_notice(
        &self,
        kind: NoticeKind,
        subject: &str,
        member: &MemberId,
        envelope: &Envelope,
        nodes: &[MemberId],
    ) -> Result<bool, DbError> {
        self.run_tx(
            "add_notice",
            &(kind, subject, member, envelope, nodes),
            |tx, &(kind, subject, member, envelope, nodes)| {
                Box::pin(async move {
                    let now = tx.now().await?;
                    let inserted = tx
                        .execute(
                            "INSERT INTO notices (digest, kind, subject, member, envelope, created_at) \
                             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
                            &[
                                Value::Text(&envelope.digest().to_hex()),
                                Value::Text(kind.as_str()),
                                Value::Text(subject),
                                Value::Text(member.as_str()),
                                Value::Text(&to_json(envelope)?),
                                Value::Int(now),
                            ],
                        )
                        .await?;
                    for node in nodes.iter().filter(|_| inserted > 0) {
                        tx.execute(
                            "INSERT INTO deliveries (digest, node) VALUES ($1, $2) ON CONFLICT DO NOTHING",
                            &[
                                Value::Text(&envelope.digest().to_hex()),
                                Value::Text(node.as_str()),
                            ],
                        )
                        .await?;
                    }
                    Ok(inserted > 0)
                })
            },
        )
        .await
    }

    /// All notices of a kind, oldest first.
    pub async fn notices(&self, kind: NoticeKind) -> Result<Vec<Notice>, DbError> {
        self.run_read("notices", &(kind,), |tx, &(kind,)| {
            Box::pin(async move {
                let sql = "SELECT digest, kind, subject, member, envelope, created_at FROM notices \
                           WHERE kind = $1 ORDER BY created_at, digest";
                let rows = tx.query(sql, &[Value::Text(kind.as_str())]).await?;
                rows.iter().map(read).collect()
            })
        })
        .await
    }

    /// How many freezes and unfreezes there are: a coordinator that knows fewer reads them again.
    pub(crate) async fn count_freezes(&self) -> Result<i64, DbError> {
        self.run_read("count_freezes", &(), |tx, &()| {
            Box::pin(async move {
                let sql =
                    "SELECT COUNT(*) AS count FROM notices WHERE kind IN ('freeze', 'unfreeze')";
                let row = tx.query_one(sql, &[]).await?;
                row.ok_or_else(|| DbError::corrupt("no count"))?
                    .int("count")
            })
        })
        .await
    }

    /// Up to `limit` notices that `node` has not acknowledged, oldest first.
    pub(crate) async fn undelivered(
        &self,
        node: &MemberId,
        limit: i64,
    ) -> Result<Vec<Notice>, DbError> {
        self.run_read("undelivered", &(node, limit), |tx, &(node, limit)| {
            Box::pin(async move {
                let sql = "SELECT notices.digest, kind, subject, member, envelope, created_at \
                           FROM deliveries JOIN notices ON notices.digest = deliveries.digest \
                           WHERE deliveries.node = $1 AND deliveries.delivered_at IS NULL \
                           ORDER BY created_at, notices.digest LIMIT $2";
                let rows = tx
                    .query(sql, &[Value::Text(node.as_str()), Value::Int(limit)])
                    .await?;
                rows.iter().map(read).collect()
            })
        })
        .await
    }

    /// Remembers that nodes have a notice.
    pub(crate) async fn delivered(
        &self,
        digest: Hash,
        nodes: &BTreeSet<MemberId>,
    ) -> Result<(), DbError> {
        if nodes.is_empty() {
            return Ok(());
        }
        self.run_tx("delivered", &(digest, nodes), |tx, &(digest, nodes)| {
            Box::pin(async move {
                let now = tx.now().await?;
                for node in nodes {
                    tx.execute(
                        "INSERT INTO deliveries (digest, node, delivered_at) VALUES ($1, $2, $3) \
                         ON CONFLICT (digest, node) DO UPDATE SET delivered_at = excluded.delivered_at \
                         WHERE deliveries.delivered_at IS NULL",
                        &[
                            Value::Text(&digest.to_hex()),
                            Value::Text(node.as_str()),
                            Value::Int(now),
                        ],
                    )
                    .await?;
                }
                Ok(())
            })
        })
        .await
    }

    /// The nodes that have a notice.
    pub async fn deliveries(&self, digest: Hash) -> Result<BTreeSet<MemberId>, DbError> {
        self.run_read("deliveries", &(digest,), |tx, &(digest,)| {
            Box::pin(async move {
                let sql =
                    "SELECT node FROM deliveries WHERE digest = $1 AND delivered_at IS NOT NULL";
                let rows = tx.query(sql, &[Value::Text(&digest.to_hex())]).await?;
                rows.iter().map(|row| row.parse("node")).collect()
            })
        })
        .await
    }
}

fn read(row: &Row) -> Result<Notice, DbError> {
    let name = row.text("kind")?;
    let kind = NoticeKind::ALL.into_iter().find(|k| k.as_str() == name);
    Ok(Notice {
        digest: row.parse("digest")?,
        kind: kind.ok_or_else(|| DbError::corrupt(format!("notice kind {name}")))?,
        subject: row.text("subject")?,
        member: row.parse("member")?,
        envelope: row.json("envelope")?,
        created_at: Timestamp::from_millis(row.int("created_at")?),
    })
}
