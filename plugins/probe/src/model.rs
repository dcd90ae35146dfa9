//! The model that serves the request.

use firebox_sdk::Arguments;
use firebox_sdk::model::{self, Error, Message, Options, Prompt, Role};

/// Calls the function `call`, `times` times, and says how the last one ended.
pub(crate) fn run(given: &Arguments) -> Result<String, String> {
    let times = given.number_text("times").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let mut last = Err("not called".to_owned());
    for _ in 0..times {
        last = once(given);
    }
    last
}

fn once(given: &Arguments) -> Result<String, String> {
    let text = given.text("text").unwrap_or_default();
    let number = |name: &str| given.number_text(name).ok();
    match given.text("call")?.as_str() {
        "generate" => {
            let options = Options {
                max_tokens: number("max_tokens").and_then(|text| text.parse().ok()),
                temperature: number("temperature").and_then(|text| text.parse().ok()),
                ..Options::default()
            };
            let answer = model::generate(&prompt(given, text), &options).map_err(shown)?;
            let (usage, text) = (answer.usage, answer.text);
            Ok(format!("{:?} {} {} {text}", answer.finish, usage.prompt_tokens, usage.answer_tokens))
        }
        "embed" => {
            let vectors = model::embed(given.text("model").ok().as_deref(), &[text]).map_err(shown)?;
            Ok(format!("{} {} {}", vectors.dimensions, vectors.values.len(), vectors.tokens))
        }
        "tokenize" => Ok(format!("{:?}", model::tokenize(&text).map_err(shown)?)),
        _ => {
            let left = model::remaining().map_err(shown)?;
            Ok(format!("{} {} {}", left.context_tokens, left.tokens, left.calls))
        }
    }
}

fn prompt(given: &Arguments, text: String) -> Prompt {
    let message = |role| Message { role, content: text.clone() };
    match given.text("role").as_deref() {
        Ok("tool") => Prompt::Chat(vec![message(Role::Tool)]),
        Ok("none") => Prompt::Chat(Vec::new()),
        Ok("user") => Prompt::Chat(vec![message(Role::User)]),
        _ => Prompt::Text(text),
    }
}

fn shown(error: Error) -> String {
    format!("{error:?}")
}
