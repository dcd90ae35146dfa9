//! Fitting a session to the context: the choice of the messages that the model sees.

use firebox_contract::{Error, Message, Role};
use firebox_engine::user_text_bytes;

use super::StoredMessage;

/// Messages that are kept or dropped together: one message, or an assistant's tool calls with all results.
struct MessageGroup {
    messages: Vec<Message>,
    /// The number of its turn. A turn begins with a user's message.
    turn: usize,
    /// Whether it is pinned or the system message, so that it is never dropped.
    is_kept: bool,
}

/// The messages that a model gets: all of them if `fits` accepts them, else without the oldest turns, as few as possible. The
/// system message, pinned messages and the last turn are kept. A tool call and its results are kept or dropped together.
///
/// # Errors
/// `Error::TooLarge` if the messages that are always kept do not fit, and the errors of `fits`.
pub fn fit(
    messages: Vec<StoredMessage>,
    fits: impl Fn(&[Message]) -> Result<bool, Error>,
) -> Result<Vec<Message>, Error> {
    fit_quickly(messages, |_| false, fits)
}

/// As [`fit`], for a costly `fits`. It is not called where `cannot_fit` returns true for the bytes of the users' messages.
///
/// # Errors
/// As [`fit`].
pub(crate) fn fit_quickly(
    messages: Vec<StoredMessage>,
    cannot_fit: impl Fn(usize) -> bool,
    fits: impl Fn(&[Message]) -> Result<bool, Error>,
) -> Result<Vec<Message>, Error> {
    let groups = groups(messages);
    let last = groups.last().map_or(0, |group| group.turn);
    let kept_from = |first: usize| -> Result<Option<Vec<Message>>, Error> {
        if cannot_fit(user_text_bytes(kept(&groups, first).flat_map(|group| &group.messages))) {
            return Ok(None);
        }
        let messages = from_turn(&groups, first);
        Ok(fits(&messages)?.then_some(messages))
    };
    if let Some(whole) = kept_from(0)? {
        return Ok(whole);
    }
    // A binary search for the fewest turns to drop, since each try renders and counts the whole conversation.
    let (mut too_few, mut enough) = (0, last);
    let last_turn_only = if last == 0 { None } else { kept_from(last)? };
    let Some(mut best) = last_turn_only else {
        let message = "the last turn does not fit into the model's context, even without older turns; \
                       shorten it, unpin messages, or begin a new session";
        return Err(Error::TooLarge(message.to_owned()));
    };
    while enough - too_few > 1 {
        let middle = too_few + (enough - too_few) / 2;
        match kept_from(middle)? {
            Some(kept) => (enough, best) = (middle, kept),
            None => too_few = middle,
        }
    }
    Ok(best)
}

/// The groups that are kept if the turns before `first` are dropped.
fn kept(groups: &[MessageGroup], first: usize) -> impl Iterator<Item = &MessageGroup> {
    groups.iter().filter(move |group| group.is_kept || group.turn >= first)
}

fn from_turn(groups: &[MessageGroup], first: usize) -> Vec<Message> {
    kept(groups, first).flat_map(|group| group.messages.iter().cloned()).collect()
}

fn groups(messages: Vec<StoredMessage>) -> Vec<MessageGroup> {
    let mut groups: Vec<MessageGroup> = Vec::new();
    let mut turn = 0;
    let mut began = false;
    for StoredMessage { message, pinned, .. } in messages {
        if message.role == Role::Tool {
            // A result joins the group of its call. A result without a call is dropped.
            if let Some(group) = groups.last_mut().filter(|group| has_call(group, &message)) {
                group.is_kept |= pinned;
                group.messages.push(message);
            }
            continue;
        }
        if message.role == Role::User {
            turn += usize::from(began);
            began = true;
        }
        let is_kept = pinned || message.role == Role::System;
        groups.push(MessageGroup { messages: vec![message], turn, is_kept });
    }
    groups
}

/// Whether `result` answers a call of this group. A result without an id belongs to the call before it.
fn has_call(group: &MessageGroup, result: &Message) -> bool {
    let Some(first) = group.messages.first() else { return false };
    match &result.tool_call_id {
        Some(id) => first.tool_calls.iter().any(|call| call.id == *id),
        None => !first.tool_calls.is_empty(),
    }
}
