//! Envelopes made to deceive, and the error that names each.

use crate::canonical::CanonicalError;
use crate::statement::{
    Authorization, Body, Cancel, Confirm, KeyCeremony, Kind, NodeTls, Receipt, SignRequest,
    Statement, StatementError, StopAck, Verified,
};
use crate::testing::{
    APPROVERS, AUDITOR, AUTHOR, COORDINATOR, OFFICER, OPERATOR, OTHER_PAYMENTS, PAYMENTS,
    TestDeployment, member, samples,
};
use crate::{Envelope, Hash, IdentityKey};

fn deployment() -> TestDeployment {
    TestDeployment::with_single_keys(3, 2)
}

fn open<B: Body>(
    deployment: &TestDeployment,
    envelope: &Envelope,
) -> Result<Verified<B>, StatementError> {
    deployment.bundle().directory().open(envelope)
}

fn refusal<B: Body>(deployment: &TestDeployment, envelope: &Envelope) -> StatementError {
    open::<B>(deployment, envelope).expect_err("must be refused")
}

fn tls() -> NodeTls {
    NodeTls {
        public_key_sha256: Hash::sha256(b"spki"),
    }
}

/// A payload signed as it is, whatever it says.
fn sign_bytes(deployment: &TestDeployment, kind: Kind, issuer: &str, payload: &[u8]) -> Envelope {
    Envelope::sign(
        &kind.payload_type(),
        payload.to_vec(),
        issuer,
        deployment.identity(issuer),
    )
}

fn edited(envelope: &Envelope, from: &str, to: &str) -> Vec<u8> {
    let text = std::str::from_utf8(envelope.payload()).unwrap();
    assert!(text.contains(from), "{from} is not in {text}");
    text.replace(from, to).into_bytes()
}

#[test]
fn a_statement_of_one_kind_is_no_other() {
    let deployment = deployment();
    let request = deployment.usdt_request("p-1", 1);
    assert!(matches!(
        refusal::<Cancel>(&deployment, &request),
        StatementError::PayloadType { found, .. } if found == Kind::SignRequest.payload_type()
    ));
    // The type is signed too: relabelled, the same payload has another digest and no signature.
    let relabelled = Envelope::sign(
        &Kind::StopAck.payload_type(),
        request.payload().to_vec(),
        PAYMENTS,
        deployment.identity(PAYMENTS),
    );
    assert_ne!(relabelled.digest(), request.digest());
    assert!(matches!(
        refusal::<StopAck>(&deployment, &relabelled),
        StatementError::Payload {
            kind: Kind::StopAck,
            ..
        }
    ));
}

#[test]
fn the_payload_repeats_its_kind() {
    let deployment = deployment();
    let honest = deployment.sign("node-1", 60, tls());
    let payload = edited(&honest, "\"node-tls\"", "\"stop-ack\"");
    let envelope = sign_bytes(&deployment, Kind::NodeTls, "node-1", &payload);
    assert!(matches!(
        refusal::<NodeTls>(&deployment, &envelope),
        StatementError::Kind {
            found: Kind::StopAck,
            expected: Kind::NodeTls
        }
    ));
}

#[test]
fn a_statement_for_another_deployment_is_refused() {
    let deployment = deployment();
    let mut other = TestDeployment::with_single_keys(3, 2);
    other.content_mut().organisation = "Another".to_owned();
    let request = other.usdt_request("p-1", 1);
    assert!(matches!(
        refusal::<SignRequest>(&deployment, &request),
        StatementError::Genesis { found, expected }
            if found == other.genesis_hash() && expected == deployment.genesis_hash()
    ));
    let mut statement = deployment.statement("node-1", "tls", 60, tls());
    statement.genesis = Hash::ZERO;
    let envelope = deployment.sign_by(&statement, &[]);
    assert!(matches!(
        refusal::<NodeTls>(&deployment, &envelope),
        StatementError::Genesis {
            found: Hash::ZERO,
            ..
        }
    ));
}

#[test]
fn every_way_to_write_it_differently_is_refused() {
    let deployment = deployment();
    let honest = deployment.sign("node-1", 60, tls());
    for (from, to) in [
        ("{\"body\":", "{ \"body\":"),
        ("\"kind\":", "\"kind\":\"node-tls\",\"kind\":"),
        ("\"kind\":", "\"extra\":1,\"kind\":"),
        ("{\"body\":{", "{\"body\":{\"extra\":null,"),
        ("node-tls", "node\\u002dtls"),
        ("}", "}\n"),
        ("node-1", "NODE-1"),
        (".000Z", "Z"),
        (".000Z", ".000+00:00"),
    ] {
        let payload = edited(&honest, from, to);
        let envelope = sign_bytes(&deployment, Kind::NodeTls, "node-1", &payload);
        assert!(
            matches!(
                refusal::<NodeTls>(&deployment, &envelope),
                StatementError::Payload {
                    kind: Kind::NodeTls,
                    ..
                }
            ),
            "{from} -> {to}"
        );
    }
}

