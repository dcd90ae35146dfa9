//! The compilers for WebAssembly that authors of plugins use.

use std::process::Command;
use std::sync::OnceLock;

use super::root;

/// The variables that name the compilers. Their downloads are cached.
pub(crate) fn toolchains() -> Vec<(&'static str, String)> {
    static FOUND: OnceLock<Vec<(&'static str, String)>> = OnceLock::new();
    let find = || {
        let clang = output("tests/tools/clang-wasm");
        let clang = clang.trim().trim_start_matches("export FIREBOX_TEST_CC=").trim_matches('\'').to_owned();
        vec![("CC", clang), ("RUSTC", output("plugins/toolchain").trim().to_owned())]
    };
    FOUND.get_or_init(find).clone()
}

fn output(script: &str) -> String {
    let output = Command::new(root().join(script)).output().expect(script);
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}
