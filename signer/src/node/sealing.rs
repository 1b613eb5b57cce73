//! What seals the node's store, and the change from one such key to the next.

use std::sync::Arc;

use countersign_hsm::{HsmClient, KeyId, Pkcs11Uri};

use super::config::NodeConfig;
use super::start::{StartError, failed};
use crate::store::{KeyEncryptionKey, OpenError, PassphraseKek, Store, StoreOptions, TokenKek};

/// The key that seals the store now, and those that may have before.
pub(super) struct Sealing {
    now: Arc<dyn KeyEncryptionKey>,
    before: Vec<Arc<dyn KeyEncryptionKey>>,
}

/// Starts the client of the token in `[hsm]`, if there is one. Blocks while the token logs in.
///
/// # Errors
/// [`StartError`] says what a person has to look at.
pub fn start_hsm(config: &NodeConfig) -> Result<Option<HsmClient>, StartError> {
    let started = config.hsm.clone().map(HsmClient::start).transpose();
    started.map_err(|e| failed("token")(&e))
}

impl Sealing {
    /// As configured; `token` is the client of `[hsm]`.
    pub fn new(config: &NodeConfig, token: Option<&HsmClient>) -> Result<Self, StartError> {
        let mut keys: Vec<Arc<dyn KeyEncryptionKey>> = Vec::new();
        for kek in [&config.kek, &config.kek_before].into_iter().flatten() {
            let key = token
                .zip(key_id(kek))
                .map(|(token, id)| TokenKek::new(token.clone(), id));
            keys.push(Arc::new(key.ok_or_else(|| {
                StartError::new("kek: it must name a key by id, in the token of [hsm]")
            })?));
        }
        if let Some(file) = &config.passphrase_file {
            keys.push(Arc::new(
                PassphraseKek::from_file(file).map_err(|e| failed("passphrase")(&e))?,
            ));
        }
        let mut keys = keys.into_iter();
        let now = keys.next().ok_or_else(|| {
            StartError::new("nothing seals the store: set passphrase_file or kek")
        })?;
        Ok(Self {
            now,
            before: keys.collect(),
        })
    }

    /// Opens the store; if a key from before seals it, it is sealed anew at once.
    pub async fn open(
        &self,
        options: &StoreOptions,
        identity: Arc<countersign_policy::IdentityKey>,
    ) -> Result<Store, StartError> {
        match Store::open(options, Arc::clone(&identity), &*self.now).await {
            Err(OpenError::OtherKek { found, .. }) if self.before(&found).is_some() => {}
            opened => return opened.map_err(|e| failed("store")(&e)),
        }
        for before in &self.before {
            match Store::open(options, Arc::clone(&identity), &**before).await {
                Err(OpenError::OtherKek { .. }) => {}
                Err(error) => return Err(failed("store")(&error)),
                Ok(store) => {
                    self.reseal(&store).await?;
                    return Ok(store);
                }
            }
        }
        Err(StartError::new(
            "the store is sealed by a key that the configuration does not name",
        ))
    }

    /// Seals an open store with the key of now, if it is not already.
    pub async fn reseal(&self, store: &Store) -> Result<(), StartError> {
        let found = store.sealed_by().await.map_err(|e| failed("store")(&e))?;
        if found == self.now.id() {
            return Ok(());
        }
        let before = self.before(&found).ok_or_else(|| {
            StartError::new(format!(
                "the store is sealed by {found}: name it as kek_before (or passphrase_file) until it is sealed anew"
            ))
        })?;
        let done = store.rekey(before, Arc::clone(&self.now)).await;
        done.map_err(|e| failed("sealing anew")(&e))?;
        tracing::info!(before = %found, now = %self.now.id(), "the store is sealed by another key");
        Ok(())
    }

    fn before(&self, id: &str) -> Option<Arc<dyn KeyEncryptionKey>> {
        self.before.iter().find(|key| key.id() == id).cloned()
    }
}

fn key_id(uri: &Pkcs11Uri) -> Option<KeyId> {
    uri.id.clone()
}
