//! Cross-origin requests: the web pages that may read answers, and the headers that they may send and read.
//!
//! Every answer gets these headers, including refusals before a request reaches its route, so that a page can show the error
//! to its user.

use axum::body::Body;
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, HeaderName, HeaderValue, ORIGIN, VARY,
};
use axum::http::{HeaderMap, Method, Response, StatusCode};
use firebox_contract::limits;

use crate::config::{ServerConfig, WebOrigin};

/// The methods that a page may use. They include methods that no route has, so that the page can read the 405.
const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE";
/// The headers of answers that scripts of a page may read, in addition to those that browsers always expose.
const EXPOSED: &str = "x-request-id, x-client-request-id, retry-after, retry-after-ms, x-ratelimit-limit-requests, \
                       x-ratelimit-remaining-requests, x-ratelimit-reset-requests, x-ratelimit-limit-tokens, \
                       x-ratelimit-remaining-tokens, x-ratelimit-reset-tokens, mcp-session-id, mcp-protocol-version, \
                       www-authenticate, allow, accept-encoding, date";
const REQUEST_PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-request-private-network");
const ALLOW_PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-allow-private-network");

/// The origins of web pages that may send requests (`server.origins`).
#[derive(Debug, Clone, Default)]
pub struct Cors {
    origins: Vec<WebOrigin>,
}

impl Cors {
    /// The origins of the configuration.
    #[must_use]
    pub fn new(config: &ServerConfig) -> Self {
        Self { origins: config.origins.clone() }
    }

    /// Whether pages of this origin may send requests.
    #[must_use]
    pub fn allows(&self, origin: &HeaderValue) -> bool {
        let text = origin.to_str();
        text.is_ok_and(|text| self.origins.iter().any(|known| known.matches(text)))
    }

    /// Adds the headers that let a page of `origin` read the answer, if the origin is allowed.
    pub fn add_headers(&self, origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
        if self.origins.is_empty() {
            return;
        }
        // Also without an origin, since the answer to a request with one differs.
        headers.append(VARY, HeaderValue::from_static("origin"));
        if let Some(origin) = origin.filter(|origin| self.allows(origin)) {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
        }
    }
}

/// Whether this is the preflight request by which a browser asks for a page.
#[must_use]
pub fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    method == Method::OPTIONS && headers.contains_key(ORIGIN) && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// The answer to a preflight request from an allowed origin. All requested headers are allowed, since clients add headers of
/// their own.
#[must_use]
pub fn preflight_answer(request: &HeaderMap) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(METHODS));
    if let Some(names) = header_names(request) {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, names);
    }
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from(limits::CORS_MAX_AGE.as_secs()));
    headers.insert(VARY, HeaderValue::from_static("access-control-request-method, access-control-request-headers"));
    if request.get(&REQUEST_PRIVATE_NETWORK).is_some_and(|value| value == "true") {
        headers.insert(ALLOW_PRIVATE_NETWORK, HeaderValue::from_static("true"));
    }
    response
}

/// The requested headers that are valid header names, within limits.
fn header_names(request: &HeaderMap) -> Option<HeaderValue> {
    let lines = request.get_all(ACCESS_CONTROL_REQUEST_HEADERS).iter().filter_map(|line| line.to_str().ok());
    let names = lines.flat_map(|line| line.split(',')).map(str::trim);
    // "*" would allow every name.
    let names = names.filter(|name| *name != "*" && name.len() <= limits::CORS_HEADER_NAME_BYTES_MAX);
    let names = names.filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok());
    let names: Vec<HeaderName> = names.take(limits::CORS_HEADER_NAMES_MAX).collect();
    let text = names.iter().map(HeaderName::as_str).collect::<Vec<_>>().join(", ");
    HeaderValue::from_str(&text).ok().filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cors() -> Cors {
        let origins = vec!["https://ui.example".parse().expect("an origin")];
        Cors::new(&ServerConfig { origins, ..ServerConfig::default() })
    }

    fn preflight(names: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(ACCESS_CONTROL_REQUEST_HEADERS, HeaderValue::from_str(names).expect("a value"));
        headers
    }

    #[test]
    fn only_pages_of_allowed_origins_can_read_an_answer() {
        let mut headers = HeaderMap::new();
        cors().add_headers(Some(&HeaderValue::from_static("https://ui.example")), &mut headers);
        assert_eq!(headers[ACCESS_CONTROL_ALLOW_ORIGIN], "https://ui.example");
        assert!(headers[ACCESS_CONTROL_EXPOSE_HEADERS].to_str().is_ok_and(|text| text.contains("retry-after-ms")));
        for other in [Some("https://evil.example"), Some("null"), None] {
            let mut headers = HeaderMap::new();
            cors().add_headers(other.map(HeaderValue::from_static).as_ref(), &mut headers);
            assert_eq!((headers.len(), &headers[VARY]), (1, &HeaderValue::from_static("origin")), "{other:?}");
        }
    }

    #[test]
    fn all_valid_requested_header_names_are_allowed() {
        let allowed = |names: &str| {
            let response = preflight_answer(&preflight(names));
            response.headers().get(ACCESS_CONTROL_ALLOW_HEADERS).map(|value| value.to_str().expect("text").to_owned())
        };
        let client = "authorization,content-type,x-stainless-lang,OpenAI-Organization";
        assert_eq!(
            allowed(client).as_deref(),
            Some("authorization, content-type, x-stainless-lang, openai-organization")
        );
        assert_eq!(allowed("x-one, two words, *, ,\"quoted\", x-two").as_deref(), Some("x-one, x-two"));
        assert_eq!(allowed(""), None);
        let many: Vec<String> = (0..1_000).map(|at| format!("x-{at}")).collect();
        assert_eq!(allowed(&many.join(",")).map(|text| text.split(", ").count()), Some(limits::CORS_HEADER_NAMES_MAX));
        assert_eq!(allowed(&"x".repeat(limits::CORS_HEADER_NAME_BYTES_MAX + 1)), None);
    }

    #[test]
    fn private_network_access_is_allowed_if_the_browser_asks_for_it() {
        let mut request = preflight("x-one");
        assert!(!preflight_answer(&request).headers().contains_key(ALLOW_PRIVATE_NETWORK));
        request.insert(REQUEST_PRIVATE_NETWORK, HeaderValue::from_static("true"));
        assert_eq!(preflight_answer(&request).headers()[ALLOW_PRIVATE_NETWORK], "true");
    }
}
