//! The signature counters of officers' authenticators: one that goes back is a copy.

use countersign_policy::statement::{Body, SignerKey, Verified};
use countersign_policy::webauthn::{CounterBook, CounterError};
use countersign_policy::{Hash, HexBytes};

use super::rows::Write;
use super::{OpError, Store, StoreError};

/// The counter in one statement's assertion.
#[derive(Debug, Clone)]
pub struct SeenCounter {
    /// The credential that signed.
    pub credential: HexBytes,
    /// Its counter; 0 where the authenticator keeps none.
    pub counter: u32,
    /// Digest of the statement.
    pub statement: Hash,
}

impl SeenCounter {
    /// Those of all assertions on a statement.
    pub fn of<B: Body>(said: &Verified<B>) -> Vec<Self> {
        let keys = said.signers().iter().filter_map(|m| said.key_of(m));
        let counter = |key: &SignerKey| match key {
            SignerKey::Statement(_) => None,
            SignerKey::Credential { id, counter } => Some(Self {
                credential: id.clone(),
                counter: *counter,
                statement: said.digest(),
            }),
        };
        keys.filter_map(counter).collect()
    }
}

impl Store {
    /// Takes in those that go up, and passes over the others.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub async fn learn_counters(&self, seen: Vec<SeenCounter>) -> Result<(), StoreError> {
        for one in seen {
            match self.admit_counters(vec![one]).await {
                Ok(()) | Err(OpError::Refused(_)) => {}
                Err(OpError::Failed(fault)) => return Err(fault),
            }
        }
        Ok(())
    }

    /// Takes in the counters of statements that are about to be relied on: all of them, or none. Durable when this returns.
    ///
    /// # Errors
    /// [`CounterError`] for the first that does not go up, or a [`StoreError`].
    pub async fn admit_counters(
        &self,
        seen: Vec<SeenCounter>,
    ) -> Result<(), OpError<CounterError>> {
        if seen.is_empty() {
            return Ok(());
        }
        self.durably(move |state, writes| {
            let mut book: CounterBook = state.counters.clone();
            let mut rows = Vec::new();
            for one in seen {
                match book.admit(&one.credential, one.counter, &one.statement) {
                    Ok(false) => {}
                    Ok(true) => rows.push(Write::Counter {
                        credential: one.credential.0,
                        counter: one.counter,
                        statement: one.statement,
                    }),
                    Err(refusal) => return Ok(Err(refusal)),
                }
            }
            state.counters = book;
            writes.extend(rows);
            Ok(Ok(()))
        })
        .await?
        .map_err(OpError::Refused)
    }
}
