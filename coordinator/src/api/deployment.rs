//! Wallets, keys, ceremonies and nodes.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse as _, Response};
use countersign_policy::access::Action;
use countersign_policy::bundle::{ActiveBundle, KeyState, Role, Wallet};
use countersign_policy::statement::{CeremonyTranscript, KeyCeremony, Statement};
use countersign_policy::{Address, DerivationPath, Hash, MemberId, Network, PublicKey};
use countersign_signer::wire::{CeremonyStatus, StartCeremony};
use http::StatusCode;
use serde::Deserialize;
use tokio::task::JoinSet;

use super::access::issuer_may;
use super::body;
use super::explain;
use super::model::{
    AddressList, AddressView, CeremonyNode, CeremonyReport, Health, KeyList, KeyView, NodeList,
    NodeView, WalletList, WalletView,
};
use super::problem::{ApiProblem, ApiProblemCode};
use super::token::Reader;
use crate::core::Core;
use crate::nodes::NodeError;

/// Addresses in one answer.
const MAX_ADDRESSES: u32 = 1000;

/// All wallets with their own addresses.
#[utoipa::path(get, path = "/v1/wallets", tag = "wallets", responses((status = 200, body = WalletList)))]
pub(super) async fn wallets(
    State(core): State<Arc<Core>>,
    reader: Reader,
) -> Result<Response, ApiProblem> {
    reader.require(Action::ReadDeployment)?;
    let bundle = core.bundle.current();
    let wallets = bundle
        .content()
        .wallets
        .iter()
        .map(|w| wallet_view(&bundle, w))
        .collect();
    Ok(Json(WalletList { wallets }).into_response())
}

/// One wallet.
#[utoipa::path(get, path = "/v1/wallets/{id}", tag = "wallets", params(("id" = String, Path)),
    responses((status = 200, body = WalletView), (status = 404, body = ApiProblem, content_type = "application/problem+json")))]
pub(super) async fn wallet(
    State(core): State<Arc<Core>>,
    reader: Reader,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiProblem> {
    reader.require(Action::ReadDeployment)?;
    let bundle = core.bundle.current();
    let wallet = find_wallet(&bundle, id)?;
    Ok(Json(wallet_view(&bundle, wallet)).into_response())
}

fn find_wallet(
    bundle: &ActiveBundle,
    id: Result<Path<String>, PathRejection>,
) -> Result<&Wallet, ApiProblem> {
    let id = id.map(|Path(id)| id).unwrap_or_default();
    let found = bundle
        .content()
        .wallets
        .iter()
        .find(|w| w.id.as_str() == id);
    found.ok_or_else(|| ApiProblemCode::NotFound.problem("the policy bundle has no such wallet"))
}

fn wallet_view(bundle: &ActiveBundle, wallet: &Wallet) -> WalletView {
    let addresses = wallet.networks.iter().filter_map(|network| {
        let derived = derive(bundle, wallet, network, &wallet.path).ok()?;
        Some((network.to_string(), derived.1))
    });
    WalletView {
        wallet: wallet.clone(),
        addresses: addresses.collect(),
    }
}

fn derive(
    bundle: &ActiveBundle,
    wallet: &Wallet,
    network: &Network,
    path: &DerivationPath,
) -> Result<(PublicKey, Address), ApiProblem> {
    let fail = |what: String| ApiProblemCode::Malformed.problem(what);
    let key = bundle
        .key(&wallet.key)
        .ok_or_else(|| fail("the wallet's key is not in the bundle".to_owned()))?;
    let child = key
        .extended_public_key()
        .derive(path)
        .map_err(|e| fail(e.to_string()))?;
    let address = child
        .public_key
        .address(network)
        .map_err(|e| fail(e.to_string()))?;
    Ok((child.public_key, address))
}

/// Which addresses.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct AddressQuery {
    /// CAIP-2.
    network: String,
    /// The first index below the wallet's path; without it, the wallet's own address.
    from: Option<u32>,
    /// How many, up to 1000; 1 unless told.
    count: Option<u32>,
}

/// Addresses of a wallet, derived from the pinned key.
#[utoipa::path(get, path = "/v1/wallets/{id}/addresses", tag = "wallets", params(("id" = String, Path), AddressQuery),
    responses((status = 200, body = AddressList), (status = "4XX", body = ApiProblem, content_type = "application/problem+json")))]
