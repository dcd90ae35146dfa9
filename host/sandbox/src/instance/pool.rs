//! The instance pool: the number of linear memories of all live instances, and the bytes in them, shared between tenants.
//!
//! A tenant may hold at most as much as it leaves free. So the next tenant always finds room, however many requests one tenant
//! has. Waiting requests are served in the order of the memories that their tenants hold, the fewest first.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use firebox_contract::limits;
use firebox_cpu::priority;
use tokio::sync::oneshot;

use crate::error::SandboxError;

/// An amount of the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Amount {
    /// Linear memories. An instance without a memory counts as one.
    pub(crate) memories: usize,
    /// Bytes of linear memory.
    pub(crate) bytes: usize,
}

impl Amount {
    fn plus(self, other: Self) -> Self {
        Self { memories: self.memories.saturating_add(other.memories), bytes: self.bytes.saturating_add(other.bytes) }
    }

    fn minus(self, other: Self) -> Self {
        Self { memories: self.memories.saturating_sub(other.memories), bytes: self.bytes.saturating_sub(other.bytes) }
    }

    fn fits(self, other: Self) -> bool {
        self.memories <= other.memories && self.bytes <= other.bytes
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.memories {
            0 => {}
            1 => f.write_str("one memory with ")?,
            many => write!(f, "{many} memories with ")?,
        }
        write!(f, "{} KiB", self.bytes.div_ceil(1024))
    }
}

/// The tenant that an instance belongs to. `None` if no tenants share the pool.
pub(crate) type Tenant = Option<u64>;

/// The capacity, the amounts in use, and the requests that wait.
///
/// The amounts in use are counted without a lock, because guests at low priority take bytes and release permits. A thread at
/// low priority may be off the CPU for a long time, and no other thread may wait for a lock that it holds.
#[derive(Debug)]
pub(crate) struct InstancePool {
    capacity: Amount,
    used: AtomicAmount,
    queue: Mutex<PoolQueue>,
}

/// An amount that several threads change at the same time.
#[derive(Debug, Default)]
struct AtomicAmount {
    memories: AtomicUsize,
    bytes: AtomicUsize,
}

#[derive(Debug, Default)]
struct PoolQueue {
    /// The amount that each tenant holds.
    tenants: HashMap<Tenant, Arc<AtomicAmount>>,
    /// The waiting requests, in the order of arrival.
    waiting: Vec<Waiter>,
}

#[derive(Debug)]
struct Waiter {
    tenant: Tenant,
    /// The amount that its tenant holds.
    held: Arc<AtomicAmount>,
    /// The need of each instance.
    needs: Vec<Amount>,
    /// The sum of the needs.
    asked: Amount,
    granted: oneshot::Sender<Vec<SharedPermit>>,
}

/// The permit of one instance. The instance and its calls share it, because a cancelled call may use the memory for a moment
/// longer than the instance lives.
pub(crate) type SharedPermit = Arc<PoolPermit>;

/// The part of the pool that one instance holds. Dropping it returns that part.
#[derive(Debug)]
pub(crate) struct PoolPermit {
    pool: Arc<InstancePool>,
    tenant: Tenant,
    /// The amount that its tenant holds.
    held: Arc<AtomicAmount>,
    memories: usize,
    bytes: AtomicUsize,
}

impl AtomicAmount {
    fn now(&self) -> Amount {
        Amount { memories: self.memories.load(Relaxed), bytes: self.bytes.load(Relaxed) }
    }

    /// Adds `amount`, and returns the sum.
    fn add(&self, amount: Amount) -> Amount {
        let memories = self.memories.fetch_add(amount.memories, Relaxed).saturating_add(amount.memories);
        Amount { memories, bytes: self.bytes.fetch_add(amount.bytes, Relaxed).saturating_add(amount.bytes) }
    }

    fn remove(&self, amount: Amount) {
        self.memories.fetch_sub(amount.memories, Relaxed);
        self.bytes.fetch_sub(amount.bytes, Relaxed);
    }
}

