//! The bytes that a plugin returns in one request are bounded, however many calls it makes.

use firebox_contract::{FaultCause, Stage, TextVerdict, ToolCall, limits};
use firebox_sandbox::{OnFault, PluginSpec};

use crate::support::{bind, chain, fault, guest, guest_with, load, sandbox, spec};

/// Bytes that `flood.wat` returns at each call.
const CHUNK: usize = 100_000;

#[tokio::test]
async fn a_text_plugin_that_returns_too_much_ends_in_its_own_fault() {
    let flood = load(&sandbox(), "flood").await;
    let mut hooks = bind(&chain(&[&flood])).await;
    let mut emitted = 0;
    let fault = loop {
        match hooks.push("x".to_owned()).await {
            Ok(TextVerdict::Emit(text)) => emitted += text.len(),
            Ok(TextVerdict::Stop(_)) => panic!("it does not stop"),
            Err(error) => break fault::<()>(Err(error)),
        }
        // All turns of a request count towards the same limit.
        emitted += hooks.finish().await.map_or(0, |text| text.len());
        assert!(emitted <= limits::PLUGIN_TEXT_BYTES_MAX, "{emitted}");
    };
    assert_eq!(fault.cause, FaultCause::OutputTooLarge { limit_bytes: limits::PLUGIN_TEXT_BYTES_MAX as u64 });
    assert_eq!((fault.plugin.as_str(), fault.stage), ("flood", Stage::Text));
    assert!(emitted > limits::PLUGIN_TEXT_BYTES_MAX - 2 * CHUNK, "{emitted}");
    let mut next = bind(&chain(&[&flood])).await;
    assert!(next.push("x".to_owned()).await.is_ok(), "each request has the full limit");
}

#[tokio::test]
async fn if_faults_are_skipped_the_rest_of_the_answer_passes() {
    let spec = PluginSpec { on_fault: OnFault::Skip, ..spec("flood", guest("flood")) };
    let flood = sandbox().load(spec).await.expect("loaded");
    let mut hooks = bind(&chain(&[&flood])).await;
    for _ in 0..limits::PLUGIN_TEXT_BYTES_MAX / CHUNK + 1 {
        hooks.push("x".to_owned()).await.expect("skipped");
    }
    assert_eq!(hooks.push("x".to_owned()).await.expect("skipped"), TextVerdict::Emit("x".to_owned()));
}

#[tokio::test]
async fn a_tools_results_are_summed_over_its_instances() {
    let plugin = guest_with("tool-flood", &[("@TOOL@", "much")]);
    let plugin = sandbox().load(spec("much", plugin)).await.expect("loaded");
    let hooks = bind(&chain(&[&plugin])).await;
    let call = ToolCall { id: "c".to_owned(), name: "much".to_owned(), arguments_json: "{}".to_owned() };
    let mut returned = 0;
    let fault = loop {
        match hooks.call(&call).await {
            Ok(outcome) => returned += outcome.content.len(),
            Err(error) => break fault::<()>(Err(error)),
        }
        assert!(returned <= limits::PLUGIN_REQUEST_BYTES_MAX, "{returned}");
    };
    assert_eq!(fault.cause, FaultCause::OutputTooLarge { limit_bytes: limits::PLUGIN_REQUEST_BYTES_MAX as u64 });
    assert!(returned > limits::PLUGIN_REQUEST_BYTES_MAX - 2 * CHUNK, "{returned}");
}
