//! The linear memories of all instances that are alive, and the bytes in them, shared between the owners of instances.
//!
//! An owner may hold no more than it leaves free. So however many requests one owner has, the next owner finds room, and
//! the more owners hold something, the less each of them may hold. Who waits is served in the order of what their owners
//! hold, the least first.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use firebox_contract::limits;
use tokio::sync::oneshot;

use crate::error::SandboxError;
use crate::priority;

/// What instances take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Amount {
    /// Linear memories; an instance without one counts as one.
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

/// Whose instance it is; nobody in particular where there is nobody to share with.
pub(crate) type Owner = Option<u64>;

/// What there is, who holds it, and who waits.
///
/// What is held is counted without a lock, since guests of low priority take bytes and give rooms back: a thread of theirs
/// may wait for its turn for long, and what it holds meanwhile nobody may have to wait for.
#[derive(Debug)]
pub(crate) struct Pool {
    capacity: Amount,
    used: Counted,
    state: Mutex<State>,
}

/// An amount that threads change at the same time.
#[derive(Debug, Default)]
struct Counted {
    memories: AtomicUsize,
    bytes: AtomicUsize,
}

#[derive(Debug, Default)]
struct State {
    owners: HashMap<Owner, Arc<Counted>>,
    /// In the order of arrival.
    waiting: Vec<Waiter>,
}

#[derive(Debug)]
struct Waiter {
    owner: Owner,
    /// What its owner holds.
    held: Arc<Counted>,
    needs: Vec<Amount>,
    asked: Amount,
    granted: oneshot::Sender<Vec<Room>>,
}

/// What one instance holds, given back when the last who holds this is gone: the calls of an instance share it, since a
/// call that was cut off may hold its memory for a moment longer.
pub(crate) type Room = Arc<Held>;

#[derive(Debug)]
pub(crate) struct Held {
    pool: Arc<Pool>,
    owner: Owner,
    /// What its owner holds.
    held: Arc<Counted>,
    memories: usize,
    bytes: AtomicUsize,
}

impl Counted {
    fn now(&self) -> Amount {
        Amount { memories: self.memories.load(Relaxed), bytes: self.bytes.load(Relaxed) }
    }

    /// What it is after `amount` was added.
    fn add(&self, amount: Amount) -> Amount {
        let memories = self.memories.fetch_add(amount.memories, Relaxed).saturating_add(amount.memories);
        Amount { memories, bytes: self.bytes.fetch_add(amount.bytes, Relaxed).saturating_add(amount.bytes) }
    }

    fn remove(&self, amount: Amount) {
        self.memories.fetch_sub(amount.memories, Relaxed);
        self.bytes.fetch_sub(amount.bytes, Relaxed);
    }
}

impl Pool {
    /// A pool of so much.
    pub(crate) fn new(capacity: Amount) -> Arc<Self> {
        Arc::new(Self { capacity, used: Counted::default(), state: Mutex::default() })
    }

