//! Server-sent events out of bytes, as the standard has it and a little more: whatever line ends, in pieces of any size,
//! with noise between the events. An event that has no end is bounded.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;
use firebox_contract::limits::MCP_CLIENT_LINE_BYTES_MAX;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;

use super::super::inbound::InboundRate;

/// One event, or a part of one that has no data.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) name: String,
    pub(super) data: Option<String>,
    pub(super) id: Option<String>,
    pub(super) retry: Option<u64>,
}

/// Splits bytes into events.
#[derive(Debug, Default)]
pub(super) struct Parser {
    line: Vec<u8>,
    /// The last byte was `\r`: a `\n` that follows belongs to it.
    after_return: bool,
    begun: bool,
    event: Event,
    size: usize,
}

/// An event with more bytes than allowed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLong;

impl Parser {
    /// Takes bytes; adds the events that they complete.
    pub(super) fn push(&mut self, bytes: &[u8], events: &mut Vec<Event>) -> Result<(), TooLong> {
        let mut rest = bytes;
        while !rest.is_empty() {
            if std::mem::take(&mut self.after_return) && rest[0] == b'\n' {
                rest = &rest[1..];
                continue;
            }
            let Some(end) = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n')) else {
                self.line.extend_from_slice(rest);
                return self.check();
            };
            self.line.extend_from_slice(&rest[..end]);
            self.check()?;
            self.after_return = rest[end] == b'\r';
            rest = &rest[end + 1..];
            let line = std::mem::take(&mut self.line);
            self.line(&line, events);
        }
        Ok(())
    }

    /// The end: what is complete but for its last empty line counts.
    pub(super) fn finish(&mut self, events: &mut Vec<Event>) {
        let line = std::mem::take(&mut self.line);
        if !line.is_empty() {
            self.line(&line, events);
        }
        self.line(b"", events);
    }

    fn check(&self) -> Result<(), TooLong> {
        // The data is held twice for a moment, the line and what was joined.
        if self.line.len() + self.size > MCP_CLIENT_LINE_BYTES_MAX { Err(TooLong) } else { Ok(()) }
    }

    fn line(&mut self, line: &[u8], events: &mut Vec<Event>) {
        let text = String::from_utf8_lossy(line);
        let mut text = text.as_ref();
        if !std::mem::replace(&mut self.begun, true) {
            text = text.trim_start_matches('\u{feff}');
        }
        if text.is_empty() {
            self.size = 0;
            let event = std::mem::take(&mut self.event);
            if event != Event::default() {
                events.push(event);
            }
            return;
        }
        // A message that is no event at all, from a server that only claims to send events.
        if text.starts_with('{') {
            events.push(Event { data: Some(text.to_owned()), ..Event::default() });
            return;
        }
        let (field, value) = text.split_once(':').unwrap_or((text, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => self.event.name = value.to_owned(),
            "data" => {
                self.size += value.len() + 1;
                match &mut self.event.data {
                    Some(data) => {
                        data.push('\n');
                        data.push_str(value);
                    }
                    None => self.event.data = Some(value.to_owned()),
                }
            }
            "id" if !value.contains('\0') => self.event.id = Some(value.to_owned()),
            "retry" => self.event.retry = value.parse().ok(),
            // Comments, which begin with the colon, and fields that nobody knows.
            _ => {}
        }
    }
}

/// The events of an answer's body.
pub(super) struct Events {
    bytes: BoxStream<'static, Result<Bytes, reqwest::Error>>,
    parser: Parser,
    ready: VecDeque<Event>,
    inbound: InboundRate,
    over: bool,
}

/// How a stream of events ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// As answers end.
    Closed,
    /// In the middle of something; why.
    Broken(String),
    /// This host will hear no more of it; why.
    Flooded(String),
}

impl Events {
    pub(super) fn new(bytes: BoxStream<'static, Result<Bytes, reqwest::Error>>) -> Self {
        let (parser, inbound) = (Parser::default(), InboundRate::default());
        Self { bytes, parser, ready: VecDeque::new(), inbound, over: false }
    }

    /// The next event. May be dropped and asked again.
    pub(super) async fn next(&mut self) -> Result<Event, Ended> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(event);
            }
            if self.over {
                return Err(Ended::Closed);
            }
            let mut events = Vec::new();
            match self.bytes.next().await {
                Some(Ok(bytes)) => {
                    let flood = self.inbound.note(Instant::now(), 0, bytes.len(), true);
                    let long =
                        || Ended::Flooded(format!("it sent a message of more than {MCP_CLIENT_LINE_BYTES_MAX} bytes"));
                    self.over = true;
                    flood.map_err(Ended::Flooded)?;
                    self.parser.push(&bytes, &mut events).map_err(|TooLong| long())?;
                    self.over = false;
                }
                Some(Err(error)) => {
                    self.over = true;
                    return Err(Ended::Broken(super::chain(&error.without_url())));
                }
                None => {
                    self.over = true;
                    self.parser.finish(&mut events);
                }
            }
            self.ready.extend(events);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(pieces: &[&[u8]]) -> Vec<Event> {
        let (mut parser, mut events) = (Parser::default(), Vec::new());
        for piece in pieces {
            parser.push(piece, &mut events).expect("short");
        }
        parser.finish(&mut events);
        events
    }

    fn data(event: &Event) -> &str {
        event.data.as_deref().unwrap_or_default()
    }

    #[test]
    fn events_are_the_same_however_they_come() {
        let text = "\u{feff}: hi\n\nid: 1\nretry: 500\ndata: é1\ndata:2\nunknown: x\n\nevent: ping\ndata\n\ndata: last";
        for end in ["\n", "\r\n", "\r"] {
            let bytes = text.replace('\n', end).into_bytes();
            let whole = events(&[&bytes]);
            assert_eq!(whole.len(), 3, "{end:?}: {whole:?}");
            assert_eq!((data(&whole[0]), whole[0].id.as_deref(), whole[0].retry), ("é1\n2", Some("1"), Some(500)));
            assert_eq!((whole[1].name.as_str(), whole[1].data.as_deref()), ("ping", Some("")));
            assert_eq!(data(&whole[2]), "last");
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            assert_eq!(events(&single), whole, "{end:?}");
        }
    }

    #[test]
    fn an_event_without_end_is_bounded() {
        let (mut parser, mut events) = (Parser::default(), Vec::new());
        let piece = [&b"data: "[..], &vec![b'x'; MCP_CLIENT_LINE_BYTES_MAX / 4], b"\n"].concat();
        let pushed = (0..5).map(|_| parser.push(&piece, &mut events)).collect::<Result<Vec<()>, TooLong>>();
        assert_eq!((pushed, events.len()), (Err(TooLong), 0));
    }

    #[test]
    fn a_bare_message_counts() {
        assert_eq!(data(&events(&[b"{\"id\":1}\n"])[0]), "{\"id\":1}");
    }
}
