//! Requests before they are admitted: they cannot slow down others or use up memory.

use std::cell::RefCell;
use std::io::Write as _;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use super::{ANSWER, QUESTION, chat, config, content};
use crate::harness::server::{PLUGINS, Server, finish, key, tenant};

const MIB: usize = 1 << 20;

/// Bodies that are expensive to parse or tokenize, if that happens before they are refused.
fn costly() -> Vec<(&'static str, Vec<u8>)> {
    let lists = format!("[{}]", vec!["[0]"; 4 * MIB - 2].join(","));
    let messages = format!("{{\"model\":\"ember\",\"messages\":{lists}}}");
    let unknown =
        format!("{{\"model\":\"ember\",\"messages\":[{{\"role\":\"user\",\"content\":\"hi\"}}],\"x\":{lists}}}");
    let long = chat(&"word ".repeat(8 * MIB / 5 - 100)).to_string();
    let spaces = chat(&" ".repeat(8 * MIB - 100)).to_string();
    let text = json!({"model": "ember", "prompt": "x".repeat(8 * MIB - 100)}).to_string();
    let arguments = json!({"model": "ember", "messages": [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments":
            format!("{{\"a\":[{}]}}", vec!["[0]"; MIB].join(","))}}]},
        {"role": "tool", "tool_call_id": "c", "content": "x"},
    ]})
    .to_string();
    let schema = json!({"type": "object", "description": "d".repeat(100_000)});
    let tools: Vec<_> = (0..100)
        .map(|n| json!({"type": "function", "function": {"name": format!("f{n}"), "parameters": schema}}))
        .collect();
    let mut tools_body = chat("hi");
    tools_body["tools"] = json!(tools);
    let stops = json!({"model": "ember", "prompt": "x", "stop": vec!["s"; MIB]}).to_string();
    let input = json!({"model": "ember", "input": vec!["s"; MIB]}).to_string();
    [
        ("/v1/chat/completions", lists.clone()),
        ("/v1/chat/completions", messages),
        ("/v1/chat/completions", unknown),
        ("/v1/chat/completions", long),
        ("/v1/chat/completions", spaces),
        ("/v1/chat/completions", arguments),
        ("/v1/chat/completions", tools_body.to_string()),
        ("/v1/completions", text),
        ("/v1/completions", stops),
        ("/v1/embeddings", input),
        ("/v1/sessions", lists.clone()),
        ("/v1/sessions/none/messages", lists.clone()),
        ("/v1/sessions/none/generate", lists.clone()),
        ("/mcp", lists),
    ]
    .map(|(path, body)| (path, body.into_bytes()))
    .into()
}

