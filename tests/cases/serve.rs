//! `firebox serve` with well-behaved and with misbehaving clients.

mod admission;
mod clients;
mod connections;
mod edges;
mod embeddings;
mod fields;
mod forced;
mod isolation;
mod limits;
mod mcp;
mod plugin_tenants;
mod reasoning;
mod reload;
mod revocation;
mod schemas;
mod sessions;
mod shutdown;
mod waiting;

use serde_json::{Value, json};

use crate::harness::server::{PLUGINS, Server, events, key, tenant, text_of};

const QUESTION: &str = "What is 1234 * 87?";
const ANSWER: &str = "107358";

/// A configuration with the built-in model on the CPU, the tenant `alpha`, and the lines `more`.
fn config(more: &str) -> String {
    format!("[[model]]\nname = \"ember\"\ndevice = \"cpu\"\n{}\n{more}", tenant("alpha", PLUGINS))
}

fn chat(text: &str) -> Value {
    json!({"model": "ember", "temperature": 0, "messages": [{"role": "user", "content": text}]})
}

fn with(mut body: Value, field: &str, value: Value) -> Value {
    body[field] = value;
    body
}

/// A logit bias that keeps the built-in model from ending its answer: it excludes all tokens that are not bytes.
fn never_ends() -> Value {
    (256..307).map(|token| (token.to_string(), json!(-100))).collect()
}

fn content(body: &Value) -> &str {
    body["choices"][0]["message"]["content"].as_str().unwrap_or_default()
}

#[test]
fn f9_the_tool_loop_streams_with_events() {
    let server = Server::start(&config(""));
    let response = server.post("/v1/chat/completions", "alpha", &with(chat(QUESTION), "stream", json!(true)));
    let events = events(&response.body);
    assert!(text_of(&events).contains(ANSWER), "{}", response.body);
    let names: Vec<&str> = events.iter().filter_map(|event| event["firebox"]["event"].as_str()).collect();
    assert_eq!(names, ["tool_call", "tool_result"]);
    assert!(response.body.trim_end().ends_with("data: [DONE]"), "{}", response.body);
    assert!(server.metric("alpha", "firebox_completion_tokens_total{") > 0.0, "streamed tokens are counted");
}

/// The client reads the beginning of the answer before the rest is generated.
#[test]
fn f9_tokens_are_sent_while_the_answer_is_generated() {
    let server = Server::start(&config(""));
    let body = with(with(chat("Tell me something."), "max_tokens", json!(900)), "logit_bias", never_ends());
    let body = with(body, "stream", json!(true)).to_string();
    let mut stream = server.open("POST", "/v1/chat/completions", Some(&key("alpha")), body.as_bytes());
    let beginning = limits::read_until(&mut stream, "\"content\":\"");
    assert_eq!(server.metric("alpha", "firebox_requests_running{"), 1.0, "{beginning}");
    assert!(limits::read_until(&mut stream, "[DONE]").contains("\"length\""), "and the whole of it comes");
}

#[test]
fn f13_the_last_event_has_the_finish_reason_and_times() {
    let server = Server::start(&config(""));
    let stop = server.post("/v1/chat/completions", "alpha", &chat(QUESTION)).json();
    let length = with(chat(QUESTION), "max_tokens", json!(2));
    let length = server.post("/v1/chat/completions", "alpha", &length).json();
    assert_eq!(
        (&stop["choices"][0]["finish_reason"], &length["choices"][0]["finish_reason"]),
        (&json!("stop"), &json!("length"))
    );
    assert!(stop["firebox"]["timing_ms"]["total"].as_f64() > Some(0.0), "{stop}");
    // Three generations, one of them cut: every token except the first of each came some time after another.
    let tokens = |done: &Value| done["usage"]["completion_tokens"].as_f64().expect("a number");
    let gaps = server.metric("alpha", "firebox_inter_token_latency_seconds_count{");
    assert_eq!(gaps, tokens(&stop) + tokens(&length) - 3.0);
}

