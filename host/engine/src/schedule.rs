//! What one turn computes. Answers that go on get their token in the same forward pass, and prompts fill up what the
//! turn allows. Between tenants the device's time is shared out by weight: a tenant that had more than its share of it
//! lately, and more than another that has work, rests until the other has caught up; where that takes long, but for a small
//! part of each turn. So a tenant that floods waits for itself, and one that uses less than its share hardly notices: even
//! the turn that runs when it comes is given up for it. What was given up is computed in short turns, and soon in one that
//! is not, so that it moves however many come. And short jobs go before long ones of others, whose turns would hold them
//! up.

mod cost;
mod shares;
mod size;

use std::collections::HashMap;
use std::time::Duration;

use firebox_contract::TenantId;
use firebox_contract::limits::{
    STEP_DECODES_SHARED, STEP_PREEMPTIONS_MAX, STEP_PREFILL_TOKENS, STEP_PREFILL_TOKENS_MIN,
    STEP_PREFILL_TOKENS_SHARED, STEP_SEQUENCES_SHARED, STEP_TIME_ALONE, STEP_TIME_SHARED, THROTTLE_PERCENT,
};

use self::cost::TurnCost;
use self::shares::{Shares, is_ahead};
pub(crate) use self::size::{Demand, JobSize};
use self::size::{Standing, asked};

/// A sequence that could be stepped.
#[derive(Clone, Copy)]
pub(crate) struct Candidate<'a> {
    pub(crate) demand: Demand<'a>,
    /// Tokens the model has not seen; one means that an answer goes on.
    pub(crate) pending: usize,
    /// The turn it was stepped in last.
    pub(crate) stepped: u64,
    /// How many of its last turns were given up for somebody else.
    pub(crate) cuts: u32,
}

/// Decides each turn, and keeps account of them.
#[derive(Default)]
pub(crate) struct Schedule {
    shares: Shares,
    cost: TurnCost,
    /// Seconds by which tenants that rest may lengthen the next turns.
    allowance: f64,
    /// Tokens of tenants that rest in the turn that was planned last; `None` when nobody rests.
    riding: Option<usize>,
    /// Who lets short jobs of others go first in that turn.
    passed: Vec<TenantId>,
    /// For whom that turn is given up; `None` when it is for nobody.
    yields: Option<Yields>,
}

/// Candidates by their index, and how the tenants stand that do not rest for what they used.
struct Order<'a> {
    front: Vec<usize>,
    resting: Vec<usize>,
    passed: Vec<TenantId>,
    standings: HashMap<&'a TenantId, Standing>,
    /// The least use of any.
    least: f64,
}

/// What a turn is up to, against somebody who comes while it runs.
struct Yields {
    tenants: Vec<(TenantId, Standing)>,
    /// The least use of any tenant that has work.
    least: f64,
}

/// One tenant's candidates, by their index.
struct Group<'a> {
    tenant: &'a TenantId,
    weight: usize,
    answers: Vec<usize>,
    prompts: Vec<usize>,
    /// Tokens its prompts could use this turn.
    wanted: usize,
    granted: usize,
}

impl<'a> Group<'a> {
    fn new(of: &Candidate<'a>) -> Self {
        let (tenant, weight) = (of.demand.tenant, of.demand.weight.max(1) as usize);
        Self { tenant, weight, answers: Vec::new(), prompts: Vec::new(), wanted: 0, granted: 0 }
    }
}

