//! Machines with no driver, a driver that crashes, and a driver that works.

use std::path::Path;
use std::process::Command;

use crate::harness::{Firebox, Run, root};

/// The environment that a script of `tests/tools` prints. The script downloads missing files once per machine.
pub(super) fn environment(tool: &str) -> Vec<(String, String)> {
    let script = root().join("tests/tools").join(tool);
    let output = Command::new(&script).output().unwrap_or_else(|error| panic!("{}: {error}", script.display()));
    assert!(output.status.success(), "{tool}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let assignments = text.lines().filter_map(|line| line.strip_prefix("export ")?.split_once('='));
    assignments.map(|(name, value)| (name.to_owned(), value.trim_matches('\'').to_owned())).collect()
}

fn run(args: &[&str], driver: &[(String, String)], cache: &Path) -> Run {
    let firebox = Firebox::new(args).env("FIREBOX_CACHE", cache);
    driver.iter().fold(firebox, |firebox, (name, value)| firebox.env(name, value)).run()
}

fn no_driver() -> Vec<(String, String)> {
    ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"].map(|name| (name.to_owned(), "/nonexistent".to_owned())).to_vec()
}

fn chosen(run: &Run) -> Vec<String> {
    let rows = run.stdout.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
    rows.filter(|row| row["chosen"] == true).map(|row| row["device"].as_str().expect("a name").to_owned()).collect()
}

/// The lines of standard error with the reason why the CPU is used.
fn reasons(run: &Run) -> Vec<&str> {
    run.stderr.lines().filter(|line| line.contains("running on the CPU: ")).collect()
}

const QUESTION: &[&str] = &["run", "--max-tokens", "16", "What is 1234 * 87?"];

#[test]
fn without_a_driver_the_cpu_is_used_and_one_line_gives_the_reason() {
    let cache = tempfile::tempdir().expect("temporary directory");
    let answer = run(QUESTION, &no_driver(), cache.path()).expect_code(0);
    assert!(!answer.stdout.trim().is_empty());
    assert!(reasons(&answer).len() == 1 && reasons(&answer)[0].contains("no GPU found"), "{}", answer.stderr);
    let listed = run(&["devices", "--json"], &no_driver(), cache.path()).expect_code(0);
    assert_eq!(chosen(&listed), ["cpu"]);
}

#[test]
fn a_driver_that_crashes_is_skipped_and_named() {
    let cache = tempfile::tempdir().expect("temporary directory");
    let driver = environment("crashing-driver");
    let answer = run(QUESTION, &driver, cache.path()).expect_code(0);
    assert!(!answer.stdout.trim().is_empty());
    assert!(reasons(&answer).len() == 1 && reasons(&answer)[0].contains("SwiftShader"), "{}", answer.stderr);
    let named = run(&["devices", "--device", "vulkan"], &driver, cache.path()).expect_code(3);
    assert!(named.stderr.contains("SwiftShader") && named.stderr.contains("crashed its self test"), "{}", named.stderr);
    // The result is cached, so the second run does not wait for the crash.
    let again = run(&["devices", "--device", "vulkan"], &driver, cache.path()).expect_code(3);
    assert!(again.stderr.contains("when it was tested"), "{}", again.stderr);
}

#[test]
fn the_test_of_all_devices_survives_a_crashing_driver() {
    let cache = tempfile::tempdir().expect("temporary directory");
    let tested = run(&["devices", "--test"], &environment("crashing-driver"), cache.path()).expect_code(0);
    let row = |device: &str| {
        let mut lines = tested.stdout.lines();
        lines.find(|line| line.trim_start_matches('*').split_whitespace().next() == Some(device)).expect(device)
    };
    assert!(row("vulkan:0").contains("crashed its self test"), "{}", tested.stdout);
    assert!(row("cpu").contains("works:") && row("cpu").starts_with('*'), "{}", tested.stdout);
}

#[test]
fn a_software_adapter_is_ignored_unless_it_is_named() {
    ignored_unless_named_and_correct("swiftshader", "SwiftShader");
}

/// Lavapipe crashes if shared memory is declared with a wrong type.
#[test]
fn a_second_driver_computes_correct_results() {
    ignored_unless_named_and_correct("lavapipe", "llvmpipe");
}

fn ignored_unless_named_and_correct(tool: &str, name: &str) {
    let cache = tempfile::tempdir().expect("temporary directory");
    let driver = environment(tool);
    let automatic = run(&["devices", "--json"], &driver, cache.path()).expect_code(0);
    assert_eq!(chosen(&automatic), ["cpu"]);
    assert!(reasons(&automatic).len() == 1 && reasons(&automatic)[0].contains(name), "{}", automatic.stderr);
    let named = run(&["devices", "--json", "--test", "--device", "vulkan"], &driver, cache.path()).expect_code(0);
    assert_eq!(chosen(&named), ["vulkan:0"]);
    // A driver with the extension that the SPIR-V of cubecl needs gets SPIR-V.
    let languages = ["spirv", "wgsl"].map(|name| format!("\"shaders\":\"{name}\""));
    assert!(languages.iter().any(|language| named.stdout.contains(language)), "{}", named.stdout);
    for line in named.stdout.lines().filter(|line| line.contains("\"vulkan\"") || line.contains("\"api\":\"cpu\"")) {
        let row: serde_json::Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(row["test"]["ok"], true, "{line}");
        assert!(row["test"]["max_difference"].as_f64().expect("a number") < 1e-4, "{line}");
        assert!(row["test"]["gflops"].as_f64().expect("a number") > 0.0, "{line}");
    }
}

#[test]
fn the_environment_variable_selects_a_device_like_the_option() {
    let cache = tempfile::tempdir().expect("temporary directory");
    let run = Firebox::new(["devices", "--json"]).env("FIREBOX_CACHE", cache.path()).env("FIREBOX_DEVICE", "cpu").run();
    let run = run.expect_code(0);
    assert_eq!(chosen(&run), ["cpu"]);
    assert_eq!(run.stderr, "");
}

#[test]
fn the_error_for_a_missing_or_misspelt_device_lists_the_devices() {
    let cache = tempfile::tempdir().expect("temporary directory");
    let missing = run(&["devices", "--device", "vulkan:7"], &no_driver(), cache.path()).expect_code(3);
    assert!(missing.stderr.contains("\"vulkan:7\"") && missing.stderr.contains("cpu \"CPU"), "{}", missing.stderr);
    let misspelt = run(&["devices", "--device", "cuda"], &no_driver(), cache.path()).expect_code(2);
    assert!(misspelt.stderr.contains("\"cuda\"") && misspelt.stderr.contains("vulkan, metal"), "{}", misspelt.stderr);
}
