//! What a plugin logged and nobody has read yet, bounded in lines and in bytes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use firebox_contract::LogLine;
use firebox_contract::limits;

/// The log of one instance. Clones share it: one is the guest's, one is the host's, and reading works even after the
/// guest is gone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Buffer>>);

#[derive(Debug, Default)]
struct Buffer {
    lines: Vec<(&'static str, String)>,
    dropped: u64,
    /// Bytes of the lines kept so far, those that were read included.
    bytes: usize,
    /// No line is kept any more, and that was said.
    is_full: bool,
    last_error: Option<String>,
}

impl Log {
    fn buffer(&self) -> MutexGuard<'_, Buffer> {
        // A panic while the lock was held leaves whole lines, so the buffer is as good as before.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps one line, cut at `limits::PLUGIN_LOG_LINE_BYTES_MAX`; past `limits::PLUGIN_LOG_LINES_MAX` only counts it, and
    /// past `limits::PLUGIN_LOG_BYTES_MAX` drops it.
    pub(crate) fn write(&self, level: &'static str, message: &str) {
        let message = cut(message, limits::PLUGIN_LOG_LINE_BYTES_MAX);
        let mut buffer = self.buffer();
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
            buffer.lines.push(("warn", format!("it logged {limit} bytes, which is all that is kept of a request")));
        }
    }

    /// Forgets the last error: a new call begins.
    pub(crate) fn rearm(&self) {
        self.buffer().last_error = None;
    }

    /// The last line logged as an error since `rearm`: a panic's message, if the guest then trapped.
    pub(crate) fn last_error(&self) -> Option<String> {
        self.buffer().last_error.clone()
    }

    /// The lines since the last reading, as `plugin`'s.
    pub(crate) fn take(&self, plugin: &str) -> Vec<LogLine> {
        let (lines, dropped) = {
            let mut buffer = self.buffer();
            (std::mem::take(&mut buffer.lines), std::mem::take(&mut buffer.dropped))
        };
        let line = |(level, message)| LogLine { plugin: plugin.to_owned(), level, message };
        let mut taken: Vec<LogLine> = lines.into_iter().map(line).collect();
        if dropped > 0 {
            taken.push(line(("warn", format!("{dropped} more lines were logged and not kept"))));
        }
        taken
    }
}

/// The longest start of `text` of at most `max` bytes that ends between characters.
pub(crate) fn cut(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_is_cut_between_characters() {
        let log = Log::default();
        log.write("info", &"é".repeat(limits::PLUGIN_LOG_LINE_BYTES_MAX));
        let line = log.take("p").remove(0);
        assert_eq!(line.message.len(), limits::PLUGIN_LOG_LINE_BYTES_MAX);
        assert_eq!(cut("aé", 2), "a");
    }

    #[test]
    fn lines_past_the_limit_are_counted() {
        let log = Log::default();
        for _ in 0..limits::PLUGIN_LOG_LINES_MAX + 7 {
            log.write("debug", "x");
        }
        let taken = log.take("p");
        assert_eq!(taken.len(), limits::PLUGIN_LOG_LINES_MAX + 1);
        assert!(taken.last().is_some_and(|line| line.message.starts_with("7 more")));
        assert!(log.take("p").is_empty());
    }

    #[test]
    fn what_a_request_logs_is_bounded_however_often_it_is_read() {
        let log = Log::default();
        let line = "x".repeat(limits::PLUGIN_LOG_LINE_BYTES_MAX);
        let mut kept = Vec::new();
        for _ in 0..10 * limits::PLUGIN_LOG_BYTES_MAX / line.len() {
            log.write("info", &line);
            kept.extend(log.take("p"));
        }
        assert_eq!(kept.len(), limits::PLUGIN_LOG_BYTES_MAX / line.len() + 1, "and a word about it, once");
        assert!(kept.last().is_some_and(|line| line.level == "warn" && line.message.contains("all that is kept")));
        log.write("error", "last words");
        assert_eq!(log.last_error().as_deref(), Some("last words"), "a fault still says why");
    }

    #[test]
    fn only_an_error_of_this_call_counts_as_its_last_words() {
        let log = Log::default();
        log.write("error", "old");
        log.rearm();
        log.write("warn", "hm");
        assert_eq!(log.last_error(), None);
        log.write("error", "panicked");
        assert_eq!(log.last_error().as_deref(), Some("panicked"));
    }
}
