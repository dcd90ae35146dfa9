//! Answers: JSON, server-sent events and failures.

pub(super) mod answer;
pub(super) mod events;
pub(super) mod failure;
mod logprobs;
pub(super) mod wire;

use axum::body::Body;
use axum::http::Response;
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use firebox_contract::Error;
use serde::Serialize;

use failure::Failure;

/// A response with `body` as JSON and the status 200.
///
/// # Errors
/// `Error::Internal` if `body` cannot be written as JSON.
pub(super) fn json(body: &impl Serialize) -> Result<Response<Body>, Failure> {
    let text = serde_json::to_string(body);
    let text = text.map_err(|error| Error::Internal(format!("an answer cannot be written as JSON: {error}")))?;
    let mut response = Response::new(Body::from(text));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}
