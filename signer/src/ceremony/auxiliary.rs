//! Auxiliary data of a CGGMP group: made once for a list of nodes and shared by all of that group's keys.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use countersign_policy::{Hash, MemberId};

use super::phases::{Phase, gather, link};
use super::run::{Progress, on_worker};
use crate::session::{Engine, EngineParts};
use crate::store::SecretKind;
use crate::threshold::{
    AuxInfo, Cancel, Lane, Parameters, PartyIndex, Primes, aux_info, generate_primes,
};
use crate::wire::CeremonyStep;

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
    let primes = primes(parts, me, progress).await?;
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

async fn primes(
    parts: &EngineParts,
    me: PartyIndex,
    progress: &Progress,
) -> Result<Primes, String> {
    #[cfg(feature = "test-primes")]
    if crate::threshold::test_material::is_used_in_ceremonies() {
        return crate::threshold::test_material::primes(me).map_err(|e| e.to_string());
    }
    #[cfg(not(feature = "test-primes"))]
    let _ = me;
    if let Some((_, bytes)) = parts.store.take_primes().await.map_err(|e| e.to_string())? {
        return Primes::from_bytes(&bytes).map_err(|e| e.to_string());
    }
    let started = Instant::now();
    progress
        .set(CeremonyStep::Primes {
            found: 0,
            seconds: 0,
        })
        .await?;
    let live = progress.clone();
    let made = on_worker(parts, Lane::Background, move || {
        generate_primes(
            |p| {
                let found = u8::try_from(p.found).unwrap_or(u8::MAX);
                live.show(CeremonyStep::Primes {
                    found,
                    seconds: started.elapsed().as_secs(),
                });
            },
            &Cancel::default(),
        )
    });
    made.await?.map_err(|e| e.to_string())
}
