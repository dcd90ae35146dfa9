//! The cost of a step at a vocabulary of 152,000 tokens.

use std::time::{Duration, Instant};

use firebox_contract::{Grammar, GrammarCompiler, TenantId, TokenId};
use firebox_grammar::Compiler;

use super::support::TextsCodec;

const VOCABULARY: usize = 152_000;

/// Words, numbers, spaces and punctuation in about the proportions of a large byte-level vocabulary.
fn words() -> Vec<Vec<u8>> {
    let mut state = 7u64;
    let mut random = move |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let syllables: Vec<Vec<u8>> = (0..400)
        .map(|_| {
            let length = 2 + random(2);
            (0..length).map(|_| b"etaoinshrdlucmfwypvbgkqjxz"[random(26)]).collect()
        })
        .collect();
    let marks =
        [&b"\":"[..], b"\",", b"{\"", b"\"}", b"():", b"=>", b"//", b"  ", b"\n\n", b"\"\n", b".,", b"[]", b"/>"];
    (256..VOCABULARY)
        .map(|_| match random(20) {
            0 => random(1_000).to_string().into_bytes(),
            1 => [marks[random(marks.len())], marks[random(marks.len())]].concat(),
            2 => {
                let (skip, take) = (random(18), 1 + random(3));
                "äöüßéèñçžłпривет中文字".chars().skip(skip).take(take).collect::<String>().into_bytes()
            }
            kind => {
                let length = 1 + random(4);
                let word: Vec<u8> = (0..length).flat_map(|_| syllables[random(400)].clone()).collect();
                if kind > 10 { [b" ", word.as_slice()].concat() } else { word }
            }
        })
        .collect()
}

const SCHEMA: &str = r#"{"type": "object", "properties": {
    "name": {"type": "string"}, "age": {"type": "integer", "minimum": 0, "maximum": 150},
    "email": {"type": "string", "format": "email"}, "born": {"type": "string", "format": "date"},
    "tags": {"type": "array", "items": {"enum": ["red", "green", "blue"]}, "maxItems": 5},
    "address": {"type": "object", "properties": {"street": {"type": "string", "maxLength": 40}, "zip": {"type": "string",
      "pattern": "^[0-9]{5}$"}}, "required": ["street", "zip"], "additionalProperties": false}},
    "required": ["name", "age", "email", "born", "tags", "address"], "additionalProperties": false}"#;

const ANSWER: &str = "{\n  \"name\": \"Ada Lovelace of London and elsewhere\",\n  \"age\": 36,\n  \"email\": \"ada@example.com\",\n  \
    \"born\": \"1815-12-10\",\n  \"tags\": [\"red\", \"blue\"],\n  \"address\": {\"street\": \"12 St James Square\", \"zip\": \"12345\"}\n}";

#[test]
fn a_step_of_a_large_vocabulary_takes_a_fraction_of_a_millisecond() {
    let compiler = Compiler::new(TextsCodec::shared(words()));
    let tenant = TenantId::new("t");
    let timed = |grammar: &Grammar| {
        let began = Instant::now();
        let state = compiler.compile(&tenant, grammar).expect("compiles");
        (state, began.elapsed())
    };
    let (_, built) = timed(&Grammar::Text("x".to_owned()));
    let grammar = Grammar::JsonSchema(SCHEMA.to_owned());
    let (mut state, compiled) = timed(&grammar);
    println!(
        "vocabulary of {VOCABULARY}: built once in {built:?}; schema compiled in {compiled:?}, cached {:?}",
        timed(&grammar).1
    );
    let (mut masks, mut checks) = (Vec::new(), Vec::new());
    for byte in ANSWER.bytes() {
        let began = Instant::now();
        let mask = state.mask().expect("a mask");
        masks.push(began.elapsed());
        assert!(mask.contains(TokenId::from(byte)), "{}", char::from(byte));
        let began = Instant::now();
        assert!(state.accept(TokenId::from(byte)).expect("a step"));
        checks.push(began.elapsed());
    }
    assert!(state.has_ended());
    let report = |name: &str, times: &mut Vec<Duration>| {
        times.sort();
        let mean = times.iter().sum::<Duration>() / u32::try_from(times.len()).expect("few");
        println!(
            "{name}: mean {mean:?}, median {:?}, p95 {:?}, most {:?}",
            times[times.len() / 2],
            times[times.len() * 95 / 100],
            times[times.len() - 1]
        );
        mean
    };
    let check = report("check of the sampled token", &mut checks);
    let mask = report("mask of all tokens", &mut masks);
    // Generous bounds, since the machine may be busy.
    assert!(check < Duration::from_millis(1) && mask < Duration::from_millis(10));
}
