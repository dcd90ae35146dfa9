//! How much memory this process has used.

/// Peak resident memory of this process in bytes; `None` where the system does not tell through `/proc`.
#[must_use]
pub fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #[test]
    fn the_peak_covers_what_was_touched() {
        let touched = vec![1u8; 64 << 20];
        let peak = super::peak_bytes().expect("linux tells");
        assert!(peak > touched.len() as u64, "{peak}");
    }
}
