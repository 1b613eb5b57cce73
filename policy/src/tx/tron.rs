//! Unsigned Tron transactions: the protobuf `Transaction.raw` of java-tron's `core/Tron.proto`, with message structs of our
//! own. The transaction id and the signing digest are both the SHA-256 of these bytes.

mod contract;
mod wire;

use prost::Message;

use super::error::{DecodeError, TronError};
use super::{SignedTransaction, SigningDigest};
use crate::amount::Amount;
use crate::caip::Network;
use crate::intent::{Fee, HexBytes, Intent, Lifetime, Warning};

/// The chain's own maximum of `fee_limit`: 15,000 TRX in sun (chain parameter `getMaxFeeLimit`).
pub const MAX_FEE_LIMIT_SUN: u64 = 15_000_000_000;
/// The longest time from `timestamp` to `expiration` that is signed: a day, java-tron's
/// `MAXIMUM_TIME_UNTIL_EXPIRATION`.
pub const MAX_LIFETIME_MS: u64 = 86_400_000;
/// 9999-12-31T23:59:59.999Z; later "times" are numbers in another unit.
const LAST_MILLISECOND: u64 = 253_402_300_799_999;

/// Sun burnt per byte of a transaction without free or staked bandwidth (`getTransactionFee`).
const BANDWIDTH_SUN_PER_BYTE: u64 = 1_000;
/// What the chain adds to the raw bytes when it counts bandwidth: signature field (67), wrapping (up to 5) and its allowance
/// for the result (64, java-tron `MAX_RESULT_SIZE_IN_TX`).
const BANDWIDTH_OVERHEAD_BYTES: u64 = 136;
/// A transfer to an address that does not exist yet creates the account: `getCreateNewAccountFeeInSystemContract` (1 TRX) and
/// `getCreateAccountFee` (0.1 TRX).
const ACCOUNT_CREATION_SUN: u64 = 1_100_000;
/// `getMemoFee`: 1 TRX for a transaction with a memo.
const MEMO_SUN: u64 = 1_000_000;

/// Decodes, and returns the intent and the bytes encoded again from the decoded fields.
pub(super) fn decode(network: &Network, bytes: &[u8]) -> Result<(Intent, Vec<u8>), DecodeError> {
    refuse_wrapped(bytes)?;
    let raw: wire::Raw = wire::parse(bytes, "raw_data")?;
    let encoded = raw.encode_to_vec();
    // Before anything is read from it: unknown fields were dropped and repeated ones merged by the parser (I4).
    if encoded != bytes {
        return Err(DecodeError::NotCanonical { what: "raw_data" });
    }
    let (lifetime, fee_limit) = limits(&raw)?;
    let [one] = raw.contract.as_slice() else {
        return Err(TronError::ContractCount(raw.contract.len()).into());
    };
    let mut parts = contract::interpret(network, one, fee_limit)?;
    if !raw.data.is_empty() {
        parts.call.warnings.push(Warning::Memo);
    }
    let permission_id = Some(one.permission_id).filter(|id| *id != 0);
    if permission_id.is_some() {
        parts.call.warnings.push(Warning::NonDefaultPermission);
    }
    let intent = Intent {
        network: *network,
        kind: parts.call.kind,
        from: parts.owner,
        transfers: parts.call.transfers,
        approvals: parts.call.approvals,
        max_fee: Fee {
            asset: network.native_asset(),
            amount: max_fee(bytes.len(), fee_limit, !raw.data.is_empty()),
        },
        lifetime,
        memo: Some(raw.data).filter(|data| !data.is_empty()).map(HexBytes),
        permission_id,
        warnings: parts.call.warnings,
    };
    Ok((intent, encoded))
}

/// An upper bound of what the chain burns, in sun, by the mainnet's chain parameters: `fee_limit` bounds the energy only;
/// bandwidth, the memo fee and account creation come on top. A change of these parameters by the chain's governance, and
/// the special fees of contract types that are not interpreted, are outside of it.
fn max_fee(raw_bytes: usize, fee_limit: u64, memo: bool) -> Amount {
    // Bounded: 128 KiB times 1,000, 15e9 and constants are far below 2^64.
    let bytes = u64::try_from(raw_bytes)
        .unwrap_or(u64::MAX)
        .saturating_add(BANDWIDTH_OVERHEAD_BYTES);
    let fee = bytes
        .saturating_mul(BANDWIDTH_SUN_PER_BYTE)
        .saturating_add(fee_limit)
        .saturating_add(ACCOUNT_CREATION_SUN)
        .saturating_add(if memo { MEMO_SUN } else { 0 });
    Amount::from(fee)
}

