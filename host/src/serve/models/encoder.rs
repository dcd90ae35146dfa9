//! An encoder on its own thread. A request is admitted by tenant as at a chat model, each of its texts goes through the
//! tenant's prompt plugins, and tenants share the encoder's steps by weight.

mod batch;
mod embedding_stage;
mod prompt_stage;
#[cfg(test)]
mod tests;
mod text_size;
mod usage_guard;
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

use batch::EncoderJob;
use embedding_stage::EmbeddingStage;
use prompt_stage::PromptStage;
use usage_guard::UsageGuard;
use worker::{EncoderCounts, EncoderWorker};

/// Makes the encoder, on the thread that owns it.
pub type EncoderFactory = Box<dyn FnOnce() -> Result<Box<dyn Encoder>, Error> + Send>;

/// The handle of an encoder's thread. Dropping it joins the thread after the running requests have been answered.
pub struct EncoderThread {
    queue: Option<SyncSender<EncoderJob>>,
    thread: Option<JoinHandle<()>>,
    admission: Admission,
    clock: Arc<dyn Clock>,
    counts: Arc<EncoderCounts>,
    info: ModelInfo,
    profile: EncoderProfile,
}

/// An embedding request.
pub struct EmbedRequest {
    /// The id, unique in this process.
    pub id: String,
    /// At least one text, none of them empty.
    pub texts: Vec<String>,
    /// The options of texts and vectors.
    pub options: TextOptions,
    /// The longest time of the request, including the wait for admission.
    pub timeout: Duration,
}

/// The options of a request's texts and vectors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextOptions {
    /// A prefix for each text, or for the query; empty for none.
    pub prompt: String,
    /// The query for which a cross-encoder scores each text; `None` for embeddings.
    pub query: Option<String>,
    /// Whether texts that are too long are truncated instead of refused.
    pub truncate: bool,
    /// The number of tokens at which all texts are truncated.
    pub max_tokens: Option<usize>,
    /// The form of the vectors.
    pub vector: VectorForm,
}

impl TextOptions {
    fn of<'a>(&'a self, text: &'a str) -> EncoderText<'a> {
        EncoderText { prompt: &self.prompt, query: self.query.as_deref(), text, max_tokens: self.max_tokens }
    }

    /// The name of a text in messages.
    fn name_of(&self, index: usize) -> String {
        let field = if self.query.is_some() { "documents" } else { "input" };
        format!("{field}[{index}]")
    }

    fn truncates(&self) -> bool {
        self.truncate || self.max_tokens.is_some()
    }
}

/// An admitted request, with its reservation and its permit. Both are released on every path.
pub struct AdmittedEmbed {
    caller: Caller,
    request: EmbedRequest,
    usage: UsageGuard,
    permit: AdmissionPermit,
    /// The deadline, on the encoder's clock.
    deadline: Duration,
    /// The plugins of the embedding stage.
    stage: Option<Box<dyn HookSource>>,
}

/// The embeddings of a request, in the order of its texts.
#[derive(Debug)]
pub struct Embeddings {
    /// One vector for each text.
    pub vectors: Vec<Vec<f32>>,
    /// The tokens of all texts.
    pub tokens: usize,
    /// The usage of plugins.
    pub plugins: Vec<PluginUse>,
}

/// What the encoder's thread makes of a job.
pub(super) struct EncodedTexts {
    outcome: Result<Embeddings, Error>,
    /// Not settled yet, unless the client was gone.
    usage: UsageGuard,
}

impl AdmittedEmbed {
    /// The same request, whose texts and vectors go through the embedding stage of these plugins.
    #[must_use]
    pub fn through(mut self, stage: Option<Box<dyn HookSource>>) -> Self {
        self.stage = stage;
        self
    }

    /// The query of the request, if there is one, and its texts.
    pub fn texts(&self) -> impl Iterator<Item = &String> {
        self.request.options.query.iter().chain(&self.request.texts)
    }

    /// Ends the request with an error, which is also settled as its outcome.
    #[must_use]
    pub fn refuse(mut self, error: Error) -> Error {
        self.usage.settle(error.kind().code());
        error
    }
}

