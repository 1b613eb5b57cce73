//! What is refused on Solana: everything but one transfer.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    missing_docs
)]

use countersign_policy::{DecodeError, Network, SolanaError, decode};

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
