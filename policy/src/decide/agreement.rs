//! What the initiator says against what the bytes say.

use super::Reason;
use crate::statement::StatedIntent;
use crate::{Address, Allowance, Amount, Intent, IntentKind, Transfer};

/// Bytes and stated meaning must say the same, field by field.
pub(super) fn agreement(stated: &StatedIntent, decoded: &Intent, reasons: &mut Vec<Reason>) {
    // Everything that is stated. A field added to `StatedIntent` must be compared below.
    let StatedIntent {
        kind,
        transfers,
        approvals,
        max_fee,
    } = stated;
    let mut mismatches = Mismatches(reasons);
    mismatches.compare("kind", kind, &decoded.kind, describe);
    mismatches.compare(
        "max_fee",
        max_fee,
        &decoded.max_fee.amount,
        Amount::to_string,
    );
    let count = |all: &usize| all.to_string();
    mismatches.compare(
        "transfers",
        &transfers.len(),
        &decoded.transfers.len(),
        count,
    );
    for (i, (s, d)) in transfers.iter().zip(&decoded.transfers).enumerate() {
        let Transfer {
            asset,
            from,
            to,
            amount,
        } = s;
        let part = |name: &str| format!("transfers[{i}].{name}");
        mismatches.compare(&part("asset"), asset, &d.asset, ToString::to_string);
        mismatches.compare(&part("from"), from, &d.from, |from| optional(from.as_ref()));
        mismatches.compare(&part("to"), to, &d.to, ToString::to_string);
        mismatches.compare(&part("amount"), amount, &d.amount, ToString::to_string);
    }
    mismatches.compare(
        "approvals",
        &approvals.len(),
        &decoded.approvals.len(),
        count,
    );
    for (i, (s, d)) in approvals.iter().zip(&decoded.approvals).enumerate() {
        let Allowance {
            asset,
            spender,
            amount,
        } = s;
        let part = |name: &str| format!("approvals[{i}].{name}");
        mismatches.compare(&part("asset"), asset, &d.asset, ToString::to_string);
        mismatches.compare(&part("spender"), spender, &d.spender, ToString::to_string);
        mismatches.compare(&part("amount"), amount, &d.amount, ToString::to_string);
    }
}

struct Mismatches<'a>(&'a mut Vec<Reason>);

impl Mismatches<'_> {
    /// Compares values, and shows them only when they differ.
    fn compare<T: PartialEq>(
        &mut self,
        field: &str,
        stated: &T,
        decoded: &T,
        show: impl Fn(&T) -> String,
    ) {
        if stated != decoded {
            self.0.push(Reason::IntentMismatch {
                field: field.to_owned(),
                stated: clip(show(stated)),
                decoded: clip(show(decoded)),
            });
        }
    }
}

fn optional(address: Option<&Address>) -> String {
    address.map_or_else(|| "the signer".to_owned(), Address::to_string)
}

/// A kind with its data, so that two different contract calls are shown as different.
fn describe(kind: &IntentKind) -> String {
    match kind {
        IntentKind::ContractCall(_) | IntentKind::OtherContract { .. } => format!("{kind:?}"),
        _ => kind.name().to_owned(),
    }
}

/// What comes from a request is repeated in answers and records only up to a length.
fn clip(text: String) -> String {
    const MAX_CHARS: usize = 400;
    match text.char_indices().nth(MAX_CHARS) {
        None => text,
        Some(_) => text.chars().take(MAX_CHARS).chain("...".chars()).collect(),
    }
}
