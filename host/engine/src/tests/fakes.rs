//! A scripted model, a codec with one token per byte, and scripted plugins.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use firebox_contract::{
    BoxFuture, CallVerdict, Caller, Chat, Clock, DeliveryTracker, EmbeddingHook, Error, HookSource, Hooks,
    LanguageModel, LogLine, Logits, Message, ModelHandle, ModelInfo, OpenGate, PluginPrompt, PluginUse, Prompt,
    PromptHook, PromptVerdict, RequestInfo, Role, SamplingOverrides, SequenceId, Span, Stage, TextCodec, TextDecoder,
    TextHook, TextVerdict, TokenHook, TokenId, TokenSequence, TokenSession, ToolCall, ToolCallHook, ToolDefinition,
    ToolEffects, ToolHook, ToolOutcome,
};

use crate::{Engine, EngineOptions, Speculation};

/// The end token. No byte of text is 0.
pub(super) const END: TokenId = 0;
/// The end of a rendered prompt. The answer begins after it.
const ANSWER: &str = "\nA:";

/// Maps a rendered prompt to the answer.
pub(super) type Script = fn(&str) -> String;

/// What the scripted model computed, shared with the test.
#[derive(Default)]
pub(super) struct ModelLog {
    pub(super) spans: Mutex<Vec<(usize, bool)>>,
    pub(super) forwards: AtomicUsize,
    pub(super) alive: Mutex<BTreeMap<SequenceId, usize>>,
}

struct ScriptedModel {
    info: ModelInfo,
    script: Script,
    texts: HashMap<SequenceId, Vec<u8>>,
    seen: Arc<ModelLog>,
}

impl LanguageModel for ScriptedModel {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn kernel_sizes(&self) -> &'static [usize] {
        &[4, 1 << 30]
    }

    fn forward(&mut self, batch: &[Span<'_>]) -> Vec<Result<Option<Logits>, Error>> {
        self.seen.forwards.fetch_add(1, Ordering::SeqCst);
        let mut rows = Vec::new();
        for span in batch {
            self.seen.spans.lock().expect("lock").push((span.tokens.len(), span.wants_logits));
            let text = self.texts.entry(span.sequence).or_default();
            text.extend(span.tokens.iter().map(|token| *token as u8));
            self.seen.alive.lock().expect("lock").insert(span.sequence, text.len());
            let full = String::from_utf8_lossy(text).contains("no room");
            rows.push(match full {
                true => Err(Error::Refused("no room".to_owned())),
                false => Ok(span.wants_logits.then(|| next_byte(text, self.script))),
            });
        }
        rows
    }

    fn release(&mut self, sequence: SequenceId) {
        self.texts.remove(&sequence);
        self.seen.alive.lock().expect("lock").remove(&sequence);
    }
}

pub(super) fn next_byte(text: &[u8], script: Script) -> Logits {
    let text = String::from_utf8_lossy(text).into_owned();
    let at = text.rfind(ANSWER).map_or(text.len(), |at| at + ANSWER.len());
    let answer = script(&text[..at]);
    let next = answer.as_bytes().get(text.len() - at).copied().map_or(END, TokenId::from);
    let mut logits = vec![0.0; 256];
    logits[next as usize] = 10.0;
    logits
}

/// The fake chat template.
pub(super) fn render(chat: Chat<'_>) -> String {
    let mut text = String::new();
    for tool in chat.tools {
        text.push_str(&format!("[{}]", tool.name));
    }
    for message in chat.messages {
        text.push_str(&format!("{}: {}", message.role.as_str(), message.content));
        if let Some(sent) = &message.as_sent_json {
            text.push_str(sent);
        }
        for call in &message.tool_calls {
            text.push_str(&format!("<{} {}>", call.name, call.arguments_json));
        }
        text.push('\n');
    }
    text.push_str(ANSWER);
    text.push_str(chat.prefix);
    text
}

pub(super) struct ByteCodec {
    defaults: SamplingOverrides,
    /// The source of the chat template, of which only the marks matter.
    template: &'static str,
}

impl ByteCodec {
    /// A greedy codec with this template. A template with `enable_thinking` has that switch, and one with `opens with
    /// <think>` opens the reasoning at the end of the prompt.
    pub(super) fn of(template: &'static str) -> Self {
        Self { defaults: SamplingOverrides { temperature: Some(0.0), ..SamplingOverrides::default() }, template }
    }
}

impl TextCodec for ByteCodec {
    fn encode_chat(&self, chat: Chat<'_>) -> Result<Vec<TokenId>, Error> {
        let off = chat.options.variables_json.as_deref().is_some_and(|variables| variables.contains("false"));
        let mut text = render(chat);
        if off && self.template.contains("enable_thinking") {
            text.insert_str(0, "quiet\n");
        }
        if let Some(at) = text.rfind(ANSWER).filter(|_| self.template.contains("opens with <think>")) {
            text.insert_str(at + ANSWER.len(), "<think>\n");
        }
        self.encode_text(&text)
    }

