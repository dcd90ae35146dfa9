//! The calls of one assistant turn: what the model wrote, which of them may run, and the messages they become.

use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, OnceLock};

use firebox_contract::limits::{SCHEMA_REASON_BYTES_MAX, TOOL_CALLS_PER_ROUND_MAX, TOOL_REPEATS_MAX};
use firebox_contract::{
    Decision, Message, Permission, Prompt, Role, ToolCall, ToolDefinition, ToolOptions, ToolOutcome,
};
use serde_json::Value;

use super::{Offer, Origin, error};
use crate::arguments;
use crate::bill::Bill;
use crate::round::Transcript;
use crate::toolcall::Piece;

/// What a request remembers of its calls over all rounds.
pub(crate) struct Book {
    id: fn(usize) -> String,
    /// Ids the conversation already has.
    taken: BTreeSet<String>,
    next: usize,
    allowed: usize,
    repeats: HashMap<u64, usize>,
}

impl Book {
    pub(crate) fn new(prompt: &Prompt, id: fn(usize) -> String) -> Self {
        let messages = if let Prompt::Chat(messages) = prompt { messages.as_slice() } else { &[] };
        let calls = messages.iter().flat_map(|message| &message.tool_calls);
        let taken: BTreeSet<String> = calls.map(|call| call.id.clone()).collect();
        Self { id, next: taken.len(), taken, allowed: 0, repeats: HashMap::new() }
    }

    fn fresh_id(&mut self) -> String {
        loop {
            let id = (self.id)(self.next);
            self.next += 1;
            if !self.taken.contains(&id) {
                return id;
            }
        }
    }

    /// How often this call was made so far, this time included. Arguments that mean the same are the same.
    fn count(&mut self, name: &str, arguments: &Result<Value, String>, written: &str) -> usize {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        match arguments {
            Ok(arguments) => {
                let mut canonical = arguments.clone();
                canonical.sort_all_objects();
                canonical.to_string().hash(&mut hasher);
            }
            Err(_) => written.hash(&mut hasher),
        }
        let count = self.repeats.entry(hasher.finish()).or_default();
        *count += 1;
        *count
    }
}

/// What is to become of a call.
pub(crate) enum Fate {
    /// It runs, once its arguments are checked.
    Run(Box<Ready>),
    /// It does not; the reason is for the model.
    Refused(Decision, String),
    /// The client runs it.
    Client,
}

/// A call that may run.
pub(crate) struct Ready {
    pub(crate) tool: ToolDefinition,
    pub(crate) origin: Origin,
    pub(crate) ask: bool,
    pub(crate) arguments: Value,
}

/// One call of a turn.
pub(crate) struct Made {
    pub(crate) id: String,
    /// The call as the model wrote it; `None` where it wrote none that can be understood.
    pub(crate) call: Option<ToolCall>,
    written: String,
    pub(crate) fate: Fate,
    pub(crate) started: bool,
    /// What was decided just before it ran.
    pub(crate) ruled: Arc<OnceLock<Decision>>,
    pub(crate) outcome: Option<ToolOutcome>,
}

impl Made {
    /// What is decided about a call that runs, or ran.
    pub(crate) fn decision(&self) -> Decision {
        match &self.fate {
            Fate::Refused(decision, _) => *decision,
            Fate::Run(ready) => {
                let unasked = if ready.ask { Decision::Declined } else { Decision::Allowed };
                self.ruled.get().copied().unwrap_or(unasked)
            }
            Fate::Client => Decision::Allowed,
        }
    }
}

/// One assistant turn that calls tools.
pub(crate) struct Turn {
    /// What the model said.
    said: String,
    /// What the reader saw of it, after the text stage.
    emitted: String,
    pub(crate) calls: Vec<Made>,
    /// A call was made once too often.
    pub(crate) looped: bool,
}

impl Turn {
    pub(crate) fn new(transcript: Transcript, offer: &Offer, options: &ToolOptions, book: &mut Book) -> Self {
        let mut pieces = transcript.calls;
        let is_client = |piece: &Piece| match piece {
            Piece::Call { name, .. } => offer.find(name).is_some_and(|found| found.1 == Origin::Client),
            _ => false,
        };
        if !options.parallel && pieces.first().is_some_and(is_client) {
            // The client asked for one call at a time; it gets one.
            pieces.truncate(1);
        }
        let mut turn = Self { said: transcript.text, emitted: transcript.emitted, calls: Vec::new(), looped: false };
        for (index, piece) in pieces.into_iter().enumerate() {
            turn.take(index, piece, offer, options, book);
        }
        turn
    }

    fn take(&mut self, index: usize, piece: Piece, offer: &Offer, options: &ToolOptions, book: &mut Book) {
        let id = book.fresh_id();
        let (call, written, fate) = match piece {
            Piece::Text(_) => return,
            Piece::Malformed { written, reason } => (None, written, Fate::Refused(Decision::Rejected, reason)),
            Piece::Call { name, arguments_json } => {
                let arguments = arguments::read(&arguments_json);
                let count = book.count(&name, &arguments, &arguments_json);
                let mut fate = fate(&name, index, arguments, offer, options);
                if !matches!(fate, Fate::Client) {
                    self.looped |= count >= TOOL_REPEATS_MAX;
                }
                if matches!(fate, Fate::Run(_)) {
                    if book.allowed >= options.calls_max {
                        let reason =
                            format!("{} tool calls were made, which is all; answer with what there is", book.allowed);
                        fate = Fate::Refused(Decision::Rejected, reason);
                    } else {
                        book.allowed += 1;
                    }
                }
                (Some(ToolCall { id: id.clone(), name, arguments_json }), String::new(), fate)
            }
        };
        self.calls.push(Made { id, call, written, fate, started: false, ruled: Arc::default(), outcome: None });
    }

