//! Admission alone: order, limits, and that permits are given back.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use firebox_contract::{BoxFuture, Caller, Clock, Error};

use super::fixture_model::{EngineFixture, start_as, tenant};
use super::{ask, collect, long};
use crate::admission::{Admission, AdmissionLimits, AdmissionPermit};
use crate::status::EngineMetrics;

const LATER: Duration = Duration::from_secs(3_600);

/// A clock that a test moves. Sleepers wake up when it moves.
#[derive(Default)]
struct ManualClock(Mutex<Duration>, tokio::sync::Notify);

impl ManualClock {
    fn pass(&self, time: Duration) {
        *self.0.lock().expect("lock") += time;
        self.1.notify_waiters();
    }
}

struct SharedManualClock(Arc<ManualClock>);

impl Clock for SharedManualClock {
    fn now(&self) -> Duration {
        *self.0.0.lock().expect("lock")
    }

    fn sleep(&self, time: Duration) -> BoxFuture<'static, ()> {
        let clock = Arc::clone(&self.0);
        let until = self.now() + time;
        Box::pin(async move {
            loop {
                let moved = clock.1.notified();
                if *clock.0.lock().expect("lock") >= until {
                    return;
                }
                moved.await;
            }
        })
    }
}

struct AdmissionFixture {
    admission: Arc<Admission>,
    metrics: Arc<EngineMetrics>,
    clock: Arc<ManualClock>,
    /// The tenants of admitted requests, in order.
    order: Arc<Mutex<Vec<String>>>,
}

type AdmissionTask = tokio::task::JoinHandle<Result<AdmissionPermit, Error>>;

fn fixture(running_max: usize, reserved: usize, waiting_max: usize) -> AdmissionFixture {
    let clock = Arc::new(ManualClock::default());
    let metrics = Arc::new(EngineMetrics::new());
    let limits = AdmissionLimits { running_max, reserved, waiting_max, wait_max: Duration::from_secs(30) };
    let admission =
        Arc::new(Admission::new(limits, Arc::new(SharedManualClock(Arc::clone(&clock))), Arc::clone(&metrics)));
    AdmissionFixture { admission, metrics, clock, order: Arc::default() }
}

impl AdmissionFixture {
    async fn admit(&self, caller: &Caller) -> Result<AdmissionPermit, Error> {
        self.admission.admit(caller, LATER).await
    }

    /// Starts a request, which is in the queue when this returns.
    async fn spawn_request(&self, caller: Caller) -> AdmissionTask {
        let (admission, order) = (Arc::clone(&self.admission), Arc::clone(&self.order));
        let spawn_request = tokio::spawn(async move {
            let permit = admission.admit(&caller, LATER).await?;
            order.lock().expect("lock").push(caller.tenant.to_string());
            Ok(permit)
        });
        tokio::task::yield_now().await;
        spawn_request
    }

    fn waiting(&self) -> usize {
        self.metrics.counters().waiting
    }
}

/// Releases `first` and then each admitted permit. Returns the tenants in the order of their admission.
async fn drain(fixture: &AdmissionFixture, first: AdmissionPermit, visits: Vec<AdmissionTask>) -> Vec<String> {
    drop(first);
    let mut left = visits;
    while !left.is_empty() {
        tokio::task::yield_now().await;
        let done = left.iter().position(AdmissionTask::is_finished);
        if let Some(at) = done {
            drop(left.remove(at).await.expect("no panic").expect("a permit"));
        }
    }
    fixture.order.lock().expect("lock").clone()
}

#[tokio::test]
async fn waiting_tenants_are_admitted_by_weight() {
    let fixture = fixture(1, 0, 64);
    let first = fixture.admit(&tenant("z")).await.expect("free");
    let mut visits = Vec::new();
    for name in ["light"; 6].into_iter().chain(["heavy"; 6]) {
        let weight = if name == "heavy" { 2 } else { 1 };
        visits.push(fixture.spawn_request(Caller { weight, ..tenant(name) }).await);
    }
    let order = drain(&fixture, first, visits).await;
    let heavy = order[..6].iter().filter(|name| *name == "heavy").count();
    assert!((4..=5).contains(&heavy), "two to one while both wait: {order:?}");
}

