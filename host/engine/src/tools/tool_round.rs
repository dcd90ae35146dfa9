//! A tool round: the tool calls of one assistant turn, the decision about each, and the messages they become.

use std::sync::{Arc, OnceLock};

use firebox_contract::limits::{SCHEMA_REASON_BYTES_MAX, TOOL_CALLS_PER_ROUND_MAX, TOOL_REPEATS_MAX};
use firebox_contract::{Decision, Message, Permission, Role, ToolCall, ToolDefinition, ToolOptions, ToolOutcome};
use serde_json::{Value, json};

use super::{CallHistory, OfferedTools, ToolOrigin, arguments, refused};
use crate::generation::assistant_turn::Transcript;
use crate::generation::streamed_calls::StreamedCalls;
use crate::generation::usage_guard::UsageGuard;
use crate::toolcall::Piece;

/// What happens to a call.
pub(crate) enum CallDecision {
    /// The host runs it after its arguments are checked.
    Run(Box<RunnableCall>),
    /// It does not run. The reason is for the model.
    Refused(Decision, String),
    /// The client runs it.
    Client,
}

/// A call that the host may run.
pub(crate) struct RunnableCall {
    pub(crate) tool: ToolDefinition,
    pub(crate) origin: ToolOrigin,
    /// Whether it needs approval.
    pub(crate) needs_approval: bool,
    pub(crate) arguments: Value,
}

/// One call of a round.
pub(crate) struct ParsedCall {
    pub(crate) id: String,
    /// The call as the model wrote it. `None` if it is malformed.
    pub(crate) call: Option<ToolCall>,
    /// The text of a malformed call.
    written: String,
    pub(crate) decision: CallDecision,
    pub(crate) started: bool,
    /// The final decision, set just before the call runs.
    pub(crate) final_decision: Arc<OnceLock<Decision>>,
    pub(crate) outcome: Option<ToolOutcome>,
}

impl ParsedCall {
    /// The decision to record for a call that runs or has run.
    pub(crate) fn recorded_decision(&self) -> Decision {
        match &self.decision {
            CallDecision::Refused(decision, _) => *decision,
            CallDecision::Run(call) => {
                let default = if call.needs_approval { Decision::Declined } else { Decision::Allowed };
                self.final_decision.get().copied().unwrap_or(default)
            }
            CallDecision::Client => Decision::Allowed,
        }
    }
}

/// One assistant turn that calls tools.
pub(crate) struct ToolRound {
    /// The text of the turn, before the text stage.
    text: String,
    /// The text as the reader got it, after the text stage.
    emitted: String,
    /// The reasoning of the turn.
    reasoning: String,
    pub(crate) calls: Vec<ParsedCall>,
    /// Whether a call was made `TOOL_REPEATS_MAX` times.
    pub(crate) repeats: bool,
    /// Whether the last call was sent to the client in parts and is not complete.
    pub(crate) ends_cut: bool,
}

impl ToolRound {
    /// Decides about each call of a turn.
    pub(crate) fn new(
        mut transcript: Transcript,
        streamed: &StreamedCalls,
        offered: &OfferedTools,
        options: &ToolOptions,
        history: &mut CallHistory,
    ) -> Self {
        let mut pieces = std::mem::take(&mut transcript.calls);
        let is_client = |piece: &Piece| match piece {
            Piece::Call { name, .. } => offered.find(name).is_some_and(|found| found.1 == ToolOrigin::Client),
            _ => false,
        };
        if !options.parallel && pieces.first().is_some_and(is_client) {
            // The request allows one call at a time, so the client gets one.
            pieces.truncate(1);
        }
        let Transcript { text, emitted, reasoning, .. } = transcript;
        let mut round = Self { text, emitted, reasoning, calls: Vec::new(), repeats: false, ends_cut: false };
        for (index, piece) in pieces.into_iter().enumerate() {
            match streamed.find(index) {
                Some(sent) => round.add_streamed(piece, sent),
                None => round.add(index, piece, offered, options, history),
            }
        }
        round
    }

