//! `countersign inspect`: what an unsigned transaction means, without any network or key.

use std::io::{self, BufRead, BufWriter, Read, Write};
use std::process::ExitCode;

use clap::Parser;
use countersign_policy::assets::lookup;
use countersign_policy::{
    Address, Amount, AssetId, DecodedTransaction, Intent, IntentKind, Lifetime,
    MAX_TRANSACTION_BYTES, Network, Warning, decode,
};
use serde::Serialize;

use crate::failure::chain;

/// Decoded, but at least one transaction was refused.
const REFUSED: u8 = 3;
/// Input or output failed.
const BROKEN: u8 = 1;
/// The longest line of hex that is read: the largest transaction, `0x` and a line ending.
const MAX_LINE_BYTES: u64 = 2 * MAX_TRANSACTION_BYTES as u64 + 4;

/// Decodes an unsigned transaction and shows what it would do: the same decoder that every signer runs.
///
/// EVM: RLP of a legacy (EIP-155), EIP-2930 or EIP-1559 transaction. Tron: the bytes of `raw_data`. Solana: the message.
/// The digest is what a signature is made over. Exit code 0: all decoded; 3: something was refused, with the reason.
#[derive(Parser)]
#[command(after_help = "Examples:\n  \
    countersign inspect --network eip155:1 0x02f86d0180847735940084b2d05e...\n  \
    countersign inspect --network tron:0x2b6653dc --json - < transactions.txt")]
pub struct Args {
    /// The network that the transaction is for, as CAIP-2: eip155:1, tron:0x2b6653dc, solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp
    #[arg(long, value_name = "CAIP-2")]
    network: Network,
    /// One JSON object a line instead of text.
    #[arg(long)]
    json: bool,
    /// The unsigned transaction in hex, with or without 0x; or - to read one a line from standard input.
    #[arg(value_name = "HEX")]
    transaction: String,
}

/// Runs the command. Every input line gets an answer in its place.
pub fn run(args: &Args) -> ExitCode {
    let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    let done = if args.transaction == "-" {
        each_line(args, &mut io::stdin().lock(), &mut out)
    } else {
        answer(args, args.transaction.as_bytes(), &mut out)
    };
    match done.and_then(|refused| out.flush().map(|()| refused)) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(REFUSED),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::from(BROKEN),
        Err(error) => {
            let _ = writeln!(io::stderr(), "countersign inspect: {error}");
            ExitCode::from(BROKEN)
        }
    }
}

/// Answers every line and says how many were refused.
fn each_line(args: &Args, input: &mut impl BufRead, out: &mut impl Write) -> io::Result<u64> {
    let mut refused: u64 = 0;
    let mut line = Vec::new();
    loop {
        line.clear();
        if input
            .by_ref()
            .take(MAX_LINE_BYTES)
            .read_until(b'\n', &mut line)?
            == 0
        {
            return Ok(refused);
        }
        if line.last() != Some(&b'\n') {
            // The last line, or one that is too long: what is left of it is skipped, and it is refused by its length.
            skip_line(input)?;
        }
        refused = refused.saturating_add(answer(args, line.trim_ascii(), out)?);
        if !args.json {
            writeln!(out)?;
        }
    }
}

fn skip_line(input: &mut impl BufRead) -> io::Result<()> {
    loop {
        let buffer = input.fill_buf()?;
        if buffer.is_empty() {
            return Ok(());
        }
        if let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
            input.consume(end.saturating_add(1));
            return Ok(());
        }
        let length = buffer.len();
        input.consume(length);
    }
}

/// Writes the answer for one transaction; 1 when it is refused.
fn answer(args: &Args, hex: &[u8], out: &mut impl Write) -> io::Result<u64> {
    match read(&args.network, hex) {
        Ok(transaction) => {
            if args.json {
                let report = Report::of(&transaction);
                serde_json::to_writer(&mut *out, &report)?;
                writeln!(out)?;
            } else {
                show(&transaction, out)?;
            }
            Ok(0)
        }
        Err(error) => {
            if args.json {
                serde_json::to_writer(
                    &mut *out,
                    &Refusal {
                        ok: false,
                        error: &error,
                    },
                )?;
                writeln!(out)?;
            } else {
                writeln!(out, "refused   {error}")?;
            }
            Ok(1)
        }
    }
}

fn read(network: &Network, hex: &[u8]) -> Result<DecodedTransaction, String> {
    let digits = hex.strip_prefix(b"0x").unwrap_or(hex);
    let bytes = hex::decode(digits).map_err(|error| format!("the input is not hex: {error}"))?;
    decode(network, &bytes).map_err(|error| chain(&error))
}

/// The JSON form of a refusal.
#[derive(Serialize)]
struct Refusal<'a> {
    ok: bool,
    error: &'a str,
}

/// The JSON form of a decoded transaction.
#[derive(Serialize)]
struct Report<'a> {
    ok: bool,
    network: Network,
    digest: String,
    kind: &'static str,
    /// The contract and selector of a call, or the type of another Tron contract.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a IntentKind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<Address>,
    transfers: Vec<ReportedTransfer>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    approvals: Vec<ReportedApproval>,
    /// Base units of the native coin.
    max_fee: Amount,
    lifetime: &'a Lifetime,
    #[serde(skip_serializing_if = "Option::is_none")]
    memo: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    permission_id: Option<i32>,
    warnings: &'a [Warning],
}

