//! `firebox models` and models by name, from an imitation of a hub on this machine.

use std::path::PathBuf;

#[cfg(unix)]
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::devices::environment;
use crate::harness::hub::{COMMIT, FakeHub, HubFault};
#[cfg(unix)]
use crate::harness::server::{Server, tenant};
use crate::harness::{Firebox, Run, root};

/// A hub with SmolLM2 and the built-in model, and an empty cache.
struct ModelHub {
    hub: FakeHub,
    home: tempfile::TempDir,
}

const SMOLLM2: &str = "org/SmolLM2-GGUF";
const EMBER: &str = "org/ember";

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

impl ModelHub {
    fn new() -> Self {
        let hub = FakeHub::start();
        for entry in std::fs::read_dir(root().join("host/ember/model")).expect("readable") {
            let path = entry.expect("readable").path();
            let bytes = std::fs::read(&path).expect("readable");
            let tag = sha256(&bytes);
            hub.add(EMBER, path.file_name().and_then(|name| name.to_str()).expect("UTF-8"), bytes, &tag);
        }
        hub.add(EMBER, "README.md", *b"not a part of the model", &sha256(b"not a part of the model"));
        Self { hub, home: tempfile::tempdir().expect("a folder") }
    }

    /// With SmolLM2 in the quantization that the file has, and another file that is never downloaded.
    fn with_smollm2() -> Self {
        let hub = Self::new();
        let variables = environment("smollm2");
        let path = &variables.iter().find(|(name, _)| name == "FIREBOX_TEST_SMOLLM2").expect("the tool prints it").1;
        let bytes = std::fs::read(path).expect("readable");
        let tag = sha256(&bytes);
        hub.hub.add(SMOLLM2, "SmolLM2-135M-Instruct.Q4_1.gguf", bytes, &tag);
        hub.hub.add(SMOLLM2, "SmolLM2-135M-Instruct.Q8_0.gguf", *b"not a model", &sha256(b"not a model"));
        hub
    }

    fn firebox(&self, args: &[&str]) -> Firebox {
        Firebox::new(args)
            .env("HF_HOME", self.home.path())
            .env("HF_ENDPOINT", &self.hub.endpoint)
            .env("FIREBOX_DEVICE", "cpu")
            .current_dir(self.home.path())
    }

    fn run(&self, args: &[&str]) -> Run {
        self.firebox(args).run()
    }

    fn snapshot(&self, repo: &str) -> PathBuf {
        let folder = format!("hub/models--{}/snapshots/{COMMIT}", repo.replace('/', "--"));
        self.home.path().join(folder)
    }
}

#[test]
fn a_model_runs_by_its_name_and_then_without_a_network() {
    let hub = ModelHub::with_smollm2();
    hub.hub.fail("bytes/", HubFault::Short(30_000_000), 1);
    let args =
        ["run", "-m", SMOLLM2, "--no-tools", "--temperature", "0", "--max-tokens", "12", "Name three primary colors."];
    let run = hub.run(&args).expect_code(0);
    assert!(run.stdout.starts_with("The primary colors are:"), "{}", run.stdout);
    assert!(
        run.stderr.contains("downloading org/SmolLM2-GGUF") && run.stderr.contains("trying again"),
        "{}",
        run.stderr
    );
    assert!(!hub.snapshot(SMOLLM2).join("SmolLM2-135M-Instruct.Q8_0.gguf").exists());
    let requests = hub.hub.requests().len();
    let again = hub.run(&[&args[..], &["--offline"]].concat()).expect_code(0);
    assert_eq!((again.stdout, hub.hub.requests().len()), (run.stdout, requests));
    let json = hub.run(&["models", "inspect", SMOLLM2, "--json", "--context", "2048"]).expect_code(0).json();
    assert_eq!((&json["architecture"], &json["format"]), (&"LlamaForCausalLM".into(), &"GGUF".into()), "{json}");
    assert_eq!((&json["context_tokens"], &json["tokenizer"]["tokens"]), (&8192.into(), &49_152.into()), "{json}");
    assert_eq!(json["types"][0]["type"], "Q4_1");
    let parameters = json["parameters"].as_u64().expect("a number");
    assert!((134_000_000..136_000_000).contains(&parameters), "{parameters}");
    let memory = json["memory"]["bytes"].as_u64().expect("a number");
    assert_eq!(
        memory,
        json["weights_bytes"].as_u64().expect("a number")
            + 2048 * json["cache_token_bytes"].as_u64().expect("a number")
    );
    let shown = hub.run(&["models", "inspect", SMOLLM2]).expect_code(0).stdout;
    assert!(shown.contains("Q4_1") && shown.contains("134.5 M") && shown.contains("KV cache"), "{shown}");
}

