//! Writes RLP and protobuf by hand, so that tests can also write what no library would.
#![allow(dead_code)]

/// An RLP string.
pub fn rlp(bytes: &[u8]) -> Vec<u8> {
    match bytes {
        [single] if *single < 0x80 => vec![*single],
        _ => [header(0x80, bytes.len()), bytes.to_vec()].concat(),
    }
}

/// An RLP integer: big-endian without leading zeros.
pub fn number(value: u128) -> Vec<u8> {
    let bytes = value.to_be_bytes();
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    rlp(&bytes[zeros..])
}

/// An RLP list of encoded items.
pub fn list(items: &[Vec<u8>]) -> Vec<u8> {
    let payload = items.concat();
    [header(0xc0, payload.len()), payload].concat()
}

fn header(offset: u8, length: usize) -> Vec<u8> {
    if length < 56 {
        return vec![offset + length as u8];
    }
    let bytes = (length as u64).to_be_bytes();
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let length = &bytes[zeros..];
    [&[offset + 55 + length.len() as u8], length].concat()
}

/// The fields of an EVM transaction, encoded one by one.
#[derive(Clone)]
pub struct Evm {
    pub chain_id: Vec<u8>,
    pub nonce: Vec<u8>,
    pub priority: Vec<u8>,
    pub price: Vec<u8>,
    pub gas: Vec<u8>,
    pub to: Vec<u8>,
    pub value: Vec<u8>,
    pub data: Vec<u8>,
    pub access_list: Vec<u8>,
}

impl Default for Evm {
    fn default() -> Self {
        Self {
            chain_id: number(1),
            nonce: number(7),
            priority: number(1),
            price: number(20_000_000_000),
            gas: number(100_000),
            to: rlp(&USDT),
            value: number(0),
            data: rlp(&transfer(&[0x11; 20], 5)),
            access_list: list(&[]),
        }
    }
}

impl Evm {
    pub fn legacy_items(&self) -> Vec<Vec<u8>> {
        let Self {
            nonce,
            price,
            gas,
            to,
            value,
            data,
            chain_id,
            ..
        } = self.clone();
        vec![
            nonce,
            price,
            gas,
            to,
            value,
            data,
            chain_id,
            number(0),
            number(0),
        ]
    }

    pub fn legacy(&self) -> Vec<u8> {
        list(&self.legacy_items())
    }

    pub fn eip2930(&self) -> Vec<u8> {
        let Self {
            chain_id,
            nonce,
            price,
            gas,
            to,
            value,
            data,
            access_list,
            ..
        } = self.clone();
        [
            vec![1],
            list(&[chain_id, nonce, price, gas, to, value, data, access_list]),
        ]
        .concat()
    }

    pub fn eip1559_items(&self) -> Vec<Vec<u8>> {
        let Self {
            chain_id,
            nonce,
            priority,
            price,
            gas,
            to,
            value,
            data,
            access_list,
        } = self.clone();
        vec![
            chain_id,
            nonce,
            priority,
            price,
            gas,
            to,
            value,
            data,
            access_list,
        ]
    }

    pub fn eip1559(&self) -> Vec<u8> {
        [vec![2], list(&self.eip1559_items())].concat()
    }

    /// All three forms.
    pub fn forms(&self) -> [Vec<u8>; 3] {
        [self.legacy(), self.eip2930(), self.eip1559()]
    }
}

/// USDT on Ethereum.
pub const USDT: [u8; 20] = [
    0xda, 0xc1, 0x7f, 0x95, 0x8d, 0x2e, 0xe5, 0x23, 0xa2, 0x20, 0x62, 0x06, 0x99, 0x45, 0x97, 0xc1,
    0x3d, 0x83, 0x1e, 0xc7,
];

/// USDT on Tron, with the 0x41 prefix.
pub const TRON_USDT: [u8; 21] = [
    0x41, 0xa6, 0x14, 0xf8, 0x03, 0xb6, 0xfd, 0x78, 0x09, 0x86, 0xa4, 0x2c, 0x78, 0xec, 0x9c, 0x7f,
    0x77, 0xe6, 0xde, 0xd1, 0x3c,
];

pub const TRANSFER: [u8; 4] = [0xa9, 0x05, 0x9c, 0xbb];
pub const TRANSFER_FROM: [u8; 4] = [0x23, 0xb8, 0x72, 0xdd];
pub const APPROVE: [u8; 4] = [0x09, 0x5e, 0xa7, 0xb3];

pub fn address_word(address: &[u8; 20]) -> Vec<u8> {
    [[0; 12].as_slice(), address].concat()
}

pub fn amount_word(amount: u128) -> Vec<u8> {
    [[0; 16].as_slice(), &amount.to_be_bytes()].concat()
}

pub fn transfer(to: &[u8; 20], amount: u128) -> Vec<u8> {
    [TRANSFER.to_vec(), address_word(to), amount_word(amount)].concat()
}