    fn add(
        &mut self,
        index: usize,
        piece: Piece,
        offered: &OfferedTools,
        options: &ToolOptions,
        history: &mut CallHistory,
    ) {
        let id = history.fresh_id(if let Piece::Call { name, .. } = &piece { name } else { "" });
        let (call, written, decision) = match piece {
            Piece::Text(_) | Piece::Delta { .. } => return,
            Piece::Malformed { written, reason } => (None, written, CallDecision::Refused(Decision::Rejected, reason)),
            Piece::Call { name, arguments_json } => {
                let arguments = arguments::read(&arguments_json);
                let count = history.count(&name, &arguments, &arguments_json);
                let mut decision = decide(&name, index, arguments, offered, options);
                if !matches!(decision, CallDecision::Client) {
                    self.repeats |= count >= TOOL_REPEATS_MAX;
                }
                if matches!(decision, CallDecision::Run(_)) {
                    if history.allowed >= options.calls_max {
                        let reason = format!(
                            "{} tool calls were made, which is the maximum; answer with the results so far",
                            history.allowed
                        );
                        decision = CallDecision::Refused(Decision::Rejected, reason);
                    } else {
                        history.allowed += 1;
                    }
                }
                (Some(ToolCall { id: id.clone(), name, arguments_json }), String::new(), decision)
            }
        };
        let final_decision = Arc::default();
        self.calls.push(ParsedCall { id, call, written, decision, started: false, final_decision, outcome: None });
    }

    /// Adds a call of which the client got all parts. It is the client's, even if the model made a mistake in it.
    fn add_streamed(&mut self, piece: Piece, sent: &ToolCall) {
        self.ends_cut = matches!(piece, Piece::Malformed { .. });
        let final_decision = Arc::default();
        self.calls.push(ParsedCall {
            id: sent.id.clone(),
            call: Some(sent.clone()),
            written: String::new(),
            decision: CallDecision::Client,
            started: false,
            final_decision,
            outcome: None,
        });
    }

    /// Whether the client has to run some of the calls.
    pub(crate) fn has_client_calls(&self) -> bool {
        self.calls.iter().any(|call| matches!(call.decision, CallDecision::Client))
    }

    /// Refuses all calls that the host would run.
    pub(crate) fn refuse_all(&mut self, reason: &str) {
        for call in &mut self.calls {
            if let CallDecision::Run(_) = call.decision {
                call.decision = CallDecision::Refused(Decision::Rejected, reason.to_owned());
            }
        }
    }

    /// Gives every refused call its outcome.
    pub(crate) fn answer_refused(&mut self, usage_guard: &mut UsageGuard) {
        for parsed in &mut self.calls {
            if let (CallDecision::Refused(decision, reason), None) = (&parsed.decision, &parsed.outcome) {
                let outcome = refused(reason);
                if let Some(call) = &parsed.call {
                    usage_guard.record_call(call, *decision, &outcome);
                }
                parsed.outcome = Some(outcome);
            }
        }
    }

    /// The round as the model sees it in the next turn.
    pub(crate) fn conversation(&self) -> Vec<Message> {
        let mut text = self.text.clone();
        // The text of a malformed call stays visible to the model, so that it can see its mistake.
        self.calls.iter().for_each(|call| text.push_str(&call.written));
        let mut messages = self.messages(text, |_| true);
        // The template decides whether the model sees it again: most show it until the next message of the user.
        if let Some(assistant) = messages.first_mut().filter(|_| !self.reasoning.is_empty()) {
            let sent = json!({ "role": "assistant", "content": "", "reasoning_content": self.reasoning });
            assistant.as_sent_json = Some(sent.to_string());
        }
        messages
    }

    /// The round as clients and sessions store it: the text as the reader saw it, and calls with their results. A
    /// malformed call is left out.
    pub(crate) fn history(&self) -> Vec<Message> {
        let messages = self.messages(self.emitted.clone(), |call| call.call.is_some());
        let empty = messages.len() == 1 && self.emitted.is_empty() && messages[0].tool_calls.is_empty();
        if empty { Vec::new() } else { messages }
    }

