//! The connections of tenants, and the names of tools.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use firebox_contract::{Caller, Error, ToolSource};
use firebox_mcp::client::{ClientPool, PoolOptions, Secret, ServerSpec, ServerTransport};

use crate::harness::{PATIENCE, call, call_as, fake, names, names_after_connecting, pool, tenant, tool_call, until};

#[tokio::test]
async fn each_tenant_has_its_own_connection_unless_the_server_is_shared() {
    let shared = ServerSpec { shared: true, ..fake("shared", &[]) };
    let pool = pool(vec![fake("own", &[]), shared]);
    let (a, b) = (tenant("a"), tenant("b"));
    let pid = async |caller: &Caller, tool: &str| call_as(&pool, caller, tool, "").await.content;
    let own = pid(&a, "own__pid").await;
    assert_eq!(pid(&a, "own__pid").await, own, "one tenant, one connection");
    assert_ne!(pid(&b, "own__pid").await, own, "two tenants, two connections");
    assert_eq!(pid(&a, "shared__pid").await, pid(&b, "shared__pid").await, "shared on purpose");
    assert_eq!(pool.children(), 3);
    assert_eq!(pool.close().await, 0);
}

#[tokio::test]
async fn a_tenant_sees_and_calls_only_its_servers() {
    let access = Arc::new(|caller: &Caller, server: &str| caller.tenant.as_str() == "a" || server == "two");
    let pool = ClientPool::new(vec![fake("one", &[]), fake("two", &["paged"])], access);
    let (a, b) = (tenant("a"), tenant("b"));
    drop((pool.connect(&a).await, pool.connect(&b).await));
    let shown: Vec<String> = pool.tools(&a).await.into_iter().map(|tool| tool.name).collect();
    assert!(shown.contains(&"one__echo".to_owned()) && shown.contains(&"two__echo".to_owned()), "{shown:?}");
    let shown: Vec<String> = pool.tools(&b).await.into_iter().map(|tool| tool.name).collect();
    assert!(shown.contains(&"echo".to_owned()) && !shown.iter().any(|name| name.contains("__")), "{shown:?}");
    let foreign = pool.call(&b, &tool_call("one__echo", "{}"), &()).await;
    assert!(matches!(foreign, Err(Error::NotFound(_))), "{foreign:?}");
}

#[tokio::test]
async fn names_do_not_change_while_a_server_is_down() {
    let named = ServerSpec { prefix: Some("files".to_owned()), ..fake("one", &[]) };
    let pool = pool(vec![named, fake("two", &[]), fake("three", &[])]);
    let all = names_after_connecting(&pool).await;
    for name in ["files__echo", "two__echo", "three__echo"] {
        assert!(all.contains(&name.to_owned()), "{name} in {all:?}");
    }
    assert!(call(&pool, "three__die", "").await.is_error);
    assert_eq!(call(&pool, "two__echo", "same").await.content, "same");
}

fn own_variables() -> Vec<std::ffi::OsString> {
    std::env::vars_os().map(|(name, _)| name).collect()
}

#[tokio::test]
async fn a_child_process_gets_only_the_configured_environment() {
    let mut spec = fake("one", &[]);
    let ServerTransport::Stdio(server) = &mut spec.transport else { panic!("stdio") };
    server.env.push(("TOKEN".to_owned(), Secret::new("hunter22")));
    server.env_allow.push("CARGO_PKG_NAME".to_owned());
    assert!(own_variables().contains(&"CARGO_MANIFEST_DIR".into()), "the test runner sets it");
    let pool = pool(vec![spec]);
    let variables: serde_json::Value = serde_json::from_str(&call(&pool, "env", "").await.content).expect("json");
    assert_eq!(variables["TOKEN"], "hunter22");
    assert_eq!(variables["CARGO_PKG_NAME"], "firebox-mcp");
    assert!(variables["PATH"].is_string());
    assert!(variables["CARGO_MANIFEST_DIR"].is_null(), "{variables}");
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_opened_again_on_use() {
    let options = PoolOptions { idle_time: Some(Duration::from_millis(300)) };
    let pool = ClientPool::with_options(vec![fake("one", &[])], Arc::new(|_, _| true), options);
    let first = call(&pool, "pid", "").await.content;
    until("the child ends", async || pool.children() == 0).await;
    assert_ne!(call(&pool, "pid", "").await.content, first);
}

#[tokio::test]
async fn servers_can_be_replaced_while_the_pool_runs() {
    let (stays, goes) = (fake("stays", &[]), fake("goes", &[]));
    let pool = pool(vec![stays.clone(), goes]);
    let (one, other) = (call(&pool, "stays__pid", "").await.content, call(&pool, "goes__pid", "").await.content);
    assert_ne!(one, other);
    pool.replace(vec![stays]);
    assert_eq!(
        call(&pool, "pid", "").await.content,
        one,
        "a server that stays keeps its connection and gets short names"
    );
    until("the other ends", async || pool.children() == 1).await;
    assert_eq!(pool.close().await, 0);
    assert!(names(&pool).await.is_empty(), "a pool that is closed stays closed");
}

#[tokio::test]
async fn a_tenant_that_loses_access_to_a_server_loses_its_connection_and_calls() {
    let gone = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&gone);
    let access =
        Arc::new(move |caller: &Caller, _: &str| caller.tenant.as_str() == "a" || !told.load(Ordering::SeqCst));
    let pool = ClientPool::new(vec![fake("one", &[])], access);
    let (a, b) = (tenant("a"), tenant("b"));
    let stays = call_as(&pool, &a, "pid", "").await.content;
    call_as(&pool, &b, "pid", "").await;
    assert_eq!(pool.children(), 2);
    let running = tokio::spawn({
        let (pool, b) = (pool.clone(), b.clone());
        async move { call_as(&pool, &b, "sleep", "600").await }
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    gone.store(true, Ordering::SeqCst);
    pool.replace(vec![fake("one", &[])]);
    let ended = tokio::time::timeout(PATIENCE, running).await.expect("in time").expect("no panic");
    assert!(ended.is_error, "{ended:?}");
    until("the child ends", async || pool.children() == 1).await;
    assert_eq!(call_as(&pool, &a, "pid", "").await.content, stays, "the connection of another tenant continues");
    assert!(matches!(pool.call(&b, &tool_call("pid", "{}"), &()).await, Err(Error::NotFound(_))));
    assert_eq!(pool.children(), 1, "and no connection was opened for it again");
    assert_eq!(pool.close().await, 0);
}
