//! Forced openings in the engine, with a model that continues only token sequences that it could have written itself.

use std::collections::HashMap;
use std::sync::Arc;

use firebox_contract::{
    Caller, Chat, Error, FinishReason, GenerationRequest, LanguageModel, Logits, Message, ModelInfo, Prompt, Role,
    SamplingOverrides, SequenceId, Span, TextCodec, TextDecoder, TokenId, TokenText, TokenTexts, ToolChoice,
    ToolOptions,
};

use super::fakes::{END, Plugins, clock, options, render};
use super::{CollectedAnswer, collect};
use crate::Engine;

/// Tokens in addition to the bytes. The tokenizer takes the longest that fits.
const WORDS: &[&str] = &["\"arg", "uments", "\":", "uments\": {", "}}</tool_call>", "\"arguments\": ["];
const FIRST: TokenId = 256;
/// The model's next token after a sequence that it could not have written.
const LOST: TokenId = b'!' as TokenId;

fn encode(text: &str) -> Vec<TokenId> {
    let (mut tokens, mut rest) = (Vec::new(), text.as_bytes());
    while let Some(first) = rest.first() {
        let fits = (FIRST..).zip(WORDS).filter(|(_, word)| rest.starts_with(word.as_bytes()));
        let longest = fits.max_by_key(|(_, word)| word.len());
        let (token, length) = longest.map_or((TokenId::from(*first), 1), |(token, word)| (token, word.len()));
        tokens.push(token);
        rest = &rest[length..];
    }
    tokens
}

fn text_of(token: TokenId) -> Vec<u8> {
    match token.checked_sub(FIRST) {
        Some(word) => WORDS[word as usize].as_bytes().to_vec(),
        None => vec![token as u8],
    }
}

struct WordCodec {
    defaults: SamplingOverrides,
    texts: Option<Arc<TokenTexts>>,
}

impl TextCodec for WordCodec {
    fn encode_chat(&self, chat: Chat<'_>) -> Result<Vec<TokenId>, Error> {
        Ok(encode(&render(chat)))
    }

    fn encode_text(&self, text: &str) -> Result<Vec<TokenId>, Error> {
        Ok(encode(text))
    }

    fn decoder(&self, _: &[TokenId]) -> Box<dyn TextDecoder> {
        Box::new(WordDecoder)
    }

    fn is_end(&self, token: TokenId) -> bool {
        token == END
    }

    fn defaults(&self) -> &SamplingOverrides {
        &self.defaults
    }

    fn chat_template(&self) -> Option<&str> {
        Some("<tool_call>{\"name\": …}</tool_call>")
    }

    fn token_texts(&self) -> Option<Arc<TokenTexts>> {
        self.texts.clone()
    }
}

struct WordDecoder;

impl TextDecoder for WordDecoder {
    fn push(&mut self, token: TokenId) -> Result<String, Error> {
        // The texts of this model are ASCII.
        Ok(String::from_utf8_lossy(&text_of(token)).into_owned())
    }

    fn finish(&mut self) -> Result<String, Error> {
        Ok(String::new())
    }
}

/// Calls `add` in its first turn and answers `done` in its second, in the tokens of the tokenizer.
struct StrictModel {
    info: ModelInfo,
    seen: HashMap<SequenceId, Vec<TokenId>>,
}

impl StrictModel {
    fn next(tokens: &[TokenId]) -> TokenId {
        let text: Vec<u8> = tokens.iter().flat_map(|token| text_of(*token)).collect();
        let text = String::from_utf8_lossy(&text);
        let answer = text.rfind("\nA:").map_or(text.len(), |at| at + "\nA:".len());
        let said = match text[..answer].contains("\nassistant: ") {
            false => "<tool_call>\n{\"name\": \"add\", \"arguments\": {\"a\": 1}}</tool_call>",
            true => "done",
        };
        let own = encode(&format!("{}{said}", &text[..answer]));
        if own.starts_with(tokens) { own.get(tokens.len()).copied().unwrap_or(END) } else { LOST }
    }
}

impl LanguageModel for StrictModel {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn forward(&mut self, batch: &[Span<'_>]) -> Vec<Result<Option<Logits>, Error>> {
        let step = |span: &Span<'_>| {
            let tokens = self.seen.entry(span.sequence).or_default();
            tokens.extend(span.tokens);
            let mut logits = vec![0.0; self.info.vocabulary];
            logits[Self::next(tokens) as usize] = 30.0;
            Ok(span.wants_logits.then_some(logits))
        };
        batch.iter().map(step).collect()
    }

    fn release(&mut self, sequence: SequenceId) {
        self.seen.remove(&sequence);
    }
}

fn texts() -> Option<Arc<TokenTexts>> {
    let tokens = 1..FIRST + WORDS.len() as TokenId;
    let text = |token| TokenText { token, bytes: text_of(token), indivisible: false };
    TokenTexts::new(tokens.map(text).collect()).map(Arc::new)
}

