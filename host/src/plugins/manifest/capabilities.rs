//! `[capabilities]` of a manifest: what the plugin asks for, as a table with the parameters of each kind, or as a list.

use firebox_contract::limits;
use firebox_sandbox::Capability;
use toml::Value;

use super::shown;

/// The capabilities as texts, such as `keyvalue:notes`.
///
/// # Errors
/// What is wrong with the value, and how to write it.
pub(super) fn asks(value: Option<&Value>) -> Result<Vec<String>, String> {
    let asks = match value {
        None => Vec::new(),
        Some(Value::Array(list)) => list.iter().map(text).collect::<Result<_, _>>()?,
        Some(Value::Table(table)) => {
            let mut asks = Vec::new();
            for (name, value) in table {
                asks.extend(of_kind(name, value)?);
            }
            asks
        }
        Some(_) => return Err("\"capabilities\" must be a table, such as [capabilities] with clock = true".to_owned()),
    };
    if asks.len() > limits::CAPABILITIES_MAX {
        return Err(format!("it asks for {} capabilities; at most {}", asks.len(), limits::CAPABILITIES_MAX));
    }
    Ok(asks)
}

fn text(value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        _ => Err("a capability must be a text".to_owned()),
    }
}

/// The capabilities of one kind: `clock = true` or `keyvalue = ["notes"]`.
fn of_kind(name: &str, value: &Value) -> Result<Vec<String>, String> {
    let has_parameter = Capability::from_name(name).is_some_and(Capability::has_parameter);
    match value {
        // An unknown name is refused with the names of all capabilities when the plugin is loaded.
        Value::Boolean(true) if !has_parameter => Ok(vec![name.to_owned()]),
        Value::Boolean(false) => Ok(Vec::new()),
        Value::String(parameter) => Ok(vec![format!("{name}:{parameter}")]),
        Value::Array(parameters) => {
            parameters.iter().map(|parameter| Ok(format!("{name}:{}", text(parameter)?))).collect()
        }
        _ if has_parameter => Err(format!("\"{}\" must list what it needs, such as {name} = [\"NAME\"]", shown(name))),
        _ => Err(format!("\"{}\" must be true or false", shown(name))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Vec<String>, String> {
        let document: toml::Table = toml::from_str(text).expect("TOML");
        asks(document.get("capabilities"))
    }

    #[test]
    fn a_table_and_a_list_ask_for_the_same() {
        let table = "[capabilities]\nclock = true\nrandom = false\nfiles = \"docs\"\nkeyvalue = [\"notes\", \"cache\"]\n\
                     http = [\"GET https://example.org/\"]\n";
        let list = "capabilities = [\"clock\", \"files:docs\", \"keyvalue:notes\", \"keyvalue:cache\", \
                    \"http:GET https://example.org/\"]";
        let sorted = |text| {
            let mut asks = of(text).expect("valid");
            asks.sort();
            asks
        };
        assert_eq!(sorted(table), {
            let mut asks = sorted(list);
            asks.sort();
            asks
        });
        assert_eq!(of("").expect("none"), [""; 0]);
    }

    #[test]
    fn other_values_are_refused_with_what_to_write() {
        for (text, expected) in [
            ("capabilities = true", "must be a table"),
            ("capabilities = [1]", "must be a text"),
            ("[capabilities]\nclock = 1", "must be true or false"),
            ("[capabilities]\nkeyvalue = true", "keyvalue = [\"NAME\"]"),
            ("[capabilities]\nkeyvalue = [1]", "must be a text"),
            ("[capabilities]\nhttp = { url = 1 }", "must list"),
        ] {
            let error = of(text).expect_err(text);
            assert!(error.contains(expected), "{text}: {error}");
        }
        let many = format!("capabilities = [{}]", "\"clock\",".repeat(limits::CAPABILITIES_MAX + 1));
        assert!(of(&many).is_err());
    }
}
