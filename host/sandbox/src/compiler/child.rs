//! The other end: what the compiler's own process does.

use std::io::{self, Read, Write};

use firebox_contract::limits as max;

use super::limits::{CompileLimits, hold_to};
use crate::runtime;

/// Bytes before the answer itself: what it is, and its length.
pub(super) const ANSWER_HEADER_BYTES: usize = 9;
const COMPONENT: u8 = 1;
const WORDS: u8 = 0;

/// Compiles the component that comes on `input`, and answers on `output`. Limits the whole process first, for good: only for a
/// process that does nothing else, which a [`CompilerCommand`](super::CompilerCommand) started.
///
/// # Errors
/// The system's, for a pipe that breaks or a limit that it refuses.
pub fn compile_component(mut input: impl Read, mut output: impl Write) -> io::Result<()> {
    end_with_the_host();
    let [cpu_seconds, memory_bytes, compatibility] = CompileLimits::read_header(&mut input)?;
    hold_to(cpu_seconds, memory_bytes)?;
    let mut bytes = Vec::new();
    input.take(max::PLUGIN_COMPONENT_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    let compiled = compile(&bytes, compatibility);
    let (kind, answer) = match &compiled {
        Ok(component) => (COMPONENT, component.as_slice()),
        Err(words) => (WORDS, crate::log::cut(words, max::PLUGIN_COMPILE_OUTPUT_BYTES_MAX as usize).as_bytes()),
    };
    output.write_all(&[kind])?;
    output.write_all(&(answer.len() as u64).to_le_bytes())?;
    output.write_all(answer)?;
    output.flush()
}

/// Has the system kill this process when the one that waits for it ends, however that happens.
#[cfg(target_os = "linux")]
fn end_with_the_host() {
    // Where the system refuses, the limits of time end it.
    let _tied = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
}

#[cfg(not(target_os = "linux"))]
fn end_with_the_host() {}

fn compile(bytes: &[u8], compatibility: u64) -> Result<Vec<u8>, String> {
    let engine =
        runtime::compiler(compatibility).map_err(|error| format!("the compiler cannot be set up: {error:#}"))?;
    let engine = engine.ok_or("the compiler is of another version than the host that started it")?;
    engine.precompile_component(bytes).map_err(|error| format!("{error:#}"))
}

/// Whether the answer is a component, and its length in bytes.
pub(super) fn read_header(header: [u8; ANSWER_HEADER_BYTES]) -> (bool, u64) {
    let [kind, length @ ..] = header;
    (kind == COMPONENT, u64::from_le_bytes(length))
}
