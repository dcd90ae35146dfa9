//! Who may come in, and in which order: a ticket for each running request, a bounded waiting room, and between
//! tenants fair queueing by weight.
//!
//! A tenant that floods waits behind itself. Two rules keep it from shutting others out where order alone would not:
//! some places are for tenants that have nothing running, and a full waiting room is relieved of a request of the
//! tenant that has most in it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use firebox_contract::limits::RETRY_AFTER_MAX;
use firebox_contract::{Caller, Clock, Error, TenantId};
use tokio::sync::{Notify, oneshot};

use crate::fair::FairClock;
use crate::status::{EngineCounters, Meter, lock};

const RETRY_AFTER_MIN: Duration = Duration::from_secs(1);
/// What one request that waits counts for, to be divided by a weight.
const LOAD: u64 = 1 << 32;

/// The numbers of an admission.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Requests that run.
    pub running_max: usize,
    /// Requests that run beyond that, one for each tenant without any.
    pub reserved: usize,
    /// Requests that wait.
    pub waiting_max: usize,
    /// How long one waits.
    pub wait_max: Duration,
}

/// Who may use one model.
pub struct Admission {
    door: Arc<Door>,
}

struct Door {
    state: Mutex<State>,
    rules: Rules,
    clock: Arc<dyn Clock>,
    meter: Arc<Meter>,
    /// Nothing runs any more.
    idle: Notify,
}

#[derive(Default)]
struct State {
    closed: bool,
    running: usize,
    /// Between tenants that wait.
    fair: FairClock,
    arrivals: u64,
    /// By start tag, then by arrival.
    waiting: BTreeMap<Key, Waiting>,
    /// Tenants that have something here.
    tenants: HashMap<TenantId, Share>,
    /// How long a ticket is held, as a moving average.
    held: Duration,
}

type Key = (u64, u64);

#[derive(Default)]
struct Share {
    running: usize,
    waiting: usize,
    weight: u32,
}

struct Waiting {
    tenant: TenantId,
    arrived: Duration,
    answer: oneshot::Sender<Result<Ticket, Error>>,
}

/// An answer to be sent when the lock is free again: a ticket that nobody takes comes back through the door.
type Answer = (oneshot::Sender<Result<Ticket, Error>>, Result<Ticket, Error>);

/// A place on the road; travels with the request and is given back when that is dropped, on every path.
pub struct Ticket {
    door: Arc<Door>,
    tenant: TenantId,
    since: Duration,
}

/// A place in the waiting room; given back when the request that waits is dropped.
struct Place {
    door: Arc<Door>,
    key: Key,
}

impl Admission {
    /// An admission by these rules, which counts for itself.
    #[must_use]
    pub fn alone(rules: Rules, clock: Arc<dyn Clock>) -> Self {
        Self::new(rules, clock, Arc::new(Meter::new()))
    }

    /// How many were admitted, run, wait and were refused.
    #[must_use]
    pub fn counters(&self) -> EngineCounters {
        self.door.meter.counters()
    }

    pub(crate) fn new(rules: Rules, clock: Arc<dyn Clock>, meter: Arc<Meter>) -> Self {
        Self { door: Arc::new(Door { state: Mutex::default(), rules, clock, meter, idle: Notify::new() }) }
    }

    /// A ticket, waiting for it until `deadline` at most. Dropping the future leaves the queue.
    ///
    /// # Errors
    /// `Error::Limited` when the tenant has all it may have, the room is full or the wait was too long,
    /// `Error::Timeout` when `deadline` came first, `Error::Unavailable` when the engine closes.
    pub async fn admit(&self, caller: &Caller, deadline: Duration) -> Result<Ticket, Error> {
        let arrived = self.door.clock.now();
        let (place, answer) = self.door.enter(caller, arrived)?;
        let left = deadline.saturating_sub(arrived);
        let patience = self.door.rules.wait_max.min(left);
        tokio::select! {
            biased;
            answer = answer => answer.unwrap_or_else(|_| Err(closing())),
            () = self.door.clock.sleep(patience) => {
                drop(place);
                self.door.meter.count(|counters| counters.refused += 1);
                match left <= self.door.rules.wait_max {
                    true => Err(Error::Timeout("the request's time was up while it waited for its turn".to_owned())),
                    false => Err(self.door.busy(patience)),
                }
            }
        }
    }

