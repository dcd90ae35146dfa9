//! The built-in plugins, and the same plugins rebuilt from source if `FIREBOX_TEST_COMPONENTS` names them.

mod constrained;
mod model;
pub(crate) mod probe;
mod ready_made;

use std::path::PathBuf;

use firebox::contract::{
    Caller, Error, FaultCause, HookSource, Hooks, Message, PromptVerdict, RequestInfo, Role, TextVerdict, ToolCall,
};
use firebox::sandbox::{ComponentSource, PluginChain, PluginSpec, Sandbox, SandboxOptions};

use crate::harness::{Firebox, firebox, root, scratch};

/// The folders of components: the committed ones, and those that the test runner built.
fn folders() -> Vec<PathBuf> {
    let rebuilt = std::env::var_os("FIREBOX_TEST_COMPONENTS").map(PathBuf::from);
    [root().join("plugins/prebuilt")].into_iter().chain(rebuilt).collect()
}

fn spec(path: PathBuf, config_json: Option<&str>) -> PluginSpec {
    let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
    let config_json = config_json.map(str::to_owned);
    PluginSpec { config_json, ..PluginSpec::new(name, ComponentSource::Path(path)) }
}

async fn bind(specs: Vec<PluginSpec>) -> Result<Box<dyn Hooks>, Error> {
    let sandbox = Sandbox::new(SandboxOptions {
        cache_dir: Some(scratch("cache").join("components")),
        ..SandboxOptions::default()
    })?;
    let mut plugins = Vec::new();
    for spec in specs {
        plugins.push(sandbox.load(spec).await?);
    }
    let info = RequestInfo::new("test", "none");
    PluginChain::new(plugins)?.bind(&Caller::local(), info).await
}

async fn call(hooks: &mut dyn Hooks, name: &str, arguments_json: &str) -> String {
    let call = ToolCall { id: "1".to_owned(), name: name.to_owned(), arguments_json: arguments_json.to_owned() };
    hooks.call(&call).await.expect("no fault").content
}

