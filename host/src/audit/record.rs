//! The records of the audit log, one variant for each kind, and their form as a line of JSON.

use std::net::IpAddr;
use std::time::SystemTime;

use firebox_contract::limits;
use serde::Serialize;

use super::RequestOrigin;
use crate::system::time::rfc3339;

/// One record of the log.
#[derive(Debug, Clone)]
pub enum Record<'a> {
    /// Event `admin`: an operator or this process did something.
    Admin {
        /// What was done, such as `serve` or `tenants add acme`.
        action: &'a str,
        /// `ok` or the code of an error; `None` for actions that cannot fail.
        outcome: Option<&'a str>,
    },
    /// Event `request`: a request for a model or a tool ended, or was refused.
    Request(RequestRecord<'a>),
    /// Event `tool`: a tool call ran or was refused.
    Tool(ToolRecord<'a>),
    /// Event `prompt`: the text of an admitted request's prompt. Written only with `audit.prompts`.
    Prompt {
        /// The request.
        subject: Subject<'a>,
        /// The text of the prompt.
        prompt: &'a str,
    },
    /// Event `refusal`: the HTTP server answered 401, 403, 404 or 405.
    Refusal(RefusalRecord<'a>),
    /// Event `session`: a session was created, changed or deleted.
    Session {
        /// The request.
        subject: Subject<'a>,
        /// What was done, such as `create`.
        action: &'a str,
        /// The id of the session.
        session: &'a str,
    },
    /// Event `approval`: a pending tool call was approved or declined.
    Approval {
        /// The key that decided, and the request whose call was pending.
        subject: Subject<'a>,
        /// The tool.
        tool: &'a str,
        /// The decision.
        decision: &'a str,
    },
    /// The number of further refusals of one kind that have no lines of their own.
    Repeated(RepeatedRecord<'a>),
    /// Event `gap`: lines before this one could not be written.
    Gap {
        /// The number of missing lines.
        lost: u64,
    },
}

/// Whom a record is about. A field is `None` if it is not known.
#[derive(Debug, Clone, Copy, Default)]
pub struct Subject<'a> {
    /// The tenant.
    pub tenant: Option<&'a str>,
    /// The id of the tenant's key.
    pub key: Option<&'a str>,
    /// The id that this server gave the request.
    pub request: Option<&'a str>,
}

/// A request that ended, or was refused before it started.
#[derive(Debug, Clone, Default)]
pub struct RequestRecord<'a> {
    /// The request.
    pub subject: Subject<'a>,
    /// The model asked for.
    pub model: Option<&'a str>,
    /// `admitted`, `limited`, `denied`, …
    pub decision: Option<&'a str>,
    /// A finish reason or the code of an error.
    pub outcome: &'a str,
    /// What the request used; `None` for a request that was refused before it started.
    pub cost: Option<RequestCost>,
}

/// What a request used.
#[derive(Debug, Clone, Copy, Default)]
pub struct RequestCost {
    /// Tokens of the prompts.
    pub prompt_tokens: u64,
    /// Tokens generated.
    pub completion_tokens: u64,
    /// Plugins and time.
    pub call: CallCost,
}

/// What plugin calls used.
#[derive(Debug, Clone, Copy, Default)]
pub struct CallCost {
    /// Fuel.
    pub fuel: u64,
    /// The highest memory use of one instance, in bytes.
    pub memory_peak_bytes: u64,
    /// Elapsed time in milliseconds.
    pub ms: u64,
}

/// A tool call.
#[derive(Debug, Clone, Default)]
pub struct ToolRecord<'a> {
    /// The request of the call.
    pub subject: Subject<'a>,
    /// The model that made the call; `None` for a call over MCP.
    pub model: Option<&'a str>,
    /// The tool.
    pub tool: &'a str,
    /// The plugin or server that ran it.
    pub provider: Option<&'a str>,
    /// SHA-256 of the arguments as the model wrote them, in hexadecimal digits.
    pub arguments_sha256: String,
    /// The arguments. Set only with `audit.prompts`.
    pub arguments: Option<&'a str>,
    /// What was decided about the call.
    pub decision: &'a str,
    /// `ok` or `error`.
    pub outcome: &'a str,
    /// What the call used.
    pub cost: CallCost,
}

/// A request that the HTTP server refused.
#[derive(Debug, Clone, Default)]
pub struct RefusalRecord<'a> {
    /// The request; without a tenant if the key was not valid.
    pub subject: Subject<'a>,
    /// The HTTP method.
    pub method: &'a str,
    /// The path, as the route has it.
    pub path: &'a str,
    /// The HTTP status of the answer.
    pub status: u16,
    /// Why: `unauthorized`, `denied`, `not_found` or `method_not_allowed`.
    pub outcome: &'a str,
}

