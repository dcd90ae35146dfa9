//! The door by itself: order, bounds, and that everything is given back.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use firebox_contract::{BoxFuture, Caller, Clock, Error};

use super::shelf::{Shelf, start_as, tenant};
use super::{ask, collect, long};
use crate::admission::{Admission, Rules, Ticket};
use crate::status::Meter;

const LATER: Duration = Duration::from_secs(3_600);

/// A clock that a test moves. Sleepers wake when it has.
#[derive(Default)]
struct HandClock(Mutex<Duration>, tokio::sync::Notify);

impl HandClock {
    fn pass(&self, time: Duration) {
        *self.0.lock().expect("lock") += time;
        self.1.notify_waiters();
    }
}

struct Shared(Arc<HandClock>);

impl Clock for Shared {
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

struct Door {
    admission: Arc<Admission>,
    meter: Arc<Meter>,
    clock: Arc<HandClock>,
    /// Who got in, in order.
    order: Arc<Mutex<Vec<String>>>,
}

type Visit = tokio::task::JoinHandle<Result<Ticket, Error>>;

fn door(running_max: usize, reserved: usize, waiting_max: usize) -> Door {
    let clock = Arc::new(HandClock::default());
    let meter = Arc::new(Meter::new());
    let rules = Rules { running_max, reserved, waiting_max, wait_max: Duration::from_secs(30) };
    let admission = Arc::new(Admission::new(rules, Arc::new(Shared(Arc::clone(&clock))), Arc::clone(&meter)));
    Door { admission, meter, clock, order: Arc::default() }
}

impl Door {
    async fn enter(&self, caller: &Caller) -> Result<Ticket, Error> {
        self.admission.admit(caller, LATER).await
    }

    /// Comes, and has arrived at the door when this returns.
    async fn visit(&self, caller: Caller) -> Visit {
        let (admission, order) = (Arc::clone(&self.admission), Arc::clone(&self.order));
        let visit = tokio::spawn(async move {
            let ticket = admission.admit(&caller, LATER).await?;
            order.lock().expect("lock").push(caller.tenant.to_string());
            Ok(ticket)
        });
        tokio::task::yield_now().await;
        visit
    }