pub(super) async fn addresses(
    State(core): State<Arc<Core>>,
    reader: Reader,
    id: Result<Path<String>, PathRejection>,
    query: Result<Query<AddressQuery>, QueryRejection>,
) -> Result<Response, ApiProblem> {
    reader.require(Action::ReadDeployment)?;
    let malformed = |what: String| ApiProblemCode::Malformed.problem(what);
    let bundle = core.bundle.current();
    let wallet = find_wallet(&bundle, id)?;
    let Query(query) = query.map_err(|e| malformed(e.body_text()))?;
    let network: Network = query
        .network
        .parse()
        .map_err(|_| malformed(format!("{:?} is no CAIP-2 network", query.network)))?;
    if !wallet.networks.contains(&network) {
        return Err(malformed(format!(
            "wallet {} is not used on {network}",
            wallet.id
        )));
    }
    let count = query.count.unwrap_or(1);
    if count == 0 || count > MAX_ADDRESSES {
        return Err(malformed(format!("count must be 1 to {MAX_ADDRESSES}")));
    }
    let paths = match query.from {
        None => vec![wallet.path.clone()],
        Some(from) => below(&wallet.path, from, count)?,
    };
    let mut addresses = Vec::with_capacity(paths.len());
    for path in paths {
        let (public_key, address) = derive(&bundle, wallet, &network, &path)?;
        addresses.push(AddressView {
            path,
            address,
            public_key,
        });
    }
    Ok(Json(AddressList {
        wallet: wallet.id.clone(),
        network,
        addresses,
    })
    .into_response())
}

fn below(path: &DerivationPath, from: u32, count: u32) -> Result<Vec<DerivationPath>, ApiProblem> {
    let mut paths = Vec::new();
    for i in 0..count {
        let index = from.checked_add(i);
        let index = index.ok_or_else(|| {
            ApiProblemCode::Malformed.problem("from and count go beyond the last index")
        })?;
        let mut steps = path.steps().to_vec();
        steps.push(index);
        paths.push(
            DerivationPath::new(steps)
                .map_err(|e| ApiProblemCode::Malformed.problem(e.to_string()))?,
        );
    }
    Ok(paths)
}

/// All keys.
#[utoipa::path(get, path = "/v1/keys", tag = "keys", responses((status = 200, body = KeyList)))]
pub(super) async fn keys(
    State(core): State<Arc<Core>>,
    reader: Reader,
) -> Result<Response, ApiProblem> {
    reader.require(Action::ReadDeployment)?;
    Ok(Json(KeyList {
        keys: core.bundle.current().content().keys.clone(),
    })
    .into_response())
}

/// One key with the transcripts of its ceremony.
#[utoipa::path(get, path = "/v1/keys/{id}", tag = "keys", params(("id" = String, Path)),
    responses((status = 200, body = KeyView), (status = 404, body = ApiProblem, content_type = "application/problem+json")))]
pub(super) async fn key(
    State(core): State<Arc<Core>>,
    reader: Reader,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiProblem> {
    reader.require(Action::ReadDeployment)?;
    let id = id.map(|Path(id)| id).unwrap_or_default();
    let bundle = core.bundle.current();
    let found = bundle.content().keys.iter().find(|k| k.id.as_str() == id);
    let key = found
        .cloned()
        .ok_or_else(|| ApiProblemCode::NotFound.problem("the policy bundle has no such key"))?;
    let stored = core.store.bundles_above(0).await?;
    let of_key = |envelope: &countersign_policy::Envelope| {
        serde_json::from_slice::<Statement<CeremonyTranscript>>(envelope.payload())
            .is_ok_and(|t| t.body.order.key == key.id)
    };
    let transcripts = stored
        .into_iter()
        .flat_map(|b| b.transcripts)
        .filter(of_key)
        .collect();
    Ok(Json(KeyView { key, transcripts }).into_response())
}

/// Orders a key to be made: a key-ceremony statement signed by its quorum, forwarded to the key's nodes.
#[utoipa::path(post, path = "/v1/ceremonies", tag = "keys", request_body = Object,
    responses((status = 202, body = CeremonyReport), (status = "4XX", body = ApiProblem, content_type = "application/problem+json")))]
pub(super) async fn start_ceremony(
    State(core): State<Arc<Core>>,
    bytes: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiProblem> {
    let call: StartCeremony = body(bytes)?;
    let bundle = core.bundle.current();
    let subject = call.order.digest().to_hex();
    let order = match bundle.open_ceremony(&call.order) {
        Ok(order) => order,
        Err(error) => {
            core.audit("ceremony", subject, "", "refused", explain(&error))
                .await;
            return Err(ApiProblemCode::Statement.problem(explain(&error)));
        }
    };
    let issuer = order.issuer();
    issuer_may(
        &core,
        &bundle,
        issuer,
        Action::OrderCeremony,
        subject.clone(),
    )
    .await?;
    let KeyCeremony { key, nodes, .. } = order.body();
    core.store.store_ceremony(key, &call.order).await?;
    core.audit(
        "ceremony",
        subject,
        order.issuer().as_str(),
        "ordered",
        format!("key {key}"),
    )
    .await;
    let report = ask_nodes(nodes, |node| core.nodes.start_ceremony(node, call.clone())).await;
    let report = CeremonyReport {
        ceremony: order.digest(),
        nodes: report,
    };
    Ok((StatusCode::ACCEPTED, Json(report)).into_response())
}

/// Where a ceremony stands on each node.
#[utoipa::path(get, path = "/v1/ceremonies/{digest}", tag = "keys", params(("digest" = String, Path)),
    responses((status = 200, body = CeremonyReport), (status = 404, body = ApiProblem, content_type = "application/problem+json")))]
