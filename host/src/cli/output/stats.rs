//! Statistics of a run, as lines and as JSON.

use std::fmt::Write as _;
use std::time::Duration;

use firebox_contract::{Event, Finish, PluginUse, ToolCall, ToolOutcome, Usage, limits};
use firebox_sandbox::Plugin;
use serde_json::{Value, json};

use crate::cli::output::line;
use crate::host::Host;
use crate::system::memory;

/// Tokens per second; `None` if nothing was measured.
#[must_use]
pub fn rate(tokens: usize, time: Duration) -> Option<f64> {
    (tokens > 0 && !time.is_zero()).then(|| tokens as f64 / time.as_secs_f64())
}

fn rate_text(tokens: usize, time: Duration) -> String {
    rate(tokens, time).map_or_else(|| "-".to_owned(), |rate| format!("{rate:.0}"))
}

fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// The lines of `--stats`.
#[must_use]
pub fn lines(host: &Host, finish: &Finish) -> String {
    let (info, load, counters) = (host.engine().info(), host.load_report(), host.engine().counters());
    let Finish { usage, timing, .. } = finish;
    let mut out = String::new();
    let parameters = info.parameters as f64 / 1e6;
    // Writing to a string cannot fail.
    let _infallible = writeln!(
        out,
        "model    {} ({}, {parameters:.1} M parameters, {}) on {}",
        info.name, info.architecture, info.dtype, info.device
    );
    let _infallible = writeln!(
        out,
        "prefill  {} tokens{}, {} tokens/s; first token after {:.1} ms",
        usage.prompt_tokens,
        cached(usage),
        rate_text(computed(usage), timing.prefill),
        millis(timing.first_token)
    );
    let _infallible = writeln!(
        out,
        "decode   {} tokens{}, {} tokens/s; {:.1} ms in total; ended by {}",
        usage.completion_tokens,
        reasoned(usage),
        rate_text(timing.decode_steps, timing.decode),
        millis(timing.total),
        finish.reason.as_str()
    );
    if counters.drafted_tokens > 0 {
        let (drafted, accepted) = (counters.drafted_tokens, counters.accepted_tokens);
        let _infallible = writeln!(out, "drafts   {drafted} tokens verified, {accepted} accepted");
    }
    if let Some(peak) = memory::peak_bytes() {
        let _infallible =
            writeln!(out, "memory   peak {:.1} MiB, weights {:.1} MiB", mib(peak), mib(info.weights_bytes));
    }
    if let (Some(before), Some(after), Some(now)) = (load.before_bytes, load.after_bytes, memory::resident_bytes()) {
        let _infallible = writeln!(
            out,
            "load     {:.1} ms; {:.1} MiB before it, {:.1} MiB after it, {:.1} MiB now",
            millis(load.time),
            mib(before),
            mib(after),
            mib(now)
        );
    }
    for plugin in &finish.plugins {
        out.push_str(&use_line(plugin));
        out.push('\n');
    }
    out
}

/// Prompt tokens that were computed. Cached tokens take no time.
fn computed(usage: &Usage) -> usize {
    usage.prompt_tokens.saturating_sub(usage.cached_tokens)
}

fn reasoned(usage: &Usage) -> String {
    match usage.reasoning_tokens {
        0 => String::new(),
        tokens => format!(" ({tokens} of them reasoning)"),
    }
}

fn cached(usage: &Usage) -> String {
    match usage.cached_tokens {
        0 => String::new(),
        cached => format!(" ({cached} of them cached)"),
    }
}

/// One line about what a plugin used at one stage.
#[must_use]
pub fn use_line(plugin: &PluginUse) -> String {
    let model = match plugin.model_tokens {
        0 => String::new(),
        tokens => format!(", {tokens} tokens of the model"),
    };
    format!(
        "plugin   {} at {}: {} calls, {} fuel, {:.2} MiB, {:.2} ms{model}",
        plugin.plugin,
        plugin.stage,
        plugin.calls,
        plugin.fuel,
        mib(plugin.memory_peak_bytes),
        millis(plugin.elapsed)
    )
}

/// A line about the capabilities that a plugin uses and was not granted; `None` if it was granted all.
#[must_use]
pub fn stand_ins_line(plugin: &Plugin) -> Option<String> {
    let (name, missing) = (plugin.name(), plugin.stand_ins());
    (!missing.is_empty()).then(|| {
        format!("plugin   {name} was not granted {}: it gets the same values in every run", missing.join(" and "))
    })
}

/// Maximum length of a result in the line of its call, in characters.
const RESULT_CHARACTERS: usize = 100;

