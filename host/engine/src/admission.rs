//! Admission: which requests may run, and in which order. Each running request holds a permit; others wait in a bounded
//! queue.
//!
//! Between tenants the order is start-time fair queueing by weight, so a tenant that floods waits behind itself. Two
//! more rules protect other tenants. Some permits are reserved for tenants that have nothing running. If the queue is
//! full, the newest request of the tenant with the most waiting requests is refused.

pub(crate) mod fair_clock;
mod queue;
pub(crate) mod tenant_permits;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use firebox_contract::{Caller, Clock, Error, TenantId};
use tokio::sync::{Notify, oneshot};

use self::queue::{Admitted, QueueKey, QueueState, WaitingRequest};
use crate::status::{EngineCounters, EngineMetrics, lock};

/// The limits of an admission.
#[derive(Debug, Clone, Copy)]
pub struct AdmissionLimits {
    /// Maximum number of running requests.
    pub running_max: usize,
    /// Further running requests, each for a tenant that has none running.
    pub reserved: usize,
    /// Maximum number of waiting requests.
    pub waiting_max: usize,
    /// Maximum time that a request waits.
    pub wait_max: Duration,
}

/// Admits requests to one model.
pub struct Admission {
    queue: Arc<AdmissionQueue>,
}

struct AdmissionQueue {
    state: Mutex<QueueState>,
    limits: AdmissionLimits,
    clock: Arc<dyn Clock>,
    metrics: Arc<EngineMetrics>,
    /// Notified when the last running request ends.
    idle: Notify,
}

/// A reply to a request. It is sent after the lock is released, because dropping an undeliverable permit takes the lock
/// again.
type AdmissionReply = (oneshot::Sender<Admitted>, Admitted);

/// The right of one request to run. It travels with the request; dropping it admits the next one.
pub struct AdmissionPermit {
    queue: Arc<AdmissionQueue>,
    tenant: TenantId,
    since: Duration,
}

/// A request's slot in the queue. Dropping it leaves the queue.
struct WaitingPermit {
    queue: Arc<AdmissionQueue>,
    key: QueueKey,
}

impl Admission {
    /// An admission of its own, with its own counters.
    #[must_use]
    pub fn standalone(limits: AdmissionLimits, clock: Arc<dyn Clock>) -> Self {
        Self::new(limits, clock, Arc::new(EngineMetrics::new()))
    }

    /// The numbers of running, waiting, admitted and refused requests.
    #[must_use]
    pub fn counters(&self) -> EngineCounters {
        self.queue.metrics.counters()
    }

    pub(crate) fn new(limits: AdmissionLimits, clock: Arc<dyn Clock>, metrics: Arc<EngineMetrics>) -> Self {
        let state = Mutex::default();
        Self { queue: Arc::new(AdmissionQueue { state, limits, clock, metrics, idle: Notify::new() }) }
    }

    /// Waits for a permit, until `deadline` at most. Dropping the future leaves the queue.
    ///
    /// # Errors
    /// `Error::Limited` if the tenant has its maximum of requests, the queue is full or `wait_max` passed.
    /// `Error::Timeout` if `deadline` passed first. `Error::Unavailable` if the engine closes.
    pub async fn admit(&self, caller: &Caller, deadline: Duration) -> Result<AdmissionPermit, Error> {
        let arrived = self.queue.clock.now();
        let (waiting_permit, reply) = self.queue.enqueue(caller, arrived)?;
        let left = deadline.saturating_sub(arrived);
        let wait = self.queue.limits.wait_max.min(left);
        tokio::select! {
            biased;
            reply = reply => reply.unwrap_or_else(|_| Err(closing())),
            () = self.queue.clock.sleep(wait) => {
                drop(waiting_permit);
                self.queue.metrics.count(|counters| counters.refused += 1);
                match left <= self.queue.limits.wait_max {
                    true => Err(Error::Timeout("the request timed out in the queue of the model; retry later".to_owned())),
                    false => Err(self.queue.waited_too_long(wait)),
                }
            }
        }
    }

