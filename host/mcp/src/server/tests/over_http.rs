//! Tests over HTTP, without a socket.

use std::sync::Arc;

use bytes::Bytes;
use firebox_contract::{Caller, TenantId, limits};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tokio::time::timeout;
use tower::ServiceExt;

use super::fake::{FakeTools, SOON, initialize, meta};
use crate::server::http::HttpReply;
use crate::server::{HttpTools, ServerHttpOptions, http_service};

/// Tools for the tenant in the header `x-tenant`.
fn service(source: &Arc<FakeTools>) -> HttpTools {
    let caller_of = |parts: &http::request::Parts| {
        let tenant = parts.headers.get("x-tenant")?.to_str().ok()?;
        Some(Caller::of(TenantId::new(tenant)))
    };
    let source = Arc::clone(source) as Arc<dyn firebox_contract::ToolSource>;
    http_service(source, ServerHttpOptions::default(), Arc::new(caller_of))
}

async fn post(tools: &HttpTools, headers: &[(&str, &str)], body: &Value) -> HttpReply {
    let mut request = Request::post("http://localhost/")
        .header("host", "localhost:8000")
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(Bytes::from(body.to_string()))).expect("a request");
    tools.clone().oneshot(request).await.expect("infallible")
}

/// The JSON of the body, or of its last event.
async fn json_of(reply: HttpReply) -> Value {
    let bytes = timeout(SOON, reply.into_body().collect()).await.expect("soon").expect("infallible").to_bytes();
    let text = String::from_utf8(bytes.to_vec()).expect("text");
    let last = text.lines().filter_map(|line| line.strip_prefix("data:")).next_back().unwrap_or(&text);
    serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn request(id: u64, method: &str, params: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
}

/// A call of revision 2026-07-28, without a session.
async fn call(tools: &HttpTools, tenant: &str, tool: &str) -> HttpReply {
    let headers = [
        ("x-tenant", tenant),
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", tool),
    ];
    post(tools, &headers, &request(1, "tools/call", json!({ "name": tool, "_meta": meta() }))).await
}

async fn session(tools: &HttpTools, tenant: &str) -> Result<String, HttpReply> {
    let reply = post(tools, &[("x-tenant", tenant)], &initialize("2025-11-25")).await;
    let id = reply.headers().get("mcp-session-id").map(|id| id.to_str().expect("text").to_owned());
    match id {
        Some(id) => {
            assert_eq!(json_of(reply).await["result"]["protocolVersion"], "2025-11-25");
            Ok(id)
        }
        None => Err(reply),
    }
}

fn names(listed: &Value) -> Vec<&str> {
    let tools = listed["result"]["tools"].as_array().unwrap_or_else(|| panic!("{listed}"));
    tools.iter().filter_map(|tool| tool["name"].as_str()).collect()
}

#[tokio::test]
async fn each_tenant_sees_and_calls_its_own_tools() {
    let source = Arc::new(FakeTools::default());
    source.give("a", "secret");
    let tools = service(&source);
    for (tenant, has) in [("a", true), ("b", false)] {
        let headers = [("x-tenant", tenant), ("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/list")];
        let listed = json_of(post(&tools, &headers, &request(1, "tools/list", json!({ "_meta": meta() }))).await).await;
        assert_eq!(names(&listed).contains(&"secret"), has, "{tenant}");
        assert_eq!(listed["result"]["cacheScope"], "private");
        let called = json_of(call(&tools, tenant, "secret").await).await;
        assert_eq!(called.get("result").is_some(), has, "{called}");
        assert_eq!(json_of(call(&tools, tenant, "whoami").await).await["result"]["content"][0]["text"], tenant);
    }
}

#[tokio::test]
async fn a_session_belongs_to_its_tenant() {
    let source = Arc::new(FakeTools::default());
    let tools = service(&source);
    let id = session(&tools, "a").await.expect("a session");
    let list = request(1, "tools/list", json!({}));
    let own = post(&tools, &[("x-tenant", "a"), ("mcp-session-id", &id)], &list).await;
    assert_eq!((own.status(), names(&json_of(own).await).len()), (StatusCode::OK, 5));
    // Another tenant that knows the id cannot call, resume or end the session.
    let foreign = post(&tools, &[("x-tenant", "b"), ("mcp-session-id", &id)], &list).await;
    assert_eq!(foreign.status(), StatusCode::NOT_FOUND);
    for method in ["GET", "DELETE"] {
        let request = Request::builder()
            .method(method)
            .uri("http://localhost/")
            .header("host", "localhost")
            .header("accept", "text/event-stream")
            .header("last-event-id", "0")
            .header("x-tenant", "b")
            .header("mcp-session-id", &id)
            .body(Full::new(Bytes::new()))
            .expect("a request");
        let reply = tools.clone().oneshot(request).await.expect("infallible");
        assert_eq!(reply.status(), StatusCode::NOT_FOUND, "{method}");
    }
    let still = post(&tools, &[("x-tenant", "a"), ("mcp-session-id", &id)], &list).await;
    assert_eq!(still.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_tenant_with_its_maximum_of_sessions_gets_429() {
    let tools = service(&Arc::new(FakeTools::default()));
    for _ in 0..limits::MCP_SESSIONS_PER_TENANT_MAX {
        session(&tools, "flood").await.expect("a session");
    }
    let refused = session(&tools, "flood").await.expect_err("no more");
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(refused.headers().contains_key("retry-after"));
    assert_eq!(json_of(refused).await["error"]["data"]["code"], "rate_limited");
    session(&tools, "quiet").await.expect("another tenant is not affected");
}

/// Opens the stream of a session.
async fn listen(tools: &HttpTools, tenant: &str, session: &str, from: Option<&str>) -> HttpReply {
    let mut request = Request::get("http://localhost/")
        .header("host", "localhost")
        .header("accept", "text/event-stream")
        .header("x-tenant", tenant)
        .header("mcp-session-id", session);
    if let Some(from) = from {
        request = request.header("last-event-id", from);
    }
    tools.clone().oneshot(request.body(Full::new(Bytes::new())).expect("a request")).await.expect("infallible")
}

#[tokio::test]
async fn a_tenant_with_its_maximum_of_event_streams_gets_429_for_every_kind() {
    let tools = service(&Arc::new(FakeTools::default()));
    let id = session(&tools, "flood").await.expect("a session");
    let mut open = Vec::new();
    for _ in 0..limits::MCP_SUBSCRIPTIONS_PER_TENANT_MAX {
        let reply = listen(&tools, "flood", &id, None).await;
        assert_eq!(reply.status(), StatusCode::OK);
        open.push(reply);
    }
    let headers =
        [("x-tenant", "flood"), ("mcp-protocol-version", "2026-07-28"), ("mcp-method", "subscriptions/listen")];
    let wants = json!({ "_meta": meta(), "notifications": { "toolsListChanged": true } });
    let subscription = post(&tools, &headers, &request(1, "subscriptions/listen", wants)).await;
    for refused in
        [listen(&tools, "flood", &id, None).await, listen(&tools, "flood", &id, Some("0")).await, subscription]
    {
        assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
        assert!(refused.headers().contains_key("retry-after"));
        let text = json_of(refused).await["error"]["message"].to_string();
        assert!(text.contains("one of them"), "{text}");
    }
    let other = session(&tools, "quiet").await.expect("a session");
    assert_eq!(listen(&tools, "quiet", &other, None).await.status(), StatusCode::OK, "another tenant is not affected");
    open.pop();
    assert_eq!(listen(&tools, "flood", &id, None).await.status(), StatusCode::OK, "the permit was released");
}

#[tokio::test]
async fn foreign_hosts_foreign_origins_and_requests_without_a_caller_are_refused() {
    let tools = service(&Arc::new(FakeTools::default()));
    let body = initialize("2025-11-25");
    let cases = [
        ("host", "evil.example.com", StatusCode::FORBIDDEN),
        ("origin", "http://evil.example.com", StatusCode::FORBIDDEN),
        ("origin", "null", StatusCode::FORBIDDEN),
        ("origin", "http://localhost:6274", StatusCode::OK),
        ("origin", "http://127.0.0.1", StatusCode::OK),
    ];
    for (name, value, expected) in cases {
        let reply = if name == "host" {
            let request = Request::post("http://localhost/").header("host", value).header("x-tenant", "a");
            let request = request.body(Full::new(Bytes::from(body.to_string()))).expect("a request");
            tools.clone().oneshot(request).await.expect("infallible")
        } else {
            post(&tools, &[("x-tenant", "a"), (name, value)], &body).await
        };
        assert_eq!(reply.status(), expected, "{name}: {value}");
    }
    let anonymous = post(&tools, &[], &body).await;
    assert_eq!(
        (anonymous.status(), anonymous.headers()["www-authenticate"].to_str().ok()),
        (StatusCode::UNAUTHORIZED, Some("Bearer"))
    );
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused() {
    let tools = service(&Arc::new(FakeTools::default()));
    let body = json!({ "padding": "x".repeat(limits::MCP_BODY_BYTES_MAX) });
    assert_eq!(post(&tools, &[("x-tenant", "a")], &body).await.status(), StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn a_client_that_disconnects_cancels_its_call() {
    let source = Arc::new(FakeTools::default());
    let tools = service(&source);
    {
        let mut asking = std::pin::pin!(call(&tools, "a", "wait"));
        tokio::select! {
            _ = &mut asking => panic!("it waits"),
            started = timeout(SOON, source.started.notified()) => started.expect("it starts"),
        }
    }
    timeout(SOON, source.dropped.notified()).await.expect("it is dropped");
}

#[tokio::test]
async fn draining_waits_for_calls_and_counts_those_it_cancels() {
    let source = Arc::new(FakeTools::default());
    let tools = service(&source);
    let asking = tokio::spawn({
        let tools = tools.clone();
        async move { json_of(call(&tools, "a", "wait").await).await }
    });
    timeout(SOON, source.started.notified()).await.expect("it starts");
    let stopping = tokio::spawn({
        let tools = tools.clone();
        async move { tools.drain(SOON).await }
    });
    // New requests are served until the drain starts, and refused afterwards.
    while call(&tools, "a", "whoami").await.status() != StatusCode::SERVICE_UNAVAILABLE {
        tokio::task::yield_now().await;
    }
    source.proceed.notify_one();
    assert_eq!(asking.await.expect("no panic")["result"]["content"][0]["text"], "waited");
    assert_eq!(stopping.await.expect("no panic"), 0);

    let tools = service(&source);
    let cut = tokio::spawn({
        let tools = tools.clone();
        async move { call(&tools, "a", "wait").await.status() }
    });
    timeout(SOON, source.started.notified()).await.expect("it starts");
    assert_eq!(tools.drain(std::time::Duration::ZERO).await, 1);
    assert_ne!(timeout(SOON, cut).await.expect("soon").expect("no panic"), StatusCode::OK);
}

/// Sends `bytes` with these headers, the host and the tenant `a`.
async fn send(tools: &HttpTools, method: &str, headers: &[(&str, &str)], bytes: &[u8]) -> HttpReply {
    let mut request = Request::builder().method(method).uri("http://localhost/").header("host", "localhost");
    for (name, value) in [("x-tenant", "a")].iter().chain(headers) {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(Bytes::copy_from_slice(bytes))).expect("a request");
    tools.clone().oneshot(request).await.expect("infallible")
}

const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test]
async fn a_client_gets_a_media_type_that_it_accepts() {
    let tools = service(&Arc::new(FakeTools::default()));
    let id = session(&tools, "a").await.expect("a session");
    let list = request(1, "tools/list", json!({})).to_string();
    for (accept, kind) in [
        (None, "text/event-stream"),
        (Some("*/*"), "text/event-stream"),
        (Some("application/*, text/*"), "text/event-stream"),
        (Some("text/event-stream"), "text/event-stream"),
        (Some("application/json"), "application/json"),
        (Some("text/html"), ""),
    ] {
        let mut headers = vec![JSON, ("mcp-session-id", id.as_str())];
        headers.extend(accept.map(|accept| ("accept", accept)));
        let reply = send(&tools, "POST", &headers, list.as_bytes()).await;
        if kind.is_empty() {
            assert_eq!(reply.status(), StatusCode::NOT_ACCEPTABLE);
            assert_eq!(json_of(reply).await["error"]["code"], -32_600);
            continue;
        }
        assert_eq!((reply.status(), reply.headers()["content-type"].to_str().ok()), (StatusCode::OK, Some(kind)));
        assert_eq!(names(&json_of(reply).await).len(), 5, "{accept:?}");
    }
    // Without a session (revision 2026-07-28) the answer is JSON if the client accepts both.
    let body = request(1, "tools/list", json!({ "_meta": meta() })).to_string();
    for (accept, kind) in [("*/*", "application/json"), ("text/event-stream", "text/event-stream")] {
        let headers = [JSON, ("accept", accept), ("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/list")];
        let reply = send(&tools, "POST", &headers, body.as_bytes()).await;
        assert_eq!(reply.headers()["content-type"], kind);
        assert_eq!(names(&json_of(reply).await).len(), 5);
    }
    // A client that accepts only JSON gets no progress notifications.
    let call = request(2, "tools/call", json!({ "name": "steps", "_meta": { "progressToken": 1 } })).to_string();
    let headers = [JSON, ("accept", "application/json"), ("mcp-session-id", id.as_str())];
    let answer = json_of(send(&tools, "POST", &headers, call.as_bytes()).await).await;
    assert_eq!((&answer["id"], &answer["result"]["content"][0]["text"]), (&json!(2), &json!("stepped")));
}

#[tokio::test]
async fn every_refusal_is_a_json_rpc_error_with_the_id_if_there_is_one() {
    let tools = service(&Arc::new(FakeTools::default()));
    let open = session(&tools, "a").await.expect("a session");
    let list = request(7, "tools/list", json!({})).to_string();
    let list = list.as_bytes();
    let call = |params: Value| request(7, "tools/call", params).to_string();
    let (no_name, bad_arguments) = (call(json!({})), call(json!({ "name": "whoami", "arguments": [] })));
    let inside = [JSON, ("mcp-session-id", open.as_str())];
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [u8], u16, Value, i64, &'a str);
    let cases: [Case; 16] = [
        ("POST", &[JSON], b"{bad", 400, Value::Null, -32_700, "not JSON"),
        ("POST", &[JSON], b"", 400, Value::Null, -32_700, "not JSON"),
        ("POST", &[JSON], b"{\"id\":\"\xe9\"}", 400, Value::Null, -32_700, "not UTF-8"),
        ("POST", &[JSON], b"[]", 400, Value::Null, -32_600, "one message at a time"),
        ("POST", &[JSON], b"\"x\"", 400, Value::Null, -32_600, "a message is a JSON object"),
        ("POST", &[("content-type", "text/plain")], list, 415, Value::Null, -32_600, "content-type"),
        ("POST", &[], list, 415, Value::Null, -32_600, "content-type"),
        ("POST", &[JSON], list, 400, json!(7), -32_600, "needs a session"),
        ("POST", &[JSON, ("mcp-session-id", "nope")], list, 404, json!(7), -32_600, "no session \"nope\""),
        ("POST", &[JSON, ("mcp-protocol-version", "1.0")], list, 400, json!(7), -32_600, "MCP-Protocol-Version: 1.0"),
        ("POST", &inside, no_name.as_bytes(), 200, json!(7), -32_602, "no \"name\""),
        ("POST", &inside, bad_arguments.as_bytes(), 200, json!(7), -32_602, "must be an object"),
        ("GET", &[("accept", "text/html")], b"", 406, Value::Null, -32_600, "text/event-stream"),
        ("GET", &[], b"", 400, Value::Null, -32_600, "needs a session"),
        ("PUT", &[JSON], list, 405, Value::Null, -32_600, "Method Not Allowed"),
        ("DELETE", &[("mcp-session-id", "nope")], b"", 404, Value::Null, -32_600, "no session"),
    ];
    for (method, headers, body, status, id, code, words) in cases {
        let what = format!("{method} {headers:?} {}", String::from_utf8_lossy(body));
        let reply = send(&tools, method, headers, body).await;
        assert_eq!(
            (reply.status().as_u16(), &reply.headers()["content-type"]),
            (status, &"application/json".parse().expect("a value")),
            "{what}"
        );
        let said = json_of(reply).await;
        assert_eq!((&said["id"], &said["error"]["code"]), (&id, &json!(code)), "{what}: {said}");
        assert!(said["error"]["message"].as_str().is_some_and(|text| text.contains(words)), "{what}: {said}");
    }
    let ended = send(&tools, "DELETE", &[("mcp-session-id", &open)], b"").await;
    assert_eq!(ended.status(), StatusCode::NO_CONTENT);
    assert_eq!(send(&tools, "DELETE", &[("mcp-session-id", &open)], b"").await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_second_call_with_an_id_in_use_is_refused() {
    let source = Arc::new(FakeTools::default());
    let tools = service(&source);
    let id = session(&tools, "a").await.expect("a session");
    let headers = [("x-tenant", "a"), ("mcp-session-id", id.as_str())];
    let call = |tool: &str| request(5, "tools/call", json!({ "name": tool }));
    let first = post(&tools, &headers, &call("wait")).await;
    timeout(SOON, source.started.notified()).await.expect("it starts");
    let second = post(&tools, &headers, &call("whoami")).await;
    assert_eq!(second.status(), StatusCode::BAD_REQUEST);
    let said = json_of(second).await;
    assert_eq!((&said["id"], &said["error"]["code"]), (&json!(5), &json!(-32_600)), "{said}");
    source.proceed.notify_one();
    assert_eq!(json_of(first).await["result"]["content"][0]["text"], "waited");
    assert_eq!(json_of(post(&tools, &headers, &call("whoami")).await).await["result"]["content"][0]["text"], "a");
}

#[tokio::test]
async fn a_batch_in_an_old_session_gets_one_answer() {
    let tools = service(&Arc::new(FakeTools::default()));
    let begun = post(&tools, &[("x-tenant", "a")], &initialize("2025-03-26")).await;
    let id = begun.headers()["mcp-session-id"].to_str().expect("text").to_owned();
    drop(json_of(begun).await);
    let headers = [("x-tenant", "a"), ("mcp-session-id", id.as_str())];
    let initialized = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
    let call = request(2, "tools/call", json!({ "name": "whoami" }));
    let bad = json!({ "jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": [] });
    let answers =
        json_of(post(&tools, &headers, &json!([initialized, request(1, "tools/list", json!({})), call, bad])).await)
            .await;
    let ids: Vec<u64> = answers.as_array().expect("a list").iter().filter_map(|answer| answer["id"].as_u64()).collect();
    assert_eq!(ids, [1, 2, 3], "{answers}");
    assert_eq!(answers[1]["result"]["content"][0]["text"], "a");
    assert_eq!(answers[2]["error"]["code"], -32_602);
    assert_eq!(post(&tools, &headers, &json!([initialized])).await.status(), StatusCode::ACCEPTED);
}
