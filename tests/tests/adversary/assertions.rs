//! WebAuthn assertions in place of approvals: made elsewhere, for something else, by somebody else, or by a copy.

use countersign_policy::statement::{Approval, Authorization, Statement, Verdict};
use countersign_policy::testing::{
    AssertionDraft, COORDINATOR, OTHER_OFFICERS, PAYMENTS, TestAuthenticator,
};
use countersign_policy::webauthn::Assertion;
use countersign_policy::{Envelope, Hash, StatementId};
use countersign_signer::wire::{Prepare, ProblemCode};

use crate::arena::Arena;
use crate::office::Office;

/// The officer who approves with a device.
const GUARD: &str = OTHER_OFFICERS[1];

pub async fn attacks(arena: &mut Arena, office: &mut Office) {
    drafts(arena, office).await;
    strangers(arena, office).await;
    kinds(arena, office).await;
    counters(arena, office).await;
}

/// An approval that `make` signs over its challenge.
fn asserted(arena: &Arena, body: Approval, make: impl FnOnce(&Hash) -> Assertion) -> Envelope {
    let deployment = &arena.cluster.deployment;
    let id = StatementId::random(&mut rand_core::OsRng);
    let statement: Statement<_> = deployment.statement(GUARD, id.as_str(), 3_600, body);
    let challenge = statement.challenge().unwrap();
    statement.assert(make(&challenge)).unwrap()
}

async fn is_refused(
    arena: &mut Arena,
    office: &mut Office,
    attack: &str,
    (request, approval): (&Envelope, Envelope),
    words: &str,
) {
    let approvals = office.with(arena, request, (2, approval));
    let words = format!(
        "approval 2: not an acceptable approval: the assertion of {GUARD} is refused: {words}"
    );
    let expected = (ProblemCode::Approval, words.as_str());
    arena
        .approvals_are_refused(attack, (request, &approvals), expected)
        .await;
}

/// What a page or an authenticator says that should not count.
fn lies() -> Vec<(&'static str, fn(&mut AssertionDraft), &'static str)> {
    fn replace(draft: &mut AssertionDraft, from: &str, to: &str) {
        let changed = draft.client_data_json.replacen(from, to, 1);
        assert_ne!(changed, draft.client_data_json);
        draft.client_data_json = changed;
    }
    const HERE: &str = "https://approve.example.com";
    vec![
        (
            "assertion from another origin",
            |d| replace(d, HERE, "https://approve.example.org"),
            "\"https://approve.example.org\" is none of the origins",
        ),
        (
            "assertion from an origin that begins like the right one",
            |d| replace(d, HERE, "https://approve.example.com.evil.example"),
            "\"https://approve.example.com.evil.example\" is none of the origins",
        ),
        (
            "assertion from the right host without TLS",
            |d| replace(d, "https://", "http://"),
            "\"http://approve.example.com\" is none of the origins",
        ),
        (
            "assertion for another relying party",
            |d| d.rp_id = "login.example.com".to_owned(),
            "it was made for another relying party",
        ),
        (
            "assertion without user verification",
            |d| d.flags = 0x01,
            "the user was not verified",
        ),
        (
            "assertion without user presence",
            |d| d.flags = 0x04,
            "the user was not present",
        ),
        (
            "assertion with a swapped challenge",
            |d| {
                let other = Hash::sha256(b"another statement");
                let mut swapped = TestAuthenticator::eddsa("any").draft(&other);
                std::mem::swap(&mut d.client_data_json, &mut swapped.client_data_json);
            },
            "the challenge is not that of this statement",
        ),
        (
            "assertion made across origins",
            |d| replace(d, "\"crossOrigin\":false", "\"crossOrigin\":true"),
            "it was made in a frame within a page of another origin",
        ),
        (
            "assertion that names a page around it",
            |d| replace(d, "}", ",\"topOrigin\":\"https://approve.example.com\"}"),
            "the client data names a page around",
        ),
        (
            "assertion of a registration",
            |d| replace(d, "webauthn.get", "webauthn.create"),
            "the client data is of type \"webauthn.create\", not webauthn.get",
        ),
        (
            "assertion of a payment confirmation",
            |d| replace(d, "webauthn.get", "payment.get"),
            "the client data is of type \"payment.get\", not webauthn.get",
        ),
        (
            "assertion with two challenges",
            |d| replace(d, "}", ",\"challenge\":\"AAAA\"}"),
            "the client data is not acceptable: \"challenge\" stands there twice",
        ),
        (
            "assertion by a credential that can be copied",
            |d| d.flags = 0x0d,
            "the credential can be copied to other devices",
        ),
        (
            "assertion by a backed up credential that denies it",
            |d| d.flags = 0x15,
            "the credential is said to be backed up without being eligible",
        ),
        (
            "assertion with flags that nothing defines",
            |d| d.flags = 0x07,
            "the authenticator data is not acceptable: it has flags that nothing defines",
        ),
        (
            "assertion with a new credential in it",
            |d| {
                d.flags = 0x45;
                d.tail = vec![0; 55];
            },
            "the authenticator data is not acceptable: it carries attested credential data",
        ),
        (
            "assertion with bytes behind it",
            |d| d.tail = vec![0; 4],
            "the authenticator data is not acceptable: its length is not what its flags say",
        ),
    ]
}