/// Refusals of one kind since the last line of that kind.
#[derive(Debug, Clone, Default)]
pub struct RepeatedRecord<'a> {
    /// The event of the refusals.
    pub event: &'a str,
    /// The tenant and its key.
    pub subject: Subject<'a>,
    /// The client's address or its network, if no tenant is known.
    pub address: Option<IpAddr>,
    /// The decision of the refusals.
    pub decision: Option<&'a str>,
    /// The outcome of the refusals.
    pub outcome: Option<&'a str>,
    /// The number of refusals.
    pub count: u64,
}

impl<'a> Record<'a> {
    /// The value of the field `event`.
    pub(super) fn event(&self) -> &'a str {
        match self {
            Self::Admin { .. } => "admin",
            Self::Request(_) => "request",
            Self::Tool(_) => "tool",
            Self::Prompt { .. } => "prompt",
            Self::Refusal(_) => "refusal",
            Self::Session { .. } => "session",
            Self::Approval { .. } => "approval",
            Self::Repeated(repeated) => repeated.event,
            Self::Gap { .. } => "gap",
        }
    }

    /// Whom the record is about.
    pub(super) fn subject(&self) -> Subject<'a> {
        match self {
            Self::Admin { .. } | Self::Gap { .. } => Subject::default(),
            Self::Request(request) => request.subject,
            Self::Tool(tool) => tool.subject,
            Self::Refusal(refusal) => refusal.subject,
            Self::Repeated(repeated) => repeated.subject,
            Self::Prompt { subject, .. } | Self::Session { subject, .. } | Self::Approval { subject, .. } => *subject,
        }
    }

    /// The value of the field `decision`.
    pub(super) fn decision(&self) -> Option<&'a str> {
        match self {
            Self::Request(request) => request.decision,
            Self::Tool(tool) => Some(tool.decision),
            Self::Approval { decision, .. } => Some(decision),
            Self::Repeated(repeated) => repeated.decision,
            _ => None,
        }
    }

    /// The value of the field `outcome`.
    pub(super) fn outcome(&self) -> Option<&'a str> {
        match self {
            Self::Admin { outcome, .. } => *outcome,
            Self::Request(request) => Some(request.outcome),
            Self::Tool(tool) => Some(tool.outcome),
            Self::Refusal(refusal) => Some(refusal.outcome),
            Self::Session { .. } => Some("ok"),
            Self::Repeated(repeated) => repeated.outcome,
            _ => None,
        }
    }

    /// The record as a line with the present time. `count` is the number of refusals like this one without a line.
    pub(super) fn line(&self, origin: &RequestOrigin, count: Option<u64>) -> Vec<u8> {
        let mut fields = self.fields();
        fields.client_request = origin.client_request.as_deref();
        fields.address = fields.address.or(origin.address);
        fields.count = fields.count.or(count);
        // Texts and numbers always become JSON. If that changes, the line still shows that there was a record.
        let mut line = serde_json::to_vec(&fields).unwrap_or_else(|_| b"{\"event\":\"unwritable\"}".to_vec());
        line.push(b'\n');
        line
    }

    fn fields(&self) -> LineFields<'_> {
        let Subject { tenant, key, request } = self.subject();
        let common = LineFields {
            time: rfc3339(SystemTime::now()),
            event: self.event(),
            tenant,
            key,
            request,
            decision: self.decision(),
            outcome: self.outcome(),
            ..LineFields::default()
        };
        match self {
            Self::Admin { action, .. } => LineFields { action: Some(action), ..common },
            Self::Request(RequestRecord { model, cost, .. }) => LineFields {
                model: *model,
                prompt_tokens: cost.map(|cost| cost.prompt_tokens),
                completion_tokens: cost.map(|cost| cost.completion_tokens),
                ..common.with_cost(cost.map(|cost| cost.call))
            },
            Self::Tool(record) => LineFields {
                model: record.model,
                tool: Some(record.tool),
                provider: record.provider,
                arguments_sha256: Some(&record.arguments_sha256),
                arguments: record.arguments,
                ..common.with_cost(Some(record.cost))
            },
            Self::Prompt { prompt, .. } => LineFields { prompt: Some(prompt), ..common },
            Self::Refusal(RefusalRecord { method, path, status, .. }) => {
                LineFields { method: Some(method), path: Some(path), status: Some(*status), ..common }
            }
            Self::Session { action, session, .. } => {
                LineFields { action: Some(action), session: Some(session), ..common }
            }
            Self::Approval { tool, .. } => LineFields { tool: Some(tool), ..common },
            Self::Repeated(RepeatedRecord { address, count, .. }) => {
                LineFields { address: *address, action: Some("repeated"), count: Some(*count), ..common }
            }
            Self::Gap { lost } => LineFields { lost: Some(*lost), ..common },
        }
    }
}

/// The fields of a line, in their order. Fields that a record does not have are left out.
#[derive(Debug, Default, Serialize)]
struct LineFields<'a> {
    time: String,
    event: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_request: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    provider: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    arguments_sha256: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    arguments: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decision: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    completion_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fuel: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_peak_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lost: Option<u64>,
}

