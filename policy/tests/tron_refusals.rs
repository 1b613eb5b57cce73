//! What is refused on Tron and Solana, one test for each reason, and that the nearest acceptable transaction is not.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    missing_docs
)]

mod build;

use build::{
    Tron, approve, bytes_field, contract, int_field, owner, transfer, transfer_from, trigger,
    trigger_with, trx,
};
use countersign_policy::{
    CallError, DecodeError, IntentKind, Lifetime, MAX_FEE_LIMIT_SUN, MAX_LIFETIME_MS, Network,
    SolanaError, TronError, Warning, decode,
};

fn refusal(bytes: &[u8]) -> DecodeError {
    decode(&Network::TRON, bytes).unwrap_err()
}

#[test]
fn trx_and_usdt_transfers_are_accepted() {
    let transaction = decode(&Network::TRON, &Tron::default().encode()).unwrap();
    assert_eq!(transaction.intent().kind, IntentKind::TokenTransfer);
    assert_eq!(
        transaction.intent().transfers[0].asset.to_string(),
        "tron:0x2b6653dc/trc20:TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t"
    );
    assert_eq!(transaction.intent().warnings, []);
    let Lifetime::Tron { expires_at_ms, .. } = transaction.intent().lifetime else {
        panic!()
    };
    assert_eq!(expires_at_ms, 1_700_000_060_000);
    let trx = Tron {
        fee_limit: 0,
        ..Tron::with(trx(9))
    };
    let transaction = decode(&Network::TRON, &trx.encode()).unwrap();
    assert_eq!(transaction.intent().kind, IntentKind::NativeTransfer);
    assert_eq!(transaction.intent().transfers[0].amount.to_string(), "9");
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
fn no_contract_and_more_than_one() {
    for count in [0, 2, 3] {
        let tron = Tron {
            contracts: vec![trx(1); count],
            ..Tron::default()
        };
        assert_eq!(
            refusal(&tron.encode()),
            TronError::ContractCount(count).into()
        );
    }
}

#[test]
fn a_type_number_and_a_type_url_that_disagree() {
    for (number, name) in [
        (1, "TriggerSmartContract"),
        (31, "TransferContract"),
        (57, "TransferContract"),
    ] {
        let refused = refusal(&Tron::with(contract(number, name, &[])).encode());
        assert!(
            matches!(refused, DecodeError::Tron(TronError::TypeMismatch { .. })),
            "{refused}"
        );
    }
    let any = bytes_field(1, b"type.example.com/protocol.TransferContract");
    let elsewhere = [int_field(1, 1), bytes_field(2, &any)].concat();
    assert!(matches!(
        refusal(&Tron::with(elsewhere).encode()),
        DecodeError::Tron(TronError::TypeMismatch { .. })
    ));
    let nothing = int_field(1, 1);
    assert!(matches!(
        refusal(&Tron::with(nothing).encode()),
        DecodeError::Tron(TronError::TypeMismatch { .. })
    ));
}

#[test]
fn an_unknown_contract_type() {
    for number in [7, 20, 60, -1] {
        let refused = refusal(&Tron::with(contract(number, "TransferContract", &[])).encode());
        assert_eq!(
            refused,
            TronError::UnknownContractType(number as i32).into()
        );
    }
}

#[test]
fn other_contract_types_are_a_kind_of_their_own() {
    let freeze = Tron::with(contract(
        54,
        "FreezeBalanceV2Contract",
        &bytes_field(1, &owner()),
    ));
    let transaction = decode(&Network::TRON, &freeze.encode()).unwrap();
    assert_eq!(transaction.intent().kind.name(), "other-contract");
    assert_eq!(transaction.intent().from, None);
    assert_eq!(
        transaction.intent().warnings,
        [Warning::UninterpretedContract]
    );
}

#[test]
fn a_token_call_that_carries_trx_or_tokens() {
    let data = transfer(&[1; 20], 1);
    let method = "transfer(address,uint256)";
    let with_value = Tron::with(trigger_with(&data, 5, 0, 0));
    assert_eq!(
        refusal(&with_value.encode()),
        CallError::CarriesValue {
            method,
            value: "5".to_owned()
        }
        .into()
    );
    for (value, id) in [(1, 0), (0, 1_000_001), (1, 1_000_001), (-1, 0)] {
        let with_token = Tron::with(trigger_with(&data, 0, value, id));
        assert_eq!(
            refusal(&with_token.encode()),
            TronError::CarriesToken.into()
        );
    }
}

#[test]
fn dirty_address_bytes_also_the_0x41_prefix() {
    let mut data = transfer(&[1; 20], 1);
    data[4 + 11] = 0x41;
    let method = "transfer(address,uint256)";
    assert_eq!(
        refusal(&Tron::with(trigger(&data)).encode()),
        CallError::DirtyAddress {
            method,
            argument: 1
        }
        .into()
    );
}

#[test]
fn missing_and_trailing_bytes_in_call_data() {
    for (data, method, expected) in [
        (transfer(&[1; 20], 1), "transfer(address,uint256)", 68),
        (approve(&[1; 20], &[0; 32]), "approve(address,uint256)", 68),
        (
            transfer_from(&[1; 20], &[2; 20], 1),
            "transferFrom(address,address,uint256)",
            100,
        ),
    ] {
        assert!(decode(&Network::TRON, &Tron::with(trigger(&data)).encode()).is_ok());
        for data in [
            data[..data.len() - 1].to_vec(),
            [data.clone(), vec![0; 32]].concat(),
        ] {
            let refused = refusal(&Tron::with(trigger(&data)).encode());
            assert_eq!(
                refused,
                CallError::Length {
                    method,
                    expected,
                    found: data.len()
                }
                .into()
            );
        }
    }
}

#[test]
fn other_calls_are_a_kind_of_their_own() {
    let transaction = decode(
        &Network::TRON,
        &Tron::with(trigger_with(&[1, 2, 3, 4], 7, 0, 0)).encode(),
    )
    .unwrap();
    assert_eq!(transaction.intent().kind.name(), "contract-call");
    assert_eq!(transaction.intent().transfers[0].amount.to_string(), "7");
    // A trigger without data runs the fallback function: no plain transfer.
    let transaction = decode(&Network::TRON, &Tron::with(trigger(&[])).encode()).unwrap();
    assert_eq!(transaction.intent().kind.name(), "contract-call");
    assert!(transaction.intent().transfers.is_empty());
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
fn malformed_addresses() {
    let message = |owner: &[u8], to: &[u8]| {
        let message = [bytes_field(1, owner), bytes_field(2, to), int_field(3, 1)].concat();
        Tron::with(contract(1, "TransferContract", &message)).encode()
    };
    for bad in [
        vec![0x41; 20],
        vec![0x41; 22],
        vec![0xa0; 21],
        b"TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t".to_vec(),
    ] {
        assert_eq!(
            refusal(&message(&bad, &owner())),
            TronError::BadAddress("owner_address").into()
        );
        assert_eq!(
            refusal(&message(&owner(), &bad)),
            TronError::BadAddress("to_address").into()
        );
    }
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

/// A legacy Solana message with one System Program transfer of 42 lamports.
fn solana() -> Vec<u8> {
    [
        [1, 0, 1, 3].as_slice(),
        &[7; 32],
        &[8; 32],
        &[0; 32],
        &[9; 32],
        &[1, 2, 2, 0, 1, 12, 2, 0, 0, 0],
        &42_u64.to_le_bytes(),
    ]
    .concat()
}

#[test]
fn every_other_solana_message_than_one_transfer() {
    assert!(decode(&Network::SOLANA, &solana()).is_ok());
    let refusal = |at: usize, byte: u8| {
        let mut bytes = solana();
        bytes[at] = byte;
        decode(&Network::SOLANA, &bytes).unwrap_err()
    };
    // Version, signers, read-only signers, read-only others, accounts, program, instruction count and shape.
    for (at, byte) in [
        (0, 0x80),
        (0, 2),
        (1, 1),
        (2, 0),
        (3, 4),
        (68, 1),
        (132, 2),
        (133, 1),
        (134, 3),
        (135, 1),
        (138, 3),
    ] {
        let refused = refusal(at, byte);
        assert!(
            matches!(refused, DecodeError::Solana(SolanaError::NotSupported(_))),
            "{at}: {refused}"
        );
    }
    let trailing = [solana(), vec![0]].concat();
    assert!(matches!(
        decode(&Network::SOLANA, &trailing).unwrap_err(),
        DecodeError::Solana(SolanaError::Malformed(_))
    ));
    for end in 1..solana().len() {
        assert!(decode(&Network::SOLANA, &solana()[..end]).is_err(), "{end}");
    }
    let mut to_itself = solana();
    to_itself[36..68].copy_from_slice(&[7; 32]);
    assert!(matches!(
        decode(&Network::SOLANA, &to_itself).unwrap_err(),
        DecodeError::Solana(SolanaError::Malformed(_))
    ));
    let signed = [vec![1], vec![5; 64], solana()].concat();
    assert_eq!(
        decode(&Network::SOLANA, &signed).unwrap_err(),
        DecodeError::AlreadySigned
    );
}
