//! The address space that this process may still use, and the part of it that plugins get.
//!
//! The pooling allocator reserves 4 GiB for each memory, so that compiled code needs no bounds checks. If a limit
//! (`ulimit -v`) leaves too little address space, memories are allocated on demand, at their actual size, and fewer of them
//! may exist at a time.

use firebox_contract::limits;

use crate::error::SandboxError;
use crate::instance::pool::Amount;
use crate::runtime::{Allocation, SLOT_BYTES};

/// The memory that plugins get.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct MemoryPlan {
    pub(crate) allocation: Allocation,
    pub(crate) capacity: Amount,
    /// The reason, if this is less than was asked for.
    pub(crate) reason: Option<String>,
}

/// The plan for the allocation `asked` and the capacity `wanted` if `left` bytes of address space are left. `None` means no
/// limit.
///
/// # Errors
/// `SandboxError::AddressSpace` if not even the minimum fits.
pub(crate) fn plan(asked: Allocation, wanted: Amount, left: Option<u64>) -> Result<MemoryPlan, SandboxError> {
    let Some(left) = left else { return Ok(MemoryPlan { allocation: asked, capacity: wanted, reason: None }) };
    let part = left / limits::PLUGIN_POOL_DIVISOR;
    if asked == Allocation::Pooled && reserved(wanted.memories) <= part {
        return Ok(MemoryPlan { allocation: asked, capacity: wanted, reason: None });
    }
    // Half is for the memories, which exist twice for a moment when they grow. Half is for stacks, tables and guard pages.
    let half = usize::try_from(part / 2).unwrap_or(usize::MAX);
    let bytes = wanted.bytes.min(half / 2);
    if half / 2 < limits::PLUGIN_POOL_BYTES_MIN {
        let needed = limits::PLUGIN_POOL_BYTES_MIN as u64 * 4 * limits::PLUGIN_POOL_DIVISOR;
        return Err(SandboxError::AddressSpace { left: left >> 20, needed: needed >> 20 });
    }
    let capacity = Amount { memories: wanted.memories.min(half / limits::PLUGIN_INSTANCE_SPACE_BYTES), bytes };
    let reason = format!(
        "{} MiB of address space are left, so plugins have no pool and at most {} memories with {} MiB",
        left >> 20,
        capacity.memories,
        capacity.bytes >> 20
    );
    Ok(MemoryPlan { allocation: Allocation::OnDemand, capacity, reason: Some(reason) })
}

/// Bytes of address space that a pool of `memories` memories reserves, with an estimate for the guard region of each.
fn reserved(memories: usize) -> u64 {
    (memories as u64).saturating_mul(SLOT_BYTES as u64 + (64 << 20))
}

/// Bytes of address space that this process may still use. `None` without a limit.
#[cfg(target_os = "linux")]
pub(crate) fn left() -> Option<u64> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::As).current?;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmSize:")).unwrap_or_default();
    let kib: u64 = line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).unwrap_or_default();
    Some(limit.saturating_sub(kib.saturating_mul(1024)))
}

/// Bytes of address space that this process may still use. `None` without a limit.
#[cfg(not(target_os = "linux"))]
pub(crate) fn left() -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const WANTED: Amount = Amount { memories: 512, bytes: 256 << 20 };

    #[test]
    fn a_capacity_that_fits_is_granted_as_asked() {
        for left in [None, Some(1 << 46)] {
            let plan = plan(Allocation::Pooled, WANTED, left).expect("it fits");
            assert_eq!(plan, MemoryPlan { allocation: Allocation::Pooled, capacity: WANTED, reason: None });
        }
    }

    #[test]
    fn a_limit_reduces_the_capacity_and_the_plan_gives_the_reason() {
        let mut before = Amount::default();
        for left in [256 << 20, 512 << 20, 1 << 30, 8 << 30, 1 << 40] {
            let plan = plan(Allocation::Pooled, WANTED, Some(left)).expect("it fits");
            let Amount { memories, bytes } = plan.capacity;
            assert_eq!(plan.allocation, Allocation::OnDemand);
            assert!(plan.reason.is_some_and(|reason| reason.contains(&format!("{} MiB", left >> 20))));
            assert!(memories >= before.memories.max(1) && bytes >= before.bytes.max(limits::PLUGIN_POOL_BYTES_MIN));
            let space = 2 * bytes + memories * limits::PLUGIN_INSTANCE_SPACE_BYTES;
            assert!(space as u64 <= left / limits::PLUGIN_POOL_DIVISOR, "{left}: {space}");
            before = plan.capacity;
        }
        assert_eq!(before, WANTED);
    }

    #[test]
    fn too_little_address_space_for_the_minimum_is_an_error_with_both_numbers() {
        let error = plan(Allocation::Pooled, WANTED, Some(255 << 20)).expect_err("too little").to_string();
        assert!(error.contains("256 MiB") && error.contains("255 MiB") && error.contains("ulimit -v"), "{error}");
    }
}