#[test]
fn f12_a_session_has_its_tool_messages_after_a_restart() {
    let config = config("[sessions]\npath = \"sessions.db\"\n");
    let mut first = Server::start(&config);
    let session = first.post("/v1/sessions", "alpha", &json!({"model": "ember"})).json();
    let path = format!("/v1/sessions/{}", session["id"].as_str().expect("an id"));
    let body = json!({"temperature": 0, "messages": [{"role": "user", "content": QUESTION}]});
    let done = first.post(&format!("{path}/generate"), "alpha", &body).json();
    assert!(content(&done).contains(ANSWER), "{done}");
    first.signal("TERM");
    assert_eq!(first.ended(), Some(0), "{}", first.log());
    let folder = std::mem::replace(&mut first.folder, tempfile::tempdir().expect("temporary directory"));
    let second = Server::listening_in(folder, &config, &[]);
    let kept = second.get(&path, "alpha").json();
    let roles: Vec<&str> =
        kept["messages"].as_array().expect("a list").iter().filter_map(|row| row["role"].as_str()).collect();
    assert_eq!(roles, ["user", "assistant", "tool", "assistant"], "{kept}");
}

#[test]
fn usage_continues_after_a_restart() {
    let config = config("[sessions]\npath = \"sessions.db\"\n");
    let mut first = Server::start(&config);
    assert!(content(&first.post("/v1/chat/completions", "alpha", &chat(QUESTION)).json()).contains(ANSWER));
    let before = first.get("/v1/usage", "alpha").json();
    assert!(before["total"]["completion_tokens"].as_u64() > Some(0), "{before}");
    first.signal("TERM");
    assert_eq!(first.ended(), Some(0), "{}", first.log());
    let folder = std::mem::replace(&mut first.folder, tempfile::tempdir().expect("temporary directory"));
    let second = Server::listening_in(folder, &config, &[]);
    let after = second.get("/v1/usage", "alpha").json();
    for field in ["since", "total", "days"] {
        assert_eq!(after[field], before[field], "{field}");
    }
}

#[test]
fn a_server_without_tenants_refuses_foreign_host_names() {
    let server = Server::start("[[model]]\nname = \"ember\"\ndevice = \"cpu\"\n");
    assert!(server.log().contains("without a key"), "{}", server.log());
    let body = chat(QUESTION).to_string();
    let done = server.ask("POST", "/v1/chat/completions", None, body.as_bytes());
    assert!(content(&done.json()).contains(ANSWER), "{done:?}");
    let foreign = raw(&server, "GET /v1/models HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n");
    assert_eq!((foreign.status, foreign.code().as_str()), (403, "denied"));
    let page =
        "GET /v1/models HTTP/1.1\r\nhost: localhost\r\norigin: https://evil.example\r\nconnection: close\r\n\r\n";
    assert_eq!(raw(&server, page).status, 403);
}

fn raw(server: &Server, request: &str) -> crate::harness::server::Response {
    use std::io::Write as _;
    let mut stream = std::net::TcpStream::connect(&server.address).expect("accepts");
    stream.write_all(request.as_bytes()).expect("taken");
    crate::harness::server::finish(stream)
}

