//! What there is and how it is doing: models, usage, metrics, health.

use std::sync::Arc;
use std::time::SystemTime;

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::http::{Response, StatusCode};
use serde_json::{Value, json};

use super::{Call, Failure, ROUTES, stream, wire};
use crate::serve::App;
use crate::serve::models::{Model, Ready, State};
use crate::tenancy::{Rate, UsageCounts};

pub(super) async fn models(app: Arc<App>, call: Call) -> Result<Response<Body>, Failure> {
    let globs = &call.tenant()?.config.models;
    let rows = app.models.visible(globs).map(|model| model_row(&app, model)).collect();
    stream::json(&wire::List::<Value>::of(rows))
}

pub(super) async fn model(app: Arc<App>, call: Call) -> Result<Response<Body>, Failure> {
    let found = app.models.find(&call.tenant()?.config.models, call.param("id"));
    let model = found.map_err(|error| Failure::from(error).about("model").coded("model_not_found"))?;
    stream::json(&model_row(&app, model))
}

fn model_row(app: &App, model: &Model) -> Value {
    let about = match model.state() {
        State::Loading => json!({"status": "loading"}),
        State::Failed(_) => json!({"status": "failed"}),
        State::Ready(ready) => {
            let info = ready.info();
            let mut about = json!({
                "status": "ready", "kind": ready.kind(), "architecture": info.architecture,
                "parameters": info.parameters, "context_tokens": info.context_tokens, "device": info.device,
            });
            if let (Ready::Encoder(encoder), Some(object)) = (&ready, about.as_object_mut()) {
                let profile = encoder.profile();
                object.insert("dimensions".to_owned(), json!(profile.dimensions));
                object.insert("prompts".to_owned(), json!(profile.prompts.keys().collect::<Vec<_>>()));
                object.insert("default_prompt".to_owned(), json!(profile.default_prompt));
            }
            about
        }
    };
    json!({
        "id": model.name(), "object": "model", "created": wire::unix_seconds(app.started), "owned_by": "firebox",
        "firebox": about,
    })
}

pub(super) async fn usage(app: Arc<App>, call: Call) -> Result<Response<Body>, Failure> {
    let tenant = &call.tenant()?.id;
    let report = app.tenancy.usage(tenant)?;
    let rates = app.tenancy.rate(tenant)?;
    let days: Vec<Value> = report.days.iter().map(|(day, sums)| json!({"day": day, "usage": counts(sums)})).collect();
    stream::json(&json!({
        "object": "usage", "tenant": tenant.as_str(), "since": wire::unix_seconds(report.since),
        "total": counts(&report.total), "days": days,
        "limits": {"requests": rates.requests.map(rate), "tokens": rates.tokens.map(rate)},
    }))
}

fn counts(counts: &UsageCounts) -> Value {
    json!({
        "requests": counts.requests, "limited": counts.limited, "unsettled": counts.unsettled,
        "prompt_tokens": counts.prompt_tokens, "cached_tokens": counts.cached_tokens,
        "completion_tokens": counts.completion_tokens, "tool_calls": counts.tool_calls,
        "plugin_fuel": counts.plugin_fuel,
    })
}

fn rate(rate: Rate) -> Value {
    json!({"per_minute": rate.limit, "remaining": rate.remaining, "reset_seconds": rate.reset.as_secs_f64()})
}

pub(super) async fn metrics(app: Arc<App>, _call: Call) -> Result<Response<Body>, Failure> {
    let mut response = Response::new(Body::from(app.metrics.text()));
    let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    Ok(response)
}

/// What there is, for people who look at the address with a browser and for clients that only ask whether it answers.
pub(super) async fn about(_app: Arc<App>, _call: Call) -> Result<Response<Body>, Failure> {
    let endpoints: Vec<String> = ROUTES.iter().map(|route| format!("{} {}", route.method, route.path)).collect();
    stream::json(&json!({
        "object": "server", "name": "firebox",
        "message": "This is Firebox, an inference server with OpenAI's API. The base URL of a client is this address with /v1.",
        "endpoints": endpoints,
    }))
}

pub(super) async fn healthz(_app: Arc<App>, _call: Call) -> Result<Response<Body>, Failure> {
    stream::json(&json!({"status": "ok"}))
}

/// Ready when the server is not ending, every model answers and every required MCP server does. Says what is missing
/// and not why: anybody may ask.
pub(super) async fn readyz(app: Arc<App>, _call: Call) -> Result<Response<Body>, Failure> {
    let missing = app.not_ready();
    let mut response = match missing.as_slice() {
        [] => stream::json(&json!({"status": "ready", "time": wire::unix_seconds(SystemTime::now())}))?,
        missing => stream::json(&json!({"status": "not ready", "missing": missing}))?,
    };
    if !missing.is_empty() {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    Ok(response)
}
