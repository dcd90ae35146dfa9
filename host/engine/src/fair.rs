//! Start-time fair queueing (Goyal, Vin, Cheng 1996) between tenants, by weight: each piece of work starts where the
//! tenant's last one finishes on a virtual clock, or now, and the piece that starts first goes first.

use std::collections::HashMap;

use firebox_contract::TenantId;

/// Distance on the virtual clock of one unit of cost at weight 1.
const UNIT: u64 = 1 << 20;

/// The virtual clock of one queue, and where each tenant with work stands on it.
#[derive(Debug, Default)]
pub struct FairClock {
    /// The start of the work that began last.
    now: u64,
    /// Where a tenant's next work starts at the earliest.
    finish: HashMap<TenantId, u64>,
}

impl FairClock {
    /// Where `tenant`'s next piece of work would start.
    #[must_use]
    pub fn start(&self, tenant: &TenantId) -> u64 {
        self.finish.get(tenant).copied().unwrap_or(0).max(self.now)
    }

    /// Enters a piece of work of so many units, and says where it starts.
    pub fn enter(&mut self, tenant: &TenantId, weight: u32, cost: u64) -> u64 {
        let start = self.start(tenant);
        let finish = start.saturating_add(cost.saturating_mul(UNIT) / u64::from(weight.max(1)));
        match self.finish.get_mut(tenant) {
            Some(last) => *last = finish,
            None => drop(self.finish.insert(tenant.clone(), finish)),
        }
        start
    }

    /// The work that starts there has begun.
    pub fn begin(&mut self, start: u64) {
        self.now = self.now.max(start);
    }

    /// `tenant` has no work any more: its next starts at once.
    pub fn forget(&mut self, tenant: &TenantId) {
        self.finish.remove(tenant);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who has how many of the next `steps` pieces, where both always want more.
    fn served(weights: [u32; 2], costs: [u64; 2], steps: usize) -> [usize; 2] {
        let tenants = ["a", "b"].map(TenantId::new);
        let (mut clock, mut served) = (FairClock::default(), [0, 0]);
        for _ in 0..steps {
            let next = usize::from(clock.start(&tenants[1]) < clock.start(&tenants[0]));
            let start = clock.enter(&tenants[next], weights[next], costs[next]);
            clock.begin(start);
            served[next] += 1;
        }
        served
    }

    #[test]
    fn cost_is_shared_out_by_weight() {
        assert_eq!(served([1, 1], [1, 1], 100), [50, 50]);
        let [a, b] = served([2, 1], [1, 1], 300);
        assert!(a.abs_diff(200) <= 1 && b.abs_diff(100) <= 1, "{a} {b}");
        let [long, short] = served([1, 1], [512, 8], 650);
        assert!(long.abs_diff(10) <= 1 && short.abs_diff(640) <= 1, "{long} {short}");
    }

    #[test]
    fn who_comes_goes_before_who_has_had_work_for_long() {
        let (flood, other) = (TenantId::new("flood"), TenantId::new("other"));
        let mut clock = FairClock::default();
        for _ in 0..1_000 {
            let start = clock.enter(&flood, 1, 512);
            clock.begin(start);
        }
        assert!(clock.start(&other) < clock.start(&flood));
        clock.forget(&flood);
        assert_eq!(clock.start(&other), clock.start(&flood));
    }

    #[test]
    fn a_clock_at_its_end_does_not_turn_round() {
        let tenant = TenantId::new("a");
        let mut clock = FairClock::default();
        clock.enter(&tenant, 1, u64::MAX);
        clock.enter(&tenant, 1, u64::MAX);
        clock.begin(clock.start(&tenant));
        assert!(clock.enter(&tenant, 1, 1) >= u64::MAX / UNIT);
    }
}
