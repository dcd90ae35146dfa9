//! The model that serves the request, for guests.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use firebox_contract::{
    BoxFuture, Error, FaultCause, FinishReason, LogLine, ModelHandle, PluginAnswer, PluginPrompt, PluginVectors,
    Prompt, RequestModel, TextVerdict, TokenId, ToolCall, Usage, limits,
};
use firebox_sandbox::{ComponentSource, Grants, PluginChain, PluginLimits, PluginSpec, Sandbox};

use super::{NoProgress, PROBE, Three, answer, ask, probe, sandbox, texts};
use crate::support::{guest, push_once, request, spec};

/// A model that repeats what it is asked, or answers with an error.
#[derive(Default)]
pub(crate) struct FakeModel {
    depth: usize,
    /// Tokens that a prompt is said to have.
    prompt_tokens: usize,
    error: Option<Error>,
    never_answers: bool,
    asked: Mutex<Vec<PluginPrompt>>,
    /// Generations that were dropped before their end.
    cancelled: AtomicUsize,
}

struct CancelCounter<'a>(&'a AtomicUsize);

impl Drop for CancelCounter<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl FakeModel {
    /// A model in a request that is `depth` generations deep, whose prompts have this many tokens.
    pub(crate) fn new(depth: usize, prompt_tokens: usize) -> Self {
        Self { depth, prompt_tokens, ..Self::default() }
    }

    async fn answer(&self, prompt: PluginPrompt) -> Result<PluginAnswer, Error> {
        self.asked.lock().expect("no panic").push(prompt.clone());
        if self.never_answers {
            let _cancelled = CancelCounter(&self.cancelled);
            std::future::pending::<()>().await;
        }
        if let Some(error) = &self.error {
            return Err(error.clone());
        }
        let text = match prompt.prompt {
            Prompt::Text(text) => text,
            Prompt::Chat(messages) => messages.into_iter().map(|message| message.content).collect(),
        };
        let usage = Usage { prompt_tokens: self.prompt_tokens, completion_tokens: 2, ..Usage::default() };
        let line = LogLine { plugin: "redact".to_owned(), level: "info", message: "hid a name".to_owned() };
        Ok(PluginAnswer { text, finish: FinishReason::Length, usage, log: vec![line] })
    }
}

impl RequestModel for FakeModel {
    fn depth(&self) -> usize {
        self.depth
    }

    fn context_tokens(&self) -> usize {
        2_048
    }

    fn generate<'a>(&'a self, _plugin: &'a str, prompt: PluginPrompt) -> BoxFuture<'a, Result<PluginAnswer, Error>> {
        Box::pin(self.answer(prompt))
    }

    fn embed<'a>(
        &'a self,
        _plugin: &'a str,
        model: Option<String>,
        texts: Vec<String>,
        tokens_max: usize,
    ) -> BoxFuture<'a, Result<PluginVectors, Error>> {
        let (retry_after, tokens) = (Duration::ZERO, self.prompt_tokens.max(7));
        let found = match model.as_deref() {
            _ if tokens_max < tokens => Err(Error::Limited { message: format!("{tokens_max} are left"), retry_after }),
            None | Some("minilm") => Ok(PluginVectors { vectors: vec![vec![0.5; 4]; texts.len()], tokens }),
            Some(other) => Err(Error::NotFound(format!("there is no model \"{other}\""))),
        };
        Box::pin(std::future::ready(found))
    }

    fn tokenize(&self, text: String) -> BoxFuture<'_, Result<Vec<TokenId>, Error>> {
        Box::pin(std::future::ready(Ok(text.bytes().map(TokenId::from).collect())))
    }
}

const ALL: &[&str] = &["model:generate", "model:embed", "model:tokenize"];

async fn with(sandbox: &Sandbox, model: &Arc<FakeModel>, grants: Three<'_>) -> PluginChain {
    let model = Arc::clone(model) as Arc<dyn RequestModel>;
    probe(sandbox, "probe", "acme", grants).await.with_model(ModelHandle::new(model))
}

