//! Changing the key that wraps the data key, while the store is at work: one row changes, and the ciphertexts stay.

use std::sync::Arc;

use subtle::ConstantTimeEq as _;
use tokio::sync::oneshot;

use super::kek::KeyEncryptionKey;
use super::open::{OpenError, Place, dek_place};
use super::rows::Write;
use super::writer::{Op, Query};
use super::{Store, StoreError};

/// The header, as far as it concerns the data key.
#[derive(Debug, Clone)]
pub(super) struct SealedHeader {
    pub node: String,
    pub genesis: Vec<u8>,
    pub store_id: Vec<u8>,
    pub kek: String,
    pub wrapped: Vec<u8>,
}

impl SealedHeader {
    fn place<'a>(&'a self, kek: &'a str) -> Place<'a> {
        Place {
            store_id: &self.store_id,
            node: &self.node,
            genesis: &self.genesis,
            kek,
        }
    }
}

impl Store {
    /// Which key wraps the data key: [`KeyEncryptionKey::id`].
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn sealed_by(&self) -> Result<String, StoreError> {
        Ok(self.sealed_header().await?.kek)
    }

    /// Wraps the data key by another key. Durable when it returns; what the old key opened before, it opens no more. The store works
    /// on meanwhile. The new wrapping is opened once before the old one goes.
    ///
    /// # Errors
    /// [`OpenError::OtherKek`] when `old` is not the key in use; [`OpenError::Kek`], [`OpenError::Store`]. Nothing has changed then.
    pub async fn rekey(
        &self,
        old: Arc<dyn KeyEncryptionKey>,
        new: Arc<dyn KeyEncryptionKey>,
    ) -> Result<(), OpenError> {
        let _one_at_a_time = self.shared.rekeying.lock().await;
        let header = self.sealed_header().await?;
        let before = header.clone();
        // Tokens and Argon2 take their time.
        let wrapping = tokio::task::spawn_blocking(move || {
            let expected = old.id();
            if header.kek != expected {
                let found = header.kek.clone();
                return Err(OpenError::OtherKek { found, expected });
            }
            let dek = old.unwrap(&header.wrapped, &dek_place(&header.place(&header.kek)))?;
            let kek = new.id();
            let place = dek_place(&header.place(&kek));
            let wrapped = new.wrap(&dek, &place)?;
            let opened = new.unwrap(&wrapped, &place)?;
            if !bool::from(opened.as_slice().ct_eq(dek.as_slice())) {
                return Err(StoreError::Internal("a new wrapping opens to another key").into());
            }
            Ok((kek, wrapped))
        });
        let (kek, wrapped) = wrapping
            .await
            .map_err(|_| StoreError::Internal("the wrapping did not end"))??;
        self.durably(move |_, writes| {
            writes.push(Write::Kek {
                before: before.wrapped,
                kek,
                wrapped,
            });
            Ok(())
        })
        .await?;
        Ok(())
    }

    async fn sealed_header(&self) -> Result<SealedHeader, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.send(Op::Read(Query::Header(reply))).await?;
        match answer.await {
            Ok(header) => header,
            Err(_) => Err(self.failure().await),
        }
    }
}
