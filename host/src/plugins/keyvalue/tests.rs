//! The store by itself: isolation, quotas, expiry, versions.

use std::time::Duration;

use super::*;

fn memory() -> SqliteBuckets {
    SqliteBuckets::new(PathBuf::from(":memory:"), limits::KEYVALUE_FILE_BYTES_DEFAULT)
}

fn bucket(tenant: &str, plugin: &str, bucket: &str) -> BucketId {
    BucketId { tenant: TenantId::new(tenant), plugin: plugin.to_owned(), bucket: bucket.to_owned() }
}

async fn set(store: &SqliteBuckets, id: &BucketId, key: &str, value: &[u8]) -> Result<KeyValueAnswer, KeyValueError> {
    let pairs = vec![(key.to_owned(), value.to_vec())];
    store.run(id.clone(), KeyValueOperation::Set { pairs, lifetime: None }).await
}

async fn get(store: &SqliteBuckets, id: &BucketId, key: &str) -> Option<Vec<u8>> {
    match store.run(id.clone(), KeyValueOperation::Get(vec![key.to_owned()])).await {
        Ok(KeyValueAnswer::Values(mut values)) => values.remove(0).map(|value| value.bytes),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn tenants_plugins_and_buckets_share_nothing() {
    let store = memory();
    let own = bucket("acme", "notes", "main");
    set(&store, &own, "k", b"secret").await.expect("set");
    assert_eq!(get(&store, &own, "k").await.as_deref(), Some(b"secret".as_slice()));
    for other in [bucket("other", "notes", "main"), bucket("acme", "spy", "main"), bucket("acme", "notes", "more")] {
        assert_eq!(get(&store, &other, "k").await, None, "{other:?}");
        let listed = store.run(other, KeyValueOperation::List(None)).await;
        assert_eq!(listed, Ok(KeyValueAnswer::Keys(Vec::new(), false)));
    }
}

#[tokio::test]
async fn a_quota_is_enforced_and_its_call_changes_nothing() {
    let store = SqliteBuckets::new(PathBuf::from(":memory:"), 4 * limits::KEYVALUE_FILE_BYTES_MIN);
    let (own, other) = (bucket("acme", "notes", "main"), bucket("other", "notes", "main"));
    let half = vec![0; limits::KEYVALUE_FILE_BYTES_MIN as usize / 2];
    set(&store, &own, "a", &half).await.expect("a half");
    let full = set(&store, &own, "b", &half).await.expect_err("the keys count too");
    assert!(matches!(&full, KeyValueError::Quota(text) if text.contains("bytes of a tenant")), "{full:?}");
    assert_eq!(get(&store, &own, "b").await, None);
    set(&store, &other, "a", &half).await.expect("another tenant has its own share");
    store.run(own.clone(), KeyValueOperation::Delete(vec!["a".to_owned()])).await.expect("removed");
    set(&store, &own, "b", &half).await.expect("there is room again");
}

#[tokio::test]
async fn a_key_is_gone_after_its_lifetime() {
    let store = memory();
    let own = bucket("acme", "cache", "main");
    let pairs = vec![("k".to_owned(), b"v".to_vec())];
    let set = KeyValueOperation::Set { pairs, lifetime: Some(Duration::from_millis(30)) };
    store.run(own.clone(), set).await.expect("set");
    assert!(get(&store, &own, "k").await.is_some());
    tokio::time::sleep(Duration::from_millis(40)).await;
    assert_eq!(get(&store, &own, "k").await, None);
    assert_eq!(
        store.run(own.clone(), KeyValueOperation::Contains("k".to_owned())).await,
        Ok(KeyValueAnswer::Found(false))
    );
    let listed = store.run(own, KeyValueOperation::List(None)).await;
    assert_eq!(listed, Ok(KeyValueAnswer::Keys(Vec::new(), false)));
}

#[tokio::test]
async fn a_sum_below_the_lowest_one_is_refused_and_changes_nothing() {
    let store = memory();
    let own = bucket("acme", "notes", "main");
    set(&store, &own, "n", b"-5").await.expect("set");
    let add = |by| {
        store.run(own.clone(), KeyValueOperation::Increment { key: "n".to_owned(), by, lifetime: None, least: Some(0) })
    };
    for _ in 0..2 {
        let low = add(2).await;
        assert!(matches!(&low, Err(KeyValueError::Invalid(text)) if text.contains("the sum is -3")), "{low:?}");
    }
    assert_eq!(get(&store, &own, "n").await.as_deref(), Some(b"-5".as_slice()));
    assert_eq!(add(5).await, Ok(KeyValueAnswer::Number(0)));
}

#[tokio::test]
async fn a_swap_fails_after_any_change_even_back_to_the_same_value() {
    let store = memory();
    let own = bucket("acme", "notes", "main");
    set(&store, &own, "k", b"v").await.expect("set");
    let read = store.run(own.clone(), KeyValueOperation::Get(vec!["k".to_owned()])).await;
    let Ok(KeyValueAnswer::Values(mut values)) = read else { panic!("{read:?}") };
    let version = values.remove(0).map(|value| value.version);
    store.run(own.clone(), KeyValueOperation::Delete(vec!["k".to_owned()])).await.expect("removed");
    set(&store, &own, "k", b"v").await.expect("set again");
    let swap = |version| KeyValueOperation::Swap { key: "k".to_owned(), version, value: b"mine".to_vec() };
    assert_eq!(store.run(own.clone(), swap(version)).await, Ok(KeyValueAnswer::Found(false)));
    assert_eq!(store.run(own.clone(), swap(None)).await, Ok(KeyValueAnswer::Found(false)), "there is a value");
    assert_eq!(get(&store, &own, "k").await.as_deref(), Some(b"v".as_slice()));
}

#[tokio::test]
async fn increments_at_the_same_time_all_count() {
    let store = Arc::new(memory());
    let own = bucket("acme", "notes", "main");
    let calls: Vec<_> = (0..50)
        .map(|_| {
            let increment = KeyValueOperation::Increment { key: "n".to_owned(), by: 2, lifetime: None, least: None };
            tokio::spawn(store.run(own.clone(), increment))
        })
        .collect();
    for call in calls {
        call.await.expect("no panic").expect("counted");
    }
    assert_eq!(get(&store, &own, "n").await.as_deref(), Some(b"100".as_slice()));
    set(&store, &own, "n", b"text").await.expect("set");
    let increment = KeyValueOperation::Increment { key: "n".to_owned(), by: i64::MAX, lifetime: None, least: None };
    assert!(matches!(store.run(own, increment).await, Err(KeyValueError::Invalid(_))));
}

#[tokio::test]
async fn values_survive_the_store_and_the_file_is_private() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("new").join("plugins.db");
    let open = || SqliteBuckets::new(path.clone(), limits::KEYVALUE_FILE_BYTES_DEFAULT);
    let own = bucket("local", "notes", "main");
    let first = open();
    set(&first, &own, "k", b"v").await.expect("set");
    let second = open();
    assert_eq!(get(&second, &own, "k").await.as_deref(), Some(b"v".as_slice()), "also for a second process");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o077, 0, "{mode:o}");
    }
}

