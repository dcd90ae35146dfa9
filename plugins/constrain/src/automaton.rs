//! Automata over bytes. A nondeterministic one is built from a pattern, and states of the deterministic one are made when an
//! answer reaches them (Thompson 1968).

use std::collections::BTreeMap;

use crate::pattern::Pattern;
use crate::utf8;

/// Nodes of a pattern at most.
const NODES_MAX: usize = 200_000;
/// States that answers reach at most.
const STATES_MAX: usize = 20_000;

/// A state of an [`Automaton`].
pub(crate) type State = u32;

/// No text in the language begins like this.
const DEAD: State = u32::MAX;
/// Not known yet.
const UNKNOWN: State = u32::MAX - 1;

/// One node of the nondeterministic automaton.
#[derive(Debug)]
enum Node {
    /// A byte from the first to the second, then the node.
    Byte(u8, u8, u32),
    /// Any of these nodes.
    Any(Vec<u32>),
    /// A text of the language ends.
    End,
}

/// Accepts the texts of a pattern, byte by byte.
#[derive(Debug)]
pub struct Automaton {
    nodes: Vec<Node>,
    /// The class of each byte. Bytes of one class lead to the same states.
    classes: [u8; 256],
    class_count: usize,
    /// The nodes that each state stands for: bytes and the end.
    states: Vec<Vec<u32>>,
    known: BTreeMap<Vec<u32>, State>,
    /// For each state and class the next state.
    next: Vec<State>,
}

impl Automaton {
    /// The automaton of `pattern`.
    ///
    /// # Errors
    /// The pattern is too large.
    pub fn new(pattern: &Pattern) -> Result<Self, String> {
        let mut nodes = vec![Node::End];
        let start = add(pattern, 0, &mut nodes)?;
        let (classes, class_count) = classes(&nodes);
        let mut automaton =
            Self { nodes, classes, class_count, states: Vec::new(), known: BTreeMap::new(), next: Vec::new() };
        let first = automaton.closure([start]);
        automaton.state(first)?;
        Ok(automaton)
    }

    /// The state before the first byte.
    #[must_use]
    pub fn start(&self) -> u32 {
        0
    }

    /// The state after `byte`, or none if no text of the language begins so.
    ///
    /// # Errors
    /// There are too many states.
    pub fn step(&mut self, state: u32, byte: u8) -> Result<Option<u32>, String> {
        let class = usize::from(self.classes[usize::from(byte)]);
        let at = state as usize * self.class_count + class;
        let mut next = self.next.get(at).copied().unwrap_or(DEAD);
        if next == UNKNOWN {
            let of = self.states.get(state as usize).map(Vec::as_slice).unwrap_or_default();
            let targets = of.iter().filter_map(|node| match self.nodes.get(*node as usize) {
                Some(Node::Byte(low, high, to)) if (*low..=*high).contains(&byte) => Some(*to),
                _ => None,
            });
            let targets: Vec<u32> = targets.collect();
            let nodes = self.closure(targets);
            next = if nodes.is_empty() { DEAD } else { self.state(nodes)? };
            self.next[at] = next;
        }
        Ok((next != DEAD).then_some(next))
    }

    /// The state after `bytes`.
    ///
    /// # Errors
    /// As [`Automaton::step`].
    pub fn run(&mut self, mut state: u32, bytes: &[u8]) -> Result<Option<u32>, String> {
        for byte in bytes {
            match self.step(state, *byte)? {
                Some(next) => state = next,
                None => return Ok(None),
            }
        }
        Ok(Some(state))
    }

    /// Whether a text of the language ends here.
    #[must_use]
    pub fn can_end(&self, state: u32) -> bool {
        self.states.get(state as usize).is_some_and(|nodes| nodes.first() == Some(&0))
    }

    /// The nodes that can be reached without a byte, sorted. The end is node 0, so it is the first.
    fn closure(&self, from: impl IntoIterator<Item = u32>) -> Vec<u32> {
        let mut open: Vec<u32> = from.into_iter().collect();
        let mut seen = std::collections::BTreeSet::new();
        let mut reached = Vec::new();
        while let Some(node) = open.pop() {
            if !seen.insert(node) {
                continue;
            }
            match self.nodes.get(node as usize) {
                Some(Node::Any(others)) => open.extend(others),
                Some(_) => reached.push(node),
                None => {}
            }
        }
        reached.sort_unstable();
        reached
    }

    fn state(&mut self, nodes: Vec<u32>) -> Result<State, String> {
        if let Some(known) = self.known.get(&nodes) {
            return Ok(*known);
        }
        if self.states.len() >= STATES_MAX {
            return Err(format!("the pattern has more than {STATES_MAX} states; use smaller repetitions"));
        }
        let state = self.states.len() as State;
        self.known.insert(nodes.clone(), state);
        self.states.push(nodes);
        self.next.resize(self.next.len() + self.class_count, UNKNOWN);
        Ok(state)
    }
}

/// Adds the nodes of `pattern`, after which `next` comes, and returns the first.
fn add(pattern: &Pattern, next: u32, nodes: &mut Vec<Node>) -> Result<u32, String> {
    match pattern {
        Pattern::Class(ranges) => {
            let mut starts = Vec::new();
            for bytes in ranges.iter().flat_map(|(low, high)| utf8::sequences(*low, *high)) {
                let mut to = next;
                for (low, high) in bytes.into_iter().rev() {
                    to = push(Node::Byte(low, high, to), nodes)?;
                }
                starts.push(to);
            }
            if let [only] = starts.as_slice() { Ok(*only) } else { push(Node::Any(starts), nodes) }
        }
        Pattern::Sequence(items) => items.iter().rev().try_fold(next, |next, item| add(item, next, nodes)),
        Pattern::Either(branches) => {
            let starts = branches.iter().map(|branch| add(branch, next, nodes)).collect::<Result<_, _>>()?;
            push(Node::Any(starts), nodes)
        }
        Pattern::Repeat { of, min, max } => {
            let mut start = match max {
                None => {
                    let again = push(Node::Any(vec![next]), nodes)?;
                    let first = add(of, again, nodes)?;
                    if let Some(Node::Any(to)) = nodes.get_mut(again as usize) {
                        to.push(first);
                    }
                    again
                }
                Some(max) => (*min..*max).try_fold(next, |after, _| {
                    let first = add(of, after, nodes)?;
                    push(Node::Any(vec![first, next]), nodes)
                })?,
            };
            for _ in 0..*min {
                start = add(of, start, nodes)?;
            }
            Ok(start)
        }
    }
}

fn push(node: Node, nodes: &mut Vec<Node>) -> Result<u32, String> {
    if nodes.len() >= NODES_MAX {
        return Err(format!("the pattern has more than {NODES_MAX} parts; use smaller repetitions"));
    }
    nodes.push(node);
    Ok(nodes.len() as u32 - 1)
}

/// The class of each byte, and the number of classes.
fn classes(nodes: &[Node]) -> ([u8; 256], usize) {
    let mut begins = [false; 257];
    for node in nodes {
        if let Node::Byte(low, high, _) = node {
            begins[usize::from(*low)] = true;
            begins[usize::from(*high) + 1] = true;
        }
    }
    let (mut classes, mut class) = ([0; 256], 0_u8);
    for byte in 1..256 {
        class += u8::from(begins[byte]);
        classes[byte] = class;
    }
    (classes, usize::from(class) + 1)
}
