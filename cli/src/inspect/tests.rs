use super::*;

/// The example of EIP-155, and a transfer with a memo from trustwallet/wallet-core.
const NATIVE: &str =
    "ec098504a817c800825208943535353535353535353535353535353535353535880de0b6b3a764000080018080";
const TRON: &str = "0a0227dc2208aa9ccb29dfc6e53540a8d8e6fbaf32520954657374206d656d6f5a67080112630a2d747970652e676f6f676c\
65617069732e636f6d2f70726f746f636f6c2e5472616e73666572436f6e747261637412320a15413fcc5f66a381694b6f6656eb08b535c3587e8ed1\
12154110742eeb00c46dc27321e75f3cc02bcb6577a52b18a08d0670a8b6d1eaaf32";

fn args(network: &str, json: bool) -> Args {
    Args {
        network: network.parse().unwrap(),
        json,
        transaction: "-".to_owned(),
    }
}

fn inspected(args: &Args, input: &str) -> (u64, String) {
    let mut out = Vec::new();
    let refused = each_line(args, &mut input.as_bytes(), &mut out).unwrap();
    (refused, String::from_utf8(out).unwrap())
}

#[test]
fn every_line_has_one_answer_in_its_place() {
    let input = format!(
        "{NATIVE}\n\nzz\n0x{NATIVE}\r\n{}\n{NATIVE}",
        "00".repeat(MAX_TRANSACTION_BYTES + 10)
    );
    let (refused, out) = inspected(&args("eip155:1", true), &input);
    assert_eq!(refused, 3);
    let answers: Vec<serde_json::Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let ok: Vec<_> = answers
        .iter()
        .map(|answer| answer["ok"].as_bool().unwrap())
        .collect();
    assert_eq!(ok, [true, false, false, true, false, true]);
    assert_eq!(answers[0], answers[5]);
    assert_eq!(answers[1]["error"], "there are no bytes to decode");
}

#[test]
fn the_json_form() {
    let (_, out) = inspected(&args("eip155:1", true), NATIVE);
    let answer: serde_json::Value = serde_json::from_str(&out).unwrap();
    let expected = serde_json::json!({
        "ok": true,
        "network": "eip155:1",
        "digest": "0xdaf5a779ae972f972197303d7b574746c7ef83eadac0f2791ad23db92e4c8e53",
        "kind": "native-transfer",
        "transfers": [{
            "asset": "eip155:1/slip44:60",
            "to": "0x3535353535353535353535353535353535353535",
            "amount": "1000000000000000000",
            "known": true,
        }],
        "max_fee": "420000000000000",
        "lifetime": {"evm": {"chain_id": "1", "nonce": "9"}},
        "warnings": [],
    });
    assert_eq!(answer, expected);
}

#[test]
fn the_text_form_speaks_of_whole_units() {
    let (refused, out) = inspected(&args("tron:0x2b6653dc", false), TRON);
    assert_eq!(refused, 0);
    assert_eq!(
        out,
        "network   tron:0x2b6653dc\n\
         kind      native-transfer\n\
         from      TFnYQCt892UNjn67pjAULTSTkB7YvqsnPp\n\
         transfer  0.1 TRX to TBUCzgc29vykkvFaEG2mgRtxKvaKe6skwX\n\
         \u{20}         100000 base units of tron:0x2b6653dc/slip44:195\n\
         max fee   2.38 TRX\n\
         lifetime  until 2024-11-06T03:16:57Z\n\
         memo      \"Test memo\"\n\
         warning   the chain publishes a memo with the transaction\n\
         digest    0x20321755964d6ec5bcfc9ebfb15faeb043787ae599fff44442962e12e1c357f1\n\n"
    );
}

#[test]
fn a_refusal_says_why() {
    let (refused, out) = inspected(&args("eip155:56", false), NATIVE);
    assert_eq!(refused, 1);
    assert_eq!(
        out,
        "refused   the transaction is for eip155:1, not for eip155:56\n\n"
    );
}