fn call(name: &str, more: &str) -> String {
    format!("{{\"do\": \"model\", \"call\": \"{name}\"{more}}}")
}

#[tokio::test]
async fn a_plugin_gets_answers_vectors_and_tokens() {
    let (sandbox, model) = (sandbox(), Arc::new(FakeModel { prompt_tokens: 3, ..FakeModel::default() }));
    let chain = with(&sandbox, &model, Three::all(ALL)).await;
    let generate = call("generate", ", \"text\": \"hi\", \"role\": \"user\", \"max_tokens\": 9, \"temperature\": 0.5");
    let (text, log) = ask(&chain, &generate).await;
    assert_eq!(text, "Finish::Length 3 2 hi");
    assert_eq!(log, ["info in its generation, redact: hid a name"]);
    let asked = model.asked.lock().expect("no panic").pop().expect("one");
    assert_eq!((asked.sampling.max_tokens, asked.sampling.temperature), (Some(9), Some(0.5)));
    assert_eq!(asked.tokens_max, limits::PLUGIN_MODEL_CALL_TOKENS_MAX);
    assert_eq!(answer(&chain, &call("tokenize", ", \"text\": \"ab\"")).await, "[97, 98]");
    assert_eq!(answer(&chain, &call("embed", ", \"text\": \"ab\"")).await, "4 4 7");
    assert_eq!(answer(&chain, &call("embed", ", \"text\": \"ab\", \"model\": \"minilm\"")).await, "4 4 7");
    let unknown = answer(&chain, &call("embed", ", \"text\": \"ab\", \"model\": \"big\"")).await;
    assert!(unknown.contains("Absent(\"there is no model \\\"big\\\"\")"), "{unknown}");
    let left = answer(&chain, &call("remaining", "")).await;
    assert_eq!(left, format!("2048 {} {}", limits::PLUGIN_MODEL_CALL_TOKENS_MAX, limits::PLUGIN_MODEL_CALLS_MAX));
}

#[tokio::test]
async fn each_function_needs_a_grant_of_manifest_operator_and_tenant() {
    let (sandbox, model) = (sandbox(), Arc::new(FakeModel::default()));
    let generate = call("generate", ", \"text\": \"hi\"");
    for three in [
        Three { manifest: &[], ..Three::all(ALL) },
        Three { operator: &[], ..Three::all(ALL) },
        Three { tenant: &[], ..Three::all(ALL) },
    ] {
        let (text, log) = ask(&with(&sandbox, &model, three).await, &generate).await;
        assert!(
            text.contains("Error::Denied") && log.len() == 1 && log[0].contains("model:generate"),
            "{text} {log:?}"
        );
    }
    let part = with(&sandbox, &model, Three::all(&["model:tokenize"])).await;
    assert_eq!(answer(&part, &call("tokenize", ", \"text\": \"a\"")).await, "[97]");
    for other in [&generate, &call("embed", ", \"text\": \"a\"")] {
        assert!(answer(&part, other).await.contains("Error::Denied"), "{other}");
    }
    assert!(answer(&part, &call("remaining", "")).await.starts_with("2048 "), "one function is enough");
    assert!(model.asked.lock().expect("no panic").is_empty(), "nothing was asked");
    let explained = part.plugins()[0].explain_grants(Some(part.grants()));
    assert_eq!(explained.iter().map(|row| row.capability.as_str()).collect::<Vec<_>>()[0], "model:tokenize");
}

#[tokio::test]
async fn a_request_without_a_model_and_a_generation_of_a_plugin_have_none() {
    let sandbox = sandbox();
    let generate = call("generate", ", \"text\": \"hi\"");
    let none = probe(&sandbox, "probe", "acme", Three::all(ALL)).await;
    let text = answer(&none, &generate).await;
    assert!(text.contains("Absent(\"no model serves this request\")"), "{text}");
    let nested = with(&sandbox, &Arc::new(FakeModel { depth: 1, ..FakeModel::default() }), Three::all(ALL)).await;
    for function in ["generate", "embed", "tokenize", "remaining"] {
        let text = answer(&nested, &call(function, ", \"text\": \"hi\"")).await;
        assert!(text.contains("Error::Nested"), "{function}: {text}");
    }
}

