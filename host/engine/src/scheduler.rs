//! The scheduler: how many tokens each sequence gets in the next step.
//!
//! Decode tokens come first, one for each answer. Prompt tokens (prefill chunks) fill the rest of the step, up to a
//! limit in tokens and in time. Between tenants the scheduler shares the time of the device by weight:
//!
//! - It measures how long steps take (`step_cost`) and charges each tenant for its tokens. Use decays over time
//!   (`tenant_shares`; decay-usage scheduling, Epema 1998).
//! - A tenant that used more than its fair share recently, and clearly more than another tenant with work, is
//!   *throttled*: it waits until the other tenant has caught up. After `THROTTLE_TIME` it gets `THROTTLE_PERCENT` of the
//!   time, so that its answers still move.
//! - A tenant with little pending work goes before a tenant with much (`job_size`; shortest job first). The other tenant
//!   is *deferred* for a bounded time.
//! - If a request arrives that would have gone first, the running step is aborted. The sequences of an aborted step then
//!   get short steps. After `STEP_PREEMPTIONS_MAX` aborted steps their next step cannot be aborted.

mod job_size;
mod step_cost;
mod tenant_shares;

use std::collections::HashMap;
use std::time::Duration;

use firebox_contract::TenantId;
use firebox_contract::limits::{
    STEP_DECODES_SHARED, STEP_PREEMPTIONS_MAX, STEP_PREFILL_TOKENS, STEP_PREFILL_TOKENS_MIN,
    STEP_PREFILL_TOKENS_SHARED, STEP_SEQUENCES_SHARED, STEP_TIME_ALONE, STEP_TIME_SHARED, THROTTLE_PERCENT,
};

pub(crate) use self::job_size::{JobSize, PendingWork};
use self::job_size::{TenantLoad, pending_seconds};
use self::step_cost::StepCost;
use self::tenant_shares::{TenantShares, is_over_share};

/// A sequence that the next step could include.
#[derive(Clone, Copy)]
pub(crate) struct Candidate<'a> {
    pub(crate) work: PendingWork<'a>,
    /// Tokens that the model has not computed. One token means decode, more mean prefill.
    pub(crate) pending_tokens: usize,
    /// Number of the last step that computed some of its tokens.
    pub(crate) last_step: u64,
    /// Number of its aborted steps since its last completed step.
    pub(crate) aborted_steps: u32,
}

/// Plans each step and charges the tenants for it.
#[derive(Default)]
pub(crate) struct Scheduler {
    shares: TenantShares,
    cost: StepCost,
    /// Seconds by which throttled tenants may lengthen the next steps.
    throttled_allowance: f64,
    /// Tokens of throttled tenants in the planned step. `None` if no tenant is throttled.
    throttled_tokens: Option<usize>,
    /// Tenants that the planned step defers for short work of others.
    deferred: Vec<TenantId>,
    /// The tenants in the planned step. `None` if the step must not be aborted.
    abortable: Option<StepTenants>,
    /// Whether the planned step is for one tenant, no other one waits, and none of its sequences lost its last step.
    alone: bool,
}

/// Candidates by their index, in three groups, with the load of each tenant that is not throttled for its use.
struct CandidateOrder<'a> {
    active: Vec<usize>,
    /// Candidates of throttled and of deferred tenants.
    throttled: Vec<usize>,
    deferred: Vec<TenantId>,
    loads: HashMap<&'a TenantId, TenantLoad>,
    /// The recent use of the tenant with the least.
    least_use: f64,
}

/// The tenants in a step, to compare with a tenant whose request arrives while the step runs.
struct StepTenants {
    tenants: Vec<(TenantId, TenantLoad)>,
    /// The recent use of the tenant with the least, of all tenants that have work.
    least_use: f64,
}

/// The candidates of one tenant, by their index.
struct TenantGroup<'a> {
    tenant: &'a TenantId,
    weight: usize,
    decodes: Vec<usize>,
    prefills: Vec<usize>,
    /// Tokens that its prompts could use in this step.
    wanted: usize,
    granted: usize,
}

