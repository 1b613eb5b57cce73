//! `policy.toml` as it is written.

use std::ops::Range;

use countersign_policy::bundle::{Group, Quorums, Timing, WebAuthnPolicy};
use countersign_policy::limits::{LedgerGroup, NonceLead};
use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::locate::{Source, line_of};
use super::problem::Problem;
use crate::policy::entries::{
    AddressEntry, FeeCapEntry, KeyStateEntry, LimitEntry, MemberEntry, ReferenceEntry, RuleEntry,
    WalletEntry,
};
use countersign_policy::bundle::AssetRecord;

/// The name of the file.
pub const FILE: &str = "policy.toml";

/// Everything that stands in `policy.toml`.
#[derive(Debug, Clone)]
pub struct Document {
    /// Who this is the policy of.
    pub organisation: String,
    /// Quorums for what follows this version.
    pub quorums: Quorums,
    /// Bounds on time.
    pub timing: Timing,
    /// What WebAuthn assertions must say.
    pub webauthn: Option<WebAuthnPolicy>,
    /// Reference prices.
    pub reference: Option<ReferenceEntry>,
    /// Members.
    pub members: Vec<MemberEntry>,
    /// Approval groups.
    pub groups: Vec<Group>,
    /// States of keys that are to change.
    pub keys: Vec<KeyStateEntry>,
    /// Wallets.
    pub wallets: Vec<WalletEntry>,
    /// Assets that the registry does not know, or that are listed anyway.
    pub assets: Vec<AssetRecord>,
    /// The address book.
    pub address_book: Vec<AddressEntry>,
    /// Transfer rules.
    pub rules: Vec<RuleEntry>,
    /// Fee caps.
    pub fee_caps: Vec<FeeCapEntry>,
    /// Nodes that keep ledgers together.
    pub ledger_groups: Vec<LedgerGroup>,
    /// Cumulative limits.
    pub limits: Vec<LimitEntry>,
    /// How far nonces may run ahead.
    pub nonce_leads: Vec<NonceLead>,
}

/// The sections, for the message about one that there is not.
const SECTIONS: &str = "organisation, quorums, timing, members, groups, keys, wallets, assets, address_book, rules, \
    fee_caps, ledger_groups, limits, nonce_leads, reference, webauthn";

/// Reads the text. All entries are read, so that everything wrong with any of them is told at once.
pub fn parse(text: &str) -> (Option<Document>, Source<'_>, Vec<Problem>) {
    let (table, errors) = DeTable::parse_recoverable(text);
    let table = table.into_inner();
    let source = Source::new(text, table.clone());
    let mut reader = Reader {
        text,
        table,
        problems: Vec::new(),
    };
    for error in &errors {
        reader.add("", error.span(), error.message());
    }
    if !reader.problems.is_empty() {
        // What is missing after a mistake in the form may only not have been understood.
        return (None, source, reader.problems);
    }
    let document = reader.document();
    let problems = reader.problems;
    let document = document.filter(|_| problems.is_empty());
    (document, source, problems)
}

struct Reader<'t> {
    text: &'t str,
    table: DeTable<'t>,
    problems: Vec<Problem>,
}

impl<'t> Reader<'t> {
    fn document(&mut self) -> Option<Document> {
        let organisation = self.required("organisation");
        let quorums = self.required("quorums");
        let timing = self.required("timing");
        let webauthn = self.optional("webauthn");
        let reference = self.optional("reference");
        let members = self.list("members");
        let groups = self.list("groups");
        let keys = self.list("keys");
        let wallets = self.list("wallets");
        let assets = self.list("assets");
        let address_book = self.list("address_book");
        let rules = self.list("rules");
        let fee_caps = self.list("fee_caps");
        let ledger_groups = self.list("ledger_groups");
        let limits = self.list("limits");
        let nonce_leads = self.list("nonce_leads");
        let unknown: Vec<(String, Range<usize>)> = self
            .table
            .iter()
            .map(|(key, _)| (key.get_ref().to_string(), key.span()))
            .collect();
        for (name, span) in unknown {
            let what = format!("there is no section {name:?}; there are {SECTIONS}");
            self.add("", Some(span), &what);
        }
        Some(Document {
            organisation: organisation?,
            quorums: quorums?,
            timing: timing?,
            webauthn,
            reference,
            members,
            groups,
            keys,
            wallets,
            assets,
            address_book,
            rules,
            fee_caps,
            ledger_groups,
            limits,
            nonce_leads,
        })
    }

    fn add(&mut self, at: &str, span: Option<Range<usize>>, what: &str) {
        // The parser's own messages may have several lines.
        let what: Vec<&str> = what.lines().map(str::trim).collect();
        self.problems.push(Problem {
            file: FILE.to_owned(),
            line: span.map(|span| line_of(self.text, span.start)),
            at: at.to_owned(),
            what: what.join("; "),
        });
    }

    fn take(&mut self, name: &str) -> Option<Spanned<DeValue<'t>>> {
        let key = self.table.keys().find(|key| key.get_ref() == name)?.clone();
        self.table.remove(&key)
    }

    fn required<T: DeserializeOwned>(&mut self, name: &str) -> Option<T> {
        let Some(value) = self.take(name) else {
            self.add("", None, &format!("{name} is missing"));
            return None;
        };
        self.read(name, value)
    }

    fn optional<T: DeserializeOwned>(&mut self, name: &str) -> Option<T> {
        let value = self.take(name)?;
        self.read(name, value)
    }

    fn list<T: DeserializeOwned>(&mut self, name: &str) -> Vec<T> {
        let Some(value) = self.take(name) else {
            return Vec::new();
        };
        let span = value.span();
        let DeValue::Array(items) = value.into_inner() else {
            let what = format!("{name} is a list: begin each entry with [[{name}]]");
            self.add(name, Some(span), &what);
            return Vec::new();
        };
        let mut read = Vec::new();
        for (index, item) in items.into_iter().enumerate() {
            let at = format!("{name}[{}]", name_of(&item).unwrap_or(index.to_string()));
            read.extend(self.read(&at, item));
        }
        read
    }

    fn read<T: DeserializeOwned>(&mut self, at: &str, value: Spanned<DeValue<'t>>) -> Option<T> {
        let whole = value.span();
        match T::deserialize(ValueDeserializer::from(value)) {
            Ok(read) => Some(read),
            Err(error) => {
                self.add(at, error.span().or(Some(whole)), error.message());
                None
            }
        }
    }
}

/// What an entry calls itself.
fn name_of(item: &Spanned<DeValue<'_>>) -> Option<String> {
    let table = item.get_ref().as_table()?;
    let named = |name: &str| {
        let (_, value) = table.iter().find(|(key, _)| key.get_ref() == name)?;
        value.get_ref().as_str().map(str::to_owned)
    };
    ["id", "label", "network", "asset"]
        .into_iter()
        .find_map(named)
}
