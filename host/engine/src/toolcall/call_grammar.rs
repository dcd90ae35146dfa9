//! Grammars of turns that call tools. Each tool-call format writes its own with the parts here.

use firebox_contract::{ArgumentStyle, Grammar};

use super::call_object;

/// A tool that a turn may call.
pub struct CallableTool {
    /// Its name.
    pub name: String,
    /// The text of the JSON Schema of its arguments, which are an object; any object without one.
    pub schema: Option<String>,
}

impl CallableTool {
    /// Its arguments as a JSON object.
    pub(super) fn object(&self) -> Grammar {
        self.schema.clone().map_or(Grammar::JsonObject, Grammar::JsonSchema)
    }

    /// Its arguments in another notation.
    pub(super) fn arguments(&self, style: ArgumentStyle) -> Grammar {
        Grammar::Arguments { schema: self.schema.clone(), style }
    }
}

/// The grammars of a tool-call format. Both get the tools and the maximum number of calls.
pub struct CallGrammar {
    /// A turn of one or more calls and nothing else. It begins as the format's `force` says.
    pub only: fn(&[CallableTool], usize) -> Grammar,
    /// A turn of text, in which there may be calls. `None` if the grammar cannot see where a call begins.
    pub in_text: Option<fn(&[CallableTool], usize) -> Grammar>,
}

/// White space between the parts of a call, or none.
pub(super) fn space() -> Grammar {
    Grammar::optional(Grammar::Regex("[ \\t\\r\\n]{1,8}".to_owned()))
}

/// `{"name": …, "<key>": {…}}` for one of the tools.
pub(super) fn object(tools: &[CallableTool], key: &str) -> Grammar {
    one_of(tools, |tool| {
        let head = format!("{{\"name\": {}, \"{key}\":", call_object::quoted(&tool.name));
        Grammar::Sequence(vec![Grammar::Text(head), space(), tool.object(), space(), Grammar::text("}")])
    })
}

/// What `call` writes for one of the tools.
pub(super) fn one_of(tools: &[CallableTool], call: impl Fn(&CallableTool) -> Grammar) -> Grammar {
    Grammar::Choice(tools.iter().map(call).collect())
}

/// One to `most` times `item`, with `between` between two of them.
pub(super) fn list(item: Grammar, between: Grammar, most: usize) -> Grammar {
    if most <= 1 {
        return item;
    }
    let further = Grammar::Sequence(vec![between, item.clone()]);
    Grammar::Sequence(vec![item, Grammar::Repeat { part: Box::new(further), min: 0, max: most - 1 }])
}

/// `text`, in which the texts of control tokens are those tokens.
pub(super) fn marker(text: &str) -> Grammar {
    Grammar::Marker(text.to_owned())
}

/// Up to `most` calls in text: `call` begins after the text up to the first `open`, which is included.
pub(super) fn calls_in_text(open: &str, call: Grammar, most: usize) -> Grammar {
    let call = Grammar::Sequence(vec![Grammar::through(open), call]);
    let calls = Grammar::Repeat { part: Box::new(call), min: 0, max: most };
    Grammar::Sequence(vec![calls, Grammar::Without(vec![open.to_owned()])])
}

/// Text, in which there may be one section of calls. `calls` begins after `open`, and no text has `begin`, the mark of a call.
pub(super) fn section_in_text(open: &str, begin: &str, calls: Grammar) -> Grammar {
    let through = Grammar::Through { end: open.to_owned(), without: vec![begin.to_owned()] };
    let section = Grammar::optional(Grammar::Sequence(vec![through, calls]));
    Grammar::Sequence(vec![section, Grammar::Without(vec![open.to_owned(), begin.to_owned()])])
}