impl<'a> TenantGroup<'a> {
    fn new(of: &Candidate<'a>) -> Self {
        let (tenant, weight) = (of.work.tenant, of.work.weight.max(1) as usize);
        Self { tenant, weight, decodes: Vec::new(), prefills: Vec::new(), wanted: 0, granted: 0 }
    }
}

impl Scheduler {
    /// Plans a step: the number of tokens of each candidate, where 0 leaves it out. Candidates come in order of arrival;
    /// `chunk` is the maximum number of prompt tokens of one candidate.
    pub(crate) fn plan(&mut self, candidates: &[Candidate<'_>], chunk: usize, now: Duration) -> Vec<usize> {
        self.shares.update(candidates.iter().map(|candidate| (candidate.work.tenant, candidate.work.weight)), now);
        let CandidateOrder { active, mut throttled, deferred, loads, least_use } = self.order(candidates, now);
        self.deferred = deferred;
        active.iter().for_each(|index| self.shares.mark_scheduled(candidates[*index].work.tenant, now));
        throttled.retain(|index| self.shares.is_throttled_long(candidates[*index].work.tenant, now));
        let mut tokens = vec![0; candidates.len()];
        let mut groups = group_by_tenant(candidates, &active, chunk);
        grant_decodes(&mut groups, candidates, &mut tokens);
        let aborted = active.iter().map(|index| candidates[*index].aborted_steps).max().unwrap_or(0);
        self.alone = groups.len() == 1 && throttled.is_empty() && self.deferred.is_empty() && aborted == 0;
        let limit = self.prefill_limit(tokens.iter().sum(), aborted > 0 || groups.len() > 1);
        let tenants = || groups.iter().map(|group| (group.tenant.clone(), loads[group.tenant])).collect();
        self.abortable = (aborted < STEP_PREEMPTIONS_MAX).then(|| StepTenants { tenants: tenants(), least_use });
        grant_prefills(&mut groups, limit);
        for group in &groups {
            let mut left = group.granted;
            for index in &group.prefills {
                tokens[*index] = candidates[*index].pending_tokens.min(chunk).min(left);
                left -= tokens[*index];
            }
        }
        self.throttled_tokens =
            (!throttled.is_empty()).then(|| self.grant_throttled(candidates, throttled, &mut tokens));
        tokens
    }

    /// Splits the candidates into active, throttled and deferred ones. A tenant is throttled if it used clearly more
    /// recently than another tenant, except in its free burst. A tenant is deferred if its work is long and another
    /// tenant's is short.
    fn order<'a>(&self, candidates: &[Candidate<'a>], now: Duration) -> CandidateOrder<'a> {
        let uses: Vec<f64> =
            candidates.iter().map(|candidate| self.shares.recent_use(candidate.work.tenant, now)).collect();
        let least_use = uses.iter().copied().fold(f64::INFINITY, f64::min);
        let fair_use = self.shares.fair_use(None);
        let is_throttled = |index: &usize| {
            is_over_share(uses[*index], least_use, fair_use)
                && !self.shares.in_free_burst(candidates[*index].work.tenant)
        };
        let (mut throttled, mut active): (Vec<usize>, Vec<usize>) = (0..candidates.len()).partition(is_throttled);
        let load = |(tenant, seconds)| {
            let (in_free_burst, recent_wait) =
                (self.shares.in_free_burst(tenant), self.shares.recent_wait(tenant, now));
            let recent_use = self.shares.recent_use(tenant, now);
            (tenant, TenantLoad { pending: seconds, in_free_burst, recent_use, recent_wait })
        };
        let pending = pending_seconds(active.iter().map(|index| candidates[*index].work), &self.cost);
        let loads: HashMap<&TenantId, TenantLoad> = pending.into_iter().map(load).collect();
        let can_wait = |own: &TenantLoad| loads.values().any(|other| other.goes_before(own));
        let deferred: Vec<&TenantId> =
            loads.iter().filter(|(_, own)| can_wait(own)).map(|(tenant, _)| *tenant).collect();
        throttled.extend(active.extract_if(.., |index| deferred.contains(&candidates[*index].work.tenant)));
        let deferred = deferred.into_iter().cloned().collect();
        CandidateOrder { active, throttled, deferred, loads, least_use }
    }

    /// Whether to abort the planned step for one of the requests that `arrived` since it began.
    pub(crate) fn should_abort_for<'a>(
        &self,
        mut arrived: impl Iterator<Item = PendingWork<'a>> + Clone,
        now: Duration,
    ) -> bool {
        let Some(step) = &self.abortable else { return false };
        // New requests of tenants that are already in the step make their pending work larger.
        let pending = pending_seconds(arrived.clone(), &self.cost);
        let added = |tenant: &TenantId| pending.get(tenant).copied().unwrap_or(0.0);
        arrived.any(|PendingWork { tenant, weight, .. }| {
            let fair_use = self.shares.fair_use((!self.shares.is_recent(tenant, now)).then_some(weight));
            let recent_use = self.shares.recent_use(tenant, now);
            let own = TenantLoad { pending: added(tenant), in_free_burst: false, recent_use, recent_wait: 0.0 };
            let gives_way = |(other, load): &(TenantId, TenantLoad)| {
                let is_throttled =
                    !load.in_free_burst && is_over_share(self.shares.recent_use(other, now), recent_use, fair_use);
                let larger = TenantLoad { pending: load.pending + added(other), ..*load };
                other != tenant && (is_throttled || own.goes_before(&larger))
            };
            !is_over_share(recent_use, step.least_use, fair_use) && step.tenants.iter().all(gives_way)
        })
    }

    /// Whether the planned step is for one tenant and no other one waits for it.
    pub(crate) fn is_alone(&self) -> bool {
        self.alone
    }

    /// Seconds of a step of `rows` rows, if the cost of steps is known: as `measured` for such a size, or by the number of
    /// rows alone.
    pub(crate) fn step_seconds(&self, rows: usize, measured: bool) -> Option<f64> {
        if measured { self.cost.step(rows) } else { self.cost.linear_step(rows) }
    }

    /// Learns the time of a step that belongs to no tenant, such as a warm-up.
    pub(crate) fn learn(&mut self, tokens: usize, took: Duration) {
        self.cost.learn(tokens, took);
    }

    /// Charges the tenants for a planned step that ended at `now` after `took`. `tokens` holds `(tenant, weight, number
    /// of tokens)` for each sequence of the step.
    pub(crate) fn charge<'a>(
        &mut self,
        tokens: impl Iterator<Item = (&'a TenantId, u32, usize)> + Clone,
        took: Duration,
        now: Duration,
    ) {
        let total: usize = tokens.clone().map(|(.., tokens)| tokens).sum();
        let seconds = took.as_secs_f64();
        for (tenant, weight, tokens) in tokens {
            self.shares.charge(tenant, weight, seconds * tokens as f64 / total.max(1) as f64, now);
        }
        self.deferred.drain(..).for_each(|tenant| self.shares.add_wait(&tenant, seconds, now));
        self.cost.learn(total, took);
        let per_token = self.cost.smallest_step().unwrap_or(0.0);
        self.throttled_allowance = match self.throttled_tokens.take() {
            None => 0.0,
            Some(granted) => {
                let more = seconds * f64::from(THROTTLE_PERCENT) / 100.0;
                // The allowance accumulates up to the time of one token, or up to what this step adds if that is more.
                (self.throttled_allowance - granted as f64 * per_token + more).clamp(0.0, per_token.max(more))
            }
        };
    }

    /// Charges a tenant for work of its own that ended at `now` after `took`: compiling its grammars and choosing its tokens
    /// by them.
    pub(crate) fn charge_own(&mut self, tenant: &TenantId, weight: u32, took: Duration, now: Duration) {
        self.shares.charge_beside(tenant, weight, took.as_secs_f64(), now);
    }

    /// Grants tokens to throttled candidates within the allowance: first to the answer that waited longest. Returns the
    /// number of tokens.
    fn grant_throttled(&self, candidates: &[Candidate<'_>], mut throttled: Vec<usize>, tokens: &mut [usize]) -> usize {
        // An upper bound: one more row costs less than a step of its own, and how much less is unknown.
        let per_token = self.cost.smallest_step().unwrap_or(f64::INFINITY).max(1e-9);
        let allowed = (self.throttled_allowance / per_token) as usize;
        throttled.sort_by_key(|index| (candidates[*index].pending_tokens > 1, candidates[*index].last_step));
        let mut left = allowed;
        for index in throttled {
            tokens[index] = candidates[index].pending_tokens.min(left);
            left -= tokens[index];
        }
        allowed - left
    }

    /// The maximum number of prompt tokens of a step with `decodes` decode tokens. `short` steps have several tenants, or
    /// sequences whose last step was aborted.
    fn prefill_limit(&self, decodes: usize, short: bool) -> usize {
        let most = STEP_PREFILL_TOKENS.saturating_sub(decodes);
        // A tenant that was active recently may send a request during the step. It then waits for the current layer.
        let alone = !short && self.shares.count() <= 1;
        let time = match (alone, self.cost.smallest_step()) {
            (true, _) if decodes == 0 => return most,
            (true, _) => STEP_TIME_ALONE.as_secs_f64(),
            (false, None) => return STEP_PREFILL_TOKENS_SHARED,
            (false, Some(step)) => STEP_TIME_SHARED.as_secs_f64().max(step * f64::from(STEP_DECODES_SHARED)),
        };
        let fit = self.cost.rows_in(time).map_or(most, |rows| rows.saturating_sub(decodes));
        let least = if alone || short { STEP_PREFILL_TOKENS_MIN } else { STEP_PREFILL_TOKENS_SHARED };
        fit.min(most).max(least)
    }
}

