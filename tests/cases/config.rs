//! `firebox config`, from its arguments to its output.

use std::path::{Path, PathBuf};

use crate::harness::{Firebox, Run, scratch};

/// A fresh folder with this `firebox.toml` in it.
fn folder(name: &str, text: &str) -> PathBuf {
    let dir = scratch("config").join(name);
    // Files of an earlier run.
    drop(std::fs::remove_dir_all(&dir));
    std::fs::create_dir_all(&dir).expect("writable");
    if !text.is_empty() {
        std::fs::write(dir.join("firebox.toml"), text).expect("writable");
    }
    dir
}

fn run(dir: &Path, args: &[&str]) -> Run {
    Firebox::new(args).current_dir(dir).run()
}

#[test]
fn all_errors_are_reported_in_one_run_with_file_and_line() {
    let text = "[server]\nlisten = \"8080\"\ndrain_timeut = \"1s\"\nbody_bytes_max = \"1TB\"\n\n[[model]]\nname = \"mine\"\n\n\
                [[plugin]]\nname = \"nope\"\n\n[[mcp.server]]\nname = \"s\"\nurl = \"https://x\"\nbearer = \"env:FIREBOX_TEST_UNSET\"\n\n\
                [[tenant]]\nname = \"a\"\nplugins = [\"missing\"]\n[tenant.limits]\nin_flight_max = 0\n";
    let dir = folder("mistakes", text);
    let run = run(&dir, &["config", "check"]).expect_code(2);
    let wanted: &[(usize, &[&str])] = &[
        (2, &["listen", "127.0.0.1:8080"]),
        (3, &["drain_timeut", "did you mean \"drain_timeout\"?"]),
        (4, &["TB", "MiB"]),
        (6, &["mine", "\"path\" is missing"]),
        (9, &["nope", "calculator"]),
        (15, &["FIREBOX_TEST_UNSET"]),
        (18, &["missing", "unknown plugin"]),
        (21, &["in_flight_max", "\"0\"", "between 1 and"]),
    ];
    for (line, words) in wanted {
        let place = format!("firebox.toml:{line}: ");
        let found = run.stderr.lines().find(|said| said.contains(&place));
        let found = found.unwrap_or_else(|| panic!("nothing about line {line}: {}", run.stderr));
        assert!(words.iter().all(|word| found.contains(word)), "{words:?}: {found}");
    }
    assert!(run.stderr.contains("8 errors"), "{}", run.stderr);
    assert!(run.stdout.is_empty(), "{}", run.stdout);
}

#[test]
fn init_creates_a_valid_file_and_never_overwrites_one() {
    let dir = folder("init", "");
    run(&dir, &["config", "init"]).expect_code(0);
    let checked = run(&dir, &["config", "check"]).expect_code(0);
    assert!(checked.stdout.contains("firebox.toml: OK (1 model,"), "{}", checked.stdout);
    assert!(checked.stderr.contains("warning") && checked.stderr.contains("firebox tenants add"), "{}", checked.stderr);
    std::fs::write(dir.join("firebox.toml"), "# mine\n").expect("writable");
    let again = run(&dir, &["config", "init"]).expect_code(2);
    assert!(again.stderr.contains("already exists"), "{}", again.stderr);
    assert_eq!(std::fs::read_to_string(dir.join("firebox.toml")).expect("there"), "# mine\n");
    run(&dir, &["config", "init", "no/such/folder/x.toml"]).expect_code(2);
}

