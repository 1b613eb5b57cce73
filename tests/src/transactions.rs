//! Random unsigned transactions with their meaning, written without the code under test: RLP and protobuf by hand.
#![allow(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::str::FromStr;

use countersign_policy::{Address, AssetId, Network};
use serde::Serialize;

#[path = "../../policy/tests/build/mod.rs"]
mod build;

use build::{Evm, Tron};

/// A deterministic source of choices (SplitMix64): one seed, one sequence.
pub struct Choices(u64);

impl Choices {
    /// Starts the sequence of `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.word() % end
    }

    /// A number of random length up to `bits` bits, so that short ones are common.
    pub fn number(&mut self, bits: u32) -> u128 {
        let length = self.below(u64::from(bits) + 1) as u32;
        let wide = (u128::from(self.word()) << 64) | u128::from(self.word());
        if length == 0 {
            0
        } else {
            wide >> (128 - length)
        }
    }

    /// `N` random bytes.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.word() as u8)
    }

    /// One of `options`.
    pub fn one_of<T: Copy>(&mut self, options: &[T]) -> T {
        options[self.below(options.len() as u64) as usize]
    }
}

/// A random transaction and what it means, in the words of `countersign inspect --json`.
#[derive(Clone, Debug, Serialize)]
pub struct RandomTransaction {
    /// CAIP-2.
    pub network: String,
    /// The unsigned bytes.
    #[serde(skip)]
    pub bytes: Vec<u8>,
    /// The kind's name.
    pub kind: &'static str,
    /// Expected transfers.
    pub transfers: Vec<Moved>,
    /// Expected allowances.
    pub approvals: Vec<Allowed>,
    /// Expected maximum fee; `None` where only a lower bound is known outside (Tron).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_fee: Option<String>,
}

/// An expected transfer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Moved {
    /// CAIP-19.
    pub asset: String,
    /// The payer, when it is not the signer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The receiver.
    pub to: String,
    /// Base units.
    pub amount: String,
}

/// An expected allowance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Allowed {
    /// CAIP-19.
    pub asset: String,
    /// Who may spend.
    pub spender: String,
    /// Base units.
    pub amount: String,
}

const CHAINS: [u64; 9] = [
    1,
    10,
    56,
    137,
    8453,
    42161,
    43114,
    11_155_111,
    999_999_999_999,
];
/// Tokens that are known on some chain and unknown on others.
const TOKENS: [&str; 4] = [
    "dac17f958d2ee523a2206206994597c13d831ec7",
    "55d398326f99059ff775485246999027b3197955",
    "833589fcd6edb6e08f4c7c32d4f71b54bda02913",
    "6b175474e89094c44da98b954eedeac495271d0f",
];

/// What a random call does: its data, and the meaning in terms of a token contract.
enum Call {
    Native,
    Transfer([u8; 20], u128),
    TransferFrom([u8; 20], [u8; 20], u128),
    Approve([u8; 20], u128),
    Other(Vec<u8>),
}

impl Call {
    fn random(choices: &mut Choices) -> Self {
        match choices.below(6) {
            0 | 1 => Self::Transfer(choices.bytes(), choices.number(128)),
            2 => Self::TransferFrom(choices.bytes(), choices.bytes(), choices.number(128)),
            3 => Self::Approve(choices.bytes(), choices.number(128)),
            4 => {
                let length = choices.below(300) as usize + 1;
                // Never one of the three selectors.
                Self::Other(
                    (0..length)
                        .map(|at| if at == 0 { 0xee } else { choices.word() as u8 })
                        .collect(),
                )
            }
            _ => Self::Native,
        }
    }

    fn data(&self) -> Vec<u8> {
        match self {
            Self::Native => vec![],
            Self::Transfer(to, amount) => build::transfer(to, *amount),
            Self::TransferFrom(from, to, amount) => build::transfer_from(from, to, *amount),
            Self::Approve(spender, amount) => build::approve(spender, &build::amount_word(*amount)),
            Self::Other(data) => data.clone(),
        }
    }

    const fn is_token_call(&self) -> bool {
        matches!(
            self,
            Self::Transfer(..) | Self::TransferFrom(..) | Self::Approve(..)
        )
    }

    /// Kind, transfers and allowances of calling `contract` with `value` of native coin.
    fn meaning(
        &self,
        network: &Network,
        contract: Address,
        value: u128,
    ) -> (&'static str, Vec<Moved>, Vec<Allowed>) {
        let account = |bytes: &[u8; 20]| match network {
            Network::Tron(_) => Address::Tron(*bytes).to_string(),
            _ => Address::Evm(*bytes).to_string(),
        };
        let native = Moved {
            asset: network.native_asset().to_string(),
            from: None,
            to: contract.to_string(),
            amount: value.to_string(),
        };
        let asset = AssetId::token(network, &contract)
            .map(|id| id.to_string())
            .unwrap_or_default();
        match self {
            Self::Native => ("native-transfer", vec![native], vec![]),
            Self::Transfer(to, amount) => {
                let moved = Moved {
                    asset,
                    from: None,
                    to: account(to),
                    amount: amount.to_string(),
                };
                ("token-transfer", vec![moved], vec![])
            }
            Self::TransferFrom(from, to, amount) => {
                let from = Some(account(from));
                let moved = Moved {
                    asset,
                    from,
                    to: account(to),
                    amount: amount.to_string(),
                };
                ("token-transfer-from", vec![moved], vec![])
            }
            Self::Approve(spender, amount) => {
                let allowed = Allowed {
                    asset,
                    spender: account(spender),
                    amount: amount.to_string(),
                };
                ("token-approve", vec![], vec![allowed])
            }
            Self::Other(_) => (
                "contract-call",
                if value == 0 { vec![] } else { vec![native] },
                vec![],
            ),
        }
    }
}

