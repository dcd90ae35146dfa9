//! `firebox models inspect`.

use std::io::Write as _;
use std::path::PathBuf;

use clap::Args as ClapArgs;
use firebox_contract::{Error, limits};
use firebox_models::{Checkpoint, CheckpointDescription, ModelKind};
use serde_json::json;

use crate::cli::options::KvCacheChoice;
use crate::cli::options::hub::HubOptions;
use crate::cli::{Io, output};
use crate::error::CliError;
use crate::host::download::size_text;
use crate::host::source::ModelSource;

/// Show what a model is: architecture, types, tokenizer, context, and the memory that it needs.
#[derive(ClapArgs, Debug)]
pub(super) struct Args {
    /// A .gguf file, a Hugging Face folder, or a model of the cache: org/name, org/name:Q4_K_M
    #[arg(value_name = "PATH|NAME")]
    model: PathBuf,
    /// Length of the conversation whose memory is shown, in tokens [default: 8192, at most the model's own limit]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=limits::CONTEXT_TOKENS_MAX as i64))]
    context: Option<u32>,
    /// Type of the keys and values whose memory is shown
    #[arg(long, value_enum, value_name = "TYPE", default_value_t = KvCacheChoice::default())]
    kv_cache: KvCacheChoice,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command. Nothing is downloaded.
///
/// # Errors
/// A name that is not in the cache; a checkpoint that cannot be read.
pub(super) fn run(args: Args, io: &mut Io) -> Result<(), CliError> {
    let source = ModelSource::of(&args.model);
    let local = source.find(|| HubOptions::default().hub())?;
    let checkpoint = Checkpoint::open(&local.path).map_err(Error::from)?;
    let found = firebox_models::describe(&checkpoint, args.kv_cache.kind()).map_err(Error::from)?;
    let context =
        args.context.map_or(limits::CONTEXT_TOKENS_DEFAULT, |tokens| tokens as usize).min(found.context_tokens);
    let path = local.path.display().to_string();
    if args.json {
        writeln!(io.out, "{}", json(&found, &path, context))?;
    } else {
        for (name, value) in rows(&found, &path, context) {
            writeln!(io.out, "{name:<14}{}", output::line(&value, limits::CLI_MESSAGE_BYTES_MAX))?;
        }
    }
    for warning in &found.warnings {
        writeln!(io.err, "firebox: {warning}")?;
    }
    Ok(())
}

fn rows(found: &CheckpointDescription, path: &str, context: usize) -> Vec<(&'static str, String)> {
    let mut rows = vec![
        ("path", path.to_owned()),
        ("format", found.format.to_owned()),
        ("architecture", format!("{} ({})", found.architecture, kind(found.kind))),
        ("parameters", count(found.parameters)),
    ];
    let stored = found.stored_bytes();
    for (at, share) in found.types.iter().enumerate() {
        let percent = share.bytes as f64 * 100.0 / stored.max(1) as f64;
        let bytes = size_text(share.bytes);
        let name = if at == 0 { "types" } else { "" };
        rows.push((name, format!("{:<8} {percent:5.1} %  {bytes} in {} tensors", share.name, share.tensors)));
    }
    let tokenizer = found.tokenizer.as_ref();
    let tokenizer = tokenizer.map_or("none".to_owned(), |found| format!("{}, {} tokens", found.model, found.tokens));
    rows.push(("tokenizer", tokenizer));
    let template = found.chat_template.map_or("none".to_owned(), |length| format!("{length} characters"));
    rows.push(("chat template", template));
    rows.push(("context", format!("{} tokens", found.context_tokens)));
    rows.push(("memory", memory(found, context)));
    rows
}

fn memory(found: &CheckpointDescription, context: usize) -> String {
    let weights = size_text(found.stored_bytes());
    let total = size_text(found.memory_bytes(context));
    if found.kind == ModelKind::Encoder {
        return format!("{total} for the weights");
    }
    let cache = size_text(found.memory_bytes(context) - found.stored_bytes());
    format!("{total} with a context of {context} tokens: {weights} weights, {cache} KV cache")
}

fn kind(kind: ModelKind) -> &'static str {
    match kind {
        ModelKind::Decoder => "generates text",
        ModelKind::Encoder => "makes embeddings",
    }
}

/// A number of parameters, as model cards write it.
fn count(parameters: u64) -> String {
    match parameters {
        0..1_000_000 => format!("{parameters}"),
        1_000_000..1_000_000_000 => format!("{:.1} M", parameters as f64 / 1e6),
        _ => format!("{:.2} B", parameters as f64 / 1e9),
    }
}

fn json(found: &CheckpointDescription, path: &str, context: usize) -> serde_json::Value {
    let types = found.types.iter().map(|share| {
        json!({"type": share.name, "tensors": share.tensors, "parameters": share.parameters, "bytes": share.bytes})
    });
    json!({
        "path": path, "name": found.name, "format": found.format, "architecture": found.architecture,
        "kind": match found.kind { ModelKind::Decoder => "decoder", ModelKind::Encoder => "encoder" },
        "parameters": found.parameters, "weights_bytes": found.stored_bytes(), "types": types.collect::<Vec<_>>(),
        "tokenizer": found.tokenizer.as_ref().map(|found| json!({"model": found.model, "tokens": found.tokens})),
        "chat_template_characters": found.chat_template, "context_tokens": found.context_tokens,
        "cache_token_bytes": found.cache_token_bytes,
        "memory": {"context_tokens": context, "bytes": found.memory_bytes(context)},
        "warnings": found.warnings,
    })
}
