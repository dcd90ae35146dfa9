//! The plugin stages: which interfaces of a component the host calls, and in which versions.
//!
//! Each row of `stages!` is one stage. Its module holds the stage's functions as a trait, its `VERSIONS`, newest first,
//! and the code that runs the stage over a chain. Each version is a file below the module. It turns the WIT bindings of
//! that version into the trait. `CONTRIBUTING.md` lists every file that a new stage touches.

// rustfmt does not find modules that a macro declares, so they are written out here.
pub(crate) mod embedding;
pub(crate) mod lifecycle;
pub(crate) mod prompt;
pub(crate) mod text;
pub(crate) mod token;
pub(crate) mod tool;
pub(crate) mod tool_call;

use firebox_contract::{BoxFuture, Stage, limits};
use wasmtime::Store;
use wasmtime::component::{Instance, InstancePre};

use crate::instance::guest::GuestData;

/// Writes the table of stages and every type with one field per stage.
macro_rules! stages {
    ($($stage:ident => $module:ident: $calls:ident, instance per $lifetime:ident;)*) => {
        /// Every stage, in the order in which a request meets them.
        pub(crate) const STAGES: &[StageRow] = &[$(StageRow {
            stage: Stage::$stage,
            lifetime: InstanceLifetime::$lifetime,
            interfaces: || $module::VERSIONS.iter().map(|version| version.interface).collect(),
            is_exported: |exports| exports.$module.is_some(),
        },)*];

        /// The stages that a component exports, each with the function that binds it to an instance.
        pub(crate) struct Exports {
            $(pub(crate) $module: Option<Binder<dyn $module::$calls>>,)*
        }

        /// The functions of one instance, by stage.
        pub(crate) struct StageCalls {
            $(pub(crate) $module: Option<Box<dyn $module::$calls>>,)*
        }

        impl Exports {
            /// Finds the newest version of each stage that the component behind `pre` exports.
            ///
            /// # Errors
            /// Wasmtime's, if an interface lacks a function.
            pub(crate) fn find(pre: &InstancePre<GuestData>) -> wasmtime::Result<Self> {
                Ok(Self { $($module: newest($module::VERSIONS, pre)?,)* })
            }

            fn bind_all(
                &self,
                store: &mut Store<GuestData>,
                instance: &Instance,
            ) -> wasmtime::Result<StageCalls> {
                Ok(StageCalls { $($module: bind_one(self.$module.as_ref(), store, instance)?,)* })
            }
        }
    };
}

stages! {
    Init      => lifecycle: LifecycleCalls, instance per Call;
    Prompt    => prompt: PromptCalls,       instance per Request;
    Token     => token: TokenCalls,         instance per Request;
    Text      => text: TextCalls,           instance per Request;
    ToolCall  => tool_call: ToolCallCalls,  instance per Request;
    Tool      => tool: ToolCalls,           instance per Call;
    Embedding => embedding: EmbeddingCalls, instance per Request;
}

/// One stage: an interface that a component may export.
pub(crate) struct StageRow {
    /// The stage. `Stage::Init` is the interface `lifecycle`, which alone does not make a component a plugin.
    pub(crate) stage: Stage,
    /// How long an instance lives that serves this stage.
    lifetime: InstanceLifetime,
    /// The versions of the interface that the host calls, newest first.
    pub(crate) interfaces: fn() -> Vec<&'static str>,
    is_exported: fn(&Exports) -> bool,
}

/// How long an instance lives. A plugin with several stages gets the longest lifetime of its stages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum InstanceLifetime {
    /// From the start of the request to its end, so that what the plugin remembers at one call is there at the next.
    Request,
    /// For one call, so that a request that waits holds no instance.
    Call,
}

/// One version of a stage's interface.
pub(crate) struct StageVersion<C: ?Sized> {
    /// The exported interface. Another patch release of the same name is accepted too.
    pub(crate) interface: &'static str,
    /// Looks the functions up, once per component.
    pub(crate) find: fn(&InstancePre<GuestData>) -> wasmtime::Result<Binder<C>>,
}

