//! Of what a request takes before anything of it is computed.

use super::{BODY_BYTES_DEFAULT, KIB, MIB};

// ---- Admission of requests ------------------------------------------------------------------------------------

/// Requests whose bodies have the largest size, each held as it came and as it was read, for which a server has room.
pub const BODY_SHARES: usize = 3;
/// Bytes of request bodies, as they came and as they were read, that a server holds at a time when nobody says otherwise.
pub const REQUEST_BYTES_DEFAULT: usize = BODY_SHARES * 2 * BODY_BYTES_DEFAULT;
/// Bytes of request bodies that a server holds at a time at most.
pub const REQUEST_BYTES_MAX: usize = 64 * 1024 * MIB;
/// Part (one nth) of the memory this process may have that request bodies may take when nobody says otherwise.
pub const REQUEST_BYTES_MEMORY_DIVISOR: u64 = 8;
/// Bytes of request bodies that a server holds at a time at least, however little memory it may have.
pub const REQUEST_BYTES_MIN: usize = MIB;
/// Part (one nth) of those bytes that one tenant may hold when nobody says otherwise.
pub const TENANT_REQUEST_BYTES_DIVISOR: usize = BODY_SHARES;
/// Values in the JSON of one request, or in the arguments of all tool calls of one conversation (a number).
pub const JSON_VALUES_MAX: usize = 65_536;
/// Bytes of a body up to which it is read where it arrives, and not on a thread for blocking work.
pub const BODY_INLINE_BYTES: usize = 64 * KIB;
/// Bytes of a compressed body that are decoded at a time, before others may work; they may become a thousand times as many.
pub const ENCODED_PIECE_BYTES: usize = 256;
/// Bytes that a decoder of compressed bodies makes before they are counted.
pub const DECODED_PIECE_BYTES: usize = 16 * KIB;
/// Bodies of one server that are read at a time on threads for blocking work (a number).
pub const BODIES_READ_PARALLEL: usize = 2;
/// Threads that read large bodies and tokenize long prompts, for all models of a process together (a number).
pub const BACKGROUND_THREADS_MAX: usize = 16;
/// How nice (a number as `nice` takes it) these threads are: a third of what others have of a core that all want.
pub const BACKGROUND_NICENESS: i32 = 5;
/// Bytes of a body that decides about a tool call.
pub const APPROVAL_BODY_BYTES_MAX: usize = 64 * KIB;
/// Requests about sessions that one tenant has under way at a time.
pub const SESSION_REQUESTS_IN_FLIGHT_MAX: usize = 16;
/// Requests to `/mcp` that one tenant has under way at a time.
pub const MCP_REQUESTS_IN_FLIGHT_MAX: usize = 64;
/// Decisions about tool calls that one tenant has under way at a time (a number of requests).
pub const APPROVAL_REQUESTS_IN_FLIGHT_MAX: usize = 8;
/// Bytes of a prompt up to which it is tokenized where it is, and not on a thread for blocking work.
pub const ENCODE_INLINE_BYTES: usize = 4 * KIB;
/// Prompts of one model that are tokenized at a time on threads for blocking work (a number); one of each tenant.
pub const ENCODED_PARALLEL: usize = 2;
/// Bytes of the pieces in which a long text is tokenized until it is known whether it fits.
pub const ENCODE_PIECE_BYTES: usize = 16 * KIB;
/// Bytes of such a piece at least, where a context holds few tokens.
pub const ENCODE_PIECE_BYTES_MIN: usize = KIB;
/// Bytes for each token of a context up to which a text is tokenized as a whole.
pub const ENCODE_WHOLE_BYTES_PER_TOKEN: usize = 8;
/// Bytes of a text that is tokenized at once at most; a longer one that fits all the same is tokenized in pieces.
pub const ENCODE_WHOLE_BYTES_MAX: usize = MIB;
/// Tokens beyond twice the context after which the pieces of a text are enough to refuse it; a context that holds fewer adds
/// as many as it holds. Where a text is cut, the tokens of its pieces may be a few more than its own.
pub const ENCODE_SLACK_TOKENS: usize = 1_024;
