use super::*;

const SOON: Duration = Duration::from_millis(20);
const LONG: Duration = Duration::from_secs(60);

fn memories(memories: usize) -> Vec<Amount> {
    vec![Amount { memories, bytes: 0 }]
}

fn pool(memories: usize, bytes: usize) -> Arc<Pool> {
    Pool::new(Amount { memories, bytes })
}

async fn take(pool: &Arc<Pool>, owner: u64, count: usize) -> Result<Vec<Room>, SandboxError> {
    pool.take(Some(owner), memories(count), SOON).await
}

/// Takes one at a time until there is no more.
async fn flood(pool: &Arc<Pool>, owner: u64) -> (Vec<Vec<Room>>, SandboxError) {
    let mut rooms = Vec::new();
    loop {
        match take(pool, owner, 1).await {
            Ok(room) => rooms.push(room),
            Err(error) => return (rooms, error),
        }
    }
}

#[tokio::test]
async fn who_takes_all_it_can_leaves_room_for_the_next() {
    let pool = pool(64, 1);
    let (first, refused) = flood(&pool, 1).await;
    assert_eq!(first.len(), 32, "it holds what it leaves free");
    assert!(matches!(&refused, SandboxError::ShareUsed { .. }), "{refused}");
    let (second, refused) = flood(&pool, 2).await;
    assert_eq!(second.len(), 16);
    assert!(matches!(&refused, SandboxError::ShareUsed { .. }), "{refused}");
    for owner in 3..6 {
        assert!(take(&pool, owner, 4).await.is_ok(), "there is room for the next");
    }
    drop((first, second));
    assert_eq!(pool.used.now(), Amount::default());
}

#[tokio::test]
async fn owners_that_hold_nothing_are_forgotten() {
    let pool = pool(8, 1);
    let _held = take(&pool, 0, 1).await.expect("free");
    for owner in 1..=2 * limits::PLUGIN_POOL_TENANTS_CACHED as u64 {
        assert!(take(&pool, owner, 1).await.is_ok());
    }
    assert!(pool.state().owners.len() <= limits::PLUGIN_POOL_TENANTS_CACHED + 1);
    assert_eq!(pool.used.now().memories, 1);
    assert!(flood(&pool, 0).await.0.len() == 3, "who holds something is not forgotten");
}

#[tokio::test]
async fn what_a_thread_of_low_priority_gives_back_is_found_in_time() {
    let pool = pool(1, 1);
    let held = take(&pool, 1, 1).await.expect("free");
    let waits = pool.take(Some(2), memories(1), LONG);
    let gives = async {
        tokio::time::sleep(SOON).await;
        std::thread::spawn(move || {
            priority::lower();
            drop(held);
        })
        .join()
        .expect("no panic");
    };
    let (taken, ()) = tokio::join!(waits, gives);
    assert!(taken.is_ok());
}

#[tokio::test]
async fn a_refusal_names_who_is_the_reason() {
    let pool = pool(4, 1);
    let _others = [take(&pool, 1, 2).await.expect("free"), take(&pool, 2, 2).await.expect("free")];
    let refused = take(&pool, 3, 1).await.expect_err("others hold all");
    assert!(matches!(&refused, SandboxError::Full { .. }), "{refused}");
    let refused = take(&pool, 2, 1).await.expect_err("others hold all");
    assert!(matches!(&refused, SandboxError::ShareUsed { .. }), "with its own back it would fit: {refused}");
    let refused = take(&pool, 2, 3).await.expect_err("others hold all");
    assert!(matches!(&refused, SandboxError::Full { .. }), "with its own back it would not fit: {refused}");
    let refused = take(&pool, 4, 5).await.expect_err("never");
    assert!(matches!(&refused, SandboxError::TooMuch { .. }), "{refused}");
}

#[tokio::test]
async fn nobody_in_particular_may_take_all() {
    let pool = pool(4, 1);
    let held = pool.take(None, memories(4), SOON).await.expect("free");
    let refused = pool.take(None, memories(1), SOON).await.expect_err("all is taken");
    assert!(matches!(&refused, SandboxError::Full { .. }), "{refused}");
    drop(held);
    assert!(pool.take(None, memories(1), SOON).await.is_ok());
}

#[tokio::test]
async fn who_holds_least_is_served_first() {
    let pool = pool(8, 1);
    let (many, few) = (take(&pool, 1, 4).await.expect("free"), take(&pool, 2, 4).await.expect("free"));
    let wait = |owner| {
        let pool = Arc::clone(&pool);
        tokio::spawn(async move { pool.take(Some(owner), memories(1), LONG).await.map(|_| owner) })
    };
    let greedy: Vec<_> = (0..8).map(|_| wait(1)).collect();
    tokio::time::sleep(SOON).await;
    let late = wait(3);
    tokio::time::sleep(SOON).await;
    assert!(!late.is_finished());
    drop(few);
    assert_eq!(late.await.expect("no panic").expect("granted"), 3);
    assert!(greedy.iter().all(|task| !task.is_finished()), "they would hold more than they leave");
    drop(many);
    for task in greedy {
        assert!(task.await.expect("no panic").is_ok());
    }
}

#[tokio::test]
async fn who_stops_waiting_takes_nothing() {
    let pool = pool(1, 1);
    let held = take(&pool, 1, 1).await.expect("free");
    assert!(take(&pool, 2, 1).await.is_err());
    drop(held);
    assert_eq!(pool.used.now(), Amount::default());
    assert!(take(&pool, 3, 1).await.is_ok());
}

#[tokio::test]
async fn one_owner_cannot_have_the_queue_for_itself() {
    let pool = pool(2, 1);
    let _held = take(&pool, 1, 1).await.expect("free");
    let wait = |_| {
        let pool = Arc::clone(&pool);
        tokio::spawn(async move { pool.take(Some(1), memories(1), LONG).await.map(|_| ()) })
    };
    let waiting: Vec<_> = (0..limits::PLUGIN_POOL_WAITING_MAX).map(wait).collect();
    tokio::time::sleep(SOON).await;
    let refused = tokio::time::timeout(LONG / 2, pool.take(Some(1), memories(1), LONG)).await.expect("at once");
    assert!(matches!(refused, Err(SandboxError::ShareUsed { .. })));
    assert!(take(&pool, 2, 1).await.is_ok(), "another does not stand behind them");
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn bytes_are_shared_like_memories() {
    let pool = pool(64, 1_000);
    let first = take(&pool, 1, 1).await.expect("free").remove(0);
    first.cover(900).expect("it is alone and the bytes are free");
    first.cover(800).expect("it has them");
    assert_eq!(pool.used.now().bytes, 900);
    let other = take(&pool, 2, 1).await.expect("free").remove(0);
    other.cover(100).expect("they are free");
    let refused = other.cover(101).expect_err("all are taken");
    assert!(matches!(&refused, SandboxError::Full { .. }), "{refused}");
    drop(first);
    let second = take(&pool, 2, 1).await.expect("free").remove(0);
    second.cover(400).expect("it leaves as much");
    let refused = second.cover(500).expect_err("it would hold more than it leaves");
    assert!(matches!(&refused, SandboxError::ShareUsed { .. }), "{refused}");
    drop((second, other));
    assert_eq!(pool.used.now(), Amount::default());
}
