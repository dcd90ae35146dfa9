//! Compiled grammars by digest, with a share for each tenant. A tenant finds only grammars that it sent itself.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use firebox_contract::{TenantId, limits};

use crate::constraint::CompiledGrammar;

/// SHA-256 of a grammar.
pub(crate) type Digest = [u8; 32];

#[derive(Default)]
pub(crate) struct GrammarCache {
    /// From the least to the most recently used.
    entries: Mutex<Vec<CacheEntry>>,
}

struct CacheEntry {
    tenant: TenantId,
    digest: Digest,
    grammar: Arc<CompiledGrammar>,
}

impl GrammarCache {
    fn lock(&self) -> MutexGuard<'_, Vec<CacheEntry>> {
        // A panic of a holder leaves the entries consistent.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The tenant's grammar with this digest, which becomes the most recently used one.
    pub(crate) fn get(&self, tenant: &TenantId, digest: &Digest) -> Option<Arc<CompiledGrammar>> {
        let mut entries = self.lock();
        let at = entries.iter().position(|entry| entry.digest == *digest && entry.tenant == *tenant)?;
        let entry = entries.remove(at);
        // Answers add states, so a grammar that has grown too large is compiled again.
        if !entry.grammar.is_usable() || entry.grammar.bytes() > limits::GRAMMAR_CACHED_BYTES_MAX {
            return None;
        }
        let grammar = Arc::clone(&entry.grammar);
        entries.push(entry);
        Some(grammar)
    }

    /// Adds a grammar. The tenant's least recently used one gives way if its share is full, and the one of the tenant
    /// with the most grammars if the cache is full.
    pub(crate) fn insert(&self, tenant: &TenantId, digest: Digest, grammar: Arc<CompiledGrammar>) {
        let mut entries = self.lock();
        entries.retain(|entry| entry.digest != digest || entry.tenant != *tenant);
        entries.push(CacheEntry { tenant: tenant.clone(), digest, grammar });
        let count = |entries: &[CacheEntry], tenant: &TenantId| entries.iter().filter(|e| e.tenant == *tenant).count();
        if count(&entries, tenant) > limits::GRAMMARS_CACHED_PER_TENANT {
            remove_first(&mut entries, &tenant.clone());
        }
        while entries.len() > limits::GRAMMARS_CACHED_MAX {
            let most = entries.iter().map(|entry| &entry.tenant).max_by_key(|tenant| count(&entries, tenant)).cloned();
            let Some(most) = most else { return };
            remove_first(&mut entries, &most);
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }
}

fn remove_first(entries: &mut Vec<CacheEntry>, tenant: &TenantId) {
    if let Some(at) = entries.iter().position(|entry| entry.tenant == *tenant) {
        entries.remove(at);
    }
}
