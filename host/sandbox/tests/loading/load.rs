//! Loading components: which are refused, with which error, before any request.

use std::fmt::Write;

use firebox_contract::{ErrorKind, FaultCause, Stage, limits};
use firebox_sandbox::{
    ComponentSource, DeniedBy, GrantedTo, Grants, PluginLimits, PluginSpec, Sandbox, SandboxError, SandboxOptions,
};

use crate::support::{bind, chain, guest, load, load_fault, push_once, sandbox, sandbox_with, spec};

#[tokio::test]
async fn an_unknown_import_is_refused_by_name() {
    let error = sandbox().load(spec("spy", guest("unknown-import"))).await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::PluginFault);
    let SandboxError::UnknownImport { imports, .. } = error else { panic!("{error}") };
    assert_eq!(imports, ["wasi:messaging/producer@0.2.0"]);
}

#[tokio::test]
async fn too_many_instances_are_refused() {
    let mut text = "(component (core module $m)".to_owned();
    for _ in 0..=limits::PLUGIN_INSTANCES_MAX {
        write!(text, "(core instance (instantiate $m))").expect("written");
    }
    let component = wat::parse_str(text + ")").expect("valid");
    let error = sandbox().load(spec("crowd", component)).await.expect_err("refused");
    assert!(matches!(error, SandboxError::TooComplex { found: 129, limit: 128, .. }), "{error}");
    assert!(error.to_string().contains("Firebox allows 128"), "{error}");
}

#[tokio::test]
async fn too_many_memories_are_refused_in_either_allocation() {
    use firebox_sandbox::Allocation;
    let mut text = "(component (core module $m".to_owned();
    for _ in 0..9 {
        write!(text, "(memory 1)").expect("written");
    }
    let component = wat::parse_str(text + ") (core instance (instantiate $m)))").expect("valid");
    for allocation in [Allocation::Pooled, Allocation::OnDemand] {
        let error = sandbox_with(allocation).load(spec("elephant", component.clone())).await.expect_err("refused");
        assert!(matches!(error, SandboxError::TooComplex { what: "memories", found: 9, .. }), "{error}");
        assert_eq!(error.kind(), ErrorKind::PluginFault);
    }
}

#[tokio::test]
async fn the_error_for_a_component_without_a_stage_lists_the_stages() {
    let component = wat::parse_str("(component (core module $m) (export \"m\" (core module $m)))").expect("valid");
    let error = sandbox().load(spec("lost", component)).await.expect_err("refused");
    let text = error.to_string();
    assert!(text.contains("\"m\"") && text.contains("\"firebox:plugin/text@0.1.0\""), "{text}");
}

#[tokio::test]
async fn the_manifest_must_list_exactly_the_exported_stages() {
    let sandbox = sandbox();
    let listing = |stages: &[Stage]| PluginSpec { stages: Some(stages.to_vec()), ..spec("pass", guest("pass")) };
    sandbox.load(listing(&[Stage::Text])).await.expect("loaded");
    for wrong in [&[][..], &[Stage::Tool], &[Stage::Tool, Stage::Text]] {
        let error = sandbox.load(listing(wrong)).await.expect_err("refused");
        assert!(matches!(&error, SandboxError::Stages { exported, .. } if exported == "text"), "{error}");
    }
}

