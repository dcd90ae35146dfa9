//! The progress of a download: a bar on a terminal, else a line from time to time.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use firebox_contract::limits;
use firebox_hub::{ModelName, PullEvent};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::cli::output::line;

/// Where the progress of a download is shown.
pub(crate) enum DownloadOutput {
    /// A bar on the terminal, and lines above it.
    Bar,
    /// Lines. The receiver adds the name of the program.
    Lines(Box<dyn Fn(&str) + Send + Sync>),
}

/// Shows the steps of one download.
pub(crate) struct DownloadDisplay {
    name: String,
    output: DownloadOutput,
    bar: ProgressBar,
    state: Mutex<DownloadState>,
}

/// What was downloaded so far.
struct DownloadState {
    total: u64,
    /// Bytes when the measurement of the rate began, and that time.
    begin: (u64, Instant),
    printed: Instant,
}

impl DownloadDisplay {
    /// A display for the download of `name`.
    pub(crate) fn new(name: &ModelName, output: DownloadOutput) -> Self {
        let bar = match output {
            DownloadOutput::Bar => bar(),
            DownloadOutput::Lines(_) => ProgressBar::hidden(),
        };
        let now = Instant::now();
        let state = Mutex::new(DownloadState { total: 0, begin: (0, now), printed: now });
        Self { name: line(&name.to_string(), limits::HUB_SHOWN_CHARACTERS_MAX), output, bar, state }
    }

    /// Shows a step.
    pub(crate) fn show(&self, event: &PullEvent<'_>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            PullEvent::Started { files, bytes: total, cached, .. } => {
                state.total = *total;
                state.begin = (*cached, Instant::now());
                self.bar.set_length(*total);
                self.bar.set_position(*cached);
                self.bar.reset_eta();
                if cached < total {
                    let (name, files, total, cached) =
                        (&self.name, files_text(*files), size_text(*total), size_text(*cached));
                    self.print(&format!("downloading {name}: {files}, {total}, {cached} of it in the cache"));
                }
            }
            PullEvent::File { path, .. } => self.bar.set_message(line(path, FILE_CHARACTERS)),
            PullEvent::Bytes { done } => {
                self.bar.set_position(*done);
                if state.printed.elapsed() >= limits::HUB_PROGRESS_PERIOD {
                    state.printed = Instant::now();
                    self.progress(&state, *done);
                }
            }
            PullEvent::Retry { why, wait } => {
                let seconds = wait.as_secs_f64();
                self.print(&format!("{why}; trying again in {seconds:.1} s"));
            }
            PullEvent::Waiting { path } => self.print(&format!("another process downloads \"{path}\"; waiting for it")),
            PullEvent::Note { text } => self.print(text),
        }
    }

    /// Ends the bar.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn print(&self, text: &str) {
        match &self.output {
            DownloadOutput::Lines(print) => print(text),
            DownloadOutput::Bar => {
                let text = line(text, limits::CLI_MESSAGE_BYTES_MAX);
                self.bar.println(format!("firebox: {text}"));
            }
        }
    }

    fn progress(&self, state: &DownloadState, done: u64) {
        if let DownloadOutput::Lines(print) = &self.output {
            print(&format!("{}: {}", self.name, describe(state.total, done, state.begin.0, state.begin.1.elapsed())));
        }
    }
}

/// Characters of the path of a file next to the bar.
const FILE_CHARACTERS: usize = 40;

/// How far a download is, its rate and the time left.
fn describe(total: u64, done: u64, from: u64, took: Duration) -> String {
    let rate = done.saturating_sub(from) as f64 / took.as_secs_f64().max(1e-3);
    let percent = done as f64 * 100.0 / total.max(1) as f64;
    let left = total.saturating_sub(done) as f64 / rate.max(1.0);
    format!("{percent:.0} % of {} ({}/s, about {left:.0} s left)", size_text(total), size_text(rate as u64))
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::new(0);
    bar.set_draw_target(ProgressDrawTarget::stderr());
    let template =
        "{bar:30} {percent:>3}% {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec} (about {eta} left) {msg}";
    // The template is a constant. An invalid one would leave the default style.
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

/// A number of files for people.
pub(crate) fn files_text(count: usize) -> String {
    if count == 1 { "1 file".to_owned() } else { format!("{count} files") }
}

/// A number of bytes for people, as disks and hubs write it: `98.7 MB`.
pub(crate) fn size_text(count: u64) -> String {
    const UNITS: [(u64, &str); 4] =
        [(1_000_000_000_000, "TB"), (1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB")];
    let unit = UNITS.iter().find(|unit| count >= unit.0);
    unit.map_or_else(|| format!("{count} B"), |(size, name)| format!("{:.1} {name}", count as f64 / *size as f64))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn progress_has_rate_and_time_left() {
        let text = describe(100_000_000, 60_000_000, 20_000_000, Duration::from_secs(4));
        assert_eq!(text, "60 % of 100.0 MB (10.0 MB/s, about 4 s left)");
        assert_eq!(describe(0, 0, 0, Duration::ZERO), "0 % of 0 B (0 B/s, about 0 s left)");
    }

    #[test]
    fn texts_of_the_hub_are_lines() {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&lines);
        let print = move |line: &str| sink.lock().expect("not poisoned").push(line.to_owned());
        let name = "org/name:Q8_0".parse().expect("a name");
        let display = DownloadDisplay::new(&name, DownloadOutput::Lines(Box::new(print)));
        display.show(&PullEvent::Started { commit: "c", files: 1, bytes: 2_000_000, cached: 500_000 });
        display.show(&PullEvent::Bytes { done: 1_000_000 });
        display.show(&PullEvent::Retry { why: "\"hub\" answered with status 503", wait: Duration::from_millis(500) });
        display.finish();
        let lines = lines.lock().expect("not poisoned");
        assert_eq!(lines[0], "downloading org/name:Q8_0: 1 file, 2.0 MB, 500.0 kB of it in the cache");
        assert_eq!(lines[1..], ["\"hub\" answered with status 503; trying again in 0.5 s"]);
    }
}
