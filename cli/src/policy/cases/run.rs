//! One case through the engine.

use countersign_policy::approvals::{ApprovalProblem, ApprovalTally};
use countersign_policy::bundle::{PolicyBundle, Role};
use countersign_policy::limits::{LimitBook, LimitHit, Spend};
use countersign_policy::statement::{
    Approval, Freeze, SignRequest, StatedIntent, Verdict, Verified,
};
use countersign_policy::{
    Decision, DecodedTransaction, Envelope, ExternalId, Facts, FreezeSet, Hash, Outcome as Answer,
    Standing, Timestamp, decide, decode,
};
use serde::Serialize;

use super::case::{Before, Case};
use crate::amount::parse_units;
use crate::failure::{Exit, Failure, OrFail as _, Outcome, chain as chain_of};
use crate::policy::entries::{Units, destination, resolve_asset};
use crate::policy::sandbox::Sandbox;
use crate::request::Payer;
use crate::request::build::{Chain, Payment};

/// 2026-03-04T12:00:00Z, a Wednesday.
const NOON: i64 = 1_772_625_600_000;
/// How long the case's request counts, in seconds.
const LIFE: u64 = 300;

/// What came out of a case.
#[derive(Debug, Serialize)]
pub struct Answered {
    /// What the engine said.
    #[serde(skip_serializing_if = "Option::is_none")]
    decision: Option<Decision>,
    /// Why it could not be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// What was expected otherwise.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    differences: Vec<String>,
}

/// Asks the engine.
pub fn answer(bundle: &PolicyBundle, case: &Case) -> Answered {
    match decision(bundle, case) {
        Ok(decision) => Answered {
            differences: differences(case, &decision),
            decision: Some(decision),
            error: None,
        },
        Err(failure) => Answered {
            decision: None,
            error: Some(failure.message),
            differences: Vec::new(),
        },
    }
}

impl Answered {
    /// Whether everything that the case says came out.
    pub fn is_as_expected(&self, _case: &Case) -> bool {
        self.error.is_none() && self.differences.is_empty()
    }

    /// The outcome, for the table.
    pub fn outcome(&self) -> &'static str {
        self.decision.as_ref().map_or("error", |d| name(d.outcome))
    }

    /// What differs, for people.
    pub fn told(&self) -> String {
        if let Some(error) = &self.error {
            return error.clone();
        }
        let reasons: Vec<String> = self
            .decision
            .iter()
            .flat_map(|d| d.reasons.iter().map(ToString::to_string))
            .collect();
        let mut told = self.differences.join("; ");
        if !reasons.is_empty() {
            told = format!("{told} (reasons: {})", reasons.join("; "));
        }
        told
    }
}

fn name(outcome: Answer) -> &'static str {
    match outcome {
        Answer::Allow => "allow",
        Answer::Blocked => "blocked",
        Answer::NeedsApprovals => "needs-approvals",
    }
}

