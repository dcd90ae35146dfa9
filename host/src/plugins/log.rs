//! Writes the log lines of plugins to the server's log.

use firebox_contract::LogLine;

/// Writes `line` of a plugin that ran in the request `request` of `tenant`, at the plugin's level. Levels below `info` are
/// written as `info`, because the log shows nothing below it. The field `level` has the original level.
pub fn write(line: &LogLine, tenant: &str, request: &str) {
    let (plugin, level, message) = (line.plugin.as_str(), line.level, line.message.as_str());
    match level {
        "error" => tracing::error!(request, tenant, plugin, level, message, "plugin"),
        "warn" => tracing::warn!(request, tenant, plugin, level, message, "plugin"),
        _ => tracing::info!(request, tenant, plugin, level, message, "plugin"),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct CapturedLog(Arc<Mutex<Vec<u8>>>);

    impl Write for CapturedLog {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("no panic").write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_has_its_level_tenant_and_request() {
        for (level, shown) in
            [("error", "ERROR"), ("warn", "WARN"), ("info", "INFO"), ("debug", "INFO"), ("trace", "INFO")]
        {
            let lines = CapturedLog::default();
            let writer = lines.clone();
            let log = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
            let line = LogLine { plugin: "p".to_owned(), level, message: "said".to_owned() };
            tracing::subscriber::with_default(log, || write(&line, "acme", "req_1"));
            let text = String::from_utf8(lines.0.lock().expect("no panic").clone()).expect("text");
            for word in [shown, "said", "request=\"req_1\"", "tenant=\"acme\"", &format!("level=\"{level}\"")] {
                assert!(text.contains(word), "{word}: {text}");
            }
        }
    }
}