impl Schedule {
    /// The number of tokens of each candidate in this turn; 0 rests it. Candidates come in order of arrival.
    pub(crate) fn plan(&mut self, candidates: &[Candidate<'_>], chunk: usize, now: Duration) -> Vec<usize> {
        self.shares.open(candidates.iter().map(|candidate| (candidate.demand.tenant, candidate.demand.weight)), now);
        let Order { front, mut resting, passed, standings, least } = self.order(candidates, now);
        self.passed = passed;
        front.iter().for_each(|index| self.shares.has_turn(candidates[*index].demand.tenant, now));
        resting.retain(|index| self.shares.rests_long(candidates[*index].demand.tenant, now));
        let mut tokens = vec![0; candidates.len()];
        let mut groups = group(candidates, &front, chunk);
        step_answers(&mut groups, candidates, &mut tokens);
        let cuts = front.iter().map(|index| candidates[*index].cuts).max().unwrap_or(0);
        let limit = self.prompt_tokens(tokens.iter().sum(), cuts > 0 || groups.len() > 1);
        let tenants = || groups.iter().map(|group| (group.tenant.clone(), standings[group.tenant])).collect();
        self.yields = (cuts < STEP_PREEMPTIONS_MAX).then(|| Yields { tenants: tenants(), least });
        share_out(&mut groups, limit);
        for group in &groups {
            let mut left = group.granted;
            for index in &group.prompts {
                tokens[*index] = candidates[*index].pending.min(chunk).min(left);
                left -= tokens[*index];
            }
        }
        self.riding = (!resting.is_empty()).then(|| self.let_ride(candidates, resting, &mut tokens));
        tokens
    }

    /// Whose turn it is, and who rests: those who used more lately than others, unless they had been modest when they began
    /// and are soon done, and those whose work can wait for theirs.
    fn order<'a>(&self, candidates: &[Candidate<'a>], now: Duration) -> Order<'a> {
        let levels: Vec<f64> =
            candidates.iter().map(|candidate| self.shares.level(candidate.demand.tenant, now)).collect();
        let least = levels.iter().copied().fold(f64::INFINITY, f64::min);
        let fair = self.shares.fair(None);
        let rests = |index: &usize| {
            is_ahead(levels[*index], least, fair) && !self.shares.goes_on(candidates[*index].demand.tenant)
        };
        let (mut resting, mut front): (Vec<usize>, Vec<usize>) = (0..candidates.len()).partition(rests);
        let standing = |(tenant, size)| {
            let (goes_on, waited) = (self.shares.goes_on(tenant), self.shares.waited(tenant, now));
            (tenant, Standing { size, goes_on, used: self.shares.level(tenant, now), waited })
        };
        let standings: HashMap<&TenantId, Standing> =
            asked(front.iter().map(|index| candidates[*index].demand), &self.cost).into_iter().map(standing).collect();
        let can_wait = |own: &Standing| standings.values().any(|other| other.is_before(own));
        let passed: Vec<&TenantId> =
            standings.iter().filter(|(_, own)| can_wait(own)).map(|(tenant, _)| *tenant).collect();
        resting.extend(front.extract_if(.., |index| passed.contains(&candidates[*index].demand.tenant)));
        let passed = passed.into_iter().cloned().collect();
        Order { front, resting, passed, standings, least }
    }

    /// Whether the turn that was planned last is to be given up for any of those that `came` since.
    pub(crate) fn yields_to<'a>(&self, mut came: impl Iterator<Item = Demand<'a>> + Clone, now: Duration) -> bool {
        let Some(turn) = &self.yields else { return false };
        // What tenants in the turn ask for besides makes what they ask for larger.
        let asked = asked(came.clone(), &self.cost);
        let more = |tenant: &TenantId| asked.get(tenant).copied().unwrap_or(0.0);
        came.any(|Demand { tenant, weight, .. }| {
            let fair = self.shares.fair((!self.shares.is_recent(tenant, now)).then_some(weight));
            let level = self.shares.level(tenant, now);
            let own = Standing { size: more(tenant), goes_on: false, used: level, waited: 0.0 };
            let steps_aside = |(other, standing): &(TenantId, Standing)| {
                let rests = !standing.goes_on && is_ahead(self.shares.level(other, now), level, fair);
                let larger = Standing { size: standing.size + more(other), ..*standing };
                other != tenant && (rests || own.is_before(&larger))
            };
            !is_ahead(level, turn.least, fair) && turn.tenants.iter().all(steps_aside)
        })
    }

    /// A pass of so many tokens that was nobody's took so long.
    pub(crate) fn learn(&mut self, tokens: usize, took: Duration) {
        self.cost.learn(tokens, took);
    }

    /// A turn that was planned has ended at `now` after `took`: each tenant pays for its tokens.
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
        self.passed.drain(..).for_each(|tenant| self.shares.add_wait(&tenant, seconds, now));
        self.cost.learn(total, took);
        let each = self.cost.step().unwrap_or(0.0);
        self.allowance = match self.riding.take() {
            None => 0.0,
            Some(riding) => {
                let more = seconds * f64::from(THROTTLE_PERCENT) / 100.0;
                // What it saves up is never more than one token, or than this turn allows.
                (self.allowance - riding as f64 * each + more).clamp(0.0, each.max(more))
            }
        };
    }

    /// Takes tokens of those that rest into the turn, as many as are allowed: first of the answer that waited longest.
    fn let_ride(&self, candidates: &[Candidate<'_>], mut resting: Vec<usize>, tokens: &mut [usize]) -> usize {
        // One more sequence costs less than a turn of its own; how much less, rows alone do not tell.
        let each = self.cost.step().unwrap_or(f64::INFINITY).max(1e-9);
        let allowed = (self.allowance / each) as usize;
        resting.sort_by_key(|index| (candidates[*index].pending > 1, candidates[*index].stepped));
        let mut left = allowed;
        for index in resting {
            tokens[index] = candidates[index].pending.min(left);
            left -= tokens[index];
        }
        allowed - left
    }

    /// How many prompt tokens a turn may have beside so many answers, and whether it has to be short.
    fn prompt_tokens(&self, answers: usize, short: bool) -> usize {
        let most = STEP_PREFILL_TOKENS.saturating_sub(answers);
        // Whoever was here lately may come while it runs, and waits for the layer that is being computed.
        let alone = !short && self.shares.known() <= 1;
        let time = match (alone, self.cost.step()) {
            (true, _) if answers == 0 => return most,
            (true, _) => STEP_TIME_ALONE.as_secs_f64(),
            (false, None) => return STEP_PREFILL_TOKENS_SHARED,
            (false, Some(step)) => STEP_TIME_SHARED.as_secs_f64().max(step * f64::from(STEP_DECODES_SHARED)),
        };
        let fit = self.cost.rows_in(time).map_or(most, |rows| rows.saturating_sub(answers));
        let least = if alone || short { STEP_PREFILL_TOKENS_MIN } else { STEP_PREFILL_TOKENS_SHARED };
        fit.min(most).max(least)
    }
}

