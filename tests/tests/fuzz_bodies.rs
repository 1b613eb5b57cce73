//! The fuzz bodies as bounded property tests, for everywhere that has no libFuzzer.
#![allow(missing_docs)]

use countersign_tests::fuzz_bodies::{
    decode_evm, decode_solana, decode_tron, mutate_transaction, read_names,
};
use proptest::prelude::*;

fn bytes(longest: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..longest)
}

/// Random bytes behind a prefix that gets past the first checks.
fn behind(prefixes: &'static [&'static [u8]], longest: usize) -> impl Strategy<Value = Vec<u8>> {
    (prop::sample::select(prefixes), bytes(longest))
        .prop_map(|(prefix, rest)| [prefix, &rest].concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn evm_bytes(input in behind(&[&[0], &[0, 2, 0xf8, 0x40], &[0, 1, 0xf0], &[0, 0xec, 9, 0x85]], 200)) {
        decode_evm(&input);
    }

    #[test]
    fn tron_bytes(input in behind(&[&[], &[0x0a, 2, 1, 2, 0x22, 8]], 200)) {
        decode_tron(&input);
    }

    #[test]
    fn solana_bytes(input in behind(&[&[], &[1, 0, 1, 3]], 200)) {
        decode_solana(&input);
    }

    #[test]
    fn edited_transactions(seed in any::<[u8; 8]>(), edits in bytes(12)) {
        mutate_transaction(&[seed.as_slice(), &edits].concat());
    }

    #[test]
    fn names(text in "(eip155:|tron:0x|solana:|m/|0x|secp256k1:|T|)[0-9a-zA-Z/:]{0,80}") {
        read_names(text.as_bytes());
    }
}
