//! The sandbox of this process, and how much memory the plugins of all requests have in it together.

use firebox_contract::{Error, limits};
use firebox_sandbox::{Notice, Sandbox, SandboxOptions};

use crate::compose::sandbox_options;
use crate::memory_limit::memory_limit;

/// A sandbox set up as every verb has it; `notice` hears what takes long. Its plugins have `bytes` of memory together, and at most
/// half of what the process may use. `notes` hears where that, or the address space, is less than was asked for.
///
/// # Errors
/// `Error::Unavailable` where the process may not have enough address space.
pub fn sandbox(bytes: usize, notice: Notice, notes: &mut Vec<String>) -> Result<Sandbox, Error> {
    let allowed = allowed(bytes, memory_limit());
    if allowed < bytes {
        notes.push(format!("plugins have {} MiB of memory together, half of what may be used", allowed >> 20));
    }
    let sandbox = Sandbox::new(SandboxOptions { pool_bytes: allowed, ..sandbox_options(notice) })?;
    notes.extend(sandbox.unpooled_because().map(str::to_owned));
    Ok(sandbox)
}

/// What of `bytes` plugins may have where the process may use `limit`.
fn allowed(bytes: usize, limit: Option<u64>) -> usize {
    let part =
        limit.map_or(usize::MAX, |limit| usize::try_from(limit / limits::PLUGIN_POOL_DIVISOR).unwrap_or(usize::MAX));
    bytes.min(part).max(limits::PLUGIN_POOL_BYTES_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plugins_have_half_of_what_the_process_may_use_and_never_less_than_a_few_need() {
        const MIB: usize = 1 << 20;
        assert_eq!(allowed(256 * MIB, None), 256 * MIB);
        assert_eq!(allowed(256 * MIB, Some(64 << 30)), 256 * MIB);
        assert_eq!(allowed(256 * MIB, Some(300 << 20)), 150 * MIB);
        assert_eq!(allowed(256 * MIB, Some(1 << 20)), limits::PLUGIN_POOL_BYTES_MIN);
    }
}
