//! Errors as HTTP answers, in the shape of OpenAI's API. The status follows from the kind of the shared `Error`.

use std::fmt::Display;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{ACCEPT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{Response, StatusCode};
use firebox_contract::{Error, ErrorKind, limits};

use super::wire;
use crate::http::body::{ACCEPTED, paced};
use crate::plugins::limit_remedy::{self, Audience};

/// `retry-after` in milliseconds. OpenAI's clients prefer it.
const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");

/// An error of a request, and the field of the request that caused it.
#[derive(Debug)]
pub struct Failure {
    error: Box<Error>,
    param: Option<String>,
    /// A status in place of the one of the error's kind.
    status: Option<StatusCode>,
    /// A code in place of the one of the error's kind.
    code: Option<&'static str>,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error: Box::new(error), param: None, status: None, code: None }
    }
}

impl Failure {
    /// An invalid request: 400.
    #[must_use]
    pub fn usage(message: impl Into<String>) -> Self {
        Error::Usage(message.into()).into()
    }

    /// An invalid value of the field `param`: 400.
    #[must_use]
    pub fn field(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self { param: Some(param.into()), ..Self::usage(message) }
    }

    /// The field `param` asks for something that Firebox does not support: 400.
    #[must_use]
    pub fn unsupported(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: Some("unsupported"), ..Self::field(param, message) }
    }

    /// The caller has no such resource: 404.
    #[must_use]
    pub fn not_found(message: impl Into<String>) -> Self {
        Error::NotFound(message.into()).into()
    }

    /// Another request changes the same resource: 409.
    #[must_use]
    pub fn conflict(message: impl Into<String>) -> Self {
        Self { status: Some(StatusCode::CONFLICT), code: Some("conflict"), ..Self::usage(message) }
    }

    /// The path exists and does not have this method: 405.
    #[must_use]
    pub fn method_not_allowed(message: impl Into<String>) -> Self {
        let code = Some("method_not_allowed");
        Self { status: Some(StatusCode::METHOD_NOT_ALLOWED), code, ..Self::usage(message) }
    }

    /// The body has more than `max` bytes: 413.
    #[must_use]
    pub fn body_too_large(max: usize) -> Self {
        let message = format!("the request's body has more than the {max} bytes allowed; send less in one request");
        Self { status: Some(StatusCode::PAYLOAD_TOO_LARGE), ..Error::TooLarge(message).into() }
    }

    /// The body has an unsupported encoding: 415.
    #[must_use]
    pub fn media_type(message: impl Into<String>) -> Self {
        let code = Some("unsupported_media_type");
        Self { status: Some(StatusCode::UNSUPPORTED_MEDIA_TYPE), code, ..Self::usage(message) }
    }

    /// The body could not be read: 408 if the client was too slow, else 400.
    #[must_use]
    pub(in crate::http) fn body_unreadable(error: &axum::Error) -> Self {
        if paced::is_slow(error) {
            return Self::body_timeout(limits::HTTP_BODY_STALL_TIMEOUT);
        }
        Self::usage(format!("the request's body could not be read: {error}"))
    }

    /// The body did not arrive within `limit`: 408.
    #[must_use]
    pub fn body_timeout(limit: Duration) -> Self {
        let message = format!("the request's body arrived too slowly (limit {} s); send it faster", limit.as_secs());
        Self { status: Some(StatusCode::REQUEST_TIMEOUT), ..Error::Timeout(message).into() }
    }

    /// Names the field that caused the error, unless one is named already.
    #[must_use]
    pub fn with_param(self, param: &str) -> Self {
        Self { param: self.param.or_else(|| Some(param.to_owned())), ..self }
    }

    /// Replaces the code.
    #[must_use]
    pub fn with_code(self, code: &'static str) -> Self {
        Self { code: Some(code), ..self }
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        let of_kind = || StatusCode::from_u16(self.error.kind().http_status()).ok();
        self.status.or_else(of_kind).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The stable code for programs. For a plugin's fault it is the fault's code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match (&self.code, &*self.error) {
            (Some(code), _) => code,
            (None, Error::Fault(fault)) => fault.cause.code(),
            (None, Error::Schema { .. }) => "schema_unsupported",
            (None, error) => error.kind().code(),
        }
    }

    /// The body of the answer. Details of internal errors are logged and never sent to clients.
    #[must_use]
    pub fn body_for(&self, request_id: &str) -> wire::ErrorBody {
        let message = match &*self.error {
            Error::Internal(_) => format!("an internal error; the server's log names request \"{request_id}\""),
            // The message may name files of the server.
            Error::Model(_) => format!("the model failed; the server's log names request \"{request_id}\""),
            error => limit_remedy::with_remedy(error, Audience::ServerClient),
        };
        wire::ErrorBody::new(message, self.kind_name(), self.param.clone(), self.code())
    }

    fn kind_name(&self) -> &'static str {
        match self.status().as_u16() {
            401 => "authentication_error",
            403 => "permission_error",
            404 => "not_found_error",
            429 => "rate_limit_error",
            400..=499 => "invalid_request_error",
            _ => "server_error",
        }
    }

    /// The whole response.
    #[must_use]
    pub fn response(&self, request_id: &str) -> Response<Body> {
        let text = serde_json::to_string(&self.body_for(request_id)).unwrap_or_default();
        let mut response = Response::new(Body::from(text));
        *response.status_mut() = self.status();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if self.status() == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.status() == StatusCode::UNSUPPORTED_MEDIA_TYPE {
            let accepted = HeaderValue::from_static(ACCEPTED);
            response.headers_mut().insert(ACCEPT_ENCODING, accepted);
        }
        if let Some(wait) = self.retry_after() {
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
            let milliseconds = u64::try_from(wait.as_micros().div_ceil(1_000)).unwrap_or(u64::MAX);
            response.headers_mut().insert(RETRY_AFTER_MS, HeaderValue::from(milliseconds.max(1)));
        }
        response
    }

    fn retry_after(&self) -> Option<Duration> {
        match (&*self.error, self.error.kind()) {
            (Error::Limited { retry_after, .. }, _) => Some(*retry_after),
            (_, ErrorKind::Unavailable) => Some(Duration::from_secs(1)),
            _ => None,
        }
    }
}

impl std::error::Error for Failure {}

impl Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.error.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_to_an_internal_error_has_the_request_id_and_no_details() {
        let failure = Failure::from(Error::Internal("disk \"/secret\" is full".to_owned()));
        let text = serde_json::to_string(&failure.body_for("req_1")).expect("JSON");
        assert!(text.contains("req_1") && !text.contains("secret"), "{text}");
        assert_eq!(failure.response("req_1").status(), 500);
        let failure = Failure::from(Error::Model("\"/srv/model/template.jinja\" has no end".to_owned()));
        let text = serde_json::to_string(&failure.body_for("req_1")).expect("JSON");
        assert!(text.contains("req_1") && !text.contains("srv"), "{text}");
    }

    #[test]
    fn the_answer_to_a_rate_limit_has_the_time_to_wait() {
        let retry_after = Duration::from_millis(1_200);
        let failure = Failure::from(Error::Limited { message: "busy".to_owned(), retry_after });
        let response = failure.response("req_1");
        assert_eq!((response.status().as_u16(), &response.headers()[RETRY_AFTER]), (429, &HeaderValue::from(2_u64)));
        assert_eq!(response.headers()[RETRY_AFTER_MS], "1200");
    }
}
