//! The one contract of a Tron transaction.

use prost::Message;

use super::super::abi::{self, Call};
use super::super::data_hash;
use super::super::error::{DecodeError, TronError};
use super::{unsigned, wire};
use crate::address::{Address, TRON_PREFIX};
use crate::amount::Amount;
use crate::caip::Network;
use crate::intent::{ContractCall, IntentKind, Transfer, Warning};

const TRANSFER: i32 = 1;
const TRIGGER: i32 = 31;
const TYPE_URL: &str = "type.googleapis.com/protocol.";

/// What the contract decides of an intent.
pub(super) struct Parts {
    pub(super) owner: Option<Address>,
    pub(super) call: Call,
}

/// Reads the contract. Its type number and its `type_url` must agree: nodes dispatch on the one, wallets show the other.
pub(super) fn interpret(
    network: &Network,
    contract: &wire::Contract,
    fee_limit: u64,
) -> Result<Parts, DecodeError> {
    for (field, set) in [
        ("provider", !contract.provider.is_empty()),
        ("ContractName", !contract.contract_name.is_empty()),
    ] {
        if set {
            return Err(TronError::UnexpectedField(field).into());
        }
    }
    if contract.permission_id < 0 {
        return Err(TronError::Negative("Permission_id").into());
    }
    let name = type_name(contract.contract_type)?;
    let parameter = contract.parameter.clone().unwrap_or_default();
    if parameter.type_url.strip_prefix(TYPE_URL) != Some(name) {
        let (contract_type, expected) = (contract.contract_type, format!("{TYPE_URL}{name}"));
        let type_url = parameter.type_url.chars().take(80).collect();
        return Err(TronError::TypeMismatch {
            contract_type,
            expected,
            type_url,
        }
        .into());
    }
    match contract.contract_type {
        TRANSFER => transfer(network, &inner(&parameter.value, "TransferContract")?),
        TRIGGER => trigger(
            network,
            &inner(&parameter.value, "TriggerSmartContract")?,
            fee_limit,
        ),
        contract_type => Ok(other(contract_type, name, &parameter.value)),
    }
}

/// Parses the `Any` value, which must be canonical too: the outer comparison sees it as opaque bytes (I4).
fn inner<M: Message + Default>(value: &[u8], what: &'static str) -> Result<M, DecodeError> {
    let message: M = wire::parse(value, what)?;
    if message.encode_to_vec() == value {
        Ok(message)
    } else {
        Err(DecodeError::NotCanonical { what })
    }
}

fn transfer(network: &Network, transfer: &wire::Transfer) -> Result<Parts, DecodeError> {
    let owner = address("owner_address", &transfer.owner_address)?;
    let to = address("to_address", &transfer.to_address)?;
    let amount = Amount::from(unsigned("amount", transfer.amount)?);
    // Without data the interpretation is that of a plain transfer on any chain.
    let call = abi::interpret(network, to, amount, &[])?;
    Ok(Parts {
        owner: Some(owner),
        call,
    })
}

fn trigger(
    network: &Network,
    trigger: &wire::Trigger,
    fee_limit: u64,
) -> Result<Parts, DecodeError> {
    let owner = address("owner_address", &trigger.owner_address)?;
    let contract = address("contract_address", &trigger.contract_address)?;
    let value = Amount::from(unsigned("call_value", trigger.call_value)?);
    if trigger.call_token_value != 0 || trigger.token_id != 0 {
        return Err(TronError::CarriesToken.into());
    }
    let mut call = if trigger.data.is_empty() {
        bare_call(network, contract, value)
    } else {
        abi::interpret(network, contract, value, &trigger.data)?
    };
    if fee_limit == 0 {
        call.warnings.push(Warning::NoFeeLimit);
    }
    Ok(Parts {
        owner: Some(owner),
        call,
    })
}

/// A trigger without data still runs the contract's fallback function, so it is a call and no plain transfer.
fn bare_call(network: &Network, contract: Address, value: Amount) -> Call {
    let native = Transfer {
        asset: network.native_asset(),
        from: None,
        to: contract,
        amount: value,
    };
    Call {
        kind: IntentKind::ContractCall(ContractCall {
            contract,
            selector: None,
            data_hash: data_hash(&[]),
        }),
        transfers: if value.is_zero() {
            vec![]
        } else {
            vec![native]
        },
        approvals: vec![],
        warnings: vec![Warning::UnknownCall],
    }
}

fn other(contract_type: i32, name: &str, value: &[u8]) -> Parts {
    let kind = IntentKind::OtherContract {
        contract_type,
        name: name.to_owned(),
        data_hash: data_hash(value),
    };
    let warnings = vec![Warning::UninterpretedContract];
    Parts {
        owner: None,
        call: Call {
            kind,
            transfers: vec![],
            approvals: vec![],
            warnings,
        },
    }
}

fn address(field: &'static str, bytes: &[u8]) -> Result<Address, TronError> {
    match bytes.split_first() {
        Some((&TRON_PREFIX, account)) => account
            .try_into()
            .map(Address::Tron)
            .map_err(|_| TronError::BadAddress(field)),
        _ => Err(TronError::BadAddress(field)),
    }
}

/// `Transaction.Contract.ContractType` of java-tron's `core/Tron.proto`; each value's message has the same name.
fn type_name(contract_type: i32) -> Result<&'static str, TronError> {
    Ok(match contract_type {
        0 => "AccountCreateContract",
        TRANSFER => "TransferContract",
        2 => "TransferAssetContract",
        3 => "VoteAssetContract",
        4 => "VoteWitnessContract",
        5 => "WitnessCreateContract",
        6 => "AssetIssueContract",
        8 => "WitnessUpdateContract",
        9 => "ParticipateAssetIssueContract",
        10 => "AccountUpdateContract",
        11 => "FreezeBalanceContract",
        12 => "UnfreezeBalanceContract",
        13 => "WithdrawBalanceContract",
        14 => "UnfreezeAssetContract",
        15 => "UpdateAssetContract",
        16 => "ProposalCreateContract",
        17 => "ProposalApproveContract",
        18 => "ProposalDeleteContract",
        19 => "SetAccountIdContract",
        30 => "CreateSmartContract",
        TRIGGER => "TriggerSmartContract",
        33 => "UpdateSettingContract",
        41 => "ExchangeCreateContract",
        42 => "ExchangeInjectContract",
        43 => "ExchangeWithdrawContract",
        44 => "ExchangeTransactionContract",
        45 => "UpdateEnergyLimitContract",
        46 => "AccountPermissionUpdateContract",
        48 => "ClearABIContract",
        49 => "UpdateBrokerageContract",
        51 => "ShieldedTransferContract",
        52 => "MarketSellAssetContract",
        53 => "MarketCancelOrderContract",
        54 => "FreezeBalanceV2Contract",
        55 => "UnfreezeBalanceV2Contract",
        56 => "WithdrawExpireUnfreezeContract",
        57 => "DelegateResourceContract",
        58 => "UnDelegateResourceContract",
        59 => "CancelAllUnfreezeV2Contract",
        unknown => return Err(TronError::UnknownContractType(unknown)),
    })
}
