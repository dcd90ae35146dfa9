//! The clocks of a guest without a grant for the machine's clock: the same readings in every run, and sleep takes no time.
//!
//! A pollable of the machine's clock would itself be a clock: a guest could compute and check whether it is ready yet. So
//! the pollables of the virtual clock are ready at once. The clock then jumps to the time that they wait for.

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
use crate::instance::guest::GuestData;

/// Nanoseconds that the clock advances at each reading, so that a guest that polls the clock in a loop comes to an end.
const STEP: u64 = 1_000_000;

/// A monotonic clock: the nanoseconds that have passed for the guest. Clones share the count.
#[derive(Debug, Clone, Default)]
pub(super) struct VirtualClock(Arc<AtomicU64>);

impl VirtualClock {
    fn advance_to(&self, when: u64) {
        self.0.fetch_max(when, Ordering::Relaxed);
    }

    fn after(&self, time: u64) -> u64 {
        self.0.load(Ordering::Relaxed).saturating_add(time)
    }
}

impl HostMonotonicClock for VirtualClock {
    fn resolution(&self) -> u64 {
        STEP
    }

    fn now(&self) -> u64 {
        // The count wraps around at `u64::MAX` nanoseconds.
        self.0.fetch_add(STEP, Ordering::Relaxed)
    }
}

/// A wall clock that always shows the same time since the start of 1970.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct FrozenWallClock(pub(super) Duration);

impl HostWallClock for FrozenWallClock {
    fn resolution(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn now(&self) -> Duration {
        self.0
    }
}

/// A pollable that is ready at once and advances the clock to `until`.
struct ClockJump {
    clock: VirtualClock,
    until: u64,
}

impl Pollable for ClockJump {
    fn ready<'life, 'future>(&'life mut self) -> Pin<Box<dyn Future<Output = ()> + Send + 'future>>
    where
        'life: 'future,
        Self: 'future,
    {
        self.clock.advance_to(self.until);
        // A guest that sleeps in a loop yields to other tasks.
        Box::pin(tokio::task::yield_now())
    }
}

/// Tells the linker how to find a guest's clock.
struct ClockAccess;

impl HasData for ClockAccess {
    type Data<'a> = ClockView<'a>;
}

struct ClockView<'a>(&'a mut Wasi);

impl ClockView<'_> {
    fn machine(&mut self) -> WasiClocksCtxView<'_> {
        WasiClocksCtxView { ctx: self.0.context.clocks(), table: &mut self.0.table }
    }

    fn jump(&mut self, clock: VirtualClock, until: u64) -> wasmtime::Result<Resource<DynPollable>> {
        let jump = self.0.table.push(ClockJump { clock, until })?;
        subscribe(&mut self.0.table, jump)
    }
}

impl Host for ClockView<'_> {
    fn now(&mut self) -> wasmtime::Result<u64> {
        self.machine().now()
    }

    fn resolution(&mut self) -> wasmtime::Result<u64> {
        self.machine().resolution()
    }

    fn subscribe_instant(&mut self, when: u64) -> wasmtime::Result<Resource<DynPollable>> {
        match self.0.clock.clone() {
            Some(clock) => self.jump(clock, when),
            None => self.machine().subscribe_instant(when),
        }
    }

    fn subscribe_duration(&mut self, duration: u64) -> wasmtime::Result<Resource<DynPollable>> {
        match self.0.clock.clone() {
            Some(clock) => {
                let until = clock.after(duration);
                self.jump(clock, until)
            }
            None => self.machine().subscribe_duration(duration),
        }
    }
}

/// Replaces wasmtime's monotonic clock by this one in the imports of guests.
///
/// # Errors
/// Wasmtime's error, if the functions cannot be defined.
pub(super) fn link(linker: &mut Linker<GuestData>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let linked = add_to_linker::<GuestData, ClockAccess>(linker, |data| ClockView(data.wasi()));
    linker.allow_shadowing(false);
    linked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_virtual_clock_advances_only_by_readings_and_sleeps() {
        let clock = VirtualClock::default();
        assert_eq!((clock.now(), clock.now()), (0, STEP));
        let until = clock.after(60_000_000_000);
        let begun = std::time::Instant::now();
        ClockJump { clock: clock.clone(), until }.ready().await;
        assert!(begun.elapsed() < Duration::from_secs(30), "sleep takes no time");
        assert_eq!(clock.now(), until);
        ClockJump { clock: clock.clone(), until: 0 }.ready().await;
        assert!(clock.now() > until, "the clock never goes back");
        assert_eq!(FrozenWallClock::default().now(), Duration::ZERO);
        assert_eq!(FrozenWallClock(Duration::from_secs(7)).now(), Duration::from_secs(7));
    }
}
