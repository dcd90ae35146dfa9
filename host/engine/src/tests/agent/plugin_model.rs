//! Generations of plugins: a tool of a plugin asks the model of its own request.

use std::time::Duration;

use firebox_contract::{FinishReason, limits};

use super::super::fakes::ModelLog;
use super::doubles::{RecordingGate, UsageRecorder};
use super::*;

/// An engine with one permit, whose plugin offers these tools.
async fn engine_of(
    tools: &[&'static str],
    recorder: UsageRecorder,
) -> (Engine, Arc<UsageRecorder>, Arc<ModelLog>, Plugins) {
    let plugins = Plugins { tools: tools.to_vec(), ..Plugins::default() };
    let recorder = Arc::new(recorder);
    let gate = RecordingGate(Arc::clone(&recorder));
    let change = |options: &mut EngineOptions| options.gate = Arc::new(gate);
    let (engine, seen) = engine_changed(scripted_turn, plugins.clone(), 1, 64, change).await;
    (engine, recorder, seen, plugins)
}

fn results(answer: &CollectedAnswer) -> Vec<String> {
    tool_events(&answer.events).into_iter().filter(|line| line.starts_with("result")).collect()
}

#[tokio::test]
async fn a_plugin_asks_the_model_with_the_only_permit_and_its_tenant_pays() {
    let (engine, recorder, _, plugins) = engine_of(&["ask"], UsageRecorder::default()).await;
    let request = GenerationRequest { id: Some("r1".to_owned()), ..ask(&[&call("ask", "{\"a\": 1}"), "done"]) };
    let asked = tokio::time::timeout(Duration::from_secs(20), answer(&engine, request)).await;
    let answer = asked.expect("it does not wait for its own permit");
    assert_eq!(answer.text, "done");
    // The model answers with the prompt itself: the script has no second turn.
    let tokens = "user: {\"a\": 1}\n\nA:".len() + "{\"a\": 1}".len();
    assert_eq!(results(&answer), [format!("result call_0 depth 0: {{\"a\": 1}} ({tokens} tokens)")]);
    let lines = recorder.lines();
    let admitted: Vec<&String> = lines.iter().filter(|line| line.starts_with("admit")).collect();
    assert_eq!(admitted, ["admit local scripted r1", "admit local scripted r1.asker.1"]);
    assert_eq!(recorder.settled(), ["settle stop true true", "settle stop true true"]);
    assert_eq!(*plugins.depths.lock().expect("lock"), [0, 1], "the plugins of the generation know how deep they are");
}

#[tokio::test]
async fn calls_at_the_same_time_ask_one_after_the_other() {
    let (engine, recorder, seen, _) = engine_of(&["ask_a", "ask_b", "ask_c"], UsageRecorder::default()).await;
    let calls: String = ["ask_a", "ask_b", "ask_c"].iter().map(|name| call(name, "{}")).collect();
    let asked = tokio::time::timeout(Duration::from_secs(20), answer(&engine, ask(&[&calls, "done"]))).await;
    let answer = asked.expect("none waits for another for ever");
    assert_eq!(results(&answer).len(), 3);
    assert!(results(&answer).iter().all(|line| line.contains("depth 0: {}")), "{:?}", results(&answer));
    assert_eq!(recorder.settled().len(), 4);
    assert!(seen.alive.lock().expect("lock").len() <= 1, "no sequence is left but that of the prefix cache");
}

#[tokio::test]
async fn a_generation_that_does_not_fit_or_that_the_tenant_cannot_pay_is_an_error_of_its_call() {
    let (engine, _, _, _) = engine_of(&["ask"], UsageRecorder::default()).await;
    let long = format!("{{\"a\": \"{}\"}}", "x".repeat(995));
    let first =
        answer(&engine, ask_with(&[&call("ask", &long), "done"], ToolOptions { rounds: 1, ..ToolOptions::default() }))
            .await;
    assert!(results(&first)[0].contains("1000"), "{:?}", results(&first));
    // Each reservation of the gate has these tokens: enough for the turns of the request, and not for the expected answer to
    // its plugin.
    let poor = UsageRecorder { tokens_max: Some(550), ..UsageRecorder::default() };
    let (engine, recorder, _, _) = engine_of(&["ask"], poor).await;
    let sampling = SamplingOverrides { max_tokens: Some(100), ..SamplingOverrides::default() };
    let request = GenerationRequest { sampling, ..ask(&[&call("ask", "{}"), "done"]) };
    let answer = answer(&engine, request).await;
    assert_eq!((answer.text.as_str(), answer.finish.reason), ("done", FinishReason::Stop));
    assert!(results(&answer)[0].contains("depth 0: no tokens left"), "{:?}", results(&answer));
    assert_eq!(recorder.settled(), ["settle rate_limited false false", "settle stop true true"]);
}

#[tokio::test]
async fn a_request_that_is_cancelled_cancels_the_generation_of_its_plugin() {
    let (engine, recorder, seen, _) = engine_of(&["ask"], UsageRecorder::default()).await;
    let turn = call("ask", "{\"a\": \"slow\"}");
    let mut generation = start(&engine, ask(&[&turn, "done"])).await.expect("admitted");
    loop {
        let event = generation.next().await.expect("no error").expect("not the end");
        if matches!(event, Event::ToolCall(_)) {
            break;
        }
    }
    // Polls the call until its generation has a reservation.
    let nested = || recorder.lines().iter().any(|line| line.contains("asker"));
    while !nested() {
        let _pending = tokio::time::timeout(Duration::from_millis(1), generation.next()).await;
    }
    drop(generation);
    let settled = tokio::time::timeout(Duration::from_secs(10), async {
        while recorder.settled().len() < 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    settled.await.expect("both reservations are settled");
    let released = tokio::time::timeout(Duration::from_secs(10), async {
        while seen.alive.lock().expect("lock").len() > 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    released.await.expect("the sequences are released");
    let next = tokio::time::timeout(Duration::from_secs(20), answer(&engine, ask(&["hello"]))).await;
    assert_eq!(next.expect("the permit is free").text, "hello");
}

#[tokio::test]
async fn the_plugins_of_a_request_use_a_bounded_number_of_tokens() {
    let (engine, _, _, _) = engine_of(&["ask"], UsageRecorder::default()).await;
    let model = engine.model_of_calls(&firebox_contract::Caller::local());
    let model = model.get().expect("a model");
    let text = "y".repeat(1_000);
    let mut last = Ok(());
    for _ in 0..limits::PLUGIN_MODEL_REQUEST_TOKENS_MAX {
        let prompt = firebox_contract::PluginPrompt {
            prompt: Prompt::Text(text.clone()),
            sampling: SamplingOverrides { max_tokens: Some(3_000), ..SamplingOverrides::default() },
            tokens_max: 4_000,
        };
        last = model.generate("asker", prompt).await.map(drop);
        if last.is_err() {
            break;
        }
    }
    let error = last.expect_err("limited").to_string();
    assert!(error.contains("65536 tokens, their limit") || error.contains("tokens"), "{error}");
    assert_eq!(model.tokenize("ab".to_owned()).await.expect("tokens"), [97, 98]);
}
