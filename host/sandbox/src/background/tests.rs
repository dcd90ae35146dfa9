//! The executor with futures in place of guests.

use super::*;

const LONG: Duration = Duration::from_secs(60);

/// A call that used up its time at normal priority. It is charged to `budget`.
fn long_call(budget: Option<Arc<CpuBudget>>) -> Arc<CallState> {
    let state = CallState::new(budget);
    (0..limits::PLUGIN_NORMAL_TIME.as_millis() / limits::EPOCH_TICK.as_millis()).for_each(|_| state.tick());
    Arc::new(state)
}

fn used_up() -> Arc<CpuBudget> {
    let budget = CpuBudget::default();
    budget.charge(Duration::from_secs(60));
    Arc::new(budget)
}

fn thread_name() -> Option<String> {
    std::thread::current().name().map(str::to_owned)
}

async fn name_after_a_yield() -> Option<String> {
    tokio::task::yield_now().await;
    thread_name()
}

async fn slices(count: usize) {
    for _ in 0..count {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_short_call_stays_where_it_began_and_a_long_one_moves() {
    let executor = Executor::default();
    let short =
        executor.run(&Arc::default(), Instant::now(), LONG, Box::pin(name_after_a_yield())).await.expect("in time");
    assert_eq!(short, thread_name());
    let long =
        executor.run(&long_call(None), Instant::now(), LONG, Box::pin(name_after_a_yield())).await.expect("in time");
    assert_eq!(long.as_deref(), Some("firebox-guests"));
}

#[tokio::test]
async fn a_tenant_over_budget_pauses_before_each_slice_while_models_use_every_core() {
    let executor = Executor::default();
    let over = || long_call(Some(used_up()));
    let begun = Instant::now();
    let _models = cores::compute(cores::count());
    executor.run(&over(), Instant::now(), LONG, Box::pin(slices(3))).await.expect("in time");
    assert!(begun.elapsed() >= 3 * limits::PLUGIN_THROTTLE_PAUSE, "{:?}", begun.elapsed());
    let begun = Instant::now();
    executor.run(&long_call(Some(Arc::default())), Instant::now(), LONG, Box::pin(slices(100))).await.expect("in time");
    assert!(begun.elapsed() < 50 * limits::PLUGIN_THROTTLE_PAUSE, "within its budget: {:?}", begun.elapsed());
}

#[tokio::test]
async fn the_calls_of_a_tenant_over_budget_share_its_pauses() {
    let executor = Executor::default();
    let budget = used_up();
    let _models = cores::compute(cores::count());
    let begun = Instant::now();
    let state = long_call(Some(budget));
    let calls = (0..4 * threads()).map(|_| executor.run(&state, Instant::now(), LONG, Box::pin(slices(1))));
    futures_in_order(calls).await;
    assert!(begun.elapsed() >= 4 * limits::PLUGIN_THROTTLE_PAUSE, "{:?}", begun.elapsed());
}

async fn futures_in_order<F: Future<Output = Result<(), TimedOut>>>(calls: impl Iterator<Item = F>) {
    let mut calls: Vec<_> = calls.map(Box::pin).collect();
    poll_fn(|context| {
        calls.retain_mut(|call| match call.as_mut().poll(context) {
            Poll::Ready(ended) => {
                ended.expect("in time");
                false
            }
            Poll::Pending => true,
        });
        if calls.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

#[tokio::test]
async fn a_call_that_waits_leaves_its_slot_to_the_next_call_of_its_tenant() {
    let executor = Executor::default();
    let budget = Arc::new(CpuBudget::default());
    let (began, begins) = tokio::sync::oneshot::channel();
    let waits = async move {
        tokio::task::yield_now().await;
        let _sent = began.send(());
        std::future::pending::<()>().await;
    };
    let (first, second) = (long_call(Some(Arc::clone(&budget))), long_call(Some(budget)));
    let next = async {
        begins.await.expect("it began");
        executor.run(&second, Instant::now(), Duration::from_secs(5), Box::pin(name_after_a_yield())).await
    };
    tokio::select! {
        _ended = executor.run(&first, Instant::now(), LONG, Box::pin(waits)) => panic!("it never ends"),
        name = next => {
            let name = name.expect("it does not wait for the slot of a call that waits");
            assert_eq!(name.as_deref(), Some("firebox-guests"));
        }
    }
}

#[tokio::test]
async fn a_call_that_does_not_end_on_the_low_priority_threads_is_timed_out() {
    let stuck = async {
        tokio::task::yield_now().await;
        std::future::pending::<()>().await;
    };
    let ended =
        Executor::default().run(&long_call(None), Instant::now(), Duration::from_millis(5), Box::pin(stuck)).await;
    assert!(ended.is_err());
}

#[tokio::test]
async fn dropping_the_result_drops_a_call_that_waits_or_computes() {
    let executor = Executor::default();
    for computes in [false, true] {
        let held = Arc::new(());
        let inside = Arc::clone(&held);
        let (began, begins) = tokio::sync::oneshot::channel();
        let call = async move {
            tokio::task::yield_now().await;
            let _sent = began.send(());
            if computes {
                std::thread::sleep(Duration::from_millis(50));
                tokio::task::yield_now().await;
            }
            std::future::pending::<()>().await;
            drop(inside);
        };
        let state = long_call(None);
        tokio::select! {
            _ended = executor.run(&state, Instant::now(), LONG, Box::pin(call)) => panic!("it never ends"),
            began = begins => began.expect("it began"),
        }
        let begun = Instant::now();
        while Arc::strong_count(&held) > 1 && begun.elapsed() < Duration::from_secs(10) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(Arc::strong_count(&held), 1, "the call is still there");
    }
}

#[tokio::test]
async fn a_panic_of_a_call_reaches_its_caller() {
    let panics = async {
        tokio::task::yield_now().await;
        panic!("as a test");
    };
    let executor = Arc::new(Executor::default());
    let task = tokio::spawn(async move {
        executor.run(&long_call(None), Instant::now(), LONG, Box::pin(panics)).await.map(|(): ()| ())
    });
    assert!(task.await.expect_err("it panicked").is_panic());
}