async fn drafts(arena: &mut Arena, office: &mut Office) {
    for (attack, lie, words) in lies() {
        let request = arena.payment();
        // A device of its own, so that what counts up here says nothing about the counter that matters.
        let mut device = TestAuthenticator::eddsa("guard");
        let approval = asserted(arena, office.body(arena, &request), |challenge| {
            let mut draft = device.draft(challenge);
            lie(&mut draft);
            device.sign(draft)
        });
        is_refused(arena, office, attack, (&request, approval), words).await;
    }
}

/// Assertions by another device, another person, or over other data.
async fn strangers(arena: &mut Arena, office: &mut Office) {
    let no_credential = "is no credential of this member";
    for (attack, mut device) in [
        (
            "assertion by an unknown credential",
            TestAuthenticator::es256("nobody's"),
        ),
        (
            "assertion by another officer's credential",
            TestAuthenticator::es256("treasurer"),
        ),
    ] {
        let request = arena.payment();
        let approval = asserted(arena, office.body(arena, &request), |c| device.assert(c));
        let approvals = office.with(arena, &request, (2, approval));
        let expected = (ProblemCode::Approval, no_credential);
        arena
            .approvals_are_refused(attack, (&request, &approvals), expected)
            .await;
    }
    let not_verified = "the signature does not verify with the credential's public key";
    let request = arena.payment();
    let approval = asserted(arena, office.body(arena, &request), |challenge| {
        let mut draft = TestAuthenticator::eddsa("guard").draft(challenge);
        let mut thief = TestAuthenticator::eddsa("thief");
        draft.counter = thief.draft(challenge).counter;
        thief.sign(draft)
    });
    let attack = "assertion in the name of a credential by another device";
    is_refused(arena, office, attack, (&request, approval), not_verified).await;

    // Two honest answers of one device to one challenge, and the signature of one under the data of the other.
    let exchanged = |challenge: &Hash, authenticator_data: bool| {
        let mut device = TestAuthenticator::eddsa("guard");
        let plain = device.assert(challenge);
        let mut draft = device.draft(challenge);
        draft.client_data_json = draft.client_data_json.replace(":false", ": false");
        let other = device.sign(draft);
        let (data, client) = match authenticator_data {
            true => (other.authenticator_data(), plain.client_data_json()),
            false => (plain.authenticator_data(), other.client_data_json()),
        };
        let id = plain.credential_id().0.clone();
        let signature = plain.signature().to_vec();
        Assertion::new(id, data.to_vec(), client.to_vec(), signature).unwrap()
    };
    for (attack, authenticator_data) in [
        ("assertion whose signature is over other client data", false),
        ("assertion whose signature is over another counter", true),
    ] {
        let request = arena.payment();
        let approval = asserted(arena, office.body(arena, &request), |c| {
            exchanged(c, authenticator_data)
        });
        is_refused(arena, office, attack, (&request, approval), not_verified).await;
    }
    let request = arena.payment();
    let approval = asserted(arena, office.body(arena, &request), |challenge| {
        let honest = TestAuthenticator::eddsa("guard").assert(challenge);
        Assertion::new(
            honest.credential_id().0.clone(),
            honest.authenticator_data().to_vec(),
            honest.client_data_json().to_vec(),
            honest.signature()[..63].to_vec(),
        )
        .unwrap()
    });
    let attack = "assertion with a signature cut short";
    let words = "the signature is not in the form of the credential's algorithm";
    is_refused(arena, office, attack, (&request, approval), words).await;

    let other = arena.payment();
    let given = office.by_guard(arena, &other);
    let request = arena.payment();
    let approvals = office.with(arena, &request, (2, given));
    let expected = (ProblemCode::Approval, "approval 2: it is about request");
    let attack = "approval with a device replayed from another request";
    arena
        .approvals_are_refused(attack, (&request, &approvals), expected)
        .await;
}

