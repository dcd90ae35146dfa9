//! What a component is, read from its bytes. Nothing is compiled and nothing runs.

use firebox_contract::Stage;
use sha2::{Digest, Sha256};

use super::loader::{self, ComponentSource};
use super::shape::{Bounds, Shape};
use crate::error::SandboxError;
use crate::instance::guest;
use crate::stages::STAGES;
use crate::stages::tool::functions;

/// What a component is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComponentReport {
    /// SHA-256 of its bytes, in hex.
    pub digest: String,
    /// Its size, in bytes.
    pub bytes: usize,
    /// The names of its imports, in its own order, each with whether this host provides it.
    pub imports: Vec<(String, bool)>,
    /// The names of its exports, in its own order.
    pub exports: Vec<String>,
    /// The stages whose interface it exports, in any version. A component with functions of its own and no stage has the tool
    /// stage.
    pub stages: Vec<Stage>,
    /// The counts that most often reach a limit.
    pub counts: Vec<ComponentCount>,
}

/// How many things of one kind a component has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ComponentCount {
    /// The plural noun of the things.
    pub what: &'static str,
    /// The number.
    pub found: u64,
    /// The number that this host allows.
    pub limit: u64,
}

impl ComponentReport {
    /// Reads the component of `plugin` at `source`.
    ///
    /// # Errors
    /// `SandboxError` if it cannot be read, is no component, or exceeds a limit.
    pub fn of(plugin: &str, source: &ComponentSource) -> Result<Self, SandboxError> {
        let bytes = loader::read(plugin, source)?;
        loader::check_kind(plugin, &bytes)?;
        let (shape, tallies) =
            Shape::counted(&bytes, Bounds::GUARDED).map_err(|error| loader::refused(plugin, error))?;
        let shown = [
            &tallies.core_instances,
            &tallies.modules,
            &tallies.memories,
            &tallies.tables,
            &tallies.functions,
            &tallies.code_bytes,
            &tallies.type_size,
            &tallies.type_work,
        ];
        let counts = shown.map(|tally| ComponentCount { what: tally.what, found: tally.found, limit: tally.limit });
        let known = |name: String| {
            let known = guest::is_known_import(&name);
            (name, known)
        };
        Ok(Self {
            digest: loader::hex(&Sha256::digest(&bytes)),
            bytes: bytes.len(),
            stages: stages(&shape.exports),
            imports: shape.imports.into_iter().map(known).collect(),
            exports: shape.exports,
            counts: counts.to_vec(),
        })
    }
}

/// The stages that `exports` name, without regard to versions.
fn stages(exports: &[String]) -> Vec<Stage> {
    let interface = |name: &str| name.split('@').next().unwrap_or(name).to_owned();
    let exported: Vec<String> = exports.iter().map(|name| interface(name)).collect();
    let has = |names: Vec<&'static str>| names.iter().any(|name| exported.contains(&interface(name)));
    let rows = STAGES.iter().filter(|row| row.stage != Stage::Init && has((row.interfaces)()));
    let stages: Vec<Stage> = rows.map(|row| row.stage).collect();
    if stages.is_empty() && functions::possible(exports) { vec![Stage::Tool] } else { stages }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    fn of(text: &str) -> Result<ComponentReport, SandboxError> {
        let bytes = wat::parse_str(text).expect("a component");
        ComponentReport::of("p", &ComponentSource::Bytes(Cow::Owned(bytes)))
    }

    #[test]
    fn imports_stages_and_counts_are_read_without_compiling() {
        let report = of(r#"(component
            (import "wasi:messaging/types@0.2.0" (instance))
            (import "firebox:plugin/log@0.1.0" (instance))
            (core module $m (memory 1) (func))
            (core instance (instantiate $m))
            (core instance (instantiate $m))
            (instance $i)
            (export "firebox:plugin/text@0.9.0" (instance $i)))"#)
        .expect("a report");
        let (other, log) = ("wasi:messaging/types@0.2.0".to_owned(), "firebox:plugin/log@0.1.0".to_owned());
        assert_eq!(report.imports, [(other, false), (log, true)]);
        assert_eq!(report.stages, [Stage::Text]);
        let count = |what: &str| report.counts.iter().find(|row| row.what == what).expect(what);
        assert_eq!((count("core instances").found, count("memories").found), (2, 1));
        assert!(report.counts.iter().all(|row| row.found <= row.limit), "{:?}", report.counts);
        assert_eq!(report.digest.len(), 64);
    }

    #[test]
    fn a_module_and_a_truncated_component_are_refused() {
        let error = of("(module)").expect_err("a module");
        assert!(matches!(error, SandboxError::NotAComponent { .. }), "{error}");
        let bytes = ComponentSource::Bytes(Cow::Borrowed(b"\0asm\x0d\0\x01\0\x01\xff"));
        let error = ComponentReport::of("p", &bytes).expect_err("cut off");
        assert!(matches!(error, SandboxError::Invalid { .. }), "{error}");
    }
}
