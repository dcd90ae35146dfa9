//! The child process: reads a component, compiles it and writes the answer.

use std::io::{self, Read, Write};

use firebox_contract::limits as max;

use super::limits::{CompileLimits, set_limits};
use crate::runtime;

/// Bytes before the answer itself: its kind, and its length in bytes.
pub(super) const ANSWER_HEADER_BYTES: usize = 9;
const COMPONENT: u8 = 1;
const REASON: u8 = 0;

/// Compiles the component that comes on `input`, and writes the answer to `output`. First it sets limits on the whole
/// process, which cannot be raised again. So call it only in a process that a
/// [`CompilerCommand`](super::CompilerCommand) started and that does nothing else.
///
/// # Errors
/// The system's error, if a pipe breaks or a limit cannot be set.
pub fn compile_component(mut input: impl Read, mut output: impl Write) -> io::Result<()> {
    end_with_the_host();
    let [cpu_seconds, memory_bytes, compatibility] = CompileLimits::read_header(&mut input)?;
    set_limits(cpu_seconds, memory_bytes)?;
    let mut bytes = Vec::new();
    input.take(max::PLUGIN_COMPONENT_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    let compiled = compile(&bytes, compatibility);
    let (kind, answer) = match &compiled {
        Ok(component) => (COMPONENT, component.as_slice()),
        Err(reason) => {
            (REASON, crate::instance::log::cut(reason, max::PLUGIN_COMPILE_OUTPUT_BYTES_MAX as usize).as_bytes())
        }
    };
    output.write_all(&[kind])?;
    output.write_all(&(answer.len() as u64).to_le_bytes())?;
    output.write_all(answer)?;
    output.flush()
}

/// Asks the system to kill this process when its parent ends for any reason.
#[cfg(target_os = "linux")]
fn end_with_the_host() {
    // If the system refuses, the time limits end this process.
    let _tied = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
}

#[cfg(not(target_os = "linux"))]
fn end_with_the_host() {}

fn compile(bytes: &[u8], compatibility: u64) -> Result<Vec<u8>, String> {
    let engine =
        runtime::compiler(compatibility).map_err(|error| format!("the compiler cannot be set up: {error:#}"))?;
    let engine = engine.ok_or("the compiler has another version than the host that started it")?;
    engine.precompile_component(bytes).map_err(|error| format!("{error:#}"))
}

/// Whether the answer is a component, and its length in bytes.
pub(super) fn read_header(header: [u8; ANSWER_HEADER_BYTES]) -> (bool, u64) {
    let [kind, length @ ..] = header;
    (kind == COMPONENT, u64::from_le_bytes(length))
}
