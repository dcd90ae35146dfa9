//! With a limited address space (`ulimit -v`), plugins use less of it, or Firebox does not start and reports the reason.

use serde_json::json;

use crate::harness::Firebox;
use crate::harness::server::{PLUGINS, Server, tenant};

const QUESTION: &str = "What is 1234 * 87?";
const ANSWER: &str = "107358";
const GIB: u64 = 1 << 20;

#[test]
fn a_run_with_little_address_space_answers_and_reports_the_missing_pool() {
    let args = ["run", "--device", "cpu", "--plugin", "redact", QUESTION];
    for kib in [8 * GIB, 4 * GIB] {
        let run = Firebox::new(args).within(kib).run().expect_code(0);
        assert!(run.stdout.contains(ANSWER), "{kib}: {}", run.stdout);
        let lines: Vec<&str> = run.stderr.lines().filter(|line| line.contains("of address space are left")).collect();
        assert!(lines.len() == 1 && lines[0].contains("plugins have no pool"), "{kib}: {}", run.stderr);
    }
    let free = Firebox::new(args).run().expect_code(0);
    assert!(free.stdout.contains(ANSWER) && !free.stderr.contains("address space"), "{}", free.stderr);
}

#[test]
fn a_run_with_too_little_address_space_is_refused_with_the_numbers() {
    let run = Firebox::new(["run", "--device", "cpu", QUESTION]).within(300 << 10).run();
    let run = run.expect_code(3);
    assert!(
        run.stderr.contains("plugins need 256 MiB of address space") && run.stderr.contains("ulimit -v"),
        "{}",
        run.stderr
    );
    assert!(run.stdout.is_empty(), "{}", run.stdout);
}

#[test]
fn a_server_with_little_address_space_answers_if_it_is_ready() {
    let tenants = tenant("alpha", &PLUGINS.replace(']', ", \"redact\"]"));
    let config = format!("[[model]]\nname = \"ember\"\ndevice = \"cpu\"\n{tenants}");
    let server = Server::start_within(&config, 8 * GIB);
    let lines = server.log();
    assert_eq!(lines.matches("of address space are left").count(), 1, "{lines}");
    let body = json!({"model": "ember", "temperature": 0, "messages": [{"role": "user", "content": QUESTION}]});
    for _ in 0..4 {
        let answered = server.post("/v1/chat/completions", "alpha", &body);
        assert!(answered.status == 200 && answered.body.contains(ANSWER), "{answered:?}");
    }
}
