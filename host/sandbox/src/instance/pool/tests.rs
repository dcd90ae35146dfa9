use super::*;

const SOON: Duration = Duration::from_millis(20);
const LONG: Duration = Duration::from_secs(60);

fn memories(memories: usize) -> Vec<Amount> {
    vec![Amount { memories, bytes: 0 }]
}

fn pool(memories: usize, bytes: usize) -> Arc<InstancePool> {
    InstancePool::new(Amount { memories, bytes })
}

async fn take(pool: &Arc<InstancePool>, tenant: u64, count: usize) -> Result<Vec<SharedPermit>, SandboxError> {
    pool.take(Some(tenant), memories(count), SOON).await
}

/// Takes one at a time until there is no more.
async fn flood(pool: &Arc<InstancePool>, tenant: u64) -> (Vec<Vec<SharedPermit>>, SandboxError) {
    let mut permits = Vec::new();
    loop {
        match take(pool, tenant, 1).await {
            Ok(permit) => permits.push(permit),
            Err(error) => return (permits, error),
        }
    }
}

#[tokio::test]
async fn a_tenant_that_takes_all_it_can_leaves_room_for_the_next() {
    let pool = pool(64, 1);
    let (first, refused) = flood(&pool, 1).await;
    assert_eq!(first.len(), 32, "it holds as much as it leaves free");
    assert!(matches!(&refused, SandboxError::ShareUsed { .. }), "{refused}");
    let (second, refused) = flood(&pool, 2).await;
    assert_eq!(second.len(), 16);
    assert!(matches!(&refused, SandboxError::ShareUsed { .. }), "{refused}");
    for tenant in 3..6 {
        assert!(take(&pool, tenant, 4).await.is_ok(), "there is room for the next");
    }
    drop((first, second));
    assert_eq!(pool.used.now(), Amount::default());
}

#[tokio::test]
async fn tenants_that_hold_nothing_are_removed() {
    let pool = pool(8, 1);
    let _held = take(&pool, 0, 1).await.expect("free");
    for tenant in 1..=2 * limits::PLUGIN_POOL_TENANTS_CACHED as u64 {
        assert!(take(&pool, tenant, 1).await.is_ok());
    }
    assert!(pool.queue().tenants.len() <= limits::PLUGIN_POOL_TENANTS_CACHED + 1);
    assert_eq!(pool.used.now().memories, 1);
    assert!(flood(&pool, 0).await.0.len() == 3, "a tenant that holds something stays");
}

#[tokio::test]
async fn a_permit_released_at_low_priority_is_found_in_time() {
    let pool = pool(1, 1);
    let held = take(&pool, 1, 1).await.expect("free");
    let waits = pool.take(Some(2), memories(1), LONG);
    let gives = async {
        tokio::time::sleep(SOON).await;
        std::thread::spawn(move || {
            priority::lower(1);
            drop(held);
        })
        .join()
        .expect("no panic");
    };
    let (taken, ()) = tokio::join!(waits, gives);
    assert!(taken.is_ok());
}

#[tokio::test]
async fn a_refusal_says_whether_the_tenants_own_share_is_the_reason() {
    let pool = pool(4, 1);
    let _others = [take(&pool, 1, 2).await.expect("free"), take(&pool, 2, 2).await.expect("free")];
    let refused = take(&pool, 3, 1).await.expect_err("others hold all");
    assert!(matches!(&refused, SandboxError::Full { .. }), "{refused}");
    let refused = take(&pool, 2, 1).await.expect_err("others hold all");
    assert!(matches!(&refused, SandboxError::ShareUsed { .. }), "without its own permits it would fit: {refused}");
    let refused = take(&pool, 2, 3).await.expect_err("others hold all");
    assert!(
        matches!(&refused, SandboxError::Full { .. }),
        "without its own permits it would not fit either: {refused}"
    );
    let refused = take(&pool, 4, 5).await.expect_err("never");
    assert!(matches!(&refused, SandboxError::TooMuch { .. }), "{refused}");
}

#[tokio::test]
async fn without_tenants_one_request_may_take_all() {
    let pool = pool(4, 1);
    let held = pool.take(None, memories(4), SOON).await.expect("free");
    let refused = pool.take(None, memories(1), SOON).await.expect_err("all is taken");
    assert!(matches!(&refused, SandboxError::Full { .. }), "{refused}");
    drop(held);
    assert!(pool.take(None, memories(1), SOON).await.is_ok());
}

#[tokio::test]
async fn the_tenant_that_holds_least_is_served_first() {
    let pool = pool(8, 1);
    let (many, few) = (take(&pool, 1, 4).await.expect("free"), take(&pool, 2, 4).await.expect("free"));
    let wait = |tenant| {
        let pool = Arc::clone(&pool);
        tokio::spawn(async move { pool.take(Some(tenant), memories(1), LONG).await.map(|_| tenant) })
    };
    let greedy: Vec<_> = (0..8).map(|_| wait(1)).collect();
    tokio::time::sleep(SOON).await;
    let late = wait(3);
    tokio::time::sleep(SOON).await;
    assert!(!late.is_finished());
    drop(few);
    assert_eq!(late.await.expect("no panic").expect("granted"), 3);
    assert!(greedy.iter().all(|task| !task.is_finished()), "their tenant would hold more than it leaves free");
    drop(many);
    for task in greedy {
        assert!(task.await.expect("no panic").is_ok());
    }
}

#[tokio::test]
async fn a_request_that_stops_waiting_takes_nothing() {
    let pool = pool(1, 1);
    let held = take(&pool, 1, 1).await.expect("free");
    assert!(take(&pool, 2, 1).await.is_err());
    drop(held);
    assert_eq!(pool.used.now(), Amount::default());
    assert!(take(&pool, 3, 1).await.is_ok());
}

#[tokio::test]
async fn one_tenant_cannot_fill_the_queue() {
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
    assert!(take(&pool, 2, 1).await.is_ok(), "another tenant does not wait behind them");
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn bytes_are_shared_as_memories_are() {
    let pool = pool(64, 1_000);
    let first = take(&pool, 1, 1).await.expect("free").remove(0);
    first.cover(900).expect("no other tenant holds bytes");
    first.cover(800).expect("it holds them already");
    assert_eq!(pool.used.now().bytes, 900);
    let other = take(&pool, 2, 1).await.expect("free").remove(0);
    other.cover(100).expect("they are free");
    let refused = other.cover(101).expect_err("all are taken");
    assert!(matches!(&refused, SandboxError::Full { .. }), "{refused}");
    drop(first);
    let second = take(&pool, 2, 1).await.expect("free").remove(0);
    second.cover(400).expect("it leaves as much free");
    let refused = second.cover(500).expect_err("it would hold more than it leaves free");
    assert!(matches!(&refused, SandboxError::ShareUsed { .. }), "{refused}");
    drop((second, other));
    assert_eq!(pool.used.now(), Amount::default());
}
