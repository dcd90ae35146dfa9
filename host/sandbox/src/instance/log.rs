//! The lines that a plugin logged and the host has not read yet, bounded in lines and bytes.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use firebox_contract::LogLine;
use firebox_contract::limits;

use crate::capabilities::secrets::InstanceSecrets;

/// The log of one instance. Clones share it: the guest has one and the host has one. So the host can read it after the guest
/// is gone.
#[derive(Debug, Clone, Default)]
pub(crate) struct PluginLog(Arc<Mutex<LogBuffer>>);

#[derive(Debug, Default)]
struct LogBuffer {
    lines: Vec<(&'static str, String)>,
    /// Lines dropped since the last reading, because the buffer had too many lines.
    dropped: u64,
    /// Bytes of all lines so far, including those that were read.
    bytes: usize,
    /// Whether the byte limit was reached. The last line of the log says so.
    is_full: bool,
    last_error: Option<String>,
    /// What no line shows.
    hidden: Option<Arc<InstanceSecrets>>,
}

impl PluginLog {
    fn buffer(&self) -> MutexGuard<'_, LogBuffer> {
        // A panic under the lock leaves complete lines, so the buffer is still valid.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores one line, cut at `limits::PLUGIN_LOG_LINE_BYTES_MAX`. Beyond `limits::PLUGIN_LOG_LINES_MAX` unread lines it only
    /// counts the line. Beyond `limits::PLUGIN_LOG_BYTES_MAX` bytes in total it drops the line.
    pub(crate) fn write(&self, level: &'static str, message: &str) {
        let mut buffer = self.buffer();
        let hidden = buffer.hidden.clone();
        let message = match &hidden {
            Some(secrets) => secrets.scanner.redact(message),
            None => Cow::Borrowed(message),
        };
        let message = cut(&message, limits::PLUGIN_LOG_LINE_BYTES_MAX);
        if level == "error" {
            buffer.last_error = Some(message.to_owned());
        }
        if buffer.lines.len() >= limits::PLUGIN_LOG_LINES_MAX {
            buffer.dropped = buffer.dropped.saturating_add(1);
        } else if buffer.bytes.saturating_add(message.len()) <= limits::PLUGIN_LOG_BYTES_MAX {
            buffer.bytes += message.len();
            buffer.lines.push((level, message.to_owned()));
        } else if !std::mem::replace(&mut buffer.is_full, true) {
            let limit = limits::PLUGIN_LOG_BYTES_MAX;
            buffer.lines.push((
                "warn",
                format!("the plugin has logged {limit} bytes, the limit of a request; further lines are dropped"),
            ));
        }
    }

    /// Hides `secrets` in all later lines.
    pub(crate) fn hide(&self, secrets: Arc<InstanceSecrets>) {
        self.buffer().hidden = Some(secrets);
    }

    /// Forgets the last error, at the start of a call.
    pub(crate) fn rearm(&self) {
        self.buffer().last_error = None;
    }

    /// The last line logged as an error since `rearm`. If the guest trapped after it, the line is the panic's message.
    pub(crate) fn last_error(&self) -> Option<String> {
        self.buffer().last_error.clone()
    }

    /// Removes and returns the unread lines, with `plugin` as their source.
    pub(crate) fn take(&self, plugin: &str) -> Vec<LogLine> {
        let (lines, dropped) = {
            let mut buffer = self.buffer();
            (std::mem::take(&mut buffer.lines), std::mem::take(&mut buffer.dropped))
        };
        let line = |(level, message)| LogLine { plugin: plugin.to_owned(), level, message };
        let mut taken: Vec<LogLine> = lines.into_iter().map(line).collect();
        if dropped > 0 {
            taken.push(line(("warn", format!("{dropped} more lines were logged and dropped"))));
        }
        taken
    }
}

/// The longest prefix of `text` with at most `max` bytes that ends at a character boundary.
pub(crate) fn cut(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_is_cut_at_a_character_boundary() {
        let log = PluginLog::default();
        log.write("info", &"é".repeat(limits::PLUGIN_LOG_LINE_BYTES_MAX));
        let line = log.take("p").remove(0);
        assert_eq!(line.message.len(), limits::PLUGIN_LOG_LINE_BYTES_MAX);
        assert_eq!(cut("aé", 2), "a");
    }

    #[test]
    fn lines_beyond_the_limit_are_counted() {
        let log = PluginLog::default();
        for _ in 0..limits::PLUGIN_LOG_LINES_MAX + 7 {
            log.write("debug", "x");
        }
        let taken = log.take("p");
        assert_eq!(taken.len(), limits::PLUGIN_LOG_LINES_MAX + 1);
        assert!(taken.last().is_some_and(|line| line.message.starts_with("7 more")));
        assert!(log.take("p").is_empty());
    }

    #[test]
    fn the_bytes_of_a_request_are_bounded_however_often_the_log_is_read() {
        let log = PluginLog::default();
        let line = "x".repeat(limits::PLUGIN_LOG_LINE_BYTES_MAX);
        let mut lines = Vec::new();
        for _ in 0..10 * limits::PLUGIN_LOG_BYTES_MAX / line.len() {
            log.write("info", &line);
            lines.extend(log.take("p"));
        }
        assert_eq!(lines.len(), limits::PLUGIN_LOG_BYTES_MAX / line.len() + 1, "and one line that says so");
        assert!(
            lines.last().is_some_and(|line| line.level == "warn" && line.message.contains("further lines are dropped"))
        );
        log.write("error", "last words");
        assert_eq!(log.last_error().as_deref(), Some("last words"), "a fault still has its reason");
    }

    #[test]
    fn only_an_error_of_the_current_call_is_its_last_error() {
        let log = PluginLog::default();
        log.write("error", "old");
        log.rearm();
        log.write("warn", "hm");
        assert_eq!(log.last_error(), None);
        log.write("error", "panicked");
        assert_eq!(log.last_error().as_deref(), Some("panicked"));
    }
}
