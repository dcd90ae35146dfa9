//! Short jobs first, between tenants: who asked for little has it computed before those who asked for much, so that it does
//! not share its turns with them. (Shortest job first has the least mean waiting time; what keeps it fair here is that it
//! holds only between tenants that used about the same lately, and for jobs not much longer than what "about" is.)

use std::collections::HashMap;

use firebox_contract::TenantId;
use firebox_contract::limits::{SHORT_JOB_TIME, SHORT_JOB_TIMES};

use super::Candidate;
use super::cost::TurnCost;

/// What a sequence asks for in all, whatever it had of it: so the order of two does not turn round on their way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct JobSize {
    /// Tokens of the prompt.
    pub(crate) prompt: usize,
    /// Tokens of the answer at most.
    pub(crate) answer: usize,
}

/// Device seconds, per weight, of what each tenant has asked for.
#[derive(Debug, Default)]
pub(super) struct Sizes<'a>(HashMap<&'a TenantId, f64>);

impl<'a> Sizes<'a> {
    /// Of those of `candidates` with these indices. Nobody's is known before the cost of a turn is.
    pub(super) fn of(candidates: &[Candidate<'a>], indices: &[usize], cost: &TurnCost) -> Self {
        let mut sizes = HashMap::new();
        for candidate in indices.iter().map(|index| &candidates[*index]) {
            let seconds = cost.job(candidate.size).unwrap_or(0.0) / f64::from(candidate.weight.max(1));
            *sizes.entry(candidate.tenant).or_insert(0.0) += seconds;
        }
        Self(sizes)
    }

    /// The smallest, in seconds.
    pub(super) fn least(&self) -> f64 {
        self.0.values().copied().fold(f64::INFINITY, f64::min)
    }

    /// Whether `tenant` lets the one with least go first.
    pub(super) fn lets_pass(&self, tenant: &TenantId) -> bool {
        self.0.get(tenant).is_some_and(|size| is_short(self.least(), *size))
    }
}

/// Whether a job of `size` seconds goes before those of somebody with `other` seconds.
pub(super) fn is_short(size: f64, other: f64) -> bool {
    size <= SHORT_JOB_TIME.as_secs_f64() && other > size * f64::from(SHORT_JOB_TIMES)
}
