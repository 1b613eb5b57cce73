//! What is refused on EVM chains, one test for each reason, and that the nearest acceptable transaction is not.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    missing_docs
)]

mod build;

use build::{Evm, approve, list, number, rlp, transfer, transfer_from};
use countersign_policy::{
    CallError, DecodeError, EvmError, IntentKind, MAX_TRANSACTION_BYTES, Network, decode,
};

fn refusal(bytes: &[u8]) -> DecodeError {
    decode(&Network::ETHEREUM, bytes).unwrap_err()
}

#[test]
fn the_three_forms_of_a_usdt_transfer_are_accepted() {
    for bytes in Evm::default().forms() {
        let transaction = decode(&Network::ETHEREUM, &bytes).unwrap();
        assert_eq!(transaction.intent().kind, IntentKind::TokenTransfer);
        assert_eq!(transaction.intent().warnings, []);
    }
}

#[test]
fn no_bytes_and_too_many_bytes() {
    assert_eq!(refusal(&[]), DecodeError::Empty);
    let data = rlp(&vec![1; MAX_TRANSACTION_BYTES]);
    let big = Evm {
        data,
        ..Evm::default()
    }
    .eip1559();
    assert_eq!(
        refusal(&big),
        DecodeError::TooLarge {
            found: big.len(),
            max: MAX_TRANSACTION_BYTES
        }
    );
}

#[test]
fn a_legacy_transaction_without_chain_id() {
    let items = Evm::default().legacy_items();
    assert_eq!(refusal(&list(&items[..6])), EvmError::PreEip155.into());
}

#[test]
fn chain_id_zero() {
    for bytes in (Evm {
        chain_id: number(0),
        ..Evm::default()
    })
    .forms()
    {
        assert_eq!(refusal(&bytes), EvmError::ChainIdZero.into());
    }
}

#[test]
fn a_transaction_for_another_chain() {
    for bytes in (Evm {
        chain_id: number(56),
        ..Evm::default()
    })
    .forms()
    {
        let network = Network::ETHEREUM;
        assert_eq!(
            refusal(&bytes),
            EvmError::OtherChain { network, found: 56 }.into()
        );
        assert!(decode(&"eip155:56".parse().unwrap(), &bytes).is_ok());
    }
}

#[test]
fn blob_and_set_code_and_unknown_types() {
    let list = Evm::default().eip1559()[1..].to_vec();
    for (first, why) in [
        (0x03, EvmError::Blob),
        (0x04, EvmError::SetCode),
        (0x05, EvmError::Delegation),
        (0x19, EvmError::SignedData),
        (0x00, EvmError::UnknownType(0)),
        (0x06, EvmError::UnknownType(6)),
        (0x7f, EvmError::UnknownType(0x7f)),
        (0x80, EvmError::UnknownType(0x80)),
        (0xbf, EvmError::UnknownType(0xbf)),
    ] {
        assert_eq!(refusal(&[vec![first], list.clone()].concat()), why.into());
    }
}

#[test]
fn contract_creation() {
    for bytes in (Evm {
        to: rlp(&[]),
        ..Evm::default()
    })
    .forms()
    {
        assert_eq!(refusal(&bytes), EvmError::ContractCreation.into());
    }
}

#[test]
fn a_token_call_that_carries_ether() {
    let unlimited = [0xff; 32];
    for (data, method) in [
        (transfer(&[1; 20], 1), "transfer(address,uint256)"),
        (
            transfer_from(&[1; 20], &[2; 20], 1),
            "transferFrom(address,address,uint256)",
        ),
        (approve(&[1; 20], &unlimited), "approve(address,uint256)"),
    ] {
        for bytes in (Evm {
            data: rlp(&data),
            value: number(1),
            ..Evm::default()
        })
        .forms()
        {
            assert_eq!(
                refusal(&bytes),
                CallError::CarriesValue {
                    method,
                    value: "1".to_owned()
                }
                .into()
            );
        }
    }
}

