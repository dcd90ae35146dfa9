//! The stages this host knows, and how a component's exports are recognised as one of them.
//!
//! A stage is a file here with its trait and its `VERSIONS`, newest first; a version is a file below it that turns
//! the WIT of that version into the trait. A new version is one more file and one more row.

pub(crate) mod lifecycle;
pub(crate) mod prompt;
pub(crate) mod text;
pub(crate) mod tool;

use firebox_contract::{BoxFuture, Stage, limits};
use wasmtime::Store;
use wasmtime::component::{Instance, InstancePre};

use self::lifecycle::LifecycleCalls;
use self::prompt::PromptCalls;
use self::text::TextCalls;
use self::tool::ToolCalls;
use crate::guest::GuestData;

/// What a guest call gives: `Err` outside is a trap, inside it is the plugin's own error.
pub(crate) type GuestFuture<'a, T> = BoxFuture<'a, wasmtime::Result<Result<T, String>>>;

/// Something that a guest returned.
pub(crate) trait Returned {
    /// Bytes of what the guest chose.
    fn bytes(&self) -> usize;

    /// Bytes that a plugin may return in one request at `stage`.
    fn limit(&self, stage: Stage) -> usize {
        limit_of(stage)
    }
}

/// Bytes that a plugin may return in one request at `stage`.
pub(crate) fn limit_of(stage: Stage) -> usize {
    if stage == Stage::Text { limits::PLUGIN_TEXT_BYTES_MAX } else { limits::PLUGIN_REQUEST_BYTES_MAX }
}

impl Returned for String {
    fn bytes(&self) -> usize {
        self.len()
    }
}

/// Finds the functions of a stage in an instance.
pub(crate) type Binder<C> = Box<dyn Fn(&mut Store<GuestData>, &Instance) -> wasmtime::Result<Box<C>> + Send + Sync>;

/// One version of a stage.
pub(crate) struct Version<C: ?Sized> {
    /// The exported interface; another patch release of the same name is as good.
    pub(crate) interface: &'static str,
    /// Looks the functions up, once per component.
    pub(crate) find: fn(&InstancePre<GuestData>) -> wasmtime::Result<Binder<C>>,
}

/// One stage: an interface that a component may export.
pub(crate) struct StageRow {
    /// The stage.
    pub(crate) stage: Stage,
    /// The versions of its interface that this host calls.
    pub(crate) interfaces: fn() -> Vec<&'static str>,
    /// Finds the newest version that the component exports.
    find: fn(&InstancePre<GuestData>, &mut Exports) -> wasmtime::Result<()>,
    /// Whether it was found.
    has: fn(&Exports) -> bool,
}

/// Every stage, in the order a request meets them. `Stage::Init` is `lifecycle`, which alone does not make a plugin.
pub(crate) const STAGES: &[StageRow] = &[
    StageRow {
        stage: Stage::Init,
        interfaces: || names(lifecycle::VERSIONS),
        find: |pre, exports| newest(lifecycle::VERSIONS, pre).map(|found| exports.lifecycle = found),
        has: |exports| exports.lifecycle.is_some(),
    },
    StageRow {
        stage: Stage::Prompt,
        interfaces: || names(prompt::VERSIONS),
        find: |pre, exports| newest(prompt::VERSIONS, pre).map(|found| exports.prompt = found),
        has: |exports| exports.prompt.is_some(),
    },
    StageRow {
        stage: Stage::Text,
        interfaces: || names(text::VERSIONS),
        find: |pre, exports| newest(text::VERSIONS, pre).map(|found| exports.text = found),
        has: |exports| exports.text.is_some(),
    },
    StageRow {
        stage: Stage::Tool,
        interfaces: || names(tool::VERSIONS),
        find: |pre, exports| newest(tool::VERSIONS, pre).map(|found| exports.tool = found),
        has: |exports| exports.tool.is_some(),
    },
];

fn names<C: ?Sized>(versions: &[Version<C>]) -> Vec<&'static str> {
    versions.iter().map(|version| version.interface).collect()
}

fn newest<C: ?Sized>(versions: &[Version<C>], pre: &InstancePre<GuestData>) -> wasmtime::Result<Option<Binder<C>>> {
    let exported = |version: &&Version<C>| pre.component().get_export_index(None, version.interface).is_some();
    versions.iter().find(exported).map(|version| (version.find)(pre)).transpose()
}

/// The stages a component exports.
#[derive(Default)]
pub(crate) struct Exports {
    pub(crate) lifecycle: Option<Binder<dyn LifecycleCalls>>,
    pub(crate) prompt: Option<Binder<dyn PromptCalls>>,
    pub(crate) text: Option<Binder<dyn TextCalls>>,
    pub(crate) tool: Option<Binder<dyn ToolCalls>>,
}

/// The same, in one instance.
pub(crate) struct Calls {
    pub(crate) lifecycle: Option<Box<dyn LifecycleCalls>>,
    pub(crate) prompt: Option<Box<dyn PromptCalls>>,
    pub(crate) text: Option<Box<dyn TextCalls>>,
    pub(crate) tool: Option<Box<dyn ToolCalls>>,
}

/// An exported interface has the right name and the wrong shape.
#[derive(Debug, thiserror::Error)]
#[error("its exports do not match the firebox:plugin WIT ({0}); build it against the WIT of this version")]
pub(crate) struct Mismatch(String);

impl Exports {
    /// What the component behind `pre` exports.
    pub(crate) fn find(pre: &InstancePre<GuestData>) -> wasmtime::Result<Self> {
        let mut exports = Self::default();
        for row in STAGES {
            (row.find)(pre, &mut exports)?;
        }
        Ok(exports)
    }

    /// The stages found, without `Stage::Init`.
    pub(crate) fn stages(&self) -> Vec<Stage> {
        let found = STAGES.iter().filter(|row| row.stage != Stage::Init && (row.has)(self));
        found.map(|row| row.stage).collect()
    }

    /// The functions of every stage in `instance`, their types checked.
    pub(crate) fn bind(&self, store: &mut Store<GuestData>, instance: &Instance) -> wasmtime::Result<Calls> {
        let bound = (|| {
            Ok::<_, wasmtime::Error>(Calls {
                lifecycle: self.lifecycle.as_ref().map(|bind| bind(store, instance)).transpose()?,
                prompt: self.prompt.as_ref().map(|bind| bind(store, instance)).transpose()?,
                text: self.text.as_ref().map(|bind| bind(store, instance)).transpose()?,
                tool: self.tool.as_ref().map(|bind| bind(store, instance)).transpose()?,
            })
        })();
        bound.map_err(|error| Mismatch(format!("{error:#}")).into())
    }
}

/// A call to a stage that the instance does not have. The callers look first, so this is never awaited.
pub(crate) fn absent<'a, T: Send + 'a>() -> GuestFuture<'a, T> {
    Box::pin(std::future::ready(Ok(Err("it does not have this stage".to_owned()))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stage_has_one_row_and_a_version_of_its_own_interface() {
        let stages = [Stage::Init, Stage::Prompt, Stage::Text, Stage::Tool];
        assert_eq!(STAGES.iter().map(|row| row.stage).collect::<Vec<_>>(), stages);
        for row in STAGES {
            let interface = if row.stage == Stage::Init { "lifecycle" } else { row.stage.as_str() };
            let versions = (row.interfaces)();
            assert!(!versions.is_empty());
            assert!(
                versions.iter().all(|name| name.starts_with(&format!("firebox:plugin/{interface}@"))),
                "{versions:?}"
            );
        }
    }
}
