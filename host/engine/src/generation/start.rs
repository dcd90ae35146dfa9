//! The start of a generation: the tools that are offered, the plugins of the prompt stage, and the first turn.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use firebox_contract::{
    ChatOptions, Error, Event, FinishReason, Grammar, Hooks, LogLine, Message, Prompt, PromptVerdict, ReasoningOptions,
    Role, Sampling, Timing, ToolDefinition, ToolOptions, Usage, limits,
};

use super::history::{append_turn, assistant_message};
use super::prompt_encoding::check_size;
use super::streamed_calls::StreamedCalls;
use super::usage_guard::UsageGuard;
use super::{Deadline, Generation, Phase, exclusive};
use crate::Pipeline;
use crate::admission::AdmissionPermit;
use crate::toolcall::{ToolCallFormat, format_of};
use crate::tools::{CallHistory, OfferInput, OfferedTools, Tools, warning};

/// An admitted request with its plugins and tools.
pub(crate) struct OpenedRequest {
    pub(crate) tools: Tools,
    pub(crate) source_tools: SourceTools,
    pub(crate) prompt: Prompt,
    pub(crate) chat: ChatOptions,
    pub(crate) reasoning: ReasoningOptions,
    /// Maximum number of tokens of prompt and answer together.
    pub(crate) context: usize,
    pub(crate) sampling: Sampling,
    pub(crate) grammar: Option<Grammar>,
    pub(crate) options: ToolOptions,
    /// `None` for a generation of a plugin, which has that of its request.
    pub(crate) permit: Option<AdmissionPermit>,
    pub(crate) started: Duration,
    /// When the request's time is up, on the engine's clock.
    pub(crate) until: Duration,
}

/// The tools of the tool source, and log lines about them.
#[derive(Default)]
pub(crate) struct SourceTools {
    tools: Vec<ToolDefinition>,
    log: Vec<LogLine>,
}

/// What the prompt stage and the choice of tools have made of an opened request.
struct PreparedPrompt {
    offered: OfferedTools,
    call_history: CallHistory,
    prompt: Prompt,
    /// The answer of a plugin. The model is not asked then.
    answer: Option<String>,
    log: Vec<LogLine>,
}

impl OpenedRequest {
    /// Chooses the offered tools and runs the prompt stage, until `deadline` at most.
    async fn prepare(&mut self, pipeline: &Pipeline, deadline: &mut Deadline) -> Result<PreparedPrompt, Error> {
        let SourceTools { tools: source, mut log } = std::mem::take(&mut self.source_tools);
        let format = format_of_codec(pipeline);
        let input = OfferInput {
            plugins: self.tools.hooks.definitions(),
            source,
            options: &self.options,
            format,
            chat: matches!(self.prompt, Prompt::Chat(_)),
        };
        let offered = OfferedTools::new(input, &mut log)?;
        let call_history =
            CallHistory::new(&self.prompt, format.map_or(plain_id as fn(usize, &str) -> String, |f| f.id));
        let prompt = std::mem::replace(&mut self.prompt, Prompt::Chat(Vec::new()));
        let hooks = exclusive(&mut self.tools.hooks)?;
        let (prompt, answer) = tokio::select! {
            biased;
            () = deadline => Err(timed_out()),
            staged = run_prompt_stage(prompt, &mut self.sampling, hooks) => staged,
        }?;
        if answer.is_none() {
            // The plugins may have made the prompt longer.
            check_size(&prompt, &self.chat, &*pipeline.codec, self.context)?;
        }
        Ok(PreparedPrompt { offered, call_history, prompt, answer, log })
    }
}

