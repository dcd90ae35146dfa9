//! Plugins in C, with clang and the C library for WASI. The project has the bindings of all stages, and the host has the
//! rest of the component, so nothing but a compiler is needed.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::path::Path;
use std::process::Command;

use super::{Language, NewProject, Project, failed, shell, toolchain};
use crate::error::CliError;

pub(super) const LANGUAGE: Language = Language { name: "c", source: "main.c", marker: "main.c", files, build };

/// Components around an empty module with all stages: without capabilities, with those besides HTTP, and with all.
pub(super) const SHELLS: [&[u8]; 3] = [
    include_bytes!("../../../../plugins/templates/c/bindings/shell.wasm"),
    include_bytes!("../../../../plugins/templates/c/bindings/shell-capabilities.wasm"),
    include_bytes!("../../../../plugins/templates/c/bindings/shell-http.wasm"),
];

macro_rules! bindings {
    ($($name:literal),*) => {
        /// The files of every project: name and text.
        const BINDINGS: &[(&str, &str)] = &[$((
            concat!("bindings/", $name),
            include_str!(concat!("../../../../plugins/templates/c/bindings/", $name)),
        )),*];
    };
}

bindings!("firebox.c", "firebox.h", "plugin.c", "plugin.h", "stages.c");

fn files(project: &NewProject) -> Vec<(String, String)> {
    let bindings = BINDINGS.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
    [(LANGUAGE.source.to_owned(), project.source(LANGUAGE.name))].into_iter().chain(bindings).collect()
}

fn build(project: &Project, notes: &mut dyn Write) -> Result<Vec<u8>, CliError> {
    let has_stage = |name: &str| super::STAGES.iter().any(|row| row.name == name);
    if project.stages.is_empty() || !project.stages.iter().all(|stage| has_stage(stage)) {
        let names: Vec<&str> = super::STAGES.iter().map(|row| row.name).collect();
        return Err(CliError::usage(format!(
            "a plugin in C names its stages in plugin.toml, for example stages = [\"text\"]; the stages are {}",
            names.join(", ")
        )));
    }
    let compiler = std::env::var_os("CC").filter(|value| !value.is_empty()).unwrap_or_else(|| "clang".into());
    check_compiler(&compiler)?;
    writeln!(notes, "firebox: building \"{}\" with {} …", project.name, compiler.to_string_lossy())?;
    let out = super::scratch()?;
    let module = out.path().join("plugin.wasm");
    let mut command = start(&compiler, &project.folder);
    // Without this, a function that the source lacks would be one that only stands in for it.
    command.args(project.stages.iter().map(|stage| format!("-DFIREBOX_STAGE_{}", macro_name(stage))));
    command.args(sources(&project.folder)?).arg("-o").arg(&module);
    toolchain::run(&mut command, "compiling", notes)?;
    let names: Vec<String> = project.stages.iter().map(|stage| format!("firebox:plugin/{stage}@0.1.0")).collect();
    let module = toolchain::read(&module)?;
    shell::fill(shell::smallest(&SHELLS, &module).map_err(failed)?, &module, &names).map_err(failed)
}

/// The name of a stage in the names of macros.
fn macro_name(stage: &str) -> String {
    stage.replace('-', "_").to_uppercase()
}

fn start(compiler: &OsStr, folder: &Path) -> Command {
    let mut command = Command::new(compiler);
    command.current_dir(folder).args([
        "--target=wasm32-wasi",
        "-mexec-model=reactor",
        "-Os",
        "-Wall",
        "-Wl,--strip-all",
    ]);
    let flags = std::env::var("CFLAGS").unwrap_or_default();
    command.args(flags.split_whitespace());
    command
}

/// The C files of the project: those beside main.c, and the bindings.
fn sources(folder: &Path) -> Result<Vec<OsString>, CliError> {
    let mut names = Vec::new();
    for below in ["", "bindings"] {
        let path = folder.join(below);
        let refused = |source| CliError::File { action: "read", path: path.display().to_string(), source };
        for entry in std::fs::read_dir(&path).map_err(refused)? {
            let name = entry.map_err(refused)?.file_name();
            if Path::new(&name).extension().is_some_and(|end| end == "c") {
                names.push(Path::new(below).join(name).into_os_string());
            }
        }
    }
    names.sort();
    Ok(names)
}

/// Compiles and links an empty program, so that a missing part of the toolchain is not mistaken for an error of the author.
///
/// # Errors
/// A `CliError` of usage that says what to install.
fn check_compiler(compiler: &OsStr) -> Result<(), CliError> {
    let shown = compiler.to_string_lossy();
    if !toolchain::is_there(compiler) {
        return Err(CliError::usage(format!("there is no program \"{shown}\" in PATH; {}", remedy("14"))));
    }
    let folder = super::scratch()?;
    let source = folder.path().join("probe.c");
    let refused = |source| CliError::File { action: "write", path: folder.path().display().to_string(), source };
    std::fs::write(
        &source,
        "#include <stdlib.h>\n#include <string.h>\nvoid *probe(void) { return malloc(strlen(\"1\")); }\n",
    )
    .map_err(refused)?;
    let mut command = start(compiler, folder.path());
    let probed = command.args(["probe.c", "-o", "probe.wasm"]).output();
    let probed = probed.map_err(|error| failed(format!("\"{shown}\" cannot be started: {error}")))?;
    if probed.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&probed.stderr);
    let lacks = [
        ("stdlib.h", "the C library for WASI"),
        ("crt1-reactor.o", "the C library for WASI"),
        ("wasm-ld", "the linker wasm-ld"),
        ("builtins", "clang's run-time library for wasm32"),
        ("wasm32", "the target wasm32"),
    ];
    let lacking = lacks.iter().find(|row| said.contains(row.0)).map_or("a part that the build needs", |row| row.1);
    let version = Command::new(compiler).arg("-dumpversion").output().ok();
    let version = version.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let major = version.split('.').next().filter(|major| !major.trim().is_empty()).unwrap_or("14");
    let first = said.lines().find(|line| line.contains("error")).unwrap_or_default();
    Err(CliError::usage(format!("\"{shown}\" lacks {lacking} ({first}); {}", remedy(major))))
}

/// How to install the toolchain, with clang of this major version.
fn remedy(major: &str) -> String {
    format!(
        "on Debian or Ubuntu: sudo apt install clang lld wasi-libc libclang-rt-{major}-dev-wasm32; elsewhere install \
         wasi-sdk and set CC to its clang"
    )
}
