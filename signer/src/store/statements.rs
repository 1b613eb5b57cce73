//! Statements that this node holds for others: freezes, unfreezes, vetoes, successor bundles with their acknowledgements and
//! transcripts. They are kept as they were signed, in the order in which they came, and never dropped.
//!
//! A freeze is one statement and one ledger entry in one commit, and counts from that commit on.

use std::collections::{BTreeMap, BTreeSet};

use countersign_policy::statement::{Freeze, Kind, LedgerEvent, Unfreeze, Verified};
use countersign_policy::{Envelope, FreezeSet, Hash, Timestamp};

use super::rows::{self, Write};
use super::state::State;
use super::{Store, StoreError};

/// A statement that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptStatement {
    /// Its digest.
    pub digest: Hash,
    /// Its kind.
    pub kind: Kind,
    /// Digest of the bundle under which it was verified.
    pub bundle: Hash,
    /// The sequence number of the own ledger entry that records it; 0 for none.
    pub entry: u64,
    /// The statement as it came.
    pub envelope: Envelope,
}

/// A statement to keep, verified by whoever gives it.
#[derive(Debug, Clone)]
pub struct NewStatement {
    /// Its kind.
    pub kind: Kind,
    /// Digest of the bundle under which it was verified.
    pub bundle: Hash,
    /// The statement as it came.
    pub envelope: Envelope,
    /// What it changes on this node.
    pub effect: Effect,
}

/// What a statement changes on this node, in the commit that keeps it.
#[derive(Debug, Clone)]
pub enum Effect {
    /// Nothing.
    None,
    /// Something stands still from now on.
    Freeze(Box<Verified<Freeze>>),
    /// Freezes end.
    Unfreeze(Box<Verified<Unfreeze>>),
    /// This node stands behind a successor bundle.
    Acknowledged {
        /// Digest of the successor.
        bundle: Hash,
        /// Its version.
        version: u64,
    },
}

/// What the writer knows of statements.
#[derive(Default)]
pub(super) struct Statements {
    all: Vec<KeptStatement>,
    by_digest: BTreeMap<Hash, usize>,
}

impl Statements {
    pub fn push(&mut self, statement: KeptStatement) {
        self.by_digest.insert(statement.digest, self.all.len());
        self.all.push(statement);
    }

    fn get(&self, digest: &Hash) -> Option<&KeptStatement> {
        self.all.get(*self.by_digest.get(digest)?)
    }

    pub fn holds(&self, digest: &Hash) -> bool {
        self.by_digest.contains_key(digest)
    }

    pub fn len(&self) -> u64 {
        self.all.len() as u64
    }
}

impl Store {
    /// Keeps statements and does what they say, in one commit. One that is kept already stays as it is. Durable when this
    /// returns; the answers are in the order given.
    ///
    /// # Errors
    /// [`StoreError`]: then nothing was kept.
    pub async fn keep(
        &self,
        statements: Vec<NewStatement>,
        now: Timestamp,
    ) -> Result<Vec<KeptStatement>, StoreError> {
        self.durably(move |state, writes| {
            let mut kept = Vec::with_capacity(statements.len());
            for statement in statements {
                kept.push(state.keep(statement, now, writes)?);
            }
            Ok(kept)
        })
        .await
    }

    /// All statements, in the order in which they came.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn statements(&self) -> Result<Vec<KeptStatement>, StoreError> {
        self.observe(|state| state.statements.all.clone()).await
    }

    /// One statement.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn statement(&self, digest: Hash) -> Result<Option<KeptStatement>, StoreError> {
        self.observe(move |state| state.statements.get(&digest).cloned())
            .await
    }

    /// The digests of all statements.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn statement_names(&self) -> Result<BTreeSet<Hash>, StoreError> {
        self.observe(|state| state.statements.by_digest.keys().copied().collect())
            .await
    }

    /// How many statements are kept durably: it rises with each one.
    ///
    /// # Errors
    /// [`StoreError`] once the store refuses to work.
    pub fn statement_count(&self) -> Result<u64, StoreError> {
        self.published(|p| p.statements)
    }

    /// The freezes that are durably in force.
    ///
    /// # Errors
    /// [`StoreError`] once the store refuses to work.
    pub fn freezes(&self) -> Result<FreezeSet, StoreError> {
        self.published(|p| p.freezes.clone())
    }

    /// Sets what the kept statements say about freezes: at start, once the bundles are there under which they open.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn restore_freezes(&self, freezes: FreezeSet) -> Result<(), StoreError> {
        let set = freezes.clone();
        self.durably(move |state, _| {
            state.freezes = set;
            Ok(())
        })
        .await?;
        self.publish_freezes(freezes);
        Ok(())
    }
}

impl State {
    fn keep(
        &mut self,
        statement: NewStatement,
        now: Timestamp,
        writes: &mut Vec<Write>,
    ) -> Result<KeptStatement, StoreError> {
        let digest = statement.envelope.digest();
        if let Some(kept) = self.statements.get(&digest) {
            return Ok(kept.clone());
        }
        let event = self.take_effect(digest, &statement.effect);
        let entry = match event {
            Some(event) => self.append(event, now, writes)?.sequence,
            None => 0,
        };
        let kept = KeptStatement {
            digest,
            kind: statement.kind,
            bundle: statement.bundle,
            entry,
            envelope: statement.envelope,
        };
        writes.push(Write::Statement {
            position: self.statements.len().saturating_add(1),
            digest,
            kind: kept.kind.as_str(),
            bundle: kept.bundle,
            entry,
            envelope: rows::encode(&kept.envelope)?,
        });
        self.statements.push(kept.clone());
        Ok(kept)
    }

    /// Changes what stands still, and says what the ledger records of it.
    fn take_effect(&mut self, digest: Hash, effect: &Effect) -> Option<LedgerEvent> {
        match effect {
            Effect::None => None,
            Effect::Freeze(freeze) => {
                self.freezes.insert(freeze);
                // One that ended before it came is kept, so that nobody asks for it again, and freezes nothing.
                self.freezes
                    .contains(&digest)
                    .then_some(LedgerEvent::Frozen { freeze: digest })
            }
            Effect::Unfreeze(unfreeze) => {
                self.freezes.end(unfreeze);
                Some(LedgerEvent::Unfrozen {
                    unfreeze: digest,
                    freezes: unfreeze.body().freezes.clone(),
                })
            }
            Effect::Acknowledged { bundle, version } => Some(LedgerEvent::BundleAcknowledged {
                bundle: *bundle,
                version: *version,
            }),
        }
    }
}
