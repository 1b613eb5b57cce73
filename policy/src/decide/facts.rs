//! What is known about a request before anybody judges it.

use crate::bundle::ActiveBundle;
use crate::hash::Hash;
use crate::id::{KeyId, WalletId};
use crate::statement::SignRequest;
use crate::{Address, DecodeError, DecodedTransaction, DerivationPath, Network, PublicKey, decode};

/// What the engine computed from the bytes and the bundle; nothing in it was taken on trust.
#[derive(Debug, Clone)]
pub struct Facts {
    transaction: DecodedTransaction,
    public_key: PublicKey,
    source: Address,
    subject: Subject,
}

/// What the facts are about, besides the transaction's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Subject {
    bundle: Hash,
    wallet: WalletId,
    key: KeyId,
    path: DerivationPath,
    network: Network,
}

impl Subject {
    fn of(bundle: &ActiveBundle, request: &SignRequest) -> Self {
        Self {
            bundle: bundle.digest(),
            wallet: request.wallet.clone(),
            key: request.key.clone(),
            path: request.path.clone(),
            network: request.network,
        }
    }
}

impl Facts {
    /// Decodes the request's transaction and derives the address that would sign it.
    ///
    /// # Errors
    /// When the bytes are refused by the decoder, or wallet, key, path and network do not belong together. These are
    /// refusals of the request as such: no bundle could allow it.
    pub fn establish(bundle: &ActiveBundle, request: &SignRequest) -> Result<Self, FactsError> {
        let wallet = bundle
            .wallet(&request.wallet)
            .ok_or(FactsError::UnknownWallet)?;
        if wallet.key != request.key {
            return Err(FactsError::OtherKey);
        }
        let key = bundle.key(&request.key).ok_or(FactsError::UnknownKey)?;
        if !wallet.networks.contains(&request.network) {
            return Err(FactsError::Network(request.network));
        }
        if !request.path.starts_with(&wallet.path) {
            return Err(FactsError::Path {
                path: request.path.to_string(),
                wallet: wallet.path.to_string(),
            });
        }
        let public_key = bundle
            .public_key_at(key, &request.path)
            .map_err(|e| FactsError::Derivation(e.to_string()))?;
        let source = public_key
            .address(&request.network)
            .map_err(|e| FactsError::Derivation(e.to_string()))?;
        let transaction = decode(&request.network, request.transaction.as_bytes())?;
        if let Some(from) = &transaction.intent().from
            && *from != source
        {
            return Err(FactsError::Source {
                from: *from,
                source_address: source,
            });
        }
        Ok(Self {
            transaction,
            public_key,
            source,
            subject: Subject::of(bundle, request),
        })
    }

    /// Whether these facts were established from this very request under this very bundle.
    pub fn are_about(&self, bundle: &ActiveBundle, request: &SignRequest) -> bool {
        self.subject == Subject::of(bundle, request)
            && self.transaction.preimage() == request.transaction.as_bytes()
    }

    /// The transaction as decoded from the very bytes that would be signed.
    pub fn transaction(&self) -> &DecodedTransaction {
        &self.transaction
    }

    /// The child public key that would sign.
    pub fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// The address that pays.
    pub fn source(&self) -> &Address {
        &self.source
    }
}

/// Why no facts could be established.
#[derive(Debug, thiserror::Error)]
pub enum FactsError {
    /// No such wallet.
    #[error("the policy bundle has no such wallet")]
    UnknownWallet,
    /// No such key.
    #[error("the policy bundle has no such key")]
    UnknownKey,
    /// The wallet has another key.
    #[error("the wallet's key is another one than the request names")]
    OtherKey,
    /// The wallet is not used there.
    #[error("the wallet is not used on {0}")]
    Network(Network),
    /// A path outside the wallet.
    #[error("path {path} is not below the wallet's {wallet}")]
    Path {
        /// Of the request.
        path: String,
        /// Of the wallet.
        wallet: String,
    },
    /// The child key or its address cannot be derived.
    #[error("the signing address cannot be derived: {0}")]
    Derivation(String),
    /// The bytes name another payer.
    #[error(
        "the transaction is from {from}, the wallet's address at this path is {source_address}"
    )]
    Source {
        /// In the bytes.
        from: Address,
        /// Derived.
        source_address: Address,
    },
    /// The decoder refused the bytes.
    #[error("the transaction is refused: {0}")]
    Transaction(#[from] DecodeError),
}
