//! CPU time and memory of this process and its children.

/// CPU time and peak memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    pub(crate) cpu_milliseconds: u64,
    /// The larger peak of this process and its children, in MiB.
    pub(crate) peak_mib: u64,
}

impl Usage {
    /// The usage since the process started.
    #[cfg(target_os = "linux")]
    pub(crate) fn now() -> Self {
        let (own, children) = (read(libc::RUSAGE_SELF), read(libc::RUSAGE_CHILDREN));
        let time = |usage: &libc::rusage| milliseconds(usage.ru_utime) + milliseconds(usage.ru_stime);
        let peak_kib = own.ru_maxrss.max(children.ru_maxrss);
        Self { cpu_milliseconds: time(&own) + time(&children), peak_mib: peak_kib.unsigned_abs() / 1024 }
    }

    /// On other systems nothing is measured, and only the outcome is tested.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn now() -> Self {
        Self { cpu_milliseconds: 0, peak_mib: 0 }
    }

    /// The CPU time since `earlier`. The peak is that of the whole process.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        Self { cpu_milliseconds: self.cpu_milliseconds - earlier.cpu_milliseconds, peak_mib: self.peak_mib }
    }
}

#[cfg(target_os = "linux")]
fn milliseconds(time: libc::timeval) -> u64 {
    time.tv_sec.unsigned_abs() * 1_000 + time.tv_usec.unsigned_abs() / 1_000
}

#[cfg(target_os = "linux")]
fn read(whose: libc::c_int) -> libc::rusage {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the pointer is to a complete structure that outlives the call, and all zeros are a valid value of it.
    unsafe {
        libc::getrusage(whose, usage.as_mut_ptr());
        usage.assume_init()
    }
}
