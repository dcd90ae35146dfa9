//! The limits of one compilation, and how the child process sets them on itself.

use std::io::{self, Read};
use std::time::Duration;

use firebox_contract::limits as max;

/// The limits of one compilation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CompileLimits {
    pub(super) cpu_seconds: u64,
    pub(super) memory_bytes: u64,
    pub(super) wall: Duration,
    /// Maximum bytes of the answer.
    pub(super) output_bytes: u64,
}

/// Bytes of the header that is sent before the component.
pub(super) const HEADER_BYTES: usize = 24;

impl CompileLimits {
    /// The limits for a component of `bytes` bytes with `code_bytes` bytes of code. They grow with the code, because the
    /// compilation of ordinary code takes time in proportion to its size.
    pub(super) fn of(code_bytes: u64, bytes: u64) -> Self {
        let per_mib = u32::try_from(code_bytes >> 10).unwrap_or(u32::MAX);
        let cpu = max::PLUGIN_COMPILE_CPU + max::PLUGIN_COMPILE_CPU_PER_MIB.saturating_mul(per_mib) / 1024;
        let memory = code_bytes.saturating_mul(max::PLUGIN_COMPILE_MEMORY_PER_BYTE);
        let output = bytes.saturating_mul(max::PLUGIN_COMPILED_PER_BYTE).saturating_add(max::PLUGIN_COMPILED_BYTES);
        Self {
            cpu_seconds: cpu.as_secs(),
            memory_bytes: max::PLUGIN_COMPILE_MEMORY_BYTES.saturating_add(memory),
            wall: Duration::from_secs(cpu.as_secs()).saturating_mul(max::PLUGIN_COMPILE_WALL_FACTOR),
            output_bytes: output.min(max::PLUGIN_ARTIFACT_BYTES_MAX),
        }
    }

    /// The limit of CPU time, for a message.
    pub(super) fn cpu(&self) -> String {
        format!("{} s of CPU time", self.cpu_seconds)
    }

    /// The limit of memory, for a message.
    pub(super) fn memory(&self) -> String {
        format!("{} MiB of memory", self.memory_bytes >> 20)
    }

    /// The limit of the answer, for a message.
    pub(super) fn output(&self) -> String {
        format!("{} bytes of compiled code", self.output_bytes)
    }

    /// The header that is sent before the component.
    pub(super) fn header(&self, compatibility: u64) -> Vec<u8> {
        [self.cpu_seconds, self.memory_bytes, compatibility].iter().flat_map(|number| number.to_le_bytes()).collect()
    }

    /// Reads a header: CPU seconds, memory in bytes, and the engine's compatibility hash.
    pub(super) fn read_header(input: &mut impl Read) -> io::Result<[u64; 3]> {
        let mut bytes = [0; HEADER_BYTES];
        input.read_exact(&mut bytes)?;
        let mut numbers = [0; 3];
        for (number, part) in numbers.iter_mut().zip(bytes.chunks_exact(8)) {
            *number = part.iter().rev().fold(0, |sum, byte| (sum << 8) | u64::from(*byte));
        }
        Ok(numbers)
    }
}

/// Sets the limits on this process, and lowers its priority. Only Linux can limit the memory that a process uses. On other
/// systems this does nothing, and the parent process limits wall-clock time and output only.
#[cfg(target_os = "linux")]
pub(super) fn set_limits(cpu_seconds: u64, memory_bytes: u64) -> io::Result<()> {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let limit = |most: u64, grace: u64| Rlimit { current: Some(most), maximum: Some(most.saturating_add(grace)) };
    setrlimit(Resource::Core, limit(0, 0))?;
    setrlimit(Resource::Cpu, limit(cpu_seconds, 1))?;
    setrlimit(Resource::Data, limit(memory_bytes, 0))?;
    firebox_cpu::priority::lower(firebox_contract::limits::PLUGIN_LOW_NICENESS);
    Ok(())
}

#[cfg(not(target_os = "linux"))]
pub(super) fn set_limits(_cpu_seconds: u64, _memory_bytes: u64) -> io::Result<()> {
    Ok(())
}
