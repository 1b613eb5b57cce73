//! Bodies for envelopes, statements of every kind, and policy bundles.

use std::sync::LazyLock;

use countersign_policy::bundle::{BundleChain, PolicyBundle};
use countersign_policy::statement::{
    Approval, Authorization, Body, BundleAck, Cancel, CeremonyTranscript, Confirm, Freeze,
    IncarnationAck, KeyCeremony, Kind, LedgerEntry, NodeTls, Observation, OfflineConsent, Receipt,
    SignRequest, Statement, StopAck, Unfreeze, Veto,
};
use countersign_policy::testing::{APPROVERS, AUTHOR, Sample, TestDeployment, open_as, samples};
use countersign_policy::{Envelope, Facts, Outcome, Standing, canonical, decide};

static DEPLOYMENT: LazyLock<TestDeployment> =
    LazyLock::new(|| TestDeployment::with_single_keys(3, 2));
static SAMPLES: LazyLock<Vec<Sample>> = LazyLock::new(|| samples(&DEPLOYMENT));

/// Bytes as the JSON of an envelope: what is read is written so that it reads the same, with the same digest.
pub fn read_envelope(input: &[u8]) {
    let Ok(envelope) = serde_json::from_slice::<Envelope>(input) else {
        return;
    };
    let json = serde_json::to_vec(&envelope).expect("an envelope has a JSON form");
    let again: Envelope = serde_json::from_slice(&json).expect("that is read back");
    assert_eq!(again, envelope);
    assert_eq!(again.digest(), envelope.digest());
    for kind in Kind::ALL {
        // Whatever it claims to be: nobody's signature is under it, unless it is one of the samples.
        if let Ok(digest) = open_as(&DEPLOYMENT, kind, &envelope) {
            assert!(SAMPLES.iter().any(|s| s.envelope.digest() == digest));
        }
    }
}

/// The first byte chooses the kind, the rest is a payload: what is read is its own canonical encoding.
pub fn read_statement(input: &[u8]) {
    let Some((choice, payload)) = input.split_first() else {
        return;
    };
    match Kind::ALL[usize::from(*choice) % Kind::ALL.len()] {
        Kind::SignRequest => one_encoding::<SignRequest>(payload),
        Kind::Cancel => one_encoding::<Cancel>(payload),
        Kind::PolicyBundle => one_encoding::<PolicyBundle>(payload),
        Kind::Authorization => one_encoding::<Authorization>(payload),
        Kind::KeyCeremony => one_encoding::<KeyCeremony>(payload),
        Kind::CeremonyTranscript => one_encoding::<CeremonyTranscript>(payload),
        Kind::Receipt => one_encoding::<Receipt>(payload),
        Kind::Confirm => one_encoding::<Confirm>(payload),
        Kind::LedgerEntry => one_encoding::<LedgerEntry>(payload),
        Kind::StopAck => one_encoding::<StopAck>(payload),
        Kind::NodeTls => one_encoding::<NodeTls>(payload),
        Kind::OfflineConsent => one_encoding::<OfflineConsent>(payload),
        Kind::Approval => one_encoding::<Approval>(payload),
        Kind::Freeze => one_encoding::<Freeze>(payload),
        Kind::Unfreeze => one_encoding::<Unfreeze>(payload),
        Kind::BundleAck => one_encoding::<BundleAck>(payload),
        Kind::Veto => one_encoding::<Veto>(payload),
        Kind::Observation => one_encoding::<Observation>(payload),
        Kind::IncarnationAck => one_encoding::<IncarnationAck>(payload),
    }
}

fn one_encoding<B: Body>(payload: &[u8]) {
    if let Ok(statement) = canonical::from_slice::<Statement<B>>(payload, 1 << 20) {
        let written = canonical::to_vec(&statement).expect("what was read can be written");
        assert_eq!(written, payload);
        // Total: any content gets an answer.
        let _ = statement.body.check();
    }
}

/// The first byte chooses a statement, the rest edits its payload (position, new byte), which its honest signers then sign:
/// what is accepted is canonical, and has a digest of its own unless nothing changed.
pub fn mutate_statement(input: &[u8]) {
    let Some((choice, edits)) = input.split_first() else {
        return;
    };
    let sample = &SAMPLES[usize::from(*choice) % SAMPLES.len()];
    let payload = edited(sample.envelope.payload(), edits);
    let mut signers = sample
        .envelope
        .signatures()
        .iter()
        .map(|s| s.keyid.as_str());
    let first = signers.next().expect("a sample is signed");
    let mut envelope = Envelope::sign(
        sample.envelope.payload_type(),
        payload.clone(),
        first,
        DEPLOYMENT.identity(first),
    );
    for signer in signers {
        envelope
            .add_signature(signer, DEPLOYMENT.identity(signer))
            .expect("room for a signature");
    }
    if let Ok(digest) = open_as(&DEPLOYMENT, sample.kind, &envelope) {
        let value: serde_json::Value = serde_json::from_slice(&payload).expect("accepted JSON");
        assert_eq!(canonical::to_vec(&value).expect("canonical"), payload);
        let same = payload == sample.envelope.payload();
        assert_eq!(same, digest == sample.envelope.digest());
    }
}

/// Edits of a genesis bundle that its quorum then signs: it is refused, or everything can be decided under it, and nothing
/// without a rule.
pub fn judge_bundle(input: &[u8]) {
    let genesis = DEPLOYMENT.genesis();
    let payload = edited(genesis.payload(), input);
    let mut envelope = Envelope::sign(
        &Kind::PolicyBundle.payload_type(),
        payload,
        AUTHOR,
        DEPLOYMENT.identity(AUTHOR),
    );
    for approver in APPROVERS {
        envelope
            .add_signature(approver, DEPLOYMENT.identity(approver))
            .expect("room for a signature");
    }
    let Ok(chain) = BundleChain::from_genesis(&envelope, envelope.digest()) else {
        return;
    };
    let bundle = chain.active();
    let opened = SAMPLES
        .iter()
        .find(|s| s.kind == Kind::SignRequest)
        .map(|s| s.envelope.clone())
        .expect("a sample request");
    // The request is for the unedited genesis; its content is judged under the edited one.
    let body = DEPLOYMENT
        .bundle()
        .directory()
        .open::<SignRequest>(&opened)
        .expect("the sample is valid");
    let Ok(facts) = Facts::establish(bundle, body.body()) else {
        return;
    };
    let decision = decide(
        bundle,
        &body,
        &facts,
        &Standing::unencumbered(),
        DEPLOYMENT.now(),
    );
    if bundle.content().rules.is_empty() {
        assert_eq!(decision.outcome, Outcome::Blocked);
    }
    assert_eq!(
        decision.outcome == Outcome::Allow,
        decision.reasons.is_empty()
    );
}

/// Three bytes an edit: a position and what stands there from then on.
pub(super) fn edited(original: &[u8], edits: &[u8]) -> Vec<u8> {
    let mut bytes = original.to_vec();
    for edit in edits.chunks_exact(3) {
        let at = usize::from(u16::from_be_bytes([edit[0], edit[1]]));
        match bytes.get_mut(at) {
            Some(byte) => *byte = edit[2],
            None => bytes.push(edit[2]),
        }
    }
    bytes
}
