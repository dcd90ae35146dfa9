//! The state of the server: probes, metrics and the list of endpoints.

use std::sync::Arc;
use std::time::SystemTime;

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::http::{Response, StatusCode};
use serde_json::json;

use crate::http::response::{json as json_response, wire};
use crate::http::{ApiRequest, Failure, ROUTES, Route};
use crate::serve::App;

/// `GET /metrics`.
pub(in crate::http) async fn metrics(app: Arc<App>, _request: ApiRequest) -> Result<Response<Body>, Failure> {
    let mut response = Response::new(Body::from(app.metrics.text()));
    let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    Ok(response)
}

/// `GET /` and `GET /v1`: the endpoints, for people with a browser and for clients that only check that a server answers.
pub(in crate::http) async fn about(_app: Arc<App>, _request: ApiRequest) -> Result<Response<Body>, Failure> {
    // The router's own notation for an id that may contain slashes means nothing to a client.
    let path = |route: &Route| route.path.replace("{*id}", "{id}");
    let endpoints: Vec<String> = ROUTES.iter().map(|route| format!("{} {}", route.method, path(route))).collect();
    json_response(&json!({
        "object": "server", "name": "firebox",
        "message": "This is Firebox, an inference server with OpenAI's API. The base URL of a client is this address with /v1.",
        "endpoints": endpoints,
    }))
}

/// `GET /healthz`: the process is alive.
pub(in crate::http) async fn healthz(_app: Arc<App>, _request: ApiRequest) -> Result<Response<Body>, Failure> {
    json_response(&json!({"status": "ok"}))
}

/// `GET /readyz`: 200 if the server does not shut down, every model answers and every required MCP server answers. The
/// answer says what is missing and not why, since it needs no key.
pub(in crate::http) async fn readyz(app: Arc<App>, _request: ApiRequest) -> Result<Response<Body>, Failure> {
    let missing = app.not_ready();
    let mut response = match missing.as_slice() {
        [] => json_response(&json!({"status": "ready", "time": wire::unix_seconds(SystemTime::now())}))?,
        missing => json_response(&json!({"status": "not ready", "missing": missing}))?,
    };
    if !missing.is_empty() {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    Ok(response)
}
