//! A test fixture: the tools that `@modelcontextprotocol/conformance` calls by name, so that the suite tests host, WIT
//! and plugin together. Other tools exceed their limits, so that tests can see the faults.

mod fault;
mod media;

use firebox_sdk::{Arguments, Blob, Content, Definition, Effects, Outcome, Plugin, Tool, log, progress};

/// One tool: its name, description and function.
struct Entry {
    name: &'static str,
    description: &'static str,
    input_schema: &'static str,
    output_schema: Option<&'static str>,
    run: fn(&Arguments) -> Outcome,
}

const NO_ARGUMENTS: &str = r#"{"type":"object","properties":{},"additionalProperties":false}"#;
const STEPS: &str = r#"{"type":"object","properties":{"steps":{"type":"integer","description":"How many millions of steps to work."}},"required":["steps"],"additionalProperties":false}"#;
const REGION: &str = r#"{"type":"object","properties":{"region":{"type":"string","x-mcp-header":"Region"}},"required":["region"],"additionalProperties":false}"#;
const WEATHER: &str = r#"{"type":"object","properties":{"temperature":{"type":"number"},"conditions":{"type":"string"}},"required":["temperature","conditions"],"additionalProperties":false}"#;

/// As the suite prescribes it, keyword for keyword.
const JSON_SCHEMA_2020_12: &str = r##"{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","$defs":{"address":{"$anchor":"addressDef","type":"object","properties":{"street":{"type":"string"},"city":{"type":"string"}}}},"properties":{"name":{"type":"string"},"address":{"$ref":"#/$defs/address"},"contactMethod":{"type":"string","enum":["phone","email"]},"phone":{"type":"string"},"email":{"type":"string"}},"allOf":[{"anyOf":[{"required":["phone"]},{"required":["email"]}]}],"if":{"properties":{"contactMethod":{"const":"phone"}},"required":["contactMethod"]},"then":{"required":["phone"]},"else":{"required":["email"]},"additionalProperties":false}"##;

const fn entry(name: &'static str, description: &'static str, run: fn(&Arguments) -> Outcome) -> Entry {
    Entry { name, description, input_schema: NO_ARGUMENTS, output_schema: None, run }
}

const TOOLS: &[Entry] = &[
    entry("test_simple_text", "Answers with text.", |_| Outcome::text("This is a simple text response for testing.")),
    entry("test_image_content", "Answers with a picture.", |_| content(vec![media::picture()])),
    entry("test_audio_content", "Answers with a sound.", |_| content(vec![media::sound()])),
    entry("test_embedded_resource", "Answers with a document.", |_| {
        content(vec![blob("text/plain", b"This is an embedded resource content.")])
    }),
    entry("test_multiple_content_types", "Answers with text, a picture and a document.", |_| {
        content(vec![
            Content::Text("Multiple content types test:".to_owned()),
            media::picture(),
            blob("application/json", br#"{"test":"data","value":123}"#),
        ])
    }),
    entry("test_error_handling", "Answers with an error.", |_| {
        Outcome::error("This tool intentionally returns an error for testing")
    }),
    entry("test_tool_with_progress", "Reports progress three times.", |_| {
        for done in [0.0, 50.0, 100.0] {
            progress::report(done, Some(100.0), Some("working"));
        }
        Outcome::text("Reported 0, 50 and 100 of 100.")
    }),
    entry("test_streaming_elicitation", "Answers at once; the suite watches what else comes.", |_| {
        Outcome::text("Nothing was asked.")
    }),
    entry("test_logging_tool", "Logs lines, which are for the operator and not for the client.", |_| {
        log::info("Tool execution started");
        log::info("Tool execution completed");
        Outcome::text("Logged two lines.")
    }),
    Entry {
        name: "json_schema_2020_12_tool",
        description: "Tool with JSON Schema 2020-12 features",
        input_schema: JSON_SCHEMA_2020_12,
        output_schema: None,
        run: |_| Outcome::text("ok"),
    },
    Entry {
        name: "test_header_parameter",
        description: "Repeats a parameter that HTTP clients also send as a header.",
        input_schema: REGION,
        output_schema: None,
        run: |given| Outcome::from(given.text("region")),
    },
    Entry {
        name: "test_structured_content",
        description: "Answers with a structure that its schema describes.",
        input_schema: NO_ARGUMENTS,
        output_schema: Some(WEATHER),
        run: |_| Outcome::json(r#"{"temperature":22.5,"conditions":"sunny"}"#),
    },
    Entry {
        name: "test_work",
        description: "Works for a while, reporting progress.",
        input_schema: STEPS,
        output_schema: None,
        run: |given| Outcome::from(given.number_text("steps").and_then(|steps| fault::work(&steps))),
    },
    entry("fault_endless", "Never ends.", |_| fault::endless()),
    entry("fault_memory", "Takes all the memory there is.", |_| fault::memory()),
    entry("fault_panic", "Panics.", |_| panic!("the fixture panics as asked")),
];

fn content(content: Vec<Content>) -> Outcome {
    Outcome { content, is_error: false }
}

fn blob(mime: &str, data: &[u8]) -> Content {
    Content::Media(Blob { mime: mime.to_owned(), data: data.to_owned() })
}

struct Conformance;

impl Plugin for Conformance {
    const DESCRIPTION: &'static str = "The tools that the MCP conformance suite calls by name.";

    fn init(config_json: &str) -> Result<Self, String> {
        Arguments::parse_config(config_json)?.only(&[])?;
        Ok(Self)
    }
}

impl Tool for Conformance {
    fn definitions(&self) -> Vec<Definition> {
        let definition = |tool: &Entry| Definition {
            name: tool.name.to_owned(),
            title: None,
            description: tool.description.to_owned(),
            input_schema_json: tool.input_schema.to_owned(),
            output_schema_json: tool.output_schema.map(str::to_owned),
            effects: Effects::READ_ONLY | Effects::IDEMPOTENT,
        };
        TOOLS.iter().map(definition).collect()
    }

    fn call(&mut self, name: &str, arguments_json: &str) -> Outcome {
        let Some(tool) = TOOLS.iter().find(|tool| tool.name == name) else { return Outcome::unknown_tool(name) };
        match Arguments::parse(arguments_json) {
            Ok(given) => (tool.run)(&given),
            Err(reason) => Outcome::error(reason),
        }
    }
}

firebox_sdk::plugin!(Conformance: tool);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tool_that_ends_returns_an_answer() {
        let mut plugin = Conformance::init("{}").unwrap();
        let tools = plugin.definitions();
        assert!(tools.iter().any(|tool| tool.name == "test_error_handling"));
        for tool in tools.iter().filter(|tool| !tool.name.starts_with("fault_")) {
            let outcome = plugin.call(&tool.name, r#"{"steps": 1, "region": "north"}"#);
            assert!(!outcome.content.is_empty(), "{}", tool.name);
            assert_eq!(outcome.is_error, tool.name == "test_error_handling", "{}", tool.name);
        }
    }
}
