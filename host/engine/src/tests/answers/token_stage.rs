//! The token stage: sessions that choose, force and take back tokens, and slow ones.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use firebox_contract::limits::TOKEN_STAGE_DELAY_MAX;
use firebox_contract::{
    BoxFuture, Error, Event, FinishReason, SamplingOverrides, TokenAction, TokenId, TokenMask, TokenNeeds, TokenRule,
    TokenSequence, TokenSession, TokenStep,
};

use super::super::fakes::{Plugins, StartSession, engine};
use super::super::fixture_model::EngineFixture;
use super::super::{answer, ask, ask_with, collect, start};
use crate::Speculation;

/// What a session answers to a step. It gets the answer so far.
type Decide = fn(&str, &TokenStep) -> Result<TokenAction, Error>;

/// A session that keeps the answer as it sees it.
struct Session {
    needs: TokenNeeds,
    decide: Decide,
    answer: String,
    delay: Duration,
    log: Log,
}

type Log = Arc<Mutex<Vec<TokenStep>>>;

impl TokenSession for Session {
    fn needs(&self) -> TokenNeeds {
        self.needs
    }

    fn next(&mut self, step: TokenStep) -> BoxFuture<'_, Result<TokenAction, Error>> {
        self.log.lock().expect("lock").push(step.clone());
        self.answer.truncate(self.answer.len() - step.taken_back);
        self.answer.extend(step.accepted.iter().map(|token| char::from(*token as u8)));
        let (action, delay) = ((self.decide)(&self.answer, &step), self.delay);
        Box::pin(async move {
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            action
        })
    }
}

fn session(needs: TokenNeeds, decide: Decide) -> (Plugins, Log) {
    session_after(Duration::ZERO, needs, decide)
}

fn session_after(delay: Duration, needs: TokenNeeds, decide: Decide) -> (Plugins, Log) {
    let log = Log::default();
    let shared = Arc::clone(&log);
    let start: StartSession = Arc::new(move |sequence: TokenSequence| {
        assert_eq!((sequence.vocabulary, sequence.ends.as_slice()), (256, &[0][..]));
        assert!(sequence.prompt.ends_with(&[u32::from(b'A'), u32::from(b':')]));
        Box::new(Session { needs, decide, answer: String::new(), delay, log: Arc::clone(&shared) })
    });
    (Plugins { tokens: Some(start), ..Plugins::default() }, log)
}

fn holding(hold_back: usize) -> TokenNeeds {
    TokenNeeds { candidates: 0, hold_back }
}

fn keep() -> Result<TokenAction, Error> {
    Ok(TokenAction::Choose(TokenRule::default()))
}

fn allow(tokens: &[u8]) -> Result<TokenAction, Error> {
    let mut words = vec![0; 8];
    tokens.iter().for_each(|token| words[usize::from(token / 32)] |= 1 << (token % 32));
    Ok(TokenAction::Choose(TokenRule { allow: Some(TokenMask::new(words)), bias: Vec::new() }))
}

fn force(text: &str) -> Result<TokenAction, Error> {
    Ok(TokenAction::Force(text.bytes().map(TokenId::from).collect()))
}

fn pieces(answer: &super::super::CollectedAnswer) -> Vec<&str> {
    let texts = answer.events.iter().filter_map(|event| if let Event::Text(text) = event { Some(text) } else { None });
    texts.map(String::as_str).collect()
}

#[tokio::test]
async fn a_session_that_changes_nothing_sees_every_token_once() {
    let (plugins, log) = session(TokenNeeds::default(), |_, _| keep());
    let (engine, _) = engine(|_| "hello".to_owned(), plugins).await;
    let answer = answer(&engine, ask("hi")).await;
    assert_eq!((answer.text.as_str(), answer.finish.reason), ("hello", FinishReason::Stop));
    let log = log.lock().expect("lock");
    assert_eq!(log.len(), 6, "one for each token, and one for the end: {log:?}");
    let seen: Vec<u8> = log.iter().flat_map(|step| &step.accepted).map(|token| *token as u8).collect();
    assert_eq!(seen, b"hello");
    assert!(log.iter().all(|step| step.held == 0 && step.taken_back == 0 && step.candidates.is_empty()));
    assert!(log[0].accepted.is_empty());
}