fn differences(case: &Case, decision: &Decision) -> Vec<String> {
    let mut found = Vec::new();
    if decision.outcome != case.expect {
        let (expected, came) = (name(case.expect), name(decision.outcome));
        found.push(format!("expected {expected}, came {came}"));
    }
    if let Some(code) = &case.reason {
        let codes: Vec<String> = decision.reasons.iter().map(code_of).collect();
        if !codes.contains(code) {
            found.push(format!("expected the reason {code}, came {}", list(&codes)));
        }
    }
    if let Some(rules) = &case.rules
        && *rules != decision.rules
    {
        let names = |rules: &[countersign_policy::RuleId]| {
            list(&rules.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        found.push(format!(
            "expected the rules {}, came {}",
            names(rules),
            names(&decision.rules)
        ));
    }
    found
}

fn list(items: &[String]) -> String {
    if items.is_empty() {
        "none".to_owned()
    } else {
        items.join(", ")
    }
}

/// The stable code of a reason, as it stands in its JSON.
fn code_of(reason: &countersign_policy::Reason) -> String {
    let json = serde_json::to_value(reason).unwrap_or_default();
    let code = json.get("code").and_then(serde_json::Value::as_str);
    code.unwrap_or_default().to_owned()
}

fn decision(bundle: &PolicyBundle, case: &Case) -> Outcome<Decision> {
    let now = case.time.unwrap_or(Timestamp::from_millis(NOON));
    let sandbox = Sandbox::new(bundle, now)?;
    let active = sandbox.active();
    let payer = Payer::find(active, &case.wallet, &case.network, case.path.as_ref())?;
    let transaction = transaction(&sandbox, case, &payer, now)?;
    let external_id = ExternalId::new("policy-test").or_broken("an external id")?;
    let intent = StatedIntent::of(transaction.intent());
    let body = payer.request(case.network, external_id, &transaction, intent);
    let envelope = sandbox.sign(&case.initiator, &[], now, LIFE, body)?;
    let request = active
        .directory()
        .open::<SignRequest>(&envelope)
        .or_broken("the case's request")?;
    let facts = Facts::establish(active, request.body())
        .or_fail(Exit::Refused, "the transaction is refused")?;
    let standing = Surroundings {
        sandbox: &sandbox,
        case,
        payer: &payer,
        request: &request,
        facts: &facts,
        now,
    }
    .standing()?;
    Ok(decide(active, &request, &facts, &standing, now))
}

/// What surrounds a case's request.
struct Surroundings<'a> {
    sandbox: &'a Sandbox,
    case: &'a Case,
    payer: &'a Payer<'a>,
    request: &'a Verified<SignRequest>,
    facts: &'a Facts,
    now: Timestamp,
}

impl Surroundings<'_> {
    fn standing(&self) -> Outcome<Standing> {
        let active = self.sandbox.active();
        let freezes = self.freezes()?;
        let approvals = self.approvals()?;
        let (tally, refused) = ApprovalTally::count(
            active,
            self.request,
            self.facts,
            &approvals,
            &freezes,
            self.now,
        );
        // Somebody listed who has no say is a mistake in the case; a frozen officer may be its point.
        let mistake = refused
            .iter()
            .find(|refused| !matches!(refused.why, ApprovalProblem::Frozen { .. }));
        if let Some(mistake) = mistake {
            return Err(Failure::usage(format!(
                "an approval or rejection does not count: {}",
                chain_of(&mistake.why)
            )));
        }
        let limits = self.limits(&freezes)?;
        Ok(Standing::new(tally, freezes, limits))
    }

    fn freezes(&self) -> Outcome<FreezeSet> {
        let active = self.sandbox.active();
        let officers = active.content().members.iter();
        let officer = officers
            .filter(|member| member.roles.contains(&Role::SecurityOfficer))
            .map(|member| &member.id)
            .next();
        let mut freezes = FreezeSet::default();
        for target in &self.case.freezes {
            let officer = officer
                .ok_or_else(|| Failure::usage("the policy has no officer who could freeze"))?;
            let body = Freeze {
                target: target.clone(),
                reason: "case".to_owned(),
            };
            let envelope = self.sandbox.sign(officer, &[], self.now, LIFE, body)?;
            let freeze = active
                .open_freeze(&envelope)
                .or_fail(Exit::Usage, "a freeze of the case")?;
            freezes.insert(&freeze);
        }
        Ok(freezes)
    }

    fn approvals(&self) -> Outcome<Vec<Envelope>> {
        let says = |verdict: Verdict| {
            Approval::of(self.sandbox.active(), self.request, self.facts, verdict)
                .or_fail(Exit::Usage, "an approval of the case")
        };
        let mut given = Vec::new();
        for officer in &self.case.approvals {
            let body = says(Verdict::Approve)?;
            given.push(self.sandbox.sign(officer, &[], self.now, LIFE, body)?);
        }
        for officer in &self.case.rejections {
            let reason = "case".to_owned();
            let body = says(Verdict::Reject { reason })?;
            given.push(self.sandbox.sign(officer, &[], self.now, LIFE, body)?);
        }
        Ok(given)
    }

    /// The limits that would be passed after everything that was signed before.
    fn limits(&self, freezes: &FreezeSet) -> Outcome<Vec<LimitHit>> {
        let active = self.sandbox.active();
        let mut book = LimitBook::of(active.content());
        for (index, before) in self.case.before.iter().enumerate() {
            book.record(&self.spend_before(index, before)?);
        }
        let spend = self.spend(self.request, self.facts, self.now);
        Ok(book.hits(&spend, self.now, &|limit| freezes.lower(limit)))
    }

    fn spend(&self, request: &Verified<SignRequest>, facts: &Facts, at: Timestamp) -> Spend {
        let digest = Hash::from_bytes(*facts.transaction().digest().as_bytes());
        let initiator = &self.case.initiator;
        Spend::asked(facts, &request.body().wallet, initiator, &[digest], at)
    }

    fn spend_before(&self, index: usize, before: &Before) -> Outcome<Spend> {
        let at = self.now.minus_seconds(before.ago_seconds);
        let to = before.to.as_deref().or(self.case.to.as_deref());
        let to = to.ok_or_else(|| Failure::usage("a payment before says where to"))?;
        let payment = payment(
            self.sandbox,
            self.case,
            self.payer,
            &before.asset,
            to,
            &before.amount,
        )?;
        // Another transaction than all others, also where the account's nonce tells them apart.
        let nonce = u64::try_from(index).unwrap_or(u64::MAX).saturating_add(1);
        let transaction = payment.build_at(&chain(nonce), at)?;
        let external_id = ExternalId::new(format!("before-{index}")).or_broken("an external id")?;
        let intent = StatedIntent::of(transaction.intent());
        let body = self
            .payer
            .request(self.case.network, external_id, &transaction, intent);
        let active = self.sandbox.active();
        let facts = Facts::establish(active, &body)
            .or_fail(Exit::Refused, "a payment before is refused")?;
        Ok(self.spend(self.request, &facts, at))
    }
}

