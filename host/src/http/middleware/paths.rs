//! Lenient paths: extra slashes are ignored, and the error for an unknown path suggests the right one.

use axum::http::Uri;
use axum::http::uri::PathAndQuery;

use crate::http::ROUTES;

/// The path of the liveness probe on other servers, and on this one.
const HEALTH: (&str, &str) = ("/health", "/healthz");

/// The address without empty path segments; `None` if it has none. Clients that join a base URL and a path send double and
/// trailing slashes.
pub(crate) fn normalized(uri: &Uri) -> Option<Uri> {
    let path = uri.path();
    let plain = path.len() > 1 && !path.ends_with('/') && !path.contains("//") && path != HEALTH.0;
    if plain || !path.starts_with('/') || path == "/" {
        return None;
    }
    let segments = path.split('/').filter(|segment| !segment.is_empty());
    let joined: String = segments.flat_map(|segment| ["/", segment]).collect();
    let path = match joined.as_str() {
        "" => "/",
        path if path == HEALTH.0 => HEALTH.1,
        path => path,
    };
    let query = uri.query().map_or_else(String::new, |query| format!("?{query}"));
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(format!("{path}{query}")).ok()?);
    Uri::from_parts(parts).ok()
}

/// The path for an error message or a log line, at most 200 characters.
pub(super) fn shown(path: &str) -> String {
    path.chars().take(200).collect()
}

/// A suggestion for a client that requested `path`: empty, or a text that begins with "; ".
pub(super) fn hint(path: &str) -> String {
    if let Some(rest) = path.strip_prefix("/v1/v1") {
        return format!("; the client's base URL has \"/v1\" twice: use \"/v1{rest}\"");
    }
    let prefixed = format!("/v1{path}");
    if ROUTES.iter().any(|route| route.path == prefixed) {
        return format!("; did you mean \"{prefixed}\"? the client's base URL must end in \"/v1\"");
    }
    match path {
        "/v1/responses" => "; this server has no Responses API: use \"/v1/chat/completions\"".to_owned(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_path_segments_are_removed() {
        let rows = [
            ("/v1/models/", "/v1/models"),
            ("//v1//models", "/v1/models"),
            ("/v1/chat/completions/?a=/b//", "/v1/chat/completions?a=/b//"),
            ("/health", "/healthz"),
            ("/health/?x", "/healthz?x"),
            ("//", "/"),
            ("http://localhost:1/v1/models/", "http://localhost:1/v1/models"),
            ("/v1/models/org%2F%2Fname/", "/v1/models/org%2F%2Fname"),
        ];
        for (asked, meant) in rows {
            let uri: Uri = asked.parse().expect(asked);
            assert_eq!(normalized(&uri).expect(asked).to_string(), meant, "{asked}");
        }
        for plain in ["/", "/v1/models", "/v1/models/org/name?x=/", "/healthz", "*"] {
            assert_eq!(normalized(&plain.parse().expect(plain)), None, "{plain}");
        }
    }

    #[test]
    fn a_path_that_is_nearly_right_gets_a_suggestion() {
        assert!(hint("/v1/v1/models").contains("\"/v1/models\""));
        assert!(hint("/chat/completions").contains("\"/v1/chat/completions\""));
        assert!(hint("/v1/responses").contains("Responses API"));
        assert_eq!(hint("/nowhere"), "");
    }
}