#[test]
fn a_payload_beyond_the_limit_is_neither_signed_nor_read() {
    let deployment = deployment();
    let wallet = deployment.wallet("hot");
    let bytes = crate::testing::transaction::usdt_erc20(&[0xe1; 20], 1, 0);
    let mut body =
        deployment.sign_request("p-1", wallet, &wallet.path, crate::Network::ETHEREUM, bytes);
    let transfer = body.intent.transfers[0].clone();
    body.intent.transfers = vec![transfer; 8_000];
    let statement = deployment.statement(PAYMENTS, "huge", 60, body);
    let error = statement.sign(deployment.identity(PAYMENTS)).unwrap_err();
    assert!(matches!(
        error,
        StatementError::Encode(CanonicalError::TooLarge { .. })
    ));
    let payload = crate::canonical::to_vec(&statement).unwrap();
    let envelope = sign_bytes(&deployment, Kind::SignRequest, PAYMENTS, &payload);
    assert!(matches!(
        refusal::<SignRequest>(&deployment, &envelope),
        StatementError::Payload {
            source: CanonicalError::TooLarge { .. },
            ..
        }
    ));
}

#[test]
fn expiry_comes_after_issue() {
    let deployment = deployment();
    let envelope = deployment.sign("node-1", 0, tls());
    assert!(matches!(
        refusal::<NodeTls>(&deployment, &envelope),
        StatementError::Lifetime { issued_at, expires_at } if issued_at == expires_at
    ));
}

#[test]
fn a_stranger_says_nothing() {
    let deployment = deployment();
    let mut statement = deployment.statement("node-1", "tls", 60, tls());
    statement.issuer = member("node-9");
    let envelope = statement.sign(&IdentityKey::from_seed(&[9; 32])).unwrap();
    assert!(matches!(
        refusal::<NodeTls>(&deployment, &envelope),
        StatementError::UnknownMember(id) if id == member("node-9")
    ));
}

#[test]
fn nobody_speaks_for_somebody_else() {
    let deployment = deployment();
    let statement = deployment.statement("node-1", "tls", 60, tls());
    let forged = statement.sign(deployment.identity("node-2")).unwrap();
    assert!(matches!(
        refusal::<NodeTls>(&deployment, &forged),
        StatementError::BadSignature(id) if id == member("node-1")
    ));
}

#[test]
fn a_key_id_that_lies_is_refused() {
    let deployment = deployment();
    let statement = deployment.statement("node-1", "tls", 60, tls());
    let payload = crate::canonical::to_vec(&statement).unwrap();
    for (keyid, signer) in [("node-2", "node-1"), ("node-2", "node-2"), ("", "node-1")] {
        let envelope = Envelope::sign(
            &Kind::NodeTls.payload_type(),
            payload.clone(),
            keyid,
            deployment.identity(signer),
        );
        assert!(
            matches!(
                refusal::<NodeTls>(&deployment, &envelope),
                StatementError::UnexpectedSigner(found) if found == keyid
            ),
            "{keyid} by {signer}"
        );
    }
}

#[test]
fn one_issuer_one_signature() {
    let deployment = deployment();
    let mut envelope = deployment.sign("node-1", 60, tls());
    envelope
        .add_signature("node-2", deployment.identity("node-2"))
        .unwrap();
    assert!(matches!(
        refusal::<NodeTls>(&deployment, &envelope),
        StatementError::SignatureCount(2)
    ));
}

#[test]
fn a_statement_of_several_needs_its_issuer() {
    let deployment = deployment();
    let directory = deployment.bundle();
    let directory = directory.directory();
    let honest = samples(&deployment)
        .into_iter()
        .find(|s| s.kind == Kind::KeyCeremony)
        .unwrap()
        .envelope;
    let opened = directory.open_quorum::<KeyCeremony>(&honest).unwrap();
    assert_eq!(opened.signers().len(), 3);
    // Two approvers sign what the author never said.
    let mut forged = Envelope::sign(
        honest.payload_type(),
        honest.payload().to_vec(),
        APPROVERS[0],
        deployment.identity(APPROVERS[0]),
    );
    forged
        .add_signature(APPROVERS[1], deployment.identity(APPROVERS[1]))
        .unwrap();
    assert!(matches!(
        directory.open_quorum::<KeyCeremony>(&forged),
        Err(StatementError::IssuerMissing(id)) if id == member(AUTHOR)
    ));
}

