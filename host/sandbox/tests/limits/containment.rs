//! Every kind of hostile guest ends as its own typed fault, and does not harm other requests.

use std::time::{Duration, Instant};

use firebox_contract::limits;
use firebox_contract::{Fault, FaultCause, Stage, TextVerdict};
use firebox_sandbox::{Allocation, Capability, PluginLimits, PluginSpec, Sandbox};

use crate::support::{bind, chain, fault, guest, load, load_fault, push_once, sandbox_with, sleeper, spec};

const TIMEOUT: Duration = Duration::from_millis(200);

/// Limits with so much fuel that only the timeout can stop a guest.
const SHORT: PluginLimits =
    PluginLimits { fuel: limits::PLUGIN_FUEL_MAX, memory_bytes: limits::PLUGIN_MEMORY_BYTES_DEFAULT, timeout: TIMEOUT };

/// Limits with a timeout that no guest reaches, even on a busy machine.
const PATIENT: PluginLimits = PluginLimits {
    fuel: limits::PLUGIN_FUEL_DEFAULT,
    memory_bytes: limits::PLUGIN_MEMORY_BYTES_DEFAULT,
    timeout: Duration::from_secs(60),
};

/// A hostile guest, its limits, the stage at which it fails, and a test for the cause of the fault.
struct ContainmentRow {
    guest: &'static str,
    limits: PluginLimits,
    at: Stage,
    is: fn(&FaultCause) -> bool,
}

const fn row(guest: &'static str, at: Stage, is: fn(&FaultCause) -> bool) -> ContainmentRow {
    ContainmentRow { guest, limits: PATIENT, at, is }
}

const ROWS: &[ContainmentRow] = &[
    row("spin", Stage::Text, |cause| matches!(cause, FaultCause::OutOfFuel { limit: limits::PLUGIN_FUEL_DEFAULT })),
    ContainmentRow { guest: "spin", limits: SHORT, at: Stage::Text, is: ended_in_time },
    ContainmentRow { guest: "sleep", limits: SHORT, at: Stage::Text, is: ended_in_time },
    row("memory-bomb", Stage::Text, |cause| {
        let limit = limits::PLUGIN_MEMORY_BYTES_DEFAULT as u64;
        matches!(cause, FaultCause::OutOfMemory { limit_bytes, asked_bytes } if *limit_bytes == limit && *asked_bytes > limit)
    }),
    row("table-bomb", Stage::Text, |cause| {
        let limit = (limits::PLUGIN_TABLE_ELEMENTS_MAX * size_of::<usize>()) as u64;
        matches!(cause, FaultCause::OutOfMemory { limit_bytes, asked_bytes } if *limit_bytes == limit && *asked_bytes > limit)
    }),
    row(
        "big-memory",
        Stage::Init,
        |cause| matches!(cause, FaultCause::OutOfMemory { asked_bytes, .. } if *asked_bytes == 602 * 65_536),
    ),
    row(
        "recursion",
        Stage::Text,
        |cause| matches!(cause, FaultCause::StackOverflow { limit_bytes } if *limit_bytes == limits::PLUGIN_STACK_BYTES as u64),
    ),
    row("large-output", Stage::Text, |cause| {
        let limit = limits::PLUGIN_TEXT_BYTES_MAX as u64;
        matches!(cause, FaultCause::OutputTooLarge { limit_bytes } if *limit_bytes == limit)
    }),
    row("huge-output", Stage::Text, |cause| trapped(cause, "out of bounds")),
    row("out-of-bounds", Stage::Text, |cause| trapped(cause, "out of bounds")),
    row("wild-result", Stage::Text, |cause| trapped(cause, "out of bounds")),
    row("bad-utf8", Stage::Text, |cause| trapped(cause, "utf-8")),
    row("bad-variant", Stage::Text, |cause| trapped(cause, "discriminant")),
    row("panic", Stage::Text, |cause| trapped(cause, "panicked at src/lib.rs:7: no cheese")),
    row("handle-bomb", Stage::Text, |cause| trapped(cause, "")),
    row("exit", Stage::Text, |cause| trapped(cause, "exit with status 1")),
    row("start-trap", Stage::Init, |cause| trapped(cause, "unreachable")),
    row("start-spin", Stage::Init, |cause| matches!(cause, FaultCause::OutOfFuel { .. })),
    row("fail", Stage::Text, |cause| matches!(cause, FaultCause::Failed { message } if message == "no luck")),
];

fn trapped(cause: &FaultCause, expected: &str) -> bool {
    matches!(cause, FaultCause::Trapped { message } if message.to_lowercase().contains(expected))
}

fn ended_in_time(cause: &FaultCause) -> bool {
    let latest = TIMEOUT + limits::PLUGIN_TIMEOUT_SLACK;
    matches!(cause, FaultCause::TimedOut { limit, took } if *limit == TIMEOUT && *took >= TIMEOUT && *took <= latest)
}

async fn provoke(sandbox: &Sandbox, row: &ContainmentRow) -> Fault {
    let (asks, grants) = (vec!["clock".to_owned()], [Capability::Clock].into_iter().collect());
    let spec = PluginSpec { limits: row.limits, asks, grants, ..spec(row.guest, guest(row.guest)) };
    let loaded = sandbox.load(spec).await;
    if row.at == Stage::Init {
        return load_fault(loaded);
    }
    let plugin = loaded.unwrap_or_else(|error| panic!("{}: {error}", row.guest));
    let first = fault(push_once(&plugin, "x").await);
    let second = fault(push_once(&plugin, "x").await);
    assert_eq!(first.cause.code(), second.cause.code(), "{}: a new instance fails in the same way", row.guest);
    first
}

async fn every_row_ends_as_its_own_fault(allocation: Allocation) {
    let sandbox = sandbox_with(allocation);
    let good = load(&sandbox, "pass").await;
    for row in ROWS {
        let fault = provoke(&sandbox, row).await;
        assert!((row.is)(&fault.cause), "{}: {:?}", row.guest, fault.cause);
        assert_eq!((fault.plugin.as_str(), fault.stage), (row.guest, row.at));
        assert!(fault.memory_peak_bytes <= limits::PLUGIN_MEMORY_BYTES_DEFAULT as u64, "{fault}");
        assert!(row.at == Stage::Init || fault.memory_peak_bytes >= 2 * 65_536, "{fault}");
        assert!(row.at == Stage::Init || fault.fuel > 0, "{fault}");
        let text = fault.to_string();
        assert!(text.contains(row.guest) && text.contains(row.at.as_str()), "{text}");
        let next = push_once(&good, "still here").await.expect("the next request works");
        assert_eq!(next, TextVerdict::Emit("still here".to_owned()), "after {}", row.guest);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_guests_are_contained_in_a_pool() {
    every_row_ends_as_its_own_fault(Allocation::Pooled).await;
}

#[tokio::test]
async fn hostile_guests_are_contained_on_demand_and_on_one_thread() {
    every_row_ends_as_its_own_fault(Allocation::OnDemand).await;
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