#[tokio::test]
async fn a_session_chooses_excludes_forces_and_ends() {
    for (decide, expected, reason) in [
        ((|answer, _| if answer == "h" { allow(b"xy") } else { keep() }) as Decide, "hxllo", FinishReason::Stop),
        (|answer, _| if answer == "he" { force("LPX") } else { keep() }, "heLPX", FinishReason::Stop),
        (|answer, _| if answer == "he" { force("L\0X") } else { keep() }, "heL", FinishReason::Stop),
        (|answer, _| if answer == "hel" { Ok(TokenAction::Stop) } else { keep() }, "hel", FinishReason::Plugin),
        (
            |answer, _| match answer {
                "h" => {
                    let bias = vec![(u32::from(b'e'), f32::NEG_INFINITY), (u32::from(b'E'), 1.0)];
                    Ok(TokenAction::Choose(TokenRule { allow: None, bias }))
                }
                _ => keep(),
            },
            "hEllo",
            FinishReason::Stop,
        ),
    ] {
        let (plugins, _) = session(TokenNeeds::default(), decide);
        let (engine, _) = engine(|_| "hello".to_owned(), plugins).await;
        let answer = answer(&engine, ask("hi")).await;
        assert_eq!((answer.text.as_str(), answer.finish.reason), (expected, reason));
        assert_eq!(answer.finish.usage.completion_tokens, expected.len());
    }
}

#[tokio::test]
async fn a_run_of_forced_tokens_is_computed_in_one_step() {
    let (plugins, _) = session(TokenNeeds::default(), |answer, _| if answer == "ab" { force("XYZ") } else { keep() });
    let fixture = EngineFixture { plugins, ..EngineFixture::of(|_| "abcdefgh".to_owned()) };
    let (engine, probe) = fixture.engine().await;
    assert_eq!(answer(&engine, ask("q")).await.text, "abXYZfgh");
    let steps: Vec<usize> = probe.state().steps.iter().flatten().map(|(_, tokens)| *tokens).skip(1).collect();
    assert_eq!(steps, [1, 1, 3, 1, 1, 1]);
    let asking = SamplingOverrides { logprobs: Some(1), ..SamplingOverrides::default() };
    let scored = answer(&engine, ask_with("q", asking)).await;
    assert_eq!(scored.text, "abXYZfgh");
    let logprobs = scored.events.iter().filter(|event| matches!(event, Event::Logprobs(_))).count();
    assert_eq!(logprobs, 8, "forced tokens have their probabilities too");
}

#[tokio::test]
async fn taken_back_tokens_are_never_sent_and_the_cache_is_right() {
    // After "abcd" two tokens are taken back, and "X" comes in their place.
    let decide: Decide = |answer, step| match answer {
        "abcd" => Ok(TokenAction::Backtrack(2)),
        "ab" if step.taken_back == 2 => force("X"),
        _ => keep(),
    };
    let script = |_: &str| "abcdefgh".to_owned();
    let mut truncated = 0;
    for hold_back in [2, 3, 20] {
        let (plugins, log) = session(holding(hold_back), decide);
        let fixture = EngineFixture { plugins, speculation: Speculation::NGram, ..EngineFixture::of(script) };
        let (truncating, probe) = fixture.engine().await;
        let (plugins, _) = session(holding(hold_back), decide);
        let (recomputing, _) = engine(script, plugins).await;
        for engine in [truncating, recomputing] {
            let answer = answer(&engine, ask("q")).await;
            assert_eq!(answer.text, "abXdefgh", "hold {hold_back}");
            assert_eq!(pieces(&answer).concat(), "abXdefgh");
            assert_eq!(answer.finish.usage.completion_tokens, 8, "tokens that were taken back are not the caller's");
        }
        truncated += usize::from(probe.state().truncations > 0);
        let log = log.lock().expect("lock");
        let held: Vec<usize> = log.iter().map(|step| step.held).take(5).collect();
        assert_eq!(held, [0, 1, 2, 3, 4].map(|most| most.min(hold_back)));
    }
    assert_eq!(truncated, 3, "a model that can truncate computes nothing again but one token");
}

#[tokio::test]
async fn the_whole_answer_can_be_taken_back_and_a_session_that_always_does_meets_its_deadline() {
    let decide: Decide = |answer, step| match (answer, step.held) {
        ("abc", 3) => Ok(TokenAction::Backtrack(3)),
        ("", _) if step.taken_back == 3 => force("z"),
        _ => keep(),
    };
    let (plugins, _) = session(holding(3), decide);
    let fixture = EngineFixture { plugins, ..EngineFixture::of(|_| "abcde".to_owned()) };
    assert_eq!(answer(&fixture.engine().await.0, ask("q")).await.text, "zbcde");
    let endless: Decide = |_, step| if step.held > 0 { Ok(TokenAction::Backtrack(step.held)) } else { keep() };
    let (plugins, _) = session(holding(3), endless);
    let fixture = EngineFixture { plugins, ..EngineFixture::of(|_| "abcde".to_owned()) };
    let request = firebox_contract::GenerationRequest { timeout: Some(Duration::from_millis(300)), ..ask("q") };
    let answer = answer(&fixture.engine().await.0, request).await;
    assert_eq!((answer.text.as_str(), answer.finish.reason), ("", FinishReason::Timeout), "nothing was confirmed");
}

