//! The effect of every column of every row of the route table, in the process and without a model.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes, to_bytes};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, ORIGIN};
use axum::http::{Request, Response};
use futures_util::future::join_all;
use futures_util::{FutureExt as _, stream};
use tower::ServiceExt as _;
use tracing_subscriber::fmt::MakeWriter;

use super::*;
use crate::config::{Config, KeyConfig, Scope, TenantConfig, TenantLimits, parse_tenants};
use crate::serve::server::test_app;
use crate::tenancy::{WorkKind, keys};

/// The key of the scope `name`.
fn key(name: &str) -> String {
    format!("fbx_{name}_secret")
}

/// The configuration of one tenant with a key for each scope, and a key named `all`.
fn config(limits: TenantLimits) -> Config {
    let none = Config::load_with(None, &[], &[]).expect("the defaults are valid");
    let mut tenant = parse_tenants("[[tenant]]\nname = \"one\"\n", "test").expect("a valid tenant").remove(0);
    let at = tenant.at.clone();
    let scopes = Scope::ALL.iter().map(|(name, scope)| (*name, vec![*scope]));
    let all = [("all", Scope::ALL.iter().map(|row| row.1).collect())];
    let key_config = |(name, scopes): (&str, Vec<Scope>)| KeyConfig {
        id: format!("fbx_{name}"),
        digest: keys::digest(&key(name)),
        expires: None,
        scopes,
        at: at.clone(),
    };
    tenant.keys = scopes.chain(all).map(key_config).collect();
    let tenant = TenantConfig { limits, ..tenant };
    let mut config = Config { tenants: vec![tenant], ..none };
    config.sessions.path = ":memory:".into();
    config
}

async fn app(limits: TenantLimits) -> Arc<App> {
    test_app(config(limits)).await
}

/// A request to `route` with this key and body.
fn request(route: &Route, key: Option<&str>, body: Body) -> Request<Body> {
    let path = route.path.replace("{*id}", "x").replace("{id}", "x");
    let mut request = Request::builder().method(route.method.clone()).uri(path).header(HOST, "localhost");
    if let Some(key) = key {
        request = request.header(AUTHORIZATION, format!("Bearer {key}"));
    }
    request.header(CONTENT_TYPE, "application/json").body(body).expect("a request")
}

async fn send(app: &Arc<App>, request: Request<Body>) -> Response<Body> {
    let Ok(response) = router(app, Port::Only).oneshot(request).await;
    response
}

/// The status and the text of the answer to a request with the key `all` and an empty object.
async fn answer(app: &Arc<App>, route: &Route) -> (u16, String) {
    read(send(app, request(route, Some(&key("all")), Body::from("{}"))).await).await
}

/// The text of an event stream is not read, since it need not end.
async fn read(response: Response<Body>) -> (u16, String) {
    let status = response.status().as_u16();
    let is_stream = response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == "text/event-stream");
    let text = if is_stream { Bytes::new() } else { to_bytes(response.into_body(), 1 << 24).await.expect("a body") };
    (status, String::from_utf8_lossy(&text).into_owned())
}

/// A body of a few bytes that never ends.
fn endless() -> Body {
    let chunks = stream::unfold(true, |first| async move {
        if !first {
            std::future::pending::<()>().await;
        }
        Some((Ok::<_, Error>(Bytes::from_static(b"{")), false))
    });
    Body::from_stream(chunks)
}

#[tokio::test]
async fn access_only_a_key_with_one_of_the_scopes_opens_a_route() {
    let app = app(TenantLimits::default()).await;
    for route in ROUTES {
        let status = |key: Option<String>| {
            let request = request(route, key.as_deref(), Body::from("{}"));
            async { send(&app, request).await.status().as_u16() }
        };
        let Access::Needs(scopes) = route.access else {
            assert_ne!(status(None).await, 401, "{} needs no key", route.path);
            continue;
        };
        assert_eq!(status(None).await, 401, "{} without a key", route.path);
        for (name, scope) in Scope::ALL {
            let status = status(Some(key(name))).await;
            assert_eq!(status != 403, scopes.contains(scope), "{} {} with {name}: {status}", route.method, route.path);
        }
    }
}

