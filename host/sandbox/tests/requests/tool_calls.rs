//! The tool call stage: plugins see the calls of all tools and their results.

use std::sync::Arc;

use firebox_contract::{CallVerdict, Progress, Stage, ToolCall, ToolOutcome};
use firebox_sandbox::{OnFault, Plugin, PluginSpec, Sandbox};

use crate::support::{bind, chain, fault, guest_with, sandbox, scripted, spec};

async fn load(sandbox: &Sandbox, name: &str, config: &str) -> Arc<Plugin> {
    sandbox.load(scripted(name, config)).await.unwrap_or_else(|error| panic!("{error}"))
}

fn call() -> ToolCall {
    ToolCall { id: "c1".to_owned(), name: "mail".to_owned(), arguments_json: "{\"to\":\"ann\"}".to_owned() }
}

#[tokio::test]
async fn arguments_go_through_the_chain_and_results_come_back_the_other_way() {
    let sandbox = sandbox();
    let outer = load(&sandbox, "outer", r#"{"before": "rewrite {\"to\":\"bob\"}", "after": "append !"}"#).await;
    let inner = load(&sandbox, "inner", r#"{"after": "append ?"}"#).await;
    let hooks = bind(&chain(&[&outer, &inner])).await;
    assert!(!hooks.tool_calls_are_idle());
    let verdict = hooks.before_call(&call()).await.expect("no fault");
    assert_eq!(verdict, CallVerdict::Run(Some("{\"to\":\"bob\"}".to_owned())));
    let sent = ToolOutcome { fuel: 7, ..ToolOutcome::ok("server", "sent") };
    let outcome = hooks.after_call(&call(), sent).await.expect("no fault");
    assert_eq!(
        (outcome.content.as_str(), outcome.is_error),
        ("sent?!", false),
        "the inner plugin is nearest to the tool"
    );
    assert_eq!((outcome.provider.as_str(), outcome.fuel), ("server", 7));
    let log: Vec<String> = hooks.take_log().into_iter().map(|line| line.message).collect();
    assert!(
        log.contains(&"before mail {\"to\":\"bob\"}".to_owned()),
        "the inner plugin sees the new arguments: {log:?}"
    );
}

#[tokio::test]
async fn a_refused_call_does_not_reach_the_other_plugins_and_a_refused_result_is_an_error() {
    let sandbox = sandbox();
    let guard = load(&sandbox, "guard", r#"{"before": "refuse not today", "after": "refuse secret"}"#).await;
    let trap = load(&sandbox, "trap", r#"{"before": "trap"}"#).await;
    let hooks = bind(&chain(&[&guard, &trap])).await;
    let refused = CallVerdict::Refuse { plugin: "guard".to_owned(), message: "not today".to_owned() };
    assert_eq!(hooks.before_call(&call()).await.expect("the trap is not reached"), refused);
    let outcome = hooks.after_call(&call(), ToolOutcome::ok("server", "the password")).await.expect("no fault");
    assert!(outcome.is_error && !outcome.content.contains("password"), "{outcome:?}");
    assert_eq!(outcome.content, "error: plugin \"guard\" refused the result: secret");
}

#[tokio::test]
async fn a_call_outside_a_request_goes_through_the_stage_too() {
    let sandbox = sandbox();
    let echo = guest_with("tool-echo", &[("@TOOL@", "echo")]);
    let echo = sandbox.load(spec("echo", echo)).await.expect("loaded");
    let call = ToolCall { name: "echo".to_owned(), ..call() };
    let guard = load(&sandbox, "guard", r#"{"before": "rewrite {\"b\":2}", "after": "append !"}"#).await;
    let run = chain(&[&guard, &echo]).call_tool(&call, &NoProgress).await.expect("it is offered");
    let outcome = run.outcome.expect("no fault");
    assert!(outcome.content.contains("{\"b\":2}") && outcome.content.ends_with('!'), "{outcome:?}");
    assert!(run.uses.iter().any(|row| row.plugin == "guard" && row.stage == Stage::ToolCall && row.calls == 2));
    let refuse = load(&sandbox, "refuse", r#"{"before": "refuse no"}"#).await;
    let run = chain(&[&refuse, &echo]).call_tool(&call, &NoProgress).await.expect("it is offered");
    let outcome = run.outcome.expect("no fault");
    assert_eq!((outcome.content.as_str(), outcome.is_error), ("error: plugin \"refuse\" refused the call: no", true));
    assert!(run.uses.iter().all(|row| row.stage != Stage::Tool), "the tool did not run");
}

struct NoProgress;

impl Progress for NoProgress {
    fn report(&self, _: f64, _: Option<f64>, _: Option<&str>) {}
}

#[tokio::test]
async fn arguments_that_no_tool_can_read_are_a_fault_or_are_skipped() {
    let sandbox = sandbox();
    for (config, expected) in [
        (r#"{"before": "rewrite [1]"}"#, "not one JSON object"),
        (r#"{"before": "rewrite "}"#, "not one JSON object"),
        (r#"{"before": "fail no luck"}"#, "no luck"),
        (r#"{"before": "trap"}"#, "as the configuration says"),
    ] {
        let plugin = load(&sandbox, "bad", config).await;
        let fault = fault(bind(&chain(&[&plugin])).await.before_call(&call()).await);
        assert_eq!(fault.stage, Stage::ToolCall);
        assert!(fault.to_string().contains(expected), "{fault}");
        let skip = PluginSpec { on_fault: OnFault::Skip, ..scripted("bad", config) };
        let hooks = bind(&chain(&[&sandbox.load(skip).await.expect("loaded")])).await;
        assert_eq!(hooks.before_call(&call()).await.expect("skipped"), CallVerdict::Run(None));
    }
}
