//! `firebox rerank`: sorts documents by their relevance to a query.

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal as _, Write as _};
use std::path::PathBuf;

use firebox_contract::{Encoder, EncoderTask, EncoderText, Error, limits};
use firebox_models::LoadOptions;
use serde_json::json;

use super::pipeline::input::{InputFormat, InputTexts};
use crate::cli::options::hub::HubOptions;
use crate::cli::options::{DeviceOptions, QuantizeOption, ThreadOptions};
use crate::cli::output::table::TextTable;
use crate::cli::{Io, output};
use crate::error::CliError;
use crate::host::device::open_device;
use crate::host::quantized;

/// Characters of a document in the table.
const SHOWN_CHARACTERS: usize = 100;

/// Sort documents by their relevance to a query, with a cross-encoder.
#[derive(clap::Args)]
pub struct Args {
    /// The cross-encoder: a folder with config.json, tokenizer.json and safetensors, a .gguf file, or org/name of a hub
    #[arg(short, long, value_name = "PATH|NAME")]
    model: PathBuf,
    #[command(flatten)]
    hub: HubOptions,
    /// The query
    query: String,
    /// The documents [default: the lines of standard input]
    documents: Vec<String>,
    /// Read a document from each line of FILE; - reads standard input
    #[arg(long, value_name = "FILE", conflicts_with = "documents")]
    input: Option<PathBuf>,
    /// Print only the N most relevant documents
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    top_n: Option<u32>,
    /// Print one JSON object, in the shape of /v1/rerank
    #[arg(long)]
    json: bool,
    /// Cut query and document to N tokens together [default and maximum: the model's own limit]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_length: Option<u32>,
    /// Put the prompt NAME of the model before the query, instead of its default prompt
    #[arg(long, value_name = "NAME")]
    prompt_name: Option<String>,
    #[command(flatten)]
    quantize: QuantizeOption,
    #[command(flatten)]
    device: DeviceOptions,
    #[command(flatten)]
    threads: ThreadOptions,
}

/// A document and its score.
struct ScoredDocument {
    index: usize,
    score: f32,
    tokens: usize,
}

/// Runs the command.
///
/// # Errors
/// `Usage` for wrong arguments and a model that is no cross-encoder, `Model` for a model or device that fails.
pub fn run(args: Args, io: &mut Io) -> Result<(), CliError> {
    let documents = documents(&args)?;
    if args.query.is_empty() || documents.is_empty() {
        let message = "a query and at least one document are needed: firebox rerank -m PATH \"the query\" \"a document\" \"another\"";
        return Err(CliError::usage(message));
    }
    let choice = args.device.device.parse().map_err(Error::from)?;
    let device = open_device(&choice)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = runtime.block_on(args.hub.get(&args.model))?;
    let notice = crate::cli::notice();
    let checkpoint = quantized::open(&local.path, args.quantize.quantize, &|line| notice.send(line))?;
    let options = LoadOptions {
        device_name: Some(device.info.to_string()),
        threads: args.threads.count(),
        ..LoadOptions::default()
    };
    let mut encoder = firebox_models::load_encoder(&checkpoint, &device.device, options).map_err(Error::from)?;
    for note in device.notes.iter().cloned().chain(checkpoint.warnings().list()) {
        writeln!(io.err, "firebox: {note}")?;
    }
    let mut scored = score(&mut *encoder, &args, &documents)?;
    scored.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.index.cmp(&b.index)));
    let tokens: usize = scored.iter().map(|row| row.tokens).sum();
    scored.truncate(args.top_n.map_or(usize::MAX, |count| count as usize));
    if args.json {
        print_json(&encoder.info().name, &scored, &documents, tokens, io)
    } else {
        print_table(&scored, &documents, io)
    }
}

