//! Servers over HTTP: servers of the rmcp SDK inside this process.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use firebox_contract::{Caller, ToolSource};
use firebox_mcp::client::{ClientPool, Secret, ServerSpec, ServerTransport};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use rmcp::ErrorData;
use rmcp::ServerHandler;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ListToolsResult, PaginatedRequestParams,
    ProgressNotificationParam, ServerCapabilities, ServerConfig, SubscriptionFilter, Tool,
};
use rmcp::service::{RequestContext, RoleServer, SubscriptionContext};
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::harness::{PATIENCE, RecordedProgress, call, names, pool, tool_call, until};

/// A server with tools that echo and wait, and one more tool when `grown` is set.
#[derive(Clone)]
struct Echo {
    grown: watch::Sender<bool>,
    cancelled: Arc<Mutex<usize>>,
    old: bool,
}

impl Echo {
    fn tools(&self) -> Vec<Tool> {
        let schema = serde_json::json!({"type": "object", "properties": {"text": {"type": "string"}}});
        let schema = schema.as_object().cloned().unwrap_or_default();
        let more = self.grown.borrow().then_some("extra");
        let tool = |name: &'static str| Tool::new(name, "a tool", schema.clone());
        ["echo", "header", "wait", "steps"].into_iter().chain(more).map(tool).collect()
    }
}

impl ServerHandler for Echo {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().enable_tool_list_changed().build())
    }

    fn supported_protocol_versions(&self) -> std::borrow::Cow<'static, [rmcp::model::ProtocolVersion]> {
        let newest = if self.old {
            rmcp::model::ProtocolVersion::V_2025_11_25
        } else {
            rmcp::model::ProtocolVersion::V_2026_07_28
        };
        std::borrow::Cow::Borrowed(rmcp::model::ProtocolVersion::known_up_to(&newest))
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(self.tools()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let text =
            request.arguments.as_ref().and_then(|arguments| arguments.get("text")).and_then(|text| text.as_str());
        let answer = match request.name.as_ref() {
            "wait" => {
                context.ct.cancelled().await;
                *self.cancelled.lock().expect("not poisoned") += 1;
                String::new()
            }
            "steps" => {
                if let Some(token) = context.meta.get_progress_token() {
                    for step in 1..=3 {
                        let report = ProgressNotificationParam::new(token.clone(), f64::from(step)).with_total(3.0);
                        context.peer.notify_progress(report).await.expect("sent");
                        tokio::time::sleep(Duration::from_millis(30)).await;
                    }
                }
                "done".to_owned()
            }
            "header" => {
                let parts = context.extensions.get::<::http::request::Parts>().expect("the request's head");
                parts.headers.get("authorization").map_or("", |value| value.to_str().expect("text")).to_owned()
            }
            _ => text.unwrap_or_default().to_owned(),
        };
        Ok(CallToolResult::success(vec![ContentBlock::text(answer)]).into())
    }

    fn accepted_subscription_filter(&self, filter: &SubscriptionFilter) -> Option<SubscriptionFilter> {
        Some(filter.clone())
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        let mut grown = self.grown.subscribe();
        while grown.changed().await.is_ok() {
            if context.sink().notify_tool_list_changed().await.is_err() {
                break;
            }
        }
        Ok(())
    }
}

/// The server on a port of this machine. Dropping it cuts every connection.
struct EchoServer {
    echo: Echo,
    port: u16,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for EchoServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl EchoServer {
    async fn start(port: u16, old: bool) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let echo = Echo { grown: watch::Sender::new(false), cancelled: Arc::default(), old };
        let handler = echo.clone();
        let sessions = Arc::new(LocalSessionManager::default());
        let service =
            StreamableHttpService::new(move || Ok(handler.clone()), sessions, StreamableHttpServerConfig::default());
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                // Otherwise every event stream waits 40 ms for an acknowledgement.
                stream.set_nodelay(true).expect("a TCP stream");
                let service = TowerToHyperService::new(service.clone());
                let served = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                connections.spawn(async move { drop(served.await) });
            }
        });
        Self { echo, port, task }
    }

    fn spec(&self) -> ServerSpec {
        ServerSpec::http("web", &format!("http://127.0.0.1:{}/mcp", self.port))
    }
}

