//! Rules on content: each broken rule is refused when signing and when reading.

use crate::statement::{
    Authorization, Body, Cancel, CancelReason, CeremonyTranscript, Confirm, KeyCeremony, Kind,
    LedgerEntry, LedgerEvent, Receipt, Statement, StatementError, TransactionHex,
};
use crate::testing::{TestDeployment, member, samples};
use crate::{Hash, Network, Signature, decode};

fn sample<B: Body>(deployment: &TestDeployment) -> Statement<B> {
    let all = samples(deployment);
    let found = all.iter().find(|s| s.kind == B::KIND).unwrap();
    serde_json::from_slice(found.envelope.payload()).unwrap()
}

/// The statement with one thing changed is refused with a reason that contains `expected`, whoever signed it.
fn refused<B: Body>(change: impl FnOnce(&mut B), expected: &str) {
    let deployment = TestDeployment::with_single_keys(3, 2);
    let mut statement = sample::<B>(&deployment);
    assert_eq!(statement.body.check(), Ok(()), "the sample is sound");
    change(&mut statement.body);
    let reason = statement.body.check().expect_err("must be refused");
    assert!(reason.contains(expected), "{reason}");
    let key = deployment.identity(statement.issuer.as_str());
    assert!(matches!(
        statement.sign(key),
        Err(StatementError::Content { .. })
    ));
    // A signer who skips the check helps nobody.
    let payload = crate::canonical::to_vec(&statement).unwrap();
    let issuer = statement.issuer.as_str();
    let envelope = crate::Envelope::sign(&B::KIND.payload_type(), payload, issuer, key);
    let parsed = crate::statement::parse::<B>(&envelope, deployment.genesis_hash());
    assert!(matches!(parsed, Err(StatementError::Content { .. })));
}

#[test]
fn authorizations() {
    let twice = || vec![member("node-1"), member("node-1")];
    refused::<Authorization>(|b| b.participants = twice(), "ascending");
    refused::<Authorization>(|b| b.participants.reverse(), "ascending");
    refused::<Authorization>(|b| b.participants.clear(), "ascending");
    let many = || {
        let mut all: Vec<_> = (0..17).map(|i| member(&format!("n{i}"))).collect();
        all.sort();
        all
    };
    refused::<Authorization>(|b| b.participants = many(), "at most 16");
    refused::<Authorization>(|b| b.digests.clear(), "at least one");
    refused::<Authorization>(|b| b.digests = vec![Hash::ZERO; 2], "once each");
    let digests = (0..257_u32).map(|i| Hash::sha256(&i.to_be_bytes()));
    refused::<Authorization>(|b| b.digests = digests.collect(), "at most 256");
    refused::<Authorization>(|b| b.attempt = 0, "count from 1");
    refused::<Authorization>(|b| b.approvals = vec![Hash::ZERO; 2], "once each");
    let approvals = (0..65_u32).map(|i| Hash::sha256(&i.to_be_bytes()));
    refused::<Authorization>(|b| b.approvals = approvals.collect(), "at most 64");
}

#[test]
fn receipts_and_confirms() {
    refused::<Receipt>(|b| b.terms.participants.reverse(), "ascending");
    refused::<Receipt>(|b| b.terms.digests.clear(), "at least one");
    refused::<Receipt>(|b| b.terms.attempt = 0, "count from 1");
    refused::<Receipt>(|b| b.terms.session = Hash::ZERO, "not the authorization's");
    refused::<Receipt>(|b| b.ledger_sequence = 0, "counts from 1");
    refused::<Confirm>(|b| b.ledger_sequence = 0, "counts from 1");
}

#[test]
fn ledger_entries() {
    let rule = "only the first has no predecessor";
    refused::<LedgerEntry>(|b| b.sequence = 0, rule);
    refused::<LedgerEntry>(|b| b.sequence = 2, rule);
    refused::<LedgerEntry>(|b| b.previous = Hash::sha256(b"x"), rule);
}

#[test]
fn cancels() {
    refused::<Cancel>(|b| b.detail = "x".repeat(501), "at most 500");
    refused::<Cancel>(|b| b.detail = "a\nb".into(), "control");
    let made = Cancel::new(Hash::ZERO, CancelReason::Failed, &"é\n".repeat(400));
    assert_eq!(made.check(), Ok(()));
    assert!(made.detail.len() >= 498, "{}", made.detail.len());
}

#[test]
fn ceremony_orders() {
    refused::<KeyCeremony>(|b| b.nodes.reverse(), "ascending");
    refused::<KeyCeremony>(|b| b.threshold = 1, "from 2");
    refused::<KeyCeremony>(|b| b.threshold = 4, "from 2");
    refused::<KeyCeremony>(|b| b.max_faulty = 2, "below the threshold");
    refused::<KeyCeremony>(|b| b.nodes.push(member("node-4")), "disjoint");
    refused::<KeyCeremony>(
        |b| {
            b.nodes = (10..27).map(|i| member(&format!("node-{i}"))).collect();
            b.threshold = 9;
        },
        "2 to 16",
    );
    refused::<KeyCeremony>(|b| b.purpose.clear(), "1 to 128");
    refused::<KeyCeremony>(|b| b.purpose = "x".repeat(129), "1 to 128");
    refused::<KeyCeremony>(|b| b.purpose = "hot\u{202e}".into(), "does not show");
}

