//! What is recorded of each request: where it comes from, how it was answered, and why it was refused. Refusals can be
//! caused as fast as anybody likes, so each kind of them is told once in a while with its count.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use axum::body::Body;
use axum::http::header::{HeaderName, HeaderValue};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, Response, StatusCode};
use firebox_contract::limits;
use ulid::Ulid;

use super::Failure;
use crate::audit::{OriginGuard, Record, RefusalRecord, RequestOrigin, Subject};
use crate::serve::{App, ClientAddress};
use crate::system::log_rate_limit::LogRateLimiter;
use crate::tenancy::Tenant;

/// The request's own id, which this host gives it.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The id that the client gave it, on its way back.
const CLIENT_REQUEST_ID: HeaderName = HeaderName::from_static("x-client-request-id");

/// A request from its head to the end of its answer.
pub(super) struct Recorded {
    /// Its id in the log, the audit log and the answer.
    pub(super) id: String,
    origin: RequestOrigin,
    method: Method,
    /// The path as it is written down: the route's, or what was asked for where there is none.
    path: String,
    started: Instant,
    /// Lines about the request say where it comes from until this is dropped.
    pub(super) guard: Option<OriginGuard>,
}

/// Refused requests that the log told lately, by tenant, address and status.
#[derive(Debug)]
pub struct RefusalLog(Mutex<LogRateLimiter<RefusalKey>>);

type RefusalKey = (String, Option<IpAddr>, u16);

impl Default for RefusalLog {
    fn default() -> Self {
        Self(Mutex::new(LogRateLimiter::new(limits::REFUSALS_PERIOD)))
    }
}

impl RefusalLog {
    /// Whether the log tells this one, with how many like it it did not.
    fn tells(&self, tenant: &str, address: Option<IpAddr>, status: u16) -> Option<u64> {
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

impl Recorded {
    /// A request with this head, for the route of this path.
    pub(super) fn begin(app: &App, parts: &Parts, path: &str) -> Self {
        let id = format!("req_{}", Ulid::generate());
        let origin = RequestOrigin { address: address(parts), client_request: client_request(&parts.headers) };
        let guard = app.audit.as_ref().map(|audit| audit.enter(&id, origin.clone()));
        let (method, path, started) = (parts.method.clone(), path.chars().take(200).collect(), Instant::now());
        Self { id, origin, method, path, started, guard }
    }

    /// The answer to a request that failed. What this host did wrong is told each time, since the client is told to look
    /// for it; what a client can cause is not.
    pub(super) fn failed(&self, app: &App, tenant: Option<&Tenant>, failure: &Failure) -> Response<Body> {
        const FAILED: u16 = 1_000;
        let status = failure.status();
        let name = tenant.map_or("", |tenant| tenant.id.as_str());
        let told = status == StatusCode::INTERNAL_SERVER_ERROR
            || (status.is_server_error()
                && app.refusal_log.tells(name, self.origin.address, FAILED + status.as_u16()).is_some());
        if told {
            tracing::error!(request = %self.id, error = %failure, "failed");
        }
        failure.response(&self.id)
    }

    /// Puts its ids into the answer's head, and tells log and audit log how it was answered; `quiet` says nothing of an
    /// answer that is good.
    pub(super) fn answered<T>(&self, app: &App, tenant: Option<&Tenant>, quiet: bool, response: &mut Response<T>) {
        let status = response.status();
        self.stamp(response.headers_mut());
        let name = tenant.map_or("", |tenant| tenant.id.as_str());
        if refused(status) {
            self.note_refusal(app, tenant, status);
        }
        let repeated = if status.is_success() {
            if quiet {
                return;
            }
            0
        } else {
            match app.refusal_log.tells(name, self.origin.address, status.as_u16()) {
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

    fn stamp(&self, headers: &mut HeaderMap) {
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

/// Answers that say that somebody asked for what he may not have. Rates have lines of their own.
fn refused(status: StatusCode) -> bool {
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

/// The client's address.
fn address(parts: &Parts) -> Option<IpAddr> {
    parts.extensions.get::<ClientAddress>().map(|client| client.0)
}

/// The client's own id of its request, where it is one that may stand in a log.
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
    fn only_a_plain_id_of_the_clients_is_taken() {
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
    fn a_flood_of_refusals_is_a_line_a_second_and_the_table_is_bounded() {
        let log = RefusalLog::default();
        let address = |at: u32| Some(IpAddr::from(at.to_be_bytes()));
        let told = (0..1_000).filter(|_| log.tells("", address(1), 401).is_some()).count();
        assert!(told <= 3, "{told}");
        let begun = Instant::now();
        let told = (0..100_000).filter(|at| log.tells("", address(*at), 401).is_some()).count();
        let periods = begun.elapsed().as_secs() + 2;
        assert!(told as u64 <= periods * (limits::REFUSAL_KINDS_MAX as u64 + 1), "{told} in {periods} s");
        assert!(log.0.lock().expect("whole").kinds() <= limits::REFUSAL_KINDS_MAX + 1);
    }
}
