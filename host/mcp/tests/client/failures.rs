//! Servers that exit, hang, flood or send wrong answers.

use std::time::{Duration, Instant};

use firebox_contract::{Caller, ToolSource};
use firebox_mcp::client::{Secret, ServerSpec, ServerState, ServerTransport};

use crate::harness::{call, fake, fresh_path, names, pool, until};

#[tokio::test]
async fn a_server_killed_in_the_middle_of_a_call_is_an_error_at_once_and_comes_back() {
    let pool = pool(vec![fake("one", &[])]);
    let first = call(&pool, "pid", "").await.content;
    let started = Instant::now();
    let outcome = call(&pool, "die", "").await;
    assert!(outcome.is_error && outcome.content.contains("went away"), "{outcome:?}");
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    let second = call(&pool, "pid", "").await;
    assert!(!second.is_error && second.content != first, "{second:?}");
    assert!(pool.status()[0].last_error.is_none(), "a working server has no error");
    assert_eq!(pool.close().await, 0);
}

#[tokio::test]
async fn only_a_call_that_changes_nothing_is_repeated() {
    let pool = pool(vec![fake("one", &[])]);
    for (tool, calls) in [("die_once", 2), ("die_once_writing", 1)] {
        let (_folder, path) = fresh_path();
        let outcome = call(&pool, tool, path.to_str().expect("text")).await;
        assert_eq!(outcome.is_error, calls == 1, "{tool}: {outcome:?}");
        let made = std::fs::read(path.with_extension("calls")).expect("it was called");
        assert_eq!(made.len(), calls, "{tool}");
    }
}

#[tokio::test]
async fn f3_a_server_that_fails_at_first_is_retried() {
    let (_folder, path) = fresh_path();
    let pool = pool(vec![fake("one", &[&format!("crash_twice={}", path.display())])]);
    let report = pool.connect(&Caller::local()).await.remove(0);
    assert!(report.result.is_err(), "both attempts meet a crash");
    let status = pool.status().remove(0);
    assert_eq!(status.state, ServerState::Down);
    assert!(status.last_error.is_some_and(|error| error.contains("closed the connection")));
    // Without a request the pool retries by itself, and reports the change of the list.
    tokio::time::timeout(Duration::from_secs(20), pool.changed(pool.revision())).await.expect("retried");
    assert!(names(&pool).await.contains(&"echo".to_owned()));
    let status = pool.status().remove(0);
    assert_eq!((status.state, status.last_error), (ServerState::Ready, None));
}

#[tokio::test]
async fn a_broken_server_does_not_affect_the_tools_of_others() {
    let silent = ServerSpec { connect_timeout: Duration::from_secs(1), ..fake("silent", &["silent"]) };
    let missing = ServerSpec::stdio("missing", vec!["no-such-program-anywhere".to_owned()]).expect("a command");
    let unreachable = ServerSpec::http("unreachable", "http://127.0.0.1:9/mcp");
    let pool = pool(vec![silent, fake("crash", &["crash"]), missing, unreachable, fake("good", &[])]);
    let started = Instant::now();
    assert!(names(&pool).await.contains(&"echo".to_owned()));
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
    let started = Instant::now();
    assert_eq!(call(&pool, "echo", "fine").await.content, "fine");
    assert!(names(&pool).await.contains(&"echo".to_owned()));
    assert!(
        started.elapsed() < Duration::from_secs(4),
        "known failures do not delay requests: {:?}",
        started.elapsed()
    );
    let words = |name: &str| {
        let status = pool.status().into_iter().find(|status| status.name == name).expect("listed");
        status.last_error.unwrap_or_default()
    };
    until("the crashing server was tried twice", async || !words("crash").is_empty()).await;
    assert!(words("silent").contains("within 1 s"), "{}", words("silent"));
    assert!(words("crash").contains("cannot find my files"), "{}", words("crash"));
    assert!(words("missing").contains("there is no program \"no-such-program-anywhere\""), "{}", words("missing"));
    assert!(words("unreachable").contains("cannot be used"), "{}", words("unreachable"));
    assert_eq!(words("good"), "");
    assert_eq!(pool.close().await, 0);
}

#[tokio::test]
async fn a_call_to_a_lost_server_is_an_outcome_that_the_model_reads() {
    let (_folder, path) = fresh_path();
    let mut spec = fake("one", &[]);
    let ServerTransport::Stdio(server) = &mut spec.transport else { panic!("stdio") };
    // A copy of the script that is removed later: the server starts once and never again.
    let script = server.args[0].clone();
    std::fs::copy(&script, &path).expect("copied");
    server.args[0] = path.display().to_string();
    let pool = pool(vec![spec]);
    assert_eq!(call(&pool, "echo", "once").await.content, "once");
    std::fs::remove_file(&path).expect("removed");
    assert!(call(&pool, "die", "").await.is_error);
    until("it is down", async || pool.status()[0].state == ServerState::Down).await;
    let started = Instant::now();
    let outcome = call(&pool, "echo", "again").await;
    assert!(outcome.is_error && outcome.content.contains("\"one\""), "{outcome:?}");
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    until("its tools are no longer offered", async || names(&pool).await.is_empty()).await;
}

#[tokio::test]
async fn a_message_of_17_mib_ends_only_its_connection() {
    let pool = pool(vec![fake("one", &[]), fake("two", &[])]);
    let other = call(&pool, "two__pid", "").await.content;
    let outcome = call(&pool, "one__long_line", "").await;
    assert!(outcome.is_error && outcome.content.contains("more than 16777216 bytes"), "{outcome:?}");
    assert_eq!(call(&pool, "one__echo", "again").await.content, "again");
    assert_eq!(call(&pool, "two__pid", "").await.content, other, "the other server is not affected");
}

