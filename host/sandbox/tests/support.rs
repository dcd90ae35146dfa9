//! Helpers: guests from WebAssembly text, and functions that load, bind and call them.

use std::borrow::Cow;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use firebox_contract::{Caller, Error, Fault, HookSource, Hooks, RequestInfo, TextVerdict};
use firebox_sandbox::{
    Allocation, Capability, ComponentSource, Plugin, PluginChain, PluginLimits, PluginSpec, Sandbox, SandboxError,
    SandboxOptions,
};

/// The component made from `guests/NAME.wat`. The prefixes `prompt-` and `tool-` of the name choose the stage; the default is
/// text.
pub(crate) fn guest(name: &str) -> Vec<u8> {
    guest_with(name, &[])
}

/// As `guest`, with each placeholder replaced.
pub(crate) fn guest_with(name: &str, replace: &[(&str, &str)]) -> Vec<u8> {
    let stage = ["prompt", "tool"].into_iter().find(|stage| name.starts_with(&format!("{stage}-"))).unwrap_or("text");
    let fragments = read(&format!("{name}.wat"));
    let mut text = read(&format!("{stage}.shell.wat")).split_once('\n').expect("a head line").1.to_owned();
    for section in ["imports", "with", "core-imports", "core", "exports"] {
        let mut body = fragment(&fragments, section);
        if stage == "text" && section == "core" && !body.contains("\"finish\"") {
            body.push_str(
                "(func (export \"finish\") (result i32) (call $string (i32.const 0) (i32.const 0) (i32.const 0)))",
            );
        }
        text = text.replace(&format!("@{section}@"), &body);
    }
    for (from, to) in replace {
        text = text.replace(from, to);
    }
    wat::parse_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn read(file: &str) -> String {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests", "guests", file].iter().collect();
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The lines between `;;; SECTION` and the next section.
fn fragment(fragments: &str, section: &str) -> String {
    let after = fragments.lines().skip_while(|line| line.strip_prefix(";;; ") != Some(section)).skip(1);
    after.take_while(|line| !line.starts_with(";;; ")).collect::<Vec<_>>().join("\n")
}

/// A sandbox with a small pool and no cache.
pub(crate) fn sandbox() -> Sandbox {
    sandbox_with(Allocation::Pooled)
}

pub(crate) fn sandbox_with(allocation: Allocation) -> Sandbox {
    let sandbox = Sandbox::new(SandboxOptions { pool_memories: 16, allocation, ..SandboxOptions::default() });
    let sandbox = sandbox.expect("an engine");
    assert_eq!(sandbox.allocation(), allocation, "{:?}", sandbox.unpooled_because());
    sandbox
}

/// A plugin with the name `name` and these bytes.
pub(crate) fn spec(name: &str, component: Vec<u8>) -> PluginSpec {
    PluginSpec::new(name, ComponentSource::Bytes(Cow::Owned(component)))
}

/// The prebuilt fixture `scripted` as the plugin `name`. Its configuration says what it answers.
pub(crate) fn scripted(name: &str, config: &str) -> PluginSpec {
    PluginSpec { limits: little_fuel(), ..prebuilt("scripted.wasm", name, config) }
}

/// Limits whose fuel lasts for some milliseconds, so that a loop ends by it before the limit of time on a busy machine.
pub(crate) fn little_fuel() -> PluginLimits {
    PluginLimits { fuel: 100_000_000, ..PluginLimits::default() }
}

/// The prebuilt component `file` as the plugin `name`.
pub(crate) fn prebuilt(file: &str, name: &str, config: &str) -> PluginSpec {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "..", "..", "plugins", "prebuilt", file].iter().collect();
    PluginSpec { config_json: Some(config.to_owned()), ..PluginSpec::new(name, ComponentSource::Path(path)) }
}

/// The guest `name`, loaded with its own name.
pub(crate) async fn load(sandbox: &Sandbox, name: &str) -> Arc<Plugin> {
    sandbox.load(spec(name, guest(name))).await.unwrap_or_else(|error| panic!("{error}"))
}

/// The guest `sleep`, which waits a minute by the machine's clock.
pub(crate) async fn sleeper(sandbox: &Sandbox, limits: PluginLimits) -> Arc<Plugin> {
    let (asks, grants) = (vec!["clock".to_owned()], [Capability::Clock].into_iter().collect());
    let spec = PluginSpec { asks, grants, limits, ..spec("sleep", guest("sleep")) };
    sandbox.load(spec).await.unwrap_or_else(|error| panic!("{error}"))
}

/// A `tag` guest that appends `letter`.
pub(crate) async fn tag(sandbox: &Sandbox, name: &str, letter: char) -> Arc<Plugin> {
    let component = guest_with("tag", &[("@LETTER@", &u32::from(letter).to_string())]);
    sandbox.load(spec(name, component)).await.unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) fn chain(plugins: &[&Arc<Plugin>]) -> PluginChain {
    PluginChain::new(plugins.iter().map(|plugin| Arc::clone(plugin)).collect()).expect("a chain")
}

pub(crate) fn request() -> RequestInfo {
    RequestInfo::new("r-1", "ember")
}

pub(crate) async fn try_bind(chain: &PluginChain) -> Result<Box<dyn Hooks>, Error> {
    chain.bind(&Caller::local(), request()).await
}

pub(crate) async fn bind(chain: &PluginChain) -> Box<dyn Hooks> {
    try_bind(chain).await.unwrap_or_else(|error| panic!("{error}"))
}

/// Pushes one chunk through a fresh binding of `plugin` alone.
pub(crate) async fn push_once(plugin: &Arc<Plugin>, chunk: &str) -> Result<TextVerdict, Error> {
    bind(&chain(&[plugin])).await.push(chunk.to_owned()).await
}

/// Pushes `chunks`, finishes, and returns all emitted text.
pub(crate) async fn all_text(hooks: &mut dyn Hooks, chunks: &[&str]) -> String {
    let mut text = String::new();
    for chunk in chunks {
        match hooks.push((*chunk).to_owned()).await.expect("no fault") {
            TextVerdict::Emit(emitted) => text.push_str(&emitted),
            TextVerdict::Stop(emitted) => {
                text.push_str(&emitted);
                break;
            }
        }
    }
    text + &hooks.finish().await.expect("no fault")
}

pub(crate) fn fault<T>(result: Result<T, Error>) -> Fault {
    match result {
        Err(Error::Fault(fault)) => fault,
        Err(other) => panic!("not a fault: {other}"),
        Ok(_) => panic!("no fault"),
    }
}

pub(crate) fn load_fault<T>(result: Result<T, SandboxError>) -> Fault {
    fault(result.map_err(Error::from))
}
