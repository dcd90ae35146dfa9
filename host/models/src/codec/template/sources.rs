//! The sources of a checkpoint's chat templates, in the order of transformers.

use firebox_contract::limits;
use serde_json::Value;

use super::DEFAULT;
use crate::checkpoint::Checkpoint;
use crate::checkpoint::json::JsonFile;
use crate::error::ModelError;

/// The folder of named templates.
const FOLDER: &str = "additional_chat_templates";

/// The templates by name. Template files have priority over `tokenizer_config.json`, whose templates are then ignored.
/// `chat_template.json`, which processors of several media write, is read if there is no other source.
///
/// # Errors
/// A file cannot be read or has no template.
pub(super) fn read(checkpoint: &Checkpoint, settings: Option<&JsonFile>) -> Result<Vec<(String, String)>, ModelError> {
    let mut sources = Vec::new();
    if let Some(text) = checkpoint.text("chat_template.jinja", limits::CHAT_TEMPLATE_BYTES_MAX)? {
        sources.push((DEFAULT.to_owned(), text));
    }
    for file in checkpoint.source.names_in(FOLDER)? {
        let Some(name) = file.strip_suffix(".jinja") else { continue };
        let text = checkpoint.text(&format!("{FOLDER}/{file}"), limits::CHAT_TEMPLATE_BYTES_MAX)?;
        // If a name occurs twice, the later template is used, as in transformers.
        sources.retain(|(other, _)| other != name);
        sources.extend(text.map(|text| (name.to_owned(), text)));
    }
    if sources.is_empty() {
        sources = settings.map(named).transpose()?.unwrap_or_default();
    }
    if sources.is_empty() {
        sources = checkpoint.json("chat_template.json")?.as_ref().map(named).transpose()?.unwrap_or_default();
    }
    Ok(sources)
}

/// `chat_template` of a JSON file: text, a list of named ones, or an object of them.
fn named(file: &JsonFile) -> Result<Vec<(String, String)>, ModelError> {
    let wrong = || file.wrong("chat_template", "is not text and not a list of templates with name and template");
    let text = |value: &Value| value.as_str().map(str::to_owned);
    match file.get("chat_template") {
        None => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(vec![(DEFAULT.to_owned(), text.clone())]),
        Some(Value::Array(list)) => {
            let pair = |entry: &Value| Some((text(entry.get("name")?)?, text(entry.get("template")?)?));
            let mut sources: Vec<(String, String)> = Vec::new();
            for entry in list {
                let (name, template) = pair(entry).ok_or_else(wrong)?;
                sources.retain(|(other, _)| *other != name);
                sources.push((name, template));
            }
            Ok(sources)
        }
        Some(Value::Object(map)) => {
            map.iter().map(|(name, value)| text(value).map(|text| (name.clone(), text)).ok_or_else(wrong)).collect()
        }
        Some(_) => Err(wrong()),
    }
}
