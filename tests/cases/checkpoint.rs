//! The chat template and the generation config of a checkpoint apply. Names of files and folders have no effect.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::harness::server::{Server, tenant};
use crate::harness::{Firebox, firebox, model_copy};

/// A copy of the built-in model with another chat template.
fn templated(name: &str, template: &str) -> PathBuf {
    let dir = model_copy(name);
    std::fs::write(dir.join("chat_template.jinja"), template).expect("writable");
    dir
}

fn edit(path: &Path, change: impl FnOnce(&mut Value)) {
    let mut value = serde_json::from_slice(&std::fs::read(path).expect("readable")).expect("JSON");
    change(&mut value);
    std::fs::write(path, value.to_string()).expect("writable");
}

/// The output of `firebox run --json --model` with these arguments.
fn run(model: &Path, args: &[&str]) -> Value {
    let fixed = ["run", "--json", "--model"].map(str::to_owned).into_iter().chain([model.display().to_string()]);
    let args: Vec<String> = fixed.chain(args.iter().map(|arg| (*arg).to_owned())).collect();
    Firebox::new(args).env("FIREBOX_DEVICE", "cpu").run().expect_code(0).json()
}

/// Each byte is a token of the built-in model, so the length of a prompt shows what the template wrote.
#[test]
fn f5_the_checkpoints_own_template_writes_the_prompt() {
    let rows = [
        ("{% for m in messages %}{{ m.content }}{% endfor %}", "hello".len()),
        ("{% for m in messages %}[[{{ m.role }}]] {{ m.content }}{% endfor %}", "[[user]] hello".len()),
        // Control tokens of other model families are plain text.
        (
            "[INST] {{ messages[0].content }} [/INST]<|start_header_id|>",
            "[INST] hello [/INST]<|start_header_id|>".len(),
        ),
    ];
    for (number, (template, tokens)) in rows.into_iter().enumerate() {
        let model = templated(&format!("template-{number}"), template);
        let json = run(&model, &["--max-tokens", "1", "hello"]);
        assert_eq!(json["usage"]["prompt_tokens"], tokens, "{template}");
    }
}

#[test]
fn f5_nothing_is_guessed_from_names_arguments_or_folders() {
    const QUESTION: &[&str] = &["--plugin", "calculator", "What is 1234 * 87?"];
    let plain = run(&model_copy("plain"), QUESTION);
    assert!(plain["text"].as_str().expect("text").contains("107358"), "{plain}");
    let named = model_copy("Meta-Llama-3.1-8B-Instruct-GGUF");
    edit(&named.join("config.json"), |config| {
        config["_name_or_path"] = json!("mistralai/Mistral-7B-Instruct-v0.3");
    });
    edit(&named.join("tokenizer_config.json"), |config| config["name_or_path"] = json!("google/gemma-2-9b-it"));
    let folder = tempfile::Builder::new().prefix("Qwen2-7B-Instruct").tempdir().expect("temporary directory");
    let args = ["run", "--json", "--model", &named.display().to_string(), "--stop", "mistral"].map(str::to_owned);
    let misled = Firebox::new(args.into_iter().chain(QUESTION.iter().map(|arg| (*arg).to_owned())));
    let misled = misled.current_dir(folder.path()).env("FIREBOX_DEVICE", "cpu");
    let misled = misled.env("MODEL_REPO", "meta-llama/Meta-Llama-3-8B").env("MODEL", "phi-3").env("HF_MODEL", "gemma");
    let misled = misled.run().expect_code(0).json();
    for field in ["text", "finish_reason", "usage"] {
        assert_eq!(misled[field], plain[field], "{field}");
    }
    assert_eq!(misled["tool_calls"][0]["result"], plain["tool_calls"][0]["result"]);
}

#[test]
fn f5_a_checkpoint_without_a_template_is_reported_and_none_is_guessed() {
    // The name of the folder is that of a family with a well-known template.
    let model = model_copy("Qwen3-0.6B");
    std::fs::remove_file(model.join("chat_template.jinja")).expect("was there");
    let path = model.display().to_string();
    let refused = firebox(&["run", "--model", &path, "hi"]).expect_code(2);
    assert!(refused.stderr.contains("chat template") && refused.stderr.contains("chat_template.jinja"), "{refused:?}");
    let bare = run(&model, &["--raw", "--max-tokens", "1", "hi"]);
    assert_eq!(bare["usage"]["prompt_tokens"], 2, "bare text needs none");
    // The template may also be in the older file.
    edit(&model.join("tokenizer_config.json"), |config| config["chat_template"] = json!("<{{ messages[0].content }}>"));
    assert_eq!(run(&model, &["--max-tokens", "1", "hi"])["usage"]["prompt_tokens"], 4);
}

/// A copy of the built-in model with this generation config.
fn configured(name: &str, config: Value) -> PathBuf {
    let dir = model_copy(name);
    std::fs::write(dir.join("generation_config.json"), config.to_string()).expect("writable");
    dir
}

/// The completion of a bare text, long enough that two random completions differ.
fn completion(model: &Path, more: &[&str]) -> String {
    let args = [&["--raw", "--seed", "1"], more, &["The letter"]].concat();
    run(model, &args)["text"].as_str().expect("text").to_owned()
}

