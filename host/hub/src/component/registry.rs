//! The distribution protocol of registries: tokens, manifests and blobs.
//!
//! Protocol: <https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md>, and for tokens
//! <https://distribution.github.io/distribution/spec/auth/token/>

use std::sync::{Mutex, PoisonError};

use firebox_contract::limits;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderValue, LOCATION, WWW_AUTHENTICATE};
use reqwest::{Method, Response, StatusCode, Url};
use serde_json::Value;
use tokio::sync::OnceCell;

use super::artifact::{Descriptor, MANIFEST};
use super::credentials::{RegistryCredentials, RegistryLogin};
use super::reference::OciReference;
use super::web::{Web, WebRequest, read};
use crate::client::host;
use crate::digest::sha256;
use crate::error::{HubError, shown};

/// The media types of manifests that are asked for.
const ACCEPTED: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
                        application/vnd.docker.distribution.manifest.v2+json";

/// One repository of a registry.
pub(super) struct Registry {
    web: Web,
    base: Url,
    reference: OciReference,
    /// `pull` or `pull,push`.
    actions: &'static str,
    credentials: RegistryCredentials,
    /// Who this user is, once the registry has asked.
    login: OnceCell<RegistryLogin>,
    /// The value of the authorization that the registry accepted last.
    authorization: Mutex<Option<HeaderValue>>,
}

impl Registry {
    /// The repository of `reference`, for `actions`.
    ///
    /// # Errors
    /// `HubError::Name` for a registry that is no host.
    pub(super) async fn open(
        reference: &OciReference,
        credentials: &RegistryCredentials,
        actions: &'static str,
    ) -> Result<Self, HubError> {
        let base = reference.base().ok_or_else(|| HubError::Name(format!("\"{reference}\" names no host")))?;
        let (web, base) = Web::of(base.as_str()).await?;
        let (credentials, login, authorization) = (credentials.clone(), OnceCell::new(), Mutex::new(None));
        Ok(Self { web, base, reference: reference.clone(), actions, credentials, login, authorization })
    }

    /// Who this user is for the registry.
    async fn login(&self) -> &RegistryLogin {
        self.login.get_or_init(|| self.credentials.login(&self.reference.registry)).await
    }

    /// Why a credential helper did not answer, if one was asked.
    pub(super) fn login_problem(&self) -> Option<&str> {
        self.login.get().and_then(|login| login.problem.as_deref())
    }

    /// The address of `path` in the repository. Its parts were checked.
    fn url(&self, path: &str) -> Result<Url, HubError> {
        let path = format!("v2/{}/{path}", self.reference.repository);
        self.base.join(&path).map_err(|_| HubError::Name(format!("\"{}\" cannot be an address", self.reference)))
    }

    /// The manifest, and its digest.
    ///
    /// # Errors
    /// `HubError::NotFound`, those of [`Web::send`], and `HubError::Content` for another digest than the wanted one.
    pub(super) async fn manifest(&self) -> Result<(Vec<u8>, String), HubError> {
        let version = self.reference.version();
        let mut ask = WebRequest::new(Method::GET, self.url(&format!("manifests/{version}"))?);
        ask.headers.insert(ACCEPT, HeaderValue::from_static(ACCEPTED));
        let response = self.ask(ask).await?;
        let named = response.headers().get("docker-content-digest").and_then(|text| text.to_str().ok());
        let named = named.map(str::to_owned);
        let bytes = read(response, limits::OCI_DOCUMENT_BYTES_MAX).await?;
        let digest = format!("sha256:{}", sha256(&bytes));
        let wanted = self.reference.digest.clone().or_else(|| named.filter(|named| named.starts_with("sha256:")));
        match wanted.filter(|wanted| *wanted != digest) {
            Some(wanted) => Err(other_digest(&self.reference, "manifest", &wanted, &digest)),
            None => Ok((bytes, digest)),
        }
    }

