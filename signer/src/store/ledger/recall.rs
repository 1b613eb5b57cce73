//! What was forgotten comes back when a new bundle counts it: a limit on what is outstanding counts spends of any age.

use countersign_policy::Timestamp;
use countersign_policy::statement::{LedgerEntry, Observation, Statement};

use super::{believable, parse_entry};
use crate::store::rows;
use crate::store::state::State;
use crate::store::writer::Query;
use crate::store::{Store, StoreError};

impl Store {
    /// Reads all ledgers and observations from the file again, for what limits count. Other operations go on meanwhile; what
    /// is known already stays as it is.
    pub(super) async fn recall_spends(&self) -> Result<(), StoreError> {
        let mut after = 0;
        loop {
            let page = self.query(|reply| Query::Page { after, reply }).await?;
            let Some((last, _)) = page.last() else { break };
            after = *last;
            let mut entries = Vec::with_capacity(page.len());
            for (id, bytes) in &page {
                let envelope = rows::decode(bytes)?;
                let entry = parse_entry(&envelope).ok_or_else(|| {
                    StoreError::Corrupt("a stored ledger entry is unreadable".to_owned())
                })?;
                entries.push((rows::author_and_sequence(*id)?.0, entry));
            }
            self.lazily(move |state, _| {
                for (author, entry) in &entries {
                    state.recall(usize::from(author.0), entry);
                }
                Ok(())
            })
            .await?;
        }
        let stored = self.query(Query::Observations).await?;
        let mut said = Vec::with_capacity(stored.len());
        for bytes in stored {
            let envelope = rows::decode(&bytes)?;
            let statement: Statement<Observation> = serde_json::from_slice(envelope.payload())
                .map_err(|e| {
                    StoreError::Corrupt(format!("a stored observation is unreadable: {e}"))
                })?;
            said.push(statement.body);
        }
        self.lazily(move |state, _| {
            for observation in said {
                state.index.spends.observed(observation);
            }
            Ok(())
        })
        .await
    }
}

impl State {
    fn recall(&mut self, author: usize, entry: &Statement<LedgerEntry>) {
        let Some(name) = self.authors.get(author) else {
            return;
        };
        let now: Timestamp = crate::clock::now().max(self.index.clock());
        let at = match author {
            0 => entry.issued_at,
            _ => believable(entry.issued_at, now),
        };
        self.index.spends.heard(name, at, &entry.body.event);
    }
}
