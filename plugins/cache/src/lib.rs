//! Answers a prompt that was answered before from memory, without the model. The model, all messages and the sampling must be
//! equal. An answer that used a tool is not kept, and none that is empty.
//!
//! Configuration, with all keys optional and these defaults: `{"minutes": 60}`. An answer is forgotten after that time.

mod store;

use firebox_sdk::{
    Arguments, CallVerdict, Message, Plugin, Prompt, PromptRequest, PromptSampling, PromptVerdict, Text, TextVerdict,
    ToolCall, ToolGuard, log,
};
use sha2::{Digest, Sha256};

/// Bytes of an answer that is kept at most.
const ANSWER_BYTES_MAX: usize = 256 << 10;
/// Minutes of a year, the longest time.
const MINUTES_MAX: u64 = 365 * 24 * 60;

struct Cache {
    milliseconds: u64,
    /// The key of the request, if its answer is to be kept.
    key: Option<String>,
    answer: String,
}

impl Plugin for Cache {
    const DESCRIPTION: &'static str = "Answers repeated prompts from memory, without the model.";

    fn init(config_json: &str) -> Result<Self, String> {
        let config = Arguments::parse_config(config_json)?;
        config.only(&["minutes"])?;
        let minutes = match config.get("minutes") {
            None => 60,
            Some(text) => text.parse().ok().filter(|minutes| (1..=MINUTES_MAX).contains(minutes)).ok_or_else(|| {
                format!("configuration key \"minutes\" must be a whole number from 1 to {MINUTES_MAX}")
            })?,
        };
        Ok(Self { milliseconds: minutes * 60_000, key: None, answer: String::new() })
    }
}

impl Prompt for Cache {
    fn process(&mut self, request: PromptRequest) -> Result<PromptVerdict, String> {
        let key = key(&request);
        match attempt("read", store::get(&key)) {
            Some(Some(answer)) => return Ok(PromptVerdict::Respond(answer)),
            Some(None) => self.key = Some(key),
            // The store cannot be used.
            None => {}
        }
        Ok(PromptVerdict::Unchanged)
    }
}

impl Text for Cache {
    fn push(&mut self, chunk: String) -> Result<TextVerdict, String> {
        if self.answer.len() <= ANSWER_BYTES_MAX {
            self.answer.push_str(&chunk);
        }
        Ok(TextVerdict::Pass)
    }

    fn finish(&mut self) -> Result<String, String> {
        let answer = std::mem::take(&mut self.answer);
        if let Some(key) = self.key.as_deref().filter(|_| (1..=ANSWER_BYTES_MAX).contains(&answer.len())) {
            attempt("kept", store::set(key, &answer, self.milliseconds));
        }
        Ok(String::new())
    }
}

impl ToolGuard for Cache {
    fn before(&mut self, _call: ToolCall) -> Result<CallVerdict, String> {
        // The tool may have another result next time. What the model said before the call is no answer.
        if let Some(key) = self.key.take() {
            attempt("removed", store::delete(&key));
        }
        Ok(CallVerdict::Unchanged)
    }
}

/// The result, if the store can be used. A store that fails costs the memory, and not the answer.
fn attempt<T>(doing: &str, result: Result<T, String>) -> Option<T> {
    result.inspect_err(|reason| log::warn(format!("an answer cannot be {doing}: {reason}"))).ok()
}

/// A digest of everything that the answer depends on.
fn key(request: &PromptRequest) -> String {
    let PromptSampling { temperature, top_p, top_k, min_p, max_tokens, stop } = &request.sampling;
    let mut hash = Sha256::new();
    // Each part has its length before it, so that no two requests have the same bytes.
    let mut add = |part: &str| {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    };
    add(&request.model);
    add(&format!("{temperature} {top_p} {top_k} {min_p} {max_tokens:?} {}", stop.len()));
    stop.iter().for_each(|stop| add(stop));
    for Message { role, content, tool_calls, tool_call_id, name } in &request.messages {
        add(&format!("{role:?} {}", tool_calls.len()));
        [Some(content), tool_call_id.as_ref(), name.as_ref()]
            .into_iter()
            .for_each(|part| add(part.map_or("", |part| part)));
        for call in tool_calls {
            [&call.id, &call.name, &call.arguments_json].into_iter().for_each(|part| add(part));
        }
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

firebox_sdk::plugin!(Cache: prompt, text, tool_call);

#[cfg(test)]
mod tests;
