//! `wasi:logging`: lines for the plugin's log, as `firebox:plugin/log` writes them.

use wasmtime::component::{HasSelf, Linker};

use crate::instance::guest::GuestData;

#[allow(unreachable_pub, missing_docs, reason = "generated code")]
mod plain {
    wasmtime::component::bindgen!({
        path: "../../wit",
        inline: "package firebox:host-logging; world imports { import wasi:logging/logging; }",
    });
}

#[allow(unreachable_pub, missing_docs, reason = "generated code")]
mod draft {
    wasmtime::component::bindgen!({
        path: "../../wit",
        inline: "package firebox:host-logging; world imports { import wasi:logging/logging@0.1.0-draft; }",
    });
}

use self::draft::wasi::logging0_1_0_draft::logging as draft_logging;
use self::plain::wasi::logging::logging as plain_logging;

/// Implements both versions, which are the same.
macro_rules! logging {
    ($($interface:ident),*) => {$(
        impl $interface::Host for GuestData {
            fn log(&mut self, level: $interface::Level, context: String, message: String) {
                let level = match level {
                    $interface::Level::Trace => "trace",
                    $interface::Level::Debug => "debug",
                    $interface::Level::Info => "info",
                    $interface::Level::Warn => "warn",
                    $interface::Level::Error | $interface::Level::Critical => "error",
                };
                match context.as_str() {
                    "" => self.log.write(level, &message),
                    context => self.log.write(level, &format!("{context}: {message}")),
                }
            }
        }
    )*};
}

logging!(plain_logging, draft_logging);

pub(super) fn link(linker: &mut Linker<GuestData>) -> wasmtime::Result<()> {
    plain_logging::add_to_linker::<GuestData, HasSelf<GuestData>>(linker, |data| data)?;
    draft_logging::add_to_linker::<GuestData, HasSelf<GuestData>>(linker, |data| data)
}
