//! Installed plugins: a folder for each, with the component and its manifest, in the user's data folder.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use firebox_contract::Stage;
use firebox_sandbox::{ComponentSource, PluginSpec};

use super::distribution::signature;
use super::manifest::{self, Manifest};
use crate::error::CliError;
use crate::system::directories::data_dir;

/// What is known about a plugin without a manifest of its own. It grants and limits nothing.
const ABOUT: &str = "about.toml";

/// The folder of installed plugins. `None` without a data folder.
pub(super) fn folder() -> Option<PathBuf> {
    data_dir().map(|path| path.join("plugins"))
}

/// Each installed plugin: its folder and its manifest, sorted by name.
///
/// # Errors
/// `CliError::File`, if the folder cannot be read; `Error::Plugin` for a manifest that is not valid.
pub(super) fn all() -> Result<Vec<(PathBuf, Manifest)>, CliError> {
    let Some(folder) = folder() else { return Ok(Vec::new()) };
    let failed = |source| CliError::File { action: "read", path: folder.display().to_string(), source };
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        let file = [manifest::FILE, ABOUT].map(|name| path.join(name)).into_iter().find(|file| file.is_file());
        paths.extend(file.map(|file| (path, file)));
    }
    paths.sort();
    paths.into_iter().map(|(path, file)| Ok((path, Manifest::read(&file)?))).collect()
}

/// The installed plugin called `name`: its folder, and its manifest if it has one.
///
/// # Errors
/// `Error::Plugin` for a manifest that is not valid.
pub(super) fn find(name: &str) -> Result<Option<(PathBuf, Option<Manifest>)>, CliError> {
    let Some(path) = path_of(name) else { return Ok(None) };
    let file = path.join(manifest::FILE);
    match (file.is_file(), path.join(ABOUT).is_file()) {
        (true, _) => Ok(Some((path, Some(Manifest::read(&file)?)))),
        (false, true) => Ok(Some((path, None))),
        (false, false) => Ok(None),
    }
}

/// The folder of the plugin `name`. `None` for a name that is no plain name, so that it stays inside the folder.
pub(super) fn path_of(name: &str) -> Option<PathBuf> {
    let plain = Path::new(name).file_name().is_some_and(|file| file == name) && !name.starts_with('.');
    folder().filter(|_| plain).map(|folder| folder.join(name))
}

/// Installs the plugin `spec`, whose component or folder is `from`, in place of one with its name. `source` is where it was
/// downloaded. Returns its folder.
///
/// # Errors
/// A `CliError` of usage for the name of a built-in plugin or without a data folder; `CliError::File`.
pub(crate) fn add(
    from: &Path,
    spec: &PluginSpec,
    stages: &[Stage],
    digest: &str,
    source: Option<&str>,
) -> Result<PathBuf, CliError> {
    let name = &spec.name;
    if super::is_builtin(name) {
        return Err(CliError::usage(format!(
            "\"{name}\" is the name of a built-in plugin; choose another id in plugin.toml"
        )));
    }
    let ComponentSource::Path(component) = &spec.source else {
        return Err(CliError::usage(format!("\"{name}\" is no file")));
    };
    let folder =
        path_of(name).ok_or_else(|| CliError::usage("there is no data folder; set FIREBOX_DATA to a folder"))?;
    let write = |path: &Path| {
        let path = path.display().to_string();
        move |source| CliError::File { action: "write", path, source }
    };
    let beside = if from.is_dir() { from.join(manifest::FILE) } else { from.with_file_name(manifest::FILE) };
    let own =
        Manifest::beside(component)?.map(|_| std::fs::read_to_string(&beside)).transpose().map_err(write(&beside))?;
    let fresh = folder.with_file_name(format!(".{name}.new"));
    if fresh.exists() {
        std::fs::remove_dir_all(&fresh).map_err(write(&fresh))?;
    }
    std::fs::create_dir_all(&fresh).map_err(write(&fresh))?;
    std::fs::copy(component, fresh.join(format!("{name}.wasm"))).map_err(write(&fresh))?;
    let names: Vec<String> = stages.iter().map(|stage| format!("\"{stage}\"")).collect();
    let bare = format!("id = \"{name}\"\nversion = \"0.0.0\"\nstages = [{}]\n", names.join(", "));
    let (file, text) = own.map_or((ABOUT, bare), |own| (manifest::FILE, own));
    std::fs::write(fresh.join(file), text).map_err(write(&fresh))?;
    if let Some(source) = source {
        std::fs::write(fresh.join("source"), format!("{source}\n")).map_err(write(&fresh))?;
    }
    let signature = signature::path_of(component);
    if signature.is_file() {
        std::fs::copy(&signature, fresh.join(format!("{name}.wasm.sig"))).map_err(write(&fresh))?;
    }
    std::fs::write(fresh.join("sha256"), format!("{digest}\n")).map_err(write(&fresh))?;
    if folder.exists() {
        std::fs::remove_dir_all(&folder).map_err(write(&folder))?;
    }
    std::fs::rename(&fresh, &folder).map_err(write(&folder))?;
    Ok(folder)
}

/// Removes the installed plugin `name`.
///
/// # Errors
/// A `CliError` of usage if it is not installed, `CliError::File`.
pub(crate) fn remove(name: &str) -> Result<(), CliError> {
    let Some(folder) = path_of(name).filter(|path| path.is_dir()) else {
        let shown = manifest::shown(name);
        return Err(CliError::usage(format!("\"{shown}\" is not installed; see firebox plugins list")));
    };
    std::fs::remove_dir_all(&folder).map_err(|source| CliError::File {
        action: "remove",
        path: folder.display().to_string(),
        source,
    })
}
