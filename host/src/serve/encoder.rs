//! An encoder on a thread of its own: a bounded queue, and batches filled from all requests that wait.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use firebox_contract::{Account, Encoder, Encoding, Error, ModelInfo, Spent, Usage, limits};
use tokio::sync::oneshot;

/// Makes the encoder on the thread that will own it.
pub type EncoderFactory = Box<dyn FnOnce() -> Result<Box<dyn Encoder>, Error> + Send>;

/// The handle of an encoder's thread. Dropping it refuses what waits and joins the thread.
pub struct EncoderThread {
    queue: Option<SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
    info: ModelInfo,
    dimensions: usize,
}

/// Vectors of one request, in the order of its texts.
#[derive(Debug)]
pub struct Vectors {
    /// One vector a text.
    pub vectors: Vec<Vec<f32>>,
    /// Tokens of all texts.
    pub tokens: usize,
}

/// One request's texts on their way. Cancelled by dropping the receiver of its answer.
struct Job {
    texts: Vec<String>,
    truncate: bool,
    account: Box<dyn Account>,
    answer: oneshot::Sender<Result<Vectors, Error>>,
}

/// A job whose texts were counted and paid for, the longest text first.
struct Active {
    job: Job,
    order: Vec<usize>,
    next: usize,
    done: Vec<Option<Encoding>>,
    tokens: usize,
    failed: Option<Error>,
}

impl EncoderThread {
    /// Starts the thread, loads the encoder on it and waits for that.
    ///
    /// # Errors
    /// Whatever `factory` fails with, and `Error::Internal` when the thread cannot start.
    pub async fn start(factory: EncoderFactory) -> Result<Self, Error> {
        let (queue, jobs) = sync_channel(limits::EMBED_QUEUE_REQUESTS_MAX);
        let (loaded, wait) = oneshot::channel();
        let work = move || match guarded(factory) {
            Ok(encoder) => {
                if loaded.send(Ok((encoder.info().clone(), encoder.dimensions()))).is_ok() {
                    run(encoder, &jobs);
                }
            }
            // The starter is gone when this fails; there is nobody left to tell.
            Err(error) => drop(loaded.send(Err(error))),
        };
        let thread = thread::Builder::new().name("firebox-encoder".to_owned()).spawn(work);
        let thread = thread.map_err(|error| Error::Internal(format!("cannot start the encoder's thread: {error}")))?;
        match wait.await {
            Ok(Ok((info, dimensions))) => Ok(Self { queue: Some(queue), thread: Some(thread), info, dimensions }),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(Error::Internal("the encoder's thread ended while it loaded".to_owned())),
        }
    }

    /// What the encoder is.
    #[must_use]
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// Length of each vector.
    #[must_use]
    pub fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// Embeds `texts`, scaled to unit length. Dropping the future cancels what has not been computed yet.
    ///
    /// # Errors
    /// `Error::Limited` when the queue is full or the account's tokens are used up, `Error::TooLarge` for a text
    /// longer than the model takes unless `truncate` cuts it, `Error::Model` when the encoder fails.
    pub async fn embed(&self, texts: Vec<String>, truncate: bool, account: Box<dyn Account>) -> Result<Vectors, Error> {
        let gone = || Error::Unavailable("the encoder has ended; try again later".to_owned());
        let (answer, wait) = oneshot::channel();
        let queue = self.queue.as_ref().ok_or_else(gone)?;
        match queue.try_send(Job { texts, truncate, account, answer }) {
            Ok(()) => wait.await.unwrap_or_else(|_| Err(gone())),
            Err(TrySendError::Full(_)) => Err(Error::Limited {
                message: format!(
                    "{} requests already wait for this encoder, which is its limit; try again when one has ended",
                    limits::EMBED_QUEUE_REQUESTS_MAX
                ),
                retry_after: Duration::from_secs(1),
            }),
            Err(TrySendError::Disconnected(_)) => Err(gone()),
        }
    }
}

impl Drop for EncoderThread {
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(handle) = self.thread.take() {
            // A panic on the thread was already answered to each request; there is nothing to add here.
            let _ended = handle.join();
        }
    }
}

