//! The state of a compiled grammar within one answer.

use std::fmt::{Debug, Formatter};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use firebox_contract::limits::GRAMMAR_ANSWER_TIME;
use firebox_contract::{Error, TokenConstraint, TokenId, TokenMask};
use llguidance::TokenParser;
use llguidance::api::StopReason;
use llguidance::panic_utils;

use crate::error::{GrammarError, first_line};
use crate::vocabulary::Vocabulary;

/// A compiled grammar. Its answers share the states of its lexer, so that a state is computed once.
pub(crate) struct CompiledGrammar {
    start: TokenParser,
    vocabulary: Arc<Vocabulary>,
    /// Whether control tokens that mark tool calls are part of it.
    markers: bool,
    /// Set when a step failed. The states may be incomplete then, so no new answer uses them.
    failed: AtomicBool,
}

impl CompiledGrammar {
    pub(crate) fn new(mut start: TokenParser, vocabulary: Arc<Vocabulary>, markers: bool) -> Self {
        start.start_without_prompt();
        Self { start, vocabulary, markers, failed: AtomicBool::new(false) }
    }

    /// The beginning of an answer.
    pub(crate) fn begin(self: Arc<Self>) -> AnswerState {
        AnswerState { parser: self.start.clone(), grammar: self, ended: false, spent: Duration::ZERO }
    }

    /// Whether new answers can use it.
    pub(crate) fn is_usable(&self) -> bool {
        !self.failed.load(Ordering::Relaxed)
    }

    /// Bytes of the states of its lexer so far.
    pub(crate) fn bytes(&self) -> usize {
        // The library panics if another answer's step has panicked.
        let stats = std::panic::catch_unwind(AssertUnwindSafe(|| self.start.parser.lexer_stats()));
        stats.map_or(usize::MAX, |stats| stats.num_bytes)
    }
}

/// One answer of a grammar.
pub(crate) struct AnswerState {
    parser: TokenParser,
    grammar: Arc<CompiledGrammar>,
    /// Whether nothing can follow.
    ended: bool,
    /// Time that masks took so far.
    spent: Duration,
}

impl Debug for AnswerState {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AnswerState").field("ended", &self.ended).finish_non_exhaustive()
    }
}

impl AnswerState {
    /// Whether a grammar can ever contain `token`.
    fn may_contain(&self, token: TokenId) -> bool {
        let vocabulary = &self.grammar.vocabulary;
        vocabulary.has_text(token) || (self.grammar.markers && vocabulary.is_marker(token))
    }

    /// Runs a step of the library. Its errors and panics are the errors of this answer only.
    fn step<T>(&mut self, work: impl FnOnce(&mut TokenParser) -> Result<T, String>) -> Result<T, GrammarError> {
        let parser = &mut self.parser;
        let result = panic_utils::catch_unwind(AssertUnwindSafe(|| Ok(work(parser))));
        result.unwrap_or_else(|panic| Err(panic.to_string())).map_err(|message| {
            let error = self.explain(&message);
            if error != GrammarError::DeadEnd {
                self.grammar.failed.store(true, Ordering::Relaxed);
            }
            error
        })
    }

    fn explain(&self, message: &str) -> GrammarError {
        match self.parser.stop_reason() {
            StopReason::LexerTooComplex | StopReason::ParserTooComplex => GrammarError::TooComplex(first_line(message)),
            StopReason::NoExtensionBias => GrammarError::DeadEnd,
            _ => GrammarError::Failed(first_line(message)),
        }
    }

    /// Appends a token that was found to be allowed.
    fn consume(&mut self, token: TokenId) -> Result<(), GrammarError> {
        self.step(|parser| {
            parser.consume_token(token).and_then(|_| parser.check_stop()).map_err(|error| error.to_string())
        })?;
        self.ended = self.parser.stopped();
        Ok(())
    }
}

impl TokenConstraint for AnswerState {
    fn allows(&mut self, token: TokenId) -> Result<bool, Error> {
        if self.ended || !self.may_contain(token) {
            return Ok(false);
        }
        Ok(self.step(|parser| parser.validate_token(token).map_err(|error| error.to_string()))?)
    }

    fn accept(&mut self, token: TokenId) -> Result<bool, Error> {
        let allowed = self.allows(token)?;
        if allowed {
            self.consume(token)?;
        }
        Ok(allowed)
    }

    fn take_back(&mut self, count: usize) -> Result<(), Error> {
        self.step(|parser| parser.rollback(count).map_err(|error| error.to_string()))?;
        self.ended = self.parser.stopped();
        Ok(())
    }

    fn accept_text(&mut self, text: &str) -> Result<bool, Error> {
        let Some(tokens) = self.grammar.vocabulary.spell(text) else { return Ok(false) };
        for token in tokens {
            if !self.accept(token)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn mask(&mut self) -> Result<TokenMask, Error> {
        if self.ended {
            return Ok(TokenMask::default());
        }
        let may_end = self.may_end()?;
        if self.spent > GRAMMAR_ANSWER_TIME {
            let seconds = GRAMMAR_ANSWER_TIME.as_secs();
            return Err(GrammarError::TooComplex(format!("its steps took more than {seconds} s")).into());
        }
        let began = Instant::now();
        let mask = self.step(|parser| parser.compute_mask().map_err(|error| error.to_string()));
        self.spent += began.elapsed();
        match mask {
            Ok(mask) => Ok(TokenMask::new(mask.as_slice().to_vec())),
            // No token continues a complete answer.
            Err(GrammarError::DeadEnd) if may_end => {
                self.ended = true;
                Ok(TokenMask::default())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn may_end(&mut self) -> Result<bool, Error> {
        if self.ended {
            return Ok(true);
        }
        Ok(self.step(|parser| Ok(parser.is_accepting()))?)
    }

    fn has_ended(&self) -> bool {
        self.ended
    }
}
