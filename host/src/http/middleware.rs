//! The steps that every request takes before and after its endpoint's handler. The endpoint's row in `ROUTES` decides
//! what each step does.
//!
//! Before: host and origin, shutdown, key, scopes, the tenant's limits. Around the handler: a time limit, and an end when
//! the key is revoked or expires. After: log, audit log, metrics and the headers with the request's id and rates.

pub(super) mod access_log;
mod cancel;
pub(super) mod paths;
mod rate_headers;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CONNECTION, HOST, HeaderValue, ORIGIN};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, Response, StatusCode};
use firebox_contract::{Error, limits};
use futures_util::FutureExt as _;

use self::access_log::LoggedRequest;
use self::cancel::{end_with_caller, until_caller_ends};
use self::paths::{hint, shown};
use super::body::{self, paced::PacedBody};
use super::routes::{Access, Charge, OriginCheck, Policy, Route, TimeLimit, WhileDraining};
use super::{ApiRequest, Failure, PathParams, RequestSlot};
use crate::serve::App;
use crate::serve::connections::cors::{is_preflight, preflight_answer};
use crate::serve::connections::counters::Refusal;
use crate::serve::connections::guarded_body::GuardedBody;
use crate::serve::connections::table::ConnectionHandle;
use crate::serve::server::drain::DrainGuard;
use crate::tenancy::{Tenancy, Tenant};

/// Answers a request to `route`.
pub(super) async fn enter(
    app: Arc<App>,
    route: &'static Route,
    params: PathParams,
    request: Request,
) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let mut logged = LoggedRequest::begin(&app, &parts, route.path);
    let id = logged.id.clone();
    let (mut request, path_read) = api_request(route, &id, params, parts, body);
    let (admitted, running) = match admit(&app, route, &request.parts.headers) {
        Ok((tenant, running)) => (Ok(tenant), running),
        Err(failure) => (Err(failure), None),
    };
    let admitted = admitted.and_then(|tenant| path_read.and_then(|()| charge(&app, route, tenant, &mut request)));
    let (slot, mut tenant, mut body_was_read) = (request.slot.clone(), request.tenant.clone(), true);
    let outcome = match admitted {
        Ok(()) => {
            let liveness = tenant.as_ref().map(|tenant| tenant.caller.liveness.clone()).unwrap_or_default();
            until_caller_ends(&liveness, handle(&app, route, request)).await
        }
        Err(failure) => {
            // The log names the owner of a key whose scopes do not suffice. This admits nothing.
            tenant = tenant.or_else(|| app.tenant_of(request.parts.headers.get(AUTHORIZATION)).ok());
            body_was_read = body::discard(request.body).await;
            Err(failure)
        }
    };
    let mut response = outcome.unwrap_or_else(|failure| logged.failed(&app, tenant.as_ref(), &failure));
    if let Some(tenant) = &tenant {
        rate_headers::insert(&app, tenant, response.headers_mut());
    }
    close_if(&app, !body_was_read, &mut response);
    app.metrics.answered(route.path, response.status().as_u16());
    if response.status() == StatusCode::REQUEST_TIMEOUT {
        app.metrics.connections.refused(Refusal::SlowBody);
    }
    logged.answered(&app, tenant.as_ref(), route.policy.log_success, &mut response);
    if let Some(tenant) = &tenant {
        response = end_with_caller(&tenant.caller.liveness, route.policy.error_event, &id, response);
    }
    let log_context = logged.guard.take();
    // The request counts as running until its body has been sent or its client is gone.
    response.map(|body| Body::new(GuardedBody::new(body, (running, log_context, slot))))
}

/// The request as its endpoint gets it, and whether its path could be decoded.
fn api_request(
    route: &Route,
    id: &str,
    params: PathParams,
    parts: Parts,
    body: Body,
) -> (ApiRequest, Result<(), Failure>) {
    let (params, path_read) = match &params {
        Ok(params) => (params.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(), Ok(())),
        Err(_) => (Vec::new(), Err(Failure::usage("the path is not UTF-8 after decoding its percent signs"))),
    };
    let body = Body::new(PacedBody::new(body));
    let (tenant, admitted, slot) = (None, None, RequestSlot::default());
    let body_limit = route.policy.body_limit;
    (ApiRequest { id: id.to_owned(), body_limit, parts, params, body, tenant, slot, admitted }, path_read)
}