async fn ask(texts: Option<Arc<TokenTexts>>, sampling: SamplingOverrides) -> CollectedAnswer {
    let info = ModelInfo {
        name: "picky".to_owned(),
        architecture: "Fake".to_owned(),
        parameters: 0,
        context_tokens: 4_096,
        vocabulary: FIRST as usize + WORDS.len(),
        device: "none".to_owned(),
        dtype: "f32",
        weights_bytes: 0,
    };
    let factory =
        move || Ok(Box::new(StrictModel { info: info.clone(), seen: HashMap::new() }) as Box<dyn LanguageModel>);
    let plugins = Plugins { tools: vec!["add"], ..Plugins::default() };
    let mut options = options(plugins, clock(), 4, 16);
    let defaults = SamplingOverrides { temperature: Some(0.0), ..SamplingOverrides::default() };
    options.codec = Arc::new(WordCodec { defaults, texts });
    let engine = Engine::start(Box::new(factory), options).await.expect("starts");
    let tools = ToolOptions { choice: ToolChoice::Named("add".to_owned()), ..ToolOptions::default() };
    let prompt = Prompt::Chat(vec![Message::text(Role::User, "one and what?")]);
    let request = GenerationRequest { tools, sampling, ..GenerationRequest::new(prompt) };
    collect(engine.generate(&Caller::local(), request).await.expect("admitted")).await.expect("answered")
}

fn call_of(answer: &CollectedAnswer) -> Option<&str> {
    let call = answer.finish.messages.first()?.tool_calls.first()?;
    Some(call.arguments_json.as_str())
}

/// `[add]user: one and what?\n\nA:` and the opening `<tool_call>\n{"name": "add", "arguments":`, of which the last
/// tokens are `"arg`, `uments` and `":`. Before them one token has two bytes.
const FIRST_PROMPT: usize = "[add]user: one and what?\n\nA:<tool_call>\n{\"name\": \"add\", ".len() - 1 + 3;

#[tokio::test]
async fn healing_lets_the_model_continue_a_forced_call() {
    let healed = ask(texts(), SamplingOverrides::default()).await;
    assert_eq!((healed.text.as_str(), call_of(&healed)), ("done", Some("{\"a\": 1}")));
    // Without healing the model would have to continue tokens that it never writes.
    let cut = ask(None, SamplingOverrides { max_tokens: Some(40), ..SamplingOverrides::default() }).await;
    assert_eq!(call_of(&cut), None, "{:?}", cut.finish.messages);
}

#[tokio::test]
async fn opening_tokens_count_as_prompt_and_the_extending_token_as_answer() {
    let one = ask(texts(), SamplingOverrides { max_tokens: Some(1), ..SamplingOverrides::default() }).await;
    assert_eq!((one.finish.usage.prompt_tokens, one.finish.usage.completion_tokens), (FIRST_PROMPT, 1));
    let all = ask(texts(), SamplingOverrides::default()).await;
    // `"arg` is generated again and lies in the opening. `uments": {`, `"`, `a`, `":`, ` `, `1`, `}}</tool_call>`, then `done`.
    assert_eq!(all.finish.usage.completion_tokens, 7 + 4);
}

#[tokio::test]
async fn f7_max_tokens_is_exact_after_a_forced_opening() {
    for max in 1..7 {
        let sampling = SamplingOverrides { max_tokens: Some(max), ..SamplingOverrides::default() };
        let answer = ask(texts(), sampling).await;
        assert_eq!((answer.finish.reason, answer.finish.usage.completion_tokens), (FinishReason::Length, max));
    }
}

#[tokio::test]
async fn stop_strings_biases_and_temperature_work_with_healing() {
    let stop = SamplingOverrides { stop: vec!["arguments".to_owned()], ..SamplingOverrides::default() };
    assert_eq!(ask(texts(), stop).await.text, "done", "the opening is not part of the answer");
    let stop = SamplingOverrides { stop: vec![" {".to_owned()], ..SamplingOverrides::default() };
    assert_eq!(call_of(&ask(texts(), stop).await), None, "text beyond the opening is: the call was cut off");
    for seed in 0..20 {
        let sampling = SamplingOverrides { temperature: Some(1.0), seed: Some(seed), ..SamplingOverrides::default() };
        assert_eq!(ask(texts(), sampling).await.text, "done", "seed {seed}");
    }
    // If the request forbids a token, another one with the same text is used.
    let forbidden = SamplingOverrides { logit_bias: vec![(FIRST + 3, -100.0)], ..SamplingOverrides::default() };
    let answer = ask(texts(), SamplingOverrides { max_tokens: Some(3), ..forbidden }).await;
    assert_eq!(answer.finish.usage.prompt_tokens, FIRST_PROMPT);
    assert!(!answer.text.contains("uments"), "{}", answer.text);
}