#[test]
fn dirty_address_bytes() {
    for at in 0..12 {
        let mut data = transfer(&[1; 20], 1);
        data[4 + at] = 1;
        let bytes = Evm {
            data: rlp(&data),
            ..Evm::default()
        }
        .eip1559();
        let method = "transfer(address,uint256)";
        assert_eq!(
            refusal(&bytes),
            CallError::DirtyAddress {
                method,
                argument: 1
            }
            .into()
        );
    }
    let mut data = transfer_from(&[1; 20], &[2; 20], 1);
    data[4 + 32] = 0x80;
    let method = "transferFrom(address,address,uint256)";
    let bytes = Evm {
        data: rlp(&data),
        ..Evm::default()
    }
    .legacy();
    assert_eq!(
        refusal(&bytes),
        CallError::DirtyAddress {
            method,
            argument: 2
        }
        .into()
    );
}

#[test]
fn missing_and_trailing_bytes_in_call_data() {
    let method = "transfer(address,uint256)";
    let exact = transfer(&[1; 20], 1);
    let longer = [exact.clone(), vec![0]].concat();
    let a_word_longer = [exact.clone(), vec![0; 32]].concat();
    for data in [
        &exact[..4],
        &exact[..36],
        &exact[..67],
        &longer,
        &a_word_longer,
    ] {
        let bytes = Evm {
            data: rlp(data),
            ..Evm::default()
        }
        .eip2930();
        assert_eq!(
            refusal(&bytes),
            CallError::Length {
                method,
                expected: 68,
                found: data.len()
            }
            .into()
        );
    }
    let data = transfer_from(&[1; 20], &[2; 20], 1);
    let bytes = Evm {
        data: rlp(&data[..68]),
        ..Evm::default()
    }
    .eip1559();
    let method = "transferFrom(address,address,uint256)";
    assert_eq!(
        refusal(&bytes),
        CallError::Length {
            method,
            expected: 100,
            found: 68
        }
        .into()
    );
}

#[test]
fn trailing_bytes_after_the_transaction() {
    for bytes in Evm::default().forms() {
        assert_eq!(
            refusal(&[bytes, vec![0, 0]].concat()),
            EvmError::TrailingBytes(2).into()
        );
    }
}

#[test]
fn a_truncated_transaction() {
    for bytes in Evm::default().forms() {
        for end in 1..bytes.len() {
            assert!(decode(&Network::ETHEREUM, &bytes[..end]).is_err(), "{end}");
        }
    }
}

#[test]
fn non_canonical_integers() {
    for nonce in [
        vec![0x82, 0, 7],
        vec![0x81, 7],
        vec![0x00],
        vec![0xb8, 1, 0x80],
    ] {
        for bytes in (Evm {
            nonce: nonce.clone(),
            ..Evm::default()
        })
        .forms()
        {
            let refused = refusal(&bytes);
            let canonical = matches!(
                refused,
                DecodeError::Evm(EvmError::Rlp(_)) | DecodeError::NotCanonical { .. }
            );
            assert!(canonical, "{nonce:x?}: {refused}");
        }
    }
    // A list whose length is written in the long form without need.
    let short = Evm {
        data: rlp(&[]),
        ..Evm::default()
    }
    .legacy();
    assert!(short.len() < 56 + 1);
    let long = [vec![0xf8, short[0] - 0xc0], short[1..].to_vec()].concat();
    assert!(matches!(refusal(&long), DecodeError::Evm(EvmError::Rlp(_))));
}

