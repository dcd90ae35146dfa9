//! The token stage: what a session sees, and what the host makes of its answers.

use std::sync::Arc;
use std::time::Duration;

use firebox_contract::{
    Error, FaultCause, Hooks, Stage, TokenAction, TokenMask, TokenNeeds, TokenRule, TokenSequence, TokenSession,
    TokenStep, TokenText, TokenTexts,
};
use firebox_sandbox::{OnFault, Plugin, PluginLimits, PluginSpec, Sandbox};

use crate::support::{bind, chain, fault, prebuilt, sandbox, scripted};

const VOCABULARY: usize = 70;

async fn load(sandbox: &Sandbox, name: &str, config: &str) -> Arc<Plugin> {
    sandbox.load(scripted(name, config)).await.unwrap_or_else(|error| panic!("{error}"))
}

async fn start(hooks: &mut dyn Hooks) -> Result<Option<Box<dyn TokenSession>>, Error> {
    hooks
        .start_tokens(&|| TokenSequence { vocabulary: VOCABULARY, ends: vec![0], prompt: vec![5, 6, 7], texts: None })
        .await
}

async fn session(hooks: &mut dyn Hooks) -> Box<dyn TokenSession> {
    start(hooks).await.expect("no fault").expect("a session")
}

fn allow(tokens: &[u32]) -> TokenAction {
    let mut words = vec![0; VOCABULARY.div_ceil(32)];
    tokens.iter().for_each(|token| words[(token / 32) as usize] |= 1 << (token % 32));
    TokenAction::Choose(TokenRule { allow: Some(TokenMask::new(words)), bias: Vec::new() })
}

fn lines(hooks: &dyn Hooks) -> Vec<String> {
    hooks.take_log().into_iter().map(|line| line.message).collect()
}

#[tokio::test]
async fn a_session_sees_its_sequence_and_each_token_and_answers_with_an_action() {
    let sandbox = sandbox();
    let config = r#"{"candidates": 2, "hold": 3, "tokens": ["keep", "allow 1 69", "mask 6 0 64", "ban 4", "force 9 8",
        "back 2", "second", "stop"]}"#;
    let plugin = load(&sandbox, "p", config).await;
    assert_eq!(plugin.stages(), [Stage::Token, Stage::ToolCall, Stage::Embedding]);
    let mut hooks = bind(&chain(&[&plugin])).await;
    let mut session = session(&mut *hooks).await;
    assert_eq!(session.needs(), TokenNeeds { candidates: 2, hold_back: 3 });
    let step = |accepted: &[u32], taken_back| TokenStep {
        accepted: accepted.to_vec(),
        taken_back,
        held: 9,
        candidates: vec![(30, 2.0), (31, 1.0), (32, 0.5)],
    };
    let keep = TokenAction::Choose(TokenRule::default());
    let ban = TokenAction::Choose(TokenRule { allow: None, bias: vec![(4, f32::NEG_INFINITY)] });
    for (accepted, taken_back, expected) in [
        (&[][..], 0, keep),
        (&[30], 0, allow(&[1, 69])),
        (&[1], 0, allow(&[1, 2])),
        (&[2], 0, ban),
        (&[33], 0, TokenAction::Force(vec![9, 8])),
        (&[9, 8], 0, TokenAction::Backtrack(2)),
        (&[], 2, allow(&[31])),
        (&[31], 0, TokenAction::Stop),
    ] {
        assert_eq!(session.next(step(accepted, taken_back)).await.expect("no fault"), expected);
    }
    let lines = lines(&*hooks);
    assert_eq!(lines[0], "start ember of 70 tokens, ends [0], after 3 tokens");
    assert_eq!(lines[1], "next -0 [] held 3 candidates [30, 31]", "no more than it asked for");
    assert_eq!(lines[7], "next -2 [] held 3 candidates [30, 31]");
    let used = hooks.usage();
    let row = used.iter().find(|row| row.stage == Stage::Token).expect("a row");
    assert_eq!((row.calls, row.fuel > 0), (9, true), "the start and each token");
}

#[tokio::test]
async fn a_chain_without_the_stage_has_no_session() {
    let sandbox = sandbox();
    let text = crate::support::load(&sandbox, "pass").await;
    assert!(start(&mut *bind(&chain(&[&text])).await).await.expect("no fault").is_none());
}

