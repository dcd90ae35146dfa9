//! Approval of tool calls: asks the user at the terminal and remembers answers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use clap::ValueEnum;
use firebox_contract::{
    Approval, Approver, BoxFuture, Caller, Permission, ToolCall, ToolDefinition, ToolPolicy, limits,
};
use tokio::sync::{mpsc, oneshot};

/// When the user is asked about tool calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ApprovalMode {
    /// Ask before every call
    Ask,
    /// Run every call without asking
    Always,
    /// Offer no tools to the model
    Never,
}

/// The answer of the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ApprovalAnswer {
    /// Run this call.
    Once,
    /// Run all calls of this tool until the chat ends.
    Session,
    /// Decline this call.
    No,
    /// Decline all calls of this tool until the chat ends.
    Never,
}

impl ApprovalAnswer {
    /// Parses what the user typed. An empty line is not an answer, so that a stray Enter approves nothing.
    pub(super) fn of(typed: &str) -> Option<Self> {
        match typed.trim().to_lowercase().as_str() {
            "y" | "yes" | "once" => Some(Self::Once),
            "s" | "session" => Some(Self::Session),
            "n" | "no" => Some(Self::No),
            "never" | "v" => Some(Self::Never),
            _ => None,
        }
    }
}

/// A tool call that waits for the user's answer.
pub(super) struct ApprovalPrompt {
    pub(super) call: ToolCall,
    pub(super) tool: ToolDefinition,
    pub(super) answer: oneshot::Sender<ApprovalAnswer>,
}

/// Approves tool calls for the engine: from remembered answers, else by asking the user.
pub(super) struct TerminalApprover {
    remembered: Mutex<BTreeMap<String, bool>>,
    /// `None` if there is no terminal to ask on.
    prompts: Option<mpsc::Sender<ApprovalPrompt>>,
}

impl TerminalApprover {
    /// With `can_ask`, the receiver gets the pending calls. Without it, calls that need approval are declined.
    pub(super) fn new(can_ask: bool) -> (Arc<Self>, mpsc::Receiver<ApprovalPrompt>) {
        let (sender, receiver) = mpsc::channel(limits::CHAT_APPROVALS_PENDING_MAX);
        let prompts = can_ask.then_some(sender);
        (Arc::new(Self { remembered: Mutex::new(BTreeMap::new()), prompts }), receiver)
    }

    /// The remembered answer for this tool: whether its calls run.
    pub(super) fn remembered(&self, tool: &str) -> Option<bool> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner).get(tool).copied()
    }

    /// All remembered answers, by tool.
    pub(super) fn all(&self) -> BTreeMap<String, bool> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Forgets all remembered answers.
    pub(super) fn forget(&self) {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn remember(&self, tool: &str, allowed: bool) {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner).insert(tool.to_owned(), allowed);
    }

    async fn ask(&self, call: &ToolCall, tool: &ToolDefinition) -> Approval {
        if let Some(allowed) = self.remembered(&tool.name) {
            return approval(allowed);
        }
        let Some(prompts) = &self.prompts else {
            return Approval::Decline(
                "the call needs approval, and there is no terminal to ask on; --approve always runs it".to_owned(),
            );
        };
        let (answer, answered) = oneshot::channel();
        let prompt = ApprovalPrompt { call: call.clone(), tool: tool.clone(), answer };
        if prompts.send(prompt).await.is_err() {
            return approval(false);
        }
        // A user who left without an answer declined.
        let answer = answered.await.unwrap_or(ApprovalAnswer::No);
        if matches!(answer, ApprovalAnswer::Session | ApprovalAnswer::Never) {
            self.remember(&tool.name, answer == ApprovalAnswer::Session);
        }
        approval(matches!(answer, ApprovalAnswer::Once | ApprovalAnswer::Session))
    }
}

fn approval(allowed: bool) -> Approval {
    if allowed { Approval::Approve } else { Approval::Decline("the user declined the call".to_owned()) }
}

impl Approver for TerminalApprover {
    fn approve<'a>(
        &'a self,
        _caller: &'a Caller,
        _request_id: &'a str,
        call: &'a ToolCall,
        tool: &'a ToolDefinition,
    ) -> BoxFuture<'a, Approval> {
        Box::pin(self.ask(call, tool))
    }
}

