//! `firebox plugins call prompt`: the prompt stage by itself.

use std::io::Write as _;

use clap::Args as ClapArgs;
use firebox_contract::{Message, PromptVerdict, Role, Stage};
use serde_json::{Value, json};

use super::super::target::{CalledModel, Target};
use super::{Shown, bind, report, require};
use crate::cli::Io;
use crate::error::CliError;

/// Give the prompt stage a conversation, and show what it decides.
#[derive(ClapArgs, Debug)]
pub(super) struct Args {
    /// The message of the user
    text: String,
    /// System message before it
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    model: CalledModel,
    #[command(flatten)]
    shown: Shown,
}

/// Runs the command.
///
/// # Errors
/// Errors of loading the plugin, or its fault.
pub(super) fn run(args: Args, io: &mut Io) -> Result<(), CliError> {
    args.target.with_model(&args.model, io, async |chain, io| {
        require(chain, Stage::Prompt)?;
        let mut hooks = bind(chain).await?;
        let system = args.system.iter().map(|text| Message::text(Role::System, text.as_str()));
        let given: Vec<Message> = system.chain([Message::text(Role::User, args.text.as_str())]).collect();
        let verdict = hooks.process(given.clone()).await;
        report(hooks.as_mut(), &args.shown, io)?;
        show(&given, &verdict?, args.shown.json, io)
    })
}

fn show(given: &[Message], verdict: &PromptVerdict, as_json: bool, io: &mut Io) -> Result<(), CliError> {
    if as_json {
        return Ok(writeln!(io.out, "{:#}", object(given, verdict))?);
    }
    match verdict {
        PromptVerdict::Continue(messages) if messages == given => writeln!(io.out, "unchanged")?,
        PromptVerdict::Continue(messages) => {
            writeln!(io.out, "replace")?;
            for message in messages {
                writeln!(io.out, "  {}: {}", message.role.as_str(), message.content)?;
            }
        }
        PromptVerdict::Refuse { message, .. } => writeln!(io.out, "refuse\n  {message}")?,
        PromptVerdict::Respond(text) => writeln!(io.out, "respond\n  {text}")?,
    }
    Ok(())
}

/// The verdict as a JSON object.
pub(in crate::cli::plugins) fn object(given: &[Message], verdict: &PromptVerdict) -> Value {
    match verdict {
        PromptVerdict::Continue(messages) if messages == given => json!({ "verdict": "unchanged" }),
        PromptVerdict::Continue(messages) => {
            let message = |message: &Message| json!({ "role": message.role.as_str(), "content": message.content });
            json!({ "verdict": "replace", "messages": messages.iter().map(message).collect::<Vec<_>>() })
        }
        PromptVerdict::Refuse { message, .. } => json!({ "verdict": "refuse", "text": message }),
        PromptVerdict::Respond(text) => json!({ "verdict": "respond", "text": text }),
    }
}
