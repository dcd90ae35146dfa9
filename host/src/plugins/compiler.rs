//! This program as the compiler of plugins: a process that compiles one component under limits, and ends.

use std::io;
use std::process::ExitCode;
use std::sync::OnceLock;

use firebox_sandbox::CompilerCommand;

/// The argument that makes this program a compiler.
const VERB: &str = "compile-plugin";

/// Set once this program is known to understand `VERB`.
static COMMAND: OnceLock<Option<CompilerCommand>> = OnceLock::new();

/// To be called first thing in `main`, before anything else is done with the arguments. Where this process was started to
/// compile a plugin, it does so and gives the code to exit with. Otherwise plugins of this program are compiled in such
/// processes from now on. A program that never calls it compiles plugins itself, and takes only smaller ones.
#[must_use]
pub fn init() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|verb| verb == VERB) && arguments.next().is_none() {
        let output = crate::cli::output::binary_stdout();
        let compiled = output.map(|output| firebox_sandbox::compile_component(io::stdin().lock(), output.lock()));
        return Some(if matches!(compiled, Some(Ok(()))) { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    COMMAND.get_or_init(this_program);
    None
}

/// How a plugin is compiled in a process of its own, where this program can do that.
#[must_use]
pub fn command() -> Option<CompilerCommand> {
    COMMAND.get().cloned().flatten()
}

fn this_program() -> Option<CompilerCommand> {
    // The kernel's own link leads to the program that runs, even where its file was replaced meanwhile.
    let running = std::path::PathBuf::from("/proc/self/exe");
    let program = if running.exists() { running } else { std::env::current_exe().ok()? };
    Some(CompilerCommand { program, arguments: vec![VERB.into()] })
}
