//! Opens devices the same way for every command.

use firebox_contract::Error;
use firebox_models::device::{self, DeviceChoice, OpenOptions, Opened, TestChild};

use crate::system::directories::cache_dir;

/// Opens a device. An adapter without a cached verdict is tested in a child process first, because a driver may crash.
///
/// # Errors
/// `Error::Model` if the named device is missing or does not work.
pub fn open_device(choice: &DeviceChoice) -> Result<Opened, Error> {
    Ok(device::open(choice, &device_options())?)
}

/// The options for opening and testing devices: this program as the child process, and the user's cache for verdicts.
#[must_use]
pub fn device_options() -> OpenOptions {
    OpenOptions {
        test_child: TestChild::current_program().ok(),
        verdict_cache_dir: cache_dir("devices"),
        weights_bytes: None,
    }
}
