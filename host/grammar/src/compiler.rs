//! From a requested grammar to a compiled one.

use std::sync::{Arc, OnceLock};
use std::thread;

use firebox_contract::limits::GRAMMAR_STACK_BYTES;
use firebox_contract::{Error, Grammar, GrammarCompiler, TenantId, TextCodec, TokenConstraint};
use sha2::{Digest as _, Sha256};

use crate::cache::{Digest, GrammarCache};
use crate::constraint::CompiledGrammar;
use crate::error::GrammarError;
use crate::lark;
use crate::vocabulary::Vocabulary;

/// Compiles grammars for the vocabulary of one codec, and caches them.
pub struct Compiler {
    codec: Arc<dyn TextCodec>,
    /// Built at the first grammar.
    vocabulary: OnceLock<Result<Arc<Vocabulary>, GrammarError>>,
    cache: GrammarCache,
}

impl Compiler {
    /// A compiler for the tokens of `codec`. Nothing is built before the first grammar.
    #[must_use]
    pub fn new(codec: Arc<dyn TextCodec>) -> Self {
        Self { codec, vocabulary: OnceLock::new(), cache: GrammarCache::default() }
    }

    #[cfg(test)]
    pub(crate) fn cached(&self) -> usize {
        self.cache.len()
    }

    fn vocabulary(&self) -> Result<Arc<Vocabulary>, GrammarError> {
        self.vocabulary.get_or_init(|| Vocabulary::of(&*self.codec).map(Arc::new)).clone()
    }

    fn compiled(&self, tenant: &TenantId, grammar: &Grammar) -> Result<Arc<CompiledGrammar>, GrammarError> {
        let digest = digest(grammar);
        if let Some(cached) = self.cache.get(tenant, &digest) {
            return Ok(cached);
        }
        let vocabulary = self.vocabulary()?;
        let compiled = Arc::new(deep(|| compile(grammar, vocabulary))?);
        self.cache.insert(tenant, digest, Arc::clone(&compiled));
        Ok(compiled)
    }
}

impl GrammarCompiler for Compiler {
    fn prepare(&self) {
        // Its error is that of every grammar.
        let _later = self.vocabulary();
    }

    fn compile(&self, tenant: &TenantId, grammar: &Grammar) -> Result<Box<dyn TokenConstraint>, Error> {
        Ok(Box::new(self.compiled(tenant, grammar)?.begin()))
    }
}

fn compile(grammar: &Grammar, vocabulary: Arc<Vocabulary>) -> Result<CompiledGrammar, GrammarError> {
    let written = lark::write(grammar, &vocabulary)?;
    let parser = vocabulary.factory().create_parser(written.grammar);
    let parser = parser.map_err(|error| lark::explain(grammar, written.kind, &error, &vocabulary))?;
    Ok(CompiledGrammar::new(parser, vocabulary, written.markers))
}

/// Runs `work` on a thread with a stack for the longest chain of references that a schema of the allowed size can have: the
/// library follows references by recursion, and an overflow ends the process.
fn deep<T: Send>(work: impl FnOnce() -> Result<T, GrammarError> + Send) -> Result<T, GrammarError> {
    let failed = |reason: &str| GrammarError::Failed(reason.to_owned());
    thread::scope(|scope| {
        let builder = thread::Builder::new().name("grammar".to_owned()).stack_size(GRAMMAR_STACK_BYTES);
        let running =
            builder.spawn_scoped(scope, work).map_err(|error| failed(&format!("no thread starts: {error}")))?;
        running.join().unwrap_or_else(|_| Err(failed("the compiler stopped")))
    })
}

fn digest(grammar: &Grammar) -> Digest {
    // The notation for programmers is unambiguous: it quotes all texts.
    Sha256::digest(format!("{grammar:?}").as_bytes()).into()
}
