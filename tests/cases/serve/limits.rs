//! Misbehaving clients: too large, too slow, malformed, or disconnected.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{ANSWER, QUESTION, chat, config, content, never_ends, with};
use crate::harness::server::{PLUGINS, Server, finish, key, tenant};

#[test]
fn headers_are_limited_in_bytes_and_time() {
    let server = Server::start(&config("[server]\nheader_timeout = \"1s\"\n"));
    let long = format!("GET /healthz HTTP/1.1\r\nhost: localhost\r\nx-long: {}\r\n\r\n", "x".repeat(64 << 10));
    let mut stream = TcpStream::connect(&server.address).expect("accepts");
    // The server may refuse it before all is sent.
    let _refused_early = stream.write_all(long.as_bytes());
    assert_eq!(finish(stream).status, 431);
    let mut slow = TcpStream::connect(&server.address).expect("accepts");
    slow.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
    slow.write_all(b"GET /healthz HTTP/1.1\r\nhost: local").expect("taken");
    let started = Instant::now();
    let mut rest = Vec::new();
    // The connection may be closed in any way.
    let _closed = slow.read_to_end(&mut rest);
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    assert_eq!(server.ask("GET", "/healthz", None, b"").status, 200);
}

/// Runs both slow cases at the same time: a body that does not arrive, and a stream without events.
#[test]
fn a_slow_body_is_refused_and_a_quiet_stream_is_kept_open() {
    let server = Server::start(&config(&tenant("asks", &format!("{PLUGINS}\n[tenant.tools]\nask = [\"*\"]"))));
    let body = with(chat(QUESTION), "stream", json!(true)).to_string();
    let mut quiet = server.open("POST", "/v1/chat/completions", Some(&key("asks")), body.as_bytes());
    let mut slow = TcpStream::connect(&server.address).expect("accepts");
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{{",
        key("asks"),
        body.len()
    );
    slow.write_all(head.as_bytes()).expect("taken");
    let begun = Instant::now();
    let refused = finish(slow);
    assert_eq!((refused.status, refused.code().as_str()), (408, "timeout"), "{refused:?}");
    let took = begun.elapsed();
    assert!((Duration::from_secs(9)..Duration::from_secs(60)).contains(&took), "{took:?}");
    let mut early = read_until(&mut quiet, "still here");
    let waiting = server.get("/v1/approvals", "asks").json()["data"][0]["id"].as_str().expect("an id").to_owned();
    server.post(&format!("/v1/approvals/{waiting}"), "asks", &json!({"decision": "approve"}));
    quiet.read_to_string(&mut early).expect("the rest");
    assert!(early.contains(ANSWER), "a comment every 10 s, and then the answer: {early}");
}

/// Reads `stream` up to `wanted`.
pub(super) fn read_until(stream: &mut TcpStream, wanted: &str) -> String {
    let (mut said, mut byte) = (Vec::new(), [0]);
    while !said.ends_with(wanted.as_bytes()) {
        stream.read_exact(&mut byte).expect("it comes before the stream ends or rests for too long");
        said.extend(byte);
    }
    String::from_utf8(said).expect("text")
}

#[test]
fn f10_a_disconnect_cancels_the_generation() {
    let asking = tenant("asks", &format!("{PLUGINS}\n[tenant.tools]\nask = [\"*\"]"));
    let server = Server::start(&config(&asking));
    // It waits for an approval that never comes, so only the disconnect ends it.
    let open = server.open("POST", "/v1/chat/completions", Some(&key("asks")), chat(QUESTION).to_string().as_bytes());
    server.eventually("asked", |server| server.get("/v1/approvals", "asks").json()["data"][0].is_object());
    assert_eq!(server.metric("alpha", "firebox_requests_running{"), 1.0);
    drop(open);
    server.eventually("withdrawn", |server| server.get("/v1/approvals", "asks").json()["data"] == json!([]));
    let line = "firebox_requests_total{model=\"ember\",tenant=\"asks\",outcome=\"cancelled\"}";
    server.eventually("counted", |server| server.metric("alpha", line) == 1.0);
    server.eventually("freed", |server| server.metric("alpha", "firebox_requests_running{") == 0.0);
}

/// The clients' sockets buffer a few KB, far less than an answer, so that the server has to wait for them.
#[test]
fn f9_a_client_that_reads_nothing_does_not_block_others() {
    let server = Server::start(&config("[server]\nreader_timeout = \"5m\"\n"));
    let long = with(with(chat("Tell me something."), "max_tokens", json!(900)), "logit_bias", never_ends());
    let stream = with(long.clone(), "stream", json!(true)).to_string();
    let silent: Vec<TcpStream> =
        (0..4).map(|_| server.open_narrow("/v1/chat/completions", &key("alpha"), stream.as_bytes())).collect();
    let done = server.post("/v1/chat/completions", "alpha", &chat(QUESTION));
    assert!(content(&done.json()).contains(ANSWER), "{done:?}");
    // As long as the other answers, and started after them.
    let whole = server.post("/v1/chat/completions", "alpha", &long);
    assert_eq!(whole.json()["choices"][0]["finish_reason"], "length", "{whole:?}");
    let running = server.metric("alpha", "firebox_requests_running{");
    assert_eq!(running, 4.0, "answers that nobody reads wait for their readers");
    for stream in silent {
        let late = finish(stream);
        assert!(late.body.trim_end().ends_with("data: [DONE]"), "a slow reader gets it all: {}", late.body);
    }
}

#[test]
fn no_client_leaves_an_open_file_or_thread_behind() {
    let server = Server::start(&config("[sessions]\npath = \"sessions.db\"\n"));
    let whole = with(chat(QUESTION), "max_tokens", json!(4));
    let stream = with(whole.clone(), "stream", json!(true)).to_string();
    let visit = || {
        assert_eq!(server.post("/v1/chat/completions", "alpha", &whole).status, 200);
        drop(server.open("POST", "/v1/chat/completions", Some(&key("alpha")), stream.as_bytes()));
        assert_eq!(server.post("/v1/sessions", "alpha", &json!({"model": "ember"})).status, 200);
        assert_eq!(server.post("/v1/chat/completions", "alpha", &json!({"model": "none"})).status, 400);
        // One client sends half a request, and one sends nothing.
        let mut half = TcpStream::connect(&server.address).expect("accepts");
        half.write_all(b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-le").expect("taken");
        drop(TcpStream::connect(&server.address).expect("accepts"));
    };
    let quiet = |server: &Server| server.metric("alpha", "firebox_requests_running{") == 0.0;
    (0..5).for_each(|_| visit());
    server.eventually("quiet", quiet);
    // Files and threads that stay open are mostly open now. Threads for plugins at low priority start later, when a plugin
    // computes for long, which a busy machine can cause. Threads for blocking work end after ten idle seconds.
    const ONCE: usize = 20;
    const VISITS: usize = 60;
    let (files, threads) = server.holds();
    (0..VISITS).for_each(|_| visit());
    server.eventually("quiet", quiet);
    // A leak of each visit would add up to many.
    const { assert!(ONCE < VISITS / 2) };
    server.eventually("as before", |server| {
        let (now, running) = server.holds();
        now <= files + ONCE && running <= threads + ONCE
    });
}

/// A random generator with a seed, so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).expect("small")
    }
}

