//! Answers that refuse: what they mean, and what the user can do.

use std::time::Duration;

use firebox_contract::limits;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Response, StatusCode};

use super::{Fault, Subject, body, host};
use crate::error::{HubError, shown};
use crate::settings::HubSettings;

/// The fault that an answer with an error's status stands for.
pub(super) async fn refusal(response: Response, subject: Subject<'_>, settings: &HubSettings, is_own: bool) -> Fault {
    let (status, headers, url) = (response.status(), response.headers().clone(), response.url().clone());
    let code = headers.get("x-error-code").and_then(|code| code.to_str().ok()).unwrap_or_default().to_owned();
    let said = headers.get("x-error-message").and_then(|text| text.to_str().ok()).map(str::to_owned);
    let said = match said {
        Some(said) => said,
        // The body is for the message only, so a body that cannot be read is none.
        None => message(&body(response, limits::HUB_REFUSAL_BYTES_MAX, settings.retry.idle).await.ok().flatten()),
    };
    let said = if said.is_empty() { String::new() } else { format!(": {}", shown(&said)) };
    let host = host(&url);
    if status == StatusCode::TOO_MANY_REQUESTS {
        let why = format!("\"{host}\" limits the rate of requests{said}");
        let why = if settings.token.is_none() { format!("{why}; a token in HF_TOKEN raises the limit") } else { why };
        return Fault::Passing { why, after: retry_after(&headers), is_limit: true };
    }
    if status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT {
        let why = format!("\"{host}\" answered with status {}{said}", status.as_u16());
        return Fault::Passing { why, after: retry_after(&headers), is_limit: false };
    }
    if !is_own {
        // Signed addresses expire; the hub gives a new one.
        let why = format!("\"{host}\", to which the hub redirects, answered with status {}{said}", status.as_u16());
        return Fault::Passing { why, after: None, is_limit: false };
    }
    Fault::Final(error(status, &code, &said, subject, settings))
}

fn error(status: StatusCode, code: &str, said: &str, subject: Subject<'_>, settings: &HubSettings) -> HubError {
    let Subject { repo, revision, file } = subject;
    let endpoint = &settings.endpoint;
    let has_token = settings.token.is_some();
    if code == "GatedRepo" || (status == StatusCode::FORBIDDEN && code.is_empty()) {
        let remedy = match has_token {
            true => format!("accept its terms at {endpoint}/{repo} with the account of the token"),
            false => format!("accept its terms at {endpoint}/{repo}, and set HF_TOKEN to a token of that account"),
        };
        return HubError::Denied(format!("model \"{repo}\" is not open to you{said}; {remedy}"));
    }
    if status == StatusCode::UNAUTHORIZED && has_token && code != "RepoNotFound" {
        let remedy = "create a new one in the settings of the account, or unset HF_TOKEN";
        return HubError::Unauthorized(format!("hub \"{endpoint}\" refuses the token{said}; {remedy}"));
    }
    if status == StatusCode::UNAUTHORIZED {
        let remedy = match has_token {
            true => "check the name, and whether the account of the token may see it",
            false => "check the name; for a private model set HF_TOKEN",
        };
        let message = format!("hub \"{endpoint}\" has no model \"{repo}\", or it is private{said}; {remedy}");
        // The hub answers so for names that nobody has, too.
        return if code == "RepoNotFound" { HubError::NotFound(message) } else { HubError::Unauthorized(message) };
    }
    if status == StatusCode::NOT_FOUND {
        return HubError::NotFound(match (code, file) {
            ("RevisionNotFound", _) => {
                format!("model \"{repo}\" has no revision \"{revision}\"; check the name after @")
            }
            ("RepoNotFound", _) | ("", None) => {
                format!("hub \"{endpoint}\" has no model \"{repo}\"; check the name, or HF_ENDPOINT")
            }
            (_, Some(file)) => format!("model \"{repo}\" has no file \"{}\" in revision \"{revision}\"", shown(file)),
            (_, None) => {
                format!("hub \"{endpoint}\" has no model \"{repo}\" with revision \"{revision}\"; check the name")
            }
        });
    }
    let status = status.as_u16();
    HubError::Denied(format!("hub \"{endpoint}\" refuses \"{repo}\" with status {status}{said}; check HF_ENDPOINT"))
}

/// The time that a hub asks to wait: `Retry-After` in seconds, else the rest of the window in `RateLimit`.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let seconds = text(RETRY_AFTER.as_str()).and_then(|text| text.trim().parse().ok());
    let window = || text("ratelimit")?.split(';').find_map(|part| part.trim().strip_prefix("t=")?.parse().ok());
    seconds.or_else(window).map(Duration::from_secs)
}

/// The text of an error in a body: of JSON its `error`, of anything else nothing.
fn message(body: &Option<Vec<u8>>) -> String {
    let json = body.as_deref().and_then(|bytes| serde_json::from_slice::<serde_json::Value>(bytes).ok());
    json.and_then(|json| Some(json.get("error")?.as_str()?.to_owned())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::ModelName;

    #[test]
    fn waits_are_read_from_both_headers() {
        let read = |name: &'static str, value: &'static str| {
            retry_after(&HeaderMap::from_iter([(name.parse().expect("a name"), value.parse().expect("a value"))]))
        };
        assert_eq!(read("retry-after", "7"), Some(Duration::from_secs(7)));
        assert_eq!(read("ratelimit", "\"api\";r=0;t=55"), Some(Duration::from_secs(55)));
        assert_eq!(read("retry-after", "Wed, 21 Oct 2026 07:28:00 GMT"), None);
    }

    #[test]
    fn refusals_name_the_remedy() {
        let name: ModelName = "org/name@v1".parse().expect("a name");
        let settings = |token: &str| {
            crate::settings::HubSettings::of_environment(&|variable| match variable {
                "HF_HOME" => Some("/nowhere".into()),
                "HF_TOKEN" => Some(token.into()),
                _ => None,
            })
        };
        let text = |status: u16, code: &str, file: Option<&str>, token: &str| {
            let subject = Subject { repo: &name.repo, revision: name.revision(), file };
            let status = StatusCode::from_u16(status).expect("a status");
            error(status, code, "", subject, &settings(token).expect("valid")).to_string()
        };
        let rows = [
            (text(404, "", None, ""), "no model \"org/name\""),
            (text(404, "RevisionNotFound", None, ""), "no revision \"v1\""),
            (text(404, "EntryNotFound", Some("a.gguf"), ""), "no file \"a.gguf\""),
            (text(401, "", None, ""), "for a private model set HF_TOKEN"),
            (text(401, "", None, "hf_x"), "refuses the token"),
            (text(401, "RepoNotFound", None, "hf_x"), "check the name"),
            (text(403, "GatedRepo", None, ""), "set HF_TOKEN to a token of that account"),
            (text(403, "", None, "hf_x"), "accept its terms at https://huggingface.co/org/name with"),
            (text(418, "", None, ""), "status 418"),
        ];
        for (found, expected) in rows {
            assert!(found.contains(expected) && !found.contains("hf_x"), "{found} should contain {expected}");
        }
    }
}
