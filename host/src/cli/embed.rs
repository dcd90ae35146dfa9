//! `firebox embed`: computes embeddings of a file of any size.

pub mod pipeline;
pub mod rerank;

use std::fs::File;
use std::io::{self, BufReader, BufWriter};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use firebox_contract::{Encoder, EncoderProfile, EncoderTask, Error, ErrorKind, VectorForm, limits};
use firebox_models::device::Opened;
use firebox_models::{Checkpoint, LoadOptions};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tempfile::{NamedTempFile, TempPath};
use tokio::sync::oneshot;

use super::Io;
use super::options::hub::HubOptions;
use super::options::{DeviceOptions, QuantizeOption, ThreadOptions};
use crate::cli::embed::pipeline::input::{self, InputTexts};
use crate::cli::embed::pipeline::{EmbedError, EmbedOptions, EmbedSummary, RunControl, embed, output};
use crate::error::CliError;
use crate::host::device::open_device;
use crate::host::quantized;

/// Compute embeddings of the lines of a file; writes a Parquet or JSONL file.
#[derive(clap::Args)]
pub struct Args {
    /// The embedding model: a folder with config.json, tokenizer.json and safetensors, a .gguf file, or org/name of a hub
    #[arg(short, long, value_name = "PATH|NAME")]
    model: PathBuf,
    #[command(flatten)]
    hub: HubOptions,
    /// File with one text a line; - reads standard input
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// File for the vectors, .parquet or .jsonl; it is created only when it is complete
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// Read each line as a JSON object and embed its field NAME
    #[arg(long, value_name = "NAME")]
    field: Option<String>,
    /// Texts in one forward pass
    #[arg(long, value_name = "N", default_value_t = limits::EMBED_BATCH_TEXTS_DEFAULT as u64,
          value_parser = clap::value_parser!(u64).range(1..=limits::EMBED_BATCH_TEXTS_MAX as u64))]
    batch: u64,
    /// Scale each vector to unit length
    #[arg(long)]
    normalize: bool,
    /// Cut texts after N tokens [default and maximum: the model's own limit]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_length: Option<u32>,
    /// Put the prompt NAME of the model before each text, instead of its default prompt
    #[arg(long, value_name = "NAME", conflicts_with = "prompt")]
    prompt_name: Option<String>,
    /// Put TEXT before each text, instead of the model's default prompt; "" for none
    #[arg(long, value_name = "TEXT")]
    prompt: Option<String>,
    /// Keep only the first N dimensions of each vector
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    dimensions: Option<u32>,
    /// What to do with a line that is not a valid text
    #[arg(long, value_enum, value_name = "WHAT", default_value_t = OnError::Stop)]
    on_error: OnError,
    #[command(flatten)]
    quantize: QuantizeOption,
    #[command(flatten)]
    device: DeviceOptions,
    #[command(flatten)]
    threads: ThreadOptions,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum OnError {
    /// Stop and report the line
    Stop,
    /// Skip it and count it
    Skip,
}

