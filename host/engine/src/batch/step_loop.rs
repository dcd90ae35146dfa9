//! The loop of the thread that owns a model: take new requests, remove ended sequences, start waiting ones, run a step.
//! It works on token ids only; text exists before and after it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use firebox_contract::limits::TOKEN_STAGE_WAIT;
use firebox_contract::{Clock, Error, FinishReason};
use tokio::sync::mpsc;

use super::sequence::{Sequence, SequenceEvent, SequenceRequest};
use super::sequence_pool::SequencePool;
use super::speculation::{Drafter, Speculation};
use super::supervisor::{ModelSupervisor, StepResults};
use super::warm_up::{StepTiming, warm_up};
use crate::scheduler::{Candidate, Scheduler};
use crate::status::{EngineMetrics, unavailable};

/// Every so many steps, drafts are planned without the times that steps of their size took.
const DRAFT_RETRY_STEPS: u64 = 64;
/// Shortest time that the thread sleeps.
const PARK_MIN: Duration = Duration::from_millis(1);
/// Longest time that the thread sleeps while it waits for a deadline.
const PARK_MAX: Duration = Duration::from_secs(1);

pub(crate) struct StepLoop {
    pool: SequencePool,
    inbox: mpsc::Receiver<SequenceRequest>,
    /// Ended sequences whose last event did not fit into the reader's channel yet. Their caches are freed. Admission
    /// permits bound their number.
    ended: Vec<Sequence>,
    clock: Arc<dyn Clock>,
    metrics: Arc<EngineMetrics>,
    stop: Arc<AtomicBool>,
    prefill_chunk: usize,
    speculation: Speculation,
    scheduler: Scheduler,
    /// Whether a reloaded model is warmed up before the next request.
    warms_up: bool,
    arrivals: u64,
    step_number: u64,
}

impl StepLoop {
    #[allow(clippy::too_many_arguments, reason = "the parts of the engine that it connects")]
    pub(crate) fn new(
        model: ModelSupervisor,
        inbox: mpsc::Receiver<SequenceRequest>,
        clock: Arc<dyn Clock>,
        metrics: Arc<EngineMetrics>,
        stop: Arc<AtomicBool>,
        prefill_chunk: usize,
        speculation: Speculation,
    ) -> Self {
        let pool = SequencePool::new(model, Arc::clone(&metrics));
        Self {
            pool,
            inbox,
            ended: Vec::new(),
            clock,
            metrics,
            stop,
            prefill_chunk,
            speculation,
            scheduler: Scheduler::default(),
            warms_up: false,
            arrivals: 0,
            step_number: 0,
        }
    }

    /// Gives the scheduler the timings of the warm-up. A model that was warmed up is warmed up again after a reload.
    pub(crate) fn with_timings(mut self, timings: &[StepTiming]) -> Self {
        self.warms_up = !timings.is_empty();
        timings.iter().for_each(|(tokens, took)| self.scheduler.learn(*tokens, *took));
        self
    }

    pub(crate) fn run(mut self) {
        loop {
            let open = self.take_new_requests();
            if self.stop.load(Ordering::Acquire) {
                return self.abort_all();
            }
            self.expire();
            self.remove_ended();
            self.reload_if_broken();
            self.pool.start_waiting();
            let has_slept = self.settle();
            // What came in while the thread slept has woken it already, and must be taken before it parks.
            if self.step() || has_slept {
                continue;
            }
            if !open && self.ended.is_empty() && self.pool.is_empty() {
                return;
            }
            self.park();
        }
    }

