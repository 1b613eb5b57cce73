//! Requests from cold wallets: cleared by witnesses, exported, signed elsewhere, imported.

use countersign_policy::cold::{
    MachineAnswer, RequestPackage, ResponsePackage, Trust, VERSION, open,
};
use countersign_policy::testing::cold::{COLD_KEY, COLD_WALLET, VAULT, cold_key};
use countersign_policy::testing::member;
use countersign_policy::{DerivationPath, Facts, Network};

use super::*;

fn world(database: &TestDatabase) -> World {
    World::with(database, |deployment| {
        deployment.add_cold_wallet(COLD_WALLET, COLD_KEY, VAULT, &cold_key());
    })
}

fn withdrawal(world: &World, external_id: &str, nonce: u64) -> Envelope {
    let bytes = countersign_policy::testing::transaction::usdt_erc20(
        &countersign_policy::testing::transaction::EXCHANGE,
        1_000_000,
        nonce,
    );
    world
        .deployment
        .request(external_id, COLD_WALLET, Network::ETHEREUM, bytes)
}

impl Client<'_> {
    /// Asks for a withdrawal, has it approved by two of the treasury, and waits until it was cleared.
    async fn cleared(&self, request: &Envelope) {
        let asked = self.post(request, &request.digest().to_hex(), 0).await;
        assert_eq!(asked.status, StatusCode::ACCEPTED);
        let bundle = self.world.deployment.bundle();
        for approval in self.world.deployment.treasury_approves(&bundle, request) {
            let path = format!("/v1/sign-requests/{}/approvals", request.digest());
            let said = self.write(&path, &approval, 0).await;
            assert_eq!(said.status, StatusCode::ACCEPTED);
        }
        for _ in 0..200 {
            let view = self.read(request.digest(), 0).await;
            if view.state == StateName::Signing {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!(
            "it was not cleared: {:?}",
            self.read(request.digest(), 0).await
        );
    }

    async fn package(&self, request: &Envelope) -> Reply {
        let path = format!("/v1/sign-requests/{}/cold-package", request.digest());
        self.get_as(AUDITOR, &path, 0).await
    }

    async fn bring(&self, request: &Envelope, answer: &ResponsePackage) -> Reply {
        let path = format!("/v1/sign-requests/{}/cold-response", request.digest());
        let body = answer.to_bytes().unwrap();
        let token = support::api_secret(OPERATOR).token(
            &member(OPERATOR),
            self.world.deployment.genesis_hash(),
            clock(),
        );
        let token = format!("Bearer {token}");
        let headers = [("authorization", token.as_str())];
        self.send(Method::POST, &path, &headers, body).await
    }
}

/// What the machine does, with its key in memory in the place of a token.
fn machine(world: &World, bytes: &[u8]) -> ResponsePackage {
    let me = member(VAULT);
    let trust = Trust {
        me: &me,
        genesis: world.deployment.genesis_hash(),
        known: None,
    };
    let package = open(bytes, &trust, clock()).unwrap();
    let facts = Facts::establish(package.chain().active(), package.request().body()).unwrap();
    let signature = cold_key().sign(facts.transaction(), &DerivationPath::master());
    ResponsePackage {
        package: ResponsePackage::kind(),
        version: VERSION,
        genesis: world.deployment.genesis_hash(),
        answers: package.digest(),
        request: package.request().digest(),
        session: package.terms().session,
        machine: me,
        bundle_version: 1,
        outcome: MachineAnswer::Signed {
            signature,
            released: package.package().request.clone(),
        },
    }
}

both!(
    a_cold_request_is_exported_signed_elsewhere_and_imported,
    async |database: &TestDatabase| {
        let world = world(database);
        let running = world.start().await;
        let c = client(&world, &running);
        let request = withdrawal(&world, "withdrawal-1", 0);
        let early = c.package(&request).await;
        assert_eq!(early.problem(), "not-found");
        c.cleared(&request).await;
        let first = c.package(&request).await;
        assert_eq!(first.status, StatusCode::OK);
        let bytes = first.body.clone();
        assert!(bytes.len() <= 64 << 10, "{} bytes", bytes.len());
        assert_eq!(c.package(&request).await.body, bytes, "the same each time");
        assert!(RequestPackage::from_bytes(&bytes).is_ok());
        let answer = machine(&world, &bytes);
        let imported = c.bring(&request, &answer).await;
        assert_eq!(imported.status, StatusCode::OK);
        let view: RequestView = imported.json();
        assert_eq!(view.state, StateName::Signed);
        let again = c.bring(&request, &answer).await;
        assert_eq!(again.status, StatusCode::OK, "repeating it is harmless");
        running.shutdown().await;
    }
);

both!(
    answers_that_do_not_fit_change_nothing,
    async |database: &TestDatabase| {
        let world = world(database);
        let running = world.start().await;
        let c = client(&world, &running);
        let (one, two) = (withdrawal(&world, "w-1", 0), withdrawal(&world, "w-2", 1));
        c.cleared(&one).await;
        c.cleared(&two).await;
        let right = machine(&world, &c.package(&one).await.body);
        let other = machine(&world, &c.package(&two).await.body);
        // Another request's answer, its signature under this one's name, another machine's, a refusal.
        let mut renamed = other.clone();
        renamed.request = one.digest();
        let mut stranger = right.clone();
        stranger.machine = member("node-1");
        let mut no = right.clone();
        no.outcome = MachineAnswer::Refused {
            code: "policy".to_owned(),
            detail: "no".to_owned(),
        };
        for wrong in [&other, &renamed, &stranger, &no] {
            assert_eq!(c.bring(&one, wrong).await.problem(), "statement");
        }
        assert_eq!(c.read(one.digest(), 0).await.state, StateName::Signing);
        assert_eq!(c.bring(&one, &right).await.status, StatusCode::OK);
        running.shutdown().await;
    }
);

both!(
    a_cancelled_request_that_was_cleared_is_not_final_and_a_signature_still_counts,
    async |database: &TestDatabase| {
        let world = world(database);
        let running = world.start().await;
        let c = client(&world, &running);
        let request = withdrawal(&world, "w-1", 0);
        c.cleared(&request).await;
        let answer = machine(&world, &c.package(&request).await.body);
        let cancel = world.deployment.cancel(
            PAYMENTS,
            &request,
            countersign_policy::statement::CancelReason::Initiator,
        );
        let path = format!("/v1/sign-requests/{}/cancel", request.digest());
        c.write(&path, &cancel, 1).await;
        tokio::time::sleep(Duration::from_millis(700)).await;
        let view = c.read(request.digest(), 0).await;
        assert_eq!(
            view.state,
            StateName::Stopping,
            "a machine may be signing it"
        );
        assert_eq!(c.bring(&request, &answer).await.status, StatusCode::OK);
        assert_eq!(c.read(request.digest(), 5).await.state, StateName::Signed);
        running.shutdown().await;
    }
);