impl InstancePool {
    /// An empty pool of this capacity.
    pub(crate) fn new(capacity: Amount) -> Arc<Self> {
        Arc::new(Self { capacity, used: AtomicAmount::default(), queue: Mutex::default() })
    }

    /// The total amount that instances can hold.
    pub(crate) fn capacity(&self) -> Amount {
        self.capacity
    }

    fn queue(&self) -> MutexGuard<'_, PoolQueue> {
        // The code that runs under the lock does not panic.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The sum of `needs`.
    ///
    /// # Errors
    /// `SandboxError::TooMuch` if the sum exceeds the capacity.
    pub(crate) fn check(&self, needs: impl Iterator<Item = Amount>) -> Result<Amount, SandboxError> {
        let asked = needs.fold(Amount::default(), Amount::plus);
        if asked.fits(self.capacity) {
            return Ok(asked);
        }
        Err(SandboxError::TooMuch { asked: asked.to_string(), limit: self.capacity.to_string() })
    }

    /// Permits for instances with these `needs`. They are granted all at once, so that two requests cannot each hold a permit
    /// that the other needs.
    ///
    /// # Errors
    /// `SandboxError::ShareUsed` if the permits are not granted within `wait` because of the amount that `tenant` holds,
    /// `SandboxError::Full` if they are not granted for another reason, `SandboxError::TooMuch` if the needs exceed the
    /// capacity.
    pub(crate) async fn take(
        self: &Arc<Self>,
        tenant: Tenant,
        needs: Vec<Amount>,
        wait: Duration,
    ) -> Result<Vec<SharedPermit>, SandboxError> {
        let asked = self.check(needs.iter().copied())?;
        let (granted, mut permits) = oneshot::channel();
        let held = {
            let mut queue = self.queue();
            let held = Arc::clone(queue.tenants.entry(tenant).or_default());
            if queue.waiting_of(tenant) >= limits::PLUGIN_POOL_WAITING_MAX {
                return Err(self.refusal(tenant, held.now(), asked));
            }
            queue.waiting.push(Waiter { tenant, held: Arc::clone(&held), needs, asked, granted });
            held
        };
        let waiting = async {
            loop {
                self.serve();
                // Threads at low priority release permits without a wake-up, so look again after a while.
                if let Ok(permits) = tokio::time::timeout(limits::PLUGIN_POOL_PERIOD, &mut permits).await {
                    return permits.ok();
                }
            }
        };
        let permits = tokio::time::timeout(wait, waiting).await.ok().flatten();
        permits.ok_or_else(|| self.refusal(tenant, held.now(), asked))
    }

    /// The permit for one instance, as `take`.
    ///
    /// # Errors
    /// As `take`.
    pub(crate) async fn take_one(
        self: &Arc<Self>,
        tenant: Tenant,
        need: Amount,
        wait: Duration,
    ) -> Result<SharedPermit, SandboxError> {
        let permits = self.take(tenant, vec![need], wait).await?;
        // `take` grants one permit for each need.
        permits.into_iter().next().ok_or_else(|| SandboxError::Host("the pool granted no permit".to_owned()))
    }

    /// Serves waiting requests until none of them can be served.
    fn serve(self: &Arc<Self>) {
        loop {
            let granted = {
                let mut queue = self.queue();
                queue.tidy();
                let Some(waiter) = self.next(&mut queue) else { return };
                let Waiter { tenant, held, needs, granted, .. } = waiter;
                let permit = |amount: Amount| {
                    let (pool, held) = (Arc::clone(self), Arc::clone(&held));
                    Arc::new(PoolPermit { pool, tenant, held, memories: amount.memories, bytes: amount.bytes.into() })
                };
                granted.send(needs.into_iter().map(permit).collect())
            };
            // Outside the lock: if the request stopped waiting, dropping its permits serves the queue again.
            drop(granted);
        }
    }

