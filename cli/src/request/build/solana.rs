//! A legacy Solana message with one System Program transfer.

use countersign_policy::Address;

use super::{Chain, Payment, missing};
use crate::failure::{Failure, Outcome};

/// One signer, no read-only signer, one read-only account (the program); three accounts follow.
const HEADER: [u8; 4] = [1, 0, 1, 3];
const SYSTEM_PROGRAM: [u8; 32] = [0; 32];
/// One instruction: program 2, accounts 0 and 1, twelve bytes of data: `Transfer` (a little-endian u32) and the lamports.
const INSTRUCTION: [u8; 10] = [1, 2, 2, 0, 1, 12, 2, 0, 0, 0];

pub(super) fn build(payment: &Payment, chain: &Chain) -> Outcome<Vec<u8>> {
    if !payment.is_native() {
        return Err(Failure::usage("on Solana only SOL can be transferred yet"));
    }
    let blockhash = chain
        .solana_blockhash
        .as_ref()
        .ok_or_else(|| missing("--solana-blockhash", "a recent blockhash"))?;
    // A blockhash has the form of an address: base58 of 32 bytes.
    let Ok(Address::Solana(blockhash)) = Address::parse(&payment.network, blockhash) else {
        return Err(Failure::usage("--solana-blockhash is base58 of 32 bytes"));
    };
    let lamports = payment.amount.to_u128().and_then(|l| u64::try_from(l).ok());
    let lamports =
        lamports.ok_or_else(|| Failure::usage("the amount is more SOL than can exist"))?;
    Ok([
        HEADER.as_slice(),
        payment.from.as_bytes(),
        payment.to.as_bytes(),
        &SYSTEM_PROGRAM,
        &blockhash,
        &INSTRUCTION,
        &lamports.to_le_bytes(),
    ]
    .concat())
}
