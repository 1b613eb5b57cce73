//! How a key comes to be: the order, and what every node says came out of it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Body, Kind, strictly_ascending};
use crate::bundle::Environment;
use crate::hash::Hash;
use crate::id::{KeyId, MemberId};
use crate::plain::plain_text;
use crate::protocol::Protocol;
use crate::{ChainCode, PublicKey, Signature};

/// The most nodes that hold one key.
pub(super) const MAX_GROUP: usize = 16;

/// A quorum of policy approvers orders a key to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyCeremony {
    /// The key's name, never used before.
    pub key: KeyId,
    /// The protocol; it never changes for this key.
    pub protocol: Protocol,
    /// How many nodes sign together; 1 for an HSM key.
    pub threshold: u16,
    /// How many nodes may lie without a stop being reported wrongly; 0 for an HSM key.
    pub max_faulty: u16,
    /// The nodes that hold shares, or the machines whose tokens hold the HSM key, in ascending order.
    pub nodes: Vec<MemberId>,
    /// What the key is for, for people and as domain separation; 1 to 128 bytes.
    pub purpose: String,
    /// Production and test keys never mix.
    pub environment: Environment,
}

impl Body for KeyCeremony {
    const KIND: Kind = Kind::KeyCeremony;

    fn check(&self) -> Result<(), String> {
        strictly_ascending("nodes", &self.nodes)?;
        check_group(
            self.protocol,
            self.threshold,
            self.max_faulty,
            self.nodes.len(),
        )?;
        // As strict as a bundle is: what is made here must be possible to pin.
        plain_text(&self.purpose).map_err(|what| format!("the key's purpose {what}"))
    }
}

/// A test signature made at the end of a ceremony, over a preimage that can be no transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestSignature {
    /// The nodes that made it.
    pub signers: Vec<MemberId>,
    /// The signature; anybody can check it against the group key and [`KeyCeremony::test_message`].
    pub signature: Signature,
}

impl KeyCeremony {
    /// The preimage of a ceremony's test signatures: it starts with a byte that begins no transaction of any
    /// supported network, followed by text.
    ///
    /// Four bytes `0xff` begin no RLP list that could exist (its length would exceed 2^63 bytes), no EIP-2718 transaction
    /// (types end at `0x7f`), no protobuf field (wire type 7 does not exist), and no Solana message (version 127, of which
    /// there is none; off-chain messages go on with text after one `0xff`).
    pub fn test_message(ceremony: Hash, key: &KeyId, signers: &[MemberId]) -> Vec<u8> {
        let mut message = vec![0xff; 4];
        let names: Vec<&str> = signers.iter().map(MemberId::as_str).collect();
        let text = format!(
            "countersign key test, not a transaction: ceremony {ceremony}, key {key}, signers {}",
            names.join(",")
        );
        message.extend_from_slice(text.as_bytes());
        message
    }
}

/// What came out of a ceremony. Every node signs the same content, after it stored its share durably and took part in
/// a verified test signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CeremonyTranscript {
    /// Digest of the ceremony order.
    pub ceremony: Hash,
    /// The order itself.
    pub order: KeyCeremony,
    /// The group public key.
    pub group_key: PublicKey,
    /// The BIP-32 chain code of the root, for secp256k1 keys.
    pub chain_code: Option<ChainCode>,
    /// Test signatures in which, together, every node took part.
    pub tests: Vec<TestSignature>,
}

impl CeremonyTranscript {
    /// The hash that a bundle pins: over the canonical JSON of the content, which is the same on every node.
    pub fn content_hash(&self) -> Result<Hash, crate::canonical::CanonicalError> {
        Ok(Hash::derive(
            "countersign/ceremony-transcript/v1",
            &[&crate::canonical::to_vec(self)?],
        ))
    }

    /// Verifies every test signature against the group key: ECDSA over the message's SHA-256, Ed25519 over the message.
    /// That together they cover every node is a rule on the content of every statement that was opened.
    ///
    /// # Errors
    /// The signers of the first one that does not hold.
    pub fn verify_tests(&self) -> Result<(), Vec<MemberId>> {
        for test in &self.tests {
            let message = KeyCeremony::test_message(self.ceremony, &self.order.key, &test.signers);
            let prehash = Hash::sha256(&message);
            let holds = self
                .group_key
                .verifies(&test.signature, &message, prehash.as_bytes());
            if !holds {
                return Err(test.signers.clone());
            }
        }
        Ok(())
    }
}

impl Body for CeremonyTranscript {
    const KIND: Kind = Kind::CeremonyTranscript;

    fn check(&self) -> Result<(), String> {
        let order = &self.order;
        order.check()?;
        let secp256k1 = order.protocol.is_secp256k1();
        if secp256k1 != matches!(self.group_key, PublicKey::Secp256k1(_)) {
            return Err("the group key's curve is not the protocol's".into());
        }
        if order.protocol.has_children() != self.chain_code.is_some() {
            return Err(
                "secp256k1 keys of a threshold protocol have a chain code, all others have none"
                    .into(),
            );
        }
        let mut took_part = BTreeSet::new();
        for test in &self.tests {
            strictly_ascending("the signers of a test signature", &test.signers)?;
            if test.signers.len() != usize::from(order.threshold) {
                return Err("a test signature is made by as many nodes as the threshold".into());
            }
            if secp256k1 != matches!(test.signature, Signature::Secp256k1 { .. }) {
                return Err("a test signature's curve is not the protocol's".into());
            }
            took_part.extend(&test.signers);
        }
        if !took_part.iter().copied().eq(&order.nodes) {
            return Err("the test signatures must cover the order's nodes, and nobody else".into());
        }
        Ok(())
    }
}

/// Whether a group is sound. A threshold group: 2 <= t <= n, 2t > n, so that any two signer sets share a node, and enough
/// honest nodes remain to stop a request: t - 1 >= f and n - t + 1 + f <= n. The machines of an HSM key each sign alone:
/// t = 1, and none of them may lie.
pub(crate) fn check_group(
    protocol: Protocol,
    threshold: u16,
    max_faulty: u16,
    nodes: usize,
) -> Result<(), String> {
    let (t, f, n) = (usize::from(threshold), usize::from(max_faulty), nodes);
    if protocol.is_hsm() {
        if t != 1 || f != 0 || n == 0 || n > MAX_GROUP {
            return Err(format!(
                "an HSM key has 1 to {MAX_GROUP} machines that sign alone: threshold 1 and max_faulty 0, not {t} of {n} with {f}"
            ));
        }
        return Ok(());
    }
    if n > MAX_GROUP || t < 2 || t > n {
        return Err(format!(
            "a group has 2 to {MAX_GROUP} nodes and a threshold from 2 to their number, not {t} of {n}"
        ));
    }
    if t.saturating_mul(2) <= n {
        return Err(format!(
            "{t} of {n}: two disjoint sets of nodes could sign; the threshold must exceed half"
        ));
    }
    if f >= t {
        return Err(format!("max_faulty {f} must be below the threshold {t}"));
    }
    Ok(())
}
