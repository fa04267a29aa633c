//! The search: visits every reachable state of a model, breadth first, so that the first trace to a fault is a shortest one.
//!
//! A state is compared as a whole and not by a hash, so no state is taken for another one. After the last state the search looks
//! back from the final states: a state from which none can be reached, even if nothing else fails, is a fault too.
//!
//! It knows nothing of the protocol.

use std::fmt::Display;
use std::hash::{BuildHasherDefault, Hash, Hasher};

use indexmap::IndexSet;

/// A model: states and the steps between them.
pub trait Model {
    /// A state.
    type State: Eq + Hash;
    /// A step.
    type Action: Copy + Display;
    /// What must hold.
    type Property: Copy + Eq;

    /// Returns the state in which everything begins.
    fn initial(&self) -> Self::State;

    /// Appends every step that can be taken in a state, with the state after it.
    fn steps(&self, state: &Self::State, steps: &mut Vec<(Self::Action, Self::State)>);

    /// Returns the property that a state violates. The search does not continue from such a state.
    fn violated(&self, state: &Self::State) -> Option<Self::Property>;

    /// Whether everything has ended.
    fn is_final(&self, state: &Self::State) -> bool;

    /// Whether a step is a fault. A final state must be reachable without another fault.
    fn is_fault(&self, action: Self::Action) -> bool;

    /// The property that a final state can be reached from every state.
    fn can_end(&self) -> Self::Property;
}

/// Result of a search.
#[derive(Debug)]
pub struct Findings<P, A> {
    /// Number of states that were visited.
    pub states: usize,
    /// Number of steps between them.
    pub steps: usize,
    /// Length of the longest shortest trace to a state.
    pub depth: u32,
    /// Whether every reachable state was visited.
    pub is_complete: bool,
    /// The first violation, with a shortest trace to it.
    pub violation: Option<Violation<P, A>>,
}

/// A violated property.
#[derive(Debug)]
pub struct Violation<P, A> {
    /// The property.
    pub property: P,
    /// The steps from the initial state to the violation.
    pub trace: Vec<A>,
}

impl<P, A: Display> Violation<P, A> {
    /// Returns the trace as numbered lines.
    pub fn lines(&self) -> String {
        let lines = self.trace.iter().enumerate();
        lines.map(|(number, action)| format!("{:>3}. {action}\n", number + 1)).collect()
    }
}

/// Visits every state, or the first `states_max`. It stops at the first violation.
pub fn explore<M: Model>(model: &M, states_max: usize) -> Findings<M::Property, M::Action> {
    let mut graph = Graph::new(model.initial());
    let (mut steps, mut next, mut at) = (0, Vec::new(), 0);
    while let Some(state) = graph.states.get_index(at) {
        if let Some(property) = model.violated(state) {
            let violation = Some(Violation { property, trace: graph.trace(at) });
            let depth = graph.depth(at);
            return Findings { states: graph.states.len(), steps, depth, is_complete: false, violation };
        }
        if graph.states.len() >= states_max {
            let depth = graph.depth(at);
            return Findings { states: states_max, steps, depth, is_complete: false, violation: None };
        }
        model.steps(state, &mut next);
        for (action, state) in next.drain(..) {
            steps += 1;
            graph.add(Arrival { from: at, action, is_fault: model.is_fault(action) }, state);
        }
        graph.ends.push(graph.targets.len());
        at += 1;
    }
    let stuck = graph.stuck(|state| model.is_final(state));
    let violation = stuck.map(|at| Violation { property: model.can_end(), trace: graph.trace(at) });
    let depth = graph.depth(at - 1);
    Findings { states: graph.states.len(), steps, depth, is_complete: true, violation }
}

/// The visited states, in the order of their distance from the initial one.
struct Graph<S, A> {
    states: IndexSet<S, BuildHasherDefault<WordHasher>>,
    /// How each state but the first was first reached.
    arrivals: Vec<(u32, A)>,
    /// The states after the steps that are no faults, state by state.
    targets: Vec<u32>,
    /// For each state the end of its part of `targets`.
    ends: Vec<usize>,
}

/// A step to a state.
struct Arrival<A> {
    from: usize,
    action: A,
    is_fault: bool,
}

impl<S: Eq + Hash, A: Copy> Graph<S, A> {
    fn new(initial: S) -> Self {
        let states = std::iter::once(initial).collect();
        Self { states, arrivals: Vec::new(), targets: Vec::new(), ends: Vec::new() }
    }

