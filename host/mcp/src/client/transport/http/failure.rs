//! Messages for HTTP answers that are not a success: the status, the server's message and the remedy.

use http::header::{LOCATION, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, StatusCode};
use serde_json::Value;

use crate::client::wire::excerpt;

/// Maximum characters of a server's own message.
const QUOTE_CHARACTERS: usize = 300;

/// The status as in "HTTP 404 Not Found".
pub(super) fn status_line(status: StatusCode) -> String {
    status
        .canonical_reason()
        .map_or_else(|| format!("HTTP {}", status.as_u16()), |name| format!("HTTP {} {name}", status.as_u16()))
}

/// The message about an answer: status, the server's message and the remedy.
pub(super) fn failure(status: StatusCode, headers: &HeaderMap, body: &str) -> String {
    let mut message = status_line(status);
    if let Some(text) = text_of(body).or_else(|| challenge(headers)) {
        message = format!("{message}: \"{text}\"");
    }
    let header = |name| headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok());
    let remedy = match status.as_u16() {
        401 => "give its key in a header: --mcp-header NAME=Authorization:VALUE, or \"bearer\" in the configuration"
            .to_owned(),
        403 => "its key is missing or does not allow this".to_owned(),
        404 => "check the path of its URL".to_owned(),
        405 | 406 | 415 | 501 => "check that this is the URL of an MCP server".to_owned(),
        407 | 511 => "a proxy or network in between requires a login".to_owned(),
        429 | 503 => match header(RETRY_AFTER) {
            Some(wait) => format!("it asks to retry after \"{}\"", excerpt(wait, 64)),
            None => return message,
        },
        300..=399 => match header(LOCATION) {
            Some(location) => {
                format!(
                    "it redirects to \"{}\"; use that URL if it is the server's",
                    excerpt(location, QUOTE_CHARACTERS)
                )
            }
            None => return message,
        },
        _ => return message,
    };
    format!("{message}; {remedy}")
}

/// The text of a body of any kind, shortened. `None` if it is empty.
pub(super) fn text_of(body: &str) -> Option<String> {
    let body = body.trim_start_matches('\u{feff}').trim();
    let text = match serde_json::from_str::<Value>(body) {
        Ok(value) => in_json(&value).unwrap_or_else(|| body.to_owned()),
        Err(_) if is_html(body) => in_html(body),
        Err(_) => body.to_owned(),
    };
    let text = excerpt(&text, QUOTE_CHARACTERS);
    (!text.is_empty()).then_some(text)
}

/// The kind of a body that should have been a message, with its text.
pub(super) fn kind(body: &str) -> String {
    let text = text_of(body).map(|text| format!(": \"{text}\"")).unwrap_or_default();
    match () {
        () if body.trim().is_empty() => "an empty body".to_owned(),
        () if is_html(body) => format!("a page for browsers{text}; check its URL, and whether it requires a login"),
        () => format!("a body that is no message{text}"),
    }
}

pub(super) fn is_html(body: &str) -> bool {
    let start: String =
        body.trim_start_matches('\u{feff}').trim_start().chars().take(15).collect::<String>().to_lowercase();
    ["<!doctype", "<html", "<head", "<body", "<!--", "<?xml", "<h1", "<p>"].iter().any(|tag| start.starts_with(tag))
}

fn in_json(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Object(fields) => {
            let text = |key: &str| fields.get(key).and_then(in_json).filter(|text| !text.is_empty());
            let keys =
                ["error", "error_description", "title", "message", "detail", "details", "reason", "errors", "msg"];
            let mut parts: Vec<String> = keys.into_iter().filter_map(text).collect();
            parts.dedup();
            parts.truncate(3);
            (!parts.is_empty()).then(|| parts.join(": "))
        }
        Value::Array(values) => {
            let parts: Vec<String> = values.iter().take(3).filter_map(in_json).collect();
            (!parts.is_empty()).then(|| parts.join(", "))
        }
        _ => None,
    }
}

/// The title and the text of a page.
fn in_html(page: &str) -> String {
    let mut text_so_far = String::new();
    let mut rest = page;
    while let Some((text, after)) = rest.split_once('<') {
        text_so_far.push_str(text);
        text_so_far.push(' ');
        let hidden = ["script", "style"].into_iter().find(|tag| after.to_ascii_lowercase().starts_with(tag));
        let end = hidden.and_then(|tag| after.to_ascii_lowercase().find(&format!("</{tag}")));
        let after = end.map_or(after, |end| &after[end..]);
        rest = after.split_once('>').map_or("", |(_, after)| after);
        if text_so_far.len() > 8 * QUOTE_CHARACTERS {
            return text_so_far;
        }
    }
    text_so_far.push_str(rest);
    text_so_far
}

/// The value of the header that asks for authentication.
fn challenge(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(WWW_AUTHENTICATE)?.to_str().ok()?;
    Some(excerpt(value, QUOTE_CHARACTERS)).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_has_the_status_the_servers_message_and_the_remedy() {
        let mut headers = HeaderMap::new();
        headers.insert(WWW_AUTHENTICATE, http::HeaderValue::from_static("Bearer error=\"invalid_token\""));
        let words = |status, body| failure(StatusCode::from_u16(status).expect("a status"), &headers, body);
        let cases = [
            (
                401,
                r#"{"error":"invalid_token","error_description":"no key"}"#,
                "HTTP 401 Unauthorized: \"invalid_token: no key\"; give its key",
            ),
            (401, "", "HTTP 401 Unauthorized: \"Bearer error=\"invalid_token\"\"; give its key"),
            (500, "boom\n\u{1b}[2J at line 3", "HTTP 500 Internal Server Error: \"boom [2J at line 3\""),
            (
                502,
                "<html><head><title>nginx</title><style>a{}</style></head><h1>Bad Gateway</h1>",
                "HTTP 502 Bad Gateway: \"nginx Bad Gateway\"",
            ),
            (
                400,
                r#"{"jsonrpc":"2.0","error":{"code":1,"message":"no such session"},"id":null}"#,
                "HTTP 400 Bad Request: \"no such session\"",
            ),
            (
                422,
                r#"{"detail":[{"loc":["body"],"msg":"field required"}]}"#,
                "HTTP 422 Unprocessable Entity: \"field required\"",
            ),
            (599, "", "HTTP 599: \"Bearer"),
        ];
        for (status, body, expected) in cases {
            let words = words(status, body);
            assert!(words.starts_with(expected), "{words}");
        }
        assert_eq!(kind(" "), "an empty body");
        assert!(kind("<!DOCTYPE html><title>Login</title>").starts_with("a page for browsers: \"Login\""));
        assert!(kind("hello").contains("no message: \"hello\""));
        let long = failure(StatusCode::BAD_GATEWAY, &HeaderMap::new(), &"x".repeat(100_000));
        assert!(long.len() < 400, "{}", long.len());
    }
}
