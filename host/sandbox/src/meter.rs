//! Every call into a guest goes through [`call`]: it arms the meters, waits, and says what was used and how it ended.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::{Duration, Instant};

use firebox_contract::limits;
use firebox_contract::{BoxFuture, FaultCause, Stage};
use wasmtime::{PoolConcurrencyLimitError, Store, Trap};
use wasmtime_wasi::I32Exit;

use crate::error::SandboxError;
use crate::gauge::Gauge;
use crate::guest::GuestData;
use crate::instance::limiter::DeniedGrowth;
use crate::plugin::PluginLimits;
use crate::stages::{InterfaceMismatch, return_limit};
use crate::ticker::Ticker;

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
pub(crate) fn cut_off(limits: &PluginLimits, gauge: &Gauge, took: Duration) -> (Spent, FaultCause) {
    gauge.note_stopped(Instant::now());
    let fuel = limits.fuel.saturating_sub(gauge.fuel_left());
    let spent = Spent { fuel, memory_peak_bytes: gauge.memory_peak_bytes(), elapsed: took };
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
    let gauge = Arc::clone(&store.data().gauge);
    let mut called = start(context, store);
    // Ticks are for guests that compute, not for those that wait for somebody or for their turn.
    let ticked = poll_fn(|context| {
        let _running = ticker.enter(gauge.linger());
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
    if let Err(Ending::Fault(FaultCause::TimedOut { .. })) = result {
        gauge.note_stopped(Instant::now());
    }
    (spent, result)
}

fn arm(store: &mut Store<GuestData>, limits: &PluginLimits, stage: Stage, now: Instant) -> wasmtime::Result<()> {
    store.fuel_async_yield_interval(Some(limits::PLUGIN_TURN_FUEL))?;
    store.set_fuel(limits.fuel)?;
    store.set_hostcall_fuel(return_limit(stage));
    store.set_max_component_handles(limits::PLUGIN_HANDLES_MAX);
    store.set_epoch_deadline(1);
    let data = store.data_mut();
    data.gauge.rearm(limits.fuel);
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

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use wasmtime::{Instance, Module};

    use super::*;
    use crate::account::Account;
    use crate::gauge::Rank;
    use crate::instance::limiter::Limiter;
    use crate::instance::log::PluginLog;
    use crate::instance::wasi::World;
    use crate::plugin::grants::Grants;
    use crate::runtime::{Allocation, Runtime};

    fn guest(gauge: Arc<Gauge>) -> GuestData {
        let world = World { grants: Grants::default(), plugin: "p".to_owned(), request: Arc::from("r") };
        GuestData::new(Limiter::new(1 << 20, None), PluginLog::default(), gauge, world)
    }

    #[tokio::test]
    async fn a_call_that_ends_at_its_deadline_at_low_priority_was_long() {
        let runtime = Runtime::new(Allocation::OnDemand, 1).expect("an engine");
        let limits = PluginLimits { timeout: Duration::from_millis(5), ..PluginLimits::default() };
        for (rank, was_long) in [(Rank::Quick, false), (Rank::Slow, true)] {
            for is_cut_off in [false, true] {
                let account = Arc::new(Account::default());
                let gauge = Arc::new(Gauge::of(Some(Arc::clone(&account))));
                gauge.enter(rank);
                if is_cut_off {
                    let _spent = cut_off(&limits, &gauge, limits.timeout);
                } else {
                    let data = guest(gauge);
                    let mut store = data.into_store(&runtime.engine);
                    let called = call(&runtime.ticker, &limits, Stage::Text, &mut store, &(), |(), _| {
                        Box::pin(std::future::pending::<wasmtime::Result<()>>())
                    });
                    let (_, ended) = called.await;
                    assert!(matches!(ended, Err(Ending::Fault(FaultCause::TimedOut { .. }))), "{ended:?}");
                }
                assert_eq!(account.was_long(Instant::now()), was_long, "{rank:?} {is_cut_off}");
            }
        }
    }

    #[tokio::test]
    async fn a_guest_yields_although_the_clock_stands_still() {
        const TURNS: u64 = 10;
        let runtime = Runtime::new(Allocation::OnDemand, 1).expect("an engine");
        // The clock of another.
        let ticker = Ticker::start(wasmtime::Engine::default().weak()).expect("a thread");
        let spin = wat::parse_str(r#"(module (func (export "spin") (loop $again (br $again))))"#).expect("valid");
        let module = Module::new(&runtime.engine, spin).expect("compiled");
        let mut store = guest(Arc::default()).into_store(&runtime.engine);
        let fuel = TURNS * limits::PLUGIN_TURN_FUEL;
        let limits = PluginLimits { fuel, memory_bytes: 1 << 20, timeout: Duration::from_secs(60) };
        let called = call(&ticker, &limits, Stage::Text, &mut store, &module, |module, store| {
            Box::pin(async move {
                let instance = Instance::new_async(&mut *store, module, &[]).await?;
                instance.get_typed_func::<(), ()>(&mut *store, "spin")?.call_async(&mut *store, ()).await
            })
        });
        let (mut called, mut turns) = (Box::pin(called), 0);
        let (spent, ended) = poll_fn(|context| match called.as_mut().poll(context) {
            Poll::Ready(ended) => Poll::Ready(ended),
            Poll::Pending => {
                turns += 1;
                Poll::Pending
            }
        })
        .await;
        assert!(matches!(ended, Err(Ending::Fault(FaultCause::OutOfFuel { .. }))), "{ended:?}");
        assert_eq!(spent.fuel, fuel);
        assert!((TURNS - 1..=TURNS).contains(&turns), "{turns}");
    }
}
