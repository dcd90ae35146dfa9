//! `firebox models`: the models of a hub and of the cache on this machine.

mod cache;
mod inspect;
mod list;
mod pull;
mod quantize;
mod remove;
mod verify;

use clap::{Args as ClapArgs, Subcommand};

use super::Io;
use crate::error::CliError;

/// Download, list, inspect, verify and remove models.
#[derive(ClapArgs, Debug)]
pub struct Args {
    #[command(subcommand)]
    verb: ModelsCommand,
}

/// Makes the verbs and their dispatch from one table: a verb is a file and a line here.
macro_rules! verbs {
    ($($(#[$meta:meta])* $name:ident => $module:ident,)*) => {
        #[derive(Subcommand, Debug)]
        enum ModelsCommand {
            $($(#[$meta])* $name($module::Args),)*
        }

        /// Runs the command.
        ///
        /// # Errors
        /// The errors of the verb.
        pub fn run(args: Args, io: &mut Io) -> Result<(), CliError> {
            match args.verb {
                $(ModelsCommand::$name(args) => $module::run(args, io),)*
            }
        }
    };
}

verbs! {
    /// Download a model from the hub, or update it.
    Pull => pull,
    /// Write a model as a GGUF file, with its weights in another type.
    Quantize => quantize,
    /// List the models of the cache.
    List => list,
    /// Show what a model is: architecture, types, tokenizer, context, and the memory that it needs.
    Inspect => inspect,
    /// Compare the files of models with the digests that the hub named.
    Verify => verify,
    /// Remove models from the cache.
    Remove => remove,
    /// Show the cache's folder and size, and keep it below a size.
    Cache => cache,
}
