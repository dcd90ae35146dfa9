//! `firebox run`: one prompt, one answer, streamed.

mod stdin;

use std::io::{IsTerminal, Write};
use std::pin::Pin;

use clap::Args as ClapArgs;
use firebox_contract::{
    Caller, Event, Finish, FinishReason, GenerationRequest, Message, Prompt, Role, ToolCall, ToolOptions, limits,
};
use firebox_engine::Generation;
use firebox_mcp::client::ClientPool;

use self::stdin::PipedInput;
use super::options::{self, AnswerOptions, McpOptions, ModelOptions, PluginOptions, ReasoningArgs, SamplingOptions};
use super::output::finish::{self, Remedies};
use super::output::reasoning::ReasoningView;
use super::output::stats;
use super::{Io, output};
use crate::cli::options::answer_form::AnswerFormOptions;
use crate::cli::options::mcp_servers;
use crate::cli::termination::Termination;
use crate::error::CliError;
use crate::host::Host;
use crate::plugins;
use crate::system::threads;

/// Answer one prompt, with tools and plugins.
#[derive(ClapArgs, Debug)]
pub struct Args {
    /// The prompt. Text from a pipe or a file on standard input is added after it. Without a prompt, or with `-`, standard
    /// input is the prompt
    prompt: Option<String>,
    #[command(flatten)]
    model: ModelOptions,
    #[command(flatten)]
    answer: AnswerOptions,
    /// System message: instructions for the model
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// Continue the prompt as plain text, without chat template and tools
    #[arg(long)]
    raw: bool,
    /// Call a tool first, as if the model had asked for it, and show its result: NAME, or NAME={"argument": "value"}
    /// (repeatable). The model continues with the result
    #[arg(long = "tool", value_name = "NAME=ARGS", conflicts_with = "raw")]
    first_calls: Vec<String>,
    /// Print statistics on standard error: tokens/s, memory, and calls and fuel of each plugin
    #[arg(long)]
    stats: bool,
    /// Print one JSON object with the answer, the tool calls and the statistics
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    sampling: SamplingOptions,
    #[command(flatten)]
    form: AnswerFormOptions,
    #[command(flatten)]
    reasoning: ReasoningArgs,
    #[command(flatten)]
    plugins: PluginOptions,
    #[command(flatten)]
    servers: McpOptions,
}

/// Runs the command.
///
/// # Errors
/// The error that ended the answer. Text that was already printed stays.
pub fn run(args: Args, io: &mut Io) -> Result<(), CliError> {
    let request = request(&args, io)?;
    options::note_unused_config("firebox run", io)?;
    let runtime = threads::runtime(Some(2))?;
    Termination::default().listen(&runtime)?;
    let pool = mcp_servers::pool(&args.servers.mcp, &args.servers.mcp_header)?;
    runtime.block_on(async {
        let result = answer(&args, request, &pool, io).await;
        pool.close().await;
        result
    })
}

fn request(args: &Args, io: &mut Io) -> Result<GenerationRequest, CliError> {
    let text = match args.form.reads_stdin() {
        true => args.prompt.clone().filter(|prompt| prompt != "-").unwrap_or_default(),
        false => prompt_text(args.prompt.as_deref(), io)?,
    };
    if text.trim().is_empty() {
        return Err(CliError::usage("the prompt is empty; write one: firebox run \"What is 1234 * 87?\""));
    }
    let prompt = if args.raw {
        Prompt::Text(text)
    } else {
        let system = args.system.iter().map(|system| Message::text(Role::System, system.as_str()));
        Prompt::Chat(system.chain([Message::text(Role::User, text)]).collect())
    };
    let first = args.first_calls.iter().map(|asked| first_call(asked)).collect();
    let tools = ToolOptions { rounds: args.plugins.tool_rounds, first, ..ToolOptions::default() };
    let (sampling, reasoning) = (args.sampling.overrides(), args.reasoning.options());
    let grammar = args.form.read()?;
    Ok(GenerationRequest { sampling, reasoning, grammar, tools, ..GenerationRequest::new(prompt) })
}

/// The call of `--tool`. The engine checks that there is such a tool, and its arguments.
fn first_call(asked: &str) -> ToolCall {
    let (name, arguments) = asked.split_once('=').unwrap_or((asked, "{}"));
    ToolCall { id: String::new(), name: name.to_owned(), arguments_json: arguments.to_owned() }
}

/// The prompt, an empty line, and the text from a pipe or a file on standard input.
fn prompt_text(given: Option<&str>, io: &mut Io) -> Result<String, CliError> {
    let prompt = match given {
        Some("-") => return stdin::read_all(),
        None if !std::io::stdin().is_terminal() => return stdin::read_all(),
        None => return Ok(String::new()),
        Some(prompt) => prompt,
    };
    match stdin::read_beside_prompt()? {
        PipedInput::Text(text) if prompt.trim().is_empty() => Ok(text),
        PipedInput::Text(text) => Ok(format!("{prompt}\n\n{text}")),
        PipedInput::Empty => Ok(prompt.to_owned()),
        PipedInput::NotRead(why) => {
            writeln!(io.err, "firebox: {why}; using the prompt alone (redirect with </dev/null to avoid the wait)")?;
            Ok(prompt.to_owned())
        }
    }
}

/// How to get a longer answer from this command.
const REMEDIES: Remedies = Remedies {
    tokens: "raise --max-tokens",
    room: "shorten the prompt, raise --context if it is set, or use a model with a longer context",
};

