//! What the thread that owns a model does, over and over: take in, give up, begin, step. Knows token ids only; text
//! exists before and after it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use firebox_contract::{Clock, Error, FinishReason, Logits};
use tokio::sync::mpsc;

use crate::house::House;
use crate::keeper::Keeper;
use crate::schedule::{Candidate, Schedule};
use crate::sequence::{Job, Sequence, StepEvent};
use crate::status::{Meter, unavailable};
use crate::warmup::{Measured, warm_up};

const PARK_MIN: Duration = Duration::from_millis(1);
const PARK_MAX: Duration = Duration::from_secs(1);

pub(crate) struct Turns {
    house: House,
    inbox: mpsc::Receiver<Job>,
    /// Ended, with a last event that its reader has no room for. Their caches are gone; the tickets bound their number.
    leaving: Vec<Sequence>,
    clock: Arc<dyn Clock>,
    meter: Arc<Meter>,
    stop: Arc<AtomicBool>,
    prefill_chunk: usize,
    schedule: Schedule,
    /// Whether a model that is made again runs before the next request.
    runs_first: bool,
    arrivals: u64,
    turn: u64,
}

impl Turns {
    pub(crate) fn new(
        keeper: Keeper,
        inbox: mpsc::Receiver<Job>,
        clock: Arc<dyn Clock>,
        meter: Arc<Meter>,
        stop: Arc<AtomicBool>,
        prefill_chunk: usize,
    ) -> Self {
        let house = House::new(keeper, Arc::clone(&meter));
        Self {
            house,
            inbox,
            leaving: Vec::new(),
            clock,
            meter,
            stop,
            prefill_chunk,
            schedule: Schedule::default(),
            runs_first: false,
            arrivals: 0,
            turn: 0,
        }
    }

    /// With what passes of the model were measured to take. One that was measured is measured again when it is made again.
    pub(crate) fn knowing(mut self, measured: &[Measured]) -> Self {
        self.runs_first = !measured.is_empty();
        measured.iter().for_each(|(tokens, took)| self.schedule.learn(*tokens, *took));
        self
    }

    pub(crate) fn run(mut self) {
        loop {
            let open = self.take_new_jobs();
            if self.stop.load(Ordering::Acquire) {
                return self.cut_off();
            }
            self.expire();
            self.part();
            self.mend();
            self.house.begin_waiting();
            if self.step() {
                continue;
            }
            if !open && self.leaving.is_empty() && self.house.is_empty() {
                return;
            }
            self.rest();
        }
    }

