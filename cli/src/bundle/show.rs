//! A bundle as a person reads it.

use std::fmt::Write as _;

use countersign_policy::bundle::{ActiveBundle, Destinations};

use crate::inspect::quantity;

/// The active bundle, section by section.
pub fn summary(active: &ActiveBundle) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write_summary(active, &mut out);
    out
}

fn write_summary(active: &ActiveBundle, out: &mut String) -> std::fmt::Result {
    let bundle = active.content();
    writeln!(
        out,
        "{}, policy version {}",
        bundle.organisation, bundle.version
    )?;
    writeln!(out, "bundle    {}", active.digest())?;
    writeln!(out, "expires   {}", active.expires_at())?;
    writeln!(
        out,
        "quorums   {} approvers for a bundle, {} for a key ceremony\n\nmembers",
        bundle.quorums.policy, bundle.quorums.ceremony
    )?;
    for member in &bundle.members {
        let roles: Vec<String> = member.roles.iter().map(name).collect();
        writeln!(
            out,
            "  {:16} {:18} {}",
            member.id.as_str(),
            roles.join(", "),
            member.name
        )?;
    }
    section(out, "keys", bundle.keys.is_empty())?;
    for key in &bundle.keys {
        writeln!(
            out,
            "  {:16} {}, {} of {}, {}, {}",
            key.id.as_str(),
            key.protocol,
            key.threshold,
            key.nodes.len(),
            name(&key.state),
            key.group_key
        )?;
    }
    section(out, "wallets", bundle.wallets.is_empty())?;
    for wallet in &bundle.wallets {
        let networks: Vec<String> = wallet.networks.iter().map(ToString::to_string).collect();
        writeln!(
            out,
            "  {:16} key {} at {}, on {}",
            wallet.id.as_str(),
            wallet.key,
            wallet.path,
            networks.join(" ")
        )?;
    }
    section(out, "rules", bundle.rules.is_empty())?;
    for rule in &bundle.rules {
        let to = match &rule.destinations {
            Destinations::AddressBook => "the address book".to_owned(),
            Destinations::Labels { labels } => labels.join(", "),
            Destinations::Any => "anywhere".to_owned(),
        };
        writeln!(
            out,
            "  {:16} {} pays at most {} a transaction to {to}",
            rule.id.as_str(),
            rule.wallet,
            quantity(&rule.asset, rule.max_amount)
        )?;
    }
    section(out, "address book", bundle.address_book.is_empty())?;
    for entry in &bundle.address_book {
        writeln!(
            out,
            "  {:16} {} on {}",
            entry.label, entry.address, entry.network
        )?;
    }
    section(out, "fee caps", bundle.fee_caps.is_empty())?;
    for cap in &bundle.fee_caps {
        let fee = quantity(&cap.network.native_asset(), cap.max_fee);
        writeln!(out, "  {:16} {fee} a transaction", cap.network.to_string())?;
    }
    Ok(())
}

fn section(out: &mut String, title: &str, empty: bool) -> std::fmt::Result {
    writeln!(out, "\n{title}{}", if empty { ": none" } else { "" })
}

/// The name under which a role or state stands in the bundle.
fn name(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(text)) => text,
        _ => String::new(),
    }
}
