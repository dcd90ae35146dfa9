//! The commands of `firebox chat`, in one table.

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

/// What to do after a command.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum AfterCommand {
    /// Read the next input.
    Continue,
    /// Quit the chat.
    Quit,
    /// Send `text` to the model, after the first `at` messages, or after all.
    Ask { text: String, at: Option<u64> },
}

type CommandResult = Result<AfterCommand, CliError>;

/// A command: its name without the slash, its aliases, its argument, its help and its function.
struct ChatCommand {
    name: &'static str,
    aliases: &'static [&'static str],
    argument: &'static str,
    help: &'static str,
    run: fn(&mut Conversation, &str, &mut Io) -> CommandResult,
}

/// Makes the table, one row for each command.
macro_rules! commands {
    ($($name:literal $([$($alias:literal),*])? $argument:literal $help:literal => $run:expr,)*) => {
        const COMMANDS: &[ChatCommand] = &[$(ChatCommand {
            name: $name, aliases: &[$($($alias),*)?], argument: $argument, help: $help, run: $run,
        },)*];
    };
}

commands! {
    "help" ["h", "?"] "" "list the commands" => |_, _, io| help(io),
    "quit" ["exit", "q"] "" "quit the chat, as Ctrl-D does" => |_, _, _| Ok(AfterCommand::Quit),
    "clear" ["new"] "" "start a new conversation with the same system message" => clear,
    "system" [] "[TEXT|none]" "show, set or remove the system message" => system,
    "tools" [] "" "list the tools the model may call" => tools,
    "plugins" [] "" "list the plugins, with descriptions and limits" => plugins,
    "approvals" [] "[forget]" "show or forget the remembered approvals" => approvals,
    "model" [] "" "describe the model" => model,
    "stats" [] "[on|off]" "show statistics of the last answer, or turn them on or off" => statistics,
    "set" [] "[NAME=VALUE]" "show or change sampling options, such as temperature=0.2" => set,
    "retry" [] "" "send the last message again and replace its answer" => retry,
    "undo" [] "" "remove the last message and its answer" => undo,
    "history" [] "" "show the messages with their numbers" => history,
    "pin" [] "N" "keep message N in the context when older turns no longer fit" => |chat, what, io| pin(chat, what, true, io),
    "unpin" [] "N" "no longer keep message N in the context" => |chat, what, io| pin(chat, what, false, io),
    "fork" [] "[N]" "continue in a copy of this session, or of its first N messages" => fork,
    "sessions" [] "" "list the newest sessions" => |chat, _, io| list(&chat.parts.saved, io).map(|()| AfterCommand::Continue),
    "resume" [] "ID" "continue another session: its number in the list, its id, the end of its id, or last" => resume,
    "title" [] "TEXT" "set the title of this session" => title,
    "delete" [] "ID" "delete a session" => delete,
    "save" [] "[FILE]" "show where the session is saved, or write it to a new file" => save,
    "load" [] "FILE" "continue a session that /save or --export wrote" => load,
}

/// Runs a command. `typed` is the input without the slash.
pub(super) fn run(chat: &mut Conversation, typed: &str, io: &mut Io) -> CommandResult {
    let (name, rest) = typed.split_once(char::is_whitespace).unwrap_or((typed, ""));
    let asked = name.to_lowercase();
    let found = COMMANDS.iter().find(|command| command.name == asked || command.aliases.contains(&asked.as_str()));
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
        None => "list commands with /help, or start a message with // to send a slash".to_owned(),
    };
    CliError::usage(format!("there is no command \"/{shown}\"; {hint}"))
}

/// The names of the commands with their slash, for completion.
pub(super) fn names() -> Vec<String> {
    COMMANDS.iter().map(|command| format!("/{}", command.name)).collect()
}

fn help(io: &mut Io) -> CommandResult {
    for ChatCommand { name, argument, help, .. } in COMMANDS {
        writeln!(io.out, "/{:<24} {help}", format!("{name} {argument}"))?;
    }
    let keys = "To send several lines as one message, end a line with a backslash, press Alt-Enter, or write \"\"\" before \
                and after. Ctrl-C stops an answer.";
    writeln!(io.out, "{keys}")?;
    Ok(AfterCommand::Continue)
}

fn clear(chat: &mut Conversation, _: &str, io: &mut Io) -> CommandResult {
    chat.parts.saved.clear()?;
    writeln!(io.err, "started a new conversation")?;
    Ok(AfterCommand::Continue)
}

