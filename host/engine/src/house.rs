//! Who has a place in the model's memory: the sequences that run, those that wait for room, and the caches kept for
//! later. A sequence begins when prompt and longest answer together fit into the budget beside the others; kept
//! caches give way first, then sequences of a tenant that holds more than its share beside one that waits.
//!
//! Where a request does not say how long its answer gets, some tokens are reckoned with, and more as it grows. So what
//! runs may come to need more than there is: then a sequence is stopped, waits, and is computed again.

use std::sync::Arc;

use firebox_contract::limits::{PREFIX_BUDGET_DIVISOR, PREFIX_TAIL_TOKENS, PREFIX_TOKENS_MIN};
use firebox_contract::{CacheUse, Error, Logits, SequenceId, Span, TenantId};

use crate::keeper::Keeper;
use crate::prefix::{self, Match, Prefixes};
use crate::sequence::{Sequence, StepEvent};
use crate::status::Meter;

pub(crate) struct House {
    pub(crate) keeper: Keeper,
    /// In the model, oldest first.
    pub(crate) running: Vec<Sequence>,
    /// Not in it yet, or not any more; the tickets bound their number.
    pub(crate) queue: Vec<Sequence>,
    kept: Prefixes,
    meter: Arc<Meter>,
    last_id: u64,
}

