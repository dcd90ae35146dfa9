//! The template of every stage in every language: made outside of this repository, built, checked, and run with its cases.

use std::fs;
use std::path::{Path, PathBuf};

use super::projects::{outside, run};
use crate::harness::root;

const STAGES: [&str; 6] = ["tool", "prompt", "text", "token", "tool-call", "embedding"];

/// A project of the template of `stage`, whose folder is `my-` and the stage.
fn made(above: &Path, language: &str, stage: &str) -> PathBuf {
    let name = format!("my-{stage}");
    run(above, &["plugins", "new", &name, "--lang", language, "--stage", stage]).expect_code(0);
    let folder = above.join(name);
    let missing = run(&folder, &["plugins", "check"]).expect_code(2);
    assert!(missing.stderr.contains("firebox plugins build"), "{}", missing.stderr);
    folder
}

/// Builds the project, runs its cases and checks it with `grants`. It has these stages. Without grants it has nothing of WASI.
fn works(folder: &Path, stages: &[&str], grants: &[&str]) {
    let built = run(folder, &["plugins", "build"]).expect_code(0);
    assert!(built.stdout.contains(&format!("stages: {}", stages.join(", "))), "{}", built.stdout);
    let tested = run(folder, &["plugins", "test"]);
    assert!(tested.code == Some(0) && tested.stdout.contains("cases passed"), "{}{}", tested.stdout, tested.stderr);
    run(folder, &[&["plugins", "check"], grants].concat()).expect_code(0);
    let report = run(folder, &["plugins", "inspect", "--json"]).expect_code(0).json();
    let imports = report["imports"].as_array().expect("imports");
    assert!(
        !grants.is_empty()
            || imports.iter().all(|row| row["name"].as_str().is_some_and(|name| name.starts_with("firebox:plugin/"))),
        "a plugin of a template imports nothing of WASI: {imports:?}"
    );
    let name = folder.file_name().and_then(|name| name.to_str()).expect("a name");
    assert_eq!(report["info"]["name"], name);
}