#[tokio::test]
async fn a_flood_waits_behind_itself() {
    let fixture = fixture(1, 0, 64);
    let first = fixture.admit(&tenant("flood")).await.expect("free");
    let mut visits = Vec::new();
    for _ in 0..40 {
        visits.push(fixture.spawn_request(tenant("flood")).await);
    }
    visits.push(fixture.spawn_request(tenant("other")).await);
    let order = drain(&fixture, first, visits).await;
    let position = order.iter().position(|name| name == "other");
    assert!(position <= Some(1), "{order:?}");
}

#[tokio::test]
async fn a_reserved_permit_admits_a_tenant_that_has_none() {
    let fixture = fixture(2, 1, 64);
    let _one = fixture.admit(&tenant("flood")).await.expect("free");
    let _two = fixture.admit(&tenant("flood")).await.expect("free");
    let more = fixture.spawn_request(tenant("flood")).await;
    assert_eq!((fixture.waiting(), more.is_finished()), (1, false));
    let other = fixture.admit(&tenant("other")).await.expect("reserved");
    let late = fixture.spawn_request(tenant("late")).await;
    assert!(!late.is_finished(), "the reserve is limited");
    drop(other);
    drop(late.await.expect("no panic").expect("admitted before the flood"));
    assert!(!more.is_finished());
    more.abort();
}

#[tokio::test]
async fn a_dropped_request_leaves_the_queue_at_once() {
    let fixture = fixture(1, 0, 64);
    let first = fixture.admit(&tenant("a")).await.expect("free");
    let gone = fixture.spawn_request(tenant("a")).await;
    let next = fixture.spawn_request(tenant("a")).await;
    assert_eq!(fixture.waiting(), 2);
    gone.abort();
    assert!(gone.await.is_err_and(|error| error.is_cancelled()));
    assert_eq!(fixture.waiting(), 1);
    drop(first);
    drop(next.await.expect("no panic").expect("its turn"));
    assert_eq!((fixture.metrics.counters().running, fixture.waiting()), (0, 0));
}

#[tokio::test]
async fn waiting_ends_at_the_deadline_or_the_wait_limit() {
    let fixture = fixture(1, 0, 64);
    let _first = fixture.admit(&tenant("a")).await.expect("free");
    let patient = fixture.spawn_request(tenant("b")).await;
    let admission = Arc::clone(&fixture.admission);
    let hurried = tokio::spawn(async move { admission.admit(&tenant("c"), Duration::from_secs(5)).await });
    tokio::task::yield_now().await;
    fixture.clock.pass(Duration::from_secs(6));
    let error = hurried.await.expect("no panic").err().expect("refused");
    assert!(matches!(error, Error::Timeout(_)), "{error}");
    assert!(!patient.is_finished());
    fixture.clock.pass(Duration::from_secs(25));
    let error = patient.await.expect("no panic").err().expect("refused");
    let Error::Limited { message, retry_after } = error else { panic!("{error}") };
    assert!(message.contains("timed out after 30 s"), "{message}");
    assert!((1..=60).contains(&retry_after.as_secs()), "{retry_after:?}");
    assert_eq!((fixture.waiting(), fixture.metrics.counters().refused), (0, 2));
}

