//! The log line and the audit record of each request. A client can cause refusals at any rate, so each kind of refusal is
//! logged at most once per `limits::REFUSALS_PERIOD`, with the number of refusals that were left out.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use axum::body::Body;
use axum::http::header::{HeaderName, HeaderValue};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, Response, StatusCode};
use firebox_contract::limits;
use ulid::Ulid;

use crate::audit::{OriginGuard, Record, RefusalRecord, RequestOrigin, Subject};
use crate::http::Failure;
use crate::serve::{App, ClientAddress};
use crate::system::log_rate_limit::LogRateLimiter;
use crate::tenancy::Tenant;

/// The header with the id that the server gives a request; a client may send an id of its own in it.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The header that returns the client's own id.
const CLIENT_REQUEST_ID: HeaderName = HeaderName::from_static("x-client-request-id");

/// A request, as the log and the audit log name it.
pub(in crate::http) struct LoggedRequest {
    /// The id of the request in the log, the audit log and the answer.
    pub(in crate::http) id: String,
    origin: RequestOrigin,
    method: Method,
    /// The path of the route; the requested path if there is no route.
    path: String,
    started: Instant,
    /// Audit records about the request name its origin until this is dropped.
    pub(in crate::http) guard: Option<OriginGuard>,
}

/// The refusals that were logged in the last period, by tenant, address and status.
#[derive(Debug)]
pub struct RefusalLog(Mutex<LogRateLimiter<RefusalKey>>);

type RefusalKey = (String, Option<IpAddr>, u16);

impl Default for RefusalLog {
    fn default() -> Self {
        Self(Mutex::new(LogRateLimiter::new(limits::REFUSALS_PERIOD)))
    }
}

impl RefusalLog {
    /// Counts a refusal. If it is to be logged, returns the number of refusals of its kind that were left out before it.
    fn count(&self, tenant: &str, address: Option<IpAddr>, status: u16) -> Option<u64> {
        let now = Instant::now();
        let mut repeats = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (tenant.to_owned(), address.filter(|_| tenant.is_empty()), status);
        if repeats.kinds() >= limits::REFUSAL_KINDS_MAX && !repeats.knows(&key) {
            repeats.remove_old(now);
            if repeats.kinds() >= limits::REFUSAL_KINDS_MAX {
                return repeats.happened((String::new(), None, status), now);
            }
        }
        repeats.happened(key, now)
    }
}

impl LoggedRequest {
    /// Begins the records of a request to the route with this path.
    pub(in crate::http) fn begin(app: &App, parts: &Parts, path: &str) -> Self {
        let id = format!("req_{}", Ulid::generate());
        let origin = RequestOrigin { address: address(parts), client_request: client_request(&parts.headers) };
        let guard = app.audit.as_ref().map(|audit| audit.enter(&id, origin.clone()));
        let (method, path, started) = (parts.method.clone(), super::paths::shown(path), Instant::now());
        Self { id, origin, method, path, started, guard }
    }

    /// The answer to a request that failed. Internal errors are always logged, since their answers refer to the log.
    /// Other server errors can be caused by clients, and are logged at most once per period.
    pub(in crate::http) fn failed(&self, app: &App, tenant: Option<&Tenant>, failure: &Failure) -> Response<Body> {
        // Keeps the error lines apart from the lines of answers with the same status.
        const FAILED: u16 = 1_000;
        let status = failure.status();
        let name = tenant.map_or("", |tenant| tenant.id.as_str());
        let is_logged = status == StatusCode::INTERNAL_SERVER_ERROR
            || (status.is_server_error()
                && app.refusal_log.count(name, self.origin.address, FAILED + status.as_u16()).is_some());
        if is_logged {
            tracing::error!(request = %self.id, error = %failure, "a request failed");
        }
        failure.response(&self.id)
    }

