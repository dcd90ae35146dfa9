//! The meter: every call of a guest goes through [`call`], which sets the limits, waits, and returns the usage and the result.

use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use firebox_contract::limits;
use firebox_contract::{BoxFuture, FaultCause, Stage};
use wasmtime::{PoolConcurrencyLimitError, Store, Trap};
use wasmtime_wasi::I32Exit;

use crate::background::{CallState, Ticker};
use crate::capabilities::model::ModelUse;
use crate::error::SandboxError;
use crate::instance::guest::GuestData;
use crate::instance::limiter::DeniedGrowth;
use crate::plugin::PluginLimits;
use crate::stages::{InterfaceMismatch, return_limit};

/// The usage of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct CallUsage {
    /// Fuel used by this call.
    pub(crate) fuel: u64,
    /// Peak linear memory of the instance so far, in bytes.
    pub(crate) memory_peak_bytes: u64,
    /// Wall-clock time of this call.
    pub(crate) elapsed: Duration,
    /// Tokens of the model that this call used.
    pub(crate) model_tokens: u64,
}

/// The failure of a call.
#[derive(Debug)]
pub(crate) enum CallFailure {
    /// A fault of the guest.
    Fault(FaultCause),
    /// The instance pool had no memory for it to grow.
    PoolRefused(SandboxError),
}

impl From<FaultCause> for CallFailure {
    fn from(cause: FaultCause) -> Self {
        Self::Fault(cause)
    }
}

impl fmt::Display for CallFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fault(cause) => cause.fmt(f),
            Self::PoolRefused(error) => write!(f, "could not grow: {error}"),
        }
    }
}

/// The usage, as far as known, and the cause of a call that the host stopped from outside.
pub(crate) fn cancelled(limits: &PluginLimits, state: &CallState, took: Duration) -> (CallUsage, FaultCause) {
    let fuel = limits.fuel.saturating_sub(state.fuel_left());
    let (memory_peak_bytes, model_tokens) = (state.memory_peak_bytes(), state.model_tokens());
    let usage = CallUsage { fuel, memory_peak_bytes, elapsed: took, model_tokens };
    (usage, FaultCause::TimedOut { limit: limits.timeout, took })
}

/// Runs `start` on `store` with `limits`. `start` gets `context`.
///
/// Fuel limits the computation of the guest. The epoch interrupts it at its deadline. The timeout around the call ends a guest that
/// waits in a host function. The limit of copied bytes bounds the data that the guest returns or passes. After any result but `Ok`
/// the store must not be used again.
pub(crate) async fn call<C, T, F>(
    ticker: &Ticker,
    limits: &PluginLimits,
    stage: Stage,
    store: &mut Store<GuestData>,
    context: &C,
    start: F,
) -> (CallUsage, Result<T, CallFailure>)
where
    C: Sync,
    F: for<'a> FnOnce(&'a C, &'a mut Store<GuestData>) -> BoxFuture<'a, wasmtime::Result<T>> + Send,
{
    let started = Instant::now();
    if let Err(error) = set_limits(store, limits, stage, started) {
        let message = format!("the limits could not be set: {error}");
        return (CallUsage::default(), Err(FaultCause::Refused { message }.into()));
    }
    let mut called = start(context, store);
    // The ticker runs while the guest computes, and not while it waits.
    let mut ticked = pin!(poll_fn(|context| {
        let _computing = ticker.enter();
        called.as_mut().poll(context)
    }));
    // Most calls end before they first yield, and need no timer.
    let ended = match poll_fn(|context| Poll::Ready(ticked.as_mut().poll(context))).await {
        Poll::Ready(ended) => Ok(ended),
        Poll::Pending => tokio::time::timeout(limits.timeout.saturating_sub(started.elapsed()), ticked).await,
    };
    let elapsed = started.elapsed();
    drop(called);
    // Reading fuel cannot fail, because `set_limits` has set it.
    let fuel = limits.fuel.saturating_sub(store.get_fuel().unwrap_or(0));
    let data = store.data();
    let (memory_peak_bytes, model_tokens) = (data.limiter.peak_bytes(), data.call_state.model_tokens());
    let usage = CallUsage { fuel, memory_peak_bytes, elapsed, model_tokens };
    let result = match ended {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(failure(&error, store, limits, elapsed)),
        Err(_) => Err(FaultCause::TimedOut { limit: limits.timeout, took: elapsed }.into()),
    };
    (usage, result)
}

fn set_limits(store: &mut Store<GuestData>, limits: &PluginLimits, stage: Stage, now: Instant) -> wasmtime::Result<()> {
    store.set_fuel(limits.fuel)?;
    store.set_hostcall_fuel(return_limit(stage));
    store.set_max_component_handles(limits::PLUGIN_HANDLES_MAX);
    store.set_epoch_deadline(1);
    let data = store.data_mut();
    data.call_state.begin(limits.fuel);
    data.deadline = now + limits.timeout;
    data.stage = stage;
    data.model_use = ModelUse::default();
    data.limiter.rearm();
    data.log.rearm();
    if let Some(http) = &mut data.http {
        http.rearm();
    }
    Ok(())
}

/// The start of wasmtime's message when the limit of copied bytes is exceeded. There is no type for this error; a test checks the
/// message.
const TOO_MUCH_DATA: &str = "too much data is being copied";
/// The start of wasmtime's message for too many instances, tables or memories.
const TOO_MANY: &str = "resource limit exceeded";

fn failure(error: &wasmtime::Error, store: &Store<GuestData>, limits: &PluginLimits, took: Duration) -> CallFailure {
    let data = store.data();
    if let Some(cause) = stopped(error, store.hostcall_fuel(), limits, took) {
        return cause.into();
    }
    // A guest whose growth was denied may end with any trap, so the denied growth counts as the cause.
    match data.limiter.denied() {
        Some(DeniedGrowth::Pool(error)) => return CallFailure::PoolRefused(error.clone()),
        Some(&DeniedGrowth::Limit { limit_bytes, asked_bytes }) => {
            return FaultCause::OutOfMemory { limit_bytes, asked_bytes }.into();
        }
        None => {}
    }
    if let Some(I32Exit(status)) = error.downcast_ref::<I32Exit>() {
        return FaultCause::Trapped { message: format!("it called exit with status {status}") }.into();
    }
    let message = || error.root_cause().to_string();
    FaultCause::Trapped { message: data.log.last_error().unwrap_or_else(message) }.into()
}

/// The cause, if a limit stopped the guest.
fn stopped(error: &wasmtime::Error, output_bytes: usize, limits: &PluginLimits, took: Duration) -> Option<FaultCause> {
    match error.downcast_ref::<Trap>() {
        Some(Trap::OutOfFuel) => return Some(FaultCause::OutOfFuel { limit: limits.fuel }),
        Some(Trap::Interrupt) => return Some(FaultCause::TimedOut { limit: limits.timeout, took }),
        Some(Trap::StackOverflow) => {
            return Some(FaultCause::StackOverflow { limit_bytes: limits::PLUGIN_STACK_BYTES as u64 });
        }
        _ => {}
    }
    let message = crate::instance::log::cut(&error.root_cause().to_string(), limits::PLUGIN_ERROR_BYTES_MAX).to_owned();
    if message.starts_with(TOO_MUCH_DATA) {
        return Some(FaultCause::OutputTooLarge { limit_bytes: output_bytes as u64 });
    }
    let refused =
        message.starts_with(TOO_MANY) || error.is::<PoolConcurrencyLimitError>() || error.is::<InterfaceMismatch>();
    refused.then_some(FaultCause::Refused { message })
}
