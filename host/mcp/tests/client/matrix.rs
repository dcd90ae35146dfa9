//! Servers that each deviate from the protocol in one way. Readable answers are read. Everything else ends in time with an error
//! that says what the server did. Each row is one server.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use firebox_contract::Caller;
use firebox_mcp::client::{ClientPool, Secret, ServerReport, ServerSpec, ServerTransport};
use futures_util::StreamExt;
use futures_util::stream;

use crate::harness::pool;

/// Longer than any row takes on a busy machine, including the start of its server.
const PATIENCE: Duration = Duration::from_secs(60);
/// The call timeout. It is short, because some rows wait for it.
const CALL: Duration = Duration::from_secs(3);
/// Servers that are tested at the same time.
const TOGETHER: usize = 6;

/// The expected result of a row.
#[derive(Clone, Copy)]
enum Expected {
    /// The call returns exactly this text.
    Gives(&'static str),
    /// The call returns this text as the tool's own error.
    Fails(&'static str),
    /// The server cannot be used, and the error contains all of these texts.
    Down(&'static [&'static str]),
    /// The call fails, and the error contains all of these texts.
    Call(&'static [&'static str]),
    /// The server offers this many tools, and the reasons for rejected tools contain all of these texts.
    Lists(usize, &'static [&'static str]),
    /// The server is used, and its revision contains this text.
    Speaks(&'static str),
}

use Expected::{Call, Down, Fails, Gives, Lists, Speaks};

