//! The built-in plugin `http-fetch`, against servers and addresses that lead elsewhere.

use std::time::{Duration, Instant};

use firebox_contract::{Error, FaultCause, ToolCall, ToolOutcome};
use firebox_sandbox::PluginChain;

use super::{NoProgress, SITE, Setup};

const FETCH: &[u8] = include_bytes!("../../../../../plugins/prebuilt/http-fetch.wasm");
/// What the manifest of `http-fetch` asks for.
const ASKS: &[&str] = &["GET https://*:*", "GET http://*:*"];

impl Setup {
    async fn fetcher(&self, operator: &[&str], timeout: Duration) -> PluginChain {
        self.of(("http-fetch", FETCH), "acme", [ASKS, operator, &["* http://*:*"]], timeout).await
    }

    async fn fetch(&self, chain: &PluginChain, url: &str) -> Result<ToolOutcome, Error> {
        let arguments_json = self.with_port(&format!("{{\"url\": \"{url}\"}}"));
        let call = ToolCall { id: "1".to_owned(), name: "fetch".to_owned(), arguments_json };
        chain.call_tool(&call, &NoProgress).await.expect("it has the tool").outcome
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_granted_hosts_are_read_and_others_are_not() {
    let setup = Setup::new();
    let rebound = "GET http://rebound.test:PORT at 127.0.0.1";
    let chain = setup.fetcher(&[SITE, rebound, "GET http://private.test:PORT"], Duration::from_secs(10)).await;
    for (url, expected) in [
        ("http://site.test:PORT/", "hello"),
        ("http://rebound.test:PORT/", "an address that was not granted"),
        ("http://rebound.test:PORT/", "hello"),
        ("http://other.test:PORT/", "this address was not granted"),
        ("https://site.test:PORT/", "this address was not granted"),
        ("http://private.test:PORT/", "an address that was not granted"),
        ("http://127.0.0.1:PORT/", "this address was not granted"),
        ("http://2130706433:PORT/", "this address was not granted"),
        ("http://169.254.169.254/latest/meta-data/", "this address was not granted"),
        ("http://site.test:PORT/redirect", "this address was not granted"),
        ("http://site.test:PORT/\\r\\nHost: evil.test", "control characters"),
        ("http://site.test:PORT@other.test/", "a user's name or password"),
        ("http://user:pw@site.test:PORT/", "a user's name or password"),
        ("file:///etc/passwd", "must begin with https:// or http://"),
        ("http://site.test:PORT/headers", "the request failed"),
        ("http://site.test:PORT/cut", "the page ended early"),
    ] {
        let outcome = setup.fetch(&chain, url).await.unwrap_or_else(|error| panic!("{url}: {error}"));
        assert!(outcome.content.contains(expected), "{url}: {:.300}", outcome.content);
        assert_eq!(outcome.is_error, expected != "hello", "{url}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_page_is_cut_and_a_slow_one_ends_with_its_call() {
    let setup = Setup::new();
    let chain = setup.fetcher(&[SITE], Duration::from_secs(10)).await;
    for path in ["/big", "/endless"] {
        let outcome = setup.fetch(&chain, &format!("http://site.test:PORT{path}")).await.expect("a page");
        assert!(!outcome.is_error && outcome.content.ends_with("[the page goes on]"), "{path}");
        assert!(outcome.content.len() < 40_000, "{path}: {} bytes", outcome.content.len());
    }
    let chain = setup.fetcher(&[SITE], Duration::from_millis(400)).await;
    for path in ["/silent", "/drip"] {
        let begun = Instant::now();
        let error = setup.fetch(&chain, &format!("http://site.test:PORT{path}")).await.expect_err("too slow");
        let is_late = matches!(&error, Error::Fault(fault) if matches!(fault.cause, FaultCause::TimedOut { .. }));
        assert!(is_late && begun.elapsed() < Duration::from_secs(3), "{path}: {error}");
    }
}
