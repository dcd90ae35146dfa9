//! `firebox plugins call embedding`: the embedding stage by itself.

use std::io::Write as _;

use clap::Args as ClapArgs;
use firebox_contract::{EmbeddingVerdict, Stage};
use serde_json::json;

use super::super::target::Target;
use super::{Shown, bind, report, require};
use crate::cli::Io;
use crate::error::CliError;

/// Give the embedding stage texts or vectors, and show what it makes of them.
#[derive(ClapArgs, Debug)]
pub(super) struct Args {
    /// The texts to embed
    #[arg(required_unless_present = "vectors")]
    texts: Vec<String>,
    /// The vectors of an encoder: a JSON array of arrays of numbers
    #[arg(long, value_name = "JSON", conflicts_with = "texts")]
    vectors: Option<String>,
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    shown: Shown,
}

/// Runs the command.
///
/// # Errors
/// Errors of loading the plugin, or its fault.
pub(super) fn run(args: Args, io: &mut Io) -> Result<(), CliError> {
    let vectors = args.vectors.as_deref().map(serde_json::from_str::<Vec<Vec<f32>>>).transpose();
    let vectors = vectors.map_err(|error| CliError::usage(format!("--vectors is not an array of arrays: {error}")))?;
    args.target.with_chain(io, async |chain, io| {
        require(chain, Stage::Embedding)?;
        let mut hooks = bind(chain).await?;
        let answer = match vectors {
            Some(vectors) => hooks.after_embedding(vectors).await.map(|vectors| json!({ "vectors": vectors })),
            None => hooks.before_embedding(args.texts.clone()).await.map(|verdict| match verdict {
                EmbeddingVerdict::Continue(texts) => json!({ "texts": texts }),
                EmbeddingVerdict::Refuse { message, .. } => json!({ "refuse": message }),
            }),
        };
        report(hooks.as_mut(), &args.shown, io)?;
        let answer = answer?;
        Ok(if args.shown.json { writeln!(io.out, "{answer:#}") } else { writeln!(io.out, "{answer}") }?)
    })
}
