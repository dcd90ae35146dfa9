//! The `firebox` binary: parses, runs one verb, maps its error to an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    firebox::cli::main()
}
