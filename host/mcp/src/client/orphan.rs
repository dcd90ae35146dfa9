//! A server that does not outlive this process, however that ends.

use tokio::process::Command;

/// Has the system kill what `command` starts when the thread that starts it ends, as it does with its process, also where
/// nothing of this process runs any more. Threads of the runtime, which start servers, last as long as the servers do.
#[cfg(target_os = "linux")]
pub(super) fn end_with_this_process(command: &mut Command) {
    let tie = || {
        let signal = rustix::process::Signal::KILL;
        rustix::process::set_parent_process_death_signal(Some(signal)).map_err(std::io::Error::from)
    };
    // SAFETY: between fork and exec it makes one system call, and neither allocates nor takes a lock.
    unsafe { command.pre_exec(tie) };
}

/// Elsewhere a server learns of it by the end of its input.
#[cfg(not(target_os = "linux"))]
pub(super) fn end_with_this_process(_: &mut Command) {}
