//! The gate is asked before anything is used, and each reservation is settled once, however the request ends.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use firebox_contract::limits::ANSWER_TOKENS_EXPECTED;
use firebox_contract::{
    BoxFuture, Error, Event, FinishReason, PromptVerdict, SamplingOverrides, TokenAction, TokenNeeds, TokenSession,
    TokenStep,
};

use super::super::fakes::StartSession;
use super::doubles::{FakeToolSource, RecordingGate, UsageRecorder};
use super::*;

async fn engine_with_recorder(
    recorder: UsageRecorder,
    plugins: Plugins,
) -> (Engine, Arc<UsageRecorder>, Arc<FakeToolSource>) {
    let (recorder, source) = (Arc::new(recorder), FakeToolSource::of(&["read_x", "read_hang", "read_broken"]));
    let (gate, tools) = (RecordingGate(Arc::clone(&recorder)), Arc::clone(&source));
    let (engine, _) = engine_changed(scripted_turn, plugins, 2, 64, |options| {
        options.gate = Arc::new(gate);
        options.tools = Some(tools);
    })
    .await;
    (engine, recorder, source)
}

#[tokio::test]
async fn every_turn_is_reserved_and_every_call_recorded() {
    let (engine, recorder, _) = engine_with_recorder(UsageRecorder::default(), Plugins::default()).await;
    let sampling = SamplingOverrides { max_tokens: Some(1_000), ..SamplingOverrides::default() };
    let turn = call("read_x", "{}");
    let request = GenerationRequest { sampling, id: Some("r7".to_owned()), ..ask(&[&turn, "done"]) };
    let prompt = ask(&[&turn, "done"]);
    let generation = start(&engine, request).await.expect("admitted");
    assert_eq!(generation.id(), "r7");
    let answer = collect(generation).await.expect("answered");
    let Prompt::Chat(messages) = &prompt.prompt else { panic!("a chat") };
    let first = "[read_x][read_hang][read_broken]user: ".len() + messages[0].content.len() + "\n\nA:".len();
    let second = answer.finish.usage.prompt_tokens - first;
    assert_eq!(
        recorder.lines(),
        [
            "admit local scripted r7".to_owned(),
            format!("reserve {}", first + 1_000),
            "called call_0 allowed false".to_owned(),
            format!("reserve {}", second + 1_000 - turn.len()),
            "settle stop true true".to_owned(),
        ]
    );
}

#[tokio::test]
async fn a_request_that_the_gate_refuses_does_not_start() {
    let (engine, recorder, _) =
        engine_with_recorder(UsageRecorder { refuse: true, ..UsageRecorder::default() }, Plugins::default()).await;
    let error = start(&engine, ask(&["hi"])).await.err().expect("refused");
    assert!(matches!(error, Error::Limited { .. }), "{error}");
    assert!(recorder.lines().is_empty());
    let (engine, recorder, _) =
        engine_with_recorder(UsageRecorder { tokens_max: Some(100), ..UsageRecorder::default() }, Plugins::default())
            .await;
    assert!(matches!(start(&engine, ask(&["hi"])).await, Err(Error::Limited { .. })));
    assert_eq!(recorder.settled(), ["settle rate_limited false false"]);
}

#[tokio::test]
async fn a_quota_that_is_used_up_between_turns_ends_the_request() {
    let recorder = UsageRecorder { tokens_max: Some(4_000), ..UsageRecorder::default() };
    let (engine, recorder, _) = engine_with_recorder(recorder, Plugins::default()).await;
    let mut generation = start(&engine, ask(&[&call("read_x", "{}"), "done"])).await.expect("admitted");
    let error = loop {
        match generation.next().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("no error"),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::Limited { .. }), "{error}");
    drop(generation);
    assert_eq!(recorder.settled(), ["settle rate_limited true true"]);
}

#[tokio::test]
async fn calls_above_the_quota_are_refused_and_recorded() {
    let recorder = UsageRecorder { calls_max: Some(1), ..UsageRecorder::default() };
    let (engine, recorder, source) = engine_with_recorder(recorder, Plugins::default()).await;
    let both = format!("{}{}{}", call("read_x", "{}"), call("read_x", "{\"n\": 1}"), call("nope", "{}"));
    let answer = answer(&engine, ask(&[&both, "done"])).await;
    assert_eq!(answer.text, "done");
    assert_eq!(source.log().len(), 2);
    let mut called: Vec<String> = recorder.lines().into_iter().filter(|line| line.starts_with("called")).collect();
    called.sort();
    assert_eq!(called, ["called call_0 allowed false", "called call_1 rejected true", "called call_2 rejected true"]);
}

