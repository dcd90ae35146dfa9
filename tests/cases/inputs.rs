//! Input on the command line and over HTTP: text is never filtered, and input above a limit gives a typed error.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::harness::server::{PLUGINS, Server, key, tenant};
use crate::harness::{Firebox, model_copy};

/// Harmless texts that filters for "suspicious" words reject.
const STRANGE: &[&str] = &[
    "function(x) { return {{x}}; } }} ?> <?php echo 1; ?> {% raw %}",
    "rm -rf / --no-preserve-root; :(){ :|:& };: $(reboot) `id`",
    "SELECT * FROM users WHERE '1'='1'; DROP TABLE users; -- ",
    "select * from users union all select 1; drop table users",
    "<script>alert(1)</script> ../../etc/passwd %00 eval(base64_decode('aGk='))",
];

/// A copy of the built-in model whose template writes only the message. Each byte is a token, so the length of the prompt shows
/// whether text was added, removed or replaced.
fn bare_model(name: &str) -> PathBuf {
    let dir = model_copy(name);
    std::fs::write(dir.join("chat_template.jinja"), "{% for m in messages %}{{ m.content }}{% endfor %}").expect("ok");
    dir
}

#[test]
fn f14_no_text_is_filtered_on_the_command_line() {
    let model = bare_model("inputs-run").display().to_string();
    for text in STRANGE {
        for raw in [&[][..], &["--raw"]] {
            let args = ["run", "--json", "--device", "cpu", "--max-tokens", "1", "--model", &model, "-"];
            let json = Firebox::new(args.iter().chain(raw)).input(*text).run().expect_code(0).json();
            assert_eq!(json["usage"]["prompt_tokens"], text.len(), "{text}");
        }
    }
}

#[test]
fn f14_no_text_is_filtered_over_http() {
    let path = bare_model("inputs-serve");
    let model = format!("[[model]]\nname = \"bare\"\npath = \"{}\"\ndevice = \"cpu\"\n", path.display());
    let server = Server::start(&format!("{model}{}", tenant("alpha", PLUGINS)));
    for text in STRANGE {
        let message = json!({"role": "user", "content": text});
        let chat = json!({"model": "bare", "max_tokens": 1, "messages": [message]});
        let bare = json!({"model": "bare", "max_tokens": 1, "prompt": text});
        for (path, body) in [("/v1/chat/completions", chat), ("/v1/completions", bare)] {
            let done = server.post(path, "alpha", &body).json();
            assert_eq!(done["usage"]["prompt_tokens"], text.len(), "{path} {text}: {done}");
        }
        let session = server.post("/v1/sessions", "alpha", &json!({"model": "bare", "title": text})).json();
        let path = format!("/v1/sessions/{}", session["id"].as_str().unwrap_or_else(|| panic!("{session}")));
        server.post(&format!("{path}/messages"), "alpha", &json!({"messages": [message]}));
        let kept = server.get(&path, "alpha").json();
        assert_eq!((&kept["title"], &kept["messages"][0]["content"]), (&json!(text), &json!(text)));
    }
}

/// The model copies the result of a tool into its answer, so the answer shows whether the result was filtered.
#[test]
fn f14_no_answer_is_filtered() {
    let server = Server::start(&format!("[[model]]\nname = \"ember\"\ndevice = \"cpu\"\n{}", tenant("alpha", PLUGINS)));
    for text in ["rm -rf tmp", "drop table users", "select all from users"] {
        let ask = format!("make \"{text}\" upper case");
        let body = json!({"model": "ember", "temperature": 0, "messages": [{"role": "user", "content": ask}]});
        for stream in [false, true] {
            let mut body = body.clone();
            body["stream"] = json!(stream);
            let answer = server.post("/v1/chat/completions", "alpha", &body).body;
            let said = if stream {
                crate::harness::server::text_of(&crate::harness::server::events(&answer))
            } else {
                let done: Value = serde_json::from_str(&answer).expect("JSON");
                done["choices"][0]["message"]["content"].as_str().expect("text").to_owned()
            };
            assert!(said.contains(&text.to_uppercase()), "{said}");
        }
        let run = Firebox::new(["run", "--device", "cpu", &ask]).run().expect_code(0);
        assert!(run.stdout.contains(&text.to_uppercase()), "{}", run.stdout);
    }
}

fn chat(extra: Value) -> Value {
    let mut body = json!({"model": "ember", "max_tokens": 1, "messages": [{"role": "user", "content": "hi"}]});
    for (field, value) in extra.as_object().expect("an object") {
        body[field] = value.clone();
    }
    body
}

fn tool(name: &str, schema: Value) -> Value {
    json!({"type": "function", "function": {"name": name, "parameters": schema}})
}

