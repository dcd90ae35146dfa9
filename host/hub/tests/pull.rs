//! Downloads from an imitation of a hub on this machine, with its faults.

#[path = "../../../tests/harness/hub.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod fake;

#[path = "pull/faults.rs"]
mod faults;
#[path = "pull/names.rs"]
mod names;
#[path = "pull/together.rs"]
mod together;

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use fake::{COMMIT, FakeHub, HubFault};
use firebox_hub::{Hub, HubError, HubSettings, ModelName, PullEvent, Pulled};
use sha2::{Digest as _, Sha256};

/// A hub, an empty cache, and what was reported.
struct Bench {
    hub: FakeHub,
    folder: tempfile::TempDir,
    events: Mutex<Vec<String>>,
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes that differ everywhere, so that a wrong part is found.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// Bytes of the large file.
const LENGTH: usize = 300_000;
const GGUF: &str = "m-Q8_0.gguf";

impl Bench {
    /// With one GGUF file.
    fn new() -> Self {
        let hub = FakeHub::start();
        let bytes = noise(LENGTH);
        let tag = sha256(&bytes);
        hub.add("o/m", GGUF, bytes, &tag);
        Self { hub, folder: tempfile::tempdir().expect("a folder"), events: Mutex::default() }
    }

    fn settings(&self, more: &[(&str, &str)]) -> HubSettings {
        let home = self.folder.path().to_str().expect("UTF-8");
        let own = [("HF_HOME", home), ("HF_ENDPOINT", self.hub.endpoint.as_str())];
        let find = |name: &str| more.iter().chain(&own).find(|row| row.0 == name).map(|row| row.1.into());
        let mut settings = HubSettings::of_environment(&find).expect("valid");
        settings.retry.first_wait = Duration::from_millis(5);
        settings
    }

    fn client(&self) -> Hub {
        Hub::new(self.settings(&[]))
    }

    fn pull_with(&self, settings: HubSettings, name: &str) -> Result<Pulled, HubError> {
        let progress = |event: PullEvent<'_>| {
            if !matches!(event, PullEvent::Bytes { .. }) {
                self.events.lock().expect("not poisoned").push(format!("{event:?}"));
            }
        };
        block_on(Hub::new(settings).pull(&name.parse::<ModelName>()?, &progress))
    }

    fn pull(&self, name: &str) -> Result<Pulled, HubError> {
        self.pull_with(self.settings(&[]), name)
    }

    /// The message of a pull that fails.
    fn refused(&self, name: &str) -> String {
        let error = self.pull(name).expect_err("it fails");
        assert!(!self.snapshot().join(GGUF).exists(), "nothing has a name: {error}");
        error.to_string()
    }

    fn repo(&self) -> PathBuf {
        self.folder.path().join("hub/models--o--m")
    }

    fn snapshot(&self) -> PathBuf {
        self.repo().join("snapshots").join(COMMIT)
    }

    /// The file of a download that did not end.
    fn partial(&self) -> PathBuf {
        self.repo().join("blobs").join(format!("{}.incomplete", sha256(&noise(LENGTH))))
    }

    fn events(&self) -> String {
        self.events.lock().expect("not poisoned").join("\n")
    }

    fn assert_whole(&self) {
        assert_eq!(std::fs::read(self.snapshot().join(GGUF)).expect("there"), noise(LENGTH));
        assert!(!self.partial().exists());
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}
