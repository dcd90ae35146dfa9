//! Writes lines to the host's log. Outside WebAssembly, in tests, they go to standard error.

pub use crate::bindings::base::firebox::plugin::log::Level;

/// Writes one line.
pub fn write(level: Level, message: &str) {
    #[cfg(target_arch = "wasm32")]
    crate::bindings::base::firebox::plugin::log::write(level, message);
    #[cfg(not(target_arch = "wasm32"))]
    {
        use std::io::Write;
        // If standard error is closed, the line is lost.
        let _ = writeln!(std::io::stderr(), "{level:?}: {message}");
    }
}

/// Writes one line at the most detailed level.
pub fn trace(message: impl AsRef<str>) {
    write(Level::Trace, message.as_ref());
}

/// Writes one line for the plugin's author.
pub fn debug(message: impl AsRef<str>) {
    write(Level::Debug, message.as_ref());
}

/// Writes one line for the operator.
pub fn info(message: impl AsRef<str>) {
    write(Level::Info, message.as_ref());
}

/// Writes one line about a problem that did not stop the work.
pub fn warn(message: impl AsRef<str>) {
    write(Level::Warn, message.as_ref());
}

/// Writes one line about a failure.
pub fn error(message: impl AsRef<str>) {
    write(Level::Error, message.as_ref());
}
