//! A test fixture: the configuration says how the plugin changes sampling at the prompt stage, right or wrong: `tokens N`,
//! `temperature N`, `stop TEXT`, or `lose` for no messages.

use firebox_sdk::{Arguments, Plugin, Prompt, PromptAdjustment, PromptRequest, PromptVerdict, log};

struct Scripted(Arguments);

impl Plugin for Scripted {
    const DESCRIPTION: &'static str = "Changes sampling as its configuration says.";

    fn init(config_json: &str) -> Result<Self, String> {
        Arguments::parse_config(config_json).map(Self)
    }
}

impl Prompt for Scripted {
    fn process(&mut self, request: PromptRequest) -> Result<PromptVerdict, String> {
        log::info(format!("prompt with {:?}", request.sampling));
        let Ok(answer) = self.0.text("prompt") else { return Ok(PromptVerdict::Unchanged) };
        let (word, rest) = answer.split_once(' ').unwrap_or((&answer, ""));
        let nothing = PromptAdjustment::default();
        Ok(PromptVerdict::Adjust(match word {
            "tokens" => PromptAdjustment { max_tokens: rest.parse().ok(), ..nothing },
            "temperature" => PromptAdjustment { temperature: rest.parse().ok(), ..nothing },
            "stop" => PromptAdjustment { stop: vec![rest.to_owned()], ..nothing },
            "lose" => PromptAdjustment { messages: Some(Vec::new()), ..nothing },
            _ => nothing,
        }))
    }
}

firebox_sdk::plugin!(Scripted: prompt);
