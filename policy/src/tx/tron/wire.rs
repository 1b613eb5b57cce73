//! The messages of java-tron's `core/Tron.proto` and `core/contract/*.proto` that are read here, field by field.

use prost::Message;

use super::super::error::TronError;

/// `Transaction`, with `raw_data` as the bytes that were hashed.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Transaction {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) raw_data: Vec<u8>,
    #[prost(bytes = "vec", repeated, tag = "2")]
    pub(super) signature: Vec<Vec<u8>>,
}

/// `Transaction.raw`.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Raw {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) ref_block_bytes: Vec<u8>,
    #[prost(int64, tag = "3")]
    pub(super) ref_block_num: i64,
    #[prost(bytes = "vec", tag = "4")]
    pub(super) ref_block_hash: Vec<u8>,
    #[prost(int64, tag = "8")]
    pub(super) expiration: i64,
    /// `authority` messages, never interpreted.
    #[prost(bytes = "vec", repeated, tag = "9")]
    pub(super) auths: Vec<Vec<u8>>,
    #[prost(bytes = "vec", tag = "10")]
    pub(super) data: Vec<u8>,
    #[prost(message, repeated, tag = "11")]
    pub(super) contract: Vec<Contract>,
    #[prost(bytes = "vec", tag = "12")]
    pub(super) scripts: Vec<u8>,
    #[prost(int64, tag = "14")]
    pub(super) timestamp: i64,
    #[prost(int64, tag = "18")]
    pub(super) fee_limit: i64,
}

/// `Transaction.Contract`.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Contract {
    /// `ContractType`.
    #[prost(int32, tag = "1")]
    pub(super) contract_type: i32,
    #[prost(message, optional, tag = "2")]
    pub(super) parameter: Option<Any>,
    #[prost(bytes = "vec", tag = "3")]
    pub(super) provider: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    pub(super) contract_name: Vec<u8>,
    #[prost(int32, tag = "5")]
    pub(super) permission_id: i32,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Any {
    #[prost(string, tag = "1")]
    pub(super) type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) value: Vec<u8>,
}

/// `TransferContract`.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Transfer {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) owner_address: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) to_address: Vec<u8>,
    #[prost(int64, tag = "3")]
    pub(super) amount: i64,
}

/// `TriggerSmartContract`.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Trigger {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) owner_address: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) contract_address: Vec<u8>,
    #[prost(int64, tag = "3")]
    pub(super) call_value: i64,
    #[prost(bytes = "vec", tag = "4")]
    pub(super) data: Vec<u8>,
    #[prost(int64, tag = "5")]
    pub(super) call_token_value: i64,
    #[prost(int64, tag = "6")]
    pub(super) token_id: i64,
}

/// Parses a message; what it dropped or merged shows when it is encoded again.
pub(super) fn parse<M: Message + Default>(
    bytes: &[u8],
    what: &'static str,
) -> Result<M, TronError> {
    M::decode(bytes).map_err(|error| TronError::Protobuf {
        what,
        reason: error.to_string(),
    })
}