/// The values are those in `specifications/reference/limits.md`.
#[test]
fn f14_every_limit_of_a_request_is_a_typed_error_over_http() {
    let server = "[server]\nbody_bytes_max = \"20MiB\"\n[[model]]\nname = \"ember\"\ndevice = \"cpu\"\n";
    let server = Server::start(&format!("{server}{}", tenant("alpha", "")));
    let user = |text: String| json!({"role": "user", "content": text});
    let long_call = json!({"role": "assistant", "tool_calls": [{"id": "c", "type": "function", "function":
        {"name": "f", "arguments": format!("{{\"x\": \"{}\"}}", "y".repeat(8 << 20))}}]});
    let stops: Vec<String> = (0..21).map(|number| format!("stop {number}")).collect();
    let biases: serde_json::Map<String, Value> = (0..1_025).map(|token| (token.to_string(), json!(1))).collect();
    let tools: Vec<Value> = (0..257).map(|number| tool(&format!("t{number}"), json!({}))).collect();
    let rules: Vec<String> = (0..257).map(|number| format!("rule{number}")).collect();
    let schema = json!({"type": "object", "description": "x".repeat(64 << 10)});
    let rows: Vec<(Value, &str, Option<&str>)> = vec![
        (json!({"messages": vec![user("x".to_owned()); 1_025]}), "invalid_request", Some("messages")),
        (json!({"messages": [user("x".repeat((8 << 20) + 1))]}), "too_large", None),
        (json!({"messages": [user("x".to_owned()), long_call]}), "too_large", None),
        (json!({"messages": [user("word ".repeat(2_000))]}), "too_large", None),
        (json!({"stop": stops}), "invalid_request", Some("stop")),
        (json!({"stop": ["x".repeat(401)]}), "invalid_request", Some("stop")),
        (json!({"max_tokens": 0}), "invalid_request", Some("max_tokens")),
        (json!({"temperature": 5.5}), "invalid_request", Some("temperature")),
        (json!({"logit_bias": biases}), "invalid_request", Some("logit_bias")),
        (json!({"tools": tools}), "invalid_request", Some("tools")),
        (json!({"tools": [tool(&"n".repeat(129), json!({}))]}), "invalid_request", Some("tools[0].function.name")),
        (json!({"tools": [tool("f", schema)]}), "invalid_request", None),
        (json!({"firebox": {"tools": {"deny": rules}}}), "invalid_request", Some("firebox.tools")),
    ];
    for (extra, code, param) in rows {
        let shown: String = extra.to_string().chars().take(80).collect();
        let refused = server.post("/v1/chat/completions", "alpha", &chat(extra));
        assert_eq!((refused.status, refused.code().as_str()), (400, code), "{shown}: {}", refused.body);
        if let Some(param) = param {
            assert_eq!(refused.json()["error"]["param"], param, "{shown}: {}", refused.body);
        }
    }
    let body = vec![b' '; (20 << 20) + 1];
    let refused = server.ask("POST", "/v1/chat/completions", Some(&key("alpha")), &body);
    assert_eq!((refused.status, refused.code().as_str()), (413, "too_large"), "{}", refused.body);
    let title = json!({"model": "ember", "title": "x".repeat(257)});
    let refused = server.post("/v1/sessions", "alpha", &title);
    assert_eq!((refused.status, refused.code().as_str()), (400, "invalid_request"), "{}", refused.body);
    assert_eq!(server.post("/v1/chat/completions", "alpha", &chat(json!({}))).status, 200, "and it still answers");
}

#[test]
fn f14_every_limit_of_a_request_is_a_typed_error_on_the_command_line() {
    let many: Vec<String> = (0..21).flat_map(|number| ["--stop".to_owned(), format!("stop {number}")]).collect();
    let rows: [(Vec<String>, &str, i32, &str); 5] = [
        (Vec::new(), &"x".repeat((8 << 20) + 1), 4, "8388608 bytes"),
        (many, "hi", 2, "21 stop strings"),
        (vec!["--stop".to_owned(), "x".repeat(401)], "hi", 2, "400 bytes"),
        (vec!["--max-tokens".to_owned(), "0".to_owned()], "hi", 2, "max tokens"),
        (vec!["--temperature".to_owned(), "5.5".to_owned()], "hi", 2, "between 0 and 5"),
    ];
    for (args, input, code, words) in rows {
        let fixed = ["run", "--device", "cpu", "-"].map(str::to_owned);
        let run = Firebox::new(fixed.into_iter().chain(args)).input(input).run().expect_code(code);
        assert!(run.stderr.contains(words), "{words}: {}", run.stderr);
    }
}
