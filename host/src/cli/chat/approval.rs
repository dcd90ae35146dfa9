//! Tool calls that somebody must approve: remembered answers, and questions to the person at the terminal.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use clap::ValueEnum;
use firebox_contract::{
    Approval, Approver, BoxFuture, Caller, Permission, ToolCall, ToolDefinition, ToolPolicy, limits,
};
use tokio::sync::{mpsc, oneshot};

/// When the person is asked about tool calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ApprovalMode {
    /// Ask before every call
    Ask,
    /// Run every call
    Always,
    /// Run none: the model is offered no tools
    Never,
}

/// What the person answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ApprovalAnswer {
    /// Run this call.
    Once,
    /// Run this tool's calls for as long as this chat lasts.
    Session,
    /// Do not run this call.
    No,
    /// Do not run this tool's calls for as long as this chat lasts.
    Never,
}

impl ApprovalAnswer {
    /// What was typed, if it is an answer. Nothing typed is no answer: a key too many must not approve anything.
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

/// A call that waits for the person.
pub(super) struct ApprovalPrompt {
    pub(super) call: ToolCall,
    pub(super) tool: ToolDefinition,
    pub(super) answer: oneshot::Sender<ApprovalAnswer>,
}

/// The engine's end: answers from memory, or asks.
pub(super) struct TerminalApprover {
    remembered: Mutex<BTreeMap<String, bool>>,
    /// `None` where nobody is there to be asked.
    questions: Option<mpsc::Sender<ApprovalPrompt>>,
}

impl TerminalApprover {
    /// With `can_ask`, questions come out of the second value; without, calls that need approval are declined.
    pub(super) fn new(can_ask: bool) -> (Arc<Self>, mpsc::Receiver<ApprovalPrompt>) {
        let (sender, receiver) = mpsc::channel(limits::CHAT_APPROVALS_PENDING_MAX);
        let questions = can_ask.then_some(sender);
        (Arc::new(Self { remembered: Mutex::new(BTreeMap::new()), questions }), receiver)
    }

    /// What was answered about this tool for as long as the chat lasts.
    pub(super) fn remembered(&self, tool: &str) -> Option<bool> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner).get(tool).copied()
    }

    /// Everything remembered, by tool.
    pub(super) fn all(&self) -> BTreeMap<String, bool> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Forgets what was remembered: the person is asked again.
    pub(super) fn forget(&self) {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn remember(&self, tool: &str, allowed: bool) {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner).insert(tool.to_owned(), allowed);
    }

    async fn ask(&self, call: &ToolCall, tool: &ToolDefinition) -> Approval {
        if let Some(allowed) = self.remembered(&tool.name) {
            return verdict(allowed);
        }
        let Some(questions) = &self.questions else {
            return Approval::Decline("nobody is there to approve the call".to_owned());
        };
        let (answer, answered) = oneshot::channel();
        let question = ApprovalPrompt { call: call.clone(), tool: tool.clone(), answer };
        if questions.send(question).await.is_err() {
            return verdict(false);
        }
        // Who left without an answer said no.
        let answer = answered.await.unwrap_or(ApprovalAnswer::No);
        if matches!(answer, ApprovalAnswer::Session | ApprovalAnswer::Never) {
            self.remember(&tool.name, answer == ApprovalAnswer::Session);
        }
        verdict(matches!(answer, ApprovalAnswer::Once | ApprovalAnswer::Session))
    }
}

fn verdict(allowed: bool) -> Approval {
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

/// What the chat's tools may do. When nothing is said, the plugins' tools run, which are metered and have no way out
/// of their sandbox, and all others ask.
pub(super) fn policy(approve: Option<ApprovalMode>, plugin_tools: &[ToolDefinition]) -> ToolPolicy {
    let all = |otherwise| ToolPolicy { rules: Vec::new(), otherwise };
    match approve {
        Some(ApprovalMode::Ask) => all(Permission::Ask),
        Some(ApprovalMode::Always) => all(Permission::Allow),
        Some(ApprovalMode::Never) => all(Permission::Deny),
        None => {
            // A name with a star in it would be a rule about other names too.
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

    /// Asks about each tool in turn where the person gives these answers, and says which were approved and how many
    /// questions there were.
    fn ask(answers: &[ApprovalAnswer], tools: &[&str]) -> (Vec<bool>, usize) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let (approvals, mut questions) = TerminalApprover::new(true);
        runtime.block_on(async {
            let person = async {
                let mut asked = 0;
                for answer in answers {
                    let question = questions.recv().await.expect("a question");
                    question.answer.send(*answer).expect("somebody waits");
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
            tokio::join!(engine, person)
        })
    }

    #[test]
    fn answers_for_the_session_are_remembered_by_tool() {
        let said = [ApprovalAnswer::Once, ApprovalAnswer::Session, ApprovalAnswer::Never, ApprovalAnswer::No];
        let asked = ["a", "a", "a", "b", "b", "c"];
        assert_eq!(ask(&said, &asked), (vec![true, true, true, false, false, false], 4));
    }

    #[test]
    fn nobody_to_ask_and_nobody_who_answers_is_a_no() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let (alone, _) = TerminalApprover::new(false);
        let declined = runtime.block_on(alone.ask(&call("a"), &tool("a")));
        assert!(matches!(declined, Approval::Decline(reason) if reason.contains("nobody")));
        let (left, questions) = TerminalApprover::new(true);
        drop(questions);
        assert!(matches!(runtime.block_on(left.ask(&call("a"), &tool("a"))), Approval::Decline(_)));
    }

    #[test]
    fn only_an_answer_is_an_answer() {
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
    fn plugins_run_in_their_sandbox_and_everything_else_asks() {
        let plugins = [tool("calculator"), tool("*")];
        let policy_of = |approve, name: &str| policy(approve, &plugins).permission(name);
        assert_eq!(policy_of(None, "calculator"), Permission::Allow);
        assert_eq!(policy_of(None, "fs.delete"), Permission::Ask, "a tool called * does not open the others");
        assert_eq!(policy_of(Some(ApprovalMode::Ask), "calculator"), Permission::Ask);
        assert_eq!(policy_of(Some(ApprovalMode::Always), "fs.delete"), Permission::Allow);
        assert_eq!(policy_of(Some(ApprovalMode::Never), "calculator"), Permission::Deny);
    }
}