#[tokio::test]
async fn a_full_queue_drops_the_newest_request_of_the_tenant_with_most() {
    let fixture = fixture(1, 0, 3);
    let _first = fixture.admit(&tenant("flood")).await.expect("free");
    let mut flood = Vec::new();
    for _ in 0..3 {
        flood.push(fixture.spawn_request(tenant("flood")).await);
    }
    let error = fixture.admit(&tenant("flood")).await.err().expect("full");
    assert!(matches!(&error, Error::Limited { message, .. } if message.contains("3 requests")), "{error}");
    let other = fixture.spawn_request(tenant("other")).await;
    tokio::task::yield_now().await;
    assert!(!other.is_finished(), "it waits");
    let refused = flood.pop().expect("the newest").await.expect("no panic");
    assert!(matches!(refused, Err(Error::Limited { .. })), "the newest request of the flood is refused");
    assert_eq!(fixture.waiting(), 3);
    flood.into_iter().chain([other]).for_each(|spawn_request| spawn_request.abort());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn permits_never_exceed_the_limit() {
    let fixture = Arc::new(fixture(5, 2, 1_000));
    let inside = Arc::new(AtomicUsize::new(0));
    let mut visits = Vec::new();
    for n in 0..400 {
        let (fixture, inside) = (Arc::clone(&fixture), Arc::clone(&inside));
        visits.push(tokio::spawn(async move {
            let caller = Caller { in_flight_max: 100, ..tenant(["a", "b", "c", "d"][n % 4]) };
            let permit = fixture.admit(&caller).await.expect("a permit");
            assert!(inside.fetch_add(1, Ordering::SeqCst) < 7, "more than permits");
            tokio::task::yield_now().await;
            inside.fetch_sub(1, Ordering::SeqCst);
            drop(permit);
        }));
    }
    for spawn_request in visits {
        spawn_request.await.expect("no panic");
    }
    let counters = fixture.metrics.counters();
    assert_eq!((counters.running, counters.waiting, counters.admitted), (0, 0, 400));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_tenants_own_limit_is_exact_under_concurrency() {
    let fixture = Arc::new(fixture(50, 0, 1_000));
    let mut visits = Vec::new();
    for _ in 0..200 {
        let fixture = Arc::clone(&fixture);
        let caller = Caller { in_flight_max: 13, ..tenant("a") };
        visits.push(tokio::spawn(async move { fixture.admit(&caller).await.ok() }));
    }
    let mut permits = Vec::new();
    for spawn_request in visits {
        permits.extend(spawn_request.await.expect("no panic"));
    }
    assert_eq!(permits.len(), 13);
}

#[tokio::test]
async fn closing_refuses_waiting_requests_and_aborts_running_ones_after_the_time() {
    let (engine, probe) = EngineFixture { in_flight_max: 2, ..EngineFixture::of(long) }.engine().await;
    let engine = Arc::new(engine);
    let ends = start_as(&engine, "a", "1", 30).await;
    let stuck = start_as(&engine, "a", "2", 1_000).await;
    let waiting = Arc::clone(&engine);
    let waiting = tokio::spawn(async move { waiting.generate(&tenant("a"), ask("3")).await.map(|_| ()) });
    super::fixture_model::counted(&engine, "one waits", |counters| counters.waiting == 1).await;
    let closing = Arc::clone(&engine);
    let closing = tokio::spawn(async move { closing.close(Duration::from_millis(300)).await });
    let refused = waiting.await.expect("no panic").expect_err("refused");
    assert!(matches!(refused, Error::Unavailable(_)), "{refused}");
    let refused = engine.generate(&tenant("b"), ask("4")).await.err().expect("refused");
    assert!(matches!(refused, Error::Unavailable(_)), "{refused}");
    assert_eq!(collect(ends).await.expect("ends by itself").text.len(), 30);
    assert_eq!(closing.await.expect("no panic"), 1, "one was cut off");
    let error = collect(stuck).await.err().expect("cut off");
    assert!(matches!(error, Error::Unavailable(_)), "{error}");
    let steps = probe.state().steps.len();
    assert_eq!(engine.close(Duration::ZERO).await, 0, "and again");
    assert_eq!(probe.state().steps.len(), steps);
}