/// One token for each answer; but where tenants share the turn, none brings many more than another.
fn step_answers(groups: &mut [Group<'_>], candidates: &[Candidate<'_>], tokens: &mut [usize]) {
    let count = |group: &Group<'_>| (group.answers.len() + group.prompts.len()).div_ceil(group.weight);
    let fewest = groups.iter().map(count).min().unwrap_or(0).max(STEP_SEQUENCES_SHARED);
    let shared = groups.len() > 1;
    for group in groups {
        group.answers.sort_by_key(|index| candidates[*index].stepped);
        let most = if shared { group.weight.saturating_mul(fewest) } else { usize::MAX };
        group.answers.iter().take(most).for_each(|index| tokens[*index] = 1);
    }
}

/// Those of `indices`, by tenant.
fn group<'a>(candidates: &[Candidate<'a>], indices: &[usize], chunk: usize) -> Vec<Group<'a>> {
    let mut places = HashMap::new();
    let mut groups: Vec<Group<'a>> = Vec::new();
    for &index in indices {
        let candidate = &candidates[index];
        let place = *places.entry(candidate.demand.tenant).or_insert(groups.len());
        if place == groups.len() {
            groups.push(Group::new(candidate));
        }
        match candidate.pending {
            1 => groups[place].answers.push(index),
            pending => {
                groups[place].prompts.push(index);
                groups[place].wanted += pending.min(chunk);
            }
        }
    }
    groups
}

/// Max-min fair by weight: who wants less than its share leaves the rest to the others. Everybody gets a token.
fn share_out(groups: &mut [Group<'_>], limit: usize) {
    let open = |group: &Group<'_>| group.wanted > group.granted;
    let mut left = limit;
    loop {
        let weights: usize = groups.iter().filter(|group| open(group)).map(|group| group.weight).sum();
        let round = left;
        for group in groups.iter_mut().filter(|group| open(group)) {
            let more = (round * group.weight / weights).min(group.wanted - group.granted);
            group.granted += more;
            left -= more;
        }
        if left == round {
            break;
        }
    }
    groups.iter_mut().filter(|group| open(group) && group.granted == 0).for_each(|group| group.granted = 1);
}

#[cfg(test)]
mod tests;