impl Generation {
    /// Starts the generation of an opened request: chooses its tools, runs the prompt stage and starts the first turn.
    pub(crate) async fn start(
        pipeline: Arc<Pipeline>,
        mut opened: OpenedRequest,
        mut deadline: Deadline,
        mut usage_guard: UsageGuard,
    ) -> Result<Self, Error> {
        let prepared = match opened.prepare(&pipeline, &mut deadline).await {
            Ok(prepared) => prepared,
            Err(error) => {
                usage_guard.settle(Usage::default(), &opened.tools.hooks.usage(), error.kind().code());
                return Err(error);
            }
        };
        let OpenedRequest {
            tools, chat, reasoning, context, sampling, grammar, options, permit, started, until, ..
        } = opened;
        let mut generation = Self {
            pipeline,
            tools,
            offered: prepared.offered,
            tool_rounds_left: options.rounds,
            options,
            call_history: prepared.call_history,
            streamed: StreamedCalls::default(),
            cut_call: None,
            prompt: Arc::new(prepared.prompt),
            chat: Arc::new(chat),
            reasoning,
            context,
            sampling,
            grammar,
            grammar_time: Duration::ZERO,
            phase: Phase::TurnStart,
            ready: prepared.log.into_iter().map(Event::Log).collect::<VecDeque<_>>(),
            usage: Usage::default(),
            timing: Timing::default(),
            started,
            until,
            deadline,
            history: Vec::new(),
            failed: None,
            usage_guard,
            outcome: FinishReason::Interrupted.as_str(),
            token_gaps: Vec::new(),
            session: None,
            finishing: None,
            _permit: permit,
        };
        match prepared.answer {
            Some(text) => generation.answer_with(text),
            None => {
                let started = match generation.options.first.is_empty() {
                    true => generation.start_turn().await,
                    false => generation.start_with_calls().await,
                };
                if let Err(error) = started {
                    generation.fail(error.clone());
                    return Err(error);
                }
            }
        }
        Ok(generation)
    }

    /// Ends the generation with a plugin's answer.
    fn answer_with(&mut self, text: String) {
        append_turn(&mut self.history, assistant_message(&text));
        if !text.is_empty() {
            self.ready.push_back(Event::Text(text));
        }
        self.finish(FinishReason::Plugin);
    }
}

/// Runs the prompt stage. The second value is an answer that makes asking the model unnecessary. A text prompt goes
/// through the stage as one user message and is a text prompt again afterwards.
async fn run_prompt_stage(
    prompt: Prompt,
    sampling: &mut Sampling,
    hooks: &mut dyn Hooks,
) -> Result<(Prompt, Option<String>), Error> {
    let (messages, is_text) = match prompt {
        Prompt::Chat(messages) => (messages, false),
        Prompt::Text(text) => (vec![Message::text(Role::User, text)], true),
    };
    match hooks.process_sampled(messages, sampling).await? {
        PromptVerdict::Continue(messages) if is_text => {
            let texts: Vec<String> = messages.into_iter().map(|message| message.content).collect();
            Ok((Prompt::Text(texts.join("\n")), None))
        }
        PromptVerdict::Continue(messages) => Ok((Prompt::Chat(messages), None)),
        PromptVerdict::Respond(answer) => Ok((Prompt::Chat(Vec::new()), Some(answer))),
        PromptVerdict::Refuse { plugin, message } => {
            Err(Error::Refused(format!("plugin \"{plugin}\" refused the prompt: {message}")))
        }
    }
}

/// Lists the tools of the tool source. If the list takes longer than `TOOL_LIST_WAIT`, it is empty.
pub(crate) async fn list_tools(tools: &Tools) -> SourceTools {
    let Some(source) = &tools.source else { return SourceTools::default() };
    tokio::select! {
        biased;
        tools = source.tools(&tools.caller) => SourceTools { tools, log: Vec::new() },
        () = tools.clock.sleep(limits::TOOL_LIST_WAIT) => {
            let seconds = limits::TOOL_LIST_WAIT.as_secs();
            let line = warning(format!("the tools of MCP servers are left out: no list within {seconds} s"));
            SourceTools { tools: Vec::new(), log: vec![line] }
        }
    }
}

/// The error of a request whose time was up before its first event.
pub(crate) fn timed_out() -> Error {
    Error::Timeout("the request's time was up before the model could answer; set a longer timeout".to_owned())
}

/// The tool-call format of the checkpoint's chat template.
pub(super) fn format_of_codec(pipeline: &Pipeline) -> Option<&'static ToolCallFormat> {
    pipeline.codec.chat_template().and_then(format_of)
}

fn plain_id(number: usize, _: &str) -> String {
    format!("call_{number}")
}
