//! Embeds any number of texts in constant memory.
//!
//! Texts are read in windows. Within a window they are sorted by length, so that batches have little padding, and written in
//! the order of the input.

pub mod input;
pub mod output;

#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use firebox_contract::{Encoder, EncoderText, Encoding, ErrorKind, VectorForm, limits};

use input::{BadLine, InputText, InputTexts};
use output::{EmbeddedRow, EmbeddingSink};

/// The options of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmbedOptions {
    /// The number of texts of a batch.
    pub batch: usize,
    /// The number of tokens at which texts are truncated. The model's own limit applies in any case.
    pub max_tokens: Option<usize>,
    /// A prefix for each text; empty for none.
    pub prompt: String,
    /// The form of the vectors.
    pub form: VectorForm,
    /// Whether an invalid line is counted and skipped instead of ending the run.
    pub skip_bad_lines: bool,
}

/// The result of a run, or its progress.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct EmbedSummary {
    /// The number of texts that were embedded and written.
    pub texts: u64,
    /// The tokens of these texts, after truncation.
    pub tokens: u64,
    /// The number of skipped lines.
    pub skipped: u64,
    /// The bytes of input whose texts are done.
    pub bytes_read: u64,
    /// The time since the start.
    pub took: Duration,
}

/// The reason why a run ended early.
#[derive(Debug, thiserror::Error)]
pub enum EmbedError {
    /// A line of the input is invalid.
    #[error("{0}; use \"--on-error skip\" to skip invalid lines")]
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
    /// The run was interrupted.
    #[error("interrupted; nothing was written")]
    Interrupted,
}

impl EmbedOptions {
    fn of<'a>(&'a self, text: &'a InputText) -> EncoderText<'a> {
        EncoderText { prompt: &self.prompt, query: None, text: &text.text, max_tokens: self.max_tokens }
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

/// Embeds every text of `texts` and writes the vectors to `sink`.
///
/// # Errors
/// The first error. The output written so far is incomplete then.
pub fn embed(
    encoder: &mut dyn Encoder,
    mut texts: InputTexts<'_>,
    sink: &mut dyn EmbeddingSink,
    options: &EmbedOptions,
    control: &mut RunControl<'_>,
) -> Result<EmbedSummary, EmbedError> {
    let started = Instant::now();
    let mut summary = EmbedSummary::default();
    loop {
        let window = read_window(&mut texts, options, &mut summary, control.stop)?;
        if window.is_empty() {
            sink.finish()?;
            summary.took = started.elapsed();
            return Ok(summary);
        }
        let (before, after, first) = (summary.bytes_read, texts.bytes_read(), summary.texts);
        let rows = embed_window(encoder, &window, options, &mut |batch: &[EmbeddedRow]| {
            summary.texts += batch.len() as u64;
            summary.tokens += batch.iter().map(|row| row.encoding.tokens as u64).sum::<u64>();
            summary.bytes_read = before + (after - before) * (summary.texts - first) / window.len() as u64;
            summary.took = started.elapsed();
            (control.progress)(&summary);
            if control.stop.load(Ordering::Relaxed) { Err(EmbedError::Interrupted) } else { Ok(()) }
        })?;
        sink.write(&window, &rows)?;
    }
}

/// The control of a run by its caller.
pub struct RunControl<'a> {
    /// Ends the run when it is true.
    pub stop: &'a AtomicBool,
    /// Called after each batch.
    pub progress: &'a mut dyn FnMut(&EmbedSummary),
}

/// The next texts in order, at most `limits::EMBED_WINDOW_TEXTS` and about `limits::EMBED_WINDOW_BYTES_MAX` bytes; empty at
/// the end of the input.
fn read_window(
    texts: &mut InputTexts<'_>,
    options: &EmbedOptions,
    summary: &mut EmbedSummary,
    stop: &AtomicBool,
) -> Result<Vec<InputText>, EmbedError> {
    let mut window: Vec<InputText> = Vec::new();
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

/// Embeds a window. Returns the rows in the order of `window`, and calls `after_batch` after each batch.
fn embed_window(
    encoder: &mut dyn Encoder,
    window: &[InputText],
    options: &EmbedOptions,
    after_batch: &mut dyn FnMut(&[EmbeddedRow]) -> Result<(), EmbedError>,
) -> Result<Vec<EmbeddedRow>, EmbedError> {
    let mut lengths = Vec::with_capacity(window.len());
    for (index, text) in window.iter().enumerate() {
        lengths.push((encoder.count_tokens(&options.of(text))?, index));
    }
    // Longest first, so that a batch that does not fit into memory fails at the start.
    lengths.sort_unstable_by_key(|&(tokens, index)| (std::cmp::Reverse(tokens), index));
    let mut rows: Vec<(usize, EmbeddedRow)> = Vec::with_capacity(window.len());
    for batch in lengths.chunks(options.batch.max(1)) {
        let indices = batch.iter().map(|&(_, index)| index);
        let texts: Vec<_> =
            indices.clone().filter_map(|index| window.get(index)).map(|text| options.of(text)).collect();
        let done = embed_batch(encoder, &texts, options)?;
        after_batch(&done)?;
        rows.extend(indices.zip(done));
    }
    rows.sort_unstable_by_key(|&(index, _)| index);
    Ok(rows.into_iter().map(|(_, row)| row).collect())
}

fn embed_batch(
    encoder: &mut dyn Encoder,
    texts: &[EncoderText<'_>],
    options: &EmbedOptions,
) -> Result<Vec<EmbeddedRow>, EmbedError> {
    let started = Instant::now();
    let mut encodings = encoder.encode(texts)?;
    let milliseconds = started.elapsed().as_secs_f64() * 1e3 / texts.len().max(1) as f64;
    check(&encodings, texts.len(), encoder.profile().width)?;
    encodings.iter_mut().for_each(|encoding| options.form.apply(&mut encoding.embedding));
    Ok(encodings.into_iter().map(|encoding| EmbeddedRow { encoding, milliseconds }).collect())
}

/// Checks the shape of the encoder's result: a wrong number of vectors would assign them to the wrong texts.
fn check(encodings: &[Encoding], texts: usize, dimensions: usize) -> Result<(), EmbedError> {
    let fits = encodings.len() == texts && encodings.iter().all(|encoding| encoding.embedding.len() == dimensions);
    if fits {
        return Ok(());
    }
    let message = format!("the model did not return {texts} vectors of {dimensions} numbers");
    Err(EmbedError::Model(firebox_contract::Error::Model(message)))
}