#[test]
fn nobody_counts_twice_in_a_quorum() {
    let deployment = deployment();
    let bundle = deployment.bundle();
    let statement = samples(&deployment)
        .into_iter()
        .find(|s| s.kind == Kind::KeyCeremony)
        .unwrap()
        .envelope;
    let again = |keyid: &str, signer: &str| {
        let mut envelope = statement.clone();
        envelope
            .add_signature(keyid, deployment.identity(signer))
            .unwrap();
        bundle
            .directory()
            .open_quorum::<KeyCeremony>(&envelope)
            .map(|v| v.signers().len())
            .unwrap_err()
    };
    assert!(matches!(
        again(APPROVERS[0], APPROVERS[0]),
        StatementError::UnexpectedSigner(id) if id == APPROVERS[0]
    ));
    // The same person under a colleague's name: the key does not fit the name.
    assert!(matches!(
        again("approver-3", APPROVERS[0]),
        StatementError::BadSignature(id) if id == member("approver-3")
    ));
    assert!(matches!(
        again("nobody", APPROVERS[0]),
        StatementError::UnexpectedSigner(_)
    ));
    assert!(matches!(
        again("Not An Id", APPROVERS[0]),
        StatementError::UnexpectedSigner(_)
    ));
}

#[test]
fn only_the_roles_that_may_say_it_are_heard() {
    let deployment = deployment();
    let all = samples(&deployment);
    let find = |kind| all.iter().find(|s| s.kind == kind).unwrap();
    // Everybody else's signature on the same content is refused, with a valid signature and the issuer's own name.
    fn reissued<B: Body>(deployment: &TestDeployment, honest: &Envelope, issuers: &[&str]) {
        let statement: Statement<B> = serde_json::from_slice(honest.payload()).unwrap();
        for issuer in issuers {
            let mut statement = statement.clone();
            statement.issuer = member(issuer);
            let envelope = deployment.sign_by(&statement, &[]);
            assert!(
                matches!(
                    refusal::<B>(deployment, &envelope),
                    StatementError::Role { issuer: found, kind } if found == member(issuer) && kind == B::KIND
                ),
                "{issuer}"
            );
        }
    }
    let people = [AUTHOR, APPROVERS[0], OPERATOR, AUDITOR];
    let services = [PAYMENTS, OTHER_PAYMENTS, OFFICER];
    let not_a_coordinator = [&people[..], &services[..], &["node-1"]].concat();
    reissued::<Authorization>(
        &deployment,
        &find(Kind::Authorization).envelope,
        &not_a_coordinator,
    );
    let not_a_node = [&people[..], &services[..], &[COORDINATOR]].concat();
    reissued::<Receipt>(&deployment, &find(Kind::Receipt).envelope, &not_a_node);
    reissued::<Confirm>(&deployment, &find(Kind::Confirm).envelope, &not_a_node);
    reissued::<StopAck>(&deployment, &find(Kind::StopAck).envelope, &not_a_node);
    let no_canceller = [&people[..], &["node-1"]].concat();
    reissued::<Cancel>(&deployment, &find(Kind::Cancel).envelope, &no_canceller);
}

#[test]
fn time_is_checked_with_the_allowed_skew_and_no_more() {
    let deployment = deployment();
    let envelope = deployment.sign("node-1", 60, tls());
    let opened = open::<NodeTls>(&deployment, &envelope).unwrap();
    let issued = deployment.now();
    let at = |millis: i64| crate::Timestamp::from_millis(issued.as_millis() + millis);
    assert!(matches!(
        opened.require_current(at(-5_001), 5),
        Err(StatementError::NotYetValid { .. })
    ));
    opened.require_current(at(-5_000), 5).unwrap();
    opened.require_current(at(64_999), 5).unwrap();
    assert!(matches!(
        opened.require_current(at(65_000), 5),
        Err(StatementError::Expired { .. })
    ));
    opened.require_unexpired_strictly(at(59_999)).unwrap();
    assert!(matches!(
        opened.require_unexpired_strictly(at(60_000)),
        Err(StatementError::Expired { .. })
    ));
    // The ends of time neither overflow nor open a door.
    let latest = crate::Timestamp::from_millis(i64::MAX);
    assert!(opened.require_current(latest, u64::MAX).is_err());
    assert!(opened.require_current(latest, 0).is_err());
    let earliest = crate::Timestamp::from_millis(i64::MIN);
    assert!(opened.require_current(earliest, 5).is_err());
}