#[test]
fn a_server_without_tenants_does_not_listen_on_a_public_address() {
    let folder = tempfile::tempdir().expect("temporary directory");
    let mut command = crate::harness::server::command(folder.path());
    let output = command.args(["serve", "--listen", "0.0.0.0:0"]).output().expect("runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("other machines can reach") && said.contains("firebox tenants add"), "{said}");
}

#[test]
fn an_unknown_path_is_404_and_an_unknown_method_405() {
    let server = Server::start(&config(""));
    for (method, path, status, code) in [
        ("GET", "/v1/chat/completions", 405, "method_not_allowed"),
        ("DELETE", "/v1/models", 405, "method_not_allowed"),
        ("POST", "/v1/responses", 404, "not_found"),
    ] {
        let refused = server.ask(method, path, Some(&key("alpha")), b"");
        assert_eq!((refused.status, refused.code().as_str()), (status, code), "{method} {path}");
        assert!(refused.headers.contains("x-request-id: req_"), "{refused:?}");
    }
}

#[test]
fn a_model_that_cannot_be_loaded_does_not_affect_the_others() {
    let broken = crate::harness::model_copy("serve-broken");
    std::fs::write(broken.join("model.safetensors"), b"no weights").expect("writable");
    let more = format!("[[model]]\nname = \"broken\"\npath = \"{}\"\ndevice = \"cpu\"\n", broken.display());
    let server = Server::start(&config(&more));
    let ready = server.ask("GET", "/readyz", None, b"");
    assert_eq!(ready.status, 503);
    assert!(ready.body.contains("broken") && !ready.body.contains("ember"), "{}", ready.body);
    assert!(server.log().contains("model \"broken\" could not be loaded"), "{}", server.log());
    assert!(content(&server.post("/v1/chat/completions", "alpha", &chat(QUESTION)).json()).contains(ANSWER));
    let refused = server.post("/v1/chat/completions", "alpha", &with(chat("hi"), "model", json!("broken")));
    assert_eq!((refused.status, refused.code().as_str()), (503, "unavailable"));
    let only = format!("[[model]]\nname = \"broken\"\npath = \"{}\"\n{}", broken.display(), tenant("alpha", ""));
    let mut alone = Server::listening(&only, &[]);
    assert_eq!(alone.ended(), Some(3), "{}", alone.log());
}

#[test]
fn a_reload_is_all_or_nothing() {
    let server = Server::start(&config(""));
    assert_eq!(server.get("/v1/models", "beta").status, 401);
    server.rewrite(&config(&tenant("beta", PLUGINS)));
    server.signal("HUP");
    server.wait_until("reloaded", |said| said.contains("configuration reloaded"));
    assert_eq!(server.get("/v1/models", "beta").status, 200);
    assert!(content(&server.post("/v1/chat/completions", "beta", &chat(QUESTION)).json()).contains(ANSWER));
    server.rewrite(&format!("{}\nno_such_key = 1\n", config("[server]")));
    server.signal("HUP");
    server.wait_until("kept", |said| said.contains("configuration not reloaded, the previous one stays in effect"));
    assert_eq!((server.get("/v1/models", "alpha").status, server.get("/v1/models", "beta").status), (200, 200));
    server.rewrite(&config(""));
    server.signal("HUP");
    server.eventually("revoked", |server| server.get("/v1/models", "beta").status == 401);
}

#[test]
fn calls_wait_for_approval_over_the_api() {
    let asking = tenant("asks", &format!("{PLUGINS}\n[tenant.tools]\nask = [\"*\"]"));
    let server = Server::start(&config(&asking));
    for (decision, expected) in [("approve", ANSWER), ("decline", "declined")] {
        let stream = with(chat(QUESTION), "stream", json!(true)).to_string();
        let open = server.open("POST", "/v1/chat/completions", Some(&key("asks")), stream.as_bytes());
        server.eventually("asked", |server| server.get("/v1/approvals", "asks").json()["data"][0]["id"].is_string());
        let waiting = server.get("/v1/approvals", "asks").json()["data"][0].clone();
        assert_eq!(waiting["tool_call"]["name"], "calculator");
        assert_eq!(server.get("/v1/approvals", "alpha").json()["data"], json!([]), "another tenant sees nothing");
        let path = format!("/v1/approvals/{}", waiting["id"].as_str().expect("an id"));
        assert_eq!(server.post(&path, "alpha", &json!({"decision": "approve"})).status, 404);
        assert_eq!(server.post(&path, "asks", &json!({"decision": decision})).status, 200);
        let body = crate::harness::server::finish(open).body;
        assert!(body.contains("approval_needed") && body.contains(expected), "{decision}: {body}");
        assert_eq!(server.post(&path, "asks", &json!({"decision": decision})).status, 404, "answered once");
    }
}
