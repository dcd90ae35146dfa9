//! `firebox plugins call token`: the token stage by itself, over tokens that are given.

use std::io::Write as _;

use clap::Args as ClapArgs;
use firebox_contract::{Stage, TokenAction, TokenId, TokenSequence, TokenStep};
use serde_json::{Value, json};

use super::super::target::Target;
use super::{Shown, bind, report, require};
use crate::cli::Io;
use crate::error::CliError;

/// Give the token stage a sequence, token by token, and show its action before each.
#[derive(ClapArgs, Debug)]
pub(super) struct Args {
    /// The tokens that are accepted, one after the other
    accepted: Vec<TokenId>,
    /// Number of tokens in the vocabulary
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=10_000_000))]
    vocabulary: usize,
    /// Tokens of the prompt (repeatable)
    #[arg(long, value_name = "ID")]
    prompt: Vec<TokenId>,
    /// Tokens that end an answer (repeatable)
    #[arg(long, value_name = "ID")]
    end: Vec<TokenId>,
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    shown: Shown,
}

/// Runs the command.
///
/// # Errors
/// Errors of loading the plugin, or its fault.
pub(super) fn run(args: Args, io: &mut Io) -> Result<(), CliError> {
    args.target.with_chain(io, async |chain, io| {
        require(chain, Stage::Token)?;
        let mut hooks = bind(chain).await?;
        let (vocabulary, ends, prompt) = (args.vocabulary, args.end.clone(), args.prompt.clone());
        let sequence = TokenSequence { vocabulary, ends, prompt, texts: None };
        let mut actions = Vec::new();
        if let Some(mut session) = hooks.start_tokens(&|| sequence.clone()).await? {
            let needs = session.needs();
            // The stage is asked once before the first token, and once after each.
            for count in 0..=args.accepted.len() {
                let accepted =
                    count.checked_sub(1).and_then(|last| args.accepted.get(last)).copied().into_iter().collect();
                let step = TokenStep { accepted, held: needs.hold_back.min(count), ..TokenStep::default() };
                let action = session.next(step).await?;
                let ended = action == TokenAction::Stop;
                actions.push(object(&action));
                if ended {
                    break;
                }
            }
        }
        report(hooks.as_mut(), &args.shown, io)?;
        if args.shown.json {
            writeln!(io.out, "{:#}", json!({ "actions": actions }))?;
        } else {
            actions.iter().try_for_each(|action| writeln!(io.out, "{action}"))?;
        }
        Ok(())
    })
}

/// The action as a JSON object.
pub(in crate::cli::plugins) fn object(action: &TokenAction) -> Value {
    match action {
        TokenAction::Choose(rule) if rule.is_empty() => json!({ "action": "keep" }),
        TokenAction::Choose(rule) => {
            let bias: Vec<Value> = rule.bias.iter().map(|(token, value)| json!([token, value])).collect();
            json!({ "action": "choose", "allowed": rule.allow.as_ref().map(|mask| mask.tokens().count()), "bias": bias })
        }
        TokenAction::Force(tokens) => json!({ "action": "force", "tokens": tokens }),
        TokenAction::Backtrack(count) => json!({ "action": "backtrack", "tokens": count }),
        TokenAction::Stop => json!({ "action": "stop" }),
    }
}