#[tokio::test]
async fn tools_compute_exactly() {
    let rows = [
        ("calculator", r#"{"expression": "1234 * 87"}"#, "107358"),
        ("calculator", r#"{"expression": "0.1 + 0.2"}"#, "0.3"),
        ("calculator", r#"{"expression": "2 ^ 100"}"#, "1267650600228229401496703205376"),
        ("calculator", r#"{"expression": "1000 / 3"}"#, "333.3333333333 (exactly 1000/3)"),
        ("calculator", r#"{"expression": "1 / 0"}"#, "error: division by zero"),
        ("count_letter", r#"{"text": "strawberry", "letter": "r"}"#, "3"),
        ("count_words", r#"{"text": "one two  three"}"#, "3"),
        ("reverse_text", r#"{"text": "naïve"}"#, "evïan"),
        ("change_case", r#"{"text": "hello big world", "to": "camel"}"#, "helloBigWorld"),
        ("slugify", r#"{"text": "Crème Brûlée!"}"#, "creme-brulee"),
        ("convert_units", r#"{"value": 12, "from": "km", "to": "miles"}"#, "12 km = 7.456454 miles"),
    ];
    for folder in folders() {
        let specs = ["calculator", "text-tools", "units"].map(|name| spec(folder.join(format!("{name}.wasm")), None));
        let mut hooks = bind(specs.into()).await.expect("binds");
        for (tool, arguments, expected) in rows {
            assert_eq!(call(hooks.as_mut(), tool, arguments).await, expected, "{tool} {arguments} in {folder:?}");
        }
    }
}

#[tokio::test]
async fn redaction_is_undone_however_the_answer_is_divided_into_chunks() {
    for folder in folders() {
        let path = folder.join("redact.wasm");
        for cut in 1..18 {
            let mut hooks = bind(vec![spec(path.clone(), Some(r#"{"restore": true}"#))]).await.expect("binds");
            let asked = vec![Message::text(Role::User, "Mail ada@example.com now")];
            let Ok(PromptVerdict::Continue(messages)) = hooks.process(asked).await else { panic!("no verdict") };
            assert_eq!(messages[0].content, "Mail [EMAIL_1] now");
            let mut out = String::new();
            let answer = "I told [EMAIL_1] so.";
            for piece in [&answer[..cut], &answer[cut..]] {
                match hooks.push(piece.to_owned()).await.expect("no fault") {
                    TextVerdict::Emit(text) => out.push_str(&text),
                    TextVerdict::Stop(_) => panic!("redact never stops an answer"),
                }
            }
            out.push_str(&hooks.finish().await.expect("no fault"));
            assert_eq!(out, "I told ada@example.com so.", "cut at {cut}");
        }
    }
}

#[tokio::test]
async fn a_tool_that_uses_all_its_fuel_is_a_typed_fault() {
    let mut hungry = spec(root().join("plugins/prebuilt/calculator.wasm"), None);
    // The fuel is enough to start and for a small computation, but not for a large one.
    hungry.limits.fuel = 100_000;
    let hooks = bind(vec![hungry]).await.expect("binds");
    let arguments_json = r#"{"expression": "2 ^ 60000 % 7919"}"#.to_owned();
    let call = ToolCall { id: "1".to_owned(), name: "calculator".to_owned(), arguments_json };
    match hooks.call(&call).await {
        Err(Error::Fault(fault)) => {
            assert_eq!(fault.cause, FaultCause::OutOfFuel { limit: 100_000 });
            assert_eq!(fault.plugin, "calculator");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_component_by_path_is_a_plugin() {
    let path = root().join("plugins/prebuilt/redact.wasm").display().to_string();
    let json = firebox(&["run", "--json", "--plugin", &path, "Reverse the text ada@example.com"]).expect_code(0).json();
    assert!(json["plugins"].as_array().expect("plugins").iter().any(|row| row["plugin"] == "redact"), "{json}");
}

/// The limits of a manifest must apply, so a manifest that cannot be read is an error.
#[test]
fn the_manifest_of_a_component_is_read_or_the_plugin_is_refused() {
    let dir = scratch("manifest");
    let component = dir.join("calculator.wasm");
    std::fs::copy(root().join("plugins/prebuilt/calculator.wasm"), &component).expect("copied");
    let bare = "version = \"0.1.0\"\ndescription = \"x\"\n";
    let head = format!("{bare}stages = [\"tool\"]\n");
    let rows = [
        (format!("id = \"calculator\"\n{head}"), 0, ""),
        (format!("id = \"another\"\n{head}[limits]\nfuel = 10\n"), 0, ""),
        (format!("id = \"calculator\"\n{head}[limits]\nfuel = 10\n"), 5, "fuel"),
        (format!("id = \"calculator\"\n{head}capabilities = [\"net\"]\n"), 4, "net"),
        (format!("id = \"calculator\"\n{head}[limits]\nfuell = 10\n"), 5, "plugin.toml"),
        (format!("id = \"calculator\"\n{bare}"), 0, ""),
        (format!("id = \"calculator\"\n{bare}stages = [\"text\"]\n"), 5, "correct stages"),
        (format!("id = \"calculator\"\n{bare}stages = [\"tools\"]\n"), 5, "\"tools\""),
        ("not toml".to_owned(), 5, "plugin.toml"),
        (format!("id = \"../calculator\"\n{head}"), 5, "the id \"../calculator\" must have"),
    ];
    for (manifest, code, word) in rows {
        std::fs::write(dir.join("plugin.toml"), &manifest).expect("writable");
        let path = component.display().to_string();
        let run = firebox(&["run", "--no-tools", "--plugin", &path, "--max-tokens", "8", "hi"]).expect_code(code);
        assert!(run.stderr.contains(word), "{manifest}: {}", run.stderr);
    }
}

/// An empty folder for one test.
pub(in crate::cases) fn fresh(name: &str) -> PathBuf {
    let path = scratch(name);
    std::fs::remove_dir_all(&path).expect("removable");
    std::fs::create_dir_all(&path).expect("made");
    path
}

/// The binary can also run as a compiler process. Without a component it ends at once.
#[test]
fn a_compiler_without_a_component_ends() {
    let run = Firebox::new(["compile-plugin"]).input("not a component").run().expect_code(1);
    assert!(run.stdout.is_empty(), "{}", run.stdout);
}

/// A device without an end is not read, and a pipe without a writer is not waited for.
#[cfg(unix)]
#[test]
fn devices_pipes_and_circular_links_are_refused_as_plugins() {
    use std::os::unix::fs::symlink;
    let dir = fresh("endless");
    let pipe = dir.join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs");
    assert!(made.success());
    let circle = dir.join("circle");
    symlink(&circle, &circle).expect("linked");
    let endless = ["/dev/zero".into(), pipe, circle];
    let manifest = "id = \"p\"\nversion = \"1\"\n";
    for (place, target) in endless.iter().enumerate() {
        let [folder, component] = ["folder", "component"].map(|name| dir.join(format!("{name}{place}")));
        std::fs::create_dir_all(&folder).expect("made");
        symlink(target, folder.join("plugin.toml")).expect("linked");
        std::fs::create_dir_all(&component).expect("made");
        std::fs::write(component.join("plugin.toml"), manifest).expect("written");
        symlink(target, component.join("p.wasm")).expect("linked");
        for asked in [&folder, &component] {
            let asked = asked.display().to_string();
            let run = firebox(&["run", "--no-tools", "--plugin", &asked, "hi"]);
            assert!(matches!(run.code, Some(2 | 5)), "{asked}: {:?} {}", run.code, run.stderr);
        }
    }
}

#[test]
fn a_component_that_is_expensive_to_compile_is_refused() {
    let dir = scratch("dear");
    let component = dir.join("dear.wasm");
    // 10,000 nested types; reading each would take a stack frame.
    let nested = [[0x42, 0x01, 0x01].repeat(10_000), vec![0x42, 0x00]].concat();
    let section = [vec![1], nested].concat();
    let (length, mut size) = (section.len(), Vec::new());
    for shift in [0, 7, 14, 21] {
        size.push(((length >> shift) & 0x7f) as u8 | if shift == 21 { 0 } else { 0x80 });
    }
    std::fs::write(&component, [b"\0asm\x0d\0\x01\0\x07".to_vec(), size, section].concat()).expect("written");
    let asked = component.display().to_string();
    let run = firebox(&["run", "--no-tools", "--plugin", &asked, "hi"]).expect_code(5);
    assert!(run.stderr.contains("Firebox allows 100"), "{}", run.stderr);
}

#[test]
fn a_compiled_component_is_cached() {
    let cache = fresh("compiled");
    let path = root().join("plugins/prebuilt/redact.wasm").display().to_string();
    let arguments = ["run", "--no-tools", "--plugin", &path, "--max-tokens", "1", "hi"];
    for _ in 0..2 {
        let run =
            Firebox::new(arguments).env("FIREBOX_CACHE", cache.display().to_string()).env("FIREBOX_DEVICE", "cpu");
        run.run().expect_code(0);
    }
    let kept = std::fs::read_dir(cache.join("components")).expect("made").count();
    assert_eq!(kept, 1);
}