impl EncoderThread {
    /// Starts the thread and loads the encoder on it. At most `in_flight_max` requests run at the same time, and
    /// `limits::IN_FLIGHT_RESERVED` more of tenants that would otherwise have none.
    ///
    /// # Errors
    /// The failure of `factory`, and `Error::Internal` if the thread cannot start.
    pub async fn start(factory: EncoderFactory, in_flight_max: usize, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let rules = AdmissionLimits {
            running_max: in_flight_max,
            reserved: limits::IN_FLIGHT_RESERVED.min(in_flight_max),
            waiting_max: limits::WAITING_MAX,
            wait_max: limits::WAITING_TIME_MAX,
        };
        // A job has a permit, so the queue has room for each.
        let (queue, jobs) = sync_channel(rules.running_max + rules.reserved);
        let (loaded, wait) = oneshot::channel();
        let counts = Arc::new(EncoderCounts::default());
        let (counted, time) = (Arc::clone(&counts), Arc::clone(&clock));
        let work = move || match catch_panic(factory) {
            Ok(encoder) => {
                if loaded.send(Ok((encoder.info().clone(), encoder.profile().clone()))).is_ok() {
                    EncoderWorker::new(encoder, jobs, time, counted).run();
                }
            }
            // The send fails if the caller of `start` is gone.
            Err(error) => drop(loaded.send(Err(error))),
        };
        let thread = thread::Builder::new().name("firebox-encoder".to_owned()).spawn(work);
        let thread =
            thread.map_err(|error| Error::Internal(format!("cannot start the thread of the encoder: {error}")))?;
        let lost = || Error::Internal("the thread of the encoder ended while it loaded".to_owned());
        let (info, profile) = wait.await.map_err(|_| lost())??;
        let admission = Admission::standalone(rules, Arc::clone(&clock));
        Ok(Self { queue: Some(queue), thread: Some(thread), admission, clock, counts, info, profile })
    }

    /// The description of the encoder.
    #[must_use]
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// The properties of its texts and vectors.
    #[must_use]
    pub fn profile(&self) -> &EncoderProfile {
        &self.profile
    }

    /// The counters of its work and its admission.
    #[must_use]
    pub fn counters(&self) -> EngineCounters {
        EngineCounters {
            prompt_tokens: self.counts.tokens.load(Ordering::Relaxed),
            steps: self.counts.steps.load(Ordering::Relaxed),
            batched_sequences: self.counts.texts.load(Ordering::Relaxed),
            ..self.admission.counters()
        }
    }

    /// Waits for admission. `reservation` is settled exactly once, on every path.
    ///
    /// # Errors
    /// `Error::Limited` if the caller has its maximum of running requests or waited too long, `Error::Timeout` at the
    /// deadline, `Error::TooLarge` for a text that cannot fit.
    pub async fn admit(
        &self,
        caller: &Caller,
        request: EmbedRequest,
        reservation: Box<dyn Reservation>,
    ) -> Result<AdmittedEmbed, Error> {
        let mut usage = UsageGuard::new(reservation);
        let deadline = self.clock.now() + request.timeout;
        let checked = if request.options.truncates() { Ok(()) } else { self.check(&request) };
        let admitted = match checked {
            Ok(()) => self.admission.admit(caller, deadline).await,
            Err(error) => Err(error),
        };
        match admitted {
            Ok(permit) => Ok(AdmittedEmbed { caller: caller.clone(), request, usage, permit, deadline, stage: None }),
            Err(error) => {
                usage.settle(error.kind().code());
                Err(error)
            }
        }
    }

    /// Embeds the texts, after each has gone through the prompt plugins and all through the embedding stage. Dropping the future cancels the rest of the work.
    ///
    /// # Errors
    /// `Error::Refused` and `Error::Fault` by plugins, `Error::TooLarge` for a text that is too long and not to be truncated,
    /// `Error::Limited` if tokens or fuel are used up, `Error::Timeout` at the deadline, `Error::Model` if the encoder
    /// fails.
    pub async fn embed(
        &self,
        mut admitted: AdmittedEmbed,
        hooks: Option<&dyn HookSource>,
        plugins: Vec<String>,
    ) -> Result<Embeddings, Error> {
        let deadline = admitted.deadline;
        let prepared = self.prepare(&mut admitted, hooks, plugins);
        let mut stage = match self.in_time(deadline, "before all texts had gone", prepared).await {
            Ok(stage) => stage,
            Err(error) => return Err(admitted.refuse(error)),
        };
        let (answer, wait) = oneshot::channel();
        self.submit(admitted, answer)?;
        let EncodedTexts { mut outcome, mut usage } = wait.await.map_err(|_| gone())?;
        if let (Some(stage), Ok(embeddings)) = (&mut stage, &mut outcome) {
            let vectors = stage.after(std::mem::take(&mut embeddings.vectors), &mut usage);
            match self.in_time(deadline, "before all vectors had gone", vectors).await {
                Ok(vectors) => embeddings.vectors = vectors,
                Err(error) => outcome = Err(error),
            }
        }
        if let Ok(embeddings) = &mut outcome {
            embeddings.plugins = usage.plugins().to_vec();
        }
        usage.settle(outcome.as_ref().map_or_else(|error| error.kind().code(), |_| "stop"));
        outcome
    }

