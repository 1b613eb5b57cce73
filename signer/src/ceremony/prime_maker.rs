//! Safe primes for CGGMP24 groups: made one set at a time in the background, sealed, and taken by the next group.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use rand_core::{OsRng, RngCore};

use super::run::on_worker;
use crate::session::EngineParts;
use crate::store::SecretKind;
use crate::threshold::{Cancel, Lane, PrimeProgress, Primes, generate_primes};

/// How far the running generation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Making {
    /// Primes found.
    pub found: usize,
    /// Primes needed.
    pub needed: usize,
    /// Seconds since it began.
    pub seconds: u64,
}

/// Makes a node's safe primes. One generation runs at a time: a ceremony that needs a set while a spare one is being made
/// waits for that one instead of starting over.
#[derive(Debug, Default)]
pub struct PrimeMaker {
    alone: tokio::sync::Mutex<()>,
    making: Arc<Mutex<Option<Making>>>,
    stop: Cancel,
}

impl PrimeMaker {
    /// How far the running generation is, if one runs.
    pub fn making(&self) -> Option<Making> {
        *lock(&self.making)
    }

    /// Ends a running generation within milliseconds: the node is stopping.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Takes a stored set, or makes one. A set is given out once.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn take(&self, parts: &EngineParts) -> Result<Primes, String> {
        let _alone = self.alone.lock().await;
        if let Some((_, bytes)) = parts.store.take_primes().await.map_err(|e| e.to_string())? {
            return Primes::from_bytes(&bytes).map_err(|e| e.to_string());
        }
        self.make(parts).await
    }

    /// Makes sets until the store holds `wanted`.
    ///
    /// # Errors
    /// Why there are fewer.
    pub async fn keep(&self, parts: &EngineParts, wanted: usize) -> Result<(), String> {
        loop {
            let _alone = self.alone.lock().await;
            let kind = SecretKind::CggmpPrimes;
            let held = parts.store.secret_names(kind).await;
            if held.map_err(|e| e.to_string())?.len() >= wanted {
                return Ok(());
            }
            let primes = self.make(parts).await?;
            let mut name = [0u8; 16];
            OsRng.fill_bytes(&mut name);
            let name = hex::encode(name);
            let sealed = primes.to_sealed_bytes();
            let stored = parts.store.put_secret(kind, &name, sealed).await;
            stored.map_err(|e| e.to_string())?;
            tracing::info!("a set of safe primes is sealed for the next CGGMP24 group");
        }
    }

    async fn make(&self, parts: &EngineParts) -> Result<Primes, String> {
        #[cfg(feature = "test-primes")]
        if crate::threshold::test_material::is_used_in_ceremonies() {
            return test_primes(parts);
        }
        let started = Instant::now();
        let (making, stop) = (Arc::clone(&self.making), self.stop.clone());
        let shown = Shown(Arc::clone(&self.making));
        let made = on_worker(parts, Lane::Background, move || {
            let show = |p: PrimeProgress| {
                *lock(&making) = Some(Making {
                    found: p.found,
                    needed: p.needed,
                    seconds: started.elapsed().as_secs(),
                });
            };
            generate_primes(show, &stop)
        });
        let made = made.await?.map_err(|e| e.to_string());
        drop(shown);
        made
    }
}

/// Takes the progress away when a generation ends, however it ends.
struct Shown(Arc<Mutex<Option<Making>>>);

impl Drop for Shown {
    fn drop(&mut self) {
        *lock(&self.0) = None;
    }
}

fn lock(making: &Mutex<Option<Making>>) -> std::sync::MutexGuard<'_, Option<Making>> {
    making.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The fixed primes of this node's place in the bundle: different for every node, as real ones are.
#[cfg(feature = "test-primes")]
fn test_primes(parts: &EngineParts) -> Result<Primes, String> {
    use countersign_policy::bundle::Role;

    let bundle = parts.bundle.current();
    let members = bundle.content().members.iter().map(|m| &m.id);
    let position = members
        .filter(|id| bundle.has_role(id, Role::Node))
        .position(|id| *id == parts.me)
        .and_then(|p| u16::try_from(p).ok())
        .ok_or("this node is no node of the bundle")?;
    crate::threshold::test_material::primes(crate::threshold::PartyIndex(position))
        .map_err(|e| e.to_string())
}