    /// Adds the request's ids to the headers, and writes the records of the answer. A successful answer is logged if
    /// `log_success`.
    pub(in crate::http) fn answered<T>(
        &self,
        app: &App,
        tenant: Option<&Tenant>,
        log_success: bool,
        response: &mut Response<T>,
    ) {
        let status = response.status();
        self.insert_ids(response.headers_mut());
        let name = tenant.map_or("", |tenant| tenant.id.as_str());
        if is_refusal(status) {
            self.note_refusal(app, tenant, status);
        }
        let repeated = if status.is_success() {
            if !log_success {
                return;
            }
            0
        } else {
            match app.refusal_log.count(name, self.origin.address, status.as_u16()) {
                Some(repeated) => repeated,
                None => return,
            }
        };
        tracing::info!(
            request = %self.id,
            client_request = self.origin.client_request.as_deref(),
            address = self.origin.address.map(|address| address.to_string()),
            tenant = name,
            method = %self.method,
            path = self.path,
            status = status.as_u16(),
            ms = self.started.elapsed().as_millis(),
            repeated,
            "answered"
        );
    }

    fn insert_ids(&self, headers: &mut HeaderMap) {
        let rows = [(REQUEST_ID, Some(self.id.as_str())), (CLIENT_REQUEST_ID, self.origin.client_request.as_deref())];
        for (name, value) in rows {
            if let Some(Ok(value)) = value.map(HeaderValue::from_str) {
                headers.insert(name, value);
            }
        }
    }

    fn note_refusal(&self, app: &App, tenant: Option<&Tenant>, status: StatusCode) {
        let Some(audit) = &app.audit else { return };
        let key = tenant.map(|tenant| tenant.key_id.as_ref()).filter(|key| !key.is_empty());
        let subject = Subject { tenant: tenant.map(|tenant| tenant.id.as_str()), key, request: Some(&self.id) };
        audit.refused(&Record::Refusal(RefusalRecord {
            subject,
            method: self.method.as_str(),
            path: &self.path,
            status: status.as_u16(),
            outcome: outcome(status),
        }));
    }
}

/// Whether the audit log gets a record of the refusal. Refusals by a rate have records of their own.
fn is_refusal(status: StatusCode) -> bool {
    [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN, StatusCode::NOT_FOUND, StatusCode::METHOD_NOT_ALLOWED]
        .contains(&status)
}

fn outcome(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => "unauthorized",
        StatusCode::FORBIDDEN => "denied",
        StatusCode::NOT_FOUND => "not_found",
        _ => "method_not_allowed",
    }
}

/// The address of the client.
fn address(parts: &Parts) -> Option<IpAddr> {
    parts.extensions.get::<ClientAddress>().map(|client| client.0)
}

/// The client's own id of the request, if its characters and length are safe in a log line.
fn client_request(headers: &HeaderMap) -> Option<Arc<str>> {
    let text = headers.get(REQUEST_ID)?.to_str().ok()?;
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    let fits = !text.is_empty() && text.len() <= limits::CLIENT_REQUEST_ID_BYTES_MAX && text.bytes().all(good);
    fits.then(|| Arc::from(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_request_id_is_taken_only_if_it_is_short_and_of_safe_characters() {
        let longest = "x".repeat(limits::CLIENT_REQUEST_ID_BYTES_MAX);
        let rows = [
            ("trace-1_2.3:4", true),
            (longest.as_str(), true),
            ("", false),
            ("two words", false),
            ("\"quoted\"", false),
            ("a,b", false),
            ("caf\u{e9}", false),
        ];
        for (text, taken) in rows {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_bytes(text.as_bytes()).expect("a value"));
            assert_eq!(client_request(&headers).as_deref(), Some(text).filter(|_| taken), "{text}");
        }
        let mut headers = HeaderMap::new();
        let long = format!("{longest}x");
        headers.insert(REQUEST_ID, HeaderValue::from_bytes(long.as_bytes()).expect("a value"));
        assert_eq!(client_request(&headers), None);
    }

    #[test]
    fn a_flood_of_refusals_is_logged_once_a_second_and_the_table_is_bounded() {
        let log = RefusalLog::default();
        let address = |at: u32| Some(IpAddr::from(at.to_be_bytes()));
        let lines = (0..1_000).filter(|_| log.count("", address(1), 401).is_some()).count();
        assert!(lines <= 3, "{lines}");
        let started = Instant::now();
        let lines = (0..100_000).filter(|at| log.count("", address(*at), 401).is_some()).count();
        let periods = started.elapsed().as_secs() + 2;
        assert!(lines as u64 <= periods * (limits::REFUSAL_KINDS_MAX as u64 + 1), "{lines} in {periods} s");
        assert!(log.0.lock().expect("whole").kinds() <= limits::REFUSAL_KINDS_MAX + 1);
    }
}
