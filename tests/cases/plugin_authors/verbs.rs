//! The verbs that read, check, call and measure a plugin that is there.

use std::path::PathBuf;

use serde_json::Value;

use crate::harness::{Firebox, firebox, root, scratch};

fn prebuilt(name: &str) -> String {
    root().join(format!("plugins/prebuilt/{name}.wasm")).display().to_string()
}

/// An empty folder for one test.
fn fresh(name: &str) -> PathBuf {
    let path = scratch(name);
    std::fs::remove_dir_all(&path).expect("removable");
    std::fs::create_dir_all(&path).expect("made");
    path
}

#[test]
fn the_built_in_plugins_are_listed_with_their_stages() {
    let table = firebox(&["plugins", "list"]).expect_code(0).stdout;
    assert!(table.contains("redact") && table.contains("prompt, text") && table.contains("built-in"), "{table}");
    let json = firebox(&["plugins", "list", "--json"]).expect_code(0).json();
    let names: Vec<&str> =
        json["plugins"].as_array().expect("rows").iter().filter_map(|row| row["name"].as_str()).collect();
    assert!(["calculator", "text-tools", "units", "redact"].iter().all(|name| names.contains(name)), "{names:?}");
}

#[test]
fn inspect_shows_stages_imports_tools_and_the_digest() {
    let text = firebox(&["plugins", "inspect", &prebuilt("calculator")]).expect_code(0).stdout;
    for word in
        ["stages        tool", "import        firebox:plugin/log@0.1.0", "tool          calculator", "core instances"]
    {
        assert!(text.contains(word), "{word}: {text}");
    }
    let json = firebox(&["plugins", "inspect", "redact", "--json"]).expect_code(0).json();
    let sums = std::fs::read_to_string(root().join("plugins/prebuilt/SHA256SUMS")).expect("readable");
    let digest = json["sha256"].as_str().expect("a digest");
    assert!(sums.lines().any(|line| line == format!("{digest}  redact.wasm")), "{digest}: {sums}");
    assert_eq!(json["stages"], serde_json::json!(["prompt", "text"]));
}

#[test]
fn check_reports_every_problem_and_its_exit_code_is_for_scripts() {
    let good = firebox(&["plugins", "check", &prebuilt("redact"), "--json"]).expect_code(0).json();
    assert_eq!(good["ok"], true, "{good}");
    let dir = fresh("plugin-check");
    // Two imports of the type of an empty instance, in the binary format.
    let mut bytes = b"\0asm\x0d\0\x01\0\x07\x03\x01\x42\0".to_vec();
    let names = ["wasi:messaging/types@0.2.0", "evil:thing/api"];
    let mut imports = vec![2_u8];
    for name in names {
        imports.extend([0x00, u8::try_from(name.len()).expect("short")]);
        imports.extend(name.as_bytes());
        imports.extend([0x05, 0x00]);
    }
    bytes.extend([0x0a, u8::try_from(imports.len()).expect("short")]);
    bytes.extend(imports);
    let path = dir.join("bad.wasm");
    std::fs::write(&path, bytes).expect("written");
    let run = firebox(&["plugins", "check", &path.display().to_string(), "--json"]).expect_code(5);
    let failed: Vec<String> = run.json()["checks"]
        .as_array()
        .expect("checks")
        .iter()
        .filter(|row| row["ok"] == false)
        .map(Value::to_string)
        .collect();
    assert_eq!(failed.len(), 2, "imports and stages: {failed:?}");
    assert!(failed[0].contains("wasi:messaging/types@0.2.0, evil:thing/api"), "{failed:?}");
    assert!(failed[1].contains("it exports nothing"), "{failed:?}");
    assert!(run.stderr.contains("fails 2 checks"), "{}", run.stderr);
}

