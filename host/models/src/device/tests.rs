//! Devices without a GPU, and devices on the Vulkan driver of `tests/run`.

use std::env;
use std::process::Command;
use std::time::Duration;

use super::*;

/// Fails if the tests have no Vulkan driver: a test that checks nothing would pass.
pub(crate) fn need_vulkan() {
    let has = env::var("FIREBOX_TEST_VULKAN").is_ok_and(|value| value == "1");
    assert!(has, "set FIREBOX_TEST_VULKAN=1 and install a Vulkan driver; tests/run does both");
}

fn sh(script: &str) -> TestChild {
    TestChild {
        program: "/bin/sh".into(),
        arguments: vec!["-c".into(), script.into()],
        timeout: Duration::from_secs(5),
    }
}

fn adapter(name: &str) -> AdapterReport {
    AdapterReport { api: "vulkan", name: name.to_owned(), kind: AdapterKind::Discrete, ..AdapterReport::cpu() }
}

fn options(script: &str, cache: &tempfile::TempDir) -> OpenOptions {
    OpenOptions {
        test_child: Some(sh(script)),
        verdict_cache_dir: Some(cache.path().join("firebox")),
        weights_bytes: None,
    }
}

const WORKS: &str = r#"echo '{"ok":true,"max_difference":1e-6,"worst":"matmul","seconds":0.1,"gflops":1.0}'"#;

#[test]
fn names_survive_a_round_trip() {
    for text in ["auto", "cpu", "vulkan", "vulkan:0", "metal:2", "dx12", "webgpu:1"] {
        assert_eq!(text.parse::<DeviceChoice>().expect(text).to_string(), text);
    }
}

#[test]
fn bad_names_are_quoted_with_the_forms() {
    for text in ["", "cuda", "vulkan:", "vulkan:x", "vulkan:-1", "vulkan:0:1", "VULKAN", "auto:0"] {
        let message = text.parse::<DeviceChoice>().expect_err(text).to_string();
        assert!(message.contains(&format!("\"{text}\"")), "{message}");
        assert!(message.contains("auto, vulkan, metal, dx12, webgpu, cpu"), "{message}");
    }
}

#[test]
fn the_error_of_a_missing_device_lists_the_devices() {
    for text in ["vulkan:99", "cpu:1", if cfg!(target_os = "macos") { "dx12" } else { "metal" }] {
        let choice: DeviceChoice = text.parse().expect(text);
        let message = open(&choice, &OpenOptions::default()).expect_err(text).to_string();
        assert!(message.contains(&format!("\"{text}\"")) && message.contains("cpu \"CPU"), "{message}");
    }
}

#[test]
fn a_verdict_is_read_back_and_belongs_to_one_driver_version() {
    let cache = tempfile::tempdir().expect("temporary directory");
    let gpu = adapter("GPU");
    let crashed = verdict::Verdict { key: gpu.key(), fault: Some("crashed".to_owned()) };
    verdict::store(cache.path(), &crashed).expect("stores");
    assert_eq!(verdict::load(cache.path(), &gpu.key()), Some(crashed));
    let updated = AdapterReport { driver_info: "2.0".to_owned(), ..gpu };
    assert_eq!(verdict::load(cache.path(), &updated.key()), None);
}

#[test]
fn a_damaged_verdict_leads_to_another_test() {
    let cache = tempfile::tempdir().expect("temporary directory");
    let gpu = adapter("GPU");
    verdict::store(cache.path(), &verdict::Verdict { key: gpu.key(), fault: None }).expect("stores");
    let file = std::fs::read_dir(cache.path()).expect("lists").flatten().next().expect("one file").path();
    std::fs::write(file, b"{\"key\":").expect("damages");
    assert_eq!(verdict::load(cache.path(), &gpu.key()), None);
}

