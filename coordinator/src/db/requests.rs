//! Sign requests: changed only by the coordinator that holds the lease (or by a cancel), each change with its event.

use countersign_policy::{Hash, Timestamp};

use super::model::Change;
use super::tx::{Row, Value, to_json};
use super::{
    Datastore, DbError, Event, Filter, Lease, NewAttempt, Page, PageCursor, StoredAttempt,
    StoredRequest, Tx,
};
use crate::lifecycle::{State, StateName};

impl Datastore {
    /// One request.
    pub async fn request(&self, id: Hash) -> Result<Option<StoredRequest>, DbError> {
        self.run_read("request", &(id,), |tx, &(id,)| {
            Box::pin(async move { load(tx, id).await })
        })
        .await
    }

    /// The events of a request, oldest first.
    pub async fn events(&self, id: Hash) -> Result<Vec<Event>, DbError> {
        self.run_read("events", &(id,), |tx, &(id,)| Box::pin(async move {
            let sql = "SELECT at, state, detail FROM request_events WHERE request_id = $1 ORDER BY sequence";
            let rows = tx.query(sql, &[Value::Text(&id.to_hex())]).await?;
            rows.iter()
                .map(|row| {
                    Ok(Event {
                        at: Timestamp::from_millis(row.int("at")?),
                        state: row.text("state")?,
                        detail: row.text("detail")?,
                    })
                })
                .collect()
        }))
        .await
    }

    /// One page of the list; `limit` is at most 1000.
    pub async fn list(
        &self,
        filter: &Filter,
        after: Option<&PageCursor>,
        limit: u32,
    ) -> Result<Page, DbError> {
        let limit = i64::from(limit.clamp(1, 1000));
        self.run_read("list", &(filter, after, limit), |tx, &(filter, after, limit)| Box::pin(async move {
            let rows = tx.query(
                "SELECT id, initiator, external_id, wallet, key_id, network, envelope, facts, state, state_data, \
                   attempt, revision, created_at, updated_at, expires_at \
                 FROM requests \
                 WHERE (CAST($1 AS TEXT) IS NULL OR state = $1) \
                   AND (CAST($2 AS TEXT) IS NULL OR wallet = $2) \
                   AND (CAST($3 AS TEXT) IS NULL OR network = $3) \
                   AND (CAST($4 AS TEXT) IS NULL OR external_id = $4) \
                   AND (CAST($5 AS TEXT) IS NULL OR initiator = $5) \
                   AND (CAST($6 AS BIGINT) IS NULL OR created_at >= $6) \
                   AND (CAST($7 AS BIGINT) IS NULL OR created_at < $7 OR (created_at = $7 AND id < $8)) \
                 ORDER BY created_at DESC, id DESC LIMIT $9",
                &[
                    Value::OptText(filter.state.map(StateName::as_str)),
                    Value::OptText(filter.wallet.as_deref()),
                    Value::OptText(filter.network.as_deref()),
                    Value::OptText(filter.external_id.as_deref()),
                    Value::OptText(filter.initiator.as_deref()),
                    Value::OptInt(filter.created_after.map(Timestamp::as_millis)),
                    Value::OptInt(after.map(|c| c.created_at)),
                    Value::OptText(after.map(|c| c.id.as_str())),
                    // One more than asked for shows whether there is a next page.
                    Value::Int(limit.saturating_add(1)),
                ],
            ).await?;
            let mut requests = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
            let full = requests.len() > usize::try_from(limit).unwrap_or(usize::MAX);
            if full {
                requests.pop();
            }
            let next = requests.last().filter(|_| full).map(|last| PageCursor {
                created_at: last.created_at.as_millis(),
                id: last.id.to_hex(),
            });
            Ok(Page { requests, next })
        }))
        .await
    }

