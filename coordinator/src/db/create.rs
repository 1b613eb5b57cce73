//! A new sign request: stored with its decision and authorization in one transaction, or recognized.

use countersign_policy::{Hash, MemberId, Timestamp};

use super::requests::{insert_attempt, insert_event, load};
use super::tx::{Row, Value, to_json};
use super::{
    Created, Datastore, DbError, Decided, IdempotencyKey, Lease, NewRequest, StoredAnswer,
    StoredRequest, Tx,
};
use crate::lifecycle::State;

impl Datastore {
    /// Stores a request with its decision and authorization, unless it is known. `answer` writes the answer to the call
    /// that is kept for its repetition.
    pub(crate) async fn create_request(
        &self,
        lease: &Lease,
        new: &NewRequest<'_>,
        key: &IdempotencyKey<'_>,
        answer: &(dyn Fn(&StoredRequest) -> StoredAnswer + Sync),
    ) -> Result<Created, DbError> {
        self.run_tx(
            "create_request",
            &(lease, new, key, answer),
            |tx, &(lease, new, key, answer)| {
                Box::pin(async move {
                    let now = tx.now().await?;
                    if let Some(row) = tx.query_one(
                "SELECT request_id, answer_due, answer_status, answer_body FROM idempotency_keys \
                 WHERE initiator = $1 AND key = $2",
                &[Value::Text(new.initiator.as_str()), Value::Text(key.key)],
            ).await? {
                return repeated_call(tx, new, key, &row, now).await;
            }
                    let request = stored(new, now);
                    if insert_request(tx, lease, &request, new, now).await? {
                        insert_key(tx, new, key, now, &request, answer).await?;
                        return Ok(Created::New(Box::new(request)));
                    }
                    let known = tx.query_one(
                "SELECT id FROM requests WHERE id = $1 OR (initiator = $2 AND external_id = $3)",
                &[Value::Text(&new.id.to_hex()), Value::Text(new.initiator.as_str()),
                  Value::Text(new.external_id.as_str())],
            ).await?;
                    let known: Hash = known
                        .ok_or_else(|| DbError::corrupt("a conflict without a row"))?
                        .parse("id")?;
                    if known != new.id {
                        return Ok(Created::ExternalIdTaken(known));
                    }
                    let request = load(tx, known)
                        .await?
                        .ok_or_else(|| DbError::corrupt("a request vanished"))?;
                    insert_key(tx, new, key, now, &request, answer).await?;
                    Ok(Created::Known {
                        request: Box::new(request),
                        answer: None,
                    })
                })
            },
        )
        .await
    }

    /// Keeps the answer that a waiting call got because its time was over.
    pub(crate) async fn store_answer(
        &self,
        initiator: &MemberId,
        key: &str,
        answer: &StoredAnswer,
    ) -> Result<(), DbError> {
        self.run_tx(
            "store_answer",
            &(initiator, key, answer),
            |tx, &(initiator, key, answer)| {
                Box::pin(async move {
                    tx.execute(
                        "UPDATE idempotency_keys SET answer_status = $3, answer_body = $4 \
                 WHERE initiator = $1 AND key = $2 AND answer_status IS NULL",
                        &[
                            Value::Text(initiator.as_str()),
                            Value::Text(key),
                            Value::Int(i64::from(answer.0)),
                            Value::Text(&answer.1),
                        ],
                    )
                    .await
                    .map(|_| ())
                })
            },
        )
        .await
    }
}

/// The same call again: the answer it got, or that it is being answered, or (when whoever was answering it is gone) the
/// request as it stands.
async fn repeated_call(
    tx: &mut Tx,
    new: &NewRequest<'_>,
    key: &IdempotencyKey<'_>,
    row: &Row,
    now: i64,
) -> Result<Created, DbError> {
    let id: Hash = row.parse("request_id")?;
    if id != new.id {
        return Ok(Created::KeyReused(id));
    }
    let request = load(tx, id)
        .await?
        .ok_or_else(|| DbError::corrupt("a key without its request"))?;
    let answer = match (row.opt_int("answer_status")?, row.opt_text("answer_body")?) {
        (Some(status), Some(body)) => {
            Some((u16::try_from(status).map_err(DbError::corrupt)?, body))
        }
        _ => None,
    };
    if answer.is_none() && !request.state.is_final() {
        if now < row.int("answer_due")? {
            return Ok(Created::InFlight(id));
        }
        tx.execute(
            "UPDATE idempotency_keys SET answer_due = $3 WHERE initiator = $1 AND key = $2",
            &[
                Value::Text(new.initiator.as_str()),
                Value::Text(key.key),
                Value::Int(now.saturating_add(key.answer_within)),
            ],
        )
        .await?;
    }
    Ok(Created::Known {
        request: Box::new(request),
        answer,
    })
}