fn run(mut encoder: Box<dyn Encoder>, jobs: &Receiver<Job>) {
    let mut active: VecDeque<Active> = VecDeque::new();
    let mut open = true;
    while open || !active.is_empty() {
        if active.is_empty() {
            match jobs.recv() {
                Ok(job) => active.extend(begin(encoder.as_ref(), job)),
                Err(_) => return,
            }
        }
        open = take_waiting(encoder.as_ref(), jobs, &mut active);
        // Nobody waits for the answer of a request that left.
        active.retain(|job| !job.job.answer.is_closed());
        step(encoder.as_mut(), &mut active);
        answer_finished(&mut active);
    }
}

/// Takes in what waits, as long as there are too few texts for a batch. False when no more can come.
fn take_waiting(encoder: &dyn Encoder, jobs: &Receiver<Job>, active: &mut VecDeque<Active>) -> bool {
    while active.len() < limits::EMBED_BATCH_DEFAULT {
        match jobs.try_recv() {
            Ok(job) => active.extend(begin(encoder, job)),
            Err(TryRecvError::Empty) => return true,
            Err(TryRecvError::Disconnected) => return false,
        }
    }
    true
}

/// Counts a job's tokens and reserves them; `None` where that already ended it.
fn begin(encoder: &dyn Encoder, mut job: Job) -> Option<Active> {
    match guarded(|| count(encoder, &mut job)) {
        Ok((order, tokens)) => {
            let done = job.texts.iter().map(|_| None).collect();
            Some(Active { job, order, next: 0, done, tokens, failed: None })
        }
        Err(error) => {
            let outcome = error.kind().code();
            job.account.settle(&Spent { usage: Usage::default(), plugins: &[], outcome });
            drop(job.answer.send(Err(error)));
            None
        }
    }
}

/// The places of the texts, the longest first, and the number of all their tokens.
fn count(encoder: &dyn Encoder, job: &mut Job) -> Result<(Vec<usize>, usize), Error> {
    let max = encoder.info().context_tokens;
    let mut lengths = Vec::with_capacity(job.texts.len());
    for (place, text) in job.texts.iter().enumerate() {
        let tokens = encoder.count_tokens(text)?;
        if tokens > max && !job.truncate {
            return Err(Error::TooLarge(format!(
                "input[{place}] has {tokens} tokens and the model takes {max}; shorten it, or set firebox.truncate to true"
            )));
        }
        lengths.push((tokens.min(max), place));
    }
    let tokens = lengths.iter().map(|(tokens, _)| tokens).sum();
    job.account.reserve(tokens)?;
    lengths.sort_unstable_by_key(|&(tokens, place)| (std::cmp::Reverse(tokens), place));
    Ok((lengths.into_iter().map(|(_, place)| place).collect(), tokens))
}

/// One forward pass with texts of every active job, each job having the same share of it. Where that fails, each job
/// is tried alone, so that one request's bad text is nobody else's error.
fn step(encoder: &mut dyn Encoder, active: &mut VecDeque<Active>) {
    let share = (limits::EMBED_BATCH_DEFAULT / active.len().max(1)).max(1);
    let everyone = 0..active.len();
    if encode(encoder, active, everyone.clone(), share).is_ok() {
        return;
    }
    for at in everyone {
        if let Err(error) = encode(encoder, active, at..at + 1, share)
            && let Some(job) = active.get_mut(at)
        {
            job.failed = Some(error);
        }
    }
}

/// Encodes the next `share` texts of each job in `range`.
fn encode(
    encoder: &mut dyn Encoder,
    active: &mut VecDeque<Active>,
    range: std::ops::Range<usize>,
    share: usize,
) -> Result<(), Error> {
    let mut places = Vec::new();
    let mut texts = Vec::new();
    for at in range {
        let Some(job) = active.get(at) else { continue };
        for place in job.order.iter().skip(job.next).take(share) {
            places.push((at, *place));
            texts.extend(job.job.texts.get(*place).map(String::as_str));
        }
    }
    if texts.is_empty() {
        return Ok(());
    }
    let encoded = guarded(|| encoder.encode(&texts, None, true))?;
    if encoded.len() != places.len() {
        return Err(Error::Model("the encoder left texts out".to_owned()));
    }
    for ((at, place), encoding) in places.into_iter().zip(encoded) {
        let Some(job) = active.get_mut(at) else { continue };
        job.next += 1;
        if let Some(slot) = job.done.get_mut(place) {
            *slot = Some(encoding);
        }
    }
    Ok(())
}

