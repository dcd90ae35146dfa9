//! `firebox chat`: a conversation that is kept, with tools, approvals and commands.

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

use super::options::{McpOptions, ModelOptions, PluginOptions, SamplingOptions};
use super::termination::Termination;
use super::{Io, output};
use crate::cli::options::mcp_servers;
use crate::error::CliError;
use crate::system::{directories, threads};
use crate::{plugins, sessions};

use approval::{ApprovalMode, TerminalApprover};
use commands::AfterCommand;
use conversation::{Conversation, ConversationParts};
use input::{Pipe, Terminal, UserInput};
use saved_conversation::SavedConversation;

/// Talk with a model, with tools and plugins; the conversation is kept.
#[derive(ClapArgs, Debug)]
pub struct Args {
    #[command(flatten)]
    model: ModelOptions,
    /// Instructions for the model
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// Say after each answer what it cost: tokens/s, memory, each plugin's calls and fuel
    #[arg(long)]
    stats: bool,
    /// When to ask before tools run; without it plugins run in their sandbox and other tools ask
    #[arg(long, value_name = "WHEN", value_enum)]
    approve: Option<ApprovalMode>,
    #[command(flatten)]
    sessions: SessionOptions,
    #[command(flatten)]
    sampling: SamplingOptions,
    #[command(flatten)]
    plugins: PluginOptions,
    #[command(flatten)]
    servers: McpOptions,
}

/// Which conversation it is, and where it is kept.
#[derive(ClapArgs, Debug)]
#[command(next_help_heading = "Sessions")]
struct SessionOptions {
    /// Go on with a session: its id, the end of its id, or `last`
    #[arg(long, value_name = "ID|last")]
    session: Option<String>,
    /// Keep nothing of this conversation
    #[arg(long, conflicts_with = "session")]
    no_save: bool,
    /// List the sessions and end
    #[arg(long, conflicts_with_all = ["session", "no_save", "export"])]
    list: bool,
    /// Write a session as JSON lines to standard output and end
    #[arg(long, value_name = "ID|last", conflicts_with_all = ["session", "no_save"])]
    export: Option<String>,
    /// Begin with a session that --export or /save wrote
    #[arg(long, value_name = "FILE", conflicts_with_all = ["session", "list", "export"])]
    import: Option<PathBuf>,
    /// Rename a damaged session file and begin a new one
    #[arg(long, conflicts_with = "no_save")]
    set_aside: bool,
}

/// Runs the verb.
///
/// # Errors
/// What keeps the conversation from going on: usage, sessions, model, device or plugins. With a person at the
/// terminal a turn that fails is told and the conversation goes on; from a pipe it ends it.
pub fn run(args: Args, io: &mut Io) -> Result<(), CliError> {
    let mut book = open_book(&args.sessions, io)?;
    if args.sessions.list {
        return commands::list(&book, io);
    }
    if let Some(name) = &args.sessions.export {
        return book.export(name, &mut io.out);
    }
    let mut input = InputSource::open(&args.sessions, io)?;
    begin(&args, &mut book)?;
    let runtime = threads::runtime(Some(2))?;
    match input.terminal() {
        Some(terminal) => terminal.termination().listen(&runtime)?,
        None => Termination::default().listen(&runtime)?,
    }
    let pool = mcp_servers::pool(&args.servers.mcp, &args.servers.mcp_header)?;
    let ended = attend(&args, book, &mut input, &runtime, &pool, io);
    runtime.block_on(pool.close());
    ended
}

/// The chat from the first word to the last.
fn attend(
    args: &Args,
    book: SavedConversation,
    input: &mut InputSource,
    runtime: &Runtime,
    pool: &ClientPool,
    io: &mut Io,
) -> Result<(), CliError> {
    let mut conversation = compose(args, runtime, book, input, pool, io)?;
    if input.is_terminal() {
        conversation.greet(io)?;
    }
    let ended = converse(&mut conversation, input, runtime, io);
    if input.is_terminal() {
        conversation.take_leave(io)?;
    }
    ended
}

