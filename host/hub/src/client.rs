//! Requests to the hub. The token goes to the hub's own origin only.

pub(crate) mod backoff;
pub(crate) mod listing;
mod refusal;

use std::sync::Once;
use std::time::Duration;

use firebox_contract::limits;
use futures_util::StreamExt as _;
use reqwest::header::{ACCEPT_ENCODING, AUTHORIZATION, ETAG, HeaderMap, HeaderName, HeaderValue, LOCATION};
use reqwest::{Method, Response, StatusCode, Url, redirect};

use self::backoff::wait;
use crate::error::{HubError, shown};
use crate::name::{RepoName, is_id};
use crate::progress::{Progress, PullEvent};
use crate::settings::HubSettings;

const LINKED_ETAG: HeaderName = HeaderName::from_static("x-linked-etag");
const LINKED_SIZE: HeaderName = HeaderName::from_static("x-linked-size");
const REPO_COMMIT: HeaderName = HeaderName::from_static("x-repo-commit");

/// Why a request failed.
#[derive(Debug)]
pub(crate) enum Fault {
    /// Another attempt may succeed, after the time that the hub named.
    Passing { why: String, after: Option<Duration>, is_limit: bool },
    /// Another attempt fails too.
    Final(HubError),
}

impl From<HubError> for Fault {
    fn from(error: HubError) -> Self {
        Self::Final(error)
    }
}

/// What a request is about, for messages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub(crate) repo: &'a RepoName,
    pub(crate) revision: &'a str,
    /// The path of a file.
    pub(crate) file: Option<&'a str>,
}

/// An answer, and what the hub itself said before it sent the client elsewhere.
pub(crate) struct Answer {
    pub(crate) response: Response,
    /// The hub's entity tag of the file.
    pub(crate) tag: Option<String>,
    pub(crate) size: Option<u64>,
    pub(crate) commit: Option<String>,
}

/// The client of one hub.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    endpoint: Url,
    pub(crate) settings: HubSettings,
}

impl Client {
    /// A client without a connection.
    ///
    /// # Errors
    /// `HubError::Name` for an endpoint that is no address; `Unreachable` if the system has no root certificates.
    pub(crate) fn new(settings: HubSettings) -> Result<Self, HubError> {
        provide_tls();
        let endpoint = crate::settings::check_endpoint(&settings.endpoint)?;
        let wrong = || HubError::Name(format!("\"{}\" is not the address of a hub", shown(&settings.endpoint)));
        let endpoint = Url::parse(&endpoint).map_err(|_| wrong())?;
        let builder = reqwest::Client::builder()
            .connect_timeout(limits::HUB_CONNECT_TIMEOUT)
            // Redirects decide where the token goes, so they are followed here.
            .redirect(redirect::Policy::none())
            .user_agent(concat!("firebox/", env!("CARGO_PKG_VERSION")));
        let builder = if is_local(&endpoint) { builder.no_proxy() } else { builder };
        let http = builder.build().map_err(|error| {
            let why = shown(&innermost(&error));
            HubError::Unreachable(format!("TLS cannot be set up: {why}; install ca-certificates, or set SSL_CERT_FILE"))
        })?;
        Ok(Self { http, endpoint, settings })
    }

