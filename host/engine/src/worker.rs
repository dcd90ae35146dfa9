//! The handle of the one thread that owns a model.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle, Thread};

use firebox_contract::limits::MODEL_STOP_WAIT;
use firebox_contract::{Clock, Error, ModelInfo};
use tokio::sync::{mpsc, oneshot, watch};

use crate::keeper::{Keeper, ModelFactory};
use crate::sequence::Job;
use crate::status::{Meter, lock};
use crate::turns::Turns;
use crate::warmup;

/// The handle of a model's thread. Dropping it lets running sequences end when their readers go, then joins.
pub(crate) struct Worker {
    inbox: Option<mpsc::Sender<Job>>,
    wake: Thread,
    handle: Mutex<Option<JoinHandle<()>>>,
    /// Set when running sequences are to be cut off.
    stop: Arc<AtomicBool>,
    /// Closed when the thread has nothing left to do.
    ended: watch::Receiver<()>,
    clock: Arc<dyn Clock>,
    info: ModelInfo,
}

/// How a worker is set up.
pub(crate) struct WorkerOptions {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) meter: Arc<Meter>,
    /// The number of tickets.
    pub(crate) capacity: usize,
    /// Tokens of one prefill chunk.
    pub(crate) prefill_chunk: usize,
    /// Whether the model runs before it is given out.
    pub(crate) warm_up: bool,
}

impl Worker {
    /// Starts the thread, loads the model on it and waits for that.
    pub(crate) async fn start(factory: ModelFactory, options: WorkerOptions) -> Result<Self, Error> {
        let WorkerOptions { clock, meter, capacity, prefill_chunk, warm_up } = options;
        let (inbox, receiver) = mpsc::channel(capacity);
        let (loaded, wait) = oneshot::channel();
        let (alive, ended) = watch::channel(());
        let stop = Arc::new(AtomicBool::new(false));
        let (seen, time) = (Arc::clone(&stop), Arc::clone(&clock));
        let thread = thread::Builder::new().name("firebox-model".to_owned()).spawn(move || {
            let _alive = alive;
            let mut loading = Keeper::load(factory, Arc::clone(&meter));
            let measured = match loading.as_mut() {
                Ok(keeper) if warm_up => warmup::warm_up(keeper, &*time),
                _ => Vec::new(),
            };
            let about = loading.as_ref().map(|keeper| keeper.model().map(|model| model.info().clone()));
            // A starter that is gone does not want the model, and has nobody left to tell.
            let wanted = loaded.send(about.map_err(Clone::clone)).is_ok();
            if let Ok(keeper) = loading
                && wanted
            {
                Turns::new(keeper, receiver, time, meter, seen, prefill_chunk).knowing(&measured).run();
            }
        });
        let handle = thread.map_err(|error| Error::Internal(format!("cannot start the model's thread: {error}")))?;
        let wake = handle.thread().clone();
        let lost = || Error::Internal("the model's thread ended while it loaded".to_owned());
        let info = wait.await.map_err(|_| lost())??.ok_or_else(lost)?;
        Ok(Self { inbox: Some(inbox), wake, handle: Mutex::new(Some(handle)), stop, ended, clock, info })
    }

    pub(crate) fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// The thread, to be woken when something it waits for has happened.
    pub(crate) fn thread(&self) -> Thread {
        self.wake.clone()
    }

    /// Hands a job over. Waits at most for the thread to take in jobs that were cancelled before it saw them: those
    /// that run hold tickets, and there are as many places as tickets.
    pub(crate) async fn submit(&self, job: Job) -> Result<(), Error> {
        let gone = || Error::Unavailable("the model's thread has ended; the host is shutting down".to_owned());
        let inbox = self.inbox.as_ref().ok_or_else(gone)?;
        inbox.send(job).await.map_err(|_| gone())?;
        self.wake.unpark();
        Ok(())
    }

    /// Cuts off what runs and joins the thread. One that does not leave its step in time is left behind.
    pub(crate) async fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.wake.unpark();
        let mut ended = self.ended.clone();
        let closed = async { while ended.changed().await.is_ok() {} };
        tokio::select! {
            biased;
            () = closed => {
                if let Some(handle) = lock(&self.handle).take() {
                    // It only has to return; a panic on it was already answered to each sequence.
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
            // A panic on the thread was already answered to each sequence; there is nothing to add here.
            let _ended = handle.join();
        }
    }
}