    /// Whether the client has to run some of the calls.
    pub(crate) fn has_client(&self) -> bool {
        self.calls.iter().any(|made| matches!(made.fate, Fate::Client))
    }

    /// Lets none of the host's calls run.
    pub(crate) fn refuse(&mut self, reason: &str) {
        for made in &mut self.calls {
            if let Fate::Run(_) = made.fate {
                made.fate = Fate::Refused(Decision::Rejected, reason.to_owned());
            }
        }
    }

    /// Answers every refused call in its tool's place.
    pub(crate) fn answer_refused(&mut self, bill: &mut Bill) {
        for made in &mut self.calls {
            if let (Fate::Refused(decision, reason), None) = (&made.fate, &made.outcome) {
                let outcome = error(reason);
                if let Some(call) = &made.call {
                    bill.record_call(call, *decision, &outcome);
                }
                made.outcome = Some(outcome);
            }
        }
    }

    /// The turn as the model sees it in the next round.
    pub(crate) fn conversation(&self) -> Vec<Message> {
        let mut said = self.said.clone();
        // What the model wrote stays visible to it as plain text, so that it can see its own mistake.
        self.calls.iter().for_each(|made| said.push_str(&made.written));
        self.messages(said, |_| true)
    }

    /// The turn as it is kept: the text as the reader saw it, and calls with their results. A call that could not be
    /// understood is neither.
    pub(crate) fn history(&self) -> Vec<Message> {
        let messages = self.messages(self.emitted.clone(), |made| made.call.is_some());
        let empty = messages.len() == 1 && self.emitted.is_empty() && messages[0].tool_calls.is_empty();
        if empty { Vec::new() } else { messages }
    }

    fn messages(&self, said: String, kept: impl Fn(&Made) -> bool) -> Vec<Message> {
        let mut assistant = Message::text(Role::Assistant, said);
        assistant.tool_calls = self.calls.iter().filter_map(renderable).collect();
        let results = self.calls.iter().filter(|made| kept(made)).filter_map(result);
        std::iter::once(assistant).chain(results).collect()
    }
}

/// The call with arguments a template can render, whatever the model wrote.
fn renderable(made: &Made) -> Option<ToolCall> {
    let mut call = made.call.clone()?;
    if arguments::read(&call.arguments_json).is_err() {
        "{}".clone_into(&mut call.arguments_json);
    }
    Some(call)
}

fn result(made: &Made) -> Option<Message> {
    if matches!(made.fate, Fate::Client) {
        return None;
    }
    let content = made.outcome.as_ref().map_or("error: it was cut off before it ended", |outcome| &outcome.content);
    Some(Message {
        tool_call_id: Some(made.id.clone()),
        name: made.call.as_ref().map(|call| call.name.clone()),
        ..Message::text(Role::Tool, content)
    })
}

/// What is wrong with a call without arguments of a tool that needs some: models that write their arguments in a way nobody
/// understands seem to have none. A client's tool that is called with nothing would run with nothing.
fn missing(tool: &ToolDefinition, arguments: &Value) -> Option<String> {
    if arguments.as_object().is_none_or(|arguments| !arguments.is_empty()) {
        return None;
    }
    let schema: Value = serde_json::from_str(&tool.input_schema_json).ok()?;
    let required = schema.get("required")?.as_array()?;
    let names: Vec<String> = required.iter().map(Value::to_string).collect();
    let reason = format!("the call has no arguments, and the tool needs {}", names.join(", "));
    (!names.is_empty()).then(|| reason.chars().take(SCHEMA_REASON_BYTES_MAX).collect())
}

fn fate(name: &str, index: usize, arguments: Result<Value, String>, offer: &Offer, options: &ToolOptions) -> Fate {
    let rejected = |reason: String| Fate::Refused(Decision::Rejected, reason);
    if index >= TOOL_CALLS_PER_ROUND_MAX {
        return rejected(format!("more than {TOOL_CALLS_PER_ROUND_MAX} calls at once; make fewer"));
    }
    if index > 0 && !options.parallel {
        return rejected("only one call at a time is taken; make this one in your next turn".to_owned());
    }
    if offer.is_denied(name) {
        return Fate::Refused(Decision::Denied, format!("the tool \"{name}\" may not be called here"));
    }
    let Some((tool, origin, permission)) = offer.find(name) else {
        return rejected(format!("there is no tool \"{name}\"; the tools are {}", offer.names()));
    };
    match arguments {
        Err(reason) => rejected(reason),
        Ok(arguments) if origin == Origin::Client => match missing(tool, &arguments) {
            Some(reason) => rejected(reason),
            None => Fate::Client,
        },
        Ok(arguments) => {
            let ask = permission == Permission::Ask;
            Fate::Run(Box::new(Ready { tool: tool.clone(), origin, ask, arguments }))
        }
    }
}
