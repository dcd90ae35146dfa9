//! Buffers of f32. Buffers of a step come from the allocator, which reuses them at once. A large buffer that lives
//! longer, such as a KV cache, gets memory pages of its own: caches of all sizes come and go, and between the buffers
//! of steps they would leave holes that fit no other buffer, so that a server grew by a fifth in ten minutes. (If all
//! large buffers came from the system, their page faults would cost a step a fifth of its time.)

use std::ops::{Deref, DerefMut};

use firebox_contract::limits::KV_CACHE_OWN_PAGES_BYTES;
use memmap2::MmapMut;

/// An owned slice of f32.
#[derive(Debug)]
pub(super) enum FloatBuffer {
    Plain(Vec<f32>),
    Pages(MmapMut),
}

impl FloatBuffer {
    /// Zeros from the allocator.
    pub(super) fn zeros(count: usize) -> Self {
        Self::Plain(vec![0.0; count])
    }

    /// Zeros in memory pages of their own, if there are at least `KV_CACHE_OWN_PAGES_BYTES` and the system has pages.
    pub(super) fn mapped(count: usize) -> Self {
        let bytes = count.saturating_mul(size_of::<f32>());
        let many = bytes >= KV_CACHE_OWN_PAGES_BYTES;
        many.then(|| MmapMut::map_anon(bytes).ok()).flatten().map_or_else(|| Self::zeros(count), Self::Pages)
    }
}

impl Deref for FloatBuffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match self {
            Self::Plain(values) => values,
            // Pages are aligned for any number, and the mapping has the bytes of whole numbers.
            Self::Pages(pages) => bytemuck::cast_slice(pages),
        }
    }
}

impl DerefMut for FloatBuffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        match self {
            Self::Plain(values) => values,
            Self::Pages(pages) => bytemuck::cast_slice_mut(pages),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_zero_and_keep_their_values() {
        let many = KV_CACHE_OWN_PAGES_BYTES / size_of::<f32>();
        for count in [0, 1, many - 1, many, many + 1, 3 * many + 7] {
            for mut floats in [FloatBuffer::zeros(count), FloatBuffer::mapped(count)] {
                assert_eq!(floats.len(), count);
                assert!(floats.iter().all(|value| *value == 0.0));
                floats.iter_mut().enumerate().for_each(|(at, value)| *value = at as f32);
                assert!(floats.iter().enumerate().all(|(at, value)| *value == at as f32));
            }
        }
        assert!(matches!(FloatBuffer::mapped(many), FloatBuffer::Pages(_)));
        assert!(matches!(FloatBuffer::mapped(many - 1), FloatBuffer::Plain(_)));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn memory_pages_are_freed_when_a_buffer_is_dropped() {
        const COUNT: usize = 16 << 20;
        let resident = || -> usize {
            let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
            let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("its resident memory");
            line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number of KiB")
        };
        let kib = COUNT * size_of::<f32>() / 1_024;
        let seen = || {
            let before = resident();
            let mut floats = FloatBuffer::mapped(COUNT);
            floats.fill(1.0);
            let there = resident();
            drop(floats);
            there > before + kib * 3 / 4 && resident() < there - kib / 2
        };
        // Other tests run at the same time and use memory of their own.
        assert!((0..10).any(|_| seen()));
    }
}
