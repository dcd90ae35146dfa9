//! Configuration, log, clock and random numbers.

use super::{Three, answer, ask, probe, sandbox};

#[tokio::test]
async fn every_draft_of_the_configuration_shows_what_the_operator_wrote() {
    let chain = probe(&sandbox(), "probe", "acme", Three::all(&[])).await;
    for (key, expected) in [("city", "Oslo Oslo Oslo"), ("limit", "3 3 3"), ("other", "- - -")] {
        let text = answer(&chain, &format!("{{\"do\": \"config\", \"key\": \"{key}\"}}")).await;
        assert_eq!(text, format!("{expected} [2, 2, 2]"));
    }
}

#[tokio::test]
async fn both_versions_of_wasi_logging_write_to_the_log() {
    let chain = probe(&sandbox(), "probe", "acme", Three::all(&[])).await;
    let (_, log) = ask(&chain, "{\"do\": \"log\", \"text\": \"hello\"}").await;
    assert_eq!(log, ["error probe: hello", "info hello"]);
}

#[tokio::test]
async fn a_tenant_that_does_not_grant_the_clock_gets_the_substitute() {
    let sandbox = sandbox();
    let granted = probe(&sandbox, "probe", "acme", Three::all(&["clock", "random"])).await;
    let clock = "{\"do\": \"clock\"}";
    assert!(!answer(&granted, clock).await.starts_with("0 "), "the machine's");
    assert_ne!(answer(&granted, "{\"do\": \"random\"}").await, answer(&granted, "{\"do\": \"random\"}").await);
    let three = Three { tenant: &["random"], ..Three::all(&["clock", "random"]) };
    let denied = probe(&sandbox, "probe", "acme", three).await;
    assert_eq!(answer(&denied, clock).await, "0 0");
}
