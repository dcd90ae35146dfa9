//! Conversions between rows of the tables and values.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use firebox_contract::{Message, Role, ToolCall};
use rusqlite::Row;
use rusqlite::types::Type;
use serde::{Deserialize, Serialize};

use super::{Session, StoredMessage};

/// The columns of [`session`], in its order.
pub(super) const SESSION: &str = "id, title, model, parent, created, used, length, bytes";

/// The columns of [`message`], in its order.
pub(super) const MESSAGE: &str = "seq, role, content, tool_calls, tool_call_id, name, pinned, created";

/// The number of columns in [`MESSAGE`].
pub(super) const MESSAGE_COLUMNS: usize = 8;

/// A tool call in a column or in an exported file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredToolCall {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) arguments: String,
}

impl From<&ToolCall> for StoredToolCall {
    fn from(call: &ToolCall) -> Self {
        Self { id: call.id.clone(), name: call.name.clone(), arguments: call.arguments_json.clone() }
    }
}

impl From<StoredToolCall> for ToolCall {
    fn from(call: StoredToolCall) -> Self {
        Self { id: call.id, name: call.name, arguments_json: call.arguments }
    }
}

/// Milliseconds since 1970.
pub(super) fn millis(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// The time of milliseconds since 1970.
pub(super) fn time(millis: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}

/// A count from a column, which is never negative.
pub(super) fn count(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

/// A count for a column.
pub(super) fn column(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(super) fn session(row: &Row<'_>) -> rusqlite::Result<Session> {
    Ok(Session {
        id: row.get(0)?,
        title: row.get(1)?,
        model: row.get(2)?,
        parent: row.get(3)?,
        created: time(row.get(4)?),
        used: time(row.get(5)?),
        length: count(row.get(6)?),
        bytes: count(row.get(7)?),
    })
}

pub(super) fn message(row: &Row<'_>) -> rusqlite::Result<StoredMessage> {
    let role: String = row.get(1)?;
    let calls: Option<String> = row.get(3)?;
    let calls = calls.map_or(Ok(Vec::new()), |calls| calls_of(&calls)).map_err(|error| broken(3, error))?;
    Ok(StoredMessage {
        seq: count(row.get(0)?),
        message: Message {
            role: role_of(&role).ok_or_else(|| broken(1, format!("\"{role}\" is not a role")))?,
            content: row.get(2)?,
            tool_calls: calls,
            tool_call_id: row.get(4)?,
            name: row.get(5)?,
            as_sent_json: None,
        },
        pinned: row.get(6)?,
        created: time(row.get(7)?),
    })
}

fn broken(column: usize, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, error.into())
}

/// The role of this name.
pub(super) fn role_of(name: &str) -> Option<Role> {
    [Role::System, Role::User, Role::Assistant, Role::Tool].into_iter().find(|role| role.as_str() == name)
}

fn calls_of(text: &str) -> serde_json::Result<Vec<ToolCall>> {
    let calls: Vec<StoredToolCall> = serde_json::from_str(text)?;
    Ok(calls.into_iter().map(ToolCall::from).collect())
}

/// The text of a message's tool calls for their column; `None` if it has none.
pub(super) fn calls_text(message: &Message) -> Option<String> {
    if message.tool_calls.is_empty() {
        return None;
    }
    let calls: Vec<StoredToolCall> = message.tool_calls.iter().map(StoredToolCall::from).collect();
    // Serializing strings cannot fail.
    Some(serde_json::to_string(&calls).unwrap_or_default())
}
