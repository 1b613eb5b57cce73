//! Members, groups, WebAuthn, quorums and times.

use super::super::model::{Member, PolicyBundle, WebAuthnPolicy};
use super::{Changes, Direction, listed, paired};

pub(super) fn members(changes: &mut Changes, before: &PolicyBundle, after: &PolicyBundle) {
    for (id, pair) in paired(&before.members, &after.members, |m| &m.id) {
        let at = format!("members[{id}]");
        match pair {
            (None, Some(new)) => changes.loosens(
                at,
                format!(
                    "{:?} becomes a member as {}",
                    new.name,
                    listed(new.roles.iter().map(|r| r.as_str()))
                ),
            ),
            (Some(old), None) => changes.tightens(
                at,
                format!(
                    "{:?} is no longer a member; was {}",
                    old.name,
                    listed(old.roles.iter().map(|r| r.as_str()))
                ),
            ),
            (Some(old), Some(new)) => member(changes, &at, old, new),
            (None, None) => {}
        }
    }
}

fn member(changes: &mut Changes, at: &str, old: &Member, new: &Member) {
    changes.text(format!("{at}.name"), &old.name, &new.name);
    changes.members(
        &format!("{at}.roles"),
        old.roles.iter().map(|r| r.as_str()),
        new.roles.iter().map(|r| r.as_str()),
    );
    changes.members(
        &format!("{at}.keys"),
        old.keys.iter().map(|k| k.public_key),
        new.keys.iter().map(|k| k.public_key),
    );
    let shown = |m: &Member| -> Vec<String> {
        let credentials = m.credentials.iter();
        credentials
            .map(|c| format!("credential {} with key {}", c.id, c.public_key))
            .collect()
    };
    changes.members(&format!("{at}.credentials"), shown(old), shown(new));
    if old.domains != new.domains {
        let shown = |m: &Member| match &m.domains {
            Some(d) => format!("{:?} at {:?}", d.administration, d.hosting),
            None => "none".to_owned(),
        };
        // Whoever controls the machine controls its share: it must be looked at.
        changes.loosens(
            format!("{at}.domains"),
            format!("was {}, becomes {}", shown(old), shown(new)),
        );
    }
}

pub(super) fn groups(changes: &mut Changes, before: &PolicyBundle, after: &PolicyBundle) {
    for (id, pair) in paired(&before.groups, &after.groups, |g| &g.id) {
        let at = format!("groups[{id}].members");
        let (old, new) = pair;
        changes.members(
            &at,
            old.into_iter().flat_map(|g| &g.members),
            new.into_iter().flat_map(|g| &g.members),
        );
    }
}

pub(super) fn webauthn(changes: &mut Changes, before: &PolicyBundle, after: &PolicyBundle) {
    let at = "webauthn";
    let origins = |policy: &WebAuthnPolicy| listed(&policy.origins);
    match (&before.webauthn, &after.webauthn) {
        (None, Some(new)) => {
            changes.loosens(at, format!("credentials count, used at {}", origins(new)))
        }
        (Some(_), None) => changes.tightens(at, "credentials no longer count"),
        (Some(old), Some(new)) => {
            if old.rp_id != new.rp_id {
                let what = format!("was {}, becomes {}", old.rp_id, new.rp_id);
                changes.loosens("webauthn.rp_id", what);
            }
            changes.members("webauthn.origins", &old.origins, &new.origins);
            changes.cap(
                "webauthn.allow_backup_eligible",
                &old.allow_backup_eligible,
                &new.allow_backup_eligible,
            );
        }
        (None, None) => {}
    }
}

pub(super) fn quorums(changes: &mut Changes, before: &PolicyBundle, after: &PolicyBundle) {
    let (old, new) = (&before.quorums, &after.quorums);
    changes.demand("quorums.policy", &old.policy, &new.policy);
    changes.demand("quorums.ceremony", &old.ceremony, &new.ceremony);
    changes.demand("quorums.unfreeze", &old.unfreeze, &new.unfreeze);
    // None means that nobody can say what became of a transaction.
    match (old.observation, new.observation) {
        (0, 1..) => changes.loosens(
            "quorums.observation",
            format!(
                "{} observers give amounts back to limits, where nobody could",
                new.observation
            ),
        ),
        (1.., 0) => changes.tightens(
            "quorums.observation",
            "observers no longer give amounts back to limits",
        ),
        _ => changes.demand("quorums.observation", &old.observation, &new.observation),
    }
}

pub(super) fn timing(changes: &mut Changes, before: &PolicyBundle, after: &PolicyBundle) {
    let (old, new) = (&before.timing, &after.timing);
    for (name, old, new) in [
        (
            "max_clock_skew_seconds",
            old.max_clock_skew_seconds,
            new.max_clock_skew_seconds,
        ),
        (
            "max_request_life_seconds",
            old.max_request_life_seconds,
            new.max_request_life_seconds,
        ),
        (
            "max_authorization_life_seconds",
            old.max_authorization_life_seconds,
            new.max_authorization_life_seconds,
        ),
        (
            "max_cold_authorization_life_seconds",
            old.max_cold_authorization_life_seconds.unwrap_or(0),
            new.max_cold_authorization_life_seconds.unwrap_or(0),
        ),
        (
            "max_approval_life_seconds",
            old.max_approval_life_seconds,
            new.max_approval_life_seconds,
        ),
    ] {
        changes.cap(format!("timing.{name}"), &old, &new);
    }
    changes.demand(
        "timing.activation_delay_seconds",
        &old.activation_delay_seconds,
        &new.activation_delay_seconds,
    );
    if before.supersedes != after.supersedes && !after.supersedes.is_empty() {
        let what = format!("takes the place of {}", listed(&after.supersedes));
        changes.add(Direction::Neutral, "supersedes", what);
    }
}