/// A client sends its body late, and another request on the same connection.
#[test]
fn a_connection_can_be_used_again_after_a_refused_request() {
    let server = Server::start(&config(""));
    let mut stream = TcpStream::connect(&server.address).expect("accepts");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
    let mut answers = BufReader::new(stream.try_clone().expect("a second handle"));
    for (path, expected) in [("/v1/chat/completions", 401), ("/nowhere", 404), ("/v1/models", 405), ("/mcp", 401)] {
        let head = format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 20000\r\n\r\n");
        stream.write_all(head.as_bytes()).expect("taken");
        std::thread::sleep(Duration::from_millis(50));
        stream.write_all(&[b'x'; 20_000]).expect("taken");
        assert_eq!(status_of(&mut answers), expected, "{path}");
    }
    // If the body never arrives, the answer says that the connection is closed.
    stream.write_all(b"POST /nowhere HTTP/1.1\r\nhost: localhost\r\ncontent-length: 20000\r\n\r\n").expect("taken");
    let mut rest = String::new();
    answers.read_to_string(&mut rest).expect("it ends in order");
    assert!(rest.starts_with("HTTP/1.1 404") && rest.to_lowercase().contains("connection: close"), "{rest}");
}

/// Reads one answer from a connection that stays open.
fn status_of(answers: &mut BufReader<TcpStream>) -> u16 {
    let (mut status, mut length) = (0, 0);
    for line in answers.by_ref().lines() {
        let line = line.expect("readable").to_lowercase();
        if let Some(rest) = line.strip_prefix("http/1.1 ") {
            status = rest[..3].parse().expect("a number");
        } else if let Some(rest) = line.strip_prefix("content-length: ") {
            length = rest.parse().expect("a number");
        } else if line.is_empty() {
            break;
        }
    }
    answers.read_exact(&mut vec![0; length]).expect("the whole body");
    status
}

