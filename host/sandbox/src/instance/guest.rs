//! The host's data of one store, and the imports of guests.

use std::sync::Arc;
use std::time::Instant;

use firebox_contract::{Stage, TokenTexts, limits};
use wasmtime::Store;
use wasmtime::UpdateDeadline;
use wasmtime::component::{HasSelf, Linker};
use wasmtime_wasi::{WasiCtxView, WasiView};

use self::bindings::firebox::plugin::log::{Host, Level, add_to_linker};
use crate::background::CallState;
use crate::capabilities::http::HttpState;
use crate::capabilities::metrics::PluginMeter;
use crate::capabilities::model::ModelUse;
use crate::capabilities::secrets::InstanceSecrets;
use crate::instance::identity::GuestIdentity;
use crate::instance::limiter::Limiter;
use crate::instance::log::PluginLog;
use crate::instance::progress::{self, ProgressSender};
use crate::instance::wasi::Wasi;
use crate::plugin::grants::DeniedBy;
use crate::plugin::grants::capability::Use;
use crate::plugin::grants::explain::denial;

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
    /// Read by the executor while a call runs.
    pub(crate) call_state: Arc<CallState>,
    /// The time at which the current call must end.
    pub(crate) deadline: Instant,
    /// The stage of the current call.
    pub(crate) stage: Stage,
    /// What the current call has used of the model.
    pub(crate) model_use: ModelUse,
    /// The receiver of progress reports, if the caller wants them.
    pub(crate) reports: Option<ProgressSender>,
    pub(crate) identity: GuestIdentity,
    /// What the guest uses of HTTP, once it does.
    pub(crate) http: Option<Box<HttpState>>,
    /// The bytes of the tokens of the last session of the token stage.
    pub(crate) vocabulary: Option<Arc<TokenTexts>>,
    /// Where its metrics go, once it has some.
    pub(crate) meter: Option<Arc<dyn PluginMeter>>,
    /// The secrets that the guest may use; `None` if there are none.
    pub(crate) secrets: Option<Arc<InstanceSecrets>>,
    /// The denied capabilities that the log names already.
    denied: Vec<String>,
    wasi: Option<Box<Wasi>>,
}

impl GuestData {
    /// The data of an instance with these limits, log and identity.
    pub(crate) fn new(limiter: Limiter, log: PluginLog, call_state: Arc<CallState>, identity: GuestIdentity) -> Self {
        let secrets = identity.secrets();
        if let Some(secrets) = &secrets {
            log.hide(Arc::clone(secrets));
        }
        Self {
            limiter,
            log,
            call_state,
            deadline: Instant::now(),
            stage: Stage::Init,
            model_use: ModelUse::default(),
            reports: None,
            identity,
            http: None,
            vocabulary: None,
            meter: None,
            secrets,
            denied: Vec::new(),
            wasi: None,
        }
    }

    /// The WASI state. It is created at the first use.
    pub(crate) fn wasi(&mut self) -> &mut Wasi {
        let (log, identity) = (&self.log, &self.identity);
        self.wasi.get_or_insert_with(|| Box::new(Wasi::new(log, identity)))
    }

    /// Whether the guest may do this. A denial is logged once for each instance, with what to write.
    pub(crate) fn check(&mut self, wanted: &Use<'_>) -> Result<(), DeniedBy> {
        self.identity.permissions.check(wanted).inspect_err(|denied_by| {
            let capability = wanted.to_string();
            if self.denied.len() < limits::CAPABILITY_LINES_MAX && !self.denied.contains(&capability) {
                self.log.write("warn", &denial(self.identity.plugin(), wanted, *denied_by));
                self.denied.push(capability);
            }
        })
    }

    /// A store with this data, with limits and epoch interruption. Only `meter` may run guest code in it.
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
            // Lets the thread run other tasks once per tick.
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

/// Adds everything that a guest can import.
///
/// # Errors
/// Wasmtime's error, if a name is defined twice.
pub(crate) fn link(linker: &mut Linker<GuestData>) -> wasmtime::Result<()> {
    add_to_linker::<GuestData, HasSelf<GuestData>>(linker, |data| data)?;
    progress::link(linker)?;
    crate::stages::token::vocabulary::link(linker)?;
    crate::capabilities::link(linker)?;
    crate::instance::wasi::link(linker)
}

/// Whether the import `name` is one of those that `link` adds, by its package or interface.
pub(crate) fn is_known_import(name: &str) -> bool {
    let interface = name.split('@').next().unwrap_or(name);
    let package = interface.split('/').next().unwrap_or(interface);
    let own = ["firebox:plugin/log", "firebox:plugin/progress", "firebox:plugin/types", "firebox:plugin/vocabulary"];
    own.contains(&interface)
        || crate::instance::wasi::PACKAGES.contains(&package)
        || crate::capabilities::INTERFACES.iter().any(|known| *known == package || *known == interface)
}

#[cfg(test)]
mod tests {
    use super::is_known_import;

    #[test]
    fn only_firebox_interfaces_and_wasi_are_known() {
        for name in [
            "firebox:plugin/log@0.1.0",
            "firebox:plugin/progress@0.1.0",
            "firebox:plugin/types@0.1.3",
            "wasi:io/poll@0.2.3",
            "wasi:keyvalue/store@0.2.0-draft2",
            "wasi:logging/logging",
            "firebox:plugin/kv@0.1.0",
            "firebox:plugin/secrets@0.1.0",
            "firebox:plugin/metrics@0.1.0",
            "firebox:plugin/model@0.1.0",
            "wasi:http/outgoing-handler@0.2.12",
            "wasi:http/types@0.2.0",
        ] {
            assert!(is_known_import(name), "{name}");
        }
        for name in ["wasi:http/incoming-handler@0.2.0", "firebox:plugin/kv-more@0.1.0", "evil:log/log", "run", "", "@"]
        {
            assert!(!is_known_import(name), "{name}");
        }
    }
}
