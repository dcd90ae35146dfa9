//! The clocks of a guest that was not granted the machine's: the same readings in every run, and sleep that takes no time.
//!
//! A pollable of the machine's clock would be a clock itself: a guest could compute and look whether it is ready yet. So
//! those of this clock are ready at once, and then it is as late as they were to wait for.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use wasmtime::component::{HasData, Linker, Resource};
use wasmtime_wasi::clocks::WasiClocksCtxView;
use wasmtime_wasi::p2::bindings::clocks::monotonic_clock::{Host, add_to_linker};
use wasmtime_wasi::p2::{DynPollable, Pollable, subscribe};
use wasmtime_wasi::{HostMonotonicClock, HostWallClock};

use super::Wasi;
use crate::guest::GuestData;

/// Nanoseconds by which it is later at each reading, so that who waits in a loop comes to an end.
const STEP: u64 = 1_000_000;

/// Nanoseconds that have passed for the guest. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Counted(Arc<AtomicU64>);

impl Counted {
    fn wait_until(&self, when: u64) {
        self.0.fetch_max(when, Ordering::Relaxed);
    }

    fn after(&self, time: u64) -> u64 {
        self.0.load(Ordering::Relaxed).saturating_add(time)
    }
}

impl HostMonotonicClock for Counted {
    fn resolution(&self) -> u64 {
        STEP
    }

    fn now(&self) -> u64 {
        // At the end of time it begins anew.
        self.0.fetch_add(STEP, Ordering::Relaxed)
    }
}

/// It is always the beginning of 1970.
pub(super) struct Still;

impl HostWallClock for Still {
    fn resolution(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn now(&self) -> Duration {
        Duration::ZERO
    }
}

/// Ready at once; then it is as late as it was to be waited for.
struct Skip {
    clock: Counted,
    until: u64,
}

impl Pollable for Skip {
    fn ready<'life, 'future>(&'life mut self) -> Pin<Box<dyn Future<Output = ()> + Send + 'future>>
    where
        'life: 'future,
        Self: 'future,
    {
        self.clock.wait_until(self.until);
        // A guest that sleeps in a loop lets others have their turn.
        Box::pin(tokio::task::yield_now())
    }
}

/// How the linker finds a guest's clock.
struct Clocks;

impl HasData for Clocks {
    type Data<'a> = View<'a>;
}

struct View<'a>(&'a mut Wasi);

impl View<'_> {
    fn machine(&mut self) -> WasiClocksCtxView<'_> {
        WasiClocksCtxView { ctx: self.0.context.clocks(), table: &mut self.0.table }
    }

    fn skip(&mut self, clock: Counted, until: u64) -> wasmtime::Result<Resource<DynPollable>> {
        let skip = self.0.table.push(Skip { clock, until })?;
        subscribe(&mut self.0.table, skip)
    }
}

impl Host for View<'_> {
    fn now(&mut self) -> wasmtime::Result<u64> {
        self.machine().now()
    }

    fn resolution(&mut self) -> wasmtime::Result<u64> {
        self.machine().resolution()
    }

    fn subscribe_instant(&mut self, when: u64) -> wasmtime::Result<Resource<DynPollable>> {
        match self.0.clock.clone() {
            Some(clock) => self.skip(clock, when),
            None => self.machine().subscribe_instant(when),
        }
    }

    fn subscribe_duration(&mut self, duration: u64) -> wasmtime::Result<Resource<DynPollable>> {
        match self.0.clock.clone() {
            Some(clock) => {
                let until = clock.after(duration);
                self.skip(clock, until)
            }
            None => self.machine().subscribe_duration(duration),
        }
    }
}

/// Puts this in the place of the machine's monotonic clock.
///
/// # Errors
/// Wasmtime's.
pub(super) fn link(linker: &mut Linker<GuestData>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let linked = add_to_linker::<GuestData, Clocks>(linker, |data| View(data.wasi()));
    linker.allow_shadowing(false);
    linked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn time_passes_by_looking_and_by_waiting_only() {
        let clock = Counted::default();
        assert_eq!((clock.now(), clock.now()), (0, STEP));
        let until = clock.after(60_000_000_000);
        let begun = std::time::Instant::now();
        Skip { clock: clock.clone(), until }.ready().await;
        assert!(begun.elapsed() < Duration::from_secs(30), "it takes no time");
        assert_eq!(clock.now(), until);
        Skip { clock: clock.clone(), until: 0 }.ready().await;
        assert!(clock.now() > until, "never backwards");
        assert_eq!(Still.now(), Still.now());
    }
}
