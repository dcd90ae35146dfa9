//! Building a chain: which plugins can be combined.

use std::sync::Arc;

use firebox_contract::limits;
use firebox_contract::{Message, PromptVerdict, Role, Stage};
use firebox_sandbox::{PluginChain, SandboxError};

use crate::support::{bind, chain, guest_with, load, sandbox, spec, tag};

#[tokio::test]
async fn an_empty_chain_passes_everything_unchanged() {
    let mut hooks = bind(&chain(&[])).await;
    assert!(hooks.text_is_idle() && hooks.definitions().is_empty() && hooks.usage().is_empty());
    assert_eq!(hooks.process(Vec::new()).await.expect("nothing to fail"), PromptVerdict::Continue(Vec::new()));
    assert_eq!(crate::support::all_text(&mut *hooks, &["x", "y"]).await, "xy");
}

#[tokio::test]
async fn two_plugins_with_the_same_tool_are_both_named() {
    let sandbox = sandbox();
    let component = || guest_with("tool-echo", &[("@TOOL@", "echo")]);
    let one = sandbox.load(spec("one", component())).await.expect("loaded");
    let two = sandbox.load(spec("two", component())).await.expect("loaded");
    let error = PluginChain::new(vec![one, two]).expect_err("refused");
    let (tool, first, second) = ("echo".to_owned(), "one".to_owned(), "two".to_owned());
    assert_eq!(error, SandboxError::DuplicateTool { tool, first, second });
}

#[tokio::test]
async fn two_plugins_with_the_same_name_are_refused() {
    let sandbox = sandbox();
    let (one, two) = (tag(&sandbox, "a", 'a').await, tag(&sandbox, "a", 'b').await);
    let error = PluginChain::new(vec![one, two]).expect_err("refused");
    assert_eq!(error, SandboxError::DuplicatePlugin { name: "a".to_owned() });
}

#[tokio::test]
async fn a_chain_that_is_too_long_is_refused() {
    let plugin = load(&sandbox(), "pass").await;
    let plugins = vec![plugin; limits::PLUGINS_PER_REQUEST_MAX + 1];
    assert!(matches!(PluginChain::new(plugins), Err(SandboxError::Chain(_))));
}

#[tokio::test]
async fn plugins_of_two_sandboxes_cannot_be_combined() {
    let (one, two) = (sandbox(), sandbox());
    let plugins = vec![tag(&one, "a", 'a').await, tag(&two, "b", 'b').await];
    let error = PluginChain::new(plugins).expect_err("refused");
    assert!(error.to_string().contains("\"b\""), "{error}");
}

#[tokio::test]
async fn a_plugin_outlives_its_sandbox() {
    let plugin = load(&sandbox(), "pass").await;
    let hooks = chain(&[&plugin]);
    drop(Arc::clone(&plugin));
    assert_eq!(crate::support::all_text(&mut *bind(&hooks).await, &["x"]).await, "x");
}

#[tokio::test]
async fn one_stage_of_a_chain_has_only_the_plugins_with_that_stage() {
    let sandbox = sandbox();
    let tool = sandbox.load(spec("tool", guest_with("tool-echo", &[("@TOOL@", "echo")]))).await.expect("loaded");
    let (prompt, text) = (load(&sandbox, "prompt-unchanged").await, load(&sandbox, "pass").await);
    assert!(chain(&[&tool, &text]).only(Stage::Prompt).is_none() && chain(&[]).only(Stage::Prompt).is_none());
    let stage = chain(&[&tool, &prompt, &text]).only(Stage::Prompt).expect("one sees prompts");
    assert_eq!(stage.plugins().iter().map(|plugin| plugin.name()).collect::<Vec<_>>(), ["prompt-unchanged"]);
    let mut hooks = bind(&stage).await;
    assert!(hooks.definitions().is_empty());
    let messages = vec![Message::text(Role::User, "hi")];
    assert_eq!(hooks.process(messages.clone()).await.expect("passes"), PromptVerdict::Continue(messages));
}