#[test]
fn models_are_pulled_listed_verified_and_removed() {
    let hub = ModelHub::new();
    let empty = hub.run(&["models", "list"]).expect_code(0);
    assert!(empty.stdout.is_empty() && empty.stderr.contains("is empty"), "{}", empty.stderr);
    let nothing = hub.run(&["models", "verify"]).expect_code(0);
    assert!(nothing.stdout.is_empty() && nothing.stderr.contains("is empty"), "{}", nothing.stderr);
    let pulled = hub.run(&["models", "pull", EMBER]).expect_code(0);
    assert_eq!(pulled.stdout.trim_end(), hub.snapshot(EMBER).display().to_string());
    assert!(
        pulled.stderr.contains("downloaded") && !hub.snapshot(EMBER).join("README.md").exists(),
        "{}",
        pulled.stderr
    );
    assert!(hub.run(&["models", "pull", EMBER]).expect_code(0).stderr.contains("up to date"));
    let listed = hub.run(&["models", "list"]).expect_code(0).stdout;
    assert!(listed.starts_with("MODEL") && listed.contains("org/ember:safetensors"), "{listed}");
    let json = hub.run(&["models", "list", "--json"]).expect_code(0).json();
    assert_eq!((&json["complete"], &json["commit"]), (&true.into(), &COMMIT.into()), "{json}");
    assert_eq!(hub.run(&["run", "-m", EMBER, "2 + 2?"]).expect_code(0).stdout.lines().count(), 1);
    let good = hub.run(&["models", "verify"]).expect_code(0);
    assert!(good.stdout.contains("org/ember:safetensors: OK"), "{}", good.stdout);
    let weights = std::fs::canonicalize(hub.snapshot(EMBER).join("model.safetensors")).expect("there");
    let mut bytes = std::fs::read(&weights).expect("readable");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&weights, bytes).expect("writable");
    let damaged = hub.run(&["models", "verify", EMBER]).expect_code(3);
    assert!(
        damaged.stdout.contains("DAMAGED") && damaged.stderr.contains("firebox models remove"),
        "{}",
        damaged.stderr
    );
    hub.run(&["models", "remove", "org/ember:safetensors"]).expect_code(0);
    assert!(!weights.exists());
    let gone = hub.run(&["models", "remove", EMBER]).expect_code(2);
    assert!(gone.stderr.contains("not in the model cache"), "{}", gone.stderr);
}

#[test]
fn the_cache_is_kept_below_a_size() {
    let hub = ModelHub::new();
    hub.hub.add("org/small", "s-Q4_0.gguf", *b"12345", &sha256(b"12345"));
    for name in ["org/small", EMBER] {
        hub.run(&["models", "pull", name]).expect_code(0);
    }
    let shrunk = hub.run(&["models", "cache", "--max", "1kB", "--json"]).expect_code(0);
    let json = shrunk.json();
    assert_eq!((&json["models"], &json["bytes"]), (&0.into(), &0.into()), "{json}");
    assert_eq!(json["removed"].as_array().map(Vec::len), Some(2));
    // The limit holds after a download too: the older model makes room for the new one.
    hub.run(&["models", "pull", EMBER]).expect_code(0);
    let bytes = hub.run(&["models", "cache", "--json"]).expect_code(0).json()["bytes"].as_u64().expect("a number");
    hub.run(&["models", "pull", "org/small", "--cache-max", &format!("{}B", bytes + 2)]).expect_code(0);
    let json = hub.run(&["models", "cache", "--json"]).expect_code(0).json();
    assert_eq!((&json["models"], &json["bytes"]), (&1.into(), &5.into()), "{json}");
    let blob = std::fs::canonicalize(hub.snapshot("org/small").join("s-Q4_0.gguf")).expect("there");
    let used = std::fs::File::open(blob).expect("readable");
    used.lock_shared().expect("as a process does that uses it");
    let kept = hub.run(&["models", "cache", "--max", "0B"]).expect_code(3);
    assert!(kept.stderr.contains("org/small:Q4_0 stays, because a process uses it"), "{}", kept.stderr);
    hub.run(&["models", "remove", "org/small"]).expect_code(3);
    for bad in ["50", "many", "-1GB"] {
        hub.run(&["models", "cache", &format!("--max={bad}")]).expect_code(2);
    }
}