impl LineFields<'_> {
    fn with_cost(self, cost: Option<CallCost>) -> Self {
        Self {
            fuel: cost.map(|cost| cost.fuel),
            memory_peak_bytes: cost.map(|cost| cost.memory_peak_bytes),
            ms: cost.map(|cost| cost.ms),
            ..self
        }
    }
}

/// `text`, cut to at most [`limits::AUDIT_TEXT_BYTES_MAX`] bytes.
pub(crate) fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(limits::AUDIT_TEXT_BYTES_MAX)]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The line of `record` without its time.
    fn line(record: &Record<'_>, origin: &RequestOrigin, count: Option<u64>) -> String {
        let line = String::from_utf8(record.line(origin, count)).expect("UTF-8");
        let (head, rest) = line.split_once(",\"event\"").expect("an event");
        assert!(head.starts_with("{\"time\":\"20"), "{line}");
        format!("\"event\"{rest}")
    }

    #[test]
    fn each_kind_of_record_has_its_fields_in_the_documented_order() {
        let subject = Subject { tenant: Some("acme"), key: Some("k"), request: Some("r") };
        let who = "\"tenant\":\"acme\",\"key\":\"k\",\"request\":\"r\"";
        let call = CallCost { fuel: 5, memory_peak_bytes: 6, ms: 7 };
        let cost = Some(RequestCost { prompt_tokens: 3, completion_tokens: 4, call });
        let request = RequestRecord { subject, model: Some("m"), decision: Some("admitted"), outcome: "stop", cost };
        let refused = RequestRecord { cost: None, decision: None, ..request.clone() };
        let tool = ToolRecord {
            subject,
            model: None,
            tool: "t",
            provider: Some("p"),
            arguments_sha256: "00".to_owned(),
            arguments: Some("{}"),
            decision: "allowed",
            outcome: "ok",
            cost: call,
        };
        let refusal = RefusalRecord { subject, method: "GET", path: "/v1", status: 404, outcome: "not_found" };
        let repeated = RepeatedRecord {
            event: "refusal",
            subject: Subject::default(),
            address: Some([192, 0, 2, 1].into()),
            decision: None,
            outcome: Some("unauthorized"),
            count: 9,
        };
        let spent = "\"fuel\":5,\"memory_peak_bytes\":6,\"ms\":7";
        let rows = [
            (Record::Admin { action: "serve", outcome: None }, "\"admin\",\"action\":\"serve\"}".to_owned()),
            (
                Record::Request(request),
                format!(
                    "\"request\",{who},\"model\":\"m\",\"decision\":\"admitted\",\"outcome\":\"stop\",\"prompt_tokens\":3,\
                     \"completion_tokens\":4,{spent}}}"
                ),
            ),
            (Record::Request(refused), format!("\"request\",{who},\"model\":\"m\",\"outcome\":\"stop\"}}")),
            (
                Record::Tool(tool),
                format!(
                    "\"tool\",{who},\"tool\":\"t\",\"provider\":\"p\",\"arguments_sha256\":\"00\",\"arguments\":\"{{}}\",\
                     \"decision\":\"allowed\",\"outcome\":\"ok\",{spent}}}"
                ),
            ),
            (Record::Prompt { subject, prompt: "hi" }, format!("\"prompt\",{who},\"prompt\":\"hi\"}}")),
            (
                Record::Refusal(refusal),
                format!("\"refusal\",{who},\"method\":\"GET\",\"path\":\"/v1\",\"status\":404,\"outcome\":\"not_found\"}}"),
            ),
            (
                Record::Session { subject, action: "create", session: "s" },
                format!("\"session\",{who},\"session\":\"s\",\"action\":\"create\",\"outcome\":\"ok\"}}"),
            ),
            (
                Record::Approval { subject, tool: "t", decision: "approved" },
                format!("\"approval\",{who},\"tool\":\"t\",\"decision\":\"approved\"}}"),
            ),
            (
                Record::Repeated(repeated),
                "\"refusal\",\"address\":\"192.0.2.1\",\"action\":\"repeated\",\"outcome\":\"unauthorized\",\"count\":9}"
                    .to_owned(),
            ),
            (Record::Gap { lost: 2 }, "\"gap\",\"lost\":2}".to_owned()),
        ];
        for (record, expected) in rows {
            assert_eq!(line(&record, &RequestOrigin::default(), None), format!("\"event\":{expected}\n"));
        }
    }

    #[test]
    fn a_line_names_the_address_of_its_request_and_the_refusals_without_a_line() {
        let address = Some([192, 0, 2, 7].into());
        let origin = RequestOrigin { address, client_request: Some("trace".into()) };
        let refusal =
            RefusalRecord { method: "GET", path: "/", status: 401, outcome: "unauthorized", ..Default::default() };
        let expected = "\"event\":\"refusal\",\"client_request\":\"trace\",\"address\":\"192.0.2.7\",\"method\":\"GET\",\
                        \"path\":\"/\",\"status\":401,\"outcome\":\"unauthorized\",\"count\":3}\n";
        assert_eq!(line(&Record::Refusal(refusal), &origin, Some(3)), expected);
    }
}
