//! `firebox plugins watch`: builds a project again after each change, and runs its cases.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::Args as ClapArgs;
use firebox_contract::limits;
#[cfg(unix)]
use nix::sys::signal::{self, Signal};
#[cfg(unix)]
use nix::unistd::Pid;

use super::cases;
use crate::cli::Io;
use crate::error::CliError;
use crate::plugins::project::Project;

/// Build a project again after each change, and run its cases. The next `firebox run` has the new component.
#[derive(ClapArgs, Debug)]
pub(super) struct Args {
    /// The folder of the project
    #[arg(value_name = "PATH", default_value = ".")]
    path: PathBuf,
    /// After each build whose cases pass, let the server with this process id read its plugins again (SIGHUP)
    #[cfg(unix)]
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(i32).range(1..))]
    reload: Option<i32>,
    /// End if nothing changes for this many seconds
    #[arg(long, value_name = "N")]
    idle: Option<u64>,
}

/// Runs the command.
///
/// # Errors
/// A folder that is no project. Errors of a build are printed, and the next change builds again.
pub(super) fn run(args: Args, io: &mut Io) -> Result<(), CliError> {
    let project = Project::open(&args.path)?;
    let mut seen = BTreeMap::new();
    let mut still = std::time::Duration::ZERO;
    loop {
        let now = files(&args.path);
        if now != seen {
            still = std::time::Duration::ZERO;
            // Taken before the build, so that a change during the build is not missed.
            seen = now;
            if build(&project, io)? {
                #[cfg(unix)]
                reload(args.reload, io)?;
            }
            writeln!(io.err, "firebox: waiting for changes in \"{}\"; press Ctrl-C to stop", args.path.display())?;
        }
        if args.idle.is_some_and(|idle| still.as_secs() >= idle) {
            return Ok(());
        }
        std::thread::sleep(limits::PLUGIN_WATCH_PERIOD);
        still += limits::PLUGIN_WATCH_PERIOD;
    }
}

/// Tells the server to read its configuration and its plugins again.
#[cfg(unix)]
fn reload(server: Option<i32>, io: &mut Io) -> Result<(), CliError> {
    let Some(server) = server else { return Ok(()) };
    match signal::kill(Pid::from_raw(server), Signal::SIGHUP) {
        Ok(()) => writeln!(io.err, "firebox: process {server} reads its plugins again")?,
        Err(error) => writeln!(io.err, "firebox: process {server} cannot be told to reload: {error}")?,
    }
    Ok(())
}

/// Builds, and runs the cases if there are some. Errors are printed. Returns whether there was none.
fn build(project: &Project, io: &mut Io) -> Result<bool, CliError> {
    let built = project.build(&mut io.err);
    let result = built.and_then(|path| {
        writeln!(io.out, "built {}", path.display())?;
        if project.folder.join(cases::FILE).is_file() { cases::run_project(&project.folder, io) } else { Ok(()) }
    });
    let is_good = result.is_ok();
    match result {
        Ok(()) => {}
        Err(error @ CliError::Output(_)) => return Err(error),
        Err(error) => writeln!(io.err, "firebox: {error}")?,
    }
    io.out.flush()?;
    Ok(is_good)
}

/// The files of a project that an author writes, with the times of their last change.
fn files(folder: &Path) -> BTreeMap<PathBuf, SystemTime> {
    let mut found = BTreeMap::new();
    let mut folders = vec![(folder.to_owned(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        // A file that vanishes while the folder is read is seen at the next look.
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            let name = name.to_string_lossy();
            let made = name == "target" || name == "__pycache__" || name == "node_modules" || name.starts_with('.');
            if made || path.extension().is_some_and(|end| end == "wasm" || end == "new" || end == "lock") {
                continue;
            }
            let Ok(about) = entry.metadata() else { continue };
            if about.is_dir() && depth < limits::PLUGIN_WATCH_DEPTH_MAX {
                folders.push((path, depth + 1));
            } else if let Ok(time) = about.modified()
                && found.len() < limits::PLUGIN_WATCH_FILES_MAX
            {
                found.insert(path, time);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_build_writes_is_no_change() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            std::fs::write(path, "x").expect("written");
        };
        write("src/lib.rs");
        let before = files(folder.path());
        assert_eq!(before.len(), 1);
        for name in ["target/x/y.d", "shout.wasm", "shout.wasm.new", "Cargo.lock", ".git/index", "__pycache__/app.pyc"]
        {
            write(name);
        }
        assert_eq!(files(folder.path()), before);
        write("wit/plugin.wit");
        assert_ne!(files(folder.path()), before);
    }
}