/// What only statement keys sign, signed with a device.
async fn kinds(arena: &mut Arena, office: &mut Office) {
    let node = arena.node(1);
    let honest = arena.payment();
    let call = arena.approved(&honest, &[]);
    let words = "is signed with a statement key, not with a WebAuthn credential";
    let expected = (ProblemCode::Statement, words);
    let body = arena.payment_body();
    let deployment = &arena.cluster.deployment;
    let request = deployment.sign_with(PAYMENTS, 600, body, &mut office.treasurer);
    let authorization = arena.authorize_like(&request, &honest);
    let attack = "sign request with an officer's device";
    arena
        .prepare_is_refused(attack, &authorization, &request, expected)
        .await;
    // A no as well: whoever could forge one would stop every payment.
    let stopped = arena.payment();
    let mut body = office.body(arena, &stopped);
    body.verdict = Verdict::Reject {
        reason: "because".to_owned(),
    };
    let rejection = asserted(arena, body, |challenge| {
        let mut device = TestAuthenticator::eddsa("guard");
        let mut draft = device.draft(challenge);
        draft.rp_id = "login.example.com".to_owned();
        device.sign(draft)
    });
    let answer = arena.cluster.stop(&node, &stopped, &rejection).await;
    let words = "the assertion of officer-3 is refused: it was made for another relying party";
    let subject = stopped.digest().to_string();
    let refused = (ProblemCode::Statement, words);
    let attack = "rejection with an assertion for another relying party";
    arena
        .refused(attack, &node, ("stop", &subject), answer, refused)
        .await;
    let opened: Statement<Authorization> =
        serde_json::from_slice(call.authorization.payload()).unwrap();
    let deployment = &arena.cluster.deployment;
    let authorization = deployment.sign_with(COORDINATOR, 60, opened.body, &mut office.treasurer);
    let call = Prepare {
        authorization,
        ..call
    };
    let attack = "authorization with an officer's device";
    arena
        .prepare_at_is_refused(attack, &node, &call, expected)
        .await;
}

/// A copy of the device does not know how far the device has counted.
async fn counters(arena: &mut Arena, office: &mut Office) {
    let session = office.session(arena).await;
    let pair = arena.pair();
    arena.is_signed(&session, &pair).await;
    for (attack, counter) in [
        ("assertion whose counter stands still", None),
        ("assertion whose counter went back", Some(1)),
        ("assertion whose counter begins at zero again", Some(0)),
    ] {
        let request = arena.payment();
        let body = office.body(arena, &request);
        let approval = asserted(arena, body, |challenge| {
            let mut draft = office.guard.draft(challenge);
            draft.counter = counter.unwrap_or(draft.counter - 1);
            office.guard.sign(draft)
        });
        let approvals = office.with(arena, &request, (2, approval));
        let expected = (ProblemCode::Approval, "was the authenticator copied?");
        arena
            .approvals_are_refused(attack, (&request, &approvals), expected)
            .await;
    }
    office.an_approved_payment_is_signed(arena).await;
}
