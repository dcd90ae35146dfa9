//! `firebox models quantize`.

use std::io::Write as _;
use std::path::PathBuf;

use clap::Args as ClapArgs;
use firebox_contract::Error;
use firebox_models::{Mixture, QuantizeOptions, QuantizePlan, QuantizeProgress};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::cli::Io;
use crate::cli::options::hub::HubOptions;
use crate::cli::options::parse_mixture;
use crate::error::CliError;
use crate::host::download::size_text;
use crate::host::source::ModelSource;

/// Write a model as a GGUF file, with its weights in another type.
#[derive(ClapArgs, Debug)]
pub(super) struct Args {
    /// The model in full precision: a Hugging Face folder, a .gguf file, or a model of the cache: org/name
    #[arg(value_name = "PATH|NAME")]
    input: PathBuf,
    /// The file to write; it gets its name when it is complete
    #[arg(value_name = "OUT.gguf")]
    output: PathBuf,
    /// Type of the weights: q8_0, q6_k, q5_k_m, q5_k_s, q5_1, q5_0, q4_k_m, q4_k_s, q4_1, q4_0, bf16, f16 or f32
    #[arg(long = "type", value_name = "TYPE", default_value = "q4_k_m", value_parser = parse_mixture)]
    mixture: &'static Mixture,
    /// Quantize weights that are quantized already, which adds to their error
    #[arg(long)]
    requantize: bool,
    /// Replace the file if it exists
    #[arg(long)]
    force: bool,
}

/// Runs the command. Nothing is downloaded.
///
/// # Errors
/// `Usage` for a file that exists and for a model that is quantized already; the errors of reading and of writing a model.
pub(super) fn run(args: Args, io: &mut Io) -> Result<(), CliError> {
    let output = args.output.display();
    if args.output.extension().is_none_or(|end| end != "gguf") {
        return Err(CliError::usage(format!("\"{output}\" does not end with .gguf; other programs go by the name")));
    }
    if args.output.exists() && !args.force {
        return Err(CliError::usage(format!("\"{output}\" exists; give another name, or replace it with --force")));
    }
    let local = ModelSource::of(&args.input).find(|| HubOptions::default().hub())?;
    let options = QuantizeOptions { mixture: args.mixture, requantize: args.requantize };
    let plan = QuantizePlan::of(&local.path, options).map_err(Error::from)?;
    let bar = bar(plan.bytes(), io.err_is_terminal);
    let written = plan.write(&args.output, &mut |progress| show(&bar, progress));
    bar.finish_and_clear();
    written.map_err(Error::from)?;
    let types = plan.types();
    let total: u64 = types.iter().map(|kind| kind.1).sum();
    let shares: Vec<String> = types
        .iter()
        .map(|(name, bytes)| format!("{name} {:.1} %", *bytes as f64 * 100.0 / total.max(1) as f64))
        .collect();
    writeln!(io.err, "firebox: \"{output}\" written ({}: {})", size_text(plan.bytes()), shares.join(", "))?;
    Ok(())
}

fn show(bar: &ProgressBar, progress: QuantizeProgress) {
    bar.set_position(progress.bytes);
    bar.set_message(format!("tensor {} of {}", progress.tensors, progress.tensors_total));
}

fn bar(bytes: u64, is_terminal: bool) -> ProgressBar {
    if !is_terminal {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(bytes);
    bar.set_draw_target(ProgressDrawTarget::stderr());
    // The template is a constant. An invalid one would leave the default style.
    let template = "{bar:30} {percent:>3}% {msg}, {decimal_bytes_per_sec} (about {eta} left)";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}