    /// Removes the waiting request that is served next, and counts the amount that it asked for as held by its tenant.
    fn next(&self, queue: &mut PoolQueue) -> Option<Waiter> {
        let mut order: Vec<usize> = (0..queue.waiting.len()).collect();
        // The sort is stable: among tenants that hold the same, the request that came first is served first.
        order.sort_by_key(|index| queue.waiting.get(*index).map(|waiter| waiter.held.now().memories));
        let is_served = |index: &usize| {
            queue.waiting.get(*index).is_some_and(|waiter| self.add(waiter.tenant, &waiter.held, waiter.asked, None))
        };
        let next = order.into_iter().find(is_served)?;
        Some(queue.waiting.remove(next))
    }

    /// Counts `asked` as held by `tenant`, if the tenant may have it. `permit` is the amount of the permit that grows, if one
    /// does. A tenant that holds nothing else may take all that is free.
    fn add(&self, tenant: Tenant, held: &AtomicAmount, asked: Amount, permit: Option<Amount>) -> bool {
        let may = |used: Amount, own: Amount| {
            let is_alone = tenant.is_none() || own == permit.unwrap_or_default().plus(asked);
            used.fits(self.capacity) && (is_alone || own.fits(self.capacity.minus(used)))
        };
        // Checked before counting, so that a refused request does not change the counts that others read.
        if !may(self.used.now().plus(asked), held.now().plus(asked)) {
            return false;
        }
        if may(self.used.add(asked), held.add(asked)) {
            return true;
        }
        self.used.remove(asked);
        held.remove(asked);
        false
    }

    /// The reason why `tenant` cannot have `asked`: its own share, if the tenant could have it without what it holds.
    fn refusal(&self, tenant: Tenant, held: Amount, asked: Amount) -> SandboxError {
        let free = self.capacity.minus(self.used.now());
        let (asked_for, limit) = (asked.to_string(), self.capacity.to_string());
        if tenant.is_some() && held != Amount::default() && asked.fits(free.plus(held)) {
            return SandboxError::ShareUsed { asked: asked_for, held: held.to_string(), limit };
        }
        SandboxError::Full { asked: asked_for, limit }
    }
}

impl PoolQueue {
    fn waiting_of(&self, tenant: Tenant) -> usize {
        self.waiting.iter().filter(|waiter| waiter.tenant == tenant && !waiter.granted.is_closed()).count()
    }

    /// Removes requests that stopped waiting, and tenants that hold nothing.
    fn tidy(&mut self) {
        self.waiting.retain(|waiter| !waiter.granted.is_closed());
        // Each permit and each waiting request of a tenant holds a reference to its count.
        if self.tenants.len() > limits::PLUGIN_POOL_TENANTS_CACHED {
            self.tenants.retain(|_, held| Arc::strong_count(held) > 1);
        }
    }
}

impl PoolPermit {
    /// Grows the permit to at least `bytes` bytes.
    ///
    /// # Errors
    /// As [`InstancePool::take`], without waiting.
    pub(crate) fn cover(&self, bytes: usize) -> Result<(), SandboxError> {
        // A store grows one memory at a time, so no other call changes `bytes` here.
        let now = Amount { memories: self.memories, bytes: self.bytes.load(Relaxed) };
        let more = Amount { memories: 0, bytes: bytes.saturating_sub(now.bytes) };
        if more.bytes == 0 {
            return Ok(());
        }
        if !self.pool.add(self.tenant, &self.held, more, Some(now)) {
            // This permit is no reason for the refusal: only other permits of the tenant could be released.
            return Err(self.pool.refusal(self.tenant, self.held.now().minus(now), more));
        }
        self.bytes.fetch_add(more.bytes, Relaxed);
        Ok(())
    }
}

impl Drop for PoolPermit {
    fn drop(&mut self) {
        let amount = Amount { memories: self.memories, bytes: *self.bytes.get_mut() };
        self.held.remove(amount);
        self.pool.used.remove(amount);
        if !priority::is_low() {
            self.pool.serve();
        }
    }
}

#[cfg(test)]
mod tests;
