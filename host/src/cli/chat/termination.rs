//! SIGTERM while a person is at the terminal: the chat ends in order, and the terminal is as it was.
//!
//! Line editing puts the terminal into raw mode and waits in a call of its own, so that only an interrupt reaches it.
//! From SIGTERM on the process therefore interrupts itself, more than once, since an interrupt can come between the
//! moment in which a line is begun and the one in which it is waited for.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::runtime::Runtime;

/// Whether the system has asked this process to end. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Termination(Arc<AtomicBool>);

impl Termination {
    pub(super) fn is_asked(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// Listens from now on, and for as long as `runtime` runs.
    ///
    /// # Errors
    /// The system has no room for another handler.
    #[cfg(unix)]
    pub(super) fn listen(&self, runtime: &Runtime) -> io::Result<()> {
        use tokio::signal::unix::{SignalKind, signal};

        let _inside = runtime.enter();
        let mut terminate = signal(SignalKind::terminate())?;
        // Once taken, interrupts stay taken: one that nobody waits for must not end the process before it is tidy.
        let _taken = signal(SignalKind::interrupt())?;
        let asked = Arc::clone(&self.0);
        runtime.spawn(async move {
            terminate.recv().await;
            asked.store(true, Ordering::Release);
            loop {
                // To the process, not to this thread: the system gives it to the main one, which waits for the line.
                let _known = nix::sys::signal::kill(nix::unistd::Pid::this(), nix::sys::signal::Signal::SIGINT);
                tokio::time::sleep(firebox_contract::limits::CHAT_TERMINATION_PERIOD).await;
            }
        });
        Ok(())
    }

    /// Windows ends a process without asking it.
    #[cfg(not(unix))]
    pub(super) fn listen(&self, _: &Runtime) -> io::Result<()> {
        Ok(())
    }
}