#[test]
fn f19_each_value_of_the_generation_config_changes_the_text_and_the_request_wins() {
    let greedy = completion(&configured("generation-greedy", json!({"eos_token_id": 258})), &["--max-tokens", "40"]);
    assert!(greedy.len() >= 10, "{greedy}");
    // `(generation config, whether it gives the greedy text, option, whether the option gives the greedy text)`.
    let rows = [
        (json!({"do_sample": true, "temperature": 5.0}), false, ["--temperature", "0"], true),
        (json!({"do_sample": true, "temperature": 5.0, "top_k": 1}), true, ["--top-k", "0"], false),
        (json!({"do_sample": true, "temperature": 5.0, "top_p": 1e-6}), true, ["--top-p", "1"], false),
        (json!({"do_sample": true, "temperature": 5.0, "min_p": 1.0}), true, ["--min-p", "0"], false),
        (json!({"repetition_penalty": 50.0}), false, ["--repetition-penalty", "1"], true),
        // As in transformers, sampling is off by default.
        (json!({"temperature": 5.0}), true, ["--temperature", "5"], false),
    ];
    for (number, (mut file, alone, option, overruled)) in rows.into_iter().enumerate() {
        file["eos_token_id"] = json!(258);
        let model = configured(&format!("generation-{number}"), file.clone());
        let base = ["--max-tokens", "40"];
        assert_eq!(completion(&model, &base) == greedy, alone, "{file}");
        assert_eq!(completion(&model, &[&base[..], &option].concat()) == greedy, overruled, "{file} {option:?}");
    }
}

#[test]
fn f19_length_and_end_tokens_of_the_generation_config_apply() {
    let model = configured("generation-length", json!({"max_new_tokens": 3, "eos_token_id": 258}));
    for (more, tokens) in [(&[][..], 3), (&["--max-tokens", "5"][..], 5)] {
        let json = run(&model, &[&["--raw"], more, &["The letter"]].concat());
        assert_eq!((&json["usage"]["completion_tokens"], &json["finish_reason"]), (&json!(tokens), &json!("length")));
    }
    // Sampled with a fixed seed, because the greedy completion of a bare text may repeat one byte.
    let drawn = ["--max-tokens", "40", "--temperature", "1"];
    let whole = completion(&configured("generation-whole", json!({"eos_token_id": 258})), &drawn);
    // A byte that occurs early in the completion, and its token.
    let soon = whole.char_indices().skip(3).find(|(at, c)| c.is_ascii_graphic() && !whole[..*at].contains(*c));
    let (before, byte) = soon.map(|(at, c)| (&whole[..at], c.to_string())).expect("more than three letters");
    let tokenizer: Value =
        serde_json::from_slice(&std::fs::read(model.join("tokenizer.json")).expect("readable")).expect("JSON");
    let token = &tokenizer["model"]["vocab"][&byte];
    assert!(token.is_u64(), "\"{byte}\" of {whole}");
    let ending = configured("generation-end", json!({"eos_token_id": [258, token]}));
    let json = run(&ending, &[&["--raw", "--seed", "1"], &drawn[..], &["The letter"]].concat());
    assert_eq!(json["finish_reason"], "stop", "{json}");
    assert_eq!(json["text"], before, "{whole}");
}

#[test]
fn f19_over_http_the_defaults_of_the_model_apply_unless_the_request_sets_a_value() {
    let hot = configured("generation-hot", json!({"do_sample": true, "temperature": 5.0, "eos_token_id": 258}));
    let cold = configured("generation-cold", json!({"eos_token_id": 258, "max_new_tokens": 7}));
    let model = |name: &str, path: &Path| {
        format!("[[model]]\nname = \"{name}\"\npath = \"{}\"\ndevice = \"cpu\"\n", path.display())
    };
    let tenants = format!("{}{}", tenant("alpha", ""), tenant("small", "[tenant.limits]\ncontext_tokens_max = 64"));
    let server = Server::start(&format!("{}{}{tenants}", model("hot", &hot), model("cold", &cold)));
    let ask_as = |name: &str, model: &str, more: Value| {
        let mut body = json!({"model": model, "prompt": "The letter", "seed": 1});
        for (field, value) in more.as_object().expect("an object") {
            body[field] = value.clone();
        }
        let done = server.post("/v1/completions", name, &body).json();
        (done["choices"][0]["text"].as_str().unwrap_or_else(|| panic!("{done}")).to_owned(), done)
    };
    let ask = |model: &str, more: Value| ask_as("alpha", model, more);
    let (short, _) = ask("cold", json!({}));
    // A limit of the tenant can shorten the answer and never lengthen it.
    for name in ["alpha", "small"] {
        let (text, done) = ask_as(name, "cold", json!({}));
        let ended = (&done["usage"]["completion_tokens"], &done["choices"][0]["finish_reason"]);
        assert_eq!((text, ended), (short.clone(), (&json!(7), &json!("length"))), "{name}");
    }
    let (greedy, _) = ask("cold", json!({"max_tokens": 40}));
    assert!(greedy.starts_with(&short) && greedy.len() > short.len(), "{greedy}");
    let (drawn, _) = ask("hot", json!({"max_tokens": 40}));
    assert_ne!(drawn, greedy);
    assert_eq!(ask("hot", json!({"max_tokens": 40, "temperature": 0})).0, greedy);
}
