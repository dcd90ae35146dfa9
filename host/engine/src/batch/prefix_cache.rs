//! The prefix cache: KV caches of ended sequences, for later prompts with the same beginning.
//!
//! Invariant I8: prefixes are cached by tenant, and every search names its tenant. From the time of its answers a tenant
//! can learn only which of its own texts are cached.

use std::collections::HashMap;

use firebox_contract::limits::{PREFIX_SEQUENCES_PER_TENANT, PREFIX_TOKENS_MIN};
use firebox_contract::{SequenceId, TenantId, TokenId};

/// The KV cache of an ended sequence.
struct CachedPrefix {
    id: SequenceId,
    tokens: Vec<TokenId>,
    /// Order of use: a larger number is more recent.
    last_used: u64,
}

/// A cached prefix that shares its beginning with a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PrefixMatch {
    pub(crate) id: SequenceId,
    /// Number of common tokens.
    pub(crate) common: usize,
    /// Number of cached tokens.
    pub(crate) length: usize,
}

/// The cached prefixes of all tenants.
#[derive(Default)]
pub(crate) struct PrefixCache {
    tenants: HashMap<TenantId, Vec<CachedPrefix>>,
    uses: u64,
}

impl PrefixCache {
    /// The prefix of `tenant` with the most tokens in common with `prompt`, if it has at least `PREFIX_TOKENS_MIN`. The
    /// last token of the prompt never counts as common, because the model must compute at least one.
    pub(crate) fn find(&mut self, tenant: &TenantId, prompt: &[TokenId]) -> Option<PrefixMatch> {
        let prefixes = self.tenants.get_mut(tenant)?;
        let (best, common) = prefixes
            .iter_mut()
            .map(|prefix| {
                let common = common_prefix(&prefix.tokens, prompt);
                (prefix, common)
            })
            .max_by_key(|(_, common)| *common)?;
        if common < PREFIX_TOKENS_MIN {
            return None;
        }
        self.uses += 1;
        best.last_used = self.uses;
        Some(PrefixMatch { id: best.id, common, length: best.tokens.len() })
    }

    /// Adds the cache of an ended sequence with these tokens. Returns the sequences to release: prefixes that the new
    /// one contains, the least recently used one of a tenant that has too many, or the new one if it is of no use.
    pub(crate) fn insert(&mut self, tenant: &TenantId, id: SequenceId, tokens: Vec<TokenId>) -> Vec<SequenceId> {
        let prefixes = self.tenants.entry(tenant.clone()).or_default();
        let known = prefixes.iter().any(|other| other.tokens.starts_with(&tokens));
        if known || tokens.len() < PREFIX_TOKENS_MIN {
            self.remove_if_empty(tenant);
            return vec![id];
        }
        let contained = |other: &mut CachedPrefix| tokens.starts_with(&other.tokens);
        let mut removed: Vec<SequenceId> = prefixes.extract_if(.., contained).map(|other| other.id).collect();
        self.uses += 1;
        prefixes.push(CachedPrefix { id, tokens, last_used: self.uses });
        if prefixes.len() > PREFIX_SEQUENCES_PER_TENANT {
            removed.extend(remove_least_recent(prefixes).map(|(id, _)| id));
        }
        removed
    }

    /// Removes a prefix whose cache a new sequence takes over.
    pub(crate) fn remove(&mut self, tenant: &TenantId, id: SequenceId) {
        if let Some(prefixes) = self.tenants.get_mut(tenant) {
            prefixes.retain(|prefix| prefix.id != id);
            self.remove_if_empty(tenant);
        }
    }

    /// Evicts the least recently used prefix of the tenant with the most cached tokens. Returns its id and its number of
    /// tokens.
    pub(crate) fn evict(&mut self) -> Option<(SequenceId, usize)> {
        let tokens = |prefixes: &[CachedPrefix]| prefixes.iter().map(|prefix| prefix.tokens.len()).sum::<usize>();
        let (tenant, prefixes) = self.tenants.iter_mut().max_by_key(|(_, prefixes)| tokens(prefixes))?;
        let tenant = tenant.clone();
        let evicted = remove_least_recent(prefixes);
        self.remove_if_empty(&tenant);
        evicted
    }

