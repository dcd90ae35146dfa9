//! Plugins in Rust, with the SDK. The project has the SDK's source in it, of exactly this host's version, so it needs
//! neither a clone of the host nor a published SDK.

use std::io::{BufRead as _, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::{Language, NewProject, Project, failed, toolchain, wit};
use crate::error::CliError;

pub(super) const LANGUAGE: Language =
    Language { name: "rust", source: "src/lib.rs", marker: "Cargo.toml", files, build };

/// The target that plugins are built for. A component for it imports nothing but the interfaces of its stages.
const TARGET: &str = "wasm32-unknown-unknown";

macro_rules! sdk {
    ($($name:literal),*) => {
        /// The sources of the SDK: name and text.
        const SDK: &[(&str, &str)] =
            &[$(($name, include_str!(concat!("../../../../plugins/sdk/src/", $name)))),*];
    };
}

sdk!(
    "arguments.rs",
    "bindings.rs",
    "instance.rs",
    "json.rs",
    "keyvalue.rs",
    "kv.rs",
    "lib.rs",
    "log.rs",
    "model.rs",
    "progress.rs",
    "tool.rs",
    "vocabulary.rs"
);

fn files(project: &NewProject) -> Vec<(String, String)> {
    let cargo = include_str!("../../../../plugins/templates/rust/Cargo.toml.template");
    let linker = include_str!("../../../../plugins/.cargo/config.toml");
    let mut files = vec![
        (LANGUAGE.source.to_owned(), project.source(LANGUAGE.name)),
        ("Cargo.toml".to_owned(), project.filled(cargo)),
        (".cargo/config.toml".to_owned(), linker.to_owned()),
        ("firebox-sdk/Cargo.toml".to_owned(), sdk_manifest()),
    ];
    files.extend(SDK.iter().map(|(name, text)| (format!("firebox-sdk/src/{name}"), (*text).to_owned())));
    files.extend(
        wit::FILES
            .iter()
            .chain(wit::DEPENDENCIES)
            .map(|(name, text)| (format!("firebox-sdk/wit/{name}"), (*text).to_owned())),
    );
    files.push(("firebox-sdk/wit/v0.2/prompt.wit".to_owned(), wit::NEWER_PROMPT.to_owned()));
    files
}

/// The manifest of the SDK without the workspace that it is developed in.
fn sdk_manifest() -> String {
    let own = include_str!("../../../../plugins/sdk/Cargo.toml");
    let dependencies =
        own.split("[dependencies]\n").nth(1).and_then(|rest| rest.split("\n[").next()).unwrap_or_default();
    let version = env!("CARGO_PKG_VERSION");
    format!(
        "# The SDK of firebox {version}. With a published SDK of this version, write in ../Cargo.toml instead:\n\
         # firebox-sdk = \"{version}\"\n[package]\nname = \"firebox-sdk\"\nversion = \"{version}\"\nedition = \"2024\"\n\
         license = \"Apache-2.0 OR MIT\"\npublish = false\n\n[dependencies]\n{dependencies}"
    )
}

fn build(project: &Project, notes: &mut dyn Write) -> Result<Vec<u8>, CliError> {
    toolchain::require("cargo", "install Rust from https://rustup.rs")?;
    require_target(&project.folder)?;
    writeln!(notes, "firebox: building \"{}\" with cargo; the first build compiles the SDK …", project.name)?;
    let mut command = Command::new("cargo");
    command.current_dir(&project.folder).args(["build", "--release", "--target", TARGET]);
    command.arg("--message-format=json-render-diagnostics");
    let built = artifact(&mut command)?;
    toolchain::read(&built)
}

/// # Errors
/// A `CliError` of usage, if the compiler that cargo uses in `folder` has no standard library for [`TARGET`].
fn require_target(folder: &Path) -> Result<(), CliError> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let asked = Command::new(rustc).current_dir(folder).args(["--print", "target-libdir", "--target", TARGET]).output();
    let asked = asked.map_err(|error| {
        CliError::usage(format!("rustc cannot be started: {error}; install Rust from https://rustup.rs"))
    })?;
    let libraries = PathBuf::from(String::from_utf8_lossy(&asked.stdout).trim());
    let has_std = std::fs::read_dir(libraries)
        .is_ok_and(|entries| entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("libstd-")));
    if has_std {
        return Ok(());
    }
    Err(CliError::usage(format!("the Rust compiler cannot build for {TARGET} yet; run: rustup target add {TARGET}")))
}

/// Runs cargo, and returns the library that it built.
fn artifact(command: &mut Command) -> Result<PathBuf, CliError> {
    let cannot = |error| failed(format!("cargo cannot be started: {error}"));
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().map_err(cannot)?;
    let mut found = None;
    for line in child.stdout.take().into_iter().flat_map(|out| BufReader::new(out).lines()).map_while(Result::ok) {
        let Ok(message) = serde_json::from_str::<Value>(&line) else { continue };
        let is_library =
            message["target"]["kind"].as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind == "cdylib"));
        if message["reason"] == "compiler-artifact" && is_library {
            let files = message["filenames"].as_array().into_iter().flatten().filter_map(Value::as_str);
            found = files.filter(|file| file.ends_with(".wasm")).map(PathBuf::from).next_back().or(found);
        }
    }
    let status = child.wait().map_err(|error| failed(format!("cargo did not end: {error}")))?;
    if !status.success() {
        return Err(failed("the build failed; the errors of the compiler are above"));
    }
    found.ok_or_else(|| failed("cargo built no component; Cargo.toml needs crate-type = [\"cdylib\"] in [lib]"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sdk_in_a_project_is_complete_and_needs_nothing_outside_of_it() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/plugins/sdk/src");
        let mut names: Vec<String> = std::fs::read_dir(folder)
            .expect("a folder")
            .map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        assert_eq!(SDK.iter().map(|file| file.0).collect::<Vec<_>>(), names);
        let manifest = sdk_manifest();
        assert!(manifest.contains("wit-bindgen = ") && !manifest.contains("workspace"), "{manifest}");
        for (name, text) in SDK {
            assert!(!text.contains("\"../"), "{name} names a path outside of the SDK");
        }
    }
}
