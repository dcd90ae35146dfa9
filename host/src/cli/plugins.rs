//! `firebox plugins`: what an author of plugins needs from the command line.

mod bench;
mod build;
mod call;
mod cases;
mod check;
mod distribute;
mod inspect;
mod list;
mod new;
mod target;
mod watch;

use clap::{Args as ClapArgs, Subcommand};

use self::distribute::{install, keygen, publish, remove, sign};
use super::Io;
use crate::error::CliError;

/// Make, build, test, check, measure and install plugins.
#[derive(ClapArgs, Debug)]
pub struct Args {
    #[command(subcommand)]
    verb: PluginsCommand,
}

/// Makes the verbs and their dispatch from one table: a verb is a file and a line here.
macro_rules! verbs {
    ($($(#[$meta:meta])* $name:ident => $module:ident,)*) => {
        #[derive(Subcommand, Debug)]
        #[allow(clippy::large_enum_variant, reason = "one value a process, parsed once")]
        enum PluginsCommand {
            $($(#[$meta])* $name($module::Args),)*
        }

        /// Runs the command.
        ///
        /// # Errors
        /// The errors of the verb.
        pub fn run(args: Args, io: &mut Io) -> Result<(), CliError> {
            match args.verb {
                $(PluginsCommand::$name(args) => $module::run(args, io),)*
            }
        }
    };
}

verbs! {
    /// Make a project with a plugin that works, in Rust, C, JavaScript or Python.
    New => new,
    /// Build the component of a project; sets up what its language needs, or says what to install.
    Build => build,
    /// Run the cases of a plugin, and compare each answer or fault with the expected one.
    Test => cases,
    /// Build a project again after each change, run its cases, and reload a running server.
    Watch => watch,
    /// List the plugins that can be used by name.
    List => list,
    /// Show what a plugin is: stages, imports, tools, size, digest, and what it asks for.
    Inspect => inspect,
    /// Check that a plugin can be loaded, and report every problem; the exit code is for scripts.
    Check => check,
    /// Call one stage of a plugin by itself.
    Call => call,
    /// Install a plugin from a file, a folder, a web address or a registry, so that it can be used by its name.
    Install => install,
    /// Make a key for signing plugins.
    Keygen => keygen,
    /// Sign a component and its manifest.
    Sign => sign,
    /// Upload a plugin to a container registry.
    Publish => publish,
    /// Remove installed plugins.
    Remove => remove,
    /// Measure what a plugin costs: the start of an instance, and each call.
    Bench => bench,
}
