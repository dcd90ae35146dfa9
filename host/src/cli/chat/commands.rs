//! The commands of a chat: one table.

use std::io::Write;
use std::path::Path;
use std::time::SystemTime;

use firebox_contract::{Permission, limits};
use firebox_sandbox::PluginSpec;

use super::conversation::{Conversation, last_question};
use super::saved_conversation::{self, SavedConversation};
use super::{settings, show};
use crate::cli::Io;
use crate::cli::output::stats;
use crate::error::CliError;

/// What comes after a command.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum AfterCommand {
    /// The next turn.
    Continue,
    /// The end.
    Quit,
    /// This is said to the model, after the first `at` messages or after all.
    Ask { text: String, at: Option<u64> },
}

type CommandResult = Result<AfterCommand, CliError>;

/// A command: its name without the slash, other names, what follows it, what it does.
struct ChatCommand {
    name: &'static str,
    also: &'static [&'static str],
    takes: &'static str,
    about: &'static str,
    run: fn(&mut Conversation, &str, &mut Io) -> CommandResult,
}

/// Makes the table readable: a row a command.
macro_rules! commands {
    ($($name:literal $([$($also:literal),*])? $takes:literal $about:literal => $run:expr,)*) => {
        const COMMANDS: &[ChatCommand] = &[$(ChatCommand {
            name: $name, also: &[$($($also),*)?], takes: $takes, about: $about, run: $run,
        },)*];
    };
}

commands! {
    "help" ["h", "?"] "" "list the commands" => |_, _, io| help(io),
    "quit" ["exit", "q"] "" "end the chat; Ctrl-D does too" => |_, _, _| Ok(AfterCommand::Quit),
    "clear" ["new"] "" "begin another conversation; the system message stays" => clear,
    "system" [] "[TEXT|none]" "show, set or remove the instructions for the model" => system,
    "tools" [] "" "list the tools the model may call" => tools,
    "plugins" [] "" "list the plugins and their limits" => plugins,
    "approvals" [] "[forget]" "show or forget what was answered for this session" => approvals,
    "model" [] "" "say what the model is" => model,
    "stats" [] "[on|off]" "what the last answer cost, or every answer from now on" => statistics,
    "set" [] "[NAME=VALUE]" "show or change sampling, such as temperature=0.2" => set,
    "retry" [] "" "ask the last question again, in place of its answer" => retry,
    "undo" [] "" "take back the last question and its answer" => undo,
    "history" [] "" "show the messages with their numbers" => history,
    "pin" [] "N" "keep message N when older turns are dropped for room" => |chat, what, io| pin(chat, what, true, io),
    "unpin" [] "N" "let message N go again" => |chat, what, io| pin(chat, what, false, io),
    "fork" [] "[N]" "go on in a copy of this session, or of its first N messages" => fork,
    "sessions" [] "" "list the newest sessions" => |chat, _, io| list(&chat.parts.book, io).map(|()| AfterCommand::Continue),
    "resume" [] "ID" "go on with another session: its place in the list, its id or the end of it, or last" => resume,
    "title" [] "TEXT" "name this session" => title,
    "delete" [] "ID" "remove a session for good" => delete,
    "save" [] "[FILE]" "say where the session is kept, or write it to a new file" => save,
    "load" [] "FILE" "go on with a session that /save or --export wrote" => load,
}

/// Runs what was typed after the slash.
pub(super) fn run(chat: &mut Conversation, typed: &str, io: &mut Io) -> CommandResult {
    let (name, rest) = typed.split_once(char::is_whitespace).unwrap_or((typed, ""));
    let asked = name.to_lowercase();
    let found = COMMANDS.iter().find(|command| command.name == asked || command.also.contains(&asked.as_str()));
    match found {
        Some(command) => (command.run)(chat, rest.trim(), io),
        None => Err(unknown(&asked)),
    }
}

