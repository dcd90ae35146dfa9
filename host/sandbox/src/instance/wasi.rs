//! WASI 0.2 without access to the system, for components built for wasip2: no environment, arguments, files or sockets.
//! Standard output and error become lines of the plugin's log. The runtimes of some languages need a clock and random numbers
//! to start. Without a grant they get substitutes that reveal nothing about the machine: a virtual clock, and random numbers
//! derived from the request and the plugin's name. With a grant they get the machine's own.

mod clock;
mod files;

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use firebox_contract::limits;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::io::AsyncWrite;
use wasmtime::component::{Linker, ResourceTable};
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxView};

use crate::instance::guest::GuestData;
use crate::instance::identity::GuestIdentity;
use crate::instance::log::PluginLog;
use crate::plugin::grants::capability::{Capability, Use};

use self::clock::{FrozenWallClock, VirtualClock};

/// The packages of WASI 0.2 that components may import.
pub(crate) const PACKAGES: &[&str] =
    &["wasi:cli", "wasi:clocks", "wasi:filesystem", "wasi:io", "wasi:random", "wasi:sockets"];

/// Bytes a guest may write to a stream at once.
const STREAM_PERMIT_BYTES: usize = 4_096;

/// The WASI state of one instance. It is created when the guest first calls WASI, which most guests never do.
pub(crate) struct Wasi {
    context: WasiCtx,
    table: ResourceTable,
    /// The substitute for the machine's monotonic clock, if that is not granted.
    clock: Option<VirtualClock>,
}

impl Wasi {
    /// State that writes to `log` and has the grants of `identity`.
    pub(crate) fn new(log: &PluginLog, identity: &GuestIdentity) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits::PLUGIN_HANDLES_MAX);
        let mut context = WasiCtx::builder();
        context
            .stdout(LogStream { log: log.clone(), level: "info" })
            // A panicking guest prints here. Logged as an error, the line becomes the message of the trap that follows.
            .stderr(LogStream { log: log.clone(), level: "error" })
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false)
            .max_random_size(limits::PLUGIN_RANDOM_BYTES_MAX);
        for (name, path) in identity.permissions.folders() {
            // `..` and links cannot lead out of the folder: wasmtime-wasi resolves each path inside it.
            if let Err(error) = context.preopened_dir(path, format!("/{name}"), FsPerms::ReadOnly) {
                log.write("warn", &format!("the folder \"{name}\" cannot be opened: {error}"));
            }
        }
        let has = |capability| identity.permissions.allow(&Use::Of(capability));
        // Without a grant the time is 1970. A fixed time stands in for the machine's.
        let time = if has(Capability::Clock) { identity.shared.services.time } else { Some(Duration::ZERO) };
        let clock = time.is_some().then(VirtualClock::default);
        if let (Some(clock), Some(time)) = (clock.clone(), time) {
            context.monotonic_clock(clock).wall_clock(FrozenWallClock(time));
        }
        if !has(Capability::Random) {
            let number = |purpose| StdRng::from_seed(identity.seed(purpose));
            let mut seed = [0; 16];
            seed.copy_from_slice(&identity.seed("insecure seed")[..16]);
            context
                .secure_random(number("random"))
                .insecure_random(number("insecure random"))
                .insecure_random_seed(u128::from_le_bytes(seed));
        }
        Self { context: context.build(), table, clock }
    }

    /// The handles of the guest.
    pub(crate) fn table(&mut self) -> &mut ResourceTable {
        &mut self.table
    }

    /// The state as the host functions of WASI need it.
    pub(crate) fn view(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.context, table: &mut self.table }
    }
}

/// Adds WASI to the imports of guests.
///
/// # Errors
/// Wasmtime's error, if a name is defined twice.
pub(crate) fn link(linker: &mut Linker<GuestData>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    clock::link(linker)?;
    files::link(linker)
}

/// An output stream whose lines become lines of the log.
#[derive(Clone)]
struct LogStream {
    log: PluginLog,
    level: &'static str,
}

impl LogStream {
    fn lines(&self, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            self.log.write(self.level, line);
        }
    }
}

impl IsTerminal for LogStream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for LogStream {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        // Only WASI 0.3 uses this stream, and WASI 0.3 is not linked.
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(LineStream { to: self.clone(), partial: Vec::new() })
    }
}

/// Buffers bytes until a line is complete or too long.
struct LineStream {
    to: LogStream,
    partial: Vec<u8>,
}

impl OutputStream for LineStream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.partial.extend_from_slice(&bytes);
        if let Some(end) = self.partial.iter().rposition(|byte| *byte == b'\n') {
            let rest = self.partial.split_off(end + 1);
            self.to.lines(&std::mem::replace(&mut self.partial, rest));
        }
        if self.partial.len() > limits::PLUGIN_LOG_LINE_BYTES_MAX {
            self.to.lines(&std::mem::take(&mut self.partial));
        }
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(STREAM_PERMIT_BYTES)
    }
}

impl Drop for LineStream {
    fn drop(&mut self) {
        self.to.lines(&self.partial);
    }
}

impl Pollable for LineStream {
    fn ready<'life, 'future>(&'life mut self) -> Pin<Box<dyn Future<Output = ()> + Send + 'future>>
    where
        'life: 'future,
        Self: 'future,
    {
        Box::pin(std::future::ready(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_logged_when_it_is_complete_or_the_stream_ends() {
        let log = PluginLog::default();
        let mut stream = LogStream { log: log.clone(), level: "error" }.p2_stream();
        stream.write(Bytes::from_static(b"thread panicked at src/lib.rs:1:\nout of ")).expect("written");
        assert_eq!(log.take("p").len(), 1);
        stream.write(Bytes::from_static(b"cheese\n\n")).expect("written");
        assert_eq!(log.last_error().as_deref(), Some("out of cheese"));
        stream.write(Bytes::from_static(b"begun")).expect("written");
        drop(stream);
        assert_eq!(log.last_error().as_deref(), Some("begun"));
    }
}
