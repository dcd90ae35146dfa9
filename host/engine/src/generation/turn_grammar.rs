//! The grammar of an assistant turn: calls of the offered tools, the form that the request asks for, or both.

use std::sync::Arc;

use firebox_contract::limits::{GRAMMAR_COMPILE_TIME, TOOL_CALLS_PER_ROUND_MAX};
use firebox_contract::{
    Error, Grammar, Message, Prompt, PromptEnd, Role, TokenConstraint, TokenId, ToolChoice, ToolDefinition,
};
use serde_json::{Value, json};

use super::Generation;
use super::start::format_of_codec;
use crate::sampler::grammar_guard::GrammarGuard;
use crate::toolcall::call_grammar::{CallGrammar, CallableTool};
use crate::tools::warning;

impl Generation {
    /// The guard of a turn whose answer begins with `opening`, the part of a forced opening that is not generated again.
    /// `None` if the turn has no grammar.
    ///
    /// # Errors
    /// Those of compiling, and `Error::Usage` if this engine has no compiler.
    pub(super) async fn grammar_guard(&mut self, opening: &str) -> Result<Option<GrammarGuard>, Error> {
        let Some(constraint) = self.turn_constraint(opening).await? else { return Ok(None) };
        let stops = if self.sampling.keep_stop { &[] } else { self.sampling.stop_tokens.as_slice() };
        let ends = self.end_tokens().chain(stops.iter().copied()).collect();
        Ok(Some(GrammarGuard::new(constraint, ends)))
    }

