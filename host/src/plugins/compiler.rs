//! Compiles plugins in child processes: this program, started with a hidden argument, compiles one component and exits.

use std::io;
use std::process::ExitCode;
use std::sync::OnceLock;

use firebox_sandbox::CompilerCommand;

/// The argument that makes this program a compiler.
const ARGUMENT: &str = "compile-plugin";

/// Set once `init` was called, because only then this program understands `ARGUMENT`.
static COMMAND: OnceLock<Option<CompilerCommand>> = OnceLock::new();

/// Call this first in `main`. If this process was started to compile a plugin, it compiles it and returns the exit code.
/// Otherwise it returns `None`, and plugins are compiled in child processes from now on. A program that does not call it
/// compiles plugins in its own process, with a lower size limit.
#[must_use]
pub fn init() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|verb| verb == ARGUMENT) && arguments.next().is_none() {
        let output = crate::cli::output::binary_stdout();
        let compiled = output.map(|output| firebox_sandbox::compile_component(io::stdin().lock(), output.lock()));
        return Some(if matches!(compiled, Some(Ok(()))) { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    COMMAND.get_or_init(this_program);
    None
}

/// The command that compiles a plugin in a child process; `None` if [`init`] was not called.
#[must_use]
pub fn command() -> Option<CompilerCommand> {
    COMMAND.get().cloned().flatten()
}

fn this_program() -> Option<CompilerCommand> {
    // This link leads to the running program, even if its file was replaced.
    let running = std::path::PathBuf::from("/proc/self/exe");
    let program = if running.exists() { running } else { std::env::current_exe().ok()? };
    Some(CompilerCommand { program, arguments: vec![ARGUMENT.into()] })
}