    /// Waits for plugins until `deadline`.
    async fn in_time<T>(
        &self,
        deadline: Duration,
        before: &str,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        tokio::select! {
            biased;
            done = work => done,
            () = self.clock.sleep(deadline.saturating_sub(self.clock.now())) => {
                Err(Error::Timeout(format!("timed out {before} through the plugins; send fewer texts in one request")))
            }
        }
    }

    /// Runs the plugins on the texts, and truncates long texts if the request allows it.
    async fn prepare(
        &self,
        admitted: &mut AdmittedEmbed,
        hooks: Option<&dyn HookSource>,
        plugins: Vec<String>,
    ) -> Result<Option<EmbeddingStage>, Error> {
        let AdmittedEmbed { caller, request, usage, stage, .. } = admitted;
        let info = RequestInfo { plugins, ..RequestInfo::new(request.id.clone(), self.info.name.clone()) };
        if let Some(source) = hooks {
            let info = info.clone();
            // The query is a text of the client too.
            let query = request.options.query.take();
            let before = usize::from(query.is_some());
            let mut texts: Vec<String> = query.into_iter().chain(std::mem::take(&mut request.texts)).collect();
            PromptStage { source, caller, info, has_query: before == 1 }.run(&mut texts, usage).await?;
            request.texts = texts.split_off(before);
            request.options.query = texts.pop();
        }
        // Scores are not vectors, so a request with a query has no embedding stage.
        let stage = match stage.take().filter(|_| request.options.query.is_none()) {
            Some(source) => {
                let mut stage = EmbeddingStage::start(&*source, caller, info).await?;
                stage.before(&mut request.texts, usage).await?;
                Some(stage)
            }
            None => None,
        };
        if request.options.truncates() {
            let (context, beginning) = (self.info.context_tokens, self.profile.truncates_left);
            text_size::truncate(&mut request.texts, context, beginning);
            if let Some(query) = &mut request.options.query {
                text_size::truncate(std::slice::from_mut(query), context, beginning);
            }
        }
        self.check(request)?;
        Ok(stage)
    }

    fn check(&self, request: &EmbedRequest) -> Result<(), Error> {
        let EmbedRequest { texts, options, .. } = request;
        if texts.is_empty() {
            return Err(Error::Usage("there is no text to encode; send at least one".to_owned()));
        }
        if let Some(query) = &options.query {
            text_size::check(std::slice::from_ref(query), self.info.context_tokens, |_| "query".to_owned())?;
        }
        text_size::check(texts, self.info.context_tokens, |index| options.name_of(index))
    }

    fn submit(&self, admitted: AdmittedEmbed, answer: oneshot::Sender<EncodedTexts>) -> Result<(), Error> {
        let AdmittedEmbed { caller, request, usage, permit, deadline, .. } = admitted;
        let EmbedRequest { texts, options, .. } = request;
        let Caller { tenant, weight, .. } = caller;
        let job = EncoderJob { texts, options, tenant, weight, deadline, usage, answer, permit };
        let queue = self.queue.as_ref().ok_or_else(gone)?;
        match queue.try_send(job) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(mut job) | TrySendError::Disconnected(mut job)) => {
                let error = gone();
                job.usage.settle(error.kind().code());
                Err(error)
            }
        }
    }
}

impl Drop for EncoderThread {
    fn drop(&mut self) {
        drop(self.queue.take());
        // The last owner of this handle may be the reservation of a request, which is dropped on the thread itself.
        if let Some(handle) = self.thread.take().filter(|handle| handle.thread().id() != thread::current().id()) {
            // Requests got the error of a panic already.
            let _joined = handle.join();
        }
    }
}

fn gone() -> Error {
    Error::Unavailable("the encoder has ended; retry later".to_owned())
}

/// Runs code of the model. A panic becomes an error.
fn catch_panic<T>(work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(Error::Model("the encoder panicked".to_owned())))
}
