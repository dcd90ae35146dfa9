//! The sequences of a model: those that run, those that wait, and the cached prefixes of those that ended.
//!
//! A sequence starts when its prompt and its expected answer fit into the cache budget together with the sequences that
//! run. Cached prefixes give way first. Then the pool preempts sequences of a tenant that reserves more than its share.
//!
//! If a request sets no length for its answer, the pool reserves `ANSWER_TOKENS_EXPECTED` tokens, and more as the answer
//! grows. The sequences that run can therefore outgrow the budget. Then a sequence is preempted: it loses its KV cache,
//! waits, and is computed again.

use std::sync::Arc;
use std::time::Duration;

use firebox_contract::limits::{PREFIX_BUDGET_DIVISOR, PREFIX_TAIL_TOKENS, PREFIX_TOKENS_MIN, STEP_PREFILL_TOKENS};
use firebox_contract::{CacheUse, Error, SequenceId, Span, TenantId};

use super::prefix_cache::{PrefixCache, PrefixMatch, common_prefix};
use super::sequence::{Sequence, SequenceEvent};
use super::speculation::StepPlan;
use super::supervisor::{ModelSupervisor, StepResults};
use crate::status::EngineMetrics;

pub(crate) struct SequencePool {
    pub(crate) model: ModelSupervisor,
    /// Sequences with a cache in the model, the oldest first.
    pub(crate) running: Vec<Sequence>,
    /// Sequences without a cache: new or preempted. Admission permits bound their number.
    pub(crate) queue: Vec<Sequence>,
    prefixes: PrefixCache,
    metrics: Arc<EngineMetrics>,
    last_id: u64,
}

