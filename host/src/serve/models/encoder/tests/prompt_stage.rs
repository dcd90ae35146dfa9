//! The tenant's plugins see each text before the encoder does.

use std::sync::atomic::AtomicUsize;

use firebox_contract::{
    BoxFuture, EmbeddingHook, Fault, Hooks, LogLine, Message, PromptHook, PromptVerdict, Role, Stage, TextHook,
    TextVerdict, TokenHook, ToolCallHook, ToolDefinition, ToolHook,
};

use super::*;

type Verdict = fn(Vec<Message>) -> PromptVerdict;

/// One plugin of the prompt stage.
struct Plugins {
    verdict: Verdict,
    fuel: u64,
    /// Whether a call of a plugin never ends.
    waits: bool,
    bound: AtomicUsize,
    alive: Arc<AtomicUsize>,
    most_alive: AtomicUsize,
}

impl Plugins {
    fn new(verdict: Verdict) -> Self {
        let (bound, most_alive) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self { verdict, fuel: 10, waits: false, bound, alive: Arc::default(), most_alive }
    }
}

struct FakeHooks {
    verdict: Verdict,
    fuel: u64,
    waits: bool,
    calls: u64,
    alive: Arc<AtomicUsize>,
}

impl Drop for FakeHooks {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::Relaxed);
    }
}

impl HookSource for Plugins {
    fn bind<'a>(&'a self, _: &'a Caller, _: RequestInfo) -> BoxFuture<'a, Result<Box<dyn Hooks>, Error>> {
        self.bound.fetch_add(1, Ordering::Relaxed);
        let alive = self.alive.fetch_add(1, Ordering::Relaxed) + 1;
        self.most_alive.fetch_max(alive, Ordering::Relaxed);
        let (verdict, fuel, waits, alive) = (self.verdict, self.fuel, self.waits, Arc::clone(&self.alive));
        let hooks = FakeHooks { verdict, fuel, waits, calls: 0, alive };
        Box::pin(async move { Ok(Box::new(hooks) as Box<dyn Hooks>) })
    }
}

impl PromptHook for FakeHooks {
    fn process(&mut self, messages: Vec<Message>) -> BoxFuture<'_, Result<PromptVerdict, Error>> {
        self.calls += 1;
        if self.waits {
            return Box::pin(std::future::pending());
        }
        let verdict = (self.verdict)(messages);
        Box::pin(async move { Ok(verdict) })
    }
}

impl TextHook for FakeHooks {
    fn push(&mut self, _: String) -> BoxFuture<'_, Result<TextVerdict, Error>> {
        unreachable!("no text is made")
    }

    fn finish(&mut self) -> BoxFuture<'_, Result<String, Error>> {
        unreachable!("no text is made")
    }
}

impl TokenHook for FakeHooks {}

impl ToolCallHook for FakeHooks {}

impl EmbeddingHook for FakeHooks {}

impl ToolHook for FakeHooks {
    fn definitions(&self) -> &[ToolDefinition] {
        &[]
    }

    fn call<'a>(&'a self, _: &'a ToolCall) -> BoxFuture<'a, Result<ToolOutcome, Error>> {
        unreachable!("no tool is called")
    }
}

impl Hooks for FakeHooks {
    fn text_is_idle(&self) -> bool {
        true
    }

    fn usage(&self) -> Vec<PluginUse> {
        vec![PluginUse {
            plugin: "mask".to_owned(),
            stage: Stage::Prompt,
            calls: self.calls,
            fuel: self.fuel * self.calls,
            memory_peak_bytes: 64,
            elapsed: Duration::from_micros(1),
            model_tokens: 0,
        }]
    }

    fn take_log(&self) -> Vec<LogLine> {
        Vec::new()
    }
}

async fn embed(
    fixture: &EncoderFixture,
    plugins: &Plugins,
    log: &ReservationLog,
    texts: Vec<String>,
) -> Result<Embeddings, Error> {
    let request = EmbedRequest { id: "r".to_owned(), texts, options: options(true), timeout: WAIT_MAX };
    let admitted = fixture.thread.admit(&caller("a"), request, log.reservation()).await?;
    fixture.thread.embed(admitted, Some(plugins), Vec::new()).await
}

fn masked(mut messages: Vec<Message>) -> PromptVerdict {
    assert!(messages.len() == 1 && messages[0].role == Role::User, "{messages:?}");
    messages[0].content = messages[0].content.replace("secret", "[X]");
    PromptVerdict::Continue(messages)
}

#[tokio::test]
async fn the_encoder_sees_what_the_plugins_leave_and_instances_are_few() {
    let (fixture, plugins, log) = (EncoderFixture::new().await, Plugins::new(masked), ReservationLog::default());
    let texts = (0..20).map(|number| format!("secret {number:02}")).collect();
    let vectors = embed(&fixture, &plugins, &log, texts).await.expect("embeds");
    let seen = fixture.seen();
    let all: Vec<&String> = steps(&seen).into_iter().flatten().collect();
    assert!(all.len() == 20 && all.iter().all(|text| text.starts_with("[X]")), "{all:?}");
    assert!(seen.iter().all(|seen| !format!("{seen:?}").contains("secret")), "not even counted");
    assert_eq!(plugins.bound.load(Ordering::Relaxed), 20, "each text is a prompt of its own");
    assert_eq!(plugins.most_alive.load(Ordering::Relaxed), 1);
    assert_eq!((vectors.plugins.len(), vectors.plugins[0].calls, vectors.plugins[0].fuel), (1, 20, 200));
    let lines = log.lines();
    assert_eq!(lines.iter().filter(|line| *line == "go on 10").count(), 19, "fuel counts as it is used: {lines:?}");
    assert_eq!(log.settled(), "settle stop 120 200");
}

