//! The table of hostile guests.

use std::time::Duration;

use firebox_contract::limits;
use firebox_sandbox::PluginLimits;

use super::lab::{Attack, End, HostileGuest};

/// Limits whose time no guest reaches, even on a busy machine.
pub(super) const PATIENT: PluginLimits = PluginLimits {
    fuel: limits::PLUGIN_FUEL_DEFAULT,
    memory_bytes: limits::PLUGIN_MEMORY_BYTES_DEFAULT,
    timeout: Duration::from_secs(60),
};

/// Limits with so much fuel that only the time stops a guest.
const SHORT: PluginLimits =
    PluginLimits { fuel: limits::PLUGIN_FUEL_MAX, timeout: Duration::from_millis(300), ..PATIENT };

/// The longest time of an attack that fuel or another limit ends.
const SOON: Duration = Duration::from_secs(15);
/// The longest time of an attack that the limit of time ends.
const IN_TIME: Duration = Duration::from_secs(3);
/// The memory of a guest that takes no more than it starts with.
const SMALL: u64 = 6 << 20;
/// The limit of memory of every guest.
const WHOLE: u64 = limits::PLUGIN_MEMORY_BYTES_DEFAULT as u64;

const fn row(name: &'static str, attack: Attack, ends: End) -> HostileGuest {
    HostileGuest { name, attack, ends, limits: PATIENT, within: SOON, memory_max: SMALL }
}

impl HostileGuest {
    /// The same guest, which only the limit of time ends.
    const fn short(self) -> Self {
        Self { limits: SHORT, within: IN_TIME, ..self }
    }

    /// The same guest, which takes all memory that it can.
    const fn large(self) -> Self {
        Self { memory_max: WHOLE, ..self }
    }
}

/// Every row.
pub(super) fn all() -> Vec<HostileGuest> {
    [COMPUTING, ANSWERING, TOKENS, SENDING, STORED, SECRETS, MODELS].concat()
}

use self::Attack::{Embedding, Load, Model, Probe, Prompt, Text, Token, Tool, ToolCall};
use self::End::{Error, Fault};

const TRAP: &str = "plugin_trapped";
const REFUSED: &str = "plugin_refused";
const TOO_LARGE: &str = "plugin_output_too_large";
const FUEL: &str = "plugin_out_of_fuel";
const MEMORY: &str = "plugin_out_of_memory";
const TIME: &str = "plugin_timed_out";

/// Guests that take time and memory, or break.
const COMPUTING: &[HostileGuest] = &[
    row("loops until its fuel is used", Text("spin", 1), Fault(FUEL, "used all its fuel (200000000)")),
    row("loops until its time is up", Text("spin", 1), Fault(TIME, "where 300 ms are allowed")).short(),
    row("sleeps in a call of the host", Text("sleep", 1), Fault(TIME, "where 300 ms are allowed")).short(),
    row("takes memory without end", Text("memory-bomb", 1), Fault(MEMORY, "where 33554432 are allowed")).large(),
    row("grows a table without end", Text("table-bomb", 1), Fault(MEMORY, "bytes of memory")),
    row("starts with too much memory", Load("big-memory"), Fault(MEMORY, "asked for 39452672 bytes")),
    row("calls itself without end", Text("recursion", 1), Fault("plugin_stack_overflow", "its stack of 524288")),
    row("returns more than a text may have", Text("large-output", 1), Fault(TOO_LARGE, "1048576 bytes allowed"))
        .large(),
    row("returns a length of gigabytes", Text("huge-output", 1), Fault(TRAP, "out of bounds")),
    row("reads beyond its memory", Text("out-of-bounds", 1), Fault(TRAP, "out of bounds")),
    row("returns a pointer beyond its memory", Text("wild-result", 1), Fault(TRAP, "out of bounds")),
    row("returns no UTF-8", Text("bad-utf8", 1), Fault(TRAP, "utf-8")),
    row("returns a case that does not exist", Text("bad-variant", 1), Fault(TRAP, "discriminant")),
    row("panics", Text("panic", 1), Fault(TRAP, "no cheese")),
    row("makes handles without end", Text("handle-bomb", 1), Fault(TRAP, "trapped")),
    row("calls exit", Text("exit", 1), Fault(TRAP, "exit with status 1")),
    row("traps when it starts", Load("start-trap"), Fault(TRAP, "unreachable")),
    row("loops when it starts", Load("start-spin"), Fault(FUEL, "used all its fuel")),
    row("imports what does not exist", Load("unknown-import"), Error("PluginFault: plugin \"unknown-import\" imports")),
    row("returns an error of 900 kB", Text("long-error", 1), Fault("plugin_failed", "AAAA")),
    row("returns an endless text in pieces", Text("flood", 50), Fault(TOO_LARGE, "1048576 bytes allowed")),
    row("logs without end", Text("chatter", 20), Error("Emit")),
    row("loops in a tool", Tool("tool-spin", 1), Fault(FUEL, "used all its fuel")),
    row("traps in a tool", Tool("tool-trap", 1), Fault(TRAP, "trapped")),
    row("returns endless results", Tool("tool-flood", 200), Fault(TOO_LARGE, "8388608 bytes allowed")),
];

