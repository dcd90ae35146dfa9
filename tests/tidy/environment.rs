//! The environment variables that the programs of this repository read. `specifications/reference/environment.md` is generated
//! from the tables below, and each variable that the code names is in one of them. `UPDATE=1` writes the page.

use std::fmt::Write as _;
use std::path::Path;

use super::{ROOT, files, read, report, sources};

const PAGE: &str = "specifications/reference/environment.md";

/// `(variable, default, meaning)`.
type Row = (&'static str, &'static str, &'static str);

/// What `firebox` itself reads.
const PROGRAM: &[Row] = &[
    ("FIREBOX_CONFIG", "`firebox.toml` in the current folder, if it exists", "The configuration file."),
    ("FIREBOX_DEVICE", "`auto`", "The device for models, as `--device`."),
    (
        "FIREBOX_CACHE",
        "`$XDG_CACHE_HOME/firebox`, `%LOCALAPPDATA%\\firebox\\cache` or `$HOME/.cache/firebox`",
        "The folder of compiled plugins, device tests, repacked and quantized weights, and the toolchains of plugin authors. Firebox can recreate its content.",
    ),
    (
        "FIREBOX_DATA",
        "`$XDG_DATA_HOME/firebox`, `%LOCALAPPDATA%\\firebox\\data` or `$HOME/.local/share/firebox`",
        "The folder of the sessions and the input history of `firebox chat`, and of installed plugins.",
    ),
    (
        "FIREBOX_TABLE__KEY",
        "the configuration file",
        "The key `KEY` of the table `[TABLE]`, for example `FIREBOX_SERVER__LISTEN=127.0.0.1:9000`. It overrides the \
         configuration file.",
    ),
    ("HF_ENDPOINT", "`https://huggingface.co`", "The hub that models are downloaded from."),
    (
        "HF_TOKEN",
        "the content of `HF_TOKEN_PATH`",
        "The token for the hub. It is sent to the hub and to no other host. `HUGGING_FACE_HUB_TOKEN` is its older name.",
    ),
    ("HF_TOKEN_PATH", "`token` in `HF_HOME`", "The file of the token."),
    ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "", "`1`: only `HF_TOKEN` is a token, and no file is read."),
    (
        "HF_HUB_CACHE",
        "`hub` in `HF_HOME`",
        "The folder of downloaded models, shared with Hugging Face's tools. `HUGGINGFACE_HUB_CACHE` is its older name.",
    ),
    ("HF_HOME", "`$XDG_CACHE_HOME/huggingface` or `$HOME/.cache/huggingface`", "The folder of cache and token."),
    ("HF_HUB_OFFLINE", "", "`1`: nothing is downloaded, as with `--offline`."),
    (
        "FIREBOX_REGISTRY_USER",
        "",
        "The user for registries that `config.json` of Docker does not name, with `FIREBOX_REGISTRY_PASSWORD`.",
    ),
    ("FIREBOX_REGISTRY_PASSWORD", "", "See `FIREBOX_REGISTRY_USER`."),
    ("DOCKER_CONFIG", "`$HOME/.docker`", "The folder of Docker's `config.json`, whose passwords registries get."),
    (
        "HTTPS_PROXY",
        "",
        "A proxy for HTTPS, which then decides what addresses downloads of plugins can reach. Also `ALL_PROXY`, in either case.",
    ),
    ("SSL_CERT_FILE", "the system's root certificates", "Root certificates for HTTPS."),
    ("RAYON_NUM_THREADS", "the number of cores", "Threads that compute a model on the CPU."),
    ("XDG_CACHE_HOME", "", "See `FIREBOX_CACHE`. MCP servers that Firebox starts inherit it."),
    ("XDG_DATA_HOME", "", "See `FIREBOX_DATA`."),
    ("LOCALAPPDATA", "", "See `FIREBOX_CACHE` and `FIREBOX_DATA`. MCP servers that Firebox starts inherit it."),
    ("HOME", "", "See `FIREBOX_CACHE` and `FIREBOX_DATA`. MCP servers that Firebox starts inherit it."),
];

/// What the tests and the scripts of the repository read.
const DEVELOPMENT: &[Row] = &[
    ("UPDATE", "", "`1`: tests that compare a generated page write it."),
    ("FIREBOX_COMMIT", "", "At build time: the commit that `firebox bench` prints with its results."),
    ("FIREBOX_TEST_VULKAN", "", "`1`: tests also use the Vulkan device, which `tests/tools/swiftshader` provides."),
    (
        "FIREBOX_TEST_JSON_SCHEMA_SUITE",
        "",
        "The tests of the JSON Schema Test Suite (`tests/tools/json-schema-suite`).",
    ),
    ("FIREBOX_TEST_MINILM", "", "The folder of all-MiniLM-L6-v2 (`tests/tools/minilm`)."),
    ("FIREBOX_TEST_MCP_SERVERS", "", "The folder of third-party MCP servers (`tests/tools/mcp-servers`)."),
    ("FIREBOX_TEST_CONFORMANCE", "", "The MCP conformance suite (`tests/tools/conformance`)."),
    ("FIREBOX_TEST_INSPECTOR", "", "The MCP inspector (`tests/tools/conformance`)."),
    ("FIREBOX_TEST_NODE_BIN", "", "The folder of Node.js (`tests/tools/conformance`)."),
    ("FIREBOX_TEST_FASTMCP_PYTHON", "", "Python with FastMCP (`tests/tools/conformance`)."),
    ("FIREBOX_TEST_OPENAI_PYTHON", "", "Python with the OpenAI client (`tests/tools/openai-clients`)."),
    ("FIREBOX_TEST_OPENAI_NODE", "", "Node.js for the OpenAI client (`tests/tools/openai-clients`)."),
    ("FIREBOX_TEST_OPENAI_MODULES", "", "Node.js modules of the OpenAI client (`tests/tools/openai-clients`)."),
    ("FIREBOX_TEST_CC", "", "clang for wasm32-wasi (`tests/tools/clang-wasm`)."),
    ("FIREBOX_TEST_REGISTRY", "", "A container registry (`tests/tools/registry`)."),
    ("FIREBOX_TEST_BROWSER", "", "A browser (`tests/tools/browser`)."),
    ("FIREBOX_TEST_BROWSER_LIBRARIES", "", "Libraries of the browser (`tests/tools/browser`)."),
    ("FIREBOX_TEST_COMPONENTS", "`plugins/prebuilt`", "The folder of the built-in plugins under test."),
    ("FIREBOX_FUZZ_SECONDS", "", "Seconds that each fuzz target runs (`tests/fuzz/run`)."),
    ("FIREBOX_FUZZ_SEED", "1", "The seed of the fuzz targets."),
    ("COLD", "0", "MiB that pass through the caches before each sample of the benchmark `plugin_call`."),
    ("FIREBOX_WASM_TOOLCHAIN", "", "A compiler with the target `wasm32-unknown-unknown` (`plugins/toolchain`)."),
];

