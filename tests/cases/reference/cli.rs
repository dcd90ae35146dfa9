use std::fmt::Write as _;

use clap::{Arg, Command};
use firebox::contract::error::ERROR_KINDS;

use super::{cell, check};

#[test]
fn the_page_of_the_command_line_shows_every_verb_and_option() {
    let mut command = firebox::cli::command();
    command.build();
    let mut page = "# Command line\n\nGenerated from the argument parser. `firebox VERB --help` prints the same. \
                    [guides/command-line.md](../guides/command-line.md) explains input, output and signals.\n"
        .to_owned();
    for verb in command.get_subcommands() {
        write_verb(&mut page, verb, "firebox");
    }
    page.push_str("\n## Exit codes\n\n| exit code | error |\n|---|---|\n| 0 | none |\n");
    for code in exit_codes() {
        let names: Vec<String> =
            ERROR_KINDS.iter().filter(|row| row.1 == code).map(|row| format!("`{}`", row.3)).collect();
        writeln!(page, "| {code} | {} |", names.join(", ")).expect("a string");
    }
    page.push_str("\n[errors.md](errors.md) explains the errors.\n");
    check("command-line.md", &page);
}

fn exit_codes() -> Vec<u8> {
    let mut codes: Vec<u8> = ERROR_KINDS.iter().map(|row| row.1).collect();
    codes.sort_unstable();
    codes.dedup();
    codes
}

/// The section of a verb, and the sections of its own verbs.
fn write_verb(page: &mut String, verb: &Command, before: &str) {
    if verb.is_hide_set() || verb.get_name() == "help" {
        return;
    }
    let name = format!("{before} {}", verb.get_name());
    let about = verb.get_about().map(ToString::to_string).unwrap_or_default();
    let about = about.trim_end_matches('.');
    writeln!(page, "\n## {name}\n\n{}.\n", cell(about)).expect("a string");
    let own: Vec<&Arg> =
        verb.get_arguments().filter(|argument| !argument.is_hide_set() && !is_help(argument)).collect();
    if !own.is_empty() {
        page.push_str("| argument | default | environment | meaning |\n|---|---|---|---|\n");
        own.iter().for_each(|argument| page.push_str(&row(argument)));
    } else if verb.has_subcommands() {
        let names = verb
            .get_subcommands()
            .filter(|verb| verb.get_name() != "help")
            .map(|verb| format!("`{}`", verb.get_name()));
        writeln!(page, "Verbs: {}.", names.collect::<Vec<_>>().join(", ")).expect("a string");
    } else {
        page.push_str("No arguments.\n");
    }
    verb.get_subcommands().for_each(|verb| write_verb(page, verb, &name));
}

fn is_help(argument: &Arg) -> bool {
    ["help", "version"].contains(&argument.get_id().as_str())
}

fn row(argument: &Arg) -> String {
    let values = argument.get_value_names().unwrap_or_default().iter().map(|name| name.as_str().to_owned());
    let values = values.collect::<Vec<_>>().join(" ");
    let takes_value = argument.get_action().takes_values();
    let name = match (argument.get_long(), argument.get_short()) {
        (Some(long), Some(short)) => format!("-{short}, --{long}"),
        (Some(long), None) => format!("--{long}"),
        (None, Some(short)) => format!("-{short}"),
        (None, None) if argument.is_required_set() => return line(argument, &values, "required"),
        (None, None) => return line(argument, &format!("[{values}]"), ""),
    };
    let name = if takes_value { format!("{name} {values}") } else { name };
    line(argument, &name, if argument.is_required_set() { "required" } else { "" })
}

fn line(argument: &Arg, name: &str, default: &str) -> String {
    let defaults: Vec<String> =
        argument.get_default_values().iter().map(|value| format!("`{}`", value.to_string_lossy())).collect();
    let default = match default {
        "" if argument.get_action().takes_values() => defaults.join(", "),
        other => other.to_owned(),
    };
    let environment = argument.get_env().map(|name| format!("`{}`", name.to_string_lossy())).unwrap_or_default();
    let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
    let choices: Vec<String> = argument
        .get_possible_values()
        .iter()
        .filter(|_| argument.get_action().takes_values())
        .map(|value| format!("`{}`", value.get_name()))
        .collect();
    let choices = if choices.is_empty() { String::new() } else { format!(" One of {}.", choices.join(", ")) };
    format!(
        "| `{}` | {default} | {environment} | {}.{choices} |\n",
        name.replace('|', "\\|"),
        cell(help.trim_end_matches('.'))
    )
}
