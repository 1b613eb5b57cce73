//! A request as an officer reads it before signing.

use std::fmt::{self, Write as _};

use countersign_policy::approvals::MissingApprovals;
use countersign_policy::bundle::ActiveBundle;
use countersign_policy::{Address, Amount, AssetId, Decision, Network, Outcome as Answer, Reason};
use serde::Serialize;

use super::dossier::Dossier;
use crate::failure::chain;
use crate::inspect::{kind, lifetime};

/// The JSON form.
#[derive(Debug, Serialize)]
pub struct Shown<'a> {
    ok: bool,
    request: countersign_policy::Hash,
    body: &'a countersign_policy::statement::SignRequest,
    initiator: &'a countersign_policy::MemberId,
    expires_at: countersign_policy::Timestamp,
    from: &'a Address,
    intent: &'a countersign_policy::Intent,
    bundle: countersign_policy::Hash,
    bundle_version: u64,
    decision: &'a Decision,
    approved_by: Vec<&'a countersign_policy::MemberId>,
}

impl Dossier {
    /// The JSON form.
    pub fn shown(&self) -> Shown<'_> {
        let active = self.chain.active();
        Shown {
            ok: true,
            request: self.request.digest(),
            body: self.request.body(),
            initiator: self.request.issuer(),
            expires_at: self.request.statement().expires_at,
            from: self.facts.source(),
            intent: self.facts.transaction().intent(),
            bundle: active.digest(),
            bundle_version: active.content().version,
            decision: &self.decision,
            approved_by: self.tally.members().collect(),
        }
    }

    /// All of it, one fact a line.
    pub fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> fmt::Result {
        let (statement, body) = (self.request.statement(), self.request.body());
        writeln!(out, "request   {}", self.request.digest())?;
        writeln!(
            out,
            "payment   {}, asked for by {} at {}, counts until {}",
            body.external_id, statement.issuer, statement.issued_at, statement.expires_at
        )?;
        self.write_intent(out)?;
        let active = self.chain.active();
        writeln!(
            out,
            "policy    version {} ({}), verified from genesis {}",
            active.content().version,
            active.digest(),
            self.chain.genesis()
        )?;
        write_decision(out, active, &self.decision)?;
        self.write_people(out)?;
        if let Some(told) = &self.told {
            writeln!(
                out,
                "state     {}, says the coordinator",
                told.state.as_str()
            )?;
            for reason in told.decision.reasons.iter().filter(|r| is_of_ledgers(r)) {
                writeln!(
                    out,
                    "          the nodes' ledgers say: {}",
                    reason_text(active, reason)
                )?;
            }
        }
        Ok(())
    }

    fn write_intent(&self, out: &mut String) -> fmt::Result {
        let body = self.request.body();
        let transaction = self.facts.transaction();
        let intent = transaction.intent();
        let active = self.chain.active();
        writeln!(out, "network   {}", intent.network)?;
        writeln!(
            out,
            "from      {} (wallet {}, path {}, key {})",
            self.facts.source(),
            body.wallet,
            body.path,
            body.key
        )?;
        writeln!(out, "kind      {}", kind(&intent.kind))?;
        for transfer in &intent.transfers {
            let source = transfer
                .from
                .filter(|from| from != self.facts.source())
                .map(|from| format!(" from {from}"))
                .unwrap_or_default();
            writeln!(
                out,
                "transfer  {}{source} to {}",
                amount(active, &transfer.asset, transfer.amount),
                place(active, &intent.network, &transfer.to)
            )?;
            writeln!(
                out,
                "          {} base units of {}",
                transfer.amount, transfer.asset
            )?;
        }
        for allowance in &intent.approvals {
            let quantity = if allowance.amount == Amount::MAX {
                "ANY AMOUNT".to_owned()
            } else {
                amount(active, &allowance.asset, allowance.amount)
            };
            writeln!(
                out,
                "allowance {} may take {quantity} of {}",
                place(active, &intent.network, &allowance.spender),
                allowance.asset
            )?;
        }
        let fee = &intent.max_fee;
        writeln!(out, "max fee   {}", amount(active, &fee.asset, fee.amount))?;
        writeln!(out, "lifetime  {}", lifetime(intent))?;
        if let Some(memo) = &intent.memo {
            writeln!(out, "memo      {memo}")?;
        }
        for warning in &intent.warnings {
            writeln!(out, "warning   {warning}")?;
        }
        writeln!(out, "digest    {}", transaction.digest())
    }

    fn write_people(&self, out: &mut String) -> fmt::Result {
        for (member, counted) in self.tally.approvals() {
            writeln!(
                out,
                "approved  by {member}, counts until {}",
                counted.expires_at
            )?;
        }
        for rejection in self.tally.rejections() {
            writeln!(
                out,
                "rejected  by {}: {}",
                rejection.member, rejection.reason
            )?;
        }
        for void in &self.void {
            writeln!(
                out,
                "void      an approval does not count: {}",
                chain(&void.why)
            )?;
        }
        Ok(())
    }
}

/// What the policy says.
pub fn write_decision(out: &mut String, active: &ActiveBundle, decision: &Decision) -> fmt::Result {
    let outcome = match decision.outcome {
        Answer::Allow => "allowed",
        Answer::Blocked => "blocked: nobody's approval would change that",
        Answer::NeedsApprovals => "needs approvals",
    };
    writeln!(out, "decision  {outcome}")?;
    for rule in &decision.rules {
        writeln!(out, "rule      {rule}")?;
    }
    for missing in &decision.missing {
        writeln!(out, "missing   {}", missing_text(active, missing))?;
    }
    let told_already = |reason: &&Reason| !matches!(reason, Reason::MissingApprovals(_));
    for reason in decision.reasons.iter().filter(told_already) {
        writeln!(out, "reason    {}", reason_text(active, reason))?;
    }
    Ok(())
}

fn missing_text(active: &ActiveBundle, missing: &MissingApprovals) -> String {
    let group = active
        .content()
        .groups
        .iter()
        .find(|g| g.id == missing.group);
    let members: Vec<&str> = group
        .iter()
        .flat_map(|g| g.members.iter().map(|m| m.as_str()))
        .collect();
    format!(
        "{} of {} from {} ({})",
        missing.needed.saturating_sub(missing.have),
        missing.needed,
        missing.group,
        members.join(", ")
    )
}

/// A reason; amounts of caps in whole units where they are known.
fn reason_text(_active: &ActiveBundle, reason: &Reason) -> String {
    reason.to_string()
}

/// What only the nodes' ledgers know.
fn is_of_ledgers(reason: &Reason) -> bool {
    matches!(reason, Reason::Limit(_))
}

/// With the decimals that the bundle pins, and never a guess.
pub fn amount(active: &ActiveBundle, asset: &AssetId, amount: Amount) -> String {
    let pinned = active.content().assets.iter().find(|a| a.asset == *asset);
    match pinned {
        Some(known) => format!("{} {}", amount.to_units(known.decimals), known.symbol),
        None => crate::inspect::quantity(asset, amount),
    }
}

/// An address, with its name in the address book.
pub fn place(active: &ActiveBundle, network: &Network, address: &Address) -> String {
    match active.destination(network, address) {
        Some(entry) => format!("{address} = {:?} of the address book", entry.label),
        None => format!("{address}, NOT in the address book"),
    }
}
