//! `firebox chat`: a conversation that is kept, with tools, approvals and commands.

mod approval;
mod book;
mod commands;
mod conversation;
mod input;
mod settings;
mod show;
mod turn;

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use clap::Args as ClapArgs;
use firebox_contract::{Caller, Error};
use firebox_mcp::client::ClientPool;
use tokio::runtime::Runtime;

use super::options::{DeviceOptions, McpOptions, PluginOptions, SamplingOptions};
use super::termination::Termination;
use super::{Io, output};
use crate::compose::{Host, HostBuilder};
use crate::error::CliError;
use crate::{ember, mcp_servers, plugins, sessions, threads};

use approval::{Approvals, Approve};
use book::Book;
use commands::Next;
use conversation::{Conversation, Parts};
use input::{Pipe, Terminal, Typed};

/// Talk with a model, with tools and plugins; the conversation is kept.
#[derive(ClapArgs, Debug)]
pub struct Args {
    /// A Hugging Face folder; without it the small built-in model answers
    #[arg(long, value_name = "PATH")]
    model: Option<PathBuf>,
    /// Instructions for the model
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// Tokens the model sees of the conversation, up to its own limit
    #[arg(long, value_name = "N")]
    context: Option<usize>,
    /// Make control tokens of their text in messages and tool results, as transformers does
    #[arg(long)]
    text_control_tokens: bool,
    /// Say after each answer what it cost: tokens/s, memory, each plugin's calls and fuel
    #[arg(long)]
    stats: bool,
    /// When to ask before tools run; without it plugins run in their sandbox and other tools ask
    #[arg(long, value_name = "WHEN", value_enum)]
    approve: Option<Approve>,
    #[command(flatten)]
    device: DeviceOptions,
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
    let mut keyboard = Keyboard::open(&args.sessions, io)?;
    begin(&args, &mut book)?;
    let runtime = threads::runtime(Some(2))?;
    match keyboard.terminal() {
        Some(terminal) => terminal.termination().listen(&runtime)?,
        None => Termination::default().listen(&runtime)?,
    }
    let pool = mcp_servers::pool(&args.servers.mcp, &args.servers.mcp_header)?;
    let ended = attend(&args, book, &mut keyboard, &runtime, &pool, io);
    runtime.block_on(pool.close());
    ended
}

/// The chat from the first word to the last.
fn attend(
    args: &Args,
    book: Book,
    keyboard: &mut Keyboard,
    runtime: &Runtime,
    pool: &ClientPool,
    io: &mut Io,
) -> Result<(), CliError> {
    let mut conversation = compose(args, runtime, book, keyboard, pool, io)?;
    if keyboard.is_terminal() {
        conversation.greet(io)?;
    }
    let ended = converse(&mut conversation, keyboard, runtime, io);
    if keyboard.is_terminal() {
        conversation.take_leave(io)?;
    }
    ended
}

fn open_book(options: &SessionOptions, io: &mut Io) -> Result<Book, CliError> {
    let path = if options.no_save { None } else { book::default_path() };
    if path.is_none() && !options.no_save {
        writeln!(io.err, "firebox: nothing is kept: set FIREBOX_DATA to a folder for sessions")?;
    }
    let opened = Book::open(path.as_deref());
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
    Ok(Book::open(Some(path))?)
}

