//! Embeddings have the same plugins, limits, usage accounting and fair share as chat.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::super::devices::environment;
use crate::harness::server::{Response, Server, key, tenant};

const ANN: &str = "Please write to ann@example.org about the invoice.";
const BOB: &str = "Please write to bob.smith@firm.example about the invoice.";

fn server(tenants: &str) -> Server {
    let variables = environment("minilm");
    let minilm = variables.iter().find(|row| row.0 == "FIREBOX_TEST_MINILM").expect("the tool says where");
    let path = &minilm.1;
    Server::start(&format!(
        "[audit]\npath = \"audit.jsonl\"\n[[model]]\nname = \"minilm\"\npath = \"{path}\"\ndevice = \"cpu\"\n{tenants}"
    ))
}

fn embed(server: &Server, tenant: &str, body: Value) -> Response {
    let mut all = json!({"model": "minilm"});
    all.as_object_mut().expect("an object").extend(body.as_object().expect("an object").clone());
    server.post("/v1/embeddings", tenant, &all)
}

fn vectors(response: &Response) -> Vec<Value> {
    assert_eq!(response.status, 200, "{response:?}");
    let rows = response.json()["data"].as_array().expect("a list").clone();
    rows.into_iter().map(|row| row["embedding"].clone()).collect()
}

#[test]
fn texts_go_through_the_tenants_plugins_before_the_model() {
    let server = server(&format!(
        "{}{}{}",
        tenant("masked", "plugins = [\"redact\"]"),
        tenant("plain", ""),
        tenant("adding", "request_plugins = [\"redact\"]"),
    ));
    let one = |tenant: &str, text: &str| vectors(&embed(&server, tenant, json!({"input": text})))[0].clone();
    assert_ne!(one("plain", ANN), one("plain", BOB), "the address matters to the model");
    assert_eq!(one("masked", ANN), one("masked", BOB), "it does not see the address");
    // Each text is its own conversation, so its output does not depend on other texts.
    let both = embed(&server, "masked", json!({"input": [ANN, BOB, "No address."]}));
    let rows = vectors(&both);
    assert_eq!((&rows[0], rows.len()), (&rows[1], 3));
    let plugins = &both.json()["firebox"]["plugins"];
    let row =
        plugins.as_array().expect("a list").iter().find(|row| row["stage"] == "prompt").expect("the stage").clone();
    assert_eq!((&row["plugin"], &row["calls"]), (&json!("redact"), &json!(3)), "{plugins}");
    assert!(row["fuel"].as_u64() > Some(0), "{plugins}");
    // A request may only add plugins of the tenant's request_plugins.
    let added = json!({"input": ANN, "firebox": {"plugins": ["redact"]}});
    assert_eq!(vectors(&embed(&server, "adding", added.clone()))[0], one("masked", BOB));
    let refused = embed(&server, "plain", added);
    assert_eq!((refused.status, refused.code().as_str()), (403, "denied"), "{refused:?}");
    // Usage, metrics and the audit log have the requests.
    assert!(server.get("/v1/usage", "masked").json()["total"]["plugin_fuel"].as_u64() > Some(0));
    assert!(server.metric("masked", "firebox_plugin_calls_total{plugin=\"redact\",stage=\"prompt\"") > 0.0);
    let log = || std::fs::read_to_string(server.folder.path().join("audit.jsonl")).expect("an audit log");
    server.eventually("written", |_| log().contains("denied"));
    let log = log();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let of = |tenant: &str| lines.iter().filter(|line| line["tenant"] == tenant).cloned().collect::<Vec<_>>();
    assert_eq!(of("masked").len(), 4, "one line a request: {log}");
    assert!(of("masked").iter().all(|line| line["outcome"] == "stop" && line["fuel"].as_u64() > Some(0)), "{log}");
    assert_eq!(of("plain").last().expect("a line")["outcome"], "denied", "{log}");
}

#[test]
fn the_embedding_stage_cleans_texts_and_shortens_vectors() {
    let server = server(&format!(
        "[[plugin]]\nname = \"short\"\nsource = \"normalize-text\"\nconfig = {{ dimensions = 64 }}\n{}{}",
        tenant("short", "plugins = [\"short\"]"),
        tenant("plain", ""),
    ));
    let answer = embed(&server, "short", json!({"input": ["a cat", "  a \n cat\u{200b} "]}));
    let rows = vectors(&answer);
    assert_eq!(rows[0], rows[1], "both are the same text now");
    let numbers = |row: &Value| row.as_array().expect("a vector").iter().filter_map(Value::as_f64).collect::<Vec<_>>();
    let short = numbers(&rows[0]);
    let whole = numbers(&vectors(&embed(&server, "plain", json!({"input": "a cat"})))[0]);
    let length = whole.iter().take(64).map(|value| value * value).sum::<f64>().sqrt();
    assert_eq!(short.len(), 64);
    assert!(short.iter().zip(&whole).all(|(short, whole)| (short - whole / length).abs() < 1e-4), "{short:?}");
    let plugins = &answer.json()["firebox"]["plugins"];
    assert!(plugins.to_string().contains("\"stage\":\"embedding\""), "{plugins}");
    let refused = embed(&server, "short", json!({"input": ["a cat", " "]}));
    assert!(refused.status >= 400 && refused.status < 500, "{refused:?}");
}

