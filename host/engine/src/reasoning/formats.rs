//! The marks of reasoning, one row for each family.

use firebox_contract::TextCodec;

use super::harmony::HarmonySplitter;
use super::marks::MarkSplitter;
use super::{ReasoningSplitter, ReasoningState};

/// How a family of models marks its reasoning.
#[derive(Debug)]
pub(crate) struct ReasoningFormat {
    /// Its name in messages.
    pub(crate) name: &'static str,
    /// The mark before the reasoning.
    pub(crate) open: &'static str,
    /// The mark after the reasoning.
    pub(crate) close: &'static str,
    /// Marks around the content that follows, if the family has some.
    pub(crate) content: Option<(&'static str, &'static str)>,
    /// The text that ends reasoning whose budget is used up: the closing mark as the family writes it.
    pub(crate) forced_close: &'static str,
    /// What a template may write after the opening mark that it writes itself.
    after_open: &'static str,
    /// Makes the splitter of a turn.
    splitter: fn(&'static ReasoningFormat, ReasoningState) -> Box<dyn ReasoningSplitter>,
}

/// Two marks and nothing else; the other rows start from it.
const MARKS: ReasoningFormat = ReasoningFormat {
    name: "think",
    open: "<think>",
    close: "</think>",
    content: None,
    forced_close: "\n</think>\n\n",
    after_open: "",
    splitter: |format, state| Box::new(MarkSplitter::new(format, state)),
};

/// All rows, in the order in which they are tried.
pub(crate) const FORMATS: &[ReasoningFormat] = &[
    // OpenAI gpt-oss: reasoning is a message in the channel `analysis`.
    ReasoningFormat {
        name: "harmony",
        open: "<|channel|>analysis<|message|>",
        close: "<|channel|>final<|message|>",
        forced_close: "<|end|><|start|>assistant<|channel|>final<|message|>",
        splitter: |_, state| Box::new(HarmonySplitter::new(state)),
        ..MARKS
    },
    // Gemma 4.
    ReasoningFormat {
        name: "gemma 4",
        open: "<|channel>thought\n",
        close: "<channel|>",
        forced_close: "\n<channel|>",
        ..MARKS
    },
    // ByteDance Seed-OSS. With a budget of 0 the template opens both the reasoning and a reflection about the budget.
    ReasoningFormat {
        name: "seed",
        open: "<seed:think>",
        close: "</seed:think>",
        forced_close: "\n</seed:think>",
        after_open: "<seed:cot_budget_reflect>",
        ..MARKS
    },
    // Granite 3.3 writes its answer between marks too.
    ReasoningFormat {
        name: "granite 3.3",
        content: Some(("<response>", "</response>")),
        forced_close: "</think><response>",
        ..MARKS
    },
    // DeepSeek R1 and V3.1, Qwen3, SmolLM3, GLM 4.5, Kimi K2 Thinking, MiniMax M2, Nemotron.
    MARKS,
    // Mistral's Magistral and Ministral.
    ReasoningFormat { name: "mistral", open: "[THINK]", close: "[/THINK]", forced_close: "[/THINK]", ..MARKS },
    // Cohere Command R7B and A.
    ReasoningFormat {
        name: "command",
        open: "<|START_THINKING|>",
        close: "<|END_THINKING|>",
        content: Some(("<|START_RESPONSE|>", "<|END_RESPONSE|>")),
        forced_close: "<|END_THINKING|><|START_RESPONSE|>",
        ..MARKS
    },
    // Granite 3.2 has phrases instead of marks.
    ReasoningFormat {
        name: "granite 3.2",
        open: "Here is my thought process:",
        close: "Here is my response:",
        forced_close: "\n\nHere is my response:",
        ..MARKS
    },
];

/// The row of a codec: the first one whose two marks the template writes or explains, or that are tokens of their own.
pub(super) fn of(codec: &dyn TextCodec) -> Option<&'static ReasoningFormat> {
    let template = codec.chat_template().unwrap_or_default();
    FORMATS
        .iter()
        .find(|format| format.is_used_by(template))
        .or_else(|| FORMATS.iter().find(|format| format.content.is_none() && format.is_in_vocabulary(codec)))
}

impl ReasoningFormat {
    /// The splitter of a turn in this state.
    pub(crate) fn splitter(&'static self, state: ReasoningState) -> Box<dyn ReasoningSplitter> {
        (self.splitter)(self, state)
    }