#[tokio::test]
async fn a_refusal_is_the_requests_error_and_names_the_text() {
    let verdict: Verdict = |messages| match messages[0].content.contains("bad") {
        true => PromptVerdict::Refuse { plugin: "guard".to_owned(), message: "not here".to_owned() },
        false => PromptVerdict::Continue(messages),
    };
    let (fixture, plugins, log) = (EncoderFixture::new().await, Plugins::new(verdict), ReservationLog::default());
    let error = embed(&fixture, &plugins, &log, vec!["good".to_owned(), "bad".to_owned()]).await.expect_err("refused");
    assert_eq!(error.to_string(), "plugin \"guard\" refused input[1]: not here");
    assert_eq!(log.settled(), "settle refused 0 20");
    assert!(fixture.seen().is_empty(), "nothing was embedded");
}

#[tokio::test]
async fn what_is_not_one_user_message_is_a_fault() {
    let shapes: [(Verdict, &str); 5] = [
        (|_| PromptVerdict::Respond("42".to_owned()), "responded in place of the model"),
        (|_| PromptVerdict::Continue(Vec::new()), "must return exactly one message"),
        (|messages| PromptVerdict::Continue([messages.clone(), messages].concat()), "must return exactly one message"),
        (|_| PromptVerdict::Continue(vec![Message::text(Role::System, "x")]), "message of the user"),
        (|_| PromptVerdict::Continue(vec![Message::text(Role::User, "")]), "returned an empty text"),
    ];
    let fixture = EncoderFixture::new().await;
    for (verdict, words) in shapes {
        let (plugins, log) = (Plugins::new(verdict), ReservationLog::default());
        let error = embed(&fixture, &plugins, &log, vec!["a".to_owned()]).await.expect_err("a fault");
        let Error::Fault(Fault { plugin, fuel, .. }) = &error else { panic!("{error}") };
        assert_eq!((plugin.as_str(), *fuel), ("mask", 10));
        assert!(error.to_string().contains(words) && error.to_string().contains("input[0]"), "{error}");
        assert_eq!(log.settled(), "settle plugin_fault 0 10");
    }
}

#[tokio::test]
async fn fuel_is_bounded_over_all_texts_of_a_request() {
    let fixture = EncoderFixture::new().await;
    let plugins = Plugins { fuel: limits::EMBED_PLUGIN_FUEL_MAX / 10, ..Plugins::new(masked) };
    let error = embed(&fixture, &plugins, &ReservationLog::default(), texts('a', 100, 8)).await.expect_err("too much");
    assert!(matches!(error, Error::TooLarge(_)) && error.to_string().contains("11 of 100 texts"), "{error}");
    // What the caller may use ends it too.
    let (plugins, log) = (Plugins::new(masked), ReservationLog { goes_on_max: Some(3), ..ReservationLog::default() });
    let error = embed(&fixture, &plugins, &log, texts('a', 100, 8)).await.expect_err("used up");
    assert!(matches!(error, Error::Unauthorized(_)), "{error}");
    assert_eq!((plugins.bound.load(Ordering::Relaxed), log.settled()), (3, "settle unauthorized 0 30".to_owned()));
}

#[tokio::test]
async fn plugins_cannot_make_the_host_hold_much_more_text() {
    let longer: Verdict = |_| {
        PromptVerdict::Continue(vec![Message::text(Role::User, "x".repeat(limits::EMBED_PLUGIN_BYTES_ADDED_MAX / 4))])
    };
    let (fixture, plugins) = (EncoderFixture::new().await, Plugins::new(longer));
    let error = embed(&fixture, &plugins, &ReservationLog::default(), texts('a', 100, 8)).await.expect_err("too long");
    assert!(error.to_string().contains("plugins made the texts"), "{error}");
    assert_eq!(plugins.bound.load(Ordering::Relaxed), 5);
}

#[tokio::test]
async fn who_leaves_in_the_middle_of_a_guest_call_pays_for_it() {
    let (fixture, log) = (EncoderFixture::new().await, ReservationLog::default());
    let (thread, reservation) = (Arc::clone(&fixture.thread), log.reservation());
    let task = tokio::spawn(async move {
        let request =
            EmbedRequest { id: "r".to_owned(), texts: texts('a', 3, 8), options: options(true), timeout: WAIT_MAX };
        let admitted = thread.admit(&caller("a"), request, reservation).await?;
        let plugins = Plugins { waits: true, ..Plugins::new(masked) };
        thread.embed(admitted, Some(&plugins), Vec::new()).await
    });
    for _ in 0..5 {
        tokio::task::yield_now().await;
    }
    task.abort();
    let _cancelled = task.await;
    assert_eq!(log.settled(), "settle interrupted 0 10");
    assert_eq!(fixture.thread.counters().running, 0);
}
