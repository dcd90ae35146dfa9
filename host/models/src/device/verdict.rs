//! Records which adapters passed their test, so that each is tested once per driver version.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::report::AdapterReport;
use super::selftest::TestReport;
use super::{OpenOptions, child};

/// The result of an adapter's test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Verdict {
    /// [`AdapterReport::key`]. A record with another key belongs to another adapter.
    pub(super) key: String,
    /// The adapter's fault; `None` if it works.
    pub(super) fault: Option<String>,
}

/// Returns `Ok` if the adapter may be opened in this process.
///
/// # Errors
/// The adapter's fault.
pub(super) fn check(adapter: &AdapterReport, options: &OpenOptions) -> Result<(), String> {
    if options.test_child.is_none() {
        return Ok(());
    }
    let recorded = options.verdict_cache_dir.as_deref().and_then(|directory| load(directory, &adapter.key()));
    match recorded {
        Some(Verdict { fault: None, .. }) => Ok(()),
        Some(Verdict { fault: Some(fault), .. }) => {
            Err(format!("{fault} when it was tested (\"firebox devices --test\" tests it again)"))
        }
        None => test_and_record(adapter, options).map(|_| ()),
    }
}

/// Tests in a child process and records the outcome. If a record cannot be written, the adapter is tested again later.
///
/// # Errors
/// The adapter's fault, or the reason why the test could not start (which is not recorded).
pub(super) fn test_and_record(adapter: &AdapterReport, options: &OpenOptions) -> Result<TestReport, String> {
    let child = options.test_child.as_ref().ok_or("no way to test it in a process of its own was given")?;
    let outcome = match child::run(child, &adapter.choice()) {
        Ok(report) => report.judged(),
        Err(child::ChildFault::NotStarted(reason)) => return Err(format!("the test could not start: {reason}")),
        Err(child::ChildFault::Ended(reason)) => Err(reason),
    };
    if let Some(directory) = &options.verdict_cache_dir {
        let fault = outcome.as_ref().err().cloned();
        let _testing_again_is_fine = store(directory, &Verdict { key: adapter.key(), fault });
    }
    outcome
}

/// The record of `key`. `None` if there is none or it cannot be read.
pub(super) fn load(directory: &Path, key: &str) -> Option<Verdict> {
    let text = fs::read(path(directory, key)).ok()?;
    let verdict: Verdict = serde_json::from_slice(&text).ok()?;
    (verdict.key == key).then_some(verdict)
}

/// Writes a record atomically: a reader sees all of it or none.
pub(super) fn store(directory: &Path, verdict: &Verdict) -> std::io::Result<()> {
    fs::create_dir_all(directory)?;
    let target = path(directory, &verdict.key);
    let partial = target.with_extension(format!("{}.partial", std::process::id()));
    let written = fs::File::create(&partial)
        .and_then(|mut file| file.write_all(&serde_json::to_vec(verdict)?))
        .and_then(|()| fs::rename(&partial, &target));
    if written.is_err() {
        let _gone_already = fs::remove_file(&partial);
    }
    written
}

fn path(directory: &Path, key: &str) -> PathBuf {
    // FNV-1a (Fowler, Noll, Vo 1991), 64 bits, names the file. The key in the record detects collisions.
    let hash = key
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    directory.join(format!("device-{hash:016x}.json"))
}
