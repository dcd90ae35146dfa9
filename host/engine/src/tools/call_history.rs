//! The calls of a request over all its tool rounds: their ids, their number and their repetitions.

use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};

use firebox_contract::Prompt;
use serde_json::Value;

/// What a request remembers of its calls.
pub(crate) struct CallHistory {
    id: fn(usize, &str) -> String,
    /// Ids of calls in the conversation that the request sent.
    taken: BTreeSet<String>,
    next: usize,
    /// Calls that were allowed to run.
    pub(super) allowed: usize,
    repeats: HashMap<u64, usize>,
}

impl CallHistory {
    /// The history of a request with this prompt. `id` makes the id of the n-th call.
    pub(crate) fn new(prompt: &Prompt, id: fn(usize, &str) -> String) -> Self {
        let messages = if let Prompt::Chat(messages) = prompt { messages.as_slice() } else { &[] };
        let calls = messages.iter().flat_map(|message| &message.tool_calls);
        let taken: BTreeSet<String> = calls.map(|call| call.id.clone()).collect();
        Self { id, next: taken.len(), taken, allowed: 0, repeats: HashMap::new() }
    }

    /// An id for a call of `tool` that no call of the conversation has.
    pub(crate) fn fresh_id(&mut self, tool: &str) -> String {
        loop {
            let id = (self.id)(self.next, tool);
            self.next += 1;
            if !self.taken.contains(&id) {
                return id;
            }
        }
    }

    /// Counts a call. Returns how often it was made, this time included. Arguments are compared as JSON values, so
    /// spaces and the order of members make no difference.
    pub(super) fn count(&mut self, name: &str, arguments: &Result<Value, String>, written: &str) -> usize {
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