fn transaction(
    sandbox: &Sandbox,
    case: &Case,
    payer: &Payer<'_>,
    now: Timestamp,
) -> Outcome<DecodedTransaction> {
    match (&case.transaction, &case.asset, &case.to, &case.amount) {
        (Some(bytes), None, None, None) => decode(&case.network, bytes.as_bytes())
            .or_fail(Exit::Refused, "the transaction is refused"),
        (None, Some(asset), Some(to), Some(amount)) => {
            payment(sandbox, case, payer, asset, to, amount)?.build_at(&chain(0), now)
        }
        _ => Err(Failure::usage(
            "a case has asset, to and amount, or a transaction",
        )),
    }
}

fn payment(
    sandbox: &Sandbox,
    case: &Case,
    payer: &Payer<'_>,
    asset: &str,
    to: &str,
    amount: &Units,
) -> Outcome<Payment> {
    let content = sandbox.active().content();
    let asset =
        resolve_asset(asset, Some(&case.network), &content.assets).map_err(Failure::usage)?;
    Ok(Payment {
        network: case.network,
        from: payer.address,
        to: destination(to, &case.network, &content.address_book).map_err(Failure::usage)?,
        amount: parse_units(&amount.0, asset.decimals).map_err(Failure::usage)?,
        asset,
    })
}

/// What a payment layer would know of the chain. Fees are low, so that no fee cap decides a case by accident.
fn chain(nonce: u64) -> Chain {
    Chain {
        nonce: Some(nonce),
        max_fee_per_gas: Some(1_000_000_000),
        tron_ref_block: Some("00".repeat(32)),
        solana_blockhash: Some("4sGjMW1sUnHzSxGspuhpqLDx6wiyjNtZAMdL4VZHirAn".to_owned()),
        ..Chain::default()
    }
}