#[tokio::test]
async fn while_draining_the_routes_that_are_refused_get_503_and_the_others_are_answered() {
    let app = app(TenantLimits::default()).await;
    app.drain.close();
    for route in ROUTES {
        let (status, text) = answer(&app, route).await;
        let refused = status == 503 && text.contains("shutting down; send the request");
        assert_eq!(refused, route.policy.while_draining == WhileDraining::Refused, "{} {}", route.method, route.path);
    }
}

#[tokio::test]
async fn while_draining_the_shutdown_waits_for_the_routes_that_are_refused() {
    let app = app(TenantLimits::default()).await;
    for route in ROUTES {
        // The answer counts as running until it is dropped.
        let response = send(&app, request(route, Some(&key("all")), Body::from("{}"))).await;
        let expected = usize::from(route.policy.while_draining == WhileDraining::Refused);
        assert_eq!(app.drain.running(), expected, "{} {}", route.method, route.path);
        drop(response);
        assert_eq!(app.drain.running(), 0, "{} {}", route.method, route.path);
    }
}

#[tokio::test]
async fn charge_takes_a_request_of_the_rate_where_the_row_says_so() {
    for route in ROUTES {
        let app = app(TenantLimits { requests_per_minute: Some(1), ..TenantLimits::default() }).await;
        let session = ROUTES.iter().find(|route| route.path == "/v1/sessions").expect("a route");
        let taken = match route.policy.charge {
            Charge::Nothing | Charge::InFlight(WorkKind::Approval) => false,
            Charge::Rate | Charge::InFlight(_) => true,
        };
        answer(&app, route).await;
        // A message of an MCP client only checks the rate; its tool calls take it.
        if route.policy.charge == Charge::InFlight(WorkKind::Mcp) {
            answer(&app, session).await;
        }
        let (status, text) = answer(&app, route).await;
        assert_eq!(status == 429, taken, "{} {}: {text}", route.method, route.path);
    }
}

#[tokio::test]
async fn charge_takes_a_slot_of_its_kind_while_the_body_arrives() {
    for route in ROUTES {
        let Charge::InFlight(_) = route.policy.charge else { continue };
        let app = app(TenantLimits { in_flight_max: 2, connections_max: Some(1_000), ..TenantLimits::default() }).await;
        let mut running = Vec::new();
        // Every body that arrives takes a slot, until a further request finds none.
        while answer(&app, route).await.0 != 429 {
            let mut sent = Box::pin(send(&app, request(route, Some(&key("all")), endless())));
            assert!((&mut sent).now_or_never().is_none(), "{} {}", route.method, route.path);
            running.push(sent);
            assert!(running.len() < 100, "{} {} has no maximum", route.method, route.path);
        }
        let expected = if route.policy.charge == Charge::InFlight(WorkKind::Generation) { 2 } else { running.len() };
        assert_eq!(running.len(), expected, "{} {}", route.method, route.path);
        drop(running);
        assert_ne!(answer(&app, route).await.0, 429, "{} {}", route.method, route.path);
    }
}

#[tokio::test]
async fn body_limit_a_longer_body_gets_413_and_a_route_without_a_body_ignores_one() {
    let mut config = config(TenantLimits::default());
    config.server.body_bytes_max = 5 << 20;
    let app = test_app(config).await;
    for route in ROUTES {
        let status = async |bytes: usize| {
            let request = request(route, Some(&key("all")), Body::from(vec![b' '; bytes]));
            send(&app, request).await.status().as_u16()
        };
        let max = route.policy.body_limit.bytes(app.body_bytes_max);
        let expected = match route.policy.body_limit {
            BodyLimit::NoBody => 0,
            BodyLimit::Server => 5 << 20,
            BodyLimit::AtMost(max) => max,
        };
        assert_eq!(max, expected, "{} {}", route.method, route.path);
        assert_ne!(status(max).await, 413, "{} {} with {max} bytes", route.method, route.path);
        let is_limited = route.policy.body_limit != BodyLimit::NoBody;
        assert_eq!(status(max + 1).await == 413, is_limited, "{} {}", route.method, route.path);
    }
}

#[tokio::test]
async fn origin_check_a_foreign_host_or_origin_is_refused_where_the_row_says_so() {
    let app = app(TenantLimits::default()).await;
    for route in ROUTES {
        let mut foreign_host = request(route, Some(&key("all")), Body::from("{}"));
        foreign_host.headers_mut().insert(HOST, HeaderValue::from_static("evil.example"));
        let mut foreign_origin = request(route, Some(&key("all")), Body::from("{}"));
        foreign_origin.headers_mut().insert(ORIGIN, HeaderValue::from_static("https://evil.example"));
        for request in [foreign_host, foreign_origin] {
            let (status, text) = read(send(&app, request).await).await;
            let refused = status == 403 && text.contains("is not accepted; add it to server.");
            assert_eq!(refused, route.policy.origin_check == OriginCheck::Checked, "{} {text}", route.path);
        }
    }
}

