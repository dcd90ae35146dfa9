//! From bytes to a compiled component: read, digested, checked, compiled or taken from the cache.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use firebox_contract::limits;
use sha2::{Digest, Sha256};
use wasmtime::component::Component;

use crate::cache::{Cache, Key};
use crate::compiler::{self, Abandoned, CompilerCommand, Job};
use crate::error::SandboxError;
use crate::file::{self, Unread};
use crate::runtime::Runtime;
use crate::shape::{Bounds, Over, Refusal, Shape};

/// Where a component comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ComponentSource {
    /// A file.
    Path(PathBuf),
    /// Its bytes.
    Bytes(Cow<'static, [u8]>),
    /// Bytes that are a part of this program, and trusted as it is: they are compiled in this process.
    Own(&'static [u8]),
}

/// How components are loaded, whichever they are.
pub(crate) struct Loader<'a> {
    pub(crate) runtime: &'a Runtime,
    /// Where compiled components are kept.
    pub(crate) cache_dir: Option<&'a Path>,
    /// Where they are compiled; in this process if there is none.
    pub(crate) compiler: Option<&'a CompilerCommand>,
    /// Whether nobody waits any more.
    pub(crate) abandoned: &'a Abandoned,
    /// What must hold before it is worth while to compile a component.
    pub(crate) admit: &'a dyn Fn(&Shape) -> Result<(), SandboxError>,
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

impl Loader<'_> {
    /// Reads and compiles `source` for `plugin`. Takes seconds for a large component: not for an async thread.
    ///
    /// # Errors
    /// `SandboxError` if it cannot be read, is too large, or is not a component that can run here.
    pub(crate) fn load(&self, plugin: &str, source: &ComponentSource) -> Result<Compiled, SandboxError> {
        let bytes = read(plugin, source)?;
        check_kind(plugin, &bytes)?;
        let digest = hex(&Sha256::digest(&bytes));
        let key = Key::new(&digest, self.runtime.compatibility());
        let mut warnings = Vec::new();
        let cache = self.cache_dir.and_then(|dir| noted(Cache::open(dir), &mut warnings));
        let artifact = cache.as_ref().and_then(|cache| noted(cache.read(&key), &mut warnings)).flatten();
        let cached = artifact.and_then(|artifact| noted(deserialize(self.runtime, &artifact), &mut warnings));
        let from_cache = cached.is_some();
        let component = match cached {
            Some(component) => component,
            None => {
                let artifact = self.compile(plugin, &bytes, matches!(source, ComponentSource::Own(_)))?;
                if let Some(cache) = &cache {
                    noted(cache.write(&key, &artifact), &mut warnings);
                }
                deserialize(self.runtime, &artifact).map_err(|reason| invalid(plugin, reason))?
            }
        };
        Ok(Compiled { component, digest, bytes: bytes.len(), from_cache, warnings })
    }

    /// The compiled component in its serialized form: counted, and then compiled where it can do no harm.
    fn compile(&self, plugin: &str, bytes: &[u8], own: bool) -> Result<Vec<u8>, SandboxError> {
        let compiler = self.compiler.filter(|_| !own);
        let bounds = if own || compiler.is_some() { Bounds::GUARDED } else { Bounds::UNGUARDED };
        let shape = Shape::of(bytes, bounds).map_err(|refusal| refused(plugin, refusal))?;
        (self.admit)(&shape)?;
        self.runtime.compilations.fetch_add(1, Ordering::Relaxed);
        let Some(compiler) = compiler else {
            let compiled = self.runtime.engine.precompile_component(bytes);
            return compiled.map_err(|error| invalid(plugin, format!("{error:#}")));
        };
        let (compatibility, code_bytes) = (self.runtime.compatibility(), shape.code_bytes);
        compiler::compile(compiler, &Job { plugin, bytes, code_bytes, compatibility, abandoned: self.abandoned })
    }
}

/// The value, or its absence with the reason in `warnings`.
fn noted<T>(result: Result<T, String>, warnings: &mut Vec<String>) -> Option<T> {
    result.map_err(|warning| warnings.push(warning)).ok()
}

fn invalid(plugin: &str, reason: String) -> SandboxError {
    let reason = crate::log::cut(&reason, limits::PLUGIN_COMPILE_OUTPUT_BYTES_MAX as usize).to_owned();
    SandboxError::Invalid { plugin: plugin.to_owned(), reason }
}

fn refused(plugin: &str, refusal: Refusal) -> SandboxError {
    match refusal {
        Refusal::Malformed(reason) => invalid(plugin, reason),
        Refusal::Over(Over { what, found, limit, remedy }) => {
            SandboxError::TooComplex { plugin: plugin.to_owned(), what, found, limit, remedy }
        }
    }
}

fn deserialize(runtime: &Runtime, artifact: &[u8]) -> Result<Component, String> {
    // SAFETY: `artifact` was produced by `Engine::precompile_component`, in this process, in one that it started from its own
    // program and whose pipe it read, or in an earlier one of this user: `Cache` only hands out bytes whose digest it has
    // checked, from a directory that this user owns and nobody else can write to. Wasmtime itself refuses artifacts of another
    // version or configuration.
    let component = unsafe { Component::deserialize(&runtime.engine, artifact) };
    component.map_err(|error| format!("a compiled component cannot be loaded ({error:#})"))
}

fn read(plugin: &str, source: &ComponentSource) -> Result<Cow<'static, [u8]>, SandboxError> {
    let limit = limits::PLUGIN_COMPONENT_BYTES_MAX;
    let too_large = |bytes| SandboxError::TooLarge { plugin: plugin.to_owned(), bytes, limit };
    match source {
        ComponentSource::Own(bytes) => Ok(Cow::Borrowed(bytes)),
        ComponentSource::Bytes(bytes) if bytes.len() as u64 > limit => Err(too_large(bytes.len() as u64)),
        ComponentSource::Bytes(bytes) => Ok(bytes.clone()),
        ComponentSource::Path(path) => file::read(path, limit).map(Cow::Owned).map_err(|unread| match unread {
            Unread::TooLarge { bytes, .. } => too_large(bytes),
            other => SandboxError::Read {
                plugin: plugin.to_owned(),
                path: path.display().to_string(),
                reason: other.to_string(),
            },
        }),
    }
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
    use std::fs;

    use super::*;
    use crate::runtime::Allocation;

    fn load(
        runtime: &Runtime,
        cache_dir: Option<&Path>,
        plugin: &str,
        source: &ComponentSource,
    ) -> Result<Compiled, SandboxError> {
        let abandoned = Abandoned::default();
        let loader = Loader { runtime, cache_dir, compiler: None, abandoned: &abandoned, admit: &|_| Ok(()) };
        loader.load(plugin, source)
    }

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
