//! Sign requests: stored once, changed only by the coordinator that holds the lease (or by a cancel), each change with its
//! event.

use countersign_policy::statement::TransactionHex;
use countersign_policy::{
    Address, Decision, DerivationPath, Envelope, ExternalId, Hash, Intent, KeyId, MemberId,
    Network, SigningDigest, Timestamp, WalletId,
};
use serde::{Deserialize, Serialize};

use super::tx::{Row, Value, to_json};
use super::{Datastore, DbError, Lease, Tx};
use crate::lifecycle::{State, StateName, Why};

/// What was decoded from the request's bytes, and what was decided about it when it came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestFacts {
    /// The decoded meaning, with the paying address.
    pub intent: Intent,
    /// The paying address.
    pub from: Address,
    /// The derivation path of the key that signs.
    pub path: DerivationPath,
    /// The unsigned transaction.
    pub unsigned: TransactionHex,
    /// The signing digest.
    pub digest: SigningDigest,
    /// The decision.
    pub decision: Decision,
    /// The bundle it was decided under.
    pub bundle: Hash,
}

/// A request as stored.
#[derive(Debug, Clone)]
pub struct StoredRequest {
    /// Digest of the sign-request statement.
    pub id: Hash,
    /// Who asked.
    pub initiator: MemberId,
    /// The payment layer's name for the payment.
    pub external_id: ExternalId,
    /// The wallet.
    pub wallet: WalletId,
    /// Its key.
    pub key: KeyId,
    /// The network.
    pub network: Network,
    /// The statement, as received.
    pub envelope: Envelope,
    /// What was decoded and decided.
    pub facts: RequestFacts,
    /// Where it stands.
    pub state: State,
    /// The newest attempt; 0 when there was none.
    pub attempt: u32,
    /// Counts the changes.
    pub revision: i64,
    /// When it came.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// The statement's expiry.
    pub expires_at: Timestamp,
}

/// A request that has just been verified and decided.
#[derive(Debug)]
pub struct NewRequest<'a> {
    /// Digest of the statement.
    pub id: Hash,
    /// Who asks.
    pub initiator: &'a MemberId,
    /// The payment layer's name.
    pub external_id: &'a ExternalId,
    /// The wallet.
    pub wallet: &'a WalletId,
    /// The key.
    pub key: &'a KeyId,
    /// The network.
    pub network: Network,
    /// The statement.
    pub envelope: &'a Envelope,
    /// What was decoded and decided.
    pub facts: &'a RequestFacts,
    /// The statement's expiry.
    pub expires_at: Timestamp,
    /// What follows from the decision.
    pub decided: Decided,
}

/// What follows from the first decision.
#[derive(Debug, Clone)]
pub enum Decided {
    /// Policy says no; final.
    Blocked(Why),
    /// Approvals are needed first.
    PendingApproval,
    /// Allowed, but it could not be authorized yet.
    Received,
    /// Allowed and authorized.
    Authorized(NewAttempt),
}

/// An authorization that is stored before it is sent.
#[derive(Debug, Clone)]
pub struct NewAttempt {
    /// From 1.
    pub attempt: u32,
    /// The authorization statement.
    pub authorization: Envelope,
}

/// An attempt as stored.
#[derive(Debug, Clone)]
pub struct StoredAttempt {
    /// From 1.
    pub attempt: u32,
    /// The authorization statement.
    pub authorization: Envelope,
    /// The receipts that were handed out, if they were stored.
    pub receipts: Option<Vec<Envelope>>,
    /// How it ended.
    pub outcome: Option<String>,
}

/// A client's idempotency key and how its call is answered.
#[derive(Debug)]
pub struct IdempotencyKey<'a> {
    /// The key.
    pub key: &'a str,
    /// How long the call may take to be answered, in milliseconds.
    pub answer_within: i64,
    /// Whether the call is answered at once (202) unless the request is final.
    pub at_once: bool,
}

/// An answer that was given while the request was not final: it is given again to whoever repeats the call.
pub type StoredAnswer = (u16, String);

/// What became of a new request.
#[derive(Debug)]
pub enum Created {
    /// It was stored.
    New(Box<StoredRequest>),
    /// The very same statement is known.
    Known {
        /// The request.
        request: Box<StoredRequest>,
        /// The answer that was given to the same call before.
        answer: Option<StoredAnswer>,
    },
    /// The same call is being answered right now.
    InFlight(Hash),
    /// The idempotency key was used with another statement.
    KeyReused(Hash),
    /// The external id was used in another statement.
    ExternalIdTaken(Hash),
}

/// One change of state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub at: Timestamp,
    /// The state it came into.
    pub state: String,
    /// Why, and how.
    pub detail: String,
}

/// What a list shows.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only this state.
    pub state: Option<StateName>,
    /// Only this wallet.
    pub wallet: Option<String>,
    /// Only this network.
    pub network: Option<String>,
    /// Only this external id.
    pub external_id: Option<String>,
    /// Only this initiator.
    pub initiator: Option<String>,
    /// Only those that came at or after this time.
    pub created_after: Option<Timestamp>,
}

/// A place in the list, which runs from the newest to the oldest. It names a request, not a number of rows, so that what
/// comes later moves nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageCursor {
    /// When the last request of the page before came, in milliseconds since 1970.
    pub created_at: i64,
    /// Its id.
    pub id: String,
}

/// One page.
#[derive(Debug)]
pub struct Page {
    /// The requests, newest first.
    pub requests: Vec<StoredRequest>,
    /// Where the next page starts, if there is one.
    pub next: Option<PageCursor>,
}

/// What is stored together with a change of state.
#[derive(Debug, Default)]
pub(crate) struct Change<'a> {
    /// A new attempt.
    pub(crate) attempt: Option<&'a NewAttempt>,
    /// Events of states that were passed on the way, with their times.
    pub(crate) passed: &'a [Event],
    /// Receipts of the present attempt.
    pub(crate) receipts: Option<&'a [Envelope]>,
    /// How the present attempt ended.
    pub(crate) outcome: Option<&'a str>,
}

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
                    let changed =
                        change_state(tx, Some(lease), request, next, change.attempt).await?;
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
        Decided::PendingApproval => (State::PendingApproval, 0),
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

async fn insert_attempt(
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
    attempt: Option<&NewAttempt>,
) -> Result<StoredRequest, DbError> {
    let (from, to) = (request.state.name(), next.name());
    if !from.may_become(to) {
        return Err(DbError::Transition {
            from: from.as_str(),
            to: to.as_str(),
        });
    }
    let now = tx.now().await?;
    let attempt = attempt.map_or(request.attempt, |a| a.attempt);
    let changed = tx
        .execute(
            "UPDATE requests SET state = $3, state_data = $4, attempt = $5, revision = revision + 1, updated_at = $6 \
             WHERE id = $1 AND revision = $2 AND (CAST($7 AS TEXT) IS NULL OR claimed_by = $7)",
            &[
                Value::Text(&request.id.to_hex()),
                Value::Int(request.revision),
                Value::Text(to.as_str()),
                Value::Text(&to_json(next)?),
                Value::Int(i64::from(attempt)),
                Value::Int(now),
                Value::OptText(lease.map(Lease::instance)),
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