    fn add(&mut self, arrival: Arrival<A>, state: S) {
        let (place, is_new) = self.states.insert_full(state);
        if is_new {
            self.arrivals.push((number(arrival.from), arrival.action));
        }
        if !arrival.is_fault {
            self.targets.push(number(place));
        }
    }

    /// Returns the steps to a state.
    fn trace(&self, mut at: usize) -> Vec<A> {
        let mut trace = Vec::new();
        while at > 0 {
            let (from, action) = self.arrivals[at - 1];
            trace.push(action);
            at = from as usize;
        }
        trace.reverse();
        trace
    }

    fn depth(&self, at: usize) -> u32 {
        number(self.trace(at).len())
    }

    /// Returns the first state from which no final state can be reached without a fault.
    fn stuck(&self, is_final: impl Fn(&S) -> bool) -> Option<usize> {
        let mut can_end: Vec<bool> = self.states.iter().map(is_final).collect();
        loop {
            let mut has_changed = false;
            // Successors mostly come later, so few rounds are needed.
            for at in (0..can_end.len()).rev().filter(|at| *at < self.ends.len()) {
                let begin = if at == 0 { 0 } else { self.ends[at - 1] };
                if !can_end[at] && self.targets[begin..self.ends[at]].iter().any(|to| can_end[*to as usize]) {
                    can_end[at] = true;
                    has_changed = true;
                }
            }
            if !has_changed {
                return can_end.iter().position(|can_end| !can_end);
            }
        }
    }
}

fn number(place: usize) -> u32 {
    u32::try_from(place).expect("four billion states do not fit into memory")
}

/// A quick hash of small numbers. States that share one are still told apart.
#[derive(Debug, Default)]
struct WordHasher(u64);

impl WordHasher {
    fn add(&mut self, word: u64) {
        // The multiplier is that of Knuth's multiplicative hash for 64 bits: 2^64 divided by the golden ratio.
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}

impl Hasher for WordHasher {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.add(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, number: u8) {
        self.add(number.into());
    }

    fn write_u64(&mut self, number: u64) {
        self.add(number);
    }

    fn write_isize(&mut self, number: isize) {
        self.add(number as u64);
    }

    fn write_usize(&mut self, number: usize) {
        self.add(number as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Rule {
        NotNine,
        CanEnd,
    }

    /// A counter that goes up by one or two and ends at `end`; the steps in `faults` are faults.
    struct Counter {
        end: u8,
        top: u8,
        faults: &'static [u8],
    }

    impl Model for Counter {
        type State = u8;
        type Action = u8;
        type Property = Rule;

        fn initial(&self) -> u8 {
            0
        }

        fn steps(&self, state: &u8, steps: &mut Vec<(u8, u8)>) {
            steps.extend([1, 2].map(|step| (step, state + step)).iter().filter(|(_, to)| *to <= self.top));
        }

        fn violated(&self, state: &u8) -> Option<Rule> {
            (*state == 9).then_some(Rule::NotNine)
        }

        fn is_final(&self, state: &u8) -> bool {
            *state == self.end
        }

        fn is_fault(&self, action: u8) -> bool {
            self.faults.contains(&action)
        }

        fn can_end(&self) -> Rule {
            Rule::CanEnd
        }
    }

    #[test]
    fn every_state_is_visited_once() {
        let found = explore(&Counter { end: 8, top: 8, faults: &[] }, 100);
        assert!(found.is_complete && found.violation.is_none(), "{found:?}");
        assert_eq!((found.states, found.steps, found.depth), (9, 15, 4));
        let cut = explore(&Counter { end: 8, top: 8, faults: &[] }, 5);
        assert!(!cut.is_complete);
    }

    #[test]
    fn the_trace_to_a_violation_is_a_shortest_one() {
        let found = explore(&Counter { end: 20, top: 20, faults: &[] }, 100).violation.unwrap();
        assert_eq!((found.property, found.trace.len()), (Rule::NotNine, 5));
        assert_eq!(found.trace.iter().sum::<u8>(), 9);
        assert!(found.lines().starts_with("  1. "));
    }

    #[test]
    fn a_state_without_a_way_to_the_end_is_found() {
        // A step of two from 6 leads to 8, past the end.
        let found = explore(&Counter { end: 7, top: 8, faults: &[] }, 100).violation.unwrap();
        assert_eq!((found.property, found.trace.iter().sum::<u8>()), (Rule::CanEnd, 8));
        // Only a fault leads from an odd number to 8, the end.
        let found = explore(&Counter { end: 8, top: 8, faults: &[1] }, 100).violation.unwrap();
        assert_eq!((found.property, found.trace.iter().sum::<u8>()), (Rule::CanEnd, 1));
    }
}
