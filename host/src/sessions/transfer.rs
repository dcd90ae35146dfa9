//! Export and import of sessions as JSON lines: one line for the session, then one for each message.

use std::io::{BufRead, Read, Write};

use firebox_contract::{Message, TenantId, ToolCall, limits};
use serde::{Deserialize, Serialize};

use super::rows::{self, StoredToolCall};
use super::{NewSession, SYSTEM_SEQ, Session, SessionError, SessionStore, StoredMessage};

/// The version of the format.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExportHead {
    firebox_session: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    title: Option<String>,
    model: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExportedMessage {
    role: String,
    content: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<StoredToolCall>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pinned: bool,
    /// Milliseconds since 1970.
    created: i64,
}

impl SessionStore {
    /// Writes a session as JSON lines.
    ///
    /// # Errors
    /// `SessionError::NotFound`; `SessionError::Output` if `out` cannot be written.
    pub fn export(&self, tenant: &TenantId, id: &str, out: &mut dyn Write) -> Result<(), SessionError> {
        let session = self.get(tenant, id)?;
        let messages = self.messages(tenant, id)?;
        let head = ExportHead { firebox_session: VERSION, title: session.title, model: session.model };
        write_line(&head, out)?;
        messages.iter().try_for_each(|message| write_line(&ExportedMessage::of(message), out))
    }

    /// Creates a session of this tenant from the lines of [`SessionStore::export`], in one transaction.
    ///
    /// # Errors
    /// `SessionError::Invalid` with the number of the first invalid line; else as [`SessionStore::create`].
    pub fn import(&self, tenant: &TenantId, input: &mut dyn BufRead) -> Result<Session, SessionError> {
        let invalid = |line: usize, why: String| SessionError::Invalid(format!("line {line} of the session {why}"));
        let head = read_line(input, 1)?.ok_or_else(|| invalid(1, "is missing; the file is empty".to_owned()))?;
        let head: ExportHead =
            serde_json::from_str(&head).map_err(|error| invalid(1, format!("does not describe a session: {error}")))?;
        if head.firebox_session != VERSION {
            let version = head.firebox_session;
            return Err(invalid(1, format!("has version \"{version}\", and this Firebox reads version {VERSION}")));
        }
        let mut messages = Vec::new();
        let mut next = SYSTEM_SEQ + 1;
        // Reads one message above the limit, so that the store returns its error.
        for number in 2..=self.limits().messages_max.saturating_add(3) {
            let Some(text) = read_line(input, number)? else { break };
            let line: ExportedMessage =
                serde_json::from_str(&text).map_err(|error| invalid(number, format!("is not a message: {error}")))?;
            let system = number == 2 && line.role == "system";
            let seq = if system { SYSTEM_SEQ } else { next };
            next += u64::from(!system);
            messages.push(line.stored(seq).map_err(|why| invalid(number, why))?);
        }
        let new = NewSession { title: head.title, model: head.model, system: None };
        self.create_with(tenant, &new, &messages)
    }
}

impl ExportedMessage {
    fn of(stored: &StoredMessage) -> Self {
        let message = &stored.message;
        Self {
            role: message.role.as_str().to_owned(),
            content: message.content.clone(),
            tool_calls: message.tool_calls.iter().map(StoredToolCall::from).collect(),
            tool_call_id: message.tool_call_id.clone(),
            name: message.name.clone(),
            pinned: stored.pinned,
            created: rows::millis(stored.created),
        }
    }

    fn stored(self, seq: u64) -> Result<StoredMessage, String> {
        let role = rows::role_of(&self.role)
            .ok_or_else(|| format!("has role \"{}\"; use system, user, assistant or tool", self.role))?;
        let message = Message {
            role,
            content: self.content,
            tool_calls: self.tool_calls.into_iter().map(ToolCall::from).collect(),
            tool_call_id: self.tool_call_id,
            name: self.name,
            as_sent_json: None,
        };
        Ok(StoredMessage { seq, message, pinned: self.pinned, created: rows::time(self.created) })
    }
}

fn write_line(value: &impl Serialize, out: &mut dyn Write) -> Result<(), SessionError> {
    let mut text = serde_json::to_string(value).map_err(|error| SessionError::Invalid(error.to_string()))?;
    text.push('\n');
    out.write_all(text.as_bytes()).map_err(|error| SessionError::Output(error.to_string()))
}

/// The next line that is not blank.
fn read_line(input: &mut dyn BufRead, number: usize) -> Result<Option<String>, SessionError> {
    let max = limits::SESSION_LINE_BYTES_MAX;
    loop {
        let mut text = String::new();
        let mut bounded = Read::take(&mut *input, max as u64 + 1);
        let read = bounded
            .read_line(&mut text)
            .map_err(|error| SessionError::Invalid(format!("line {number} of the session cannot be read: {error}")))?;
        if text.len() > max {
            return Err(SessionError::TooLarge(format!("line {number} of the session has more than {max} bytes")));
        }
        if read == 0 {
            return Ok(None);
        }
        if !text.trim().is_empty() {
            return Ok(Some(text));
        }
    }
}