#[test]
fn fuel_and_requests_in_flight_are_limited_as_for_chat() {
    let server = server(&format!(
        "{}{}",
        tenant("fuelled", "plugins = [\"redact\"]\n[tenant.limits]\nplugin_fuel_per_minute = 10"),
        tenant("single", "[tenant.limits]\nin_flight_max = 1"),
    ));
    vectors(&embed(&server, "fuelled", json!({"input": ANN})));
    let refused = embed(&server, "fuelled", json!({"input": ANN}));
    assert_eq!((refused.status, refused.code().as_str()), (429, "rate_limited"), "{refused:?}");
    assert!(refused.body.contains("plugin fuel"), "{refused:?}");

    let many = json!({"model": "minilm", "input": vec!["many words ".repeat(20); 256]}).to_string();
    let first = server.open("POST", "/v1/embeddings", Some(&key("single")), many.as_bytes());
    server.eventually("busy", |server| server.metric("single", "firebox_requests_running{") == 1.0);
    let refused = embed(&server, "single", json!({"input": "one"}));
    assert_eq!((refused.status, refused.code().as_str()), (429, "rate_limited"), "{refused:?}");
    assert!(refused.body.contains("tenant \\\"single\\\""), "it says whose limit: {refused:?}");
    // A client that disconnects releases its slot.
    drop(first);
    server.eventually("free", |server| server.metric("single", "firebox_requests_running{") == 0.0);
    vectors(&embed(&server, "single", json!({"input": "one"})));
}

#[test]
fn one_text_is_answered_while_another_tenant_floods() {
    let server = server(&format!("{}{}", tenant("flood", ""), tenant("other", "")));
    let many = json!({"model": "minilm", "input": vec!["some words of a flood ".repeat(10); 64]}).to_string();
    let flood: Vec<_> =
        (0..60).map(|_| server.open("POST", "/v1/embeddings", Some(&key("flood")), many.as_bytes())).collect();
    server.eventually("flooded", |server| server.metric("other", "firebox_requests_running{") == 60.0);
    for _ in 0..3 {
        let begun = Instant::now();
        vectors(&embed(&server, "other", json!({"input": "a short text"})));
        assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    }
    assert!(server.metric("other", "firebox_requests_running{") > 50.0, "the flood still waits for itself");
    drop(flood);
}

#[test]
fn a_text_that_is_far_too_long_is_refused_or_truncated_as_requested() {
    let server = server(&tenant("alpha", ""));
    let long = "word ".repeat(200_000);
    let refused = embed(&server, "alpha", json!({"input": ["short", long]}));
    assert_eq!((refused.status, refused.code().as_str()), (400, "too_large"), "{refused:?}");
    assert!(refused.body.contains("input[1] has 1000000 bytes"), "{refused:?}");
    let cut = embed(&server, "alpha", json!({"input": long, "firebox": {"truncate": true}}));
    let start = embed(&server, "alpha", json!({"input": "word ".repeat(254)}));
    assert_eq!(vectors(&cut), vectors(&start));
}

#[test]
fn fields_of_other_servers_have_the_same_effect_or_are_refused() {
    let server = server(&tenant("alpha", ""));
    let numbers = |body: Value| -> Vec<f64> {
        let vector = vectors(&embed(&server, "alpha", body)).remove(0);
        vector.as_array().expect("a vector").iter().map(|x| x.as_f64().expect("a number")).collect()
    };
    let whole = numbers(json!({"input": "a short text"}));
    let short = numbers(json!({"input": "a short text", "dimensions": 64}));
    let length = whole[..64].iter().map(|x| x * x).sum::<f64>().sqrt();
    assert!(whole.len() == 384 && short.len() == 64);
    assert!(short.iter().zip(&whole).all(|(short, whole)| (short - whole / length).abs() < 1e-5), "unit length again");
    assert_eq!(
        whole,
        numbers(json!({"input": "a short text", "prompt_name": "query"})),
        "this model's prompts are empty"
    );
    let long = "word ".repeat(1_000);
    let cut = numbers(json!({"input": long, "truncate_prompt_tokens": 5}));
    assert_eq!(cut, numbers(json!({"input": "word word word"})));
    let all = numbers(json!({"input": long, "truncate": true}));
    assert_eq!(all, numbers(json!({"input": long, "truncate_prompt_tokens": -1})));
    let refused = [
        (json!({"dimensions": 385}), "dimensions", "384"),
        (json!({"dimensions": 0}), "dimensions", "384"),
        (json!({"prompt_name": "nothing"}), "prompt_name", "\"document\", \"query\""),
        (json!({"input_type": "query"}), "input_type", "prompt_name"),
        (json!({"truncate_prompt_tokens": 2}), "", "less than 3"),
    ];
    for (body, param, expected) in refused {
        let mut all = json!({"input": "a"});
        all.as_object_mut().expect("an object").extend(body.as_object().expect("an object").clone());
        let refused = embed(&server, "alpha", all);
        let error = refused.json()["error"].clone();
        let message = error["message"].as_str().unwrap_or_default().to_owned();
        assert!(refused.status == 400 && message.contains(expected), "{body}: {refused:?}");
        assert!(param.is_empty() || error["param"] == param, "{body}: {refused:?}");
    }
    let row = server.get("/v1/models/minilm", "alpha").json()["firebox"].clone();
    assert_eq!((&row["dimensions"], &row["prompts"]), (&json!(384), &json!(["document", "query"])));
}
