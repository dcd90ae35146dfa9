//! The plugins of a request. Before each tool call they check that the tenant still has the tool, since a reload may have
//! removed the plugin.

use firebox_contract::{
    BoxFuture, Caller, Error, Hooks, LogLine, Message, PluginUse, PromptHook, PromptVerdict, TextHook, TextVerdict,
    ToolCall, ToolDefinition, ToolHook, ToolOutcome,
};

use super::TenantHooks;

/// The plugins that a request is bound to.
pub(super) struct LiveHooks {
    pub(super) inner: Box<dyn Hooks>,
    pub(super) source: TenantHooks,
    pub(super) caller: Caller,
    /// The plugins that the request added.
    pub(super) added: Vec<String>,
}

impl LiveHooks {
    /// Whether a new request of the caller would have the tool `name`.
    fn still_has(&self, name: &str) -> bool {
        let chain = self.source.chain(&self.caller, &self.added);
        chain.is_ok_and(|chain| chain.tools().iter().any(|tool| tool.name == name))
    }
}

impl PromptHook for LiveHooks {
    fn process(&mut self, messages: Vec<Message>) -> BoxFuture<'_, Result<PromptVerdict, Error>> {
        self.inner.process(messages)
    }
}

impl TextHook for LiveHooks {
    fn push(&mut self, chunk: String) -> BoxFuture<'_, Result<TextVerdict, Error>> {
        self.inner.push(chunk)
    }

    fn finish(&mut self) -> BoxFuture<'_, Result<String, Error>> {
        self.inner.finish()
    }
}

impl ToolHook for LiveHooks {
    fn definitions(&self) -> &[ToolDefinition] {
        self.inner.definitions()
    }

    fn call<'a>(&'a self, call: &'a ToolCall) -> BoxFuture<'a, Result<ToolOutcome, Error>> {
        if self.still_has(&call.name) {
            return self.inner.call(call);
        }
        let removed = ToolOutcome::refused("", &format!("the tool \"{}\" was removed", call.name));
        Box::pin(std::future::ready(Ok(removed)))
    }
}

impl Hooks for LiveHooks {
    fn text_is_idle(&self) -> bool {
        self.inner.text_is_idle()
    }

    fn usage(&self) -> Vec<PluginUse> {
        self.inner.usage()
    }

    fn take_log(&self) -> Vec<LogLine> {
        self.inner.take_log()
    }
}
