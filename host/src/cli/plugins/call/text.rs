//! `firebox plugins call text`: the text stage by itself.

use std::io::{BufRead as _, Write as _};

use clap::Args as ClapArgs;
use firebox_contract::{Error, Hooks, Stage, TextVerdict, limits};
use serde_json::{Value, json};

use super::super::target::Target;
use super::{Shown, bind, report, require};
use crate::cli::Io;
use crate::error::CliError;

/// Give the text stage an answer in chunks, and show what it lets through.
#[derive(ClapArgs, Debug)]
pub(super) struct Args {
    /// The chunks of the answer, in order. Without any, each line of standard input is a chunk
    chunks: Vec<String>,
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    shown: Shown,
}

/// What the text stage did with an answer.
#[derive(Debug, Default)]
pub(in crate::cli::plugins) struct Passed {
    /// Each chunk that the stage saw, with the text that it emitted then.
    pub(in crate::cli::plugins) steps: Vec<(String, String)>,
    /// The text that it emitted at the end.
    pub(in crate::cli::plugins) last: String,
    /// Whether it ended the answer before the last chunk.
    pub(in crate::cli::plugins) stopped: bool,
}

impl Passed {
    /// The whole text that a user sees.
    pub(in crate::cli::plugins) fn text(&self) -> String {
        self.steps.iter().map(|step| step.1.as_str()).chain([self.last.as_str()]).collect()
    }

    fn object(&self) -> Value {
        let step = |step: &(String, String)| json!({ "chunk": step.0, "emitted": step.1 });
        let steps: Vec<Value> = self.steps.iter().map(step).collect();
        json!({ "text": self.text(), "steps": steps, "finish": self.last, "stopped": self.stopped })
    }
}

/// Runs the command.
///
/// # Errors
/// Errors of loading the plugin, or its fault.
pub(super) fn run(args: Args, io: &mut Io) -> Result<(), CliError> {
    let chunks = if args.chunks.is_empty() { lines_of_stdin()? } else { args.chunks };
    args.target.with_chain(io, async |chain, io| {
        require(chain, Stage::Text)?;
        let mut hooks = bind(chain).await?;
        let passed = pass(hooks.as_mut(), chunks).await;
        report(hooks.as_mut(), &args.shown, io)?;
        let passed = passed?;
        if args.shown.json {
            writeln!(io.out, "{:#}", passed.object())?;
        } else {
            let text = passed.text();
            write!(io.out, "{text}{}", if text.ends_with('\n') { "" } else { "\n" })?;
            if passed.stopped {
                writeln!(io.err, "firebox: the plugin ended the answer")?;
            }
        }
        Ok(())
    })
}

/// Gives `chunks` to the text stage, as an answer that streams.
///
/// # Errors
/// The fault of a plugin.
pub(in crate::cli::plugins) async fn pass(hooks: &mut dyn Hooks, chunks: Vec<String>) -> Result<Passed, Error> {
    let mut passed = Passed::default();
    for chunk in chunks.into_iter().filter(|chunk| !chunk.is_empty()) {
        let (text, stop) = match hooks.push(chunk.clone()).await? {
            TextVerdict::Emit(text) => (text, false),
            TextVerdict::Stop(text) => (text, true),
        };
        passed.steps.push((chunk, text));
        passed.stopped = stop;
        if stop {
            break;
        }
    }
    passed.last = hooks.finish().await?;
    Ok(passed)
}

fn lines_of_stdin() -> Result<Vec<String>, CliError> {
    let mut chunks = Vec::new();
    let mut input = std::io::stdin().lock();
    let mut bytes = 0;
    loop {
        let mut line = String::new();
        let read = input.read_line(&mut line);
        if read.map_err(|error| CliError::usage(format!("standard input cannot be read as UTF-8: {error}")))? == 0 {
            return Ok(chunks);
        }
        bytes += line.len();
        if bytes > limits::PLUGIN_TEXT_BYTES_MAX {
            let max = limits::PLUGIN_TEXT_BYTES_MAX;
            return Err(CliError::usage(format!("standard input has more than {max} bytes; give less")));
        }
        chunks.push(line);
    }
}
