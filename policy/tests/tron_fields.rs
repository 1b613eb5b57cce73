//! The fields of a Tron transaction around its contract: limits, canonical form, and what is surfaced.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    missing_docs
)]

mod build;

use build::{Tron, bytes_field, contract, int_field, owner, trigger_with, trx};
use countersign_policy::{
    DecodeError, MAX_FEE_LIMIT_SUN, MAX_LIFETIME_MS, Network, TronError, Warning, decode,
};

fn refusal(bytes: &[u8]) -> DecodeError {
    decode(&Network::TRON, bytes).unwrap_err()
}

#[test]
fn the_maximum_fee_covers_energy_bandwidth_memo_and_account_creation() {
    let plain = Tron::default();
    let bytes = plain.encode();
    let fee = |tron: &Tron| {
        let transaction = decode(&Network::TRON, &tron.encode()).unwrap();
        transaction.intent().max_fee.amount.to_u128().unwrap()
    };
    assert_eq!(
        fee(&plain),
        100_000_000 + (bytes.len() as u128 + 136) * 1_000 + 1_100_000
    );
    let memo = Tron {
        data: b"hi".to_vec(),
        ..plain.clone()
    };
    assert_eq!(fee(&memo), fee(&plain) + 4 * 1_000 + 1_000_000);
}

#[test]
fn a_fee_limit_above_the_chains_maximum() {
    let at = |fee_limit| {
        Tron {
            fee_limit,
            ..Tron::default()
        }
        .encode()
    };
    assert!(decode(&Network::TRON, &at(15_000_000_000)).is_ok());
    let found = 15_000_000_001;
    assert_eq!(
        refusal(&at(found as i64)),
        TronError::FeeLimit {
            found,
            max: MAX_FEE_LIMIT_SUN
        }
        .into()
    );
    let none = decode(&Network::TRON, &at(0)).unwrap();
    assert_eq!(none.intent().warnings, [Warning::NoFeeLimit]);
}

#[test]
fn a_life_of_more_than_a_day_or_of_less_than_nothing() {
    let lives = |ms: i64| {
        Tron {
            expiration: 1_700_000_000_000 + ms,
            ..Tron::default()
        }
        .encode()
    };
    assert!(decode(&Network::TRON, &lives(86_400_000)).is_ok());
    let found_ms = 86_400_001;
    let refused = refusal(&lives(found_ms as i64));
    assert_eq!(
        refused,
        TronError::LivesTooLong {
            found_ms,
            max_ms: MAX_LIFETIME_MS
        }
        .into()
    );
    assert_eq!(
        refusal(&lives(0)),
        TronError::ExpirationBeforeTimestamp.into()
    );
    assert_eq!(
        refusal(&lives(-1)),
        TronError::ExpirationBeforeTimestamp.into()
    );
    let without_timestamp = Tron {
        timestamp: 0,
        ..Tron::default()
    };
    assert!(matches!(
        refusal(&without_timestamp.encode()),
        DecodeError::Tron(TronError::LivesTooLong { .. })
    ));
    let without_expiration = Tron {
        expiration: 0,
        ..Tron::default()
    };
    assert_eq!(
        refusal(&without_expiration.encode()),
        TronError::ExpirationBeforeTimestamp.into()
    );
}

#[test]
fn times_in_another_unit() {
    let micros = Tron {
        timestamp: 1_700_000_000_000_000,
        expiration: 1_700_000_000_000_001,
        ..Tron::default()
    };
    assert_eq!(
        refusal(&micros.encode()),
        TronError::TimeOutOfRange("expiration").into()
    );
}

#[test]
fn negative_numbers() {
    let base = Tron::default;
    for (tron, field) in [
        (
            Tron {
                fee_limit: -1,
                ..base()
            },
            "fee_limit",
        ),
        (
            Tron {
                expiration: -1,
                ..base()
            },
            "expiration",
        ),
        (
            Tron {
                timestamp: -1,
                ..base()
            },
            "timestamp",
        ),
        (
            Tron {
                ref_block_num: -1,
                ..base()
            },
            "ref_block_num",
        ),
        (Tron::with(trx(-1)), "amount"),
        (Tron::with(trx(i64::MIN)), "amount"),
        (
            Tron::with(trigger_with(&[1, 2, 3, 4], -1, 0, 0)),
            "call_value",
        ),
        (
            Tron::with([trx(1), int_field(5, -1)].concat()),
            "Permission_id",
        ),
    ] {
        assert_eq!(refusal(&tron.encode()), TronError::Negative(field).into());
    }
}

