//! `policy.toml` from the content of a bundle, with comments that say what everything is.

use std::fmt::{self, Write as _};

use countersign_policy::bundle::{
    AssetRecord, Destinations, KeyState, Member, PolicyBundle, TransferRule,
};
use countersign_policy::limits::{Limit, Measure, Reference};
use countersign_policy::{Amount, AssetId, Network, assets};
use serde::Serialize;

use crate::policy::entries::write_period;

/// The text of `policy.toml` for the next version after `bundle`. Packed again it gives the same content.
pub fn text(bundle: &PolicyBundle) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = Writer {
        out: &mut out,
        bundle,
    }
    .all();
    out
}

/// A Cedar file with one rule to begin with.
pub const fn cedar_example() -> &'static str {
    include_str!("../example/rules.cedar")
}

/// A file of tests to begin with.
pub const fn tests_example() -> &'static str {
    include_str!("../example/tests.toml")
}

struct Writer<'a> {
    out: &'a mut String,
    bundle: &'a PolicyBundle,
}

const HEAD: &str = "\
# The policy, as people write and review it. Everything that is not allowed here, by a rule or by a Cedar permit in rules/, is
# refused by every signer. Nothing secret belongs here. Public keys of wallets are pinned by their ceremonies and taken over from
# the active bundle. Times are in seconds, amounts in whole units of the asset.
#
#   countersign policy validate .      everything wrong, with its line
#   countersign policy test .          the cases of tests/
#   countersign policy diff .          what becomes allowed that was not
#   countersign policy propose .       signed by an author, for the approvers to look at
";

