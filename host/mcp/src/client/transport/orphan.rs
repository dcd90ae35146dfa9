//! Ends a child process when this process ends for any reason.

use tokio::process::Command;

/// Asks the system to kill the child of `command` when the thread that starts it ends, and so also when this process is killed.
/// Servers are started by threads of the runtime, which live as long as the servers.
#[cfg(target_os = "linux")]
pub(in crate::client) fn end_with_this_process(command: &mut Command) {
    let tie = || {
        let signal = rustix::process::Signal::KILL;
        rustix::process::set_parent_process_death_signal(Some(signal)).map_err(std::io::Error::from)
    };
    // SAFETY: between fork and exec the closure makes one system call. It neither allocates nor takes a lock.
    unsafe { command.pre_exec(tie) };
}

/// On other systems a server notices the end of this process by the end of its input.
#[cfg(not(target_os = "linux"))]
pub(in crate::client) fn end_with_this_process(_: &mut Command) {}