/// Sends one body after another until the test ends. Each is refused.
#[cfg(target_os = "linux")]
fn flood<'a>(
    server: &Server,
    name: &str,
    bodies: impl Iterator<Item = &'a (&'static str, Vec<u8>)>,
    over: &AtomicBool,
    asked: &AtomicUsize,
) {
    let expected = if name == "zero" { [429, 429, 429, 429] } else { [400, 404, 413, 429] };
    for (path, body) in bodies.take_while(|_| !over.load(Ordering::Relaxed)) {
        let refused = server.ask("POST", path, Some(&key(name)), body);
        // 0: the connection was closed before the refusal was read.
        let answered = refused.status == 0 || refused.status == 503 || expected.contains(&refused.status);
        assert!(answered, "{name} {path}: {refused:?}");
        asked.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn expensive_bodies_do_not_delay_others_or_fill_the_memory() {
    let more = tenant("zero", "[tenant.limits]\nrequests_per_minute = 0") + &tenant("free", "");
    let server = Server::start(&config(&more));
    let bodies = costly();
    let ask = || server.post("/v1/chat/completions", "alpha", &chat(QUESTION));
    assert!(content(&ask().json()).contains(ANSWER));
    let before = server.memory_bytes("VmRSS");
    let (over, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    let (mut slowest, mut slowest_probe) = (Duration::ZERO, Duration::ZERO);
    std::thread::scope(|scope| {
        for (at, name) in ["zero", "free"].into_iter().cycle().take(6).enumerate() {
            let (server, bodies, over, asked) = (&server, &bodies, &over, &asked);
            scope.spawn(move || flood(server, name, bodies.iter().cycle().skip(at * 5), over, asked));
        }
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(8) || asked.load(Ordering::Relaxed) < 40 {
            let begun = Instant::now();
            let done = ask();
            slowest = slowest.max(begun.elapsed());
            assert!(content(&done.json()).contains(ANSWER), "{done:?}");
            let begun = Instant::now();
            assert_eq!(server.ask("GET", "/healthz", None, b"").status, 200);
            slowest_probe = slowest_probe.max(begun.elapsed());
            assert!(started.elapsed() < Duration::from_secs(100), "the flood is too slow to show anything");
        }
        over.store(true, Ordering::Relaxed);
    });
    let grown = server.memory_bytes("VmHWM").saturating_sub(before);
    println!("slowest answer {slowest:?}, slowest probe {slowest_probe:?}, {asked:?} bodies, {} MiB more", grown >> 20);
    // Far above the time on an idle machine, and far below the time that each body took without the limits.
    assert!(
        slowest < Duration::from_secs(20) && slowest_probe < Duration::from_secs(5),
        "{slowest:?} {slowest_probe:?}"
    );
    assert!(grown < 400 << 20, "{grown} bytes");
    let used = server.get("/v1/usage", "zero").json();
    assert_eq!(used["total"]["requests"], 0, "{used}");
    assert!(used["total"]["limited"].as_u64() > Some(0), "{used}");
}

/// A request whose body does not arrive completely.
fn unfinished(server: &Server, path: &str, name: &str, length: usize, sent: usize) -> TcpStream {
    let mut stream = TcpStream::connect(&server.address).expect("accepts");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
    let key = key(name);
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\nconnection: close\r\n\
         content-length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).expect("taken");
    // The server may refuse it before all is sent.
    let _refused_early = stream.write_all(&vec![b' '; sent]);
    stream
}

#[test]
fn the_bodies_of_a_tenant_cannot_exceed_its_share_of_the_request_bytes() {
    let server = Server::start(&config(&format!(
        "[server]\nbody_bytes_max = \"1MiB\"\nrequest_bytes_max = \"6MiB\"\n{}",
        tenant("drips", "")
    )));
    // Two requests fill the share. While the request below has bytes of it, they are refused, and the next iteration opens another.
    let held = RefCell::new(Vec::new());
    let body = json!({"model": "ember", "prompt": "x".repeat(400_000)}).to_string();
    server.eventually("full", |server| {
        held.borrow_mut().push(unfinished(server, "/v1/completions", "drips", MIB, MIB - 64 * 1_024));
        let refused = server.ask("POST", "/v1/completions", Some(&key("drips")), body.as_bytes());
        refused.status == 429
            && refused.body.contains("bytes of memory together")
            && refused.headers.contains("retry-after")
    });
    let done = server.post("/v1/chat/completions", "alpha", &chat(QUESTION));
    assert!(content(&done.json()).contains(ANSWER), "{done:?}");
    drop(held);
    server.eventually("free again", |server| {
        let refused = server.ask("POST", "/v1/completions", Some(&key("drips")), body.as_bytes());
        refused.status == 400 && refused.body.contains("at least")
    });
}

#[test]
fn a_request_is_in_flight_while_its_body_arrives() {
    let server = Server::start(&config(&tenant("one", &format!("{PLUGINS}\n[tenant.limits]\nin_flight_max = 1"))));
    let open = RefCell::new(Vec::new());
    server.eventually("taken", |server| {
        // The request below may take the only slot first. Then this one is refused, and the next iteration opens another.
        open.borrow_mut().push(unfinished(server, "/v1/chat/completions", "one", 1_000, 10));
        // With a free slot, it is refused at once for its content.
        let refused = server.post("/v1/chat/completions", "one", &json!({"model": 7}));
        refused.status == 429 && refused.body.contains("already has 1 requests running")
    });
    let other = server.post("/v1/sessions", "one", &json!({"model": "ember"}));
    assert_eq!(other.status, 200, "changes of sessions have places of their own: {other:?}");
    drop(open);
    server.eventually("free again", |server| server.post("/v1/chat/completions", "one", &chat(QUESTION)).status == 200);
    for _ in 0..5 {
        let done = server.post("/v1/chat/completions", "one", &chat(QUESTION));
        assert!(content(&done.json()).contains(ANSWER), "each is over when its answer is there: {done:?}");
    }
}

#[test]
fn every_request_that_does_work_counts_once_against_the_rate() {
    let server =
        Server::start(&config(&tenant("few", &format!("{PLUGINS}\n[tenant.limits]\nrequests_per_minute = 4"))));
    let session = server.post("/v1/sessions", "few", &json!({"model": "ember"})).json();
    let path = format!("/v1/sessions/{}", session["id"].as_str().expect("an id"));
    assert_eq!(server.post("/v1/chat/completions", "few", &chat(QUESTION)).status, 200);
    assert_eq!(server.post("/v1/chat/completions", "few", &json!({"model": 7})).status, 400, "a bad one counts too");
    assert_eq!(server.get("/v1/usage", "few").json()["limits"]["requests"]["remaining"], 1);
    let turn = json!({"messages": [{"role": "user", "content": QUESTION}]});
    assert_eq!(server.post(&format!("{path}/generate"), "few", &turn).status, 200);
    for (path, body) in [
        (format!("{path}/generate"), turn.clone()),
        (format!("{path}/messages"), turn),
        (format!("{path}/fork"), json!({})),
        ("/v1/embeddings".to_owned(), json!({"model": "ember", "input": "x"})),
        ("/mcp".to_owned(), json!({"jsonrpc": "2.0", "id": 1, "method": "ping"})),
    ] {
        let refused = server.post(&path, "few", &body);
        assert_eq!((refused.status, refused.code().as_str()), (429, "rate_limited"), "{path}");
    }
    let total = server.get("/v1/usage", "few").json()["total"].clone();
    assert_eq!((&total["requests"], &total["limited"], &total["unsettled"]), (&json!(4), &json!(5), &json!(0)));
    assert_eq!(server.get(&path, "few").status, 429, "reading a session is work too");
}

#[test]
fn a_refused_connection_gets_the_reason() {
    let server = Server::start(&config(&tenant("zero", "[tenant.limits]\nrequests_per_minute = 0")));
    let refused = finish(unfinished(&server, "/v1/chat/completions", "zero", 1_000, 10));
    assert_eq!((refused.status, refused.code().as_str()), (429, "rate_limited"), "before its body is there");
}