    fn messages(&self, text: String, includes: impl Fn(&ParsedCall) -> bool) -> Vec<Message> {
        let mut assistant = Message::text(Role::Assistant, text);
        assistant.tool_calls = self.calls.iter().filter_map(renderable_call).collect();
        let results = self.calls.iter().filter(|call| includes(call)).filter_map(result_message);
        std::iter::once(assistant).chain(results).collect()
    }
}

/// The call with arguments that a template can render: `{}` if the model wrote no JSON object.
fn renderable_call(parsed: &ParsedCall) -> Option<ToolCall> {
    let mut call = parsed.call.clone()?;
    if arguments::read(&call.arguments_json).is_err() {
        "{}".clone_into(&mut call.arguments_json);
    }
    Some(call)
}

fn result_message(parsed: &ParsedCall) -> Option<Message> {
    if matches!(parsed.decision, CallDecision::Client) {
        return None;
    }
    let content = parsed.outcome.as_ref().map_or("error: it was cut off before it ended", |outcome| &outcome.content);
    Some(Message {
        tool_call_id: Some(parsed.id.clone()),
        name: parsed.call.as_ref().map(|call| call.name.clone()),
        ..Message::text(Role::Tool, content)
    })
}

/// The error of a call without arguments, if the tool requires some. A model that writes arguments in an unknown form
/// seems to write none, and a client would run its tool with nothing.
fn missing_arguments(tool: &ToolDefinition, arguments: &Value) -> Option<String> {
    if arguments.as_object().is_none_or(|arguments| !arguments.is_empty()) {
        return None;
    }
    let schema: Value = serde_json::from_str(&tool.input_schema_json).ok()?;
    let required = schema.get("required")?.as_array()?;
    let names: Vec<String> = required.iter().map(Value::to_string).collect();
    let reason = format!("the call has no arguments, and the tool needs {}", names.join(", "));
    (!names.is_empty()).then(|| reason.chars().take(SCHEMA_REASON_BYTES_MAX).collect())
}

/// Whether the client runs the call of `name` at position `index` of a turn, whatever its arguments are.
pub(crate) fn client_runs(name: &str, index: usize, offered: &OfferedTools, options: &ToolOptions) -> bool {
    let is_taken = index < TOOL_CALLS_PER_ROUND_MAX && (index == 0 || options.parallel);
    is_taken && !offered.is_denied(name) && offered.find(name).is_some_and(|found| found.1 == ToolOrigin::Client)
}

/// Whether the client gets this complete call.
pub(crate) fn client_takes(
    name: &str,
    index: usize,
    arguments_json: &str,
    offered: &OfferedTools,
    options: &ToolOptions,
) -> bool {
    let decision = || decide(name, index, arguments::read(arguments_json), offered, options);
    client_runs(name, index, offered, options) && matches!(decision(), CallDecision::Client)
}

fn decide(
    name: &str,
    index: usize,
    arguments: Result<Value, String>,
    offered: &OfferedTools,
    options: &ToolOptions,
) -> CallDecision {
    let rejected = |reason: String| CallDecision::Refused(Decision::Rejected, reason);
    if index >= TOOL_CALLS_PER_ROUND_MAX {
        return rejected(format!("more than {TOOL_CALLS_PER_ROUND_MAX} calls at once; make fewer"));
    }
    if index > 0 && !options.parallel {
        return rejected("only one call at a time is taken; make this one in your next turn".to_owned());
    }
    if offered.is_denied(name) {
        return CallDecision::Refused(Decision::Denied, format!("policy denies the tool \"{name}\""));
    }
    let Some((tool, origin, permission)) = offered.find(name) else {
        return rejected(format!("there is no tool \"{name}\"; the tools are {}", offered.names()));
    };
    match arguments {
        Err(reason) => rejected(reason),
        Ok(arguments) if origin == ToolOrigin::Client => match missing_arguments(tool, &arguments) {
            Some(reason) => rejected(reason),
            None => CallDecision::Client,
        },
        Ok(arguments) => {
            let needs_approval = permission == Permission::Ask;
            CallDecision::Run(Box::new(RunnableCall { tool: tool.clone(), origin, needs_approval, arguments }))
        }
    }
}
