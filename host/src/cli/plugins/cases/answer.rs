//! What a plugin answers in a case.

use std::sync::Arc;

use firebox_contract::{
    Caller, EmbeddingVerdict, Error, HookSource, Hooks, Message, PromptVerdict, RequestInfo, Role, TokenAction,
    TokenSequence, TokenStep, TokenText, TokenTexts, ToolCall, ToolOutcome,
};
use firebox_sandbox::PluginChain;
use serde_json::{Value, json};

use super::super::call::{text, token, tool, tool_call};
use super::super::target;
use super::case::{Case, CaseAnswer};
use crate::cli::Io;
use crate::error::CliError;

/// Runs one case in instances of its own.
///
/// # Errors
/// A `CliError` of usage for a case that the plugin cannot run, and errors that are no fault of the plugin.
pub(super) async fn answer(
    chain: &PluginChain,
    case: &Case,
    random: Option<u64>,
    io: &mut Io,
) -> Result<CaseAnswer, CliError> {
    let ran = match case.stage.as_str() {
        "tool" => of_tool(chain, case, io).await,
        _ => of_stage(chain, case, random, io).await,
    };
    match ran {
        Err(CliError::Host(Error::Fault(fault))) => {
            Ok(CaseAnswer::Fault(fault.cause.code().to_owned(), Error::Fault(fault).to_string()))
        }
        other => other,
    }
}

async fn of_stage(chain: &PluginChain, case: &Case, random: Option<u64>, io: &mut Io) -> Result<CaseAnswer, CliError> {
    // Without a grant, random numbers depend on the name of the plugin and the id of the request alone.
    let id = random.map_or_else(|| "call".to_owned(), |number| format!("random-{number}"));
    let info = RequestInfo::new(id, "none");
    let mut hooks = chain.bind(&Caller::local(), info).await?;
    let answered = match case.stage.as_str() {
        "prompt" => of_prompt(hooks.as_mut(), case).await,
        "text" => text::pass(hooks.as_mut(), case.chunks.clone().unwrap_or_default()).await.map(|passed| passed.text()),
        "token" => of_token(hooks.as_mut(), case).await,
        "embedding" => of_embedding(hooks.as_mut(), case).await,
        _ => of_tool_call(hooks.as_mut(), case).await,
    };
    target::print_log(&hooks.take_log(), io)?;
    Ok(CaseAnswer::Text(answered?))
}

async fn of_prompt(hooks: &mut dyn Hooks, case: &Case) -> Result<String, Error> {
    let given = vec![Message::text(Role::User, case.input.as_deref().unwrap_or_default())];
    Ok(match hooks.process(given.clone()).await? {
        PromptVerdict::Continue(messages) if messages == given => "unchanged".to_owned(),
        PromptVerdict::Continue(messages) => {
            let message = |message: &Message| format!("{}: {}", message.role.as_str(), message.content);
            format!("replace: {}", messages.iter().map(message).collect::<Vec<_>>().join("\n"))
        }
        PromptVerdict::Refuse { message, .. } => format!("refuse: {message}"),
        PromptVerdict::Respond(text) => format!("respond: {text}"),
    })
}

/// One line for the action before each token, and one after the last.
async fn of_token(hooks: &mut dyn Hooks, case: &Case) -> Result<String, Error> {
    let words = case.vocabulary.as_deref().unwrap_or_default();
    let text =
        |(token, word): (u32, &String)| TokenText { token, bytes: word.clone().into_bytes(), indivisible: false };
    let ends = (0..).zip(words).filter(|(_, word)| word.is_empty()).map(|(token, _)| token).collect();
    let texts = TokenTexts::new((0..).zip(words).map(text).collect()).map(Arc::new);
    let sequence = TokenSequence { vocabulary: words.len(), ends, prompt: Vec::new(), texts };
    let mut lines = Vec::new();
    let Some(mut session) = hooks.start_tokens(&|| sequence.clone()).await? else { return Ok(String::new()) };
    let needs = session.needs();
    let accepted = case.tokens.as_deref().unwrap_or_default();
    for count in 0..=accepted.len() {
        let last = count.checked_sub(1).and_then(|last| accepted.get(last)).copied();
        let candidates = (0..).zip(words).take(needs.candidates).map(|(token, _)| (token, 0.0)).collect();
        let held = needs.hold_back.min(count);
        let step = TokenStep { accepted: last.into_iter().collect(), held, candidates, ..TokenStep::default() };
        let action = session.next(step).await?;
        lines.push(token::object(&action).to_string());
        if action == TokenAction::Stop {
            break;
        }
    }
    Ok(lines.join("\n"))
}

/// What the plugin makes of the texts or of the vectors. With both, one instance sees the texts and then the vectors.
async fn of_embedding(hooks: &mut dyn Hooks, case: &Case) -> Result<String, Error> {
    let mut answer = Value::Null;
    if let Some(texts) = case.texts.clone() {
        answer = match hooks.before_embedding(texts).await? {
            EmbeddingVerdict::Continue(texts) => json!({ "texts": texts }),
            EmbeddingVerdict::Refuse { message, .. } => return Ok(json!({ "refuse": message }).to_string()),
        };
    }
    if let Some(vectors) = case.vectors.clone() {
        answer = json!({ "vectors": hooks.after_embedding(vectors).await? });
    }
    Ok(answer.to_string())
}

async fn of_tool_call(hooks: &mut dyn Hooks, case: &Case) -> Result<String, Error> {
    let arguments_json = case.arguments.clone().unwrap_or_else(|| "{}".to_owned());
    let call = ToolCall { id: "1".to_owned(), name: case.tool.clone().unwrap_or_default(), arguments_json };
    let answer = match &case.result {
        Some(result) => tool_call::after(hooks, &call, ToolOutcome::ok("none", result.as_str())).await?,
        None => tool_call::before(hooks, &call).await?,
    };
    Ok(answer.to_string())
}

async fn of_tool(chain: &PluginChain, case: &Case, io: &mut Io) -> Result<CaseAnswer, CliError> {
    let arguments = case.arguments.as_deref().unwrap_or("{}");
    let run = tool::call(chain, case.tool.as_deref().unwrap_or_default(), arguments).await?;
    target::print_log(&run.log, io)?;
    let outcome = run.outcome?;
    if outcome.is_error {
        return Ok(CaseAnswer::Fault("tool_error".to_owned(), outcome.content));
    }
    Ok(CaseAnswer::Text(outcome.content))
}
