//! One statement of every kind, with fixed content: for golden files, property tests and fuzzing.

use super::single_key::SingleKey;
use super::{
    APPROVERS, AUTHOR, COORDINATOR, OBSERVER, OFFICER, OPERATOR, PAYMENTS, TestDeployment, WALLET,
    key_id, member, wallet_id,
};
use crate::bundle::{Environment, PolicyBundle};
use crate::statement::{
    AckStage, Approval, Body, BundleAck, Cancel, CancelReason, CeremonyTranscript, Confirm, Fate,
    Freeze, FreezeTarget, IncarnationAck, KeyCeremony, Kind, LedgerEntry, LedgerEvent, NodeTls,
    Observation, OfflineConsent, Receipt, Reservation, SessionTerms, SignRequest, StatementError,
    StopAck, StopOutcome, TestSignature, Unfreeze, Verdict, Veto,
};
use crate::{Envelope, Facts, Hash, Intent, Protocol, Signature};

/// A statement of the deployment.
#[derive(Debug, Clone)]
pub struct Sample {
    /// The kind, and for ledger entries the event.
    pub name: &'static str,
    /// The kind.
    pub kind: Kind,
    /// The statement, signed.
    pub envelope: Envelope,
}

const NODE: &str = "node-1";

/// At least one statement of every kind, made by a deployment that has the single keys. The same every time.
pub fn samples(deployment: &TestDeployment) -> Vec<Sample> {
    let bundle = deployment.bundle();
    let request = deployment.usdt_request("payment-1", 1_000_000);
    let participants = deployment.nodes().into_iter().take(2).collect::<Vec<_>>();
    let authorization = deployment.authorization_body(&bundle, &request, &participants, 1);
    let digests = authorization.digests.clone();
    let nonce = authorization.nonce;
    let authorization = sample(deployment, "authorization", COORDINATOR, authorization);
    let terms = SessionTerms {
        session: SessionTerms::session_id(authorization.envelope.digest()),
        authorization: authorization.envelope.digest(),
        request: request.digest(),
        digests,
        bundle: bundle.digest(),
        freeze_head: Hash::ZERO,
        presignature: None,
        checkpoint: None,
        participants,
        witnesses: Vec::new(),
        attempt: 1,
        offline: false,
    };
    let opened = bundle.directory().open::<SignRequest>(&request);
    let opened = opened.expect("the deployment's own request");
    let facts = Facts::establish(&bundle, opened.body()).expect("the facts of its own request");
    let intent = facts.transaction().intent();
    let reservation = Reservation {
        session: terms.session,
        authorization: terms.authorization,
        nonce,
        request: terms.request,
        initiator: opened.issuer().clone(),
        external_id: opened.body().external_id.clone(),
        wallet: wallet_id(WALLET),
        key: opened.body().key.clone(),
        digests: terms.digests.clone(),
        network: intent.network,
        source: *facts.source(),
        transfers: intent.transfers.clone(),
        approvals: intent.approvals.clone(),
        max_fee: intent.max_fee.amount,
        lifetime: intent.lifetime.clone(),
        participants: terms.participants.clone(),
        expires_at: deployment.now().plus_seconds(60),
        presignature: Some(Hash::sha256(b"presignature")),
    };
    let cancel = Cancel::new(request.digest(), CancelReason::Initiator, "paid otherwise");
    let cancel = sample(deployment, "cancel", PAYMENTS, cancel);
    let stop_ack = StopAck {
        request: request.digest(),
        cancel: cancel.envelope.digest(),
        outcome: StopOutcome::Stopped,
    };
    let receipt = Receipt {
        terms: terms.clone(),
        ledger_sequence: 1,
        ledger_head: Hash::sha256(b"entry 1"),
    };
    let confirm = Confirm {
        session: terms.session,
        receipts: Hash::sha256(b"receipts"),
        ledger_sequence: 2,
        ledger_head: Hash::sha256(b"entry 2"),
        cleared: None,
    };
    let consent = OfflineConsent {
        package: Hash::sha256(b"package"),
        request: request.digest(),
        digests: terms.digests.clone(),
        machine: member("vault"),
    };
    let tls = NodeTls {
        public_key_sha256: Hash::sha256(b"public key info"),
    };
    let entries = ledger_events(&terms, reservation, cancel.envelope.digest());
    let mut all = vec![
        Sample {
            name: "sign-request",
            kind: Kind::SignRequest,
            envelope: request,
        },
        authorization,
        cancel,
        sample(deployment, "stop-ack", NODE, stop_ack),
        sample(deployment, "receipt", NODE, receipt),
        sample(deployment, "confirm", NODE, confirm),
        sample(deployment, "node-tls", NODE, tls),
        sample(deployment, "offline-consent", OPERATOR, consent),
    ];
    all.extend(
        entries
            .into_iter()
            .zip(1..)
            .map(|((name, event), sequence)| {
                let previous = match sequence {
                    1 => Hash::ZERO,
                    _ => Hash::sha256(b"the entry before"),
                };
                let entry = LedgerEntry {
                    sequence,
                    previous,
                    event,
                };
                sample(deployment, name, NODE, entry)
            }),
    );
    all.extend(officer_samples(deployment, &terms, intent));
    all.extend(key_samples(deployment));
    all
}

