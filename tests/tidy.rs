//! Checks the rules of the project that can be checked by reading files. It has no dependencies, so that it also runs without
//! cargo: `CARGO_MANIFEST_DIR=$PWD rustc --edition 2024 --test tests/tidy.rs -o tidy && ./tidy`.

#[path = "tidy/cpu.rs"]
mod cpu;
#[path = "tidy/environment.rs"]
mod environment;
#[path = "tidy/honest.rs"]
mod honest;
#[path = "tidy/limits.rs"]
mod limits;
#[path = "tidy/names.rs"]
mod names;
#[path = "tidy/pages.rs"]
mod pages;
#[path = "tidy/prose.rs"]
mod prose;
#[path = "tidy/rooms.rs"]
mod rooms;
#[path = "tidy/source.rs"]
mod source;
#[path = "tidy/style.rs"]
mod style;
#[path = "tidy/vacuous.rs"]
mod vacuous;

use std::path::Path;
use std::process::Command;

use source::Source;

/// The repository.
const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Every file of the repository that git tracks or would add, relative to the root.
fn files() -> Vec<String> {
    let output = Command::new("git")
        .args(["-C", ROOT, "ls-files", "--cached", "--others", "--exclude-standard", "-z"])
        .output()
        .expect("git lists the files of the repository");
    assert!(output.status.success(), "git ls-files: {}", String::from_utf8_lossy(&output.stderr));
    let names = String::from_utf8(output.stdout).expect("names are UTF-8");
    names.split('\0').filter(|name| Path::new(ROOT).join(name).is_file()).map(str::to_owned).collect()
}

