//! Tools for the model that work on characters, which a model does not see because it reads tokens.

mod case;
mod fold;

use firebox_sdk::{Arguments, Definition, Outcome, Plugin, Tool};
use unicode_segmentation::UnicodeSegmentation;

/// One tool: its name, description, arguments and function.
struct Entry {
    name: &'static str,
    description: &'static str,
    /// Names and descriptions of the arguments. All are required strings.
    arguments: &'static [(&'static str, &'static str)],
    run: fn(&Arguments) -> Result<String, String>,
}

const TEXT: (&str, &str) = ("text", "The text.");

const TOOLS: &[Entry] = &[
    Entry {
        name: "count_letter",
        description: "Counts how often a letter (or any other string) occurs in a text, upper and lower case alike.",
        arguments: &[TEXT, ("letter", "What to count: one letter or a longer string.")],
        run: |given| count_occurrences(&given.text("text")?, &given.text("letter")?),
    },
    Entry {
        name: "count_words",
        description: "Counts the words of a text: what stands between spaces and has a letter or a digit.",
        arguments: &[TEXT],
        run: |given| Ok(count_words(&given.text("text")?).to_string()),
    },
    Entry {
        name: "count_characters",
        description: "Counts the characters of a text as people see them, spaces and punctuation included.",
        arguments: &[TEXT],
        run: |given| Ok(given.text("text")?.graphemes(true).count().to_string()),
    },
    Entry {
        name: "reverse_text",
        description: "Writes a text backwards, character by character.",
        arguments: &[TEXT],
        run: |given| Ok(given.text("text")?.graphemes(true).rev().collect()),
    },
    Entry {
        name: "change_case",
        description: "Rewrites a text in another case.",
        arguments: &[TEXT, ("to", "One of upper, lower, title, snake, kebab, camel.")],
        run: |given| case::change(&given.text("text")?, &given.text("to")?),
    },
    Entry {
        name: "slugify",
        description: "Makes a slug for an address out of a text: ASCII letters and digits in lower case with hyphens.",
        arguments: &[TEXT],
        run: |given| Ok(fold::slug(&given.text("text")?)),
    },
];

struct TextTools;

impl Plugin for TextTools {
    const DESCRIPTION: &'static str = "Tools for the model that count, reverse and recase text.";

    fn init(config_json: &str) -> Result<Self, String> {
        Arguments::parse_config(config_json)?.only(&[])?;
        Ok(Self)
    }
}

impl Tool for TextTools {
    fn definitions(&self) -> Vec<Definition> {
        TOOLS.iter().map(|tool| Definition::pure(tool.name, tool.description, &schema(tool.arguments))).collect()
    }

    fn call(&mut self, name: &str, arguments_json: &str) -> Outcome {
        let Some(tool) = TOOLS.iter().find(|tool| tool.name == name) else { return Outcome::unknown_tool(name) };
        Outcome::from(Arguments::parse(arguments_json).and_then(|given| (tool.run)(&given)))
    }
}

/// The JSON Schema of the arguments, which are all required strings. Names and descriptions must not need escapes.
fn schema(arguments: &[(&str, &str)]) -> String {
    let properties: Vec<String> = arguments
        .iter()
        .map(|(name, description)| format!(r#""{name}":{{"type":"string","description":"{description}"}}"#))
        .collect();
    let required: Vec<String> = arguments.iter().map(|(name, _)| format!("\"{name}\"")).collect();
    format!(
        r#"{{"type":"object","properties":{{{}}},"required":[{}],"additionalProperties":false}}"#,
        properties.join(","),
        required.join(",")
    )
}

fn count_words(text: &str) -> usize {
    text.split_whitespace().filter(|word| word.contains(char::is_alphanumeric)).count()
}

fn count_occurrences(text: &str, wanted: &str) -> Result<String, String> {
    if wanted.is_empty() {
        return Err("argument \"letter\" must not be empty".to_owned());
    }
    Ok(text.to_lowercase().matches(&wanted.to_lowercase()).count().to_string())
}

firebox_sdk::plugin!(TextTools: tool);

#[cfg(test)]
mod tests;
