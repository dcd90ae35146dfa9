//! Tools for the model that keep notes between requests, in a key-value bucket of the tenant.

use firebox_sdk::keyvalue::{self, Bucket, Error};
use firebox_sdk::{Arguments, Definition, Effects, Outcome, Plugin, Tool};

/// The bucket that the manifest asks for.
const BUCKET: &str = "notes";
/// Notes of which `list_notes` shows the names at most.
const LISTED_MAX: usize = 100;
/// Bytes of the name of a note at most.
const NAME_BYTES_MAX: usize = 100;
/// Bytes of the text of a note at most, so that a model can read it back.
const TEXT_BYTES_MAX: usize = 16 << 10;

/// One tool: its name, description, arguments, effects and function.
struct Entry {
    name: &'static str,
    description: &'static str,
    /// Names and descriptions of the arguments. All are required strings.
    arguments: &'static [(&'static str, &'static str)],
    effects: Effects,
    run: fn(&Bucket, &Arguments) -> Result<String, String>,
}

const NAME: (&str, &str) = ("name", "The name of the note, such as groceries.");

const TOOLS: &[Entry] = &[
    Entry {
        name: "write_note",
        description: "Keeps a text under a name for later requests. A note of that name is replaced.",
        arguments: &[NAME, ("text", "The text.")],
        effects: Effects::IDEMPOTENT,
        run: write,
    },
    Entry {
        name: "read_note",
        description: "Reads the text that was kept under a name.",
        arguments: &[NAME],
        effects: Effects::READ_ONLY,
        run: read,
    },
    Entry {
        name: "list_notes",
        description: "Lists the names of all notes.",
        arguments: &[],
        effects: Effects::READ_ONLY,
        run: list,
    },
    Entry {
        name: "delete_note",
        description: "Deletes the note of a name.",
        arguments: &[NAME],
        effects: Effects::DESTRUCTIVE.union(Effects::IDEMPOTENT),
        run: delete,
    },
];

struct Notes;

impl Plugin for Notes {
    const DESCRIPTION: &'static str = "Tools for the model that keep notes between requests.";

    fn init(config_json: &str) -> Result<Self, String> {
        Arguments::parse_config(config_json)?.only(&[])?;
        Ok(Self)
    }
}

impl Tool for Notes {
    fn definitions(&self) -> Vec<Definition> {
        let definition = |tool: &Entry| Definition {
            effects: tool.effects,
            ..Definition::pure(tool.name, tool.description, &schema(tool.arguments))
        };
        TOOLS.iter().map(definition).collect()
    }

    fn call(&mut self, name: &str, arguments_json: &str) -> Outcome {
        let Some(tool) = TOOLS.iter().find(|tool| tool.name == name) else { return Outcome::unknown_tool(name) };
        let run = |given: Arguments| (tool.run)(&keyvalue::open(BUCKET).map_err(shown)?, &given);
        Outcome::from(Arguments::parse(arguments_json).and_then(run))
    }
}

/// The JSON Schema of the arguments, which are all required strings.
fn schema(arguments: &[(&str, &str)]) -> String {
    let property =
        |(name, description): &(&str, &str)| format!(r#""{name}":{{"type":"string","description":"{description}"}}"#);
    let properties: Vec<String> = arguments.iter().map(property).collect();
    let required: Vec<String> = arguments.iter().map(|(name, _)| format!("\"{name}\"")).collect();
    format!(
        r#"{{"type":"object","properties":{{{}}},"required":[{}],"additionalProperties":false}}"#,
        properties.join(","),
        required.join(",")
    )
}

fn shown(error: Error) -> String {
    format!("notes cannot be kept: {}", keyvalue::message(&error))
}

/// The name of a note: trimmed, not empty and of one line.
fn name(given: &Arguments) -> Result<String, String> {
    let name = given.text("name")?.trim().to_owned();
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
        return Err(format!("argument \"name\" must be one line of 1 to {NAME_BYTES_MAX} bytes"));
    }
    Ok(name)
}

fn write(bucket: &Bucket, given: &Arguments) -> Result<String, String> {
    let (name, text) = (name(given)?, given.text("text")?);
    if text.len() > TEXT_BYTES_MAX {
        return Err(format!("argument \"text\" has {} bytes; at most {TEXT_BYTES_MAX}", text.len()));
    }
    bucket.set(&name, text.as_bytes()).map_err(shown)?;
    Ok(format!("kept \"{name}\""))
}

fn read(bucket: &Bucket, given: &Arguments) -> Result<String, String> {
    let name = name(given)?;
    let bytes = bucket.get(&name).map_err(shown)?.ok_or_else(|| format!("there is no note \"{name}\""))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn list(bucket: &Bucket, _given: &Arguments) -> Result<String, String> {
    let (mut names, mut cursor) = (Vec::new(), None);
    loop {
        let page = bucket.list_keys(cursor.as_deref()).map_err(shown)?;
        names.extend(page.keys);
        cursor = page.cursor;
        if cursor.is_none() || names.len() > LISTED_MAX {
            break;
        }
    }
    let more = names.len() > LISTED_MAX;
    names.truncate(LISTED_MAX);
    match (names.is_empty(), more) {
        (true, _) => Ok("there are no notes".to_owned()),
        (false, false) => Ok(names.join("\n")),
        (false, true) => Ok(format!("{}\nand more", names.join("\n"))),
    }
}

fn delete(bucket: &Bucket, given: &Arguments) -> Result<String, String> {
    let name = name(given)?;
    bucket.delete(&name).map_err(shown)?;
    Ok(format!("deleted \"{name}\""))
}

firebox_sdk::plugin!(Notes: tool);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_short_line() {
        let given = |json: &str| name(&Arguments::parse(json).expect("JSON"));
        assert_eq!(given(r#"{"name": " groceries "}"#).as_deref(), Ok("groceries"));
        let long = format!("{{\"name\": \"{}\"}}", "x".repeat(NAME_BYTES_MAX + 1));
        for bad in [r#"{"name": " "}"#, r#"{"name": "a\nb"}"#, "{}", &long] {
            assert!(given(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_tool_has_a_schema_of_its_arguments() {
        let tools = Notes.definitions();
        assert_eq!(tools.len(), 4);
        assert!(tools[0].input_schema_json.contains(r#""required":["name","text"]"#), "{}", tools[0].input_schema_json);
        assert!(tools[3].effects.contains(Effects::DESTRUCTIVE) && tools[1].effects.contains(Effects::READ_ONLY));
    }
}
