//! Unsigned transfers, written as the network wants them. What is written is decoded again by the decoder that every signer
//! runs, and must say what was asked for.

mod evm;
mod solana;
mod tron;

use clap::Args;
use countersign_policy::bundle::AssetRecord;
use countersign_policy::{Address, Amount, DecodedTransaction, Network, Timestamp, decode};

use crate::clock;
use crate::failure::{Exit, Failure, OrFail as _, Outcome};

/// What the network needs to know besides who pays whom. This program asks no chain: the payment layer knows these.
#[derive(Debug, Clone, Default, Args)]
pub struct Chain {
    /// EVM: the paying account's transaction counter.
    #[arg(long, help_heading = "EVM", value_name = "NUMBER")]
    pub nonce: Option<u64>,
    /// EVM: the most gas the transaction may use [default: 21000 for the native coin, 100000 for tokens].
    #[arg(long, help_heading = "EVM", value_name = "GAS")]
    pub gas_limit: Option<u64>,
    /// EVM: the most to pay per unit of gas, in wei; with a priority fee it makes an EIP-1559 transaction.
    #[arg(long, help_heading = "EVM", value_name = "WEI")]
    pub max_fee_per_gas: Option<u128>,
    /// EVM: what of it the block's proposer gets, in wei.
    #[arg(
        long,
        help_heading = "EVM",
        value_name = "WEI",
        requires = "max_fee_per_gas"
    )]
    pub max_priority_fee_per_gas: Option<u128>,
    /// EVM: a fixed price per unit of gas in wei, instead of the two fees: makes a legacy transaction (EIP-155).
    #[arg(
        long,
        help_heading = "EVM",
        value_name = "WEI",
        conflicts_with = "max_fee_per_gas"
    )]
    pub gas_price: Option<u128>,
    /// Tron: id of a recent block, 64 hexadecimal digits: the transaction is valid only on the chain with that block.
    #[arg(long, help_heading = "Tron", value_name = "BLOCK-ID")]
    pub tron_ref_block: Option<String>,
    /// Tron: seconds until the transaction can no longer be included [default: 60].
    #[arg(long, help_heading = "Tron", value_name = "SECONDS")]
    pub tron_expires_in: Option<u64>,
    /// Tron: the most TRX that a token transfer may burn [default: 30].
    #[arg(long, help_heading = "Tron", value_name = "TRX")]
    pub tron_fee_limit: Option<String>,
    /// Solana: a recent blockhash, base58; the transaction lives for about 150 blocks after it.
    #[arg(long, help_heading = "Solana", value_name = "HASH")]
    pub solana_blockhash: Option<String>,
}

/// Who pays whom how much.
#[derive(Debug, Clone)]
pub struct Payment {
    /// The network.
    pub network: Network,
    /// The paying account.
    pub from: Address,
    /// The receiving account.
    pub to: Address,
    /// What moves.
    pub asset: AssetRecord,
    /// In base units.
    pub amount: Amount,
}

impl Payment {
    fn is_native(&self) -> bool {
        self.asset.asset == self.network.native_asset()
    }

    /// The token's contract, for a token.
    fn contract(&self) -> Outcome<Address> {
        let id = self.asset.asset.to_string();
        let contract = id.rsplit(':').next().unwrap_or_default();
        Address::parse(&self.network, contract).or_broken(format!("{id} names no contract"))
    }

    /// The unsigned transaction, made now.
    pub fn build(&self, chain: &Chain) -> Outcome<DecodedTransaction> {
        self.build_at(chain, clock::now())
    }

    /// The unsigned transaction as it is when made at `now`.
    pub fn build_at(&self, chain: &Chain, now: Timestamp) -> Outcome<DecodedTransaction> {
        if !self.to.matches(&self.network) {
            return Err(Failure::usage(format!(
                "{} is no address of {}",
                self.to, self.network
            )));
        }
        let bytes = match self.network {
            Network::Evm { chain_id } => evm::build(self, chain, chain_id.get())?,
            Network::Tron(_) => tron::build(self, chain, now)?,
            Network::Solana(_) => solana::build(self, chain)?,
        };
        let decoded = decode(&self.network, &bytes)
            .or_fail(Exit::Refused, "the transaction would be refused")?;
        self.agrees(&decoded)?;
        Ok(decoded)
    }

    /// What was written must say what was asked for, and nothing else.
    fn agrees(&self, decoded: &DecodedTransaction) -> Outcome {
        let intent = decoded.intent();
        let transfers = intent.transfers.as_slice();
        let same = matches!(transfers, [t] if t.asset == self.asset.asset && t.to == self.to && t.amount == self.amount);
        if same && intent.approvals.is_empty() {
            return Ok(());
        }
        Err(Failure::broken(format!(
            "the transaction made says {transfers:?}, not what was asked for"
        )))
    }
}

/// `transfer(address,uint256)`: selector and two words.
fn transfer_call(to: &[u8], amount: Amount) -> Vec<u8> {
    let padding = 32usize.saturating_sub(to.len());
    [&TRANSFER[..], &vec![0; padding], to, &amount.to_be_bytes()].concat()
}

/// The first four bytes of keccak-256 of `transfer(address,uint256)`.
const TRANSFER: [u8; 4] = [0xa9, 0x05, 0x9c, 0xbb];

fn missing(option: &str, why: &str) -> Failure {
    Failure::usage(format!("{option} is missing: {why}"))
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]
mod tests;