#[test]
fn check_compares_the_manifest_with_the_component_and_the_grants() {
    let dir = fresh("plugin-check-manifest");
    std::fs::copy(prebuilt("calculator"), dir.join("calculator.wasm")).expect("copied");
    let head = "id = \"calculator\"\nversion = \"0.1.0\"\n";
    for (more, code, word) in [
        ("stages = [\"tool\"]\n", 0, "asks for nothing"),
        ("stages = [\"text\"]\n", 5, "plugin.toml lists text"),
        ("capabilities = [\"clock\"]\n", 5, "--grant \"clock\""),
        ("[limits]\nfuel = 10\n", 5, "fuel"),
    ] {
        std::fs::write(dir.join("plugin.toml"), format!("{head}{more}")).expect("written");
        let run = firebox(&["plugins", "check", &dir.display().to_string()]).expect_code(code);
        assert!(run.stdout.contains(word), "{more}: {}", run.stdout);
    }
    let folder = dir.display().to_string();
    std::fs::write(dir.join("plugin.toml"), format!("{head}capabilities = [\"clock\"]\n")).expect("written");
    let granted = firebox(&["plugins", "check", &folder, "--grant", "clock"]).expect_code(0).stdout;
    assert!(granted.contains("clock: granted"), "{granted}");
}

#[test]
fn a_folder_that_is_no_plugin_or_is_not_built_says_what_to_do() {
    let dir = fresh("plugin-empty");
    let run = Firebox::new(["plugins", "check"]).current_dir(&dir).run().expect_code(2);
    assert!(run.stderr.contains("there is no plugin.toml"), "{}", run.stderr);
    std::fs::write(dir.join("plugin.toml"), "id = \"shout\"\nversion = \"0.1.0\"\n").expect("written");
    let run = Firebox::new(["plugins", "inspect"]).current_dir(&dir).run().expect_code(2);
    assert!(run.stderr.contains("is not built") && run.stderr.contains("shout.wasm"), "{}", run.stderr);
}