fn open_book(options: &SessionOptions, io: &mut Io) -> Result<SavedConversation, CliError> {
    let path = if options.no_save { None } else { saved_conversation::default_path() };
    if path.is_none() && !options.no_save {
        writeln!(io.err, "firebox: nothing is kept: set FIREBOX_DATA to a folder for sessions")?;
    }
    let opened = SavedConversation::open(path.as_deref());
    let (Some(path), Err(sessions::SessionError::Damaged { .. })) = (&path, &opened) else { return Ok(opened?) };
    if !options.set_aside {
        let error = opened.err().map(|error| error.to_string()).unwrap_or_default();
        return Err(Error::Internal(format!("{error} with --set-aside, or chat with --no-save")).into());
    }
    let aside = sessions::set_aside(path, SystemTime::now()).map_err(|source| CliError::File {
        action: "rename",
        path: path.display().to_string(),
        source,
    })?;
    writeln!(io.err, "firebox: the damaged session file is now \"{}\"", aside.display())?;
    Ok(SavedConversation::open(Some(path))?)
}

/// Finds or makes the session that the options ask for.
fn begin(args: &Args, book: &mut SavedConversation) -> Result<(), CliError> {
    if let Some(name) = &args.sessions.session {
        book.resume(name)?;
    }
    if let Some(path) = &args.sessions.import {
        book.load(path)?;
    }
    if let Some(system) = &args.system {
        book.set_system(Some(system))?;
    }
    Ok(())
}

/// Loads model and plugins, reaches for the servers, and puts the conversation together.
fn compose(
    args: &Args,
    runtime: &Runtime,
    mut book: SavedConversation,
    input: &InputSource,
    pool: &ClientPool,
    io: &mut Io,
) -> Result<Conversation, CliError> {
    let specs = plugins::resolve(&args.plugins, args.model.model.is_none())?;
    let described = specs.iter().map(commands::describe).collect();
    let (approvals, questions) = TerminalApprover::new(input.is_terminal());
    let builder = args.model.host_builder()?.plugins(specs).approver(approvals.clone());
    let builder = args.servers.add_tools(builder, pool);
    let caller = Caller::local();
    let (host, reports) = runtime.block_on(async {
        tokio::select! {
            (host, reports) = async { tokio::join!(builder.build(), pool.connect(&caller)) } => Ok((host?, reports)),
            _ = tokio::signal::ctrl_c() => Err(CliError::Interrupted),
        }
    })?;
    for note in host.notes().iter().cloned().chain(mcp_servers::complaints(&reports)) {
        writeln!(io.err, "firebox: {note}")?;
    }
    book.set_model(&host.engine().info().name);
    let plugin_tools = runtime.block_on(host.engine().plugin_tools(&caller))?;
    let policy = approval::policy(args.approve, &plugin_tools);
    let mut conversation = Conversation::new(ConversationParts {
        host,
        book,
        sampling: args.sampling.overrides(),
        rounds: args.plugins.tool_rounds,
        policy,
        plugin_tools,
        plugins: described,
        approvals,
        questions,
        stats: args.stats,
    });
    runtime.block_on(conversation.list_tools());
    Ok(conversation)
}

/// Takes turns and commands until somebody has enough.
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
                    writeln!(io.err, "(Ctrl-C again, or Ctrl-D, ends the chat)")?;
                }
                wants_to_quit = empty;
                continue;
            }
            UserInput::Text(text) => text,
        };
        match step(conversation, input, runtime, &text, io) {
            Ok(AfterCommand::Quit) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.is_closed_pipe() || !input.is_terminal() => return Err(error),
            Err(error) => writeln!(io.err, "firebox: {}", output::bounded(&error.to_string()))?,
        }
    }
}

/// One turn, or one command and the turn that it asks for.
fn step(
    conversation: &mut Conversation,
    input: &mut InputSource,
    runtime: &Runtime,
    typed: &str,
    io: &mut Io,
) -> Result<AfterCommand, CliError> {
    let next = match typed.trim_start().strip_prefix('/') {
        // Two slashes are for who wants to say one.
        Some(said) if said.starts_with('/') => AfterCommand::Ask { text: said.to_owned(), at: None },
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

/// Where turns come from.
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
        let (terminal, note) = Terminal::open(history, commands::words(), Termination::default())?;
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
