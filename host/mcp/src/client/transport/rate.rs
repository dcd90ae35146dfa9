//! Rate limits for messages from a server. Reading messages costs time, so a connection that exceeds the limits is ended.

use std::time::{Duration, Instant};

use firebox_contract::limits::{
    MCP_CLIENT_HANDSHAKE_MESSAGES_MAX, MCP_CLIENT_INBOUND_BYTES_BURST, MCP_CLIENT_INBOUND_BYTES_PER_SECOND,
    MCP_CLIENT_INBOUND_MESSAGES_BURST, MCP_CLIENT_INBOUND_MESSAGES_PER_SECOND,
};

/// Counts the messages and bytes of one connection, with a token bucket for each, and a maximum number of messages before the
/// handshake is done.
#[derive(Debug)]
pub(in crate::client) struct InboundRate {
    messages: TokenBucket,
    bytes: TokenBucket,
    before_handshake: usize,
}

#[derive(Debug)]
struct TokenBucket {
    burst: f64,
    per_second: f64,
    left: f64,
    filled: Option<Instant>,
}

impl Default for InboundRate {
    fn default() -> Self {
        Self {
            messages: TokenBucket::new(MCP_CLIENT_INBOUND_MESSAGES_BURST, MCP_CLIENT_INBOUND_MESSAGES_PER_SECOND),
            bytes: TokenBucket::new(MCP_CLIENT_INBOUND_BYTES_BURST, MCP_CLIENT_INBOUND_BYTES_PER_SECOND),
            before_handshake: 0,
        }
    }
}

impl InboundRate {
    /// Counts received messages and bytes.
    ///
    /// # Errors
    /// The reason why the connection must end.
    pub(in crate::client) fn note(
        &mut self,
        now: Instant,
        messages: usize,
        bytes: usize,
        handshake_done: bool,
    ) -> Result<(), String> {
        if !handshake_done {
            self.before_handshake += messages;
            if self.before_handshake > MCP_CLIENT_HANDSHAKE_MESSAGES_MAX {
                return Err(format!(
                    "it sent more than {MCP_CLIENT_HANDSHAKE_MESSAGES_MAX} messages before it finished the handshake"
                ));
            }
        }
        if !self.messages.take(now, messages) {
            return Err(format!(
                "it sends too much: more than {MCP_CLIENT_INBOUND_MESSAGES_PER_SECOND} messages a second for several seconds"
            ));
        }
        if !self.bytes.take(now, bytes) {
            return Err(format!(
                "it sends too much: more than {MCP_CLIENT_INBOUND_BYTES_PER_SECOND} bytes a second for several seconds"
            ));
        }
        Ok(())
    }
}

impl TokenBucket {
    fn new(burst: usize, per_second: usize) -> Self {
        Self { burst: burst as f64, per_second: per_second as f64, left: burst as f64, filled: None }
    }

    fn take(&mut self, now: Instant, amount: usize) -> bool {
        let since = self.filled.map_or(Duration::ZERO, |filled| now.saturating_duration_since(filled));
        self.filled = Some(now);
        self.left = (self.left + since.as_secs_f64() * self.per_second).min(self.burst) - amount as f64;
        self.left >= 0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_within_the_rate_are_accepted_and_a_flood_is_not() {
        let start = Instant::now();
        let mut rate = InboundRate::default();
        for second in 0..600 {
            let now = start + Duration::from_secs(second);
            rate.note(now, MCP_CLIENT_INBOUND_MESSAGES_PER_SECOND, 1_000, true).expect("it is within the rate");
        }
        let mut rate = InboundRate::default();
        let flood = (0..MCP_CLIENT_INBOUND_MESSAGES_BURST * 2).find_map(|_| rate.note(start, 1, 10, true).err());
        assert!(flood.is_some_and(|why| why.contains("messages a second")));
        let mut rate = InboundRate::default();
        let why = rate.note(start, 1, MCP_CLIENT_INBOUND_BYTES_BURST + 1, true).expect_err("too many bytes");
        assert!(why.contains("bytes a second"), "{why}");
    }

    #[test]
    fn the_number_of_messages_before_the_handshake_is_limited() {
        let now = Instant::now();
        let mut rate = InboundRate::default();
        rate.note(now, MCP_CLIENT_HANDSHAKE_MESSAGES_MAX, 10, false).expect("within the limit");
        assert!(rate.note(now, 1, 10, false).expect_err("one more").contains("handshake"));
    }
}
