//! Memory of this process: how much it has used, and what the allocator holds of it for nobody.

use firebox_contract::limits;

/// Peak resident memory of this process in bytes; `None` where the system does not tell through `/proc`.
#[must_use]
pub fn peak_bytes() -> Option<u64> {
    status_bytes("VmHWM:")
}

/// What `/proc` says of this process under `name`.
fn status_bytes(name: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with(name))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}

/// Gives back to the system, from time to time, the pages that the allocator holds and nobody uses. GNU's C library gives
/// back by itself only what lies at the end of its heaps, and a server's buffers, of all sizes and ages, leave holes before.
pub(crate) async fn keep_trimmed() {
    loop {
        tokio::time::sleep(limits::MEMORY_TRIM_PERIOD).await;
        // It takes milliseconds, which nobody's answer waits for there.
        let _panicked = tokio::task::spawn_blocking(trim).await;
    }
}

/// Whether anything was given back; other systems' allocators do so by themselves.
fn trim() -> bool {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it takes a number, and may be called whenever and by whichever thread.
    let trimmed = (unsafe { libc::malloc_trim(0) }) == 1;
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    let trimmed = false;
    trimmed
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #[test]
    #[cfg(target_env = "gnu")]
    fn holes_are_given_back() {
        let resident = || super::status_bytes("VmRSS:").expect("Linux tells");
        // Between two that stay, one that goes; each smaller than what the library has from the system.
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
        // Other tests come and go beside this one, with memory of their own.
        assert!((0..10).any(|_| seen()));
    }

    #[test]
    fn the_peak_covers_what_was_touched() {
        let touched = vec![1u8; 64 << 20];
        let peak = super::peak_bytes().expect("linux tells");
        assert!(peak > touched.len() as u64, "{peak}");
    }
}
