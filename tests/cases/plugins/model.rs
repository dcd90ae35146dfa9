//! Plugins that use the model: `summarize` and the probe, through the binary.

use serde_json::{Value, json};

use super::folders;
use super::probe::{chat, content, probe_answer, probe_folder, with_manifest};
use crate::cases::devices::environment;
use crate::harness::server::{Server, tenant};
use crate::harness::{Firebox, Run};

const TEXT: &str = "Rain fell on the town all night. In the morning the river was high. Nobody was hurt.";
const GRANTS: [&str; 4] = ["--grant", "model:generate", "--grant", "model:tokenize"];

fn summarize(text: &str) -> String {
    format!("summarize={}", json!({ "text": text, "sentences": 1 }))
}

fn run(args: &[&str]) -> Run {
    Firebox::new([&["run", "--device", "cpu", "--temperature", "0"], args].concat()).run()
}

/// What the built-in model answers by itself to what the plugin asks.
fn expected() -> String {
    let instructions = "Summarize the text of the user in at most 1 sentences.";
    let answer = run(&["--no-tools", "--system", instructions, "--max-tokens", "64", TEXT]).expect_code(0).stdout;
    answer.trim().to_owned()
}

#[test]
fn a_tool_asks_the_model_that_runs_the_request() {
    let expected = expected();
    assert!(!expected.is_empty());
    for folder in folders() {
        let component = folder.join("summarize.wasm");
        let plugin = match folder.ends_with("plugins/prebuilt") {
            true => "summarize".to_owned(),
            false => with_manifest(&component, "summarize", &["tool"], "model = [\"generate\", \"tokenize\"]"),
        };
        let call = summarize(TEXT);
        let args =
            [&["--plugin", &plugin, "--tool", &call, "--max-tokens", "5", "--json"], &GRANTS[..], &["hi"]].concat();
        let answer = run(&args).expect_code(0).json();
        assert_eq!(answer["tool_calls"][0]["result"], json!(expected), "{answer}");
    }
}

#[test]
fn a_plugin_without_the_grant_is_told_so_and_its_user_what_to_write() {
    let call = summarize(TEXT);
    let denied =
        run(&["--plugin", "summarize", "--tool", &call, "--max-tokens", "5", "--json", "--explain-grants", "hi"]);
    let denied = denied.expect_code(0);
    let result = denied.json()["tool_calls"][0]["result"].as_str().unwrap_or_default().to_owned();
    assert!(result.contains("the plugin was not granted the model"), "{result}");
    assert!(denied.stderr.contains("grants   summarize model:generate: denied; "), "{}", denied.stderr);
    assert!(denied.stderr.contains("--grant \"model:generate\""), "{}", denied.stderr);
    assert!(denied.stderr.contains("asks for \"model:generate\", \"model:tokenize\""), "{}", denied.stderr);
    let checked = Firebox::new(["plugins", "check", "summarize", "--grant", "model:generate"]).run();
    assert!(
        checked.stdout.contains("model:generate") && checked.stdout.contains("model:tokenize"),
        "{}",
        checked.stdout
    );
}

#[test]
fn a_single_call_loads_the_built_in_model() {
    let arguments = json!({ "text": TEXT, "sentences": 1 }).to_string();
    let args = ["plugins", "call", "tool", "summarize", &arguments, "--plugin", "summarize"];
    let called = Firebox::new(args.iter().chain(&GRANTS)).env("FIREBOX_DEVICE", "cpu").run().expect_code(0);
    assert_eq!(called.stdout.trim(), expected());
    let args =
        ["plugins", "call", "tool", "summarize", &arguments, "--plugin", "summarize", "--model", "/no/such/model"];
    let missing = Firebox::new(args.iter().chain(&GRANTS)).run();
    assert!(missing.code != Some(0) && missing.stderr.contains("/no/such/model"), "{}", missing.stderr);
}