type Interrupt<'a> = Pin<&'a mut (dyn Future<Output = std::io::Result<()>> + Send)>;

async fn answer(args: &Args, request: GenerationRequest, pool: &ClientPool, io: &mut Io) -> Result<(), CliError> {
    let mut interrupt = std::pin::pin!(tokio::signal::ctrl_c());
    let caller = Caller::local();
    let (host, servers) = tokio::select! {
        (host, servers) = async { tokio::join!(build(args, pool), pool.connect(&caller)) } => (host?, servers),
        _ = &mut interrupt => return Err(CliError::Interrupted),
    };
    for note in host.notes() {
        writeln!(io.err, "firebox: {note}")?;
    }
    if args.plugins.explain_grants {
        options::print_grants(host.plugins(), io)?;
    }
    for failure in mcp_servers::failures(&servers) {
        writeln!(io.err, "firebox: {failure}")?;
    }
    let generation = tokio::select! {
        generation = host.engine().generate(&caller, request) => generation?,
        _ = &mut interrupt => return Err(CliError::Interrupted),
    };
    let reasoning = ReasoningView::new(args.reasoning.show_thinking && !args.json);
    let mut printer = EventPrinter { io, json: args.json, events: Vec::new(), line_open: false, reasoning };
    let (finish, interrupted) = printer.print(generation, interrupt).await?;
    printer.close(args.stats, &host, &finish)?;
    if interrupted { Err(CliError::Interrupted) } else { Ok(()) }
}

async fn build(args: &Args, pool: &ClientPool) -> Result<Host, CliError> {
    let specs = plugins::resolve(&args.plugins, args.model.model.is_none())?;
    let builder = args.answer.apply(args.model.host_builder().await?).plugins(specs);
    Ok(args.servers.add_tools(builder, pool).build().await?)
}

/// Prints the events of an answer. Remembers tool calls until their result comes, and with `--json` everything that the
/// object shows.
struct EventPrinter<'a> {
    io: &'a mut Io,
    json: bool,
    events: Vec<Event>,
    line_open: bool,
    reasoning: ReasoningView,
}

impl EventPrinter<'_> {
    /// Prints until the answer ends. The flag is true if Ctrl-C ended it.
    async fn print(
        &mut self,
        mut generation: Generation,
        mut interrupt: Interrupt<'_>,
    ) -> Result<(Finish, bool), CliError> {
        loop {
            let event = tokio::select! {
                event = generation.next() => event,
                _ = &mut interrupt => return Ok((generation.so_far(FinishReason::Interrupted), true)),
            };
            match event {
                Ok(Some(Event::Finished(finish))) => return Ok((finish, false)),
                Ok(Some(event)) => self.event(event)?,
                Ok(None) => return Ok((generation.so_far(FinishReason::Stop), false)),
                Err(error) => {
                    self.end_line()?;
                    return Err(error.into());
                }
            }
        }
    }

    fn event(&mut self, event: Event) -> Result<(), CliError> {
        match &event {
            Event::Reasoning(text) => self.reasoning.print(text, self.io)?,
            _ => self.reasoning.end(self.io)?,
        }
        match &event {
            Event::Text(text) if !self.json => {
                self.io.out.write_all(text.as_bytes())?;
                self.io.out.flush()?;
                self.line_open = !text.ends_with('\n');
            }
            Event::ToolResult { id, outcome } if !self.json => {
                let line = stats::tool_line(stats::call_of(&self.events, id), outcome);
                self.end_line()?;
                writeln!(self.io.err, "{line}")?;
                self.events.retain(|event| !matches!(event, Event::ToolCall(call) if call.id == *id));
            }
            Event::Log(line) => {
                let message = output::line(&line.message, limits::CHAT_SHOWN_CHARACTERS_MAX);
                writeln!(self.io.err, "plugin {} {}: {message}", line.plugin, line.level)?;
            }
            _ => {}
        }
        let is_needed = match event {
            Event::ToolCall(_) => true,
            Event::Reasoning(_) | Event::Text(_) | Event::ToolResult { .. } => self.json,
            _ => false,
        };
        if is_needed {
            self.events.push(event);
        }
        Ok(())
    }

    /// Ends the line of the answer, so that the next message starts on its own line.
    fn end_line(&mut self) -> Result<(), CliError> {
        if std::mem::take(&mut self.line_open) {
            writeln!(self.io.out)?;
        }
        Ok(())
    }

    fn close(&mut self, wants_stats: bool, host: &Host, finish: &Finish) -> Result<(), CliError> {
        self.reasoning.end(self.io)?;
        self.end_line()?;
        if self.json {
            writeln!(self.io.out, "{:#}", stats::json(host, finish, &self.events))?;
        }
        self.io.out.flush()?;
        let is_known = finish.reason == FinishReason::Interrupted;
        if let Some(ending) = finish::line(finish.reason, finish.usage, &REMEDIES).filter(|_| !is_known) {
            writeln!(self.io.err, "firebox: {ending}")?;
        }
        if wants_stats {
            self.io.err.write_all(stats::lines(host, finish).as_bytes())?;
            for line in host.plugins().iter().filter_map(|plugin| stats::stand_ins_line(plugin)) {
                writeln!(self.io.err, "{line}")?;
            }
        }
        Ok(())
    }
}