    /// The tokens that end an answer.
    pub(super) fn end_tokens(&self) -> impl Iterator<Item = TokenId> + '_ {
        let ends = if self.sampling.ignore_end { &[] } else { self.pipeline.ends.as_slice() };
        ends.iter().copied()
    }

    async fn turn_constraint(&mut self, opening: &str) -> Result<Option<Box<dyn TokenConstraint>>, Error> {
        let calls = self.call_grammar();
        self.check_strict(calls)?;
        let Some(grammar) = self.turn_grammar(calls, Arguments::Schema) else { return Ok(None) };
        if self.pipeline.grammars.is_none() {
            // A forced opening makes a call likely also without a grammar.
            return match self.grammar.is_some() || self.has_strict_tools() {
                true => Err(Error::Usage("this host keeps no answers to a grammar; leave the grammar out".to_owned())),
                false => Ok(None),
            };
        }
        let continued = format!("{}{opening}", self.continued_text());
        match self.compile(grammar, continued.clone()).await {
            Err(Error::Schema { message, .. } | Error::Usage(message)) if let Some(calls) = calls => {
                let Some(relaxed) = self.turn_grammar(Some(calls), Arguments::StrictOnly) else { return Ok(None) };
                match self.compile(relaxed, continued).await {
                    Ok(compiled) => {
                        self.warn(format!("arguments are only checked after a call is written: {message}"));
                        Ok(Some(compiled))
                    }
                    Err(error) => Err(self.of_strict_tool(calls, error).await),
                }
            }
            compiled => compiled.map(Some),
        }
    }

    /// Compiles a grammar and appends `text`, with which the turn begins.
    async fn compile(&mut self, grammar: Grammar, text: String) -> Result<Box<dyn TokenConstraint>, Error> {
        let Some(compiler) = self.pipeline.grammars.clone() else {
            return Err(Error::Internal("there is no compiler of grammars".to_owned()));
        };
        let tenant = self.tools.caller.tenant.clone();
        let prepared = Arc::clone(&compiler);
        self.pipeline.grammar_permits.run(&tenant, move || prepared.prepare()).await?;
        let clock = Arc::clone(&self.pipeline.clock);
        let compile = move || {
            let mut constraint = compiler.compile(&tenant, &grammar)?;
            if constraint.accept_text(&text)? {
                return Ok(constraint);
            }
            let shown: String = text.chars().take(80).collect();
            Err(Error::Usage(format!(
                "the answer begins with \"{shown}\", which its grammar does not allow; change one"
            )))
        };
        // The time in the queue for a permit is not the tenant's own.
        let timed = move || {
            let began = clock.now();
            let compiled = compile();
            (compiled, clock.now().saturating_sub(began))
        };
        let compiled = self.pipeline.grammar_permits.run(&self.tools.caller.tenant, timed);
        tokio::select! {
            biased;
            compiled = compiled => {
                let (compiled, took) = compiled?;
                self.grammar_time += took;
                compiled
            }
            () = self.pipeline.clock.sleep(GRAMMAR_COMPILE_TIME) => {
                let seconds = GRAMMAR_COMPILE_TIME.as_secs();
                Err(Error::Usage(format!("the grammar takes longer than {seconds} s to compile; simplify it")))
            }
        }
    }

    /// The error of the strict tool whose schema is not supported, if it is one.
    async fn of_strict_tool(&mut self, calls: &CallGrammar, error: Error) -> Error {
        if !matches!(error, Error::Schema { .. }) {
            return error;
        }
        let strict = self.offered.definitions().iter().filter(|tool| self.options.strict.contains(&tool.name));
        let tools: Vec<CallableTool> =
            strict.map(|tool| CallableTool { name: tool.name.clone(), schema: Some(object_schema(tool)) }).collect();
        for tool in tools {
            let (call, name) = ((calls.only)(std::slice::from_ref(&tool), 1), tool.name);
            if let Err(Error::Schema { pointer, message, .. }) = self.compile(call, String::new()).await {
                return Error::Schema { message: format!("tool \"{name}\": {message}"), tool: Some(name), pointer };
            }
        }
        error
    }

    /// The text of the last message, if the model continues it.
    fn continued_text(&self) -> &str {
        match &*self.prompt {
            Prompt::Chat(messages) if self.chat.end == PromptEnd::FinalMessage => {
                let last = messages.last().filter(|message: &&Message| message.role == Role::Assistant);
                let text = last.map_or("", |message| message.content.as_str());
                // A grammar begins after the reasoning.
                self.pipeline.reasoning.format().map_or(text, |format| format.content_of(text))
            }
            _ => "",
        }
    }

    /// Refuses strict tools that a model may call in a text, if no grammar can see those calls.
    fn check_strict(&mut self, calls: Option<&CallGrammar>) -> Result<(), Error> {
        let in_text = self.offered.forced.is_none() && self.has_strict_tools();
        if !in_text || calls.is_some_and(|calls| calls.in_text.is_some()) {
            return Ok(());
        }
        let name = format_of_codec(&self.pipeline).map_or("none", |format| format.name);
        let reason = format!("calls in the format \"{name}\" are only strict if they are forced");
        if self.history.is_empty() {
            let remedy = "leave \"strict\" out, or set the tool choice to \"required\" or to a tool";
            return Err(Error::Usage(format!("{reason}; {remedy}")));
        }
        // A forced call came before.
        self.warn(reason);
        Ok(())
    }

    fn warn(&mut self, message: String) {
        self.ready.push_back(firebox_contract::Event::Log(warning(message)));
    }

    fn has_strict_tools(&self) -> bool {
        self.offered.definitions().iter().any(|tool| self.options.strict.contains(&tool.name))
    }

    /// The grammar of calls, if tools are offered and the format has one.
    fn call_grammar(&self) -> Option<&'static CallGrammar> {
        let offers = !self.offered.definitions().is_empty();
        format_of_codec(&self.pipeline).filter(|_| offers).map(|format| &format.grammar)
    }

    /// The grammar of the next turn; `None` if the model writes what it wants.
    fn turn_grammar(&self, calls: Option<&CallGrammar>, arguments: Arguments) -> Option<Grammar> {
        let asked = self.grammar.as_ref();
        let Some(calls) = calls else { return asked.cloned() };
        let forced = self.offered.forced.is_some();
        let named = match &self.options.choice {
            ToolChoice::Named(name) if forced => Some(name),
            _ => None,
        };
        let offered = self.offered.definitions().iter().filter(|tool| named.is_none_or(|name| tool.name == *name));
        let tools: Vec<CallableTool> = offered
            .map(|tool| {
                let strict = self.options.strict.contains(&tool.name);
                let keeps = strict || (forced && arguments == Arguments::Schema);
                CallableTool { name: tool.name.clone(), schema: keeps.then(|| object_schema(tool)) }
            })
            .collect();
        let most = if self.options.parallel && named.is_none() { TOOL_CALLS_PER_ROUND_MAX } else { 1 };
        match asked {
            _ if forced => Some((calls.only)(&tools, most)),
            Some(asked) => Some(Grammar::Choice(vec![(calls.only)(&tools, most), asked.clone()])),
            None if self.has_strict_tools() => calls.in_text.map(|in_text| in_text(&tools, most)),
            None => None,
        }
    }
}

/// Whose arguments keep to their schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Arguments {
    /// Those of strict tools, and of all tools if a call is forced.
    Schema,
    /// Those of strict tools.
    StrictOnly,
}

/// The schema of a tool's arguments, which are an object whether the schema says so or not.
fn object_schema(tool: &ToolDefinition) -> String {
    match serde_json::from_str::<Value>(&tool.input_schema_json) {
        Ok(Value::Object(mut schema)) => {
            schema.insert("type".to_owned(), json!("object"));
            Value::Object(schema).to_string()
        }
        _ => tool.input_schema_json.clone(),
    }
}
