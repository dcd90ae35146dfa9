//! Hostile JSON Schemas of two tenants, next to the answers of a third one.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::{chat, config, with};
use crate::harness::server::{PLUGINS, Server, tenant};

/// What the server has to do with a schema.
enum Fate {
    /// To refuse it, with this parameter.
    Refused(&'static str),
    /// To compile or to refuse it, in bounded time.
    Bounded,
}
use Fate::{Bounded, Refused};

/// Time of one request with a hostile schema, in which another tenant's may be compiled first.
const HOSTILE_TIME_MAX: Duration = Duration::from_secs(30);
/// Bytes that the whole attack may add to the peak of the server's memory.
const HOSTILE_MEMORY_MAX: u64 = 512 << 20;

fn references(count: usize, of: impl Fn(Value) -> Value) -> Value {
    let next = |n: usize| of(json!({ "$ref": format!("#/$defs/d{}", n + 1) }));
    let mut definitions: Map<String, Value> = (0..count).map(|n| (format!("d{n}"), next(n))).collect();
    definitions.insert(format!("d{count}"), json!({ "type": "null" }));
    json!({ "$defs": definitions, "$ref": "#/$defs/d0" })
}

fn branches(count: usize) -> Value {
    json!({ "anyOf": (0..count).map(|n| json!({ "required": [format!("r{n}")] })).collect::<Vec<_>>() })
}

/// Values of one list, text of several kinds, references, branches, patterns and counts.
fn hostile() -> Vec<(&'static str, Value, Fate)> {
    let list = |count: u32| (0..count).collect::<Vec<_>>();
    let pattern = |text: &str| json!({ "type": "string", "pattern": text });
    let nested = (0..60).fold(json!({}), |inner, _| json!({ "items": inner }));
    let listed = (0..20_000).map(|n| format!("\"{n:0>5}\"")).collect::<Vec<_>>().join(",");
    vec![
        ("a huge enum", json!({ "enum": list(11_000) }), Refused("response_format/enum")),
        ("a large enum", json!({ "enum": list(9_000) }), Bounded),
        ("a schema of 1 MB", json!({ "description": "x".repeat(1_000_000) }), Refused("response_format")),
        (
            "an enum of 160 KB",
            serde_json::from_str(&format!("{{\"enum\":[{listed}]}}")).expect("JSON"),
            Refused("response_format"),
        ),
        ("nesting", nested, Refused(NESTED)),
        ("an endless reference", json!({ "$ref": "#" }), Refused("response_format")),
        ("a chain of 900 references", references(900, |next| next), Bounded),
        (
            "900 objects in each other",
            references(900, |next| json!({ "type": "object", "properties": { "a": next } })),
            Bounded,
        ),
        ("doubling allOf", references(40, |next| json!({ "allOf": [next, next] })), Bounded),
        (
            "doubling anyOf",
            references(40, |next| json!({ "anyOf": [next, { "type": "array", "items": next }] })),
            Bounded,
        ),
        (
            "doubling oneOf",
            references(40, |next| json!({ "oneOf": [next, { "type": "array", "prefixItems": [next, next] }] })),
            Bounded,
        ),
        ("a product of branches", json!({ "allOf": (0..12).map(|_| branches(8)).collect::<Vec<_>>() }), Bounded),
        ("a pattern of 10^9 letters", pattern("^((a{1000}){1000}){1000}$"), Bounded),
        ("an ambiguous pattern", pattern("^(a|aa|a.|.a)*(a|b)*.{500}(x|y.){200}$"), Bounded),
        ("a pattern with doubling states", pattern("^.*a.{40}b.*$"), Bounded),
        ("a pattern that looks back", pattern("^(a+)\\1$"), Refused("response_format/pattern")),
        (
            "three patterns for a string",
            json!({ "type": "string", "pattern": "a", "allOf": [{ "pattern": "b" }, { "pattern": "c" }] }),
            Refused("response_format"),
        ),
        ("long strings", json!({ "type": "string", "minLength": 4_000_000_000_u64 }), Bounded),
        ("strings of up to 10^9 characters", json!({ "type": "string", "maxLength": 1_000_000_000 }), Bounded),
        (
            "long arrays",
            json!({ "type": "array", "items": { "type": "null" }, "minItems": 4_000_000_000_u64 }),
            Bounded,
        ),
        (
            "arrays of up to 10^6 arrays",
            json!({ "type": "array", "items": { "type": "array", "maxItems": 1_000_000 }, "maxItems": 1_000_000 }),
            Bounded,
        ),
    ]
}

/// The first part that is too deep.
const NESTED: &str = concat!(
    "response_format",
    "/items/items/items/items/items/items/items/items/items/items/items/items/items/items/items/items/items/items/items/items",
    "/items/items/items/items/items/items/items/items/items/items/items/items/items/items/items/items/items/items/items/items",
    "/items/items/items/items/items/items/items/items/items"
);

/// Sends all schemas as `tenant` and checks what comes back. Returns how many were compiled.
fn attack(server: &Server, tenant: &str) -> usize {
    let mut compiled = 0;
    for (name, schema, fate) in hostile() {
        let format = json!({ "type": "json_schema", "json_schema": { "name": "a", "schema": schema } });
        let body = with(with(chat("hello"), "response_format", format), "max_tokens", json!(8));
        let body = with(body, "tool_choice", json!("none"));
        let began = Instant::now();
        let response = server.post("/v1/chat/completions", tenant, &body);
        let took = began.elapsed();
        assert!(took < HOSTILE_TIME_MAX, "{name} took {took:?}: {}", response.body);
        let param = || response.json()["error"]["param"].as_str().unwrap_or_default().to_owned();
        match fate {
            Refused(expected) => {
                assert_eq!((response.status, response.code().as_str()), (400, "schema_unsupported"), "{name}");
                assert_eq!(param(), expected, "{name}");
            }
            Bounded if response.status == 200 => compiled += 1,
            Bounded => {
                assert_eq!(response.status, 400, "{name}: {}", response.body);
                let known = response.code() != "schema_unsupported" || param().starts_with("response_format");
                assert!(known, "{name}: {}", response.body);
            }
        }
    }
    compiled
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() / 2]
}

