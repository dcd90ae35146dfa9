//! Which tools a request's model is shown: the plugins', the sources', the client's own.

use std::collections::HashSet;
use std::sync::Arc;

use firebox_contract::{Error, LogLine, Permission, ToolChoice, ToolDefinition, ToolOptions, limits};

use super::warning;
use crate::schema;
use crate::toolcall::{ToolCallFormat, supported};

/// Who runs a tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A plugin of the request's chain.
    Plugin,
    /// The engine's tool source.
    Source,
    /// The client, after the generation.
    Client,
}

/// What an offer is made of.
pub(crate) struct Offering<'a> {
    pub(crate) plugins: &'a [ToolDefinition],
    pub(crate) source: Vec<ToolDefinition>,
    pub(crate) options: &'a ToolOptions,
    /// The format the checkpoint's template writes calls in, if it is known.
    pub(crate) format: Option<&'static ToolCallFormat>,
    /// The prompt is a conversation; bare text has no tools.
    pub(crate) chat: bool,
}

/// The tools of one request.
#[derive(Debug, Default)]
pub(crate) struct Offer {
    /// Shared with whoever renders them.
    definitions: Arc<Vec<ToolDefinition>>,
    rows: Vec<(Origin, Permission)>,
    /// Tools that exist and that policy forbids.
    denied: HashSet<String>,
    /// What the first turn begins with, where it must be a call.
    pub(crate) forced: Option<String>,
}

impl Offer {
    /// Puts the offer together. Lines for the log say what was left out.
    ///
    /// # Errors
    /// `Error::Usage` when the request's own part of it cannot be meant, `Error::TooLarge` when it is too much.
    pub(crate) fn new(mut offering: Offering<'_>, log: &mut Vec<LogLine>) -> Result<Self, Error> {
        let options = offering.options;
        check_request(&offering)?;
        let mut offer = Self::default();
        if !offering.chat || options.choice == ToolChoice::None {
            return Ok(offer);
        }
        if options.rounds > 0 {
            for tool in offering.plugins {
                offer.add_host(tool.clone(), Origin::Plugin, options);
            }
            let listed = std::mem::take(&mut offering.source);
            offer.add_source(listed, &offering, log);
        }
        for tool in &options.client {
            if offer.find(&tool.name).is_some() {
                let name = &tool.name;
                return Err(Error::Usage(format!(
                    "the tool \"{name}\" has the name of a tool of this host; give it another name"
                )));
            }
            offer.add(tool.clone(), Origin::Client, Permission::Allow);
        }
        offer.check_size()?;
        offer.forced = offer.force(&options.choice, offering.format)?;
        Ok(offer)
    }

    fn add_source(&mut self, tools: Vec<ToolDefinition>, offering: &Offering<'_>, log: &mut Vec<LogLine>) {
        if !tools.is_empty() && offering.format.is_none() {
            let count = tools.len();
            return log.push(warning(format!(
                "{count} tools are not offered: the model's chat template writes tool calls in no known way (known: {})",
                supported()
            )));
        }
        for tool in tools {
            let left_out = if self.find(&tool.name).is_some() {
                Some("a plugin has a tool of that name".to_owned())
            } else if self.definitions.len() + offering.options.client.len() >= limits::TOOLS_MAX {
                Some(format!("more than {} tools", limits::TOOLS_MAX))
            } else {
                check_definition(&tool).err()
            };
            match left_out {
                Some(reason) => log.push(warning(format!("tool \"{}\" is not offered: {reason}", shown(&tool.name)))),
                None => self.add_host(tool, Origin::Source, offering.options),
            }
        }
    }

    fn add_host(&mut self, tool: ToolDefinition, origin: Origin, options: &ToolOptions) {
        match options.policy.stricter(&options.tightened, &tool.name) {
            Permission::Deny => {
                self.denied.insert(tool.name);
            }
            permission => self.add(tool, origin, permission),
        }
    }

    fn add(&mut self, tool: ToolDefinition, origin: Origin, permission: Permission) {
        Arc::make_mut(&mut self.definitions).push(tool);
        self.rows.push((origin, permission));
    }

    fn check_size(&self) -> Result<(), Error> {
        let (count, limit) = (self.definitions.len(), limits::TOOLS_MAX);
        if count > limit {
            return Err(Error::TooLarge(format!(
                "the request has {count} tools where {limit} are allowed; give fewer"
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
            return Err(Error::Usage("a tool must be called and none is offered; give tools".to_owned()));
        }
        // A template without a known format was refused before.
        Ok(format.map(|format| (format.force)(named)))
    }

    /// What the template renders.
    pub(crate) fn definitions(&self) -> &Arc<Vec<ToolDefinition>> {
        &self.definitions
    }

    /// The tool with this name, who runs it, and whether somebody is asked first.
    pub(crate) fn find(&self, name: &str) -> Option<(&ToolDefinition, Origin, Permission)> {
        let at = self.definitions.iter().position(|tool| tool.name == name)?;
        let (origin, permission) = self.rows.get(at)?;
        Some((self.definitions.get(at)?, *origin, *permission))
    }

    pub(crate) fn is_denied(&self, name: &str) -> bool {
        self.denied.contains(name)
    }

    /// The names, for a model that asked for another.
    pub(crate) fn names(&self) -> String {
        self.definitions.iter().map(|tool| tool.name.as_str()).collect::<Vec<_>>().join(", ")
    }
}

/// What the request itself asks for must be possible.
fn check_request(offering: &Offering<'_>) -> Result<(), Error> {
    let options = offering.options;
    let forced = matches!(options.choice, ToolChoice::Required | ToolChoice::Named(_));
    if options.client.is_empty() && !forced {
        return Ok(());
    }
    if !offering.chat {
        return Err(Error::Usage("bare text has no tools; ask for a chat completion".to_owned()));
    }
    if offering.format.is_none() && options.choice != ToolChoice::None {
        return Err(Error::Usage(format!(
            "this model's chat template writes tool calls in no known way (known: {}); leave the tools out, or use \
             another model",
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

/// A stranger's name, short enough for a message.
fn shown(name: &str) -> String {
    name.chars().take(80).collect()
}
