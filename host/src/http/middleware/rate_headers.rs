//! The headers `x-ratelimit-*`, with the names of OpenAI's API.

use std::time::Duration;

use axum::http::HeaderMap;
use axum::http::header::{HeaderName, HeaderValue};

use crate::serve::App;
use crate::tenancy::{Rate, Tenant};

/// Inserts the headers of each rate that the tenant's limits set.
pub(super) fn insert(app: &App, tenant: &Tenant, headers: &mut HeaderMap) {
    let Ok(state) = app.tenancy.rate(&tenant.id) else { return };
    let rows: [(&str, &str, &str, Option<Rate>); 2] = [
        ("x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests", state.requests),
        ("x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens", state.tokens),
    ];
    for (limit, remaining, reset, rate) in rows {
        let Some(rate) = rate else { continue };
        put(headers, limit, &rate.limit.to_string());
        put(headers, remaining, &rate.remaining.to_string());
        put(headers, reset, &seconds(rate.reset));
    }
}

fn put(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(HeaderName::from_static(name), value);
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.3}s", time.as_secs_f64())
}