/// Finds the functions of a stage in an instance.
pub(crate) type Binder<C> = Box<dyn Fn(&mut Store<GuestData>, &Instance) -> wasmtime::Result<Box<C>> + Send + Sync>;

/// The result of a guest call: the outer `Err` is a trap, the inner one is the plugin's own error.
pub(crate) type GuestFuture<'a, T> = BoxFuture<'a, wasmtime::Result<Result<T, String>>>;

/// A value that a guest returns. Its size counts towards a limit per request.
pub(crate) trait GuestReturn {
    /// Bytes of the value that the guest chose.
    fn bytes(&self) -> usize;

    /// Passes each text of the value to `see`.
    fn each_text(&self, _see: &mut dyn FnMut(&[u8])) {}

    /// Maximum bytes that a plugin may return in one request at `stage`.
    fn limit(&self, stage: Stage) -> usize {
        return_limit(stage)
    }
}

/// Maximum bytes that a plugin may return in one request at `stage`.
pub(crate) fn return_limit(stage: Stage) -> usize {
    match stage {
        Stage::Token => limits::PLUGIN_TOKEN_BYTES_MAX,
        Stage::Text => limits::PLUGIN_TEXT_BYTES_MAX,
        _ => limits::PLUGIN_REQUEST_BYTES_MAX,
    }
}

impl GuestReturn for String {
    fn bytes(&self) -> usize {
        self.len()
    }

    fn each_text(&self, see: &mut dyn FnMut(&[u8])) {
        see(self.as_bytes());
    }
}

/// An exported interface has a known name and the wrong types.
#[derive(Debug, thiserror::Error)]
#[error("its exports do not match the firebox:plugin WIT ({0}); build it against the WIT of this version")]
pub(crate) struct InterfaceMismatch(String);

impl Exports {
    /// Whether the component exports `stage`.
    pub(crate) fn has(&self, stage: Stage) -> bool {
        STAGES.iter().any(|row| row.stage == stage && (row.is_exported)(self))
    }

    /// The exported stages, without `Stage::Init`.
    pub(crate) fn stages(&self) -> Vec<Stage> {
        self.rows().map(|row| row.stage).filter(|stage| *stage != Stage::Init).collect()
    }

    /// Whether an instance lives as long as its request. If not, each call has an instance of its own.
    pub(crate) fn live_per_request(&self) -> bool {
        self.rows().any(|row| row.lifetime == InstanceLifetime::Request)
    }

    fn rows(&self) -> impl Iterator<Item = &'static StageRow> {
        STAGES.iter().filter(|row| (row.is_exported)(self))
    }

    /// The functions of every exported stage in `instance`.
    ///
    /// # Errors
    /// `InterfaceMismatch`, if a function has other types than the WIT says.
    pub(crate) fn bind(&self, store: &mut Store<GuestData>, instance: &Instance) -> wasmtime::Result<StageCalls> {
        self.bind_all(store, instance).map_err(|error| InterfaceMismatch(format!("{error:#}")).into())
    }
}

fn newest<C: ?Sized>(
    versions: &[StageVersion<C>],
    pre: &InstancePre<GuestData>,
) -> wasmtime::Result<Option<Binder<C>>> {
    let exported = |version: &&StageVersion<C>| pre.component().get_export_index(None, version.interface).is_some();
    versions.iter().find(exported).map(|version| (version.find)(pre)).transpose()
}

fn bind_one<C: ?Sized>(
    binder: Option<&Binder<C>>,
    store: &mut Store<GuestData>,
    instance: &Instance,
) -> wasmtime::Result<Option<Box<C>>> {
    binder.map(|bind| bind(store, instance)).transpose()
}

/// The result of a call at a stage that the instance lacks. Callers check first, so it is never awaited.
pub(crate) fn stage_missing<'a, T: Send + 'a>() -> GuestFuture<'a, T> {
    Box::pin(std::future::ready(Ok(Err("it does not have this stage".to_owned()))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stage_has_one_row_and_each_version_is_of_its_own_interface() {
        assert_eq!(STAGES.iter().map(|row| row.stage).collect::<Vec<_>>(), Stage::ALL);
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