#[tokio::test]
async fn what_one_call_of_a_guest_uses_is_bounded() {
    let (sandbox, model) = (sandbox(), Arc::new(FakeModel { prompt_tokens: 9_000, ..FakeModel::default() }));
    let chain = with(&sandbox, &model, Three::all(ALL)).await;
    let text = answer(&chain, &call("generate", ", \"text\": \"hi\", \"times\": 3")).await;
    assert!(text.contains("Limited(\"this call has used 16384 tokens"), "{text}");
    assert_eq!(model.asked.lock().expect("no panic").len(), 2);
    let many = format!(", \"text\": \"a\", \"times\": {}", limits::PLUGIN_MODEL_CALLS_MAX + 1);
    let text = answer(&chain, &call("tokenize", &many)).await;
    assert!(text.contains("Limited(\"the model was called 32 times"), "{text}");
    assert_eq!(answer(&chain, &call("tokenize", ", \"text\": \"a\"")).await, "[97]", "the next call has its own");
    let long = "x".repeat(limits::PLUGIN_MODEL_INPUT_BYTES_MAX + 1);
    for (function, more, expected) in [
        ("generate", format!(", \"text\": \"{long}\""), "Invalid(\"262145 bytes"),
        ("generate", format!(", \"role\": \"user\", \"text\": \"{long}\""), "Invalid(\"262145 bytes"),
        ("tokenize", format!(", \"text\": \"{long}\""), "Invalid(\"262145 bytes"),
        ("embed", format!(", \"text\": \"{long}\""), "Invalid(\"262145 bytes"),
        ("embed", ", \"text\": \"\"".to_owned(), "Invalid(\"1 to 64 texts"),
        ("generate", ", \"role\": \"tool\", \"text\": \"a\"".to_owned(), "Invalid(\"a message of a tool"),
        ("generate", ", \"role\": \"none\"".to_owned(), "Invalid(\"a conversation has 1 to 64"),
    ] {
        let text = answer(&chain, &call(function, &more)).await;
        assert!(text.contains(expected), "{function}: {text:.200}");
    }
}

#[tokio::test]
async fn the_tokens_that_a_call_used_are_those_of_its_plugin_and_limit_what_it_embeds() {
    let prompt_tokens = limits::PLUGIN_MODEL_CALL_TOKENS_MAX - 5;
    let (sandbox, model) = (sandbox(), Arc::new(FakeModel { prompt_tokens, ..FakeModel::default() }));
    let chain = with(&sandbox, &model, Three::all(ALL)).await;
    let run = async |arguments: &str| {
        let arguments_json = arguments.to_owned();
        let call = ToolCall { id: "1".to_owned(), name: "probe".to_owned(), arguments_json };
        let run = chain.call_tool(&call, &NoProgress).await.expect("it has the tool");
        (run.outcome.expect("no fault").content, run.uses.iter().map(|row| row.model_tokens).sum::<u64>())
    };
    let tokens = limits::PLUGIN_MODEL_CALL_TOKENS_MAX as u64 - 3;
    assert_eq!(run(&call("generate", ", \"text\": \"hi\"")).await.1, tokens);
    assert_eq!(run(&call("tokenize", ", \"text\": \"hi\"")).await.1, 0, "it computes nothing");
    let (text, used) = run(&call("embed", ", \"text\": \"hi\", \"times\": 2")).await;
    assert!(text.contains("Limited(\"5 are left") && used == prompt_tokens as u64, "{text} {used}");
}

