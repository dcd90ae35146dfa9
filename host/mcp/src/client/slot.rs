//! A place for one connection: connects, watches, tries again, gives up for a while, ends when nobody asks any more.

use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use firebox_contract::Caller;
use firebox_contract::limits::{
    MCP_CLIENT_BREAKER_FAILURES, MCP_CLIENT_HEALTH_PERIOD, MCP_CLIENT_LIST_REFRESH_PERIOD, MCP_CLIENT_RECONNECT_WAIT,
    MCP_CLIENT_STABLE_TIME,
};
use rmcp::service::Subscription;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::backoff::Pace;
use super::catalog::Offer;
use super::connection::{self, Connection, Engine};
use super::opening::{self, Dialect};
use super::spec::{Key, ServerSpec};
use crate::{McpError, Revision};

/// How a server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerState {
    /// Nobody has asked for it.
    Idle,
    /// It is being started or reached.
    Connecting,
    /// Its tools can be called.
    Ready,
    /// It failed; it is tried again.
    Down,
}

impl ServerState {
    /// The stable name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Connecting => "connecting",
            Self::Ready => "ready",
            Self::Down => "down",
        }
    }
}

/// Where a slot stands.
#[derive(Clone)]
pub(super) enum Phase {
    /// `again` where it failed before.
    Connecting { again: bool },
    /// Calls go through.
    Ready(Arc<Connection>),
    /// Not before that moment.
    Down { error: McpError, until: Instant },
    /// Over: nobody asked for long, or the pool closed.
    Closed,
}

/// What all slots of a pool share.
#[derive(Debug)]
pub(super) struct Common {
    /// Counts changes of anybody's list.
    pub(super) revision: Revision,
    /// Children there are.
    pub(super) alive: Arc<AtomicUsize>,
    /// Time without use after which a connection is closed; `None` for never.
    pub(super) idle_time: Option<Duration>,
    /// How fast a server is tried again.
    pub(super) pace: Pace,
}

impl Common {
    fn changed(&self) {
        self.revision.advance();
    }
}

/// The place of one connection.
pub(super) struct Slot {
    pub(super) spec: Arc<ServerSpec>,
    pub(super) key: Key,
    /// Whose it is; of a shared one, who began it.
    pub(super) caller: Caller,
    common: Arc<Common>,
    phase: watch::Sender<Phase>,
    /// What it offered last, so that names stay what they are while it is down.
    known: Mutex<Offer>,
    used: Mutex<Instant>,
    /// When it was first reached for, or was lost last.
    unsettled: Mutex<Instant>,
    wanted: Notify,
    /// How it was spoken to last.
    dialect: Mutex<Dialect>,
    failures: AtomicU32,
    stop: CancellationToken,
    last_error: Mutex<Option<McpError>>,
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").field("server", &self.spec.name).finish_non_exhaustive()
    }
}

/// How a connection's time ended.
enum End {
    /// On purpose.
    Stopped,
    /// Not on purpose; whether it had shown that it works.
    Lost { error: McpError, proven: bool },
}

impl Slot {
    /// A slot that connects now and goes on until [`Slot::stop`]. The handle ends with its child.
    pub(super) fn start(
        spec: &Arc<ServerSpec>,
        caller: Caller,
        common: &Arc<Common>,
    ) -> (Arc<Self>, tokio::task::JoinHandle<()>) {
        let slot = Arc::new(Self {
            spec: Arc::clone(spec),
            key: spec.key(&caller.tenant),
            caller,
            common: Arc::clone(common),
            phase: watch::Sender::new(Phase::Connecting { again: false }),
            known: Mutex::default(),
            used: Mutex::new(Instant::now()),
            unsettled: Mutex::new(Instant::now()),
            wanted: Notify::new(),
            dialect: Mutex::default(),
            failures: AtomicU32::new(0),
            stop: CancellationToken::new(),
            last_error: Mutex::new(None),
        });
        let task = tokio::spawn(drive(Arc::clone(&slot)));
        (slot, task)
    }