#[test]
fn a_case_has_a_model_that_answers_as_it_says() {
    let scratch = tempfile::tempdir().expect("a folder");
    let cases = scratch.path().join("cases.toml");
    let long = "word ".repeat(3_000);
    let text = format!(
        "[mock]\nmodel.answers = [\"One.\", \"Two.\"]\n\
         [[case]]\nname = \"short\"\nstage = \"tool\"\ntool = \"summarize\"\narguments = '{{\"text\": \"a b\"}}'\nexpect = \"One.\"\n\
         [[case]]\nname = \"each case begins anew\"\nstage = \"tool\"\ntool = \"summarize\"\narguments = '{{\"text\": \"a\"}}'\nexpect = \"One.\"\n\
         [[case]]\nname = \"long\"\nstage = \"tool\"\ntool = \"summarize\"\narguments = '{{\"text\": \"{long}\"}}'\nexpect = \"Two.\"\n\
         [[case]]\nname = \"silent\"\nstage = \"tool\"\ntool = \"summarize\"\narguments = '{{\"text\": \"a\"}}'\nfault = \"tool_error\"\n\
         mock.model.answers = []\n"
    );
    std::fs::write(&cases, text).expect("written");
    let cases = cases.display().to_string();
    let tested = Firebox::new(["plugins", "test", "summarize", "--cases", &cases]).run();
    assert_eq!(tested.code, Some(0), "{}{}", tested.stdout, tested.stderr);
}

/// A server with the probe, which answers prompts that begin with `probe: `, and these tenants.
fn server(models: &str, tenants: &[String]) -> Server {
    let folder = probe_folder("model = [\"generate\", \"embed\", \"tokenize\"]");
    let config = format!(
        "[audit]\npath = \"audit.jsonl\"\n[[model]]\nname = \"ember\"\ndevice = \"cpu\"\nin_flight_max = 1\n{models}\
         [[plugin]]\nname = \"probe\"\nsource = \"{folder}\"\ndigest = \"any\"\ngrants = [\"model:*\"]\n{}",
        tenants.concat()
    );
    Server::start(&config)
}

fn granted(name: &str, limits: &str) -> String {
    tenant(name, &format!("plugins = [\"probe\"]\ngrants = {{ probe = [\"*\"] }}\n{limits}"))
}

/// What the probe answers for `tenant` when it calls `function`.
fn probe(server: &Server, tenant: &str, function: &str, more: Value) -> String {
    let mut arguments = json!({ "do": "model", "call": function });
    arguments.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    probe_answer(server, tenant, &arguments)
}

fn used(server: &Server, tenant: &str) -> (u64, u64) {
    let total = server.get("/v1/usage", tenant).json()["total"].clone();
    let number = |field: &str| total[field].as_u64().unwrap_or_else(|| panic!("{total}"));
    (number("prompt_tokens") + number("completion_tokens"), number("requests"))
}