impl Writer<'_> {
    fn all(&mut self) -> fmt::Result {
        let bundle = self.bundle;
        writeln!(
            self.out,
            "{HEAD}\norganisation = {}",
            value(&bundle.organisation)
        )?;
        self.bounds()?;
        self.members()?;
        self.groups()?;
        self.wallets()?;
        self.assets()?;
        self.address_book()?;
        self.rules()?;
        self.fee_caps()?;
        self.ledger_groups()?;
        self.limits()?;
        self.nonce_leads()?;
        self.reference()?;
        self.webauthn()
    }

    fn comment(&mut self, text: &str) -> fmt::Result {
        writeln!(self.out)?;
        text.lines()
            .try_for_each(|line| writeln!(self.out, "{}", format!("# {line}").trim_end()))
    }

    fn field(&mut self, name: &str, text: impl Serialize) -> fmt::Result {
        writeln!(self.out, "{name} = {}", value(&text))
    }

    fn bounds(&mut self) -> fmt::Result {
        let (quorums, timing) = (&self.bundle.quorums, &self.bundle.timing);
        self.comment(
            "How many must sign: approvers (besides the author) for the next policy and for a key ceremony, security officers for an\n\
             unfreeze, chain observers to say that a transaction is confirmed or dead (0: there are none).",
        )?;
        writeln!(self.out, "[quorums]")?;
        self.field("policy", quorums.policy)?;
        self.field("ceremony", quorums.ceremony)?;
        self.field("unfreeze", quorums.unfreeze)?;
        self.field("observation", quorums.observation)?;
        self.comment("How long things count, and how long approvers have for a veto once the nodes acknowledged a new policy.")?;
        writeln!(self.out, "[timing]")?;
        self.field("max_clock_skew_seconds", timing.max_clock_skew_seconds)?;
        self.field("max_request_life_seconds", timing.max_request_life_seconds)?;
        self.field(
            "max_authorization_life_seconds",
            timing.max_authorization_life_seconds,
        )?;
        if let Some(life) = timing.max_cold_authorization_life_seconds {
            self.field("max_cold_authorization_life_seconds", life)?;
        }
        self.field(
            "max_approval_life_seconds",
            timing.max_approval_life_seconds,
        )?;
        self.field("activation_delay_seconds", timing.activation_delay_seconds)?;
        self.key_states()
    }

    /// States stand here only where they are not the usual one.
    fn key_states(&mut self) -> fmt::Result {
        self.comment(
            "States of pinned keys: pre-active, active, suspended, deactivated, compromised, destroyed. Keys that are not listed keep theirs.\n\
             [[keys]]\nid = \"hot\"\nstate = \"suspended\"",
        )?;
        for key in &self.bundle.keys {
            if key.state != KeyState::Active {
                writeln!(self.out, "\n[[keys]]")?;
                self.field("id", &key.id)?;
                self.field("state", key.state)?;
            }
        }
        Ok(())
    }

    fn members(&mut self) -> fmt::Result {
        self.comment(
            "Who is who. Roles: payment-service, security-officer, policy-author, policy-approver, operator, auditor, chain-observer,\n\
             node, offline-node, coordinator. Keys are public Ed25519 statement keys; nobody shares one, and nobody approves what they ask for.",
        )?;
        for member in &self.bundle.members {
            self.member(member)?;
        }
        Ok(())
    }

    fn member(&mut self, member: &Member) -> fmt::Result {
        writeln!(self.out, "\n[[members]]")?;
        self.field("id", &member.id)?;
        self.field("name", &member.name)?;
        self.field("roles", &member.roles)?;
        let keys: Vec<String> = member
            .keys
            .iter()
            .map(|k| k.public_key.to_string())
            .collect();
        self.field("keys", &keys)?;
        if let Some(domains) = &member.domains {
            self.field("domains", domains)?;
        }
        for credential in &member.credentials {
            writeln!(self.out, "[[members.credentials]]")?;
            self.field("id", &credential.id)?;
            self.field("algorithm", credential.algorithm)?;
            self.field("public_key", &credential.public_key)?;
        }
        Ok(())
    }

    fn groups(&mut self) -> fmt::Result {
        self.comment(
            "Officers who approve together: a rule asks for a number of them, as in needs = \"treasury:2,security:1\".\n\
             [[groups]]\nid = \"treasury\"\nmembers = [\"officer-1\", \"officer-2\"]",
        )?;
        for group in &self.bundle.groups {
            writeln!(self.out, "\n[[groups]]")?;
            self.field("id", &group.id)?;
            self.field("members", &group.members)?;
        }
        Ok(())
    }

    fn wallets(&mut self) -> fmt::Result {
        self.comment(
            "A wallet is a key, a path below it and the networks it is used on. Tiers: hot (threshold key), warm (HSM online), cold\n\
             (HSM on an offline-node). A warm or cold wallet names the ledger_group that counts and confirms what its one machine signs; a\n\
             cold one may demand offline_operators = 2, and needs timing.max_cold_authorization_life_seconds.\n\
             [[wallets]]\nid = \"treasury\"\nkey = \"hot\"\npath = \"m/0\"\nnetworks = [\"eip155:1\", \"tron:0x2b6653dc\"]",
        )?;
        for wallet in &self.bundle.wallets {
            writeln!(self.out, "\n[[wallets]]")?;
            self.field("id", &wallet.id)?;
            self.field("name", &wallet.name)?;
            self.field("tier", wallet.tier)?;
            self.field("key", &wallet.key)?;
            self.field("path", &wallet.path)?;
            self.field("networks", &wallet.networks)?;
            if let Some(group) = &wallet.ledger_group {
                self.field("ledger_group", group)?;
            }
            if let Some(operators) = wallet.offline_operators {
                self.field("offline_operators", operators)?;
            }
        }
        Ok(())
    }

    fn assets(&mut self) -> fmt::Result {
        self.comment(
            "Assets with their decimals. Only those that the built-in registry does not know have to be listed.",
        )?;
        for asset in &self.bundle.assets {
            writeln!(self.out, "\n[[assets]]")?;
            self.field("asset", asset.asset)?;
            self.field("symbol", &asset.symbol)?;
            self.field("decimals", asset.decimals)?;
        }
        Ok(())
    }

    fn address_book(&mut self) -> fmt::Result {
        self.comment(
            "Destinations that were checked, by name. With active_from they wait: a stolen author's new address is seen in time.\n\
             [[address_book]]\nlabel = \"Exchange\"\nnetwork = \"eip155:1\"\naddress = \"0x28C6c06298d514Db089934071355E5743bf21d60\"\n\
             active_from = \"2026-12-01T09:00:00Z\"",
        )?;
        for entry in &self.bundle.address_book {
            writeln!(self.out, "\n[[address_book]]")?;
            self.field("label", &entry.label)?;
            self.field("network", entry.network)?;
            self.field("address", entry.address)?;
            if entry.active_from.as_millis() > 0 {
                self.field("active_from", entry.active_from)?;
            }
        }
        Ok(())
    }

    fn rules(&mut self) -> fmt::Result {
        self.comment(
            "Transfers that are allowed: who may ask, what moves, where to (address-book, labels, any), how much in one transaction,\n\
             and whose approvals it needs. Cedar policies in rules/ can permit and forbid more; a forbid always wins.\n\
             [[rules]]\nid = \"usdt-large\"\nwallet = \"treasury\"\ninitiators = [\"payments\"]\nnetwork = \"eip155:1\"\nasset = \"USDT\"\n\
             destinations = { to = \"labels\", labels = [\"Exchange\"] }\nmax = \"50000\"\nneeds = \"treasury:2\"",
        )?;
        for rule in &self.bundle.rules {
            self.rule(rule)?;
        }
        Ok(())
    }

    fn rule(&mut self, rule: &TransferRule) -> fmt::Result {
        writeln!(self.out, "\n[[rules]]")?;
        self.field("id", &rule.id)?;
        self.field("wallet", &rule.wallet)?;
        self.field("initiators", &rule.initiators)?;
        self.asset(&rule.asset)?;
        let to = match &rule.destinations {
            Destinations::AddressBook => "{ to = \"address-book\" }".to_owned(),
            Destinations::Any => "{ to = \"any\" }".to_owned(),
            Destinations::Labels { labels } => {
                format!("{{ to = \"labels\", labels = {} }}", value(labels))
            }
        };
        writeln!(self.out, "destinations = {to}")?;
        self.amount("max", rule.max_amount, self.decimals(&rule.asset))?;
        if let Some(needs) = &rule.needs {
            self.field("needs", needs)?;
        }
        Ok(())
    }

    fn fee_caps(&mut self) -> fmt::Result {
        self.comment(
            "The most that one transaction may cost, in the network's native coin. Without one, nothing is signed for a network.\n\
             [[fee_caps]]\nnetwork = \"eip155:1\"\nmax_fee = \"0.02\"",
        )?;
        for cap in &self.bundle.fee_caps {
            writeln!(self.out, "\n[[fee_caps]]")?;
            self.field("network", cap.network)?;
            self.native("max_fee", &cap.network, cap.max_fee)?;
            if let Some(seconds) = cap.max_lifetime_seconds {
                self.field("max_lifetime_seconds", seconds)?;
            }
        }
        Ok(())
    }

    fn ledger_groups(&mut self) -> fmt::Result {
        self.comment(
            "Nodes that keep ledgers together: a spend is reserved and confirmed by `quorum` of them, with 2 * quorum > nodes + max_faulty.\n\
             [[ledger_groups]]\nid = \"main\"\nnodes = [\"node-1\", \"node-2\", \"node-3\"]\nquorum = 2\nmax_faulty = 0",
        )?;
        for group in &self.bundle.ledger_groups {
            writeln!(self.out, "\n[[ledger_groups]]")?;
            self.field("id", &group.id)?;
            self.field("nodes", &group.nodes)?;
            self.field("quorum", group.quorum)?;
            self.field("max_faulty", group.max_faulty)?;
        }
        Ok(())
    }

    fn limits(&mut self) -> fmt::Result {
        self.comment(
            "Cumulative limits, exact, over all signers: of = amount (an asset), count (transactions), fee (a network), value (reference\n\
             currency); over = transaction, outstanding, or a span such as 24h or 7d. Narrow one with wallets, tier, initiators, destination.\n\
             [[limits]]\nid = \"usdt-day\"\nledger_group = \"main\"\nof = \"amount\"\nnetwork = \"eip155:1\"\nasset = \"USDT\"\n\
             max = \"100000\"\nover = \"24h\"\nwallets = [\"treasury\"]",
        )?;
        for limit in &self.bundle.limits {
            self.limit(limit)?;
        }
        Ok(())
    }

    fn limit(&mut self, limit: &Limit) -> fmt::Result {
        writeln!(self.out, "\n[[limits]]")?;
        self.field("id", &limit.id)?;
        self.field("ledger_group", &limit.ledger_group)?;
        let mut network = limit.scope.network;
        match &limit.measure {
            Measure::Amount { asset, max } => {
                self.field("of", "amount")?;
                self.asset(asset)?;
                self.amount("max", *max, self.decimals(asset))?;
                network = None;
            }
            Measure::Count { max } => {
                self.field("of", "count")?;
                self.field("max", max.to_string())?;
            }
            Measure::Fee { network: fees, max } => {
                self.field("of", "fee")?;
                self.native("max", fees, *max)?;
                network = Some(*fees);
            }
            Measure::Value { max } => {
                let decimals = self.bundle.reference.as_ref().map_or(0, |r| r.decimals);
                self.field("of", "value")?;
                self.amount("max", *max, decimals)?;
            }
        }
        if let Some(network) = network {
            self.field("network", network)?;
        }
        self.field("over", write_period(&limit.period))?;
        if !limit.scope.wallets.is_empty() {
            self.field("wallets", &limit.scope.wallets)?;
        }
        if let Some(tier) = limit.scope.tier {
            self.field("tier", tier)?;
        }
        if !limit.scope.initiators.is_empty() {
            self.field("initiators", &limit.scope.initiators)?;
        }
        if let Some(destination) = &limit.scope.destination {
            self.field("destination", destination)?;
        }
        Ok(())
    }

    fn nonce_leads(&mut self) -> fmt::Result {
        self.comment(
            "How far nonces of EVM accounts may lead the last one that chain observers saw used: signed transactions that wait for\n\
             others are at most `max`. Accounts begin at 0; `first` says where one begins that signed elsewhere before.\n\
             [[nonce_leads]]\nid = \"eth-nonces\"\nnetwork = \"eip155:1\"\nmax = 16\nwallets = [\"treasury\"]\n\
             first = [{ account = \"0x28C6c06298d514Db089934071355E5743bf21d60\", nonce = 120 }]",
        )?;
        for lead in &self.bundle.nonce_leads {
            writeln!(self.out, "\n[[nonce_leads]]")?;
            self.field("id", &lead.id)?;
            self.field("network", lead.network)?;
            self.field("max", lead.max)?;
            if !lead.wallets.is_empty() {
                self.field("wallets", &lead.wallets)?;
            }
            if !lead.first.is_empty() {
                self.field("first", &lead.first)?;
            }
        }
        Ok(())
    }

    fn reference(&mut self) -> fmt::Result {
        self.comment(
            "Reference prices, for limits of = \"value\": what one whole unit is worth. Every movement is rounded up.\n\
             [reference]\ncurrency = \"USD\"\ndecimals = 2\n[[reference.prices]]\nnetwork = \"eip155:1\"\nasset = \"USDT\"\nper_unit = \"1.00\"",
        )?;
        let Some(Reference {
            currency,
            decimals,
            prices,
        }) = &self.bundle.reference
        else {
            return Ok(());
        };
        writeln!(self.out, "\n[reference]")?;
        self.field("currency", currency)?;
        self.field("decimals", decimals)?;
        for price in prices {
            writeln!(self.out, "\n[[reference.prices]]")?;
            self.asset(&price.asset)?;
            self.amount("per_unit", price.per_unit, *decimals)?;
        }
        Ok(())
    }

    fn webauthn(&mut self) -> fmt::Result {
        self.comment(
            "What approvals made in a browser must say; without this section none counts.\n\
             [webauthn]\nrp_id = \"approve.example.com\"\norigins = [\"https://approve.example.com\"]\nallow_backup_eligible = false",
        )?;
        let Some(policy) = &self.bundle.webauthn else {
            return Ok(());
        };
        writeln!(self.out, "\n[webauthn]")?;
        self.field("rp_id", &policy.rp_id)?;
        self.field("origins", &policy.origins)?;
        self.field("allow_backup_eligible", policy.allow_backup_eligible)
    }

    /// By network and symbol where that is one asset, otherwise by its CAIP-19 id.
    fn asset(&mut self, id: &AssetId) -> fmt::Result {
        match self.known(id) {
            Some(asset) if self.is_unambiguous(&asset) => {
                self.field("network", id.network())?;
                self.field("asset", &asset.symbol)
            }
            _ => self.field("asset", id),
        }
    }

    fn known(&self, id: &AssetId) -> Option<AssetRecord> {
        self.bundle.assets.iter().find(|a| a.asset == *id).cloned()
    }

    fn is_unambiguous(&self, asset: &AssetRecord) -> bool {
        let network = asset.asset.network();
        crate::policy::entries::resolve_asset(&asset.symbol, Some(network), &self.bundle.assets)
            .is_ok_and(|found| found.asset == asset.asset)
    }

    fn decimals(&self, id: &AssetId) -> u8 {
        self.known(id).map_or(0, |asset| asset.decimals)
    }

    fn amount(&mut self, name: &str, amount: Amount, decimals: u8) -> fmt::Result {
        self.field(name, amount.to_units(decimals))
    }

    fn native(&mut self, name: &str, network: &Network, amount: Amount) -> fmt::Result {
        let decimals = assets::lookup(&network.native_asset()).map_or(0, |known| known.decimals);
        self.amount(name, amount, decimals)
    }
}

/// A value as TOML has it, on one line.
fn value(value: &impl Serialize) -> String {
    let mut out = String::new();
    match value.serialize(toml::ser::ValueSerializer::new(&mut out)) {
        Ok(_) => out,
        Err(_) => String::new(),
    }
}
