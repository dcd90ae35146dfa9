//! Cross-origin requests: which web pages may read the answers, and what they may send and see.
//!
//! The headers are put on every answer, also on those that were made before a request reached its route. A page that cannot
//! read an error cannot tell its user more than that something failed.

use axum::body::Body;
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, HeaderName, HeaderValue, ORIGIN, VARY,
};
use axum::http::{HeaderMap, Method, Response, StatusCode};
use firebox_contract::limits;

use crate::config::{ServerConfig, WebOrigin};

/// Methods that a page may use. The ones no route has are among them, so that the page can read the 405.
const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE";
/// Headers of answers that scripts of a page may read, beside those that a browser shows anyway.
const EXPOSED: &str = "x-request-id, x-client-request-id, retry-after, retry-after-ms, x-ratelimit-limit-requests, \
                       x-ratelimit-remaining-requests, x-ratelimit-reset-requests, x-ratelimit-limit-tokens, \
                       x-ratelimit-remaining-tokens, x-ratelimit-reset-tokens, mcp-session-id, mcp-protocol-version, \
                       www-authenticate, allow, accept-encoding, date";
const REQUEST_PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-request-private-network");
const ALLOW_PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-allow-private-network");

/// The pages that may ask.
#[derive(Debug, Clone, Default)]
pub struct Cors {
    origins: Vec<WebOrigin>,
}

impl Cors {
    /// Those of the configuration.
    #[must_use]
    pub fn new(config: &ServerConfig) -> Self {
        Self { origins: config.origins.clone() }
    }

    /// Whether pages of this origin may ask.
    #[must_use]
    pub fn allows(&self, origin: &HeaderValue) -> bool {
        let text = origin.to_str();
        text.is_ok_and(|text| self.origins.iter().any(|known| known.matches(text)))
    }

    /// Lets a page of `origin` read the answer with these headers, if it is one that may ask.
    pub fn show_to(&self, origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
        if self.origins.is_empty() {
            return;
        }
        // Also without an origin: the answer is another one with it.
        headers.append(VARY, HeaderValue::from_static("origin"));
        if let Some(origin) = origin.filter(|origin| self.allows(origin)) {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
        }
    }
}

/// Whether it is a browser's question whether a page may send a request.
#[must_use]
pub fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    method == Method::OPTIONS && headers.contains_key(ORIGIN) && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// The answer to a preflight request with these headers, of a page that may ask: whatever headers it asks for are allowed,
/// since clients have names of their own for theirs.
#[must_use]
pub fn preflight_answer(asked: &HeaderMap) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(METHODS));
    if let Some(names) = header_names(asked) {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, names);
    }
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from(limits::CORS_MAX_AGE.as_secs()));
    headers.insert(VARY, HeaderValue::from_static("access-control-request-method, access-control-request-headers"));
    if asked.get(&REQUEST_PRIVATE_NETWORK).is_some_and(|value| value == "true") {
        headers.insert(ALLOW_PRIVATE_NETWORK, HeaderValue::from_static("true"));
    }
    response
}

/// The names among the headers that a page asks to send which can be names of headers at all.
fn header_names(asked: &HeaderMap) -> Option<HeaderValue> {
    let lines = asked.get_all(ACCESS_CONTROL_REQUEST_HEADERS).iter().filter_map(|line| line.to_str().ok());
    let names = lines.flat_map(|line| line.split(',')).map(str::trim);
    // "*" would be every name.
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

    fn asking(names: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(ACCESS_CONTROL_REQUEST_HEADERS, HeaderValue::from_str(names).expect("a value"));
        headers
    }

    #[test]
    fn a_page_that_may_ask_reads_the_answer_and_another_does_not() {
        let mut headers = HeaderMap::new();
        cors().show_to(Some(&HeaderValue::from_static("https://ui.example")), &mut headers);
        assert_eq!(headers[ACCESS_CONTROL_ALLOW_ORIGIN], "https://ui.example");
        assert!(headers[ACCESS_CONTROL_EXPOSE_HEADERS].to_str().is_ok_and(|text| text.contains("retry-after-ms")));
        for other in [Some("https://evil.example"), Some("null"), None] {
            let mut headers = HeaderMap::new();
            cors().show_to(other.map(HeaderValue::from_static).as_ref(), &mut headers);
            assert_eq!((headers.len(), &headers[VARY]), (1, &HeaderValue::from_static("origin")), "{other:?}");
        }
    }

    #[test]
    fn whatever_names_a_page_asks_for_are_allowed_and_what_is_no_name_is_not() {
        let allowed = |names: &str| {
            let response = preflight_answer(&asking(names));
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
    fn a_page_may_reach_a_server_of_this_machine_where_the_browser_asks_for_that() {
        let mut asked = asking("x-one");
        assert!(!preflight_answer(&asked).headers().contains_key(ALLOW_PRIVATE_NETWORK));
        asked.insert(REQUEST_PRIVATE_NETWORK, HeaderValue::from_static("true"));
        assert_eq!(preflight_answer(&asked).headers()[ALLOW_PRIVATE_NETWORK], "true");
    }
}
