//! What every request passes before its handler: host and origin, shutdown, key, scope, time; and what every response
//! carries: its id and what is left of the tenant's rates.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{RawPathParams, Request, State};
use axum::http::header::{AUTHORIZATION, CONNECTION, HOST, HeaderName, HeaderValue, ORIGIN};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, Response, StatusCode};
use firebox_contract::{Error, limits};
use futures_util::{FutureExt as _, StreamExt as _};
use serde_json::Value;

use super::body::PacedBody;
use super::live::{cut_with, while_alive};
use super::record::Recorded;
use super::{Access, Call, Failure, OpenRequest, Route};
use crate::audit::OriginGuard;
use crate::serve::App;
use crate::serve::connections::counters::Refusal;
use crate::serve::connections::table::RequestHandle;
use crate::serve::drain::Running;
use crate::tenancy::{Rate, Tenancy, Tenant};

/// Answers a request that has a route.
pub(super) async fn enter(
    app: Arc<App>,
    route: &'static Route,
    params: RawPathParams,
    request: Request,
) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let mut recorded = Recorded::begin(&app, &parts, route.path);
    let id = recorded.id.clone();
    let params = params.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    let origin = parts.headers.get(ORIGIN).cloned();
    let body = Body::new(PacedBody::new(body));
    let mut call = Call { id: id.clone(), parts, params, body, tenant: None, open: OpenRequest::default() };
    let (admitted, running) = match admit(&app, route, &call.parts.headers) {
        Ok((tenant, running)) => (Ok(tenant), running),
        Err(failure) => (Err(failure), None),
    };
    let admitted = admitted.and_then(|tenant| Ok((share(&app, tenant.as_ref(), &call.parts)?, tenant)));
    let mut open = OpenRequest::default();
    let tenant: Option<Tenant>;
    let mut read = true;
    let outcome = match admitted {
        Ok((share, found)) => {
            let liveness = found.as_ref().map(|found| found.caller.liveness.clone()).unwrap_or_default();
            (open, tenant) = (share.clone(), found.clone());
            (call.open, call.tenant) = (share, found);
            while_alive(&liveness, handle(&app, route, call)).await
        }
        Err(failure) => {
            // Whose key it is that opens too little is recorded; it lets nobody in.
            tenant = app.tenant_of(call.parts.headers.get(AUTHORIZATION)).ok();
            read = discard(call.body).await;
            Err(failure)
        }
    };
    let mut response = outcome.unwrap_or_else(|failure| recorded.failed(&app, tenant.as_ref(), &failure));
    if let Some(tenant) = &tenant {
        rates(&app, tenant, response.headers_mut());
    }
    end(&app, !read, &mut response);
    app.doors.admit_page(origin.as_ref(), response.headers_mut());
    app.metrics.answered(route.path, response.status().as_u16());
    if response.status() == StatusCode::REQUEST_TIMEOUT {
        app.metrics.connections.refused(Refusal::SlowBody);
    }
    // Probes come every few seconds, and say something only when they fail.
    recorded.answered(&app, tenant.as_ref(), route.access == Access::Open, &mut response);
    if let Some(tenant) = &tenant {
        response = cut_with(&tenant.caller.liveness, route.path, &id, response);
    }
    let _origin = recorded.guard.take();
    response.map(|body| Body::new(Counted { body, _running: running, _origin, _open: open }))
}

/// Lets it in, or says why not. Probes come in always and are not counted as work.
fn admit(app: &App, route: &Route, headers: &HeaderMap) -> Result<(Option<Tenant>, Option<Running>), Failure> {
    let Access::Needs(scopes) = route.access else { return Ok((None, None)) };
    // The MCP door has rules of its own for both, which are the protocol's.
    if route.path != "/mcp" {
        app.doors.check(headers.get(HOST), headers.get(ORIGIN))?;
    }
    let running = if is_work(route) { Some(app.drain.enter().ok_or_else(shutting_down)?) } else { None };
    let tenant = app.tenant_of(headers.get(AUTHORIZATION))?;
    if !scopes.iter().any(|scope| tenant.scopes.contains(scope)) {
        // The words for a missing scope are the tenancy's.
        scopes.iter().try_for_each(|scope| Tenancy::require(&tenant, *scope))?;
    }
    Ok((Some(app.tenancy.let_in_by(tenant, scopes)), running))
}

/// The share of `tenant` that a request with a good key takes; its connection no longer counts for its address.
fn share(app: &App, tenant: Option<&Tenant>, parts: &Parts) -> Result<OpenRequest, Failure> {
    let Some(tenant) = tenant else { return Ok(OpenRequest::default()) };
    let open = app.shares.open(tenant)?;
    if let Some(handle) = parts.extensions.get::<RequestHandle>() {
        handle.known();
    }
    Ok(OpenRequest(Some(Arc::new(open))))
}

/// Whether a server that ends refuses it, and waits for it where it runs. Looking is no work, and neither is the answer
/// that running work waits for.
fn is_work(route: &Route) -> bool {
    route.method != Method::GET && !route.path.starts_with("/v1/approvals")
}

fn shutting_down() -> Failure {
    Error::Unavailable("the server is shutting down; ask another one".to_owned()).into()
}

