//! Pinned servers: a list that differs from the accepted one is withheld, at the start and while the server runs.

use std::sync::Arc;

use firebox_contract::{Caller, Error, ToolSource};
use firebox_mcp::McpError;
use firebox_mcp::client::{ClientPool, ServerSpec, ToolPins};

use crate::harness::{call, fake, names, names_after_connecting, pool, quoted, tool_call, until};

/// What the server offers now, as its operator would accept it.
async fn accepted(spec: ServerSpec) -> Arc<ToolPins> {
    let report = pool(vec![spec]).connect(&Caller::local()).await.remove(0);
    Arc::new(ToolPins::of(&report.result.expect("reachable").1))
}

async fn failure(pool: &ClientPool) -> String {
    pool.connect(&Caller::local()).await.remove(0).result.expect_err("withheld").to_string()
}

#[tokio::test]
async fn a_list_that_changes_while_the_server_runs_is_withheld_until_it_is_accepted() {
    let pins = accepted(fake("one", &[])).await;
    let pinned = ServerSpec { pins: Some(Arc::clone(&pins)), ..fake("one", &[]) };
    let pool = pool(vec![pinned.clone()]);
    assert_eq!(names_after_connecting(&pool).await.len(), pins.tools().len());
    let seen = pool.revision();
    assert_eq!(call(&pool, "grow", "extra").await.content, "grown");
    until("withheld", async || names(&pool).await.is_empty()).await;
    assert_ne!(pool.revision(), seen, "clients are told");
    let text = failure(&pool).await;
    assert!(text.contains("\"one\" are withheld") && text.contains("\"extra\" is new"), "{text}");
    assert_eq!(pool.absent(&Caller::local()), ["one"]);
    let echo = tool_call("echo", &quoted("still?"));
    let gone = pool.call(&Caller::local(), &echo, &()).await.expect_err("withheld");
    assert!(matches!(gone, Error::NotFound(_)), "{gone}");
    let named = pool.call_server(&Caller::local(), "one", "echo", &quoted("still?"), &()).await;
    assert!(matches!(named, Err(McpError::Changed { .. })), "{named:?}");
    // A server that starts again has the accepted list again.
    pool.replace(vec![ServerSpec { required: true, ..pinned }]);
    assert_eq!(names_after_connecting(&pool).await.len(), pins.tools().len());
    assert_eq!(pool.absent(&Caller::local()), Vec::<String>::new());
}

#[tokio::test]
async fn a_server_without_accepted_tools_offers_none() {
    let pool = pool(vec![ServerSpec { pins: Some(Arc::default()), ..fake("one", &[]) }, fake("two", &[])]);
    let names = names_after_connecting(&pool).await;
    assert!(names.contains(&"echo".to_owned()), "the tools of \"two\" keep their names: {names:?}");
    let text = failure(&pool).await;
    assert!(text.contains("is new") && text.contains("changes more"), "{text}");
}

#[tokio::test]
async fn accepting_another_list_starts_the_server_again() {
    let pins = accepted(fake("one", &[])).await;
    let pool = pool(vec![ServerSpec { pins: Some(Arc::default()), ..fake("one", &[]) }]);
    assert!(names_after_connecting(&pool).await.is_empty());
    pool.replace(vec![ServerSpec { pins: Some(pins), ..fake("one", &[]) }]);
    assert!(names_after_connecting(&pool).await.contains(&"echo".to_owned()));
    assert_eq!(call(&pool, "echo", "hello").await.content, "hello");
}
