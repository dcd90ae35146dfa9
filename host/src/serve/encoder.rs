//! An encoder on a thread of its own, and the way of a request to it: admission by tenant as at a chat model, the
//! tenant's plugins over each text, and steps that tenants share by weight.

mod batch;
mod chain;
mod ledger;
#[cfg(test)]
mod tests;
mod texts;
mod worker;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use firebox_contract::{
    Caller, Clock, Encoder, EncoderProfile, EncoderText, Error, HookSource, ModelInfo, PluginUse, RequestInfo,
    Reservation, VectorForm, limits,
};
use firebox_engine::{Admission, AdmissionLimits, AdmissionPermit, EngineCounters};
use tokio::sync::oneshot;

use batch::Job;
use chain::Passage;
use ledger::Ledger;
use worker::{Counts, Worker};

/// Makes the encoder on the thread that will own it.
pub type EncoderFactory = Box<dyn FnOnce() -> Result<Box<dyn Encoder>, Error> + Send>;

/// The handle of an encoder's thread. Dropping it lets the thread answer what it has, and joins it.
pub struct EncoderThread {
    queue: Option<SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
    admission: Admission,
    clock: Arc<dyn Clock>,
    counts: Arc<Counts>,
    info: ModelInfo,
    profile: EncoderProfile,
}

/// What a request asks of an encoder.
pub struct EmbedRequest {
    /// Its id, unique in this process.
    pub id: String,
    /// At least one text, none of them empty.
    pub texts: Vec<String>,
    /// What becomes of each text and each vector.
    pub form: TextForm,
    /// Its time in all, the wait for its turn included.
    pub timeout: Duration,
}

/// What is done to each text of a request, and to its vector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextForm {
    /// Stands before each text; empty for none.
    pub prompt: String,
    /// Whether texts that are too long are cut instead of refused.
    pub truncate: bool,
    /// Tokens after which texts are cut in any case.
    pub max_tokens: Option<usize>,
    /// What becomes of a vector.
    pub vector: VectorForm,
}

impl TextForm {
    fn of<'a>(&'a self, text: &'a str) -> EncoderText<'a> {
        EncoderText { prompt: &self.prompt, text, max_tokens: self.max_tokens }
    }

    fn truncates(&self) -> bool {
        self.truncate || self.max_tokens.is_some()
    }
}

/// A request that may begin: its account and its permit, both given back on every path.
pub struct Admitted {
    caller: Caller,
    request: EmbedRequest,
    ledger: Ledger,
    permit: AdmissionPermit,
    /// When its time is up, on the encoder's clock.
    until: Duration,
}

/// Vectors of one request, in the order of its texts.
#[derive(Debug)]
pub struct Vectors {
    /// One vector a text.
    pub vectors: Vec<Vec<f32>>,
    /// Tokens of all texts.
    pub tokens: usize,
    /// What plugins used.
    pub plugins: Vec<PluginUse>,
}

impl Admitted {
    /// The texts as they came.
    #[must_use]
    pub fn texts(&self) -> &[String] {
        &self.request.texts
    }

    /// Ends the request, whose account is told why.
    #[must_use]
    pub fn refuse(mut self, error: Error) -> Error {
        self.ledger.settle(error.kind().code());
        error
    }
}

impl EncoderThread {
    /// Starts the thread, loads the encoder on it and waits for that. `in_flight_max` requests run at a time; a few
    /// more do where a tenant would otherwise have none (`limits::IN_FLIGHT_RESERVED`).
    ///
    /// # Errors
    /// Whatever `factory` fails with, and `Error::Internal` when the thread cannot start.
    pub async fn start(factory: EncoderFactory, in_flight_max: usize, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let rules = AdmissionLimits {
            running_max: in_flight_max,
            reserved: limits::IN_FLIGHT_RESERVED.min(in_flight_max),
            waiting_max: limits::WAITING_MAX,
            wait_max: limits::WAITING_TIME_MAX,
        };
        // A job holds its permit, so there is a place for each.
        let (queue, jobs) = sync_channel(rules.running_max + rules.reserved);
        let (loaded, wait) = oneshot::channel();
        let counts = Arc::new(Counts::default());
        let (counted, time) = (Arc::clone(&counts), Arc::clone(&clock));
        let work = move || match guarded(factory) {
            Ok(encoder) => {
                if loaded.send(Ok((encoder.info().clone(), encoder.profile().clone()))).is_ok() {
                    Worker::new(encoder, jobs, time, counted).run();
                }
            }
            // The starter is gone when this fails; there is nobody left to tell.
            Err(error) => drop(loaded.send(Err(error))),
        };
        let thread = thread::Builder::new().name("firebox-encoder".to_owned()).spawn(work);
        let thread = thread.map_err(|error| Error::Internal(format!("cannot start the encoder's thread: {error}")))?;
        let lost = || Error::Internal("the encoder's thread ended while it loaded".to_owned());
        let (info, profile) = wait.await.map_err(|_| lost())??;
        let admission = Admission::standalone(rules, Arc::clone(&clock));
        Ok(Self { queue: Some(queue), thread: Some(thread), admission, clock, counts, info, profile })
    }

