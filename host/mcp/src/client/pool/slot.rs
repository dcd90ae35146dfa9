//! The slot of one connection: its task connects, checks the connection, retries with backoff, and closes it when it is idle.

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

use crate::client::connection::opening::{self, Dialect};
use crate::client::connection::{self, Connection, ConnectionRunner};
use crate::client::pool::backoff::RetryBackoff;
use crate::client::pool::catalog::OfferedTools;
use crate::client::spec::{ConnectionKey, ServerSpec};
use crate::{McpError, Revision};

/// The state of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerState {
    /// No caller has asked for it.
    Idle,
    /// It is being started or connected.
    Connecting,
    /// Its tools can be called.
    Ready,
    /// It failed and will be retried.
    Down,
}

impl ServerState {
    /// The stable name of the state.
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

/// The phase of a slot.
#[derive(Clone)]
pub(in crate::client) enum SlotPhase {
    /// Connecting. `again` if an earlier connection failed.
    Connecting { again: bool },
    /// Calls go through.
    Ready(Arc<Connection>),
    /// Failed. It is not retried before `until`.
    Down { error: McpError, until: Instant },
    /// Ended, because the slot was idle or the pool closed.
    Closed,
}

/// The state that all slots of a pool share.
#[derive(Debug)]
pub(in crate::client) struct PoolShared {
    /// Counts changes of the tool lists.
    pub(in crate::client) revision: Revision,
    /// The number of child processes.
    pub(in crate::client) alive: Arc<AtomicUsize>,
    /// Idle time after which a connection is closed. `None` means never.
    pub(in crate::client) idle_time: Option<Duration>,
    /// The times between retries.
    pub(in crate::client) backoff: RetryBackoff,
}

impl PoolShared {
    fn changed(&self) {
        self.revision.advance();
    }
}

/// The slot of one connection.
pub(in crate::client) struct Slot {
    pub(in crate::client) spec: Arc<ServerSpec>,
    pub(in crate::client) key: ConnectionKey,
    /// The caller that the connection belongs to. For a shared connection, the caller that started it.
    pub(in crate::client) caller: Caller,
    common: Arc<PoolShared>,
    phase: watch::Sender<SlotPhase>,
    /// The tools that the server offered last, so that names do not change while it is down.
    known: Mutex<OfferedTools>,
    used: Mutex<Instant>,
    /// The time of the first connection attempt, or of the last loss of the connection.
    unsettled: Mutex<Instant>,
    wanted: Notify,
    /// The dialect of the last connection.
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

/// How a connection ended.
enum ConnectionEnd {
    /// The slot was stopped or was idle.
    Stopped,
    /// The connection failed. `proven` if it had worked before.
    Lost { error: McpError, proven: bool },
}

impl Slot {
    /// Starts a slot, which connects at once and runs until [`Slot::stop`]. The returned task ends after its child process.
    pub(in crate::client) fn start(
        spec: &Arc<ServerSpec>,
        caller: Caller,
        common: &Arc<PoolShared>,
    ) -> (Arc<Self>, tokio::task::JoinHandle<()>) {
        let slot = Arc::new(Self {
            spec: Arc::clone(spec),
            key: spec.key(&caller.tenant),
            caller,
            common: Arc::clone(common),
            phase: watch::Sender::new(SlotPhase::Connecting { again: false }),
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

    /// Stops the slot. Its connection closes within the grace period.
    pub(in crate::client) fn stop(&self) {
        self.stop.cancel();
    }

    /// Whether the slot has ended.
    pub(in crate::client) fn is_closed(&self) -> bool {
        self.stop.is_cancelled() || matches!(*self.phase.borrow(), SlotPhase::Closed)
    }

    /// Whether calls are running.
    pub(in crate::client) fn busy(&self) -> bool {
        matches!(&*self.phase.borrow(), SlotPhase::Ready(connection) if connection.busy())
    }

    /// The time when a caller last asked for it.
    pub(in crate::client) fn used(&self) -> Instant {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The tools that the server offers, or offered last, with their own names.
    pub(in crate::client) fn known(&self) -> OfferedTools {
        Arc::clone(&self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The current state.
    pub(in crate::client) fn state(&self) -> ServerState {
        match &*self.phase.borrow() {
            SlotPhase::Connecting { .. } => ServerState::Connecting,
            SlotPhase::Ready(_) => ServerState::Ready,
            SlotPhase::Down { .. } => ServerState::Down,
            SlotPhase::Closed => ServerState::Idle,
        }
    }

    /// The last failure. `None` once it works again.
    pub(in crate::client) fn last_error(&self) -> Option<McpError> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The number of consecutive failures.
    pub(in crate::client) fn failures(&self) -> u32 {
        self.failures.load(Ordering::Relaxed)
    }

    /// A connection that can carry a call. If the slot is connecting for the first time, this waits for the connect timeout.
    /// If it is reconnecting, this waits for at most `again`.
    ///
    /// # Errors
    /// `McpError::Down` at once if the server is down, `McpError::Connect` if it is not ready in time.
    pub(in crate::client) async fn ready(&self, again: Duration) -> Result<Arc<Connection>, McpError> {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.wanted.notify_one();
        let mut phase = self.phase.subscribe();
        // `drive` limits the first attempt by the connect timeout. The margin is for closing a failed attempt.
        let first = matches!(*phase.borrow(), SlotPhase::Connecting { again: false });
        let wait = if first { self.spec.connect_timeout + Duration::from_secs(5) } else { again };
        let settled = phase.wait_for(|phase| match phase {
            SlotPhase::Connecting { .. } => false,
            // A lost connection is visible here before `drive` changes the phase.
            SlotPhase::Ready(connection) => !connection.is_gone(),
            SlotPhase::Down { .. } | SlotPhase::Closed => true,
        });
        let server = || self.spec.name.clone();
        match timeout(wait, settled).await {
            Ok(Ok(phase)) => match &*phase {
                SlotPhase::Ready(connection) => Ok(Arc::clone(connection)),
                SlotPhase::Down { error, until } => Err(McpError::Down {
                    server: server(),
                    reason: reason(error),
                    retry_in: until.saturating_duration_since(Instant::now()),
                }),
                _ => Err(McpError::Connect { server: server(), reason: "it was closed".to_owned() }),
            },
            _ => Err(McpError::Connect { server: server(), reason: "it is still being reached".to_owned() }),
        }
    }

    /// Waits until it is known whether the server's tools are available. It waits only for a short time after the first attempt
    /// or the last loss, so that a server that hangs does not delay every request.
    pub(in crate::client) async fn settled(&self) {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.wanted.notify_one();
        let deadline = *self.unsettled.lock().unwrap_or_else(PoisonError::into_inner) + MCP_CLIENT_RECONNECT_WAIT;
        let mut phase = self.phase.subscribe();
        let settled = phase.wait_for(|phase| !matches!(phase, SlotPhase::Connecting { .. }));
        // Tools that are not available by then are missing from this request.
        drop(timeout_at(deadline, settled).await);
    }

    fn set(&self, phase: SlotPhase) {
        self.phase.send_replace(phase);
    }

    fn learn(&self, connection: &Connection) {
        let offer = connection.offer();
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = offer;
        self.remember(connection.withheld());
    }

    fn remember(&self, error: Option<McpError>) {
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = error;
    }

    /// The moment at which the slot has been idle for too long.
    fn expiry(&self) -> Option<Instant> {
        self.common.idle_time.map(|time| self.used() + time)
    }
}

/// The reason in an error, without the server's name.
fn reason(error: &McpError) -> String {
    match error {
        McpError::Connect { reason, .. } | McpError::Down { reason, .. } | McpError::Lost { reason, .. } => {
            reason.clone()
        }
        other => other.to_string(),
    }
}

/// The task of a slot: connects, runs the connection and retries, until the slot is stopped or idle.
async fn drive(slot: Arc<Slot>) {
    let mut failures: u32 = 0;
    let mut again = false;
    loop {
        slot.set(SlotPhase::Connecting { again });
        let dialect = *slot.dialect.lock().unwrap_or_else(PoisonError::into_inner);
        let opened = tokio::select! {
            opened = opening::open(&slot.spec, &slot.common.alive, dialect) => opened,
            () = slot.stop.cancelled() => break,
        };
        let error = match opened {
            Ok((connection, runner)) => match live(&slot, Arc::new(connection), runner).await {
                ConnectionEnd::Stopped => break,
                ConnectionEnd::Lost { error, proven } => {
                    failures = if proven { 0 } else { failures };
                    again = true;
                    if failures == 0 {
                        // The first retry is immediate: a caller may be waiting to repeat a call.
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
    slot.set(SlotPhase::Closed);
    *slot.known.lock().unwrap_or_else(PoisonError::into_inner) = OfferedTools::default();
}

/// Waits until the server may be retried. Returns false if the slot has ended.
async fn pause(slot: &Slot, error: McpError, failures: u32) -> bool {
    let open = failures >= MCP_CLIENT_BREAKER_FAILURES;
    let until = Instant::now() + if open { slot.common.backoff.open } else { slot.common.backoff.delay(failures) };
    slot.failures.store(failures, Ordering::Relaxed);
    slot.remember(Some(error.clone()));
    slot.set(SlotPhase::Down { error, until });
    let waited = async {
        sleep_until(until).await;
        if open {
            // Half open: one attempt, and only when a caller asks from now on.
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

/// Runs an open connection until it ends.
async fn live(slot: &Slot, connection: Arc<Connection>, runner: ConnectionRunner) -> ConnectionEnd {
    let since = Instant::now();
    *slot.dialect.lock().unwrap_or_else(PoisonError::into_inner) = connection.dialect();
    slot.learn(&connection);
    slot.failures.store(0, Ordering::Relaxed);
    slot.set(SlotPhase::Ready(Arc::clone(&connection)));
    slot.common.changed();
    let mut runner = runner;
    let lost = tokio::select! {
        biased;
        // Also while a health check or a list request runs, which may take a while.
        () = slot.stop.cancelled() => None,
        lost = watch_over(slot, &connection) => lost,
    };
    let end = match lost {
        None => ConnectionEnd::Stopped,
        Some(mut reason) => {
            *slot.unsettled.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
            slot.set(SlotPhase::Connecting { again: true });
            if let Some(lines) = runner.last_lines().await {
                reason = format!("{reason}; its last output: {lines}");
            }
            let error = McpError::Connect { server: slot.spec.name.clone(), reason: slot.spec.redact(&reason) };
            let worked = connection.is_proven() || since.elapsed() >= MCP_CLIENT_STABLE_TIME;
            ConnectionEnd::Lost { error, proven: worked && !connection.is_flooded() }
        }
    };
    if matches!(end, ConnectionEnd::Stopped) {
        slot.set(SlotPhase::Closed);
    }
    slot.common.changed();
    runner.close().await;
    end
}

/// Waits for the end of the connection. Returns the reason if it failed, or `None` if the slot is idle.
async fn watch_over(slot: &Slot, connection: &Connection) -> Option<String> {
    let mut subscription = connection.subscribe().await;
    loop {
        let expiry = slot.expiry();
        let check = connection.last_answer() + MCP_CLIENT_HEALTH_PERIOD;
        let failed = tokio::select! {
            () = connection.gone() => return Some(connection.close_reason().to_owned()),
            () = connection.suspect.notified() => connection.health().await.err(),
            () = connection.list_changed.notified() => refresh(slot, connection).await,
            () = list_changed(&mut subscription) => refresh(slot, connection).await,
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
        if let Some(failure) = failed {
            return Some(failure.message());
        }
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        // At least 50 ms: a busy connection that is past its idle time is checked again, but not in a tight loop.
        Some(moment) => sleep_until(moment.max(Instant::now() + Duration::from_millis(50))).await,
        None => std::future::pending().await,
    }
}

/// Waits until the subscription reports a change. If the subscription ends, it is dropped and the next health check opens a
/// new one.
async fn list_changed(subscription: &mut Option<Subscription>) {
    if let Some(open) = subscription {
        if matches!(open.next().await, Ok(Some(_))) {
            return;
        }
        *subscription = None;
    }
    std::future::pending().await
}

/// Reads the list again, and then waits, so that a server that reports changes endlessly costs little.
async fn refresh(slot: &Slot, connection: &Connection) -> Option<connection::RequestFailure> {
    match connection.refresh().await {
        Ok(true) => {
            slot.learn(connection);
            slot.common.changed();
        }
        Ok(false) => {}
        Err(failure) => {
            tracing::warn!(server = %slot.spec.name, "the tool list could not be read again: {}", failure.message());
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
    async fn after_repeated_failures_a_server_is_retried_only_when_asked_for() {
        let spec = ServerSpec::stdio("none", vec!["no-such-program-anywhere".to_owned()]).expect("a command");
        let spec = Arc::new(spec);
        let ms = Duration::from_millis;
        let backoff = RetryBackoff { first: ms(1), longest: ms(4), open: ms(400) };
        let common =
            Arc::new(PoolShared { revision: Revision::default(), alive: Arc::default(), idle_time: None, backoff });
        let (slot, task) = Slot::start(&spec, Caller::of(TenantId::new("a")), &common);
        until_failures(&slot, MCP_CLIENT_BREAKER_FAILURES).await;
        sleep(ms(600)).await;
        assert_eq!(slot.failures(), MCP_CLIENT_BREAKER_FAILURES, "the circuit breaker is open and no caller asked");
        let down = slot.ready(ms(0)).await.expect_err("no such program");
        assert!(matches!(down, McpError::Down { .. }), "{down}");
        until_failures(&slot, MCP_CLIENT_BREAKER_FAILURES + 1).await;
        for _ in 0..50 {
            assert!(slot.ready(ms(0)).await.is_err());
            sleep(ms(2)).await;
        }
        assert_eq!(slot.failures(), MCP_CLIENT_BREAKER_FAILURES + 1, "one attempt, however many callers ask");
        slot.stop();
        timeout(Duration::from_secs(5), task).await.expect("it ends").expect("without a panic");
        assert!(slot.is_closed());
    }
}
