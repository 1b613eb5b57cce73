//! EIP-1559 and legacy (EIP-155) transactions.

use alloy_consensus::{SignableTransaction as _, TxEip1559, TxLegacy};
use alloy_primitives::{Address as EvmAddress, Bytes, TxKind, U256};
use countersign_policy::Address;

use super::{Chain, Payment, missing, transfer_call};
use crate::failure::{Failure, Outcome};

/// A transfer of the native coin uses exactly this.
const NATIVE_GAS: u64 = 21_000;
/// Enough for the `transfer` of every registered token.
const TOKEN_GAS: u64 = 100_000;

pub(super) fn build(payment: &Payment, chain: &Chain, chain_id: u64) -> Outcome<Vec<u8>> {
    let nonce = chain.nonce.ok_or_else(|| {
        missing(
            "--nonce",
            "the paying account's transaction counter, which only the chain knows",
        )
    })?;
    let native = payment.is_native();
    let gas_limit = chain
        .gas_limit
        .unwrap_or(if native { NATIVE_GAS } else { TOKEN_GAS });
    let (to, value, input) = if native {
        let value = U256::from_be_bytes(payment.amount.to_be_bytes());
        (payment.to, value, Bytes::new())
    } else {
        let call = transfer_call(payment.to.as_bytes(), payment.amount);
        (payment.contract()?, U256::ZERO, Bytes::from(call))
    };
    let to = TxKind::Call(evm_address(&to)?);
    if let Some(gas_price) = chain.gas_price {
        let transaction = TxLegacy {
            chain_id: Some(chain_id),
            nonce,
            gas_price,
            gas_limit,
            to,
            value,
            input,
        };
        return Ok(transaction.encoded_for_signing());
    }
    let max_fee_per_gas = chain.max_fee_per_gas.ok_or_else(|| {
        missing(
            "--max-fee-per-gas",
            "in wei; or give --gas-price for a legacy transaction",
        )
    })?;
    let transaction = TxEip1559 {
        chain_id,
        nonce,
        gas_limit,
        max_fee_per_gas,
        max_priority_fee_per_gas: chain.max_priority_fee_per_gas.unwrap_or(0),
        to,
        value,
        access_list: Default::default(),
        input,
    };
    Ok(transaction.encoded_for_signing())
}

fn evm_address(address: &Address) -> Outcome<EvmAddress> {
    match address {
        Address::Evm(bytes) => Ok(EvmAddress::from(*bytes)),
        _ => Err(Failure::usage(format!("{address} is no EVM address"))),
    }
}
