use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use firebox::config::{Config, ConfigKey, EXAMPLE, keys};

use super::check;

/// `(table, how it is written, what changes at a reload)`, in the order of the page.
const TABLES: &[(&str, &str, &str)] = &[
    ("", "Top level", "A reload applies changes."),
    ("server", "`[server]`", "Changes need a restart."),
    ("model", "`[[model]]`", "Changes need a restart."),
    ("plugin", "`[[plugin]]`", "A reload applies changes."),
    ("plugins", "`[plugins]`", "A reload applies changes."),
    ("mcp.server", "`[[mcp.server]]`", "A reload applies changes."),
    ("sessions", "`[sessions]`", "Changes need a restart."),
    ("keyvalue", "`[keyvalue]`", "Changes need a restart."),
    ("audit", "`[audit]`", "Changes need a restart."),
    ("hub", "`[hub]`", "Changes need a restart."),
    ("tools", "`[tools]`", "A reload applies changes."),
    ("tenant", "`[[tenant]]`", "A reload applies changes."),
    ("tenant.tools", "`[tenant.tools]`", "A reload applies changes."),
    ("tenant.limits", "`[tenant.limits]`", "A reload applies changes."),
    ("tenant.key", "`[[tenant.key]]`", "A reload applies changes."),
];

fn table_of(key: &ConfigKey) -> &str {
    key.path.rsplit_once('.').map_or("", |(table, _)| table)
}

fn name_of(key: &ConfigKey) -> &str {
    key.path.rsplit('.').next().expect("a name")
}

#[test]
fn the_page_of_the_configuration_shows_every_key() {
    let keys = keys();
    let mut page = "# Configuration\n\nGenerated from the reader of the configuration (`host/src/config/`).\n\n\
                    The file is TOML. `firebox config init` writes an example, `firebox config check` reports every error, and \
                    `firebox config print` shows all values. Options override environment variables, and these override the \
                    file. Relative paths start at the folder of the file. A size is a number with `B`, `KiB`, `MiB` or `GiB`; a \
                    time is a number with `ms`, `s`, `m`, `h` or `d`. SIGHUP reloads the file.\n"
        .to_owned();
    for (table, written, reload) in TABLES {
        writeln!(page, "\n## {written}\n\n{reload}{}\n", environment(table)).expect("a string");
        page.push_str("| key | type | default | range | meaning |\n|---|---|---|---|---|\n");
        for key in keys.iter().filter(|key| table_of(key) == *table) {
            let ConfigKey { kind, default, range, meaning, .. } = key;
            writeln!(page, "| `{}` | {kind} | {default} | {range} | {meaning} |", name_of(key)).expect("a string");
        }
    }
    let shown = page.lines().filter(|line| line.starts_with("| `")).count();
    assert_eq!(shown, keys.len(), "each key is in one of the tables");
    check("configuration.md", &page);
}

fn environment(table: &str) -> String {
    match table {
        "server" | "sessions" | "keyvalue" | "audit" | "hub" | "tools" | "plugins" => {
            format!(" The environment variable `FIREBOX_{}__KEY` sets `KEY`.", table.to_uppercase())
        }
        _ => String::new(),
    }
}

#[test]
fn every_key_has_a_type_a_default_and_a_meaning() {
    let keys = keys();
    let incomplete = keys.iter().filter(|key| key.kind.is_empty() || key.default.is_empty() || key.meaning.is_empty());
    let incomplete: Vec<&str> = incomplete.map(|key| key.path.as_str()).collect();
    assert!(incomplete.is_empty() && keys.len() > 70, "{incomplete:?} of {}", keys.len());
}

