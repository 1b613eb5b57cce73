use countersign_policy::{IntentKind, Lifetime};

use super::*;
use crate::failure::Exit;
use crate::policy::entries::resolve_asset;

const BLOCK: &str = "0000000004c4b400a1b2c3d4e5f60718293a4b5c6d7e8f901122334455667788";

fn payment(network: &str, asset: &str, amount: u64, from: &str, to: &str) -> Payment {
    let network: Network = network.parse().unwrap();
    Payment {
        network,
        from: Address::parse(&network, from).unwrap(),
        to: Address::parse(&network, to).unwrap(),
        asset: resolve_asset(asset, Some(&network), &[]).unwrap(),
        amount: Amount::from(amount),
    }
}

fn evm(asset: &str) -> Payment {
    payment(
        "eip155:1",
        asset,
        12_500_000,
        "0x70997970C51812dc3A010C7d01b50e0d17dc79C8",
        "0x28C6c06298d514Db089934071355E5743bf21d60",
    )
}

fn tron(asset: &str) -> Payment {
    payment(
        "tron:0x2b6653dc",
        asset,
        35_000_000,
        "TEkxiTehnzSmSe2XqrBj4w32RUN966rdz8",
        "TQn9Y2khEsLJW1ChVWFMSMeRDow5KcbLSE",
    )
}

fn full() -> Chain {
    Chain {
        nonce: Some(7),
        max_fee_per_gas: Some(20_000_000_000),
        max_priority_fee_per_gas: Some(1_000_000_000),
        tron_ref_block: Some(BLOCK.to_owned()),
        solana_blockhash: Some("4sGjMW1sUnHzSxGspuhpqLDx6wiyjNtZAMdL4VZHirAn".to_owned()),
        ..Chain::default()
    }
}

#[test]
fn each_network_gets_the_transfer_that_was_asked_for() {
    let solana = payment(
        "solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp",
        "SOL",
        1_250_000_000,
        "4sGjMW1sUnHzSxGspuhpqLDx6wiyjNtZAMdL4VZHirAn",
        "9WzDXwBbmkg8ZTbNMqUxvQRAyrZzDsGYdLVL9zYtAWWM",
    );
    for (payment, kind) in [
        (evm("USDT"), IntentKind::TokenTransfer),
        (evm("ETH"), IntentKind::NativeTransfer),
        (tron("USDT"), IntentKind::TokenTransfer),
        (tron("TRX"), IntentKind::NativeTransfer),
        (solana, IntentKind::NativeTransfer),
    ] {
        let built = payment.build(&full()).unwrap();
        let intent = built.intent();
        assert_eq!(intent.kind, kind);
        assert_eq!(intent.transfers.len(), 1);
        assert_eq!(intent.transfers[0].to, payment.to);
        assert_eq!(intent.transfers[0].amount, payment.amount);
        assert_eq!(intent.transfers[0].asset, payment.asset.asset);
        assert!(intent.warnings.is_empty(), "{:?}", intent.warnings);
    }
}

#[test]
fn a_legacy_gas_price_makes_a_legacy_transaction() {
    let chain = Chain {
        max_fee_per_gas: None,
        max_priority_fee_per_gas: None,
        gas_price: Some(3_000_000_000),
        gas_limit: Some(60_000),
        ..full()
    };
    let built = evm("USDT").build(&chain).unwrap();
    assert!(
        built.preimage()[0] >= 0xc0,
        "an RLP list, not a typed envelope"
    );
    assert_eq!(
        built.intent().max_fee.amount,
        Amount::from(180_000_000_000_000u64)
    );
}

#[test]
fn a_tron_transaction_names_its_reference_block_and_ends() {
    let chain = Chain {
        tron_expires_in: Some(90),
        tron_fee_limit: Some("15".to_owned()),
        ..full()
    };
    let built = tron("USDT").build(&chain).unwrap();
    let Lifetime::Tron {
        expires_at_ms,
        timestamp_ms,
        ref_block_bytes,
        ref_block_hash,
    } = &built.intent().lifetime
    else {
        panic!("not a Tron lifetime");
    };
    assert_eq!(expires_at_ms - timestamp_ms, 90_000);
    assert_eq!(ref_block_bytes.to_string(), "0xb400");
    assert_eq!(ref_block_hash.to_string(), "0xa1b2c3d4e5f60718");
    // The fee limit, and what the decoder adds for bandwidth.
    let fee = built.intent().max_fee.amount;
    assert!(
        fee >= Amount::from(15_000_000u64) && fee < Amount::from(17_000_000u64),
        "{fee:?}"
    );
}

#[test]
fn what_only_the_chain_knows_is_never_guessed() {
    for (payment, chain, option) in [
        (
            evm("USDT"),
            Chain {
                nonce: None,
                ..full()
            },
            "--nonce",
        ),
        (
            evm("USDT"),
            Chain {
                max_fee_per_gas: None,
                ..full()
            },
            "--max-fee-per-gas",
        ),
        (
            tron("TRX"),
            Chain {
                tron_ref_block: None,
                ..full()
            },
            "--tron-ref-block",
        ),
        (
            tron("TRX"),
            Chain {
                tron_ref_block: Some("00".to_owned()),
                ..full()
            },
            "--tron-ref-block",
        ),
    ] {
        let refused = payment.build(&chain).unwrap_err();
        assert_eq!(refused.exit, Exit::Usage);
        assert!(refused.message.contains(option), "{refused}");
    }
}

#[test]
fn a_priority_fee_above_the_whole_fee_is_refused_by_the_decoder() {
    let chain = Chain {
        max_priority_fee_per_gas: Some(30_000_000_000),
        ..full()
    };
    assert_eq!(evm("ETH").build(&chain).unwrap_err().exit, Exit::Refused);
}

#[test]
fn an_address_of_another_network_is_no_destination() {
    let mut payment = evm("USDT");
    payment.to = tron("TRX").to;
    assert_eq!(payment.build(&full()).unwrap_err().exit, Exit::Usage);
}