    /// Refuses everybody from now on, also those who wait, and waits for the others until `time` has passed. How
    /// many still run then.
    pub(crate) async fn close(&self, time: Duration) -> usize {
        let left = self.door.shut();
        for waiting in left {
            // One that is gone by now needs no answer.
            let _gone = waiting.answer.send(Err(closing()));
        }
        let timer = self.door.clock.sleep(time);
        let emptied = async {
            loop {
                let idle = self.door.idle.notified();
                if self.running() == 0 {
                    return;
                }
                idle.await;
            }
        };
        tokio::select! { biased; () = emptied => 0, () = timer => self.running() }
    }

    fn running(&self) -> usize {
        lock(&self.door.state).running
    }
}

impl Door {
    fn enter(
        self: &Arc<Self>,
        caller: &Caller,
        now: Duration,
    ) -> Result<(Place, oneshot::Receiver<Result<Ticket, Error>>), Error> {
        let (answer, receiver) = oneshot::channel();
        let mut state = lock(&self.state);
        if let Err(error) = state.check(caller, self.rules.running_max) {
            self.meter.count(|counters| counters.refused += 1);
            return Err(error);
        }
        let key = state.push(caller, now, answer);
        let mut answers = self.dispatch(&mut state, now);
        if state.waiting.len() > self.rules.waiting_max
            && let Some(removed) = state.give_up_one()
        {
            let full =
                format!("{} requests wait for the model, which is its limit; try again later", self.rules.waiting_max);
            answers.push((removed, Err(Error::Limited { message: full, retry_after: state.retry_after(&self.rules) })));
            self.meter.count(|counters| counters.refused += 1);
        }
        self.tell(&state);
        drop(state);
        send(answers);
        Ok((Place { door: Arc::clone(self), key }, receiver))
    }

    /// Gives tickets to those whose turn it is.
    fn dispatch(self: &Arc<Self>, state: &mut State, now: Duration) -> Vec<Answer> {
        let mut answers = Vec::new();
        while let Some(key) = state.next(&self.rules) {
            let Some(waiting) = state.waiting.remove(&key) else { break };
            state.fair.begin(key.0);
            state.running += 1;
            let share = state.tenants.entry(waiting.tenant.clone()).or_default();
            share.waiting -= 1;
            share.running += 1;
            self.meter.count(|counters| {
                counters.admitted += 1;
                counters.queue_wait += now.saturating_sub(waiting.arrived);
            });
            let ticket = Ticket { door: Arc::clone(self), tenant: waiting.tenant, since: now };
            answers.push((waiting.answer, Ok(ticket)));
        }
        answers
    }

    fn shut(&self) -> Vec<Waiting> {
        let mut state = lock(&self.state);
        state.closed = true;
        let left: Vec<Waiting> = std::mem::take(&mut state.waiting).into_values().collect();
        for waiting in &left {
            state.leave(&waiting.tenant, |share| share.waiting -= 1);
        }
        self.tell(&state);
        left
    }

    fn busy(&self, waited: Duration) -> Error {
        let state = lock(&self.state);
        Error::Limited {
            message: format!(
                "the model answers {} requests and {} wait; no turn came within {} seconds; try again later",
                state.running,
                state.waiting.len(),
                waited.as_secs()
            ),
            retry_after: state.retry_after(&self.rules),
        }
    }

    fn tell(&self, state: &State) {
        self.meter.count(|counters| (counters.running, counters.waiting) = (state.running, state.waiting.len()));
    }
}