    /// The attempts of a request, oldest first.
    pub async fn attempts(&self, id: Hash) -> Result<Vec<StoredAttempt>, DbError> {
        self.run_read("attempts", &(id,), |tx, &(id,)| {
            Box::pin(async move {
                let sql = "SELECT attempt, authorization_envelope, receipts, outcome FROM attempts \
                       WHERE request_id = $1 ORDER BY attempt";
                let rows = tx.query(sql, &[Value::Text(&id.to_hex())]).await?;
                rows.iter()
                    .map(|row| {
                        let receipts = row.opt_text("receipts")?;
                        let receipts = receipts.map(|json| serde_json::from_str(&json)).transpose();
                        Ok(StoredAttempt {
                            attempt: count(row.int("attempt")?)?,
                            authorization: row.json("authorization_envelope")?,
                            receipts: receipts.map_err(DbError::corrupt)?,
                            outcome: row.opt_text("outcome")?,
                        })
                    })
                    .collect()
            })
        })
        .await
    }

    /// Changes the state of a request that this process holds. What it read before must still be so.
    ///
    /// # Errors
    /// [`DbError::LostLease`] when another process holds it, or it changed meanwhile: read it again.
    pub(crate) async fn advance(
        &self,
        lease: &Lease,
        request: &StoredRequest,
        next: &State,
        change: &Change<'_>,
    ) -> Result<StoredRequest, DbError> {
        self.run_tx(
            "advance",
            &(lease, request, next, change),
            |tx, &(lease, request, next, change)| {
                Box::pin(async move {
                    let changed = change_state(tx, Some(lease), request, next, change).await?;
                    for event in change.passed {
                        insert_event(
                            tx,
                            &request.id,
                            event.at.as_millis(),
                            &event.state,
                            &event.detail,
                        )
                        .await?;
                    }
                    let at = changed.updated_at.as_millis();
                    insert_event(tx, &request.id, at, next.name().as_str(), &next.describe())
                        .await?;
                    if change.receipts.is_some() || change.outcome.is_some() {
                        finish_attempt(tx, request, change).await?;
                    }
                    if let Some(attempt) = change.attempt {
                        insert_attempt(tx, &request.id, at, attempt).await?;
                    }
                    Ok(changed)
                })
            },
        )
        .await
    }

    /// Keeps what is known about an attempt without a change of state, and a new attempt of a request that is stopping.
    pub(crate) async fn record_attempt(
        &self,
        request: &StoredRequest,
        change: &Change<'_>,
    ) -> Result<(), DbError> {
        self.run_tx(
            "record_attempt",
            &(request, change),
            |tx, &(request, change)| {
                Box::pin(async move {
                    if change.receipts.is_some() || change.outcome.is_some() {
                        finish_attempt(tx, request, change).await?;
                    }
                    Ok(())
                })
            },
        )
        .await
    }
}

pub(super) async fn insert_attempt(
    tx: &mut Tx,
    id: &Hash,
    now: i64,
    attempt: &NewAttempt,
) -> Result<(), DbError> {
    tx.execute(
        "INSERT INTO attempts (request_id, attempt, authorization_envelope, created_at) VALUES ($1, $2, $3, $4)",
        &[
            Value::Text(&id.to_hex()),
            Value::Int(i64::from(attempt.attempt)),
            Value::Text(&to_json(&attempt.authorization)?),
            Value::Int(now),
        ],
    )
    .await
    .map(|_| ())
}

async fn finish_attempt(
    tx: &mut Tx,
    request: &StoredRequest,
    change: &Change<'_>,
) -> Result<(), DbError> {
    let receipts = change.receipts.map(to_json).transpose()?;
    tx.execute(
        "UPDATE attempts SET receipts = COALESCE($3, receipts), outcome = COALESCE($4, outcome) \
         WHERE request_id = $1 AND attempt = $2",
        &[
            Value::Text(&request.id.to_hex()),
            Value::Int(i64::from(request.attempt)),
            Value::OptText(receipts.as_deref()),
            Value::OptText(change.outcome),
        ],
    )
    .await
    .map(|_| ())
}

