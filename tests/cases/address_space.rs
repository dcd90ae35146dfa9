//! Under a limit on the address space (`ulimit -v`) plugins work with less of it, or nothing starts and the reason is said.

use serde_json::json;

use crate::harness::Firebox;
use crate::harness::server::{PLUGINS, Server, tenant};

const QUESTION: &str = "What is 1234 * 87?";
const ANSWER: &str = "107358";
const GIB: u64 = 1 << 20;

#[test]
fn a_run_answers_with_little_and_says_what_it_does_without() {
    let args = ["run", "--device", "cpu", "--plugin", "redact", QUESTION];
    for kib in [8 * GIB, 4 * GIB] {
        let run = Firebox::new(args).within(kib).run().expect_code(0);
        assert!(run.stdout.contains(ANSWER), "{kib}: {}", run.stdout);
        let said: Vec<&str> = run.stderr.lines().filter(|line| line.contains("of address space are left")).collect();
        assert!(said.len() == 1 && said[0].contains("plugins have no pool"), "{kib}: {}", run.stderr);
    }
    let free = Firebox::new(args).run().expect_code(0);
    assert!(free.stdout.contains(ANSWER) && !free.stderr.contains("address space"), "{}", free.stderr);
}

#[test]
fn a_run_without_enough_is_refused_with_the_numbers() {
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
fn a_server_that_is_ready_answers() {
    let tenants = tenant("alpha", &PLUGINS.replace(']', ", \"redact\"]"));
    let config = format!("[[model]]\nname = \"ember\"\ndevice = \"cpu\"\n{tenants}");
    let server = Server::start_within(&config, 8 * GIB);
    let said = server.log();
    assert_eq!(said.matches("of address space are left").count(), 1, "{said}");
    let body = json!({"model": "ember", "temperature": 0, "messages": [{"role": "user", "content": QUESTION}]});
    for _ in 0..4 {
        let answered = server.post("/v1/chat/completions", "alpha", &body);
        assert!(answered.status == 200 && answered.body.contains(ANSWER), "{answered:?}");
    }
}
