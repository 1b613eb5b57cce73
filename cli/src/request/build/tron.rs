//! Tron `raw_data` with one contract, as java-tron's `core/Tron.proto` defines it.

use countersign_policy::{Address, Timestamp};
use prost::Message;

use super::{Chain, Payment, missing, transfer_call};
use crate::amount::parse_units;
use crate::failure::{Failure, Outcome};

/// `Transaction.raw`; fields that a transfer leaves empty are left out.
#[derive(Clone, PartialEq, Message)]
struct Raw {
    #[prost(bytes = "vec", tag = "1")]
    ref_block_bytes: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    ref_block_hash: Vec<u8>,
    #[prost(int64, tag = "8")]
    expiration: i64,
    #[prost(message, repeated, tag = "11")]
    contract: Vec<Contract>,
    #[prost(int64, tag = "14")]
    timestamp: i64,
    #[prost(int64, tag = "18")]
    fee_limit: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Contract {
    #[prost(int32, tag = "1")]
    contract_type: i32,
    #[prost(message, optional, tag = "2")]
    parameter: Option<Any>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct TransferContract {
    #[prost(bytes = "vec", tag = "1")]
    owner_address: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    to_address: Vec<u8>,
    #[prost(int64, tag = "3")]
    amount: i64,
}

#[derive(Clone, PartialEq, Message)]
struct TriggerSmartContract {
    #[prost(bytes = "vec", tag = "1")]
    owner_address: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    contract_address: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    data: Vec<u8>,
}

/// `ContractType` numbers.
const TRANSFER: i32 = 1;
const TRIGGER: i32 = 31;
/// Seconds that a transaction may wait for inclusion, when nothing else is asked for; as tronweb does.
const EXPIRES_IN: u64 = 60;
/// TRX that a token transfer may burn, when nothing else is asked for.
const FEE_LIMIT: &str = "30";

pub(super) fn build(payment: &Payment, chain: &Chain, now: Timestamp) -> Outcome<Vec<u8>> {
    let block = chain
        .tron_ref_block
        .as_ref()
        .ok_or_else(|| missing("--tron-ref-block", "the id of a recent block"))?;
    let block: [u8; 32] = hex::decode(block.strip_prefix("0x").unwrap_or(block))
        .ok()
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| Failure::usage("--tron-ref-block is a block id of 64 hexadecimal digits"))?;
    // A block id starts with the block's number in 8 bytes; the transaction names the last two of them and the 8 bytes that follow.
    let (Some(ref_block_bytes), Some(ref_block_hash)) = (block.get(6..8), block.get(8..16)) else {
        return Err(Failure::broken("a block id has 32 bytes"));
    };
    let (contract, fee_limit) = contract(payment, chain)?;
    let expires = now.plus_seconds(chain.tron_expires_in.unwrap_or(EXPIRES_IN));
    let raw = Raw {
        ref_block_bytes: ref_block_bytes.to_vec(),
        ref_block_hash: ref_block_hash.to_vec(),
        expiration: expires.as_millis(),
        contract: vec![contract],
        timestamp: now.as_millis(),
        fee_limit,
    };
    Ok(raw.encode_to_vec())
}

fn contract(payment: &Payment, chain: &Chain) -> Outcome<(Contract, i64)> {
    let (owner_address, to) = (prefixed(&payment.from)?, &payment.to);
    if payment.is_native() {
        let amount = payment
            .amount
            .to_u128()
            .and_then(|sun| i64::try_from(sun).ok());
        let body = TransferContract {
            owner_address,
            to_address: prefixed(to)?,
            amount: amount
                .ok_or_else(|| Failure::usage("the amount is more TRX than can exist"))?,
        };
        return Ok((wrap(TRANSFER, "TransferContract", &body), 0));
    }
    let text = chain.tron_fee_limit.as_deref().unwrap_or(FEE_LIMIT);
    let limit = parse_units(text, 6)
        .ok()
        .and_then(|sun| sun.to_u128())
        .and_then(|sun| i64::try_from(sun).ok())
        .ok_or_else(|| Failure::usage(format!("--tron-fee-limit {text:?} is no amount of TRX")))?;
    let body = TriggerSmartContract {
        owner_address,
        contract_address: prefixed(&payment.contract()?)?,
        data: transfer_call(to.as_bytes(), payment.amount),
    };
    Ok((wrap(TRIGGER, "TriggerSmartContract", &body), limit))
}

fn wrap(contract_type: i32, name: &str, body: &impl Message) -> Contract {
    Contract {
        contract_type,
        parameter: Some(Any {
            type_url: format!("type.googleapis.com/protocol.{name}"),
            value: body.encode_to_vec(),
        }),
    }
}

/// The 21 bytes that Tron's messages carry: `0x41` and the address.
fn prefixed(address: &Address) -> Outcome<Vec<u8>> {
    match address {
        Address::Tron(bytes) => Ok([&[0x41], bytes.as_slice()].concat()),
        _ => Err(Failure::usage(format!("{address} is no Tron address"))),
    }
}