#[test]
fn fields_that_are_not_understood() {
    let base = Tron::default;
    for (tron, field) in [
        (
            Tron {
                auths: bytes_field(2, b"owner"),
                ..base()
            },
            "auths",
        ),
        (
            Tron {
                scripts: vec![1],
                ..base()
            },
            "scripts",
        ),
        (
            Tron {
                ref_block_num: 1,
                ..base()
            },
            "ref_block_num",
        ),
        (
            Tron::with([trx(1), bytes_field(3, b"x")].concat()),
            "provider",
        ),
        (
            Tron::with([trx(1), bytes_field(4, b"x")].concat()),
            "ContractName",
        ),
    ] {
        assert_eq!(
            refusal(&tron.encode()),
            TronError::UnexpectedField(field).into()
        );
    }
}

#[test]
fn unknown_repeated_unordered_and_default_fields() {
    let good = Tron::default().encode();
    let fee_limit = int_field(18, 100_000_000);
    let not_last = [
        fee_limit.clone(),
        good[..good.len() - fee_limit.len()].to_vec(),
    ]
    .concat();
    let what = "raw_data";
    for bytes in [
        [good.clone(), int_field(19, 1)].concat(),
        [good.clone(), int_field(2, 1)].concat(),
        [good.clone(), fee_limit].concat(),
        [bytes_field(10, &[]), good.clone()].concat(),
        not_last,
    ] {
        assert_eq!(refusal(&bytes), DecodeError::NotCanonical { what });
    }
    // The same inside the contract's own message, which the outer message carries as opaque bytes.
    let to = [[0x41].as_slice(), &[0x33; 20]].concat();
    let message = [
        bytes_field(1, &owner()),
        bytes_field(2, &to),
        int_field(3, 1),
        int_field(3, 2),
    ]
    .concat();
    let repeated = Tron::with(contract(1, "TransferContract", &message)).encode();
    assert_eq!(
        refusal(&repeated),
        DecodeError::NotCanonical {
            what: "TransferContract"
        }
    );
    let unknown = [
        bytes_field(1, &owner()),
        bytes_field(2, &to),
        int_field(7, 1),
    ]
    .concat();
    let unknown = Tron::with(contract(1, "TransferContract", &unknown)).encode();
    assert_eq!(
        refusal(&unknown),
        DecodeError::NotCanonical {
            what: "TransferContract"
        }
    );
}

#[test]
fn a_malformed_reference_block() {
    let bytes = Tron {
        ref_block_bytes: vec![1; 3],
        ..Tron::default()
    };
    let field = "ref_block_bytes";
    assert_eq!(
        refusal(&bytes.encode()),
        TronError::Length {
            field,
            expected: 2,
            found: 3
        }
        .into()
    );
    let hash = Tron {
        ref_block_hash: vec![1; 32],
        ..Tron::default()
    };
    let field = "ref_block_hash";
    assert_eq!(
        refusal(&hash.encode()),
        TronError::Length {
            field,
            expected: 8,
            found: 32
        }
        .into()
    );
    let missing = Tron {
        ref_block_bytes: vec![],
        ..Tron::default()
    };
    let field = "ref_block_bytes";
    assert_eq!(
        refusal(&missing.encode()),
        TronError::Length {
            field,
            expected: 2,
            found: 0
        }
        .into()
    );
}

#[test]
fn a_whole_transaction_message_signed_or_not() {
    let raw = Tron::default().encode();
    let wrapped = bytes_field(1, &raw);
    assert_eq!(refusal(&wrapped), TronError::Wrapped.into());
    let signed = [wrapped, bytes_field(2, &[7; 65])].concat();
    assert_eq!(refusal(&signed), DecodeError::AlreadySigned);
}

#[test]
fn garbage_and_truncated_bytes() {
    let refused = refusal(&[0xff; 40]);
    assert!(
        matches!(refused, DecodeError::Tron(TronError::Protobuf { .. })),
        "{refused}"
    );
    let good = Tron::default().encode();
    // Only the cut right before fee_limit leaves a whole message, with another meaning and digest.
    let fee_limit = good.len() - int_field(18, 100_000_000).len();
    for end in 1..good.len() {
        assert_eq!(
            decode(&Network::TRON, &good[..end]).is_ok(),
            end == fee_limit,
            "{end}"
        );
    }
}

#[test]
fn a_memo_and_a_permission_are_surfaced() {
    let tron = Tron {
        data: b"invoice 7".to_vec(),
        ..Tron::with([trx(1), int_field(5, 2)].concat())
    };
    let transaction = decode(&Network::TRON, &tron.encode()).unwrap();
    let intent = transaction.intent();
    assert_eq!(intent.memo.as_ref().unwrap().0, b"invoice 7");
    assert_eq!(intent.permission_id, Some(2));
    assert_eq!(
        intent.warnings,
        [Warning::Memo, Warning::NonDefaultPermission]
    );
}
