//! The loop of the thread that owns an encoder: takes new jobs, counts tokens, and embeds one step.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Duration;

use firebox_contract::{Clock, Encoder, Error, limits};

use super::batch::{BatchEntry, Batcher, EncoderJob, by_request, padded};
use super::catch_panic;

/// The work of an encoder since its start.
#[derive(Debug, Default)]
pub(super) struct EncoderCounts {
    pub(super) steps: AtomicU64,
    pub(super) texts: AtomicU64,
    pub(super) tokens: AtomicU64,
}

/// The state of the thread.
pub(super) struct EncoderWorker {
    encoder: Box<dyn Encoder>,
    jobs: Receiver<EncoderJob>,
    clock: Arc<dyn Clock>,
    counts: Arc<EncoderCounts>,
    batcher: Batcher,
    /// The maximum tokens of a step, including padding.
    budget: usize,
}

impl EncoderWorker {
    pub(super) fn new(
        encoder: Box<dyn Encoder>,
        jobs: Receiver<EncoderJob>,
        clock: Arc<dyn Clock>,
        counts: Arc<EncoderCounts>,
    ) -> Self {
        let budget = limits::EMBED_STEP_TOKENS_INITIAL;
        Self { encoder, jobs, clock, counts, batcher: Batcher::default(), budget }
    }

    /// Runs until the queue is closed and all requests are answered.
    pub(super) fn run(mut self) {
        loop {
            if self.batcher.is_empty() {
                let Ok(job) = self.jobs.recv() else { return };
                self.batcher.add(job);
            }
            self.take_jobs();
            self.batcher.fail_lost(self.clock.now());
            self.batcher.count(self.encoder.as_ref());
            self.step();
            self.batcher.answer_ended();
        }
    }

    /// Takes all jobs of the queue. Permits bound their number.
    fn take_jobs(&mut self) {
        loop {
            match self.jobs.try_recv() {
                Ok(job) => self.batcher.add(job),
                // After the queue is closed, the jobs that were taken are still answered.
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return,
            }
        }
    }

    /// One step. If it fails, the texts of each request are tried alone, so that only the request with the bad text fails.
    fn step(&mut self) {
        let entries = self.batcher.plan(self.budget);
        let Err(error) = self.encode(&entries) else { return };
        let groups = by_request(&entries);
        if groups.len() == 1 {
            return self.batcher.fail(&entries, error);
        }
        for group in groups {
            if let Err(error) = self.encode(&group) {
                self.batcher.fail(&group, error);
            }
        }
    }

    fn encode(&mut self, entries: &[BatchEntry]) -> Result<(), Error> {
        if entries.is_empty() {
            return Ok(());
        }
        let texts = self.batcher.texts(entries);
        let started = self.clock.now();
        let encoder = &mut self.encoder;
        let encoded = catch_panic(|| encoder.encode(&texts))?;
        if encoded.len() != entries.len() {
            return Err(Error::Model("the encoder did not return a vector for each text".to_owned()));
        }
        let took = self.clock.now().saturating_sub(started);
        self.budget = next_budget(self.budget, padded(entries), took);
        self.counts.steps.fetch_add(1, Ordering::Relaxed);
        self.counts.texts.fetch_add(entries.len() as u64, Ordering::Relaxed);
        let tokens: usize = encoded.iter().map(|encoding| encoding.tokens).sum();
        self.counts.tokens.fetch_add(tokens as u64, Ordering::Relaxed);
        self.batcher.store(entries, encoded.into_iter().map(|encoding| encoding.embedding).collect());
        Ok(())
    }
}

/// The maximum tokens of the next step, after a step of `tokens` took `took`: as many as take `limits::EMBED_STEP_TIME`. It
/// at most doubles, since the time of a small step says little about a large one.
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
    fn the_step_grows_until_it_takes_the_configured_time() {
        for (microseconds, expected) in [(1, limits::EMBED_STEP_TOKENS_MAX), (50, 512), (2_000, 128)] {
            let mut budget = limits::EMBED_STEP_TOKENS_INITIAL;
            for _ in 0..20 {
                budget = next_budget(budget, budget, Duration::from_micros(microseconds) * budget as u32);
            }
            let near = budget >= expected / 2 && budget <= expected;
            assert!(near, "{budget} for {microseconds} µs a token");
        }
        let small = next_budget(512, 8, Duration::from_micros(10));
        assert_eq!(small, 512, "a small step does not change the limit");
    }
}
