//! Unsigned transactions for tests.

use alloy_consensus::{SignableTransaction as _, TxEip1559, TxLegacy};
use alloy_primitives::{Address as EvmAddress, TxKind, U256};

use super::single_key::SingleKey;
use crate::{Address, DerivationPath, Network};

/// The last 20 bytes of the listed exchange's address on EVM networks and Tron (32 of it on Solana).
pub const EXCHANGE: [u8; 20] = [0xe1; 20];
/// An address that is in no address book.
pub const STRANGER: [u8; 20] = [0x66; 20];

const USDT_ETHEREUM: [u8; 20] = [
    0xda, 0xc1, 0x7f, 0x95, 0x8d, 0x2e, 0xe5, 0x23, 0xa2, 0x20, 0x62, 0x06, 0x99, 0x45, 0x97, 0xc1,
    0x3d, 0x83, 0x1e, 0xc7,
];
const USDT_BSC: [u8; 20] = [
    0x55, 0xd3, 0x98, 0x32, 0x6f, 0x99, 0x05, 0x9f, 0xf7, 0x75, 0x48, 0x52, 0x46, 0x99, 0x90, 0x27,
    0xb3, 0x19, 0x79, 0x55,
];
const USDT_TRON: [u8; 20] = [
    0xa6, 0x14, 0xf8, 0x03, 0xb6, 0xfd, 0x78, 0x09, 0x86, 0xa4, 0x2c, 0x78, 0xec, 0x9c, 0x7f, 0x77,
    0xe6, 0xde, 0xd1, 0x3c,
];

/// How a test address that is named by 20 bytes looks on `network`; on Solana its first bytes fill it up to 32.
pub fn address_on(network: &Network, bytes: &[u8; 20]) -> Address {
    match network {
        Network::Evm { .. } => Address::Evm(*bytes),
        Network::Tron(_) => Address::Tron(*bytes),
        Network::Solana(_) => Address::Solana(solana_account(bytes)),
    }
}

fn solana_account(bytes: &[u8; 20]) -> [u8; 32] {
    let mut account = [0; 32];
    for (to, from) in account.iter_mut().zip(bytes.iter().cycle()) {
        *to = *from;
    }
    account
}

/// USDT on Ethereum (6 decimals), EIP-1559.
pub fn usdt_erc20(to: &[u8; 20], amount: u64, nonce: u64) -> Vec<u8> {
    eip1559(1, &USDT_ETHEREUM, 0, token_transfer(to, amount), nonce)
}

/// USDT on BSC (18 decimals), a legacy transaction with EIP-155.
pub fn usdt_bep20(to: &[u8; 20], amount: u64, nonce: u64) -> Vec<u8> {
    let tx = TxLegacy {
        chain_id: Some(56),
        nonce,
        gas_price: 3_000_000_000,
        gas_limit: 80_000,
        to: TxKind::Call(EvmAddress::from(USDT_BSC)),
        value: U256::ZERO,
        input: token_transfer(to, amount).into(),
    };
    let mut out = Vec::new();
    tx.encode_for_signing(&mut out);
    out
}

/// Ether on Ethereum, EIP-1559; `wei` to send.
pub fn ether(to: &[u8; 20], wei: u64, nonce: u64) -> Vec<u8> {
    eip1559(1, to, wei, Vec::new(), nonce)
}

/// A call of `to` on Ethereum with any data.
pub fn evm_call(to: &[u8; 20], wei: u64, data: Vec<u8>, nonce: u64) -> Vec<u8> {
    eip1559(1, to, wei, data, nonce)
}

/// USDT `approve` on Ethereum.
pub fn usdt_approve(spender: &[u8; 20], amount: u64, nonce: u64) -> Vec<u8> {
    let data = call_data([0x09, 0x5e, 0xa7, 0xb3], spender, amount);
    eip1559(1, &USDT_ETHEREUM, 0, data, nonce)
}

fn eip1559(chain_id: u64, to: &[u8; 20], wei: u64, data: Vec<u8>, nonce: u64) -> Vec<u8> {
    let tx = TxEip1559 {
        chain_id,
        nonce,
        gas_limit: 100_000,
        max_fee_per_gas: 30_000_000_000,
        max_priority_fee_per_gas: 1_000_000_000,
        to: TxKind::Call(EvmAddress::from(*to)),
        value: U256::from(wei),
        access_list: Default::default(),
        input: data.into(),
    };
    let mut out = Vec::new();
    tx.encode_for_signing(&mut out);
    out
}