#[tokio::test]
async fn the_reservation_is_settled_once_however_the_request_ends() {
    // Dropped during a turn.
    let (engine, recorder, _) = engine_with_recorder(UsageRecorder::default(), Plugins::default()).await;
    let mut generation = start(&engine, ask(&[&"long ".repeat(50)])).await.expect("admitted");
    generation.next().await.expect("an event");
    drop(generation);
    // Stopped by a reader with a reason.
    let mut generation = start(&engine, ask(&[&"long ".repeat(50)])).await.expect("admitted");
    generation.next().await.expect("an event");
    generation.so_far(FinishReason::Timeout);
    drop(generation);
    // Dropped while a tool runs.
    let mut generation = start(&engine, ask(&[&call("read_hang", "{}")])).await.expect("admitted");
    while !matches!(generation.next().await, Ok(Some(Event::ToolCall(_)))) {}
    assert!(tokio::time::timeout(Duration::from_millis(5), generation.next()).await.is_err());
    drop(generation);
    // Failed.
    let failed = collect(start(&engine, ask(&[&call("read_broken", "{}")])).await.expect("admitted")).await;
    assert!(failed.is_err());
    // Refused before its start.
    assert!(start(&engine, ask(&[""])).await.is_err());
    assert_eq!(
        recorder.settled(),
        [
            "settle interrupted true true",
            "settle timeout true true",
            "settle interrupted true true",
            "settle internal true true",
            "settle invalid_request false false",
        ]
    );
    assert!(recorder.lines().contains(&"called call_0 allowed true".to_owned()), "a cancelled call is recorded too");
    let refuse = PromptVerdict::Refuse { plugin: "guard".to_owned(), message: "no".to_owned() };
    let plugins = Plugins { prompt: Some(refuse), ..Plugins::default() };
    let (engine, recorder, _) = engine_with_recorder(UsageRecorder::default(), plugins).await;
    assert!(start(&engine, ask(&["hi"])).await.is_err());
    assert_eq!(recorder.settled(), ["settle refused false false"]);
}

#[tokio::test]
async fn more_tokens_are_reserved_as_the_answer_grows() {
    let prompt = "user: q\n\nA:".len();
    for (tokens_max, expected) in [
        (usize::MAX, 4_096 - prompt + 1),
        // The third reservation is refused.
        (prompt + 2 * ANSWER_TOKENS_EXPECTED, 2 * ANSWER_TOKENS_EXPECTED),
    ] {
        let recorder = Arc::new(UsageRecorder { tokens_max: Some(tokens_max), ..UsageRecorder::default() });
        let gate = RecordingGate(Arc::clone(&recorder));
        let (engine, _) =
            engine_changed(|_| "w".repeat(10_000), Plugins::default(), 2, 64, |options| options.gate = Arc::new(gate))
                .await;
        let answer = answer(&engine, GenerationRequest::new(Prompt::Chat(vec![Message::text(Role::User, "q")]))).await;
        assert_eq!(answer.text.len(), expected, "{:?}", answer.finish.reason);
        let reserved: Vec<String> = recorder.lines().into_iter().filter(|line| line.starts_with("reserve")).collect();
        assert_eq!(reserved[0], format!("reserve {}", prompt + ANSWER_TOKENS_EXPECTED));
        assert_eq!(reserved[1], format!("reserve {ANSWER_TOKENS_EXPECTED}"));
        let limited = tokens_max < usize::MAX;
        assert_eq!(answer.finish.reason == FinishReason::Length, limited);
    }
}

/// A session that never decides, and records what it used when it is dropped.
struct Endless(Arc<AtomicU64>);

struct Recorder<'a>(&'a AtomicU64);

impl Drop for Recorder<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1_234, Ordering::SeqCst);
    }
}

impl TokenSession for Endless {
    fn needs(&self) -> TokenNeeds {
        TokenNeeds { candidates: 0, hold_back: 0 }
    }

    fn next(&mut self, _step: TokenStep) -> BoxFuture<'_, Result<TokenAction, Error>> {
        Box::pin(async {
            let _recorder = Recorder(&self.0);
            std::future::pending().await
        })
    }
}

#[tokio::test]
async fn a_call_of_the_token_stage_that_a_cancel_interrupts_is_charged() {
    let fuel = Arc::new(AtomicU64::new(0));
    let shared = Arc::clone(&fuel);
    let start_session: StartSession = Arc::new(move |_| Box::new(Endless(Arc::clone(&shared))));
    let plugins = Plugins { tokens: Some(start_session), fuel: Arc::clone(&fuel), ..Plugins::default() };
    let (engine, recorder, _) = engine_with_recorder(UsageRecorder::default(), plugins).await;
    let mut generation = start(&engine, ask(&["hi"])).await.expect("admitted");
    let waiting = tokio::time::timeout(Duration::from_millis(200), generation.next()).await;
    assert!(waiting.is_err(), "the session does not decide");
    drop(generation);
    let settled = tokio::time::timeout(Duration::from_secs(10), async {
        while recorder.settled().is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    settled.await.expect("it is settled");
    assert_eq!(recorder.settled(), ["settle interrupted true false fuel 1234"]);
}
