//! Short jobs first, between tenants: who asked for little has it computed before those who asked for much, so that it does
//! not share its turns with them. (Shortest job first has the least mean waiting time; what keeps it fair here is that
//! nobody waits for others for more than a part of what it asked for itself, nor for one that had more than its share.)

use std::collections::HashMap;

use firebox_contract::TenantId;
use firebox_contract::limits::{SHORT_JOB_PERCENT, SHORT_JOB_TIME, SHORT_JOB_TIME_MAX, SHORT_JOB_TIMES};

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

/// A tenant with work, in seconds of the device.
#[derive(Debug, Clone, Copy)]
pub(super) struct Standing {
    /// What it has asked for, for its weight.
    pub(super) size: f64,
    /// How long it waited lately for short jobs of others.
    pub(super) waited: f64,
}

impl Standing {
    /// Whether this one's work goes before the other's.
    pub(super) fn is_before(&self, other: &Self) -> bool {
        let (least, most) = (SHORT_JOB_TIME.as_secs_f64(), SHORT_JOB_TIME_MAX.as_secs_f64());
        let patience = (other.size * f64::from(SHORT_JOB_PERCENT) / 100.0).clamp(least, most);
        let is_short = self.size <= patience && other.size > self.size * f64::from(SHORT_JOB_TIMES);
        is_short && other.waited <= patience
    }
}

/// How those with these indices stand. Nobody's size is known before the cost of a turn is.
pub(super) fn standings<'a>(
    candidates: &[Candidate<'a>],
    indices: &[usize],
    cost: &TurnCost,
    waited: impl Fn(&TenantId) -> f64,
) -> HashMap<&'a TenantId, Standing> {
    let mut standings = HashMap::new();
    for candidate in indices.iter().map(|index| &candidates[*index]) {
        let seconds = cost.job(candidate.size).unwrap_or(0.0) / f64::from(candidate.weight.max(1));
        let new = || Standing { size: 0.0, waited: waited(candidate.tenant) };
        standings.entry(candidate.tenant).or_insert_with(new).size += seconds;
    }
    standings
}
