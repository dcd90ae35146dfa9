//! What one turn computes. Answers that go on get their token in the same forward pass, and prompts fill up what the
//! turn allows. Between tenants the device's time is shared out by weight (fair queueing): who used more of it than
//! another that has work rests its prompts until the other has caught up, so that a tenant that floods waits for
//! itself, and one that uses less than its share hardly notices. While several tenants are about, turns are short.

use std::collections::HashMap;
use std::time::Duration;

use firebox_contract::TenantId;
use firebox_contract::limits::{
    PREFILL_TURN_TOKENS, PREFILL_TURN_TOKENS_MIN, PREFILL_TURN_TOKENS_SHARED, TENANT_ABOUT_TIME, TURN_SEQUENCES_SHARED,
    TURN_TIME_SHARED,
};

/// A sequence that could be stepped.
pub(crate) struct Candidate<'a> {
    pub(crate) tenant: &'a TenantId,
    pub(crate) weight: u32,
    /// Tokens the model has not seen; one means that an answer goes on.
    pub(crate) pending: usize,
    /// The turn it was stepped in last.
    pub(crate) stepped: u64,
}

/// What each tenant used of the device.
#[derive(Default)]
pub(crate) struct Shares {
    tenants: HashMap<TenantId, Share>,
    /// What the tenant with least had used when the last turn was planned; who comes new begins there.
    floor: Duration,
    /// Time of one prompt token, as a moving average.
    pace: Option<Duration>,
}

struct Share {
    /// Time on the device, for its weight.
    used: Duration,
    /// When its last turn ended.
    seen: Duration,
}

/// One tenant's candidates, by their index.
#[derive(Default)]
struct Group {
    weight: usize,
    answers: Vec<usize>,
    prompts: Vec<usize>,
    /// Tokens its prompts could use this turn.
    wanted: usize,
    granted: usize,
}

