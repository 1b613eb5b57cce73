//! Unsigned EVM transactions: legacy with EIP-155, EIP-2930 (type 1), EIP-1559 (type 2); typed ones by EIP-2718.

use alloy_consensus::transaction::RlpEcdsaDecodableTx;
use alloy_consensus::{SignableTransaction, Transaction, TxEip1559, TxEip2930, TxLegacy};
use alloy_primitives::{TxKind, U256};
use alloy_rlp::{Decodable, Header};

use super::error::{DecodeError, EvmError};
use super::{SignedTransaction, abi};
use crate::address::Address;
use crate::amount::Amount;
use crate::caip::Network;
use crate::intent::{Fee, Intent, Lifetime, Warning};

/// The fields of an unsigned transaction of one of the three supported forms.
#[derive(Clone, Debug)]
pub(super) enum Unsigned {
    Legacy(TxLegacy),
    Eip2930(TxEip2930),
    Eip1559(TxEip1559),
}

/// Chains of the OP stack charge a layer 1 data fee besides the gas of the transaction.
/// <https://docs.optimism.io/stack/transactions/fees>
const DATA_FEE_CHAINS: [u64; 4] = [10, 8453, 11_155_420, 84_532];

/// Decodes, and returns the intent, the bytes encoded again from the decoded fields, and the fields.
pub(super) fn decode(
    network: &Network,
    chain_id: u64,
    bytes: &[u8],
) -> Result<(Intent, Vec<u8>, Unsigned), DecodeError> {
    let unsigned = Unsigned::decode(bytes)?;
    let intent = unsigned.intent(network, chain_id)?;
    Ok((intent, unsigned.encode(), unsigned))
}

impl Unsigned {
    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        match bytes {
            [0x01, list @ ..] => {
                Form {
                    name: "EIP-2930",
                    unsigned: 8,
                    signed: 11,
                }
                .check(list)?;
                Ok(Self::Eip2930(fields(list)?))
            }
            [0x02, list @ ..] => {
                Form {
                    name: "EIP-1559",
                    unsigned: 9,
                    signed: 12,
                }
                .check(list)?;
                Ok(Self::Eip1559(fields(list)?))
            }
            [0x03, ..] => Err(EvmError::Blob.into()),
            [0x04, ..] => Err(EvmError::SetCode.into()),
            [0x05, ..] => Err(EvmError::Delegation.into()),
            [0x19, ..] => Err(EvmError::SignedData.into()),
            [0xc0..=0xff, ..] => legacy(bytes),
            [other, ..] => Err(EvmError::UnknownType(*other).into()),
            [] => Err(DecodeError::Empty),
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Legacy(tx) => tx.encode_for_signing(&mut out),
            Self::Eip2930(tx) => tx.encode_for_signing(&mut out),
            Self::Eip1559(tx) => tx.encode_for_signing(&mut out),
        }
        out
    }

    fn fields(&self) -> &dyn Transaction {
        match self {
            Self::Legacy(tx) => tx,
            Self::Eip2930(tx) => tx,
            Self::Eip1559(tx) => tx,
        }
    }

    fn intent(&self, network: &Network, wanted: u64) -> Result<Intent, DecodeError> {
        let tx = self.fields();
        let chain_id = tx.chain_id().ok_or(EvmError::PreEip155)?;
        if chain_id == 0 {
            return Err(EvmError::ChainIdZero.into());
        }
        if chain_id != wanted {
            return Err(EvmError::OtherChain {
                network: *network,
                found: chain_id,
            }
            .into());
        }
        let TxKind::Call(to) = tx.kind() else {
            return Err(EvmError::ContractCreation.into());
        };
        let nonce = tx.nonce();
        if nonce == u64::MAX {
            return Err(EvmError::NonceTooHigh.into());
        }
        let value = Amount::from_u256(tx.value());
        let max_fee = self.max_fee(value)?;
        let mut call = abi::interpret(network, Address::Evm(to.into_array()), value, tx.input())?;
        if DATA_FEE_CHAINS.contains(&chain_id) {
            call.warnings.push(Warning::UnboundedDataFee);
        }
        Ok(Intent {
            network: *network,
            kind: call.kind,
            from: None,
            transfers: call.transfers,
            approvals: call.approvals,
            max_fee: Fee {
                asset: network.native_asset(),
                amount: max_fee,
            },
            lifetime: Lifetime::Evm {
                chain_id,
                nonce,
                account: None,
            },
            memo: None,
            permission_id: None,
            warnings: call.warnings,
        })
    }

    /// Gas limit times the price (EIP-1559: the maximum fee) per gas, in wei.
    fn max_fee(&self, value: Amount) -> Result<Amount, EvmError> {
        let tx = self.fields();
        let price = tx.max_fee_per_gas();
        if let Some(priority) = tx.max_priority_fee_per_gas()
            && priority > price
        {
            return Err(EvmError::PriorityAboveMax {
                priority,
                max: price,
            });
        }
        let fee = Amount::from(price)
            .checked_mul(Amount::from(tx.gas_limit()))
            .ok_or(EvmError::FeeOverflow)?;
        // The chain checks the balance against the sum; one that does not fit is no honest transaction.
        fee.checked_add(value).ok_or(EvmError::FeeOverflow)?;
        Ok(fee)
    }

    /// Encodes with the signature: `v` is 35 + 2 * chain id + parity (EIP-155) or the parity (EIP-2718).
    pub(super) fn assemble(
        &self,
        r: &[u8; 32],
        s: &[u8; 32],
        recovery_id: u8,
    ) -> SignedTransaction {
        let (r, s) = (U256::from_be_bytes(*r), U256::from_be_bytes(*s));
        let signature = alloy_primitives::Signature::new(r, s, recovery_id == 1);
        let mut bytes = Vec::new();
        let hash = match self {
            Self::Legacy(tx) => signed(tx.clone(), signature, &mut bytes),
            Self::Eip2930(tx) => signed(tx.clone(), signature, &mut bytes),
            Self::Eip1559(tx) => signed(tx.clone(), signature, &mut bytes),
        };
        SignedTransaction {
            bytes,
            tx_id: format!("0x{}", hex::encode(hash)),
        }
    }
}

