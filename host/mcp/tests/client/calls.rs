//! Calls that succeed, and their limits.

use std::time::{Duration, Instant};

use firebox_contract::{Caller, Error, ToolSource};
use firebox_mcp::client::ServerSpec;

use crate::harness::{PATIENCE, RecordedProgress, call, fake, names, names_after_connecting, pool, tool_call, until};

#[tokio::test]
async fn f2_a_notification_before_the_answer_is_not_taken_for_it() {
    let pool = pool(vec![fake("one", &["notify_first"])]);
    for number in 0..5 {
        assert_eq!(call(&pool, "echo", &format!("hello {number}")).await.content, format!("hello {number}"));
    }
}

#[tokio::test]
async fn f2_a_server_that_floods_its_standard_error_still_answers() {
    let pool = pool(vec![fake("one", &["flood"])]);
    assert_eq!(call(&pool, "echo", "through").await.content, "through");
}

#[tokio::test]
async fn f2_lists_are_read_to_their_last_page() {
    let (whole, paged) = (pool(vec![fake("one", &[])]), pool(vec![fake("one", &["paged"])]));
    let names = names_after_connecting(&whole).await;
    assert!(names.len() > 10, "{names:?}");
    assert_eq!(names_after_connecting(&paged).await, names);
}

#[tokio::test]
async fn f2_a_list_without_an_end_is_cut() {
    let pool = pool(vec![fake("one", &["endless"])]);
    assert_eq!(names_after_connecting(&pool).await.len(), firebox_contract::limits::MCP_CLIENT_PAGES_MAX);
    let pool = crate::harness::pool(vec![fake("fat", &["fat"])]);
    let most = firebox_contract::limits::MCP_CLIENT_LIST_BYTES_MAX / 200_000;
    assert!((most - 2..=most).contains(&names_after_connecting(&pool).await.len()), "the list is limited in bytes");
}

#[tokio::test]
async fn f2_a_call_without_an_answer_times_out_and_is_cancelled() {
    let spec = ServerSpec { call_timeout: Duration::from_millis(400), ..fake("one", &[]) };
    let pool = pool(vec![spec]);
    assert_eq!(call(&pool, "echo", "warm").await.content, "warm");
    let started = Instant::now();
    let outcome = call(&pool, "sleep", "60").await;
    assert!(outcome.is_error && outcome.content.contains("within 0.4 s"), "{outcome:?}");
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    until("the server gets the cancellation", async || call(&pool, "cancelled", "").await.content != "[]").await;
}

#[tokio::test]
async fn a_call_that_is_dropped_is_cancelled() {
    let pool = pool(vec![fake("one", &[])]);
    assert_eq!(call(&pool, "cancelled", "").await.content, "[]");
    let sleep = tool_call("sleep", r#"{"text": "60"}"#);
    let caller = Caller::local();
    drop(tokio::time::timeout(Duration::from_millis(300), pool.call(&caller, &sleep, &())).await);
    until("the server gets the cancellation", async || call(&pool, "cancelled", "").await.content != "[]").await;
}

#[tokio::test]
async fn f15_an_error_of_the_tool_is_an_error() {
    let pool = pool(vec![fake("one", &[])]);
    let outcome = call(&pool, "fail", "").await;
    assert!(outcome.is_error);
    assert_eq!((outcome.content.as_str(), outcome.provider.as_str()), ("it did not work", "one"));
    assert!(!call(&pool, "bare", "").await.is_error, "a result without content is a success");
}

#[tokio::test]
async fn progress_arrives_in_order_and_restarts_the_call_timeout() {
    let times = |call, total| ServerSpec {
        call_timeout: Duration::from_millis(call),
        total_timeout: Duration::from_millis(total),
        ..fake("one", &[])
    };
    let caller = Caller::local();
    let steps = tool_call("steps", "{}");
    // The call takes 750 ms in total and never pauses for 500 ms.
    let patient = pool(vec![times(500, 20_000)]);
    let recorded = RecordedProgress::default();
    let outcome = patient.call(&caller, &steps, &recorded).await.expect("known");
    assert_eq!(outcome.content, "done");
    let recorded = recorded.0.into_inner().expect("not poisoned");
    assert!(!recorded.is_empty() && recorded.is_sorted_by(|a, b| a.0 < b.0), "{recorded:?}");
    assert_eq!(recorded.last(), Some(&(5.0, Some(5.0), "step 5".to_owned())));
    let hurried = pool(vec![times(500, 400)]);
    assert_eq!(call(&hurried, "echo", "warm").await.content, "warm");
    let outcome = hurried.call(&caller, &steps, &()).await.expect("known");
    assert!(
        outcome.is_error && outcome.content.contains("within 0.4 s"),
        "progress does not extend the total timeout: {outcome:?}"
    );
}

#[tokio::test]
async fn calls_of_one_server_run_at_the_same_time() {
    let pool = pool(vec![fake("one", &[])]);
    assert_eq!(call(&pool, "echo", "warm").await.content, "warm");
    let started = Instant::now();
    let all = futures_util::future::join_all((0..8).map(|_| call(&pool, "sleep", "0.5"))).await;
    assert!(all.iter().all(|outcome| outcome.content == "awake"));
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
}

#[tokio::test]
async fn invalid_arguments_are_an_outcome_and_an_unknown_tool_is_an_error() {
    let pool = pool(vec![fake("one", &[])]);
    let caller = Caller::local();
    for arguments in ["[1]", "{", "7"] {
        let outcome = pool.call(&caller, &tool_call("echo", arguments), &()).await.expect("known");
        assert!(outcome.is_error && outcome.content.contains("not a JSON object"), "{arguments}: {outcome:?}");
    }
    let missing = tokio::time::timeout(PATIENCE, pool.call(&caller, &tool_call("nothing", "{}"), &())).await;
    assert!(matches!(missing.expect("in time"), Err(Error::NotFound(_))));
}

#[tokio::test]
async fn f4_a_changed_list_is_read_again_and_reported() {
    let pool = pool(vec![fake("one", &[])]);
    assert!(!names_after_connecting(&pool).await.contains(&"extra".to_owned()));
    let seen = pool.revision();
    assert_eq!(call(&pool, "grow", "extra").await.content, "grown");
    let now = tokio::time::timeout(PATIENCE, pool.changed(seen)).await.expect("reported");
    assert!(now != seen && names(&pool).await.contains(&"extra".to_owned()));
}

#[tokio::test]
async fn requests_of_the_server_are_answered() {
    let pool = pool(vec![fake("one", &[])]);
    assert_eq!(call(&pool, "ask", "").await.content, "asked");
    assert_eq!(call(&pool, "echo", "still here").await.content, "still here");
}

#[tokio::test]
async fn old_revisions_are_accepted() {
    for revision in ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"] {
        let pool = pool(vec![fake("one", &[&format!("revision={revision}")])]);
        let report = pool.connect(&Caller::local()).await.remove(0);
        let (about, tools) = report.result.expect("reachable");
        assert_eq!((about.revision.as_str(), about.software.as_deref()), (revision, Some("fake 1")));
        assert!(!tools.is_empty());
    }
}

#[tokio::test]
async fn a_server_that_exits_at_an_unknown_method_is_asked_for_an_older_revision() {
    let pool = pool(vec![fake("one", &["unknown_ends"])]);
    assert_eq!(call(&pool, "echo", "hello").await.content, "hello");
}