/// The tool policy of the chat. By default tools of plugins run, because they are metered and sandboxed, and all other tools
/// ask.
pub(super) fn policy(approve: Option<ApprovalMode>, plugin_tools: &[ToolDefinition]) -> ToolPolicy {
    let all = |otherwise| ToolPolicy { rules: Vec::new(), otherwise };
    match approve {
        Some(ApprovalMode::Ask) => all(Permission::Ask),
        Some(ApprovalMode::Always) => all(Permission::Allow),
        Some(ApprovalMode::Never) => all(Permission::Deny),
        None => {
            // A name with a star is a glob that would match other tools.
            let plain = plugin_tools.iter().filter(|tool| !tool.name.contains('*'));
            let rules = plain.map(|tool| (tool.name.clone(), Permission::Allow)).collect();
            ToolPolicy { rules, otherwise: Permission::Ask }
        }
    }
}

#[cfg(test)]
mod tests {
    use firebox_contract::ToolEffects;

    use super::*;

    fn tool(name: &str) -> ToolDefinition {
        ToolDefinition {
            name: name.to_owned(),
            description: String::new(),
            title: None,
            input_schema_json: "{}".to_owned(),
            output_schema_json: None,
            as_sent_json: None,
            effects: ToolEffects::default(),
        }
    }

    fn call(name: &str) -> ToolCall {
        ToolCall { id: "call_0".to_owned(), name: name.to_owned(), arguments_json: "{}".to_owned() }
    }

    /// Asks about each tool in order. The user gives `answers`. Returns which calls were approved, and the number of
    /// questions.
    fn ask(answers: &[ApprovalAnswer], tools: &[&str]) -> (Vec<bool>, usize) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let (approvals, mut questions) = TerminalApprover::new(true);
        runtime.block_on(async {
            let user = async {
                let mut asked = 0;
                for answer in answers {
                    let question = questions.recv().await.expect("a question");
                    question.answer.send(*answer).expect("the engine waits");
                    asked += 1;
                }
                asked
            };
            let engine = async {
                let mut approved = Vec::new();
                for name in tools {
                    approved.push(approvals.ask(&call(name), &tool(name)).await == Approval::Approve);
                }
                approved
            };
            tokio::join!(engine, user)
        })
    }

    #[test]
    fn answers_for_the_whole_chat_are_remembered_for_each_tool() {
        let said = [ApprovalAnswer::Once, ApprovalAnswer::Session, ApprovalAnswer::Never, ApprovalAnswer::No];
        let asked = ["a", "a", "a", "b", "b", "c"];
        assert_eq!(ask(&said, &asked), (vec![true, true, true, false, false, false], 4));
    }

    #[test]
    fn a_call_is_declined_without_a_terminal_and_without_an_answer() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let (alone, _) = TerminalApprover::new(false);
        let declined = runtime.block_on(alone.ask(&call("a"), &tool("a")));
        assert!(matches!(declined, Approval::Decline(reason) if reason.contains("no terminal")));
        let (left, questions) = TerminalApprover::new(true);
        drop(questions);
        assert!(matches!(runtime.block_on(left.ask(&call("a"), &tool("a"))), Approval::Decline(_)));
    }

    #[test]
    fn only_valid_answers_are_accepted() {
        for (typed, expected) in [
            ("y", Some(ApprovalAnswer::Once)),
            (" YES ", Some(ApprovalAnswer::Once)),
            ("s", Some(ApprovalAnswer::Session)),
            ("n", Some(ApprovalAnswer::No)),
            ("never", Some(ApprovalAnswer::Never)),
            ("", None),
            ("maybe", None),
        ] {
            assert_eq!(ApprovalAnswer::of(typed), expected, "{typed}");
        }
    }

    #[test]
    fn plugins_run_without_asking_and_other_tools_ask() {
        let plugins = [tool("calculator"), tool("*")];
        let policy_of = |approve, name: &str| policy(approve, &plugins).permission(name);
        assert_eq!(policy_of(None, "calculator"), Permission::Allow);
        assert_eq!(policy_of(None, "fs.delete"), Permission::Ask, "a plugin tool named * allows no other tool");
        assert_eq!(policy_of(Some(ApprovalMode::Ask), "calculator"), Permission::Ask);
        assert_eq!(policy_of(Some(ApprovalMode::Always), "fs.delete"), Permission::Allow);
        assert_eq!(policy_of(Some(ApprovalMode::Never), "calculator"), Permission::Deny);
    }
}