#[test]
fn integers_above_their_range() {
    let wide = rlp(&[1; 33]);
    for bytes in (Evm {
        value: wide,
        ..Evm::default()
    })
    .forms()
    {
        assert!(matches!(
            refusal(&bytes),
            DecodeError::Evm(EvmError::Rlp(_))
        ));
    }
    let nonce = number(u128::from(u64::MAX) + 1);
    for bytes in (Evm {
        nonce,
        ..Evm::default()
    })
    .forms()
    {
        assert!(matches!(
            refusal(&bytes),
            DecodeError::Evm(EvmError::Rlp(_))
        ));
    }
    let nonce = number(u128::from(u64::MAX));
    assert_eq!(
        refusal(
            &Evm {
                nonce,
                ..Evm::default()
            }
            .eip1559()
        ),
        EvmError::NonceTooHigh.into()
    );
}

#[test]
fn a_signed_transaction_given_as_unsigned() {
    let signature = |v: u128| vec![number(v), rlp(&[0x55; 32]), rlp(&[0x44; 32])];
    let typed = [Evm::default().eip1559_items(), signature(1)].concat();
    assert_eq!(
        refusal(&[vec![2], list(&typed)].concat()),
        DecodeError::AlreadySigned
    );
    for v in [27, 28, 37, 38] {
        let legacy = [Evm::default().legacy_items()[..6].to_vec(), signature(v)].concat();
        assert_eq!(refusal(&list(&legacy)), DecodeError::AlreadySigned);
        // EIP-155 reads 37 as a chain id where alloy decodes this: it must not pass there either.
        assert!(decode(&Network::evm(v as u64).unwrap(), &list(&legacy)).is_err());
    }
}

#[test]
fn a_legacy_transaction_whose_eip_155_zeros_are_not_zero() {
    let mut items = Evm::default().legacy_items();
    items[8] = number(1);
    assert_eq!(refusal(&list(&items)), DecodeError::AlreadySigned);
    items[8] = vec![0];
    assert_eq!(refusal(&list(&items)), DecodeError::AlreadySigned);
}

#[test]
fn a_list_with_too_few_or_too_many_fields() {
    let items = Evm::default().eip1559_items();
    let short = [vec![2], list(&items[..8])].concat();
    assert_eq!(
        refusal(&short),
        EvmError::FieldCount {
            form: "EIP-1559",
            expected: 9,
            found: 8
        }
        .into()
    );
    let long = [vec![2], list(&[items, vec![number(0)]].concat())].concat();
    assert_eq!(
        refusal(&long),
        EvmError::FieldCount {
            form: "EIP-1559",
            expected: 9,
            found: 10
        }
        .into()
    );
    let legacy = list(&Evm::default().legacy_items()[..7]);
    assert_eq!(
        refusal(&legacy),
        EvmError::FieldCount {
            form: "legacy",
            expected: 9,
            found: 7
        }
        .into()
    );
}

#[test]
fn a_priority_fee_above_the_maximum_fee() {
    let bytes = Evm {
        priority: number(11),
        price: number(10),
        ..Evm::default()
    }
    .eip1559();
    assert_eq!(
        refusal(&bytes),
        EvmError::PriorityAboveMax {
            priority: 11,
            max: 10
        }
        .into()
    );
    let equal = Evm {
        priority: number(10),
        price: number(10),
        ..Evm::default()
    }
    .eip1559();
    assert!(decode(&Network::ETHEREUM, &equal).is_ok());
}

#[test]
fn a_value_that_overflows_with_the_fee() {
    let everything = Evm {
        value: rlp(&[0xff; 32]),
        data: rlp(&[]),
        ..Evm::default()
    };
    for bytes in everything.forms() {
        assert_eq!(refusal(&bytes), EvmError::FeeOverflow.into());
    }
    let free = Evm {
        price: number(0),
        priority: number(0),
        ..everything
    };
    assert!(decode(&Network::ETHEREUM, &free.eip1559()).is_ok());
}

#[test]
fn a_malformed_destination() {
    for to in [rlp(&[1; 19]), rlp(&[1; 21]), list(&[])] {
        assert!(matches!(
            refusal(
                &Evm {
                    to,
                    ..Evm::default()
                }
                .eip1559()
            ),
            DecodeError::Evm(EvmError::Rlp(_))
        ));
    }
}
