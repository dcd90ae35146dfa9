//! The calls of a turn that the client got while the model wrote them.

use firebox_contract::{Event, ToolCall, ToolOptions};

use crate::tools::{CallHistory, OfferedTools, client_runs, client_takes};

/// A part of a call, by the call's position in the turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CallPart {
    /// The next part of the arguments. The first part has the tool's name.
    Piece { index: usize, name: Option<String>, arguments: String },
    /// The call is complete.
    Whole { index: usize, name: String, arguments_json: String },
}

/// What the client got of the calls of one turn.
#[derive(Debug, Default)]
pub(crate) struct StreamedCalls {
    /// For each call its position, and what was sent of it.
    calls: Vec<(usize, ToolCall)>,
    /// Position and name of a call of which nothing was sent yet.
    waiting: Option<(usize, String)>,
}

impl StreamedCalls {
    /// The event for a part of a call, if the client runs the call. Calls keep their order: a call without parts is sent
    /// when it is complete.
    pub(crate) fn push(
        &mut self,
        part: CallPart,
        offered: &OfferedTools,
        options: &ToolOptions,
        history: &mut CallHistory,
    ) -> Option<Event> {
        match part {
            CallPart::Piece { index, name, arguments } => {
                if let Some(name) = name {
                    self.waiting = client_runs(&name, index, offered, options).then_some((index, name));
                }
                if let Some((_, call)) = self.calls.iter_mut().find(|(at, _)| *at == index) {
                    call.arguments_json.push_str(&arguments);
                    return Some(Event::ToolCallDelta { id: call.id.clone(), name: None, arguments });
                }
                // A call without arguments may be refused, so nothing is said of it before it is complete.
                if arguments.is_empty() || arguments == "{}" {
                    return None;
                }
                let (_, name) = self.waiting.take_if(|(at, _)| *at == index)?;
                Some(self.begin(index, name, arguments, history))
            }
            CallPart::Whole { index, name, arguments_json } => {
                let is_new =
                    self.find(index).is_none() && client_takes(&name, index, &arguments_json, offered, options);
                is_new.then(|| self.begin(index, name, arguments_json, history))
            }
        }
    }

    fn begin(&mut self, index: usize, name: String, arguments: String, history: &mut CallHistory) -> Event {
        let id = history.fresh_id(&name);
        let call = ToolCall { id: id.clone(), name: name.clone(), arguments_json: arguments.clone() };
        self.calls.push((index, call));
        Event::ToolCallDelta { id, name: Some(name), arguments }
    }

    /// What was sent of the call at a position.
    pub(crate) fn find(&self, index: usize) -> Option<&ToolCall> {
        self.calls.iter().find(|(at, _)| *at == index).map(|(_, call)| call)
    }
}