#[derive(Serialize)]
struct ReportedTransfer {
    asset: AssetId,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<Address>,
    to: Address,
    amount: Amount,
    known: bool,
}

#[derive(Serialize)]
struct ReportedApproval {
    asset: AssetId,
    spender: Address,
    amount: Amount,
    known: bool,
}

impl<'a> Report<'a> {
    fn of(transaction: &'a DecodedTransaction) -> Self {
        let intent = transaction.intent();
        let transfers = intent.transfers.iter().map(|transfer| ReportedTransfer {
            asset: transfer.asset,
            from: transfer.from,
            to: transfer.to,
            amount: transfer.amount,
            known: lookup(&transfer.asset).is_some(),
        });
        let approvals = intent.approvals.iter().map(|approval| ReportedApproval {
            asset: approval.asset,
            spender: approval.spender,
            amount: approval.amount,
            known: lookup(&approval.asset).is_some(),
        });
        let detailed = matches!(
            intent.kind,
            IntentKind::ContractCall(_) | IntentKind::OtherContract { .. }
        );
        Self {
            ok: true,
            network: intent.network,
            digest: transaction.digest().to_string(),
            kind: intent.kind.name(),
            detail: detailed.then_some(&intent.kind),
            from: intent.from,
            transfers: transfers.collect(),
            approvals: approvals.collect(),
            max_fee: intent.max_fee.amount,
            lifetime: &intent.lifetime,
            memo: intent.memo.as_ref().map(ToString::to_string),
            permission_id: intent.permission_id,
            warnings: &intent.warnings,
        }
    }
}

/// Writes the text form, one fact a line.
fn show(transaction: &DecodedTransaction, out: &mut impl Write) -> io::Result<()> {
    let intent = transaction.intent();
    writeln!(out, "network   {}", intent.network)?;
    writeln!(out, "kind      {}", kind(&intent.kind))?;
    if let Some(from) = intent.from {
        writeln!(out, "from      {from}")?;
    }
    for transfer in &intent.transfers {
        let source = transfer
            .from
            .map(|from| format!(" from {from}"))
            .unwrap_or_default();
        writeln!(
            out,
            "transfer  {}{source} to {}",
            quantity(&transfer.asset, transfer.amount),
            transfer.to
        )?;
        writeln!(
            out,
            "          {} base units of {}",
            transfer.amount, transfer.asset
        )?;
    }
    for approval in &intent.approvals {
        let amount = if approval.amount == Amount::MAX {
            "any amount".to_owned()
        } else {
            quantity(&approval.asset, approval.amount)
        };
        writeln!(out, "approval  {} may spend {amount}", approval.spender)?;
        writeln!(
            out,
            "          {} base units of {}",
            approval.amount, approval.asset
        )?;
    }
    writeln!(
        out,
        "max fee   {}",
        quantity(&intent.max_fee.asset, intent.max_fee.amount)
    )?;
    writeln!(out, "lifetime  {}", lifetime(intent))?;
    if let Some(memo) = &intent.memo {
        match std::str::from_utf8(&memo.0) {
            Ok(text) => writeln!(out, "memo      {text:?}")?,
            Err(_) => writeln!(out, "memo      {memo}")?,
        }
    }
    if let Some(id) = intent.permission_id {
        writeln!(out, "signed as permission {id} of the account")?;
    }
    for warning in &intent.warnings {
        writeln!(out, "warning   {warning}")?;
    }
    writeln!(out, "digest    {}", transaction.digest())
}

/// A kind of transaction, with what it calls.
pub fn kind(kind: &IntentKind) -> String {
    match kind {
        IntentKind::ContractCall(call) => match call.selector {
            Some(selector) => format!("contract-call of {} ({selector})", call.contract),
            None => format!("contract-call of {} (no selector)", call.contract),
        },
        IntentKind::OtherContract {
            contract_type,
            name,
            ..
        } => format!("other-contract {name} ({contract_type})"),
        plain => plain.name().to_owned(),
    }
}

/// With decimals and symbol where they are known, and never a guess where they are not.
pub fn quantity(asset: &AssetId, amount: Amount) -> String {
    match lookup(asset) {
        Some(known) => format!("{} {}", amount.to_units(known.decimals), known.symbol),
        None if asset.is_native() => format!("{amount} base units of the native coin"),
        None => format!("{amount} units of an unknown token"),
    }
}

/// How long a signature could be used.
pub fn lifetime(intent: &Intent) -> String {
    match &intent.lifetime {
        Lifetime::Evm { nonce, .. } => format!("until the account has used nonce {nonce}"),
        Lifetime::Tron { expires_at_ms, .. } => {
            let nanoseconds = i128::from(*expires_at_ms).saturating_mul(1_000_000);
            let format = &time::format_description::well_known::Rfc3339;
            let text = time::OffsetDateTime::from_unix_timestamp_nanos(nanoseconds)
                .ok()
                .and_then(|moment| moment.format(format).ok());
            match text {
                Some(text) => format!("until {text}"),
                None => format!("until {expires_at_ms} ms after 1970"),
            }
        }
        Lifetime::Solana { blockhash } => format!("about 150 blocks after blockhash {blockhash}"),
    }
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]
mod tests;
