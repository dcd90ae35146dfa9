//! What every request passes before its handler: host and origin, shutdown, key, scope, time; and what every response
//! carries: its id and what is left of the tenant's rates.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CONNECTION, HOST, HeaderName, HeaderValue, ORIGIN};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, Response, StatusCode};
use firebox_contract::{Error, limits};
use futures_util::FutureExt as _;

use super::body::PacedBody;
use super::live::{cut_with, while_alive};
use super::paths::hint;
use super::record::Recorded;
use super::{Access, Call, Failure, OpenRequest, PathParams, Route, request_body};
use crate::serve::App;
use crate::serve::connections::counters::Refusal;
use crate::serve::connections::table::RequestHandle;
use crate::serve::cors::{is_preflight, preflight_answer};
use crate::serve::drain::Running;
use crate::tenancy::{Rate, Tenancy, Tenant, WorkKind};

/// Answers a request that has a route.
pub(super) async fn enter(
    app: Arc<App>,
    route: &'static Route,
    params: PathParams,
    request: Request,
) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let mut recorded = Recorded::begin(&app, &parts, route.path);
    let id = recorded.id.clone();
    let (params, path_read) = match &params {
        Ok(params) => (params.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(), Ok(())),
        Err(_) => (Vec::new(), Err(Failure::usage("the path is not UTF-8 once its percent signs are decoded"))),
    };
    let body = Body::new(PacedBody::new(body));
    let (tenant, admitted, open) = (None, None, OpenRequest::default());
    let mut call = Call { id: id.clone(), parts, params, body, tenant, open, admitted };
    let (admitted, running) = match admit(&app, route, &call.parts.headers) {
        Ok((tenant, running)) => (Ok(tenant), running),
        Err(failure) => (Err(failure), None),
    };
    let admitted = admitted.and_then(|tenant| path_read.and_then(|()| take(&app, route, tenant, &mut call)));
    let (open, mut tenant, mut read) = (call.open.clone(), call.tenant.clone(), true);
    let outcome = match admitted {
        Ok(()) => {
            let liveness = tenant.as_ref().map(|tenant| tenant.caller.liveness.clone()).unwrap_or_default();
            while_alive(&liveness, handle(&app, route, call)).await
        }
        Err(failure) => {
            // Whose key it is that opens too little is recorded; it lets nobody in.
            tenant = tenant.or_else(|| app.tenant_of(call.parts.headers.get(AUTHORIZATION)).ok());
            read = request_body::discard(call.body).await;
            Err(failure)
        }
    };
    let mut response = outcome.unwrap_or_else(|failure| recorded.failed(&app, tenant.as_ref(), &failure));
    if let Some(tenant) = &tenant {
        rates(&app, tenant, response.headers_mut());
    }
    end(&app, !read, &mut response);
    app.metrics.answered(route.path, response.status().as_u16());
    if response.status() == StatusCode::REQUEST_TIMEOUT {
        app.metrics.connections.refused(Refusal::SlowBody);
    }
    // Probes come every few seconds, and say something only when they fail.
    recorded.answered(&app, tenant.as_ref(), route.access == Access::Open, &mut response);
    if let Some(tenant) = &tenant {
        response = cut_with(&tenant.caller.liveness, route.path, &id, response);
    }
    let records = recorded.guard.take();
    // It counts as running until its body has ended or its reader is gone.
    response.map(|body| request_body::with(body, (running, records, open)))
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
    Ok((Some(app.tenancy.limited_to_scopes(tenant, scopes)), running))
}

/// What the request takes of its tenant, before anything of its body is read.
fn take(app: &App, route: &Route, tenant: Option<Tenant>, call: &mut Call) -> Result<(), Failure> {
    call.tenant = tenant;
    let Some(tenant) = &call.tenant else { return Ok(()) };
    call.open = share(app, tenant, &call.parts)?;
    if let Some(kind) = kind_of_work(route) {
        call.admitted = Some(app.tenancy.begin(&tenant.caller, kind, &call.id)?);
    }
    Ok(())
}

/// What a request takes of its tenant's requests at a time; nothing where it has no body that is worked on.
fn kind_of_work(route: &Route) -> Option<WorkKind> {
    match (&route.method, route.path) {
        (&Method::POST, "/mcp") => Some(WorkKind::Mcp),
        (&Method::POST, path) if path.starts_with("/v1/approvals") => Some(WorkKind::Approval),
        (&Method::POST, path) if path.starts_with("/v1/sessions") && !path.ends_with("/generate") => {
            Some(WorkKind::Session)
        }
        (&Method::POST, _) => Some(WorkKind::Generation),
        _ => None,
    }
}

/// The share of `tenant` that a request with a good key takes; its connection no longer counts for its address.
fn share(app: &App, tenant: &Tenant, parts: &Parts) -> Result<OpenRequest, Failure> {
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
    // A page is to read that there is no such endpoint.
    if is_preflight(request.method(), request.headers()) {
        return options(&app, request).await;
    }
    let path: String = request.uri().path().chars().take(200).collect();
    let failure = Failure::not_found(format!("there is no endpoint {} \"{path}\"{}", request.method(), hint(&path)));
    bare(&app, &failure, request).await
}

/// Answers a path that has other methods; the router says which.
pub(super) async fn unknown_method(State(app): State<Arc<App>>, request: Request) -> Response<Body> {
    let method = request.method();
    if method == Method::OPTIONS {
        return options(&app, request).await;
    }
    let path: String = request.uri().path().chars().take(200).collect();
    let failure = Failure::method(format!("\"{path}\" is there, but not for {method}; the header allow says for what"));
    bare(&app, &failure, request).await
}

/// Answers what one may do here, and a browser's question whether a page may ask.
async fn options(app: &App, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let recorded = Recorded::begin(app, &parts, parts.uri.path());
    let read = request_body::discard(body).await;
    let headers = &parts.headers;
    let mut response = match app.doors.check(headers.get(HOST), headers.get(ORIGIN)) {
        Ok(()) if is_preflight(&parts.method, headers) => preflight_answer(headers),
        Ok(()) => no_content(),
        Err(error) => recorded.failed(app, None, &error.into()),
    };
    recorded.answered(app, None, true, &mut response);
    end(app, !read, &mut response);
    response
}

fn no_content() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

async fn bare(app: &App, failure: &Failure, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let recorded = Recorded::begin(app, &parts, parts.uri.path());
    let read = request_body::discard(body).await;
    let mut response = failure.response(&recorded.id);
    recorded.answered(app, None, false, &mut response);
    end(app, !read, &mut response);
    response
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