fn unknown(asked: &str) -> CliError {
    let likeness = |command: &&ChatCommand| strsim::jaro_winkler(command.name, asked);
    let near = COMMANDS.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    let shown = show::line(asked, 40);
    let hint = match near.filter(|command| likeness(command) > 0.75) {
        Some(command) => format!("did you mean /{}?", command.name),
        None => "/help lists them; two slashes say one to the model".to_owned(),
    };
    CliError::usage(format!("there is no command \"/{shown}\"; {hint}"))
}

/// The commands as they are typed, for completion.
pub(super) fn words() -> Vec<String> {
    COMMANDS.iter().map(|command| format!("/{}", command.name)).collect()
}

fn help(io: &mut Io) -> CommandResult {
    for ChatCommand { name, takes, about, .. } in COMMANDS {
        writeln!(io.out, "/{:<24} {about}", format!("{name} {takes}"))?;
    }
    let keys = "A backslash at the end of a line, Alt-Enter, or \"\"\" before and after make one turn of several \
                lines. Ctrl-C stops an answer.";
    writeln!(io.out, "{keys}")?;
    Ok(AfterCommand::Continue)
}

fn clear(chat: &mut Conversation, _: &str, io: &mut Io) -> CommandResult {
    chat.parts.book.clear()?;
    writeln!(io.err, "a new conversation")?;
    Ok(AfterCommand::Continue)
}

fn system(chat: &mut Conversation, what: &str, io: &mut Io) -> CommandResult {
    match what {
        "" => {
            let system = chat.parts.book.system_message()?;
            writeln!(io.out, "{}", system.as_deref().unwrap_or("there is no system message"))?;
        }
        "none" => chat.parts.book.set_system(None)?,
        text => chat.parts.book.set_system(Some(text))?,
    }
    Ok(AfterCommand::Continue)
}

fn tools(chat: &mut Conversation, _: &str, io: &mut Io) -> CommandResult {
    for tool in &chat.tools {
        let may = match chat.parts.policy.permission(&tool.name) {
            Permission::Allow => "runs",
            Permission::Ask => "asks",
            Permission::Deny => "never",
        };
        let about = show::line(tool.description.lines().next().unwrap_or_default(), 100);
        writeln!(io.out, "{:<24} {may:<6} {about}", show::line(&tool.name, 60))?;
    }
    if chat.tools.is_empty() {
        writeln!(io.out, "there are no tools; --plugin adds some")?;
    }
    Ok(AfterCommand::Continue)
}

/// One line about a plugin.
pub(super) fn describe(spec: &PluginSpec) -> String {
    let limits = &spec.limits;
    let (mib, millis) = (limits.memory_bytes >> 20, limits.timeout.as_millis());
    format!("{:<24} {} fuel, {mib} MiB, {millis} ms a call", spec.name, limits.fuel)
}

fn plugins(chat: &mut Conversation, _: &str, io: &mut Io) -> CommandResult {
    for line in &chat.parts.plugins {
        writeln!(io.out, "{line}")?;
    }
    if chat.parts.plugins.is_empty() {
        writeln!(io.out, "there are no plugins; --plugin adds some")?;
    }
    Ok(AfterCommand::Continue)
}

fn approvals(chat: &mut Conversation, what: &str, io: &mut Io) -> CommandResult {
    match what {
        "forget" => chat.parts.approvals.forget(),
        "" => {
            for (tool, allowed) in chat.parts.approvals.all() {
                let answer = if allowed { "runs for this session" } else { "never runs" };
                writeln!(io.out, "{:<24} {answer}", show::line(&tool, 60))?;
            }
        }
        other => return Err(CliError::usage(format!("\"{other}\" is not forget; write /approvals forget"))),
    }
    Ok(AfterCommand::Continue)
}

