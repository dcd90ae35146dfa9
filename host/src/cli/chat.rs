//! `firebox chat`: a conversation with a model, saved as a session, with tools, approvals and commands.

mod approval;
mod commands;
mod conversation;
mod input;
mod saved_conversation;
mod settings;
mod show;
mod turn;

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::time::SystemTime;

use clap::Args as ClapArgs;
use firebox_contract::{Caller, Error};
use firebox_mcp::client::ClientPool;
use tokio::runtime::Runtime;

use super::options::{self, AnswerOptions, McpOptions, ModelOptions, PluginOptions, ReasoningArgs, SamplingOptions};
use super::{Io, output};
use crate::cli::options::answer_form::AnswerFormOptions;
use crate::cli::options::mcp_servers;
use crate::cli::termination::Termination;
use crate::error::CliError;
use crate::system::{directories, threads};
use crate::{plugins, sessions};

use approval::{ApprovalMode, TerminalApprover};
use commands::AfterCommand;
use conversation::{Conversation, ConversationParts};
use input::{Pipe, Terminal, UserInput};
use saved_conversation::SavedConversation;

/// Chat with a model; conversations are saved as sessions.
#[derive(ClapArgs, Debug)]
pub struct Args {
    #[command(flatten)]
    model: ModelOptions,
    #[command(flatten)]
    answer: AnswerOptions,
    /// System message: instructions for the model
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// Print statistics after each answer: tokens/s, memory, and calls and fuel of each plugin
    #[arg(long)]
    stats: bool,
    /// When to ask before a tool runs [default: never for plugins, which run in a sandbox; always for other tools]
    #[arg(long, value_name = "WHEN", value_enum)]
    approve: Option<ApprovalMode>,
    #[command(flatten)]
    sessions: SessionOptions,
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

/// Which conversation to continue, and whether to save it.
#[derive(ClapArgs, Debug)]
#[command(next_help_heading = "Sessions")]
struct SessionOptions {
    /// Continue a session: its id, the end of its id, or `last`
    #[arg(long, value_name = "ID|last")]
    session: Option<String>,
    /// Do not save this conversation
    #[arg(long, conflicts_with = "session")]
    no_save: bool,
    /// List the sessions and exit
    #[arg(long, conflicts_with_all = ["session", "no_save", "export"])]
    list: bool,
    /// Print a session as JSON lines and exit
    #[arg(long, value_name = "ID|last", conflicts_with_all = ["session", "no_save"])]
    export: Option<String>,
    /// Start with a copy of a session that --export or /save wrote
    #[arg(long, value_name = "FILE", conflicts_with_all = ["session", "list", "export"])]
    import: Option<PathBuf>,
    /// Rename a damaged session file and start a new one
    #[arg(long, conflicts_with = "no_save")]
    set_aside: bool,
}

/// Runs the command.
///
/// # Errors
/// Errors of the options, the session store, the model, the device or a plugin. On a terminal, a turn that fails prints its
/// error and the chat continues. From a pipe, it ends the command.
pub fn run(args: Args, io: &mut Io) -> Result<(), CliError> {
    if args.form.reads_stdin() {
        return Err(CliError::usage("standard input is the conversation; name a file for the schema or the grammar"));
    }
    options::note_unused_config("firebox chat", io)?;
    let mut saved = open_saved(&args.sessions, io)?;
    if args.sessions.list {
        return commands::list(&saved, io);
    }
    if let Some(name) = &args.sessions.export {
        return saved.export(name, &mut io.out);
    }
    let mut input = InputSource::open(&args.sessions, io)?;
    begin(&args, &mut saved)?;
    let runtime = threads::runtime(Some(2))?;
    match input.terminal() {
        Some(terminal) => terminal.termination().listen(&runtime)?,
        None => Termination::default().listen(&runtime)?,
    }
    let pool = mcp_servers::pool(&args.servers.mcp, &args.servers.mcp_header)?;
    let ended = run_chat(&args, saved, &mut input, &runtime, &pool, io);
    runtime.block_on(pool.close());
    ended
}

/// Greets, reads input until it ends, and says where the conversation was saved.
fn run_chat(
    args: &Args,
    saved: SavedConversation,
    input: &mut InputSource,
    runtime: &Runtime,
    pool: &ClientPool,
    io: &mut Io,
) -> Result<(), CliError> {
    let mut conversation = start(args, runtime, saved, input, pool, io)?;
    if input.is_terminal() {
        conversation.greet(io)?;
    }
    let ended = converse(&mut conversation, input, runtime, io);
    if input.is_terminal() {
        conversation.say_goodbye(io)?;
    }
    ended
}

fn open_saved(options: &SessionOptions, io: &mut Io) -> Result<SavedConversation, CliError> {
    let path = if options.no_save { None } else { saved_conversation::default_path() };
    if path.is_none() && !options.no_save {
        writeln!(
            io.err,
            "firebox: conversations are not saved, because there is no data directory; set FIREBOX_DATA to one"
        )?;
    }
    let opened = SavedConversation::open(path.as_deref());
    let (Some(path), Err(sessions::SessionError::Damaged { .. })) = (&path, &opened) else { return Ok(opened?) };
    if !options.set_aside {
        let error = opened.err().map(|error| error.to_string()).unwrap_or_default();
        return Err(Error::Internal(format!("{error} with --set-aside, or start with --no-save")).into());
    }
    let aside = sessions::set_aside(path, SystemTime::now()).map_err(|source| CliError::File {
        action: "rename",
        path: path.display().to_string(),
        source,
    })?;
    writeln!(io.err, "firebox: renamed the damaged session file to \"{}\"", aside.display())?;
    Ok(SavedConversation::open(Some(path))?)
}

/// Opens the session of the options, and sets the system message.
fn begin(args: &Args, saved: &mut SavedConversation) -> Result<(), CliError> {
    if let Some(name) = &args.sessions.session {
        saved.resume(name)?;
    }
    if let Some(path) = &args.sessions.import {
        saved.load(path)?;
    }
    if let Some(system) = &args.system {
        saved.set_system(Some(system))?;
    }
    Ok(())
}

/// Loads the model and the plugins, connects to the MCP servers, and makes the conversation.
fn start(
    args: &Args,
    runtime: &Runtime,
    mut saved: SavedConversation,
    input: &InputSource,
    pool: &ClientPool,
    io: &mut Io,
) -> Result<Conversation, CliError> {
    let specs = plugins::resolve(&args.plugins, args.model.model.is_none())?;
    let plugin_limits = specs.iter().map(commands::limits_of).collect();
    let (approvals, questions) = TerminalApprover::new(input.is_terminal());
    let builder = runtime.block_on(async {
        tokio::select! {
            builder = args.model.host_builder() => builder,
            _ = tokio::signal::ctrl_c() => Err(CliError::Interrupted),
        }
    })?;
    let builder = args.answer.apply(builder).plugins(specs).approver(approvals.clone());
    let builder = args.servers.add_tools(builder, pool);
    let caller = Caller::local();
    let (host, reports) = runtime.block_on(async {
        tokio::select! {
            (host, reports) = async { tokio::join!(builder.build(), pool.connect(&caller)) } => Ok((host?, reports)),
            _ = tokio::signal::ctrl_c() => Err(CliError::Interrupted),
        }
    })?;
    for note in host.notes().iter().cloned().chain(mcp_servers::failures(&reports)) {
        writeln!(io.err, "firebox: {note}")?;
    }
    if args.plugins.explain_grants {
        options::print_grants(host.plugins(), io)?;
    }
    saved.set_model(&host.engine().info().name);
    let plugin_tools = runtime.block_on(host.engine().plugin_tools(&caller))?;
    let policy = approval::policy(args.approve, &plugin_tools);
    let mut conversation = Conversation::new(ConversationParts {
        host,
        saved,
        sampling: args.sampling.overrides(),
        grammar: args.form.read()?,
        reasoning: args.reasoning.clone(),
        rounds: args.plugins.tool_rounds,
        policy,
        plugin_tools,
        plugin_limits,
        approvals,
        questions,
        stats: args.stats,
    });
    runtime.block_on(conversation.list_tools());
    Ok(conversation)
}

/// Runs turns and commands until the input ends or a command quits.
fn converse(
    conversation: &mut Conversation,
    input: &mut InputSource,
    runtime: &Runtime,
    io: &mut Io,
) -> Result<(), CliError> {
    let mut wants_to_quit = false;
    loop {
        let typed = input.read(runtime)?;
        let was_asked = std::mem::take(&mut wants_to_quit);
        let text = match typed {
            UserInput::End => return Ok(()),
            UserInput::Interrupted { .. } if !input.is_terminal() => return Err(CliError::Interrupted),
            UserInput::Interrupted { empty } => {
                if empty && was_asked {
                    return Ok(());
                }
                if empty {
                    writeln!(io.err, "(press Ctrl-C again, or Ctrl-D, to quit)")?;
                }
                wants_to_quit = empty;
                continue;
            }
            UserInput::Text(text) => text,
        };
        match handle(conversation, input, runtime, &text, io) {
            Ok(AfterCommand::Quit) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.is_closed_pipe() || !input.is_terminal() => return Err(error),
            Err(error) => writeln!(io.err, "firebox: {}", output::bounded(&error.to_string()))?,
        }
    }
}

/// Runs one turn, or one command and the turn that it asks for.
fn handle(
    conversation: &mut Conversation,
    input: &mut InputSource,
    runtime: &Runtime,
    typed: &str,
    io: &mut Io,
) -> Result<AfterCommand, CliError> {
    let next = match typed.trim_start().strip_prefix('/') {
        // Two slashes start a message that begins with one slash.
        Some(message) if message.starts_with('/') => AfterCommand::Ask { text: message.to_owned(), at: None },
        Some(command) => commands::run(conversation, command, io)?,
        None if typed.trim().is_empty() => AfterCommand::Continue,
        None => AfterCommand::Ask { text: typed.to_owned(), at: None },
    };
    io.out.flush()?;
    let AfterCommand::Ask { text, at } = next else { return Ok(next) };
    let terminal = input.terminal();
    let is_terminal = terminal.is_some();
    let interrupted = runtime.block_on(conversation.say(text, at, terminal, io))?;
    if interrupted && !is_terminal { Err(CliError::Interrupted) } else { Ok(AfterCommand::Continue) }
}

/// Where turns and commands are read from.
enum InputSource {
    Terminal(Box<Terminal>),
    Pipe(Pipe),
}

impl InputSource {
    fn open(options: &SessionOptions, io: &mut Io) -> Result<Self, CliError> {
        if !std::io::stdin().is_terminal() {
            return Ok(Self::Pipe(Pipe::open()?));
        }
        let history = directories::data_dir().filter(|_| !options.no_save).map(|dir| dir.join("chat_history"));
        let (terminal, note) = Terminal::open(history, commands::names(), Termination::default())?;
        if let Some(note) = note {
            writeln!(io.err, "firebox: {note}")?;
        }
        Ok(Self::Terminal(Box::new(terminal)))
    }

    fn is_terminal(&self) -> bool {
        matches!(self, Self::Terminal(_))
    }

    fn terminal(&mut self) -> Option<&mut Terminal> {
        match self {
            Self::Terminal(terminal) => Some(terminal),
            Self::Pipe(_) => None,
        }
    }

    fn read(&mut self, runtime: &Runtime) -> Result<UserInput, CliError> {
        match self {
            Self::Terminal(terminal) => terminal.read(),
            Self::Pipe(pipe) => runtime.block_on(pipe.read()),
        }
    }
}
