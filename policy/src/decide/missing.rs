//! Whose approvals a request waits for.

use super::Case;
use super::cedar::Verdict;
use super::transfers::add;
use super::ways::Permission;
use crate::approvals::MissingApprovals;

/// What is missing for a request that would be permitted if everybody approved.
///
/// Where a rule asks for approvals by `needs`, they are known. Where Cedar conditions compare the numbers of approvals,
/// the least numbers are looked for that satisfy them: from everybody downwards, one group after the other.
pub(super) fn missing(case: &Case<'_>, real: Permission) -> Vec<MissingApprovals> {
    if real.reasons.is_empty() {
        return real.missing;
    }
    let tally = case.standing.approvals();
    let have = case.counts(tally);
    let mut enough = case.counts(case.everybody());
    for group in case.groups() {
        let least = have.get(&group.id).copied().unwrap_or(0);
        while let Some(fewer) = enough
            .get(&group.id)
            .and_then(|count| count.checked_sub(1))
            .filter(|fewer| *fewer >= least)
        {
            let mut trial = enough.clone();
            trial.insert(group.id.clone(), fewer);
            // Whether rules permit at all with these numbers; whom `needs` asks for besides is added below.
            if !Permission::with(case, case.everybody(), &Verdict::of(case, &trial)).is_given() {
                break;
            }
            enough = trial;
        }
    }
    let by_needs = Permission::with(case, tally, &Verdict::of(case, &enough));
    let mut missing = Vec::new();
    for (group, needed) in enough {
        let have = have.get(&group).copied().unwrap_or(0);
        if needed > have {
            missing.push(MissingApprovals {
                group,
                needed,
                have,
            });
        }
    }
    by_needs
        .missing
        .into_iter()
        .for_each(|m| add(&mut missing, m));
    missing
}