#[cfg(unix)]
#[test]
fn a_crash_is_reported_once_and_remembered() {
    let cache = tempfile::tempdir().expect("temporary directory");
    let crash = options("kill -SEGV $$", &cache);
    let first = verdict::check(&adapter("GPU"), &crash).expect_err("crashes");
    assert!(first.contains("signal 11"), "{first}");
    // The test would pass now, but the recorded verdict is used.
    let fixed = options(WORKS, &cache);
    let second = verdict::check(&adapter("GPU"), &fixed).expect_err("remembered");
    assert!(second.contains("signal 11") && second.contains("devices --test"), "{second}");
    test_in_child(&adapter("GPU"), &fixed).expect("tests again when told to");
    verdict::check(&adapter("GPU"), &crash).expect("works, as remembered");
}

#[cfg(unix)]
#[test]
fn a_test_without_end_report_or_success_is_a_fault() {
    let cache = tempfile::tempdir().expect("temporary directory");
    let cases = [
        ("echo boom >&2; exit 3", "boom"),
        ("exit 0", "without a report"),
        (r#"echo '{"ok":false,"max_difference":0.5,"worst":"gather","seconds":0.1,"gflops":1.0}'"#, "\"gather\""),
        ("exec sleep 100", "did not end"),
    ];
    for (script, expected) in cases {
        let mut options = options(script, &cache);
        if let Some(child) = &mut options.test_child {
            child.timeout = Duration::from_millis(500);
        }
        let message = test_in_child(&adapter(script), &options).expect_err(script);
        assert!(message.contains(expected), "{message} should contain {expected}");
    }
}

#[test]
fn a_test_that_cannot_start_is_no_verdict() {
    let cache = tempfile::tempdir().expect("temporary directory");
    let nowhere = TestChild { program: "/nowhere/firebox".into(), ..sh("") };
    let options = OpenOptions {
        test_child: Some(nowhere),
        verdict_cache_dir: Some(cache.path().to_owned()),
        weights_bytes: None,
    };
    verdict::check(&adapter("GPU"), &options).expect_err("cannot start");
    assert_eq!(verdict::load(cache.path(), &adapter("GPU").key()), None);
}

#[cfg(unix)]
#[test]
fn without_a_writable_cache_each_process_tests_again() {
    let cache = tempfile::NamedTempFile::new().expect("temporary file");
    let unwritable = Some(cache.path().join("below-a-file"));
    let options = OpenOptions { test_child: Some(sh(WORKS)), verdict_cache_dir: unwritable, weights_bytes: None };
    verdict::check(&adapter("GPU"), &options).expect("works");
    verdict::check(&adapter("GPU"), &options).expect("works again");
}

#[test]
fn auto_skips_a_broken_gpu() {
    let broken_then_fine = (vec![adapter("broken"), adapter("fine")], Vec::new());
    let opened = choose(broken_then_fine, |gpu| match gpu.name.as_str() {
        "fine" => Ok(Device::flex()),
        _ => Err("crashed its self test (signal 11)".to_owned()),
    });
    assert_eq!(opened.info.name, "fine");
    assert_eq!(opened.notes, ["passed over vulkan:0 \"broken\": crashed its self test (signal 11)"]);
}

#[test]
fn auto_ends_on_the_cpu_with_the_reason_in_one_line() {
    let software = AdapterReport { kind: AdapterKind::Software, ..adapter("llvmpipe") };
    let cases = [
        ((vec![adapter("a"), adapter("b")], Vec::new()), "\"a\": crashed; vulkan:0 \"b\": crashed"),
        ((Vec::new(), vec![software]), "software adapter \"llvmpipe\""),
        ((Vec::new(), Vec::new()), "no GPU found"),
    ];
    for (found, expected) in cases {
        let opened = choose(found, |_| Err("crashed".to_owned()));
        assert!(opened.info.is_cpu());
        assert_eq!(opened.notes.len(), 1);
        let note = opened.notes.concat();
        assert!(note.starts_with("running on the CPU: ") && note.contains(expected), "{note}");
    }
}

#[test]
fn auto_keeps_a_small_model_off_the_gpu() {
    let chosen = |weights_bytes| {
        let options = OpenOptions { weights_bytes, ..OpenOptions::default() };
        let open = |adapter: &AdapterReport| options.worth_a_gpu(adapter).map(|()| Device::flex());
        choose((vec![adapter("A GPU")], Vec::new()), open)
    };
    let small = chosen(Some(limits::AUTO_CPU_WEIGHTS_BYTES_MAX));
    assert!(small.info.is_cpu());
    let note = small.notes.concat();
    assert!(note.contains("64.0 MiB") && note.contains("A GPU") && note.contains("--device vulkan:0"), "{note}");
    assert!(!chosen(Some(limits::AUTO_CPU_WEIGHTS_BYTES_MAX + 1)).info.is_cpu());
    assert!(!chosen(None).info.is_cpu());
}

#[test]
fn kernels_are_spirv_only_if_shared_memory_has_an_explicit_layout() {
    let compiler = |reads_spirv: bool, explicit: bool| {
        let mut options = WgpuCompilationOptions { supports_vulkan_compiler: reads_spirv, ..Default::default() };
        options.vulkan.supports_explicit_smem = explicit;
        options
    };
    let native = |name: &str| {
        let api = DEVICES.iter().find(|api| api.name == name).expect(name);
        api.graphics.expect("a GPU").2
    };
    let cases = [
        ("vulkan", compiler(true, true), ShaderLanguage::SpirV),
        ("vulkan", compiler(true, false), ShaderLanguage::Wgsl),
        ("vulkan", compiler(false, true), ShaderLanguage::Wgsl),
        ("vulkan", compiler(false, false), ShaderLanguage::Wgsl),
        // These choices do not need Vulkan.
        ("metal", compiler(false, false), ShaderLanguage::Msl),
        ("dx12", compiler(false, false), ShaderLanguage::Wgsl),
        ("webgpu", compiler(false, false), ShaderLanguage::Wgsl),
    ];
    for (api, options, expected) in cases {
        assert_eq!(shader_language(native(api), &options), expected, "{api} {options:?}");
    }
}

/// The reported shader language is the one that burn compiles to.
#[test]
fn an_open_device_compiles_to_the_language_it_reports() {
    need_vulkan();
    let opened = open(&"vulkan".parse().expect("a name"), &OpenOptions::default()).expect("there is one");
    let language = opened.info.shaders.expect("a GPU has a compiler").as_str();
    assert_eq!(crate::kernel::Gpu::new(&opened.device).compiler(), format!("wgpu<{language}>"));
}

#[test]
fn a_verdict_belongs_to_one_language() {
    let of = |shaders| AdapterReport { shaders: Some(shaders), ..adapter("GPU") }.key();
    assert_ne!(of(ShaderLanguage::SpirV), of(ShaderLanguage::Wgsl));
}

#[test]
fn probe_ends_with_the_cpu() {
    assert!(probe().last().is_some_and(AdapterReport::is_cpu));
}

/// Not a test of its own: the test below runs it in a process without a driver.
#[test]
#[ignore = "a part of the test below, which runs it itself"]
fn auto_without_a_driver() {
    assert!(probe().iter().all(|adapter| adapter.api != "vulkan"));
    let opened = open(&DeviceChoice::AUTO, &OpenOptions::default()).expect("auto never fails");
    assert!(opened.info.is_cpu());
    assert!(opened.notes.concat().contains("no GPU found"), "{:?}", opened.notes);
}

/// Environment variables belong to a process, so this needs one of its own.
#[test]
fn without_a_driver_auto_uses_the_cpu() {
    let ran = Command::new(env::current_exe().expect("this test"))
        .args(["--ignored", "--exact", "device::tests::auto_without_a_driver"])
        .envs([("VK_DRIVER_FILES", "/nonexistent"), ("VK_ICD_FILENAMES", "/nonexistent")])
        .output()
        .expect("starts");
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success() && said.contains("1 passed"), "{said}");
}

#[test]
fn vulkan_by_name_computes_rightly() {
    need_vulkan();
    let report = run_self_test(&"vulkan".parse().expect("a name")).expect("there is one");
    assert!(report.ok && report.max_difference < 1e-4, "{report:?}");
}

/// A request for a missing GPU must not end the process.
#[test]
fn a_missing_adapter_is_refused() {
    let refused = run_self_test(&"vulkan:99".parse().expect("a name"));
    assert!(refused.is_err(), "{refused:?}");
}