/// What officers, approvers, observers and nodes say besides.
fn officer_samples(
    deployment: &TestDeployment,
    terms: &SessionTerms,
    intent: &Intent,
) -> Vec<Sample> {
    let approval = Approval {
        request: terms.request,
        digests: terms.digests.clone(),
        intent: intent.clone(),
        bundle: terms.bundle,
        verdict: Verdict::Approve,
    };
    let freeze = Freeze {
        target: FreezeTarget::Wallet {
            wallet: wallet_id(WALLET),
        },
        reason: "unknown withdrawals".to_owned(),
    };
    let freeze = sample(deployment, "freeze", OFFICER, freeze);
    let unfreeze = Unfreeze {
        freezes: vec![freeze.envelope.digest()],
        reason: "they were ours".to_owned(),
    };
    let ack = BundleAck {
        bundle: Hash::sha256(b"successor"),
        version: 2,
        predecessor: terms.bundle,
        stage: AckStage::Kept,
        replaces: Vec::new(),
    };
    let veto = Veto {
        bundle: Hash::sha256(b"successor"),
        reason: "not what was agreed".to_owned(),
    };
    let observation = Observation {
        network: intent.network,
        digest: terms.digests.first().copied().unwrap_or(Hash::ZERO),
        fate: Fate::Confirmed {
            transaction: "0x01".to_owned(),
            block: 1_000,
            depth: 64,
            used: None,
        },
    };
    let incarnation = IncarnationAck {
        node: deployment.nodes().pop().expect("a deployment has nodes"),
        incarnation: 2,
        nonce: Hash::sha256(b"this start"),
        ledger_sequence: 1,
        ledger_head: Hash::sha256(b"entry 1"),
    };
    vec![
        sample(deployment, "approval", OFFICER, approval),
        sample(deployment, "unfreeze", OFFICER, unfreeze),
        freeze,
        sample(deployment, "bundle-ack", NODE, ack),
        sample(deployment, "veto", APPROVERS[0], veto),
        sample(deployment, "observation", OBSERVER, observation),
        sample(deployment, "incarnation-ack", NODE, incarnation),
    ]
}