    /// What there is.
    pub(crate) fn capacity(&self) -> Amount {
        self.capacity
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that runs under the lock panics.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// These `needs` together.
    ///
    /// # Errors
    /// `SandboxError::TooMuch` if there could never be enough.
    pub(crate) fn check(&self, needs: impl Iterator<Item = Amount>) -> Result<Amount, SandboxError> {
        let asked = needs.fold(Amount::default(), Amount::plus);
        if asked.fits(self.capacity) {
            return Ok(asked);
        }
        Err(SandboxError::TooMuch { asked: asked.to_string(), limit: self.capacity.to_string() })
    }

    /// Room for instances with these `needs`, all at once so that two requests cannot each hold what the other needs.
    ///
    /// # Errors
    /// If nothing became free within `wait`: `SandboxError::ShareUsed` where what `owner` holds is the reason, else
    /// `SandboxError::Full`; `SandboxError::TooMuch` if there could never be enough.
    pub(crate) async fn take(
        self: &Arc<Self>,
        owner: Owner,
        needs: Vec<Amount>,
        wait: Duration,
    ) -> Result<Vec<Room>, SandboxError> {
        let asked = self.check(needs.iter().copied())?;
        let (granted, mut rooms) = oneshot::channel();
        let held = {
            let mut state = self.state();
            let held = Arc::clone(state.owners.entry(owner).or_default());
            if state.waiting_of(owner) >= limits::PLUGIN_POOL_WAITING_MAX {
                return Err(self.refusal(owner, held.now(), asked));
            }
            state.waiting.push(Waiter { owner, held: Arc::clone(&held), needs, asked, granted });
            held
        };
        let waiting = async {
            loop {
                self.serve();
                // Threads of low priority give rooms back without a word.
                if let Ok(rooms) = tokio::time::timeout(limits::PLUGIN_POOL_PERIOD, &mut rooms).await {
                    return rooms.ok();
                }
            }
        };
        let rooms = tokio::time::timeout(wait, waiting).await.ok().flatten();
        rooms.ok_or_else(|| self.refusal(owner, held.now(), asked))
    }

    /// As `take`, for one instance.
    ///
    /// # Errors
    /// As `take`.
    pub(crate) async fn take_one(
        self: &Arc<Self>,
        owner: Owner,
        need: Amount,
        wait: Duration,
    ) -> Result<Room, SandboxError> {
        let rooms = self.take(owner, vec![need], wait).await?;
        // One need, one room.
        rooms.into_iter().next().ok_or_else(|| SandboxError::Host("the pool gave no room".to_owned()))
    }

    /// Grants what can be granted.
    fn serve(self: &Arc<Self>) {
        loop {
            let granted = {
                let mut state = self.state();
                state.tidy();
                let Some(waiter) = self.next(&mut state) else { return };
                let Waiter { owner, held, needs, granted, .. } = waiter;
                let room = |amount: Amount| {
                    let (pool, held) = (Arc::clone(self), Arc::clone(&held));
                    Arc::new(Held { pool, owner, held, memories: amount.memories, bytes: amount.bytes.into() })
                };
                granted.send(needs.into_iter().map(room).collect())
            };
            // Outside the lock: who stopped waiting gives its rooms back here.
            drop(granted);
        }
    }

    /// The one of those who wait that is served next, with what it asked for counted as its own.
    fn next(&self, state: &mut State) -> Option<Waiter> {
        let mut order: Vec<usize> = (0..state.waiting.len()).collect();
        // Among those that hold as much, the first to come is the first to be served.
        order.sort_by_key(|place| state.waiting.get(*place).map(|waiter| waiter.held.now().memories));
        let is_served = |place: &usize| {
            state.waiting.get(*place).is_some_and(|waiter| self.add(waiter.owner, &waiter.held, waiter.asked, None))
        };
        let next = order.into_iter().find(is_served)?;
        Some(state.waiting.remove(next))
    }

    /// Counts `asked` as held by `owner`, in a room that holds `room` already, if it may have it. Who holds nothing else may
    /// take whatever is free.
    fn add(&self, owner: Owner, held: &Counted, asked: Amount, room: Option<Amount>) -> bool {
        let may = |used: Amount, own: Amount| {
            let is_alone = owner.is_none() || own == room.unwrap_or_default().plus(asked);
            used.fits(self.capacity) && (is_alone || own.fits(self.capacity.minus(used)))
        };
        // Who asks for too much changes nothing, not even for a moment, so that others do not notice.
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

    /// Why `owner` cannot have `asked`: what it holds itself, if it could have it otherwise.
    fn refusal(&self, owner: Owner, held: Amount, asked: Amount) -> SandboxError {
        let free = self.capacity.minus(self.used.now());
        let (asked_for, limit) = (asked.to_string(), self.capacity.to_string());
        if owner.is_some() && held != Amount::default() && asked.fits(free.plus(held)) {
            return SandboxError::ShareUsed { asked: asked_for, held: held.to_string(), limit };
        }
        SandboxError::Full { asked: asked_for, limit }
    }
}

impl State {
    fn waiting_of(&self, owner: Owner) -> usize {
        self.waiting.iter().filter(|waiter| waiter.owner == owner && !waiter.granted.is_closed()).count()
    }

    /// Forgets who stopped waiting, and owners that hold nothing.
    fn tidy(&mut self) {
        self.waiting.retain(|waiter| !waiter.granted.is_closed());
        // Whoever holds something, or waits, has the count too.
        if self.owners.len() > limits::PLUGIN_POOL_TENANTS_CACHED {
            self.owners.retain(|_, held| Arc::strong_count(held) > 1);
        }
    }
}

impl Held {
    /// Makes sure that this holds `bytes`: takes what is missing.
    ///
    /// # Errors
    /// As [`Pool::take`], at once.
    pub(crate) fn cover(&self, bytes: usize) -> Result<(), SandboxError> {
        // The store that it belongs to grows one memory at a time.
        let now = Amount { memories: self.memories, bytes: self.bytes.load(Relaxed) };
        let more = Amount { memories: 0, bytes: bytes.saturating_sub(now.bytes) };
        if more.bytes == 0 {
            return Ok(());
        }
        if !self.pool.add(self.owner, &self.held, more, Some(now)) {
            // What it holds itself is no reason: only its owner's other rooms could be given back for it.
            return Err(self.pool.refusal(self.owner, self.held.now().minus(now), more));
        }
        self.bytes.fetch_add(more.bytes, Relaxed);
        Ok(())
    }
}

impl Drop for Held {
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
