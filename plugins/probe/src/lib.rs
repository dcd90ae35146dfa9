//! A test fixture: one tool that uses the capabilities of the host as its arguments say, so that tests can try every call with
//! and without a grant. Its answers are short texts. A prompt `probe: ARGUMENTS` is answered in the same way.

mod bindings;
mod files;
mod http;
mod model;
mod store;

use std::cell::Cell;

use firebox_sdk::{Arguments, Definition, Outcome, Plugin, Prompt, PromptRequest, PromptVerdict, Tool};
use wasip2::clocks::{monotonic_clock, wall_clock};
use wasip2::random::random;

use self::bindings::firebox::plugin::metrics;
use self::bindings::wasi::config0_2_0_draft::{runtime, store as draft_store};
use self::bindings::wasi::config0_2_0_rc_1::store as config;
use self::bindings::wasi::logging::logging;
use self::bindings::wasi::logging0_1_0_draft::logging as draft_logging;

struct Probe;

impl Plugin for Probe {
    const DESCRIPTION: &'static str = "Uses every capability of the host.";

    fn init(_config_json: &str) -> Result<Self, String> {
        Ok(Self)
    }
}

impl Tool for Probe {
    fn definitions(&self) -> Vec<Definition> {
        let schema = r#"{"type":"object","properties":{"do":{"type":"string"}},"required":["do"]}"#;
        vec![Definition::pure("probe", "Uses one capability of the host.", schema)]
    }

    fn call(&mut self, _name: &str, arguments_json: &str) -> Outcome {
        Outcome::from(Arguments::parse(arguments_json).and_then(|given| run(&given)))
    }
}

impl Prompt for Probe {
    fn process(&mut self, request: PromptRequest) -> Result<PromptVerdict, String> {
        let last = request.messages.last().map(|message| message.content.as_str()).unwrap_or_default();
        let Some(arguments) = last.strip_prefix("probe: ") else { return Ok(PromptVerdict::Unchanged) };
        let answer = Arguments::parse(arguments).and_then(|given| run(&given));
        Ok(PromptVerdict::Respond(answer.unwrap_or_else(|error| format!("error: {error}"))))
    }
}

thread_local! {
    /// How often this instance was asked to count.
    static COUNT: Cell<u32> = const { Cell::new(0) };
}

fn count() -> String {
    COUNT.set(COUNT.get() + 1);
    COUNT.get().to_string()
}

fn run(given: &Arguments) -> Result<String, String> {
    match given.text("do")?.as_str() {
        "config" => configuration(&given.text("key")?),
        "count" => Ok(count()),
        "log" => Ok(log(&given.text("text")?)),
        "clock" => Ok(format!("{} {}", wall_clock::now().seconds, monotonic_clock::now())),
        "random" => Ok(format!("{:?}", random::get_random_bytes(8))),
        "list" => files::list(),
        "read" => files::read(&given.text("path")?),
        "write" => files::write(&given.text("path")?),
        "http" => http::run(given),
        "metric" => metric(given),
        "echo" => given.text("text"),
        "fail" => Err(given.text("text")?),
        "secret" => http::placeholder(&given.text("name")?),
        "flood" => http::flood(given),
        "store" => store::run(given),
        "model" => model::run(given),
        other => Err(format!("the probe cannot do \"{other}\"")),
    }
}

/// The value of `key` in each version of the interface, and the number of keys in each.
fn configuration(key: &str) -> Result<String, String> {
    let shown = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    let values = [
        config::get(key).map(shown).map_err(|error| format!("{error:?}"))?,
        runtime::get(key).map(shown).map_err(|error| format!("{error:?}"))?,
        draft_store::get(key).map(shown).map_err(|error| format!("{error:?}"))?,
    ];
    let all = [
        config::get_all().map(|all| all.len()).unwrap_or_default(),
        runtime::get_all().map(|all| all.len()).unwrap_or_default(),
        draft_store::get_all().map(|all| all.len()).unwrap_or_default(),
    ];
    Ok(format!("{} {all:?}", values.join(" ")))
}

/// Records one value; `kind` is the function, `label` the value of a label.
fn metric(given: &Arguments) -> Result<String, String> {
    let (name, value) = (given.text("name")?, given.number_text("value")?);
    let labels: Vec<(String, String)> =
        given.text("label").map(|value| ("kind".to_owned(), value)).into_iter().collect();
    let number = value.parse::<f64>().map_err(|_| "not a number".to_owned())?;
    let recorded = match given.text("kind")?.as_str() {
        "count" => metrics::count(&name, number as u64, &labels),
        "set" => metrics::set(&name, number, &labels),
        _ => metrics::observe(&name, number, &labels),
    };
    recorded.map(|()| "recorded".to_owned()).map_err(|error| format!("{error:?}"))
}

fn log(text: &str) -> String {
    logging::log(logging::Level::Critical, "probe", text);
    draft_logging::log(draft_logging::Level::Info, "", text);
    "logged".to_owned()
}

firebox_sdk::plugin!(Probe: prompt, tool);
