//! Start-time fair queueing between tenants, by weight (Goyal, Vin, Cheng 1996). On a virtual clock each piece of work
//! starts where the tenant's previous one finishes, or now if that is later. The piece with the earliest start goes first.

use std::collections::HashMap;

use firebox_contract::TenantId;

/// Distance on the virtual clock of one unit of cost at weight 1.
const UNIT: u64 = 1 << 20;

/// The virtual clock of one queue, and the position of each tenant with work on it.
#[derive(Debug, Default)]
pub struct FairClock {
    /// The start of the work that was begun last.
    now: u64,
    /// The earliest start of a tenant's next work.
    finish: HashMap<TenantId, u64>,
}

impl FairClock {
    /// The start that `tenant`'s next piece of work would have.
    #[must_use]
    pub fn start(&self, tenant: &TenantId) -> u64 {
        self.finish.get(tenant).copied().unwrap_or(0).max(self.now)
    }

    /// Adds a piece of work of `cost` units and returns its start.
    pub fn enter(&mut self, tenant: &TenantId, weight: u32, cost: u64) -> u64 {
        let start = self.start(tenant);
        let finish = start.saturating_add(cost.saturating_mul(UNIT) / u64::from(weight.max(1)));
        match self.finish.get_mut(tenant) {
            Some(last) => *last = finish,
            None => drop(self.finish.insert(tenant.clone(), finish)),
        }
        start
    }

    /// Records that the work with this start has begun.
    pub fn begin(&mut self, start: u64) {
        self.now = self.now.max(start);
    }

    /// Forgets `tenant`, which has no work any more. Its next work starts at once.
    pub fn forget(&mut self, tenant: &TenantId) {
        self.finish.remove(tenant);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of the next `pieces` each of two tenants gets if both always have work.
    fn served(weights: [u32; 2], costs: [u64; 2], pieces: usize) -> [usize; 2] {
        let tenants = ["a", "b"].map(TenantId::new);
        let (mut clock, mut served) = (FairClock::default(), [0, 0]);
        for _ in 0..pieces {
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
    fn a_new_tenant_goes_before_one_that_had_much_work() {
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
    fn the_clock_does_not_wrap_around_at_its_end() {
        let tenant = TenantId::new("a");
        let mut clock = FairClock::default();
        clock.enter(&tenant, 1, u64::MAX);
        clock.enter(&tenant, 1, u64::MAX);
        clock.begin(clock.start(&tenant));
        assert!(clock.enter(&tenant, 1, 1) >= u64::MAX / UNIT);
    }
}