    fn waiting(&self) -> usize {
        self.meter.counters().waiting
    }
}

/// Lets everybody in, one after the other, and says in which order.
async fn drain(door: &Door, first: Ticket, visits: Vec<Visit>) -> Vec<String> {
    drop(first);
    let mut left = visits;
    while !left.is_empty() {
        tokio::task::yield_now().await;
        let done = left.iter().position(Visit::is_finished);
        if let Some(at) = done {
            drop(left.remove(at).await.expect("no panic").expect("a ticket"));
        }
    }
    door.order.lock().expect("lock").clone()
}

#[tokio::test]
async fn weights_decide_between_tenants_that_wait() {
    let door = door(1, 0, 64);
    let first = door.enter(&tenant("z")).await.expect("free");
    let mut visits = Vec::new();
    for name in ["light"; 6].into_iter().chain(["heavy"; 6]) {
        let weight = if name == "heavy" { 2 } else { 1 };
        visits.push(door.visit(Caller { weight, ..tenant(name) }).await);
    }
    let order = drain(&door, first, visits).await;
    let heavy = order[..6].iter().filter(|name| *name == "heavy").count();
    assert!((4..=5).contains(&heavy), "two to one while both wait: {order:?}");
}

#[tokio::test]
async fn a_flood_waits_behind_itself() {
    let door = door(1, 0, 64);
    let first = door.enter(&tenant("flood")).await.expect("free");
    let mut visits = Vec::new();
    for _ in 0..40 {
        visits.push(door.visit(tenant("flood")).await);
    }
    visits.push(door.visit(tenant("other")).await);
    let order = drain(&door, first, visits).await;
    let place = order.iter().position(|name| name == "other");
    assert!(place <= Some(1), "{order:?}");
}

#[tokio::test]
async fn a_full_house_still_has_a_place_for_a_tenant_without_one() {
    let door = door(2, 1, 64);
    let _one = door.enter(&tenant("flood")).await.expect("free");
    let _two = door.enter(&tenant("flood")).await.expect("free");
    let more = door.visit(tenant("flood")).await;
    assert_eq!((door.waiting(), more.is_finished()), (1, false));
    let other = door.enter(&tenant("other")).await.expect("reserved");
    let late = door.visit(tenant("late")).await;
    assert!(!late.is_finished(), "the reserve is bounded too");
    drop(other);
    drop(late.await.expect("no panic").expect("its turn, before the flood's"));
    assert!(!more.is_finished());
    more.abort();
}

#[tokio::test]
async fn who_stops_waiting_leaves_the_queue_at_once() {
    let door = door(1, 0, 64);
    let first = door.enter(&tenant("a")).await.expect("free");
    let gone = door.visit(tenant("a")).await;
    let next = door.visit(tenant("a")).await;
    assert_eq!(door.waiting(), 2);
    gone.abort();
    assert!(gone.await.is_err_and(|error| error.is_cancelled()));
    assert_eq!(door.waiting(), 1);
    drop(first);
    drop(next.await.expect("no panic").expect("its turn"));
    assert_eq!((door.meter.counters().running, door.waiting()), (0, 0));
}

#[tokio::test]
async fn nobody_waits_for_ever() {
    let door = door(1, 0, 64);
    let _first = door.enter(&tenant("a")).await.expect("free");
    let patient = door.visit(tenant("b")).await;
    let admission = Arc::clone(&door.admission);
    let hurried = tokio::spawn(async move { admission.admit(&tenant("c"), Duration::from_secs(5)).await });
    tokio::task::yield_now().await;
    door.clock.pass(Duration::from_secs(6));
    let error = hurried.await.expect("no panic").err().expect("refused");
    assert!(matches!(error, Error::Timeout(_)), "{error}");
    assert!(!patient.is_finished());
    door.clock.pass(Duration::from_secs(25));
    let error = patient.await.expect("no panic").err().expect("refused");
    let Error::Limited { message, retry_after } = error else { panic!("{error}") };
    assert!(message.contains("30 seconds"), "{message}");
    assert!((1..=60).contains(&retry_after.as_secs()), "{retry_after:?}");
    assert_eq!((door.waiting(), door.meter.counters().refused), (0, 2));
}

#[tokio::test]
async fn a_full_waiting_room_is_relieved_of_the_one_who_fills_it() {
    let door = door(1, 0, 3);
    let _first = door.enter(&tenant("flood")).await.expect("free");
    let mut flood = Vec::new();
    for _ in 0..3 {
        flood.push(door.visit(tenant("flood")).await);
    }
    let error = door.enter(&tenant("flood")).await.err().expect("full");
    assert!(matches!(&error, Error::Limited { message, .. } if message.contains("3 requests")), "{error}");
    let other = door.visit(tenant("other")).await;
    tokio::task::yield_now().await;
    assert!(!other.is_finished(), "it waits");
    let refused = flood.pop().expect("the newest").await.expect("no panic");
    assert!(matches!(refused, Err(Error::Limited { .. })), "the flood gave up its newest");
    assert_eq!(door.waiting(), 3);
    flood.into_iter().chain([other]).for_each(|visit| visit.abort());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn tickets_are_never_more_than_there_are() {
    let door = Arc::new(door(5, 2, 1_000));
    let inside = Arc::new(AtomicUsize::new(0));
    let mut visits = Vec::new();
    for n in 0..400 {
        let (door, inside) = (Arc::clone(&door), Arc::clone(&inside));
        visits.push(tokio::spawn(async move {
            let caller = Caller { in_flight_max: 100, ..tenant(["a", "b", "c", "d"][n % 4]) };
            let ticket = door.enter(&caller).await.expect("a ticket");
            assert!(inside.fetch_add(1, Ordering::SeqCst) < 7, "more than tickets");
            tokio::task::yield_now().await;
            inside.fetch_sub(1, Ordering::SeqCst);
            drop(ticket);
        }));
    }
    for visit in visits {
        visit.await.expect("no panic");
    }
    let counters = door.meter.counters();
    assert_eq!((counters.running, counters.waiting, counters.admitted), (0, 0, 400));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_tenants_own_number_is_exact_under_concurrency() {
    let door = Arc::new(door(50, 0, 1_000));
    let mut visits = Vec::new();
    for _ in 0..200 {
        let door = Arc::clone(&door);
        let caller = Caller { in_flight_max: 13, ..tenant("a") };
        visits.push(tokio::spawn(async move { door.enter(&caller).await.ok() }));
    }
    let mut tickets = Vec::new();
    for visit in visits {
        tickets.extend(visit.await.expect("no panic"));
    }
    assert_eq!(tickets.len(), 13);
}

#[tokio::test]
async fn closing_refuses_the_waiting_lets_the_running_end_and_counts_the_rest() {
    let (engine, watch) = Shelf { in_flight_max: 2, ..Shelf::of(long) }.engine().await;
    let engine = Arc::new(engine);
    let ends = start_as(&engine, "a", "1", 30).await;
    let stuck = start_as(&engine, "a", "2", 1_000).await;
    let waiting = Arc::clone(&engine);
    let waiting = tokio::spawn(async move { waiting.generate(&tenant("a"), ask("3")).await.map(|_| ()) });
    super::shelf::counted(&engine, "one waits", |counters| counters.waiting == 1).await;
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
    let turns = watch.state().turns.len();
    assert_eq!(engine.close(Duration::ZERO).await, 0, "and again");
    assert_eq!(watch.state().turns.len(), turns);
}
