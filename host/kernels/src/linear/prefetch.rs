//! Requests for memory ahead of a stream of weights.
//!
//! A processor detects a stream and reads ahead of it, but not across a page of 4 KiB, and too little where a thread
//! computes for long between two reads.

/// Bytes between a read and the request that goes with it: half a page, about 100 ns of one thread's reads.
const DISTANCE: usize = 2_048;
/// The same for repacked weights, which are read faster.
#[cfg(target_arch = "x86_64")]
const FAR: usize = 4_096;
const LINE_BYTES: usize = 64;

/// Asks for the lines that come `DISTANCE` after the first `bytes` of `weights`. They may be outside of the slice: a
/// request for memory that is not there has no effect.
#[inline(always)]
pub(super) fn ahead(weights: &[u8], bytes: usize) {
    for at in (0..bytes).step_by(LINE_BYTES) {
        request(weights.as_ptr().wrapping_add(DISTANCE + at));
    }
}

/// As [`ahead`], for lines that come later.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(super) fn far_ahead(weights: &[u8], bytes: usize) {
    for at in (0..bytes).step_by(LINE_BYTES) {
        request(weights.as_ptr().wrapping_add(FAR + at));
    }
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn request(address: *const u8) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: a prefetch reads nothing, and every x86-64 processor has it.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
}

#[cfg(target_arch = "aarch64")]
#[inline(always)]
fn request(address: *const u8) {
    // SAFETY: a prefetch reads and changes nothing, and every AArch64 processor has it.
    unsafe { std::arch::asm!("prfm pldl1keep, [{0}]", in(reg) address, options(nostack, preserves_flags, readonly)) };
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
#[inline(always)]
fn request(_address: *const u8) {}