/// Grants each answer one token. If several tenants share the step, the number of answers of a tenant is limited: per
/// weight, to the number of sequences of the tenant with the fewest, or to `STEP_SEQUENCES_SHARED` if that is more.
fn grant_decodes(groups: &mut [TenantGroup<'_>], candidates: &[Candidate<'_>], tokens: &mut [usize]) {
    let count = |group: &TenantGroup<'_>| (group.decodes.len() + group.prefills.len()).div_ceil(group.weight);
    let fewest = groups.iter().map(count).min().unwrap_or(0).max(STEP_SEQUENCES_SHARED);
    let shared = groups.len() > 1;
    for group in groups {
        group.decodes.sort_by_key(|index| candidates[*index].last_step);
        let most = if shared { group.weight.saturating_mul(fewest) } else { usize::MAX };
        group.decodes.iter().take(most).for_each(|index| tokens[*index] = 1);
    }
}

/// Groups the candidates at `indices` by tenant.
fn group_by_tenant<'a>(candidates: &[Candidate<'a>], indices: &[usize], chunk: usize) -> Vec<TenantGroup<'a>> {
    let mut positions = HashMap::new();
    let mut groups: Vec<TenantGroup<'a>> = Vec::new();
    for &index in indices {
        let candidate = &candidates[index];
        let at = *positions.entry(candidate.work.tenant).or_insert(groups.len());
        if at == groups.len() {
            groups.push(TenantGroup::new(candidate));
        }
        match candidate.pending_tokens {
            1 => groups[at].decodes.push(index),
            pending => {
                groups[at].prefills.push(index);
                groups[at].wanted += pending.min(chunk);
            }
        }
    }
    groups
}

/// Shares `limit` prompt tokens between the tenants, max-min fair by weight: a tenant that wants less than its share
/// leaves the rest to the others. Every tenant gets at least one token.
fn grant_prefills(groups: &mut [TenantGroup<'_>], limit: usize) {
    let wants_more = |group: &TenantGroup<'_>| group.wanted > group.granted;
    let mut left = limit;
    loop {
        let weights: usize = groups.iter().filter(|group| wants_more(group)).map(|group| group.weight).sum();
        let available = left;
        for group in groups.iter_mut().filter(|group| wants_more(group)) {
            let more = (available * group.weight / weights).min(group.wanted - group.granted);
            group.granted += more;
            left -= more;
        }
        if left == available {
            break;
        }
    }
    groups.iter_mut().filter(|group| wants_more(group) && group.granted == 0).for_each(|group| group.granted = 1);
}

#[cfg(test)]
mod tests;