fn answer_finished(active: &mut VecDeque<Active>) {
    for _ in 0..active.len() {
        match active.pop_front() {
            Some(mut job) if job.failed.is_some() || job.next >= job.order.len() => {
                let outcome = job.failed.take().map_or(Ok(()), Err);
                job.end(outcome);
            }
            Some(job) => active.push_back(job),
            None => return,
        }
    }
}

impl Active {
    fn end(mut self, outcome: Result<(), Error>) {
        let usage = Usage { prompt_tokens: self.tokens, ..Usage::default() };
        let word = outcome.as_ref().map_or_else(|error| error.kind().code(), |()| "stop");
        self.job.account.settle(&Spent { usage, plugins: &[], outcome: word });
        let tokens = self.tokens;
        let vectors = self.done.into_iter().flatten().map(|encoding| encoding.embedding).collect();
        // Nobody listens any more where the request left.
        drop(self.job.answer.send(outcome.map(|()| Vectors { vectors, tokens })));
    }
}

/// Runs model code; a panic in it fails what was running and not the process.
fn guarded<T>(work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(Error::Model("the encoder failed".to_owned())))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use firebox_contract::OpenGate;

    use super::*;

    struct Fake {
        info: ModelInfo,
        passes: Arc<AtomicUsize>,
    }

    impl Encoder for Fake {
        fn info(&self) -> &ModelInfo {
            &self.info
        }

        fn dimensions(&self) -> usize {
            1
        }

        fn count_tokens(&self, text: &str) -> Result<usize, Error> {
            Ok(text.len())
        }

        fn encode(&mut self, texts: &[&str], _: Option<usize>, _: bool) -> Result<Vec<Encoding>, Error> {
            self.passes.fetch_add(1, Ordering::Relaxed);
            assert!(!texts.contains(&"panic"), "asked for");
            Ok(texts.iter().map(|text| Encoding { embedding: vec![text.len() as f32], tokens: text.len() }).collect())
        }
    }

    async fn encoder() -> (EncoderThread, Arc<AtomicUsize>) {
        let passes = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&passes);
        let info = ModelInfo {
            name: "fake".to_owned(),
            architecture: "Fake".to_owned(),
            parameters: 0,
            context_tokens: 8,
            vocabulary: 1,
            device: "none".to_owned(),
            dtype: "f32",
            weights_bytes: 0,
        };
        let thread = EncoderThread::start(Box::new(move || Ok(Box::new(Fake { info, passes: counter })))).await;
        (thread.expect("starts"), passes)
    }

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[tokio::test]
    async fn vectors_come_in_the_order_of_the_texts_and_a_panic_is_one_requests_error() {
        let (thread, _) = encoder().await;
        let open = || Box::new(OpenGate) as Box<dyn Account>;
        let vectors = thread.embed(texts(&["a", "bbb", "cc"]), false, open()).await.expect("embeds");
        assert_eq!((vectors.vectors, vectors.tokens), (vec![vec![1.0], vec![3.0], vec![2.0]], 6));
        assert!(matches!(thread.embed(texts(&["panic"]), false, open()).await, Err(Error::Model(_))));
        assert!(thread.embed(texts(&["still"]), false, open()).await.is_ok());
        let long = thread.embed(texts(&["a", "123456789"]), false, open()).await.expect_err("too long");
        assert!(long.to_string().contains("input[1] has 9 tokens"), "{long}");
        assert!(thread.embed(texts(&["123456789"]), true, open()).await.is_ok());
    }

    #[tokio::test]
    async fn many_texts_become_batches() {
        let (thread, passes) = encoder().await;
        let many: Vec<String> = (0..100).map(|number| format!("{number}")).collect();
        thread.embed(many, false, Box::new(OpenGate)).await.expect("embeds");
        assert_eq!(passes.load(Ordering::Relaxed), 100_usize.div_ceil(limits::EMBED_BATCH_DEFAULT));
    }
}