#[test]
fn hostile_schemas_are_refused_or_compiled_while_others_are_answered_in_time() {
    let server = Server::start(&config(&format!("{}{}", tenant("mallory", PLUGINS), tenant("oscar", PLUGINS))));
    let body = with(chat("Hello!"), "max_tokens", json!(16));
    let ask = || {
        let began = Instant::now();
        let answer = server.post("/v1/chat/completions", "alpha", &body);
        assert_eq!(answer.status, 200, "{}", answer.body);
        began.elapsed()
    };
    ask();
    let mut alone: Vec<Duration> = (0..20).map(|_| ask()).collect();
    #[cfg(target_os = "linux")]
    let before = server.memory_bytes("VmHWM");
    let done = AtomicBool::new(false);
    let mut beside = Vec::new();
    std::thread::scope(|scope| {
        let attacks = ["mallory", "oscar"].map(|name| scope.spawn(|| attack(&server, name)));
        let waits = scope.spawn(|| {
            let compiled = attacks.map(|attack| attack.join());
            done.store(true, Ordering::Release);
            compiled
        });
        while !done.load(Ordering::Acquire) {
            beside.push(ask());
        }
        for compiled in waits.join().expect("no panic") {
            assert!(compiled.expect("all schemas have their fate") > 3);
        }
    });
    let (alone, beside_median) = (median(&mut alone), median(&mut beside));
    let slowest = beside.last().copied().unwrap_or_default();
    println!(
        "alone {alone:?}, next to the attack {beside_median:?} and {slowest:?} at most, of {} answers",
        beside.len()
    );
    assert!(beside.len() > 10, "{beside:?}");
    assert!(
        beside_median < 3 * alone + Duration::from_millis(50),
        "{beside_median:?} next to the attack, {alone:?} alone"
    );
    assert!(slowest < 10 * alone + Duration::from_secs(1), "{slowest:?} at most, {alone:?} alone");
    #[cfg(target_os = "linux")]
    {
        let added = server.memory_bytes("VmHWM").saturating_sub(before);
        println!("the peak of memory grew by {} MiB", added >> 20);
        assert!(added < HOSTILE_MEMORY_MAX, "{added} bytes");
    }
}