    /// Returns false when no more requests can come.
    fn take_new_requests(&mut self) -> bool {
        loop {
            match self.inbox.try_recv() {
                Ok(request) => self.enqueue(request),
                Err(mpsc::error::TryRecvError::Empty) => return true,
                Err(mpsc::error::TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn enqueue(&mut self, request: SequenceRequest) {
        self.metrics.count(|counters| counters.prompt_tokens += request.tokens.len() as u64);
        self.arrivals += 1;
        if !request.prepared.is_zero() {
            self.scheduler.charge_own(&request.tenant, request.weight, request.prepared, self.clock.now());
        }
        let drafts = self.speculation == Speculation::NGram && request.stage.is_none();
        let drafter = drafts.then(Drafter::default);
        let began = self.clock.now();
        let sequence = Sequence::new(self.arrivals, request, drafter);
        if sequence.has_session() {
            let ended = self.clock.now();
            // The session may have decided about the first token.
            self.scheduler.charge_own(sequence.tenant(), sequence.weight(), ended.saturating_sub(began), ended);
        }
        self.pool.queue.push(sequence);
    }

    /// Ends the sequences whose deadline passed, even if their reader does not read.
    fn expire(&mut self) {
        let now = self.clock.now();
        for sequence in self.pool.all_mut().filter(|sequence| !sequence.has_ended() && sequence.deadline() <= now) {
            sequence.end(SequenceEvent::Finished(FinishReason::Timeout));
        }
    }

    /// Removes sequences that ended or whose reader is gone. Dropping a `Generation` cancels it this way.
    fn remove_ended(&mut self) {
        self.ended.extend(self.pool.take_ended());
        self.ended.iter_mut().for_each(Sequence::flush);
        self.ended.retain(|sequence| !sequence.is_done());
    }

    /// Reloads a broken model. Its sequences that did not fail are computed again.
    fn reload_if_broken(&mut self) {
        if !self.pool.model.is_broken() {
            return;
        }
        self.pool.requeue_all();
        let failed = match self.clock.now() >= self.pool.model.retry_at() {
            true => self.reload().map_err(|error| unavailable(&error.to_string())),
            false => self.metrics.check(),
        };
        if let Err(error) = failed {
            self.pool.queue.iter_mut().for_each(|sequence| sequence.end(SequenceEvent::Failed(error.clone())));
            self.remove_ended();
        }
    }

    fn reload(&mut self) -> Result<(), Error> {
        let (clock, scheduler, warms_up) = (&self.clock, &mut self.scheduler, self.warms_up);
        let warm_up = |model: &mut ModelSupervisor| {
            let timings = if warms_up { warm_up(model, &**clock) } else { Vec::new() };
            timings.iter().for_each(|(tokens, took)| scheduler.learn(*tokens, *took));
        };
        self.pool.model.reload(|| clock.now(), warm_up)
    }

    /// Takes the decisions of token stages. A session that was not late before has `TOKEN_STAGE_WAIT` for its decision; then the
    /// batch goes on without its sequence. Returns whether the thread slept.
    fn settle(&mut self) -> bool {
        let rests = |pool: &SequencePool| pool.running.iter().any(Sequence::rests_shortly);
        let mut grown = self.settle_once();
        let sleeps = rests(&self.pool);
        if sleeps {
            thread::park_timeout(TOKEN_STAGE_WAIT);
            grown += self.settle_once();
            self.pool.running.iter_mut().for_each(Sequence::note_lateness);
        }
        if grown > 0 {
            self.metrics.count(|counters| counters.completion_tokens += grown);
        }
        sleeps
    }

    /// Takes the decisions that have come. Calls of sessions may begin on this thread, so tenants are charged for the time.
    fn settle_once(&mut self) -> u64 {
        let (scheduler, clock) = (&mut self.scheduler, &self.clock);
        let now = clock.now();
        let mut began = now;
        self.pool.settle(now, |sequence| {
            let ended = clock.now();
            scheduler.charge_own(sequence.tenant(), sequence.weight(), ended.saturating_sub(began), ended);
            began = ended;
        })
    }

    /// Runs one step over the sequences that the scheduler chose. Returns false when no sequence can be computed.
    fn step(&mut self) -> bool {
        let ready: Vec<usize> = (0..self.pool.running.len()).filter(|at| self.pool.running[*at].is_ready()).collect();
        let candidates: Vec<Candidate<'_>> = ready.iter().map(|at| candidate(&self.pool.running[*at])).collect();
        let began = self.clock.now();
        let lengths = self.scheduler.plan(&candidates, self.prefill_chunk, began);
        let batch: Vec<(usize, usize)> = ready.into_iter().zip(lengths).filter(|(_, length)| *length > 0).collect();
        if batch.is_empty() {
            return false;
        }
        let drafted = self.plan_drafts(&batch);
        let Some(results) = self.forward(&batch) else {
            self.metrics.count(|counters| counters.steps_aborted += 1);
            batch.iter().for_each(|(at, _)| self.pool.running[*at].count_aborted_step());
            return true;
        };
        self.step_number += 1;
        let now = self.clock.now();
        let computed = batch.iter().map(|(at, length)| {
            let sequence = &self.pool.running[*at];
            (sequence.tenant(), sequence.weight(), *length + sequence.drafted())
        });
        self.scheduler.charge(computed, now.saturating_sub(began), now);
        let (mut completion_tokens, mut accepted) = (0, 0);
        let mut out_of_room = Vec::new();
        let mut chosen_at = now;
        for ((at, length), result) in batch.iter().zip(results) {
            let sequence = &mut self.pool.running[*at];
            match result {
                Ok(logits) => {
                    let growth = sequence.advance(*length, logits, self.step_number, now);
                    completion_tokens += growth.tokens;
                    accepted += growth.accepted;
                    // Choosing a token can take long if the answer has a grammar.
                    let (began, ended) = (chosen_at, self.clock.now());
                    let took = ended.saturating_sub(began);
                    self.scheduler.charge_own(sequence.tenant(), sequence.weight(), took, ended);
                    chosen_at = ended;
                }
                Err(error @ Error::Limited { .. }) => out_of_room.push((*at, error)),
                Err(error) => sequence.fail(error),
            }
        }
        self.pool.remove_refused(&batch);
        self.pool.resolve_out_of_room(out_of_room);
        self.pool.preempt_invalid();
        let cache = self.pool.model.cache_use();
        self.metrics.count(|counters| {
            counters.steps += 1;
            counters.batched_sequences += batch.len() as u64;
            counters.completion_tokens += completion_tokens;
            counters.drafted_tokens += drafted as u64;
            counters.accepted_tokens += accepted;
            counters.cache = cache;
        });
        true
    }

    /// Drafts tokens for the answers of a planned step, if speculation is on and no other tenant waits for the step to end.
    /// Returns their number.
    fn plan_drafts(&mut self, batch: &[(usize, usize)]) -> usize {
        if self.speculation == Speculation::Off || !self.scheduler.is_alone() {
            return 0;
        }
        // A size of step that was slow once, such as while a device compiled its kernels, is tried again.
        let measured = !self.step_number.is_multiple_of(DRAFT_RETRY_STEPS);
        let scheduler = &self.scheduler;
        self.pool.plan_drafts(batch, |rows| scheduler.step_seconds(rows, measured))
    }

    /// The forward pass. Requests that arrive while it runs are taken in, and the step is aborted if the scheduler
    /// gives them precedence.
    fn forward(&mut self, batch: &[(usize, usize)]) -> Option<StepResults> {
        // Admission permits bound the number of requests.
        let mut arrived = Vec::new();
        let (inbox, scheduler, clock) = (&mut self.inbox, &self.scheduler, &self.clock);
        let results = self.pool.forward(batch, &mut || {
            let before = arrived.len();
            arrived.extend(std::iter::from_fn(|| inbox.try_recv().ok()));
            let work = arrived.iter().map(SequenceRequest::pending_work);
            arrived.len() == before || !scheduler.should_abort_for(work, clock.now())
        });
        arrived.into_iter().for_each(|request| self.enqueue(request));
        results
    }

    /// Sleeps until a request arrives, a reader makes room or leaves, the engine closes, or the next deadline.
    fn park(&self) {
        let deadline = self.pool.all().filter(|sequence| !sequence.has_ended()).map(Sequence::deadline).min();
        let retry = self.pool.model.is_broken().then(|| self.pool.model.retry_at());
        match deadline.into_iter().chain(retry).min() {
            // The engine's clock may differ from the thread's own, so it is read again after at most `PARK_MAX`.
            Some(at) => thread::park_timeout(at.saturating_sub(self.clock.now()).clamp(PARK_MIN, PARK_MAX)),
            None => thread::park(),
        }
    }

    /// Ends every sequence, because the engine closes.
    fn abort_all(mut self) {
        let error = Error::Unavailable("the host shut down before the answer was complete".to_owned());
        for sequence in self.pool.all_mut().filter(|sequence| !sequence.has_ended()) {
            sequence.end(SequenceEvent::Failed(error.clone()));
        }
    }
}

fn candidate(sequence: &Sequence) -> Candidate<'_> {
    Candidate {
        work: sequence.pending_work(),
        pending_tokens: sequence.pending_tokens(),
        last_step: sequence.last_step(),
        aborted_steps: sequence.aborted_steps(),
    }
}
