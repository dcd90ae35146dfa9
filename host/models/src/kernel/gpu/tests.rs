use burn::tensor::Device;

use crate::device::{OpenOptions, open};

/// The GPU of the tests, where the environment says that there is one, as `tests/run` sees to.
pub(in crate::kernel) fn test_gpus() -> Vec<Device> {
    let asked = std::env::var("FIREBOX_TEST_VULKAN").is_ok_and(|value| value == "1");
    let choice = "vulkan".parse().expect("vulkan is the name of a device");
    let opened = || open(&choice, &OpenOptions::default()).expect("FIREBOX_TEST_VULKAN=1 says that there is one");
    if asked { vec![opened().device] } else { Vec::new() }
}
