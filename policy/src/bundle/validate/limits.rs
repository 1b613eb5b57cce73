//! How much at once: ledger groups that two quorums of which share an honest node, limits that all their wallets' nodes can
//! keep, reference prices.

use super::super::model::{KeyRecord, PolicyBundle, Role, Wallet};
use super::Findings;
use super::members::domain_counts;
use crate::limits::{LedgerGroup, Limit, LimitScope, Measure, NonceLead, Period};
use crate::{AssetId, Network};

/// The longest span over which a limit adds up, in seconds: what nodes keep of their past.
const MAX_SPAN_SECONDS: u64 = 31 * 86_400;

/// The shortest, in seconds.
const MIN_SPAN_SECONDS: u64 = 60;

/// Decimals of a reference currency: more would not be of use to people.
const MAX_DECIMALS: u8 = 18;

pub(super) fn ledger_groups(findings: &mut Findings, bundle: &PolicyBundle) {
    findings.ascending(
        "ledger_groups",
        &bundle
            .ledger_groups
            .iter()
            .map(|g| &g.id)
            .collect::<Vec<_>>(),
    );
    for group in &bundle.ledger_groups {
        let at = format!("ledger_groups[{}]", group.id);
        findings.ascending(format!("{at}.nodes"), &group.nodes);
        let (n, q) = (group.nodes.len(), usize::from(group.quorum));
        let f = usize::from(group.max_faulty);
        findings.require(
            q <= n,
            format!("{at}.quorum"),
            format!("{q} of {n} nodes could never be met"),
        );
        findings.require(
            q.saturating_mul(2) > n.saturating_add(f),
            format!("{at}.quorum"),
            format!(
                "two quorums of {q} of {n} nodes need not share an honest one when {f} lie: limits would not be exact; \
                 ask for more than half of {}",
                n.saturating_add(f)
            ),
        );
        node_domains(findings, bundle, group, &at);
    }
}

/// All are nodes, and nobody controls more of them than may lie, or a whole quorum.
fn node_domains(findings: &mut Findings, bundle: &PolicyBundle, group: &LedgerGroup, at: &str) {
    let (problems, counts) = domain_counts(bundle, &group.nodes);
    for problem in problems {
        findings.add(format!("{at}.nodes"), problem);
    }
    let f = usize::from(group.max_faulty);
    for ((what, name), count) in counts {
        findings.require(
            count < usize::from(group.quorum),
            format!("{at}.nodes"),
            format!("{count} nodes share the {what} domain {name:?} and are a quorum alone"),
        );
        findings.require(
            f == 0 || count <= f,
            format!("{at}.nodes"),
            format!(
                "{count} nodes share the {what} domain {name:?} and could lie together, at most {f} may: spread them"
            ),
        );
    }
}

pub(super) fn limits(findings: &mut Findings, bundle: &PolicyBundle) {
    findings.ascending(
        "limits",
        &bundle.limits.iter().map(|l| &l.id).collect::<Vec<_>>(),
    );
    for limit in &bundle.limits {
        let at = format!("limits[{}]", limit.id);
        scope(findings, bundle, &limit.scope, &at);
        measure(findings, bundle, limit, &at);
        period(findings, bundle, &limit.period, &at);
        covered(findings, bundle, limit, &at);
    }
}

fn scope(findings: &mut Findings, bundle: &PolicyBundle, scope: &LimitScope, at: &str) {
    findings.ascending(format!("{at}.scope.wallets"), &scope.wallets);
    findings.ascending(format!("{at}.scope.initiators"), &scope.initiators);
    for wallet in &scope.wallets {
        findings.require(
            bundle.wallets.iter().any(|w| w.id == *wallet),
            format!("{at}.scope.wallets"),
            format!("there is no wallet {wallet}"),
        );
    }
    for initiator in &scope.initiators {
        let service = |r: &Role| *r == Role::PaymentService;
        let ok = bundle
            .members
            .iter()
            .any(|m| m.id == *initiator && m.roles.iter().any(service));
        findings.require(
            ok,
            format!("{at}.scope.initiators"),
            format!("{initiator} is no payment service"),
        );
    }
    if let (Some(destination), Some(network)) = (&scope.destination, &scope.network) {
        findings.require(
            destination.matches(network),
            format!("{at}.scope.destination"),
            format!("{destination} is no address of {network}"),
        );
    }
}

