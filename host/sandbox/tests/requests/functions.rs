//! Components of other hosts: their functions are tools, with limits as any other.

use firebox_contract::{Error, FaultCause, ToolCall, ToolOutcome};
use firebox_sandbox::{PluginSpec, SandboxError};
use serde_json::{Value, json};

use crate::support::{bind, chain, little_fuel, sandbox, spec};

fn component() -> Vec<u8> {
    wat::parse_str(include_str!("../guests/functions.component.wat")).expect("a component")
}

async fn call(tool: &str, arguments: Value) -> Result<ToolOutcome, Error> {
    let plugin =
        sandbox().load(PluginSpec { limits: little_fuel(), ..spec("acme", component()) }).await.expect("loaded");
    let hooks = bind(&chain(&[&plugin])).await;
    hooks.call(&ToolCall { id: "1".to_owned(), name: tool.to_owned(), arguments_json: arguments.to_string() }).await
}

#[tokio::test]
async fn functions_become_tools_with_the_schema_of_their_types() {
    let plugin = sandbox().load(spec("acme", component())).await.expect("loaded");
    let names: Vec<&str> = plugin.tools().iter().map(|tool| tool.name.as_str()).collect();
    assert_eq!(names, ["add", "flood", "greet", "move_point", "nothing", "spin", "trap"]);
    let tool = |name: &str| plugin.tools().iter().find(|tool| tool.name == name).expect(name);
    let schema: Value = serde_json::from_str(&tool("move_point").input_schema_json).expect("JSON");
    assert_eq!(schema["properties"]["from"]["required"], json!(["x"]), "an option can be left out");
    assert_eq!(tool("add").description, "add: func(a: u32, b: u32) -> u32 of acme:tools/math@1.2.0");
    let refused = plugin.warnings().join("\n");
    assert!(refused.contains("\"close-file\"") && refused.contains("a resource"), "{refused}");
}

#[tokio::test]
async fn results_are_json_or_text_and_an_error_is_an_error() {
    let rows = [
        ("add", json!({"a": 40, "b": 2}), "42", false),
        ("greet", json!({"name": "Ada 🧀"}), "Ada 🧀", false),
        ("greet", json!({"name": ""}), "nobody is there", true),
        ("move_point", json!({"from": {"x": 41, "label": "é"}}), r#"{"label":"é","x":42}"#, false),
        ("move_point", json!({"from": {"x": -1}}), r#"{"label":null,"x":0}"#, false),
        ("nothing", json!({}), "done", false),
        ("add", json!({"a": -1, "b": 2}), "error: the argument \"a\" is not a u32", true),
        ("add", json!({}), "error: the argument \"a\" is not a u32", true),
    ];
    for (tool, arguments, expected, is_error) in rows {
        let outcome = call(tool, arguments.clone()).await.expect("no fault");
        let content: Value = serde_json::from_str(&outcome.content).unwrap_or_else(|_| outcome.content.clone().into());
        let wanted: Value = serde_json::from_str(expected).unwrap_or_else(|_| expected.into());
        assert_eq!((content, outcome.is_error), (wanted, is_error), "{tool} {arguments}");
    }
}

#[tokio::test]
async fn functions_have_the_limits_of_every_plugin() {
    let cause = |result: Result<ToolOutcome, Error>| match result {
        Err(Error::Fault(fault)) => fault.cause,
        other => panic!("{other:?}"),
    };
    assert!(matches!(cause(call("spin", json!({})).await), FaultCause::OutOfFuel { .. }));
    assert!(matches!(cause(call("trap", json!({})).await), FaultCause::Trapped { .. }));
    assert!(matches!(cause(call("flood", json!({})).await), FaultCause::OutputTooLarge { .. }));
}

#[tokio::test]
async fn a_component_with_nothing_that_can_be_called_is_refused_by_name() {
    let only = |text: &str| spec("p", wat::parse_str(text).expect("a component"));
    let resource = only(
        r#"(component
            (core module $m (func (export "close") (param i32)))
            (core instance $i (instantiate $m))
            (type $file (resource (rep i32)))
            (export $f "file" (type $file))
            (func $close (param "f" (own $f)) (canon lift (core func $i "close")))
            (export "close-file" (func $close)))"#,
    );
    let error = sandbox().load(resource).await.expect_err("a resource").to_string();
    assert!(error.contains("\"close-file\"") && error.contains("a resource"), "{error}");
    let command = only(r#"(component (instance $i) (export "wasi:cli/run@0.2.0" (instance $i)))"#);
    let error = sandbox().load(command).await.expect_err("a command");
    assert!(matches!(error, SandboxError::NoStage { .. }), "{error}");
    let configured = PluginSpec { config_json: Some("{}".to_owned()), ..spec("acme", component()) };
    let error = sandbox().load(configured).await.expect_err("it takes no configuration");
    assert!(matches!(error, SandboxError::Config { .. }), "{error}");
}
