//! Parses server-sent events as the standard says, and a little more leniently: any line ending, chunks of any size, and other
//! text between the events. The size of an event is limited.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;
use firebox_contract::limits::MCP_CLIENT_LINE_BYTES_MAX;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;

use crate::client::transport::rate::InboundRate;

/// One event. It may have no data.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct SseEvent {
    pub(super) name: String,
    pub(super) data: Option<String>,
    pub(super) id: Option<String>,
    pub(super) retry: Option<u64>,
}

/// Parses bytes into events.
#[derive(Debug, Default)]
pub(super) struct EventParser {
    line: Vec<u8>,
    /// The last byte was `\r`, so a following `\n` belongs to the same line ending.
    after_return: bool,
    started: bool,
    event: SseEvent,
    size: usize,
}

/// An event with more bytes than allowed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLong;

impl EventParser {
    /// Parses bytes, and adds completed events to `events`.
    ///
    /// # Errors
    /// `TooLong` if an event exceeds the limit.
    pub(super) fn push(&mut self, bytes: &[u8], events: &mut Vec<SseEvent>) -> Result<(), TooLong> {
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

    /// Ends the stream. An event without its final empty line is complete, too.
    pub(super) fn finish(&mut self, events: &mut Vec<SseEvent>) {
        let line = std::mem::take(&mut self.line);
        if !line.is_empty() {
            self.line(&line, events);
        }
        self.line(b"", events);
    }

    fn check(&self) -> Result<(), TooLong> {
        // For a moment the data exists twice: in the line and in the event.
        if self.line.len() + self.size > MCP_CLIENT_LINE_BYTES_MAX { Err(TooLong) } else { Ok(()) }
    }

    fn line(&mut self, line: &[u8], events: &mut Vec<SseEvent>) {
        let text = String::from_utf8_lossy(line);
        let mut text = text.as_ref();
        if !std::mem::replace(&mut self.started, true) {
            text = text.trim_start_matches('\u{feff}');
        }
        if text.is_empty() {
            self.size = 0;
            let event = std::mem::take(&mut self.event);
            if event != SseEvent::default() {
                events.push(event);
            }
            return;
        }
        // A bare JSON message, from a server that declares an event stream but does not send events.
        if text.starts_with('{') {
            events.push(SseEvent { data: Some(text.to_owned()), ..SseEvent::default() });
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
            // Comments, which start with a colon, and unknown fields.
            _ => {}
        }
    }
}

/// Reads the events of an HTTP body.
pub(super) struct EventStreamReader {
    bytes: BoxStream<'static, Result<Bytes, reqwest::Error>>,
    parser: EventParser,
    ready: VecDeque<SseEvent>,
    inbound: InboundRate,
    over: bool,
}

/// How an event stream ended.
#[derive(Debug)]
pub(super) enum StreamEnd {
    /// At its regular end.
    Closed,
    /// With an error.
    Broken(String),
    /// By the host, because the server sent too much.
    Flooded(String),
}

impl EventStreamReader {
    pub(super) fn new(bytes: BoxStream<'static, Result<Bytes, reqwest::Error>>) -> Self {
        let (parser, inbound) = (EventParser::default(), InboundRate::default());
        Self { bytes, parser, ready: VecDeque::new(), inbound, over: false }
    }

    /// The next event. The future may be dropped and called again.
    ///
    /// # Errors
    /// `StreamEnd` at the end of the stream.
    pub(super) async fn next(&mut self) -> Result<SseEvent, StreamEnd> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(event);
            }
            if self.over {
                return Err(StreamEnd::Closed);
            }
            let mut events = Vec::new();
            match self.bytes.next().await {
                Some(Ok(bytes)) => {
                    let flood = self.inbound.note(Instant::now(), 0, bytes.len(), true);
                    let long = || {
                        StreamEnd::Flooded(format!("it sent a message of more than {MCP_CLIENT_LINE_BYTES_MAX} bytes"))
                    };
                    self.over = true;
                    flood.map_err(StreamEnd::Flooded)?;
                    self.parser.push(&bytes, &mut events).map_err(|TooLong| long())?;
                    self.over = false;
                }
                Some(Err(error)) => {
                    self.over = true;
                    return Err(StreamEnd::Broken(super::chain(&error.without_url())));
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

    fn events(pieces: &[&[u8]]) -> Vec<SseEvent> {
        let (mut parser, mut events) = (EventParser::default(), Vec::new());
        for piece in pieces {
            parser.push(piece, &mut events).expect("short");
        }
        parser.finish(&mut events);
        events
    }

    fn data(event: &SseEvent) -> &str {
        event.data.as_deref().unwrap_or_default()
    }

    #[test]
    fn line_endings_and_chunk_sizes_do_not_change_the_events() {
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
    fn an_event_that_is_too_long_is_an_error() {
        let (mut parser, mut events) = (EventParser::default(), Vec::new());
        let piece = [&b"data: "[..], &vec![b'x'; MCP_CLIENT_LINE_BYTES_MAX / 4], b"\n"].concat();
        let pushed = (0..5).map(|_| parser.push(&piece, &mut events)).collect::<Result<Vec<()>, TooLong>>();
        assert_eq!((pushed, events.len()), (Err(TooLong), 0));
    }

    #[test]
    fn a_bare_json_message_is_an_event() {
        assert_eq!(data(&events(&[b"{\"id\":1}\n"])[0]), "{\"id\":1}");
    }
}