fn system(chat: &mut Conversation, what: &str, io: &mut Io) -> CommandResult {
    match what {
        "" => {
            let system = chat.parts.saved.system_message()?;
            writeln!(io.out, "{}", system.as_deref().unwrap_or("there is no system message"))?;
        }
        "none" => chat.parts.saved.set_system(None)?,
        text => chat.parts.saved.set_system(Some(text))?,
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
        writeln!(io.out, "there are no tools; add some with --plugin or --mcp")?;
    }
    Ok(AfterCommand::Continue)
}

/// The limits of a plugin, for `/plugins`.
pub(super) fn limits_of(spec: &PluginSpec) -> String {
    let limits = &spec.limits;
    let (mib, millis) = (limits.memory_bytes >> 20, limits.timeout.as_millis());
    format!("{} fuel, {mib} MiB, {millis} ms a call", limits.fuel)
}

fn plugins(chat: &mut Conversation, _: &str, io: &mut Io) -> CommandResult {
    let loaded = chat.parts.host.plugins();
    for (allowed, plugin) in chat.parts.plugin_limits.iter().zip(loaded) {
        writeln!(io.out, "{:<24} {allowed}", plugin.name())?;
        if let Some(info) = plugin.info().filter(|info| !info.description.is_empty()) {
            writeln!(io.out, "{:<24} {}", "", show::line(&info.description, limits::CHAT_SHOWN_CHARACTERS_MAX))?;
        }
    }
    if loaded.is_empty() {
        writeln!(io.out, "there are no plugins; add one with --plugin")?;
    }
    Ok(AfterCommand::Continue)
}

fn approvals(chat: &mut Conversation, what: &str, io: &mut Io) -> CommandResult {
    match what {
        "forget" => chat.parts.approvals.forget(),
        "" => {
            for (tool, allowed) in chat.parts.approvals.all() {
                let answer = if allowed { "always runs in this chat" } else { "never runs in this chat" };
                writeln!(io.out, "{:<24} {answer}", show::line(&tool, 60))?;
            }
        }
        other => {
            return Err(CliError::usage(format!(
                "unknown argument \"{other}\"; write /approvals or /approvals forget"
            )));
        }
    }
    Ok(AfterCommand::Continue)
}

fn model(chat: &mut Conversation, _: &str, io: &mut Io) -> CommandResult {
    let info = chat.parts.host.engine().info();
    let parameters = info.parameters as f64 / 1e6;
    let parts = (&info.name, &info.architecture, info.dtype, &info.device, info.context_tokens);
    let (name, architecture, dtype, device, context) = parts;
    writeln!(io.out, "{name} ({architecture}, {parameters:.1} M parameters, {dtype}) on {device}, {context} tokens")?;
    Ok(AfterCommand::Continue)
}