fn stored(new: &NewRequest<'_>, now: i64) -> StoredRequest {
    let (state, attempt) = match &new.decided {
        Decided::Blocked(why) => (State::Blocked(why.clone()), 0),
        Decided::PendingApproval(waiting) => (State::PendingApproval(waiting.clone()), 0),
        Decided::Received => (State::Received, 0),
        Decided::Authorized(attempt) => (
            State::Authorized {
                attempt: attempt.attempt,
            },
            attempt.attempt,
        ),
    };
    StoredRequest {
        id: new.id,
        initiator: new.initiator.clone(),
        external_id: new.external_id.clone(),
        wallet: new.wallet.clone(),
        key: new.key.clone(),
        network: new.network,
        envelope: new.envelope.clone(),
        facts: new.facts.clone(),
        state,
        attempt,
        revision: 1,
        created_at: Timestamp::from_millis(now),
        updated_at: Timestamp::from_millis(now),
        expires_at: new.expires_at,
    }
}

/// RECEIVED, the decision and the authorization are stored together, before anything is sent. False when the id or the
/// external id is known.
async fn insert_request(
    tx: &mut Tx,
    lease: &Lease,
    request: &StoredRequest,
    new: &NewRequest<'_>,
    now: i64,
) -> Result<bool, DbError> {
    let id = request.id.to_hex();
    let inserted = tx
        .execute(
            "INSERT INTO requests (id, initiator, external_id, wallet, key_id, network, envelope, facts, state, \
               state_data, attempt, revision, created_at, updated_at, expires_at, claimed_by, lease_until) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 1, $12, $12, $13, $14, $15) \
             ON CONFLICT DO NOTHING",
            &[
                Value::Text(&id),
                Value::Text(request.initiator.as_str()),
                Value::Text(request.external_id.as_str()),
                Value::Text(request.wallet.as_str()),
                Value::Text(request.key.as_str()),
                Value::Text(&request.network.to_string()),
                Value::Text(&to_json(&request.envelope)?),
                Value::Text(&to_json(&request.facts)?),
                Value::Text(request.state.name().as_str()),
                Value::Text(&to_json(&request.state)?),
                Value::Int(i64::from(request.attempt)),
                Value::Int(now),
                Value::Int(request.expires_at.as_millis()),
                Value::OptText((!request.state.is_final()).then_some(lease.instance())),
                Value::Int(lease.until(now)),
            ],
        )
        .await?;
    if inserted == 0 {
        return Ok(false);
    }
    let second = (request.state != State::Received).then_some(&request.state);
    tx.execute(
        "INSERT INTO request_events (request_id, sequence, at, state, detail) VALUES ($1, 1, $2, $3, $4)",
        &[Value::Text(&id), Value::Int(now), Value::Text("RECEIVED"), Value::Text(&decision_line(request))],
    )
    .await?;
    if let Some(state) = second {
        insert_event(
            tx,
            &request.id,
            now,
            state.name().as_str(),
            &state.describe(),
        )
        .await?;
    }
    if let Decided::Authorized(attempt) = &new.decided {
        insert_attempt(tx, &request.id, now, attempt).await?;
    }
    Ok(true)
}

fn decision_line(request: &StoredRequest) -> String {
    let decision = &request.facts.decision;
    let rules: Vec<&str> = decision
        .rules
        .iter()
        .map(countersign_policy::RuleId::as_str)
        .collect();
    format!(
        "decision {:?} under bundle {} by rules [{}]",
        decision.outcome,
        request.facts.bundle,
        rules.join(", ")
    )
}

async fn insert_key(
    tx: &mut Tx,
    new: &NewRequest<'_>,
    key: &IdempotencyKey<'_>,
    now: i64,
    request: &StoredRequest,
    answer: &(dyn Fn(&StoredRequest) -> StoredAnswer + Sync),
) -> Result<(), DbError> {
    let answer = (key.at_once && !request.state.is_final()).then(|| answer(request));
    let inserted = tx
        .execute(
            "INSERT INTO idempotency_keys (initiator, key, request_id, created_at, answer_due, answer_status, answer_body) \
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
            &[
                Value::Text(new.initiator.as_str()),
                Value::Text(key.key),
                Value::Text(&new.id.to_hex()),
                Value::Int(now),
                Value::Int(now.saturating_add(key.answer_within)),
                Value::OptInt(answer.as_ref().map(|a| i64::from(a.0))),
                Value::OptText(answer.as_ref().map(|a| a.1.as_str())),
            ],
        )
        .await?;
    debug_assert_eq!(inserted, 1);
    Ok(())
}
