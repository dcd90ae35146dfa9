//! Loads a component: reads it, computes its digest, counts its contents, and compiles it or takes it from the cache.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use firebox_contract::limits;
use sha2::{Digest, Sha256};
use wasmtime::component::Component;

use super::cache::{ArtifactCache, ArtifactKey};
use super::file::{self, ReadError};
use super::process::{self, CancelFlag, CompileJob, CompilerCommand};
use super::shape::{Bounds, LimitExceeded, Shape, ShapeError};
use crate::error::SandboxError;
use crate::runtime::Runtime;

/// The source of a component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ComponentSource {
    /// A file.
    Path(PathBuf),
    /// Its bytes, which are not trusted.
    Bytes(Cow<'static, [u8]>),
    /// Bytes that are part of this program. They are trusted, and are compiled in this process.
    BuiltIn(&'static [u8]),
}

/// How components are loaded.
pub(crate) struct Loader<'a> {
    pub(crate) runtime: &'a Runtime,
    /// The directory of compiled components. Without one nothing is cached.
    pub(crate) cache_dir: Option<&'a Path>,
    /// Compiles components in a child process. Without one they are compiled in this process.
    pub(crate) compiler: Option<&'a CompilerCommand>,
    /// Whether the caller no longer waits.
    pub(crate) cancelled: &'a CancelFlag,
    /// Checks the component's digest before anything else.
    pub(crate) check_digest: &'a dyn Fn(&str) -> Result<(), SandboxError>,
    /// Checks a component before it is compiled.
    pub(crate) precheck: &'a dyn Fn(&Shape) -> Result<(), SandboxError>,
}

/// A component ready to be instantiated.
pub(crate) struct CompiledComponent {
    pub(crate) component: Component,
    /// SHA-256 of the component's bytes, in hex.
    pub(crate) digest: String,
    /// The component's size, in bytes.
    pub(crate) bytes: usize,
    pub(crate) from_cache: bool,
    /// Problems with the cache.
    pub(crate) warnings: Vec<String>,
}

impl Loader<'_> {
    /// Reads and compiles `source` for `plugin`. A large component takes seconds, so do not call it on an async thread.
    ///
    /// # Errors
    /// `SandboxError` if the component cannot be read, is too large, or cannot run on this host.
    pub(crate) fn load(&self, plugin: &str, source: &ComponentSource) -> Result<CompiledComponent, SandboxError> {
        let bytes = read(plugin, source)?;
        check_kind(plugin, &bytes)?;
        let digest = hex(&Sha256::digest(&bytes));
        (self.check_digest)(&digest)?;
        let key = ArtifactKey::new(&digest, self.runtime.compatibility());
        let mut warnings = Vec::new();
        let cache = self.cache_dir.and_then(|dir| or_warn(ArtifactCache::open(dir), &mut warnings));
        let artifact = cache.as_ref().and_then(|cache| or_warn(cache.find(&key), &mut warnings)).flatten();
        let cached = artifact.and_then(|file| or_warn(load_file(self.runtime, &file.path()), &mut warnings));
        let from_cache = cached.is_some();
        let component = match cached {
            Some(component) => component,
            None => {
                let artifact = self.compile(plugin, &bytes, matches!(source, ComponentSource::BuiltIn(_)))?;
                if let Some(cache) = &cache {
                    or_warn(cache.write(&key, &artifact), &mut warnings);
                }
                deserialize(self.runtime, &artifact).map_err(|reason| invalid(plugin, reason))?
            }
        };
        Ok(CompiledComponent { component, digest, bytes: bytes.len(), from_cache, warnings })
    }

    /// Counts the component's contents, compiles it, and returns it in its serialized form.
    fn compile(&self, plugin: &str, bytes: &[u8], built_in: bool) -> Result<Vec<u8>, SandboxError> {
        let compiler = self.compiler.filter(|_| !built_in);
        let bounds = if built_in || compiler.is_some() { Bounds::GUARDED } else { Bounds::UNGUARDED };
        let shape = Shape::of(bytes, bounds).map_err(|error| refused(plugin, error))?;
        (self.precheck)(&shape)?;
        self.runtime.compilations.fetch_add(1, Ordering::Relaxed);
        let Some(compiler) = compiler else {
            let compiled = self.runtime.engine.precompile_component(bytes);
            return compiled.map_err(|error| invalid(plugin, format!("{error:#}")));
        };
        let (compatibility, code_bytes) = (self.runtime.compatibility(), shape.code_bytes);
        process::compile(compiler, &CompileJob { plugin, bytes, code_bytes, compatibility, cancelled: self.cancelled })
    }
}

/// The value. If there is none, the reason is added to `warnings`.
fn or_warn<T>(result: Result<T, String>, warnings: &mut Vec<String>) -> Option<T> {
    result.map_err(|warning| warnings.push(warning)).ok()
}

fn invalid(plugin: &str, reason: String) -> SandboxError {
    let reason = crate::instance::log::cut(&reason, limits::PLUGIN_COMPILE_OUTPUT_BYTES_MAX as usize).to_owned();
    SandboxError::Invalid { plugin: plugin.to_owned(), reason }
}

pub(super) fn refused(plugin: &str, error: ShapeError) -> SandboxError {
    match error {
        ShapeError::Malformed(reason) => invalid(plugin, reason),
        ShapeError::Limit(LimitExceeded { what, found, limit, remedy }) => {
            SandboxError::TooComplex { plugin: plugin.to_owned(), what, found, limit, remedy }
        }
    }
}

