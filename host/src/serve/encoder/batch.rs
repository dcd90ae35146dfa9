//! The requests at one encoder, and whose texts each of its steps embeds. Tenants share the encoder's tokens by weight.
//! A step is bounded in tokens, padding included, so that whoever comes waits for a short step and goes first in the next.

use std::time::Duration;

use firebox_contract::{Encoder, EncoderText, Error, TenantId, limits};
use firebox_engine::{AdmissionPermit, FairClock};
use tokio::sync::oneshot;

use super::ledger::Ledger;
use super::{TextForm, Vectors};

/// One request's texts on their way. Cancelled by dropping the receiver of its answer.
pub(super) struct Job {
    pub(super) texts: Vec<String>,
    pub(super) form: TextForm,
    pub(super) tenant: TenantId,
    pub(super) weight: u32,
    /// When its time is up, on the encoder's clock.
    pub(super) until: Duration,
    pub(super) ledger: Ledger,
    pub(super) answer: oneshot::Sender<Result<Vectors, Error>>,
    pub(super) permit: AdmissionPermit,
}

/// A job, and how far it has come.
struct Active {
    job: Job,
    /// Tokens of each text whose tokens were counted, in the order of the texts.
    lengths: Vec<usize>,
    /// The places of all texts, the longest first; empty until all are counted and paid for.
    order: Vec<usize>,
    /// How many of `order` were embedded.
    next: usize,
    done: Vec<Option<Vec<f32>>>,
    failed: Option<Error>,
}

/// A text that is in a step.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pick {
    at: usize,
    place: usize,
    tokens: usize,
}

/// All requests at one encoder.
#[derive(Default)]
pub(super) struct Batcher {
    /// In the order they came.
    active: Vec<Active>,
    fair: FairClock,
}

impl Batcher {
    pub(super) fn is_empty(&self) -> bool {
        self.active.is_empty()
    }

    pub(super) fn add(&mut self, job: Job) {
        let done = job.texts.iter().map(|_| None).collect();
        self.active.push(Active { job, lengths: Vec::new(), order: Vec::new(), next: 0, done, failed: None });
    }

    /// Marks requests whose client left, or whose time is up.
    pub(super) fn drop_lost(&mut self, now: Duration) {
        for active in self.active.iter_mut().filter(|active| active.failed.is_none()) {
            if active.job.answer.is_closed() {
                active.failed = Some(Error::Interrupted);
            } else if now >= active.job.until {
                let message = "the request's time was up before all its texts were embedded; send fewer at a time";
                active.failed = Some(Error::Timeout(message.to_owned()));
            }
        }
    }

    /// Counts the tokens of a bounded number of bytes of text, as tenants come by turns.
    pub(super) fn count(&mut self, encoder: &dyn Encoder) {
        let mut left = limits::EMBED_TOKENIZE_BYTES_MAX;
        while left > 0
            && let Some(at) = self.first(|active| active.uncounted().map(drop))
        {
            let Some(active) = self.active.get_mut(at) else { return };
            let bytes = active.uncounted().map_or(0, |(_, text)| text.len()) + limits::EMBED_TOKENIZE_OVERHEAD_BYTES;
            active.count_one(encoder);
            // Long text costs here what it would as tokens, whether it becomes many or not.
            let cost = (bytes / limits::EMBED_TOKEN_BYTES_MAX) as u64;
            let start = self.fair.enter(&active.job.tenant, active.job.weight, cost);
            self.fair.begin(start);
            left = left.saturating_sub(bytes);
        }
    }

    /// The texts of the next step, of `budget` tokens at most unless one text alone has more.
    pub(super) fn plan(&mut self, budget: usize) -> Vec<Pick> {
        let mut picks: Vec<Pick> = Vec::new();
        let (mut longest, mut shortest) = (0, usize::MAX);
        while picks.len() < limits::EMBED_BATCH_TEXTS_DEFAULT {
            let rows = picks.len() + 1;
            let fits = |tokens: usize| {
                let (longest, shortest) = (tokens.max(longest), tokens.min(shortest));
                rows == 1 || (longest * rows <= budget && longest <= 2 * shortest.max(limits::EMBED_STEP_PAD_TOKENS))
            };
            let Some(at) = self.first(|active| active.next_text().filter(|(_, tokens)| fits(*tokens)).map(drop)) else {
                break;
            };
            let Some(active) = self.active.get_mut(at) else { break };
            let Some((place, tokens)) = active.next_text() else { break };
            // A key may have been revoked since the last step.
            if picks.iter().all(|pick| pick.at != at)
                && let Err(error) = active.job.ledger.check()
            {
                active.failed = Some(error);
                continue;
            }
            active.next += 1;
            let start = self.fair.enter(&active.job.tenant, active.job.weight, tokens as u64);
            self.fair.begin(start);
            (longest, shortest) = (longest.max(tokens), shortest.min(tokens));
            picks.push(Pick { at, place, tokens });
        }
        picks
    }

