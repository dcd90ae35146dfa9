//! `firebox plugins call`: calls one stage of a plugin by itself.

mod embedding;
mod prompt;
pub(super) mod text;
pub(super) mod token;
pub(super) mod tool;
pub(super) mod tool_call;

use clap::{Args as ClapArgs, Subcommand};
use firebox_contract::{BoxFuture, Caller, Error, HookSource, Hooks, RequestInfo};
use firebox_sandbox::PluginChain;

use super::super::Io;
use super::target;
use crate::error::CliError;

/// Call one stage of a plugin by itself.
#[derive(ClapArgs, Debug)]
pub(super) struct Args {
    #[command(subcommand)]
    stage: StageCommand,
}

/// Makes the stages and their dispatch from one table: a stage is a file and a line here.
macro_rules! stages {
    ($($(#[$meta:meta])* $name:ident => $module:ident,)*) => {
        #[derive(Subcommand, Debug)]
        #[allow(clippy::large_enum_variant, reason = "one value a process, parsed once")]
        enum StageCommand {
            $($(#[$meta])* $name($module::Args),)*
        }

        /// Runs the command.
        ///
        /// # Errors
        /// The errors of the stage.
        pub(super) fn run(args: Args, io: &mut Io) -> Result<(), CliError> {
            match args.stage {
                $(StageCommand::$name(args) => $module::run(args, io),)*
            }
        }
    };
}

stages! {
    /// Give the prompt stage a conversation, and show what it decides.
    Prompt => prompt,
    /// Give the text stage an answer in chunks, and show what it lets through.
    Text => text,
    /// Call a tool.
    Tool => tool,
    /// Give the token stage a sequence, token by token, and show its action before each.
    Token => token,
    /// Give the tool-call stage a call of any tool, or its result, and show what it decides.
    ToolCall => tool_call,
    /// Give the embedding stage texts or vectors, and show what it makes of them.
    Embedding => embedding,
}

/// How the results are shown.
#[derive(ClapArgs, Debug, Clone)]
struct Shown {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Print the calls, fuel, memory and time of each stage on standard error
    #[arg(long)]
    stats: bool,
}

/// New instances of the plugins of `chain`, as a request gets them.
pub(super) fn bind(chain: &PluginChain) -> BoxFuture<'_, Result<Box<dyn Hooks>, Error>> {
    Box::pin(async move {
        let info = RequestInfo::new("call", "none");
        chain.bind(&Caller::local(), info).await
    })
}

/// Prints what the plugins logged, and what they used.
fn report(hooks: &mut dyn Hooks, shown: &Shown, io: &mut Io) -> Result<(), CliError> {
    target::print_log(&hooks.take_log(), io)?;
    if shown.stats {
        target::print_uses(&hooks.usage(), io)?;
    }
    Ok(())
}

/// # Errors
/// A `CliError` of usage, if no plugin of `chain` has `stage`.
fn require(chain: &PluginChain, stage: firebox_contract::Stage) -> Result<(), CliError> {
    let Some(plugin) = chain.plugins().first() else { return Ok(()) };
    let stages = plugin.stages();
    if stages.contains(&stage) {
        return Ok(());
    }
    let names: Vec<&str> = stages.iter().map(|stage| stage.as_str()).collect();
    let (name, names) = (plugin.name(), names.join(", "));
    Err(CliError::usage(format!("plugin \"{name}\" has no {stage} stage; its stages are: {names}")))
}
