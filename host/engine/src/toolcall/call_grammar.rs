//! Grammars of turns that call tools. Each tool-call format writes its own with the parts here.

use firebox_contract::Grammar;

use super::call_object;

/// A tool that a turn may call.
pub struct CallableTool {
    /// Its name.
    pub name: String,
    /// The form of its arguments, which are a JSON object.
    pub arguments: Grammar,
}

/// The grammars of a tool-call format. Both get the tools and the maximum number of calls.
pub struct CallGrammar {
    /// A turn of one or more calls and nothing else. It begins as the format's `force` says.
    pub only: fn(&[CallableTool], usize) -> Grammar,
    /// A turn of text, in which there may be calls.
    pub in_text: fn(&[CallableTool], usize) -> Grammar,
}

/// White space between the parts of a call, or none.
pub(super) fn space() -> Grammar {
    Grammar::optional(Grammar::Regex("[ \\t\\r\\n]{1,8}".to_owned()))
}

/// `{"name": …, "<key>": {…}}` for one of the tools.
pub(super) fn object(tools: &[CallableTool], key: &str) -> Grammar {
    let call = |tool: &CallableTool| {
        let head = format!("{{\"name\": {}, \"{key}\":", call_object::quoted(&tool.name));
        Grammar::Sequence(vec![Grammar::Text(head), space(), tool.arguments.clone(), space(), Grammar::text("}")])
    };
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
