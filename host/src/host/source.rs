//! Which model a user means: a file or folder of this machine, or a name on a hub. What exists on this machine wins.

use std::path::{Path, PathBuf};

use firebox_contract::Error;
use firebox_contract::tool::matches_glob;
use firebox_hub::{Hub, HubError, HubSettings, InUse, LocalModel, ModelName, Progress};

use crate::config::HubConfig;

/// A model, as it was named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelSource {
    /// A path of this machine.
    Path(PathBuf),
    /// A name on a hub. No file or folder has it.
    Hub(ModelName),
}

/// A model on this machine.
#[derive(Debug)]
pub struct LocalSource {
    /// A GGUF file, or a folder.
    pub path: PathBuf,
    /// Its name on the hub. `None` for a path, which names its model itself.
    pub name: Option<String>,
    /// Its mark in the cache: as long as this lives, no Firebox process removes the model.
    pub in_use: InUse,
}

impl ModelSource {
    /// Reads `model`: a path that exists, else a name on a hub, else a path.
    #[must_use]
    pub fn of(model: &Path) -> Self {
        let name = || model.to_str().and_then(|text| text.parse::<ModelName>().ok());
        if model.exists() {
            return Self::Path(model.to_owned());
        }
        name().map_or_else(|| Self::Path(model.to_owned()), Self::Hub)
    }

    /// The model, which must be on this machine. `hub` is only asked for a name.
    ///
    /// # Errors
    /// `Error::NotFound` for a name that is not in the cache.
    pub fn find<E: From<Error>>(&self, hub: impl FnOnce() -> Result<Hub, E>) -> Result<LocalSource, E> {
        match self {
            Self::Path(path) => Ok(LocalSource::of_path(path)),
            Self::Hub(name) => Ok(hub()?.find(name).map(LocalSource::of_hub).map_err(|error| both(name, error))?),
        }
    }

    /// The model, downloaded if it is not on this machine. `hub` is only asked for a name.
    ///
    /// # Errors
    /// The errors of the hub. Those about the name also say that there is no such path.
    pub async fn get<E: From<Error>>(
        &self,
        hub: impl FnOnce() -> Result<Hub, E>,
        progress: Progress<'_>,
    ) -> Result<LocalSource, E> {
        match self {
            Self::Path(path) => Ok(LocalSource::of_path(path)),
            Self::Hub(name) => {
                let found = hub()?.find_or_pull(name, progress).await;
                Ok(found.map(LocalSource::of_hub).map_err(|error| both(name, error))?)
            }
        }
    }
}

impl LocalSource {
    fn of_path(path: &Path) -> Self {
        Self { path: path.to_owned(), name: None, in_use: InUse::default() }
    }

    fn of_hub(model: LocalModel) -> Self {
        let LocalModel { path, name, in_use } = model;
        Self { path, name: Some(name.to_string()), in_use }
    }
}

/// Checks that a server may download `name` from the hub of `settings`.
///
/// # Errors
/// Why not, and the key that would allow it.
pub fn check_download(name: &ModelName, allowed: &HubConfig, settings: &HubSettings) -> Result<(), String> {
    let repo = name.repo.as_str();
    if !allowed.models.iter().any(|glob| matches_glob(glob, repo)) {
        return Err(format!(
            "firebox serve downloads only models that \"models\" in [hub] allows; add \"{repo}\" to it, or run \"firebox models \
             pull {name}\" first"
        ));
    }
    let endpoint = &settings.endpoint;
    if !allowed.endpoints.iter().any(|allowed| allowed.trim_end_matches('/') == endpoint) {
        return Err(format!(
            "firebox serve downloads only from \"endpoints\" in [hub]; HF_ENDPOINT is \"{endpoint}\", so add it or unset it"
        ));
    }
    Ok(())
}

/// The error about a name, with both of its readings where the name itself may be wrong.
fn both(name: &ModelName, error: HubError) -> Error {
    let is_about_name = matches!(error, HubError::NotFound(_) | HubError::Unauthorized(_) | HubError::Offline(_));
    let wrap = |text: String| format!("there is no file or folder \"{name}\", and as a model of a hub: {text}");
    match Error::from(error) {
        Error::NotFound(text) if is_about_name => Error::NotFound(wrap(text)),
        Error::Unauthorized(text) if is_about_name => Error::Unauthorized(wrap(text)),
        Error::Unavailable(text) if is_about_name => Error::Unavailable(wrap(text)),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_exists_wins_over_a_name() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(matches!(ModelSource::of(Path::new("nobody/has-this:Q8_0")), ModelSource::Hub(_)));
        for path in [
            folder.path(),
            Path::new("./org/name"),
            Path::new("/nowhere/m.gguf"),
            Path::new("name"),
            Path::new("host/src"),
        ] {
            assert!(matches!(ModelSource::of(path), ModelSource::Path(_)), "{}", path.display());
        }
    }

    #[test]
    fn an_error_about_a_name_says_that_there_is_no_path_either() {
        let name: ModelName = "org/name".parse().expect("a name");
        let error = both(&name, HubError::NotFound("no such model".to_owned()));
        let text = error.to_string();
        assert!(text.contains("no file or folder \"org/name\"") && text.ends_with("no such model"), "{text}");
        assert_eq!(both(&name, HubError::DiskFull("full".to_owned())).to_string(), "full");
    }
}