    /// The bytes of a part.
    ///
    /// # Errors
    /// As [`Registry::manifest`].
    pub(super) async fn blob(&self, part: &Descriptor) -> Result<Vec<u8>, HubError> {
        let response = self.ask(WebRequest::new(Method::GET, self.url(&format!("blobs/{}", part.digest))?)).await?;
        let max = usize::try_from(part.size).unwrap_or(usize::MAX);
        let bytes = read(response, max).await?;
        let digest = format!("sha256:{}", sha256(&bytes));
        if digest != part.digest {
            return Err(other_digest(&self.reference, "component", &part.digest, &digest));
        }
        Ok(bytes)
    }

    /// Uploads a part, unless it is there.
    ///
    /// # Errors
    /// Those of [`Web::send`]; `HubError::Denied` for a registry that takes nothing.
    pub(super) async fn upload(&self, bytes: &[u8]) -> Result<(), HubError> {
        let digest = format!("sha256:{}", sha256(bytes));
        let there = self.try_ask(WebRequest::new(Method::HEAD, self.url(&format!("blobs/{digest}"))?)).await?;
        if there.status() == StatusCode::OK {
            return Ok(());
        }
        let begun = self.ask(WebRequest::new(Method::POST, self.url("blobs/uploads/")?)).await?;
        let from = begun.url().clone();
        let location = begun.headers().get(LOCATION).and_then(|to| to.to_str().ok()).unwrap_or_default();
        let mut to = self.web.next(&from, location)?;
        to.query_pairs_mut().append_pair("digest", &digest);
        let mut ask = WebRequest::new(Method::PUT, to).with(bytes);
        ask.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        self.ask(ask).await.map(drop)
    }

    /// Uploads the manifest under the tag of the reference. Returns its digest.
    ///
    /// # Errors
    /// As [`Registry::upload`].
    pub(super) async fn put_manifest(&self, bytes: Vec<u8>) -> Result<String, HubError> {
        let digest = format!("sha256:{}", sha256(&bytes));
        let mut ask =
            WebRequest::new(Method::PUT, self.url(&format!("manifests/{}", self.reference.version()))?).with(&bytes);
        ask.headers.insert(CONTENT_TYPE, HeaderValue::from_static(MANIFEST));
        self.ask(ask).await?;
        Ok(digest)
    }

    /// As [`Registry::try_ask`]. An answer that refuses is an error.
    async fn ask(&self, ask: WebRequest<'_>) -> Result<Response, HubError> {
        let response = self.try_ask(ask).await?;
        if response.status().is_success() { Ok(response) } else { Err(self.refusal(response).await) }
    }

    /// Sends a request. If the registry asks who sends it, the request is sent once more with an answer to that.
    async fn try_ask(&self, mut ask: WebRequest<'_>) -> Result<Response, HubError> {
        // What this user is goes to the registry itself only.
        let is_own = ask.url.origin() == self.base.origin();
        ask.authorization = if is_own { self.known() } else { None };
        let response = self.web.send(&ask).await?;
        let is_asked = is_own && response.status() == StatusCode::UNAUTHORIZED;
        let challenge =
            response.headers().get(WWW_AUTHENTICATE).and_then(|text| text.to_str().ok()).filter(|_| is_asked);
        let Some(challenge) = challenge.map(str::to_owned) else { return Ok(response) };
        let Some(answer) = self.answer(&challenge).await? else { return Ok(response) };
        *self.authorization.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
        ask.authorization = self.known();
        self.web.send(&ask).await
    }