    /// What the encoder is.
    #[must_use]
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// What its files say about texts and vectors.
    #[must_use]
    pub fn profile(&self) -> &EncoderProfile {
        &self.profile
    }

    /// What it has done and what it does now.
    #[must_use]
    pub fn counters(&self) -> EngineCounters {
        EngineCounters {
            prompt_tokens: self.counts.tokens.load(Ordering::Relaxed),
            steps: self.counts.steps.load(Ordering::Relaxed),
            batched_sequences: self.counts.texts.load(Ordering::Relaxed),
            ..self.admission.counters()
        }
    }

    /// Waits for the request's turn. `account` pays for it, and is settled once whatever becomes of it.
    ///
    /// # Errors
    /// `Error::Limited` when the caller has all requests here that it may have, or no turn came, `Error::Timeout` when
    /// its time was up, `Error::TooLarge` for a text that cannot fit.
    pub async fn admit(
        &self,
        caller: &Caller,
        request: EmbedRequest,
        account: Box<dyn Reservation>,
    ) -> Result<Admitted, Error> {
        let mut ledger = Ledger::new(account);
        let until = self.clock.now() + request.timeout;
        let checked = if request.form.truncates() { Ok(()) } else { self.check(&request.texts) };
        let admitted = match checked {
            Ok(()) => self.admission.admit(caller, until).await,
            Err(error) => Err(error),
        };
        match admitted {
            Ok(permit) => Ok(Admitted { caller: caller.clone(), request, ledger, permit, until }),
            Err(error) => {
                ledger.settle(error.kind().code());
                Err(error)
            }
        }
    }

    /// Embeds the texts after each has passed the prompt stage of `chain`. Dropping the future
    /// cancels what has not been computed yet.
    ///
    /// # Errors
    /// `Error::Refused` and `Error::Fault` for plugins, `Error::TooLarge` for a text longer than the model takes unless
    /// it is to be cut, `Error::Limited` when tokens or fuel are used up, `Error::Timeout` when the time was up,
    /// `Error::Model` when the encoder fails.
    pub async fn embed(
        &self,
        mut admitted: Admitted,
        chain: Option<&dyn HookSource>,
        plugins: Vec<String>,
    ) -> Result<Vectors, Error> {
        let time_left = admitted.until.saturating_sub(self.clock.now());
        let prepared = tokio::select! {
            biased;
            prepared = self.prepare(&mut admitted, chain, plugins) => prepared,
            () = self.clock.sleep(time_left) => {
                let message = "the request's time was up before its texts had passed the plugins; send fewer at a time";
                Err(Error::Timeout(message.to_owned()))
            }
        };
        if let Err(error) = prepared {
            return Err(admitted.refuse(error));
        }
        let (answer, wait) = oneshot::channel();
        self.submit(admitted, answer)?;
        wait.await.unwrap_or_else(|_| Err(gone()))
    }

    /// Brings the texts into the form in which they are embedded.
    async fn prepare(
        &self,
        admitted: &mut Admitted,
        chain: Option<&dyn HookSource>,
        plugins: Vec<String>,
    ) -> Result<(), Error> {
        let Admitted { caller, request, ledger, .. } = admitted;
        if let Some(source) = chain {
            let info = RequestInfo { id: request.id.clone(), model: self.info.name.clone(), plugins };
            Passage { source, caller, info }.pass(&mut request.texts, ledger).await?;
        }
        if request.form.truncates() {
            texts::cut(&mut request.texts, self.info.context_tokens, self.profile.truncates_left);
        }
        self.check(&request.texts)
    }

    fn check(&self, texts: &[String]) -> Result<(), Error> {
        if texts.is_empty() {
            return Err(Error::Usage("there is no text to embed; send at least one".to_owned()));
        }
        texts::check(texts, self.info.context_tokens)
    }

    fn submit(&self, admitted: Admitted, answer: oneshot::Sender<Result<Vectors, Error>>) -> Result<(), Error> {
        let Admitted { caller, request, ledger, permit, until } = admitted;
        let EmbedRequest { texts, form, .. } = request;
        let Caller { tenant, weight, .. } = caller;
        let job = Job { texts, form, tenant, weight, until, ledger, answer, permit };
        let queue = self.queue.as_ref().ok_or_else(gone)?;
        match queue.try_send(job) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(mut job) | TrySendError::Disconnected(mut job)) => {
                let error = gone();
                job.ledger.settle(error.kind().code());
                Err(error)
            }
        }
    }
}

impl Drop for EncoderThread {
    fn drop(&mut self) {
        drop(self.queue.take());
        // The account of a request may hold the last that holds this, and is dropped on the thread itself.
        if let Some(handle) = self.thread.take().filter(|handle| handle.thread().id() != thread::current().id()) {
            // A panic on the thread was already answered to each request; there is nothing to add here.
            let _ended = handle.join();
        }
    }
}

fn gone() -> Error {
    Error::Unavailable("the encoder has ended; try again later".to_owned())
}

/// Runs model code; a panic in it fails what was running and not the process.
fn guarded<T>(work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(Error::Model("the encoder failed".to_owned())))
}