fn statistics(chat: &mut Conversation, what: &str, io: &mut Io) -> CommandResult {
    match what {
        "on" => chat.parts.stats = true,
        "off" => chat.parts.stats = false,
        "" => match &chat.last {
            Some(finish) => io.out.write_all(stats::lines(&chat.parts.host, finish).as_bytes())?,
            None => writeln!(io.out, "there is no answer yet")?,
        },
        other => {
            return Err(CliError::usage(format!(
                "unknown argument \"{other}\"; write /stats, /stats on or /stats off"
            )));
        }
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
    let messages = chat.parts.saved.messages()?;
    let last = last_question(&messages).map(|index| &messages[index]);
    // A message without an answer is not saved; then it is the last one.
    match (&chat.asked, last) {
        (Some(asked), Some(last)) if *asked != last.message.content => {
            Ok(AfterCommand::Ask { text: asked.clone(), at: None })
        }
        (_, Some(last)) => Ok(AfterCommand::Ask { text: last.message.content.clone(), at: Some(last.seq - 1) }),
        (Some(asked), None) => Ok(AfterCommand::Ask { text: asked.clone(), at: None }),
        (None, None) => Err(CliError::usage("there is no message to send again; send one first")),
    }
}

fn undo(chat: &mut Conversation, _: &str, io: &mut Io) -> CommandResult {
    let messages = chat.parts.saved.messages()?;
    let Some(index) = last_question(&messages) else {
        return Err(CliError::usage("there is no message to remove"));
    };
    let last = &messages[index];
    chat.parts.saved.truncate(last.seq - 1)?;
    chat.asked = None;
    writeln!(io.err, "removed: {}", show::line(&last.message.content, 80))?;
    Ok(AfterCommand::Continue)
}

fn history(chat: &mut Conversation, _: &str, io: &mut Io) -> CommandResult {
    let max = limits::CHAT_SHOWN_CHARACTERS_MAX;
    for stored in chat.parts.saved.messages()? {
        let pin = if stored.pinned { "*" } else { " " };
        let message = &stored.message;
        let calls = message.tool_calls.iter().map(|call| format!(" calls {} {}", call.name, call.arguments_json));
        let text = format!("{}{}", message.content, calls.collect::<String>());
        writeln!(io.out, "{pin}{:>4} {:<9} {}", stored.seq, message.role.as_str(), show::line(text.trim(), max))?;
    }
    Ok(AfterCommand::Continue)
}

fn number(what: &str) -> Result<u64, CliError> {
    what.parse()
        .map_err(|_| CliError::usage(format!("\"{what}\" is not the number of a message; list messages with /history")))
}

fn pin(chat: &mut Conversation, what: &str, pinned: bool, io: &mut Io) -> CommandResult {
    chat.parts.saved.pin(number(what)?, pinned)?;
    writeln!(io.err, "message {what} is {}", if pinned { "pinned" } else { "no longer pinned" })?;
    Ok(AfterCommand::Continue)
}

fn fork(chat: &mut Conversation, what: &str, io: &mut Io) -> CommandResult {
    let at = if what.is_empty() { None } else { Some(number(what)?) };
    chat.parts.saved.fork(at)?;
    writeln!(io.err, "forked; now in session {}", chat.parts.saved.short_id().unwrap_or_default())?;
    Ok(AfterCommand::Continue)
}

/// Lists the newest sessions, one a line.
pub(super) fn list(saved: &SavedConversation, io: &mut Io) -> Result<(), CliError> {
    let now = SystemTime::now();
    let current = saved.session().map(|session| session.id.clone());
    let listed = saved.recent(limits::SESSIONS_PAGE_MAX)?;
    for (index, session) in listed.iter().enumerate() {
        let mark = if current.as_ref() == Some(&session.id) { "*" } else { " " };
        let title = show::line(session.title.as_deref().unwrap_or_default(), 60);
        let (id, age) = (saved_conversation::short(&session.id), show::age(session.used, now));
        writeln!(io.out, "{mark}{:>3}  {id}  {age:<12} {:>5} messages  {title}", index + 1, session.length)?;
    }
    if listed.is_empty() {
        writeln!(io.out, "there are no sessions yet")?;
    }
    Ok(())
}

fn resume(chat: &mut Conversation, what: &str, io: &mut Io) -> CommandResult {
    if what.is_empty() {
        return Err(CliError::usage(
            "no session given; list sessions with /sessions, then write for example /resume 1",
        ));
    }
    chat.parts.saved.resume(what)?;
    chat.asked = None;
    chat.show_last_turn(io)?;
    Ok(AfterCommand::Continue)
}

fn title(chat: &mut Conversation, what: &str, _: &mut Io) -> CommandResult {
    chat.parts.saved.set_title(what)?;
    Ok(AfterCommand::Continue)
}

fn delete(chat: &mut Conversation, what: &str, io: &mut Io) -> CommandResult {
    let gone = chat.parts.saved.delete(what)?;
    let title = show::line(gone.title.as_deref().unwrap_or_default(), 60);
    writeln!(io.err, "deleted session {} ({title})", saved_conversation::short(&gone.id))?;
    Ok(AfterCommand::Continue)
}

fn save(chat: &mut Conversation, what: &str, io: &mut Io) -> CommandResult {
    let saved = &chat.parts.saved;
    if !what.is_empty() {
        saved.save(Path::new(what))?;
        writeln!(io.err, "saved to {what}")?;
        return Ok(AfterCommand::Continue);
    }
    match (saved.path(), saved.short_id()) {
        (Some(path), Some(id)) => writeln!(io.out, "saved as session {id} in {}", path.display())?,
        (Some(_), None) => writeln!(io.out, "not saved yet; it is saved after the first answer")?,
        (None, _) => writeln!(io.out, "in memory only; save it with /save FILE")?,
    }
    Ok(AfterCommand::Continue)
}

fn load(chat: &mut Conversation, what: &str, io: &mut Io) -> CommandResult {
    chat.parts.saved.load(Path::new(what))?;
    chat.asked = None;
    chat.show_last_turn(io)?;
    Ok(AfterCommand::Continue)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_names_are_unique_and_each_command_has_a_help_text() {
        let names: Vec<&str> =
            COMMANDS.iter().flat_map(|c| std::iter::once(c.name).chain(c.aliases.iter().copied())).collect();
        for name in &names {
            assert_eq!(names.iter().filter(|other| other == &name).count(), 1, "{name}");
        }
        assert!(COMMANDS.iter().all(|command| command.help.len() > 10));
    }

    #[test]
    fn a_misspelled_command_gets_a_suggestion() {
        for (typed, meant) in
            [("hlep", "/help"), ("sesions", "/sessions"), ("quite", "/quit"), ("tempo", "list commands with /help")]
        {
            let message = unknown(typed).to_string();
            assert!(message.contains(meant), "{message}");
        }
    }
}
