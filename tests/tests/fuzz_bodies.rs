//! The fuzz bodies as bounded property tests, for everywhere that has no libFuzzer.
#![allow(missing_docs)]

use countersign_tests::fuzz_bodies::{
    decode_evm, decode_frames, decode_solana, decode_tron, judge_bundle, mutate_statement,
    mutate_transaction, read_envelope, read_names, read_statement,
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
    fn frame_batches(input in behind(&[&[], b"CSF1\0\x01", b"CSA1\0\x02"], 400)) {
        decode_frames(&input);
    }

    #[test]
    fn names(text in "(eip155:|tron:0x|solana:|m/|0x|secp256k1:|T|)[0-9a-zA-Z/:]{0,80}") {
        read_names(text.as_bytes());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn envelopes(text in r#"\{"payloadType":"[a-z]{0,9}","payload":"[A-Za-z0-9+/]{0,8}={0,2}","signatures":\[(\{"keyid":"a","sig":"[A-Za-z0-9+/]{85}[AQgw]=="\}){0,2}\]\}"#) {
        read_envelope(text.as_bytes());
    }

    #[test]
    fn payloads(kind in any::<u8>(), rest in r#"\{("[a-z_]{0,9}":(null|[0-9]{1,20}|"[ -~]{0,9}"|\[\]|\{\}),?){0,6}\}"#) {
        read_statement(&[&[kind], rest.as_bytes()].concat());
    }

    #[test]
    fn edited_statements(kind in any::<u8>(), edits in bytes(12)) {
        mutate_statement(&[&[kind], edits.as_slice()].concat());
    }

    #[test]
    fn edited_bundles(edits in bytes(12)) {
        judge_bundle(&edits);
    }

    /// Digits for digits, so that many edits leave something that can be read.
    #[test]
    fn bundles_with_other_numbers(edits in prop::collection::vec((any::<u16>(), b'0'..=b'9'), 0..4)) {
        let edits: Vec<u8> = edits.into_iter().flat_map(|(at, digit)| {
            let [high, low] = (at % 8_192).to_be_bytes();
            [high, low, digit]
        }).collect();
        judge_bundle(&edits);
    }
}
