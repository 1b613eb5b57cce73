//! Bodies for the transaction decoders and the text forms around them.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use countersign_policy::{
    Address, Amount, AssetId, DerivationPath, HashAlgorithm, Intent, Network, PublicKey, Signature,
    decode,
};
use sha2::{Digest, Sha256};
use sha3::Keccak256;

use crate::transactions::{Choices, random_evm, random_tron};

/// The first byte chooses the chain, the rest is the transaction.
pub fn decode_evm(input: &[u8]) {
    let chains = [1, 10, 56, 137, 8453, 42161];
    if let Some((choice, bytes)) = input.split_first() {
        let chain_id = chains[usize::from(*choice) % chains.len()];
        accepted_only_as_it_is(&Network::evm(chain_id).expect("not zero"), bytes);
    }
}

/// Bytes as a Tron `raw_data`.
pub fn decode_tron(input: &[u8]) {
    accepted_only_as_it_is(&Network::TRON, input);
}

/// Bytes as a Solana message.
pub fn decode_solana(input: &[u8]) {
    accepted_only_as_it_is(&Network::SOLANA, input);
}

/// Eight bytes make a valid transaction; the rest are edits of it (position, new byte). What is still accepted has the
/// edited bytes as its preimage: nothing that differs is decoded as if it did not.
pub fn mutate_transaction(input: &[u8]) {
    let Some((seed, edits)) = input.split_first_chunk::<8>() else {
        return;
    };
    let mut choices = Choices::new(u64::from_be_bytes(*seed));
    let transaction = if choices.below(2) == 0 {
        random_evm(&mut choices)
    } else {
        random_tron(&mut choices, &[0x22; 20])
    };
    let network: Network = transaction.network.parse().expect("generated");
    let mut bytes = transaction.bytes;
    let original = decode(&network, &bytes).expect("a generated transaction is valid");
    for edit in edits.chunks_exact(3) {
        let at = usize::from(u16::from_be_bytes([edit[0], edit[1]]));
        match bytes.get_mut(at) {
            Some(byte) => *byte = edit[2],
            None => bytes.push(edit[2]),
        }
    }
    accepted_only_as_it_is(&network, &bytes);
    if let Ok(edited) = decode(&network, &bytes) {
        let same = edited.preimage() == original.preimage();
        assert_eq!(
            same,
            edited.digest() == original.digest(),
            "one digest, one transaction"
        );
    }
}

/// I4: what is accepted is its own re-encoding, hashed by the chain's function, and its intent survives JSON.
fn accepted_only_as_it_is(network: &Network, bytes: &[u8]) {
    let Ok(transaction) = decode(network, bytes) else {
        return;
    };
    assert_eq!(transaction.preimage(), bytes);
    let digest: [u8; 32] = match transaction.hash_algorithm() {
        HashAlgorithm::Keccak256 => Keccak256::digest(bytes).into(),
        HashAlgorithm::Sha256 | HashAlgorithm::Ed25519Message => Sha256::digest(bytes).into(),
    };
    assert_eq!(transaction.digest().as_bytes(), &digest);
    let intent = transaction.intent();
    assert_eq!(&intent.network, network);
    let json = serde_json::to_vec(intent).expect("an intent has a JSON form");
    let read: Intent = serde_json::from_slice(&json).expect("that is read back");
    assert_eq!(&read, intent);
    for transfer in &intent.transfers {
        assert_eq!(transfer.asset.network(), network);
        assert!(transfer.to.matches(network));
    }
    assert!(intent.warnings.is_sorted());
}

/// Text as each of the types that have one canonical form.
pub fn read_names(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    one_form::<Amount>(text);
    one_form::<Network>(text);
    one_form::<DerivationPath>(text);
    one_form::<PublicKey>(text);
    one_form::<Signature>(text);
    stable_form::<Address>(text);
    stable_form::<AssetId>(text);
}

/// What is read is written as it was.
fn one_form<T: FromStr + Display>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        assert_eq!(value.to_string(), text);
    }
}

/// What is read is written in a form that reads as the same (EVM addresses may come without checksum).
fn stable_form<T: FromStr + Display + PartialEq + Debug>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        assert_eq!(value.to_string().parse::<T>().ok(), Some(value));
    }
}
