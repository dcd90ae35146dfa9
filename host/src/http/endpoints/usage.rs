//! `/v1/usage`: the usage of the key's tenant, and what is left of its rates.

use std::sync::Arc;

use axum::body::Body;
use axum::http::Response;
use serde_json::{Value, json};

use crate::http::response::{json as json_response, wire};
use crate::http::{ApiRequest, Failure};
use crate::serve::App;
use crate::tenancy::{Rate, UsageCounts};

/// `GET /v1/usage`.
pub(in crate::http) async fn usage(app: Arc<App>, request: ApiRequest) -> Result<Response<Body>, Failure> {
    let tenant = &request.tenant()?.id;
    let report = app.tenancy.usage(tenant)?;
    let rates = app.tenancy.rate(tenant)?;
    let days: Vec<Value> = report.days.iter().map(|(day, sums)| json!({"day": day, "usage": counts(sums)})).collect();
    json_response(&json!({
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