fn model(chat: &mut Conversation, _: &str, io: &mut Io) -> CommandResult {
    let info = chat.parts.host.engine().info();
    let parameters = info.parameters as f64 / 1e6;
    let words = (&info.name, &info.architecture, info.dtype, &info.device, info.context_tokens);
    let (name, architecture, dtype, device, context) = words;
    writeln!(io.out, "{name} ({architecture}, {parameters:.1} M parameters, {dtype}) on {device}, {context} tokens")?;
    Ok(AfterCommand::Continue)
}

fn statistics(chat: &mut Conversation, what: &str, io: &mut Io) -> CommandResult {
    match what {
        "on" => chat.parts.stats = true,
        "off" => chat.parts.stats = false,
        "" => match &chat.last {
            Some(finish) => io.out.write_all(stats::lines(chat.parts.host.engine().info(), finish).as_bytes())?,
            None => writeln!(io.out, "nothing was answered yet")?,
        },
        other => return Err(CliError::usage(format!("\"{other}\" is neither on nor off; write /stats on"))),
    }
    Ok(AfterCommand::Continue)
}

fn set(chat: &mut Conversation, what: &str, io: &mut Io) -> CommandResult {
    if !what.is_empty() {
        let changed = settings::set(&mut chat.parts.sampling, what)?;
        writeln!(io.err, "{changed}")?;
        return Ok(AfterCommand::Continue);
    }
    for line in settings::lines(&chat.parts.sampling) {
        writeln!(io.out, "{line}")?;
    }
    Ok(AfterCommand::Continue)
}

fn retry(chat: &mut Conversation, _: &str, _: &mut Io) -> CommandResult {
    let messages = chat.parts.book.messages()?;
    let last = last_question(&messages).map(|place| &messages[place]);
    // A question that was not answered is not in the book, and it is the last one then.
    match (&chat.asked, last) {
        (Some(asked), Some(last)) if *asked != last.message.content => {
            Ok(AfterCommand::Ask { text: asked.clone(), at: None })
        }
        (_, Some(last)) => Ok(AfterCommand::Ask { text: last.message.content.clone(), at: Some(last.seq - 1) }),
        (Some(asked), None) => Ok(AfterCommand::Ask { text: asked.clone(), at: None }),
        (None, None) => Err(CliError::usage("nothing was asked yet; ask something")),
    }
}

fn undo(chat: &mut Conversation, _: &str, io: &mut Io) -> CommandResult {
    let messages = chat.parts.book.messages()?;
    let Some(place) = last_question(&messages) else {
        return Err(CliError::usage("there is nothing to take back; ask something"));
    };
    let last = &messages[place];
    chat.parts.book.truncate(last.seq - 1)?;
    chat.asked = None;
    writeln!(io.err, "took back: {}", show::line(&last.message.content, 80))?;
    Ok(AfterCommand::Continue)
}

fn history(chat: &mut Conversation, _: &str, io: &mut Io) -> CommandResult {
    let max = limits::CHAT_SHOWN_CHARACTERS_MAX;
    for stored in chat.parts.book.messages()? {
        let pin = if stored.pinned { "*" } else { " " };
        let message = &stored.message;
        let calls = message.tool_calls.iter().map(|call| format!(" calls {} {}", call.name, call.arguments_json));
        let text = format!("{}{}", message.content, calls.collect::<String>());
        writeln!(io.out, "{pin}{:>4} {:<9} {}", stored.seq, message.role.as_str(), show::line(text.trim(), max))?;
    }
    Ok(AfterCommand::Continue)
}

fn number(what: &str) -> Result<u64, CliError> {
    what.parse().map_err(|_| CliError::usage(format!("\"{what}\" is not the number of a message; /history shows them")))
}

fn pin(chat: &mut Conversation, what: &str, pinned: bool, io: &mut Io) -> CommandResult {
    chat.parts.book.pin(number(what)?, pinned)?;
    writeln!(io.err, "message {what} is {}", if pinned { "pinned" } else { "no longer pinned" })?;
    Ok(AfterCommand::Continue)
}