/// Over standard input and output.
const STDIO: &[(&str, Expected)] = &[
    // Framing.
    ("plain", Gives("hello")),
    ("noise", Gives("hello")),
    ("bom", Gives("hello")),
    ("crlf", Gives("hello")),
    ("split", Gives("höllo")),
    ("not_utf8", Gives("caf\u{fffd}")),
    ("half_character", Gives("a\u{fffd}b")),
    ("not_a_number", Gives(r#"{"a":"NaN","b":"-Infinity"}"#)),
    ("large_number", Gives("\"123456789012345678901234567890\"")),
    ("broken", Call(&["is not JSON", "EOF while parsing", "hel"])),
    ("no_line_end", Gives("hello")),
    ("huge", Call(&["more than 16777216 bytes"])),
    ("batch", Gives("hello")),
    ("stderr_flood", Gives("hello")),
    // Envelopes.
    ("no_version", Gives("hello")),
    ("id_text", Gives("hello")),
    ("id_other", Call(&["within 3 s", "is not pending"])),
    ("id_null_error", Call(&["cannot parse this", "code -32700"])),
    ("twice", Gives("hello")),
    ("both", Gives("hello")),
    ("both_filled", Call(&["it failed", "code -1"])),
    ("neither", Call(&["neither a result nor an error"])),
    ("error_is_text", Call(&["it failed"])),
    ("error_code_text", Call(&["it failed", "code -5"])),
    ("asks_first", Gives("error error error result result")),
    ("progress_text", Gives("hello")),
    ("silent", Call(&["within 3 s"])),
    // Results.
    ("content_text", Gives("hello")),
    ("content_object", Gives("hello")),
    ("content_unknown", Gives("hello\n[video video/mp4, 1 bytes]")),
    ("content_null_structured", Gives("[1,2]")),
    ("annotations_null", Gives("hello")),
    ("error_text", Gives("hello")),
    ("tool_failed", Fails("hello")),
    ("link_without_name", Gives("hello\n[resource x://a]")),
    ("empty_result", Gives("")),
    ("old_result", Gives("hello")),
    ("input_required", Call(&["more input"])),
    // Handshakes.
    ("revision_unknown", Speaks("2099-01-01 (unknown to this host")),
    ("revision_number", Speaks("20250618 (unknown to this host")),
    ("revision_missing", Speaks("none (unknown to this host")),
    ("about_missing", Speaks("2025-06-18")),
    ("about_strange", Speaks("2025-06-18")),
    ("initialize_list", Down(&["\"initialize\" is not an object"])),
    ("discover_anything", Gives("hello")),
    ("old_and_deaf", Gives("hello")),
    ("old_and_dies", Gives("hello")),
    ("slow_start", Gives("hello")),
    // Lists.
    (
        "tools_mixed",
        Lists(1, &["\"text\": its input schema", "same name", "has no name", "not an object", "not a string"]),
    ),
    ("tools_bare", Lists(2, &[])),
    ("tools_many", Lists(1_024, &["t1023", "8913 more"])),
    ("tools_named", Lists(2, &["more than 256 bytes"])),
    ("tools_none", Down(&["did not list its tools", "\"none\""])),
    ("pages_repeat", Lists(1, &["further pages"])),
    ("pages_without_news", Lists(1, &["further pages"])),
    ("pages_end_empty", Lists(1, &[])),
    // Ends.
    ("ends_at_once", Down(&["exit code 9", "no licence"])),
    ("exit_before", Call(&["exit code 7"])),
    ("exit_after", Gives("hello")),
    ("killed", Call(&["signal 9"])),
    ("closes_output", Call(&["closed the connection", "still running"])),
    ("orphan", Call(&["exit code 3", "still holds its output"])),
];

/// Over HTTP.
const HTTP: &[(&str, Expected)] = &[
    // Status codes.
    ("plain", Gives("hello")),
    ("unauthorized", Down(&["HTTP 401 Unauthorized", "invalid_token: no key", "--mcp-header"])),
    ("forbidden", Down(&["HTTP 403 Forbidden", "not for you"])),
    ("login_page", Down(&["HTTP 200 OK", "a page for browsers", "Sign in", "Welcome"])),
    ("bad_gateway", Down(&["HTTP 502 Bad Gateway"])),
    ("nothing_here", Down(&["HTTP 404 Not Found", "404 page not found"])),
    ("moved_away", Down(&["HTTP 301", "https://elsewhere.example/mcp"])),
    ("moved_in_circles", Down(&["redirects more than 3 times"])),
    ("moved_a_little", Gives("hello")),
    ("always_empty", Down(&["an empty body"])),
    ("always_accepted", Down(&["HTTP 202 Accepted", "holds no answer"])),
    ("json_of_another_kind", Down(&["holds no answer", "status"])),
    ("hangs_at_the_new", Gives("hello")),
    ("notes_refused", Gives("hello")),
    ("call_error_without_id", Call(&["HTTP 500", "the disk is full", "code -32000"])),
    ("call_refused", Call(&["HTTP 400 Bad Request", "no such thing"])),
    ("call_busy", Call(&["HTTP 429", "slow down", "after \"7\""])),
    ("call_broken", Call(&["HTTP 500", "Traceback: line 3"])),
    ("call_empty", Call(&["an empty body"])),
    ("call_accepted", Call(&["HTTP 202 Accepted", "holds no answer"])),
    ("call_page", Call(&["a page for browsers"])),
    ("call_text", Call(&["no message", "hello there"])),
    ("session_gone", Gives("hello")),
    ("session_gone_400", Gives("hello")),
    ("session_always_gone", Call(&["forgotten the session"])),
    ("wants_key", Gives("hello")),
    // Bodies.
    ("batch", Gives("hello")),
    ("id_wrong", Call(&["holds no answer to this request", "is not pending"])),
    ("id_none", Gives("hello")),
    ("json_broken", Call(&["is not JSON"])),
    ("json_huge", Call(&["more than 16777216 bytes"])),
    ("no_content_type", Gives("hello")),
    ("hangs_up", Call(&["went away"])),
    // Streams.
    ("sse_comments", Gives("hello")),
    ("sse_ping_event", Gives("hello")),
    ("sse_empty_data", Gives("hello")),
    ("sse_heartbeat", Gives("hello")),
    ("sse_bom", Gives("hello")),
    ("sse_noise", Gives("hello")),
    ("sse_log", Gives("hello")),
    ("sse_cr", Gives("hello")),
    ("sse_crlf", Gives("hello")),
    ("sse_many_lines", Gives("hello")),
    ("sse_without_end", Gives("hello")),
    ("sse_bare", Gives("hello")),
    ("sse_as_json", Gives("hello")),
    ("json_as_sse_name", Gives("hello")),
    ("sse_split", Gives("höllo")),
    ("sse_asks_first", Gives("hello")),
    ("sse_ends_early", Call(&["event stream ended before the answer"])),
    ("sse_breaks_off", Call(&["event stream broke off before the answer"])),
    ("sse_huge", Call(&["more than 16777216 bytes"])),
    ("sse_resumed", Gives("hello")),
    ("sse_lost", Call(&["could not be resumed", "HTTP 405"])),
    // The transport before.
    ("first", Gives("hello")),
    ("first_error_text", Gives("hello")),
    ("first_without_address", Down(&["HTTP 405 Method Not Allowed"])),
    ("first_elsewhere", Down(&["HTTP 405 Method Not Allowed"])),
];

fn script() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/odd.py").display().to_string()
}

/// The server of all HTTP rows. It ends when its standard input is closed.
struct OddHttpServer(Child);

impl Drop for OddHttpServer {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().expect("it ends");
    }
}