#[tokio::test]
async fn an_error_of_the_host_is_one_of_the_interface_and_names_nothing_of_the_host() {
    let sandbox = sandbox();
    let limited = Error::Limited { message: "tenant \"acme\" has used it up".to_owned(), retry_after: Duration::ZERO };
    for (error, expected) in [
        (limited, "Limited(\"tenant"),
        (Error::TooLarge("too long".to_owned()), "Limited(\"too long"),
        (Error::Usage("temperature".to_owned()), "Invalid(\"temperature"),
        (Error::Refused("plugin \"guard\" refused".to_owned()), "Refused(\"plugin"),
        (Error::Unauthorized("revoked".to_owned()), "Refused(\"revoked"),
        (Error::Timeout("time".to_owned()), "Unavailable(\"time"),
        (Error::Unavailable("closing".to_owned()), "Unavailable(\"closing"),
        (Error::Model("/srv/models/secret-model: broken".to_owned()), "Unavailable(\"the model failed\")"),
        (Error::Internal("/srv/lib".to_owned()), "Unavailable(\"the model failed\")"),
    ] {
        let model = Arc::new(FakeModel { error: Some(error), ..FakeModel::default() });
        let text =
            answer(&with(&sandbox, &model, Three::all(ALL)).await, &call("generate", ", \"text\": \"hi\"")).await;
        assert!(text.contains(expected) && !text.contains("/srv"), "{text}");
    }
}

#[tokio::test]
async fn a_model_that_never_answers_ends_with_the_call_and_costs_no_fuel() {
    let (sandbox, model) = (sandbox(), Arc::new(FakeModel { never_answers: true, ..FakeModel::default() }));
    let spec = PluginSpec {
        asks: texts(ALL),
        grants: Grants::parse(ALL).expect("valid"),
        limits: PluginLimits { timeout: Duration::from_millis(300), ..PluginLimits::default() },
        ..PluginSpec::new("probe", ComponentSource::BuiltIn(PROBE))
    };
    let plugin = sandbox.load(spec).await.unwrap_or_else(|error| panic!("{error}"));
    let model_of = Arc::clone(&model) as Arc<dyn RequestModel>;
    let chain = PluginChain::new(vec![plugin]).expect("a chain").with_model(ModelHandle::new(model_of));
    let arguments_json = call("generate", ", \"text\": \"hi\"");
    let wait = ToolCall { id: "1".to_owned(), name: "probe".to_owned(), arguments_json };
    let started = Instant::now();
    let run = chain.call_tool(&wait, &NoProgress).await.expect("it has the tool");
    let Err(Error::Fault(fault)) = run.outcome else { panic!("no fault") };
    assert!(matches!(fault.cause, FaultCause::TimedOut { .. }), "{fault}");
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    assert!(fault.fuel < 10_000_000, "waiting is no computing: {}", fault.fuel);
    assert_eq!(model.cancelled.load(Ordering::SeqCst), 1, "the generation is cancelled");
    let dropped = tokio::time::timeout(Duration::from_millis(50), chain.call_tool(&wait, &NoProgress)).await;
    assert!(dropped.is_err());
    assert_eq!(model.cancelled.load(Ordering::SeqCst), 2, "with its caller");
}

#[tokio::test]
async fn at_the_text_stage_the_model_is_in_the_middle_of_an_answer() {
    let (sandbox, asked) = (sandbox(), Arc::new(FakeModel::default()));
    let granted = Grants::parse(ALL).expect("valid");
    let asking = PluginSpec { asks: texts(ALL), grants: granted, ..spec("model", guest("model")) };
    let plugin = sandbox.load(asking).await.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(push_once(&plugin, "x").await.expect("no fault"), TextVerdict::Emit("b".to_owned()), "the error stage");
    let chain = PluginChain::new(vec![plugin]).expect("a chain").with_model(ModelHandle::new(asked));
    let mut hooks = chain.bind_while(request(), Arc::new(|_| true)).await.expect("bound");
    assert_eq!(hooks.push("x".to_owned()).await.expect("no fault"), TextVerdict::Emit("b".to_owned()));
    let denied = sandbox.load(spec("denied", guest("model"))).await.expect("loaded");
    assert_eq!(
        push_once(&denied, "x").await.expect("no fault"),
        TextVerdict::Emit("a".to_owned()),
        "denied comes first"
    );
}
