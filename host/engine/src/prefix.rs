//! Caches of sequences that ended, kept so that a later prompt with the same beginning need not compute it again.
//!
//! Invariant I8: they are kept by tenant, and there is no way to look for one without naming the tenant. What a
//! tenant can learn from the time of its answers is what it said itself.

use std::collections::HashMap;

use firebox_contract::limits::{PREFIX_SEQUENCES_PER_TENANT, PREFIX_TOKENS_MIN};
use firebox_contract::{SequenceId, TenantId, TokenId};

/// The cache of a sequence that ended.
struct Kept {
    id: SequenceId,
    tokens: Vec<TokenId>,
    /// Larger is later.
    used: u64,
}

/// A kept cache that begins as a prompt does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Match {
    pub(crate) id: SequenceId,
    /// Tokens in common.
    pub(crate) common: usize,
    /// Tokens the cache has.
    pub(crate) length: usize,
}

/// The kept caches of all tenants.
#[derive(Default)]
pub(crate) struct Prefixes {
    tenants: HashMap<TenantId, Vec<Kept>>,
    uses: u64,
}

impl Prefixes {
    /// The cache of `tenant` that has most in common with `prompt`, if that is worth it. At least one token of the
    /// prompt is left to compute.
    pub(crate) fn find(&mut self, tenant: &TenantId, prompt: &[TokenId]) -> Option<Match> {
        let kept = self.tenants.get_mut(tenant)?;
        let (best, common) = kept
            .iter_mut()
            .map(|kept| {
                let common = common(&kept.tokens, prompt);
                (kept, common)
            })
            .max_by_key(|(_, common)| *common)?;
        if common < PREFIX_TOKENS_MIN {
            return None;
        }
        self.uses += 1;
        best.used = self.uses;
        Some(Match { id: best.id, common, length: best.tokens.len() })
    }

    /// Keeps the cache of a sequence that held `tokens`. What is returned is to be released: caches that this one
    /// contains, the oldest of a tenant that has too many, or this one itself where it is of no use.
    pub(crate) fn keep(&mut self, tenant: &TenantId, id: SequenceId, tokens: Vec<TokenId>) -> Vec<SequenceId> {
        let kept = self.tenants.entry(tenant.clone()).or_default();
        let known = kept.iter().any(|other| other.tokens.starts_with(&tokens));
        if known || tokens.len() < PREFIX_TOKENS_MIN {
            self.forget_empty(tenant);
            return vec![id];
        }
        let contained = |other: &mut Kept| tokens.starts_with(&other.tokens);
        let mut gone: Vec<SequenceId> = kept.extract_if(.., contained).map(|other| other.id).collect();
        self.uses += 1;
        kept.push(Kept { id, tokens, used: self.uses });
        if kept.len() > PREFIX_SEQUENCES_PER_TENANT {
            gone.extend(remove_oldest(kept).map(|(id, _)| id));
        }
        gone
    }

    /// Takes a cache out, to go on from it.
    pub(crate) fn take(&mut self, tenant: &TenantId, id: SequenceId) {
        if let Some(kept) = self.tenants.get_mut(tenant) {
            kept.retain(|kept| kept.id != id);
            self.forget_empty(tenant);
        }
    }

    /// Gives up the cache that was unused longest of the tenant that has most tokens kept: its name and its tokens.
    pub(crate) fn evict(&mut self) -> Option<(SequenceId, usize)> {
        let held = |kept: &[Kept]| kept.iter().map(|kept| kept.tokens.len()).sum::<usize>();
        let (tenant, kept) = self.tenants.iter_mut().max_by_key(|(_, kept)| held(kept))?;
        let tenant = tenant.clone();
        let gone = remove_oldest(kept);
        self.forget_empty(&tenant);
        gone
    }

    /// The tokens of each.
    pub(crate) fn lengths(&self) -> impl Iterator<Item = usize> {
        self.tenants.values().flatten().map(|kept| kept.tokens.len())
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.tenants.values().map(Vec::len).sum()
    }

    /// Forgets all: their model is gone.
    pub(crate) fn clear(&mut self) {
        self.tenants.clear();
    }

    fn forget_empty(&mut self, tenant: &TenantId) {
        if self.tenants.get(tenant).is_some_and(Vec::is_empty) {
            self.tenants.remove(tenant);
        }
    }
}

fn remove_oldest(kept: &mut Vec<Kept>) -> Option<(SequenceId, usize)> {
    let oldest = kept.iter().enumerate().min_by_key(|(_, kept)| kept.used)?.0;
    let gone = kept.remove(oldest);
    Some((gone.id, gone.tokens.len()))
}

/// Tokens `held` and `prompt` begin with alike, all but the last of the prompt at most.
pub(crate) fn common(held: &[TokenId], prompt: &[TokenId]) -> usize {
    let most = prompt.len().saturating_sub(1);
    held.iter().zip(&prompt[..most]).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(from: TokenId, count: TokenId) -> Vec<TokenId> {
        (from..from + count).collect()
    }

    #[test]
    fn i8_no_tenant_finds_what_another_left() {
        let [a, b] = ["a", "b"].map(TenantId::new);
        let mut kept = Prefixes::default();
        assert!(kept.keep(&a, SequenceId(1), tokens(0, 40)).is_empty());
        assert_eq!(kept.find(&b, &tokens(0, 60)), None);
        assert_eq!(kept.find(&a, &tokens(0, 60)), Some(Match { id: SequenceId(1), common: 40, length: 40 }));
    }

    #[test]
    fn one_token_is_always_left_to_compute_and_short_prefixes_are_not_worth_it() {
        let a = TenantId::new("a");
        let mut kept = Prefixes::default();
        kept.keep(&a, SequenceId(1), tokens(0, 40));
        assert_eq!(kept.find(&a, &tokens(0, 40)).map(|found| found.common), Some(39));
        let mut other = tokens(0, 15);
        other.extend(tokens(900, 20));
        assert_eq!(kept.find(&a, &other), None);
        assert_eq!(kept.keep(&a, SequenceId(2), tokens(500, 15)), [SequenceId(2)]);
    }

    #[test]
    fn a_longer_cache_replaces_what_it_contains() {
        let a = TenantId::new("a");
        let mut kept = Prefixes::default();
        kept.keep(&a, SequenceId(1), tokens(0, 40));
        assert_eq!(kept.keep(&a, SequenceId(2), tokens(0, 50)), [SequenceId(1)]);
        assert_eq!(kept.keep(&a, SequenceId(3), tokens(0, 45)), [SequenceId(3)]);
        assert_eq!(kept.count(), 1);
    }

    #[test]
    fn a_tenant_keeps_a_bounded_number_and_the_largest_keeper_gives_up_first() {
        let [a, b] = ["a", "b"].map(TenantId::new);
        let mut kept = Prefixes::default();
        let max = PREFIX_SEQUENCES_PER_TENANT as u64;
        for n in 0..max {
            assert!(kept.keep(&a, SequenceId(n), tokens(n as TokenId * 100, 20)).is_empty());
        }
        assert_eq!(kept.keep(&a, SequenceId(max), tokens(9_000, 20)), [SequenceId(0)]);
        kept.keep(&b, SequenceId(99), tokens(0, 30));
        assert_eq!(kept.evict(), Some((SequenceId(1), 20)), "the oldest of the tenant with most");
        kept.find(&a, &tokens(200, 50));
        assert_eq!(kept.evict(), Some((SequenceId(3), 20)), "used lately is kept");
        assert_eq!(kept.lengths().sum::<usize>(), 20 * (max as usize - 2) + 30);
    }
}