impl State {
    fn check(&self, caller: &Caller, running_max: usize) -> Result<(), Error> {
        if self.closed {
            return Err(closing());
        }
        let used = self.tenants.get(&caller.tenant).map_or(0, |share| share.running + share.waiting);
        if used < caller.in_flight_max {
            return Ok(());
        }
        let message = format!(
            "tenant \"{}\" already has {used} requests at this model, which is its limit; try again when one has ended",
            caller.tenant
        );
        let rate = u32::try_from(used.clamp(1, running_max.max(1))).unwrap_or(u32::MAX);
        Err(Error::Limited { message, retry_after: clamp(self.held / rate) })
    }

    fn push(&mut self, caller: &Caller, now: Duration, answer: oneshot::Sender<Result<Ticket, Error>>) -> Key {
        let share = self.tenants.entry(caller.tenant.clone()).or_default();
        share.weight = caller.weight.max(1);
        share.waiting += 1;
        let start = self.fair.enter(&caller.tenant, caller.weight, 1);
        self.arrivals += 1;
        let key = (start, self.arrivals);
        self.waiting.insert(key, Waiting { tenant: caller.tenant.clone(), arrived: now, answer });
        key
    }

    /// Whose turn it is, if there is a place for it.
    fn next(&self, rules: &Rules) -> Option<Key> {
        if self.running < rules.running_max {
            return self.waiting.keys().next().copied();
        }
        if self.running >= rules.running_max + rules.reserved {
            return None;
        }
        let idle = |tenant| self.tenants.get(tenant).is_none_or(|share: &Share| share.running == 0);
        self.waiting.iter().find(|(_, waiting)| idle(&waiting.tenant)).map(|(key, _)| *key)
    }

    /// Takes the newest request of the tenant that has most waiting for its weight.
    fn give_up_one(&mut self) -> Option<oneshot::Sender<Result<Ticket, Error>>> {
        let load = |share: &Share| (share.waiting as u64) * LOAD / u64::from(share.weight.max(1));
        let heaviest = self.tenants.iter().max_by_key(|(_, share)| load(share))?.0.clone();
        let key = *self.waiting.iter().rev().find(|(_, waiting)| waiting.tenant == heaviest)?.0;
        let waiting = self.waiting.remove(&key)?;
        self.leave(&heaviest, |share| share.waiting -= 1);
        Some(waiting.answer)
    }

    /// Forgets a tenant that has nothing here any more: its next request starts at once.
    fn leave(&mut self, tenant: &TenantId, change: impl FnOnce(&mut Share)) {
        if let Some(share) = self.tenants.get_mut(tenant) {
            change(share);
            if share.running + share.waiting == 0 {
                self.tenants.remove(tenant);
                self.fair.forget(tenant);
            }
        }
    }

    /// When a place is likely: as long as those before it need, at the rate tickets come back.
    fn retry_after(&self, rules: &Rules) -> Duration {
        let places = u32::try_from(rules.running_max.max(1)).unwrap_or(u32::MAX);
        let before = u32::try_from(self.waiting.len() + 1).unwrap_or(u32::MAX);
        clamp((self.held / places).saturating_mul(before))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let now = self.door.clock.now();
        let mut state = lock(&self.door.state);
        state.running -= 1;
        state.leave(&self.tenant, |share| share.running -= 1);
        state.held = (state.held * 7 + now.saturating_sub(self.since)) / 8;
        let answers = self.door.dispatch(&mut state, now);
        self.door.tell(&state);
        let idle = state.running == 0;
        drop(state);
        send(answers);
        if idle {
            self.door.idle.notify_waiters();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = lock(&self.door.state);
        if let Some(waiting) = state.waiting.remove(&self.key) {
            state.leave(&waiting.tenant, |share| share.waiting -= 1);
            self.door.tell(&state);
        }
    }
}

fn send(answers: Vec<Answer>) {
    for (sender, answer) in answers {
        // Who is gone by now leaves the ticket here, and dropping it gives it to the next.
        drop(sender.send(answer));
    }
}

fn clamp(time: Duration) -> Duration {
    time.clamp(RETRY_AFTER_MIN, RETRY_AFTER_MAX)
}

fn closing() -> Error {
    Error::Unavailable("the host is shutting down; ask another or try again later".to_owned())
}