impl Shares {
    /// The number of tokens of each candidate in this turn; 0 rests it. Candidates come in order of arrival.
    pub(crate) fn plan(&mut self, candidates: &[Candidate<'_>], chunk: usize, now: Duration) -> Vec<usize> {
        let mut groups = group(candidates, chunk);
        let mut tokens = vec![0; candidates.len()];
        self.open(candidates, now);
        let fewest =
            groups.iter().map(|group| (group.answers.len() + group.prompts.len()).div_ceil(group.weight)).min();
        let shared = groups.len() > 1;
        for group in &mut groups {
            group.answers.sort_by_key(|index| candidates[*index].stepped);
            let floor = fewest.unwrap_or(0).max(TURN_SEQUENCES_SHARED);
            let most = if shared { group.weight.saturating_mul(floor) } else { usize::MAX };
            group.answers.iter().take(most).for_each(|index| tokens[*index] = 1);
            let first = group.prompts.first().map(|index| candidates[*index].tenant);
            if first.is_some_and(|tenant| self.is_ahead(tenant)) {
                group.wanted = 0;
            }
        }
        // Answers and prompts fit into one pass together.
        let answers: usize = tokens.iter().sum();
        share_out(&mut groups, self.prompt_tokens().saturating_sub(answers));
        for group in &groups {
            let mut left = group.granted;
            for index in &group.prompts {
                tokens[*index] = candidates[*index].pending.min(chunk).min(left);
                left -= tokens[*index];
            }
        }
        tokens
    }

    /// A turn that was planned has ended at `now` after `took`: each tenant pays for its tokens.
    pub(crate) fn charge<'a>(
        &mut self,
        tokens: impl Iterator<Item = (&'a TenantId, u32, usize)> + Clone,
        took: Duration,
        now: Duration,
    ) {
        let total: usize = tokens.clone().map(|(.., tokens)| tokens).sum();
        let rows = u32::try_from(total.max(1)).unwrap_or(u32::MAX);
        let each = took / rows;
        for (tenant, weight, tokens) in tokens {
            let tokens = u32::try_from(tokens).unwrap_or(u32::MAX);
            if let Some(share) = self.tenants.get_mut(tenant) {
                share.used += each.saturating_mul(tokens) / weight.max(1);
                share.seen = now;
            }
        }
        if total >= PREFILL_TURN_TOKENS_MIN {
            self.pace = Some(self.pace.map_or(each, |pace| (pace * 3 + each) / 4));
        }
    }

    /// Takes in who is new and forgets who is gone, debts included.
    fn open(&mut self, candidates: &[Candidate<'_>], now: Duration) {
        let mut least = None;
        for candidate in candidates {
            let begin = || Share { used: self.floor, seen: now };
            let share = self.tenants.entry(candidate.tenant.clone()).or_insert_with(begin);
            share.used = share.used.max(self.floor);
            share.seen = now;
            least = Some(least.map_or(share.used, |least: Duration| least.min(share.used)));
        }
        self.floor = least.unwrap_or(self.floor);
        self.tenants.retain(|_, share| share.seen + TENANT_ABOUT_TIME > now);
    }

    fn is_ahead(&self, tenant: &TenantId) -> bool {
        self.tenants.get(tenant).is_some_and(|share| share.used > self.floor + TURN_TIME_SHARED)
    }

    /// How many prompt tokens a turn may have.
    fn prompt_tokens(&self) -> usize {
        match self.pace {
            _ if self.tenants.len() < 2 => PREFILL_TURN_TOKENS,
            None => PREFILL_TURN_TOKENS_SHARED,
            Some(pace) => {
                let fit = TURN_TIME_SHARED.as_nanos() / pace.as_nanos().max(1);
                usize::try_from(fit).unwrap_or(usize::MAX).clamp(PREFILL_TURN_TOKENS_MIN, PREFILL_TURN_TOKENS)
            }
        }
    }
}

fn group(candidates: &[Candidate<'_>], chunk: usize) -> Vec<Group> {
    let mut places = HashMap::new();
    let mut groups: Vec<Group> = Vec::new();
    for (index, candidate) in candidates.iter().enumerate() {
        let place = *places.entry(candidate.tenant).or_insert(groups.len());
        if place == groups.len() {
            groups.push(Group { weight: candidate.weight.max(1) as usize, ..Group::default() });
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
fn share_out(groups: &mut [Group], limit: usize) {
    let open = |group: &Group| group.wanted > group.granted;
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
mod tests {
    use super::*;

    const CHUNK: usize = 512;

    fn tenants() -> [TenantId; 3] {
        ["a", "b", "c"].map(TenantId::new)
    }

    type Row<'a> = (&'a TenantId, u32, usize, u64);

    fn plan(shares: &mut Shares, rows: &[Row<'_>]) -> Vec<usize> {
        let rows =
            rows.iter().map(|&(tenant, weight, pending, stepped)| Candidate { tenant, weight, pending, stepped });
        shares.plan(&rows.collect::<Vec<_>>(), CHUNK, Duration::ZERO)
    }

    fn turn(rows: &[Row<'_>]) -> Vec<usize> {
        plan(&mut Shares::default(), rows)
    }

    #[test]
    fn one_tenant_has_the_turn_to_itself() {
        let [a, ..] = tenants();
        assert_eq!(turn(&[(&a, 1, 700, 0), (&a, 1, 1, 0), (&a, 1, 90, 0)]), [511, 1, 0]);
        assert_eq!(turn(&[(&a, 1, 500, 0), (&a, 1, 90, 0)]), [500, 12]);
        let answers = vec![(&a, 1, 1, 0); 40];
        assert_eq!(turn(&answers), vec![1; 40]);
    }

    #[test]
    fn twenty_prompts_of_one_tenant_leave_half_to_another() {
        let [a, b, _] = tenants();
        let mut rows = vec![(&a, 1, 4_000, 0); 20];
        rows.push((&b, 1, 4_000, 0));
        let tokens = turn(&rows);
        assert_eq!((tokens[..20].iter().sum::<usize>(), tokens[20]), (64, 64));
        rows[20].2 = 20;
        let tokens = turn(&rows);
        assert_eq!((tokens[..20].iter().sum::<usize>(), tokens[20]), (108, 20), "what is left over is used");
    }

    #[test]
    fn weights_share_out_the_prompts() {
        let [a, b, c] = tenants();
        assert_eq!(turn(&[(&a, 2, 900, 0), (&b, 1, 900, 0), (&c, 1, 900, 0)]), [64, 32, 32]);
        assert_eq!(turn(&[(&a, 5_000, 900, 0), (&b, 1, 900, 0)]), [127, 1]);
    }

    #[test]
    fn who_used_more_rests_its_prompts_until_the_other_has_caught_up() {
        let [a, b, _] = tenants();
        let mut shares = Shares::default();
        let ms = Duration::from_millis;
        assert_eq!(plan(&mut shares, &[(&a, 1, 900, 0)]), [512]);
        shares.charge([(&a, 1, 512)].into_iter(), ms(5), ms(0));
        assert_eq!(plan(&mut shares, &[(&a, 1, 388, 0)]), [388], "alone nothing holds it back");
        shares.charge([(&a, 1, 388)].into_iter(), ms(5), ms(0));

        let both = [(&a, 1, 900, 0), (&b, 1, 1, 0)];
        assert_eq!(plan(&mut shares, &both), [511, 1], "who comes new begins where the others were");
        shares.charge([(&a, 1, 511), (&b, 1, 1)].into_iter(), ms(33), ms(0));
        let mut turns = 0;
        while plan(&mut shares, &both) == [0, 1] {
            shares.charge([(&b, 1, 1)].into_iter(), ms(3), ms(0));
            turns += 1;
        }
        assert!((8..=12).contains(&turns), "38 ms behind, less the 10 that do not count, in turns of 3: {turns}");
        assert_ne!(plan(&mut shares, &both)[0], 0);
    }

    #[test]
    fn turns_are_short_while_somebody_else_is_about_and_as_short_as_the_device_is_slow() {
        let [a, b, _] = tenants();
        let mut shares = Shares::default();
        let ms = Duration::from_millis;
        plan(&mut shares, &[(&a, 1, 900, 0), (&b, 1, 900, 0)]);
        shares.charge([(&a, 1, 100), (&b, 1, 100)].into_iter(), ms(20), ms(0));
        assert_eq!(plan(&mut shares, &[(&a, 1, 900, 0)]), [100], "ten a millisecond");
        let later = TENANT_ABOUT_TIME + ms(1);
        let alone = [Candidate { tenant: &a, weight: 1, pending: 900, stepped: 0 }];
        assert_eq!(shares.plan(&alone, CHUNK, later), [512]);
    }

    #[test]
    fn many_answers_of_one_tenant_take_turns_beside_another() {
        let [a, b, _] = tenants();
        let mut rows: Vec<_> = (0..20).map(|n| (&a, 1, 1, 20 - n)).collect();
        rows.push((&b, 1, 1, 0));
        let tokens = turn(&rows);
        assert_eq!(tokens[..20].iter().sum::<usize>(), TURN_SEQUENCES_SHARED);
        assert_eq!(tokens[12..], [1; 9], "those that waited longest, and the other tenant");
        let mut even = vec![(&a, 1, 1, 0); 20];
        even.extend(vec![(&b, 1, 1, 0); 20]);
        assert_eq!(turn(&even), vec![1; 40], "tenants with equally many are not held back");
    }

    #[test]
    fn more_tenants_than_tokens_still_all_move() {
        let many: Vec<TenantId> = (0..600).map(|n| TenantId::new(&n.to_string())).collect();
        let rows: Vec<_> = many.iter().map(|tenant| (tenant, 1, 50, 0)).collect();
        assert!(turn(&rows).iter().all(|tokens| *tokens == 1));
    }
}