/// The documents: arguments, or lines of a file or of standard input.
fn documents(args: &Args) -> Result<Vec<String>, CliError> {
    let reader: Box<dyn BufRead + Send> = match &args.input {
        None if !args.documents.is_empty() || io::stdin().is_terminal() => return Ok(args.documents.clone()),
        None => Box::new(BufReader::new(io::stdin())),
        Some(path) if path.as_os_str() == "-" => Box::new(BufReader::new(io::stdin())),
        Some(path) => {
            let failed = |source| CliError::File { action: "read", path: path.display().to_string(), source };
            let file = File::open(path).map_err(failed)?;
            if file.metadata().map_err(failed)?.is_dir() {
                return Err(failed(io::ErrorKind::IsADirectory.into()));
            }
            Box::new(BufReader::new(file))
        }
    };
    let failed = |source| {
        let path = args.input.as_ref().map_or_else(|| "standard input".to_owned(), |path| path.display().to_string());
        CliError::File { action: "read", path, source }
    };
    let (mut texts, mut documents) = (InputTexts::new(reader, InputFormat::Lines), Vec::new());
    while let Some(text) = texts.next_text().map_err(failed)? {
        let (count, bytes) = (limits::RERANK_TEXTS_MAX, limits::RERANK_INPUT_BYTES_MAX);
        if documents.len() >= count || texts.bytes_read() > bytes {
            let message = format!("there are more than {count} documents or {bytes} bytes; rank fewer at a time");
            return Err(CliError::usage(message));
        }
        documents.push(text.map_err(|bad| CliError::usage(bad.to_string()))?.text);
    }
    Ok(documents)
}

/// Scores all documents, the longest first, so that a batch has documents of similar length.
fn score(encoder: &mut dyn Encoder, args: &Args, documents: &[String]) -> Result<Vec<ScoredDocument>, Error> {
    let profile = encoder.profile().clone();
    if profile.task != EncoderTask::Rank {
        let name = &encoder.info().name;
        return Err(Error::Usage(format!(
            "model \"{name}\" makes embeddings and no scores; use it with firebox embed"
        )));
    }
    let prompt = profile.prompt(args.prompt_name.as_deref())?;
    let max_tokens = args.max_length.map(|tokens| tokens as usize);
    let pair = |text| EncoderText { prompt, query: Some(args.query.as_str()), text, max_tokens };
    let mut lengths = Vec::with_capacity(documents.len());
    for (index, text) in documents.iter().enumerate() {
        lengths.push((encoder.count_tokens(&pair(text))?, index));
    }
    lengths.sort_unstable_by_key(|&(tokens, index)| (std::cmp::Reverse(tokens), index));
    let mut scored = Vec::with_capacity(documents.len());
    for batch in lengths.chunks(limits::EMBED_BATCH_TEXTS_DEFAULT) {
        let texts: Vec<EncoderText<'_>> =
            batch.iter().filter_map(|(_, index)| documents.get(*index)).map(|text| pair(text)).collect();
        for ((_, index), encoding) in batch.iter().zip(encoder.encode(&texts)?) {
            let score = encoding.embedding.first().copied();
            let score = score.ok_or_else(|| Error::Model("the model returned no score".to_owned()))?;
            scored.push(ScoredDocument { index: *index, score, tokens: encoding.tokens });
        }
    }
    Ok(scored)
}

fn print_table(scored: &[ScoredDocument], documents: &[String], io: &mut Io) -> Result<(), CliError> {
    let mut table = TextTable::new(&["SCORE", "INDEX", "DOCUMENT"]);
    for row in scored {
        let text = documents.get(row.index).map(|text| output::line(text, SHOWN_CHARACTERS)).unwrap_or_default();
        table.row(vec![format!("{:.4}", row.score), row.index.to_string(), text]);
    }
    Ok(write!(io.out, "{table}")?)
}

fn print_json(
    model: &str,
    scored: &[ScoredDocument],
    documents: &[String],
    tokens: usize,
    io: &mut Io,
) -> Result<(), CliError> {
    let row = |row: &ScoredDocument| json!({"index": row.index, "relevance_score": row.score, "document": {"text": documents.get(row.index)}});
    let results: Vec<_> = scored.iter().map(row).collect();
    let usage = json!({"prompt_tokens": tokens, "total_tokens": tokens});
    let answer = json!({"object": "list", "model": model, "results": results, "usage": usage});
    Ok(writeln!(io.out, "{answer}")?)
}