fn measure(findings: &mut Findings, bundle: &PolicyBundle, limit: &Limit, at: &str) {
    let here = format!("{at}.measure");
    let known = |asset: &AssetId| bundle.assets.iter().any(|a| a.asset == *asset);
    match &limit.measure {
        Measure::Amount { asset, .. } => findings.require(
            known(asset),
            &here,
            format!("{asset} is not in assets: add it with its decimals"),
        ),
        Measure::Fee { network, .. } => findings.require(
            bundle.fee_caps.iter().any(|c| c.network == *network),
            &here,
            format!("{network} has no fee cap; add one to fee_caps"),
        ),
        Measure::Value { .. } => findings.require(
            bundle.reference.is_some(),
            &here,
            "there are no reference prices: add reference, or limit each asset by amount",
        ),
        Measure::Count { .. } => {}
    }
    if let (Some(scope), Some(of)) = (&limit.scope.network, network_of(&limit.measure)) {
        findings.require(
            *scope == of,
            format!("{at}.scope.network"),
            format!("the limit counts what is on {of}, and nothing there is on {scope}"),
        );
    }
}

fn period(findings: &mut Findings, bundle: &PolicyBundle, period: &Period, at: &str) {
    match period {
        Period::Transaction => {}
        Period::Rolling { seconds } => findings.require(
            (MIN_SPAN_SECONDS..=MAX_SPAN_SECONDS).contains(seconds),
            format!("{at}.period"),
            format!("a span is {MIN_SPAN_SECONDS} to {MAX_SPAN_SECONDS} seconds (31 days)"),
        ),
        Period::Outstanding => findings.require(
            bundle.quorums.observation > 0,
            format!("{at}.period"),
            "without chain observers nothing would ever leave the limit: name some and set quorums.observation",
        ),
    }
}

/// The limit is about some wallet, and the nodes of every wallet that it is about keep the ledgers it adds up.
fn covered(findings: &mut Findings, bundle: &PolicyBundle, limit: &Limit, at: &str) {
    let here = format!("{at}.ledger_group");
    let group = bundle
        .ledger_groups
        .iter()
        .find(|g| g.id == limit.ledger_group);
    if group.is_none() {
        findings.add(
            &here,
            format!(
                "there is no ledger group {}; add it to ledger_groups",
                limit.ledger_group
            ),
        );
    }
    let wallets = bundle.wallets.iter().filter(|w| is_about(limit, w));
    let mut any = false;
    for (wallet, key) in wallets.filter_map(|w| Some((w, live_key(bundle, w)?))) {
        any = true;
        let Some(group) = group else { continue };
        if key.protocol.is_hsm() {
            // The machine signs alone: the quorum of the wallet's group reserves every spend, so that group counts it.
            findings.require(
                wallet.ledger_group.as_ref() == Some(&group.id),
                &here,
                format!(
                    "wallet {} has an HSM key and its spends are reserved in {}: count them there",
                    wallet.id,
                    wallet
                        .ledger_group
                        .as_ref()
                        .map_or("no ledger group", |g| g.as_str())
                ),
            );
            continue;
        }
        let outside = key.nodes.iter().filter(|n| !group.nodes.contains(n));
        let outside: Vec<_> = outside.map(|n| n.as_str()).collect();
        findings.require(
            outside.is_empty(),
            &here,
            format!(
                "wallet {} is also signed by {}, not in ledger group {}: what they sign would not be counted",
                wallet.id,
                outside.join(", "),
                group.id
            ),
        );
        findings.require(
            group.quorum >= key.threshold,
            &here,
            format!(
                "ledger group {} asks for {} nodes, wallet {} is signed by {}: the quorum must not be smaller",
                group.id, group.quorum, wallet.id, key.threshold
            ),
        );
    }
    findings.require(
        any,
        format!("{at}.scope"),
        "there is no wallet that the limit is about: it would limit nothing",
    );
}

