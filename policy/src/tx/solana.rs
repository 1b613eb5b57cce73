//! Solana messages, deliberately minimal: a legacy message with one System Program transfer and one signer. Everything
//! else is refused as not supported yet.

use super::SignedTransaction;
use super::error::{DecodeError, SolanaError};
use crate::address::Address;
use crate::amount::Amount;
use crate::caip::Network;
use crate::intent::{Fee, Intent, IntentKind, Lifetime, Transfer};

/// The base fee for the one signature, in lamports; without a compute budget instruction there is no priority fee.
const FEE_LAMPORTS: u64 = 5_000;
/// `SystemInstruction::Transfer` in bincode: a little-endian u32.
const TRANSFER: [u8; 4] = [2, 0, 0, 0];
const SYSTEM_PROGRAM: [u8; 32] = [0; 32];
/// One required signature, no read-only signer, one read-only non-signer (the program).
const HEADER: [u8; 3] = [1, 0, 1];

/// The only accepted message: its variable parts.
struct SystemTransfer {
    from: [u8; 32],
    to: [u8; 32],
    blockhash: [u8; 32],
    lamports: u64,
}

/// Decodes, and returns the intent and the bytes encoded again from the decoded fields.
pub(super) fn decode(network: &Network, bytes: &[u8]) -> Result<(Intent, Vec<u8>), DecodeError> {
    let message = SystemTransfer::decode(bytes).map_err(|error| {
        // A signed transaction is a count of signatures, the signatures, and then the message.
        let behind_signature = bytes.get(65..).filter(|_| bytes.first() == Some(&1));
        match behind_signature.map(SystemTransfer::decode) {
            Some(Ok(_)) => DecodeError::AlreadySigned,
            _ => error.into(),
        }
    })?;
    let native = network.native_asset();
    let intent = Intent {
        network: *network,
        kind: IntentKind::NativeTransfer,
        from: Some(Address::Solana(message.from)),
        transfers: vec![Transfer {
            asset: native,
            from: None,
            to: Address::Solana(message.to),
            amount: Amount::from(message.lamports),
        }],
        approvals: vec![],
        max_fee: Fee {
            asset: native,
            amount: Amount::from(FEE_LAMPORTS),
        },
        lifetime: Lifetime::Solana {
            blockhash: bs58::encode(message.blockhash).into_string(),
        },
        memo: None,
        permission_id: None,
        warnings: vec![],
    };
    Ok((intent, message.encode()))
}

impl SystemTransfer {
    fn decode(bytes: &[u8]) -> Result<Self, SolanaError> {
        let mut reader = Reader(bytes);
        let [signatures, ..] = bytes else {
            return Err(SolanaError::Malformed("header"));
        };
        if *signatures >= 0x80 {
            return Err(SolanaError::NotSupported("a versioned message"));
        }
        if reader.array::<3>("header")? != HEADER {
            return Err(SolanaError::NotSupported(
                "another header than one signer and one read-only program",
            ));
        }
        // Lengths below 128 are one byte in compact-u16, and no supported message has a longer one.
        if reader.array("account count")? != [3] {
            return Err(SolanaError::NotSupported(
                "other accounts than sender, receiver and System Program",
            ));
        }
        let from = reader.array("sender")?;
        let to = reader.array("receiver")?;
        if reader.array("program")? != SYSTEM_PROGRAM {
            return Err(SolanaError::NotSupported(
                "another program than the System Program",
            ));
        }
        if from == to || from == SYSTEM_PROGRAM || to == SYSTEM_PROGRAM {
            return Err(SolanaError::Malformed("accounts: one is listed twice"));
        }
        let blockhash = reader.array("recent blockhash")?;
        if reader.array("instruction count")? != [1] {
            return Err(SolanaError::NotSupported(
                "more or less than one instruction",
            ));
        }
        // Program index, two accounts (0 and 1), twelve bytes of data.
        if reader.array("instruction")? != [2, 2, 0, 1, 12]
            || reader.array("instruction data")? != TRANSFER
        {
            return Err(SolanaError::NotSupported(
                "another instruction than a transfer from the signer",
            ));
        }
        let lamports = u64::from_le_bytes(reader.array("lamports")?);
        if !reader.0.is_empty() {
            return Err(SolanaError::Malformed("end: bytes follow the message"));
        }
        Ok(Self {
            from,
            to,
            blockhash,
            lamports,
        })
    }

    fn encode(&self) -> Vec<u8> {
        [
            HEADER.as_slice(),
            &[3],
            &self.from,
            &self.to,
            &SYSTEM_PROGRAM,
            &self.blockhash,
            &[1, 2, 2, 0, 1, 12],
            &TRANSFER,
            &self.lamports.to_le_bytes(),
        ]
        .concat()
    }
}

/// Bytes not yet read.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], SolanaError> {
        let (taken, rest) = self
            .0
            .split_first_chunk::<N>()
            .ok_or(SolanaError::Malformed(what))?;
        self.0 = rest;
        Ok(*taken)
    }
}

/// One signature in front of the message; the transaction's id is that signature in base58.
pub(super) fn assemble(message: &[u8], signature: &[u8; 64]) -> SignedTransaction {
    let bytes = [[1].as_slice(), signature, message].concat();
    SignedTransaction {
        bytes,
        tx_id: bs58::encode(signature).into_string(),
    }
}