fn token_transfer(to: &[u8; 20], amount: u64) -> Vec<u8> {
    call_data([0xa9, 0x05, 0x9c, 0xbb], to, amount)
}

fn call_data(selector: [u8; 4], account: &[u8; 20], amount: u64) -> Vec<u8> {
    let mut data = selector.to_vec();
    data.extend([0; 12]);
    data.extend(account);
    data.extend([0; 24]);
    data.extend(amount.to_be_bytes());
    data
}

/// The fields of a Tron transaction that tests vary.
#[derive(Clone, Debug)]
pub struct Tron {
    /// The 20 bytes of the paying account.
    pub owner: [u8; 20],
    /// Milliseconds since 1970.
    pub expiration: i64,
    /// Milliseconds since 1970.
    pub timestamp: i64,
    /// In sun.
    pub fee_limit: i64,
    /// The account permission; 0 is the owner's and not written.
    pub permission_id: i32,
    /// Published with the transaction; nothing when empty.
    pub memo: Vec<u8>,
}

impl Tron {
    /// From the test deployment's wallet at path `m`, usable for a minute from `now`.
    pub fn at(now: crate::Timestamp) -> Self {
        let key = SingleKey::ecdsa().public_key_at(&DerivationPath::master());
        let address = key.address(&Network::TRON).expect("a secp256k1 key");
        Self {
            owner: address.as_bytes().try_into().expect("20 bytes"),
            expiration: now.plus_seconds(60).as_millis(),
            timestamp: now.as_millis(),
            fee_limit: 100_000_000,
            permission_id: 0,
            memo: Vec::new(),
        }
    }

    /// TRX to `to`; `sun` to send.
    pub fn trx(&self, to: &[u8; 20], sun: u64) -> Vec<u8> {
        let message = [
            field(1, &account(&self.owner)),
            field(2, &account(to)),
            integer(3, sun),
        ];
        self.raw(1, "TransferContract", &message.concat(), 0)
    }

    /// USDT to `to` (6 decimals).
    pub fn usdt_trc20(&self, to: &[u8; 20], amount: u64) -> Vec<u8> {
        let message = [
            field(1, &account(&self.owner)),
            field(2, &account(&USDT_TRON)),
            field(4, &token_transfer(to, amount)),
        ];
        let fee_limit = u64::try_from(self.fee_limit).expect("not negative");
        self.raw(31, "TriggerSmartContract", &message.concat(), fee_limit)
    }

    fn raw(&self, number: u64, name: &str, message: &[u8], fee_limit: u64) -> Vec<u8> {
        let url = format!("type.googleapis.com/protocol.{name}");
        let any = [field(1, url.as_bytes()), field(2, message)].concat();
        let permission = u64::try_from(self.permission_id).expect("not negative");
        let contract = [integer(1, number), field(2, &any), integer(5, permission)].concat();
        let millis = |at: i64| u64::try_from(at).expect("after 1970");
        [
            field(1, &[0x27, 0xdc]),
            field(4, &[0xaa; 8]),
            integer(8, millis(self.expiration)),
            field(10, &self.memo),
            field(11, &contract),
            integer(14, millis(self.timestamp)),
            integer(18, fee_limit),
        ]
        .concat()
    }
}

fn account(bytes: &[u8; 20]) -> Vec<u8> {
    [&[0x41][..], bytes].concat()
}

/// A protobuf field of bytes; nothing when empty, as proto3 writes it.
fn field(tag: u64, bytes: &[u8]) -> Vec<u8> {
    if bytes.is_empty() {
        return Vec::new();
    }
    let length = u64::try_from(bytes.len()).expect("fits");
    [varint(tag << 3 | 2), varint(length), bytes.to_vec()].concat()
}

/// A protobuf integer field; nothing when 0.
fn integer(tag: u64, value: u64) -> Vec<u8> {
    if value == 0 {
        return Vec::new();
    }
    [varint(tag << 3), varint(value)].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
    out
}

/// SOL from the test deployment's Ed25519 key.
pub fn sol(to: &[u8; 20], lamports: u64) -> Vec<u8> {
    let from = SingleKey::eddsa().public_key();
    let mut out = vec![1, 0, 1, 3];
    out.extend(from.as_bytes());
    out.extend(solana_account(to));
    out.extend([0; 32]);
    out.extend([0x77; 32]);
    out.extend([1, 2, 2, 0, 1, 12, 2, 0, 0, 0]);
    out.extend(lamports.to_le_bytes());
    out
}