fn is_about(limit: &Limit, wallet: &Wallet) -> bool {
    let scope = &limit.scope;
    let named = scope.wallets.is_empty() || scope.wallets.contains(&wallet.id);
    let tier = scope.tier.is_none_or(|tier| tier == wallet.tier);
    let network = |network: &Network| {
        let scoped = scope.network.is_none_or(|n| n == *network);
        let measured = network_of(&limit.measure).is_none_or(|n| n == *network);
        let reached = scope.destination.is_none_or(|d| d.matches(network));
        scoped && measured && reached
    };
    named && tier && wallet.networks.iter().any(network)
}

/// The key of a wallet, unless it ended: nothing is signed with it then.
fn live_key<'a>(bundle: &'a PolicyBundle, wallet: &Wallet) -> Option<&'a KeyRecord> {
    let key = bundle.keys.iter().find(|k| k.id == wallet.key)?;
    (!key.state.is_final()).then_some(key)
}

fn network_of(measure: &Measure) -> Option<Network> {
    match measure {
        Measure::Amount { asset, .. } => Some(*asset.network()),
        Measure::Fee { network, .. } => Some(*network),
        Measure::Count { .. } | Measure::Value { .. } => None,
    }
}

pub(super) fn nonce_leads(findings: &mut Findings, bundle: &PolicyBundle) {
    let leads = &bundle.nonce_leads;
    findings.ascending(
        "nonce_leads",
        &leads.iter().map(|l| &l.id).collect::<Vec<_>>(),
    );
    findings.require(
        leads.is_empty() || bundle.quorums.observation > 0,
        "nonce_leads",
        "without chain observers no nonce would ever be observed: name some and set quorums.observation",
    );
    for lead in leads {
        let at = format!("nonce_leads[{}]", lead.id);
        findings.require(
            bundle.limits.iter().all(|l| l.id != lead.id),
            format!("{at}.id"),
            "a limit has the same id",
        );
        findings.require(
            lead.max > 0,
            format!("{at}.max"),
            "0 would allow no transaction; 1 lets each wait for the one before it",
        );
        nonce_scope(findings, bundle, lead, &at);
    }
}

fn nonce_scope(findings: &mut Findings, bundle: &PolicyBundle, lead: &NonceLead, at: &str) {
    findings.require(
        matches!(lead.network, Network::Evm { .. }),
        format!("{at}.network"),
        format!(
            "transactions of {} have no nonces that follow each other",
            lead.network
        ),
    );
    findings.ascending(format!("{at}.wallets"), &lead.wallets);
    for wallet in &lead.wallets {
        let known = bundle.wallets.iter().find(|w| w.id == *wallet);
        let what = match known {
            None => format!("there is no wallet {wallet}"),
            Some(_) => format!("wallet {wallet} is not used on {}", lead.network),
        };
        let used = known.is_some_and(|w| w.networks.contains(&lead.network));
        findings.require(used, format!("{at}.wallets"), what);
    }
    let used = bundle
        .wallets
        .iter()
        .any(|w| w.networks.contains(&lead.network));
    findings.require(
        used,
        format!("{at}.network"),
        format!(
            "no wallet is used on {}: the bound would bound nothing",
            lead.network
        ),
    );
    let accounts: Vec<_> = lead.first.iter().map(|first| &first.account).collect();
    findings.ascending(format!("{at}.first"), &accounts);
    for account in accounts {
        findings.require(
            account.matches(&lead.network),
            format!("{at}.first"),
            format!("{account} is no address of {}", lead.network),
        );
    }
}

pub(super) fn reference(findings: &mut Findings, bundle: &PolicyBundle) {
    let Some(reference) = &bundle.reference else {
        return;
    };
    findings.text("reference.currency", &reference.currency);
    findings.require(
        reference.decimals <= MAX_DECIMALS,
        "reference.decimals",
        format!("must be at most {MAX_DECIMALS}"),
    );
    findings.ascending(
        "reference.prices",
        &reference
            .prices
            .iter()
            .map(|p| &p.asset)
            .collect::<Vec<_>>(),
    );
    for price in &reference.prices {
        findings.require(
            bundle.assets.iter().any(|a| a.asset == price.asset),
            format!("reference.prices[{}]", price.asset),
            "is not in assets: add it, or leave the price out",
        );
    }
}