/// Runs the command.
///
/// # Errors
/// `Usage` for wrong arguments and lines, `Model` for a model or device that fails, `Interrupted` on Ctrl-C. After an error
/// there is no output file.
pub fn run(args: Args, io: &mut Io) -> Result<(), CliError> {
    let format = output_format(&args.output)?;
    let (texts, bytes) = open_input(&args)?;
    let choice = args.device.device.parse().map_err(Error::from)?;
    let device = open_device(&choice)?;
    for note in &device.notes {
        writeln!(io.err, "firebox: {note}")?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Before the partial file exists, so that an interrupt does not leave it behind.
    let mut interrupts = runtime.block_on(async { Interrupts::listen() })?;
    let local = runtime.block_on(async {
        tokio::select! {
            local = args.hub.get(&args.model) => local,
            () = interrupts.next() => Err(CliError::Interrupted),
        }
    })?;
    let (file, partial) = create_partial(&args.output)?;
    let notice = super::notice();
    let checkpoint = quantized::open(&local.path, args.quantize.quantize, &|line| notice.send(line))?;
    let warnings = checkpoint.warnings().clone();
    let job = EmbedJob {
        checkpoint,
        device,
        threads: args.threads.count(),
        texts,
        file,
        format,
        requested: RequestedOptions::of(&args),
        progress: progress_bar(bytes, io.err_is_terminal),
        stop: Arc::new(AtomicBool::new(false)),
    };
    let summary = runtime.block_on(work(job, interrupts));
    for warning in warnings.list() {
        writeln!(io.err, "firebox: {warning}")?;
    }
    let summary = summary?;
    let failed = |error: tempfile::PathPersistError| file_error("write", &args.output, error.error);
    partial.persist(&args.output).map_err(failed)?;
    writeln!(io.err, "firebox: {}", describe(&summary))?;
    Ok(())
}

/// The options of the command line. They are checked against the model once it is loaded.
struct RequestedOptions {
    batch: usize,
    max_tokens: Option<usize>,
    prompt_name: Option<String>,
    prompt: Option<String>,
    dimensions: Option<usize>,
    normalize: bool,
    skip_bad_lines: bool,
}

impl RequestedOptions {
    fn of(args: &Args) -> Self {
        Self {
            batch: usize::try_from(args.batch).unwrap_or(limits::EMBED_BATCH_TEXTS_MAX),
            max_tokens: args.max_length.map(|tokens| tokens as usize),
            prompt_name: args.prompt_name.clone(),
            prompt: args.prompt.clone(),
            dimensions: args.dimensions.map(|numbers| numbers as usize),
            normalize: args.normalize,
            skip_bad_lines: args.on_error == OnError::Skip,
        }
    }

    fn options(self, profile: &EncoderProfile) -> Result<EmbedOptions, Error> {
        if profile.task == EncoderTask::Rank {
            let message =
                "the model is a cross-encoder, which scores documents for a query; use it with firebox rerank";
            return Err(Error::Usage(message.to_owned()));
        }
        let prompt = match self.prompt {
            Some(prompt) => prompt,
            None => profile.prompt(self.prompt_name.as_deref())?.to_owned(),
        };
        let form = VectorForm { dimensions: profile.length(self.dimensions)?, normalize: self.normalize };
        let Self { batch, max_tokens, skip_bad_lines, .. } = self;
        Ok(EmbedOptions { batch, max_tokens, prompt, form, skip_bad_lines })
    }
}

fn output_format(path: &Path) -> Result<output::OutputFormat, CliError> {
    output::OutputFormat::of(path)
        .ok_or_else(|| CliError::usage(format!("output \"{}\" must end in .parquet or .jsonl", path.display())))
}

/// The texts, and their size in bytes if it is known.
fn open_input(args: &Args) -> Result<(InputTexts<'static>, Option<u64>), CliError> {
    let format = match &args.field {
        Some(field) => input::InputFormat::JsonLines { field: field.clone() },
        None => input::InputFormat::Lines,
    };
    if args.input.as_os_str() == "-" {
        return Ok((InputTexts::new(Box::new(BufReader::new(io::stdin())), format), None));
    }
    let failed = |error| file_error("read", &args.input, error);
    let file = File::open(&args.input).map_err(failed)?;
    let about = file.metadata().map_err(failed)?;
    if about.is_dir() {
        return Err(failed(io::ErrorKind::IsADirectory.into()));
    }
    Ok((InputTexts::new(Box::new(BufReader::new(file)), format), about.is_file().then_some(about.len())))
}

/// A temporary file in the folder of the output. Renaming it to the output is one step; otherwise it is removed.
fn create_partial(output: &Path) -> Result<(File, TempPath), CliError> {
    let directory = match output.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(".firebox-embed-").suffix(".partial");
    readable_as_usual(&mut builder);
    let partial: NamedTempFile = builder.tempfile_in(directory).map_err(|error| file_error("write", output, error))?;
    Ok(partial.into_parts())
}

/// Temporary files are readable by their owner only. The output gets the usual permissions of new files.
#[cfg(unix)]
fn readable_as_usual(builder: &mut tempfile::Builder<'_, '_>) {
    use std::os::unix::fs::PermissionsExt as _;
    builder.permissions(std::fs::Permissions::from_mode(0o666));
}

#[cfg(not(unix))]
fn readable_as_usual(_builder: &mut tempfile::Builder<'_, '_>) {}

fn file_error(action: &'static str, path: &Path, source: io::Error) -> CliError {
    CliError::File { action, path: path.display().to_string(), source }
}

/// Everything the embedding thread needs.
struct EmbedJob {
    checkpoint: Checkpoint,
    device: Opened,
    threads: Option<usize>,
    texts: InputTexts<'static>,
    file: File,
    format: output::OutputFormat,
    requested: RequestedOptions,
    progress: ProgressBar,
    stop: Arc<AtomicBool>,
}

/// Runs the job on another thread and waits for its end or an interrupt. A thread that waits for standard input cannot be
/// stopped, so after an interrupt it is left behind.
async fn work(job: EmbedJob, mut interrupts: Interrupts) -> Result<EmbedSummary, CliError> {
    let stop = Arc::clone(&job.stop);
    let (done, mut result) = oneshot::channel();
    thread::Builder::new().name("embed".to_owned()).spawn(move || {
        // After an interrupt there is no receiver.
        let _no_receiver = done.send(job.perform());
    })?;
    tokio::select! {
        result = &mut result => match result {
            Ok(outcome) => Ok(outcome?),
            Err(_) => Err(Error::Internal("the embedding thread stopped; please report this bug".to_owned()).into()),
        },
        () = interrupts.next() => {
            stop.store(true, Ordering::Relaxed);
            let _finished_or_left_behind = tokio::time::timeout(limits::EMBED_INTERRUPT_GRACE, result).await;
            Err(CliError::Interrupted)
        }
    }
}

impl EmbedJob {
    fn perform(self) -> Result<EmbedSummary, EmbedError> {
        let mut encoder = load(&self.checkpoint, &self.device, self.threads)?;
        let options = self.requested.options(encoder.profile())?;
        let mut sink = self.format.sink(BufWriter::new(self.file), options.form.dimensions)?;
        let bar = self.progress;
        let mut show = |summary: &EmbedSummary| {
            bar.set_position(summary.bytes_read);
            bar.set_message(format!("{} texts, {:.1}/s", summary.texts, rate(summary.texts, summary.took)));
        };
        let mut watch = RunControl { stop: &self.stop, progress: &mut show };
        let outcome = embed(&mut *encoder, self.texts, &mut *sink, &options, &mut watch);
        bar.finish_and_clear();
        outcome
    }
}

fn load(checkpoint: &Checkpoint, device: &Opened, threads: Option<usize>) -> Result<Box<dyn Encoder>, Error> {
    let options = LoadOptions { device_name: Some(device.info.to_string()), threads, ..LoadOptions::default() };
    Ok(firebox_models::load_encoder(checkpoint, &device.device, options)?)
}

/// The signals that end the command: Ctrl-C and SIGTERM.
struct Interrupts {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
}

impl Interrupts {
    /// Handles the signals from now on; neither ends the process by itself.
    #[cfg(unix)]
    fn listen() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    #[cfg(unix)]
    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    #[cfg(not(unix))]
    fn listen() -> io::Result<Self> {
        Ok(Self {})
    }

    #[cfg(not(unix))]
    async fn next(&mut self) {
        // On an error the system cannot report interrupts, so none comes.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// A progress bar, if standard error is a terminal.
fn progress_bar(bytes: Option<u64>, is_terminal: bool) -> ProgressBar {
    if !is_terminal {
        return ProgressBar::hidden();
    }
    let (bar, template) = match bytes {
        Some(bytes) => (ProgressBar::new(bytes), "{bar:30} {percent:>3}% {msg} (about {eta} left)"),
        None => (ProgressBar::no_length(), "{spinner} {msg} in {elapsed}"),
    };
    bar.set_draw_target(ProgressDrawTarget::stderr());
    // The templates are constants. An invalid one would leave the default style.
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

fn describe(summary: &EmbedSummary) -> String {
    let EmbedSummary { texts, tokens, skipped, took, .. } = summary;
    let skipped = if *skipped > 0 { format!(", {skipped} invalid lines skipped") } else { String::new() };
    let (seconds, rate) = (took.as_secs_f64(), rate(*texts, *took));
    format!("{texts} texts embedded in {seconds:.1} s ({rate:.1} texts/s, {tokens} tokens{skipped})")
}

fn rate(texts: u64, took: Duration) -> f64 {
    texts as f64 / took.as_secs_f64().max(1e-9)
}

impl From<EmbedError> for CliError {
    fn from(error: EmbedError) -> Self {
        match error.kind() {
            ErrorKind::Interrupted => Self::Interrupted,
            ErrorKind::Usage => Self::usage(error.to_string()),
            ErrorKind::Model => Error::Model(error.to_string()).into(),
            ErrorKind::TooLarge => Error::TooLarge(error.to_string()).into(),
            _ => Error::Internal(error.to_string()).into(),
        }
    }
}