#[tokio::test]
async fn an_interface_with_wrong_types_is_refused() {
    let text = "(component
        (core module $m (func (export \"push\") (result i32) (i32.const 1)))
        (core instance $i (instantiate $m))
        (func $push (result u32) (canon lift (core func $i \"push\")))
        (instance $text (export \"push\" (func $push)) (export \"finish\" (func $push)))
        (export \"firebox:plugin/text@0.1.0\" (instance $text)))";
    let fault = load_fault(sandbox().load(spec("odd", wat::parse_str(text).expect("valid"))).await);
    assert_eq!(fault.stage, Stage::Init);
    assert!(matches!(&fault.cause, FaultCause::Refused { message } if message.contains("WIT")), "{fault}");
}

#[tokio::test]
async fn a_missing_function_is_named() {
    let text = "(component
        (core module $m (func (export \"push\") (result i32) (i32.const 1)))
        (core instance $i (instantiate $m))
        (func $push (result u32) (canon lift (core func $i \"push\")))
        (instance $text (export \"push\" (func $push)))
        (export \"firebox:plugin/text@0.1.0\" (instance $text)))";
    let error = sandbox().load(spec("half", wat::parse_str(text).expect("valid"))).await.expect_err("refused");
    assert!(error.to_string().contains("finish"), "{error}");
}

#[tokio::test]
async fn a_truncated_component_is_refused() {
    let sandbox = sandbox();
    let whole = guest("pass");
    for length in (0..whole.len()).step_by(whole.len() / 40) {
        let error = sandbox.load(spec("cut", whole[..length].to_vec())).await.expect_err("refused");
        assert!(matches!(error.kind(), ErrorKind::PluginFault), "{length}: {error}");
    }
}

#[tokio::test]
async fn a_configuration_reaches_the_plugin_and_a_bad_one_is_reported_at_load() {
    let sandbox = sandbox();
    let with =
        |config: Option<&str>| PluginSpec { config_json: config.map(str::to_owned), ..spec("config", guest("config")) };
    let plugin = sandbox.load(with(Some("{\"cheese\":\"brie\"}"))).await.expect("loaded");
    let info = plugin.info().expect("it exports lifecycle");
    assert_eq!((info.name.as_str(), info.version.as_str()), ("cheeseboard", "1.2.3"));
    let verdict = push_once(&plugin, "x").await.expect("no fault");
    assert_eq!(verdict, firebox_contract::TextVerdict::Emit("{\"cheese\":\"brie\"}".to_owned()));

    let none = load_fault(sandbox.load(with(None)).await);
    assert_eq!(none.stage, Stage::Init);
    assert_eq!(none.cause, FaultCause::Failed { message: "needs a cheese".to_owned() });
    let trap = load_fault(sandbox.load(with(Some("{ \"a\": 1}"))).await);
    assert!(matches!(trap.cause, FaultCause::Trapped { .. }), "{trap}");
}

#[tokio::test]
async fn a_configuration_for_a_plugin_without_lifecycle_is_an_error() {
    let spec = PluginSpec { config_json: Some("{}".to_owned()), ..spec("pass", guest("pass")) };
    let error = sandbox().load(spec).await.expect_err("refused");
    assert!(matches!(error, SandboxError::Config { .. }) && error.to_string().contains("lifecycle"), "{error}");
}

#[tokio::test]
async fn a_capability_that_this_host_does_not_have_is_refused_by_name() {
    let sandbox = sandbox();
    let asking = |asks: &[&str]| PluginSpec {
        asks: asks.iter().map(|name| (*name).to_owned()).collect(),
        ..spec("pass", guest("pass"))
    };
    let plugin =
        sandbox.load(asking(&["log", "clock", "keyvalue:notes"])).await.expect("what is missing is denied later");
    let rows = plugin.explain_grants(None);
    assert_eq!(rows.iter().map(|row| row.capability.as_str()).collect::<Vec<_>>(), ["clock", "keyvalue:notes"]);
    assert!(rows.iter().all(|row| row.denied_by == Some(DeniedBy::Operator)), "{rows:?}");
    for (asks, part) in [("net", "\"net\""), ("keyvalue:*", "\"keyvalue:*\""), ("http", "http:GET"), ("*", "\"*\"")] {
        let error = sandbox.load(asking(&["log", asks])).await.expect_err("refused");
        assert!(error.to_string().contains(part) && error.kind() == ErrorKind::Denied, "{error}");
    }
}

#[tokio::test]
async fn grants_are_for_one_component() {
    let sandbox = sandbox();
    let digest = load(&sandbox, "pass").await.digest().to_owned();
    let pinned = |digest: &str, guest_name: &str| PluginSpec {
        asks: vec!["clock".to_owned(), "random".to_owned()],
        granted_to: GrantedTo::Digest(digest.to_owned()),
        ..spec("pinned", guest(guest_name))
    };
    assert!(sandbox.load(pinned(&digest.to_uppercase(), "pass")).await.is_ok());
    let compiled = sandbox.compilations();
    let error = sandbox.load(pinned(&digest, "prompt-echo")).await.expect_err("another component");
    let text = error.to_string();
    assert!(text.contains(&digest) && text.contains("\"clock\", \"random\""), "{text}");
    assert_eq!((error.kind(), sandbox.compilations()), (ErrorKind::Denied, compiled), "it is not even compiled");
}

#[tokio::test]
async fn a_folder_of_the_grants_must_exist() {
    let grants = Grants::parse(&["files:docs=/no/such/folder"]).expect("valid");
    let spec = PluginSpec { grants, ..spec("pass", guest("pass")) };
    let error = sandbox().load(spec).await.expect_err("refused");
    assert!(error.kind() == ErrorKind::Usage && error.to_string().contains("/no/such/folder"), "{error}");
}

#[tokio::test]
async fn the_operators_and_the_callers_limits_apply_to_every_plugin() {
    let ceiling = PluginLimits { fuel: 1_000_000, ..PluginLimits::MAX };
    let sandbox = Sandbox::new(SandboxOptions { ceiling, pool_memories: 4, ..SandboxOptions::default() });
    let spin = load(&sandbox.expect("an engine"), "spin").await;
    let fault = crate::support::fault(push_once(&spin, "x").await);
    assert_eq!(fault.cause, FaultCause::OutOfFuel { limit: 1_000_000 });
    assert_eq!(fault.fuel, 1_000_000);
    let limited = chain(&[&spin]).limited(PluginLimits { fuel: 2_000, ..PluginLimits::MAX }).expect("in range");
    let fault = crate::support::fault(bind(&limited).await.push("x".to_owned()).await);
    assert_eq!(fault.cause, FaultCause::OutOfFuel { limit: 2_000 });
}

#[tokio::test]
async fn a_loaded_plugin_reports_its_stages_imports_and_digest() {
    let plugin = load(&sandbox(), "sleep").await;
    assert_eq!(plugin.stages(), [Stage::Text]);
    assert_eq!(plugin.digest().len(), 64);
    let imports = plugin.imports();
    assert!(imports.iter().any(|name| name.starts_with("wasi:io/poll@")), "{imports:?}");
    assert!(plugin.tools().is_empty() && plugin.info().is_none() && plugin.warnings().is_empty());
}

#[tokio::test]
async fn the_error_for_a_missing_file_names_its_path() {
    let source = ComponentSource::Path("no/such/plugin.wasm".into());
    let error = sandbox().load(PluginSpec::new("gone", source)).await.expect_err("refused");
    assert!(error.to_string().contains("\"no/such/plugin.wasm\""), "{error}");
}