/// Finds or makes the session that the options ask for.
fn begin(args: &Args, book: &mut Book) -> Result<(), CliError> {
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
    mut book: Book,
    keyboard: &Keyboard,
    pool: &ClientPool,
    io: &mut Io,
) -> Result<Conversation, CliError> {
    let specs = plugins::resolve(&args.plugins, args.model.is_none())?;
    let described = specs.iter().map(commands::describe).collect();
    let (approvals, questions) = Approvals::new(keyboard.is_terminal());
    let builder = builder(args, pool)?.plugins(specs).approver(approvals.clone());
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
    book.set_model(&host.info().name);
    let plugin_tools = runtime.block_on(host.plugin_tools(&caller))?;
    let policy = approval::policy(args.approve, &plugin_tools);
    let mut conversation = Conversation::new(Parts {
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

fn builder(args: &Args, pool: &ClientPool) -> Result<HostBuilder, CliError> {
    let device = args.device.device.parse().map_err(Error::from)?;
    let builder = Host::builder().device(device).notice(super::notice()).context_tokens(args.context);
    let builder = builder.text_control_tokens(args.text_control_tokens);
    let builder = if args.servers.mcp.is_empty() { builder } else { builder.tools(Arc::new(pool.clone())) };
    Ok(match &args.model {
        Some(path) if path.as_os_str() != ember::NAME => builder.folder(path),
        _ => builder,
    })
}

/// Takes turns and commands until somebody has enough.
fn converse(
    conversation: &mut Conversation,
    keyboard: &mut Keyboard,
    runtime: &Runtime,
    io: &mut Io,
) -> Result<(), CliError> {
    let mut wants_to_quit = false;
    loop {
        let typed = keyboard.read(runtime)?;
        let was_asked = std::mem::take(&mut wants_to_quit);
        let text = match typed {
            Typed::End => return Ok(()),
            Typed::Interrupted { .. } if !keyboard.is_terminal() => return Err(CliError::Interrupted),
            Typed::Interrupted { empty } => {
                if empty && was_asked {
                    return Ok(());
                }
                if empty {
                    writeln!(io.err, "(Ctrl-C again, or Ctrl-D, ends the chat)")?;
                }
                wants_to_quit = empty;
                continue;
            }
            Typed::Text(text) => text,
        };
        match step(conversation, keyboard, runtime, &text, io) {
            Ok(Next::Quit) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.is_closed_pipe() || !keyboard.is_terminal() => return Err(error),
            Err(error) => writeln!(io.err, "firebox: {}", output::bounded(&error.to_string()))?,
        }
    }
}

/// One turn, or one command and the turn that it asks for.
fn step(
    conversation: &mut Conversation,
    keyboard: &mut Keyboard,
    runtime: &Runtime,
    typed: &str,
    io: &mut Io,
) -> Result<Next, CliError> {
    let next = match typed.trim_start().strip_prefix('/') {
        // Two slashes are for who wants to say one.
        Some(said) if said.starts_with('/') => Next::Say { text: said.to_owned(), at: None },
        Some(command) => commands::run(conversation, command, io)?,
        None if typed.trim().is_empty() => Next::Go,
        None => Next::Say { text: typed.to_owned(), at: None },
    };
    io.out.flush()?;
    let Next::Say { text, at } = next else { return Ok(next) };
    let terminal = keyboard.terminal();
    let is_terminal = terminal.is_some();
    let interrupted = runtime.block_on(conversation.say(text, at, terminal, io))?;
    if interrupted && !is_terminal { Err(CliError::Interrupted) } else { Ok(Next::Go) }
}

/// Where turns come from.
enum Keyboard {
    Person(Box<Terminal>),
    Pipe(Pipe),
}

impl Keyboard {
    fn open(options: &SessionOptions, io: &mut Io) -> Result<Self, CliError> {
        if !std::io::stdin().is_terminal() {
            return Ok(Self::Pipe(Pipe::open()?));
        }
        let history = crate::compose::data_dir().filter(|_| !options.no_save).map(|dir| dir.join("chat_history"));
        let (terminal, note) = Terminal::open(history, commands::words(), Termination::default())?;
        if let Some(note) = note {
            writeln!(io.err, "firebox: {note}")?;
        }
        Ok(Self::Person(Box::new(terminal)))
    }

    fn is_terminal(&self) -> bool {
        matches!(self, Self::Person(_))
    }

    fn terminal(&mut self) -> Option<&mut Terminal> {
        match self {
            Self::Person(terminal) => Some(terminal),
            Self::Pipe(_) => None,
        }
    }

    fn read(&mut self, runtime: &Runtime) -> Result<Typed, CliError> {
        match self {
            Self::Person(terminal) => terminal.read(),
            Self::Pipe(pipe) => runtime.block_on(pipe.read()),
        }
    }
}