/// Recognises the two mistakes that are easy to make: the whole `Transaction` message, unsigned or signed.
fn refuse_wrapped(bytes: &[u8]) -> Result<(), DecodeError> {
    let Ok(transaction) = wire::Transaction::decode(bytes) else {
        return Ok(());
    };
    // Two bytes in field 1 are ref_block_bytes; a wrapped raw_data is much longer.
    if transaction.raw_data.len() <= 2 || transaction.encode_to_vec() != bytes {
        return Ok(());
    }
    if transaction.signature.is_empty() {
        Err(TronError::Wrapped.into())
    } else {
        Err(DecodeError::AlreadySigned)
    }
}

fn limits(raw: &wire::Raw) -> Result<(Lifetime, u64), TronError> {
    for (field, set) in [
        ("auths", !raw.auths.is_empty()),
        ("scripts", !raw.scripts.is_empty()),
        // Reserved by the chain, which reads only ref_block_bytes.
        ("ref_block_num", raw.ref_block_num > 0),
    ] {
        if set {
            return Err(TronError::UnexpectedField(field));
        }
    }
    unsigned("ref_block_num", raw.ref_block_num)?;
    exact("ref_block_bytes", &raw.ref_block_bytes, 2)?;
    exact("ref_block_hash", &raw.ref_block_hash, 8)?;
    let expires_at_ms = time("expiration", raw.expiration)?;
    let timestamp_ms = time("timestamp", raw.timestamp)?;
    let found_ms = expires_at_ms
        .checked_sub(timestamp_ms)
        .filter(|lives| *lives > 0)
        .ok_or(TronError::ExpirationBeforeTimestamp)?;
    if found_ms > MAX_LIFETIME_MS {
        return Err(TronError::LivesTooLong {
            found_ms,
            max_ms: MAX_LIFETIME_MS,
        });
    }
    let fee_limit = unsigned("fee_limit", raw.fee_limit)?;
    if fee_limit > MAX_FEE_LIMIT_SUN {
        return Err(TronError::FeeLimit {
            found: fee_limit,
            max: MAX_FEE_LIMIT_SUN,
        });
    }
    let lifetime = Lifetime::Tron {
        expires_at_ms,
        timestamp_ms,
        ref_block_bytes: HexBytes(raw.ref_block_bytes.clone()),
        ref_block_hash: HexBytes(raw.ref_block_hash.clone()),
    };
    Ok((lifetime, fee_limit))
}

fn unsigned(field: &'static str, value: i64) -> Result<u64, TronError> {
    u64::try_from(value).map_err(|_| TronError::Negative(field))
}

fn time(field: &'static str, value: i64) -> Result<u64, TronError> {
    let milliseconds = unsigned(field, value)?;
    if milliseconds > LAST_MILLISECOND {
        return Err(TronError::TimeOutOfRange(field));
    }
    Ok(milliseconds)
}

fn exact(field: &'static str, bytes: &[u8], expected: usize) -> Result<(), TronError> {
    if bytes.len() == expected {
        Ok(())
    } else {
        Err(TronError::Length {
            field,
            expected,
            found: bytes.len(),
        })
    }
}

/// `Transaction{raw_data, signature}` with r, s and the recovery id 0 or 1 as the last byte. java-tron takes 0/1 and
/// 27/28 alike (`Rsv.fromSignature` adds 27 to what is below); wallet-core writes 0/1, tronweb 27/28, and both read either.
pub(super) fn assemble(
    preimage: &[u8],
    digest: &SigningDigest,
    r: &[u8; 32],
    s: &[u8; 32],
    recovery_id: u8,
) -> SignedTransaction {
    let signature = [r.as_slice(), s, &[recovery_id]].concat();
    let transaction = wire::Transaction {
        raw_data: preimage.to_vec(),
        signature: vec![signature],
    };
    SignedTransaction {
        bytes: transaction.encode_to_vec(),
        tx_id: hex::encode(digest.as_bytes()),
    }
}
