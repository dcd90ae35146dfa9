//! The requests of an encoder, and the choice of the texts of each step. Tenants share the encoder's tokens by weight. A step
//! is limited in tokens, including padding, so that a new request waits for one short step only.

use std::time::Duration;

use firebox_contract::{Encoder, EncoderText, Error, TenantId, limits};
use firebox_engine::{AdmissionPermit, FairClock};
use tokio::sync::oneshot;

use super::usage_guard::UsageGuard;
use super::{Embeddings, EncodedTexts, TextOptions};

/// A request at the encoder. It is cancelled by dropping the receiver of its answer.
pub(super) struct EncoderJob {
    pub(super) texts: Vec<String>,
    pub(super) options: TextOptions,
    pub(super) tenant: TenantId,
    pub(super) weight: u32,
    /// The deadline, on the encoder's clock.
    pub(super) deadline: Duration,
    pub(super) usage: UsageGuard,
    pub(super) answer: oneshot::Sender<EncodedTexts>,
    pub(super) permit: AdmissionPermit,
}

/// A job and its progress.
struct ActiveJob {
    job: EncoderJob,
    /// The tokens of the texts that were counted, in the order of the texts.
    lengths: Vec<usize>,
    /// The indices of all texts, the longest first. Empty until all texts are counted and their tokens are reserved.
    order: Vec<usize>,
    /// The number of texts of `order` that were embedded.
    next: usize,
    vectors: Vec<Option<Vec<f32>>>,
    failed: Option<Error>,
}

/// A text of a step.
#[derive(Debug, Clone, Copy)]
pub(super) struct BatchEntry {
    /// The index of the job.
    job: usize,
    /// The index of the text in its job.
    text: usize,
    tokens: usize,
}

/// All requests of an encoder.
#[derive(Default)]
pub(super) struct Batcher {
    /// In the order of arrival.
    active: Vec<ActiveJob>,
    fair: FairClock,
}

impl Batcher {
    pub(super) fn is_empty(&self) -> bool {
        self.active.is_empty()
    }

    pub(super) fn add(&mut self, job: EncoderJob) {
        let vectors = job.texts.iter().map(|_| None).collect();
        self.active.push(ActiveJob { job, lengths: Vec::new(), order: Vec::new(), next: 0, vectors, failed: None });
    }

    /// Marks requests whose client is gone or whose deadline has passed as failed.
    pub(super) fn fail_lost(&mut self, now: Duration) {
        for active in self.active.iter_mut().filter(|active| active.failed.is_none()) {
            if active.job.answer.is_closed() {
                active.failed = Some(Error::Interrupted);
            } else if now >= active.job.deadline {
                let message = "timed out before all texts were embedded; send fewer texts in one request";
                active.failed = Some(Error::Timeout(message.to_owned()));
            }
        }
    }

    /// Counts the tokens of a limited number of bytes of text. Tenants share this work by weight too.
    pub(super) fn count(&mut self, encoder: &dyn Encoder) {
        let mut left = limits::EMBED_TOKENIZE_BYTES_MAX;
        while left > 0
            && let Some(at) = self.first(|active| active.uncounted().map(drop))
        {
            let Some(active) = self.active.get_mut(at) else { return };
            let query = active.job.options.query.as_ref().map_or(0, String::len);
            let text = active.uncounted().map_or(0, |(_, text)| text.len());
            let bytes = query + text + limits::EMBED_TOKENIZE_OVERHEAD_BYTES;
            active.count_one(encoder);
            // The cost follows the bytes, since a long text may have few tokens.
            let cost = (bytes / limits::EMBED_TOKEN_BYTES_MAX) as u64;
            let start = self.fair.enter(&active.job.tenant, active.job.weight, cost);
            self.fair.begin(start);
            left = left.saturating_sub(bytes);
        }
    }

    /// Chooses the texts of the next step. They have at most `budget` tokens, unless one text alone has more.
    pub(super) fn plan(&mut self, budget: usize) -> Vec<BatchEntry> {
        let mut entries: Vec<BatchEntry> = Vec::new();
        let (mut longest, mut shortest) = (0, usize::MAX);
        while entries.len() < limits::EMBED_BATCH_TEXTS_DEFAULT {
            let rows = entries.len() + 1;
            let fits = |tokens: usize| {
                let (longest, shortest) = (tokens.max(longest), tokens.min(shortest));
                rows == 1 || (longest * rows <= budget && longest <= 2 * shortest.max(limits::EMBED_STEP_PAD_TOKENS))
            };
            let Some(at) = self.first(|active| active.next_text().filter(|(_, tokens)| fits(*tokens)).map(drop)) else {
                break;
            };
            let Some(active) = self.active.get_mut(at) else { break };
            let Some((text, tokens)) = active.next_text() else { break };
            // The key may have been revoked since the last step.
            if entries.iter().all(|entry| entry.job != at)
                && let Err(error) = active.job.usage.check()
            {
                active.failed = Some(error);
                continue;
            }
            active.next += 1;
            let start = self.fair.enter(&active.job.tenant, active.job.weight, tokens as u64);
            self.fair.begin(start);
            (longest, shortest) = (longest.max(tokens), shortest.min(tokens));
            entries.push(BatchEntry { job: at, text, tokens });
        }
        entries
    }

