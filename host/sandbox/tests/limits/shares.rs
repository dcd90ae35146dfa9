//! The share of a tenant in the instance pool, and what a waiting request holds of it.

use std::sync::Arc;
use std::time::Instant;

use firebox_contract::{Error, Hooks, TextVerdict, ToolCall, limits};
use firebox_sandbox::{CpuBudget, PluginChain, PluginLimits, PluginSpec, Sandbox, SandboxOptions};

use crate::support::{bind, chain, guest, guest_with, load, sandbox, spec, try_bind};

fn of(chain: &PluginChain, budget: &Arc<CpuBudget>) -> PluginChain {
    chain.clone().charged_to(Arc::clone(budget))
}

/// Binds `most` requests at the same time. Returns those that got instances, and the error of one that got none.
async fn flood(chain: &PluginChain, most: usize) -> (Vec<Box<dyn Hooks>>, Option<Error>) {
    let asked: Vec<_> = (0..most)
        .map(|_| {
            let chain = chain.clone();
            tokio::spawn(async move { try_bind(&chain).await })
        })
        .collect();
    let (mut held, mut refused) = (Vec::new(), None);
    for bound in asked {
        match bound.await.expect("no panic") {
            Ok(hooks) => held.push(hooks),
            Err(error) => refused = Some(error),
        }
    }
    (held, refused)
}

#[tokio::test]
async fn requests_of_one_tenant_leave_room_for_those_of_every_other() {
    let pass = chain(&[&load(&sandbox(), "pass").await]);
    let budgets: [Arc<CpuBudget>; 3] = Default::default();
    let (first, refused) = flood(&of(&pass, &budgets[0]), 32).await;
    assert_eq!(first.len(), 8, "of 16 it holds as many as it leaves free");
    let refused = refused.expect("the rest");
    assert!(matches!(&refused, Error::Limited { message, .. } if message.contains("this tenant")), "{refused}");
    let (second, refused) = flood(&of(&pass, &budgets[1]), 32).await;
    assert_eq!((second.len(), matches!(refused, Some(Error::Limited { .. }))), (4, true));
    let started = Instant::now();
    let mut third = try_bind(&of(&pass, &budgets[2])).await.expect("room for the next");
    assert!(started.elapsed() < limits::PLUGIN_POOL_WAIT / 2, "at once: {:?}", started.elapsed());
    assert_eq!(third.push("x".to_owned()).await.expect("no fault"), TextVerdict::Emit("x".to_owned()));
}

#[tokio::test]
async fn if_other_tenants_hold_the_pool_the_error_is_not_a_rate_limit() {
    let sandbox = Sandbox::new(SandboxOptions { pool_memories: 2, ..SandboxOptions::default() }).expect("an engine");
    let pass = chain(&[&load(&sandbox, "pass").await]);
    let budgets: [Arc<CpuBudget>; 3] = Default::default();
    let _held = (bind(&of(&pass, &budgets[0])).await, bind(&of(&pass, &budgets[1])).await);
    let refused = try_bind(&of(&pass, &budgets[2])).await.err().expect("the host is full");
    assert!(matches!(&refused, Error::Unavailable(message) if message.contains("the host has no room")), "{refused}");
    let own = try_bind(&of(&pass, &budgets[0])).await.err().expect("the host is full");
    assert!(matches!(&own, Error::Limited { .. }), "without its own instance it would fit: {own}");
}

#[tokio::test]
async fn a_request_holds_no_instance_of_a_tool_plugin_between_calls() {
    let sandbox = Sandbox::new(SandboxOptions { pool_memories: 1, ..SandboxOptions::default() }).expect("an engine");
    let plugin = sandbox.load(spec("echo", guest_with("tool-echo", &[("@TOOL@", "echo")]))).await.expect("loaded");
    let hooks = chain(&[&plugin]);
    let mut waiting = Vec::new();
    for _ in 0..100 {
        waiting.push(bind(&hooks).await);
    }
    let call = ToolCall { id: "c".to_owned(), name: "echo".to_owned(), arguments_json: "{}".to_owned() };
    for hooks in &waiting {
        let outcome = hooks.call(&call).await.expect("there is room for one call");
        assert_eq!(outcome.provider, "echo");
    }
    let used: u64 = waiting[0].usage().iter().map(|row| row.calls).sum();
    assert_eq!(used, 2, "its start and its call count: {:?}", waiting[0].usage());
}

#[tokio::test]
async fn bytes_of_memory_are_shared_too() {
    let options = SandboxOptions { pool_bytes: limits::PLUGIN_POOL_BYTES_MIN, ..SandboxOptions::default() };
    let sandbox = Sandbox::new(options).expect("an engine");
    let limits = PluginLimits { memory_bytes: limits::PLUGIN_MEMORY_BYTES_MAX, ..PluginLimits::default() };
    let hungry = PluginSpec { limits, ..spec("memory-bomb", guest("memory-bomb")) };
    let hungry = chain(&[&sandbox.load(hungry).await.expect("loaded")]);
    let budgets: [Arc<CpuBudget>; 2] = Default::default();
    let (mut first, mut second) = (bind(&of(&hungry, &budgets[0])).await, bind(&of(&hungry, &budgets[0])).await);
    // Two instances of one tenant: the one that takes all it can is stopped at the share of its tenant.
    let refused = first.push("x".to_owned()).await.expect_err("it exceeds the share");
    assert!(matches!(&refused, Error::Limited { message, .. } if message.contains("this tenant")), "{refused}");
    let mut other = bind(&of(&chain(&[&load(&sandbox, "pass").await]), &budgets[1])).await;
    assert_eq!(other.push("x".to_owned()).await.expect("room"), TextVerdict::Emit("x".to_owned()));
    assert!(second.finish().await.is_ok(), "it keeps the memory that it has");
}
