//! Memory of this process: its peak, and returning unused pages to the system.

use firebox_contract::limits;

/// Peak resident memory of this process in bytes; `None` on systems without `/proc`.
#[must_use]
pub fn peak_bytes() -> Option<u64> {
    status_bytes("VmHWM:")
}

/// Resident memory of this process in bytes, mapped pages of files included; `None` on systems without `/proc`.
#[must_use]
pub fn resident_bytes() -> Option<u64> {
    status_bytes("VmRSS:")
}

/// The value of `name` in `/proc/self/status`, in bytes.
fn status_bytes(name: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with(name))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}

/// Returns free pages of the allocator to the system every [`limits::MEMORY_TRIM_PERIOD`]. The GNU C library itself returns only
/// pages at the end of a heap, and the buffers of a server leave free pages before the end.
pub(crate) async fn keep_trimmed() {
    loop {
        tokio::time::sleep(limits::MEMORY_TRIM_PERIOD).await;
        // It takes milliseconds, so it runs on a thread for blocking work.
        let _panicked = tokio::task::spawn_blocking(trim).await;
    }
}

/// Returns whether pages were returned. Allocators of other systems return pages themselves.
fn trim() -> bool {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: the function takes a number and may be called at any time by any thread.
    let trimmed = (unsafe { libc::malloc_trim(0) }) == 1;
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    let trimmed = false;
    trimmed
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #[test]
    #[cfg(target_env = "gnu")]
    fn free_pages_between_used_ones_are_returned() {
        let resident = || super::resident_bytes().expect("Linux tells");
        // Every second buffer is freed. Each is smaller than the heaps that the library gets from the system.
        const SIZE: usize = 64 << 10;
        const COUNT: usize = 1_024;
        let seen = || {
            let mut buffers: Vec<Option<Vec<u8>>> = (0..COUNT).map(|_| Some(vec![1; SIZE])).collect();
            buffers.iter_mut().step_by(2).for_each(|buffer| *buffer = None);
            let before = resident();
            let (trimmed, half) = (super::trim(), (SIZE * COUNT / 2) as u64);
            assert!(buffers.iter().flatten().all(|buffer| *buffer == [1; SIZE]));
            trimmed && resident() < before - half / 2
        };
        // Other tests allocate and free memory at the same time, so several attempts are made.
        assert!((0..10).any(|_| seen()));
    }

    #[test]
    fn the_peak_includes_touched_memory() {
        let touched = vec![1u8; 64 << 20];
        let peak = super::peak_bytes().expect("linux tells");
        assert!(peak > touched.len() as u64, "{peak}");
    }
}
