//! Signature counters: a credential that counts backwards was copied.

use std::collections::BTreeMap;

use crate::HexBytes;
use crate::hash::Hash;

/// The highest counter of each credential, with the statements of the last ones. Pure: whoever keeps one stores what
/// [`CounterBook::admit`] let in before relying on it, and puts it back with [`CounterBook::restore`].
///
/// Counters are taken in when a statement first arrives, not when it is used: statements of one credential that are used in
/// another order than they were made are all right, as long as they arrive in order or were seen before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CounterBook {
    credentials: BTreeMap<HexBytes, Counters>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Counters {
    /// The statements of the highest counters, by counter.
    statements: BTreeMap<u32, Hash>,
}

/// Statements that are remembered for each credential.
const REMEMBERED: usize = 64;

/// A counter that does not go up: the credential was copied, or its statements came out of order.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the counter {found} of credential {credential} is not above {highest}: was the authenticator copied?"
)]
pub struct CounterError {
    /// The credential.
    pub credential: HexBytes,
    /// In the assertion.
    pub found: u32,
    /// The highest that was seen.
    pub highest: u32,
}

impl CounterBook {
    /// Takes in the counter of a statement's assertion; true when there is something new to store. A statement that was
    /// taken in before is let in again, and so is every one of an authenticator that does not count (0, and never anything
    /// else).
    ///
    /// # Errors
    /// [`CounterError`]: nothing changes.
    pub fn admit(
        &mut self,
        credential: &HexBytes,
        counter: u32,
        statement: &Hash,
    ) -> Result<bool, CounterError> {
        if let Some(known) = self.credentials.get(credential) {
            if known.statements.get(&counter) == Some(statement) {
                return Ok(false);
            }
            if let Some(highest) = known.highest()
                && counter <= highest
            {
                return Err(CounterError {
                    credential: credential.clone(),
                    found: counter,
                    highest,
                });
            }
        }
        if counter == 0 {
            return Ok(false);
        }
        self.restore(credential.clone(), counter, *statement);
        Ok(true)
    }

    /// Puts back what was stored, in any order.
    pub fn restore(&mut self, credential: HexBytes, counter: u32, statement: Hash) {
        let known = self.credentials.entry(credential).or_default();
        known.statements.insert(counter, statement);
        if known.statements.len() > REMEMBERED {
            known.statements.pop_first();
        }
    }

    /// The highest counter of a credential.
    pub fn highest(&self, credential: &HexBytes) -> Option<u32> {
        self.credentials.get(credential)?.highest()
    }
}

impl Counters {
    fn highest(&self) -> Option<u32> {
        self.statements
            .last_key_value()
            .map(|(counter, _)| *counter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(byte: u8) -> HexBytes {
        HexBytes(vec![byte; 16])
    }

    fn statement(text: &str) -> Hash {
        Hash::sha256(text.as_bytes())
    }

    #[test]
    fn a_counter_goes_up_and_never_back() {
        let mut book = CounterBook::default();
        assert_eq!(book.admit(&id(1), 7, &statement("a")), Ok(true));
        assert_eq!(book.admit(&id(1), 9, &statement("b")), Ok(true));
        for (counter, again) in [(9, "c"), (8, "c"), (7, "c"), (9, "a"), (1, "a"), (0, "c")] {
            let refused = book.admit(&id(1), counter, &statement(again)).unwrap_err();
            assert_eq!((refused.found, refused.highest), (counter, 9), "{again}");
        }
        assert_eq!(book.admit(&id(1), u32::MAX, &statement("d")), Ok(true));
        // Another credential counts for itself.
        assert_eq!(book.admit(&id(2), 1, &statement("a")), Ok(true));
        assert_eq!(book.highest(&id(1)), Some(u32::MAX));
    }

    #[test]
    fn the_same_statement_is_let_in_again() {
        let mut book = CounterBook::default();
        book.admit(&id(1), 7, &statement("a")).unwrap();
        book.admit(&id(1), 9, &statement("b")).unwrap();
        assert_eq!(book.admit(&id(1), 7, &statement("a")), Ok(false));
        assert_eq!(book.admit(&id(1), 9, &statement("b")), Ok(false));
        // After a restart too, in whatever order it is read.
        let mut restored = CounterBook::default();
        restored.restore(id(1), 9, statement("b"));
        restored.restore(id(1), 7, statement("a"));
        assert_eq!(restored, book);
    }

    #[test]
    fn an_authenticator_that_does_not_count_is_let_in_and_not_remembered() {
        let mut book = CounterBook::default();
        for text in ["a", "b", "a"] {
            assert_eq!(book.admit(&id(1), 0, &statement(text)), Ok(false));
        }
        assert_eq!(book, CounterBook::default());
    }

    #[test]
    fn memory_is_bounded_and_the_highest_stays() {
        let mut book = CounterBook::default();
        for counter in 1..=200 {
            let text = counter.to_string();
            assert_eq!(book.admit(&id(1), counter, &statement(&text)), Ok(true));
        }
        assert_eq!(book.credentials[&id(1)].statements.len(), REMEMBERED);
        assert_eq!(book.highest(&id(1)), Some(200));
        assert!(book.admit(&id(1), 1, &statement("1")).is_err());
    }
}