fn fork(chat: &mut Conversation, what: &str, io: &mut Io) -> CommandResult {
    let at = if what.is_empty() { None } else { Some(number(what)?) };
    chat.parts.book.fork(at)?;
    writeln!(io.err, "forked; now in session {}", chat.parts.book.short_id().unwrap_or_default())?;
    Ok(AfterCommand::Continue)
}

/// Lists the newest sessions, one a line.
pub(super) fn list(book: &SavedConversation, io: &mut Io) -> Result<(), CliError> {
    let now = SystemTime::now();
    let current = book.session().map(|session| session.id.clone());
    let listed = book.recent(limits::SESSIONS_PAGE_MAX)?;
    for (place, session) in listed.iter().enumerate() {
        let mark = if current.as_ref() == Some(&session.id) { "*" } else { " " };
        let title = show::line(session.title.as_deref().unwrap_or_default(), 60);
        let (id, age) = (saved_conversation::short(&session.id), show::age(session.used, now));
        writeln!(io.out, "{mark}{:>3}  {id}  {age:<12} {:>5} messages  {title}", place + 1, session.length)?;
    }
    if listed.is_empty() {
        writeln!(io.out, "there are no sessions yet")?;
    }
    Ok(())
}

fn resume(chat: &mut Conversation, what: &str, io: &mut Io) -> CommandResult {
    if what.is_empty() {
        return Err(CliError::usage("which one? /sessions lists them; write /resume 1"));
    }
    chat.parts.book.resume(what)?;
    chat.asked = None;
    chat.show_last_turn(io)?;
    Ok(AfterCommand::Continue)
}

fn title(chat: &mut Conversation, what: &str, _: &mut Io) -> CommandResult {
    chat.parts.book.set_title(what)?;
    Ok(AfterCommand::Continue)
}

fn delete(chat: &mut Conversation, what: &str, io: &mut Io) -> CommandResult {
    let gone = chat.parts.book.delete(what)?;
    let title = show::line(gone.title.as_deref().unwrap_or_default(), 60);
    writeln!(io.err, "deleted session {} ({title})", saved_conversation::short(&gone.id))?;
    Ok(AfterCommand::Continue)
}

fn save(chat: &mut Conversation, what: &str, io: &mut Io) -> CommandResult {
    let book = &chat.parts.book;
    if !what.is_empty() {
        book.save(Path::new(what))?;
        writeln!(io.err, "written to {what}")?;
        return Ok(AfterCommand::Continue);
    }
    match (book.path(), book.short_id()) {
        (Some(path), Some(id)) => writeln!(io.out, "kept as session {id} in {}", path.display())?,
        (Some(_), None) => writeln!(io.out, "it will be kept as soon as something is said")?,
        (None, _) => writeln!(io.out, "it is kept in memory only; /save FILE writes it down")?,
    }
    Ok(AfterCommand::Continue)
}

fn load(chat: &mut Conversation, what: &str, io: &mut Io) -> CommandResult {
    chat.parts.book.load(Path::new(what))?;
    chat.asked = None;
    chat.show_last_turn(io)?;
    Ok(AfterCommand::Continue)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_every_command_says_what_it_does() {
        let names: Vec<&str> =
            COMMANDS.iter().flat_map(|c| std::iter::once(c.name).chain(c.also.iter().copied())).collect();
        for name in &names {
            assert_eq!(names.iter().filter(|other| other == &name).count(), 1, "{name}");
        }
        assert!(COMMANDS.iter().all(|command| command.about.len() > 10));
    }

    #[test]
    fn a_slip_gets_a_suggestion() {
        for (typed, meant) in
            [("hlep", "/help"), ("sesions", "/sessions"), ("quite", "/quit"), ("tempo", "/help lists")]
        {
            let told = unknown(typed).to_string();
            assert!(told.contains(meant), "{told}");
        }
    }
}
