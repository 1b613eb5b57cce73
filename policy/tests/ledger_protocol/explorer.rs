//! Visits every state that a model can reach, breadth first, so that the first violation found has the shortest trace.
//!
//! Written here instead of taking `stateright`, which brings a web server and other crates into the tree of a custody
//! product for what this does in a hundred lines.

use std::collections::{HashMap, VecDeque};
use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Something that can be explored.
pub trait Model {
    /// A state.
    type State: Clone + Hash;
    /// A step.
    type Action: Copy + Debug;

    fn start(&self) -> Self::State;
    /// All steps that may be tried in a state.
    fn actions(&self, state: &Self::State) -> Vec<Self::Action>;
    /// The state after a step; `None` when the step is not possible, or changes nothing.
    fn step(&self, state: &Self::State, action: Self::Action) -> Option<Self::State>;
    /// What is wrong with a state, if anything.
    fn violation(&self, state: &Self::State) -> Option<String>;
    /// A number of which the greatest over all states is reported.
    fn measure(&self, state: &Self::State) -> u64;
    /// Whether something that must be possible happened.
    fn goal(&self, state: &Self::State) -> bool;
}

/// What an exploration found.
pub struct Explored<A> {
    pub states: usize,
    pub greatest: u64,
    pub reached: bool,
    pub violation: Option<(String, Vec<A>)>,
}

/// Visits all states, or those up to the first violation.
pub fn explore<M: Model>(model: &M, most: usize) -> Explored<M::Action> {
    let start = model.start();
    let first = fingerprint(&start);
    // By fingerprint: where it was first reached from, and how.
    let mut seen: HashMap<u64, Option<(u64, M::Action)>> = HashMap::from([(first, None)]);
    let mut queue = VecDeque::from([(first, start)]);
    let (mut greatest, mut reached) = (0, false);
    while let Some((at, state)) = queue.pop_front() {
        greatest = greatest.max(model.measure(&state));
        reached |= model.goal(&state);
        if let Some(what) = model.violation(&state) {
            let violation = Some((what, trace(&seen, at)));
            return Explored {
                states: seen.len(),
                greatest,
                reached,
                violation,
            };
        }
        for action in model.actions(&state) {
            let Some(next) = model.step(&state, action) else {
                continue;
            };
            let to = fingerprint(&next);
            if let std::collections::hash_map::Entry::Vacant(new) = seen.entry(to) {
                new.insert(Some((at, action)));
                queue.push_back((to, next));
            }
        }
        assert!(
            seen.len() <= most,
            "more than {most} states: bound the model"
        );
    }
    Explored {
        states: seen.len(),
        greatest,
        reached,
        violation: None,
    }
}

fn trace<A: Copy>(seen: &HashMap<u64, Option<(u64, A)>>, mut at: u64) -> Vec<A> {
    let mut steps = Vec::new();
    while let Some(Some((from, action))) = seen.get(&at) {
        steps.push(*action);
        at = *from;
    }
    steps.reverse();
    steps
}

fn fingerprint(state: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    state.hash(&mut hasher);
    hasher.finish()
}
