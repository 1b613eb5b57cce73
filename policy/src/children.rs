//! Child keys that were derived before. A wallet that pays is asked for the same child at every request, and each step of
//! a derivation is a multiplication on the curve.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::derive::{DerivationError, DerivationPath, ExtendedPublicKey};
use crate::key::PublicKey;

/// A bounded memory of derived child keys. It changes no result, only what it costs.
#[derive(Debug)]
pub struct ChildKeys {
    most: usize,
    known: Mutex<HashMap<(ExtendedPublicKey, DerivationPath), PublicKey>>,
}

impl ChildKeys {
    /// Remembers at most `most` children, about 200 bytes each. Whoever asks for more has them derived again: a million
    /// deposit addresses take no more memory than these.
    #[must_use]
    pub fn bounded(most: usize) -> Self {
        Self {
            most,
            known: Mutex::default(),
        }
    }

    /// The child of `root` at `path`, as [`ExtendedPublicKey::derive`] gives it.
    ///
    /// # Errors
    /// Those of [`ExtendedPublicKey::derive`]; they are not remembered.
    pub fn derive(
        &self,
        root: &ExtendedPublicKey,
        path: &DerivationPath,
    ) -> Result<PublicKey, DerivationError> {
        if path.is_master() {
            return Ok(root.public_key);
        }
        let child = (*root, path.clone());
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = known().get(&child) {
            return Ok(*key);
        }
        // Not under the lock: others go on with what is known.
        let key = root.derive(path)?.public_key;
        let mut known = known();
        if known.len() >= self.most {
            known.clear();
        }
        known.insert(child, key);
        Ok(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::derive::ChainCode;

    fn root(chain_code: u8) -> ExtendedPublicKey {
        let key = "024bc2a31265153f07e70e0bab08724e6b85e217f8cd628ceb62974247bb493382";
        ExtendedPublicKey {
            public_key: key.parse().unwrap(),
            chain_code: ChainCode([chain_code; 32]),
        }
    }

    #[test]
    fn remembered_children_are_the_derived_ones() {
        let children = ChildKeys::bounded(100);
        for _ in 0..2 {
            for chain_code in [1, 2] {
                for path in ["m", "m/0", "m/1", "m/0/1"] {
                    let (root, path) = (root(chain_code), path.parse().unwrap());
                    let derived = root.derive(&path).unwrap().public_key;
                    assert_eq!(children.derive(&root, &path), Ok(derived));
                }
            }
        }
        assert_eq!(children.known.lock().unwrap().len(), 6);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let children = ChildKeys::bounded(10);
        let root = root(1);
        for step in 0..=10 {
            let path = DerivationPath::new(vec![step]).unwrap();
            children.derive(&root, &path).unwrap();
        }
        assert_eq!(children.known.lock().unwrap().len(), 1);
    }

    #[test]
    fn a_key_without_children_has_none_however_often_it_is_asked() {
        let children = ChildKeys::bounded(100);
        let key = PublicKey::ed25519(
            ed25519_dalek::SigningKey::from_bytes(&[1; 32])
                .verifying_key()
                .to_bytes(),
        );
        let root = ExtendedPublicKey {
            public_key: key.unwrap(),
            chain_code: ChainCode([1; 32]),
        };
        for _ in 0..2 {
            let refused = children.derive(&root, &"m/0".parse().unwrap());
            assert_eq!(refused, Err(DerivationError::NoChildren));
        }
    }
}
