//! From bytes to a compiled component: read, digested, checked, compiled or taken from the cache.

use std::borrow::Cow;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use firebox_contract::limits;
use sha2::{Digest, Sha256};
use wasmtime::component::Component;

use crate::cache::{Cache, Key};
use crate::error::SandboxError;
use crate::runtime::Runtime;

/// Where a component comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ComponentSource {
    /// A file.
    Path(PathBuf),
    /// Its bytes, such as those built into a binary.
    Bytes(Cow<'static, [u8]>),
}

/// A component ready to be instantiated.
pub(crate) struct Compiled {
    pub(crate) component: Component,
    /// SHA-256 of the component's bytes, in hex.
    pub(crate) digest: String,
    /// The component's size.
    pub(crate) bytes: usize,
    pub(crate) from_cache: bool,
    /// What was wrong with the cache, if anything.
    pub(crate) warnings: Vec<String>,
}

/// Reads and compiles `source` for `plugin`. Takes seconds for a large component: not for an async thread.
///
/// # Errors
/// `SandboxError` if it cannot be read, is too large, or is not a component that can run here.
pub(crate) fn load(
    runtime: &Runtime,
    cache_dir: Option<&Path>,
    plugin: &str,
    source: &ComponentSource,
) -> Result<Compiled, SandboxError> {
    let bytes = read(plugin, source)?;
    check_kind(plugin, &bytes)?;
    let digest = hex(&Sha256::digest(&bytes));
    let key = Key::new(&digest, runtime.compatibility());
    let mut warnings = Vec::new();
    let cache = cache_dir.and_then(|dir| noted(Cache::open(dir), &mut warnings));
    let artifact = cache.as_ref().and_then(|cache| noted(cache.read(&key), &mut warnings)).flatten();
    let cached = artifact.and_then(|artifact| noted(deserialize(runtime, &artifact), &mut warnings));
    let from_cache = cached.is_some();
    let component = match cached {
        Some(component) => component,
        None => {
            let component = compile(runtime, plugin, &bytes)?;
            if let Some(cache) = &cache {
                noted(keep(cache, &key, &component), &mut warnings);
            }
            component
        }
    };
    Ok(Compiled { component, digest, bytes: bytes.len(), from_cache, warnings })
}

/// The value, or its absence with the reason in `warnings`.
fn noted<T>(result: Result<T, String>, warnings: &mut Vec<String>) -> Option<T> {
    result.map_err(|warning| warnings.push(warning)).ok()
}

fn compile(runtime: &Runtime, plugin: &str, bytes: &[u8]) -> Result<Component, SandboxError> {
    runtime.compilations.fetch_add(1, Ordering::Relaxed);
    Component::from_binary(&runtime.engine, bytes)
        .map_err(|error| SandboxError::Invalid { plugin: plugin.to_owned(), reason: format!("{error:#}") })
}

fn keep(cache: &Cache, key: &Key, component: &Component) -> Result<(), String> {
    let artifact = component.serialize().map_err(|error| format!("a component cannot be cached: {error:#}"))?;
    cache.write(key, &artifact)
}

fn deserialize(runtime: &Runtime, artifact: &[u8]) -> Result<Component, String> {
    // SAFETY: `artifact` was produced by `Component::serialize` in a process of this user: `Cache` only hands out
    // bytes whose digest it has checked, from a directory that this user owns and nobody else can write to.
    // Wasmtime itself refuses artifacts of another version or configuration.
    let component = unsafe { Component::deserialize(&runtime.engine, artifact) };
    component.map_err(|error| format!("a cached component cannot be loaded ({error:#}), so it is compiled again"))
}

fn read(plugin: &str, source: &ComponentSource) -> Result<Cow<'static, [u8]>, SandboxError> {
    let limit = limits::PLUGIN_COMPONENT_BYTES_MAX;
    let too_large = |bytes| SandboxError::TooLarge { plugin: plugin.to_owned(), bytes, limit };
    let path = match source {
        ComponentSource::Bytes(bytes) if bytes.len() as u64 > limit => return Err(too_large(bytes.len() as u64)),
        ComponentSource::Bytes(bytes) => return Ok(bytes.clone()),
        ComponentSource::Path(path) => path,
    };
    let unread =
        |reason: String| SandboxError::Read { plugin: plugin.to_owned(), path: path.display().to_string(), reason };
    let found = fs::metadata(path).map_err(|error| unread(error.to_string()))?;
    if !found.is_file() {
        return Err(unread("it is not a file".to_owned()));
    }
    if found.len() > limit {
        return Err(too_large(found.len()));
    }
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(limit + 1).read_to_end(&mut bytes));
    read.map_err(|error| unread(error.to_string()))?;
    if bytes.len() as u64 > limit {
        return Err(too_large(bytes.len() as u64));
    }
    Ok(Cow::Owned(bytes))
}

const WASM_MAGIC: &[u8] = b"\0asm";
const MODULE_VERSION: &[u8] = &[1, 0, 0, 0];
const COMPONENT_VERSION: &[u8] = &[0x0d, 0, 1, 0];