#[test]
fn print_shows_the_configuration_in_effect_without_secrets() {
    let digest = "ab".repeat(32);
    let text = format!(
        "[server]\nlisten = \"127.0.0.1:1\"\nconnections_max = 7\n[[mcp.server]]\nname = \"s\"\nurl = \"https://x.example\"\n\
         bearer = \"env:SEARCH_TOKEN\"\nheaders = {{ X-Key-Of-Mine = \"file:key\", X-Token = \"env:SEARCH_TOKEN\" }}\n\
         [[plugin]]\nname = \"redact\"\nconfig = {{ words = \"plugin-secret\" }}\n\
         [[tenant]]\nname = \"a\"\n[[tenant.key]]\nid = \"k1\"\ndigest = \"{digest}\"\n"
    );
    let dir = folder("print", &text);
    std::fs::write(dir.join("key"), "from-a-file\n").expect("writable");
    let print = |args: &[&str]| {
        let run = Firebox::new(["config", "print"].iter().chain(args)).current_dir(&dir);
        run.env("SEARCH_TOKEN", "hunter2").env("FIREBOX_SERVER__LISTEN", "127.0.0.1:2").run().expect_code(0).stdout
    };
    let shown = print(&[]);
    for secret in ["hunter2", "from-a-file", "plugin-secret", digest.as_str()] {
        assert!(!shown.contains(secret), "{secret} is shown: {shown}");
    }
    for line in [
        "listen = \"127.0.0.1:2\"",
        "connections_max = 7",
        "header_timeout = \"10s\"",
        "env:SEARCH_TOKEN",
        "file:key",
        "id = \"k1\"",
    ] {
        assert!(shown.contains(line), "{line} is not in: {shown}");
    }
    let shown = print(&["--set", "server.listen=127.0.0.1:3"]);
    assert!(shown.contains("listen = \"127.0.0.1:3\""), "options win: {shown}");
}

#[test]
fn a_missing_file_is_an_error_only_if_it_was_named() {
    let dir = folder("none", "");
    let run_here = |args: &[&str]| run(&dir, args);
    assert!(run_here(&["config", "check"]).expect_code(0).stdout.contains("no configuration file, defaults"));
    let named = run_here(&["config", "check", "--config", "other.toml"]).expect_code(2);
    assert!(named.stderr.contains("other.toml") && named.stderr.contains("config init"), "{}", named.stderr);
    let named = Firebox::new(["config", "check"]).current_dir(&dir).env("FIREBOX_CONFIG", "other.toml").run();
    assert!(named.expect_code(2).stderr.contains("other.toml"));
    run_here(&["config", "check", "--set", "nonsense"]).expect_code(2);
}

#[test]
fn a_variable_that_is_not_utf8_is_an_error_only_if_it_is_a_setting() {
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt;
        let dir = folder("bytes", "");
        let odd = std::ffi::OsStr::from_bytes(b"\xff\xfe");
        Firebox::new(["config", "check"]).current_dir(&dir).env("SOME_ODD_VALUE", odd).run().expect_code(0);
        let run = Firebox::new(["config", "check"]).current_dir(&dir).env("FIREBOX_SERVER__LISTEN", odd).run();
        let said = run.expect_code(2).stderr;
        assert!(said.contains("FIREBOX_SERVER__LISTEN: is not UTF-8"), "{said}");
    }
}

#[test]
fn the_check_warns_about_a_server_without_tenants() {
    let dir = folder("nobody", "");
    let said = run(&dir, &["config", "check"]).expect_code(0).stderr;
    assert!(said.contains("serves every client on this machine without a key, as the tenant \"local\""), "{said}");
}

#[test]
fn run_says_that_it_does_not_read_the_configuration_file() {
    let dir = folder("unused", "[server]\nlisten = \"127.0.0.1:1\"\n");
    let args = ["run", "--device", "cpu", "What is 1234 * 87?"];
    let noted = Firebox::new(args).current_dir(&dir).input("").run().expect_code(0);
    assert!(noted.stderr.contains("\"firebox.toml\" configures firebox serve"), "{}", noted.stderr);
    let silent = Firebox::new(args).current_dir(&folder("unused-none", "")).input("").run().expect_code(0);
    assert!(!silent.stderr.contains("configures firebox serve"), "{}", silent.stderr);
}
