//! The rules of the configuration.

use firebox_sdk::Arguments;

/// The rules, in the order in which they are written.
#[derive(Default)]
pub(crate) struct Rules {
    deny: Vec<String>,
    /// In lower case.
    deny_values: Vec<String>,
    set: Vec<SetRule>,
    hide: Vec<String>,
}

/// An argument to set.
struct SetRule {
    tool: String,
    argument: String,
    json: String,
}

impl Rules {
    pub(crate) fn parse(config_json: &str) -> Result<Self, String> {
        let config = Arguments::parse_config(config_json)?;
        config.only(&["deny", "deny_values", "set", "hide"])?;
        let texts = |key: &str| config.texts(key).map(Option::unwrap_or_default);
        let deny_values: Vec<String> = texts("deny_values")?.iter().map(|text| text.to_lowercase()).collect();
        let hide = texts("hide")?;
        if deny_values.iter().chain(&hide).any(String::is_empty) {
            return Err("an empty text is in everything; remove it from \"deny_values\" and \"hide\"".to_owned());
        }
        let set = texts("set")?.iter().map(|rule| SetRule::parse(rule)).collect::<Result<_, _>>()?;
        Ok(Self { deny: texts("deny")?, deny_values, set, hide })
    }

    /// The pattern that refuses the tool `name`.
    pub(crate) fn denies(&self, name: &str) -> Option<&str> {
        self.deny.iter().find(|pattern| matches(pattern, name)).map(String::as_str)
    }

    /// The text that one of `strings` contains and none may.
    pub(crate) fn denies_value(&self, strings: &[String]) -> Option<&str> {
        let strings: Vec<String> = strings.iter().map(|text| text.to_lowercase()).collect();
        let denied = self.deny_values.iter().find(|text| strings.iter().any(|string| string.contains(text.as_str())));
        denied.map(String::as_str)
    }

    /// Sets arguments of the tool `name`. Returns whether one has changed.
    pub(crate) fn set(&self, name: &str, arguments: &mut Arguments) -> bool {
        let mut changed = false;
        for rule in self.set.iter().filter(|rule| matches(&rule.tool, name)) {
            if arguments.get(&rule.argument) != Some(rule.json.as_str()) {
                arguments.set(&rule.argument, &rule.json);
                changed = true;
            }
        }
        changed
    }

    /// `content` with hidden lines, if there is one to hide.
    pub(crate) fn hide(&self, content: &str) -> Option<String> {
        let is_hidden = |line: &str| self.hide.iter().any(|text| line.contains(text.as_str()));
        if !content.lines().any(is_hidden) {
            return None;
        }
        let lines: Vec<&str> = content.lines().map(|line| if is_hidden(line) { "[hidden]" } else { line }).collect();
        Some(lines.join("\n"))
    }
}

impl SetRule {
    fn parse(rule: &str) -> Result<Self, String> {
        let wrong =
            || format!("the rule \"{rule}\" of \"set\" must be TOOL ARGUMENT JSON, such as \"search limit 10\"");
        let (tool, rest) = rule.split_once(' ').ok_or_else(wrong)?;
        let (argument, json) = rest.split_once(' ').ok_or_else(wrong)?;
        // A value is JSON if it is one in an object.
        Arguments::parse(&format!("{{\"value\":{json}}}")).map_err(|_| wrong())?;
        Ok(Self { tool: tool.to_owned(), argument: argument.to_owned(), json: json.trim().to_owned() })
    }
}

/// Whether `name` has the form of `pattern`, in which a `*` stands for any text.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((head, tail)) => name.strip_prefix(head).is_some_and(|rest| {
            (0..=rest.len()).filter(|at| rest.is_char_boundary(*at)).any(|at| matches(tail, &rest[at..]))
        }),
    }
}
