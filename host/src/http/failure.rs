//! How a request fails on the wire: one shape, made from the shared error and its one table of kinds.

use std::fmt::Display;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{ACCEPT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{Response, StatusCode};
use firebox_contract::{Error, ErrorKind, limits};

use super::{body, content_encoding, wire};
use crate::plugins::limit_remedy::{self, Audience};

/// As `retry-after`, in milliseconds: the official OpenAI clients read it first.
const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");

/// What went wrong, and where in the request.
#[derive(Debug)]
pub struct Failure {
    error: Box<Error>,
    param: Option<String>,
    /// Where HTTP has a status of its own that the table of kinds does not know.
    status: Option<StatusCode>,
    code: Option<&'static str>,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error: Box::new(error), param: None, status: None, code: None }
    }
}

impl Failure {
    /// A request that cannot be meant.
    #[must_use]
    pub fn usage(message: impl Into<String>) -> Self {
        Error::Usage(message.into()).into()
    }

    /// The field `param` of the request cannot be meant.
    #[must_use]
    pub fn field(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self { param: Some(param.into()), ..Self::usage(message) }
    }

    /// The field `param` asks for something this host does not do.
    #[must_use]
    pub fn unsupported(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: Some("unsupported"), ..Self::field(param, message) }
    }

    /// There is no such thing for this caller.
    #[must_use]
    pub fn not_found(message: impl Into<String>) -> Self {
        Error::NotFound(message.into()).into()
    }

    /// Somebody else's change came first.
    #[must_use]
    pub fn conflict(message: impl Into<String>) -> Self {
        Self { status: Some(StatusCode::CONFLICT), code: Some("conflict"), ..Self::usage(message) }
    }

    /// The path exists, the method does not.
    #[must_use]
    pub fn method(message: impl Into<String>) -> Self {
        let code = Some("method_not_allowed");
        Self { status: Some(StatusCode::METHOD_NOT_ALLOWED), code, ..Self::usage(message) }
    }

    /// The body is larger than `max` bytes.
    #[must_use]
    pub fn body(max: usize) -> Self {
        let message = format!("the request's body has more than the {max} bytes allowed; send less at a time");
        Self { status: Some(StatusCode::PAYLOAD_TOO_LARGE), ..Error::TooLarge(message).into() }
    }

    /// The body is encoded in a way that is not taken.
    #[must_use]
    pub fn media_type(message: impl Into<String>) -> Self {
        let code = Some("unsupported_media_type");
        Self { status: Some(StatusCode::UNSUPPORTED_MEDIA_TYPE), code, ..Self::usage(message) }
    }

    /// The body could not be read.
    #[must_use]
    pub(super) fn unread(error: &axum::Error) -> Self {
        if body::is_slow(error) {
            return Self::slow(limits::HTTP_BODY_STALL_TIMEOUT);
        }
        Self::usage(format!("the request's body could not be read: {error}"))
    }

    /// The body did not come in time.
    #[must_use]
    pub fn slow(limit: Duration) -> Self {
        let message =
            format!("the request's body did not come fast enough within {} s; send it faster", limit.as_secs());
        Self { status: Some(StatusCode::REQUEST_TIMEOUT), ..Error::Timeout(message).into() }
    }

    /// Names the field that is to blame, where nobody did yet.
    #[must_use]
    pub fn about(self, param: &str) -> Self {
        Self { param: self.param.or_else(|| Some(param.to_owned())), ..self }
    }

    /// Gives it a code of its own.
    #[must_use]
    pub fn coded(self, code: &'static str) -> Self {
        Self { code: Some(code), ..self }
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        let of_kind = || StatusCode::from_u16(self.error.kind().http_status()).ok();
        self.status.or_else(of_kind).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The stable code that programs compare; for a plugin's fault, the fault's own.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match (&self.code, &*self.error) {
            (Some(code), _) => code,
            (None, Error::Fault(fault)) => fault.cause.code(),
            (None, error) => error.kind().code(),
        }
    }

    /// What the caller is told. What Firebox itself did wrong is for its log, not for strangers.
    #[must_use]
    pub fn body_for(&self, request_id: &str) -> wire::ErrorBody {
        let message = match &*self.error {
            Error::Internal(_) => format!("an internal error; the server's log names request \"{request_id}\""),
            // Its words name files of the server.
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
            let accepted = HeaderValue::from_static(content_encoding::ACCEPTED);
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
    fn an_internal_error_tells_strangers_its_number_only() {
        let failure = Failure::from(Error::Internal("disk \"/secret\" is full".to_owned()));
        let text = serde_json::to_string(&failure.body_for("req_1")).expect("JSON");
        assert!(text.contains("req_1") && !text.contains("secret"), "{text}");
        assert_eq!(failure.response("req_1").status(), 500);
        let failure = Failure::from(Error::Model("\"/srv/model/template.jinja\" has no end".to_owned()));
        let text = serde_json::to_string(&failure.body_for("req_1")).expect("JSON");
        assert!(text.contains("req_1") && !text.contains("srv"), "{text}");
    }

    #[test]
    fn a_limit_says_when_to_come_back() {
        let retry_after = Duration::from_millis(1_200);
        let failure = Failure::from(Error::Limited { message: "busy".to_owned(), retry_after });
        let response = failure.response("req_1");
        assert_eq!((response.status().as_u16(), &response.headers()[RETRY_AFTER]), (429, &HeaderValue::from(2_u64)));
        assert_eq!(response.headers()[RETRY_AFTER_MS], "1200");
    }
}
