//! SIGTERM and SIGHUP for commands that start MCP servers. The command stops its servers and restores the terminal.
//!
//! Line editing waits in a system call that only SIGINT ends. After SIGTERM or SIGHUP the process therefore sends SIGINT to
//! itself. It repeats this, because a signal that comes before the call is lost. If the process does not end within
//! [`limits::CLI_TERMINATION_MAX`], because it writes to a reader that does not read, it exits.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use firebox_contract::limits;
use tokio::runtime::Runtime;

/// The exit code that shells report for a process that SIGTERM ended.
const ENDED_BY_SIGTERM: i32 = 143;

/// Whether SIGTERM or SIGHUP came. Clones share the state.
#[derive(Clone, Default)]
pub(crate) struct Termination(Arc<AtomicBool>);

impl Termination {
    pub(crate) fn is_asked(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// Handles the signals from now on, as long as `runtime` runs.
    ///
    /// # Errors
    /// If the system cannot install a handler.
    #[cfg(unix)]
    pub(crate) fn listen(&self, runtime: &Runtime) -> io::Result<()> {
        use tokio::signal::unix::{SignalKind, signal};

        let _inside = runtime.enter();
        let mut terminate = signal(SignalKind::terminate())?;
        // A process that was started with nohup ignores SIGHUP.
        let mut hangup = match is_hangup_ignored() {
            true => None,
            false => Some(signal(SignalKind::hangup())?),
        };
        // SIGINT is handled from now on, so that the signals sent below do not end the process.
        let _taken = signal(SignalKind::interrupt())?;
        let asked = Arc::clone(&self.0);
        runtime.spawn(async move {
            let hung_up = async {
                match &mut hangup {
                    Some(hangup) => hangup.recv().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = terminate.recv() => {}
                _ = hung_up => {}
            }
            asked.store(true, Ordering::Release);
            let deadline = Instant::now() + limits::CLI_TERMINATION_MAX;
            loop {
                if Instant::now() >= deadline {
                    std::process::exit(ENDED_BY_SIGTERM);
                }
                // To the process and not to this thread: the system delivers it to the main thread, which waits for the line.
                let _ignored = nix::sys::signal::kill(nix::unistd::Pid::this(), nix::sys::signal::Signal::SIGINT);
                tokio::time::sleep(limits::CHAT_TERMINATION_PERIOD).await;
            }
        });
        Ok(())
    }

    /// Windows has no such signals.
    #[cfg(not(unix))]
    pub(crate) fn listen(&self, _: &Runtime) -> io::Result<()> {
        Ok(())
    }
}

/// Whether SIGHUP is ignored. If the system does not tell, it counts as ignored.
#[cfg(unix)]
fn is_hangup_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // The lowest bit is the first signal, SIGHUP.
    mask.is_none_or(|mask| mask & 1 == 1)
}
