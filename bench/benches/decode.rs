//! How fast unsigned transactions are decoded: `cargo bench -p countersign-bench --bench decode`.
//!
//! Decoding includes encoding again, comparing, and hashing (I4). The issue asks for 10,000 a second per core.
#![allow(missing_docs, clippy::expect_used)]

use countersign_policy::{Network, decode};
use criterion::{Criterion, criterion_group, criterion_main};
use serde_json::Value;

/// A TRC-20 transfer of USDT without memo.
const TRON_USDT: &str = "0a021fc422087fa4abf128e203c540baab8bc3ec3d5aae01081f12a9010a31747970652e676f6f676c65617069732e636f6d2f\
70726f746f636f6c2e54726967676572536d617274436f6e747261637412740a15419d8a62f656a8d1615c1294fd71e9cfb3e4855a4f121541a614f803b6\
fd780986a42c78ec9c7f77e6ded13c2244a9059cbb000000000000000000000000d6186994b9568591fed4dbfa3ea6611f44d7cab600000000000000000000\
00000000000001b25a4044890bf377be6632cfb4815370c8cdb7a8ec3d9001b4cedbed21";

/// The unsigned bytes of a vector file.
fn vector(json: &str) -> Vec<u8> {
    let vector: Value = serde_json::from_str(json).expect("a vector is JSON");
    let preimage = vector
        .get("unsigned_preimage")
        .and_then(Value::as_str)
        .expect("with a preimage");
    hex::decode(preimage).expect("in hex")
}

fn benches(criterion: &mut Criterion) {
    let tron = hex::decode(TRON_USDT).expect("hex");
    let cases = [
        (
            "tx/decode/evm-legacy-native",
            Network::ETHEREUM,
            vector(include_str!(
                "../../policy/tests/vectors/evm_eip155_transfer.json"
            )),
        ),
        (
            "tx/decode/evm-eip1559-erc20",
            Network::ETHEREUM,
            vector(include_str!(
                "../../policy/tests/vectors/evm_eip1559_erc20_transfer.json"
            )),
        ),
        (
            "tx/decode/evm-eip1559-usdt-access-list",
            Network::ETHEREUM,
            vector(include_str!(
                "../../policy/tests/vectors/evm_eip1559_usdt_access_list.json"
            )),
        ),
        ("tx/decode/tron-usdt", Network::TRON, tron),
        (
            "tx/decode/solana-native",
            Network::SOLANA,
            vector(include_str!(
                "../../policy/tests/vectors/sol_legacy_system_transfer.json"
            )),
        ),
    ];
    for (name, network, bytes) in cases {
        decode(&network, &bytes).expect("the case decodes");
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| decode(std::hint::black_box(&network), std::hint::black_box(&bytes)));
        });
    }
}

criterion_group!(all, benches);
criterion_main!(all);