#[tokio::test]
async fn the_last_token_of_an_answer_can_be_taken_back() {
    let decide: Decide = |answer, step| match (answer, step.held) {
        ("abc", 2) => Ok(TokenAction::Backtrack(1)),
        ("ab", 1) if step.taken_back == 1 => force("C"),
        _ => keep(),
    };
    let (plugins, _) = session(holding(2), decide);
    let (engine, _) = engine(|_| "abcdef".to_owned(), plugins).await;
    let length = SamplingOverrides { max_tokens: Some(3), ..SamplingOverrides::default() };
    let answer = answer(&engine, ask_with("q", length)).await;
    assert_eq!((answer.text.as_str(), answer.finish.reason), ("abC", FinishReason::Length));
}

#[tokio::test]
async fn a_stop_string_and_a_fault_show_no_token_that_is_held_back() {
    let (plugins, _) = session(holding(4), |_, _| keep());
    let (held, _) = engine(|_| "one two three".to_owned(), plugins).await;
    let stop = SamplingOverrides { stop: vec![" two".to_owned()], ..SamplingOverrides::default() };
    let stopped = answer(&held, ask_with("q", stop)).await;
    assert_eq!((stopped.text.as_str(), stopped.finish.reason), ("one", FinishReason::StopString));
    let fails: Decide = |answer, _| match answer {
        "abcdef" => Err(Error::Refused("forbidden".to_owned())),
        _ => keep(),
    };
    let (plugins, _) = session(holding(4), fails);
    let (engine, _) = engine(|_| "abcdefgh".to_owned(), plugins).await;
    let mut generation = start(&engine, ask("q")).await.expect("admitted");
    let mut text = String::new();
    let error = loop {
        match generation.next().await {
            Ok(Some(Event::Text(piece))) => text.push_str(&piece),
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::Refused(_)), "{error}");
    assert_eq!(text, "ab", "the four tokens before the fault were not confirmed");
}

/// A session whose call does not end once the answer is `answer`. A call that is dropped has used fuel, as that of a plugin.
struct Endless {
    answer: String,
    fuel: Arc<AtomicU64>,
}

struct UsedFuel(Arc<AtomicU64>);

impl Drop for UsedFuel {
    fn drop(&mut self) {
        self.0.fetch_add(7, Ordering::Relaxed);
    }
}

impl TokenSession for Endless {
    fn needs(&self) -> TokenNeeds {
        TokenNeeds::default()
    }

    fn next(&mut self, step: TokenStep) -> BoxFuture<'_, Result<TokenAction, Error>> {
        self.answer.extend(step.accepted.iter().map(|token| char::from(*token as u8)));
        let (is_over, used) = (self.answer == "one two", UsedFuel(Arc::clone(&self.fuel)));
        Box::pin(async move {
            if is_over {
                std::future::pending::<()>().await;
            }
            std::mem::forget(used);
            keep()
        })
    }
}

#[tokio::test]
async fn a_call_that_runs_when_a_stop_string_ends_the_answer_is_part_of_its_usage() {
    let fuel = Arc::new(AtomicU64::new(1));
    let used = Arc::clone(&fuel);
    let tokens: StartSession = Arc::new(move |_| Box::new(Endless { answer: String::new(), fuel: Arc::clone(&used) }));
    let plugins = Plugins { tokens: Some(tokens), fuel, ..Plugins::default() };
    let (engine, _) = engine(|_| "one two three".to_owned(), plugins).await;
    let stop = SamplingOverrides { stop: vec![" two".to_owned()], ..SamplingOverrides::default() };
    let stopped = answer(&engine, ask_with("q", stop)).await;
    assert_eq!((stopped.text.as_str(), stopped.finish.reason), ("one", FinishReason::StopString));
    assert_eq!(stopped.finish.plugins.iter().map(|used| used.fuel).sum::<u64>(), 8);
}

#[tokio::test]
async fn candidates_are_the_most_likely_tokens_with_the_models_logits() {
    let needs = TokenNeeds { candidates: 3, hold_back: 0 };
    let third: Decide = |_, step| {
        let token = step.candidates[2].0;
        if step.accepted.is_empty() { allow(&[token as u8]) } else { keep() }
    };
    let (plugins, log) = session(needs, third);
    let (engine, _) = engine(|_| "hey".to_owned(), plugins).await;
    // A bias of the request does not change what the session sees.
    let biased = SamplingOverrides { logit_bias: vec![(7, 9.0)], ..SamplingOverrides::default() };
    assert_eq!(answer(&engine, ask_with("q", biased)).await.text, "\x01ey");
    let log = log.lock().expect("lock");
    assert_eq!(log[0].candidates, [(u32::from(b'h'), 10.0), (0, 0.0), (1, 0.0)]);
}

