//! The spends that compete for one slot: of an EVM account's nonce at most one transaction is ever in a block.

use std::collections::{BTreeMap, HashMap};

use crate::hash::Hash;

/// Spends by slot. Nearly always a slot has one, which costs its index; whoever makes many transactions of one nonce makes
/// no operation here longer than the logarithm of their number.
#[derive(Debug, Clone, Default)]
pub(super) struct Slots(HashMap<Hash, Slot>);

/// `settled`: whether one of the slot's transactions is in a block for good.
#[derive(Debug, Clone)]
enum Slot {
    One { index: u32, settled: bool },
    Many(Box<Many>),
}

#[derive(Debug, Clone)]
struct Many {
    /// By the spend's id.
    rivals: BTreeMap<Hash, usize>,
    settled: bool,
}

impl Slots {
    /// Adds a spend. `id_of` tells the id of one that is there.
    pub fn add(
        &mut self,
        slot: Hash,
        (id, index): (Hash, usize),
        id_of: impl Fn(usize) -> Option<Hash>,
    ) {
        let Some(known) = self.0.get_mut(&slot) else {
            // Nobody has four billion spends in memory.
            let index = u32::try_from(index).unwrap_or(u32::MAX);
            let settled = false;
            self.0.insert(slot, Slot::One { index, settled });
            return;
        };
        match known {
            Slot::One {
                index: first,
                settled,
            } => {
                let (first, settled) = (wide(*first), *settled);
                let first = id_of(first).map(|id| (id, first));
                let rivals = first.into_iter().chain([(id, index)]).collect();
                *known = Slot::Many(Box::new(Many { rivals, settled }));
            }
            Slot::Many(many) => {
                many.rivals.insert(id, index);
            }
        }
    }

    /// Takes a spend out.
    pub fn remove(&mut self, slot: &Hash, id: &Hash) {
        let Some(known) = self.0.get_mut(slot) else {
            return;
        };
        let empty = match known {
            Slot::One { .. } => true,
            Slot::Many(many) => {
                many.rivals.remove(id);
                many.rivals.is_empty()
            }
        };
        if empty {
            self.0.remove(slot);
        }
    }

    /// The spend with an id.
    pub fn find(
        &self,
        slot: &Hash,
        id: &Hash,
        id_of: impl Fn(usize) -> Option<Hash>,
    ) -> Option<usize> {
        match self.0.get(slot)? {
            Slot::One { index, .. } => {
                Some(wide(*index)).filter(|index| id_of(*index) == Some(*id))
            }
            Slot::Many(many) => many.rivals.get(id).copied(),
        }
    }

    /// All spends of a slot.
    pub fn all(&self, slot: &Hash) -> Vec<usize> {
        match self.0.get(slot) {
            None => Vec::new(),
            Some(Slot::One { index, .. }) => vec![wide(*index)],
            Some(Slot::Many(many)) => many.rivals.values().copied().collect(),
        }
    }

    /// Remembers that a spend of the slot is in a block for good.
    pub fn settle(&mut self, slot: &Hash) {
        match self.0.get_mut(slot) {
            None => {}
            Some(Slot::One { settled, .. }) => *settled = true,
            Some(Slot::Many(many)) => many.settled = true,
        }
    }

    /// Whether one is. Those that are left then are few: all others were dropped.
    pub fn is_settled(&self, slot: &Hash) -> bool {
        self.0.get(slot).is_some_and(|known| match known {
            Slot::One { settled, .. } => *settled,
            Slot::Many(many) => many.settled,
        })
    }
}

fn wide(index: u32) -> usize {
    usize::try_from(index).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spends_of_a_slot_are_found_by_their_ids_and_leave_one_by_one() {
        let (slot, id) = (Hash::sha256(b"slot"), |n: usize| Hash::sha256(&[n as u8]));
        let id_of = |index: usize| Some(id(index));
        let mut slots = Slots::default();
        slots.settle(&slot);
        assert!(!slots.is_settled(&slot));
        for index in 0..5 {
            slots.add(slot, (id(index), index), id_of);
            for known in 0..5 {
                let expected = (known <= index).then_some(known);
                assert_eq!(slots.find(&slot, &id(known), id_of), expected);
            }
        }
        slots.settle(&slot);
        let mut all = slots.all(&slot);
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2, 3, 4]);
        for index in 0..5 {
            assert!(slots.is_settled(&slot));
            slots.remove(&slot, &id(index));
            assert_eq!(slots.find(&slot, &id(index), id_of), None);
        }
        assert!(slots.all(&slot).is_empty() && !slots.is_settled(&slot));
    }
}