#[tokio::test]
async fn a_server_that_sends_requests_without_reading_answers_loses_its_connection() {
    let pool = pool(vec![fake("one", &["stuffed"])]);
    let outcome = call(&pool, "requests", "").await;
    assert!(outcome.is_error && outcome.content.contains("more requests than it reads answers"), "{outcome:?}");
    assert!(!call(&pool, "pid", "").await.is_error);
}

#[tokio::test]
async fn a_server_that_stops_answering_is_replaced() {
    let spec = ServerSpec { call_timeout: Duration::from_millis(300), ..fake("one", &["deaf"]) };
    let pool = pool(vec![spec]);
    let first = call(&pool, "pid", "").await.content;
    assert!(call(&pool, "sleep", "60").await.is_error);
    // It does not answer the health check after the timeout either.
    until("another process answers", async || {
        let now = call(&pool, "pid", "").await;
        !now.is_error && now.content != first
    })
    .await;
    assert_eq!(pool.close().await, 0);
}

#[tokio::test]
async fn secrets_in_the_output_of_a_server_are_redacted() {
    let mut spec = fake("one", &["crash"]);
    let ServerTransport::Stdio(server) = &mut spec.transport else { panic!("stdio") };
    server.env.push(("TOKEN".to_owned(), Secret::new("hunter22")));
    let pool = pool(vec![spec]);
    let report = pool.connect(&Caller::local()).await.remove(0);
    let error = report.result.expect_err("it crashes").to_string();
    assert!(error.contains("TOKEN=[secret]") && !error.contains("hunter22"), "{error}");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn closing_leaves_no_process_of_a_stubborn_server() {
    use crate::harness::group_size;
    for modes in [&[][..], &["stubborn"]] {
        let pool = pool(vec![fake("one", modes)]);
        let group = call(&pool, "pid", "").await.content;
        assert_eq!(call(&pool, "children", "").await.content, "one more");
        assert_eq!((group_size(&group), pool.children()), (2, 1));
        let started = Instant::now();
        assert_eq!(pool.close().await, 0);
        // A killed process may take a moment to end.
        until("the group is gone", async || group_size(&group) == 0).await;
        assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_pool_that_is_dropped_leaves_no_process() {
    use crate::harness::group_size;
    let pool = pool(vec![fake("one", &["stubborn"])]);
    let group = call(&pool, "pid", "").await.content;
    assert_eq!(call(&pool, "children", "").await.content, "one more");
    drop(pool);
    until("the group is gone", async || group_size(&group) == 0).await;
}

#[cfg(target_os = "linux")]
#[test]
fn a_runtime_that_ends_leaves_no_process() {
    use crate::harness::group_size;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("starts");
    let (pool, group) = runtime.block_on(async {
        let pool = pool(vec![fake("one", &["stubborn"])]);
        let group = call(&pool, "pid", "").await.content;
        (pool, group)
    });
    drop(runtime);
    drop(pool);
    let started = Instant::now();
    while group_size(&group) > 0 {
        assert!(started.elapsed() < crate::harness::PATIENCE, "still there");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A server that hangs delays the first request for a short time, and no later request.
#[tokio::test]
async fn a_server_that_hangs_does_not_delay_later_requests() {
    let silent = ServerSpec { connect_timeout: Duration::from_secs(60), ..fake("silent", &["silent"]) };
    let pool = pool(vec![silent, fake("good", &[])]);
    let started = Instant::now();
    assert!(names(&pool).await.contains(&"echo".to_owned()));
    assert!(started.elapsed() < Duration::from_secs(6), "{:?}", started.elapsed());
    let started = Instant::now();
    for _ in 0..20 {
        assert!(names(&pool).await.contains(&"echo".to_owned()));
    }
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    assert_eq!(pool.absent(&Caller::local()), ["silent"]);
    assert_eq!(pool.close().await, 0);
}

/// A server that sends without end before or after the handshake loses its connection.
#[tokio::test]
async fn a_server_that_floods_is_ended_with_the_reason() {
    for (mode, expected) in [("flood_junk", "before it finished the handshake"), ("flood_notices", "the handshake")] {
        let pool = pool(vec![fake("one", &[mode])]);
        let report = pool.connect(&Caller::local()).await.remove(0);
        let error = report.result.expect_err("it never answers").to_string();
        assert!(error.contains(expected), "{mode}: {error}");
        assert!(report.elapsed < Duration::from_secs(15), "{mode}: {:?}", report.elapsed);
        assert_eq!(pool.close().await, 0);
    }
    let pool = pool(vec![fake("one", &[])]);
    let outcome = call(&pool, "flood", "").await;
    assert!(outcome.is_error && outcome.content.contains("messages a second"), "{outcome:?}");
    assert_eq!(pool.close().await, 0);
}

#[tokio::test]
async fn a_flood_on_standard_error_is_read_slowly_and_the_server_works() {
    let pool = pool(vec![fake("one", &["flood_stderr"])]);
    assert_eq!(call(&pool, "echo", "fine").await.content, "fine");
    assert_eq!(pool.close().await, 0);
}

#[tokio::test]
async fn only_the_tools_that_the_operator_names_are_offered() {
    let spec = ServerSpec { tools: vec!["e*".to_owned(), "write".to_owned()], ..fake("one", &[]) };
    let pool = pool(vec![spec]);
    assert_eq!(names(&pool).await, ["echo", "write", "env"]);
    assert_eq!(pool.close().await, 0);
}