fn strange() -> Vec<Value> {
    let deep = (0..100).fold(json!(1), |inner, _| json!([inner]));
    vec![
        json!(null),
        json!(true),
        json!(-1),
        json!(0),
        json!(1e300),
        json!(u64::MAX),
        json!(""),
        json!("\u{0}\u{fffd}"),
        json!([]),
        json!([null]),
        json!({}),
        json!({"type": "function"}),
        json!([[1, [2]]]),
        json!("auto"),
        deep,
    ]
}

#[test]
fn malformed_bodies_are_refused_and_never_break_the_server() {
    let server = Server::start(&config(""));
    let chat = json!({
        "model": "ember", "messages": [{"role": "user", "content": "hi", "tool_calls": [], "tool_call_id": "x"}],
        "temperature": 0, "top_p": 1, "max_tokens": 2, "max_completion_tokens": 2, "stop": ["x"], "seed": 1, "n": 1,
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}], "tool_choice": "auto",
        "logit_bias": {"1": 1}, "stream_options": {"include_usage": true}, "response_format": {"type": "text"},
        "firebox": {"plugins": [], "tools": {"rounds": 1, "deny": ["x"]}, "session": null, "timeout_ms": 1000},
        "frequency_penalty": 0, "presence_penalty": 0, "logprobs": false, "parallel_tool_calls": true, "stream": false,
    });
    let endpoints = [
        ("/v1/chat/completions", chat),
        ("/v1/completions", json!({"model": "ember", "prompt": "x", "max_tokens": 2, "echo": false, "suffix": null})),
        ("/v1/embeddings", json!({"model": "ember", "input": "x", "encoding_format": "float", "dimensions": null})),
        ("/v1/sessions", json!({"model": "ember", "title": "x", "system": "y"})),
        ("/v1/sessions/none/messages", json!({"messages": [], "expected_length": 1})),
        ("/v1/sessions/none/fork", json!({"at": 1})),
        ("/v1/sessions/none/pin", json!({"seq": 1, "pinned": true})),
        ("/v1/approvals/none", json!({"decision": "approve", "remember": "once", "reason": "x"})),
    ];
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let check = |path: &str, body: &[u8]| {
        let response = server.ask("POST", path, Some(&key("alpha")), body);
        let shown = String::from_utf8_lossy(body);
        assert!((200..500).contains(&response.status), "{path} {shown}: {response:?}");
        if response.status != 200 {
            let error = &response.json()["error"];
            assert!(error["message"].is_string() && error["type"].is_string() && error["code"].is_string(), "{error}");
        }
    };
    for (path, body) in &endpoints {
        for field in body.as_object().expect("an object").keys() {
            for value in strange() {
                check(path, with(body.clone(), field, value).to_string().as_bytes());
            }
        }
        let text = body.to_string().into_bytes();
        for _ in 0..60 {
            let mut broken = text.clone();
            let at = random.below(broken.len());
            match random.below(3) {
                0 => broken.truncate(at),
                1 => broken[at] = u8::try_from(random.below(256)).expect("a byte"),
                _ => broken.insert(at, b"{[\"\\,:}]0-\xff"[random.below(11)]),
            }
            check(path, &broken);
        }
    }
    let done = server.post("/v1/chat/completions", "alpha", &super::chat(QUESTION));
    assert!(content(&done.json()).contains(ANSWER), "{done:?}");
}