    /// The texts of `entries`, in the same order.
    pub(super) fn texts(&self, entries: &[BatchEntry]) -> Vec<EncoderText<'_>> {
        let text = |entry: &BatchEntry| {
            let job = &self.active.get(entry.job)?.job;
            job.texts.get(entry.text).map(|text| job.options.of(text))
        };
        entries.iter().filter_map(text).collect()
    }

    /// Stores the vectors of `entries`.
    pub(super) fn store(&mut self, entries: &[BatchEntry], vectors: Vec<Vec<f32>>) {
        for (entry, mut vector) in entries.iter().zip(vectors) {
            let Some(active) = self.active.get_mut(entry.job) else { continue };
            active.job.options.vector.apply(&mut vector);
            active.job.usage.add_tokens(entry.tokens);
            if let Some(slot) = active.vectors.get_mut(entry.text) {
                *slot = Some(vector);
            }
        }
    }

    /// Marks the request of these texts as failed. All texts must be of one request.
    pub(super) fn fail(&mut self, entries: &[BatchEntry], error: Error) {
        if let Some(active) = entries.first().and_then(|entry| self.active.get_mut(entry.job)) {
            active.failed = Some(error);
        }
    }

    /// Answers and removes the requests that are complete or have failed.
    pub(super) fn answer_ended(&mut self) {
        let ended: Vec<ActiveJob> = self.active.extract_if(.., |active| active.has_ended()).collect();
        for active in ended {
            let tenant = active.job.tenant.clone();
            active.end();
            if self.active.iter().all(|other| other.job.tenant != tenant) {
                self.fair.forget(&tenant);
            }
        }
    }

    /// The job that is next among those with work: by the share of its tenant, then by arrival.
    fn first(&self, has_work: impl Fn(&ActiveJob) -> Option<()>) -> Option<usize> {
        let able = self.active.iter().enumerate().filter(|(_, active)| active.failed.is_none());
        let able = able.filter(|(_, active)| has_work(active).is_some());
        able.min_by_key(|(_, active)| self.fair.start(&active.job.tenant)).map(|(at, _)| at)
    }
}

/// Groups `entries` by request, in the same order.
pub(super) fn by_request(entries: &[BatchEntry]) -> Vec<Vec<BatchEntry>> {
    let mut groups: Vec<Vec<BatchEntry>> = Vec::new();
    for entry in entries {
        match groups.iter_mut().find(|group| group.first().is_some_and(|first| first.job == entry.job)) {
            Some(group) => group.push(*entry),
            None => groups.push(vec![*entry]),
        }
    }
    groups
}

/// The tokens of a step with these texts, including padding.
pub(super) fn padded(entries: &[BatchEntry]) -> usize {
    entries.iter().map(|entry| entry.tokens).max().unwrap_or(0) * entries.len()
}

impl ActiveJob {
    /// The first text that is not counted, with its index.
    fn uncounted(&self) -> Option<(usize, &String)> {
        let index = self.lengths.len();
        self.job.texts.get(index).map(|text| (index, text))
    }

    /// The index of the next text to embed, and its tokens.
    fn next_text(&self) -> Option<(usize, usize)> {
        let index = *self.order.get(self.next)?;
        self.lengths.get(index).map(|tokens| (index, *tokens))
    }

    fn has_ended(&self) -> bool {
        self.failed.is_some() || (!self.order.is_empty() && self.next >= self.order.len())
    }

    /// Counts one text. After the last one, reserves the tokens of all texts.
    fn count_one(&mut self, encoder: &dyn Encoder) {
        let Some((index, text)) = self.uncounted() else { return };
        let options = &self.job.options;
        let max = encoder.info().context_tokens.min(options.max_tokens.unwrap_or(usize::MAX));
        match super::catch_panic(|| encoder.count_tokens(&options.of(text))) {
            Ok(tokens) if tokens > max && !options.truncates() => {
                let name = options.name_of(index);
                self.failed = Some(Error::TooLarge(format!(
                    "{name} has {tokens} tokens, and the model takes at most {max}; shorten it, or set \"firebox.truncate\" to true"
                )));
            }
            Ok(tokens) => self.lengths.push(tokens.min(max)),
            Err(error) => self.failed = Some(error),
        }
        if self.failed.is_none() && self.lengths.len() == self.job.texts.len() {
            match self.job.usage.reserve(self.lengths.iter().sum()) {
                Ok(()) => self.sort(),
                Err(error) => self.failed = Some(error),
            }
        }
    }

    /// Puts the longest texts first, so that a text that does not fit into memory fails early.
    fn sort(&mut self) {
        let mut rows: Vec<(usize, usize)> = self.lengths.iter().copied().zip(0..).collect();
        rows.sort_unstable_by_key(|&(tokens, index)| (std::cmp::Reverse(tokens), index));
        self.order = rows.into_iter().map(|(_, index)| index).collect();
    }

    fn end(self) {
        let EncoderJob { mut usage, answer, permit, .. } = self.job;
        let outcome = self.failed.map_or(Ok(()), Err);
        if answer.is_closed() {
            usage.settle(outcome.as_ref().map_or_else(|error| error.kind().code(), |()| "stop"));
        }
        // Before the answer, since the client may send its next request when it has the answer.
        drop(permit);
        let tokens = self.lengths.iter().sum();
        let vectors = self.vectors.into_iter().flatten().collect();
        let outcome = outcome.map(|()| Embeddings { vectors, tokens, plugins: Vec::new() });
        // The send fails if the client is gone.
        drop(answer.send(EncodedTexts { outcome, usage }));
    }
}
