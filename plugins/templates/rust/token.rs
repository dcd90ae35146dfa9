//! {{description}}

use firebox_sdk::{Plugin, Token, TokenAction, TokenSequence, TokenSession, TokenStep, Weighted};

struct NoEcho;

impl Plugin for NoEcho {
    const DESCRIPTION: &'static str = "{{description}}";

    /// Called once for each instance. The configuration is the text of one JSON object.
    fn init(_config_json: &str) -> Result<Self, String> {
        Ok(NoEcho)
    }
}

impl Token for NoEcho {
    type Session = Session;

    /// Called at the start of each message of the assistant. A request for several answers has a session for each.
    fn start(&mut self, _sequence: TokenSequence) -> Result<Session, String> {
        Ok(Session)
    }
}

/// The state of one message. `firebox_sdk::vocabulary` has the bytes of tokens.
struct Session;

impl TokenSession for Session {
    /// Called before each token. Other answers are `Allow`, `Force`, `Backtrack` and `Stop`.
    fn next(&mut self, step: TokenStep) -> Result<TokenAction, String> {
        let Some(last) = step.accepted.last() else { return Ok(TokenAction::Keep) };
        Ok(TokenAction::Bias(Weighted { tokens: vec![*last], values: vec![-100.0] }))
    }
}

firebox_sdk::plugin!(NoEcho: token);