    /// Ends it; the connection closes within its grace.
    pub(super) fn stop(&self) {
        self.stop.cancel();
    }

    /// Whether it will never connect again.
    pub(super) fn is_closed(&self) -> bool {
        self.stop.is_cancelled() || matches!(*self.phase.borrow(), Phase::Closed)
    }

    /// Whether calls are running.
    pub(super) fn busy(&self) -> bool {
        matches!(&*self.phase.borrow(), Phase::Ready(connection) if connection.busy())
    }

    /// When somebody last wanted it.
    pub(super) fn used(&self) -> Instant {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it offers, or offered last, under the tools' own names.
    pub(super) fn known(&self) -> Offer {
        Arc::clone(&self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How it is now.
    pub(super) fn state(&self) -> ServerState {
        match &*self.phase.borrow() {
            Phase::Connecting { .. } => ServerState::Connecting,
            Phase::Ready(_) => ServerState::Ready,
            Phase::Down { .. } => ServerState::Down,
            Phase::Closed => ServerState::Idle,
        }
    }

    /// Why it failed last; nothing once it works again.
    pub(super) fn last_error(&self) -> Option<McpError> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Failures in a row, until now.
    pub(super) fn failures(&self) -> u32 {
        self.failures.load(Ordering::Relaxed)
    }

    /// A connection that can carry a call. Waits for one that is being made: the first as long as that may take, a
    /// repeated one for `again` at most. A server that is down is an error at once.
    pub(super) async fn ready(&self, again: Duration) -> Result<Arc<Connection>, McpError> {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.wanted.notify_one();
        let mut phase = self.phase.subscribe();
        // `drive` bounds a first attempt by the connect timeout; the margin is for closing what failed.
        let first = matches!(*phase.borrow(), Phase::Connecting { again: false });
        let wait = if first { self.spec.connect_timeout + Duration::from_secs(5) } else { again };
        let settled = phase.wait_for(|phase| match phase {
            Phase::Connecting { .. } => false,
            // Its end is known here before `drive` has taken note.
            Phase::Ready(connection) => !connection.is_gone(),
            Phase::Down { .. } | Phase::Closed => true,
        });
        let server = || self.spec.name.clone();
        match timeout(wait, settled).await {
            Ok(Ok(phase)) => match &*phase {
                Phase::Ready(connection) => Ok(Arc::clone(connection)),
                Phase::Down { error, until } => Err(McpError::Down {
                    server: server(),
                    reason: reason(error),
                    retry_in: until.saturating_duration_since(Instant::now()),
                }),
                _ => Err(McpError::Connect { server: server(), reason: "it was closed".to_owned() }),
            },
            _ => Err(McpError::Connect { server: server(), reason: "it is still being reached".to_owned() }),
        }
    }

    /// Waits until it is known whether its tools are there, for a short time after it was first reached for or was lost: a
    /// server that hangs does not hold up every request.
    pub(super) async fn settled(&self) {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.wanted.notify_one();
        let deadline = *self.unsettled.lock().unwrap_or_else(PoisonError::into_inner) + MCP_CLIENT_RECONNECT_WAIT;
        let mut phase = self.phase.subscribe();
        let settled = phase.wait_for(|phase| !matches!(phase, Phase::Connecting { .. }));
        // What is not there by then is missing from this request.
        drop(timeout_at(deadline, settled).await);
    }

    fn set(&self, phase: Phase) {
        self.phase.send_replace(phase);
    }

    fn learn(&self, connection: &Connection) {
        let offer = connection.offer();
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = offer;
    }

    fn remember(&self, error: Option<McpError>) {
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = error;
    }

    /// The moment at which nobody has asked for too long.
    fn expiry(&self) -> Option<Instant> {
        self.common.idle_time.map(|time| self.used() + time)
    }
}

/// The words of an error that will be told under the server's name.
fn reason(error: &McpError) -> String {
    match error {
        McpError::Connect { reason, .. } | McpError::Down { reason, .. } | McpError::Lost { reason, .. } => {
            reason.clone()
        }
        other => other.to_string(),
    }
}

/// A slot's whole life.
async fn drive(slot: Arc<Slot>) {
    let mut failures: u32 = 0;
    let mut again = false;
    loop {
        slot.set(Phase::Connecting { again });
        let dialect = *slot.dialect.lock().unwrap_or_else(PoisonError::into_inner);
        let opened = tokio::select! {
            opened = opening::open(&slot.spec, &slot.common.alive, dialect) => opened,
            () = slot.stop.cancelled() => break,
        };
        let error = match opened {
            Ok((connection, engine)) => match live(&slot, Arc::new(connection), engine).await {
                End::Stopped => break,
                End::Lost { error, proven } => {
                    failures = if proven { 0 } else { failures };
                    again = true;
                    if failures == 0 {
                        // One try at once: who waits to repeat a call that changes nothing should not wait long.
                        failures = u32::from(!proven);
                        tracing::warn!(server = %slot.spec.name, "{error}");
                        slot.remember(Some(error));
                        continue;
                    }
                    error
                }
            },
            Err(error) => error,
        };
        (failures, again) = (failures.saturating_add(1), true);
        tracing::warn!(server = %slot.spec.name, failures, "{error}");
        if !pause(&slot, error, failures).await {
            break;
        }
    }
    slot.set(Phase::Closed);
    *slot.known.lock().unwrap_or_else(PoisonError::into_inner) = Offer::default();
}

/// Waits until the server may be tried again; false when the slot is over.
async fn pause(slot: &Slot, error: McpError, failures: u32) -> bool {
    let open = failures >= MCP_CLIENT_BREAKER_FAILURES;
    let until = Instant::now() + if open { slot.common.pace.open } else { slot.common.pace.delay(failures) };
    slot.failures.store(failures, Ordering::Relaxed);
    slot.remember(Some(error.clone()));
    slot.set(Phase::Down { error, until });
    let waited = async {
        sleep_until(until).await;
        if open {
            // Half open: one try, and only for somebody who asks from now on.
            let before = slot.used();
            while slot.used() == before {
                slot.wanted.notified().await;
            }
        }
    };
    let expired = async {
        while let Some(expiry) = slot.expiry().filter(|expiry| *expiry > Instant::now()) {
            sleep_until(expiry).await;
        }
        if slot.common.idle_time.is_none() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = waited => true,
        () = expired => false,
        () = slot.stop.cancelled() => false,
    }
}

/// A connection's life, from its first call to its end.
async fn live(slot: &Slot, connection: Arc<Connection>, engine: Engine) -> End {
    let since = Instant::now();
    *slot.dialect.lock().unwrap_or_else(PoisonError::into_inner) = connection.dialect();
    slot.learn(&connection);
    slot.remember(None);
    slot.failures.store(0, Ordering::Relaxed);
    slot.set(Phase::Ready(Arc::clone(&connection)));
    slot.common.changed();
    let mut engine = engine;
    let lost = tokio::select! {
        biased;
        // Also where it is being asked something, which may take a while.
        () = slot.stop.cancelled() => None,
        lost = watch_over(slot, &connection) => lost,
    };
    let end = match lost {
        None => End::Stopped,
        Some(mut reason) => {
            *slot.unsettled.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
            slot.set(Phase::Connecting { again: true });
            if let Some(words) = engine.last_words().await {
                reason = format!("{reason}; it said last: {words}");
            }
            let error = McpError::Connect { server: slot.spec.name.clone(), reason: slot.spec.redact(&reason) };
            let worked = connection.is_proven() || since.elapsed() >= MCP_CLIENT_STABLE_TIME;
            End::Lost { error, proven: worked && !connection.is_flooded() }
        }
    };
    if matches!(end, End::Stopped) {
        slot.set(Phase::Closed);
    }
    slot.common.changed();
    engine.close().await;
    end
}

/// Waits for the connection's end: `None` when it is wanted no longer, else why it failed.
async fn watch_over(slot: &Slot, connection: &Connection) -> Option<String> {
    let mut subscription = connection.subscribe().await;
    loop {
        let expiry = slot.expiry();
        let check = connection.heard() + MCP_CLIENT_HEALTH_PERIOD;
        let ill = tokio::select! {
            () = connection.gone() => return Some(connection.why().to_owned()),
            () = connection.suspect.notified() => connection.health().await.err(),
            () = connection.list_changed.notified() => refresh(slot, connection).await,
            () = told(&mut subscription) => refresh(slot, connection).await,
            () = until(expiry) => {
                if slot.expiry().is_some_and(|expiry| expiry <= Instant::now()) && !connection.busy() {
                    return None;
                }
                None
            }
            () = sleep_until(check) => {
                if subscription.is_none() {
                    subscription = connection.subscribe().await;
                }
                connection.health().await.err()
            }
        };
        if let Some(failure) = ill {
            return Some(failure.words());
        }
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        // Never at once: a busy connection past its time is looked at again, not all the time.
        Some(moment) => sleep_until(moment.max(Instant::now() + Duration::from_millis(50))).await,
        None => std::future::pending().await,
    }
}

/// Ends when the subscription tells of a change. One that ends is forgotten; the next check asks for another.
async fn told(subscription: &mut Option<Subscription>) {
    if let Some(open) = subscription {
        if matches!(open.next().await, Ok(Some(_))) {
            return;
        }
        *subscription = None;
    }
    std::future::pending().await
}

/// Lists again, and rests a moment: a server that tells of changes without end costs little.
async fn refresh(slot: &Slot, connection: &Connection) -> Option<connection::Failure> {
    match connection.refresh().await {
        Ok(true) => {
            slot.learn(connection);
            slot.common.changed();
        }
        Ok(false) => {}
        Err(failure) => {
            tracing::warn!(server = %slot.spec.name, "its list could not be read again: {}", failure.words());
            return connection.health().await.err();
        }
    }
    sleep(MCP_CLIENT_LIST_REFRESH_PERIOD).await;
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use firebox_contract::TenantId;

    async fn until_failures(slot: &Slot, failures: u32) {
        let reached = async {
            while slot.failures() < failures {
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(Duration::from_secs(20), reached).await.expect("it fails that often");
    }

    #[tokio::test]
    async fn a_server_that_never_works_is_left_alone_until_somebody_asks() {
        let spec = ServerSpec::stdio("none", vec!["no-such-program-anywhere".to_owned()]).expect("a command");
        let spec = Arc::new(spec);
        let ms = Duration::from_millis;
        let pace = Pace { first: ms(1), longest: ms(4), open: ms(400) };
        let common = Arc::new(Common { revision: Revision::default(), alive: Arc::default(), idle_time: None, pace });
        let (slot, task) = Slot::start(&spec, Caller::of(TenantId::new("a")), &common);
        until_failures(&slot, MCP_CLIENT_BREAKER_FAILURES).await;
        sleep(ms(600)).await;
        assert_eq!(slot.failures(), MCP_CLIENT_BREAKER_FAILURES, "the circuit is open and nobody asked");
        let down = slot.ready(ms(0)).await.expect_err("no such program");
        assert!(matches!(down, McpError::Down { .. }), "{down}");
        until_failures(&slot, MCP_CLIENT_BREAKER_FAILURES + 1).await;
        for _ in 0..50 {
            assert!(slot.ready(ms(0)).await.is_err());
            sleep(ms(2)).await;
        }
        assert_eq!(slot.failures(), MCP_CLIENT_BREAKER_FAILURES + 1, "one try, however many ask");
        slot.stop();
        timeout(Duration::from_secs(5), task).await.expect("it ends").expect("without a panic");
        assert!(slot.is_closed());
    }
}
