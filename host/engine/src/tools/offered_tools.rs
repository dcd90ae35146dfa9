//! The tools that a request offers to the model: those of its plugins, of the tool source and of the client.

use std::collections::HashSet;
use std::sync::Arc;

use firebox_contract::{Error, LogLine, Permission, ToolChoice, ToolDefinition, ToolOptions, limits};

use super::{schema, warning};
use crate::toolcall::{ToolCallFormat, supported};

/// Where a tool runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ToolOrigin {
    /// A plugin of the request's chain.
    Plugin,
    /// The engine's tool source, such as MCP servers.
    Source,
    /// The client. A call of its tool ends the generation.
    Client,
}

/// What the offered tools are chosen from.
pub(crate) struct OfferInput<'a> {
    pub(crate) plugins: &'a [ToolDefinition],
    pub(crate) source: Vec<ToolDefinition>,
    pub(crate) options: &'a ToolOptions,
    /// The tool-call format of the checkpoint's chat template, if it is known.
    pub(crate) format: Option<&'static ToolCallFormat>,
    /// Whether the prompt is a conversation. A text prompt has no tools.
    pub(crate) chat: bool,
}

/// The tools of one request.
#[derive(Debug, Default)]
pub(crate) struct OfferedTools {
    /// Shared with the thread that renders the prompt.
    definitions: Arc<Vec<ToolDefinition>>,
    /// For each definition, where it runs and whether it needs approval.
    permissions: Vec<(ToolOrigin, Permission)>,
    /// Names of tools that policy denies.
    denied: HashSet<String>,
    /// The opening of a tool call that the first turn is forced to begin with, if one is required.
    pub(crate) forced: Option<String>,
}

impl OfferedTools {
    /// Chooses the tools. Tools that are left out are named in `log`.
    ///
    /// # Errors
    /// `Error::Usage` if the request's own tools or its tool choice are invalid, `Error::TooLarge` if it has too many tools.
    pub(crate) fn new(mut input: OfferInput<'_>, log: &mut Vec<LogLine>) -> Result<Self, Error> {
        let options = input.options;
        check_request(&input)?;
        let mut offered = Self::default();
        if !input.chat || options.choice == ToolChoice::None {
            return Ok(offered);
        }
        if options.rounds > 0 {
            for tool in input.plugins {
                offered.add_host(tool.clone(), ToolOrigin::Plugin, options);
            }
            let listed = std::mem::take(&mut input.source);
            offered.add_source(listed, &input, log);
        }
        for tool in &options.client {
            if offered.find(&tool.name).is_some() {
                let name = &tool.name;
                return Err(Error::Usage(format!(
                    "the tool \"{name}\" has the name of a tool of this host; give it another name"
                )));
            }
            offered.add(tool.clone(), ToolOrigin::Client, Permission::Allow);
        }
        offered.check_size()?;
        offered.forced = offered.force(&options.choice, input.format)?;
        Ok(offered)
    }

    fn add_source(&mut self, tools: Vec<ToolDefinition>, input: &OfferInput<'_>, log: &mut Vec<LogLine>) {
        if !tools.is_empty() && input.format.is_none() {
            let count = tools.len();
            return log.push(warning(format!(
                "{count} tools are not offered: the model's chat template has no known tool-call format (known: {})",
                supported()
            )));
        }
        for tool in tools {
            let left_out = if self.find(&tool.name).is_some() {
                Some("a plugin has a tool of that name".to_owned())
            } else if self.definitions.len() + input.options.client.len() >= limits::TOOLS_MAX {
                Some(format!("more than {} tools", limits::TOOLS_MAX))
            } else {
                check_definition(&tool).err()
            };
            match left_out {
                Some(reason) => log.push(warning(format!("tool \"{}\" is not offered: {reason}", shown(&tool.name)))),
                None => self.add_host(tool, ToolOrigin::Source, input.options),
            }
        }
    }