#[test]
fn a_tool_is_called_by_itself() {
    let call = |arguments: &'static str| ["plugins", "call", "tool", "calculator", arguments, "--plugin", "calculator"];
    let run = firebox(&call(r#"{"expression": "6 * 7"}"#)).expect_code(0);
    assert_eq!(run.stdout, "42\n");
    let error = firebox(&call(r#"{"expression": "1 / 0"}"#)).expect_code(5);
    assert_eq!(error.stdout, "error: division by zero\n");
    for (arguments, word) in [("{\"x\": 1}", "do not fit"), ("[]", "object"), ("{", "do not fit")] {
        let run = firebox(&call(arguments)).expect_code(2);
        assert!(run.stderr.contains(word), "{arguments}: {}", run.stderr);
    }
    let unknown = firebox(&["plugins", "call", "tool", "nothing", "--plugin", "text-tools"]).expect_code(2);
    assert!(unknown.stderr.contains("count_letter"), "{}", unknown.stderr);
    let mut json = call(r#"{"expression": "6 * 7"}"#).to_vec();
    json.push("--json");
    let shown = firebox(&json).expect_code(0).json();
    assert_eq!(shown["content"], "42");
    assert!(
        shown["plugins"]
            .as_array()
            .expect("uses")
            .iter()
            .any(|row| row["stage"] == "tool" && row["fuel"].as_u64() > Some(0)),
        "{shown}"
    );
    let starved = firebox(&[&call(r#"{"expression": "2 ^ 60000 % 7919"}"#)[..], &["--fuel", "100000"]].concat());
    assert!(starved.expect_code(5).stderr.contains("fuel"));
}

#[test]
fn the_prompt_stage_is_called_by_itself() {
    let prompt = ["plugins", "call", "prompt", "write to ada@example.com", "--plugin", "redact"];
    let run = firebox(&prompt).expect_code(0);
    assert_eq!(run.stdout, "replace\n  user: write to [EMAIL_1]\n");
    let plain = firebox(&["plugins", "call", "prompt", "hello", "--plugin", "redact", "--json"]).expect_code(0);
    assert_eq!(plain.json()["verdict"], "unchanged");
    let none = firebox(&["plugins", "call", "prompt", "hello", "--plugin", "units"]).expect_code(2);
    assert!(none.stderr.contains("no prompt stage") && none.stderr.contains("tool"), "{}", none.stderr);
}

#[test]
fn the_text_stage_is_called_with_chunks_of_arguments_or_of_standard_input() {
    let text = ["plugins", "call", "text", "--plugin", "redact", "--plugin-config", r#"{"post": true}"#, "--json"];
    let mut chunks = text.to_vec();
    chunks.extend(["mail a", "da@example", ".com now"]);
    let json = firebox(&chunks).expect_code(0).json();
    let shown = json["text"].as_str().expect("text");
    assert!(!shown.contains("ada@example.com") && shown.starts_with("mail"), "{json}");
    assert_eq!(json["steps"].as_array().map(Vec::len), Some(3), "{json}");
    let piped = Firebox::new(text).input("one\ntwo\n").run().expect_code(0).json();
    assert_eq!((&piped["text"], piped["steps"].as_array().map(Vec::len)), (&Value::from("one\ntwo\n"), Some(2)));
    let bad = Firebox::new(text).input(b"\xff\n".to_vec()).run().expect_code(2);
    assert!(bad.stderr.contains("UTF-8"), "{}", bad.stderr);
}

#[test]
fn bench_measures_the_start_and_each_stage() {
    let tool =
        ["plugins", "bench", "calculator", "--seconds", "1", "--json", "--tool", r#"calculator={"expression": "1+1"}"#];
    let json = firebox(&tool).expect_code(0).json();
    let stages = json["stages"].as_array().expect("stages");
    for stage in ["init", "tool"] {
        let row = stages.iter().find(|row| row["stage"] == stage).expect(stage);
        assert!(row["calls"].as_u64() > Some(10) && row["fuel"].as_u64() > Some(0), "{row}");
        assert!(row["p50_us"].as_f64() > Some(0.0) && row["p99_us"].as_f64() >= row["p50_us"].as_f64(), "{row}");
    }
    let table = firebox(&["plugins", "bench", "redact", "--seconds", "1"]).expect_code(0).stdout;
    assert!(["start", "prompt", "text"].iter().all(|stage| table.contains(stage)), "{table}");
    let nothing = firebox(&["plugins", "bench", "units", "--seconds", "1"]).expect_code(2);
    assert!(nothing.stderr.contains("--tool"), "{}", nothing.stderr);
}

/// The fixture `scripted` answers as its configuration says.
#[test]
fn the_stages_of_tokens_calls_and_embeddings_are_called_by_themselves() {
    let scripted = prebuilt("scripted");
    let call = |stage: &[&str], config: &str| {
        let plugin = ["--plugin", &scripted, "--plugin-config", config];
        firebox(&[&["plugins", "call"], stage, &plugin].concat())
    };
    let rewritten = call(&["tool-call", "add", "{\"a\": 1}"], r#"{"before": "rewrite {\"a\": 2}"}"#).expect_code(0);
    assert_eq!(rewritten.json(), serde_json::json!({ "verdict": "rewrite", "arguments": "{\"a\": 2}" }));
    assert!(rewritten.stderr.contains("before add"), "its log is shown: {}", rewritten.stderr);
    let after = call(&["tool-call", "add", "--result", "3"], r#"{"after": "append !"}"#).expect_code(0).json();
    assert_eq!(after["result"], "3!");
    let texts = call(&["embedding", "a", "b"], r#"{"texts": "append ?"}"#).expect_code(0).json();
    assert_eq!(texts, serde_json::json!({ "texts": ["a?", "b?"] }));
    let vectors = call(&["embedding", "--vectors", "[[1, 2, 3, 4]]"], r#"{"vectors": "halve"}"#).expect_code(0).json();
    assert_eq!(vectors, serde_json::json!({ "vectors": [[1.0, 2.0]] }));
    assert!(call(&["embedding", "--vectors", "[[1]]"], r#"{"vectors": "nan"}"#).code == Some(5));
    let tokens = call(&["token", "1", "2"], "{}").expect_code(0).stdout;
    assert_eq!(tokens, "{\"action\":\"keep\"}\n".repeat(3), "once before the first token, and once after each");
    let bad = call(&["tool-call", "add", "[1]"], "{}").expect_code(2);
    assert!(bad.stderr.contains("not a JSON object"), "{}", bad.stderr);
}

#[test]
fn a_case_has_a_secret_that_goes_to_its_address_only() {
    let folder = crate::cases::plugins::probe::probe_folder(
        "secret = [\"key\"]\nhttp = [\"GET https://site.test/\", \"GET https://other.test/\"]",
    );
    let case = |name: &str, url: &str, expected: &str| {
        let header = "authorization: Bearer {secret}";
        let arguments = serde_json::json!({ "do": "http", "url": url, "secret": "key", "header": header });
        format!(
            "[[case]]\nname = \"{name}\"\nstage = \"tool\"\ntool = \"probe\"\narguments = '{arguments}'\n{expected}\n"
        )
    };
    let cases = [
        "[mock]\nsecret.key = { value = \"no-real-key\", for = \"https://site.test/\" }\n\
         [[mock.http]]\nrequest = \"GET https://site.test/\"\n\
         request_headers = { authorization = \"Bearer no-real-key\" }\nbody = \"right\"\n\
         [[mock.http]]\nrequest = \"GET https://site.test/back\"\nbody = \"it is no-real-key\"\n"
            .to_owned(),
        case("sent", "https://site.test/", "expect = \"200  5: right\""),
        case("sent back", "https://site.test/back", "fault = \"tool_error\""),
        case("elsewhere", "https://other.test/", "fault = \"tool_error\""),
    ];
    let path = fresh("secret-cases").join("cases.toml");
    std::fs::write(&path, cases.concat()).expect("written");
    let tested = firebox(&["plugins", "test", &folder, "--cases", &path.display().to_string()]).expect_code(0);
    assert!(tested.stdout.contains("3 of 3 cases passed"), "{}{}", tested.stdout, tested.stderr);
}

/// The cases of `http-fetch` with another content, in a file of their own.
fn fetch_cases(name: &str, change: impl Fn(String) -> String) -> Firebox {
    let cases = std::fs::read_to_string(root().join("plugins/http-fetch/cases.toml")).expect("readable");
    let path = fresh(name).join("cases.toml");
    std::fs::write(&path, change(cases)).expect("written");
    Firebox::new(["plugins", "test", "http-fetch", "--cases", &path.display().to_string()])
}

#[test]
fn cases_answer_http_requests_in_place_of_the_network() {
    let passed = fetch_cases("http-cases", |cases| cases).run();
    assert!(
        passed.code == Some(0) && passed.stdout.contains("9 of 9 cases passed"),
        "{}{}",
        passed.stdout,
        passed.stderr
    );
    let unexpected = fetch_cases("http-cases-none", |cases| {
        cases.replace("request = \"GET https://example.org/page\"", "request = \"GET https://example.org/other\"")
    });
    let failed = unexpected.run().expect_code(5).stdout;
    assert!(failed.contains("a request that no [[mock.http]] expects: GET https://example.org/page"), "{failed}");
    let headers =
        fetch_cases("http-cases-headers", |cases| cases.replace("user-agent = \"firebox\"", "user-agent = \"x\""));
    assert!(headers.run().expect_code(5).stdout.contains("no [[mock.http]] expects"));
    let times = fetch_cases("http-cases-times", |cases| cases.replace("times = 6", "times = 7"));
    assert!(times.run().expect_code(5).stdout.contains("6 times; [[mock.http]] expects it 7 times"));
    let typo = fetch_cases("http-cases-typo", |cases| cases.replace("fault = \"dns\"", "fault = \"gone\""));
    assert!(typo.run().expect_code(2).stderr.contains("there is no fault \"gone\"; use one of: dns, refused"));
}