/// A random EVM transaction of any of the three forms. Nonces stay below 2^53, which JavaScript libraries need.
#[must_use]
pub fn random_evm(choices: &mut Choices) -> RandomTransaction {
    let chain_id = choices.one_of(&CHAINS);
    let network = Network::evm(chain_id).unwrap_or(Network::ETHEREUM);
    let call = Call::random(choices);
    let contract: [u8; 20] = if choices.below(2) == 0 {
        let mut bytes = [0; 20];
        let token = choices.one_of(&TOKENS);
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&token[2 * at..2 * at + 2], 16).unwrap_or_default();
        }
        bytes
    } else {
        choices.bytes()
    };
    let value = if call.is_token_call() {
        0
    } else {
        choices.number(100)
    };
    let price = choices.number(60);
    let gas = choices.number(32);
    let evm = Evm {
        chain_id: build::number(u128::from(chain_id)),
        nonce: build::number(choices.number(53)),
        priority: build::number(price.min(choices.number(60))),
        price: build::number(price),
        gas: build::number(gas),
        to: build::rlp(&contract),
        value: build::number(value),
        data: build::rlp(&call.data()),
        access_list: access_list(choices),
    };
    let bytes = choices.one_of(&[Evm::legacy, Evm::eip2930, Evm::eip1559])(&evm);
    let (kind, transfers, approvals) = call.meaning(&network, Address::Evm(contract), value);
    let max_fee = Some((price * gas).to_string());
    RandomTransaction {
        network: network.to_string(),
        bytes,
        kind,
        transfers,
        approvals,
        max_fee,
    }
}

fn access_list(choices: &mut Choices) -> Vec<u8> {
    let entries: Vec<_> = (0..choices.below(3))
        .map(|_| {
            let keys: Vec<_> = (0..choices.below(4))
                .map(|_| build::rlp(&choices.bytes::<32>()))
                .collect();
            build::list(&[build::rlp(&choices.bytes::<20>()), build::list(&keys)])
        })
        .collect();
    build::list(&entries)
}

/// A random Tron transaction of the account with these 20 bytes.
#[must_use]
pub fn random_tron(choices: &mut Choices, owner: &[u8; 20]) -> RandomTransaction {
    let network = Network::from_str("tron:0x2b6653dc").unwrap_or(Network::TRON);
    let usdt: [u8; 20] = build::TRON_USDT.last_chunk().copied().unwrap_or_default();
    let contract = if choices.below(2) == 0 {
        usdt
    } else {
        choices.bytes()
    };
    let call = Call::random(choices);
    // tronweb counts in doubles: amounts of coin stay below 2^53.
    let value = if call.is_token_call() {
        0
    } else {
        choices.number(52) + 1
    };
    let owner_address = [[0x41].as_slice(), owner].concat();
    let to = [[0x41].as_slice(), &contract].concat();
    let (head, number) = (build::bytes_field(1, &owner_address), value as i64);
    let mut one = if matches!(call, Call::Native) {
        let message = [
            head,
            build::bytes_field(2, &to),
            build::int_field(3, number),
        ]
        .concat();
        build::contract(1, "TransferContract", &message)
    } else {
        let sent = if value == 0 {
            vec![]
        } else {
            build::int_field(3, number)
        };
        let message = [
            head,
            build::bytes_field(2, &to),
            sent,
            build::bytes_field(4, &call.data()),
        ]
        .concat();
        build::contract(31, "TriggerSmartContract", &message)
    };
    if choices.below(5) == 0 {
        one.extend(build::int_field(5, choices.below(8) as i64 + 1));
    }
    let timestamp = 1_600_000_000_000 + choices.below(1 << 40) as i64;
    let memo_length = if choices.below(4) == 0 {
        choices.below(60)
    } else {
        0
    };
    let tron = Tron {
        ref_block_bytes: choices.bytes::<2>().to_vec(),
        ref_block_hash: choices.bytes::<8>().to_vec(),
        timestamp,
        expiration: timestamp + 1 + choices.below(86_400_000) as i64,
        fee_limit: if matches!(call, Call::Native) {
            0
        } else {
            choices.below(15_000_000_001) as i64
        },
        data: (0..memo_length).map(|_| choices.word() as u8).collect(),
        ..Tron::with(one)
    };
    let (kind, transfers, approvals) = call.meaning(&network, Address::Tron(contract), value);
    let bytes = tron.encode();
    RandomTransaction {
        network: network.to_string(),
        bytes,
        kind,
        transfers,
        approvals,
        max_fee: None,
    }
}