/// Appends an event. What events say is written in the same transaction as what they tell of.
pub(super) async fn insert_event(
    tx: &mut Tx,
    id: &Hash,
    at: i64,
    state: &str,
    detail: &str,
) -> Result<(), DbError> {
    let detail: String = detail.chars().take(2000).collect();
    tx.execute(
        "INSERT INTO request_events (request_id, sequence, at, state, detail) \
         SELECT CAST($1 AS TEXT), COALESCE(MAX(sequence), 0) + 1, CAST($2 AS BIGINT), CAST($3 AS TEXT), CAST($4 AS TEXT) \
         FROM request_events WHERE request_id = $1",
        &[Value::Text(&id.to_hex()), Value::Int(at), Value::Text(state), Value::Text(&detail)],
    )
    .await
    .map(|_| ())
}

/// Writes the next state over exactly the row that was read. With a lease, only while it is held.
pub(super) async fn change_state(
    tx: &mut Tx,
    lease: Option<&Lease>,
    request: &StoredRequest,
    next: &State,
    change: &Change<'_>,
) -> Result<StoredRequest, DbError> {
    let (from, to) = (request.state.name(), next.name());
    if !from.may_become(to) {
        return Err(DbError::Transition {
            from: from.as_str(),
            to: to.as_str(),
        });
    }
    let now = tx.now().await?;
    let attempt = change.attempt.map_or(request.attempt, |a| a.attempt);
    let facts = change.facts.map(to_json).transpose()?;
    let changed = tx
        .execute(
            "UPDATE requests SET state = $3, state_data = $4, attempt = $5, revision = revision + 1, updated_at = $6, \
               facts = COALESCE($8, facts) \
             WHERE id = $1 AND revision = $2 AND (CAST($7 AS TEXT) IS NULL OR claimed_by = $7)",
            &[
                Value::Text(&request.id.to_hex()),
                Value::Int(request.revision),
                Value::Text(to.as_str()),
                Value::Text(&to_json(next)?),
                Value::Int(i64::from(attempt)),
                Value::Int(now),
                Value::OptText(lease.map(Lease::instance)),
                Value::OptText(facts.as_deref()),
            ],
        )
        .await?;
    if changed == 0 {
        return Err(DbError::LostLease(request.id.to_hex()));
    }
    Ok(StoredRequest {
        state: next.clone(),
        attempt,
        revision: request.revision.saturating_add(1),
        updated_at: Timestamp::from_millis(now),
        facts: change
            .facts
            .cloned()
            .unwrap_or_else(|| request.facts.clone()),
        ..request.clone()
    })
}

pub(super) async fn load(tx: &mut Tx, id: Hash) -> Result<Option<StoredRequest>, DbError> {
    let sql = "SELECT id, initiator, external_id, wallet, key_id, network, envelope, facts, state, state_data, \
        attempt, revision, created_at, updated_at, expires_at FROM requests WHERE id = $1";
    tx.query_one(sql, &[Value::Text(&id.to_hex())])
        .await?
        .as_ref()
        .map(read)
        .transpose()
}

pub(super) fn read(row: &Row) -> Result<StoredRequest, DbError> {
    Ok(StoredRequest {
        id: row.parse("id")?,
        initiator: row.parse("initiator")?,
        external_id: row.parse("external_id")?,
        wallet: row.parse("wallet")?,
        key: row.parse("key_id")?,
        network: row.text("network")?.parse().map_err(DbError::corrupt)?,
        envelope: row.json("envelope")?,
        facts: row.json("facts")?,
        state: row.json("state_data")?,
        attempt: count(row.int("attempt")?)?,
        revision: row.int("revision")?,
        created_at: Timestamp::from_millis(row.int("created_at")?),
        updated_at: Timestamp::from_millis(row.int("updated_at")?),
        expires_at: Timestamp::from_millis(row.int("expires_at")?),
    })
}

fn count(value: i64) -> Result<u32, DbError> {
    u32::try_from(value).map_err(DbError::corrupt)
}