/// Guests whose answers cannot be used.
const ANSWERING: &[HostileGuest] = &[
    row("answers a prompt with no message", Prompt("prompt-empty"), Fault(REFUSED, "no message with text")),
    row("answers a prompt with a thousand messages", Prompt("prompt-many"), Fault(REFUSED, "1000 messages for 1")),
    row("begins a conversation with a tool", Prompt("prompt-tool-first"), Fault(REFUSED, "message 0 is from a tool")),
    row("makes a call whose arguments are no JSON", Prompt("prompt-bad-call"), Fault(REFUSED, "not one JSON object")),
    row("traps at a prompt", Prompt("prompt-trap"), Fault(TRAP, "trapped")),
    row("refuses with an endless reason", Prompt("prompt-long-refuse"), Error("Refuse")),
    row("rewrites a call to no JSON", ToolCall(r#"{"before": "rewrite [1]"}"#), Fault(REFUSED, "not one JSON object")),
    row("traps at a call", ToolCall(r#"{"before": "trap"}"#), Fault(TRAP, "as the configuration says")),
    row("loses texts", Embedding(r#"{"texts": "lose"}"#), Fault(REFUSED, "0 texts for 2")),
    row("returns vectors of no numbers", Embedding(r#"{"vectors": "nan"}"#), Fault(REFUSED, "contain NaN")),
    row("loses vectors", Embedding(r#"{"vectors": "lose"}"#), Fault(REFUSED, "have")),
];

/// Guests of the token stage.
const TOKENS: &[HostileGuest] = &[
    row("returns a mask that is too short", Token(r#"{"tokens": ["mask 1"]}"#, 1), Fault(REFUSED, "1 words")),
    row("returns a mask that is too long", Token(r#"{"tokens": ["mask 1 1 1 1 1"]}"#, 1), Fault(REFUSED, "5 words")),
    row("forbids every token by a mask", Token(r#"{"tokens": ["mask 0 0 64"]}"#, 1), Fault(REFUSED, "allows no token")),
    row("forbids every token by a list", Token(r#"{"tokens": ["allow"]}"#, 1), Fault(REFUSED, "allows no token")),
    row("allows a token that does not exist", Token(r#"{"tokens": ["allow 70"]}"#, 1), Fault(REFUSED, "token 70")),
    row("biases by no number", Token(r#"{"tokens": ["nan 1"]}"#, 1), Fault(REFUSED, "bias NaN")),
    row(
        "has fewer biases than tokens",
        Token(r#"{"tokens": ["nan 1 2"]}"#, 1),
        Fault(REFUSED, "2 tokens and 1 biases"),
    ),
    row("forces nothing", Token(r#"{"tokens": ["force"]}"#, 1), Fault(REFUSED, "forced 0 tokens")),
    row(
        "forces a token that does not exist",
        Token(r#"{"tokens": ["force 4000000000"]}"#, 1),
        Fault(REFUSED, "4000000000"),
    ),
    row(
        "takes back more than is held",
        Token(r#"{"hold": 3, "tokens": ["back 3"]}"#, 1),
        Fault(REFUSED, "and 2 are held"),
    ),
    row(
        "takes back for ever",
        Token(r#"{"hold": 3, "repeat": true, "tokens": ["back 2"]}"#, 2_000),
        Fault(REFUSED, "took back more than 1024 tokens"),
    ),
    row("holds back too much", Token(r#"{"hold": 65}"#, 1), Fault(REFUSED, "at most 64")),
    row("wants every candidate", Token(r#"{"candidates": 4294967295}"#, 1), Fault(REFUSED, "at most 1024")),
    row("loops at a token", Token(r#"{"tokens": ["spin"]}"#, 1), Fault(FUEL, "used all its fuel")),
    row("traps at a token", Token(r#"{"tokens": ["trap"]}"#, 1), Fault(TRAP, "as the configuration says")),
];

const SITE: &[&str] = &["http:* http://site.test:PORT at 127.0.0.1"];
const ANY: &[&str] = &["http:* http://*:*"];
const REBOUND: &[&str] = &["http:* http://rebound.test:PORT at 10.0.0.0/30"];

/// Guests that send requests.
const SENDING: &[HostileGuest] = &[
    row(
        "sends to a host that was not granted",
        Probe(SITE, r#"{"do": "http", "url": "http://other.test:PORT/"}"#),
        Error("HttpRequestDenied"),
    ),
    row(
        "sends without a grant",
        Probe(&[], r#"{"do": "http", "url": "http://site.test:PORT/"}"#),
        Error("HttpRequestDenied"),
    ),
    row(
        "sends to a private address",
        Probe(ANY, r#"{"do": "http", "url": "http://127.0.0.1:PORT/"}"#),
        Error("DestinationIpProhibited"),
    ),
    row(
        "sends to a private address as IPv6",
        Probe(ANY, r#"{"do": "http", "url": "http://[::ffff:127.0.0.1]:PORT/"}"#),
        Error("DestinationIpProhibited"),
    ),
    row(
        "sends to a name with a private address",
        Probe(ANY, r#"{"do": "http", "url": "http://metadata.test:PORT/"}"#),
        Error("DestinationIpProhibited"),
    ),
    row(
        "sends to a name that was bound again",
        Probe(REBOUND, r#"{"do": "http", "url": "http://rebound.test:PORT/", "timeout_ms": 200}"#),
        Error("error: ErrorCode::"),
    ),
    row(
        "asks where a redirect leads",
        Probe(SITE, r#"{"do": "http", "url": "http://site.test:PORT/redirect"}"#),
        Error("302 http://other.test:"),
    ),
    row(
        "smuggles a header",
        Probe(SITE, r#"{"do": "http", "url": "http://site.test:PORT/", "header": "x-a: b\r\nhost: evil"}"#),
        Error("InvalidSyntax"),
    ),
    row(
        "sets the host",
        Probe(SITE, r#"{"do": "http", "url": "http://site.test:PORT/", "header": "Host: evil.test"}"#),
        Error("Forbidden"),
    ),
    row(
        "opens a tunnel",
        Probe(SITE, r#"{"do": "http", "url": "http://site.test:PORT/", "method": "CONNECT"}"#),
        Error("HttpRequestMethodInvalid"),
    ),
    row(
        "reads a response without end",
        Probe(SITE, r#"{"do": "http", "url": "http://site.test:PORT/endless"}"#),
        Error("HttpResponseBodySize"),
    )
    .large(),
    row(
        "waits for a server that is silent",
        Probe(SITE, r#"{"do": "http", "url": "http://site.test:PORT/silent"}"#),
        Fault(TIME, "where 300 ms are allowed"),
    )
    .short(),
    row(
        "floods a server",
        Probe(SITE, r#"{"do": "flood", "url": "http://site.test:PORT/", "count": 500}"#),
        Error("16 then ErrorCode::ConnectionLimitReached"),
    ),
];

const DOCS: &[&str] = &["files:docs=FOLDER"];
const NOTES: &[&str] = &["keyvalue:notes"];

/// Guests that read files, store values and count.
const STORED: &[HostileGuest] = &[
    row("reads above its folder", Probe(DOCS, r#"{"do": "read", "path": "../secret.txt"}"#), Error("error: ErrorCode")),
    row(
        "reads above its folder from below",
        Probe(DOCS, r#"{"do": "read", "path": "a/../../secret.txt"}"#),
        Error("error: ErrorCode"),
    ),
    row("reads an absolute path", Probe(DOCS, r#"{"do": "read", "path": "/etc/passwd"}"#), Error("error: ErrorCode")),
    row(
        "follows a link out of its folder",
        Probe(DOCS, r#"{"do": "read", "path": "relative"}"#),
        Error("error: ErrorCode"),
    ),
    row(
        "follows a link to an absolute path",
        Probe(DOCS, r#"{"do": "read", "path": "etc/passwd"}"#),
        Error("error: ErrorCode"),
    ),
    row(
        "follows a link to the folder above",
        Probe(DOCS, r#"{"do": "read", "path": "up/secret.txt"}"#),
        Error("error: ErrorCode"),
    ),
    row("follows a loop of links", Probe(DOCS, r#"{"do": "read", "path": "loop"}"#), Error("error: ErrorCode")),
    row("reads without a folder", Probe(&[], r#"{"do": "read", "path": "a.txt"}"#), Error("error: no folder")),
    row(
        "uses a bucket that was not granted",
        Probe(NOTES, r#"{"do": "store", "bucket": "other", "with": "get", "key": "k"}"#),
        Error("AccessDenied"),
    ),
    row(
        "names a bucket by a path",
        Probe(NOTES, r#"{"do": "store", "bucket": "notes/../other", "with": "get", "key": "k"}"#),
        Error("AccessDenied"),
    ),
    row(
        "stores a value that is too large",
        Probe(NOTES, r#"{"do": "store", "bucket": "notes", "with": "big", "key": "k", "value": 1048577}"#),
        Error("is too large"),
    ),
    row(
        "stores keys until its quota is used",
        Probe(NOTES, r#"{"do": "store", "bucket": "notes", "with": "fill", "value": 1000}"#),
        Error("the quota is used"),
    ),
    row(
        "counts without a grant",
        Probe(&[], r#"{"do": "metric", "kind": "count", "name": "a", "value": 1}"#),
        Error("Error::Denied"),
    ),
    row(
        "counts under a name of the host",
        Probe(&["metrics"], r#"{"do": "metric", "kind": "count", "name": "host_http_requests", "value": 1}"#),
        Error("Error::Invalid"),
    ),
    row(
        "writes a line of another series",
        Probe(&["metrics"], r#"{"do": "metric", "kind": "count", "name": "a", "value": 1, "label": "x\"} 1\nb{c=\""}"#),
        Error("Error::Invalid"),
    ),
];

/// The capabilities of a guest with a secret that it must not have.
pub(super) const WITH_SECRET: &[&str] = &[
    "http:* http://site.test:PORT at 127.0.0.1",
    "http:* http://other.test:PORT at 127.0.0.1",
    "metrics",
    "model:generate",
    "secret:key=env:KEY for http://site.test:PORT/",
];

/// Guests that let a secret out, whose value is `first-s3cret-value`.
const SECRETS: &[HostileGuest] = &[
    row(
        "sends a secret to another host",
        Probe(
            WITH_SECRET,
            r#"{"do": "http", "secret": "key", "url": "http://other.test:PORT/", "header": "x-a: {secret}"}"#,
        ),
        Error("HttpRequestDenied"),
    ),
    row(
        "sends a secret in a body",
        Probe(
            WITH_SECRET,
            r#"{"do": "http", "url": "http://site.test:PORT/", "method": "POST", "body": "first-s3cret-value"}"#,
        ),
        Error("HttpRequestDenied"),
    ),
    row(
        "sends a secret in hexadecimal",
        Probe(
            WITH_SECRET,
            r#"{"do": "http", "url": "http://site.test:PORT/", "method": "POST", "body": "66697273742d7333637265742d76616c7565"}"#,
        ),
        Error("HttpRequestDenied"),
    ),
    row(
        "sends a secret in a header as base64",
        Probe(
            WITH_SECRET,
            r#"{"do": "http", "url": "http://site.test:PORT/", "header": "x-a: dXNlcjpmaXJzdC1zM2NyZXQtdmFsdWU="}"#,
        ),
        Error("HttpRequestDenied"),
    ),
    row(
        "sends a secret in an address",
        Probe(WITH_SECRET, r#"{"do": "http", "url": "http://site.test:PORT/?k=first%2Ds3cret%2Dvalue"}"#),
        Error("HttpRequestDenied"),
    ),
    row(
        "has a server send a secret back",
        Probe(
            WITH_SECRET,
            r#"{"do": "http", "secret": "key", "url": "http://site.test:PORT/echo", "header": "x-a: {secret}"}"#,
        ),
        Error("the response contains a secret"),
    ),
    row(
        "returns a secret",
        Probe(WITH_SECRET, r#"{"do": "echo", "text": "first-s3cret-value"}"#),
        Fault(REFUSED, "contains the secret"),
    ),
    row(
        "returns a secret backwards",
        Probe(WITH_SECRET, r#"{"do": "echo", "text": "eulav-terc3s-tsrif"}"#),
        Fault(REFUSED, "contains the secret"),
    ),
    row("logs a secret", Probe(WITH_SECRET, r#"{"do": "log", "text": "first-s3cret-value"}"#), Error("logged")),
    row(
        "names a metric after a secret",
        Probe(
            WITH_SECRET,
            r#"{"do": "metric", "kind": "count", "name": "a", "value": 1, "label": "first-s3cret-value"}"#,
        ),
        Error("a name or a label contains a secret"),
    ),
    row(
        "forges the placeholder of a secret",
        Probe(
            WITH_SECRET,
            r#"{"do": "http", "url": "http://site.test:PORT/auth", "header": "authorization: Bearer firebox-secret-key-0000000000000000"}"#,
        ),
        Error("wrong"),
    ),
    row(
        "asks for a secret that was not granted",
        Probe(WITH_SECRET, r#"{"do": "secret", "name": "other"}"#),
        Error("Error::Denied"),
    ),
];

/// Guests that use the model.
const MODELS: &[HostileGuest] = &[
    row(
        "uses the model without a grant",
        Probe(&[], r#"{"do": "model", "call": "generate", "text": "a"}"#),
        Error("Error::Denied"),
    ),
    row(
        "asks the model from within its own generation",
        Model(1, r#"{"do": "model", "call": "generate", "text": "a"}"#),
        Error("Error::Nested"),
    ),
    row(
        "asks the model without end",
        Model(0, r#"{"do": "model", "call": "generate", "text": "a", "times": 1000}"#),
        Error("Limited("),
    ),
    row(
        "counts tokens without end",
        Model(0, r#"{"do": "model", "call": "tokenize", "text": "a", "times": 1000}"#),
        Error("32 times in this call"),
    ),
    row(
        "asks the model as a tool",
        Model(0, r#"{"do": "model", "call": "generate", "role": "tool", "text": "a"}"#),
        Error("Error::Invalid"),
    ),
    row("asks the model in the middle of an answer", Text("model", 1), Error("Emit(\"b\")")),
];