/// Variables of the system and of other programs, which the code names and does not define.
const FOREIGN: &[&str] = &["PATH", "CC", "CFLAGS", "RUSTC"];

fn page() -> String {
    let mut page = "# Environment variables\n\nGenerated from `tests/tidy/environment.rs`, which checks that each variable in the \
                    code is on this page.\n"
        .to_owned();
    for (title, rows) in [("Variables of `firebox`", PROGRAM), ("Variables of tests and scripts", DEVELOPMENT)] {
        writeln!(page, "\n## {title}\n\n| variable | default | meaning |\n|---|---|---|").expect("a string");
        for (name, default, meaning) in rows {
            writeln!(page, "| `{name}` | {default} | {meaning} |").expect("a string");
        }
    }
    page
}

/// Writes the page if `UPDATE=1` asks for it.
fn update(page: &str) {
    if std::env::var_os("UPDATE").is_some_and(|value| value == "1") {
        std::fs::write(Path::new(ROOT).join(PAGE), page).expect("writable");
    }
}

/// The words of `text` that start with one of `prefixes` and are written like variables.
fn variables<'a>(text: &'a str, prefixes: &[&str]) -> Vec<&'a str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let named = |word: &&str| {
        let is_name = !word.ends_with('_') && word.bytes().all(|c| c.is_ascii_uppercase() || c == b'_');
        is_name && prefixes.iter().any(|prefix| word.starts_with(prefix))
    };
    words.filter(named).collect()
}

/// The literal arguments of `env::var` and `env::var_os` in a text.
fn read_directly(text: &str) -> Vec<&str> {
    let calls = ["env::var(\"", "env::var_os(\""];
    calls.iter().flat_map(|call| text.split(call).skip(1).filter_map(|rest| rest.split('"').next())).collect()
}

#[test]
fn the_page_of_the_environment_shows_every_variable() {
    let page = page();
    update(&page);
    assert_eq!(read(PAGE), page, "run UPDATE=1 cargo test --test tidy environment to write {PAGE}");
}

#[test]
fn every_variable_that_the_code_reads_is_on_the_page() {
    let known: Vec<&str> = PROGRAM.iter().chain(DEVELOPMENT).map(|row| row.0).chain(FOREIGN.iter().copied()).collect();
    let mut findings = Vec::new();
    for source in sources("host/").iter().chain(&sources("tests/cases/")).chain(&sources("tests/harness/")) {
        let code = source.without_comments();
        let names = variables(&code, &["FIREBOX_", "XDG_"]).into_iter().filter(|name| !name.contains("__"));
        // Tests also set variables for their own child processes.
        let names = names.filter(|_| !source.is_test());
        let unknown = names.chain(read_directly(&code)).filter(|name| !known.contains(name));
        findings.extend(unknown.map(|name| format!("{}: {name}", source.name)));
    }
    for name in
        files().iter().filter(|name| ["tests/run", "tests/tools/", "plugins/"].iter().any(|f| name.starts_with(f)))
    {
        let text = std::fs::read_to_string(Path::new(ROOT).join(name)).unwrap_or_default();
        let is_script = text.starts_with("#!") || name.ends_with(".sh");
        let names =
            variables(&text, &["FIREBOX_"]).into_iter().filter(|variable| is_script && !known.contains(variable));
        findings.extend(names.map(|variable| format!("{name}: {variable}")));
    }
    report("every environment variable is in a table of tests/tidy/environment.rs", &findings);
}

#[test]
fn every_variable_on_the_page_is_read_somewhere() {
    let all: String = files()
        .iter()
        .filter(|name| name.as_str() != PAGE && !name.starts_with("tests/tidy/") && !name.ends_with(".md"))
        .filter_map(|name| std::fs::read_to_string(Path::new(ROOT).join(name)).ok())
        .collect();
    let rows = PROGRAM.iter().chain(DEVELOPMENT).map(|row| row.0).filter(|name| *name != "FIREBOX_TABLE__KEY");
    let unread: Vec<String> = rows.filter(|name| !all.contains(name)).map(str::to_owned).collect();
    report("every variable in the tables of tests/tidy/environment.rs is read somewhere", &unread);
}