#[test]
fn errors_name_both_readings_of_a_name_and_a_remedy() {
    let hub = ModelHub::new();
    let rows: &[(&[&str], i32, &[&str])] = &[
        (
            &["run", "-m", "org/none", "Hi"],
            2,
            &["no file or folder \"org/none\"", "no model \"org/none\"", "HF_ENDPOINT"],
        ),
        (&["run", "-m", "org/ember:Q4_0", "Hi"], 2, &["no file or folder", "no GGUF file"]),
        (&["run", "-m", "org/ember@v9", "Hi"], 2, &["no revision \"v9\""]),
        (&["run", "-m", "org/none", "--offline", "Hi"], 3, &["offline", "firebox models pull org/none"]),
        (&["run", "-m", "none", "Hi"], 3, &["\"none\" is missing", "org/name"]),
        (&["chat", "-m", "org/none", "--no-save"], 2, &["no model \"org/none\""]),
        (&["embed", "-m", "org/none", "--input", "a", "--output", "b.jsonl"], 2, &["cannot read \"a\""]),
        (&["models", "pull", "none"], 2, &["is not the name of a model", "org/name"]),
        (&["models", "pull", "../x/y"], 2, &["is not the name of a model"]),
        (&["models", "inspect", "org/none"], 2, &["not in the model cache", "firebox models pull"]),
        (&["models", "inspect", "/nowhere/m.gguf"], 3, &["/nowhere/m.gguf"]),
        (&["models", "verify", "org/none"], 2, &["not in the model cache"]),
    ];
    for (args, code, expected) in rows {
        let run = hub.run(args).expect_code(*code);
        for text in *expected {
            assert!(run.stderr.contains(text), "{args:?}: {} should contain {text}", run.stderr);
        }
    }
    let run = hub.firebox(&["models", "pull", EMBER]).env("HF_ENDPOINT", "nonsense").run().expect_code(2);
    assert!(run.stderr.contains("is not the address of a hub"), "{}", run.stderr);
    hub.hub.require("hf_secret");
    let run = hub.run(&["models", "pull", EMBER]).expect_code(4);
    assert!(run.stderr.contains("set HF_TOKEN"), "{}", run.stderr);
    hub.firebox(&["models", "pull", EMBER]).env("HF_TOKEN", "hf_secret").run().expect_code(0);
}

#[test]
fn a_path_that_exists_is_never_asked_for_at_the_hub() {
    let hub = ModelHub::new();
    let folder = hub.home.path().join("org/ember");
    std::fs::create_dir_all(&folder).expect("writable");
    for entry in std::fs::read_dir(root().join("host/ember/model")).expect("readable") {
        let path = entry.expect("readable").path();
        std::fs::copy(&path, folder.join(path.file_name().expect("a file"))).expect("copied");
    }
    hub.run(&["run", "-m", EMBER, "2 + 2?"]).expect_code(0);
    assert_eq!(hub.hub.requests().len(), 0);
}

#[test]
fn a_server_downloads_only_what_its_configuration_allows() {
    let hub = ModelHub::new();
    let config = hub.home.path().join("firebox.toml");
    let write = |allow: &str| {
        let text = format!("[[model]]\nname = \"m\"\npath = \"{EMBER}\"\n[hub]\n{allow}\n");
        std::fs::write(&config, text).expect("writable");
    };
    let check = |code: i32| hub.run(&["config", "check"]).expect_code(code).stderr;
    write("");
    let refused = check(2);
    assert!(refused.contains("no file or folder") && refused.contains("\"models\" in [hub]"), "{refused}");
    write("models = [\"other/*\"]");
    assert!(check(2).contains("add \"org/ember\" to it"));
    write("models = [\"org/*\"]");
    assert!(check(2).contains("\"endpoints\" in [hub]"));
    write(&format!("models = [\"org/*\"]\nendpoints = [\"{}\"]", hub.hub.endpoint));
    check(0);
    assert_eq!(hub.hub.requests().len(), 0, "a check asks nothing");
    write("");
    hub.run(&["models", "pull", EMBER]).expect_code(0);
    check(0);
}

#[cfg(unix)]
#[test]
fn a_server_downloads_serves_and_marks_a_model() {
    let hub = ModelHub::new();
    let (home, endpoint) = (hub.home.path().display(), &hub.hub.endpoint);
    let prelude = format!("export HF_HOME='{home}' HF_ENDPOINT='{endpoint}';");
    let config = format!(
        "[[model]]\nname = \"m\"\npath = \"{EMBER}\"\ndevice = \"cpu\"\n[hub]\nmodels = [\"org/*\"]\nendpoints = \
         [\"{endpoint}\"]\n{}",
        tenant("acme", "")
    );
    let server = Server::listening_under(tempfile::tempdir().expect("a folder"), &prelude, &config);
    server.wait_until("ready", |stderr| stderr.lines().any(|line| line == "firebox: ready"));
    assert!(server.log().contains("downloading org/ember"), "{}", server.log());
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "Hi!"}], "max_tokens": 4});
    assert_eq!(server.post("/v1/chat/completions", "acme", &body).status, 200);
    let kept = hub.run(&["models", "remove", EMBER]).expect_code(3);
    assert!(kept.stderr.contains("because a process uses it"), "{}", kept.stderr);
    drop(server);
    hub.run(&["models", "remove", EMBER]).expect_code(0);
}

#[test]
fn serve_refuses_a_name_that_its_configuration_does_not_allow() {
    let hub = ModelHub::new();
    let run = hub.run(&["serve", "-m", EMBER, "--listen", "127.0.0.1:0"]).expect_code(4);
    assert!(
        run.stderr.contains("\"models\" in [hub] allows") && run.stderr.contains("firebox models pull"),
        "{}",
        run.stderr
    );
    assert_eq!(hub.hub.requests().len(), 0);
}