fn signed<T>(tx: T, signature: alloy_primitives::Signature, out: &mut Vec<u8>) -> [u8; 32]
where
    T: SignableTransaction<alloy_primitives::Signature>
        + alloy_consensus::transaction::RlpEcdsaEncodableTx,
{
    tx.into_signed(signature).eip2718_encode(out);
    alloy_primitives::keccak256(&out).0
}

/// How many fields a form has, with and without signature.
struct Form {
    name: &'static str,
    unsigned: usize,
    signed: usize,
}

impl Form {
    fn check(&self, list: &[u8]) -> Result<(), DecodeError> {
        match items(list)?.len() {
            found if found == self.unsigned => Ok(()),
            found if found == self.signed => Err(DecodeError::AlreadySigned),
            found => Err(EvmError::FieldCount {
                form: self.name,
                expected: self.unsigned,
                found,
            }
            .into()),
        }
    }
}

/// Six fields, then chain id, 0, 0 (EIP-155). With a signature these three are v, r, s.
fn legacy(bytes: &[u8]) -> Result<Unsigned, DecodeError> {
    const EMPTY: &[u8] = &[0x80];
    match items(bytes)?.as_slice() {
        [_, _, _, _, _, _] => Err(EvmError::PreEip155.into()),
        [_, _, _, _, _, _, chain_id, r, s] if *r == EMPTY && *s == EMPTY => {
            if *chain_id == EMPTY {
                return Err(EvmError::ChainIdZero.into());
            }
            let tx = TxLegacy::decode(&mut &*bytes).map_err(EvmError::Rlp)?;
            Ok(Unsigned::Legacy(tx))
        }
        [_, _, _, _, _, _, _, _, _] => Err(DecodeError::AlreadySigned),
        other => Err(EvmError::FieldCount {
            form: "legacy",
            expected: 9,
            found: other.len(),
        }
        .into()),
    }
}

fn fields<T: RlpEcdsaDecodableTx>(list: &[u8]) -> Result<T, EvmError> {
    T::rlp_decode(&mut &*list).map_err(EvmError::Rlp)
}

/// The encoded items of the outer list, which must fill `bytes`.
fn items(bytes: &[u8]) -> Result<Vec<&[u8]>, EvmError> {
    let mut rest = bytes;
    let mut payload = Header::decode_bytes(&mut rest, true).map_err(EvmError::Rlp)?;
    if !rest.is_empty() {
        return Err(EvmError::TrailingBytes(rest.len()));
    }
    let mut items = Vec::with_capacity(12);
    while !payload.is_empty() {
        let start = payload;
        let header = Header::decode(&mut payload).map_err(EvmError::Rlp)?;
        payload = payload
            .get(header.payload_length..)
            .ok_or(EvmError::Rlp(alloy_rlp::Error::InputTooShort))?;
        let length = start.len().saturating_sub(payload.len());
        items.push(start.get(..length).unwrap_or_default());
    }
    Ok(items)
}