    fn encode_text(&self, text: &str) -> Result<Vec<TokenId>, Error> {
        Ok(text.bytes().map(TokenId::from).collect())
    }

    fn decoder(&self, _: &[TokenId]) -> Box<dyn TextDecoder> {
        Box::new(ByteDecoder)
    }

    fn is_end(&self, token: TokenId) -> bool {
        token == END
    }

    fn defaults(&self) -> &SamplingOverrides {
        &self.defaults
    }

    fn chat_template(&self) -> Option<&str> {
        Some(self.template)
    }
}

struct ByteDecoder;

impl TextDecoder for ByteDecoder {
    fn push(&mut self, token: TokenId) -> Result<String, Error> {
        Ok(char::from(token as u8).to_string())
    }

    fn finish(&mut self) -> Result<String, Error> {
        Ok(String::new())
    }
}

/// The script of the fake plugins.
#[derive(Clone, Default)]
pub(super) struct Plugins {
    pub(super) prompt: Option<PromptVerdict>,
    pub(super) text: Option<fn(&str) -> TextVerdict>,
    pub(super) tail: &'static str,
    pub(super) tools: Vec<&'static str>,
    /// Decides about calls before they run. Results then end with "(seen)".
    pub(super) before: Option<fn(&ToolCall) -> CallVerdict>,
    /// Starts the session of a turn.
    pub(super) tokens: Option<StartSession>,
    /// How deep each request was whose plugins were bound.
    pub(super) depths: Arc<Mutex<Vec<usize>>>,
    /// Fuel that the plugins have used.
    pub(super) fuel: Arc<AtomicU64>,
}

/// Starts a session of the token stage.
pub(super) type StartSession = Arc<dyn Fn(TokenSequence) -> Box<dyn TokenSession> + Send + Sync>;

struct FakeHooks {
    plugins: Plugins,
    definitions: Vec<ToolDefinition>,
    own_model: ModelHandle,
}

impl FakeHooks {
    /// Asks the model of the request, and says what it answered.
    async fn ask(&self, text: &str) -> String {
        let Some(model) = self.own_model.get() else { return "no model".to_owned() };
        let prompt = Prompt::Chat(vec![Message::text(Role::User, text)]);
        let sampling = SamplingOverrides { max_tokens: Some(600), ..SamplingOverrides::default() };
        let prompt = PluginPrompt { prompt, sampling, tokens_max: 1_000 };
        match model.generate("asker", prompt).await {
            Ok(answer) => {
                let tokens = answer.usage.prompt_tokens + answer.usage.completion_tokens;
                format!("depth {}: {} ({tokens} tokens)", model.depth(), answer.text)
            }
            Err(error) => format!("depth {}: {error}", model.depth()),
        }
    }
}

impl PromptHook for FakeHooks {
    fn process(&mut self, messages: Vec<Message>) -> BoxFuture<'_, Result<PromptVerdict, Error>> {
        let verdict = self.plugins.prompt.clone().unwrap_or(PromptVerdict::Continue(messages));
        Box::pin(async move { Ok(verdict) })
    }
}

impl TextHook for FakeHooks {
    fn push(&mut self, chunk: String) -> BoxFuture<'_, Result<TextVerdict, Error>> {
        let verdict = self.plugins.text.map_or(TextVerdict::Emit(chunk.clone()), |hook| hook(&chunk));
        Box::pin(async move { Ok(verdict) })
    }

    fn finish(&mut self) -> BoxFuture<'_, Result<String, Error>> {
        Box::pin(async move { Ok(self.plugins.tail.to_owned()) })
    }
}

impl TokenHook for FakeHooks {
    fn start_tokens<'a>(
        &'a mut self,
        sequence: &'a (dyn Fn() -> TokenSequence + Sync),
    ) -> BoxFuture<'a, Result<Option<Box<dyn TokenSession>>, Error>> {
        Box::pin(async move { Ok(self.plugins.tokens.as_ref().map(|start| start(sequence()))) })
    }
}

impl ToolCallHook for FakeHooks {
    fn tool_calls_are_idle(&self) -> bool {
        self.plugins.before.is_none()
    }

    fn before_call<'a>(&'a self, call: &'a ToolCall) -> BoxFuture<'a, Result<CallVerdict, Error>> {
        let verdict = self.plugins.before.map_or(CallVerdict::Run(None), |decide| decide(call));
        Box::pin(async move { Ok(verdict) })
    }

    fn after_call<'a>(
        &'a self,
        _: &'a ToolCall,
        mut outcome: ToolOutcome,
    ) -> BoxFuture<'a, Result<ToolOutcome, Error>> {
        if self.plugins.before.is_some() {
            outcome.content.push_str(" (seen)");
        }
        Box::pin(async move { Ok(outcome) })
    }
}

impl EmbeddingHook for FakeHooks {}

impl ToolHook for FakeHooks {
    fn definitions(&self) -> &[ToolDefinition] {
        &self.definitions
    }

