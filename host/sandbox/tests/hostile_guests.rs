//! One table of hostile guests: how each ends, within which time and memory, while a neighbour of another tenant goes on as if
//! nothing happened. Components that are expensive to load have a table of their own in `hostile.rs`, since each needs a process.

mod lab;
mod rows;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use firebox_contract::TextVerdict;
use firebox_contract::error::fault::FAULT_CODES;
use firebox_sandbox::{Allocation, CpuBudget};

use self::lab::{Attack, End, HostileGuest, Lab};
use self::rows::all;
use crate::support::{bind, chain, guest, spec};

/// The fewest rows that the table has.
const ROWS_MIN: usize = 60;
/// The longest time of one call of the neighbour, on a busy machine too.
const NEIGHBOUR_TIME_MAX: Duration = Duration::from_secs(2);

#[test]
fn the_table_has_enough_rows_and_each_names_its_end_time_and_memory() {
    let rows = all();
    assert!(rows.len() >= ROWS_MIN, "{} rows", rows.len());
    let names: BTreeSet<&str> = rows.iter().map(|row| row.name).collect();
    assert_eq!(names.len(), rows.len(), "each row has a name of its own");
    for row in &rows {
        assert!(!row.within.is_zero() && row.within <= Duration::from_secs(20), "{}: {:?}", row.name, row.within);
        assert!((1..=64 << 20).contains(&row.memory_max), "{}: {}", row.name, row.memory_max);
        match row.ends {
            End::Fault(code, part) => {
                assert!(FAULT_CODES.iter().any(|known| known.0 == code), "{}: {code}", row.name);
                assert!(!part.is_empty(), "{}", row.name);
            }
            End::Error(part) => assert!(!part.is_empty(), "{}", row.name),
        }
    }
    let of = |is: fn(&Attack) -> bool| rows.iter().filter(|row| is(&row.attack)).count();
    assert!(of(|attack| matches!(attack, Attack::Probe(..))) >= 30, "capabilities");
    assert!(of(|attack| matches!(attack, Attack::Token(..))) >= 10, "tokens");
    assert!(of(|attack| matches!(attack, Attack::Model(..))) >= 3, "the model");
}

/// A plugin of another tenant that is called all the time.
struct Neighbour {
    stop: Arc<AtomicBool>,
    calls: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<Duration>,
}

impl Neighbour {
    async fn start(lab: &Lab) -> Self {
        let plugin = lab.sandbox.load(spec("pass", guest("pass"))).await.unwrap_or_else(|error| panic!("{error}"));
        let chain = chain(&[&plugin]).charged_to(Arc::new(CpuBudget::default()));
        let (stop, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&calls));
        let task = tokio::spawn(async move {
            let mut longest = Duration::ZERO;
            while !stopped.load(Ordering::SeqCst) {
                let begun = Instant::now();
                let verdict =
                    bind(&chain).await.push("still here".to_owned()).await.expect("the neighbour has no fault");
                assert_eq!(verdict, TextVerdict::Emit("still here".to_owned()));
                longest = longest.max(begun.elapsed());
                counted.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            longest
        });
        Self { stop, calls, task }
    }

    /// Waits for `more` further calls.
    async fn goes_on(&self, more: usize) {
        let enough = self.calls.load(Ordering::SeqCst) + more;
        while self.calls.load(Ordering::SeqCst) < enough {
            assert!(!self.task.is_finished(), "the neighbour has stopped");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn end(self) -> Duration {
        self.stop.store(true, Ordering::SeqCst);
        self.task.await.expect("the neighbour did not panic")
    }
}

async fn every_row_ends_as_it_says(allocation: Allocation, rows: Vec<HostileGuest>) {
    let lab = Lab::new(allocation);
    let neighbour = Neighbour::start(&lab).await;
    let mut findings = Vec::new();
    for row in &rows {
        let begun = Instant::now();
        let outcome = tokio::time::timeout(Duration::from_secs(60), lab.run(row)).await;
        let took = begun.elapsed();
        let Ok(outcome) = outcome else {
            findings.push(format!("{}: it never ended", row.name));
            continue;
        };
        let is_right = match (row.ends, &outcome.end) {
            (End::Fault(code, part), Err(fault)) => fault.cause.code() == code && fault.to_string().contains(part),
            (End::Error(part), Ok(text)) => text.contains(part),
            _ => false,
        };
        if !is_right {
            findings.push(format!("{}: {:.300?}", row.name, outcome.end));
        }
        if took > row.within {
            findings.push(format!("{}: took {took:?}, not {:?}", row.name, row.within));
        }
        if outcome.memory_bytes > row.memory_max {
            findings.push(format!("{}: {} bytes, not {}", row.name, outcome.memory_bytes, row.memory_max));
        }
        if let Some(said) =
            outcome.log.iter().find(|line| line.contains("s3cret") || line.chars().any(|c| c.is_control() && c != '\n'))
        {
            findings.push(format!("{}: logged {said:?}", row.name));
        }
        neighbour.goes_on(1).await;
    }
    let longest = neighbour.end().await;
    assert!(findings.is_empty(), "{}", findings.join("\n"));
    assert!(longest < NEIGHBOUR_TIME_MAX, "a call of the neighbour took {longest:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_guests_are_contained_in_a_pool() {
    every_row_ends_as_it_says(Allocation::Pooled, all()).await;
}

/// Those that need no server and no service, since one thread does all the work.
#[tokio::test]
async fn hostile_guests_are_contained_on_demand_and_on_one_thread() {
    let alone = |row: &HostileGuest| matches!(row.attack, Attack::Load(_) | Attack::Text(..) | Attack::Prompt(_));
    every_row_ends_as_it_says(Allocation::OnDemand, all().into_iter().filter(alone).collect()).await;
}

/// A secret that a guest cannot read has no effect that a guest can measure: neither answers nor fuel depend on its value.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_guest_sees_of_refused_retries_does_not_depend_on_the_secret() {
    let lab = Lab::new(Allocation::Pooled);
    let arguments = r#"{"do": "http", "secret": "key", "url": "http://other.test:PORT/x", "header": "x-a: {secret}"}"#;
    let mut seen = Vec::new();
    for value in ["first-s3cret-value", "s3cret-of-another-length-and-another-tenant"] {
        let outcome = lab.with_secret(value, arguments).await;
        seen.push((outcome.end.map_err(|fault| fault.to_string()), outcome.fuel));
    }
    assert!(matches!(&seen[0].0, Ok(text) if text.contains("HttpRequestDenied")), "{seen:?}");
    assert_eq!(seen[0], seen[1]);
    assert_eq!(lab.requests(), 0, "nothing was sent");
}