impl SequencePool {
    pub(crate) fn new(model: ModelSupervisor, metrics: Arc<EngineMetrics>) -> Self {
        Self { model, running: Vec::new(), queue: Vec::new(), prefixes: PrefixCache::default(), metrics, last_id: 0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.running.is_empty() && self.queue.is_empty()
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Sequence> {
        self.running.iter().chain(&self.queue)
    }

    pub(crate) fn all_mut(&mut self) -> impl Iterator<Item = &mut Sequence> {
        self.running.iter_mut().chain(&mut self.queue)
    }

    /// Runs one step. `batch` holds `(index in running, number of tokens)` for each sequence of the step. Returns `None`
    /// if `may_continue` returned false and the model aborted the step.
    pub(crate) fn forward(
        &mut self,
        batch: &[(usize, usize)],
        may_continue: &mut dyn FnMut() -> bool,
    ) -> Option<StepResults> {
        self.evict_for_growth(batch);
        let spans: Vec<Span<'_>> = batch.iter().map(|(at, length)| self.running[*at].span(*length)).collect();
        let drafted: Vec<usize> = batch.iter().map(|(at, _)| self.running[*at].drafted()).collect();
        self.model.forward(&spans, &drafted, may_continue)
    }

    /// Has each answer of `batch` verify as many drafted tokens as raise the tokens per second. `seconds` is the time of a
    /// step of so many rows. Returns the number of drafted tokens.
    pub(crate) fn plan_drafts(&mut self, batch: &[(usize, usize)], seconds: impl Fn(usize) -> Option<f64>) -> usize {
        if !self.model.verifies_drafts() {
            return 0;
        }
        let cache = self.model.cache_use();
        let rows = batch.iter().map(|(_, length)| length).sum();
        let answers = batch.iter().filter(|(at, length)| self.running[*at].pending_tokens() == *length);
        let mut plan = StepPlan { rows, tokens: answers.count() as f64 };
        for (at, _) in batch {
            let most = STEP_PREFILL_TOKENS.saturating_sub(plan.rows);
            if let Some((drafter, possible)) = self.running[*at].draft(&cache) {
                let count = plan.add_drafts(drafter, possible.min(most), &seconds);
                self.running[*at].verify(count);
            }
        }
        plan.rows - rows
    }

    /// Removes the keys and values of drafts that were refused in the last step.
    pub(crate) fn remove_refused(&mut self, batch: &[(usize, usize)]) {
        for (at, _) in batch {
            let sequence = &mut self.running[*at];
            if sequence.take_refused() && !self.model.truncate(sequence.id(), sequence.computed().len()) {
                sequence.abandon_cache();
            }
        }
    }

    /// Chooses the tokens for which sessions of the token stage have decided. `charge` gets each sequence that has a session
    /// after its turn. Returns by how many tokens answers have grown.
    pub(crate) fn settle(&mut self, now: Duration, mut charge: impl FnMut(&Sequence)) -> u64 {
        if !self.running.iter().any(Sequence::has_session) {
            return 0;
        }
        let mut grown = 0;
        for sequence in self.running.iter_mut().filter(|sequence| sequence.has_session()) {
            grown += sequence.settle(now).tokens;
            charge(sequence);
        }
        let all: Vec<(usize, usize)> = (0..self.running.len()).map(|at| (at, 0)).collect();
        self.remove_refused(&all);
        self.preempt_invalid();
        grown
    }

    /// Preempts the running sequences whose KV cache is of no use. They are computed again.
    pub(crate) fn preempt_invalid(&mut self) {
        let is_lost = |sequence: &Sequence| sequence.is_cache_invalid() && !sequence.has_ended();
        while let Some(at) = self.running.iter().position(is_lost) {
            let reserved = self.running[at].reserved();
            self.preempt(at, reserved);
        }
    }

    /// Evicts cached prefixes whose room the step may need. A KV cache grows by whole blocks and may be copied to twice
    /// its size on the way, so the bytes in use can exceed the reserved bytes.
    fn evict_for_growth(&mut self, batch: &[(usize, usize)]) {
        if self.prefixes.len() == 0 {
            return;
        }
        let cache = self.model.cache_use();
        let growth = |(at, length): &(usize, usize)| {
            let computed = self.running[*at].computed().len();
            let (before, after) = (bytes(&cache, computed), bytes(&cache, computed + length));
            if after > before { after } else { 0 }
        };
        let wanted: u64 = batch.iter().map(growth).sum();
        let mut used = cache.used_bytes;
        while used + wanted > cache.budget_bytes
            && let Some((id, _)) = self.prefixes.evict()
        {
            self.model.release(id);
            used = self.model.cache_use().used_bytes;
        }
        self.publish_counts();
    }

    /// Removes and returns the sequences that ended. Their caches go into the prefix cache or are freed.
    pub(crate) fn take_ended(&mut self) -> Vec<Sequence> {
        let mut ended: Vec<Sequence> = self.running.extract_if(.., |sequence| sequence.has_ended()).collect();
        let queued = self.queue.extract_if(.., |sequence| sequence.has_ended());
        if ended.is_empty() {
            return queued.collect();
        }
        let cache = self.model.cache_use();
        for sequence in &ended {
            // A model that states no budget gives no bound for the prefix cache, so nothing is cached.
            let freed = match sequence.is_cache_invalid() || cache.budget_bytes == 0 {
                true => vec![sequence.id()],
                false => self.prefixes.insert(sequence.tenant(), sequence.id(), sequence.computed().to_vec()),
            };
            freed.into_iter().for_each(|id| self.model.release(id));
        }
        ended.extend(queued);
        self.trim_prefixes(&cache);
        ended
    }

    /// Moves all running sequences back into the queue, because the model and its caches are gone.
    pub(crate) fn requeue_all(&mut self) {
        self.prefixes.clear();
        for mut sequence in self.running.drain(..) {
            let reserved = sequence.reserved();
            sequence.requeue(reserved);
            self.queue.push(sequence);
        }
        self.publish_counts();
    }

    /// Starts waiting sequences as long as there is room. The tenant that reserves the fewest tokens per weight comes
    /// first.
    pub(crate) fn start_waiting(&mut self) {
        if self.queue.is_empty() {
            return;
        }
        let cache = self.model.cache_use();
        while !self.model.is_broken()
            && let Some(at) = self.next_waiting(&cache)
        {
            if bytes(&cache, self.queue[at].tokens().len()) > cache.budget_bytes && cache.budget_bytes > 0 {
                let error = too_large(&cache, &self.queue[at]);
                self.queue[at].end(SequenceEvent::Failed(error));
            } else if self.make_room(at, &cache) {
                let sequence = self.queue.remove(at);
                self.start(sequence, &cache);
            } else {
                return;
            }
        }
    }

    /// Evicts prefixes and preempts the sequences for which the model had no room in the step. `out_of_room` holds their
    /// indices in ascending order, each with the model's error.
    pub(crate) fn resolve_out_of_room(&mut self, out_of_room: Vec<(usize, Error)>) {
        if out_of_room.is_empty() {
            return;
        }
        let alone = self.running.len() == 1 && self.prefixes.len() == 0;
        for (at, error) in out_of_room.into_iter().rev() {
            if alone {
                self.running[at].run_out_of_room(error);
                continue;
            }
            let reserved = self.running[at].reserved();
            let mut freed = 0;
            let had_prefixes = self.prefixes.len() > 0;
            while freed < reserved
                && let Some((id, length)) = self.prefixes.evict()
            {
                self.model.release(id);
                freed += length;
            }
            // If there was no prefix to evict, the reservation was too small: the next one is twice as large.
            self.preempt(at, if had_prefixes { reserved } else { reserved.saturating_mul(2) });
        }
        self.publish_counts();
    }

    /// The first sequence to arrive of the tenant that reserves the fewest tokens for its weight. A sequence waits while
    /// another one of its tenant computes the same prompt, and then copies its cache: several answers to one prompt
    /// compute it once.
    fn next_waiting(&self, cache: &CacheUse) -> Option<usize> {
        let waiting = self.queue.iter().enumerate().filter(|(_, sequence)| !sequence.has_ended());
        let waiting = waiting.filter(|(_, sequence)| cache.budget_bytes == 0 || !self.computes_prompt_of(sequence));
        let load = |sequence: &Sequence| self.reserved_by(sequence.tenant()) / u64::from(sequence.weight());
        waiting.min_by_key(|(_, sequence)| (load(sequence), sequence.arrival())).map(|(at, _)| at)
    }

    /// Whether a running sequence of the same tenant is computing the prompt of the queued `sequence`.
    fn computes_prompt_of(&self, sequence: &Sequence) -> bool {
        let tokens = sequence.tokens();
        tokens.len() > PREFIX_TOKENS_MIN
            && self
                .running
                .iter()
                .any(|other| other.computes_prompt() && other.tenant() == sequence.tenant() && other.tokens() == tokens)
    }

    fn reserved_by(&self, tenant: &TenantId) -> u64 {
        let own = self.running.iter().filter(|sequence| sequence.tenant() == tenant);
        own.map(|sequence| sequence.reserved() as u64).sum()
    }

    /// Whether the queued sequence `at` fits into the budget, if need be after preemption of others. A sequence that
    /// would run alone may always try.
    fn make_room(&mut self, at: usize, cache: &CacheUse) -> bool {
        if cache.budget_bytes == 0 {
            return true;
        }
        loop {
            let wanted = self.reserved_bytes(cache) + bytes(cache, self.queue[at].reserved());
            if self.running.is_empty() || wanted <= cache.budget_bytes {
                return true;
            }
            let Some(victim) = self.preemption_victim(at) else { return false };
            // The victim goes to the end of the queue, so `at` still names the same sequence.
            let reserved = self.running[victim].reserved();
            self.preempt(victim, reserved);
        }
    }

    /// The youngest sequence of another tenant that would still reserve, for its weight and without that sequence, at
    /// least as much as the tenant of the queued sequence `at` with it.
    fn preemption_victim(&self, at: usize) -> Option<usize> {
        let waiting = &self.queue[at];
        let would_have = self.reserved_by(waiting.tenant()) + waiting.reserved() as u64;
        let is_over = |sequence: &Sequence| {
            let left = self.reserved_by(sequence.tenant()) - sequence.reserved() as u64;
            left * u64::from(waiting.weight()) >= would_have * u64::from(sequence.weight())
        };
        let others = self.running.iter().enumerate().filter(|(_, sequence)| sequence.tenant() != waiting.tenant());
        let over = others.filter(|(_, sequence)| is_over(sequence));
        over.max_by_key(|(_, sequence)| sequence.arrival()).map(|(at, _)| at)
    }

    fn preempt(&mut self, at: usize, reserved: usize) {
        let mut sequence = self.running.remove(at);
        self.model.release(sequence.id());
        sequence.requeue(reserved);
        self.queue.push(sequence);
        self.metrics.count(|counters| counters.preemptions += 1);
    }

    fn start(&mut self, mut sequence: Sequence, cache: &CacheUse) {
        let first = !sequence.was_started();
        let found = if cache.budget_bytes > 0 { self.reuse_prefix(&sequence, cache) } else { None };
        let (id, cached) = found.unwrap_or_else(|| (self.fresh_id(), 0));
        sequence.start(id, cached);
        self.running.push(sequence);
        self.trim_prefixes(cache);
        if first && cache.budget_bytes > 0 {
            self.metrics.count(|counters| {
                counters.prefix_queries += 1;
                counters.prefix_hits += u64::from(cached > 0);
                counters.prefix_hit_tokens += cached as u64;
            });
        }
    }

    /// A cache in the model with the longest common beginning, and the number of common tokens. Only caches of the same
    /// tenant are searched (invariant I8).
    fn reuse_prefix(&mut self, sequence: &Sequence, cache: &CacheUse) -> Option<(SequenceId, usize)> {
        let (tenant, tokens) = (sequence.tenant(), sequence.tokens());
        let cached = self.prefixes.find(tenant, tokens);
        let own = self.running.iter().filter(|other| other.tenant() == tenant);
        let live =
            own.map(|other| (other.id(), common_prefix(other.computed(), tokens))).max_by_key(|(_, common)| *common);
        if let Some((from, common)) = live
            && common >= PREFIX_TOKENS_MIN
            && cached.is_none_or(|cached| cached.common < common)
        {
            return self.fork(from, common);
        }
        let PrefixMatch { id, common, length } = cached?;
        let wanted = self.reserved_bytes(cache) + self.prefix_bytes(cache) + bytes(cache, sequence.reserved());
        if length - common > PREFIX_TAIL_TOKENS
            && wanted <= cache.budget_bytes
            && let Some(copy) = self.fork(id, common)
        {
            return Some(copy);
        }
        self.prefixes.remove(tenant, id);
        if length == common || self.model.truncate(id, common) {
            return Some((id, common));
        }
        self.model.release(id);
        None
    }

    fn fork(&mut self, from: SequenceId, tokens: usize) -> Option<(SequenceId, usize)> {
        let to = self.fresh_id();
        self.model.fork(from, to, tokens).then_some((to, tokens))
    }

    fn fresh_id(&mut self) -> SequenceId {
        self.last_id += 1;
        SequenceId(self.last_id)
    }

    /// Evicts cached prefixes until they fit next to the reserved bytes and into their own part of the budget.
    fn trim_prefixes(&mut self, cache: &CacheUse) {
        let free = cache.budget_bytes.saturating_sub(self.reserved_bytes(cache));
        let room = free.min(cache.budget_bytes / PREFIX_BUDGET_DIVISOR);
        while self.prefix_bytes(cache) > room
            && let Some((id, _)) = self.prefixes.evict()
        {
            self.model.release(id);
        }
        self.publish_counts();
    }

    fn publish_counts(&self) {
        let cached = self.prefixes.len();
        self.metrics.count(|counters| counters.sequences_cached = cached);
    }

    fn reserved_bytes(&self, cache: &CacheUse) -> u64 {
        self.running.iter().map(|sequence| bytes(cache, sequence.reserved())).sum()
    }

    fn prefix_bytes(&self, cache: &CacheUse) -> u64 {
        self.prefixes.lengths().map(|tokens| bytes(cache, tokens)).sum()
    }
}

/// Bytes of the KV cache of `tokens` tokens, in whole blocks.
fn bytes(cache: &CacheUse, tokens: usize) -> u64 {
    (tokens as u64).next_multiple_of(cache.block_tokens.max(1) as u64).saturating_mul(cache.token_bytes)
}

fn too_large(cache: &CacheUse, sequence: &Sequence) -> Error {
    Error::TooLarge(format!(
        "the prompt's {} tokens need {} bytes of KV cache and the model has {}; shorten the prompt or raise \"cache_bytes\"",
        sequence.tokens().len(),
        bytes(cache, sequence.tokens().len()),
        cache.budget_bytes
    ))
}