impl House {
    pub(crate) fn new(keeper: Keeper, meter: Arc<Meter>) -> Self {
        Self { keeper, running: Vec::new(), queue: Vec::new(), kept: Prefixes::default(), meter, last_id: 0 }
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

    /// Steps those of `running` whose place is named, each by so many tokens. `None` when that was given up because
    /// `goes_on` said so.
    pub(crate) fn forward(
        &mut self,
        stepped: &[(usize, usize)],
        goes_on: &mut dyn FnMut() -> bool,
    ) -> Option<Vec<Result<Option<Logits>, Error>>> {
        self.make_sure(stepped);
        let spans: Vec<Span<'_>> = stepped.iter().map(|(at, length)| self.running[*at].span(*length)).collect();
        self.keeper.forward(&spans, goes_on)
    }

    /// Gives up kept caches where the step may need their room: caches grow by blocks, and may double when they do, so
    /// that what is used can be more than what was claimed.
    fn make_sure(&mut self, stepped: &[(usize, usize)]) {
        if self.kept.count() == 0 {
            return;
        }
        let cache = self.keeper.cache_use();
        let growth = |(at, length): &(usize, usize)| {
            let held = self.running[*at].held().len();
            let (before, after) = (bytes(&cache, held), bytes(&cache, held + length));
            if after > before { after } else { 0 }
        };
        let wanted: u64 = stepped.iter().map(growth).sum();
        let mut used = cache.used_bytes;
        while used + wanted > cache.budget_bytes
            && let Some((id, _)) = self.kept.evict()
        {
            self.keeper.release(id);
            used = self.keeper.cache_use().used_bytes;
        }
        self.tell();
    }

    /// Takes out those that ended. Their caches are kept for later prompts or freed.
    pub(crate) fn part(&mut self) -> Vec<Sequence> {
        let mut ended: Vec<Sequence> = self.running.extract_if(.., |sequence| sequence.has_ended()).collect();
        let queued = self.queue.extract_if(.., |sequence| sequence.has_ended());
        if ended.is_empty() {
            return queued.collect();
        }
        let cache = self.keeper.cache_use();
        for sequence in &ended {
            // Without a stated budget nothing would bound what is kept.
            let gone = match sequence.is_broken() || cache.budget_bytes == 0 {
                true => vec![sequence.id()],
                false => self.kept.keep(sequence.tenant(), sequence.id(), sequence.held().to_vec()),
            };
            gone.into_iter().for_each(|id| self.keeper.release(id));
        }
        ended.extend(queued);
        self.trim(&cache);
        ended
    }

    /// The model is gone: whoever did not end is computed again.
    pub(crate) fn abandon(&mut self) {
        self.kept.clear();
        for mut sequence in self.running.drain(..) {
            let reserved = sequence.reserved();
            sequence.stop(reserved);
            self.queue.push(sequence);
        }
        self.tell();
    }

    /// Begins all that wait and for which there is room, the tenant with the least first.
    pub(crate) fn begin_waiting(&mut self) {
        if self.queue.is_empty() {
            return;
        }
        let cache = self.keeper.cache_use();
        while !self.keeper.is_broken()
            && let Some(at) = self.next_in_line()
        {
            if bytes(&cache, self.queue[at].tokens().len()) > cache.budget_bytes && cache.budget_bytes > 0 {
                let error = too_large(&cache, &self.queue[at]);
                self.queue[at].end(StepEvent::Failed(error));
            } else if self.makes_room(at, &cache) {
                let sequence = self.queue.remove(at);
                self.begin(sequence, &cache);
            } else {
                return;
            }
        }
    }

    /// Gives up caches for sequences that found no room in the step. `crowded` names them in ascending order.
    pub(crate) fn relieve(&mut self, crowded: Vec<(usize, Error)>) {
        if crowded.is_empty() {
            return;
        }
        let alone = self.running.len() == 1 && self.kept.count() == 0;
        for (at, error) in crowded.into_iter().rev() {
            if alone {
                self.running[at].run_out(error);
                continue;
            }
            let asked = self.running[at].reserved();
            let mut freed = 0;
            let had_kept = self.kept.count() > 0;
            while freed < asked
                && let Some((id, length)) = self.kept.evict()
            {
                self.keeper.release(id);
                freed += length;
            }
            // Where nothing was kept, the estimate was too low.
            self.preempt(at, if had_kept { asked } else { asked.saturating_mul(2) });
        }
        self.tell();
    }

    /// The first to arrive of the tenant that holds least for its weight.
    fn next_in_line(&self) -> Option<usize> {
        let waiting = self.queue.iter().enumerate().filter(|(_, sequence)| !sequence.has_ended());
        let load = |sequence: &Sequence| self.reserved_by(sequence.tenant()) / u64::from(sequence.weight());
        waiting.min_by_key(|(_, sequence)| (load(sequence), sequence.arrival())).map(|(at, _)| at)
    }

    fn reserved_by(&self, tenant: &TenantId) -> u64 {
        let own = self.running.iter().filter(|sequence| sequence.tenant() == tenant);
        own.map(|sequence| sequence.reserved() as u64).sum()
    }

    /// Whether one of the queue fits in beside those that run. One alone always may try.
    fn makes_room(&mut self, at: usize, cache: &CacheUse) -> bool {
        if cache.budget_bytes == 0 {
            return true;
        }
        loop {
            let wanted = self.claimed(cache) + bytes(cache, self.queue[at].reserved());
            if self.running.is_empty() || wanted <= cache.budget_bytes {
                return true;
            }
            let Some(victim) = self.over_its_share(at) else { return false };
            // It goes to the end of the queue, so `at` still names the one that waits.
            let reserved = self.running[victim].reserved();
            self.preempt(victim, reserved);
        }
    }

    /// The youngest sequence of a tenant that even without it holds as much for its weight as the tenant of the one
    /// that waits would then have.
    fn over_its_share(&self, at: usize) -> Option<usize> {
        let waiting = &self.queue[at];
        let would_have = self.reserved_by(waiting.tenant()) + waiting.reserved() as u64;
        let fits = |sequence: &Sequence| {
            let left = self.reserved_by(sequence.tenant()) - sequence.reserved() as u64;
            left * u64::from(waiting.weight()) >= would_have * u64::from(sequence.weight())
        };
        let others = self.running.iter().enumerate().filter(|(_, sequence)| sequence.tenant() != waiting.tenant());
        others.filter(|(_, sequence)| fits(sequence)).max_by_key(|(_, sequence)| sequence.arrival()).map(|(at, _)| at)
    }

    fn preempt(&mut self, at: usize, reserved: usize) {
        let mut sequence = self.running.remove(at);
        self.keeper.release(sequence.id());
        sequence.stop(reserved);
        self.queue.push(sequence);
        self.meter.count(|counters| counters.preemptions += 1);
    }

    fn begin(&mut self, mut sequence: Sequence, cache: &CacheUse) {
        let first = !sequence.was_started();
        let found = if cache.budget_bytes > 0 { self.reuse(&sequence, cache) } else { None };
        let (id, held) = found.unwrap_or_else(|| (self.fresh_id(), 0));
        sequence.start(id, held);
        self.running.push(sequence);
        self.trim(cache);
        if first && cache.budget_bytes > 0 {
            self.meter.count(|counters| {
                counters.prefix_queries += 1;
                counters.prefix_hits += u64::from(held > 0);
                counters.prefix_hit_tokens += held as u64;
            });
        }
    }

    /// A sequence in the model that begins as this one does, and with how many tokens. Only its own tenant's are
    /// looked at (invariant I8).
    fn reuse(&mut self, sequence: &Sequence, cache: &CacheUse) -> Option<(SequenceId, usize)> {
        let (tenant, tokens) = (sequence.tenant(), sequence.tokens());
        let kept = self.kept.find(tenant, tokens);
        let own = self.running.iter().filter(|other| other.tenant() == tenant);
        let live =
            own.map(|other| (other.id(), prefix::common(other.held(), tokens))).max_by_key(|(_, common)| *common);
        if let Some((from, common)) = live
            && common >= PREFIX_TOKENS_MIN
            && kept.is_none_or(|kept| kept.common < common)
        {
            return self.fork(from, common);
        }
        let Match { id, common, length } = kept?;
        let wanted = self.claimed(cache) + self.kept_bytes(cache) + bytes(cache, sequence.reserved());
        if length - common > PREFIX_TAIL_TOKENS
            && wanted <= cache.budget_bytes
            && let Some(copy) = self.fork(id, common)
        {
            return Some(copy);
        }
        self.kept.take(tenant, id);
        if length == common || self.keeper.truncate(id, common) {
            return Some((id, common));
        }
        self.keeper.release(id);
        None
    }

    fn fork(&mut self, from: SequenceId, tokens: usize) -> Option<(SequenceId, usize)> {
        let to = self.fresh_id();
        self.keeper.fork(from, to, tokens).then_some((to, tokens))
    }

    fn fresh_id(&mut self) -> SequenceId {
        self.last_id += 1;
        SequenceId(self.last_id)
    }

    /// Gives up kept caches until they fit beside what runs, and into their own part of the budget.
    fn trim(&mut self, cache: &CacheUse) {
        let room =
            cache.budget_bytes.saturating_sub(self.claimed(cache)).min(cache.budget_bytes / PREFIX_BUDGET_DIVISOR);
        while self.kept_bytes(cache) > room
            && let Some((id, _)) = self.kept.evict()
        {
            self.keeper.release(id);
        }
        self.tell();
    }

    fn tell(&self) {
        let kept = self.kept.count();
        self.meter.count(|counters| counters.kept = kept);
    }

    fn claimed(&self, cache: &CacheUse) -> u64 {
        self.running.iter().map(|sequence| bytes(cache, sequence.reserved())).sum()
    }

    fn kept_bytes(&self, cache: &CacheUse) -> u64 {
        self.kept.lengths().map(|tokens| bytes(cache, tokens)).sum()
    }
}

/// Bytes of the cache of so many tokens.
fn bytes(cache: &CacheUse, tokens: usize) -> u64 {
    (tokens as u64).next_multiple_of(cache.block_tokens.max(1) as u64).saturating_mul(cache.token_bytes)
}

fn too_large(cache: &CacheUse, sequence: &Sequence) -> Error {
    Error::TooLarge(format!(
        "the prompt's {} tokens need {} bytes of cache and the model has {}; shorten the prompt or allow more with cache_bytes",
        sequence.tokens().len(),
        bytes(cache, sequence.tokens().len()),
        cache.budget_bytes
    ))
}
