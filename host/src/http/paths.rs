//! Paths as their clients mean them, and a word for those that mean none.

use axum::http::Uri;
use axum::http::uri::PathAndQuery;

use super::ROUTES;

/// The path by which other servers' probes ask whether the process lives, and ours.
const HEALTH: (&str, &str) = ("/health", "/healthz");

/// The address without empty segments, where it has some. Clients put a base URL and a path together, so that a slash comes
/// twice or at the end.
pub(crate) fn as_meant(uri: &Uri) -> Option<Uri> {
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

/// What a client that asks for `path` may have meant; begins with "; " where there is something to say.
pub(super) fn hint(path: &str) -> String {
    if let Some(rest) = path.strip_prefix("/v1/v1") {
        return format!("; the client's base URL ends in /v1 once too often: \"/v1{rest}\"");
    }
    let prefixed = format!("/v1{path}");
    if ROUTES.iter().any(|route| route.path == prefixed) {
        return format!("; there is \"{prefixed}\": let the client's base URL end in /v1");
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
    fn slashes_that_mean_nothing_are_left_out() {
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
            assert_eq!(as_meant(&uri).expect(asked).to_string(), meant, "{asked}");
        }
        for plain in ["/", "/v1/models", "/v1/models/org/name?x=/", "/healthz", "*"] {
            assert_eq!(as_meant(&plain.parse().expect(plain)), None, "{plain}");
        }
    }

    #[test]
    fn a_path_that_is_nearly_right_is_told_the_right_one() {
        assert!(hint("/v1/v1/models").contains("\"/v1/models\""));
        assert!(hint("/chat/completions").contains("\"/v1/chat/completions\""));
        assert!(hint("/v1/responses").contains("Responses API"));
        assert_eq!(hint("/nowhere"), "");
    }
}