/// Says what the bytes are where they are not a component.
fn check_kind(plugin: &str, bytes: &[u8]) -> Result<(), SandboxError> {
    let (found, remedy) = match (bytes.get(..4), bytes.get(4..8)) {
        (Some(WASM_MAGIC), Some(COMPONENT_VERSION)) => return Ok(()),
        (Some(WASM_MAGIC), Some(MODULE_VERSION)) => (
            "a core WebAssembly module",
            "link it with wasm-component-ld (linker = \"wasm-component-ld\" for the wasm32-unknown-unknown target), \
             or wrap it with \"wasm-tools component new\"",
        ),
        (Some(WASM_MAGIC), _) => ("WebAssembly of an unknown version", "build it with a current toolchain"),
        _ if bytes.is_empty() => ("empty", "build it again"),
        _ if bytes.trim_ascii_start().starts_with(b"(") => {
            ("WebAssembly text", "turn it into a binary with \"wasm-tools parse\"")
        }
        _ => ("something else", "give the path of a .wasm file"),
    };
    Err(SandboxError::NotAComponent { plugin: plugin.to_owned(), found, remedy })
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::Allocation;

    fn bytes(text: &[u8]) -> ComponentSource {
        ComponentSource::Bytes(Cow::Owned(text.to_vec()))
    }

    fn empty_component() -> ComponentSource {
        bytes(b"\0asm\x0d\0\x01\0")
    }

    #[test]
    fn what_is_not_a_component_is_told_from_what_is() {
        let runtime = Runtime::new(Allocation::OnDemand, 1).expect("an engine");
        let table: &[(&[u8], &str)] = &[
            (b"", "empty"),
            (b"\0as", "something else"),
            (b"MZ and so on", "something else"),
            (b"  (component)", "WebAssembly text"),
            (b"\0asm\x01\0\0\0", "core WebAssembly module"),
            (b"\0asm\x02\0\0\0", "unknown version"),
            (b"\0asm", "unknown version"),
        ];
        for (text, expected) in table {
            let error = load(&runtime, None, "p", &bytes(text)).err().expect("refused").to_string();
            assert!(error.contains(expected), "{error} should contain {expected}");
        }
        let garbage = load(&runtime, None, "p", &bytes(b"\0asm\x0d\0\x01\0\xff\xff\xff")).err().expect("refused");
        assert!(matches!(garbage, SandboxError::Invalid { .. }), "{garbage}");
        assert!(load(&runtime, None, "p", &empty_component()).is_ok());
    }

    #[test]
    fn an_oversized_component_is_not_even_read() {
        let runtime = Runtime::new(Allocation::OnDemand, 1).expect("an engine");
        let file = tempfile::NamedTempFile::new().expect("a file");
        file.as_file().set_len(limits::PLUGIN_COMPONENT_BYTES_MAX + 1).expect("a sparse file");
        let source = ComponentSource::Path(file.path().to_owned());
        let error = load(&runtime, None, "p", &source).err().expect("refused");
        assert!(matches!(error, SandboxError::TooLarge { .. }), "{error}");
    }

    #[test]
    fn a_directory_or_a_device_is_not_read() {
        let runtime = Runtime::new(Allocation::OnDemand, 1).expect("an engine");
        for path in ["/", "/dev/zero", "/does/not/exist"] {
            let error = load(&runtime, None, "p", &ComponentSource::Path(path.into())).err().expect("refused");
            assert!(matches!(error, SandboxError::Read { .. }), "{error}");
        }
    }

    #[test]
    fn a_component_is_compiled_once_and_a_tampered_one_again() {
        let runtime = Runtime::new(Allocation::OnDemand, 1).expect("an engine");
        let above = tempfile::tempdir().expect("a directory");
        let dir = above.path().join("cache");
        let load = || load(&runtime, Some(&dir), "p", &empty_component()).expect("loaded");
        let compiled = || runtime.compilations.load(Ordering::Relaxed);
        assert!(!load().from_cache);
        assert!(load().from_cache);
        assert_eq!(compiled(), 1);

        let artifact = fs::read_dir(&dir).expect("listed").next().expect("one").expect("readable").path();
        let mut content = fs::read(&artifact).expect("read");
        let last = content.len() - 1;
        content[last] ^= 1;
        fs::write(&artifact, content).expect("tampered");
        let again = load();
        assert!(!again.from_cache);
        assert!(again.warnings.iter().any(|warning| warning.contains("changed or damaged")), "{:?}", again.warnings);
        assert_eq!(compiled(), 2);
        assert!(load().from_cache, "the bad artifact was replaced");
    }

    #[test]
    fn an_artifact_of_another_engine_is_compiled_again() {
        let runtime = Runtime::new(Allocation::OnDemand, 1).expect("an engine");
        let above = tempfile::tempdir().expect("a directory");
        let dir = above.path().join("cache");
        let first = load(&runtime, Some(&dir), "p", &empty_component()).expect("loaded");
        let cache = Cache::open(&dir).expect("there");
        cache.write(&Key::new(&first.digest, runtime.compatibility()), b"rubbish with a good digest").expect("written");
        let again = load(&runtime, Some(&dir), "p", &empty_component()).expect("loaded all the same");
        assert!(!again.from_cache);
        assert_eq!(again.warnings.len(), 1, "{:?}", again.warnings);
    }

    #[test]
    fn an_unusable_cache_is_only_a_warning() {
        let runtime = Runtime::new(Allocation::OnDemand, 1).expect("an engine");
        let file = tempfile::NamedTempFile::new().expect("a file");
        let loaded = load(&runtime, Some(file.path()), "p", &empty_component()).expect("loaded all the same");
        assert_eq!(loaded.warnings.len(), 1, "{:?}", loaded.warnings);
    }
}