    /// The address of `path` on the hub, whose segments are escaped.
    pub(crate) fn url<'a>(&self, path: impl IntoIterator<Item = &'a str>) -> Result<Url, HubError> {
        let mut url = self.endpoint.clone();
        let no_base = || HubError::Name(format!("\"{}\" is not the address of a hub", shown(self.endpoint.as_str())));
        url.path_segments_mut().map_err(|()| no_base())?.pop_if_empty().extend(path);
        Ok(url)
    }

    /// Sends a request, and follows redirects.
    pub(crate) async fn send(
        &self,
        method: Method,
        url: Url,
        headers: &HeaderMap,
        subject: Subject<'_>,
    ) -> Result<Answer, Fault> {
        let (mut url, mut found) = (url, HubHeaders::default());
        for _ in 0..=limits::HUB_REDIRECTS_MAX {
            let mut request = self.http.request(method.clone(), url.clone()).headers(headers.clone());
            // The size on the disk is the size of the file.
            request = request.header(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
            let is_own = url.origin() == self.endpoint.origin();
            if let Some(token) = self.token_for(&url) {
                request = request.header(AUTHORIZATION, token);
            }
            let sent = tokio::time::timeout(self.settings.retry.idle, request.send()).await;
            let response = match sent {
                Err(_) => return Err(passing(format!("\"{}\" did not answer in time", host(&url)))),
                Ok(Err(error)) => return Err(unanswered(&url, &error)),
                Ok(Ok(response)) => response,
            };
            if is_own {
                found.read(response.headers(), response.status());
            }
            match next(&url, &response) {
                Ok(None) => {
                    let is_good =
                        response.status().is_success() || response.status() == StatusCode::RANGE_NOT_SATISFIABLE;
                    if !is_good {
                        return Err(refusal::refusal(response, subject, &self.settings, is_own).await);
                    }
                    let HubHeaders { tag, size, commit } = found;
                    return Ok(Answer { response, tag, size, commit });
                }
                Ok(Some(to)) if method == Method::HEAD && to.origin() != self.endpoint.origin() => {
                    let HubHeaders { tag, size, commit } = found;
                    return Ok(Answer { response, tag, size, commit });
                }
                Ok(Some(to)) => url = to,
                Err(why) => return Err(HubError::Unreachable(why).into()),
            }
        }
        let max = limits::HUB_REDIRECTS_MAX;
        Err(HubError::Unreachable(format!("the hub redirects more than {max} times; check HF_ENDPOINT")).into())
    }

    /// The token's header for requests to the hub itself. Over an open connection it is sent to this machine only.
    fn token_for(&self, url: &Url) -> Option<HeaderValue> {
        let is_safe = url.scheme() == "https" || is_local(url);
        let token = self.settings.token.as_ref().filter(|_| is_safe && url.origin() == self.endpoint.origin())?;
        let mut value = HeaderValue::from_str(&format!("Bearer {}", token.secret())).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// Whether there is a token that is not sent, because anyone on the way could read it.
    pub(crate) fn hides_token(&self) -> bool {
        self.settings.token.is_some() && self.token_for(&self.endpoint).is_none()
    }

    /// Runs `attempt` until it succeeds or fails for good.
    pub(crate) async fn retrying<T, F>(
        &self,
        progress: Progress<'_>,
        mut attempt: impl FnMut() -> F,
    ) -> Result<T, HubError>
    where
        F: Future<Output = Result<T, Fault>>,
    {
        let mut failures = 0;
        loop {
            let fault = match attempt().await {
                Ok(value) => return Ok(value),
                Err(fault) => fault,
            };
            failures += 1;
            pause(fault, failures, &self.settings, progress).await?;
        }
    }
}

/// Waits before attempt number `failures + 1`.
///
/// # Errors
/// The failure, if there is no further attempt.
pub(crate) async fn pause(
    fault: Fault,
    failures: u32,
    settings: &HubSettings,
    progress: Progress<'_>,
) -> Result<(), HubError> {
    let (why, after, is_limit) = match fault {
        Fault::Final(error) => return Err(error),
        Fault::Passing { why, after, is_limit } => (why, after, is_limit),
    };
    let wait = wait(failures, after, settings.retry.first_wait);
    if failures >= settings.retry.attempts || wait > limits::HUB_RETRY_AFTER_MAX {
        let again = "a later attempt continues where this one ended";
        return Err(if is_limit {
            HubError::Limited { message: format!("{why}; {again}"), retry_after: wait }
        } else {
            HubError::Unreachable(format!(
                "{why}, {failures} times in a row; check the network and HF_ENDPOINT; {again}"
            ))
        });
    }
    progress(PullEvent::Retry { why: &why, wait });
    tokio::time::sleep(wait).await;
    Ok(())
}

/// What the hub says about a file in its headers.
#[derive(Default)]
struct HubHeaders {
    tag: Option<String>,
    size: Option<u64>,
    commit: Option<String>,
}

impl HubHeaders {
    fn read(&mut self, headers: &HeaderMap, status: StatusCode) {
        let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let tag = text(&LINKED_ETAG).or_else(|| text(&ETAG).filter(|_| !status.is_redirection())).and_then(plain_tag);
        self.tag = tag.or(self.tag.take());
        self.size = text(&LINKED_SIZE).and_then(|size| size.parse().ok()).or(self.size);
        self.commit = text(&REPO_COMMIT).filter(|id| is_id(id)).map(str::to_owned).or(self.commit.take());
    }
}

/// An entity tag without its quotes; `None` for one that cannot be the name of a file.
pub(crate) fn plain_tag(tag: &str) -> Option<String> {
    let tag = tag.trim().trim_start_matches("W/").trim_matches('"');
    is_id(tag).then(|| tag.to_owned())
}

/// Where an answer sends the client; `None` if it is no redirect.
fn next(url: &Url, response: &Response) -> Result<Option<Url>, String> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let wrong = |what: &str| format!("\"{}\" redirects {what}; check HF_ENDPOINT", host(url));
    let to = response.headers().get(LOCATION).and_then(|to| to.to_str().ok()).ok_or_else(|| wrong("to nowhere"))?;
    let to = url.join(to).map_err(|_| wrong("to an address that is none"))?;
    match to.scheme() {
        "https" => Ok(Some(to)),
        "http" if url.scheme() == "http" => Ok(Some(to)),
        _ => Err(wrong("from HTTPS to an open connection, which is not followed")),
    }
}