    /// The texts of `picks`, in their order.
    pub(super) fn texts(&self, picks: &[Pick]) -> Vec<EncoderText<'_>> {
        let text = |pick: &Pick| {
            let job = &self.active.get(pick.at)?.job;
            job.texts.get(pick.place).map(|text| job.form.of(text))
        };
        picks.iter().filter_map(text).collect()
    }

    /// Takes in the vectors of `picks`.
    pub(super) fn embedded(&mut self, picks: &[Pick], vectors: Vec<Vec<f32>>) {
        for (pick, mut vector) in picks.iter().zip(vectors) {
            let Some(active) = self.active.get_mut(pick.at) else { continue };
            active.job.form.vector.apply(&mut vector);
            active.job.ledger.embedded(pick.tokens);
            if let Some(slot) = active.done.get_mut(pick.place) {
                *slot = Some(vector);
            }
        }
    }

    /// The step with these texts failed, which are all of one request.
    pub(super) fn failed(&mut self, picks: &[Pick], error: Error) {
        if let Some(active) = picks.first().and_then(|pick| self.active.get_mut(pick.at)) {
            active.failed = Some(error);
        }
    }

    /// Answers what is done or has failed, and forgets it.
    pub(super) fn answer(&mut self) {
        let ended: Vec<Active> = self.active.extract_if(.., |active| active.has_ended()).collect();
        for active in ended {
            let tenant = active.job.tenant.clone();
            active.end();
            if self.active.iter().all(|other| other.job.tenant != tenant) {
                self.fair.forget(&tenant);
            }
        }
    }

    /// Which of those that have something to do is first: by the share of its tenant, then by arrival.
    fn first(&self, has_work: impl Fn(&Active) -> Option<()>) -> Option<usize> {
        let able = self.active.iter().enumerate().filter(|(_, active)| active.failed.is_none());
        let able = able.filter(|(_, active)| has_work(active).is_some());
        able.min_by_key(|(_, active)| self.fair.start(&active.job.tenant)).map(|(at, _)| at)
    }
}

/// `picks` by request, in their order.
pub(super) fn by_request(picks: &[Pick]) -> Vec<Vec<Pick>> {
    let mut groups: Vec<Vec<Pick>> = Vec::new();
    for pick in picks {
        match groups.iter_mut().find(|group| group.first().is_some_and(|first| first.at == pick.at)) {
            Some(group) => group.push(*pick),
            None => groups.push(vec![*pick]),
        }
    }
    groups
}

/// Tokens of a step with these texts, padding included.
pub(super) fn padded(picks: &[Pick]) -> usize {
    picks.iter().map(|pick| pick.tokens).max().unwrap_or(0) * picks.len()
}

impl Active {
    /// The first text whose tokens are not counted.
    fn uncounted(&self) -> Option<(usize, &String)> {
        let place = self.lengths.len();
        self.job.texts.get(place).map(|text| (place, text))
    }

    /// The next text to embed, and its tokens.
    fn next_text(&self) -> Option<(usize, usize)> {
        let place = *self.order.get(self.next)?;
        self.lengths.get(place).map(|tokens| (place, *tokens))
    }

    fn has_ended(&self) -> bool {
        self.failed.is_some() || (!self.order.is_empty() && self.next >= self.order.len())
    }

    /// Counts one text, and after the last reserves the tokens of all.
    fn count_one(&mut self, encoder: &dyn Encoder) {
        let Some((place, text)) = self.uncounted() else { return };
        let form = &self.job.form;
        let max = encoder.info().context_tokens.min(form.max_tokens.unwrap_or(usize::MAX));
        match super::guarded(|| encoder.count_tokens(&form.of(text))) {
            Ok(tokens) if tokens > max && !form.truncates() => {
                self.failed = Some(Error::TooLarge(format!(
                    "input[{place}] has {tokens} tokens and the model takes {max}; shorten it, or set firebox.truncate to true"
                )));
            }
            Ok(tokens) => self.lengths.push(tokens.min(max)),
            Err(error) => self.failed = Some(error),
        }
        if self.failed.is_none() && self.lengths.len() == self.job.texts.len() {
            match self.job.ledger.reserve(self.lengths.iter().sum()) {
                Ok(()) => self.sort(),
                Err(error) => self.failed = Some(error),
            }
        }
    }

    /// The longest first: what does not fit into memory fails at once.
    fn sort(&mut self) {
        let mut rows: Vec<(usize, usize)> = self.lengths.iter().copied().zip(0..).collect();
        rows.sort_unstable_by_key(|&(tokens, place)| (std::cmp::Reverse(tokens), place));
        self.order = rows.into_iter().map(|(_, place)| place).collect();
    }

    fn end(self) {
        let Job { mut ledger, answer, permit, .. } = self.job;
        let outcome = self.failed.map_or(Ok(()), Err);
        let word = outcome.as_ref().map_or_else(|error| error.kind().code(), |()| "stop");
        let plugins = ledger.plugins().to_vec();
        ledger.settle(word);
        // Before the answer: a client that has it may send its next request.
        drop(permit);
        let tokens = self.lengths.iter().sum();
        let vectors = self.done.into_iter().flatten().collect();
        // Nobody listens any more where the client left.
        drop(answer.send(outcome.map(|()| Vectors { vectors, tokens, plugins })));
    }
}