#[tokio::test]
async fn the_rules_of_a_chain_are_combined_and_who_decides_alone_is_seen_by_the_others() {
    let sandbox = sandbox();
    let first = load(&sandbox, "first", r#"{"tokens": ["allow 1 2 3", "force 4 5", "keep", "allow 9"]}"#).await;
    let second = load(&sandbox, "second", r#"{"hold": 2, "tokens": ["allow 2 3 4", "prefer 7", "allow 8"]}"#).await;
    let mut hooks = bind(&chain(&[&first, &second])).await;
    let mut session = session(&mut *hooks).await;
    let step =
        |accepted: &[u32], taken_back| TokenStep { accepted: accepted.to_vec(), taken_back, ..Default::default() };
    assert_eq!(session.next(step(&[], 0)).await.expect("no fault"), allow(&[2, 3]));
    assert_eq!(session.next(step(&[2], 0)).await.expect("no fault"), TokenAction::Force(vec![4, 5]));
    let preferred = TokenAction::Choose(TokenRule { allow: None, bias: vec![(7, 1e4)] });
    lines(&*hooks);
    assert_eq!(session.next(step(&[4, 5], 0)).await.expect("no fault"), preferred);
    assert!(
        lines(&*hooks).iter().any(|line| line.contains("[2, 4, 5]")),
        "the second sees what it was not asked about"
    );
    let fault = fault(session.next(step(&[7], 0)).await);
    assert_eq!((fault.plugin.as_str(), fault.stage), ("second", Stage::Token));
    assert!(fault.to_string().contains("no token that the plugins before it allow"), "{fault}");
}

#[tokio::test]
async fn a_new_turn_has_a_new_session_in_the_same_instance() {
    let sandbox = sandbox();
    let plugin = load(&sandbox, "p", r#"{"tokens": ["stop"]}"#).await;
    let mut hooks = bind(&chain(&[&plugin])).await;
    // More than the handles that an instance may hold: the session of an earlier turn is dropped.
    for _ in 0..1_200 {
        let mut session = session(&mut *hooks).await;
        assert_eq!(session.next(TokenStep::default()).await.expect("no fault"), TokenAction::Stop);
    }
    let peak = hooks.usage().iter().map(|row| row.memory_peak_bytes).max();
    assert!(peak < Some(4 << 20), "{peak:?}");
}

#[tokio::test]
async fn what_a_session_may_not_answer_is_a_fault_or_is_skipped() {
    let sandbox = sandbox();
    for (config, expected) in [
        (r#"{"tokens": ["mask 1"]}"#, "1 words; a vocabulary of 70 tokens has 3"),
        (r#"{"tokens": ["mask 0 0 64"]}"#, "allows no token"),
        (r#"{"tokens": ["allow"]}"#, "allows no token"),
        (r#"{"tokens": ["allow 70"]}"#, "token 70; the vocabulary has 70"),
        (r#"{"tokens": ["nan 1"]}"#, "bias NaN"),
        (r#"{"tokens": ["nan 1 2"]}"#, "2 tokens and 1 biases"),
        (r#"{"tokens": ["force"]}"#, "forced 0 tokens"),
        (r#"{"tokens": ["force 4000000000"]}"#, "token 4000000000"),
        (r#"{"hold": 3, "tokens": ["back 3"]}"#, "took back 3 tokens, and 2 are held"),
        (r#"{"tokens": ["back 1"]}"#, "took back 1 tokens, and 0 are held"),
        (r#"{"tokens": ["fail no luck"]}"#, "no luck"),
        (r#"{"tokens": ["trap"]}"#, "as the configuration says"),
        (r#"{"tokens": ["spin"]}"#, "used all its fuel"),
    ] {
        let step = || TokenStep { held: 2, ..TokenStep::default() };
        let fails = load(&sandbox, "fails", config).await;
        let mut hooks = bind(&chain(&[&fails])).await;
        let fault = fault(session(&mut *hooks).await.next(step()).await);
        assert_eq!((fault.plugin.as_str(), fault.stage), ("fails", Stage::Token));
        assert!(fault.to_string().contains(expected), "{fault} should contain {expected}");
        let skip = PluginSpec { on_fault: OnFault::Skip, ..scripted("skips", config) };
        let mut hooks = bind(&chain(&[&sandbox.load(skip).await.expect("loaded")])).await;
        let mut session = session(&mut *hooks).await;
        for _ in 0..3 {
            let action = session.next(step()).await.expect("skipped");
            assert_eq!(action, TokenAction::Choose(TokenRule::default()), "{config}");
        }
        assert!(lines(&*hooks).iter().any(|line| line.contains(expected)), "{config}");
    }
}

#[tokio::test]
async fn needs_are_limited() {
    let sandbox = sandbox();
    for (config, expected) in [
        (r#"{"hold": 65}"#, "65 held-back tokens; at most 64"),
        (r#"{"candidates": 4294967295}"#, "4294967295 candidates; at most 1024"),
    ] {
        let plugin = load(&sandbox, "greedy", config).await;
        let fault = fault(start(&mut *bind(&chain(&[&plugin])).await).await.map(drop));
        assert!(fault.to_string().contains(expected), "{fault}");
    }
}

#[tokio::test]
async fn a_late_call_has_a_policy_of_its_own() {
    let sandbox = sandbox();
    let limits =
        PluginLimits { timeout: Duration::from_millis(50), fuel: PluginLimits::MAX.fuel, ..Default::default() };
    for (on_fault, on_timeout) in [(OnFault::Fail, OnFault::Skip), (OnFault::Skip, OnFault::Fail)] {
        for (config, effect) in [(r#"{"tokens": ["spin"]}"#, on_timeout), (r#"{"tokens": ["trap"]}"#, on_fault)] {
            let spec = PluginSpec { on_fault, on_timeout: Some(on_timeout), limits, ..scripted("p", config) };
            let mut hooks = bind(&chain(&[&sandbox.load(spec).await.expect("loaded")])).await;
            let mut session = session(&mut *hooks).await;
            let answered = session.next(TokenStep::default()).await;
            let later = session.next(TokenStep::default()).await;
            match effect {
                OnFault::Skip => assert!(answered.is_ok() && later.is_ok(), "{config} {on_fault:?}"),
                OnFault::Fail => {
                    let timed_out = matches!(fault(answered).cause, FaultCause::TimedOut { .. });
                    assert_eq!(timed_out, config.contains("spin"));
                    assert!(later.is_err(), "{config} {on_fault:?}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_session_reads_the_bytes_of_tokens_and_two_sequences_are_independent() {
    let sandbox = sandbox();
    let spec = prebuilt("regex.wasm", "p", r#"{"pattern": "a[01]{2}|é"}"#);
    let plugin = sandbox.load(spec).await.unwrap_or_else(|error| panic!("{error}"));
    let words: [&[u8]; 9] = [b"", b"a", b"0", b"1", b"01", b"a1", b"\xc3", b"\xa9", b"b"];
    let text = |(token, bytes): (u32, &&[u8])| TokenText { token, bytes: bytes.to_vec(), indivisible: token == 5 };
    let texts = TokenTexts::new((0..).zip(&words).map(text).collect()).map(Arc::new);
    let sequence = |texts: &Option<_>| TokenSequence {
        vocabulary: VOCABULARY,
        ends: vec![0],
        prompt: vec![8],
        texts: texts.clone(),
    };
    let chain = chain(&[&plugin]);
    let (mut first, mut second) = (bind(&chain).await, bind(&chain).await);
    let mut sessions = Vec::new();
    for hooks in [&mut first, &mut second] {
        let started = hooks.start_tokens(&|| sequence(&texts)).await.expect("no fault");
        sessions.push(started.expect("a session"));
    }
    let step = |accepted: &[u32], candidates: &[u32]| TokenStep {
        accepted: accepted.to_vec(),
        candidates: candidates.iter().map(|token| (*token, 0.0)).collect(),
        ..TokenStep::default()
    };
    // Without a candidate that fits, the plugin searches the vocabulary in the order of its bytes.
    for (session, accepted, candidates, expected) in [
        (0, &[][..], &[8, 0, 2][..], &[1, 5, 6][..]),
        (1, &[], &[6, 8], &[6]),
        (0, &[5], &[1, 2, 3, 4], &[2, 3]),
        (1, &[6], &[1, 8], &[7]),
        (0, &[3], &[2, 0], &[0]),
        (1, &[7], &[8], &[0]),
    ] {
        let answer = sessions[session].next(step(accepted, candidates)).await.expect("no fault");
        assert_eq!(answer, allow(expected), "session {session} after {accepted:?}");
    }
    let mut third = bind(&chain).await;
    let refused = third.start_tokens(&|| sequence(&None)).await.err().expect("no texts");
    assert!(refused.to_string().contains("texts of the tokens of \"ember\" are not known"), "{refused}");
}
