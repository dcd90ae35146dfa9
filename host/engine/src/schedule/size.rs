//! Short jobs first, between tenants: who asked for little has it computed before those who asked for much, so that it does
//! not share its turns with them. (Shortest job first has the least mean waiting time; what keeps it fair here is that
//! nobody waits for others for more than a part of what it asked for itself, or for longer than it had the device, nor for
//! one that had more than its share.)

use std::collections::HashMap;

use firebox_contract::TenantId;
use firebox_contract::limits::{SHORT_JOB_PERCENT, SHORT_JOB_RATIO, SHORT_JOB_TIME, SHORT_JOB_TIME_MAX};

use super::cost::TurnCost;

/// What a sequence asks for in all, whatever it had of it: so the order of two does not turn round on their way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct JobSize {
    /// Tokens of the prompt.
    pub(crate) prompt: usize,
    /// Tokens of the answer at most.
    pub(crate) answer: usize,
}

/// What a sequence is to a tenant's account.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Demand<'a> {
    pub(crate) tenant: &'a TenantId,
    pub(crate) weight: u32,
    pub(crate) size: JobSize,
}

/// A tenant with work.
#[derive(Debug, Clone, Copy)]
pub(super) struct Standing {
    /// Seconds of the device that it has asked for, for its weight.
    pub(super) size: f64,
    /// Whether it does not rest for what it used.
    pub(super) goes_on: bool,
    /// Seconds that it used lately, for its weight.
    pub(super) used: f64,
    /// Seconds for which it waited lately for short jobs of others.
    pub(super) waited: f64,
}

impl Standing {
    /// Whether this one's work goes before the other's.
    pub(super) fn is_before(&self, other: &Self) -> bool {
        let (least, most) = (SHORT_JOB_TIME.as_secs_f64(), SHORT_JOB_TIME_MAX.as_secs_f64());
        let patience = (other.size * f64::from(SHORT_JOB_PERCENT) / 100.0).clamp(least, most);
        let is_short = self.size <= patience && other.size > self.size * f64::from(SHORT_JOB_RATIO);
        is_short && other.waited <= patience.max(other.used)
    }
}

/// Seconds of the device, per weight, that each tenant has asked for. Nobody's are known before the cost of a turn is.
pub(super) fn asked<'a>(demands: impl Iterator<Item = Demand<'a>>, cost: &TurnCost) -> HashMap<&'a TenantId, f64> {
    let mut asked = HashMap::new();
    for demand in demands {
        let seconds = cost.job(demand.size).unwrap_or(0.0) / f64::from(demand.weight.max(1));
        *asked.entry(demand.tenant).or_insert(0.0) += seconds;
    }
    asked
}