    /// False when no more jobs can come.
    fn take_new_jobs(&mut self) -> bool {
        loop {
            match self.inbox.try_recv() {
                Ok(job) => self.take_in(job),
                Err(mpsc::error::TryRecvError::Empty) => return true,
                Err(mpsc::error::TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn take_in(&mut self, job: Job) {
        self.meter.count(|counters| counters.prompt_tokens += job.tokens.len() as u64);
        self.arrivals += 1;
        self.house.queue.push(Sequence::new(self.arrivals, job));
    }

    /// Ends what is out of time, whether or not anybody reads it.
    fn expire(&mut self) {
        let now = self.clock.now();
        for sequence in self.house.all_mut().filter(|sequence| !sequence.has_ended() && sequence.deadline() <= now) {
            sequence.end(StepEvent::Finished(FinishReason::Timeout));
        }
    }

    /// Lets those go that ended, and those whose reader is gone: dropping a generation is how it is cancelled.
    fn part(&mut self) {
        self.leaving.extend(self.house.part());
        self.leaving.iter_mut().for_each(Sequence::flush);
        self.leaving.retain(|sequence| !sequence.is_over());
    }

    /// Makes a broken model again. What was in it and did not fail is computed once more.
    fn mend(&mut self) {
        if !self.house.keeper.is_broken() {
            return;
        }
        self.house.abandon();
        let failed = match self.clock.now() >= self.house.keeper.retry_at() {
            true => self.reload().map_err(|error| unavailable(&error.to_string())),
            false => self.meter.check(),
        };
        if let Err(error) = failed {
            self.house.queue.iter_mut().for_each(|sequence| sequence.end(StepEvent::Failed(error.clone())));
            self.part();
        }
    }

    fn reload(&mut self) -> Result<(), Error> {
        let (clock, schedule, runs_first) = (&self.clock, &mut self.schedule, self.runs_first);
        let first = |keeper: &mut Keeper| {
            let measured = if runs_first { warm_up(keeper, &**clock) } else { Vec::new() };
            measured.iter().for_each(|(tokens, took)| schedule.learn(*tokens, *took));
        };
        self.house.keeper.reload(|| clock.now(), first)
    }

    /// One forward pass for every sequence whose turn it is. False when nobody can go on.
    fn step(&mut self) -> bool {
        let ready: Vec<usize> = (0..self.house.running.len()).filter(|at| self.house.running[*at].is_ready()).collect();
        let candidates: Vec<Candidate<'_>> = ready.iter().map(|at| candidate(&self.house.running[*at])).collect();
        let began = self.clock.now();
        let lengths = self.schedule.plan(&candidates, self.prefill_chunk, began);
        let stepped: Vec<(usize, usize)> = ready.into_iter().zip(lengths).filter(|(_, length)| *length > 0).collect();
        if stepped.is_empty() {
            return false;
        }
        let Some(rows) = self.forward(&stepped) else {
            self.meter.count(|counters| counters.given_up += 1);
            stepped.iter().for_each(|(at, _)| self.house.running[*at].cut());
            return true;
        };
        self.turn += 1;
        let now = self.clock.now();
        let paid = stepped.iter().map(|(at, length)| {
            let sequence = &self.house.running[*at];
            (sequence.tenant(), sequence.weight(), *length)
        });
        self.schedule.charge(paid, now.saturating_sub(began), now);
        let mut made = 0;
        let mut crowded = Vec::new();
        for ((at, length), row) in stepped.iter().zip(rows) {
            let sequence = &mut self.house.running[*at];
            match row {
                Ok(logits) => made += u64::from(sequence.advance(*length, logits, self.turn, now)),
                Err(error @ Error::Limited { .. }) => crowded.push((*at, error)),
                Err(error) => sequence.fail(error),
            }
        }
        self.house.relieve(crowded);
        let cache = self.house.keeper.cache_use();
        self.meter.count(|counters| {
            counters.steps += 1;
            counters.batched += stepped.len() as u64;
            counters.completion_tokens += made;
            counters.cache = cache;
        });
        true
    }

    /// The pass itself. Who comes meanwhile is taken in, and the pass given up if it is for them.
    fn forward(&mut self, stepped: &[(usize, usize)]) -> Option<Vec<Result<Option<Logits>, Error>>> {
        // At most as many as there are tickets.
        let mut came = Vec::new();
        let (inbox, schedule, clock) = (&mut self.inbox, &self.schedule, &self.clock);
        let rows = self.house.forward(stepped, &mut || {
            let before = came.len();
            came.extend(std::iter::from_fn(|| inbox.try_recv().ok()));
            came.len() == before || !schedule.yields_to(came.iter().map(Job::demand), clock.now())
        });
        came.into_iter().for_each(|job| self.take_in(job));
        rows
    }

    /// Sleeps until a new job, a reader who made room or left, shutdown, or the next deadline.
    fn rest(&self) {
        let next = self.house.all().filter(|sequence| !sequence.has_ended()).map(Sequence::deadline).min();
        let retry = self.house.keeper.is_broken().then(|| self.house.keeper.retry_at());
        match next.into_iter().chain(retry).min() {
            // The clock is a given one, which need not agree with the thread's own: it is asked again now and then.
            Some(at) => thread::park_timeout(at.saturating_sub(self.clock.now()).clamp(PARK_MIN, PARK_MAX)),
            None => thread::park(),
        }
    }

    /// The engine closes: everybody hears why.
    fn cut_off(mut self) {
        let error = Error::Unavailable("the host shut down before the answer was complete".to_owned());
        for sequence in self.house.all_mut().filter(|sequence| !sequence.has_ended()) {
            sequence.end(StepEvent::Failed(error.clone()));
        }
    }
}

fn candidate(sequence: &Sequence) -> Candidate<'_> {
    Candidate {
        demand: sequence.demand(),
        pending: sequence.pending(),
        stepped: sequence.stepped(),
        cuts: sequence.cuts(),
    }
}
