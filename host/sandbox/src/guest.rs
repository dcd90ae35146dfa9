//! What the host keeps beside one guest instance, and the one host function every plugin has: `log.write`.

use std::sync::Arc;
use std::time::Instant;

use wasmtime::Store;
use wasmtime::UpdateDeadline;
use wasmtime::component::{HasSelf, Linker};
use wasmtime_wasi::{WasiCtxView, WasiView};

use self::bindings::firebox::plugin::log::{Host, Level, add_to_linker};
use crate::background::CallState;
use crate::instance::limiter::Limiter;
use crate::instance::log::PluginLog;
use crate::instance::progress::{self, ProgressSender};
use crate::instance::wasi::{Wasi, World};

#[allow(unreachable_pub, missing_docs, reason = "generated code")]
mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit",
        inline: "package firebox:host-log; world imports { import firebox:plugin/log@0.1.0; }",
    });
}

/// The data of one store.
pub(crate) struct GuestData {
    pub(crate) limiter: Limiter,
    pub(crate) log: PluginLog,
    /// What the executor reads while a call runs.
    pub(crate) call_state: Arc<CallState>,
    /// When the call that runs now must end.
    pub(crate) deadline: Instant,
    /// Where the guest's progress goes; nowhere if nobody listens.
    pub(crate) reports: Option<ProgressSender>,
    world: World,
    wasi: Option<Box<Wasi>>,
}

impl GuestData {
    /// For an instance within `limiter`, which logs to `log` and sees `world`.
    pub(crate) fn new(limiter: Limiter, log: PluginLog, call_state: Arc<CallState>, world: World) -> Self {
        Self { limiter, log, call_state, deadline: Instant::now(), reports: None, world, wasi: None }
    }

    /// What it sees of the world, made when it first looks.
    pub(crate) fn wasi(&mut self) -> &mut Wasi {
        let (log, world) = (&self.log, &self.world);
        self.wasi.get_or_insert_with(|| Box::new(Wasi::new(log, world)))
    }

    /// A store around this, limited and interruptible. Only `meter` may run something in it.
    pub(crate) fn into_store(self, engine: &wasmtime::Engine) -> Store<Self> {
        let mut store = Store::new(engine, self);
        store.limiter(|data| &mut data.limiter);
        store.epoch_deadline_callback(|context| {
            let data = context.data();
            data.call_state.tick();
            if Instant::now() >= data.deadline {
                return Ok(UpdateDeadline::Interrupt);
            }
            data.call_state.record(context.get_fuel().unwrap_or(0), data.limiter.peak_bytes());
            // The thread runs other tasks once a tick.
            Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())))
        });
        store
    }
}

impl WasiView for GuestData {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        self.wasi().view()
    }
}

impl Host for GuestData {
    fn write(&mut self, level: Level, message: String) {
        let level = match level {
            Level::Trace => "trace",
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
        };
        self.log.write(level, &message);
    }
}

/// Everything a guest can import, and nothing else.
///
/// # Errors
/// Wasmtime's, if a name is given twice.
pub(crate) fn link(linker: &mut Linker<GuestData>) -> wasmtime::Result<()> {
    add_to_linker::<GuestData, HasSelf<GuestData>>(linker, |data| data)?;
    progress::link(linker)?;
    crate::instance::wasi::link(linker)
}

/// Whether an import called `name` is one that `link` answers, going by its package.
pub(crate) fn is_known_import(name: &str) -> bool {
    let interface = name.split('@').next().unwrap_or(name);
    let package = interface.split('/').next().unwrap_or(interface);
    matches!(interface, "firebox:plugin/log" | "firebox:plugin/progress" | "firebox:plugin/types")
        || crate::instance::wasi::PACKAGES.contains(&package)
}

#[cfg(test)]
mod tests {
    use super::is_known_import;

    #[test]
    fn only_our_own_and_the_empty_wasi_are_known() {
        for name in [
            "firebox:plugin/log@0.1.0",
            "firebox:plugin/progress@0.1.0",
            "firebox:plugin/types@0.1.3",
            "wasi:io/poll@0.2.3",
        ] {
            assert!(is_known_import(name), "{name}");
        }
        for name in ["wasi:http/outgoing-handler@0.2.0", "firebox:plugin/kv@0.1.0", "evil:log/log", "run", "", "@"] {
            assert!(!is_known_import(name), "{name}");
        }
    }
}