/// The body arrives slowly and never ends, so that only the time limit ends the request.
fn dripping() -> Body {
    let chunks = stream::unfold((), |()| async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        Some((Ok::<_, Error>(Bytes::from_static(&[b' '; 1_000])), ()))
    });
    Body::from_stream(chunks)
}

#[tokio::test]
async fn time_limit_a_request_without_an_answer_ends_after_the_limit_of_its_row() {
    let mut config = config(TenantLimits { connections_max: Some(1_000), ..TenantLimits::default() });
    config.server.request_timeout = Duration::from_millis(1);
    let app = test_app(config).await;
    let with_body = ROUTES.iter().filter(|route| route.policy.body_limit != BodyLimit::NoBody);
    let limit = app.request_timeout + firebox_contract::limits::HTTP_TIMEOUT_SLACK;
    let sent = with_body.map(async |route| {
        let started = Instant::now();
        let request = request(route, Some(&key("all")), dripping());
        let sent = tokio::time::timeout(limit + Duration::from_secs(2), send(&app, request)).await;
        match route.policy.time_limit {
            TimeLimit::RequestTimeout => {
                let (status, text) = read(sent.expect("the time limit")).await;
                assert!(text.contains("no answer within"), "{} {status} {text}", route.path);
                assert!(started.elapsed() >= limit, "{}", route.path);
            }
            TimeLimit::AtMost(time) => assert!(sent.is_err() && time > limit, "{}", route.path),
        }
    });
    join_all(sent).await;
}

#[tokio::test]
async fn listeners_each_port_has_the_routes_of_its_rows() {
    let app = app(TenantLimits::default()).await;
    for port in [Port::Only, Port::Main, Port::Admin] {
        for route in ROUTES {
            let request = request(route, Some(&key("all")), Body::from("{}"));
            let Ok(response) = router(&app, port).oneshot(request).await;
            let (_, text) = read(response).await;
            let expected = match (port, route.policy.listeners) {
                (Port::Only, _) | (_, Listeners::Both) => true,
                (Port::Main, listeners) => listeners == Listeners::Main,
                (Port::Admin, listeners) => listeners == Listeners::Admin,
            };
            assert_eq!(!text.contains("there is no endpoint"), expected, "{port:?} {} {text}", route.path);
        }
    }
    assert_eq!(probe_paths(), ["/metrics", "/healthz", "/readyz"]);
}

/// Collects the lines of the log.
#[derive(Clone, Default)]
struct LogBuffer(Arc<Mutex<Vec<u8>>>);

impl Write for LogBuffer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("not poisoned").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for LogBuffer {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn the_list_of_endpoints_has_the_paths_of_the_reference() {
    let app = app(TenantLimits::default()).await;
    let (_, text) = answer(&app, ROUTES.iter().find(|route| route.path == "/v1").expect("a route")).await;
    assert!(text.contains("GET /v1/models/{id}") && !text.contains('*'), "{text}");
}

#[tokio::test]
async fn log_success_a_successful_answer_is_logged_where_the_row_says_so() {
    let log = LogBuffer::default();
    // With a single subscriber, `tracing` asks that of the thread which first reaches an event, and the threads of other tests
    // have none: the event would be off for all.
    let _second = tracing::Dispatch::new(tracing_subscriber::fmt().with_writer(std::io::sink).finish());
    let subscriber = tracing_subscriber::fmt().with_writer(log.clone()).with_ansi(false).finish();
    let _default = tracing::subscriber::set_default(subscriber);
    let app = app(TenantLimits::default()).await;
    let mut checked = 0;
    for route in ROUTES {
        log.0.lock().expect("not poisoned").clear();
        let (status, _) = answer(&app, route).await;
        if (200..300).contains(&status) {
            checked += 1;
            let text = String::from_utf8(log.0.lock().expect("not poisoned").clone()).expect("text");
            assert_eq!(text.contains("answered"), route.policy.log_success, "{} {text}", route.path);
        }
    }
    assert!(checked >= 6, "{checked} routes answer with success");
}
