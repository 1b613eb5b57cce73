//! WebAuthn: the relying party, its origins, and members' credentials.

use std::collections::BTreeMap;

use super::super::model::{Credential, CredentialAlgorithm, Member, PolicyBundle, Role};
use super::Findings;
use crate::HexBytes;
use crate::envelope::IdentityPublicKey;
use crate::id::MemberId;

/// Sizes of credential ids, WebAuthn level 3 section 4 (credential id: at least 16 bytes) and 5.8.3 (at most 1023).
const CREDENTIAL_ID: std::ops::RangeInclusive<usize> = 16..=1023;

pub(super) fn webauthn(findings: &mut Findings, bundle: &PolicyBundle) {
    let Some(policy) = &bundle.webauthn else {
        return;
    };
    findings.require(
        is_host(&policy.rp_id),
        "webauthn.rp_id",
        "must be a host name in lower case, without scheme, port or path: approve.example.com",
    );
    findings.ascending("webauthn.origins", &policy.origins);
    findings.require(
        !policy.origins.is_empty(),
        "webauthn.origins",
        "without an origin no assertion counts: name one, or leave webauthn out",
    );
    for origin in &policy.origins {
        let at = format!("webauthn.origins[{origin}]");
        let Some(host) = https_host(origin) else {
            findings.add(
                at,
                "an origin is https://host or https://host:port, in lower case, without a path or the port 443",
            );
            continue;
        };
        let below = host.strip_suffix(policy.rp_id.as_str());
        findings.require(
            below.is_some_and(|rest| rest.is_empty() || rest.ends_with('.')),
            at,
            format!("is not below the relying party {}", policy.rp_id),
        );
    }
}

pub(super) fn credentials(findings: &mut Findings, bundle: &PolicyBundle) {
    let mut ids = BTreeMap::new();
    let mut keys: BTreeMap<HexBytes, &MemberId> = BTreeMap::new();
    for member in &bundle.members {
        for key in &member.keys {
            keys.insert(HexBytes(key.public_key.as_bytes().to_vec()), &member.id);
        }
    }
    for member in &bundle.members {
        holder(findings, bundle, member);
        for credential in &member.credentials {
            let at = format!("members[{}].credentials[{}]", member.id, credential.id);
            findings.require(
                CREDENTIAL_ID.contains(&credential.id.0.len()),
                &at,
                "a credential id has 16 to 1023 bytes",
            );
            if let Some(other) = ids.insert(&credential.id, &member.id) {
                findings.add(&at, format!("is also a credential of {other}"));
            }
            if let Some(other) = keys.insert(credential.public_key.clone(), &member.id) {
                findings.add(
                    &at,
                    format!("its key is also a key of {other}: one key, one use"),
                );
            }
            if let Some(what) = unusable(credential) {
                findings.add(format!("{at}.public_key"), what);
            }
        }
    }
}

fn holder(findings: &mut Findings, bundle: &PolicyBundle, member: &Member) {
    if member.credentials.is_empty() {
        return;
    }
    let at = format!("members[{}].credentials", member.id);
    findings.require(
        member.roles.contains(&Role::SecurityOfficer),
        &at,
        "credentials approve, reject and freeze: only security officers have them",
    );
    findings.require(
        bundle.webauthn.is_some(),
        &at,
        "without webauthn no credential counts: add it to the bundle",
    );
}

/// Why a credential's key could not verify anything, or too much.
fn unusable(credential: &Credential) -> Option<&'static str> {
    let bytes = credential.public_key.0.as_slice();
    match credential.algorithm {
        CredentialAlgorithm::Es256 => {
            let compressed = bytes.len() == 33 && matches!(bytes.first(), Some(2 | 3));
            if !compressed {
                return Some("an ES256 key is a compressed SEC1 point of 33 bytes");
            }
            let point = p256::PublicKey::from_sec1_bytes(bytes);
            point.is_err().then_some("is no point of P-256")
        }
        CredentialAlgorithm::Eddsa => {
            let key = <[u8; 32]>::try_from(bytes).map(IdentityPublicKey::from_bytes);
            let usable = key.is_ok_and(|k| k.is_usable());
            (!usable).then_some("is no usable Ed25519 key of 32 bytes")
        }
    }
}

/// A host name in lower case; an internationalised one in its ASCII form.
fn is_host(text: &str) -> bool {
    let label = |label: &str| {
        let inner = label
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        (1..=63).contains(&label.len()) && inner && !label.starts_with('-') && !label.ends_with('-')
    };
    (1..=253).contains(&text.len()) && text.split('.').all(label)
}

fn https_host(origin: &str) -> Option<&str> {
    let rest = origin.strip_prefix("https://")?;
    let (host, port) = match rest.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (rest, None),
    };
    let sound = port.is_none_or(|port| {
        let canonical = !port.starts_with('0') && port.bytes().all(|b| b.is_ascii_digit());
        canonical && port.parse::<u16>().is_ok_and(|p| p != 443)
    });
    (sound && is_host(host)).then_some(host)
}
