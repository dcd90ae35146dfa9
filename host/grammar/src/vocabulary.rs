//! The texts of a model's tokens as a trie, built once for each model.

use std::sync::Arc;

use firebox_contract::{TextCodec, TokenId, TokenTexts, limits};
use llguidance::ParserFactory;
use llguidance::earley::SlicedBiasComputer;
use toktrie::{InferenceCapabilities, TokEnv, TokRxInfo, TokTrie, TokenizerEnv};

use crate::error::GrammarError;

/// No token. The engine decides which tokens end an answer, so the trie has no end token.
const NO_TOKEN: TokenId = TokenId::MAX;
/// The trie marks control tokens with this byte. No text in UTF-8 contains it.
const CONTROL_MARK: u8 = 0xFF;
/// Longest text of a token in the trie, in bytes.
const TOKEN_BYTES_MAX: usize = 1_000;
/// Most nodes of the trie.
const TRIE_NODES_MAX: usize = (1 << 22) - 1;

/// The tokens that grammars choose from.
pub(crate) struct Vocabulary {
    factory: ParserFactory,
    /// Control tokens that mark tool calls, by their text.
    markers: Vec<(String, TokenId)>,
}

/// Cuts text into the longest tokens. That is not what the model's tokenizer does, so no tokens are forced by it.
struct LongestTokens(TokTrie);

impl TokenizerEnv for LongestTokens {
    fn tok_trie(&self) -> &TokTrie {
        &self.0
    }

    fn tokenize_bytes(&self, text: &[u8]) -> Vec<TokenId> {
        self.0.greedy_tokenize(text)
    }

    fn tokenize_is_canonical(&self) -> bool {
        false
    }
}

impl Vocabulary {
    /// Reads the texts of a codec's tokens.
    ///
    /// # Errors
    /// `Vocabulary` if the tokens have no texts or too many.
    pub(crate) fn of(codec: &dyn TextCodec) -> Result<Self, GrammarError> {
        let texts = codec.token_texts();
        let texts = texts.ok_or(GrammarError::Vocabulary("the tokens of its tokenizer have no text of their own"))?;
        Self::new(&texts, codec.marker_tokens())
    }

    fn new(texts: &TokenTexts, markers: Vec<(String, TokenId)>) -> Result<Self, GrammarError> {
        let words = words(texts, &markers)?;
        let vocab_size = u32::try_from(words.len()).map_err(|_| TOO_MANY)?;
        let info = TokRxInfo::new(vocab_size, NO_TOKEN);
        let env: TokEnv = Arc::new(LongestTokens(TokTrie::from(&info, &words)));
        let slices = SlicedBiasComputer::general_slices();
        let failed = |error: &dyn std::fmt::Display| GrammarError::Failed(crate::error::first_line(&error.to_string()));
        let mut factory =
            ParserFactory::new(&env, InferenceCapabilities::default(), &slices).map_err(|error| failed(&error))?;
        factory.quiet();
        let bounds = factory.limits_mut();
        bounds.initial_lexer_fuel = limits::GRAMMAR_COMPILE_FUEL;
        bounds.step_lexer_fuel = limits::GRAMMAR_STEP_FUEL;
        bounds.step_max_items = limits::GRAMMAR_STEP_ITEMS_MAX;
        bounds.max_lexer_states = limits::GRAMMAR_STATES_MAX;
        bounds.max_grammar_size = limits::GRAMMAR_SYMBOLS_MAX;
        bounds.verbose_errors = false;
        Ok(Self { factory, markers })
    }

    pub(crate) fn factory(&self) -> &ParserFactory {
        &self.factory
    }

    fn trie(&self) -> &TokTrie {
        self.factory.tok_env().tok_trie()
    }

    /// The control token with this text.
    pub(crate) fn marker(&self, text: &str) -> Option<TokenId> {
        self.markers.iter().find(|(marker, _)| marker == text).map(|(_, token)| *token)
    }

    /// The first control token in `text`: its position, the length of its text, and the token. The longest one counts.
    pub(crate) fn first_marker(&self, text: &str) -> Option<(usize, usize, TokenId)> {
        let found = self.markers.iter().filter(|(marker, _)| !marker.is_empty());
        let found = found.filter_map(|(marker, token)| Some((text.find(marker.as_str())?, marker.len(), *token)));
        found.min_by_key(|(at, length, _)| (*at, usize::MAX - length))
    }

    /// Whether `token` has a text in the trie.
    pub(crate) fn has_text(&self, token: TokenId) -> bool {
        !self.trie().token(token).is_empty()
    }

    /// Whether `token` marks tool calls.
    pub(crate) fn is_marker(&self, token: TokenId) -> bool {
        self.markers.iter().any(|(_, marker)| *marker == token)
    }

    /// Tokens that spell `text`; control tokens where it has their text. `None` if no tokens spell it.
    pub(crate) fn spell(&self, text: &str) -> Option<Vec<TokenId>> {
        let (mut tokens, mut rest) = (Vec::new(), text);
        while !rest.is_empty() {
            let marker = self.markers.iter().find(|(marker, _)| rest.starts_with(marker.as_str()));
            if let Some((marker, token)) = marker {
                tokens.push(*token);
                rest = &rest[marker.len()..];
                continue;
            }
            let next = self.markers.iter().filter_map(|(marker, _)| rest.find(marker.as_str())).min();
            let (plain, after) = rest.split_at(next.unwrap_or(rest.len()));
            let spelled = self.longest(plain.as_bytes())?;
            tokens.extend(spelled);
            rest = after;
        }
        Some(tokens)
    }

    /// The longest tokens that spell `text` from its beginning.
    fn longest(&self, mut text: &[u8]) -> Option<Vec<TokenId>> {
        let mut tokens = Vec::new();
        while !text.is_empty() {
            let (token, length) = self.trie().prefix_token_id(text);
            if length == 0 || self.trie().token(token).len() != length {
                return None;
            }
            tokens.push(token);
            text = &text[length..];
        }
        Some(tokens)
    }
}

const TOO_MANY: GrammarError = GrammarError::Vocabulary("its vocabulary is too large");

/// The text of each token by its id; empty for tokens that are no text. Tokens that a grammar of text can never use are
/// left out.
fn words(texts: &TokenTexts, markers: &[(String, TokenId)]) -> Result<Vec<Vec<u8>>, GrammarError> {
    let highest = texts.iter().map(|(token, _)| token).chain(markers.iter().map(|(_, token)| *token)).max();
    let count = highest.map_or(0, |highest| highest as usize + 1);
    if count > limits::MODEL_VOCABULARY_TOKENS_MAX {
        return Err(TOO_MANY);
    }
    let mut words = vec![Vec::new(); count];
    let mut nodes = 0;
    for (token, text) in texts.iter() {
        if text.len() > TOKEN_BYTES_MAX || text.contains(&CONTROL_MARK) {
            continue;
        }
        nodes += text.len();
        text.clone_into(&mut words[token as usize]);
    }
    // A control token is chosen by its id, so it has no text.
    markers.iter().for_each(|(_, token)| words[*token as usize].clear());
    match nodes {
        0 => Err(GrammarError::Vocabulary("the tokens of its tokenizer have no text")),
        nodes if nodes > TRIE_NODES_MAX => Err(TOO_MANY),
        _ => Ok(words),
    }
}