    /// Refuses new and waiting requests from now on, and waits up to `time` for running ones to end. Returns the number
    /// of requests that still run then.
    pub(crate) async fn close(&self, time: Duration) -> usize {
        for waiting in self.queue.close() {
            // A request that is gone needs no reply.
            let _gone = waiting.reply.send(Err(closing()));
        }
        let timer = self.queue.clock.sleep(time);
        let emptied = async {
            loop {
                let idle = self.queue.idle.notified();
                if self.running() == 0 {
                    return;
                }
                idle.await;
            }
        };
        tokio::select! { biased; () = emptied => 0, () = timer => self.running() }
    }

    fn running(&self) -> usize {
        lock(&self.queue.state).running
    }
}

impl AdmissionQueue {
    fn enqueue(
        self: &Arc<Self>,
        caller: &Caller,
        now: Duration,
    ) -> Result<(WaitingPermit, oneshot::Receiver<Admitted>), Error> {
        let (reply, receiver) = oneshot::channel();
        let mut state = lock(&self.state);
        if let Err(error) = state.check(caller, self.limits.running_max) {
            self.metrics.count(|counters| counters.refused += 1);
            return Err(error);
        }
        let key = state.insert(caller, now, reply);
        let mut replies = self.dispatch(&mut state, now);
        if state.waiting.len() > self.limits.waiting_max
            && let Some(removed) = state.remove_newest_of_heaviest()
        {
            let message = format!("the queue of the model is full ({} requests); retry later", self.limits.waiting_max);
            replies.push((removed, Err(Error::Limited { message, retry_after: state.retry_after(&self.limits) })));
            self.metrics.count(|counters| counters.refused += 1);
        }
        self.publish_counts(&state);
        drop(state);
        send_replies(replies);
        Ok((WaitingPermit { queue: Arc::clone(self), key }, receiver))
    }

    /// Admits waiting requests as long as there are permits.
    fn dispatch(self: &Arc<Self>, state: &mut QueueState, now: Duration) -> Vec<AdmissionReply> {
        let mut replies = Vec::new();
        while let Some(waiting) = state.admit_next(&self.limits) {
            self.metrics.count(|counters| {
                counters.admitted += 1;
                counters.queue_wait += now.saturating_sub(waiting.arrived);
            });
            let permit = AdmissionPermit { queue: Arc::clone(self), tenant: waiting.tenant, since: now };
            replies.push((waiting.reply, Ok(permit)));
        }
        replies
    }

    fn close(&self) -> Vec<WaitingRequest> {
        let mut state = lock(&self.state);
        state.closed = true;
        let left: Vec<WaitingRequest> = std::mem::take(&mut state.waiting).into_values().collect();
        for waiting in &left {
            state.update_tenant(&waiting.tenant, |tenant| tenant.waiting -= 1);
        }
        self.publish_counts(&state);
        left
    }

    fn waited_too_long(&self, waited: Duration) -> Error {
        let state = lock(&self.state);
        Error::Limited {
            message: format!(
                "timed out after {} s in the queue of the model ({} requests running, {} waiting); retry later",
                waited.as_secs(),
                state.running,
                state.waiting.len()
            ),
            retry_after: state.retry_after(&self.limits),
        }
    }

    fn publish_counts(&self, state: &QueueState) {
        self.metrics.count(|counters| (counters.running, counters.waiting) = (state.running, state.waiting.len()));
    }
}

impl Drop for AdmissionPermit {
    fn drop(&mut self) {
        let now = self.queue.clock.now();
        let mut state = lock(&self.queue.state);
        state.release(&self.tenant, now.saturating_sub(self.since));
        let replies = self.queue.dispatch(&mut state, now);
        self.queue.publish_counts(&state);
        let idle = state.running == 0;
        drop(state);
        send_replies(replies);
        if idle {
            self.queue.idle.notify_waiters();
        }
    }
}

impl Drop for WaitingPermit {
    fn drop(&mut self) {
        let mut state = lock(&self.queue.state);
        if let Some(waiting) = state.waiting.remove(&self.key) {
            state.update_tenant(&waiting.tenant, |tenant| tenant.waiting -= 1);
            self.queue.publish_counts(&state);
        }
    }
}

fn send_replies(replies: Vec<AdmissionReply>) {
    for (sender, reply) in replies {
        // If the request is gone, dropping its permit admits the next one.
        drop(sender.send(reply));
    }
}

fn closing() -> Error {
    Error::Unavailable("the host is shutting down; use another host or retry later".to_owned())
}