fn deserialize(runtime: &Runtime, artifact: &[u8]) -> Result<Component, String> {
    // SAFETY: `artifact` was produced by `Engine::precompile_component`, in this process or in a child process that runs this
    // program and whose pipe this process read. Wasmtime itself refuses artifacts of another version or configuration.
    let component = unsafe { Component::deserialize(&runtime.engine, artifact) };
    component.map_err(unusable)
}

/// Maps the artifact in `file` into memory.
fn load_file(runtime: &Runtime, file: &Path) -> Result<Component, String> {
    // SAFETY: `file` was written by this process or by an earlier one of this user, from what `deserialize` accepts.
    // `ArtifactCache` has checked its digest, the path leads to the file that it read, and only this user can write to it. This
    // program replaces and removes files of the directory as a whole and never writes to one that exists, so what is mapped does
    // not change.
    let component = unsafe { Component::deserialize_file(&runtime.engine, file) };
    component.map_err(unusable)
}

fn unusable(error: wasmtime::Error) -> String {
    format!("a compiled component cannot be loaded ({error:#})")
}

pub(super) fn read(plugin: &str, source: &ComponentSource) -> Result<Cow<'static, [u8]>, SandboxError> {
    let limit = limits::PLUGIN_COMPONENT_BYTES_MAX;
    let too_large = |bytes| SandboxError::TooLarge { plugin: plugin.to_owned(), bytes, limit };
    match source {
        ComponentSource::BuiltIn(bytes) => Ok(Cow::Borrowed(bytes)),
        ComponentSource::Bytes(bytes) if bytes.len() as u64 > limit => Err(too_large(bytes.len() as u64)),
        ComponentSource::Bytes(bytes) => Ok(bytes.clone()),
        ComponentSource::Path(path) => file::read(path, limit).map(Cow::Owned).map_err(|error| match error {
            ReadError::TooLarge { bytes, .. } => too_large(bytes),
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

/// # Errors
/// `SandboxError::NotAComponent` says what the bytes are, and the remedy.
pub(super) fn check_kind(plugin: &str, bytes: &[u8]) -> Result<(), SandboxError> {
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
        _ => ("another kind of file", "give the path of a .wasm file"),
    };
    Err(SandboxError::NotAComponent { plugin: plugin.to_owned(), found, remedy })
}

pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a `String` cannot fail.
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
    ) -> Result<CompiledComponent, SandboxError> {
        let cancelled = CancelFlag::default();
        let (cancelled, check_digest) = (&cancelled, &|_: &str| Ok(()));
        let loader = Loader { runtime, cache_dir, compiler: None, cancelled, check_digest, precheck: &|_| Ok(()) };
        loader.load(plugin, source)
    }

    fn bytes(text: &[u8]) -> ComponentSource {
        ComponentSource::Bytes(Cow::Owned(text.to_vec()))
    }

    fn empty_component() -> ComponentSource {
        bytes(b"\0asm\x0d\0\x01\0")
    }

    #[test]
    fn bytes_that_are_not_a_component_are_refused_with_what_they_are() {
        let runtime = Runtime::new(Allocation::OnDemand, 1).expect("an engine");
        let table: &[(&[u8], &str)] = &[
            (b"", "empty"),
            (b"\0as", "another kind of file"),
            (b"MZ and so on", "another kind of file"),
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
    fn an_oversized_component_is_refused_without_being_read() {
        let runtime = Runtime::new(Allocation::OnDemand, 1).expect("an engine");
        let file = tempfile::NamedTempFile::new().expect("a file");
        file.as_file().set_len(limits::PLUGIN_COMPONENT_BYTES_MAX + 1).expect("a sparse file");
        let source = ComponentSource::Path(file.path().to_owned());
        let error = load(&runtime, None, "p", &source).err().expect("refused");
        assert!(matches!(error, SandboxError::TooLarge { .. }), "{error}");
    }

    #[test]
    fn a_directory_a_device_and_a_missing_file_are_not_read() {
        let runtime = Runtime::new(Allocation::OnDemand, 1).expect("an engine");
        for path in ["/", "/dev/zero", "/does/not/exist"] {
            let error = load(&runtime, None, "p", &ComponentSource::Path(path.into())).err().expect("refused");
            assert!(matches!(error, SandboxError::Read { .. }), "{error}");
        }
    }

    #[test]
    fn a_component_is_compiled_once_and_again_if_its_artifact_was_changed() {
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
        assert!(load().from_cache, "the damaged artifact was replaced");
    }

    #[test]
    fn a_component_is_compiled_again_if_wasmtime_refuses_its_artifact() {
        let runtime = Runtime::new(Allocation::OnDemand, 1).expect("an engine");
        let above = tempfile::tempdir().expect("a directory");
        let dir = above.path().join("cache");
        let first = load(&runtime, Some(&dir), "p", &empty_component()).expect("loaded");
        let cache = ArtifactCache::open(&dir).expect("there");
        cache
            .write(&ArtifactKey::new(&first.digest, runtime.compatibility()), b"rubbish with a good digest")
            .expect("written");
        let again = load(&runtime, Some(&dir), "p", &empty_component()).expect("loaded all the same");
        assert!(!again.from_cache);
        assert_eq!(again.warnings.len(), 1, "{:?}", again.warnings);
    }

    #[test]
    fn an_unusable_cache_is_a_warning_and_no_error() {
        let runtime = Runtime::new(Allocation::OnDemand, 1).expect("an engine");
        let file = tempfile::NamedTempFile::new().expect("a file");
        let loaded = load(&runtime, Some(file.path()), "p", &empty_component()).expect("loaded all the same");
        assert_eq!(loaded.warnings.len(), 1, "{:?}", loaded.warnings);
    }
}
