//! Breadth-first search of every state that a model can reach. It stops at the first bad state, so its trace is a shortest one.

use std::collections::{HashSet, VecDeque};
use std::fmt::Debug;
use std::hash::{BuildHasherDefault, Hash, Hasher};

/// One step of a run, for its trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    pub what: &'static str,
    /// Owner, session or reader, as the model numbers them.
    pub who: usize,
}

/// What the search explores. It must be finite: there is no bound on the number of states.
pub trait Model {
    type State: Clone + Hash;
    type Bad: Copy + Eq + Debug;

    fn initial(&self) -> Self::State;
    /// Appends every state that can follow.
    fn successors(&self, state: &Self::State, out: &mut Vec<(Step, Self::State)>);
    /// What is wrong in a state.
    fn bad(&self, state: &Self::State) -> Option<Self::Bad>;
    /// What is wrong in a state that nothing follows.
    fn bad_end(&self, _state: &Self::State) -> Option<Self::Bad> {
        None
    }
}

#[derive(Debug)]
pub enum Outcome<Bad> {
    /// No reachable state is bad. There are so many of them.
    Holds { states: usize },
    /// A shortest run to a bad state.
    Violated { bad: Bad, trace: Vec<Step> },
}

/// Explores everything.
pub fn search<M: Model>(model: &M) -> Outcome<M::Bad> {
    let mut search = Search::<M>::new(model);
    while let Some((state, place)) = search.queue.pop_front() {
        let mut next = std::mem::take(&mut search.next);
        model.successors(&state, &mut next);
        if next.is_empty()
            && let Some(bad) = model.bad_end(&state)
        {
            return search.violated(bad, place);
        }
        for (step, state) in next.drain(..) {
            if let Some((bad, place)) = search.visit(model, state, Some((place, step))) {
                return search.violated(bad, place);
            }
        }
        search.next = next;
    }
    Outcome::Holds {
        states: search.links.len(),
    }
}

struct Search<M: Model> {
    seen: HashSet<u128, BuildHasherDefault<Identity>>,
    /// How each state was first reached.
    links: Vec<Option<(usize, Step)>>,
    queue: VecDeque<(M::State, usize)>,
    next: Vec<(Step, M::State)>,
}

impl<M: Model> Search<M> {
    fn new(model: &M) -> Self {
        let mut search = Self {
            seen: HashSet::default(),
            links: Vec::new(),
            queue: VecDeque::new(),
            next: Vec::new(),
        };
        let initial = search.visit(model, model.initial(), None);
        assert!(initial.is_none(), "the initial state is bad");
        search
    }

    /// Takes a state in unless it is known; what is bad in it.
    fn visit(&mut self, model: &M, state: M::State, link: Option<(usize, Step)>) -> Option<(M::Bad, usize)> {
        if !self.seen.insert(fingerprint(&state)) {
            return None;
        }
        let place = self.links.len();
        self.links.push(link);
        if let Some(bad) = model.bad(&state) {
            return Some((bad, place));
        }
        self.queue.push_back((state, place));
        None
    }

    fn violated(&self, bad: M::Bad, place: usize) -> Outcome<M::Bad> {
        let mut trace = Vec::new();
        let mut at = place;
        while let Some((before, step)) = self.links[at] {
            trace.push(step);
            at = before;
        }
        trace.reverse();
        Outcome::Violated { bad, trace }
    }
}

/// Asserts that every reachable state is good, and that there were many: a model that cannot move holds too.
pub fn assert_holds<M: Model>(model: &M) {
    match search(model) {
        Outcome::Holds { states } => assert!(states > 500, "only {states} states: the model hardly moves"),
        Outcome::Violated { bad, trace } => panic!("{bad:?} after\n{}", lines(&trace)),
    }
}

/// Asserts that the search finds this fault.
pub fn assert_violated<M: Model>(model: &M, expected: M::Bad) {
    match search(model) {
        Outcome::Holds { states } => panic!("no violation in {states} states: the rule is not needed here"),
        Outcome::Violated { bad, trace } => assert_eq!(bad, expected, "after\n{}", lines(&trace)),
    }
}

fn lines(trace: &[Step]) -> String {
    let line = |(n, step): (usize, &Step)| format!("{:>3}. {} {}", n + 1, step.what, step.who);
    trace.iter().enumerate().map(line).collect::<Vec<_>>().join("\n")
}

/// 128 bits for a state: with a million states the chance that two share one is below 10^-26.
fn fingerprint(state: &impl Hash) -> u128 {
    let mut lanes = Lanes::new();
    state.hash(&mut lanes);
    lanes.finish_both()
}

/// Two independent multiply-and-rotate lanes.
struct Lanes {
    a: u64,
    b: u64,
}

impl Lanes {
    fn new() -> Self {
        Self {
            a: 0x243F_6A88_85A3_08D3,
            b: 0x1319_8A2E_0370_7344,
        }
    }

    fn mix(&mut self, word: u64) {
        self.a = (self.a ^ word)
            .wrapping_mul(0x9E37_79B9_7F4A_7C15)
            .rotate_left(29)
            ^ (self.a >> 32);
        self.b = (self.b.rotate_left(17) ^ word).wrapping_mul(0xD6E8_FEB8_6659_FD93) ^ (self.b >> 31);
    }

    fn finish_both(mut self) -> u128 {
        for _ in 0..3 {
            self.mix(0xA5A5_5A5A_1234_9876);
        }
        (u128::from(self.a) << 64) | u128::from(self.b)
    }
}

impl Hasher for Lanes {
    fn finish(&self) -> u64 {
        self.a
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.mix(u64::from_le_bytes(word) ^ ((chunk.len() as u64) << 56));
        }
    }
}

/// A fingerprint is its own hash.
#[derive(Default)]
struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        let mut word = [0; 8];
        word.copy_from_slice(&bytes[4..12]);
        self.0 = u64::from_le_bytes(word);
    }
}
