//! Plugins in Python, with componentize-py.

use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

use super::{Language, NewProject, Project, toolchain, wit};
use crate::error::CliError;

/// The version of componentize-py that builds.
const VERSION: &str = "0.25.1";

pub(super) const LANGUAGE: Language = Language { name: "python", source: "app.py", marker: "app.py", files, build };

fn files(project: &NewProject) -> Vec<(String, String)> {
    let mut files = vec![(LANGUAGE.source.to_owned(), project.source(LANGUAGE.name))];
    files.extend(wit::folder(project));
    files
}

fn build(project: &Project, notes: &mut dyn Write) -> Result<Vec<u8>, CliError> {
    let tool = tool(notes)?;
    writeln!(
        notes,
        "firebox: building \"{}\" with componentize-py {VERSION}; it takes about 15 s of CPU time …",
        project.name
    )?;
    let out = super::scratch()?;
    let component = out.path().join("plugin.wasm");
    let mut command = Command::new(tool);
    command.current_dir(&project.folder).args(["-d", "wit", "-w", "plugin", "componentize"]);
    // Without WASI the plugin imports only the interfaces of its world. Requests need the streams and clocks of WASI.
    if !wit::imports_http(project) {
        command.arg("--stub-wasi");
    }
    command.args(["app", "-o"]);
    toolchain::run(command.arg(&component), "building the component", notes)?;
    toolchain::read(&component)
}

/// The program componentize-py, from an environment of its own in the cache.
fn tool(notes: &mut dyn Write) -> Result<PathBuf, CliError> {
    toolchain::require(
        "python3",
        "install Python 3.10 or newer, for example with: sudo apt install python3 python3-venv",
    )?;
    let name = format!("componentize-py-{VERSION}");
    let scripts = if cfg!(windows) { "Scripts" } else { "bin" };
    let folder = toolchain::cached(&name, "it downloads 40 MB from PyPI", notes, |folder, notes| {
        let mut venv = Command::new("python3");
        let doing = "making a Python environment (on Debian it needs: sudo apt install python3-venv)";
        toolchain::run(venv.args(["-m", "venv"]).arg(folder.join("venv")), doing, notes)?;
        let mut pip = Command::new(folder.join("venv").join(scripts).join("python"));
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
        toolchain::run(pip.arg(format!("componentize-py=={VERSION}")), "installing componentize-py from PyPI", notes)
    })?;
    Ok(folder.join("venv").join(scripts).join("componentize-py"))
}
