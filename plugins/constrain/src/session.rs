//! The token stage of one answer under a pattern.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use firebox_sdk::vocabulary::SpelledToken;
use firebox_sdk::{TokenAction, TokenNeeds, TokenSequence, TokenSession, TokenStep, vocabulary};

use crate::automaton::{Automaton, State};
use crate::pattern::Pattern;

/// How many of the most likely tokens are considered first.
const CANDIDATES: u32 = 64;
/// Tokens that a search of the vocabulary finds at most.
const FOUND_MAX: usize = 4_096;
/// Tokens that a search asks for at once.
const BATCH: u32 = 256;
/// Tokens whose bytes are kept.
const SPELLED_MAX: usize = 16_384;

/// Where the bytes of tokens come from.
pub trait Vocabulary: 'static {
    /// As [`vocabulary::spell`].
    fn spell(&self, tokens: &[u32]) -> Vec<SpelledToken> {
        vocabulary::spell(tokens)
    }

    /// As [`vocabulary::sorted`].
    fn sorted(&self, start: &[u8], count: u32) -> Vec<SpelledToken> {
        vocabulary::sorted(start, count)
    }
}

/// The vocabulary of the host.
struct OfHost;

impl Vocabulary for OfHost {}

/// A pattern for answers. Its sessions share what they found out about it.
#[derive(Clone)]
pub struct Constraint(Rc<RefCell<Shared>>);

struct Shared {
    automaton: Automaton,
    vocabulary: Box<dyn Vocabulary>,
    /// The tokens that a search found for a state.
    found: BTreeMap<State, Vec<u32>>,
    spelled: BTreeMap<u32, Vec<u8>>,
}

impl Constraint {
    /// Answers are texts of `pattern`.
    ///
    /// # Errors
    /// The pattern is too large.
    pub fn new(pattern: &Pattern) -> Result<Self, String> {
        Self::with_vocabulary(pattern, OfHost)
    }

    /// As [`Constraint::new`], with tokens of `vocabulary`.
    ///
    /// # Errors
    /// The pattern is too large.
    pub fn with_vocabulary(pattern: &Pattern, vocabulary: impl Vocabulary) -> Result<Self, String> {
        let automaton = Automaton::new(pattern)?;
        let vocabulary = Box::new(vocabulary);
        let shared = Shared { automaton, vocabulary, found: BTreeMap::new(), spelled: BTreeMap::new() };
        Ok(Self(Rc::new(RefCell::new(shared))))
    }

    /// Starts the session of `sequence`.
    ///
    /// # Errors
    /// The model has no tokens with text.
    pub fn start(&self, sequence: TokenSequence) -> Result<ConstraintSession, String> {
        if self.0.borrow().vocabulary.sorted(&[], 1).is_empty() {
            return Err(format!("the texts of the tokens of \"{}\" are not known", sequence.model));
        }
        let start = self.0.borrow().automaton.start();
        Ok(ConstraintSession { shared: Rc::clone(&self.0), ends: sequence.ends, states: vec![start] })
    }
}

/// The session of one answer.
pub struct ConstraintSession {
    shared: Rc<RefCell<Shared>>,
    ends: Vec<u32>,
    /// The state at the start and after each accepted token.
    states: Vec<State>,
}

impl TokenSession for ConstraintSession {
    fn needs(&self) -> TokenNeeds {
        TokenNeeds { candidates: CANDIDATES, hold_back: 0 }
    }

    fn next(&mut self, step: TokenStep) -> Result<TokenAction, String> {
        let mut shared = self.shared.borrow_mut();
        let kept = self.states.len().saturating_sub(step.taken_back as usize).max(1);
        self.states.truncate(kept);
        for token in step.accepted {
            let before = self.state();
            let after = if self.ends.contains(&token) { Some(before) } else { shared.after(before, token)? };
            self.states.push(after.ok_or_else(|| format!("token {token} is not part of an allowed answer"))?);
        }
        let state = self.state();
        let can_end = shared.automaton.can_end(state);
        let mut allowed = Vec::new();
        shared.learn(&step.candidates.tokens);
        for token in step.candidates.tokens {
            let ends = self.ends.contains(&token);
            if (ends && can_end) || (!ends && shared.after(state, token)?.is_some()) {
                allowed.push(token);
            }
        }
        if allowed.is_empty() {
            allowed = shared.search(state)?;
            if can_end {
                allowed.extend(&self.ends);
            }
        }
        if allowed.is_empty() {
            return Err("no token of the model continues the answer".to_owned());
        }
        Ok(TokenAction::Allow(allowed))
    }
}

impl ConstraintSession {
    fn state(&self) -> State {
        self.states.last().copied().unwrap_or_default()
    }
}

impl Shared {
    /// Gets the bytes of `tokens`, all at once.
    fn learn(&mut self, tokens: &[u32]) {
        let unknown: Vec<u32> = tokens.iter().filter(|token| !self.spelled.contains_key(token)).copied().collect();
        if unknown.is_empty() {
            return;
        }
        if self.spelled.len() + unknown.len() > SPELLED_MAX {
            self.spelled.clear();
        }
        self.spelled.extend(self.vocabulary.spell(&unknown));
    }

    /// The state after `token`. None if no allowed answer goes on so, and for a token without text.
    fn after(&mut self, state: State, token: u32) -> Result<Option<State>, String> {
        self.learn(&[token]);
        match self.spelled.get(&token) {
            Some(bytes) if !bytes.is_empty() => self.automaton.run(state, bytes),
            _ => Ok(None),
        }
    }

    /// Tokens that can come next, in the order of their bytes. Tokens that begin with bytes that cannot come next are skipped.
    fn search(&mut self, state: State) -> Result<Vec<u32>, String> {
        if let Some(found) = self.found.get(&state) {
            return Ok(found.clone());
        }
        let (mut found, mut start) = (Vec::new(), Vec::new());
        'batches: while found.len() < FOUND_MAX {
            let batch = self.vocabulary.sorted(&start, BATCH);
            let Some((_, last)) = batch.last() else { break };
            // Without another decision, the search goes on after the last token of the batch.
            let after_last = [last.as_slice(), &[0]].concat();
            for (token, bytes) in &batch {
                if bytes < &start {
                    continue;
                }
                match self.first_wrong(state, bytes)? {
                    None => found.push(*token),
                    Some(length) => match successor(&bytes[..length]) {
                        Some(next) => start = next,
                        None => break 'batches,
                    },
                }
            }
            start = start.max(after_last);
        }
        self.found.insert(state, found.clone());
        Ok(found)
    }

    /// The number of bytes of the shortest part at the beginning of `bytes` that cannot come next.
    fn first_wrong(&mut self, mut state: State, bytes: &[u8]) -> Result<Option<usize>, String> {
        for (index, byte) in bytes.iter().enumerate() {
            match self.automaton.step(state, *byte)? {
                Some(next) => state = next,
                None => return Ok(Some(index + 1)),
            }
        }
        Ok(None)
    }
}

/// The first bytes that sort after all that begin with `bytes`. None if there are none.
fn successor(bytes: &[u8]) -> Option<Vec<u8>> {
    let last = bytes.iter().rposition(|byte| *byte < u8::MAX)?;
    let mut next = bytes[..=last].to_vec();
    next[last] += 1;
    Some(next)
}