#[test]
fn in_a_server_the_tenant_of_the_request_pays_and_grants() {
    let limits = "[tenant.limits]\nin_flight_max = 1\n";
    let tenants = [
        granted("alpha", limits),
        granted("beta", ""),
        tenant("gamma", "plugins = [\"probe\"]"),
        granted("poor", "[tenant.limits]\ntokens_per_minute = 40\n"),
    ];
    let server = server("", &tenants);
    // The only place of the model and of the tenant is held by the request itself.
    let text = "Hello there, how are you?";
    let asked = json!({ "text": text, "role": "user", "max_tokens": 12, "temperature": 0 });
    let before = used(&server, "alpha");
    let mut arguments = json!({ "do": "model", "call": "generate" });
    arguments.as_object_mut().expect("an object").extend(asked.as_object().expect("an object").clone());
    let whole = chat(&server, "alpha", &format!("probe: {arguments}"));
    let (answer, after) = (content(&whole), used(&server, "alpha"));
    let direct = chat(&server, "alpha", text);
    let usage = &direct.json()["usage"];
    let (prompt, completion) = (&usage["prompt_tokens"], &usage["completion_tokens"]);
    let ending = answer.split_once(' ').map(|parts| parts.1.to_owned()).unwrap_or_default();
    assert_eq!(ending, format!("{prompt} {completion} {}", content(&direct)), "as a client that asks: {answer}");
    let tokens = prompt.as_u64().unwrap_or(0) + completion.as_u64().unwrap_or(0);
    assert_eq!((after.0 - before.0, after.1 - before.1), (tokens, 2), "the request and the generation");
    let whole = whole.json();
    let rows = whole["firebox"]["plugins"].as_array().expect("rows");
    let of_model: u64 = rows.iter().filter_map(|row| row["model_tokens"].as_u64()).sum();
    assert_eq!(
        (&whole["usage"]["total_tokens"], of_model),
        (&json!(0), tokens),
        "the plugin's, not the client's: {whole}"
    );
    assert_eq!(used(&server, "beta"), (0, 0), "nobody else pays");
    // The audit log has a record of the generation, of the same tenant.
    server.eventually("recorded", |server| {
        let log = std::fs::read_to_string(server.folder.path().join("audit.jsonl")).unwrap_or_default();
        log.lines().any(|line| line.contains(".probe.1\"") && line.contains("\"alpha\""))
    });
    let calls = "firebox_plugin_counter_total{plugin=\"probe\",tenant=\"alpha\",name=\"host_model_calls\"}";
    assert_eq!(server.metric("alpha", calls), 1.0);
    let counted = "firebox_plugin_counter_total{plugin=\"probe\",tenant=\"alpha\",name=\"host_model_tokens\"}";
    assert_eq!(server.metric("alpha", counted), tokens as f64);
    // A tenant that does not grant it, and one that cannot pay.
    assert_eq!(probe(&server, "gamma", "generate", asked.clone()), "error: Error::Denied");
    assert_eq!(used(&server, "gamma").0, 0);
    let limited = probe(&server, "poor", "generate", json!({ "text": text, "role": "user", "max_tokens": 500 }));
    assert!(limited.contains("Limited(\"prompt and longest answer have"), "{limited}");
    // A plugin in the generation of a plugin: the probe sees the prompt, and cannot use the model.
    let inner = "probe: {\"do\": \"model\", \"call\": \"generate\", \"text\": \"x\"}";
    let nested = probe(&server, "beta", "generate", json!({ "text": inner, "role": "user" }));
    assert_eq!(nested, "Finish::Plugin 0 0 error: Error::Nested");
    let left = probe(&server, "beta", "remaining", json!({}));
    assert!(left.ends_with(" 16384 32"), "{left}");
    let tokens = probe(&server, "beta", "tokenize", json!({ "text": "ab" }));
    assert!(tokens.starts_with('[') && tokens != "[]", "{tokens}");
    let absent = probe(&server, "beta", "embed", json!({ "text": "ab" }));
    assert!(absent.contains("Absent(\"the tenant has no embedding model\")"), "{absent}");
}

#[test]
fn vectors_come_from_an_embedding_model_that_the_tenant_may_use() {
    let variables = environment("minilm");
    let minilm = &variables.iter().find(|row| row.0 == "FIREBOX_TEST_MINILM").expect("the tool says where").1;
    let models = format!("[[model]]\nname = \"minilm\"\npath = \"{minilm}\"\ndevice = \"cpu\"\n");
    let server = server(&models, &[granted("alpha", ""), granted("beta", "models = [\"ember\"]\n")]);
    let direct = server.post("/v1/embeddings", "alpha", &json!({ "model": "minilm", "input": "Rain fell." })).json();
    let tokens = &direct["usage"]["prompt_tokens"];
    let before = used(&server, "alpha").0;
    for named in [json!({ "text": "Rain fell." }), json!({ "text": "Rain fell.", "model": "minilm" })] {
        assert_eq!(probe(&server, "alpha", "embed", named), format!("384 384 {tokens}"));
    }
    assert_eq!(used(&server, "alpha").0 - before, 2 * tokens.as_u64().expect("a number"));
    for (named, expected) in [
        (json!({ "text": "a" }), "Absent(\"the tenant has no embedding model\")"),
        (json!({ "text": "a", "model": "minilm" }), "Absent(\"there is no model"),
    ] {
        let text = probe(&server, "beta", "embed", named);
        assert!(text.contains(expected), "{text}");
    }
    let chat_model = probe(&server, "alpha", "embed", json!({ "text": "a", "model": "ember" }));
    assert!(chat_model.contains("Absent(\"model \\\"ember\\\" makes no embeddings\")"), "{chat_model}");
}