pub(crate) fn passing(why: String) -> Fault {
    Fault::Passing { why, after: None, is_limit: false }
}

fn unanswered(url: &Url, error: &reqwest::Error) -> Fault {
    let what = if error.is_connect() { "cannot be reached" } else { "broke the connection off" };
    passing(format!("\"{}\" {what}: {}", host(url), shown(&innermost(error))))
}

/// The host of an address, with its port, for messages.
pub(crate) fn host(url: &Url) -> String {
    let name = url.host_str().unwrap_or_default();
    shown(&url.port().map_or_else(|| name.to_owned(), |port| format!("{name}:{port}")))
}

/// Chooses the implementation of TLS for this process.
pub(crate) fn provide_tls() {
    static PROVIDER: Once = Once::new();
    // Fails if the process already has a provider, which works as well.
    PROVIDER.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
}

/// Whether a host is this machine.
pub(crate) fn is_local(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The innermost cause of an error, without the text that libraries add.
pub(crate) fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    let message = cause.to_string();
    message.split_once(" (os error").map_or(message.clone(), |(message, _)| message.to_owned())
}

/// At most `max` bytes of a body; `None` if it has more.
pub(crate) async fn body(response: Response, max: usize, idle: Duration) -> Result<Option<Vec<u8>>, String> {
    let (mut chunks, mut bytes) = (response.bytes_stream(), Vec::new());
    loop {
        match tokio::time::timeout(idle, chunks.next()).await {
            Err(_) => return Err("the answer stopped in the middle".to_owned()),
            Ok(None) => return Ok(Some(bytes)),
            Ok(Some(Err(error))) => return Err(format!("the answer broke off: {}", shown(&innermost(&error)))),
            Ok(Some(Ok(more))) if bytes.len() + more.len() > max => return Ok(None),
            Ok(Some(Ok(more))) => bytes.extend_from_slice(&more),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entity_tags_lose_quotes_and_must_be_names() {
        for tag in ["\"abc\"", "W/\"abc\"", "abc"] {
            assert_eq!(plain_tag(tag).as_deref(), Some("abc"), "{tag}");
        }
        for odd in ["", "\"\"", "../x", "\"a/b\"", "a b", "\"..\""] {
            assert_eq!(plain_tag(odd), None, "{odd}");
        }
    }
}
