//! Plugins in JavaScript, with componentize-qjs: the QuickJS engine and the source in one component.

use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

use super::{Language, NewProject, Project, toolchain, wit};
use crate::error::CliError;

/// The version of componentize-qjs that builds.
const VERSION: &str = "0.4.5";

pub(super) const LANGUAGE: Language = Language { name: "js", source: "plugin.js", marker: "plugin.js", files, build };

fn files(project: &NewProject) -> Vec<(String, String)> {
    let mut files = vec![(LANGUAGE.source.to_owned(), project.source(LANGUAGE.name))];
    files.extend(wit::folder(project));
    files
}

fn build(project: &Project, notes: &mut dyn Write) -> Result<Vec<u8>, CliError> {
    if wit::imports_http(project) {
        // It stands in for WASI while it prepares the component, and the handles of wasi:http are not those of its stand-ins.
        return Err(CliError::usage(format!(
            "componentize-qjs {VERSION} cannot build a plugin that imports wasi:http; write it in Rust or Python"
        )));
    }
    let tool = tool(notes)?;
    writeln!(notes, "firebox: building \"{}\" with componentize-qjs {VERSION} …", project.name)?;
    let out = super::scratch()?;
    let component = out.path().join("plugin.wasm");
    let mut command = Command::new("node");
    command.current_dir(&project.folder).arg(tool);
    // Without WASI the plugin imports only the interfaces of its world. Its functions are not asynchronous.
    command.args(["-w", "wit", "-n", "plugin", "-j", LANGUAGE.source, "--stub-wasi", "--sync", "--opt-size", "-o"]);
    toolchain::run(command.arg(&component), "building the component", notes)?;
    toolchain::read(&component)
}

/// The script componentize-qjs, from a folder of its own in the cache.
fn tool(notes: &mut dyn Write) -> Result<PathBuf, CliError> {
    let remedy = "install Node.js 20 or newer from https://nodejs.org, or with: sudo apt install nodejs npm";
    toolchain::require("node", remedy)?;
    toolchain::require("npm", remedy)?;
    let name = format!("componentize-qjs-{VERSION}");
    let folder = toolchain::cached(&name, "it downloads 15 MB from npm", notes, |folder, notes| {
        let manifest = folder.join("package.json");
        let refused = |source| CliError::File { action: "write", path: manifest.display().to_string(), source };
        std::fs::write(&manifest, "{\"private\": true}\n").map_err(refused)?;
        let mut npm = Command::new("npm");
        npm.current_dir(folder).args(["install", "--no-audit", "--no-fund", "--loglevel=error"]);
        toolchain::run(npm.arg(format!("componentize-qjs@{VERSION}")), "installing componentize-qjs from npm", notes)
    })?;
    Ok(folder.join("node_modules/componentize-qjs/bin/componentize-qjs"))
}
