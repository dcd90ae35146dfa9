//! The thread that advances the engine's epoch while guests compute, so that each of them yields once a tick.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};

use firebox_contract::limits;
use firebox_cpu::priority;
use wasmtime::EngineWeak;

/// Advances the epoch every `EPOCH_TICK` while a guest computes, and for `EPOCH_IDLE_TICKS` after that; then its thread
/// sleeps. Dropping it ends and joins the thread.
#[derive(Debug)]
pub(crate) struct Ticker {
    state: Arc<TickerState>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct TickerState {
    /// Guests that compute.
    guests: AtomicUsize,
    asleep: AtomicBool,
    stop: AtomicBool,
}

/// A guest computes for as long as this lives.
#[derive(Debug)]
pub(crate) struct ComputingGuest<'a>(&'a TickerState);

impl Drop for ComputingGuest<'_> {
    fn drop(&mut self) {
        self.0.guests.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Ticker {
    /// Starts the thread; it ends by itself when the engine is gone.
    ///
    /// # Errors
    /// The system's, if it cannot start a thread.
    pub(crate) fn start(engine: EngineWeak) -> std::io::Result<Self> {
        let state = Arc::new(TickerState::default());
        let shared = Arc::clone(&state);
        let thread = thread::Builder::new().name("firebox-epoch".to_owned()).spawn(move || tick(&engine, &shared))?;
        Ok(Self { state, thread: Some(thread) })
    }

    /// A guest computes from now on.
    pub(crate) fn enter(&self) -> ComputingGuest<'_> {
        self.state.guests.fetch_add(1, Ordering::SeqCst);
        // Either this sees the thread asleep, or the thread, which checks again after it set the flag, sees the guest.
        if self.state.asleep.load(Ordering::SeqCst) {
            self.wake();
        }
        ComputingGuest(&self.state)
    }

    fn wake(&self) {
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::SeqCst);
        self.wake();
        if let Some(thread) = self.thread.take() {
            // The thread does not panic.
            let _ = thread.join();
        }
    }
}

fn tick(engine: &EngineWeak, state: &TickerState) {
    // It must not wait for a core behind the guest that it interrupts.
    priority::shorten_slice();
    let is_idle = || state.guests.load(Ordering::SeqCst) == 0;
    let mut idle_ticks = 0;
    while !state.stop.load(Ordering::SeqCst) {
        idle_ticks = if is_idle() { idle_ticks + 1 } else { 0 };
        if idle_ticks > limits::EPOCH_IDLE_TICKS {
            idle_ticks = 0;
            state.asleep.store(true, Ordering::SeqCst);
            if is_idle() && !state.stop.load(Ordering::SeqCst) {
                thread::park();
            }
            state.asleep.store(false, Ordering::SeqCst);
        }
        thread::sleep(limits::EPOCH_TICK);
        let Some(engine) = engine.upgrade() else { return };
        engine.increment_epoch();
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn within(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
        let started = Instant::now();
        while started.elapsed() < limit {
            if done() {
                return true;
            }
            thread::sleep(Duration::from_millis(1));
        }
        false
    }

    #[test]
    fn an_idle_ticker_sleeps_and_a_guest_wakes_it() {
        let engine = wasmtime::Engine::default();
        let ticker = Ticker::start(engine.weak()).expect("a thread");
        let asleep = || ticker.state.asleep.load(Ordering::SeqCst);
        for _ in 0..3 {
            assert!(within(Duration::from_secs(10), asleep), "it should fall asleep");
            let guest = ticker.enter();
            assert!(within(Duration::from_secs(10), || !asleep()), "it should wake");
            thread::sleep(2 * limits::EPOCH_IDLE_TICKS * limits::EPOCH_TICK);
            assert!(!asleep(), "a guest computes");
            drop(guest);
        }
        assert_eq!(ticker.state.guests.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn dropping_it_joins_the_thread() {
        let engine = wasmtime::Engine::default();
        let ticker = Ticker::start(engine.weak()).expect("a thread");
        let state = Arc::clone(&ticker.state);
        drop(ticker);
        assert_eq!(Arc::strong_count(&state), 1, "the thread's own handle is gone");
    }
}
