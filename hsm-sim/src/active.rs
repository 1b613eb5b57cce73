//! A plan at work: counts calls and says which faults act now. What is random depends on the seed, the fault's place in the plan and
//! the number of the call among those that the fault counts, so that the same plan and the same calls give the same faults.

use crate::call::Call;
use crate::memory::Memory;
use crate::plan::{Fault, Plan, Selection};
use sha2::{Digest, Sha256};
use std::sync::atomic::{AtomicU64, Ordering};

/// A fault that acts on a call.
pub(crate) struct Chosen<'a> {
    pub(crate) index: usize,
    pub(crate) fault: &'a Fault,
    /// The seed's word on whatever the fault leaves open.
    pub(crate) draw: u64,
}

pub(crate) struct Active {
    plan: Plan,
    /// For each fault, the calls counted so far.
    counted: Vec<AtomicU64>,
    /// For each fault, how often it acted.
    acted: Vec<AtomicU64>,
}

impl Active {
    pub(crate) fn new(plan: Plan, memory: &Memory) -> Self {
        let zeroes = || {
            plan.faults()
                .iter()
                .map(|_| AtomicU64::new(0))
                .collect::<Vec<_>>()
        };
        let (counted, acted) = (zeroes(), zeroes());
        for (here, before) in acted.iter().zip(memory.acted()) {
            here.store(before, Ordering::Relaxed);
        }
        Self {
            counted,
            acted,
            plan,
        }
    }

    pub(crate) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// How many faults acted.
    pub(crate) fn total(&self) -> u64 {
        self.acted
            .iter()
            .fold(0, |sum, n| sum.saturating_add(n.load(Ordering::Relaxed)))
    }

    /// The faults that act on this call, in the order of the plan.
    pub(crate) fn choose(&self, call: &Call, memory: &Memory) -> Vec<Chosen<'_>> {
        let mut chosen = Vec::new();
        for (index, fault) in self
            .plan
            .faults()
            .iter()
            .enumerate()
            .filter(|(_, fault)| fault.counts(call))
        {
            let (Some(counted), Some(acted)) = (self.counted.get(index), self.acted.get(index))
            else {
                continue;
            };
            let number = counted.fetch_add(1, Ordering::Relaxed).saturating_add(1);
            if !selects(&fault.selection, self.plan.seed(), index, number) {
                continue;
            }
            let most = fault.times.map_or(u64::MAX, std::num::NonZero::get);
            let once_more = |n: u64| n.checked_add(1).filter(|next| *next <= most);
            if acted
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, once_more)
                .is_ok()
            {
                memory.count(index);
                chosen.push(Chosen {
                    index,
                    fault,
                    draw: draw(self.plan.seed(), "detail", index, number),
                });
            }
        }
        chosen
    }
}

fn selects(selection: &Selection, seed: u64, index: usize, number: u64) -> bool {
    match selection {
        Selection::Always => true,
        Selection::Nth(calls) => calls.iter().any(|n| n.get() == number),
        Selection::Every(n) => number.is_multiple_of(n.get()),
        Selection::OneIn(n) => draw(seed, "selection", index, number).is_multiple_of(n.get()),
    }
}

/// The seed's word on one question about one call.
fn draw(seed: u64, question: &str, index: usize, number: u64) -> u64 {
    let mut hash = Sha256::new();
    hash.update(seed.to_be_bytes());
    hash.update((index as u64).to_be_bytes());
    hash.update(number.to_be_bytes());
    hash.update(question.as_bytes());
    let digest: [u8; 32] = hash.finalize().into();
    digest
        .first_chunk()
        .map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acts(plan: &str, calls: usize) -> Vec<Vec<(usize, u64)>> {
        let active = Active::new(Plan::parse(plan).unwrap(), &Memory::none());
        let one = |_| {
            active
                .choose(&Call::to("C_Sign"), &Memory::none())
                .iter()
                .map(|c| (c.index, c.draw))
                .collect()
        };
        (0..calls).map(one).collect()
    }

    fn at(plan: &str, calls: usize) -> Vec<usize> {
        acts(plan, calls)
            .iter()
            .enumerate()
            .filter(|(_, a)| !a.is_empty())
            .map(|(i, _)| i + 1)
            .collect()
    }

    const HEAD: &str = "version = 1\nseed = 5\n[[fault]]\nfunction = \"C_Sign\"\ndo = \"hang\"\n";

    #[test]
    fn faults_act_at_the_calls_that_the_plan_names() {
        assert_eq!(at(HEAD, 3), [1, 2, 3]);
        assert_eq!(at(&format!("{HEAD}nth = [2, 5]"), 9), [2, 5]);
        assert_eq!(at(&format!("{HEAD}every = 3"), 9), [3, 6, 9]);
        assert_eq!(at(&format!("{HEAD}every = 3\ntimes = 2"), 30), [3, 6]);
        assert_eq!(at(&HEAD.replace("C_Sign", "C_Verify"), 9), [0usize; 0]);
        assert_eq!(at(&HEAD.replace("C_Sign", "any"), 2), [1, 2]);
    }

    #[test]
    fn the_same_seed_draws_the_same_faults_and_another_one_others() {
        let plan = format!("{HEAD}one_in = 4");
        let first = acts(&plan, 400);
        assert_eq!(first, acts(&plan, 400));
        assert_ne!(first, acts(&plan.replace("seed = 5", "seed = 6"), 400));
        let count = first.iter().filter(|a| !a.is_empty()).count();
        assert!((60..=140).contains(&count), "{count} of 400");
    }

    #[test]
    fn two_faults_of_one_plan_draw_independently() {
        let fault = "[[fault]]\nfunction = \"C_Sign\"\ndo = \"flip-bit\"\none_in = 2\n";
        let both = acts(&format!("version = 1\n{fault}{fault}"), 200);
        assert!(both.iter().any(|a| a.len() == 1) && both.iter().any(|a| a.len() == 2));
    }

    #[test]
    fn size_queries_and_data_calls_are_counted_apart() {
        let active = Active::new(
            Plan::parse(&format!("{HEAD}calls = \"data\"\nnth = [1]")).unwrap(),
            &Memory::none(),
        );
        let (mut byte, mut length) = (0u8, 0);
        let size = Call::to("C_Sign").output(std::ptr::null_mut(), &mut length);
        let data = Call::to("C_Sign").output((&raw mut byte).cast(), &mut length);
        assert_eq!(active.choose(&size, &Memory::none()).len(), 0);
        assert_eq!(active.choose(&data, &Memory::none()).len(), 1);
        assert_eq!(active.choose(&data, &Memory::none()).len(), 0);
    }
}