    /// Whether a template has these marks. Many templates only remove the reasoning of earlier turns, and have the
    /// closing mark alone.
    fn is_used_by(&self, template: &str) -> bool {
        let has_content = self.content.is_none_or(|(open, _)| template.contains(open));
        let close = match self.name {
            // Templates put these messages together from parts.
            "harmony" => "<|channel|>",
            _ => self.close,
        };
        has_content && template.contains(close)
    }

    /// Whether both marks are single tokens.
    fn is_in_vocabulary(&self, codec: &dyn TextCodec) -> bool {
        let is_token = |mark| codec.encode_markup(mark).is_ok_and(|tokens| tokens.len() == 1);
        codec.chat_template().is_some() && is_token(self.open) && is_token(self.close)
    }

    /// Whether a prompt with this end has opened the reasoning.
    pub(super) fn opens_at_end(&self, tail: &str) -> bool {
        let tail = tail.trim_end();
        let tail = tail.strip_suffix(self.after_open).unwrap_or(tail);
        tail.ends_with(self.open.trim_end())
    }

    /// Whether a prompt with this end has closed the reasoning, or opened the content.
    pub(super) fn closes_at_end(&self, tail: &str) -> bool {
        let tail = tail.trim_end();
        tail.ends_with(self.close) || self.content.is_some_and(|(open, _)| tail.ends_with(open))
    }

    /// The content of `text`, the beginning of a turn, without its reasoning.
    pub(crate) fn content_of<'a>(&self, text: &'a str) -> &'a str {
        if !text.trim_start().starts_with(self.open) {
            return text;
        }
        text.split_once(self.close).map_or("", |(_, content)| content.trim_start())
    }

    /// Whether `text`, the beginning of a turn, ends inside of its reasoning.
    pub(super) fn leaves_open(&self, text: &str) -> bool {
        let begins = text.trim_start().starts_with(self.open);
        begins && !text.contains(self.close)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name_of(template: &str) -> Option<&'static str> {
        FORMATS.iter().find(|format| format.is_used_by(template)).map(|format| format.name)
    }

    #[test]
    fn the_template_decides_the_marks() {
        for (template, expected) in [
            ("{%- set content = message.content.split('</think>')[-1] %}", Some("think")),
            ("{{ '<|start|>assistant<|channel|>analysis<|message|>' + message.thinking }}", Some("harmony")),
            ("{%- set think_end_token = '</seed:think>' -%}", Some("seed")),
            (
                "Write your thoughts between <think></think> and your response between <response></response>",
                Some("granite 3.3"),
            ),
            ("Write your response after 'Here is my response:' for each user query.", Some("granite 3.2")),
            ("[THINK]your thoughts[/THINK]", Some("mistral")),
            ("{{- '<|channel>thought\\n<channel|>' -}}", Some("gemma 4")),
            ("<|START_THINKING|><|END_THINKING|><|START_RESPONSE|>", Some("command")),
            ("{% for message in messages %}{{ message.content }}{% endfor %}", None),
        ] {
            assert_eq!(name_of(template), expected, "{template}");
        }
    }

    #[test]
    fn the_end_of_a_prompt_opens_or_closes_the_reasoning() {
        let think = FORMATS.iter().find(|format| format.name == "think").expect("a row");
        assert!(think.opens_at_end("<|im_start|>assistant\n<think>\n"));
        assert!(!think.opens_at_end("about <think><|im_end|>\n<|im_start|>assistant\n"));
        assert!(think.closes_at_end("<think>\n\n</think>\n\n") && !think.opens_at_end("<think>\n\n</think>\n\n"));
        assert!(
            think.leaves_open("<think>so")
                && !think.leaves_open("<think>so</think>x")
                && !think.leaves_open("x<think>")
        );
        assert_eq!(["<think>a</think>\nx", "<think>a", "x"].map(|text| think.content_of(text)), ["x", "", "x"]);
        let seed = FORMATS.iter().find(|format| format.name == "seed").expect("a row");
        assert!(seed.opens_at_end("<seed:bos>assistant\n<seed:think><seed:cot_budget_reflect>"));
        let gemma = FORMATS.iter().find(|format| format.name == "gemma 4").expect("a row");
        assert!(gemma.closes_at_end("<|turn>model\n<|channel>thought\n<channel|>"));
    }
}
