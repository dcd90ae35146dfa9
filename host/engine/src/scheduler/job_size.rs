//! Shortest job first, between tenants: a tenant with little pending work runs before a tenant with much, so that it does
//! not share its steps with long prompts.
//!
//! Shortest job first has the least mean waiting time, but it can starve long jobs. Three rules keep it fair here. The
//! work counts as short only up to `SHORT_JOB_PERCENT` of the other tenant's. A tenant waits for short work no longer
//! than that time, or than it had the device itself if that is more. Short work of a tenant over its share gets no
//! precedence.

use std::collections::HashMap;

use firebox_contract::TenantId;
use firebox_contract::limits::{SHORT_JOB_PERCENT, SHORT_JOB_RATIO, SHORT_JOB_TIME, SHORT_JOB_TIME_MAX};

use super::step_cost::StepCost;

/// The whole work of a sequence, including the part that is already computed. The order of two sequences therefore stays
/// the same while they run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct JobSize {
    /// Tokens of the prompt.
    pub(crate) prompt: usize,
    /// Maximum number of tokens of the answer.
    pub(crate) answer: usize,
}

/// The work of one sequence, with its tenant.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PendingWork<'a> {
    pub(crate) tenant: &'a TenantId,
    pub(crate) weight: u32,
    pub(crate) size: JobSize,
}

/// The load of a tenant that has work. All times are per weight.
#[derive(Debug, Clone, Copy)]
pub(super) struct TenantLoad {
    /// Seconds of device time that its pending work takes.
    pub(super) pending: f64,
    /// Whether it is in a free burst and therefore not throttled.
    pub(super) in_free_burst: bool,
    /// Seconds of device time that it used recently.
    pub(super) recent_use: f64,
    /// Seconds that it waited recently for short work of others.
    pub(super) recent_wait: f64,
}

impl TenantLoad {
    /// Whether this tenant's work is short compared with the other's and goes first.
    pub(super) fn goes_before(&self, other: &Self) -> bool {
        let (least, most) = (SHORT_JOB_TIME.as_secs_f64(), SHORT_JOB_TIME_MAX.as_secs_f64());
        let wait_limit = (other.pending * f64::from(SHORT_JOB_PERCENT) / 100.0).clamp(least, most);
        let is_short = self.pending <= wait_limit && other.pending > self.pending * f64::from(SHORT_JOB_RATIO);
        is_short && other.recent_wait <= wait_limit.max(other.recent_use)
    }
}

/// Seconds of device time, per weight, of each tenant's pending work. All are 0 until the cost of a step is known.
pub(super) fn pending_seconds<'a>(
    work: impl Iterator<Item = PendingWork<'a>>,
    cost: &StepCost,
) -> HashMap<&'a TenantId, f64> {
    let mut pending = HashMap::new();
    for one in work {
        let seconds = cost.job(one.size).unwrap_or(0.0) / f64::from(one.weight.max(1));
        *pending.entry(one.tenant).or_insert(0.0) += seconds;
    }
    pending
}
