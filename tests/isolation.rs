//! What one tenant notices of another, on the real binary and by the clock. A target of its own, since nothing else may run
//! beside it. The bounds are wide: they tell a server that keeps tenants apart from one that does not, on a machine that
//! others share. `benches/run isolation` has the figures.

#[allow(dead_code, reason = "the other targets use the rest")]
mod harness;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use harness::server::{Server, key, tenant};
use serde_json::{Value, json};

const ROUNDS: usize = 3;
/// Answers of the modest tenant in each part of a round.
const ANSWERS: usize = 10;
/// Requests of the other, at all times.
const OTHERS: usize = 16;
/// Time in which those that came have begun, and those that left are gone.
const SETTLE: Duration = Duration::from_millis(500);
/// Times that the median answer may take of what it takes alone.
const MOST: f64 = 1.5;

/// What the other tenant does, until it is told to stop.
type Other = fn(&Server, number: usize) -> TcpStream;

#[test]
fn a_modest_tenant_hardly_notices_one_that_floods_or_whose_plugins_loop() {
    let conformance = harness::root().join("plugins/prebuilt/conformance.wasm");
    let server = Server::start(&format!(
        "[[model]]\nname = \"ember\"\ndevice = \"cpu\"\n[[plugin]]\nname = \"loops\"\nsource = {conformance:?}\n{}{}{}",
        tenant("modest", ""),
        tenant("flood", ""),
        tenant("loops", "plugins = [\"loops\"]"),
    ));
    let (mut alone, mut flood, mut loops) = (Vec::new(), Vec::new(), Vec::new());
    answers(&server);
    for _ in 0..ROUNDS {
        alone.extend(answers(&server));
        flood.extend(beside(&server, flooding));
        alone.extend(answers(&server));
        loops.extend(beside(&server, looping));
    }
    let [alone, flood, loops] = [alone, flood, loops].map(median);
    let most = alone.mul_f64(MOST);
    assert!(flood < most && loops < most, "alone {alone:?}, beside a flood {flood:?}, beside loops {loops:?}");
}

/// How long answers take, of a tenant that pauses for three times as long.
fn answers(server: &Server) -> Vec<Duration> {
    // No two begin alike, so that each is computed.
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    let answer = |_| {
        let number = ASKED.fetch_add(1, Ordering::Relaxed);
        let prompt = format!("{number:03} {}", "Measured twice and cut once, the plank fits; ".repeat(3));
        let body = completion(&prompt, 32);
        let begun = Instant::now();
        let done = server.post("/v1/completions", "modest", &body);
        let took = begun.elapsed();
        let usage = done.json()["usage"].take();
        assert_eq!(usage["completion_tokens"], json!(32), "{done:?}");
        assert_eq!(usage["prompt_tokens_details"]["cached_tokens"], json!(0), "{done:?}");
        thread::sleep(3 * took);
        took
    };
    (0..ANSWERS).map(answer).collect()
}

/// The same while another tenant keeps its requests in the server.
fn beside(server: &Server, other: Other) -> Vec<Duration> {
    let (stop, ended) = (AtomicBool::new(false), AtomicUsize::new(0));
    let times = thread::scope(|scope| {
        for number in 0..OTHERS {
            let (stop, ended) = (&stop, &ended);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    ended.fetch_add(usize::from(read_until(other(server, number), stop)), Ordering::Relaxed);
                }
            });
        }
        // Also where an answer is wrong: the others would be waited for without end.
        let _leave = Leave(&stop);
        thread::sleep(SETTLE);
        answers(server)
    });
    assert!(ended.into_inner() > 0, "the other had no answer at all");
    thread::sleep(SETTLE);
    times
}

/// Dropped, it tells the others to leave.
struct Leave<'a>(&'a AtomicBool);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Whether an answer came to its end before `stop`; else its connection is closed in the middle.
fn read_until(mut stream: TcpStream, stop: &AtomicBool) -> bool {
    stream.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout");
    let (mut bytes, mut said) = ([0; 1 << 12], Vec::new());
    while !stop.load(Ordering::Relaxed) {
        match stream.read(&mut bytes) {
            Ok(0) => {
                let said = String::from_utf8_lossy(&said);
                assert!(said.starts_with("HTTP/1.1 200 "), "{said}");
                return true;
            }
            Ok(count) => said.extend_from_slice(&bytes[..count]),
            Err(error) => assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}"),
        }
    }
    false
}

fn flooding(server: &Server, number: usize) -> TcpStream {
    let body = completion(&format!("{number} {}", "and so on, ".repeat(40)), 64);
    server.open("POST", "/v1/completions", Some(&key("flood")), body.to_string().as_bytes())
}

/// A tool of a plugin that computes until a limit ends it.
fn looping(server: &Server, number: usize) -> TcpStream {
    const TOOL: &str = "fault_endless";
    const REVISION: &str = "2026-07-28";
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": REVISION,
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let params = json!({"name": TOOL, "arguments": {}, "_meta": meta});
    let call = json!({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}).to_string();
    let mut stream = TcpStream::connect(&server.address).expect("accepts");
    let request = format!(
        "POST /mcp HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nauthorization: Bearer {}\r\n\
         accept: application/json, text/event-stream\r\ncontent-type: application/json\r\n\
         mcp-protocol-version: {REVISION}\r\nmcp-method: tools/call\r\nmcp-name: {TOOL}\r\n\
         content-length: {}\r\n\r\n{call}",
        key("loops"),
        call.len()
    );
    stream.write_all(request.as_bytes()).expect("taken");
    stream
}

fn completion(prompt: &str, tokens: usize) -> Value {
    // Without the token that would end it.
    let bias = json!({"258": -100});
    json!({"model": "ember", "prompt": prompt, "temperature": 0, "max_tokens": tokens, "logit_bias": bias})
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
