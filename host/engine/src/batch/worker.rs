//! The handle of the thread that owns a model.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle, Thread};

use firebox_contract::limits::MODEL_STOP_WAIT;
use firebox_contract::{Clock, Error, ModelInfo};
use tokio::sync::{mpsc, oneshot, watch};

use super::sequence::SequenceRequest;
use super::speculation::Speculation;
use super::step_loop::StepLoop;
use super::supervisor::{ModelFactory, ModelSupervisor};
use super::warm_up;
use crate::status::{EngineMetrics, lock};

/// The handle of a model's thread. Dropping it waits until the readers of all running sequences are gone, then joins.
pub(crate) struct Worker {
    inbox: Option<mpsc::Sender<SequenceRequest>>,
    thread: Thread,
    handle: Mutex<Option<JoinHandle<()>>>,
    /// Set when running sequences are to be aborted.
    stop: Arc<AtomicBool>,
    /// Closed when the thread ends.
    ended: watch::Receiver<()>,
    clock: Arc<dyn Clock>,
    info: ModelInfo,
}

/// How a worker is set up.
pub(crate) struct WorkerOptions {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Arc<EngineMetrics>,
    /// Size of the inbox: the number of admission permits.
    pub(crate) capacity: usize,
    /// Tokens of one prefill chunk.
    pub(crate) prefill_chunk: usize,
    /// Whether the model is warmed up before `start` returns.
    pub(crate) warm_up: bool,
    pub(crate) speculation: Speculation,
}

impl Worker {
    /// Starts the thread, loads the model on it and waits until the model is loaded.
    pub(crate) async fn start(factory: ModelFactory, options: WorkerOptions) -> Result<Self, Error> {
        let WorkerOptions { clock, metrics, capacity, prefill_chunk, warm_up, speculation } = options;
        let (inbox, receiver) = mpsc::channel(capacity);
        let (loaded, wait) = oneshot::channel();
        let (alive, ended) = watch::channel(());
        let stop = Arc::new(AtomicBool::new(false));
        let (stop_flag, thread_clock) = (Arc::clone(&stop), Arc::clone(&clock));
        let spawned = thread::Builder::new().name("firebox-model".to_owned()).spawn(move || {
            let _alive = alive;
            let mut loading = ModelSupervisor::load(factory, Arc::clone(&metrics));
            let timings = match loading.as_mut() {
                Ok(model) if warm_up => warm_up::warm_up(model, &*thread_clock),
                _ => Vec::new(),
            };
            let info = loading.as_ref().map(|model| model.model().map(|model| model.info().clone()));
            // If `start` was cancelled, the model is not needed any more.
            let wanted = loaded.send(info.map_err(Clone::clone)).is_ok();
            if let Ok(model) = loading
                && wanted
            {
                let step_loop =
                    StepLoop::new(model, receiver, thread_clock, metrics, stop_flag, prefill_chunk, speculation);
                step_loop.with_timings(&timings).run();
            }
        });
        let handle = spawned.map_err(|error| Error::Internal(format!("cannot start the model's thread: {error}")))?;
        let thread = handle.thread().clone();
        let lost = || Error::Internal("the model's thread ended while it loaded".to_owned());
        let info = wait.await.map_err(|_| lost())??.ok_or_else(lost)?;
        Ok(Self { inbox: Some(inbox), thread, handle: Mutex::new(Some(handle)), stop, ended, clock, info })
    }

    pub(crate) fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// The thread, for unparking it after a reader made room or left.
    pub(crate) fn thread(&self) -> Thread {
        self.thread.clone()
    }

    /// Sends a request to the thread. The inbox has a slot for each admission permit, so this waits only while the
    /// thread has not taken in requests that were cancelled.
    pub(crate) async fn submit(&self, request: SequenceRequest) -> Result<(), Error> {
        let gone = || Error::Unavailable("the model's thread has ended; the host is shutting down".to_owned());
        let inbox = self.inbox.as_ref().ok_or_else(gone)?;
        inbox.send(request).await.map_err(|_| gone())?;
        self.thread.unpark();
        Ok(())
    }

    /// Aborts running sequences and joins the thread. A thread that stays in a step for longer than `MODEL_STOP_WAIT` is
    /// detached.
    pub(crate) async fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.thread.unpark();
        let mut ended = self.ended.clone();
        let closed = async { while ended.changed().await.is_ok() {} };
        tokio::select! {
            biased;
            () = closed => {
                if let Some(handle) = lock(&self.handle).take() {
                    // The thread only has to return. A panic on it was already reported to each sequence.
                    let _ended = handle.join();
                }
            }
            () = self.clock.sleep(MODEL_STOP_WAIT) => drop(lock(&self.handle).take()),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.inbox.take());
        if let Some(handle) = lock(&self.handle).take() {
            handle.thread().unpark();
            // A panic on the thread was already reported to each sequence.
            let _ended = handle.join();
        }
    }
}