    fn known(&self) -> Option<HeaderValue> {
        self.authorization.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The authorization that answers `challenge`; `None` if this user has none.
    async fn answer(&self, challenge: &str) -> Result<Option<HeaderValue>, HubError> {
        let (scheme, parameters) = challenge.trim().split_once(' ').unwrap_or((challenge.trim(), ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Ok(self.login().await.basic.as_deref().and_then(secret));
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Ok(None);
        }
        let value = |name: &str| parameter(parameters, name);
        let Some(realm) = value("realm") else { return Ok(None) };
        let mut url = self.web.next(&self.base, &realm)?;
        let scope = format!("repository:{}:{}", self.reference.repository, self.actions);
        url.query_pairs_mut().append_pair("scope", &scope);
        if let Some(service) = value("service") {
            url.query_pairs_mut().append_pair("service", &service);
        }
        let mut ask = WebRequest::new(Method::GET, url);
        ask.authorization = self.login().await.basic.as_deref().and_then(secret);
        let response = self.web.send(&ask).await?;
        if !response.status().is_success() {
            return Err(self.refusal(response).await);
        }
        let body = read(response, limits::OCI_DOCUMENT_BYTES_MAX).await?;
        let token = serde_json::from_slice::<Value>(&body).ok().and_then(|json| {
            let token = json.get("token").or_else(|| json.get("access_token"))?;
            Some(format!("Bearer {}", token.as_str()?))
        });
        Ok(token.as_deref().and_then(secret))
    }

    /// The error that an answer of the registry stands for, with its words.
    async fn refusal(&self, response: Response) -> HubError {
        let (status, host) = (response.status(), host(response.url()));
        // The body is for the message only, so a body that cannot be read is none.
        let body = read(response, limits::HUB_REFUSAL_BYTES_MAX).await.unwrap_or_default();
        let said = serde_json::from_slice::<Value>(&body).ok();
        let said = said.and_then(|json| Some(json["errors"][0]["message"].as_str()?.to_owned()));
        let said = said.map(|said| format!(": {}", shown(&said))).unwrap_or_default();
        let reference = &self.reference;
        let problem = self.login_problem().map(|problem| format!("{problem}; ")).unwrap_or_default();
        let sign_in =
            format!("{problem}sign in with docker login, or set FIREBOX_REGISTRY_USER and FIREBOX_REGISTRY_PASSWORD");
        let known = self.login.get().and_then(|login| login.basic.as_ref());
        match (status, known) {
            (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, None) => HubError::Unauthorized(format!(
                "registry \"{host}\" does not give \"{reference}\" to everybody{said}; check the name, or {sign_in}"
            )),
            (StatusCode::UNAUTHORIZED, Some(_)) => {
                HubError::Unauthorized(format!("registry \"{host}\" refuses this user{said}; {sign_in}"))
            }
            (StatusCode::FORBIDDEN, Some(_)) => {
                HubError::Denied(format!("registry \"{host}\" does not let this user do that{said}"))
            }
            (StatusCode::NOT_FOUND, _) => {
                HubError::NotFound(format!("registry \"{host}\" has no \"{reference}\"{said}; check name and tag"))
            }
            _ => {
                let status = status.as_u16();
                HubError::Denied(format!("registry \"{host}\" answered with status {status} for \"{reference}\"{said}"))
            }
        }
    }
}

fn other_digest(reference: &OciReference, what: &str, wanted: &str, found: &str) -> HubError {
    HubError::Content(format!("the {what} of \"{reference}\" has the digest \"{found}\" and not \"{}\"", shown(wanted)))
}

/// A header's value that is not logged.
fn secret(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// The value of `name` in the parameters of a challenge: `realm="…",service="…"`.
fn parameter(parameters: &str, name: &str) -> Option<String> {
    let mut rest = parameters;
    while let Some((key, after)) = rest.split_once('=') {
        let (value, next) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => after.split_once(',').unwrap_or((after, "")),
        };
        if key.trim_matches([',', ' ']).eq_ignore_ascii_case(name) {
            return Some(value.trim().to_owned());
        }
        rest = next;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_of_challenges_are_read() {
        let text = r#"realm="https://auth.example.org/token?a=b",service=registry,scope="repository:a/b:pull,push""#;
        assert_eq!(parameter(text, "realm").as_deref(), Some("https://auth.example.org/token?a=b"));
        assert_eq!(parameter(text, "Service").as_deref(), Some("registry"));
        assert_eq!(parameter(text, "scope").as_deref(), Some("repository:a/b:pull,push"));
        for odd in ["", "realm", "realm=\"open", "=\"x\"", "realm=,", "service=x"] {
            assert!(parameter(odd, "realm").is_none_or(|value| value.is_empty()), "{odd}");
        }
    }
}
