//! Programs of toolchains: whether they are there, and how they run.

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use firebox_contract::limits;

use super::failed;
use crate::cli::output;
use crate::error::CliError;
use crate::system::directories::cache_dir;

/// Time between two looks at a program that runs.
const POLL_PERIOD: Duration = Duration::from_millis(50);

/// Whether `program` is a path to a file, or in a folder of `PATH`.
pub(super) fn is_there(program: &OsStr) -> bool {
    let path = Path::new(program);
    if path.components().count() > 1 {
        return path.is_file();
    }
    let folders = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&folders).any(|folder| {
        folder.join(path).is_file() || (cfg!(windows) && folder.join(path).with_extension("exe").is_file())
    })
}

/// # Errors
/// A `CliError` of usage with `remedy`, if `program` is not there.
pub(super) fn require(program: &str, remedy: &str) -> Result<(), CliError> {
    if is_there(OsStr::new(program)) {
        return Ok(());
    }
    Err(CliError::usage(format!("there is no program \"{program}\" in PATH; {remedy}")))
}

/// Runs `command`, whose output goes to standard error, and notes every few seconds that it still runs. A program that runs for
/// too long is stopped.
///
/// # Errors
/// `Error::Plugin` with `doing`, if it cannot start, fails, or takes too long.
pub(super) fn run(command: &mut Command, doing: &str, notes: &mut dyn Write) -> Result<(), CliError> {
    let begun = Instant::now();
    let program = command.get_program().to_string_lossy().into_owned();
    // What a toolchain prints is for people. Standard output is for the results of this program.
    let mut child = command
        .stdin(Stdio::null())
        .stdout(output::stderr_of_child())
        .spawn()
        .map_err(|error| failed(format!("{doing} failed: \"{program}\" cannot be started: {error}")))?;
    let mut next = limits::PLUGIN_BUILD_NOTICE_PERIOD;
    loop {
        let ended = child.try_wait().map_err(|error| failed(format!("{doing} failed: {error}")))?;
        if let Some(status) = ended {
            let failure = || failed(format!("{doing} failed: \"{program}\" ended with {status}; its output is above"));
            return if status.success() { Ok(()) } else { Err(failure()) };
        }
        let elapsed = begun.elapsed();
        if elapsed >= limits::PLUGIN_BUILD_TIME_MAX {
            // A program that has just ended cannot be stopped, which is all right.
            let _ignored = child.kill();
            let _ignored = child.wait();
            let minutes = limits::PLUGIN_BUILD_TIME_MAX.as_secs() / 60;
            return Err(failed(format!("{doing} takes more than {minutes} minutes; it was stopped")));
        }
        if elapsed >= next {
            next += limits::PLUGIN_BUILD_NOTICE_PERIOD;
            writeln!(notes, "firebox: {doing}: {} s so far …", elapsed.as_secs())?;
        }
        std::thread::sleep(POLL_PERIOD);
    }
}

/// The folder of the toolchain `name` in the cache. If it is not there, `fill` makes it; `about` says what that takes.
///
/// # Errors
/// A `CliError` of usage without a cache folder, `CliError::File` if it cannot be written, and the errors of `fill`.
pub(super) fn cached(
    name: &str,
    about: &str,
    notes: &mut dyn Write,
    fill: impl FnOnce(&Path, &mut dyn Write) -> Result<(), CliError>,
) -> Result<PathBuf, CliError> {
    let none = || CliError::usage("there is no folder for toolchains; set FIREBOX_CACHE to a folder");
    let above = cache_dir("toolchains").ok_or_else(none)?;
    let folder = above.join(name);
    let complete = folder.join("complete");
    let refused = |source| CliError::File { action: "write", path: folder.display().to_string(), source };
    std::fs::create_dir_all(&above).map_err(refused)?;
    // Two builds at the same time would write over each other.
    let lock = std::fs::File::create(above.join(format!("{name}.lock"))).map_err(refused)?;
    lock.lock().map_err(refused)?;
    if complete.exists() {
        return Ok(folder);
    }
    writeln!(notes, "firebox: setting up {name} in \"{}\", once; {about}", folder.display())?;
    if folder.exists() {
        std::fs::remove_dir_all(&folder).map_err(refused)?;
    }
    std::fs::create_dir_all(&folder).map_err(refused)?;
    fill(&folder, notes)?;
    std::fs::write(&complete, "").map_err(refused)?;
    Ok(folder)
}

/// The component that a toolchain wrote to `path`.
///
/// # Errors
/// `Error::Plugin`, if it cannot be read.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, CliError> {
    firebox_sandbox::read_file(path, limits::PLUGIN_COMPONENT_BYTES_MAX)
        .map_err(|error| failed(format!("the component \"{}\" cannot be read: {error}", path.display())))
}
