//! The plugins that come with Firebox, as users get them: components built from Rust by the usual toolchain.

use std::path::PathBuf;
use std::sync::Arc;

use firebox_contract::{FaultCause, Message, PromptVerdict, Role, Stage, ToolCall};
use firebox_sandbox::{ComponentSource, Plugin, PluginSpec, Sandbox};

use crate::support::{all_text, bind, chain, load_fault, sandbox};

fn prebuilt(name: &str) -> PluginSpec {
    let path: PathBuf =
        [env!("CARGO_MANIFEST_DIR"), "..", "..", "plugins", "prebuilt", &format!("{name}.wasm")].iter().collect();
    PluginSpec::new(name, ComponentSource::Path(path))
}

async fn load(sandbox: &Sandbox, name: &str) -> Arc<Plugin> {
    sandbox.load(prebuilt(name)).await.unwrap_or_else(|error| panic!("{error}"))
}

fn calculation(expression: &str) -> ToolCall {
    let arguments_json = format!("{{\"expression\": \"{expression}\"}}");
    ToolCall { id: "c".to_owned(), name: "calculator".to_owned(), arguments_json }
}

#[tokio::test]
async fn redact_hides_addresses_from_the_model_and_restores_them_in_the_answer() {
    let redact = load(&sandbox(), "redact").await;
    assert_eq!(redact.stages(), [Stage::Prompt, Stage::Text]);
    let mut hooks = bind(&chain(&[&redact])).await;
    let messages = vec![Message::text(Role::User, "Write to ann@example.org, please.")];
    let verdict = hooks.process(messages).await.expect("no fault");
    let hidden = vec![Message::text(Role::User, "Write to [EMAIL_1], please.")];
    assert_eq!(verdict, PromptVerdict::Continue(hidden));
    let text = all_text(&mut *hooks, &["Dear [EM", "AIL_1", "], hello."]).await;
    assert_eq!(text, "Dear ann@example.org, hello.");
}

#[tokio::test]
async fn redact_remembers_nothing_from_an_earlier_request() {
    let redact = load(&sandbox(), "redact").await;
    let hooks = chain(&[&redact]);
    let messages = vec![Message::text(Role::User, "I am ann@example.org")];
    bind(&hooks).await.process(messages).await.expect("no fault");
    assert_eq!(all_text(&mut *bind(&hooks).await, &["You are [EMAIL_1]"]).await, "You are [EMAIL_1]");
}

#[tokio::test]
async fn an_invalid_configuration_of_redact_is_reported_at_load() {
    let spec = PluginSpec { config_json: Some("{\"kinds\": [\"nonsense\"]}".to_owned()), ..prebuilt("redact") };
    let fault = load_fault(sandbox().load(spec).await);
    assert!(matches!(&fault.cause, FaultCause::Failed { message } if message.contains("nonsense")), "{fault}");
}

#[tokio::test]
async fn the_calculator_calculates() {
    let calculator = load(&sandbox(), "calculator").await;
    let hooks = bind(&chain(&[&calculator])).await;
    let outcome = hooks.call(&calculation("25!")).await.expect("no fault");
    assert!(!outcome.is_error && outcome.content.contains("15511210043330985984000000"), "{outcome:?}");
    let outcome = hooks.call(&calculation("1 +")).await.expect("no fault");
    assert!(outcome.is_error, "{outcome:?}");
}

#[tokio::test]
async fn every_plugin_that_comes_with_firebox_imports_only_the_log() {
    let sandbox = sandbox();
    for name in ["calculator", "redact", "text-tools", "units"] {
        let plugin = load(&sandbox, name).await;
        assert!(plugin.imports().iter().all(|import| import.starts_with("firebox:plugin/")), "{:?}", plugin.imports());
        assert!(plugin.info().is_some_and(|info| !info.description.is_empty()), "{name}");
    }
}
