use burn::tensor::Device;

use crate::device::tests::need_vulkan;
use crate::device::{OpenOptions, open};

/// The GPU of the tests.
pub(in crate::kernel) fn test_gpu() -> Device {
    need_vulkan();
    let choice = "vulkan".parse().expect("vulkan is the name of a device");
    open(&choice, &OpenOptions::default()).expect("FIREBOX_TEST_VULKAN=1 says that there is one").device
}
