//! Embeds a stream of texts of any length in constant memory, in the order it came.
//!
//! Texts are read a window at a time, sorted by length within it so that batches carry little padding, and written back
//! in the order of the input.

pub mod input;
pub mod output;

#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use firebox_contract::{Encoder, EncoderText, Encoding, ErrorKind, VectorForm, limits};

use input::{BadLine, Text, Texts};
use output::{Row, Sink};

/// How texts are embedded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Texts of one forward pass.
    pub batch: usize,
    /// Tokens after which a text is cut; the model's own limit applies in any case.
    pub max_tokens: Option<usize>,
    /// Stands before each text; empty for none.
    pub prompt: String,
    /// What becomes of each vector.
    pub form: VectorForm,
    /// Whether a bad line is counted and passed over, or ends the run.
    pub skip_bad_lines: bool,
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Summary {
    /// Texts embedded and written.
    pub texts: u64,
    /// Their tokens, after truncation.
    pub tokens: u64,
    /// Bad lines passed over.
    pub skipped: u64,
    /// Bytes of input whose texts are done.
    pub bytes_read: u64,
    /// Time since the first line was read.
    pub took: Duration,
}

/// Why a run ended early.
#[derive(Debug, thiserror::Error)]
pub enum EmbedError {
    /// The input is not what it should be.
    #[error("{0}; \"--on-error skip\" passes over such lines")]
    BadLine(#[from] BadLine),
    /// The input cannot be read.
    #[error("reading the input failed: {0}")]
    Read(#[source] std::io::Error),
    /// The output cannot be written.
    #[error("writing the output failed: {0}")]
    Write(String),
    /// The model failed.
    #[error(transparent)]
    Model(#[from] firebox_contract::Error),
    /// Someone stopped it.
    #[error("interrupted; nothing was written")]
    Interrupted,
}

impl Options {
    fn of<'a>(&'a self, text: &'a Text) -> EncoderText<'a> {
        EncoderText { prompt: &self.prompt, text: &text.text, max_tokens: self.max_tokens }
    }
}

impl EmbedError {
    /// The kind, from which the exit code follows.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::BadLine(_) | Self::Read(_) => ErrorKind::Usage,
            Self::Write(_) => ErrorKind::Internal,
            Self::Model(error) => error.kind(),
            Self::Interrupted => ErrorKind::Interrupted,
        }
    }
}

/// Embeds every text of `texts` into `sink`. `progress` hears after each batch; `stop` is looked at before each.
///
/// # Errors
/// The first fault, with nothing to be kept of what the sink got so far.
pub fn embed(
    encoder: &mut dyn Encoder,
    mut texts: Texts<'_>,
    sink: &mut dyn Sink,
    options: &Options,
    watch: &mut Watch<'_>,
) -> Result<Summary, EmbedError> {
    let started = Instant::now();
    let mut summary = Summary::default();
    loop {
        let window = read_window(&mut texts, options, &mut summary, watch.stop)?;
        if window.is_empty() {
            sink.finish()?;
            summary.took = started.elapsed();
            return Ok(summary);
        }
        let (before, after, first) = (summary.bytes_read, texts.bytes_read(), summary.texts);
        let rows = embed_window(encoder, &window, options, &mut |batch: &[Row]| {
            summary.texts += batch.len() as u64;
            summary.tokens += batch.iter().map(|row| row.encoding.tokens as u64).sum::<u64>();
            summary.bytes_read = before + (after - before) * (summary.texts - first) / window.len() as u64;
            summary.took = started.elapsed();
            (watch.progress)(&summary);
            if watch.stop.load(Ordering::Relaxed) { Err(EmbedError::Interrupted) } else { Ok(()) }
        })?;
        sink.write(&window, &rows)?;
    }
}

/// The run's connection to whoever waits for it.
pub struct Watch<'a> {
    /// Set to end the run.
    pub stop: &'a AtomicBool,
    /// Called after each batch.
    pub progress: &'a mut dyn FnMut(&Summary),
}

/// The next texts, in order; empty at the end of the input. Bounded in texts and in bytes.
fn read_window(
    texts: &mut Texts<'_>,
    options: &Options,
    summary: &mut Summary,
    stop: &AtomicBool,
) -> Result<Vec<Text>, EmbedError> {
    let mut window: Vec<Text> = Vec::new();
    let mut bytes = 0;
    while window.len() < limits::EMBED_WINDOW_TEXTS && bytes < limits::EMBED_WINDOW_BYTES_MAX {
        if stop.load(Ordering::Relaxed) {
            return Err(EmbedError::Interrupted);
        }
        match texts.next_text().map_err(EmbedError::Read)? {
            None => break,
            Some(Ok(text)) => {
                bytes += text.text.len();
                window.push(text);
            }
            Some(Err(_)) if options.skip_bad_lines => summary.skipped += 1,
            Some(Err(bad)) => return Err(bad.into()),
        }
    }
    Ok(window)
}

/// Rows in the order of `window`, `after_batch` being told of each batch.
fn embed_window(
    encoder: &mut dyn Encoder,
    window: &[Text],
    options: &Options,
    after_batch: &mut dyn FnMut(&[Row]) -> Result<(), EmbedError>,
) -> Result<Vec<Row>, EmbedError> {
    let mut lengths = Vec::with_capacity(window.len());
    for (place, text) in window.iter().enumerate() {
        lengths.push((encoder.count_tokens(&options.of(text))?, place));
    }
    // Longest first: what does not fit into memory fails at once, not after an hour.
    lengths.sort_unstable_by_key(|&(tokens, place)| (std::cmp::Reverse(tokens), place));
    let mut rows: Vec<(usize, Row)> = Vec::with_capacity(window.len());
    for batch in lengths.chunks(options.batch.max(1)) {
        let places = batch.iter().map(|&(_, place)| place);
        let texts: Vec<_> = places.clone().filter_map(|place| window.get(place)).map(|text| options.of(text)).collect();
        let done = embed_batch(encoder, &texts, options)?;
        after_batch(&done)?;
        rows.extend(places.zip(done));
    }
    rows.sort_unstable_by_key(|&(place, _)| place);
    Ok(rows.into_iter().map(|(_, row)| row).collect())
}

fn embed_batch(
    encoder: &mut dyn Encoder,
    texts: &[EncoderText<'_>],
    options: &Options,
) -> Result<Vec<Row>, EmbedError> {
    let started = Instant::now();
    let mut encodings = encoder.encode(texts)?;
    let milliseconds = started.elapsed().as_secs_f64() * 1e3 / texts.len().max(1) as f64;
    check(&encodings, texts.len(), encoder.profile().width)?;
    encodings.iter_mut().for_each(|encoding| options.form.apply(&mut encoding.embedding));
    Ok(encodings.into_iter().map(|encoding| Row { encoding, milliseconds }).collect())
}

/// An encoder is trusted with speed, not with shapes: a wrong count would put vectors beside the wrong texts.
fn check(encodings: &[Encoding], texts: usize, dimensions: usize) -> Result<(), EmbedError> {
    let fits = encodings.len() == texts && encodings.iter().all(|encoding| encoding.embedding.len() == dimensions);
    if fits {
        return Ok(());
    }
    let message = format!("the model did not return {texts} vectors of {dimensions} numbers as it promised");
    Err(EmbedError::Model(firebox_contract::Error::Model(message)))
}
