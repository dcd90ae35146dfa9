//! Measures how much one tenant slows down another, with the real binary and the wall clock. It is a test target of its own,
//! because no other test may run at the same time. The bound is wide, so that the test also passes on a shared machine.
//! `benches/run isolation` measures exact figures.

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
/// Answers of the light tenant in each part of a round.
const ANSWERS: usize = 10;
/// Requests that the other tenant keeps in progress.
const LOAD_REQUESTS: usize = 16;
/// Time after which the requests of the other tenant have started, or have ended.
const SETTLE: Duration = Duration::from_millis(500);
/// The median answer may take this many times as long as without load.
const SLOWDOWN_MAX: f64 = 1.5;

/// Sends one request of the other tenant.
type SendRequest = fn(&Server, number: usize) -> TcpStream;

#[test]
fn a_flood_or_looping_plugins_of_one_tenant_hardly_slow_down_another() {
    let conformance = harness::root().join("plugins/prebuilt/conformance.wasm");
    let server = Server::start(&format!(
        "[[model]]\nname = \"ember\"\ndevice = \"cpu\"\n[[plugin]]\nname = \"loops\"\nsource = {conformance:?}\n{}{}{}",
        tenant("light", ""),
        tenant("flood", ""),
        tenant("loops", "plugins = [\"loops\"]"),
    ));
    let (mut alone, mut flood, mut loops) = (Vec::new(), Vec::new(), Vec::new());
    answers(&server);
    for _ in 0..ROUNDS {
        alone.extend(answers(&server));
        flood.extend(under_load(&server, flooding));
        alone.extend(answers(&server));
        loops.extend(under_load(&server, looping));
    }
    let [alone, flood, loops] = [alone, flood, loops].map(median);
    let limit = alone.mul_f64(SLOWDOWN_MAX);
    assert!(flood < limit && loops < limit, "alone {alone:?}, with a flood {flood:?}, with looping plugins {loops:?}");
}

/// Times of the answers of a tenant that pauses three times as long after each answer.
fn answers(server: &Server) -> Vec<Duration> {
    // Each prompt starts with another number, so that the prefix cache does not help.
    static REQUESTS: AtomicUsize = AtomicUsize::new(0);
    let answer = |_| {
        let number = REQUESTS.fetch_add(1, Ordering::Relaxed);
        let prompt = format!("{number:03} {}", "Measured twice and cut once, the plank fits; ".repeat(3));
        let body = completion(&prompt, 32);
        let begun = Instant::now();
        let done = server.post("/v1/completions", "light", &body);
        let took = begun.elapsed();
        let usage = done.json()["usage"].take();
        assert_eq!(usage["completion_tokens"], json!(32), "{done:?}");
        assert_eq!(usage["prompt_tokens_details"]["cached_tokens"], json!(0), "{done:?}");
        thread::sleep(3 * took);
        took
    };
    (0..ANSWERS).map(answer).collect()
}

/// Times of the answers while another tenant keeps `LOAD_REQUESTS` requests in progress.
fn under_load(server: &Server, send: SendRequest) -> Vec<Duration> {
    let (stop, ended) = (AtomicBool::new(false), AtomicUsize::new(0));
    let times = thread::scope(|scope| {
        for number in 0..LOAD_REQUESTS {
            let (stop, ended) = (&stop, &ended);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    ended.fetch_add(usize::from(read_until(send(server, number), stop)), Ordering::Relaxed);
                }
            });
        }
        // Stops the load also if an assertion fails; otherwise the scope would never end.
        let _stop_on_drop = StopOnDrop(&stop);
        thread::sleep(SETTLE);
        answers(server)
    });
    assert!(ended.into_inner() > 0, "the other tenant got no answer");
    thread::sleep(SETTLE);
    times
}

/// Stops the load when it is dropped.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Whether the answer was complete before `stop` was set. Otherwise the connection is closed in the middle of the answer.
fn read_until(mut stream: TcpStream, stop: &AtomicBool) -> bool {
    stream.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout");
    let (mut bytes, mut answer) = ([0; 1 << 12], Vec::new());
    while !stop.load(Ordering::Relaxed) {
        match stream.read(&mut bytes) {
            Ok(0) => {
                let answer = String::from_utf8_lossy(&answer);
                assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
                return true;
            }
            Ok(count) => answer.extend_from_slice(&bytes[..count]),
            Err(error) => assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}"),
        }
    }
    false
}

fn flooding(server: &Server, number: usize) -> TcpStream {
    let body = completion(&format!("{number} {}", "and so on, ".repeat(40)), 64);
    server.open("POST", "/v1/completions", Some(&key("flood")), body.to_string().as_bytes())
}

/// Calls a plugin tool that computes until a limit stops it.
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
    // The bias excludes the token that ends the answer.
    let bias = json!({"258": -100});
    json!({"model": "ember", "prompt": prompt, "temperature": 0, "max_tokens": tokens, "logit_bias": bias})
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
