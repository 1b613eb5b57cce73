//! The three token calls that are understood (ERC-20, and TRC-20 which is the same), strictly.

use super::data_hash;
use super::error::{CallError, DecodeError};
use crate::address::Address;
use crate::amount::Amount;
use crate::assets;
use crate::caip::{AssetId, Network};
use crate::intent::{Allowance, ContractCall, IntentKind, Selector, Transfer, Warning};

const TRANSFER: Method = Method {
    selector: [0xa9, 0x05, 0x9c, 0xbb],
    name: "transfer(address,uint256)",
    addresses: 1,
};
const TRANSFER_FROM: Method = Method {
    selector: [0x23, 0xb8, 0x72, 0xdd],
    name: "transferFrom(address,address,uint256)",
    addresses: 2,
};
const APPROVE: Method = Method {
    selector: [0x09, 0x5e, 0xa7, 0xb3],
    name: "approve(address,uint256)",
    addresses: 1,
};

/// A method whose arguments are some addresses and then one amount.
struct Method {
    selector: [u8; 4],
    name: &'static str,
    addresses: usize,
}

/// The part of an intent that a call decides.
pub(super) struct Call {
    pub(super) kind: IntentKind,
    pub(super) transfers: Vec<Transfer>,
    pub(super) approvals: Vec<Allowance>,
    pub(super) warnings: Vec<Warning>,
}

/// Says what calling `contract` with `data` and `value` of native coin does.
///
/// # Errors
/// [`CallError`] for one of the three selectors with anything else than its exact canonical arguments and value 0: a
/// contract might read such data differently than a person.
pub(super) fn interpret(
    network: &Network,
    contract: Address,
    value: Amount,
    data: &[u8],
) -> Result<Call, DecodeError> {
    let native = Transfer {
        asset: network.native_asset(),
        from: None,
        to: contract,
        amount: value,
    };
    let mut call = if data.is_empty() {
        plain(IntentKind::NativeTransfer, vec![native])
    } else {
        let selector = data.first_chunk::<4>();
        match selector.and_then(|selector| {
            [TRANSFER, TRANSFER_FROM, APPROVE]
                .into_iter()
                .find(|m| m.selector == *selector)
        }) {
            Some(method) => token_call(&method, network, contract, value, data)?,
            None => {
                let selector = selector.copied().map(Selector);
                let kind = IntentKind::ContractCall(ContractCall {
                    contract,
                    selector,
                    data_hash: data_hash(data),
                });
                let mut call = plain(
                    kind,
                    if value.is_zero() {
                        vec![]
                    } else {
                        vec![native]
                    },
                );
                call.warnings.push(Warning::UnknownCall);
                call
            }
        }
    };
    if call
        .transfers
        .iter()
        .any(|transfer| transfer.to.as_bytes().iter().all(|byte| *byte == 0))
    {
        call.warnings.push(Warning::ZeroAddress);
    }
    Ok(call)
}

fn plain(kind: IntentKind, transfers: Vec<Transfer>) -> Call {
    Call {
        kind,
        transfers,
        approvals: vec![],
        warnings: vec![],
    }
}

fn token_call(
    method: &Method,
    network: &Network,
    contract: Address,
    value: Amount,
    data: &[u8],
) -> Result<Call, DecodeError> {
    if !value.is_zero() {
        return Err(CallError::CarriesValue {
            method: method.name,
            value: value.to_string(),
        }
        .into());
    }
    let (accounts, amount) = method.arguments(network, data)?;
    let asset = AssetId::token(network, &contract)?;
    let known = assets::lookup(&asset).is_some();
    let mut call = match (method.selector, accounts.as_slice()) {
        (selector, [spender]) if selector == APPROVE.selector => {
            let mut call = plain(IntentKind::TokenApprove, vec![]);
            call.approvals.push(Allowance {
                asset,
                spender: *spender,
                amount,
            });
            if amount == Amount::MAX {
                call.warnings.push(Warning::UnlimitedApproval(asset));
            }
            call
        }
        (_, [to]) => plain(
            IntentKind::TokenTransfer,
            vec![Transfer {
                asset,
                from: None,
                to: *to,
                amount,
            }],
        ),
        (_, [from, to]) => plain(
            IntentKind::TokenTransferFrom,
            vec![Transfer {
                asset,
                from: Some(*from),
                to: *to,
                amount,
            }],
        ),
        _ => return Err(DecodeError::NotCanonical { what: "call data" }),
    };
    if !known {
        call.warnings.push(Warning::UnknownToken(asset));
        if method.selector != TRANSFER.selector {
            call.warnings.push(Warning::AmountMayBeTokenId(asset));
        }
    }
    if call
        .transfers
        .iter()
        .any(|transfer| transfer.to == contract)
    {
        call.warnings.push(Warning::TokenToItsContract(asset));
    }
    Ok(call)
}

impl Method {
    /// The arguments, when encoding them again gives `data`: exact length, clean addresses.
    fn arguments(
        &self,
        network: &Network,
        data: &[u8],
    ) -> Result<(Vec<Address>, Amount), CallError> {
        let words = data.get(4..).unwrap_or_default();
        let (words, rest) = words.as_chunks::<32>();
        let expected = 32_usize
            .saturating_mul(self.addresses.saturating_add(1))
            .saturating_add(4);
        let length = CallError::Length {
            method: self.name,
            expected,
            found: data.len(),
        };
        let (Some((amount, addresses)), true) = (words.split_last(), rest.is_empty()) else {
            return Err(length);
        };
        if addresses.len() != self.addresses {
            return Err(length);
        }
        let accounts = addresses
            .iter()
            .enumerate()
            .map(|(at, word)| {
                account(network, word).ok_or(CallError::DirtyAddress {
                    method: self.name,
                    argument: at.saturating_add(1),
                })
            })
            .collect::<Result<_, _>>()?;
        Ok((accounts, Amount::from_be_bytes(*amount)))
    }
}

fn account(network: &Network, word: &[u8; 32]) -> Option<Address> {
    let (padding, account) = word.split_last_chunk::<20>()?;
    let clean = padding.iter().all(|byte| *byte == 0);
    clean.then_some(match network {
        Network::Tron(_) => Address::Tron(*account),
        _ => Address::Evm(*account),
    })
}
