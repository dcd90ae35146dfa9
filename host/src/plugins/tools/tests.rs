use std::borrow::Cow;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use firebox_contract::{
    Caller, Decision, Error, Gate, Permission, Progress, RequestUsage, Reservation, TenantId, ToolCall, ToolOutcome,
    ToolPolicy, ToolSource,
};
use firebox_sandbox::{ComponentSource, PluginChain, PluginLimits, PluginSpec, Sandbox, SandboxOptions};

use super::{CallerTools, PluginTools};

const FIXTURE: &[u8] = include_bytes!("../../../../plugins/prebuilt/conformance.wasm");
const CALCULATOR: &[u8] = include_bytes!("../../../../plugins/prebuilt/calculator.wasm");

async fn chain(plugins: &[(&str, &'static [u8])]) -> PluginChain {
    let sandbox = Sandbox::new(SandboxOptions { pool_memories: 16, ..SandboxOptions::default() }).expect("an engine");
    let mut loaded = Vec::new();
    for (name, component) in plugins {
        let spec = PluginSpec::new(*name, ComponentSource::Bytes(Cow::Borrowed(component)));
        loaded.push(sandbox.load(spec).await.expect("loaded"));
    }
    PluginChain::new(loaded).expect("a chain")
}

fn call(tool: &str, arguments: &str) -> ToolCall {
    ToolCall { id: "1".to_owned(), name: tool.to_owned(), arguments_json: arguments.to_owned() }
}

fn tenant(name: &str) -> Caller {
    Caller::of(TenantId::new(name))
}

/// Records admissions, calls and settlements. Refuses the calls of the tenant "spent".
#[derive(Clone, Default)]
struct GateRecorder(Arc<Mutex<Vec<String>>>);

impl GateRecorder {
    fn note(&self, line: String) {
        self.0.lock().expect("no panic").push(line);
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().expect("no panic"))
    }
}

impl Gate for GateRecorder {
    fn admit(&self, caller: &Caller, model: &str, _request_id: &str) -> Result<Box<dyn Reservation>, Error> {
        self.note(format!("admit {} \"{model}\"", caller.tenant));
        Ok(Box::new(RecordingReservation { recorder: self.clone(), spent: caller.tenant.as_str() == "spent" }))
    }
}

struct RecordingReservation {
    recorder: GateRecorder,
    spent: bool,
}

impl Reservation for RecordingReservation {
    fn reserve(&mut self, _tokens: usize) -> Result<(), Error> {
        Ok(())
    }

    fn allow_call(&mut self, _call: &ToolCall) -> Result<(), Error> {
        let refused = Error::Limited { message: "0 of 9 calls are left".to_owned(), retry_after: Duration::ZERO };
        if self.spent { Err(refused) } else { Ok(()) }
    }

    fn may_continue(&mut self, _: u64) -> Result<(), Error> {
        Ok(())
    }

    fn record_call(&mut self, call: &ToolCall, decision: Decision, outcome: &ToolOutcome) {
        self.recorder.note(format!("{} {} fuel {}", call.name, decision.as_str(), outcome.fuel > 0));
    }

    fn settle(&mut self, spent: &RequestUsage<'_>) {
        let fuel: u64 = spent.plugins.iter().map(|row| row.fuel).sum();
        self.recorder.note(format!("settle {} fuel {}", spent.outcome, fuel > 0));
    }
}

/// Both plugins for `a`, where one tool needs approval and one is denied; no tools for `nobody`; the calculator for all others.
async fn tools(recorder: &GateRecorder) -> PluginTools {
    let all = chain(&[("conformance", FIXTURE), ("calculator", CALCULATOR)]).await;
    let all = all.limited(PluginLimits { fuel: 10_000_000, ..PluginLimits::MAX }).expect("in range");
    let few = chain(&[("calculator", CALCULATOR)]).await;
    let rules = vec![("test_error_*".to_owned(), Permission::Ask), ("test_audio_content".to_owned(), Permission::Deny)];
    let policy = ToolPolicy { rules, otherwise: Permission::Allow };
    let offers = move |caller: &Caller| match caller.tenant.as_str() {
        "a" => Some(CallerTools { chain: all.clone(), policy: policy.clone() }),
        "nobody" => None,
        _ => Some(CallerTools { chain: few.clone(), policy: ToolPolicy::ALLOW_ALL }),
    };
    PluginTools::for_each(Arc::new(offers)).gated(Arc::new(recorder.clone()))
}

#[tokio::test]
async fn each_caller_sees_and_calls_its_own_tools() {
    let recorder = GateRecorder::default();
    let tools = tools(&recorder).await;
    let names = async |caller: &str| -> Vec<String> {
        tools.tools(&tenant(caller)).await.into_iter().map(|tool| tool.name).collect()
    };
    assert_eq!(names("b").await, ["calculator"]);
    assert!(names("nobody").await.is_empty());
    let own = names("a").await;
    assert!(own.iter().any(|name| name == "test_error_handling"), "what needs approval is offered: {own:?}");
    assert!(!own.iter().any(|name| name == "test_audio_content"), "what is forbidden is not: {own:?}");
    for (caller, tool) in [("a", "test_audio_content"), ("b", "test_simple_text"), ("nobody", "calculator"), ("a", "x")]
    {
        let refused = tools.call(&tenant(caller), &call(tool, "{}"), &()).await;
        assert!(matches!(refused, Err(Error::NotFound(_))), "{caller} {tool}: {refused:?}");
    }
    assert!(recorder.take().is_empty(), "a call of an unknown tool makes no reservation");
}

#[tokio::test]
async fn every_call_is_admitted_recorded_and_settled() {
    let recorder = GateRecorder::default();
    let tools = tools(&recorder).await;
    let run = async |caller: &str, tool: &str, arguments: &str| {
        tools.call(&tenant(caller), &call(tool, arguments), &()).await
    };
    let answer = run("b", "calculator", "{\"expression\": \"2+2\"}").await.expect("an outcome");
    assert_eq!((answer.content.as_str(), answer.is_error), ("4", false));
    assert_eq!(recorder.take(), ["admit b \"\"", "calculator allowed fuel true", "settle stop fuel true"]);

    let fault = run("a", "fault_endless", "{}").await.expect("a fault is an outcome");
    assert!(fault.is_error && fault.content.contains("used all its fuel (10000000)"), "{}", fault.content);
    assert!(!fault.elapsed.is_zero() && fault.provider == "conformance", "{fault:?}");
    assert_eq!(recorder.take(), ["admit a \"\"", "fault_endless allowed fuel true", "settle plugin_fault fuel true"]);

    let declined = run("a", "test_error_handling", "{}").await.expect("an outcome");
    assert!(declined.is_error && declined.content.contains("needs approval"), "{}", declined.content);
    assert_eq!(
        recorder.take(),
        ["admit a \"\"", "test_error_handling declined fuel false", "settle denied fuel false"]
    );

    let refused = run("spent", "calculator", "{\"expression\": \"1\"}").await;
    assert!(matches!(refused, Err(Error::Limited { .. })), "{refused:?}");
    assert_eq!(
        recorder.take(),
        ["admit spent \"\"", "calculator rejected fuel false", "settle rate_limited fuel false"]
    );
}

#[tokio::test]
async fn arguments_that_do_not_match_the_schema_never_reach_the_plugin() {
    let recorder = GateRecorder::default();
    let tools = tools(&recorder).await;
    let deep = format!("{{\"expression\": {}1{}}}", "[".repeat(40), "]".repeat(40));
    let cases = [
        ("{}", "\"expression\" is a required property"),
        ("{\"expression\": 4}", "at \"/expression\": 4 is not of type \"string\""),
        ("[1]", "not a JSON object"),
        ("{\"expression\": ", "not a JSON object"),
        (deep.as_str(), "nested deeper than"),
    ];
    for (arguments, reason) in cases {
        let refused = tools.call(&tenant("b"), &call("calculator", arguments), &()).await.expect("an outcome");
        assert!(refused.is_error && refused.content.contains(reason), "{arguments}: {}", refused.content);
        assert_eq!((refused.fuel, refused.memory_peak_bytes), (0, 0), "{arguments}");
        // The call uses no fuel and is not counted as allowed.
        let recorded = ["admit b \"\"", "calculator rejected fuel false", "settle invalid_request fuel false"];
        assert_eq!(recorder.take(), recorded, "{arguments}");
    }
    let refused = tools.call(&tenant("spent"), &call("calculator", "{}"), &()).await;
    assert!(refused.is_ok_and(|refused| refused.is_error), "a call that cannot run uses no quota");
}

/// Records progress.
#[derive(Default)]
struct ProgressRecorder(Mutex<Vec<(f64, Option<f64>)>>);

impl Progress for ProgressRecorder {
    fn report(&self, done: f64, total: Option<f64>, _message: Option<&str>) {
        self.0.lock().expect("no panic").push((done, total));
    }
}

#[tokio::test]
async fn a_tool_reports_its_progress() {
    let tools = PluginTools::of(chain(&[("conformance", FIXTURE)]).await);
    let progress = ProgressRecorder::default();
    tools.call(&Caller::local(), &call("test_tool_with_progress", "{}"), &progress).await.expect("an outcome");
    let whole = Some(100.0);
    assert_eq!(*progress.0.lock().expect("no panic"), [(0.0, whole), (50.0, whole), (100.0, whole)]);
}

#[tokio::test]
async fn a_change_of_the_tools_is_announced() {
    let tools = PluginTools::of(chain(&[("calculator", CALCULATOR)]).await);
    let seen = tools.revision();
    let waiting = tools.changed(seen);
    tools.announce();
    assert_eq!(waiting.await, tools.revision());
    assert_ne!(tools.revision(), seen);
}
