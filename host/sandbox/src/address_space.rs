//! How much address space this process may still take, and what plugins get of it.
//!
//! A pool reserves 4 GiB for each memory, so that compiled code needs no bounds checks. Where a limit (`ulimit -v`) leaves
//! less than that, memories come from the system when they are needed, each as large as it is, and fewer at a time.

use firebox_contract::limits;

use crate::error::SandboxError;
use crate::pool::Amount;
use crate::runtime::{Allocation, SLOT_BYTES};

/// What there will be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) allocation: Allocation,
    pub(crate) capacity: Amount,
    /// Why it is less than was asked for.
    pub(crate) because: Option<String>,
}

/// What to make of `asked` and `wanted` where `left` bytes of address space are left; none is no limit.
///
/// # Errors
/// `SandboxError::AddressSpace` if not even the least fits.
pub(crate) fn plan(asked: Allocation, wanted: Amount, left: Option<u64>) -> Result<Plan, SandboxError> {
    let Some(left) = left else { return Ok(Plan { allocation: asked, capacity: wanted, because: None }) };
    let part = left / limits::PLUGIN_POOL_DIVISOR;
    if asked == Allocation::Pooled && reserved(wanted.memories) <= part {
        return Ok(Plan { allocation: asked, capacity: wanted, because: None });
    }
    // Half for the memories, which may be there twice for a moment when they grow, and half for what lies around them.
    let half = usize::try_from(part / 2).unwrap_or(usize::MAX);
    let bytes = wanted.bytes.min(half / 2);
    if half / 2 < limits::PLUGIN_POOL_BYTES_MIN {
        let needed = limits::PLUGIN_POOL_BYTES_MIN as u64 * 4 * limits::PLUGIN_POOL_DIVISOR;
        return Err(SandboxError::AddressSpace { left: left >> 20, needed: needed >> 20 });
    }
    let capacity = Amount { memories: wanted.memories.min(half / limits::PLUGIN_INSTANCE_SPACE_BYTES), bytes };
    let because = format!(
        "{} MiB of address space are left, so plugins have no pool and at most {} memories with {} MiB",
        left >> 20,
        capacity.memories,
        capacity.bytes >> 20
    );
    Ok(Plan { allocation: Allocation::OnDemand, capacity, because: Some(because) })
}

/// Bytes of address space that a pool of so many memories reserves, roughly: a guard lies beside each of them.
fn reserved(memories: usize) -> u64 {
    (memories as u64).saturating_mul(SLOT_BYTES as u64 + (64 << 20))
}

/// Bytes of address space that this process may still take; none where nothing limits it.
#[cfg(target_os = "linux")]
pub(crate) fn left() -> Option<u64> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::As).current?;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmSize:")).unwrap_or_default();
    let kib: u64 = line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).unwrap_or_default();
    Some(limit.saturating_sub(kib.saturating_mul(1024)))
}

/// Bytes of address space that this process may still take; none where nothing limits it.
#[cfg(not(target_os = "linux"))]
pub(crate) fn left() -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const WANTED: Amount = Amount { memories: 512, bytes: 256 << 20 };

    #[test]
    fn what_fits_is_as_asked() {
        for left in [None, Some(1 << 46)] {
            let plan = plan(Allocation::Pooled, WANTED, left).expect("it fits");
            assert_eq!(plan, Plan { allocation: Allocation::Pooled, capacity: WANTED, because: None });
        }
    }

    #[test]
    fn under_a_limit_there_are_fewer_and_it_says_so() {
        let mut before = Amount::default();
        for left in [256 << 20, 512 << 20, 1 << 30, 8 << 30, 1 << 40] {
            let plan = plan(Allocation::Pooled, WANTED, Some(left)).expect("it fits");
            let Amount { memories, bytes } = plan.capacity;
            assert_eq!(plan.allocation, Allocation::OnDemand);
            assert!(plan.because.is_some_and(|because| because.contains(&format!("{} MiB", left >> 20))));
            assert!(memories >= before.memories.max(1) && bytes >= before.bytes.max(limits::PLUGIN_POOL_BYTES_MIN));
            let space = 2 * bytes + memories * limits::PLUGIN_INSTANCE_SPACE_BYTES;
            assert!(space as u64 <= left / limits::PLUGIN_POOL_DIVISOR, "{left}: {space}");
            before = plan.capacity;
        }
        assert_eq!(before, WANTED);
    }

    #[test]
    fn where_the_least_does_not_fit_it_is_refused_with_the_numbers() {
        let error = plan(Allocation::Pooled, WANTED, Some(255 << 20)).expect_err("too little").to_string();
        assert!(error.contains("256 MiB") && error.contains("255 MiB") && error.contains("ulimit -v"), "{error}");
    }
}