fn served() -> (OddHttpServer, u16) {
    let mut command = Command::new("python3");
    command.args([&script(), "http"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("python3");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("a port");
    (OddHttpServer(child), line.trim().parse().expect("a port"))
}

fn with_times(case: &str, spec: ServerSpec) -> ServerSpec {
    // A quarter of the connect timeout is the time to answer whether the newest revision is known, and some servers start slowly.
    let connect_timeout = if matches!(case, "old_and_deaf" | "hangs_at_the_new") { CALL * 4 } else { PATIENCE };
    // A build without optimization reads 16 MiB in seconds.
    let call_timeout = if case.ends_with("huge") { PATIENCE / 2 } else { CALL };
    ServerSpec { connect_timeout, call_timeout, ..spec }
}

/// Runs a row.
///
/// # Errors
/// The difference from the expected result.
async fn row(case: &'static str, spec: ServerSpec, expected: Expected) -> Result<(), String> {
    let pool: ClientPool = pool(vec![with_times(case, spec)]);
    let started = Instant::now();
    let caller = Caller::local();
    let checked = async {
        let report = pool.connect(&caller).await.remove(0);
        let called = pool.call_server(&caller, "odd", "t", "{}", &()).await;
        judged(
            &report,
            called.map(|outcome| (outcome.content, outcome.is_error)).map_err(|error| error.to_string()),
            expected,
        )
    };
    let judged = tokio::time::timeout(PATIENCE, checked).await.unwrap_or_else(|_| Err("it takes too long".to_owned()));
    let left = tokio::time::timeout(PATIENCE, pool.close()).await;
    let children = if left == Ok(0) { Ok(()) } else { Err(format!("children are left: {left:?}")) };
    judged.and(children).map_err(|why| format!("{case} ({:.1} s): {why}", started.elapsed().as_secs_f32()))
}

fn judged(report: &ServerReport, called: Result<(String, bool), String>, expected: Expected) -> Result<(), String> {
    let has = |text: &str, words: &[&str]| match words.iter().find(|word| !text.contains(**word)) {
        None if text.len() > 2_000 || text.contains("Some(") || text.contains("Error(") => {
            Err(format!("not for people: {text}"))
        }
        None => Ok(()),
        Some(word) => Err(format!("\"{text}\" should contain \"{word}\"")),
    };
    match expected {
        Gives(content) | Fails(content) => match called {
            Ok((said, failed)) if said == content && failed == matches!(expected, Fails(_)) => Ok(()),
            other => Err(format!("{other:?}")),
        },
        Down(words) => match &report.result {
            Err(error) => has(&error.to_string(), words),
            Ok(_) => Err("it is used".to_owned()),
        },
        Call(words) => match called {
            Err(error) => has(&error, words),
            Ok(other) => Err(format!("{other:?}")),
        },
        Lists(count, words) => {
            let (_, tools) = report.result.as_ref().map_err(ToString::to_string)?;
            let left_out: Vec<String> =
                report.rejected.iter().map(|tool| format!("\"{}\": {}", tool.name, tool.reason)).collect();
            if tools.len() != count || (words.is_empty() && !left_out.is_empty()) {
                return Err(format!("{} tools, left out {left_out:?}", tools.len()));
            }
            let all = left_out.join("; ");
            words.iter().find(|word| !all.contains(**word)).map_or(Ok(()), |word| Err(format!("{all} lacks {word}")))
        }
        Speaks(words) => {
            let (about, _) = report.result.as_ref().map_err(ToString::to_string)?;
            has(&about.revision, &[words])
        }
    }
}

async fn all(rows: Vec<(&'static str, ServerSpec, Expected)>) {
    let count = rows.len();
    let started = Instant::now();
    let results: Vec<Result<(), String>> = stream::iter(rows)
        .map(|(case, spec, expected)| row(case, spec, expected))
        .buffer_unordered(TOGETHER)
        .collect()
        .await;
    let wrong: Vec<String> = results.into_iter().filter_map(Result::err).collect();
    assert!(wrong.is_empty(), "{} of {count} rows in {:?}:\n{}", wrong.len(), started.elapsed(), wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn odd_programs_are_read_or_the_error_says_what_they_did() {
    let rows = STDIO.iter().map(|(case, expected)| {
        let words = ["python3", &script(), "stdio", case].map(str::to_owned).to_vec();
        (*case, ServerSpec::stdio("odd", words).expect("a command"), *expected)
    });
    all(rows.collect()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn odd_http_servers_are_read_or_the_error_says_what_they_did() {
    let (served, port) = served();
    let rows = HTTP.iter().map(|(case, expected)| {
        let mut spec = ServerSpec::http("odd", &format!("http://127.0.0.1:{port}/{case}"));
        if let ServerTransport::Http(server) = &mut spec.transport {
            server.headers.push(("X-Key".to_owned(), Secret::new("hunter22")));
        }
        (*case, spec, *expected)
    });
    all(rows.collect()).await;
    drop(served);
}

/// Control characters of a server cannot reach a terminal or a log line.
#[tokio::test]
async fn the_message_of_a_server_has_no_control_characters() {
    let (served, port) = served();
    let pool = pool(vec![ServerSpec::http("odd", &format!("http://127.0.0.1:{port}/login_page"))]);
    let report = pool.connect(&Caller::local()).await.remove(0);
    let error = report.result.expect_err("a page").to_string();
    assert!(error.contains("Welcome") && !error.chars().any(char::is_control), "{error:?}");
    drop((pool, Arc::new(served)));
}
