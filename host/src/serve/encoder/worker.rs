//! The loop of the thread that owns an encoder: it takes in what waits, counts some tokens, and embeds one step.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Duration;

use firebox_contract::{Clock, Encoder, Error, limits};

use super::batch::{Batcher, Job, Pick, by_request, padded};
use super::guarded;

/// What an encoder did since its start, in steps, texts and tokens.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) steps: AtomicU64,
    pub(super) texts: AtomicU64,
    pub(super) tokens: AtomicU64,
}

/// What the thread works with.
pub(super) struct Worker {
    encoder: Box<dyn Encoder>,
    jobs: Receiver<Job>,
    clock: Arc<dyn Clock>,
    counts: Arc<Counts>,
    batcher: Batcher,
    /// Tokens of a step, padding included.
    budget: usize,
}

impl Worker {
    pub(super) fn new(
        encoder: Box<dyn Encoder>,
        jobs: Receiver<Job>,
        clock: Arc<dyn Clock>,
        counts: Arc<Counts>,
    ) -> Self {
        let budget = limits::EMBED_STEP_TOKENS_INITIAL;
        Self { encoder, jobs, clock, counts, batcher: Batcher::default(), budget }
    }

    /// Works until nobody can send any more and all that came is answered.
    pub(super) fn run(mut self) {
        loop {
            if self.batcher.is_empty() {
                let Ok(job) = self.jobs.recv() else { return };
                self.batcher.add(job);
            }
            self.take_waiting();
            self.batcher.drop_lost(self.clock.now());
            self.batcher.count(self.encoder.as_ref());
            self.step();
            self.batcher.answer();
        }
    }

    /// As many may wait as there are permits, so all of it is taken in.
    fn take_waiting(&mut self) {
        loop {
            match self.jobs.try_recv() {
                Ok(job) => self.batcher.add(job),
                // What is here is still answered.
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return,
            }
        }
    }

    /// One forward pass. Where that fails, the texts of each request are tried alone, so that one request's bad text
    /// is nobody else's error.
    fn step(&mut self) {
        let picks = self.batcher.plan(self.budget);
        let Err(error) = self.encode(&picks) else { return };
        let groups = by_request(&picks);
        if groups.len() == 1 {
            return self.batcher.failed(&picks, error);
        }
        for group in groups {
            if let Err(error) = self.encode(&group) {
                self.batcher.failed(&group, error);
            }
        }
    }

    fn encode(&mut self, picks: &[Pick]) -> Result<(), Error> {
        if picks.is_empty() {
            return Ok(());
        }
        let texts = self.batcher.texts(picks);
        let begun = self.clock.now();
        let encoder = &mut self.encoder;
        let encoded = guarded(|| encoder.encode(&texts))?;
        if encoded.len() != picks.len() {
            return Err(Error::Model("the encoder left texts out".to_owned()));
        }
        let took = self.clock.now().saturating_sub(begun);
        self.budget = next_budget(self.budget, padded(picks), took);
        self.counts.steps.fetch_add(1, Ordering::Relaxed);
        self.counts.texts.fetch_add(picks.len() as u64, Ordering::Relaxed);
        let tokens: usize = encoded.iter().map(|encoding| encoding.tokens).sum();
        self.counts.tokens.fetch_add(tokens as u64, Ordering::Relaxed);
        self.batcher.embedded(picks, encoded.into_iter().map(|encoding| encoding.embedding).collect());
        Ok(())
    }
}

/// Tokens of the next step, after one of so many took so long: as many as take `EMBED_STEP_TIME`. It grows by steps,
/// since the time of a small step says little about a large one.
fn next_budget(budget: usize, tokens: usize, took: Duration) -> usize {
    let wanted = limits::EMBED_STEP_TIME.as_secs_f64() / took.as_secs_f64().max(1e-9);
    let next = match wanted {
        wanted if wanted < 1.0 => budget.min((tokens as f64 * wanted) as usize),
        wanted if wanted > 2.0 && tokens * 2 > budget => budget * 2,
        _ => budget,
    };
    next.clamp(limits::EMBED_STEP_TOKENS_MIN, limits::EMBED_STEP_TOKENS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_becomes_as_large_as_its_time_allows() {
        for (microseconds, expected) in [(1, limits::EMBED_STEP_TOKENS_MAX), (50, 512), (2_000, 128)] {
            let mut budget = limits::EMBED_STEP_TOKENS_INITIAL;
            for _ in 0..20 {
                budget = next_budget(budget, budget, Duration::from_micros(microseconds) * budget as u32);
            }
            let near = budget >= expected / 2 && budget <= expected;
            assert!(near, "{budget} for {microseconds} µs a token");
        }
        let small = next_budget(512, 8, Duration::from_micros(10));
        assert_eq!(small, 512, "a small step says nothing about large ones");
    }
}
