//! Who this user is for a registry: what `docker login` and its like have stored, or two variables.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

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
}

impl fmt::Debug for RegistryCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RegistryCredentials(hidden)")
    }
}

#[derive(Deserialize, Default)]
struct DockerConfig {
    #[serde(default)]
    auths: BTreeMap<String, DockerAuth>,
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
            let registry = registry.trim_start_matches("https://").trim_start_matches("http://");
            let registry = registry.split('/').next().unwrap_or_default();
            // The name under which Docker keeps its own registry.
            let registry = if registry == "index.docker.io" { "docker.io" } else { registry };
            pair.contains(':').then(|| (registry.to_owned(), pair))
        };
        let each = config.unwrap_or_default().auths.into_iter().filter_map(decode).collect();
        Self { all: all.map(|(user, password)| format!("{user}:{password}")), each }
    }

    /// The value of a basic authorization for `registry`.
    pub(super) fn basic(&self, registry: &str) -> Option<String> {
        let pair = self.each.get(registry).or(self.all.as_ref())?;
        Some(format!("Basic {}", BASE64.encode(pair)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_come_from_dockers_file_and_from_variables() {
        let folder = tempfile::tempdir().expect("writable");
        let config = r#"{"auths": {"ghcr.io": {"auth": "YWRhOndvcmQ="}, "https://index.docker.io/v1/": {"auth": "Ym9iOng="},
                         "broken": {"auth": "?"}, "elsewhere": {}}, "credsStore": "desktop"}"#;
        std::fs::write(folder.path().join("config.json"), config).expect("written");
        let credentials = |user: Option<&str>| {
            RegistryCredentials::of_environment(&|name| match name {
                "DOCKER_CONFIG" => Some(folder.path().into()),
                "FIREBOX_REGISTRY_USER" => user.map(Into::into),
                "FIREBOX_REGISTRY_PASSWORD" => Some("secret".into()),
                _ => None,
            })
        };
        let stored = credentials(None);
        assert_eq!(stored.basic("ghcr.io").as_deref(), Some("Basic YWRhOndvcmQ="));
        assert_eq!(stored.basic("docker.io").as_deref(), Some("Basic Ym9iOng="));
        assert_eq!([stored.basic("broken"), stored.basic("elsewhere"), stored.basic("other")], [None, None, None]);
        assert_eq!(credentials(Some("u")).basic("other").as_deref(), Some("Basic dTpzZWNyZXQ="));
        assert!(!format!("{stored:?}").contains("word"));
    }
}
