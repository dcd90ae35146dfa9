//! `firebox plugins list`: the plugins that can be used by name.

use std::io::Write as _;

use clap::Args as ClapArgs;
use firebox_contract::limits;
use serde_json::{Value, json};

use crate::cli::Io;
use crate::cli::output::line;
use crate::cli::output::table::TextTable;
use crate::error::CliError;
use crate::plugins::{self, KnownPlugin};

/// List the plugins that can be used by name.
#[derive(ClapArgs, Debug)]
pub(super) struct Args {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// `CliError::File`, if the folder of installed plugins cannot be read.
pub(super) fn run(args: Args, io: &mut Io) -> Result<(), CliError> {
    let known = plugins::known()?;
    if args.json {
        let rows: Vec<Value> = known.iter().map(object).collect();
        writeln!(io.out, "{:#}", json!({ "plugins": rows }))?;
        return Ok(());
    }
    let mut table = TextTable::new(&["NAME", "VERSION", "STAGES", "FROM", "DESCRIPTION"]);
    for plugin in &known {
        let about = line(&plugin.description, limits::CHAT_SHOWN_CHARACTERS_MAX);
        let version = line(&plugin.version, limits::PLUGIN_NAME_BYTES_MAX);
        let stages = plugin.stages.join(", ");
        table.row(vec![plugin.name.clone(), version, stages, plugin.from.to_owned(), about]);
    }
    Ok(write!(io.out, "{table}")?)
}

fn object(plugin: &KnownPlugin) -> Value {
    let KnownPlugin { name, version, description, stages, from, path } = plugin;
    let path = path.as_ref().map(|path| path.display().to_string());
    json!({ "name": name, "version": version, "description": description, "stages": stages, "from": from, "path": path })
}