pub fn approve(spender: &[u8; 20], amount: &[u8]) -> Vec<u8> {
    [APPROVE.to_vec(), address_word(spender), amount.to_vec()].concat()
}

pub fn transfer_from(from: &[u8; 20], to: &[u8; 20], amount: u128) -> Vec<u8> {
    [
        TRANSFER_FROM.to_vec(),
        address_word(from),
        address_word(to),
        amount_word(amount),
    ]
    .concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = vec![];
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

/// A protobuf field of bytes, also when empty.
pub fn bytes_field(tag: u64, bytes: &[u8]) -> Vec<u8> {
    [
        varint(tag << 3 | 2),
        varint(bytes.len() as u64),
        bytes.to_vec(),
    ]
    .concat()
}

/// A protobuf int64 or int32 field, also when 0.
pub fn int_field(tag: u64, value: i64) -> Vec<u8> {
    [varint(tag << 3), varint(value as u64)].concat()
}

fn bytes_unless_empty(tag: u64, bytes: &[u8]) -> Vec<u8> {
    if bytes.is_empty() {
        vec![]
    } else {
        bytes_field(tag, bytes)
    }
}

fn int_unless_zero(tag: u64, value: i64) -> Vec<u8> {
    if value == 0 {
        vec![]
    } else {
        int_field(tag, value)
    }
}

/// The fields of a Tron transaction; fields at their default are left out, as proto3 does.
#[derive(Clone)]
pub struct Tron {
    pub ref_block_bytes: Vec<u8>,
    pub ref_block_num: i64,
    pub ref_block_hash: Vec<u8>,
    pub expiration: i64,
    pub auths: Vec<u8>,
    pub data: Vec<u8>,
    pub contracts: Vec<Vec<u8>>,
    pub scripts: Vec<u8>,
    pub timestamp: i64,
    pub fee_limit: i64,
}

impl Default for Tron {
    fn default() -> Self {
        Self {
            ref_block_bytes: vec![0x27, 0xdc],
            ref_block_num: 0,
            ref_block_hash: vec![0xaa; 8],
            expiration: 1_700_000_060_000,
            auths: vec![],
            data: vec![],
            contracts: vec![trigger(&transfer(&[0x11; 20], 5))],
            scripts: vec![],
            timestamp: 1_700_000_000_000,
            fee_limit: 100_000_000,
        }
    }
}

impl Tron {
    pub fn encode(&self) -> Vec<u8> {
        [
            bytes_unless_empty(1, &self.ref_block_bytes),
            int_unless_zero(3, self.ref_block_num),
            bytes_unless_empty(4, &self.ref_block_hash),
            int_unless_zero(8, self.expiration),
            bytes_unless_empty(9, &self.auths),
            bytes_unless_empty(10, &self.data),
            self.contracts
                .iter()
                .flat_map(|contract| bytes_field(11, contract))
                .collect(),
            bytes_unless_empty(12, &self.scripts),
            int_unless_zero(14, self.timestamp),
            int_unless_zero(18, self.fee_limit),
        ]
        .concat()
    }

    pub fn with(contract: Vec<u8>) -> Self {
        Self {
            contracts: vec![contract],
            ..Self::default()
        }
    }
}

/// `Transaction.Contract` with the type's own URL.
pub fn contract(number: i64, name: &str, parameter: &[u8]) -> Vec<u8> {
    let url = format!("type.googleapis.com/protocol.{name}");
    let any = [
        bytes_field(1, url.as_bytes()),
        bytes_unless_empty(2, parameter),
    ]
    .concat();
    [int_unless_zero(1, number), bytes_field(2, &any)].concat()
}

pub fn owner() -> Vec<u8> {
    [[0x41].as_slice(), &[0x22; 20]].concat()
}

/// A TransferContract.
pub fn trx(amount: i64) -> Vec<u8> {
    let to = [[0x41].as_slice(), &[0x33; 20]].concat();
    let message = [
        bytes_field(1, &owner()),
        bytes_field(2, &to),
        int_unless_zero(3, amount),
    ]
    .concat();
    contract(1, "TransferContract", &message)
}

/// A TriggerSmartContract to USDT with this call data and no value.
pub fn trigger(data: &[u8]) -> Vec<u8> {
    trigger_with(data, 0, 0, 0)
}

pub fn trigger_with(data: &[u8], call_value: i64, call_token_value: i64, token_id: i64) -> Vec<u8> {
    let message = [
        bytes_field(1, &owner()),
        bytes_field(2, &TRON_USDT),
        int_unless_zero(3, call_value),
        bytes_unless_empty(4, data),
        int_unless_zero(5, call_token_value),
        int_unless_zero(6, token_id),
    ]
    .concat();
    contract(31, "TriggerSmartContract", &message)
}