#[tokio::test]
async fn a_file_of_another_program_is_not_touched_and_its_path_is_not_shown() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("other.db");
    let other = rusqlite::Connection::open(&path).expect("opened");
    other.execute_batch("CREATE TABLE theirs (x)").expect("made");
    let store = SqliteBuckets::new(path.clone(), limits::KEYVALUE_FILE_BYTES_DEFAULT);
    let error = set(&store, &bucket("a", "p", "b"), "k", b"v").await.expect_err("refused").to_string();
    assert!(!error.contains("other.db"), "{error}");
    let tables: i64 = other.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).expect("read");
    assert_eq!(tables, 1);
}

#[tokio::test]
async fn a_tenant_with_many_calls_does_not_hold_up_another() {
    let store = Arc::new(memory());
    let loud = bucket("loud", "p", "b");
    let value = vec![0; limits::KEYVALUE_VALUE_BYTES_MAX / 4];
    let calls: Vec<_> = (0..200)
        .map(|number| {
            let pairs = vec![(format!("{}", number % 8), value.clone())];
            tokio::spawn(store.run(loud.clone(), KeyValueOperation::Set { pairs, lifetime: None }))
        })
        .collect();
    tokio::task::yield_now().await;
    let quiet = bucket("quiet", "p", "b");
    set(&store, &quiet, "k", b"v").await.expect("set");
    let waiting = calls.iter().filter(|call| !call.is_finished()).count();
    assert!(waiting > 100, "the other tenant was served before {waiting} calls");
    calls.iter().for_each(tokio::task::JoinHandle::abort);
}
