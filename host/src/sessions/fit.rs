//! The context budget: which messages of a long session the model still sees.

use firebox_contract::{Error, Message, Role};
use firebox_engine::user_text_bytes;

use super::StoredMessage;

/// What stays or goes together: a message, or an assistant's calls with all their results.
struct Unit {
    messages: Vec<Message>,
    /// Which turn it belongs to; a turn begins with a user's message.
    turn: usize,
    /// Pinned, or from the system: stays whatever is dropped.
    stays: bool,
}

/// The messages a model gets: all of them if `fits` says so, else without the fewest oldest turns. System and pinned
/// messages stay, and so does the last turn; a tool's result never stays without its call, nor a call without its
/// results.
///
/// # Errors
/// `Error::TooLarge` when what must stay does not fit, and whatever `fits` fails with.
pub fn fit(
    messages: Vec<StoredMessage>,
    fits: impl Fn(&[Message]) -> Result<bool, Error>,
) -> Result<Vec<Message>, Error> {
    fit_quickly(messages, |_| false, fits)
}

/// As [`fit`]; what `hopeless` says of the bytes of the users' words alone is neither copied nor counted.
///
/// # Errors
/// As there.
pub(crate) fn fit_quickly(
    messages: Vec<StoredMessage>,
    hopeless: impl Fn(usize) -> bool,
    fits: impl Fn(&[Message]) -> Result<bool, Error>,
) -> Result<Vec<Message>, Error> {
    let units = units(messages);
    let last = units.last().map_or(0, |unit| unit.turn);
    let kept_from = |first: usize| -> Result<Option<Vec<Message>>, Error> {
        if hopeless(user_text_bytes(kept(&units, first).flat_map(|unit| &unit.messages))) {
            return Ok(None);
        }
        let messages = from_turn(&units, first);
        Ok(fits(&messages)?.then_some(messages))
    };
    if let Some(whole) = kept_from(0)? {
        return Ok(whole);
    }
    // The fewest turns to drop, by halving: each try renders and counts the whole conversation.
    let (mut too_few, mut enough) = (0, last);
    let least = if last == 0 { None } else { kept_from(last)? };
    let Some(mut best) = least else {
        let message = "the last turn does not fit into the model's context even without the older ones; \
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

fn kept(units: &[Unit], first: usize) -> impl Iterator<Item = &Unit> {
    units.iter().filter(move |unit| unit.stays || unit.turn >= first)
}

fn from_turn(units: &[Unit], first: usize) -> Vec<Message> {
    kept(units, first).flat_map(|unit| unit.messages.iter().cloned()).collect()
}

fn units(messages: Vec<StoredMessage>) -> Vec<Unit> {
    let mut units: Vec<Unit> = Vec::new();
    let mut turn = 0;
    let mut began = false;
    for StoredMessage { message, pinned, .. } in messages {
        if message.role == Role::Tool {
            // A result joins the unit that made its call; one whose call is nowhere is left out.
            if let Some(unit) = units.last_mut().filter(|unit| calls(unit, &message)) {
                unit.stays |= pinned;
                unit.messages.push(message);
            }
            continue;
        }
        if message.role == Role::User {
            turn += usize::from(began);
            began = true;
        }
        let stays = pinned || message.role == Role::System;
        units.push(Unit { messages: vec![message], turn, stays });
    }
    units
}

/// Whether `result` answers a call of this unit. A result without an id answers by its place.
fn calls(unit: &Unit, result: &Message) -> bool {
    let Some(first) = unit.messages.first() else { return false };
    match &result.tool_call_id {
        Some(id) => first.tool_calls.iter().any(|call| call.id == *id),
        None => !first.tool_calls.is_empty(),
    }
}