    fn add_host(&mut self, tool: ToolDefinition, origin: ToolOrigin, options: &ToolOptions) {
        match options.policy.stricter(&options.tightened, &tool.name) {
            Permission::Deny => {
                self.denied.insert(tool.name);
            }
            permission => self.add(tool, origin, permission),
        }
    }

    fn add(&mut self, tool: ToolDefinition, origin: ToolOrigin, permission: Permission) {
        Arc::make_mut(&mut self.definitions).push(tool);
        self.permissions.push((origin, permission));
    }

    fn check_size(&self) -> Result<(), Error> {
        let (count, limit) = (self.definitions.len(), limits::TOOLS_MAX);
        if count > limit {
            return Err(Error::TooLarge(format!(
                "the request has {count} tools where {limit} are allowed; leave some out"
            )));
        }
        Ok(())
    }

    fn force(&self, choice: &ToolChoice, format: Option<&ToolCallFormat>) -> Result<Option<String>, Error> {
        let named = match choice {
            ToolChoice::Auto | ToolChoice::None => return Ok(None),
            ToolChoice::Required => None,
            ToolChoice::Named(name) => Some(name.as_str()),
        };
        if let Some(name) = named.filter(|name| self.find(name).is_none()) {
            return Err(Error::Usage(format!(
                "the tool \"{name}\" that must be called is not among the tools offered"
            )));
        }
        if self.definitions.is_empty() {
            return Err(Error::Usage("a tool must be called and none is offered; add tools".to_owned()));
        }
        // `check_request` has refused templates without a known format.
        Ok(format.map(|format| (format.force)(named)))
    }

    /// The definitions that the template renders.
    pub(crate) fn definitions(&self) -> &Arc<Vec<ToolDefinition>> {
        &self.definitions
    }

    /// The tool with this name, where it runs, and whether it needs approval.
    pub(crate) fn find(&self, name: &str) -> Option<(&ToolDefinition, ToolOrigin, Permission)> {
        let at = self.definitions.iter().position(|tool| tool.name == name)?;
        let (origin, permission) = self.permissions.get(at)?;
        Some((self.definitions.get(at)?, *origin, *permission))
    }

    pub(crate) fn is_denied(&self, name: &str) -> bool {
        self.denied.contains(name)
    }

    /// The names of all offered tools, for an error text.
    pub(crate) fn names(&self) -> String {
        self.definitions.iter().map(|tool| tool.name.as_str()).collect::<Vec<_>>().join(", ")
    }
}

/// Checks the request's own tools and its tool choice.
fn check_request(input: &OfferInput<'_>) -> Result<(), Error> {
    let options = input.options;
    let forced = matches!(options.choice, ToolChoice::Required | ToolChoice::Named(_));
    if options.client.is_empty() && !forced {
        return Ok(());
    }
    if !input.chat {
        return Err(Error::Usage("a text prompt has no tools; send a chat completion".to_owned()));
    }
    if input.format.is_none() && options.choice != ToolChoice::None {
        return Err(Error::Usage(format!(
            "this model's chat template has no known tool-call format (known: {}); leave the tools out, or use another \
             model",
            supported()
        )));
    }
    let mut seen = HashSet::new();
    for tool in &options.client {
        let name = shown(&tool.name);
        if !seen.insert(tool.name.as_str()) {
            return Err(Error::Usage(format!("the tool \"{name}\" is given twice")));
        }
        check_definition(tool)
            .map_err(|reason| Error::Usage(format!("the tool \"{name}\" cannot be used: {reason}")))?;
    }
    Ok(())
}

fn check_definition(tool: &ToolDefinition) -> Result<(), String> {
    let name = tool.name.as_str();
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
    if name.is_empty() || name.len() > limits::TOOL_NAME_BYTES_MAX || !plain {
        let limit = limits::TOOL_NAME_BYTES_MAX;
        return Err(format!("a name is 1 to {limit} letters, digits, '_', '-' and '.'"));
    }
    schema::check_text(&tool.input_schema_json)
}

/// The name of a third-party tool, short enough for a message.
fn shown(name: &str) -> String {
    name.chars().take(80).collect()
}
