//! The fuzz bodies as bounded property tests, for everywhere that has no libFuzzer.
#![allow(
    missing_docs,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use countersign_tests::fuzz_bodies::{
    MESSAGES, answer_key_generation, answer_signing, decode_evm, decode_frames, decode_solana,
    decode_tron, judge_bundle, mutate_assertion, mutate_certificate, mutate_package,
    mutate_statement, mutate_token, mutate_transaction, read_assertion, read_configuration,
    read_cursor, read_envelope, read_message, read_names, read_package, read_share, read_statement,
};
use proptest::prelude::*;

/// The sample configurations of node and coordinator.
const CONFIGURATIONS: [&[u8]; 2] = [
    include_bytes!("../../deploy/signer.toml"),
    include_bytes!("../../deploy/coordinator.toml"),
];

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
    fn edited_tokens(edits in bytes(12)) {
        mutate_token(&edits);
    }

    #[test]
    fn edited_packages(edits in bytes(12)) {
        mutate_package(&edits);
    }

    #[test]
    fn packages(text in r#"\{"package":"countersign-cold-(request|response|order)","version":[0-2](,"[a-z]{1,9}":(null|"[a-z]{0,9}"|\[\]))?\}"#) {
        read_package(text.as_bytes());
    }

    #[test]
    fn cursors(text in "[+-]?0?[0-9]{1,20}-[0-9a-fA-F]{62,66}") {
        read_cursor(text.as_bytes());
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
    fn assertions(text in r#"\{"authenticator_data":"[A-Za-z0-9_-]{0,9}","client_data_json":"[A-Za-z0-9_-]{0,9}","credential_id":"[A-Za-z0-9_-]{0,9}","signature":"[A-Za-z0-9_=-]{0,9}"\}"#) {
        read_assertion(text.as_bytes());
    }

    #[test]
    fn edited_client_data(choice in prop::sample::select(vec![0_u8, 1]), edits in prop::collection::vec((0..160_u16, any::<u8>()), 0..4)) {
        mutate_assertion(&[&[choice], edits.into_iter().flat_map(edit).collect::<Vec<u8>>().as_slice()].concat());
    }

    #[test]
    fn more_client_data(choice in prop::sample::select(vec![2_u8, 3, 10, 11]), more in r#",?"(type|challenge|origin|crossOrigin|topOrigin|[a-z\\]{0,4})":(true|false|null|"[a-z.:/]{0,12}"|\{\}|\[\]|[0-9]{1,20}),?"#) {
        mutate_assertion(&[&[choice], more.as_bytes()].concat());
    }

    #[test]
    fn authenticator_data(choice in prop::sample::select(vec![4_u8, 5, 6, 7]), flags_and_tail in bytes(40)) {
        mutate_assertion(&[&[choice], flags_and_tail.as_slice()].concat());
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

/// JSON that is often a message: honest ones with values exchanged.
fn message() -> impl Strategy<Value = String> {
    let hash = format!("\"{}\"", "ab".repeat(32));
    let envelope = "{\"payloadType\":\"a\",\"payload\":\"e30=\",\"signatures\":[]}".to_owned();
    let scalars = vec![
        "null".to_owned(),
        "0".to_owned(),
        "18446744073709551616".to_owned(),
        "\"node-1\"".to_owned(),
        "\"m/0/7\"".to_owned(),
        "\"\\n\\u001b[2J\"".to_owned(),
        "[]".to_owned(),
        hash,
        envelope,
    ];
    let fields = "(authorization|request|approvals|session|receipts|cancel|bundle|transcripts|order|nonce|key|path|signers|auxiliary|process|entries|known|head|beyond|receipt|ack|type|title|status|detail|confirm|step|version|records|items)";
    let field = (fields, prop::sample::select(scalars)).prop_map(|(n, v)| format!("\"{n}\":{v}"));
    prop::collection::vec(field, 0..7).prop_map(|fields| format!("{{{}}}", fields.join(",")))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn messages(choice in 0..MESSAGES.len(), json in message()) {
        let choice = u8::try_from(choice).unwrap_or(0);
        read_message(&[&[choice], json.as_bytes()].concat());
    }

    #[test]
    fn bytes_as_messages(input in bytes(60)) {
        read_message(&input);
    }

    #[test]
    fn configurations(choice in 0..2u8, text in "((node|listen|database|data_dir|peers|[a-z_]{1,9}) ?= ?(\"[ -~]{0,9}\"|[0-9]{1,20}|\\[\\]|\\{\\})\n|\\[[a-z]{1,9}\\]\n){0,8}") {
        read_configuration(&[&[choice], text.as_bytes()].concat());
    }

    #[test]
    fn edited_configurations(choice in 0..2usize, at in any::<prop::sample::Index>(), to in "[ -~]{0,3}") {
        let sample = CONFIGURATIONS[choice];
        let at = at.index(sample.len());
        let edited = [&sample[..at], to.as_bytes(), &sample[at + to.len().min(sample.len() - at)..]].concat();
        read_configuration(&[&[u8::try_from(choice).unwrap_or(0)], edited.as_slice()].concat());
    }

    #[test]
    fn edited_certificates(edits in prop::collection::vec((0..1_400u16, any::<u8>()), 0..3)) {
        mutate_certificate(&edits.into_iter().flat_map(edit).collect::<Vec<u8>>());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn edited_shares(choice in 0..3u8, edits in prop::collection::vec((any::<u16>(), any::<u8>()), 0..3)) {
        let edits: Vec<u8> = edits.into_iter().flat_map(|(at, to)| edit((at % 2_048, to))).collect();
        read_share(&[&[0x80 | choice], edits.as_slice()].concat());
    }

    #[test]
    fn bytes_as_shares(input in bytes(300)) {
        read_share(&input);
    }

    #[test]
    fn hostile_key_generations(choice in 0..3u8, messages in bytes(300)) {
        answer_key_generation(&[&[choice], messages.as_slice()].concat());
    }
}

/// The honest inputs of the bodies that have one are accepted: else they could refuse everything and prove nothing.
#[test]
fn honest_inputs_are_accepted() {
    mutate_certificate(&[]);
    for choice in 0x80..0x83 {
        read_share(&[choice]);
    }
}

fn edit((at, to): (u16, u8)) -> [u8; 3] {
    let [high, low] = at.to_be_bytes();
    [high, low, to]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn edited_signing_messages(choice in any::<u8>(), edits in prop::collection::vec((0..6u8, 0..400u16, any::<u8>()), 0..3)) {
        let edits = edits.into_iter().flat_map(|(message, at, byte)| {
            let [high, low] = at.to_be_bytes();
            [message, high, low, byte]
        });
        let input: Vec<u8> = std::iter::once(choice).chain(edits).collect();
        answer_signing(&input);
    }
}
