//! Every call into a guest goes through [`call`]: it arms the meters, waits, and says what was used and how it ended.

use std::fmt;
use std::future::poll_fn;
use std::time::{Duration, Instant};

use firebox_contract::limits;
use firebox_contract::{BoxFuture, FaultCause, Stage};
use wasmtime::{PoolConcurrencyLimitError, Store, Trap};
use wasmtime_wasi::I32Exit;

use crate::background::{CallState, Ticker};
use crate::error::SandboxError;
use crate::guest::GuestData;
use crate::instance::limiter::DeniedGrowth;
use crate::plugin::PluginLimits;
use crate::stages::{InterfaceMismatch, return_limit};

/// What one call used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Spent {
    /// Fuel used by this call.
    pub(crate) fuel: u64,
    /// The most linear memory the instance had up to now, in bytes.
    pub(crate) memory_peak_bytes: u64,
    /// Wall-clock time of this call.
    pub(crate) elapsed: Duration,
}

/// Why a call did not end well.
#[derive(Debug)]
pub(crate) enum Ending {
    /// The guest's own fault.
    Fault(FaultCause),
    /// What other instances hold left it no room to grow.
    NoRoom(SandboxError),
}

impl From<FaultCause> for Ending {
    fn from(cause: FaultCause) -> Self {
        Self::Fault(cause)
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fault(cause) => cause.fmt(f),
            Self::NoRoom(error) => write!(f, "had no room to grow: {error}"),
        }
    }
}

/// A call that was cut off from outside: what it had used as far as is known, and how it ended.
pub(crate) fn cut_off(limits: &PluginLimits, state: &CallState, took: Duration) -> (Spent, FaultCause) {
    let fuel = limits.fuel.saturating_sub(state.fuel_left());
    let spent = Spent { fuel, memory_peak_bytes: state.memory_peak_bytes(), elapsed: took };
    (spent, FaultCause::TimedOut { limit: limits.timeout, took })
}

/// Runs `start` on `store` under `limits`, with `context` for it to read.
///
/// Fuel bounds what the guest computes, the epoch interrupts it at its deadline, the timeout around both ends a guest
/// that waits in a host call, and the budget of copied bytes bounds what it returns or passes. After anything but
/// `Ok` the store must not be used again.
pub(crate) async fn call<C, T, F>(
    ticker: &Ticker,
    limits: &PluginLimits,
    stage: Stage,
    store: &mut Store<GuestData>,
    context: &C,
    start: F,
) -> (Spent, Result<T, Ending>)
where
    C: Sync,
    F: for<'a> FnOnce(&'a C, &'a mut Store<GuestData>) -> BoxFuture<'a, wasmtime::Result<T>> + Send,
{
    let started = Instant::now();
    if let Err(error) = arm(store, limits, stage, started) {
        let message = format!("the meter could not be set: {error}");
        return (Spent::default(), Err(FaultCause::Refused { message }.into()));
    }
    let mut called = start(context, store);
    // The ticker runs while the guest computes, and not while it waits.
    let ticked = poll_fn(|context| {
        let _computing = ticker.enter();
        called.as_mut().poll(context)
    });
    let ended = tokio::time::timeout(limits.timeout, ticked).await;
    drop(called);
    let elapsed = started.elapsed();
    // Reading fuel cannot fail: `arm` has set it.
    let fuel = limits.fuel.saturating_sub(store.get_fuel().unwrap_or(0));
    let spent = Spent { fuel, memory_peak_bytes: store.data().limiter.peak_bytes(), elapsed };
    let result = match ended {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(ending(&error, store, limits, elapsed)),
        Err(_) => Err(FaultCause::TimedOut { limit: limits.timeout, took: elapsed }.into()),
    };
    (spent, result)
}

fn arm(store: &mut Store<GuestData>, limits: &PluginLimits, stage: Stage, now: Instant) -> wasmtime::Result<()> {
    store.set_fuel(limits.fuel)?;
    store.set_hostcall_fuel(return_limit(stage));
    store.set_max_component_handles(limits::PLUGIN_HANDLES_MAX);
    store.set_epoch_deadline(1);
    let data = store.data_mut();
    data.call_state.begin(limits.fuel);
    data.deadline = now + limits.timeout;
    data.limiter.rearm();
    data.log.rearm();
    Ok(())
}

/// Wasmtime says only in words that the budget of copied bytes is used up; a test holds these.
const TOO_MUCH_DATA: &str = "too much data is being copied";
/// Likewise for too many instances, tables or memories.
const TOO_MANY: &str = "resource limit exceeded";

fn ending(error: &wasmtime::Error, store: &Store<GuestData>, limits: &PluginLimits, took: Duration) -> Ending {
    let data = store.data();
    if let Some(cause) = stopped(error, store.hostcall_fuel(), limits, took) {
        return cause.into();
    }
    // A guest whose growth was denied ends in `unreachable`, or returns a null pointer, or something else still.
    match data.limiter.denied() {
        Some(DeniedGrowth::Pool(error)) => return Ending::NoRoom(error.clone()),
        Some(&DeniedGrowth::Limit { limit_bytes, asked_bytes }) => {
            return FaultCause::OutOfMemory { limit_bytes, asked_bytes }.into();
        }
        None => {}
    }
    if let Some(I32Exit(status)) = error.downcast_ref::<I32Exit>() {
        return FaultCause::Trapped { message: format!("it called exit with status {status}") }.into();
    }
    let words = || error.root_cause().to_string();
    FaultCause::Trapped { message: data.log.last_error().unwrap_or_else(words) }.into()
}

/// What stopped the guest, if it did not stop by itself.
fn stopped(error: &wasmtime::Error, output_bytes: usize, limits: &PluginLimits, took: Duration) -> Option<FaultCause> {
    match error.downcast_ref::<Trap>() {
        Some(Trap::OutOfFuel) => return Some(FaultCause::OutOfFuel { limit: limits.fuel }),
        Some(Trap::Interrupt) => return Some(FaultCause::TimedOut { limit: limits.timeout, took }),
        Some(Trap::StackOverflow) => {
            return Some(FaultCause::StackOverflow { limit_bytes: limits::PLUGIN_STACK_BYTES as u64 });
        }
        _ => {}
    }
    let words = crate::instance::log::cut(&error.root_cause().to_string(), limits::PLUGIN_ERROR_BYTES_MAX).to_owned();
    if words.starts_with(TOO_MUCH_DATA) {
        return Some(FaultCause::OutputTooLarge { limit_bytes: output_bytes as u64 });
    }
    let refused =
        words.starts_with(TOO_MANY) || error.is::<PoolConcurrencyLimitError>() || error.is::<InterfaceMismatch>();
    refused.then_some(FaultCause::Refused { message: words })
}