/// Checks host and origin, the shutdown, the key and its scopes. Returns the tenant of the key, and the guard by which
/// the shutdown waits for the request.
fn admit(app: &App, route: &Route, headers: &HeaderMap) -> Result<(Option<Tenant>, Option<DrainGuard>), Failure> {
    if route.policy.origin_check == OriginCheck::Checked {
        app.origin_policy.check(headers.get(HOST), headers.get(ORIGIN))?;
    }
    let running = match route.policy.while_draining {
        WhileDraining::Refused => Some(app.drain.enter().ok_or_else(shutting_down)?),
        WhileDraining::Answered => None,
    };
    let Access::Needs(scopes) = route.access else { return Ok((None, running)) };
    let tenant = app.tenant_of(headers.get(AUTHORIZATION))?;
    if !scopes.iter().any(|scope| tenant.scopes.contains(scope)) {
        // `require` has the message for a missing scope.
        scopes.iter().try_for_each(|scope| Tenancy::require(&tenant, *scope))?;
    }
    Ok((Some(app.tenancy.limited_to_scopes(tenant, scopes)), running))
}

/// Takes from the tenant's limits what the route charges, before anything of the body is read.
fn charge(app: &App, route: &Route, tenant: Option<Tenant>, request: &mut ApiRequest) -> Result<(), Failure> {
    request.tenant = tenant;
    let Some(tenant) = &request.tenant else { return Ok(()) };
    request.slot = RequestSlot(Some(Arc::new(app.open_requests.open(tenant)?)));
    if let Some(connection) = request.parts.extensions.get::<ConnectionHandle>() {
        connection.has_valid_key();
    }
    match route.policy.charge {
        Charge::Nothing => {}
        Charge::Rate => app.tenancy.count_request(&tenant.caller, &request.id)?,
        Charge::InFlight(kind) => request.admitted = Some(app.tenancy.begin(&tenant.caller, kind, &request.id)?),
    }
    Ok(())
}

fn shutting_down() -> Failure {
    Error::Unavailable("the server is shutting down; send the request to another one".to_owned()).into()
}

/// Runs the handler within the route's time limit. A panic of the handler fails this request only.
async fn handle(app: &Arc<App>, route: &Route, request: ApiRequest) -> Result<Response<Body>, Failure> {
    let limit = time_limit(&route.policy, app.request_timeout);
    let answer = AssertUnwindSafe((route.handler)(Arc::clone(app), request)).catch_unwind();
    match tokio::time::timeout(limit, answer).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => Err(Error::Internal("the handler panicked".to_owned()).into()),
        Err(_) => Err(Error::Timeout(format!("no answer within {} s", limit.as_secs())).into()),
    }
}

fn time_limit(policy: &Policy, request_timeout: Duration) -> Duration {
    match policy.time_limit {
        TimeLimit::RequestTimeout => request_timeout + limits::HTTP_TIMEOUT_SLACK,
        TimeLimit::AtMost(limit) => limit,
    }
}

/// Answers a path that no endpoint has.
pub(super) async fn unknown_path(State(app): State<Arc<App>>, request: Request) -> Response<Body> {
    // A web page must be able to read the 404.
    if is_preflight(request.method(), request.headers()) {
        return options(&app, request).await;
    }
    let path = shown(request.uri().path());
    let failure = Failure::not_found(format!("there is no endpoint {} \"{path}\"{}", request.method(), hint(&path)));
    refuse(&app, &failure, request).await
}

/// Answers a method that the path's endpoints do not have. The router adds the header `allow`.
pub(super) async fn unknown_method(State(app): State<Arc<App>>, request: Request) -> Response<Body> {
    let method = request.method();
    if method == Method::OPTIONS {
        return options(&app, request).await;
    }
    let path = shown(request.uri().path());
    let failure = Failure::method_not_allowed(format!(
        "\"{path}\" does not have the method {method}; the header \"allow\" lists its methods"
    ));
    refuse(&app, &failure, request).await
}

/// Answers `OPTIONS`: the preflight request of a browser, or the question for the methods of a path.
async fn options(app: &App, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let logged = LoggedRequest::begin(app, &parts, parts.uri.path());
    let body_was_read = body::discard(body).await;
    let headers = &parts.headers;
    let mut response = match app.origin_policy.check(headers.get(HOST), headers.get(ORIGIN)) {
        Ok(()) if is_preflight(&parts.method, headers) => preflight_answer(headers),
        Ok(()) => no_content(),
        Err(error) => logged.failed(app, None, &error.into()),
    };
    logged.answered(app, None, false, &mut response);
    close_if(app, !body_was_read, &mut response);
    response
}

fn no_content() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// Answers a request that no endpoint gets.
async fn refuse(app: &App, failure: &Failure, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let logged = LoggedRequest::begin(app, &parts, parts.uri.path());
    let body_was_read = body::discard(body).await;
    let mut response = failure.response(&logged.id);
    logged.answered(app, None, true, &mut response);
    close_if(app, !body_was_read, &mut response);
    response
}

/// Adds `connection: close` if `must_close`, and while the server shuts down.
fn close_if(app: &App, must_close: bool, response: &mut Response<Body>) {
    if must_close || app.drain.is_closing() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
}
