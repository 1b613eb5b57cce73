//! Every test runs on both databases.

#[path = "../../tests/support/database.rs"]
mod database;

mod calls;
mod decisions;
mod history;
mod work;

use std::collections::BTreeMap;

use countersign_policy::statement::{SignRequest, StopAck, StopOutcome};
use countersign_policy::testing::{PAYMENTS, TestDeployment, member};
use countersign_policy::{Envelope, Facts, Hash, Standing, decide};
use database::{Kind, TestDatabase, both};

use super::tx::Value;
use super::*;
use crate::lifecycle::{Goal, SignedData, State, Why};

struct Fixture {
    deployment: TestDeployment,
    store: Datastore,
    lease: Lease,
}

impl Fixture {
    async fn new(database: &TestDatabase) -> Self {
        Self {
            deployment: TestDeployment::with_single_keys(3, 2),
            store: Datastore::open(&database.url).await.unwrap(),
            lease: Lease::new("one".into(), 60_000),
        }
    }

    async fn create(&self, envelope: &Envelope, key: &str) -> Created {
        self.create_by(&self.lease, envelope, key, true).await
    }

    async fn create_by(
        &self,
        lease: &Lease,
        envelope: &Envelope,
        key: &str,
        at_once: bool,
    ) -> Created {
        let bundle = self.deployment.bundle();
        let verified = bundle.directory().open::<SignRequest>(envelope).unwrap();
        let facts = Facts::establish(&bundle, verified.body()).unwrap();
        let body = verified.body();
        let stored = RequestFacts {
            intent: facts.transaction().intent().clone(),
            from: *facts.source(),
            path: body.path.clone(),
            unsigned: body.transaction.clone(),
            digest: facts.transaction().digest(),
            decision: decide(
                &bundle,
                &verified,
                &facts,
                &Standing::unencumbered(),
                self.deployment.now(),
            ),
            bundle: bundle.digest(),
        };
        let nodes = &self.deployment.nodes()[..2];
        let authorization = self.deployment.authorization(&bundle, envelope, nodes, 1);
        let new = NewRequest {
            id: verified.digest(),
            initiator: verified.issuer(),
            external_id: &body.external_id,
            wallet: &body.wallet,
            key: &body.key,
            network: body.network,
            envelope,
            facts: &stored,
            expires_at: verified.statement().expires_at,
            decided: Decided::Authorized(NewAttempt {
                attempt: 1,
                authorization,
            }),
        };
        let key = IdempotencyKey {
            key,
            answer_within: 60_000,
            at_once,
        };
        let answer = |request: &StoredRequest| (202, format!("first answer to {}", request.id));
        self.store
            .create_request(lease, &new, &key, &answer)
            .await
            .unwrap()
    }

    async fn stored(&self, external_id: &str) -> StoredRequest {
        let envelope = self.deployment.usdt_request(external_id, 1_000_000);
        match self.create(&envelope, external_id).await {
            Created::New(request) => *request,
            other => panic!("{other:?}"),
        }
    }
}

fn signed() -> State {
    State::Signed(SignedData {
        signature: countersign_policy::Signature::Ed25519([7; 64]),
        signed: "0x".into(),
        tx_id: "0x".into(),
        attempt: 1,
        participants: vec![],
    })
}

fn stopping() -> State {
    State::Stopping {
        goal: Goal::Cancelled,
        why: Why::new("cancelled", "x"),
    }
}

both!(
    one_bundle_is_active_per_version,
    async |database: &TestDatabase| {
        let f = Fixture::new(database).await;
        let active = f.deployment.bundle();
        let bundle = |organisation: &str| {
            let envelope = f
                .deployment
                .successor(&active, |b| b.organisation = organisation.to_owned());
            StoredBundle {
                digest: envelope.digest(),
                version: 2,
                envelope,
                transcripts: vec![],
                activated: false,
            }
        };
        let (a, b) = (bundle("a"), bundle("b"));
        for bundle in [&a, &b, &a] {
            f.store.store_bundle(bundle).await.unwrap();
        }
        f.store.activate_bundle(a.digest).await.unwrap();
        f.store.activate_bundle(a.digest).await.unwrap();
        assert!(f.store.activate_bundle(b.digest).await.is_err());
        let stored = f.store.bundles_above(1).await.unwrap();
        let states: Vec<(Hash, bool)> = stored
            .into_iter()
            .map(|b| (b.digest, b.activated))
            .collect();
        assert!(states.contains(&(a.digest, true)) && states.contains(&(b.digest, false)));
        assert!(f.store.bundles_above(2).await.unwrap().is_empty());
    }
);

both!(
    the_schema_is_made_once_and_everything_survives_reopening,
    async |database: &TestDatabase| {
        let f = Fixture::new(database).await;
        let request = f.stored("payment-1").await;
        let key = countersign_policy::KeyId::new("k").unwrap();
        f.store
            .store_ceremony(&key, &request.envelope)
            .await
            .unwrap();
        f.store.close().await;
        let store = Datastore::open(&database.url).await.unwrap();
        let again = store.request(request.id).await.unwrap().unwrap();
        assert_eq!(again.envelope, request.envelope);
        assert_eq!(again.facts, request.facts);
        assert_eq!(again.state, request.state);
        assert_eq!(
            store.ceremony(request.id).await.unwrap(),
            Some(request.envelope)
        );
        assert_eq!(store.ceremony(Hash::ZERO).await.unwrap(), None);
        store.ping().await.unwrap();
    }
);

both!(
    a_transaction_that_fails_leaves_nothing,
    async |database: &TestDatabase| {
        let f = Fixture::new(database).await;
        let request = f.stored("payment-1").await;
        let id = request.id.to_hex();
        let done: Result<(), DbError> = f
            .store
            .run_tx("fails", &(id.as_str(),), |tx, &(id,)| {
                Box::pin(async move {
                    tx.execute(
                        "UPDATE requests SET attempt = 99 WHERE id = $1",
                        &[Value::Text(id)],
                    )
                    .await?;
                    Err(DbError::corrupt("on purpose"))
                })
            })
            .await;
        assert!(done.is_err());
        assert_eq!(
            f.store.request(request.id).await.unwrap().unwrap().attempt,
            1
        );
    }
);

#[tokio::test]
async fn other_databases_are_refused() {
    assert!(matches!(
        Datastore::open("mysql://x/y").await,
        Err(DbError::Url)
    ));
}
