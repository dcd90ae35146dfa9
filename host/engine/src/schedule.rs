//! What one turn computes. Everything that waits for a token gets it in the same forward pass, and prompts fill up
//! what the turn allows; between tenants the shares go by weight, so that twenty sequences of one tenant do not take
//! twenty times what another tenant's one gets.

use std::collections::HashMap;

use firebox_contract::TenantId;
use firebox_contract::limits::{PREFILL_TURN_TOKENS, PREFILL_TURN_TOKENS_SHARED, TURN_SEQUENCES_SHARED};

/// A sequence that could be stepped.
pub(crate) struct Candidate<'a> {
    pub(crate) tenant: &'a TenantId,
    pub(crate) weight: u32,
    /// Tokens the model has not seen; one means that an answer goes on.
    pub(crate) pending: usize,
    /// The turn it was stepped in last.
    pub(crate) stepped: u64,
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

/// The number of tokens of each candidate in this turn; 0 rests it. Candidates come in order of arrival.
pub(crate) fn plan(candidates: &[Candidate<'_>], chunk: usize) -> Vec<usize> {
    let mut groups = group(candidates, chunk);
    let mut tokens = vec![0; candidates.len()];
    let loads: Vec<Load> = groups.iter().map(Group::load).collect();
    let shared = groups.len() > 1;
    let fewest = loads.iter().map(|load| load.sequences.div_ceil(load.weight)).min().unwrap_or(0);
    for group in &mut groups {
        group.answers.sort_by_key(|index| candidates[*index].stepped);
        let most = if shared { group.weight * fewest.max(TURN_SEQUENCES_SHARED) } else { usize::MAX };
        group.answers.iter().take(most).for_each(|index| tokens[*index] = 1);
    }
    restrain(&mut groups, &loads);
    // Answers and prompts fit into one pass together.
    let answers: usize = tokens.iter().sum();
    share_out(&mut groups, PREFILL_TURN_TOKENS.saturating_sub(answers));
    for group in &groups {
        let mut left = group.granted;
        for index in &group.prompts {
            tokens[*index] = candidates[*index].pending.min(chunk).min(left);
            left -= tokens[*index];
        }
    }
    tokens
}

/// What a tenant wants of the turn.
#[derive(Clone, Copy)]
struct Load {
    sequences: usize,
    weight: usize,
    answers: bool,
}

impl Group {
    fn load(&self) -> Load {
        let sequences = self.answers.len() + self.prompts.len();
        Load { sequences, weight: self.weight, answers: !self.answers.is_empty() }
    }
}

/// Cuts the prompts of tenants beside whom another, with no more sequences for its weight, has an answer under way:
/// its next token waits for the whole turn.
fn restrain(groups: &mut [Group], loads: &[Load]) {
    let modest = |other: &Load, own: &Load| other.sequences * own.weight <= own.sequences * other.weight;
    let held_back: Vec<usize> = (0..groups.len())
        .filter(|at| groups[*at].wanted > 0)
        .filter(|at| loads.iter().enumerate().any(|(n, other)| n != *at && other.answers && modest(other, &loads[*at])))
        .collect();
    for at in &held_back {
        groups[*at].wanted = groups[*at].wanted.min((PREFILL_TURN_TOKENS_SHARED / held_back.len()).max(1));
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

    fn turn(rows: &[(&TenantId, u32, usize, u64)]) -> Vec<usize> {
        let candidate = |&(tenant, weight, pending, stepped)| Candidate { tenant, weight, pending, stepped };
        plan(&rows.iter().map(candidate).collect::<Vec<_>>(), CHUNK)
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
        assert_eq!((tokens[..20].iter().sum::<usize>(), tokens[20]), (256, 256));
        rows[20].2 = 100;
        let tokens = turn(&rows);
        assert_eq!((tokens[..20].iter().sum::<usize>(), tokens[20]), (412, 100), "what is left over is used");
    }

    #[test]
    fn weights_share_out_the_prompts() {
        let [a, b, c] = tenants();
        assert_eq!(turn(&[(&a, 2, 900, 0), (&b, 1, 900, 0), (&c, 1, 900, 0)]), [256, 128, 128]);
        assert_eq!(turn(&[(&a, 5_000, 900, 0), (&b, 1, 900, 0)]), [511, 1]);
    }

    #[test]
    fn prompts_are_cut_short_while_another_tenants_answer_flows() {
        let [a, b, _] = tenants();
        assert_eq!(turn(&[(&a, 1, 900, 0), (&b, 1, 1, 0)]), [PREFILL_TURN_TOKENS_SHARED, 1]);
        assert_eq!(turn(&[(&a, 1, 900, 0), (&a, 1, 1, 0)]), [511, 1], "its own answer is its own affair");
        let flood = [(&a, 1, 1, 0), (&a, 1, 1, 0), (&a, 1, 900, 0), (&b, 1, 200, 0)];
        assert_eq!(turn(&flood), [1, 1, 310, 200], "who has more under way does not slow down who has less");
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