/// Runs the handler under a time limit; a panic in it is one request's error.
async fn handle(app: &Arc<App>, route: &Route, call: Call) -> Result<Response<Body>, Failure> {
    let limit = app.request_timeout + limits::HTTP_TIMEOUT_SLACK;
    let endless = route.path == "/mcp";
    let work = AssertUnwindSafe((route.handler)(Arc::clone(app), call)).catch_unwind();
    let limit = if endless { limits::REQUEST_TIMEOUT_MAX } else { limit };
    match tokio::time::timeout(limit, work).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => Err(Error::Internal("the handler failed".to_owned()).into()),
        Err(_) => Err(Error::Timeout(format!("no answer within {} s", limit.as_secs())).into()),
    }
}

/// Answers what has no route.
pub(super) async fn unknown_path(State(app): State<Arc<App>>, request: Request) -> Response<Body> {
    let path: String = request.uri().path().chars().take(200).collect();
    let failure = Failure::not_found(format!("there is no endpoint {} \"{path}\"", request.method()));
    bare(&app, &failure, request).await
}

/// Answers a path that has other methods; a browser's question whether a page may ask is answered here too.
pub(super) async fn unknown_method(State(app): State<Arc<App>>, request: Request) -> Response<Body> {
    let mut allowed = Response::new(Body::empty());
    let (method, headers) = (request.method(), request.headers());
    if method == Method::OPTIONS && app.doors.admit_page(headers.get(ORIGIN), allowed.headers_mut()) {
        *allowed.status_mut() = StatusCode::NO_CONTENT;
        return allowed;
    }
    let path: String = request.uri().path().chars().take(200).collect();
    let failure = Failure::method(format!("\"{path}\" is there, but not for {method}"));
    bare(&app, &failure, request).await
}

async fn bare(app: &App, failure: &Failure, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let recorded = Recorded::begin(app, &parts, parts.uri.path());
    let read = discard(body).await;
    let mut response = failure.response(&recorded.id);
    recorded.answered(app, None, false, &mut response);
    end(app, !read, &mut response);
    response
}

/// Throws away what a client writes that is refused, for a while, so that its connection can go on. Whether that was all;
/// if not the connection must be closed, and the client told.
pub(crate) async fn discard(body: Body) -> bool {
    let mut stream = body.into_data_stream();
    let all = async {
        let mut length = 0_usize;
        while let Some(Ok(chunk)) = stream.next().await {
            length += chunk.len();
            if length > limits::HTTP_DISCARD_BYTES_MAX {
                return false;
            }
        }
        true
    };
    tokio::time::timeout(limits::HTTP_DISCARD_TIME, all).await.unwrap_or(false)
}

fn close(response: &mut Response<Body>) {
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
}

fn put(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// Says that the connection ends after this answer, where it does.
fn end(app: &App, ends: bool, response: &mut Response<Body>) {
    if ends || app.drain.is_closing() {
        close(response);
    }
}

/// `x-ratelimit-*`, for the rates that are limited.
fn rates(app: &App, tenant: &Tenant, headers: &mut HeaderMap) {
    let Ok(state) = app.tenancy.rate(&tenant.id) else { return };
    let rows: [(&str, &str, &str, Option<Rate>); 2] = [
        ("x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests", state.requests),
        ("x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens", state.tokens),
    ];
    for (limit, remaining, reset, rate) in rows {
        let Some(rate) = rate else { continue };
        put(headers, HeaderName::from_static(limit), &rate.limit.to_string());
        put(headers, HeaderName::from_static(remaining), &rate.remaining.to_string());
        put(headers, HeaderName::from_static(reset), &seconds(rate.reset));
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.3}s", time.as_secs_f64())
}

/// The whole body as JSON, bounded in bytes and time.
pub(super) async fn json(app: &App, body: Body) -> Result<Value, Failure> {
    let bytes = read(app, body).await?;
    if bytes.is_empty() {
        return Err(Failure::usage("the request has no body; send a JSON object"));
    }
    parse(&bytes)
}

/// As [`json`]; no body is an empty object.
pub(super) async fn json_or_nothing(app: &App, body: Body) -> Result<Value, Failure> {
    let bytes = read(app, body).await?;
    if bytes.is_empty() { Ok(Value::Object(serde_json::Map::new())) } else { parse(&bytes) }
}

fn parse(bytes: &[u8]) -> Result<Value, Failure> {
    serde_json::from_slice(bytes).map_err(|error| Failure::usage(format!("the request's body is not JSON: {error}")))
}

/// The whole body, bounded in bytes and time.
pub(super) async fn read(app: &App, body: Body) -> Result<Vec<u8>, Failure> {
    let read = tokio::time::timeout(limits::HTTP_BODY_TIMEOUT, collect(body, app.body_bytes_max)).await;
    read.unwrap_or_else(|_| Err(Failure::slow(limits::HTTP_BODY_TIMEOUT)))
}

/// What is too large is read on for a while and thrown away: a client that still writes would not hear the refusal.
async fn collect(body: Body, max: usize) -> Result<Vec<u8>, Failure> {
    let mut stream = body.into_data_stream();
    let (mut bytes, mut length) = (Vec::new(), 0_usize);
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|error| Failure::unread(&error))?;
        length += chunk.len();
        if length <= max {
            bytes.extend_from_slice(&chunk);
        } else if length > max.saturating_add(limits::HTTP_DISCARD_BYTES_MAX) {
            break;
        }
    }
    if length > max { Err(Failure::body(max)) } else { Ok(bytes) }
}

/// A body that counts as running until it has ended or its reader is gone.
struct Counted {
    body: Body,
    _running: Option<Running>,
    _origin: Option<OriginGuard>,
    _open: OpenRequest,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.body.size_hint()
    }
}
