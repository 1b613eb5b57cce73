//! Cancels, and what nodes answered to them.

use std::collections::BTreeMap;

use countersign_policy::statement::StopOutcome;
use countersign_policy::{Envelope, Hash, MemberId};

use super::requests::{change_state, insert_event, load};
use super::tx::{Value, to_json};
use super::{Change, Datastore, DbError, StoredRequest};
use crate::lifecycle::State;

/// A node's acknowledgement.
#[derive(Debug, Clone)]
pub struct StoredAck {
    /// What it did.
    pub outcome: StopOutcome,
    /// The stop-ack statement.
    pub envelope: Envelope,
}

impl Datastore {
    /// Stores a cancel and turns the request to STOPPING, whoever works on it; whoever does notices by the revision. A
    /// final request stays as it is.
    pub(crate) async fn begin_stop(
        &self,
        id: Hash,
        cancel: &Envelope,
        stopping: &State,
    ) -> Result<Option<StoredRequest>, DbError> {
        self.run_tx("begin_stop", &(id, cancel, stopping), |tx, &(id, cancel, stopping)| Box::pin(async move {
            let Some(request) = load(tx, id).await? else {
                return Ok(None);
            };
            if request.state.is_final() {
                return Ok(Some(request));
            }
            let changed = if matches!(request.state, State::Stopping { .. }) {
                request
            } else {
                let changed = change_state(tx, None, &request, stopping, &Change::default()).await?;
                let at = changed.updated_at.as_millis();
                insert_event(tx, &id, at, stopping.name().as_str(), &stopping.describe()).await?;
                // One that waits for people is let go of until then: now somebody is to work on it.
                tx.execute(
                    "UPDATE requests SET lease_until = 0 WHERE id = $1 AND claimed_by IS NULL",
                    &[Value::Text(&id.to_hex())],
                )
                .await?;
                changed
            };
            tx.execute(
                "INSERT INTO cancels (request_id, digest, envelope, created_at) VALUES ($1, $2, $3, $4) \
                 ON CONFLICT DO NOTHING",
                &[
                    Value::Text(&id.to_hex()),
                    Value::Text(&cancel.digest().to_hex()),
                    Value::Text(&to_json(cancel)?),
                    Value::Int(changed.updated_at.as_millis()),
                ],
            )
            .await?;
            Ok(Some(changed))
        }))
        .await
    }

    /// Stores another cancel of a request that is stopping already (the one before is about to expire).
    pub(crate) async fn add_cancel(&self, id: Hash, cancel: &Envelope) -> Result<(), DbError> {
        self.run_tx("add_cancel", &(id, cancel), |tx, &(id, cancel)| Box::pin(async move {
            let now = tx.now().await?;
            tx.execute(
                "INSERT INTO cancels (request_id, digest, envelope, created_at) VALUES ($1, $2, $3, $4) \
                 ON CONFLICT DO NOTHING",
                &[
                    Value::Text(&id.to_hex()),
                    Value::Text(&cancel.digest().to_hex()),
                    Value::Text(&to_json(cancel)?),
                    Value::Int(now),
                ],
            )
            .await
            .map(|_| ())
        }))
        .await
    }

    /// The cancels of a request, newest first.
    pub async fn cancels(&self, id: Hash) -> Result<Vec<Envelope>, DbError> {
        self.run_read("cancels", &(id,), |tx, &(id,)| Box::pin(async move {
            let sql = "SELECT envelope FROM cancels WHERE request_id = $1 ORDER BY created_at DESC, digest";
            let rows = tx.query(sql, &[Value::Text(&id.to_hex())]).await?;
            rows.iter().map(|row| row.json("envelope")).collect()
        }))
        .await
    }

    /// Keeps verified acknowledgements. `stopped` is for ever; a `released` is only replaced by `stopped`.
    pub(crate) async fn store_acks(
        &self,
        id: Hash,
        acks: &BTreeMap<MemberId, StoredAck>,
    ) -> Result<(), DbError> {
        if acks.is_empty() {
            return Ok(());
        }
        self.run_tx("store_acks", &(id, acks), |tx, &(id, acks)| {
            Box::pin(async move {
                let now = tx.now().await?;
                for (node, ack) in acks {
                    tx.execute(
                        "INSERT INTO stop_acks (request_id, node, outcome, envelope, created_at) \
                     VALUES ($1, $2, $3, $4, $5) \
                     ON CONFLICT (request_id, node) DO UPDATE SET outcome = excluded.outcome, \
                       envelope = excluded.envelope, created_at = excluded.created_at \
                     WHERE stop_acks.outcome <> 'stopped'",
                        &[
                            Value::Text(&id.to_hex()),
                            Value::Text(node.as_str()),
                            Value::Text(outcome_name(ack.outcome)),
                            Value::Text(&to_json(&ack.envelope)?),
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

    /// The acknowledgements of a request by node.
    pub async fn acks(&self, id: Hash) -> Result<BTreeMap<MemberId, StoredAck>, DbError> {
        self.run_read("acks", &(id,), |tx, &(id,)| {
            Box::pin(async move {
                let sql = "SELECT node, outcome, envelope FROM stop_acks WHERE request_id = $1";
                let rows = tx.query(sql, &[Value::Text(&id.to_hex())]).await?;
                rows.iter()
                    .map(|row| {
                        let outcome = match row.text("outcome")?.as_str() {
                            "stopped" => StopOutcome::Stopped,
                            "released" => StopOutcome::Released,
                            other => return Err(DbError::corrupt(format!("stop outcome {other}"))),
                        };
                        Ok((
                            row.parse("node")?,
                            StoredAck {
                                outcome,
                                envelope: row.json("envelope")?,
                            },
                        ))
                    })
                    .collect()
            })
        })
        .await
    }
}

const fn outcome_name(outcome: StopOutcome) -> &'static str {
    match outcome {
        StopOutcome::Stopped => "stopped",
        StopOutcome::Released => "released",
    }
}
