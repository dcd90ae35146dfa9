//! A guest that loops or waits leaves room for others. How hostile guests end is in the table of `hostile_guests.rs`.

use std::time::{Duration, Instant};

use firebox_contract::FaultCause;
use firebox_contract::limits;
use firebox_sandbox::{Allocation, PluginLimits, PluginSpec};

use crate::support::{bind, chain, fault, guest, load, push_once, sandbox_with, sleeper, spec};

const TIMEOUT: Duration = Duration::from_millis(200);

/// Limits with so much fuel that only the timeout can stop a guest.
const SHORT: PluginLimits =
    PluginLimits { fuel: limits::PLUGIN_FUEL_MAX, memory_bytes: limits::PLUGIN_MEMORY_BYTES_DEFAULT, timeout: TIMEOUT };

#[tokio::test]
async fn a_call_ends_at_its_time_whether_it_computes_or_waits() {
    for allocation in [Allocation::Pooled, Allocation::OnDemand] {
        let sandbox = sandbox_with(allocation);
        let spin = sandbox.load(PluginSpec { limits: SHORT, ..spec("spin", guest("spin")) }).await.expect("loaded");
        for plugin in [spin, sleeper(&sandbox, SHORT).await] {
            let fault = fault(push_once(&plugin, "x").await);
            let FaultCause::TimedOut { limit, took } = fault.cause else { panic!("{fault}") };
            assert!(limit == TIMEOUT && (TIMEOUT..=TIMEOUT + limits::PLUGIN_TIMEOUT_SLACK).contains(&took), "{took:?}");
        }
    }
}

#[tokio::test]
async fn a_guest_in_a_loop_yields_to_other_tasks() {
    let sandbox = sandbox_with(Allocation::Pooled);
    let spin = sandbox.load(PluginSpec { limits: SHORT, ..spec("spin", guest("spin")) }).await.expect("loaded");
    let spinning = tokio::spawn(async move { fault(push_once(&spin, "x").await) });
    tokio::task::yield_now().await;
    let mut yields = 0;
    let started = Instant::now();
    while !spinning.is_finished() && started.elapsed() < Duration::from_secs(10) {
        yields += 1;
        tokio::task::yield_now().await;
    }
    assert!(matches!(spinning.await.expect("no panic").cause, FaultCause::TimedOut { .. }));
    assert!(yields >= 10, "this task ran {yields} times during a loop of {TIMEOUT:?} on the same thread");
}

#[tokio::test]
async fn a_cancelled_call_releases_its_instance() {
    let sandbox = sandbox_with(Allocation::Pooled);
    let sleep = sleeper(&sandbox, PluginLimits::default()).await;
    for _ in 0..40 {
        let waiting = tokio::time::timeout(Duration::from_millis(1), push_once(&sleep, "x"));
        assert!(waiting.await.is_err(), "it sleeps for a minute");
    }
    let good = load(&sandbox, "pass").await;
    push_once(&good, "x").await.expect("the pool of 16 is free again");
}

#[tokio::test]
async fn an_instance_whose_call_was_cancelled_cannot_be_called_again() {
    let sleep = sleeper(&sandbox_with(Allocation::Pooled), PluginLimits::default()).await;
    let mut hooks = bind(&chain(&[&sleep])).await;
    let waiting = tokio::time::timeout(Duration::from_millis(1), hooks.push("x".to_owned()));
    assert!(waiting.await.is_err(), "it sleeps for a minute");
    for _ in 0..2 {
        let fault = fault(hooks.push("x".to_owned()).await);
        assert!(matches!(fault.cause, FaultCause::Trapped { .. } | FaultCause::Refused { .. }), "{fault}");
    }
}
