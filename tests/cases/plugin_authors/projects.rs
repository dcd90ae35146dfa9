//! Projects of plugins outside of this repository: changed, watched, tested and installed with the commands that the guide
//! names. The toolchains are the real ones.

use std::io::Read as _;
use std::path::Path;

use tempfile::TempDir;

use super::toolchains;
use crate::harness::{Firebox, Run, root, scratch};

/// An empty folder outside of the repository. It is removed at the end of the test.
pub(super) fn outside() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

/// A command of an author in `folder`.
fn author(folder: &Path, args: &[&str]) -> Firebox {
    let toolchains = toolchains();
    let author =
        Firebox::new(args).current_dir(folder).env("FIREBOX_DEVICE", "cpu").env("FIREBOX_DATA", scratch("author-data"));
    // The dependencies of plugins in Rust are compiled once for all tests.
    let author = author.env("CARGO_TARGET_DIR", scratch("author-target"));
    toolchains.iter().fold(author, |author, (name, value)| author.env(name, value))
}

pub(super) fn run(folder: &Path, args: &[&str]) -> Run {
    author(folder, args).run()
}

/// Two stages of one plugin share its state.
#[test]
fn a_plugin_has_several_stages() {
    let scratch_folder = outside();
    let above = scratch_folder.path();
    run(above, &["plugins", "new", "both", "--lang", "rust", "--stage", "text"]).expect_code(0);
    let folder = above.join("both");
    let source = "use firebox_sdk::*;
        struct Both(usize);
        impl Plugin for Both {
            const DESCRIPTION: &'static str = \"Counts the letters of the prompt.\";
            fn init(_: &str) -> Result<Self, String> { Ok(Both(0)) }
        }
        impl Prompt for Both {
            fn process(&mut self, request: PromptRequest) -> Result<PromptVerdict, String> {
                self.0 = request.messages.iter().map(|message| message.content.len()).sum();
                Ok(PromptVerdict::Unchanged)
            }
        }
        impl Text for Both {
            fn push(&mut self, _: String) -> Result<TextVerdict, String> {
                Ok(TextVerdict::Stop(format!(\"{} letters\", self.0)))
            }
        }
        firebox_sdk::plugin!(Both: prompt, text);";
    std::fs::write(folder.join("src/lib.rs"), source).expect("written");
    let manifest = std::fs::read_to_string(folder.join("plugin.toml")).expect("readable");
    let manifest = manifest.replace("stages = [\"text\"]", "stages = [\"prompt\", \"text\"]");
    std::fs::write(folder.join("plugin.toml"), manifest).expect("written");
    let cases = "[[case]]\nname = \"a\"\nstage = \"prompt\"\ninput = \"x\"\nexpect = \"unchanged\"\n\n\
                 [[case]]\nname = \"b\"\nstage = \"text\"\nchunks = [\"x\", \"y\"]\nexpect = \"0 letters\"\n";
    std::fs::write(folder.join("cases.toml"), cases).expect("written");
    run(&folder, &["plugins", "build"]).expect_code(0);
    run(&folder, &["plugins", "test"]).expect_code(0);
    let answer = run(&folder, &["run", "--no-tools", "--plugin", ".", "--max-tokens", "8", "hello"]).expect_code(0);
    assert_eq!(answer.stdout, "5 letters\n");
}

#[test]
fn printf_of_a_plugin_in_c_goes_to_the_log_and_files_are_refused_by_name() {
    let scratch_folder = outside();
    let above = scratch_folder.path();
    run(above, &["plugins", "new", "noisy", "--lang", "c", "--stage", "text"]).expect_code(0);
    let folder = above.join("noisy");
    let source = std::fs::read_to_string(folder.join("main.c")).expect("readable");
    let edit = |statement: &str| {
        let text = source.replace("  ret->tag =", &format!("  {statement}\n  ret->tag ="));
        std::fs::write(folder.join("main.c"), format!("#include <stdio.h>\n{text}")).expect("written");
    };
    edit(r#"printf("saw %zu bytes\n", chunk->len);"#);
    run(&folder, &["plugins", "build"]).expect_code(0);
    let called = run(&folder, &["plugins", "call", "text", "hi"]).expect_code(0);
    assert_eq!((called.stdout.as_str(), called.stderr.as_str()), ("HI\n", "plugin noisy info: saw 2 bytes\n"));
    edit(r#"if (fopen("/etc/passwd", "r")) abort();"#);
    let refused = run(&folder, &["plugins", "build"]).expect_code(5);
    assert!(refused.stderr.contains("which a plugin does not have"), "{}", refused.stderr);
    edit("this is no C;");
    let broken = run(&folder, &["plugins", "build"]).expect_code(5);
    assert!(broken.stderr.contains("main.c:") && broken.stderr.contains("compiling failed"), "{}", broken.stderr);
}

#[test]
fn a_missing_tool_is_named_with_the_command_that_installs_it() {
    let scratch_folder = outside();
    let above = scratch_folder.path();
    for (language, word) in [
        ("rust", "https://rustup.rs"),
        ("c", "sudo apt install clang lld wasi-libc libclang-rt-14-dev-wasm32"),
        ("js", "sudo apt install nodejs npm"),
        ("python", "sudo apt install python3 python3-venv"),
    ] {
        let name = format!("in-{language}");
        run(above, &["plugins", "new", &name, "--lang", language]).expect_code(0);
        let bare = Firebox::new(["plugins", "build", &name]).current_dir(above).env("PATH", above).env("CC", "").run();
        let error = bare.expect_code(2).stderr;
        assert!(error.contains(word) && error.contains("there is no program"), "{language}: {error}");
    }
    let unknown = run(above, &["plugins", "build", "nowhere"]).expect_code(2);
    assert!(unknown.stderr.contains("firebox plugins new"), "{}", unknown.stderr);
    let again = run(above, &["plugins", "new", "in-c", "--lang", "c"]).expect_code(2);
    assert!(again.stderr.contains("not empty"), "{}", again.stderr);
}

/// A folder with a built-in plugin under another name.
fn copied() -> TempDir {
    let folder = outside();
    std::fs::copy(root().join("plugins/prebuilt/calculator.wasm"), folder.path().join("sums.wasm")).expect("copied");
    std::fs::write(folder.path().join("plugin.toml"), "id = \"sums\"\nversion = \"1.2.3\"\nstages = [\"tool\"]\n")
        .expect("written");
    folder
}

#[test]
fn cases_compare_answers_and_faults_and_update_writes_them() {
    let copy = copied();
    let folder = copy.path();
    let case = |name: &str, arguments: &str, more: &str| {
        format!(
            "[[case]]\nname = \"{name}\"\nstage = \"tool\"\ntool = \"calculator\"\narguments = '{arguments}'\n{more}\n"
        )
    };
    let sum = |more: &str| case("sum", r#"{"expression": "1+2"}"#, more);
    let zero = |more: &str| case("zero", r#"{"expression": "1/0"}"#, more);
    let write = |text: String| std::fs::write(folder.join("cases.toml"), text).expect("written");
    write(sum("expect = \"3\"") + &zero("fault = \"tool_error\""));
    assert!(run(folder, &["plugins", "test"]).expect_code(0).stdout.contains("2 of 2 cases passed"));
    write("# mine\n".to_owned() + &sum("expect = \"4\"") + &zero(""));
    let failed = run(folder, &["plugins", "test"]).expect_code(5);
    assert!(
        failed.stdout.contains("expected the answer \"4\"") && failed.stdout.contains("got      the answer \"3\""),
        "{}",
        failed.stdout
    );
    assert!(failed.stdout.contains("0 of 2"), "{}", failed.stdout);
    run(folder, &["plugins", "test", "--update"]).expect_code(0);
    let written = std::fs::read_to_string(folder.join("cases.toml")).expect("readable");
    assert!(written.starts_with("# mine\n") && written.contains("fault = \"tool_error\""), "{written}");
    run(folder, &["plugins", "test"]).expect_code(0);
    write(case("heavy", r#"{"expression": "2 ^ 60000 % 7919"}"#, "fault = \"plugin_out_of_fuel\""));
    run(folder, &["plugins", "test", "--fuel", "100000"]).expect_code(0);
    assert!(run(folder, &["plugins", "test"]).expect_code(5).stdout.contains("expected the fault plugin_out_of_fuel"));
    write(sum("expcet = \"3\""));
    let typo = run(folder, &["plugins", "test"]).expect_code(2);
    assert!(typo.stderr.contains("cases.toml\", line 6") && typo.stderr.contains("expcet"), "{}", typo.stderr);
}

#[test]
fn an_installed_plugin_is_used_by_its_name_until_it_is_removed() {
    let copy = copied();
    let folder = copy.path();
    let data_folder = outside();
    let data = data_folder.path();
    let run = |args: &[&str]| author(folder, args).env("FIREBOX_DATA", data).run();
    let wrong = run(&["plugins", "install", "--sha256", &"0".repeat(64)]).expect_code(4);
    assert!(wrong.stderr.contains("was not installed"), "{}", wrong.stderr);
    let installed = run(&["plugins", "install"]).expect_code(0).stdout;
    assert!(installed.contains("installed sums"), "{installed}");
    let list = run(&["plugins", "list"]).expect_code(0).stdout;
    assert!(
        list.lines().any(|line| line.starts_with("sums") && line.contains("1.2.3") && line.contains("installed")),
        "{list}"
    );
    let call = ["plugins", "call", "tool", "calculator", r#"{"expression": "6*7"}"#, "--plugin", "sums"];
    assert_eq!(run(&call).expect_code(0).stdout, "42\n");
    run(&["plugins", "remove", "sums"]).expect_code(0);
    assert!(run(&call).expect_code(2).stderr.contains("there is no plugin \"sums\""));
    for name in ["sums", "../sums", "", "."] {
        assert!(run(&["plugins", "remove", name]).expect_code(2).stderr.contains("is not installed"), "{name}");
    }
    let component = root().join("plugins/prebuilt/redact.wasm").display().to_string();
    assert!(run(&["plugins", "install", &component]).expect_code(2).stderr.contains("built-in"));
    assert!(folder.join("sums.wasm").is_file(), "the author's file stays");
}

#[test]
fn watch_builds_again_after_a_change() {
    let scratch_folder = outside();
    let above = scratch_folder.path();
    run(above, &["plugins", "new", "loud", "--lang", "c", "--stage", "text"]).expect_code(0);
    let folder = above.join("loud");
    // Stands for a server: it counts how often it is told to reload.
    let told = above.join("told");
    let count = "trap 'echo told >> told' HUP; echo ready > ready; while :; do sleep 0.05; done";
    let mut server = std::process::Command::new("sh").args(["-c", count]).current_dir(above).spawn().expect("sh runs");
    let server_id = server.id().to_string();
    let mut watching = author(&folder, &["plugins", "watch", "--idle", "20", "--reload", &server_id]);
    let mut child = watching.spawn();
    let component = folder.join("loud.wasm");
    let mut wait = |what: &str, done: &dyn Fn() -> bool| {
        let begun = std::time::Instant::now();
        while !done() {
            if begun.elapsed().as_secs() >= 60 {
                child.kill().expect("killable");
                let mut printed = String::new();
                child.stderr.take().expect("piped").read_to_string(&mut printed).expect("text");
                panic!("{what} did not happen; watch printed: {printed}");
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    };
    wait("the start of the server", &|| above.join("ready").is_file());
    wait("the first build", &|| component.is_file());
    let first = std::fs::read(&component).expect("readable");
    let source = std::fs::read_to_string(folder.join("main.c")).expect("readable");
    std::fs::write(folder.join("main.c"), source.replace("\"0.1.0\"", "\"0.2.0\"")).expect("written");
    wait("the second build", &|| std::fs::read(&component).is_ok_and(|bytes| bytes != first));
    wait("the second reload", &|| std::fs::read_to_string(&told).is_ok_and(|text| text.lines().count() >= 2));
    for process in [&mut child, &mut server] {
        process.kill().expect("killable");
        process.wait().expect("waitable");
    }
    let inspected = run(&folder, &["plugins", "inspect", "--json"]).expect_code(0).json();
    assert_eq!(inspected["info"]["version"], "0.2.0");
}

/// As the components for other hosts: plain functions, and not a word of Firebox in them.
#[test]
fn functions_of_another_hosts_component_are_tools() {
    let scratch_folder = outside();
    let above = scratch_folder.path();
    // Fetches the toolchain.
    run(above, &["plugins", "new", "any", "--lang", "js"]).expect_code(0);
    run(above, &["plugins", "build", "any"]).expect_code(0);
    let write = |name: &str, text: &str| std::fs::write(above.join(name), text).expect("written");
    write(
        "weather.wit",
        "package acme:weather@1.0.0;
         interface api {
             enum unit { celsius, fahrenheit }
             record place { name: string, at: option<tuple<f64, f64>> }
             variant sky { clear, rain(u8) }
             record day { high: s32, sky: sky }
             forecast: func(place: place, unit: unit, days: option<u8>) -> result<list<day>, string>;
         }
         world weather { export api; export today: func() -> string; }",
    );
    write(
        "weather.js",
        "export const api = { forecast(place, unit, days) {
             if (!place.name) throw 'a place has a name';
             const high = unit === 'celsius' ? 20 : 68;
             const day = { high, sky: place.at ? { tag: 'rain', val: 3 } : { tag: 'clear' } };
             return Array(days ?? 1).fill(day);
         } };
         export function today() { return 'Monday'; }",
    );
    let tool =
        scratch("cache").join("toolchains/componentize-qjs-0.4.5/node_modules/componentize-qjs/bin/componentize-qjs");
    let mut build = std::process::Command::new("node");
    build.current_dir(above).arg(tool).args([
        "-w",
        "weather.wit",
        "-n",
        "weather",
        "-j",
        "weather.js",
        "-o",
        "weather.wasm",
    ]);
    let built = build.args(["--stub-wasi", "--sync"]).output().expect("node runs");
    assert!(built.status.success(), "{built:?}");
    run(above, &["plugins", "check", "weather.wasm"]).expect_code(0);
    let call = |tool: &str, arguments: &str| {
        run(above, &["plugins", "call", "tool", tool, arguments, "--plugin", "weather.wasm"])
    };
    assert_eq!(call("today", "{}").expect_code(0).stdout, "Monday\n");
    let days = call("forecast", r#"{"place": {"name": "Oslo", "at": [59.9, 10.7]}, "unit": "celsius", "days": 2}"#);
    let day = serde_json::json!({ "high": 20, "sky": { "tag": "rain", "val": 3 } });
    assert_eq!(days.expect_code(0).json(), serde_json::json!([day, day]));
    let one = call("forecast", r#"{"place": {"name": "Oslo"}, "unit": "fahrenheit"}"#).expect_code(0).json();
    assert_eq!(one, serde_json::json!([{ "high": 68, "sky": { "tag": "clear" } }]));
    let refused = call("forecast", r#"{"place": {"name": ""}, "unit": "celsius"}"#).expect_code(5);
    assert_eq!(refused.stdout, "a place has a name\n");
    let misfit = call("forecast", r#"{"place": {"name": "Oslo"}, "unit": "kelvin"}"#).expect_code(2);
    assert!(misfit.stderr.contains("do not fit") && misfit.stderr.contains("unit"), "{}", misfit.stderr);
}