#[tokio::test]
async fn a_slow_session_rests_its_own_sequence_only() {
    let (plugins, log) = session_after(Duration::from_millis(150), TokenNeeds::default(), |_, _| keep());
    let slow_start = plugins.tokens.clone().expect("a session");
    // Only the first request has the slow session.
    let first = Arc::new(Mutex::new(true));
    let quick = Arc::new(Mutex::new(Vec::new()));
    let start_one: StartSession = Arc::new(move |sequence| {
        if std::mem::take(&mut *first.lock().expect("lock")) {
            return slow_start(sequence);
        }
        let log = Arc::clone(&quick);
        Box::new(Session {
            needs: TokenNeeds::default(),
            decide: |_, _| keep(),
            answer: String::new(),
            delay: Duration::ZERO,
            log,
        })
    });
    let plugins = Plugins { tokens: Some(start_one), ..Plugins::default() };
    let (engine, _) = engine(|_| "0123456789".repeat(10), plugins).await;
    let slow = start(&engine, ask("slow")).await.expect("admitted");
    let quick = answer(&engine, ask("quick")).await;
    assert_eq!(quick.text.len(), 100);
    let asked = log.lock().expect("lock").len();
    assert!(asked < 50, "the slow one decided {asked} times meanwhile");
    drop(slow);
    let after = answer(&engine, ask("again")).await;
    assert_eq!(after.text.len(), 100);
}

/// Where each call of a session began: whether it was on the thread of the test, which runs its tasks.
async fn calls_beside_the_model(delay: Duration) -> Vec<bool> {
    let calls = Arc::new(Mutex::new(Vec::new()));
    let (shared, test) = (Arc::clone(&calls), std::thread::current().id());
    let start: StartSession = Arc::new(move |_: TokenSequence| {
        Box::new(Threads { test, calls: Arc::clone(&shared), delay }) as Box<dyn TokenSession>
    });
    let plugins = Plugins { tokens: Some(start), ..Plugins::default() };
    let (engine, _) = engine(|_| "hello world".to_owned(), plugins).await;
    assert_eq!(answer(&engine, ask("hi")).await.text, "hello world");
    let calls = calls.lock().expect("lock").clone();
    assert_eq!(calls.len(), 12);
    calls
}

/// A session that records on which threads it is called.
struct Threads {
    test: std::thread::ThreadId,
    calls: Arc<Mutex<Vec<bool>>>,
    delay: Duration,
}

impl TokenSession for Threads {
    fn needs(&self) -> TokenNeeds {
        TokenNeeds::default()
    }

    fn next(&mut self, _: TokenStep) -> BoxFuture<'_, Result<TokenAction, Error>> {
        self.calls.lock().expect("lock").push(std::thread::current().id() == self.test);
        let delay = self.delay;
        Box::pin(async move {
            std::thread::sleep(delay);
            keep()
        })
    }
}

#[tokio::test]
async fn calls_run_on_the_models_thread_until_they_have_delayed_the_batch() {
    assert!(calls_beside_the_model(Duration::ZERO).await.iter().all(|beside| !beside));
    let calls = calls_beside_the_model(2 * TOKEN_STAGE_DELAY_MAX).await;
    assert!(!calls[0] && calls[1..].iter().all(|beside| *beside), "{calls:?}");
}

#[tokio::test]
async fn a_session_that_panics_fails_its_own_answer() {
    for delay in [Duration::ZERO, Duration::from_millis(2)] {
        let decide: Decide = |answer, _| if answer == "hel" { panic!("a defect of the host") } else { keep() };
        let (plugins, _) = session_after(delay, TokenNeeds::default(), decide);
        let (engine, _) = engine(|_| "hello".to_owned(), plugins).await;
        for _ in 0..2 {
            let generation = start(&engine, ask("hi")).await.expect("admitted");
            let error = collect(generation).await.err().expect("the session is gone");
            assert!(matches!(&error, Error::Internal(text) if text.contains("session")), "{error}");
        }
    }
}

#[tokio::test]
async fn a_rule_that_leaves_no_token_is_an_error() {
    // The rule allows one token, which the request's minimum length excludes.
    let (plugins, _) = session(TokenNeeds::default(), |_, _| allow(&[0]));
    let (engine, _) = engine(|_| "hello".to_owned(), plugins).await;
    let longer = SamplingOverrides { min_tokens: Some(2), ..SamplingOverrides::default() };
    let error = collect(start(&engine, ask_with("q", longer)).await.expect("admitted")).await.err().expect("refused");
    assert!(matches!(&error, Error::Refused(text) if text.contains("no token")), "{error}");
}
