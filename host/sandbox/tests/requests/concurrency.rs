//! Many requests at the same time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use firebox_contract::limits;
use firebox_contract::{Error, FaultCause, Stage, TextVerdict, ToolCall};
use firebox_sandbox::{Plugin, PluginChain, PluginLimits, PluginSpec, Sandbox, SandboxError, SandboxOptions};

use crate::support::{bind, chain, fault, guest_with, load, push_once, sandbox, spec, tag, try_bind};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_requests_share_a_pool_of_sixteen() {
    let sandbox = sandbox();
    let plugins = [tag(&sandbox, "a", 'a').await, tag(&sandbox, "b", 'b').await, load(&sandbox, "count").await];
    let hooks = Arc::new(chain(&[&plugins[0], &plugins[1], &plugins[2]]));
    let requests: Vec<_> = (0..64)
        .map(|_| {
            let hooks = Arc::clone(&hooks);
            tokio::spawn(async move {
                let mut bound = bind(&hooks).await;
                for expected in ["1", "2", "3"] {
                    tokio::task::yield_now().await;
                    let verdict = bound.push("x".to_owned()).await.expect("no fault");
                    assert_eq!(verdict, TextVerdict::Emit(expected.to_owned()));
                }
            })
        })
        .collect();
    for request in requests {
        request.await.expect("no panic");
    }
}

#[tokio::test]
async fn a_full_pool_refuses_with_a_reason_and_recovers() {
    let sandbox = Sandbox::new(SandboxOptions { pool_memories: 2, ..SandboxOptions::default() }).expect("an engine");
    let pass = load(&sandbox, "pass").await;
    let hooks = chain(&[&pass]);
    let held = (bind(&hooks).await, bind(&hooks).await);
    let started = Instant::now();
    let error = try_bind(&hooks).await.err().expect("the pool is full");
    assert!(matches!(&error, Error::Unavailable(message) if message.contains("can have 2 memories")), "{error}");
    assert!(started.elapsed() >= limits::PLUGIN_POOL_WAIT);
    drop(held);
    push_once(&pass, "x").await.expect("there is room again");
}

#[tokio::test]
async fn a_waiting_request_gets_the_memory_that_another_releases() {
    let sandbox = Sandbox::new(SandboxOptions { pool_memories: 1, ..SandboxOptions::default() }).expect("an engine");
    let pass = load(&sandbox, "pass").await;
    let held = bind(&chain(&[&pass])).await;
    let waiting = tokio::spawn(async move { push_once(&pass, "x").await });
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(!waiting.is_finished());
    drop(held);
    assert!(waiting.await.expect("no panic").is_ok());
}

#[tokio::test]
async fn a_chain_larger_than_the_pool_is_refused_before_any_request() {
    let sandbox = Sandbox::new(SandboxOptions { pool_memories: 1, ..SandboxOptions::default() }).expect("an engine");
    let (a, b) = (tag(&sandbox, "a", 'a').await, tag(&sandbox, "b", 'b').await);
    let refused = PluginChain::new(vec![a, b]).expect_err("there is one memory");
    assert!(
        matches!(&refused, SandboxError::TooMuch { .. }) && refused.to_string().contains("2 memories"),
        "{refused}"
    );
}

#[tokio::test]
async fn thousands_of_requests_release_their_instances() {
    let plugin = load(&sandbox(), "count").await;
    let hooks = chain(&[&plugin]);
    for _ in 0..5_000 {
        let verdict = bind(&hooks).await.push("x".to_owned()).await.expect("no fault");
        assert_eq!(verdict, TextVerdict::Emit("1".to_owned()));
    }
}

const SHORT: PluginLimits = PluginLimits {
    fuel: limits::PLUGIN_FUEL_MAX,
    memory_bytes: limits::PLUGIN_MEMORY_BYTES_DEFAULT,
    timeout: Duration::from_millis(500),
};

async fn spinner(sandbox: &Sandbox, name: &str) -> Arc<Plugin> {
    let component = guest_with("tool-spin", &[("@TOOL@", name)]);
    sandbox.load(PluginSpec { limits: SHORT, ..spec(name, component) }).await.expect("loaded")
}

fn call_of(tool: &str) -> ToolCall {
    ToolCall { id: "c".to_owned(), name: tool.to_owned(), arguments_json: "{}".to_owned() }
}

#[tokio::test]
async fn calls_of_different_plugins_overlap_and_calls_of_one_plugin_wait() {
    let sandbox = sandbox();
    let (a, b) = (spinner(&sandbox, "left").await, spinner(&sandbox, "next").await);
    let hooks = bind(&chain(&[&a, &b])).await;
    let (first, second, again) = (call_of("left"), call_of("next"), call_of("left"));
    let started = Instant::now();
    let both = async { tokio::join!(hooks.call(&first), hooks.call(&second)) };
    let timed = async {
        let ended = both.await;
        (ended, started.elapsed())
    };
    let (((first, second), took), again) = tokio::join!(timed, hooks.call(&again));
    assert!(took < 2 * SHORT.timeout, "at the same time: {took:?}");
    assert!(started.elapsed() >= 2 * SHORT.timeout, "one after the other: {:?}", started.elapsed());
    for ended in [first, second, again] {
        assert!(matches!(fault(ended).cause, FaultCause::TimedOut { .. }), "each call has its own instance");
    }
}

#[tokio::test]
async fn a_cancelled_call_is_charged() {
    let sandbox = sandbox();
    let a = spinner(&sandbox, "left").await;
    let hooks = bind(&chain(&[&a])).await;
    let call = call_of("left");
    let cancelled = tokio::time::timeout(Duration::from_millis(50), hooks.call(&call)).await;
    assert!(cancelled.is_err());
    let uses = hooks.usage();
    let tool = uses.iter().find(|row| row.stage == Stage::Tool).expect("a row");
    assert!(tool.calls == 1 && tool.fuel > 0 && tool.elapsed >= Duration::from_millis(40), "{tool:?}");
}
