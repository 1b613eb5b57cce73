//! Cases as people write them.

use countersign_policy::statement::{FreezeTarget, TransactionHex};
use countersign_policy::{
    DerivationPath, MemberId, Network, Outcome as Answer, RuleId, Timestamp, WalletId,
};
use serde::Deserialize;
use toml::Spanned;

use crate::policy::directory::{Problem, TESTS, line_of};
use crate::policy::entries::{Units, moment};

/// A file of `tests/`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseFile {
    #[serde(default)]
    cases: Vec<Spanned<Case>>,
}

/// A request, what surrounds it, and what must come out.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// What it shows, for people.
    pub name: String,
    /// The wallet that pays.
    pub wallet: WalletId,
    /// The network.
    pub network: Network,
    /// The child key that pays; the wallet's own path without it.
    pub path: Option<DerivationPath>,
    /// What moves: a symbol on the network, or a CAIP-19 id.
    pub asset: Option<String>,
    /// Where to: a label of the address book, or an address.
    pub to: Option<String>,
    /// How much, in whole units.
    pub amount: Option<Units>,
    /// Instead of the three: an unsigned transaction.
    pub transaction: Option<TransactionHex>,
    /// Who asks.
    pub initiator: MemberId,
    /// When; a Wednesday at noon without it.
    #[serde(default, deserialize_with = "moment")]
    pub time: Option<Timestamp>,
    /// Officers who approved.
    #[serde(default)]
    pub approvals: Vec<MemberId>,
    /// Officers who rejected.
    #[serde(default)]
    pub rejections: Vec<MemberId>,
    /// Freezes in force.
    #[serde(default)]
    pub freezes: Vec<FreezeTarget>,
    /// What was signed before, by the same wallet on the same network.
    #[serde(default)]
    pub before: Vec<Before>,
    /// What must come out.
    pub expect: Answer,
    /// The code of a reason that must be among those given: `amount-cap`.
    pub reason: Option<String>,
    /// The rules that must have decided.
    pub rules: Option<Vec<RuleId>>,
}

/// A payment that was signed before.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Before {
    /// What moved.
    pub asset: String,
    /// How much, in whole units.
    pub amount: Units,
    /// Where to; the case's own destination without it.
    pub to: Option<String>,
    /// How long before the case.
    pub ago_seconds: u64,
}

/// A case and where it stands.
#[derive(Debug)]
pub struct Placed {
    /// The file's name.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The case.
    pub case: Case,
}

/// Reads one file.
pub fn read(file: &str, text: &str) -> Result<Vec<Placed>, Problem> {
    let parsed: CaseFile = toml::from_str(text).map_err(|error| Problem {
        file: format!("{TESTS}/{file}"),
        line: error.span().map(|span| line_of(text, span.start)),
        at: String::new(),
        what: error.message().replace('\n', "; "),
    })?;
    let place = |case: Spanned<Case>| Placed {
        file: file.to_owned(),
        line: line_of(text, case.span().start),
        case: case.into_inner(),
    };
    Ok(parsed.cases.into_iter().map(place).collect())
}
