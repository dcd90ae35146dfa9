//! The shutdown of a server: under load, at the deadline, and at once.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{ANSWER, QUESTION, chat, config, content, never_ends, with};
use crate::harness::server::{PLUGINS, Server, finish, key, tenant};

/// A request with a long answer on every machine: the tokens that end it are excluded.
pub(super) fn long(tokens: usize) -> Value {
    let body = with(with(chat("Tell me something."), "max_tokens", json!(tokens)), "logit_bias", never_ends());
    with(body, "stream", json!(true))
}

fn asking() -> String {
    tenant("asks", &format!("{PLUGINS}\n[tenant.tools]\nask = [\"*\"]"))
}

#[test]
fn running_requests_finish_and_new_ones_are_refused() {
    let mut server = Server::start(&config(&asking()));
    // It runs until it is approved, so that the server is still running during the checks.
    let held = server.open("POST", "/v1/chat/completions", Some(&key("asks")), chat(QUESTION).to_string().as_bytes());
    server.eventually("asked", |server| server.get("/v1/approvals", "asks").json()["data"][0].is_object());
    let body = long(900).to_string();
    let running: Vec<_> = (0..4)
        .map(|_| server.open("POST", "/v1/chat/completions", Some(&key("alpha")), body.as_bytes()))
        .inspect(|stream| assert_eq!(stream.peek(&mut [0]).expect("the answer begins"), 1))
        .collect();
    server.signal("TERM");
    server.wait_until("ending", |said| said.contains("shutting down; running requests have"));
    server.eventually("not ready", |server| server.ask("GET", "/readyz", None, b"").status == 503);
    let refused = server.post("/v1/chat/completions", "alpha", &chat(QUESTION));
    assert_eq!((refused.status, refused.code().as_str()), (503, "unavailable"), "{refused:?}");
    assert!(refused.headers.contains("retry-after"), "{refused:?}");
    assert_eq!(server.ask("GET", "/healthz", None, b"").status, 200, "the process lives");
    let waiting = server.get("/v1/approvals", "asks").json()["data"][0]["id"].as_str().expect("an id").to_owned();
    let approved = server.post(&format!("/v1/approvals/{waiting}"), "asks", &json!({"decision": "approve"}));
    assert_eq!(approved.status, 200, "what running work waits for can be answered");
    assert!(content(&finish(held).json()).contains(ANSWER));
    for stream in running {
        let done = finish(stream);
        assert!(done.body.trim_end().ends_with("data: [DONE]"), "finished: {}", done.body);
    }
    assert_eq!(server.ended(), Some(0), "{}", server.log());
    assert!(server.log().contains("all requests had finished"), "{}", server.log());
}

#[test]
fn requests_after_the_deadline_are_cut_off_and_counted() {
    let mut server = Server::start(&config(&format!("[server]\ndrain_timeout = \"1s\"\n{}", asking())));
    let stream = with(chat(QUESTION), "stream", json!(true)).to_string();
    let running: Vec<_> =
        (0..3).map(|_| server.open("POST", "/v1/chat/completions", Some(&key("asks")), stream.as_bytes())).collect();
    server.eventually("asked", |server| server.get("/v1/approvals", "asks").json()["data"][2].is_object());
    let started = Instant::now();
    server.signal("TERM");
    assert_eq!(server.ended(), Some(0), "{}", server.log());
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
    assert!(server.log().contains("3 running requests were cancelled"), "{}", server.log());
    for stream in running {
        let cut = finish(stream);
        assert!(cut.body.contains("\"code\":\"unavailable\"") && !cut.body.contains("[DONE]"), "{}", cut.body);
    }
}

#[test]
fn a_second_signal_ends_the_server_at_once() {
    let mut server = Server::start(&config(&format!("[server]\ndrain_timeout = \"600s\"\n{}", asking())));
    let _held = server.open("POST", "/v1/chat/completions", Some(&key("asks")), chat(QUESTION).to_string().as_bytes());
    server.eventually("asked", |server| server.get("/v1/approvals", "asks").json()["data"][0].is_object());
    server.signal("INT");
    server.wait_until("ending", |said| said.contains("shutting down; running requests have 600 s"));
    let started = Instant::now();
    server.signal("INT");
    assert_eq!(server.ended(), Some(0), "{}", server.log());
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
    assert!(server.log().contains("1 running requests were cancelled"), "{}", server.log());
}
