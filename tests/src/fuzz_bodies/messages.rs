//! Bodies for what machines say to each other besides statements and frames: the nodes' API, the coordinator's API, certificates;
//! and for what a program reads at its start.

use std::sync::LazyLock;

use base64::Engine as _;
use countersign_coordinator::{
    AddressList, ApiProblem, BundleList, BundleReport, CeremonyReport, CoordinatorConfig, Health,
    KeyList, NodeList, RequestList, RequestView, Simulation, WalletList,
};
use countersign_policy::bundle::ActiveBundle;
use countersign_policy::testing::{COORDINATOR, TestDeployment, member};
use countersign_signer::net::{CertificateAuthority, CertificateRequest, TlsIdentity};
use countersign_signer::node::NodeConfig;
use countersign_signer::session::ConfirmMessage;
use countersign_signer::wire::{
    BundleAck, Bundles, CeremonyStatus, EntriesKnown, NodeStatus, Pools, Prepare, Prepared,
    PresignAccepted, PresignInvitation, Problem, PushEntries, Records, Sign, Signed, StartCeremony,
    Stop, Stopped, SubmitBundle,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

type Reader = fn(&[u8]);

/// Every body of the nodes' API and of the coordinator's, and the confirms between nodes.
pub const MESSAGES: [Reader; 34] = [
    stable_json::<Prepare>,
    stable_json::<Prepared>,
    stable_json::<Sign>,
    stable_json::<Signed>,
    stable_json::<Stop>,
    stable_json::<Stopped>,
    stable_json::<SubmitBundle>,
    stable_json::<BundleAck>,
    stable_json::<Bundles>,
    stable_json::<StartCeremony>,
    stable_json::<CeremonyStatus>,
    stable_json::<NodeStatus>,
    stable_json::<Pools>,
    stable_json::<PresignInvitation>,
    stable_json::<PresignAccepted>,
    stable_json::<PushEntries>,
    stable_json::<EntriesKnown>,
    stable_json::<Records>,
    stable_json::<Problem>,
    stable_json::<ConfirmMessage>,
    stable_json::<RequestView>,
    stable_json::<RequestList>,
    stable_json::<Simulation>,
    stable_json::<WalletList>,
    stable_json::<AddressList>,
    stable_json::<KeyList>,
    stable_json::<BundleList>,
    stable_json::<BundleReport>,
    stable_json::<CeremonyReport>,
    stable_json::<NodeList>,
    stable_json::<Health>,
    stable_json::<ApiProblem>,
    problems_are_shown_on_one_line,
    read_records,
];

/// The first byte chooses the message, the rest is its JSON: what is read is written so that it reads the same.
pub fn read_message(input: &[u8]) {
    if let Some((choice, json)) = input.split_first() {
        MESSAGES[usize::from(*choice) % MESSAGES.len()](json);
    }
}

fn stable_json<T: Serialize + DeserializeOwned>(json: &[u8]) {
    if let Ok(message) = serde_json::from_slice::<T>(json) {
        let written = serde_json::to_vec(&message).expect("what was read can be written");
        let again: T = serde_json::from_slice(&written).expect("that is read back");
        let twice = serde_json::to_vec(&again).expect("and written again");
        assert_eq!(twice, written, "reading a message changes it");
    }
}

/// A problem of another machine ends in this one's log.
fn problems_are_shown_on_one_line(json: &[u8]) {
    if let Ok(problem) = serde_json::from_slice::<Problem>(json) {
        let shown = problem.to_string();
        assert!(shown.len() < 5_000 && !shown.chars().any(char::is_control));
    }
}

fn read_records(json: &[u8]) {
    if let Ok(text) = std::str::from_utf8(json) {
        let problem = countersign_signer::wire::ProblemCode::Malformed.problem(text);
        assert!(problem.detail.len() <= 2_000 && !problem.detail.chars().any(char::is_control));
    }
}

/// The first byte chooses the program, the rest is its configuration (TOML).
pub fn read_configuration(input: &[u8]) {
    let Some((choice, text)) = input.split_first() else {
        return;
    };
    let Ok(text) = std::str::from_utf8(text) else {
        return;
    };
    match choice % 2 {
        0 => stable_toml::<NodeConfig>(text),
        _ => stable_toml::<CoordinatorConfig>(text),
    }
}

fn stable_toml<T: Serialize + DeserializeOwned>(text: &str) {
    if let Ok(config) = toml::from_str::<T>(text) {
        let written = toml::to_string(&config).expect("what was read can be written");
        let again: T = toml::from_str(&written).expect("that is read back");
        let twice = toml::to_string(&again).expect("and written again");
        assert_eq!(twice, written, "reading a configuration changes it");
    }
}

struct Certificate {
    bundle: ActiveBundle,
    deployment: TestDeployment,
    der: Vec<u8>,
    key_pem: String,
    authority_pem: String,
}

static CERTIFICATE: LazyLock<Certificate> = LazyLock::new(|| {
    let deployment = TestDeployment::with_single_keys(3, 2);
    let authority = CertificateAuthority::create("an authority", deployment.now(), 30);
    let authority = authority.expect("an authority");
    let request = CertificateRequest {
        member: &member(COORDINATOR),
        identity: deployment.identity(COORDINATOR),
        genesis: deployment.genesis_hash(),
        names: &[],
        now: deployment.now(),
        valid_days: 30,
    };
    let pair = authority.issue(&request).expect("a certificate");
    let text: String = pair
        .cert_pem
        .lines()
        .filter(|line| !line.starts_with('-'))
        .collect();
    Certificate {
        bundle: deployment.bundle(),
        der: base64::prelude::BASE64_STANDARD.decode(text).expect("PEM"),
        key_pem: pair.key_pem.as_str().to_owned(),
        authority_pem: authority.certificate_pem().to_owned(),
        deployment,
    }
});

/// Edits of a coordinator's certificate (position, new byte; three bytes an edit): it belongs to that coordinator or to nobody.
pub fn mutate_certificate(edits: &[u8]) {
    let certificate = &*CERTIFICATE;
    let der = super::statements::edited(&certificate.der, edits);
    let text = base64::prelude::BASE64_STANDARD.encode(&der);
    let pem = format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n");
    let identity = TlsIdentity::from_pem(&pem, &certificate.key_pem, &certificate.authority_pem);
    if let Ok(identity) = identity
        && let Ok(peer) = identity.member(&certificate.bundle, certificate.deployment.now())
    {
        assert_eq!(peer.member.as_str(), COORDINATOR);
    }
    if edits.is_empty() {
        let identity =
            TlsIdentity::from_pem(&pem, &certificate.key_pem, &certificate.authority_pem);
        let peer = identity
            .expect("the honest certificate")
            .member(&certificate.bundle, certificate.deployment.now());
        assert_eq!(peer.expect("is believed").member.as_str(), COORDINATOR);
    }
}