    fn call<'a>(&'a self, call: &'a ToolCall) -> BoxFuture<'a, Result<ToolOutcome, Error>> {
        if call.name.starts_with("ask") {
            return Box::pin(async { Ok(ToolOutcome::ok("fake", self.ask(&call.arguments_json).await)) });
        }
        let content = format!("{} ran with {}", call.name, call.arguments_json);
        let elapsed = Duration::from_micros(5);
        let outcome = ToolOutcome { fuel: 7, memory_peak_bytes: 64, elapsed, ..ToolOutcome::ok("fake", content) };
        Box::pin(async move { Ok(outcome) })
    }
}

impl Hooks for FakeHooks {
    fn text_is_idle(&self) -> bool {
        self.plugins.text.is_none()
    }

    fn usage(&self) -> Vec<PluginUse> {
        let fuel = self.plugins.fuel.load(Ordering::SeqCst);
        let used = PluginUse {
            plugin: "fake".to_owned(),
            stage: Stage::Token,
            calls: 1,
            fuel,
            memory_peak_bytes: 0,
            elapsed: Duration::ZERO,
            model_tokens: 0,
        };
        if fuel > 0 { vec![used] } else { Vec::new() }
    }

    fn take_log(&self) -> Vec<LogLine> {
        Vec::new()
    }
}

impl HookSource for Plugins {
    fn bind<'a>(&'a self, _: &'a Caller, info: RequestInfo) -> BoxFuture<'a, Result<Box<dyn Hooks>, Error>> {
        if let Some(model) = info.own_model.get() {
            self.depths.lock().expect("lock").push(model.depth());
        }
        let definitions = self.tools.iter().map(|name| tool(name)).collect();
        let hooks = FakeHooks { plugins: self.clone(), definitions, own_model: info.own_model };
        Box::pin(async move { Ok(Box::new(hooks) as Box<dyn Hooks>) })
    }
}

fn tool(name: &str) -> ToolDefinition {
    ToolDefinition {
        name: name.to_owned(),
        title: None,
        output_schema_json: None,
        description: String::new(),
        input_schema_json: "{}".to_owned(),
        as_sent_json: None,
        effects: ToolEffects::default(),
    }
}

struct TestClock(Instant);

impl Clock for TestClock {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }

    fn sleep(&self, time: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(time))
    }
}

/// The machine's clock.
pub(super) fn clock() -> Arc<dyn Clock> {
    Arc::new(TestClock(Instant::now()))
}

/// An engine over the scripted model, with a context of 4,096 tokens.
pub(super) async fn engine(script: Script, plugins: Plugins) -> (Engine, Arc<ModelLog>) {
    engine_with(script, plugins, 4, 16).await
}

pub(super) async fn engine_with(
    script: Script,
    plugins: Plugins,
    in_flight_max: usize,
    prefill_chunk: usize,
) -> (Engine, Arc<ModelLog>) {
    engine_changed(script, plugins, in_flight_max, prefill_chunk, |_| {}).await
}

/// As `engine_with`, with options that `change` changes.
pub(super) async fn engine_changed(
    script: Script,
    plugins: Plugins,
    in_flight_max: usize,
    prefill_chunk: usize,
    change: impl FnOnce(&mut EngineOptions),
) -> (Engine, Arc<ModelLog>) {
    let seen = Arc::new(ModelLog::default());
    let shared = Arc::clone(&seen);
    let info = ModelInfo {
        name: "scripted".to_owned(),
        architecture: "Fake".to_owned(),
        parameters: 0,
        context_tokens: 4_096,
        vocabulary: 256,
        device: "none".to_owned(),
        dtype: "f32",
        weights_bytes: 0,
    };
    let factory = move || {
        let (info, seen) = (info.clone(), Arc::clone(&shared));
        Ok(Box::new(ScriptedModel { info, script, texts: HashMap::new(), seen }) as Box<dyn LanguageModel>)
    };
    let mut options = options(plugins, clock(), in_flight_max, prefill_chunk);
    change(&mut options);
    (Engine::start(Box::new(factory), options).await.expect("starts"), seen)
}

/// Counts no deliveries.
struct UncountedDeliveries;

impl DeliveryTracker for UncountedDeliveries {
    fn sent(&self) {}

    fn delivered(&self) {}
}

pub(super) fn options(
    plugins: Plugins,
    clock: Arc<dyn Clock>,
    in_flight_max: usize,
    prefill_chunk: usize,
) -> EngineOptions {
    EngineOptions {
        codec: Arc::new(ByteCodec::of("<tool_call>{\"name\": …}</tool_call>")),
        hooks: Arc::new(plugins),
        tools: None,
        grammars: None,
        embedder: None,
        gate: Arc::new(OpenGate),
        approver: None,
        clock,
        deliveries: Arc::new(UncountedDeliveries),
        threads: tokio::runtime::Handle::current(),
        in_flight_max,
        prefill_chunk,
        warm_up: false,
        speculation: Speculation::Off,
    }
}