fn read(name: &str) -> String {
    std::fs::read_to_string(Path::new(ROOT).join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The Rust sources below `folder`.
fn sources(folder: &str) -> Vec<Source> {
    let ours = |name: &String| name.starts_with(folder) && name.ends_with(".rs");
    let names = files().into_iter().filter(ours);
    names.map(|name| Source::new(&name, &read(&name))).collect()
}

/// Fails with all findings if there are any.
fn report(invariant: &str, findings: &[String]) {
    assert!(findings.is_empty(), "{invariant}\n  {}", findings.join("\n  "));
}

/// The dependencies in all dependency tables of a manifest.
fn dependencies(manifest: &str) -> Vec<String> {
    let text = read(manifest);
    let mut inside = false;
    let mut found = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(table) = line.strip_prefix('[') {
            inside = table.contains("dependencies") && !table.starts_with("workspace");
        } else if inside && !line.starts_with('#') && line.contains('=') {
            let name: String = line.chars().take_while(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).collect();
            found.push(name);
        }
    }
    found
}

const I1: &str = "I1: host/contract depends on thiserror only";

#[test]
fn i1_contract_depends_on_thiserror_only() {
    assert_eq!(dependencies("host/contract/Cargo.toml"), ["thiserror"], "{I1}");
}

/// `host/engine` may not depend on the crate that has the clocks of deliveries and cores.
#[test]
fn i3_engine_depends_on_no_crate_with_a_clock_of_its_own() {
    let found: Vec<String> =
        dependencies("host/engine/Cargo.toml").into_iter().filter(|name| name == "firebox-cpu").collect();
    report(I3, &found);
}

#[test]
fn i3_contract_has_no_clock_and_no_state_of_the_process() {
    const FORBIDDEN: &[&str] = &["Instant::now", "SystemTime", "LazyLock", "OnceLock", "thread_local!"];
    report(I3, &occurrences(&sources("host/contract/src/"), FORBIDDEN));
}

const I2: &str = "I2: only host/models names burn, cubecl or wgpu; only host/sandbox names wasmtime; only host/mcp names \
                  rmcp; only the root package names axum and clap";

/// `(crates, folders whose code may use them)`.
const OWNERS: &[(&[&str], &[&str])] = &[
    (
        &["burn", "burn_wgpu", "burn_cubecl", "cubecl", "cubecl_common", "cubecl_server", "cubek", "wgpu"],
        &["host/models/"],
    ),
    (&["wasmtime", "wasmtime_wasi", "wasmtime_wasi_http"], &["host/sandbox/"]),
    (&["rmcp"], &["host/mcp/"]),
    (&["axum", "clap"], &["host/src/", "tests/", "benches/", "Cargo.toml"]),
];

#[test]
fn i2_each_large_dependency_is_used_in_one_folder() {
    let mut findings = Vec::new();
    let host: Vec<Source> = sources("host/").into_iter().chain(sources("tests/")).chain(sources("benches/")).collect();
    for (crates, owners) in OWNERS {
        let owned = |name: &str| owners.iter().any(|owner| name.starts_with(owner));
        for source in host.iter().filter(|source| !owned(&source.name)) {
            findings.extend(
                crates
                    .iter()
                    .filter(|name| source.names_crate(name))
                    .map(|name| format!("{} names {name}", source.name)),
            );
        }
        for manifest in files().iter().filter(|name| name.ends_with("Cargo.toml") && !name.starts_with("plugins/")) {
            let dependencies = dependencies(manifest);
            let foreign = dependencies.iter().filter(|name| crates.contains(&name.replace('-', "_").as_str()));
            if !owned(manifest) && !manifest.starts_with("benches/peers/") {
                findings.extend(foreign.map(|name| format!("{manifest} depends on {name}")));
            }
        }
    }
    report(I2, &findings);
}

const I3: &str = "I3: host/engine touches no file, no socket and no clock that it was not given; host/contract, which it uses, \
                  has neither a clock nor state of the process";

#[test]
fn i3_the_engine_uses_no_file_socket_or_clock_of_its_own() {
    const FORBIDDEN: &[&str] = &[
        "std::fs",
        "std::net",
        "std::env",
        "std::process",
        "tokio::fs",
        "tokio::net",
        "tokio::process",
        "Instant::now",
        "SystemTime",
        "println!",
        "eprintln!",
        "print!",
        "eprint!",
        "io::stdout",
        "io::stderr",
        "io::stdin",
    ];
    report(I3, &occurrences(&sources("host/engine/src/"), FORBIDDEN));
}

/// The lines of product code, without comments and strings, that contain one of `words`.
fn occurrences(sources: &[Source], words: &[&str]) -> Vec<String> {
    let product = sources.iter().filter(|source| !source.is_test());
    let found = product.flat_map(|source| words.iter().flat_map(|word| source.lines_with_word(word)));
    found.collect()
}

const I5: &str = "I5: nothing in host/contract derives Serialize; the CLI, HTTP and MCP layers define the wire formats";

#[test]
fn i5_the_contract_has_no_wire_format() {
    report(I5, &occurrences(&sources("host/contract/src/"), &["serde", "Serialize", "Deserialize", "serde_json"]));
}

const I12: &str = "I12: all terminal output goes through host/src/cli/output.rs, which removes escape sequences";

#[test]
fn i12_one_file_writes_to_the_terminal() {
    let mut others = sources("host/src/");
    others.extend(sources("host/mcp/src/"));
    others.extend(sources("host/sandbox/src/"));
    others.extend(sources("host/models/src/"));
    others.retain(|source| source.name != "host/src/cli/output.rs");
    report(I12, &occurrences(&others, &["io::stdout", "io::stderr", "println!", "eprintln!", "print!", "eprint!"]));
}

/// The constants that bound something: a file and a folder.
const LIMITS: &str = "host/contract/src/limits";

const I6: &str = "I6: every queue, cache, buffer and wait is bounded by a constant in host/contract/src/limits";

#[test]
fn i6_no_queue_is_unbounded_or_bounded_by_a_literal() {
    let mut findings = occurrences(&sources("host/"), &["unbounded", "unbounded_channel", "UnboundedSender"]);
    for source in sources("host/").iter().filter(|source| !source.is_test()) {
        findings.extend(source.calls_with(&["channel", "sync_channel"]).into_iter().filter_map(|call| {
            let by_hand = call.arguments.starts_with(|c: char| c.is_ascii_digit());
            let endless = call.arguments.is_empty() && call.path.contains("mpsc");
            (by_hand || endless).then(|| format!("{}:{}: {}({})", source.name, call.line, call.path, call.arguments))
        }));
    }
    report(I6, &findings);
}

const DEVICES: &str = "device.rs is the only file of host/models that names vulkan, metal, dx12 or webgpu";

#[test]
fn devices_are_named_in_one_file() {
    let mut findings = Vec::new();
    for source in sources("host/models/src/").iter().filter(|source| !source.is_test()) {
        let lines = source.without_comments().to_lowercase();
        let names = ["vulkan", "metal", "dx12", "webgpu"].iter().filter(|name| lines.contains(**name));
        if source.name != "host/models/src/device.rs" {
            findings.extend(names.map(|name| format!("{} names {name}", source.name)));
        }
    }
    report(DEVICES, &findings);
}

const PREBUILT: &str = "prebuilt components match the digests in plugins/prebuilt/SHA256SUMS";

#[test]
fn prebuilt_components_match_their_digests() {
    let listed = read("plugins/prebuilt/SHA256SUMS");
    let components = files().into_iter().filter_map(|name| name.strip_prefix("plugins/prebuilt/").map(str::to_owned));
    let unlisted: Vec<String> = components
        .filter(|name| name.ends_with(".wasm") && !listed.lines().any(|line| line.ends_with(&format!(" {name}"))))
        .map(|name| format!("{name} is not listed"))
        .collect();
    report(PREBUILT, &unlisted);
    let output = Command::new("sha256sum")
        .args(["--check", "--strict", "--quiet", "SHA256SUMS"])
        .current_dir(Path::new(ROOT).join("plugins/prebuilt"))
        .output()
        .expect("sha256sum is needed");
    assert!(output.status.success(), "{PREBUILT}\n{}", String::from_utf8_lossy(&output.stdout));
}
