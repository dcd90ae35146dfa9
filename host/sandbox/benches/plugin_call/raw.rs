//! The same components in plain wasmtime: synchronous, without fuel, epochs, limits or records. What the sandbox adds is the
//! difference.

use std::path::Path;

use wasmtime::component::{Component, Instance, InstancePre, Linker, ResourceAny};
use wasmtime::{Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store};

mod lifecycle {
    wasmtime::component::bindgen!({
        path: "../../wit",
        inline: "package bench:raw-lifecycle; world guest { export firebox:plugin/lifecycle@0.1.0; }",
    });
}

mod tool {
    wasmtime::component::bindgen!({
        path: "../../wit",
        inline: "package bench:raw-tool; world guest { export firebox:plugin/tool@0.1.0; }",
    });
}

mod text {
    wasmtime::component::bindgen!({
        path: "../../wit",
        inline: "package bench:raw-text; world guest { export firebox:plugin/text@0.1.0; }",
    });
}

mod token {
    wasmtime::component::bindgen!({
        path: "../../wit",
        inline: "package bench:raw-token; world guest { export firebox:plugin/token@0.1.0; }",
    });
}

use self::lifecycle::exports::firebox::plugin::lifecycle as raw_lifecycle;
use self::text::exports::firebox::plugin::text as raw_text;
pub(crate) use self::token::exports::firebox::plugin::token::Step;
use self::token::exports::firebox::plugin::token::{self as raw_token, Sequence, Weighted};
use self::tool::exports::firebox::plugin::tool as raw_tool;

/// A component, ready for instances.
pub(crate) struct RawPlugin {
    engine: Engine,
    pre: InstancePre<()>,
    lifecycle: Option<raw_lifecycle::GuestIndices>,
}

impl RawPlugin {
    /// Compiles the component for pooled instances.
    pub(crate) fn compile(path: &Path) -> wasmtime::Result<Self> {
        let mut pool = PoolingAllocationConfig::new();
        pool.max_memory_size(1 << 32);
        let mut config = Config::new();
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        let engine = Engine::new(&config)?;
        let component = Component::from_file(&engine, path)?;
        let mut linker = Linker::new(&engine);
        // These plugins call no import in the calls that are measured.
        linker.define_unknown_imports_as_traps(&component)?;
        let pre = linker.instantiate_pre(&component)?;
        let lifecycle = raw_lifecycle::GuestIndices::new(&pre).ok();
        Ok(Self { engine, pre, lifecycle })
    }

    /// A configured instance.
    fn start(&self, config: &str) -> wasmtime::Result<(Store<()>, Instance)> {
        let mut store = Store::new(&self.engine, ());
        let instance = self.pre.instantiate(&mut store)?;
        if let Some(lifecycle) = &self.lifecycle {
            let lifecycle = lifecycle.load(&mut store, &instance)?;
            lifecycle.call_init(&mut store, config)?.map_err(wasmtime::Error::msg)?;
        }
        Ok((store, instance))
    }

    /// Instantiates, and drops the instance.
    pub(crate) fn instance(&self) -> wasmtime::Result<()> {
        let mut store = Store::new(&self.engine, ());
        self.pre.instantiate(&mut store)?;
        Ok(())
    }

    /// One instance and one call of a tool.
    pub(crate) fn tool_call(&self, name: &str, arguments: &str) -> wasmtime::Result<()> {
        let (mut store, instance) = self.start("{}")?;
        let guest = raw_tool::GuestIndices::new(&self.pre)?.load(&mut store, &instance)?;
        guest.call_call(&mut store, name, arguments)?;
        Ok(())
    }

    /// An instance for calls of the text stage.
    pub(crate) fn text(&self) -> wasmtime::Result<RawText> {
        let (mut store, instance) = self.start("{}")?;
        let guest = raw_text::GuestIndices::new(&self.pre)?.load(&mut store, &instance)?;
        Ok(RawText { store, guest })
    }

    /// An instance with a session of the token stage.
    pub(crate) fn tokens(&self, config: &str, vocabulary: u32) -> wasmtime::Result<RawTokens> {
        let (mut store, instance) = self.start(config)?;
        let guest = raw_token::GuestIndices::new(&self.pre)?.load(&mut store, &instance)?;
        let (id, model) = ("1".to_owned(), "none".to_owned());
        let sequence = Sequence { id, model, vocabulary, ends: vec![0], prompt: vec![1, 2, 3] };
        let session = guest.session().call_start(&mut store, &sequence)?.map_err(wasmtime::Error::msg)?;
        Ok(RawTokens { store, guest, session })
    }
}

/// An instance for the text stage.
pub(crate) struct RawText {
    store: Store<()>,
    guest: raw_text::Guest,
}

impl RawText {
    pub(crate) fn push(&mut self, chunk: &str) -> wasmtime::Result<()> {
        self.guest.call_push(&mut self.store, chunk)?.map(drop).map_err(wasmtime::Error::msg)
    }
}

/// An instance with a session of the token stage.
pub(crate) struct RawTokens {
    store: Store<()>,
    guest: raw_token::Guest,
    session: ResourceAny,
}

impl RawTokens {
    pub(crate) fn next(&mut self, step: &Step) -> wasmtime::Result<()> {
        self.guest.session().call_next(&mut self.store, self.session, step)?.map(drop).map_err(wasmtime::Error::msg)
    }
}

/// The step that accepted one token.
pub(crate) fn step(candidates: &[(u32, f32)]) -> Step {
    let (tokens, values) = candidates.iter().copied().unzip();
    Step { taken_back: 0, accepted: vec![5], held: 0, candidates: Weighted { tokens, values } }
}
