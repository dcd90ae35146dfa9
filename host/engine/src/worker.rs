//! The one thread that owns a model. Knows token ids only; text exists before and after it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle, Thread};

use firebox_contract::{Clock, Error, LanguageModel, ModelInfo, SequenceId, Span};
use tokio::sync::{mpsc, oneshot};

use crate::sequence::{Job, Sequence, StepEvent};

/// Makes the model on the thread that will own it.
pub type ModelFactory = Box<dyn FnOnce() -> Result<Box<dyn LanguageModel>, Error> + Send>;

/// The handle of a model's thread. Dropping it lets running sequences end when their readers go, then joins.
pub(crate) struct Worker {
    inbox: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    info: ModelInfo,
}

/// What the thread itself holds.
struct Turns {
    model: Box<dyn LanguageModel>,
    inbox: mpsc::Receiver<Job>,
    sequences: Vec<Sequence>,
    clock: Arc<dyn Clock>,
    prefill_chunk: usize,
    next_id: u64,
}

impl Worker {
    /// Starts the thread, loads the model on it and waits for that.
    ///
    /// `capacity` equals the number of tickets.
    pub(crate) async fn start(
        factory: ModelFactory,
        clock: Arc<dyn Clock>,
        capacity: usize,
        prefill_chunk: usize,
    ) -> Result<Self, Error> {
        let (inbox, receiver) = mpsc::channel(capacity);
        let (loaded, wait) = oneshot::channel();
        let thread = thread::Builder::new().name("firebox-model".to_owned()).spawn(move || {
            let model = match guarded(factory) {
                Ok(model) => model,
                Err(error) => {
                    // The starter is gone when this fails; there is nobody left to tell.
                    let _gone = loaded.send(Err(error));
                    return;
                }
            };
            if loaded.send(Ok(model.info().clone())).is_ok() {
                Turns { model, inbox: receiver, sequences: Vec::new(), clock, prefill_chunk, next_id: 0 }.run();
            }
        });
        let thread = thread.map_err(|error| Error::Internal(format!("cannot start the model's thread: {error}")))?;
        match wait.await {
            Ok(Ok(info)) => Ok(Self { inbox: Some(inbox), thread: Some(thread), info }),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(Error::Internal("the model's thread ended while it loaded".to_owned())),
        }
    }

    pub(crate) fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// The thread, to be woken when something it waits for has happened.
    pub(crate) fn thread(&self) -> Option<Thread> {
        self.thread.as_ref().map(|handle| handle.thread().clone())
    }

    /// Hands a job over. Waits at most for the thread to take in jobs that were cancelled before it saw them: those
    /// that run hold tickets, and there are as many places as tickets.
    pub(crate) async fn submit(&self, job: Job) -> Result<(), Error> {
        let gone = || Error::Model("the model's thread has ended".to_owned());
        let inbox = self.inbox.as_ref().ok_or_else(gone)?;
        inbox.send(job).await.map_err(|_| gone())?;
        if let Some(thread) = self.thread() {
            thread.unpark();
        }
        Ok(())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.inbox.take());
        if let Some(handle) = self.thread.take() {
            handle.thread().unpark();
            // A panic on the thread was already answered to each sequence; there is nothing to add here.
            let _ended = handle.join();
        }
    }
}

impl Turns {
    fn run(mut self) {
        loop {
            let open = self.take_new_jobs();
            self.release_finished();
            if self.sequences.iter_mut().any(|sequence| sequence.is_ready()) {
                self.turn();
            } else if open || !self.sequences.is_empty() {
                // Woken by a new job, by a reader who made room or left, and by shutdown.
                thread::park();
            } else {
                return;
            }
        }
    }

    /// False when no more jobs can come.
    fn take_new_jobs(&mut self) -> bool {
        loop {
            match self.inbox.try_recv() {
                Ok(job) => {
                    self.next_id += 1;
                    self.sequences.push(Sequence::new(SequenceId(self.next_id), job));
                }
                Err(mpsc::error::TryRecvError::Empty) => return true,
                Err(mpsc::error::TryRecvError::Disconnected) => return false,
            }
        }
    }

    /// One forward pass for every sequence that is ready, one token or prefill chunk each.
    fn turn(&mut self) {
        let chunk = self.prefill_chunk;
        let mut ready: Vec<&mut Sequence> = self.sequences.iter_mut().filter_map(Sequence::ready).collect();
        let spans: Vec<Span<'_>> = ready.iter().map(|sequence| sequence.plan(chunk)).collect();
        let lengths: Vec<usize> = spans.iter().map(|span| span.tokens.len()).collect();
        let model = &mut self.model;
        // A panic leaves no results at all; then it is everybody's failure.
        let rows = guarded(|| Ok(model.forward(&spans)));
        let rows = rows.unwrap_or_else(|error| spans.iter().map(|_| Err(error.clone())).collect());
        drop(spans);
        let now = self.clock.now();
        for ((sequence, row), length) in ready.iter_mut().zip(rows).zip(lengths) {
            match row {
                Ok(logits) => sequence.advance(length, logits, now),
                Err(error) => sequence.end(StepEvent::Failed(error)),
            }
        }
    }

    /// Also those whose reader is gone: dropping a generation is how it is cancelled.
    fn release_finished(&mut self) {
        let model = &mut self.model;
        self.sequences.retain(|sequence| {
            let keep = !sequence.is_over();
            if !keep {
                model.release(sequence.id());
            }
            keep
        });
    }
}

/// Runs model code; a panic in it fails what was running and not the process.
fn guarded<T>(work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let message = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("no message");
        Err(Error::Model(format!("the model failed: {message}")))
    })
}