/// One line about a tool call and what it used.
#[must_use]
pub fn tool_line(call: Option<&ToolCall>, outcome: &ToolOutcome) -> String {
    let (name, arguments) = call.map_or(("?", ""), |call| (call.name.as_str(), call.arguments_json.as_str()));
    let max = limits::CHAT_SHOWN_CHARACTERS_MAX;
    format!(
        "tool     {} {} -> {} ({}, {} fuel, {:.2} MiB, {:.2} ms)",
        line(name, max),
        line(arguments, max),
        line(&outcome.content, RESULT_CHARACTERS),
        line(&outcome.provider, max),
        outcome.fuel,
        mib(outcome.memory_peak_bytes),
        millis(outcome.elapsed)
    )
}

/// The object of `--json`.
#[must_use]
pub fn json(host: &Host, finish: &Finish, events: &[Event]) -> Value {
    let (info, load, counters) = (host.engine().info(), host.load_report(), host.engine().counters());
    let Finish { usage, timing, .. } = finish;
    json!({
        "reasoning": reasoning_of(events),
        "text": text_of(events),
        "finish_reason": finish.reason.as_str(),
        "tool_calls": tool_calls(events),
        "usage": {
            "prompt_tokens": usage.prompt_tokens, "cached_tokens": usage.cached_tokens,
            "completion_tokens": usage.completion_tokens, "reasoning_tokens": usage.reasoning_tokens,
        },
        "timing": {
            "first_token_ms": millis(timing.first_token),
            "prefill_ms": millis(timing.prefill),
            "decode_ms": millis(timing.decode),
            "total_ms": millis(timing.total),
            "prefill_tokens_per_second": rate(computed(usage), timing.prefill),
            "decode_tokens_per_second": rate(timing.decode_steps, timing.decode),
        },
        "model": {
            "name": info.name, "architecture": info.architecture, "parameters": info.parameters,
            "dtype": info.dtype, "weights_bytes": info.weights_bytes, "context_tokens": info.context_tokens,
        },
        "device": info.device,
        "load": {
            "ms": millis(load.time), "memory_before_bytes": load.before_bytes, "memory_after_bytes": load.after_bytes,
        },
        "memory_bytes": memory::resident_bytes(),
        "memory_peak_bytes": memory::peak_bytes(),
        "speculation": {"drafted_tokens": counters.drafted_tokens, "accepted_tokens": counters.accepted_tokens},
        "plugins": finish.plugins.iter().map(plugin_json).collect::<Vec<_>>(),
        "notes": host.notes(),
    })
}

/// What a plugin used at one stage, as a JSON object.
#[must_use]
pub fn plugin_json(plugin: &PluginUse) -> Value {
    json!({
        "plugin": plugin.plugin, "stage": plugin.stage.as_str(), "calls": plugin.calls, "fuel": plugin.fuel,
        "memory_peak_bytes": plugin.memory_peak_bytes, "ms": millis(plugin.elapsed),
        "model_tokens": plugin.model_tokens,
    })
}

fn text_of(events: &[Event]) -> String {
    let texts = events.iter().filter_map(|event| match event {
        Event::Text(text) => Some(text.as_str()),
        _ => None,
    });
    texts.collect()
}

/// The reasoning; `None` if there was none.
fn reasoning_of(events: &[Event]) -> Option<String> {
    let texts = events.iter().filter_map(|event| match event {
        Event::Reasoning(text) => Some(text.as_str()),
        _ => None,
    });
    Some(texts.collect::<String>()).filter(|text| !text.is_empty())
}

fn tool_calls(events: &[Event]) -> Vec<Value> {
    let results = events.iter().filter_map(|event| match event {
        Event::ToolResult { id, outcome } => Some((id, outcome)),
        _ => None,
    });
    results
        .map(|(id, outcome)| {
            let call = call_of(events, id);
            json!({
                "id": id, "name": call.map(|call| &call.name), "arguments": call.map(|call| &call.arguments_json),
                "result": outcome.content, "is_error": outcome.is_error, "provider": outcome.provider,
                "fuel": outcome.fuel, "memory_peak_bytes": outcome.memory_peak_bytes, "ms": millis(outcome.elapsed),
            })
        })
        .collect()
}

/// The call with the id `id`.
#[must_use]
pub fn call_of<'a>(events: &'a [Event], id: &str) -> Option<&'a ToolCall> {
    events.iter().find_map(|event| match event {
        Event::ToolCall(call) if call.id == id => Some(call),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cached_tokens_do_not_count_as_computed() {
        let usage =
            |cached_tokens| Usage { prompt_tokens: 200, cached_tokens, completion_tokens: 5, ..Usage::default() };
        assert_eq!((computed(&usage(150)), cached(&usage(150))), (50, " (150 of them cached)".to_owned()));
        assert_eq!((computed(&usage(0)), cached(&usage(0))), (200, String::new()));
        assert_eq!(rate(computed(&usage(200)), Duration::from_millis(10)), None, "nothing was measured");
    }
}