/// Each template by itself. The plugins do in requests what their cases say.
fn every_template(language: &str) {
    let scratch_folder = outside();
    let above = scratch_folder.path();
    for stage in STAGES {
        works(&made(above, language, stage), &[stage], &[]);
    }
    let called = run(&above.join("my-tool"), &["plugins", "call", "tool", "shout", r#"{"text": "é\u0041 \"x\""}"#]);
    assert!(called.expect_code(0).stdout.contains("A \"X\""));
    serve_requests(&above.join("my-prompt"), &above.join("my-text"), &above.join("my-token"));
}

/// Runs requests with plugins that have the stages of the templates `prompt`, `text` and `token`.
fn serve_requests(prompt: &Path, text: &Path, token: &Path) {
    let refused = run(prompt, &["run", "--plugin", ".", "my password is 1234"]).expect_code(4);
    assert!(refused.stderr.contains("please do not send passwords"), "{}", refused.stderr);
    let loud = run(text, &["run", "--no-tools", "--plugin", ".", "--max-tokens", "8", "hi"]).expect_code(0);
    assert!(loud.stdout.contains("HELLO"), "{}", loud.stdout);
    let chosen = run(token, &["run", "--no-tools", "--plugin", ".", "--max-tokens", "8", "hi"]).expect_code(0);
    assert!(!chosen.stdout.trim().is_empty(), "{}", chosen.stderr);
}

#[test]
fn every_template_in_rust_builds_and_runs_outside_of_a_clone() {
    every_template("rust");
}

#[test]
fn every_template_in_c_builds_and_runs_outside_of_a_clone() {
    every_template("c");
}

#[test]
fn every_template_in_javascript_builds_and_runs_outside_of_a_clone() {
    every_template("js");
}

/// Lists the stages in `plugin.toml`, and joins the cases of their templates.
fn join_stages(folder: &Path, stages: &[&str]) {
    let quoted: Vec<String> = stages.iter().map(|stage| format!("\"{stage}\"")).collect();
    let path = folder.join("plugin.toml");
    let manifest = fs::read_to_string(&path).expect("readable");
    let (before, rest) = manifest.split_once("stages = [").expect("stages");
    let after = rest.split_once(']').expect("a list").1;
    fs::write(&path, format!("{before}stages = [{}]{after}", quoted.join(", "))).expect("written");
    let cases = |stage: &&str| fs::read_to_string(root().join(format!("plugins/templates/{stage}.cases.toml")));
    let cases: Vec<String> = stages.iter().map(|stage| cases(stage).expect("readable")).collect();
    fs::write(folder.join("cases.toml"), cases.join("\n")).expect("written");
}

/// The template of `stage` without what its language needs once in a plugin.
fn template(language: &str, stage: &str, end: &str) -> String {
    let path = root().join(format!("plugins/templates/{language}/{stage}.{end}"));
    fs::read_to_string(path).expect("a template").replace("{{name}}", "all").replace("{{description}}", "All stages.")
}

/// In Python, where each component holds the interpreter and takes a minute, the templates are one plugin. Its tool is not that
/// of the template, which `tests/newcomer.rs` builds, but one that sends requests.
#[test]
fn every_template_in_python_builds_and_runs_outside_of_a_clone_as_one_plugin() {
    let scratch_folder = outside();
    let above = scratch_folder.path();
    run(above, &["plugins", "new", "all", "--lang", "python", "--stage", "token"]).expect_code(0);
    let folder = above.join("all");
    let write = |name: &str, text: String| fs::write(folder.join(name), text).expect("written");
    let read = |path: PathBuf| fs::read_to_string(path).expect("readable");
    let guest = root().join("tests/guests/weather");
    write("weather.py", read(guest.join("weather.py")));
    let mut app = read(folder.join("app.py")) + "from weather import Tool\n";
    for stage in ["prompt", "text", "tool-call", "embedding"] {
        let class: String = stage.split('-').map(capital).collect();
        let module = format!("of_{}", stage.replace('-', "_"));
        write(&format!("{module}.py"), template("python", stage, "py"));
        app += &format!("from {module} import {class}\n");
    }
    write("app.py", app);
    export_all(&folder);
    // In the order in which a request meets them.
    let stages = ["prompt", "token", "text", "tool-call", "tool", "embedding"];
    join_stages(&folder, &stages);
    let cases = read(folder.join("cases.toml"));
    let (tool, rest) =
        (cases.find("name = \"it shouts\"\nstage = \"tool\"").expect("the case of the tool"), guest.join("cases.toml"));
    let (before, after) = (&cases[..tool], cases[tool..].split_once("expect = \"HI THERE\"\n").expect("its end").1);
    write("cases.toml", before.trim_end().trim_end_matches("[[case]]").to_owned() + &read(rest) + after);
    let manifest = read(folder.join("plugin.toml"));
    write("plugin.toml", manifest + "\n[capabilities]\nhttp = [\"GET https://api.example.org/\"]\n");
    works(&folder, &stages, &["--grant", "http:GET https://api.example.org/"]);
    serve_requests(&folder, &folder, &folder);
}

fn capital(word: &str) -> String {
    word[..1].to_uppercase() + &word[1..]
}

/// Exports every stage in the world of the project in `folder`.
fn export_all(folder: &Path) {
    let path = folder.join("wit/plugin.wit");
    let world = fs::read_to_string(&path).expect("readable");
    let before = world.split("    export firebox:plugin/lifecycle").next().expect("imports");
    let more = "    import wasi:http/outgoing-handler@0.2.0;\n    import wasi:config/store@0.2.0-rc.1;\n";
    let names = ["lifecycle"].into_iter().chain(STAGES);
    let exports: String = names.map(|stage| format!("    export firebox:plugin/{stage}@0.1.0;\n")).collect();
    fs::write(&path, format!("{before}{more}{exports}}}\n")).expect("written");
}

/// Two or more stages of a plugin in C, which need nothing but their functions and a line of `plugin.toml`.
#[test]
fn a_plugin_in_c_has_several_stages() {
    let scratch_folder = outside();
    let above = scratch_folder.path();
    for stages in
        [&["prompt", "text"][..], &["token", "tool"], &["prompt", "token", "text", "tool-call", "tool", "embedding"]]
    {
        let name = stages.join("-");
        run(above, &["plugins", "new", &name, "--lang", "c", "--stage", stages[0]]).expect_code(0);
        let folder = above.join(&name);
        for stage in &stages[1..] {
            let source = template("c", stage, "c");
            // Everything but the functions of `lifecycle`, which the plugin has already.
            let (before, rest) =
                source.split_once("// Called once when the plugin is loaded.").expect("the first function");
            let own =
                rest.split_once("_init(").and_then(|rest| rest.1.split_once("\n}\n")).expect("the second function").1;
            fs::write(folder.join(format!("{stage}.c")), format!("{before}{own}")).expect("written");
        }
        join_stages(&folder, stages);
        works(&folder, stages, &[]);
    }
    let both = above.join("prompt-text");
    serve_requests(&both, &both, &above.join("token-tool"));
    fs::remove_file(both.join("text.c")).expect("removed");
    let lacks = run(&both, &["plugins", "build"]).expect_code(5);
    assert!(lacks.stderr.contains("exports_firebox_plugin_text_push"), "{}", lacks.stderr);
    fs::write(both.join("plugin.toml"), "id = \"prompt-text\"\nversion = \"0.1.0\"\n").expect("written");
    let none = run(&both, &["plugins", "build"]).expect_code(2);
    assert!(none.stderr.contains("names its stages") && none.stderr.contains("tool-call"), "{}", none.stderr);
}

/// Its shell has no more than it needs: no requests in this one, and nothing at all in those above.
#[test]
fn a_plugin_in_c_uses_capabilities() {
    let scratch_folder = outside();
    let above = scratch_folder.path();
    run(above, &["plugins", "new", "counter", "--lang", "c", "--stage", "tool"]).expect_code(0);
    let folder = above.join("counter");
    for name in ["main.c", "cases.toml"] {
        fs::copy(root().join("tests/guests/counter").join(name), folder.join(name)).expect("copied");
    }
    let manifest = fs::read_to_string(folder.join("plugin.toml")).expect("readable");
    let asks = "\n[capabilities]\nkeyvalue = [\"counts\"]\nsecret = [\"api-key\"]\nmetrics = true\n";
    fs::write(folder.join("plugin.toml"), manifest + asks).expect("written");
    fs::write(folder.join("key"), "no-real-key").expect("written");
    let key = format!("secret:api-key=file:{} for https://example.org/", folder.join("key").display());
    works(&folder, &["tool"], &["--grant", "keyvalue:counts", "--grant", "metrics", "--grant", &key]);
    let report = run(&folder, &["plugins", "inspect", "--json"]).expect_code(0).json();
    let imports = report["imports"].as_array().expect("imports");
    let has = |start: &str| imports.iter().any(|row| row["name"].as_str().is_some_and(|name| name.starts_with(start)));
    assert!(has("wasi:keyvalue/atomics@") && has("firebox:plugin/secrets@") && !has("wasi:http/"), "{imports:?}");
}

/// Version 0.2 of a stage beside version 0.1 of another.
#[test]
fn a_plugin_in_javascript_has_the_newer_prompt_stage() {
    let scratch_folder = outside();
    let above = scratch_folder.path();
    run(above, &["plugins", "new", "newer", "--lang", "js", "--stage", "text"]).expect_code(0);
    let folder = above.join("newer");
    let world = fs::read_to_string(folder.join("wit/plugin.wit")).expect("readable");
    let write = |text: &str| fs::write(folder.join("wit/plugin.wit"), text).expect("written");
    write(&world.replace("world plugin {", "world plugin {\n    export firebox:plugin/prompt@0.2.0;"));
    let source = fs::read_to_string(folder.join("plugin.js")).expect("readable");
    let prompt = "export const prompt = { process({ sampling }) {
        return { tag: 'refuse', val: `temperature ${sampling.temperature}` };
    } };";
    fs::write(folder.join("plugin.js"), source + prompt).expect("written");
    join_stages(&folder, &["prompt", "text"]);
    run(&folder, &["plugins", "build"]).expect_code(0);
    run(&folder, &["plugins", "check"]).expect_code(0);
    let refused = run(&folder, &["run", "--no-tools", "--plugin", ".", "--temperature", "0.5", "hi"]).expect_code(4);
    assert!(refused.stderr.contains("temperature 0.5"), "{}", refused.stderr);
    write(&world.replace("world plugin {", "world plugin {\n    import wasi:http/outgoing-handler@0.2.0;"));
    let cannot = run(&folder, &["plugins", "build"]).expect_code(2);
    assert!(cannot.stderr.contains("write it in Rust or Python"), "{}", cannot.stderr);
}