fn ledger_events(
    terms: &SessionTerms,
    reservation: Reservation,
    cancel: Hash,
) -> [(&'static str, LedgerEvent); 11] {
    let session = terms.session;
    [
        (
            "ledger-entry-reserved",
            LedgerEvent::Reserved(Box::new(reservation)),
        ),
        ("ledger-entry-released", LedgerEvent::Released { session }),
        (
            "ledger-entry-aborted",
            LedgerEvent::Aborted {
                session,
                reason: "node-2 did not confirm in time".to_owned(),
            },
        ),
        (
            "ledger-entry-stopped",
            LedgerEvent::Stopped {
                request: terms.request,
                cancel,
            },
        ),
        (
            "ledger-entry-bundle-accepted",
            LedgerEvent::BundleAccepted {
                bundle: terms.bundle,
                version: 1,
            },
        ),
        (
            "ledger-entry-key-stored",
            LedgerEvent::KeyStored {
                key: key_id("hot-2"),
                ceremony: Hash::sha256(b"ceremony"),
            },
        ),
        (
            "ledger-entry-frozen",
            LedgerEvent::Frozen {
                freeze: Hash::sha256(b"freeze"),
            },
        ),
        (
            "ledger-entry-unfrozen",
            LedgerEvent::Unfrozen {
                unfreeze: Hash::sha256(b"unfreeze"),
                freezes: vec![Hash::sha256(b"freeze")],
            },
        ),
        (
            "ledger-entry-bundle-acknowledged",
            LedgerEvent::BundleAcknowledged {
                bundle: Hash::sha256(b"successor"),
                version: 2,
            },
        ),
        (
            "ledger-entry-observed",
            LedgerEvent::Observed {
                digest: Hash::sha256(b"digest"),
                observation: Hash::sha256(b"observation"),
                dead: true,
            },
        ),
        (
            "ledger-entry-started",
            LedgerEvent::Started { incarnation: 2 },
        ),
    ]
}

/// The statements about keys and policy: order, transcript, bundles.
fn key_samples(deployment: &TestDeployment) -> [Sample; 4] {
    let order = KeyCeremony {
        key: key_id("hot-2"),
        protocol: Protocol::Dkls23,
        threshold: 2,
        max_faulty: 0,
        nodes: deployment.nodes().into_iter().take(3).collect(),
        purpose: "hot wallet of the second brand".to_owned(),
        environment: Environment::Test,
    };
    let ceremony = deployment.ceremony(order.clone());
    let tests = order
        .nodes
        .windows(2)
        .map(|pair| TestSignature {
            signers: pair.to_vec(),
            signature: Signature::Secp256k1 {
                r: [1; 32],
                s: [2; 32],
            },
        })
        .collect();
    let transcript = CeremonyTranscript {
        ceremony: ceremony.digest(),
        order,
        group_key: SingleKey::ecdsa().public_key(),
        chain_code: SingleKey::ecdsa().chain_code(),
        tests,
    };
    let successor = deployment.successor(&deployment.bundle(), |content| {
        content.organisation = "Test, renamed".to_owned();
    });
    let bundle = |name, envelope| Sample {
        name,
        kind: Kind::PolicyBundle,
        envelope,
    };
    [
        Sample {
            name: "key-ceremony",
            kind: Kind::KeyCeremony,
            envelope: ceremony,
        },
        sample(deployment, "ceremony-transcript", NODE, transcript),
        bundle("policy-bundle-genesis", deployment.genesis()),
        bundle("policy-bundle-successor", successor),
    ]
}

fn sample<B: Body>(
    deployment: &TestDeployment,
    name: &'static str,
    issuer: &str,
    body: B,
) -> Sample {
    let statement = deployment.statement(issuer, name, 60, body);
    let others: &[&str] = match issuer {
        AUTHOR => &APPROVERS,
        _ => &[],
    };
    Sample {
        name,
        kind: B::KIND,
        envelope: deployment.sign_by(&statement, others),
    }
}

/// Opens an envelope as a statement of `kind` under the deployment's genesis bundle, the genesis itself as what it is.
///
/// # Errors
/// What [`Directory::open`](crate::statement::Directory::open) or its like says. Whether a quorum signed is not looked at.
pub fn open_as(
    deployment: &TestDeployment,
    kind: Kind,
    envelope: &Envelope,
) -> Result<Hash, StatementError> {
    let bundle = deployment.bundle();
    let directory = bundle.directory();
    let digest = match kind {
        Kind::SignRequest => directory.open::<SignRequest>(envelope)?.digest(),
        Kind::Cancel => directory.open::<Cancel>(envelope)?.digest(),
        Kind::PolicyBundle if *envelope == deployment.genesis() => envelope.digest(),
        Kind::PolicyBundle => directory.open_quorum::<PolicyBundle>(envelope)?.digest(),
        Kind::Authorization => directory
            .open::<crate::statement::Authorization>(envelope)?
            .digest(),
        Kind::KeyCeremony => directory.open_quorum::<KeyCeremony>(envelope)?.digest(),
        Kind::CeremonyTranscript => directory.open::<CeremonyTranscript>(envelope)?.digest(),
        Kind::Receipt => directory.open::<Receipt>(envelope)?.digest(),
        Kind::Confirm => directory.open::<Confirm>(envelope)?.digest(),
        Kind::LedgerEntry => directory.open::<LedgerEntry>(envelope)?.digest(),
        Kind::StopAck => directory.open::<StopAck>(envelope)?.digest(),
        Kind::NodeTls => directory.open::<NodeTls>(envelope)?.digest(),
        Kind::OfflineConsent => directory.open::<OfflineConsent>(envelope)?.digest(),
        Kind::Approval => directory.open::<Approval>(envelope)?.digest(),
        Kind::Freeze => directory.open::<Freeze>(envelope)?.digest(),
        Kind::Unfreeze => directory.open_quorum::<Unfreeze>(envelope)?.digest(),
        Kind::BundleAck => directory.open::<BundleAck>(envelope)?.digest(),
        Kind::Veto => directory.open::<Veto>(envelope)?.digest(),
        Kind::Observation => directory.open_quorum::<Observation>(envelope)?.digest(),
        Kind::IncarnationAck => directory.open::<IncarnationAck>(envelope)?.digest(),
    };
    Ok(digest)
}
