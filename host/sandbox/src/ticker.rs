//! The thread that advances the engine's epoch while guests run, so that none keeps a thread to itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};

use firebox_contract::limits;
use wasmtime::EngineWeak;

/// Ticks every `limits::EPOCH_TICK` while a guest computes, and after it for as long as any asked for; then it sleeps.
/// Dropping it ends and joins the thread.
#[derive(Debug)]
pub(crate) struct Ticker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    running: AtomicUsize,
    /// Ticks without a guest after which the thread sleeps.
    linger: AtomicU32,
    asleep: AtomicBool,
    stop: AtomicBool,
}

/// A guest computes as long as this lives.
#[derive(Debug)]
pub(crate) struct Running<'a>(&'a Shared);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Ticker {
    /// Starts the thread; it ends by itself when the engine is gone.
    ///
    /// # Errors
    /// The system's, if no thread can be started.
    pub(crate) fn start(engine: EngineWeak) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let thread = thread::Builder::new().name("firebox-epoch".to_owned()).spawn(move || tick(&engine, &theirs))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Says that a guest computes from now on. After it the thread goes on for `linger` ticks, so that the next need not wake
    /// it.
    pub(crate) fn enter(&self, linger: u32) -> Running<'_> {
        self.shared.linger.fetch_max(linger, Ordering::SeqCst);
        self.shared.running.fetch_add(1, Ordering::SeqCst);
        // Either this sees the thread asleep, or the thread, which looks again after it said so, sees the guest.
        if self.shared.asleep.load(Ordering::SeqCst) {
            self.wake();
        }
        Running(&self.shared)
    }

    fn wake(&self) {
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.wake();
        if let Some(thread) = self.thread.take() {
            // The thread does not panic; if it did, there is nothing left to do about it here.
            let _ = thread.join();
        }
    }
}

fn tick(engine: &EngineWeak, shared: &Shared) {
    while !shared.stop.load(Ordering::SeqCst) {
        let is_idle = || shared.running.load(Ordering::SeqCst) == 0;
        let one_less = |left: u32| left.checked_sub(1);
        let is_done = || shared.linger.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_err();
        if is_idle() && is_done() {
            shared.asleep.store(true, Ordering::SeqCst);
            if is_idle() && !shared.stop.load(Ordering::SeqCst) {
                thread::park();
            }
            shared.asleep.store(false, Ordering::SeqCst);
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
        let asleep = || ticker.shared.asleep.load(Ordering::SeqCst);
        assert!(within(Duration::from_secs(10), asleep), "it should fall asleep");
        let running = ticker.enter(1);
        assert!(within(Duration::from_secs(10), || !asleep()), "it should wake");
        drop(running);
        assert_eq!(ticker.shared.running.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn it_goes_on_for_as_long_as_the_last_guest_asked() {
        let engine = wasmtime::Engine::default();
        let ticker = Ticker::start(engine.weak()).expect("a thread");
        let asleep = || ticker.shared.asleep.load(Ordering::SeqCst);
        let lingers = |linger| {
            assert!(within(Duration::from_secs(10), asleep), "it should fall asleep");
            let running = ticker.enter(linger);
            assert!(within(Duration::from_secs(10), || !asleep()), "it should wake");
            drop(running);
            let begun = Instant::now();
            assert!(within(Duration::from_secs(10), asleep), "it should fall asleep");
            begun.elapsed()
        };
        // A busy machine may make it later, and not each time.
        let most = limits::EPOCH_TICK.saturating_mul(25);
        assert!((0..50).any(|_| lingers(0) < most));
        assert!(lingers(50) > most);
    }

    #[test]
    fn dropping_it_joins_the_thread() {
        let engine = wasmtime::Engine::default();
        let ticker = Ticker::start(engine.weak()).expect("a thread");
        let shared = Arc::clone(&ticker.shared);
        drop(ticker);
        assert_eq!(Arc::strong_count(&shared), 1, "the thread's own handle is gone");
    }
}