#[tokio::test]
async fn both_lifecycles_list_call_report_and_cancel() {
    for (old, revision) in [(false, "2026-07-28"), (true, "2025-11-25")] {
        let served = EchoServer::start(0, old).await;
        let spec = ServerSpec { call_timeout: Duration::from_millis(500), ..served.spec() };
        let pool = pool(vec![spec]);
        let report = pool.connect(&Caller::local()).await.remove(0);
        assert_eq!(report.result.expect("reachable").0.revision, revision);
        assert_eq!(names(&pool).await, ["echo", "header", "wait", "steps"]);
        assert_eq!(call(&pool, "echo", "hello").await.content, "hello");
        let recorded = RecordedProgress::default();
        let outcome = pool.call(&Caller::local(), &tool_call("steps", "{}"), &recorded).await.expect("known");
        assert_eq!(outcome.content, "done");
        assert!(!recorded.0.lock().expect("not poisoned").is_empty(), "{revision}");
        let started = Instant::now();
        assert!(call(&pool, "wait", "").await.is_error);
        assert!(started.elapsed() < Duration::from_secs(3));
        let cancelled = Arc::clone(&served.echo.cancelled);
        until("the server gets the cancellation", async || *cancelled.lock().expect("not poisoned") > 0).await;
        assert_eq!(call(&pool, "echo", "after").await.content, "after");
        assert_eq!(pool.close().await, 0);
    }
}

#[tokio::test]
async fn f4_a_changed_list_is_reported_over_a_subscription() {
    let served = EchoServer::start(0, false).await;
    let pool = pool(vec![served.spec()]);
    assert!(!names(&pool).await.contains(&"extra".to_owned()));
    let seen = pool.revision();
    until("the subscription is open", async || served.echo.grown.receiver_count() > 0).await;
    served.echo.grown.send_replace(true);
    tokio::time::timeout(PATIENCE, pool.changed(seen)).await.expect("reported");
    assert!(names(&pool).await.contains(&"extra".to_owned()));
}

#[tokio::test]
async fn headers_are_sent() {
    let served = EchoServer::start(0, false).await;
    let mut spec = served.spec();
    let ServerTransport::Http(server) = &mut spec.transport else { panic!("http") };
    server.headers.push(("Authorization".to_owned(), Secret::new("Bearer hunter22")));
    let pool = pool(vec![spec]);
    assert_eq!(call(&pool, "header", "").await.content, "Bearer hunter22");
}

#[tokio::test]
async fn a_restarted_server_is_reconnected() {
    for old in [false, true] {
        let served = EchoServer::start(0, old).await;
        let pool = pool(vec![served.spec()]);
        assert_eq!(call(&pool, "echo", "before").await.content, "before");
        let port = served.port;
        drop(served);
        let lost = call(&pool, "echo", "lost").await;
        assert!(lost.is_error, "{lost:?}");
        let _served = again(port, old).await;
        until("it answers again", async || call(&pool, "echo", "after").await.content == "after").await;
    }
}

/// Restarts the server. The port is free when the task of the old server has ended.
async fn again(port: u16, old: bool) -> EchoServer {
    let started = Instant::now();
    while TcpListener::bind(("127.0.0.1", port)).await.is_err() {
        assert!(started.elapsed() < PATIENCE, "the port is never free");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    EchoServer::start(port, old).await
}

/// Measures the time of a call. `cargo test -p firebox-mcp --test client -- --ignored --nocapture a_call_takes`
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, not a check"]
async fn a_call_takes_this_long() {
    let (new, old) = (EchoServer::start(0, false).await, EchoServer::start(0, true).await);
    let rows = [
        ("HTTP, 2026-07-28", new.spec()),
        ("HTTP, 2025-11-25", old.spec()),
        ("stdio, a Python script", crate::harness::fake("stdio", &[])),
    ];
    for (what, spec) in rows {
        let pool: ClientPool = pool(vec![spec]);
        let mut times = Vec::new();
        for number in 0..1_100 {
            let started = Instant::now();
            assert_eq!(call(&pool, "echo", "hello").await.content, "hello");
            if number >= 100 {
                times.push(started.elapsed());
            }
        }
        times.sort_unstable();
        println!("{what}: median {} µs, p99 {} µs", times[500].as_micros(), times[990].as_micros());
    }
}
