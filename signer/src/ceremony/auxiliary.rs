//! Auxiliary data of a CGGMP group: made once for a list of nodes and shared by all of that group's keys.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use countersign_policy::{Hash, MemberId};

use super::phases::{Phase, gather, link};
use super::run::{Progress, on_worker};
use crate::session::{Engine, EngineParts};
use crate::store::SecretKind;
use crate::threshold::{AuxInfo, Lane, Parameters, PartyIndex, Primes, aux_info};
use crate::wire::CeremonyStep;

/// How often the progress of prime generation is shown.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(250);

/// The name of a group's auxiliary data; what follows the dot says which of them.
pub fn group_name(nodes: &[MemberId]) -> String {
    let parts: Vec<&[u8]> = nodes.iter().map(|n| n.as_str().as_bytes()).collect();
    Hash::derive("countersign/cggmp-group/v1", &parts).to_hex()
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Held {
    names: Vec<String>,
}

/// Makes sure that all nodes hold the same auxiliary data for this group, and tells its name.
///
/// # Errors
/// Why not, naming whoever was missing or wrong.
pub async fn ensure(
    engine: &Engine,
    ceremony: Hash,
    nodes: &[MemberId],
    parameters: Parameters,
    me: PartyIndex,
    deadline: Instant,
    progress: &Progress,
) -> Result<String, String> {
    let parts = engine.parts();
    let plan = Phase {
        ceremony,
        name: "auxiliary-plan",
        index: 0,
    }
    .open(&parts.peers, &parts.me, nodes, deadline)?;
    let run = Phase {
        ceremony,
        name: "auxiliary",
        index: 0,
    };
    let channel = run.open(&parts.peers, &parts.me, nodes, deadline)?;
    let group = group_name(nodes);
    let own = held(parts, &group).await?;
    let message = serde_json::to_vec(&Held { names: own.clone() }).map_err(|e| e.to_string())?;
    let heard = gather(&plan, message).await?;
    let mut common = own;
    for (peer, bytes) in heard {
        let theirs: Held = serde_json::from_slice(&bytes).map_err(|e| format!("{peer}: {e}"))?;
        common.retain(|name| theirs.names.contains(name));
    }
    common.sort();
    if let Some(newest) = common.pop() {
        return Ok(newest);
    }
    let primes = primes(parts, progress).await?;
    progress.set(CeremonyStep::Auxiliary).await?;
    let execution = run.execution();
    let mut link = link(channel, nodes);
    let made = on_worker(parts, Lane::Background, move || {
        aux_info(parameters, me, execution, &primes, &mut link)
    })
    .await?;
    let made = made.map_err(|fault| super::run::blame(nodes, &fault))?;
    let name = format!("{group}.{ceremony}");
    parts
        .store
        .put_secret(SecretKind::CggmpAux, &name, made.to_sealed_bytes())
        .await
        .map_err(|e| e.to_string())?;
    Ok(name)
}

/// The names of the group's auxiliary data on this node.
pub(crate) async fn held(parts: &EngineParts, group: &str) -> Result<Vec<String>, String> {
    let prefix = format!("{group}.");
    let names = parts
        .store
        .secret_names(SecretKind::CggmpAux)
        .await
        .map_err(|e| e.to_string())?;
    Ok(names
        .into_iter()
        .filter(|n| n.starts_with(&prefix))
        .collect())
}

/// Opens auxiliary data by its name.
pub(crate) async fn load(parts: &EngineParts, name: &str) -> Result<AuxInfo, String> {
    let bytes = parts
        .store
        .load_aux(name)
        .await
        .map_err(|e| e.to_string())?;
    AuxInfo::from_bytes(&bytes.ok_or("this node does not hold the named auxiliary data")?)
        .map_err(|e| e.to_string())
}

/// Primes for this ceremony, showing how far a running generation is, whoever began it.
async fn primes(parts: &EngineParts, progress: &Progress) -> Result<Primes, String> {
    let begun = CeremonyStep::Primes {
        found: 0,
        seconds: 0,
    };
    progress.set(begun).await?;
    let taking = parts.primes.take(parts);
    tokio::pin!(taking);
    let mut tick = tokio::time::interval(PROGRESS_INTERVAL);
    loop {
        tokio::select! {
            taken = &mut taking => return taken,
            _ = tick.tick() => {
                if let Some(making) = parts.primes.making() {
                    progress.show(CeremonyStep::Primes {
                        found: u8::try_from(making.found).unwrap_or(u8::MAX),
                        seconds: making.seconds,
                    });
                }
            }
        }
    }
}
