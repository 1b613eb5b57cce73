//! What accepted EVM transactions mean, and what people are warned of.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    missing_docs
)]

mod build;

use build::{Evm, USDT, address_word, amount_word, approve, number, rlp, transfer, transfer_from};
use countersign_policy::{Address, AssetId, IntentKind, Network, Selector, Warning, decode};

fn usdt() -> AssetId {
    AssetId::token(&Network::ETHEREUM, &Address::Evm(USDT)).unwrap()
}

#[test]
fn other_calls_are_a_kind_of_their_own_and_carry_value_visibly() {
    let bytes = Evm {
        data: rlp(&[1, 2, 3, 4, 5]),
        value: number(9),
        ..Evm::default()
    }
    .eip1559();
    let transaction = decode(&Network::ETHEREUM, &bytes).unwrap();
    let IntentKind::ContractCall(call) = &transaction.intent().kind else {
        panic!("{:?}", transaction.intent())
    };
    assert_eq!(call.selector, Some(Selector([1, 2, 3, 4])));
    assert_eq!(transaction.intent().transfers[0].amount.to_string(), "9");
    assert_eq!(transaction.intent().warnings, [Warning::UnknownCall]);
    // Less than a selector reaches the fallback function.
    let bytes = Evm {
        data: rlp(&[0xa9, 0x05]),
        ..Evm::default()
    }
    .eip1559();
    let transaction = decode(&Network::ETHEREUM, &bytes).unwrap();
    let IntentKind::ContractCall(call) = &transaction.intent().kind else {
        panic!("{:?}", transaction.intent())
    };
    assert_eq!(call.selector, None);
    assert!(transaction.intent().transfers.is_empty());
}

#[test]
fn what_a_person_should_see_is_warned_of() {
    let warnings = |evm: Evm| {
        let network = Network::ETHEREUM;
        decode(&network, &evm.eip1559())
            .unwrap()
            .intent()
            .warnings
            .clone()
    };
    let unlimited = Evm {
        data: rlp(&approve(&[1; 20], &[0xff; 32])),
        ..Evm::default()
    };
    assert_eq!(warnings(unlimited), [Warning::UnlimitedApproval(usdt())]);
    let limited = Evm {
        data: rlp(&approve(&[1; 20], &amount_word(1))),
        ..Evm::default()
    };
    assert_eq!(warnings(limited), []);
    let lost = Evm {
        data: rlp(&transfer(&USDT, 1)),
        ..Evm::default()
    };
    assert_eq!(warnings(lost), [Warning::TokenToItsContract(usdt())]);
    let burnt = Evm {
        data: rlp(&transfer(&[0; 20], 1)),
        ..Evm::default()
    };
    assert_eq!(warnings(burnt), [Warning::ZeroAddress]);
    let stranger = Evm {
        to: rlp(&[9; 20]),
        ..Evm::default()
    };
    let unknown = AssetId::token(&Network::ETHEREUM, &Address::Evm([9; 20])).unwrap();
    assert_eq!(warnings(stranger), [Warning::UnknownToken(unknown)]);
    let optimism = Evm {
        chain_id: number(10),
        data: rlp(&[]),
        ..Evm::default()
    }
    .eip1559();
    let on_optimism = decode(&Network::evm(10).unwrap(), &optimism).unwrap();
    assert_eq!(on_optimism.intent().warnings, [Warning::UnboundedDataFee]);
}

#[test]
fn transfer_from_names_the_account_that_pays() {
    let data = transfer_from(&[1; 20], &[2; 20], 3);
    let bytes = Evm {
        data: rlp(&data),
        ..Evm::default()
    }
    .eip1559();
    let transaction = decode(&Network::ETHEREUM, &bytes).unwrap();
    let transfer = &transaction.intent().transfers[0];
    assert_eq!(transaction.intent().kind, IntentKind::TokenTransferFrom);
    assert_eq!(
        (transfer.from, transfer.to),
        (Some(Address::Evm([1; 20])), Address::Evm([2; 20]))
    );
    assert_eq!(address_word(&[2; 20])[12..], *transfer.to.as_bytes());
}