#[test]
fn transcripts() {
    refused::<CeremonyTranscript>(|b| b.order.threshold = 1, "from 2");
    refused::<CeremonyTranscript>(|b| b.chain_code = None, "chain code");
    let ed25519 = crate::testing::SingleKey::eddsa().public_key();
    refused::<CeremonyTranscript>(|b| b.group_key = ed25519, "curve");
    refused::<CeremonyTranscript>(|b| b.tests.clear(), "cover");
    refused::<CeremonyTranscript>(|b| b.tests.truncate(1), "cover");
    refused::<CeremonyTranscript>(|b| b.tests[0].signers.reverse(), "ascending");
    refused::<CeremonyTranscript>(|b| b.tests[0].signers.truncate(1), "threshold");
    refused::<CeremonyTranscript>(
        |b| b.tests[0].signers = vec![member("a"), member("b")],
        "cover",
    );
    let other = Signature::Ed25519([1; 64]);
    refused::<CeremonyTranscript>(|b| b.tests[0].signature = other, "curve");
}

#[test]
fn two_transcripts_with_one_content_hash_are_the_same() {
    let deployment = TestDeployment::with_single_keys(3, 2);
    let transcript = sample::<CeremonyTranscript>(&deployment).body;
    let hash = transcript.content_hash().unwrap();
    let mut other = transcript.clone();
    other.ceremony = Hash::ZERO;
    assert_ne!(other.content_hash().unwrap(), hash);
    let mut other = transcript.clone();
    other.order.purpose.push('x');
    assert_ne!(other.content_hash().unwrap(), hash);
    assert_eq!(transcript.clone().content_hash().unwrap(), hash);
}

/// I8: what a new key signs to prove itself is no transaction anywhere.
#[test]
fn a_test_message_is_no_transaction() {
    let deployment = TestDeployment::with_single_keys(3, 2);
    let order = sample::<KeyCeremony>(&deployment);
    let nodes = &order.body.nodes;
    let message = KeyCeremony::test_message(Hash::sha256(b"c"), &order.body.key, nodes);
    for network in [
        Network::ETHEREUM,
        Network::evm(56).unwrap(),
        Network::TRON,
        Network::SOLANA,
    ] {
        assert!(decode(&network, &message).is_err(), "{network}");
    }
    let other = KeyCeremony::test_message(Hash::sha256(b"d"), &order.body.key, nodes);
    assert_ne!(message, other);
}

#[test]
fn transaction_text_has_one_form() {
    let read = |text: &str| serde_json::from_value::<TransactionHex>(text.into());
    assert_eq!(read("0x00ff").unwrap().as_bytes(), [0, 0xff]);
    assert!(read("00ff").is_err());
    assert!(read("0x0").is_err());
    assert!(read("0xzz").is_err());
    let longest = format!("0x{}", "00".repeat(crate::statement::MAX_TRANSACTION));
    assert!(read(&longest).is_ok());
    assert!(read(&format!("{longest}00")).is_err());
    // Upper case is read, and refused where it counts: it is not the canonical form.
    let written = serde_json::to_string(&read("0xAB").unwrap()).unwrap();
    assert_eq!(written, "\"0xab\"");
}

#[test]
fn every_ledger_event_is_read_back() {
    let deployment = TestDeployment::with_single_keys(3, 2);
    let entries = samples(&deployment);
    let entries = entries.iter().filter(|s| s.kind == Kind::LedgerEntry);
    let mut seen = std::collections::BTreeSet::new();
    for entry in entries {
        let statement: Statement<LedgerEntry> =
            crate::canonical::from_slice(entry.envelope.payload(), 1 << 20).unwrap();
        seen.insert(match statement.body.event {
            LedgerEvent::Reserved(_) => "reserved",
            LedgerEvent::Released { .. } => "released",
            LedgerEvent::Aborted { .. } => "aborted",
            LedgerEvent::Stopped { .. } => "stopped",
            LedgerEvent::BundleAccepted { .. } => "bundle-accepted",
            LedgerEvent::KeyStored { .. } => "key-stored",
            LedgerEvent::Frozen { .. } => "frozen",
            LedgerEvent::Unfrozen { .. } => "unfrozen",
            LedgerEvent::BundleAcknowledged { .. } => "bundle-acknowledged",
            LedgerEvent::Observed { .. } => "observed",
            LedgerEvent::Started { .. } => "started",
        });
    }
    assert_eq!(seen.len(), 11);
}