/// The keys that limits and pages name as `table.key` exist.
#[test]
fn limits_name_keys_that_exist() {
    let known: BTreeSet<String> = keys().into_iter().map(|key| key.path).collect();
    let mut paths = vec![crate::harness::root().join("host/contract/src/limits")];
    let tables = ["server.", "model.", "plugin.", "mcp.server.", "sessions.", "audit.", "hub.", "tools.", "tenant."];
    let mut unknown = Vec::new();
    while let Some(path) = paths.pop() {
        if path.is_dir() {
            paths.extend(std::fs::read_dir(path).expect("a folder").map(|entry| entry.expect("readable").path()));
            continue;
        }
        let text = std::fs::read_to_string(path).expect("readable");
        let comments = text.lines().filter(|line| line.starts_with("///"));
        let named = comments
            .flat_map(|line| line.split('`').skip(1).step_by(2))
            .map(|word| word.split(' ').next().expect("a word"));
        let keys = named.filter(|word| tables.iter().any(|table| word.starts_with(table)) && !word.ends_with(".toml"));
        unknown.extend(keys.filter(|word| !known.contains(*word)).map(str::to_owned));
    }
    assert!(unknown.is_empty(), "{unknown:?}");
}

/// The assignments of the example as `(table, line)`, commented out or not. A comment that starts with "Example:" marks a key
/// whose value is no default.
fn assignments() -> Vec<(String, String)> {
    let (mut table, mut lines, mut is_example) = (String::new(), Vec::new(), false);
    for line in EXAMPLE.lines() {
        let line = line.trim_start_matches("# ");
        let key = line.split(" = ").next().unwrap_or_default();
        if line.starts_with('[') {
            table = line.split(']').next().expect("a header").trim_start_matches('[').to_owned();
        } else if line.contains(" = ") && key.chars().all(|c| c.is_ascii_lowercase() || c == '_') {
            lines.extend((!is_example).then(|| (table.clone(), line.to_owned())));
        } else {
            is_example = line.starts_with("Example:");
        }
    }
    lines
}

/// `firebox config init` writes the default of each key that has one.
#[test]
fn the_example_shows_the_defaults() {
    let keys = keys();
    let (mut compared, mut wrong) = (0, Vec::new());
    for (table, line) in assignments() {
        let (name, value) = line.split_once(" = ").expect("an assignment");
        let path = if table.is_empty() { name.to_owned() } else { format!("{table}.{name}") };
        let Some(key) = keys.iter().find(|key| key.path == path) else { continue };
        let Some(default) = key.default.strip_prefix('`').and_then(|rest| rest.strip_suffix('`')) else { continue };
        if ["[]", "[\"*\"]"].contains(&default) {
            continue;
        }
        compared += 1;
        let value = value.split(" #").next().expect("a value").trim();
        if printed(&table, name, value) != printed(&table, name, default) {
            wrong.push(format!("{path} = {value}, and the default is {default}"));
        }
    }
    assert!(wrong.is_empty() && compared > 25, "{compared} compared; {wrong:#?}");
}

/// The configuration with this value, as `config print` shows it.
fn printed(table: &str, name: &str, value: &str) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("firebox.toml");
    let required = match table {
        "model" => "name = \"ember\"\n",
        "plugin" => "name = \"redact\"\n",
        "mcp.server" => "name = \"s\"\ncommand = [\"s\"]\n",
        "tenant" => "name = \"t\"\n",
        "tenant.key" => "id = \"k\"\ndigest = \"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\"\n",
        _ => "",
    };
    let head = match table {
        "" => String::new(),
        "tenant.tools" | "tenant.limits" => format!("[[tenant]]\nname = \"t\"\n[{table}]\n"),
        "tenant.key" => format!("[[tenant]]\nname = \"t\"\n[[{table}]]\n"),
        "model" | "plugin" | "mcp.server" | "tenant" => format!("[[{table}]]\n"),
        table => format!("[{table}]\n"),
    };
    let required = if required.contains(&format!("{name} = ")) { "" } else { required };
    std::fs::write(&file, format!("{head}{required}{name} = {value}\n")).expect("writable");
    let config = Config::load(Some(Path::new(&file)), &[]).unwrap_or_else(|error| panic!("{table} {name}: {error}"));
    let folder = folder.path().display().to_string();
    config.print().replace(&folder, "")
}
