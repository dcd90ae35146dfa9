//! Over HTTP, request by request, without a socket.

use std::sync::Arc;

use bytes::Bytes;
use firebox_contract::{Caller, TenantId, limits};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tokio::time::timeout;
use tower::ServiceExt;

use super::fake::{Fake, SOON, initialize, meta};
use crate::server::{HttpTools, ServerHttpOptions, http_service};

/// Whoever the header `x-tenant` names.
fn service(source: &Arc<Fake>) -> HttpTools {
    let caller_of = |parts: &http::request::Parts| {
        let tenant = parts.headers.get("x-tenant")?.to_str().ok()?;
        Some(Caller::of(TenantId::new(tenant)))
    };
    let source = Arc::clone(source) as Arc<dyn firebox_contract::ToolSource>;
    http_service(source, ServerHttpOptions::default(), Arc::new(caller_of))
}

type Reply = Response<http_body_util::combinators::BoxBody<Bytes, std::convert::Infallible>>;

async fn post(tools: &HttpTools, headers: &[(&str, &str)], body: &Value) -> Reply {
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

/// The body's JSON, alone or in the last event.
async fn json_of(reply: Reply) -> Value {
    let bytes = timeout(SOON, reply.into_body().collect()).await.expect("soon").expect("infallible").to_bytes();
    let text = String::from_utf8(bytes.to_vec()).expect("text");
    let last = text.lines().filter_map(|line| line.strip_prefix("data:")).next_back().unwrap_or(&text);
    serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn request(id: u64, method: &str, params: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
}

/// A call as revision 2026-07-28 has it: alone.
async fn call(tools: &HttpTools, tenant: &str, tool: &str) -> Reply {
    let headers = [
        ("x-tenant", tenant),
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", tool),
    ];
    post(tools, &headers, &request(1, "tools/call", json!({ "name": tool, "_meta": meta() }))).await
}

async fn session(tools: &HttpTools, tenant: &str) -> Result<String, Reply> {
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
    let source = Arc::new(Fake::default());
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
async fn a_session_is_its_tenants_own() {
    let source = Arc::new(Fake::default());
    let tools = service(&source);
    let id = session(&tools, "a").await.expect("a session");
    let list = request(1, "tools/list", json!({}));
    let own = post(&tools, &[("x-tenant", "a"), ("mcp-session-id", &id)], &list).await;
    assert_eq!((own.status(), names(&json_of(own).await).len()), (StatusCode::OK, 5));
    // Whoever learnt the id: not to call, not to read what it missed, not to end it.
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
async fn a_tenant_with_all_its_sessions_open_is_told_to_wait() {
    let tools = service(&Arc::new(Fake::default()));
    for _ in 0..limits::MCP_SESSIONS_PER_TENANT_MAX {
        session(&tools, "flood").await.expect("a session");
    }
    let refused = session(&tools, "flood").await.expect_err("no more");
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(refused.headers().contains_key("retry-after"));
    assert_eq!(json_of(refused).await["error"]["data"]["code"], "rate_limited");
    session(&tools, "quiet").await.expect("another tenant is not concerned");
}

/// Opens the stream of a session.
async fn listen(tools: &HttpTools, tenant: &str, session: &str, from: Option<&str>) -> Reply {
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
async fn a_tenant_with_all_its_streams_open_is_told_so_whatever_they_are() {
    let tools = service(&Arc::new(Fake::default()));
    let id = session(&tools, "flood").await.expect("a session");
    let mut open = Vec::new();
    for _ in 0..limits::MCP_LISTENERS_PER_TENANT_MAX {
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
        assert!(text.contains("end one of them"), "{text}");
    }
    let other = session(&tools, "quiet").await.expect("a session");
    assert_eq!(listen(&tools, "quiet", &other, None).await.status(), StatusCode::OK, "another tenant is not concerned");
    open.pop();
    assert_eq!(listen(&tools, "flood", &id, None).await.status(), StatusCode::OK, "given back");
}

#[tokio::test]
async fn foreign_hosts_foreign_pages_and_nobody_are_refused() {
    let tools = service(&Arc::new(Fake::default()));
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
    let nobody = post(&tools, &[], &body).await;
    assert_eq!(
        (nobody.status(), nobody.headers()["www-authenticate"].to_str().ok()),
        (StatusCode::UNAUTHORIZED, Some("Bearer"))
    );
}

#[tokio::test]
async fn a_body_past_the_limit_is_refused() {
    let tools = service(&Arc::new(Fake::default()));
    let body = json!({ "padding": "x".repeat(limits::MCP_BODY_BYTES_MAX) });
    assert_eq!(post(&tools, &[("x-tenant", "a")], &body).await.status(), StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn a_client_that_leaves_cancels_its_call() {
    let source = Arc::new(Fake::default());
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
async fn stopping_lets_calls_end_and_counts_those_it_cuts() {
    let source = Arc::new(Fake::default());
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
    // New requests are refused from then on; until then they are served.
    while call(&tools, "a", "whoami").await.status() != StatusCode::SERVICE_UNAVAILABLE {
        tokio::task::yield_now().await;
    }
    source.go_on.notify_one();
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
