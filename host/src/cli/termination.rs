//! SIGTERM and SIGHUP for verbs that start MCP servers: they end in order, their servers with them, and a terminal is as it
//! was.
//!
//! Line editing puts the terminal into raw mode and waits in a call of its own, so that only an interrupt reaches it.
//! From the signal on the process therefore interrupts itself, more than once, since an interrupt can come between the
//! moment in which a line is begun and the one in which it is waited for. A process that cannot end in order, since it
//! writes to somebody who does not read, ends all the same after a while.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use firebox_contract::limits;
use tokio::runtime::Runtime;

/// The exit code that shells show for a process that SIGTERM ended.
const ENDED_BY_SIGTERM: i32 = 143;

/// Whether the system has asked this process to end. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Termination(Arc<AtomicBool>);

impl Termination {
    pub(crate) fn is_asked(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// Listens from now on, and for as long as `runtime` runs.
    ///
    /// # Errors
    /// The system has no room for another handler.
    #[cfg(unix)]
    pub(crate) fn listen(&self, runtime: &Runtime) -> io::Result<()> {
        use tokio::signal::unix::{SignalKind, signal};

        let _inside = runtime.enter();
        let mut terminate = signal(SignalKind::terminate())?;
        // What was started to outlive its terminal (nohup) does.
        let mut hangup = match is_hangup_ignored() {
            true => None,
            false => Some(signal(SignalKind::hangup())?),
        };
        // Once taken, interrupts stay taken: one that nobody waits for must not end the process before it is tidy.
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
            let late = Instant::now() + limits::CLI_TERMINATION_MAX;
            loop {
                if Instant::now() >= late {
                    std::process::exit(ENDED_BY_SIGTERM);
                }
                // To the process, not to this thread: the system gives it to the main one, which waits for the line.
                let _known = nix::sys::signal::kill(nix::unistd::Pid::this(), nix::sys::signal::Signal::SIGINT);
                tokio::time::sleep(limits::CHAT_TERMINATION_PERIOD).await;
            }
        });
        Ok(())
    }

    /// Windows ends a process without asking it.
    #[cfg(not(unix))]
    pub(crate) fn listen(&self, _: &Runtime) -> io::Result<()> {
        Ok(())
    }
}

/// Whether SIGHUP is ignored; where the system does not say so, it counts as ignored and is left alone.
#[cfg(unix)]
fn is_hangup_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // The lowest bit is the first signal, SIGHUP.
    mask.is_none_or(|mask| mask & 1 == 1)
}
