//! Sessions, event streams and calls end when their caller ends.

use std::sync::Arc;

use bytes::Bytes;
use firebox_contract::{BoxFuture, Caller, Error, Liveness, LivenessHandle, Permission, TenantId, ToolSource};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::timeout;
use tower::ServiceExt;

use super::fake::{FakeTools, SOON, initialize, meta};
use crate::server::http::HttpReply;
use crate::server::{HttpTools, ServerHttpOptions, http_service};

/// A caller that ends when the channel says so.
struct RevocableLiveness(watch::Receiver<bool>);

fn revoked() -> Error {
    Error::Unauthorized("revoked".to_owned())
}

impl Liveness for RevocableLiveness {
    fn check(&self) -> Result<(), Error> {
        if *self.0.borrow() { Err(revoked()) } else { Ok(()) }
    }

    fn permission(&self, _tool: &str) -> Permission {
        Permission::Allow
    }

    fn ended(&self) -> BoxFuture<'static, Error> {
        let mut ended = self.0.clone();
        Box::pin(async move {
            ended.wait_for(|ended| *ended).await.expect("the sender lives");
            revoked()
        })
    }
}

/// Tools for the tenant in `x-tenant`. Callers of the tenant `a` end when `true` is sent.
fn service(source: &Arc<FakeTools>) -> (HttpTools, watch::Sender<bool>) {
    let (end, ended) = watch::channel(false);
    let caller_of = move |parts: &http::request::Parts| {
        let caller = Caller::of(TenantId::new(parts.headers.get("x-tenant")?.to_str().ok()?));
        let mortal = caller.tenant.as_str() == "a";
        let liveness = LivenessHandle::new(Arc::new(RevocableLiveness(ended.clone())));
        Some(if mortal { Caller { liveness, ..caller } } else { caller })
    };
    let source = Arc::clone(source) as Arc<dyn ToolSource>;
    (http_service(source, ServerHttpOptions::default(), Arc::new(caller_of)), end)
}

async fn ask(tools: &HttpTools, method: &str, headers: &[(&str, &str)], body: &Value) -> HttpReply {
    let mut request = Request::builder()
        .method(method)
        .uri("http://localhost/")
        .header("host", "localhost")
        .header("content-type", "application/json")
        .header("accept", if method == "GET" { "text/event-stream" } else { "application/json, text/event-stream" });
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = if method == "GET" { Bytes::new() } else { Bytes::from(body.to_string()) };
    tools.clone().oneshot(request.body(Full::new(body)).expect("a request")).await.expect("infallible")
}

/// Opens a session with an event stream. Returns its id and the stream.
async fn listening(tools: &HttpTools, tenant: &str) -> (String, HttpReply) {
    let begun = ask(tools, "POST", &[("x-tenant", tenant)], &initialize("2025-11-25")).await;
    let id = begun.headers()["mcp-session-id"].to_str().expect("text").to_owned();
    drop(timeout(SOON, begun.into_body().collect()).await.expect("soon"));
    let headers = [("x-tenant", tenant), ("mcp-session-id", id.as_str())];
    let accepted =
        ask(tools, "POST", &headers, &json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).await;
    assert_eq!(accepted.status(), StatusCode::ACCEPTED);
    // Changes are compared with the list that was read last.
    let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    drop(timeout(SOON, ask(tools, "POST", &headers, &list).await.into_body().collect()).await.expect("soon"));
    let stream = ask(tools, "GET", &headers, &Value::Null).await;
    assert_eq!(stream.status(), StatusCode::OK);
    (id, stream)
}

/// Reads `stream` until `text` comes.
async fn read_until(stream: &mut HttpReply, text: &str) {
    let mut all = String::new();
    while !all.contains(text) {
        let frame = timeout(SOON, stream.body_mut().frame()).await.unwrap_or_else(|_| panic!("never {text}: {all}"));
        let frame = frame.unwrap_or_else(|| panic!("it ended before {text}: {all}")).expect("infallible");
        all.push_str(&String::from_utf8_lossy(frame.data_ref().expect("data")));
    }
}

#[tokio::test]
async fn a_session_and_its_stream_end_with_the_caller_and_other_sessions_continue() {
    let source = Arc::new(FakeTools::default());
    let (tools, end) = service(&source);
    let (id, mut ends) = listening(&tools, "a").await;
    let (other, mut continues) = listening(&tools, "b").await;
    source.give("a", "first");
    read_until(&mut ends, "list_changed").await;
    end.send_replace(true);
    let rest = timeout(SOON, ends.into_body().collect()).await.expect("it ends soon").expect("in order").to_bytes();
    assert!(!String::from_utf8_lossy(&rest).contains("list_changed"), "no notification after the end");
    source.give("b", "second");
    read_until(&mut continues, "list_changed").await;
    let list = json!({"jsonrpc": "2.0", "id": 2, "method": "tools/list"});
    let gone = async {
        // The router refuses the revoked key by then. A valid key finds no session.
        while ask(&tools, "POST", &[("x-tenant", "a"), ("mcp-session-id", &id)], &list).await.status() == StatusCode::OK
        {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, gone).await.expect("the session is closed");
    let still = ask(&tools, "POST", &[("x-tenant", "b"), ("mcp-session-id", &other)], &list).await;
    assert_eq!(still.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_subscription_without_a_session_ends_with_the_caller() {
    let source = Arc::new(FakeTools::default());
    let (tools, end) = service(&source);
    let headers = [("x-tenant", "a"), ("mcp-protocol-version", "2026-07-28"), ("mcp-method", "subscriptions/listen")];
    let mut wants = json!({ "notifications": { "toolsListChanged": true } });
    wants["_meta"] = meta();
    let body = json!({"jsonrpc": "2.0", "id": 7, "method": "subscriptions/listen", "params": wants});
    let mut stream = ask(&tools, "POST", &headers, &body).await;
    read_until(&mut stream, "acknowledged").await;
    end.send_replace(true);
    source.give("a", "late");
    let rest = timeout(SOON, stream.into_body().collect()).await.expect("it ends soon").expect("in order").to_bytes();
    assert!(!String::from_utf8_lossy(&rest).contains("list_changed"), "no notification after the end");
}

#[tokio::test]
async fn a_call_of_a_session_is_dropped_with_the_caller() {
    let source = Arc::new(FakeTools::default());
    let (tools, end) = service(&source);
    let (id, _stream) = listening(&tools, "a").await;
    let call = json!({"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": {"name": "wait", "arguments": {}}});
    let asking = tokio::spawn({
        let tools = tools.clone();
        async move {
            let reply = ask(&tools, "POST", &[("x-tenant", "a"), ("mcp-session-id", &id)], &call).await;
            let bytes = timeout(SOON, reply.into_body().collect()).await.expect("soon").expect("infallible").to_bytes();
            String::from_utf8_lossy(&bytes).into_owned()
        }
    });
    timeout(SOON, source.started.notified()).await.expect("it starts");
    end.send_replace(true);
    timeout(SOON, source.dropped.notified()).await.expect("the call is dropped");
    let answer = timeout(SOON, asking).await.expect("soon").expect("no panic");
    assert!(!answer.contains("waited"), "{answer}");
}
