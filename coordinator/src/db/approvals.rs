//! What officers said about requests. Their statements are only added, never changed: whether one still counts is decided
//! whenever a request is.

use countersign_policy::{Envelope, Hash, MemberId, Timestamp};

use super::requests::{insert_event, load};
use super::tx::{Value, to_json};
use super::{Datastore, DbError, StoredRequest};
use crate::lifecycle::State;

/// An approval or rejection as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredApproval {
    /// Digest of the statement.
    pub digest: Hash,
    /// The officer.
    pub member: MemberId,
    /// Whether it approves; otherwise it rejects.
    pub approves: bool,
    /// The bundle it was given under.
    pub bundle: Hash,
    /// The statement.
    pub envelope: Envelope,
    /// When it came, by the database's clock.
    pub created_at: Timestamp,
}

/// An approval that was verified just now.
#[derive(Debug)]
pub(crate) struct NewApproval<'a> {
    pub(crate) request: Hash,
    pub(crate) digest: Hash,
    pub(crate) member: &'a MemberId,
    pub(crate) approves: bool,
    pub(crate) bundle: Hash,
    pub(crate) envelope: &'a Envelope,
}

impl Datastore {
    /// Adds an approval and wakes whoever waits for it: the request's revision moves, and a request that nobody holds is
    /// due at once. Returns the request, and whether the approval is new. A final request takes none.
    pub(crate) async fn add_approval(
        &self,
        new: &NewApproval<'_>,
    ) -> Result<Option<(StoredRequest, bool)>, DbError> {
        self.run_tx("add_approval", &(new,), |tx, &(new,)| {
            Box::pin(async move {
                let Some(request) = load(tx, new.request).await? else {
                    return Ok(None);
                };
                if request.state.is_final() {
                    return Ok(Some((request, false)));
                }
                let now = tx.now().await?;
                let verdict = if new.approves { "approve" } else { "reject" };
                let inserted = tx
                    .execute(
                        "INSERT INTO approvals (request_id, digest, member, verdict, bundle, envelope, created_at) \
                         VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING",
                        &[
                            Value::Text(&new.request.to_hex()),
                            Value::Text(&new.digest.to_hex()),
                            Value::Text(new.member.as_str()),
                            Value::Text(verdict),
                            Value::Text(&new.bundle.to_hex()),
                            Value::Text(&to_json(new.envelope)?),
                            Value::Int(now),
                        ],
                    )
                    .await?;
                if inserted == 0 {
                    return Ok(Some((request, false)));
                }
                // The row first: of two approvals at once one waits, and begins again with what the other wrote.
                let waits = matches!(request.state, State::PendingApproval(_));
                tx.execute(
                    "UPDATE requests SET revision = revision + $2, \
                       lease_until = CASE WHEN claimed_by IS NULL THEN 0 ELSE lease_until END WHERE id = $1",
                    &[
                        Value::Text(&new.request.to_hex()),
                        Value::Int(i64::from(waits)),
                    ],
                )
                .await?;
                let said = if new.approves { "approved" } else { "rejected" };
                let detail = format!("{said} by {}: statement {}", new.member, new.digest);
                let state = request.state.name().as_str();
                insert_event(tx, &new.request, now, state, &detail).await?;
                let request = load(tx, new.request).await?;
                Ok(request.map(|request| (request, true)))
            })
        })
        .await
    }

    /// The approvals and rejections of a request, oldest first.
    pub async fn approvals(&self, id: Hash) -> Result<Vec<StoredApproval>, DbError> {
        self.run_read("approvals", &(id,), |tx, &(id,)| {
            Box::pin(async move {
                let sql = "SELECT digest, member, verdict, bundle, envelope, created_at FROM approvals \
                           WHERE request_id = $1 ORDER BY created_at, digest";
                let rows = tx.query(sql, &[Value::Text(&id.to_hex())]).await?;
                rows.iter()
                    .map(|row| {
                        Ok(StoredApproval {
                            digest: row.parse("digest")?,
                            member: row.parse("member")?,
                            approves: match row.text("verdict")?.as_str() {
                                "approve" => true,
                                "reject" => false,
                                other => return Err(DbError::corrupt(format!("verdict {other}"))),
                            },
                            bundle: row.parse("bundle")?,
                            envelope: row.json("envelope")?,
                            created_at: Timestamp::from_millis(row.int("created_at")?),
                        })
                    })
                    .collect()
            })
        })
        .await
    }

    /// Lets go of a request that waits for people (their approvals, or a machine that they carry it to), with a word on what it waits for; it is taken up again when something
    /// about it changes, and at `until`. False when it changed meanwhile, or is another process's: then nothing was done.
    pub(crate) async fn park(
        &self,
        request: &StoredRequest,
        instance: &str,
        until: Timestamp,
    ) -> Result<bool, DbError> {
        self.run_tx("park", &(request, instance, until), |tx, &(request, instance, until)| {
            Box::pin(async move {
                let parked = tx
                    .execute(
                        "UPDATE requests SET claimed_by = NULL, lease_until = $4 \
                         WHERE id = $1 AND revision = $2 AND claimed_by = $3 AND state IN ('PENDING_APPROVAL', 'SIGNING')",
                        &[
                            Value::Text(&request.id.to_hex()),
                            Value::Int(request.revision),
                            Value::Text(instance),
                            Value::Int(until.as_millis()),
                        ],
                    )
                    .await?;
                Ok(parked > 0)
            })
        })
        .await
    }

    /// Makes every request that waits for people due at once: the bundle or the freezes changed, so each is decided again.
    pub(crate) async fn wake_pending(&self) -> Result<u64, DbError> {
        self.run_tx("wake_pending", &(), |tx, &()| {
            Box::pin(async move {
                tx.execute(
                    "UPDATE requests SET lease_until = 0 WHERE state IN ('PENDING_APPROVAL', 'SIGNING') AND claimed_by IS NULL",
                    &[],
                )
                .await
            })
        })
        .await
    }
}