pub(super) async fn ceremony(
    State(core): State<Arc<Core>>,
    reader: Reader,
    digest: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiProblem> {
    reader.require(Action::ReadDeployment)?;
    let unknown = || ApiProblemCode::NotFound.problem("no such ceremony was ordered here");
    let digest: Hash = digest
        .map_err(|_| unknown())?
        .0
        .parse()
        .map_err(|_| unknown())?;
    let order = core.store.ceremony(digest).await?.ok_or_else(unknown)?;
    let order: Statement<KeyCeremony> = serde_json::from_slice(order.payload())
        .map_err(|e| ApiProblemCode::Internal.problem(e.to_string()))?;
    let nodes = ask_nodes(&order.body.nodes, |node| {
        core.nodes.ceremony_status(node, digest)
    })
    .await;
    Ok(Json(CeremonyReport {
        ceremony: digest,
        nodes,
    })
    .into_response())
}

async fn ask_nodes(
    nodes: &[MemberId],
    call: impl Fn(&MemberId) -> crate::nodes::Answer<CeremonyStatus>,
) -> BTreeMap<MemberId, CeremonyNode> {
    let mut calls = JoinSet::new();
    for node in nodes {
        let (node, answer) = (node.clone(), call(node));
        calls.spawn(async move { (node, answer.await) });
    }
    let mut answers = BTreeMap::new();
    while let Some(answer) = calls.join_next().await {
        let Ok((node, answer)) = answer else { continue };
        let entry = match answer {
            Ok(status) => CeremonyNode {
                status: Some(status),
                error: None,
            },
            Err(error) => CeremonyNode {
                status: None,
                error: Some(NodeError::to_string(&error)),
            },
        };
        answers.insert(node, entry);
    }
    answers
}

/// Every node as it last answered.
#[utoipa::path(get, path = "/v1/nodes", tag = "nodes", responses((status = 200, body = NodeList)))]
pub(super) async fn nodes(
    State(core): State<Arc<Core>>,
    reader: Reader,
) -> Result<Response, ApiProblem> {
    reader.require(Action::ReadDeployment)?;
    let bundle = core.bundle.current();
    let members = bundle
        .content()
        .members
        .iter()
        .filter(|m| m.roles.contains(&Role::Node));
    let nodes = members.map(|member| {
        let (status, error) = core.health.status(&member.id);
        (
            member.id.clone(),
            NodeView {
                up: status.is_some(),
                status,
                error,
            },
        )
    });
    Ok(Json(NodeList {
        nodes: nodes.collect(),
    })
    .into_response())
}

/// Whether the process lives.
#[utoipa::path(get, path = "/healthz", tag = "health", responses((status = 200, body = Health)))]
pub(super) async fn healthz() -> Response {
    Json(health(Vec::new())).into_response()
}

/// Whether it can sign: the database answers, and of every active key at least t nodes do.
#[utoipa::path(get, path = "/readyz", tag = "health", responses((status = 200, body = Health), (status = 503, body = Health)))]
pub(super) async fn readyz(State(core): State<Arc<Core>>) -> Response {
    let mut missing = Vec::new();
    if let Err(error) = core.store.ping().await {
        tracing::error!(
            error = &error as &dyn std::error::Error,
            "the database does not answer"
        );
        missing.push("the database does not answer".to_owned());
    }
    let bundle = core.bundle.current();
    for key in bundle
        .content()
        .keys
        .iter()
        .filter(|k| k.state == KeyState::Active)
    {
        let up = key
            .nodes
            .iter()
            .filter(|node| core.health.is_up(node))
            .count();
        if up < usize::from(key.threshold) {
            missing.push(format!(
                "key {}: {up} of its nodes answer, {} are needed",
                key.id, key.threshold
            ));
        }
    }
    let status = if missing.is_empty() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(health(missing))).into_response()
}

fn health(missing: Vec<String>) -> Health {
    Health {
        status: if missing.is_empty() { "ok" } else { "unready" }.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        missing,
    }
}
