//! Calls that go well, and what they are bounded by.

use std::time::{Duration, Instant};

use firebox_contract::{Caller, Error, ToolSource};
use firebox_mcp::client::ServerSpec;

use crate::harness::{Heard, PATIENCE, call, fake, names, names_in_the_end, pool, until, wanted};

#[tokio::test]
async fn f2_what_comes_before_the_reply_is_not_taken_for_it() {
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
    let names = names_in_the_end(&whole).await;
    assert!(names.len() > 10, "{names:?}");
    assert_eq!(names_in_the_end(&paged).await, names);
}

#[tokio::test]
async fn f2_a_list_without_an_end_is_cut() {
    let pool = pool(vec![fake("one", &["endless"])]);
    assert_eq!(names_in_the_end(&pool).await.len(), firebox_contract::limits::MCP_CLIENT_PAGES_MAX);
    let pool = crate::harness::pool(vec![fake("fat", &["fat"])]);
    let most = firebox_contract::limits::MCP_CLIENT_LIST_BYTES_MAX / 200_000;
    assert!((most - 2..=most).contains(&names_in_the_end(&pool).await.len()), "whatever it sends, this much is kept");
}

#[tokio::test]
async fn f2_a_call_without_an_answer_ends_in_time_and_the_server_is_told() {
    let spec = ServerSpec { call_timeout: Duration::from_millis(400), ..fake("one", &[]) };
    let pool = pool(vec![spec]);
    assert_eq!(call(&pool, "echo", "warm").await.content, "warm");
    let started = Instant::now();
    let outcome = call(&pool, "sleep", "60").await;
    assert!(outcome.is_error && outcome.content.contains("within 0.4 s"), "{outcome:?}");
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    until("the server hears of the cancelled call", async || call(&pool, "cancelled", "").await.content != "[]").await;
}

#[tokio::test]
async fn a_call_that_is_dropped_is_cancelled() {
    let pool = pool(vec![fake("one", &[])]);
    assert_eq!(call(&pool, "cancelled", "").await.content, "[]");
    let sleep = wanted("sleep", r#"{"text": "60"}"#);
    let caller = Caller::local();
    drop(tokio::time::timeout(Duration::from_millis(300), pool.call(&caller, &sleep, &())).await);
    until("the server hears of the dropped call", async || call(&pool, "cancelled", "").await.content != "[]").await;
}

#[tokio::test]
async fn f15_an_error_of_the_tool_is_an_error() {
    let pool = pool(vec![fake("one", &[])]);
    let outcome = call(&pool, "fail", "").await;
    assert!(outcome.is_error);
    assert_eq!((outcome.content.as_str(), outcome.provider.as_str()), ("it did not work", "one"));
    assert!(!call(&pool, "bare", "").await.is_error, "a result without content says that it is done");
}

#[tokio::test]
async fn progress_is_heard_in_order_and_starts_the_clock_anew() {
    let times = |call, total| ServerSpec {
        call_timeout: Duration::from_millis(call),
        total_timeout: Duration::from_millis(total),
        ..fake("one", &[])
    };
    let caller = Caller::local();
    let steps = wanted("steps", "{}");
    // The work takes 750 ms in all and is never silent for 500.
    let patient = pool(vec![times(500, 20_000)]);
    let heard = Heard::default();
    let outcome = patient.call(&caller, &steps, &heard).await.expect("known");
    assert_eq!(outcome.content, "done");
    let heard = heard.0.into_inner().expect("not poisoned");
    assert!(!heard.is_empty() && heard.is_sorted_by(|a, b| a.0 < b.0), "{heard:?}");
    assert_eq!(heard.last(), Some(&(5.0, Some(5.0), "step 5".to_owned())));
    let hurried = pool(vec![times(500, 400)]);
    assert_eq!(call(&hurried, "echo", "warm").await.content, "warm");
    let outcome = hurried.call(&caller, &steps, &()).await.expect("known");
    assert!(outcome.is_error && outcome.content.contains("within 0.4 s"), "progress cannot last for ever: {outcome:?}");
}

#[tokio::test]
async fn calls_run_beside_each_other() {
    let pool = pool(vec![fake("one", &[])]);
    assert_eq!(call(&pool, "echo", "warm").await.content, "warm");
    let started = Instant::now();
    let all = futures_util::future::join_all((0..8).map(|_| call(&pool, "sleep", "0.5"))).await;
    assert!(all.iter().all(|outcome| outcome.content == "awake"));
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
}

#[tokio::test]
async fn what_is_no_call_is_told_from_what_is_no_tool() {
    let pool = pool(vec![fake("one", &[])]);
    let caller = Caller::local();
    for arguments in ["[1]", "{", "7"] {
        let outcome = pool.call(&caller, &wanted("echo", arguments), &()).await.expect("known");
        assert!(outcome.is_error && outcome.content.contains("not a JSON object"), "{arguments}: {outcome:?}");
    }
    let missing = tokio::time::timeout(PATIENCE, pool.call(&caller, &wanted("nothing", "{}"), &())).await;
    assert!(matches!(missing.expect("in time"), Err(Error::NotFound(_))));
}

#[tokio::test]
async fn f4_a_changed_list_is_read_again_and_told() {
    let pool = pool(vec![fake("one", &[])]);
    assert!(!names_in_the_end(&pool).await.contains(&"extra".to_owned()));
    let seen = pool.revision();
    assert_eq!(call(&pool, "grow", "extra").await.content, "grown");
    let now = tokio::time::timeout(PATIENCE, pool.changed(seen)).await.expect("told");
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
async fn a_server_that_ends_at_an_unknown_method_is_asked_the_old_way() {
    let pool = pool(vec![fake("one", &["unknown_ends"])]);
    assert_eq!(call(&pool, "echo", "hello").await.content, "hello");
}
