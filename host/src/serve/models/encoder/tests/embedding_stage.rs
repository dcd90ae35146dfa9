//! The embedding stage: plugins see all texts of a request before the encoder, and all its vectors after it.

use firebox_contract::{
    BoxFuture, EmbeddingHook, EmbeddingVerdict, Hooks, LogLine, Message, PromptHook, PromptVerdict, Stage, TextHook,
    TextVerdict, TokenHook, ToolCall, ToolCallHook, ToolDefinition, ToolHook, ToolOutcome,
};

use super::*;

/// A plugin that appends to each text and keeps the first number of each vector, or refuses.
#[derive(Clone, Copy)]
struct Shortening {
    refuses: bool,
}

struct FakeHooks {
    plugin: Shortening,
    calls: u64,
}

impl HookSource for Shortening {
    fn bind<'a>(&'a self, _: &'a Caller, _: RequestInfo) -> BoxFuture<'a, Result<Box<dyn Hooks>, Error>> {
        Box::pin(async move { Ok(Box::new(FakeHooks { plugin: *self, calls: 0 }) as Box<dyn Hooks>) })
    }
}

impl EmbeddingHook for FakeHooks {
    fn before_embedding(&mut self, texts: Vec<String>) -> BoxFuture<'_, Result<EmbeddingVerdict, Error>> {
        self.calls += 1;
        let verdict = match self.plugin.refuses {
            true => EmbeddingVerdict::Refuse { plugin: "short".to_owned(), message: "too secret".to_owned() },
            false => EmbeddingVerdict::Continue(texts.into_iter().map(|text| text + "!").collect()),
        };
        Box::pin(async move { Ok(verdict) })
    }

    fn after_embedding(&mut self, mut vectors: Vec<Vec<f32>>) -> BoxFuture<'_, Result<Vec<Vec<f32>>, Error>> {
        self.calls += 1;
        vectors.iter_mut().for_each(|vector| vector.truncate(1));
        Box::pin(async move { Ok(vectors) })
    }
}

impl PromptHook for FakeHooks {
    fn process(&mut self, _: Vec<Message>) -> BoxFuture<'_, Result<PromptVerdict, Error>> {
        unreachable!("the chain has the embedding stage only")
    }
}

impl TokenHook for FakeHooks {}

impl TextHook for FakeHooks {
    fn push(&mut self, _: String) -> BoxFuture<'_, Result<TextVerdict, Error>> {
        unreachable!("no text is made")
    }

    fn finish(&mut self) -> BoxFuture<'_, Result<String, Error>> {
        unreachable!("no text is made")
    }
}

impl ToolCallHook for FakeHooks {}

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
            plugin: "short".to_owned(),
            stage: Stage::Embedding,
            calls: self.calls,
            fuel: 10 * self.calls,
            memory_peak_bytes: 64,
            elapsed: Duration::from_micros(self.calls),
            model_tokens: 0,
        }]
    }

    fn take_log(&self) -> Vec<LogLine> {
        Vec::new()
    }
}

async fn embed(fixture: &EncoderFixture, refuses: bool, log: &ReservationLog) -> Result<Embeddings, Error> {
    let request =
        EmbedRequest { id: "r".to_owned(), texts: texts('a', 3, 8), options: options(true), timeout: WAIT_MAX };
    let admitted = fixture.thread.admit(&caller("a"), request, log.reservation()).await?;
    let admitted = admitted.through(Some(Box::new(Shortening { refuses })));
    fixture.thread.embed(admitted, None, Vec::new()).await
}

#[tokio::test]
async fn texts_and_vectors_go_through_the_stage_and_its_use_is_settled_once() {
    let (fixture, log) = (EncoderFixture::new().await, ReservationLog::default());
    let embeddings = embed(&fixture, false, &log).await.expect("embeds");
    assert!(embeddings.vectors.len() == 3 && embeddings.vectors.iter().all(|vector| vector.len() == 1));
    let seen = fixture.seen();
    assert!(steps(&seen).into_iter().flatten().all(|text| text.ends_with('!')), "{seen:?}");
    assert_eq!((embeddings.plugins.len(), embeddings.plugins[0].calls, embeddings.plugins[0].fuel), (1, 2, 20));
    assert_eq!(log.settled(), "settle stop 27 20", "three texts of nine tokens, and both calls");
}

#[tokio::test]
async fn refused_texts_are_the_requests_error() {
    let (fixture, log) = (EncoderFixture::new().await, ReservationLog::default());
    let error = embed(&fixture, true, &log).await.expect_err("refused");
    assert_eq!(error.to_string(), "plugin \"short\" refused the texts: too secret");
    assert_eq!(log.settled(), "settle refused 0 10");
    assert!(fixture.seen().is_empty(), "nothing was embedded");
}
