//! The same prompt, seed and plugins give the same text on the CPU and on Vulkan.

use crate::harness::{Firebox, has_vulkan};

const PROMPTS: &[&[&str]] = &[
    &["What is 1234 * 87?"],
    &["--plugin", "redact", "How many r in strawberry? Ask ada@example.com"],
    &["--temperature", "0.8", "--seed", "7", "12 km in miles"],
];

#[test]
fn both_devices_give_the_same_text() {
    assert!(has_vulkan(), "set FIREBOX_TEST_VULKAN=1 and give a Vulkan driver; tests/run does both");
    for prompt in PROMPTS {
        let on = |device: &str| {
            let fixed = ["run", "--json", "--device", device];
            Firebox::new(fixed.iter().chain(*prompt)).run().expect_code(0).json()
        };
        let (cpu, vulkan) = (on("cpu"), on("vulkan"));
        assert_ne!(cpu["device"], vulkan["device"], "two different devices answered");
        assert!(!cpu["text"].as_str().expect("text").is_empty());
        assert_eq!(cpu["text"], vulkan["text"], "{prompt:?}");
        assert_eq!(cpu["tool_calls"][0]["result"], vulkan["tool_calls"][0]["result"]);
        assert_eq!(cpu["usage"], vulkan["usage"]);
    }
}