    /// The number of tokens of each prefix.
    pub(crate) fn lengths(&self) -> impl Iterator<Item = usize> {
        self.tenants.values().flatten().map(|prefix| prefix.tokens.len())
    }

    /// The number of prefixes of all tenants.
    pub(crate) fn len(&self) -> usize {
        self.tenants.values().map(Vec::len).sum()
    }

    /// Removes all prefixes, because the model is gone.
    pub(crate) fn clear(&mut self) {
        self.tenants.clear();
    }

    fn remove_if_empty(&mut self, tenant: &TenantId) {
        if self.tenants.get(tenant).is_some_and(Vec::is_empty) {
            self.tenants.remove(tenant);
        }
    }
}

fn remove_least_recent(prefixes: &mut Vec<CachedPrefix>) -> Option<(SequenceId, usize)> {
    let oldest = prefixes.iter().enumerate().min_by_key(|(_, prefix)| prefix.last_used)?.0;
    let removed = prefixes.remove(oldest);
    Some((removed.id, removed.tokens.len()))
}

/// The number of tokens at the beginning of both, without the last token of the prompt.
pub(crate) fn common_prefix(cached: &[TokenId], prompt: &[TokenId]) -> usize {
    let most = prompt.len().saturating_sub(1);
    cached.iter().zip(&prompt[..most]).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(from: TokenId, count: TokenId) -> Vec<TokenId> {
        (from..from + count).collect()
    }

    #[test]
    fn i8_a_tenant_finds_only_its_own_prefixes() {
        let [a, b] = ["a", "b"].map(TenantId::new);
        let mut cache = PrefixCache::default();
        assert!(cache.insert(&a, SequenceId(1), tokens(0, 40)).is_empty());
        assert_eq!(cache.find(&b, &tokens(0, 60)), None);
        assert_eq!(cache.find(&a, &tokens(0, 60)), Some(PrefixMatch { id: SequenceId(1), common: 40, length: 40 }));
    }

    #[test]
    fn the_last_prompt_token_is_never_common_and_short_prefixes_are_not_cached() {
        let a = TenantId::new("a");
        let mut cache = PrefixCache::default();
        cache.insert(&a, SequenceId(1), tokens(0, 40));
        assert_eq!(cache.find(&a, &tokens(0, 40)).map(|found| found.common), Some(39));
        let mut other = tokens(0, 15);
        other.extend(tokens(900, 20));
        assert_eq!(cache.find(&a, &other), None);
        assert_eq!(cache.insert(&a, SequenceId(2), tokens(500, 15)), [SequenceId(2)]);
    }

    #[test]
    fn a_longer_prefix_replaces_the_prefix_it_contains() {
        let a = TenantId::new("a");
        let mut cache = PrefixCache::default();
        cache.insert(&a, SequenceId(1), tokens(0, 40));
        assert_eq!(cache.insert(&a, SequenceId(2), tokens(0, 50)), [SequenceId(1)]);
        assert_eq!(cache.insert(&a, SequenceId(3), tokens(0, 45)), [SequenceId(3)]);
        assert_eq!(cache.len(), 1);
    }

    #[test]
    fn prefixes_per_tenant_are_bounded_and_the_tenant_with_most_tokens_is_evicted_first() {
        let [a, b] = ["a", "b"].map(TenantId::new);
        let mut cache = PrefixCache::default();
        let max = PREFIX_SEQUENCES_PER_TENANT as u64;
        for n in 0..max {
            assert!(cache.insert(&a, SequenceId(n), tokens(n as TokenId * 100, 20)).is_empty());
        }
        assert_eq!(cache.insert(&a, SequenceId(max), tokens(9_000, 20)), [SequenceId(0)]);
        cache.insert(&b, SequenceId(99), tokens(0, 30));
        assert_eq!(cache.evict(), Some((SequenceId(1), 20)), "the oldest of the tenant with most");
        cache.find(&a, &tokens(200, 50));
        assert_eq!(cache.evict(), Some((SequenceId(3), 20)), "a recently used prefix stays");
        assert_eq!(cache.lengths().sum::<usize>(), 20 * (max as usize - 2) + 30);
    }
}
