//! Who this user is for a registry: what `docker login` and its like have stored, what a credential helper of Docker says, or
//! two variables.

mod helper;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use firebox_contract::limits;
use serde::Deserialize;

/// User and password for each registry. They are sent to that registry, and to the token server that it names.
#[derive(Clone, Default)]
pub struct RegistryCredentials {
    /// `USER:PASSWORD` for every registry.
    all: Option<String>,
    /// `USER:PASSWORD` by registry.
    each: BTreeMap<String, String>,
    /// The credential helper of a registry.
    helpers: BTreeMap<String, String>,
    /// The credential helper of all others.
    store: Option<String>,
}

/// Who this user is for one registry.
#[derive(Clone, Default)]
pub(super) struct RegistryLogin {
    /// The value of a basic authorization.
    pub(super) basic: Option<String>,
    /// Why a credential helper did not answer.
    pub(super) problem: Option<String>,
}

impl fmt::Debug for RegistryCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RegistryCredentials(hidden)")
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct DockerConfig {
    #[serde(default)]
    auths: BTreeMap<String, DockerAuth>,
    #[serde(default)]
    cred_helpers: BTreeMap<String, String>,
    creds_store: Option<String>,
}

#[derive(Deserialize, Default)]
struct DockerAuth {
    auth: Option<String>,
}

impl RegistryCredentials {
    /// Reads `FIREBOX_REGISTRY_USER` with `FIREBOX_REGISTRY_PASSWORD`, and `config.json` in `DOCKER_CONFIG` or `$HOME/.docker`.
    #[must_use]
    pub fn of_environment(variable: &dyn Fn(&str) -> Option<OsString>) -> Self {
        let text =
            |name: &str| variable(name).and_then(|value| value.into_string().ok()).filter(|text| !text.is_empty());
        let all = text("FIREBOX_REGISTRY_USER").zip(text("FIREBOX_REGISTRY_PASSWORD"));
        let folder = text("DOCKER_CONFIG").map(PathBuf::from);
        let folder = folder.or_else(|| text("HOME").map(|home| PathBuf::from(home).join(".docker")));
        let file = folder.map(|folder| folder.join("config.json"));
        let small = file.filter(|file| {
            std::fs::metadata(file)
                .is_ok_and(|about| about.is_file() && about.len() <= limits::OCI_DOCUMENT_BYTES_MAX as u64)
        });
        // Without a file, and with one that other tools keep in another form, requests are anonymous.
        let config = small.and_then(|file| serde_json::from_slice::<DockerConfig>(&std::fs::read(file).ok()?).ok());
        let decode = |(registry, auth): (String, DockerAuth)| {
            let pair = String::from_utf8(BASE64.decode(auth.auth?).ok()?).ok()?;
            pair.contains(':').then(|| (host_of(&registry), pair))
        };
        let DockerConfig { auths, cred_helpers, creds_store } = config.unwrap_or_default();
        Self {
            all: all.map(|(user, password)| format!("{user}:{password}")),
            each: auths.into_iter().filter_map(decode).collect(),
            helpers: cred_helpers.into_iter().map(|(registry, name)| (host_of(&registry), name)).collect(),
            store: creds_store.filter(|name| !name.is_empty()),
        }
    }

    /// Who this user is for `registry`. It may run a program, for at most [`limits::REGISTRY_HELPER_TIMEOUT`] and as long again
    /// until it ends.
    pub(super) async fn login(&self, registry: &str) -> RegistryLogin {
        let (own, registry) = (self.clone(), registry.to_owned());
        let asked = tokio::task::spawn_blocking(move || own.login_now(&registry, limits::REGISTRY_HELPER_TIMEOUT));
        asked.await.unwrap_or_default()
    }

    fn login_now(&self, registry: &str, timeout: Duration) -> RegistryLogin {
        let helper = self.helpers.get(registry).or(self.store.as_ref()).filter(|name| !name.is_empty());
        let server = if registry == DOCKER_HUB { DOCKER_HUB_SERVER } else { registry };
        let (told, problem) = match helper.map(|name| helper::ask(name, server, timeout)) {
            Some(Ok(told)) => (told, None),
            Some(Err(problem)) => (None, Some(problem)),
            None => (None, None),
        };
        let pair = told.as_ref().or(self.each.get(registry)).or(self.all.as_ref());
        RegistryLogin { basic: pair.map(|pair| format!("Basic {}", BASE64.encode(pair))), problem }
    }
}

/// The registry of Docker, and the name under which Docker keeps who its user is.
const DOCKER_HUB: &str = "docker.io";
const DOCKER_HUB_SERVER: &str = "https://index.docker.io/v1/";

/// The registry that a key of Docker's file is about.
fn host_of(key: &str) -> String {
    let registry = key.trim_start_matches("https://").trim_start_matches("http://");
    let registry = registry.split('/').next().unwrap_or_default();
    if registry == "index.docker.io" { DOCKER_HUB.to_owned() } else { registry.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_come_from_dockers_file_and_from_variables() {
        let folder = tempfile::tempdir().expect("writable");
        let config = r#"{"auths": {"ghcr.io": {"auth": "YWRhOndvcmQ="}, "https://index.docker.io/v1/": {"auth": "Ym9iOng="},
                         "broken": {"auth": "?"}, "elsewhere": {}}}"#;
        std::fs::write(folder.path().join("config.json"), config).expect("written");
        let credentials = |user: Option<&str>| {
            RegistryCredentials::of_environment(&|name| match name {
                "DOCKER_CONFIG" => Some(folder.path().into()),
                "FIREBOX_REGISTRY_USER" => user.map(Into::into),
                "FIREBOX_REGISTRY_PASSWORD" => Some("secret".into()),
                _ => None,
            })
        };
        let basic =
            |credentials: &RegistryCredentials, registry: &str| credentials.login_now(registry, Duration::ZERO).basic;
        let stored = credentials(None);
        assert_eq!(basic(&stored, "ghcr.io").as_deref(), Some("Basic YWRhOndvcmQ="));
        assert_eq!(basic(&stored, "docker.io").as_deref(), Some("Basic Ym9iOng="));
        assert_eq!(["broken", "elsewhere", "other"].map(|registry| basic(&stored, registry)), [None, None, None]);
        assert_eq!(basic(&credentials(Some("u")), "other").as_deref(), Some("Basic dTpzZWNyZXQ="));
        assert!(!format!("{stored:?}").contains("word"));
    }

    #[test]
    fn a_helper_that_is_not_there_leaves_what_the_file_and_the_variables_say() {
        let credentials = RegistryCredentials {
            all: Some("u:p".to_owned()),
            helpers: [("ghcr.io".to_owned(), "firebox-nowhere".to_owned())].into(),
            store: Some("../evil".to_owned()),
            ..RegistryCredentials::default()
        };
        let own = credentials.login_now("ghcr.io", Duration::from_secs(1));
        assert_eq!(own.basic.as_deref(), Some("Basic dTpw"));
        let problem = own.problem.expect("a problem");
        assert_eq!(problem, "the credential helper \"docker-credential-firebox-nowhere\" is not in PATH");
        let problem = credentials.login_now("other", Duration::from_secs(1)).problem.expect("a problem");
        assert!(problem.contains("cannot be the name"), "{problem}");
    }
}
