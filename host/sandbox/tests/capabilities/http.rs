//! Outgoing HTTP of guests: rules, addresses, and servers and guests that misbehave.

mod fetch;
mod secrets;
pub(crate) mod server;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use firebox_contract::{FaultCause, TenantId, ToolCall, limits};
use firebox_sandbox::{
    ComponentSource, Grants, HttpService, PluginChain, PluginLimits, PluginSpec, Resolver, Sandbox, SandboxOptions,
    Services, TenantGrants,
};

use self::server::Server;
use super::{NoProgress, PROBE, ask};

/// Names that only this resolver knows. Their last part is the answer.
#[derive(Default)]
pub(crate) struct Names {
    lookups: AtomicUsize,
}

impl Resolver for Names {
    fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let lookup = self.lookups.fetch_add(1, Ordering::SeqCst);
        let addresses: &[&str] = match host {
            "site.test" | "other.test" => &["127.0.0.1"],
            "mapped.test" => &["::ffff:127.0.0.1"],
            "metadata.test" => &["169.254.169.254", "fd00:ec2::254"],
            "private.test" => &["10.0.0.1"],
            "mixed.test" => &["10.0.0.1", "127.0.0.1"],
            // Another answer at each lookup, as of a name server that works with the guest.
            "rebound.test" if lookup.is_multiple_of(2) => &["127.0.0.1"],
            "rebound.test" => &["10.0.0.1"],
            "empty.test" => &[],
            _ => return Err(io::Error::other("no such name")),
        };
        let parsed = addresses.iter().map(|text| text.parse::<IpAddr>().expect("an address"));
        Ok(parsed.map(|address| SocketAddr::new(address, port)).collect())
    }
}

struct Setup {
    sandbox: Sandbox,
    server: Server,
    names: Arc<Names>,
}

impl Setup {
    fn new() -> Self {
        let names = Arc::new(Names::default());
        let services = Services { http: HttpService::with_resolver(names.clone()), ..Services::default() };
        let options = SandboxOptions { pool_memories: 16, services, ..SandboxOptions::default() };
        Self { sandbox: Sandbox::new(options).expect("an engine"), server: Server::start(), names }
    }

    /// `text` with the server's port for `PORT`.
    fn with_port(&self, text: &str) -> String {
        text.replace("PORT", &self.server.address.port().to_string())
    }

    /// The probe of `tenant` with these rules of manifest, operator and tenant.
    async fn chain(&self, tenant: &str, rules: [&[&str]; 3], timeout: Duration) -> PluginChain {
        self.of(("probe", PROBE), tenant, rules, timeout).await
    }

    /// The same for the component `plugin`.
    async fn of(
        &self,
        plugin: (&str, &'static [u8]),
        tenant: &str,
        rules: [&[&str]; 3],
        timeout: Duration,
    ) -> PluginChain {
        let (name, component) = plugin;
        let [manifest, operator, own] =
            rules.map(|list| list.iter().map(|rule| self.with_port(&format!("http:{rule}"))).collect::<Vec<_>>());
        let spec = PluginSpec {
            asks: manifest,
            grants: Grants::parse(&operator).expect("rules"),
            limits: PluginLimits { timeout, ..PluginLimits::default() },
            ..PluginSpec::new(name, ComponentSource::BuiltIn(component))
        };
        let plugin = self.sandbox.load(spec).await.unwrap_or_else(|error| panic!("{error}"));
        let own = BTreeMap::from([(name.to_owned(), Grants::parse(&own).expect("rules"))]);
        let tenant = TenantGrants::new(TenantId::new(tenant), own);
        PluginChain::new(vec![plugin]).expect("a chain").for_tenant(Arc::new(tenant))
    }

    /// The probe with a rule that all three agree on.
    async fn granted(&self, rule: &str) -> PluginChain {
        self.chain("acme", [&[rule]; 3], Duration::from_secs(10)).await
    }

    /// The answer of the probe for a URL and further arguments, and its log.
    async fn get(&self, chain: &PluginChain, url: &str, more: &str) -> (String, Vec<String>) {
        let comma = if more.is_empty() { "" } else { ", " };
        ask(chain, &self.with_port(&format!("{{\"do\": \"http\", \"url\": \"{url}\"{comma}{more}}}"))).await
    }
}

const SITE: &str = "* http://site.test:PORT at 127.0.0.1";

#[tokio::test(flavor = "multi_thread")]
async fn a_granted_request_is_sent_as_it_was_checked() {
    let setup = Setup::new();
    let chain = setup.granted(SITE).await;
    let (text, log) = setup.get(&chain, "http://site.test:PORT/", "").await;
    assert_eq!((text.as_str(), log.len()), ("200  5: hello", 0), "{log:?}");
    let (text, _) =
        setup.get(&chain, "http://SITE.test:PORT/echo?q", "\"method\": \"POST\", \"body\": \"12345\"").await;
    assert!(text.contains("POST /echo?q HTTP/1.1") || text.contains("hello"), "{text}");
    let (text, _) = setup
        .get(&chain, "http://SITE.test:PORT/echo", "\"method\": \"POST\", \"body\": \"12345\", \"header\": \"x-a: b\"")
        .await;
    let host = setup.with_port("host: site.test:PORT\r\n");
    for part in ["POST /echo HTTP/1.1\r\n", &host, "x-a: b\r\n", "content-length: 5\r\n", "5 bytes"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(text.matches("host:").count(), 1, "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_one_of_the_three_does_not_include_is_denied() {
    let setup = Setup::new();
    let second = Duration::from_secs(1);
    let site: &[&str] = &[SITE];
    for (rules, expected) in [
        ([&[][..], site, site], "the manifest does not ask for it"),
        ([site, &[], site], "--grant \"http:GET http://site.test:PORT/v1/x\""),
        ([site, site, &[]], "[tenant.grants] needs probe = [\"http:GET http://site.test:PORT/v1/x\"]"),
        ([&["POST http://site.test:PORT"], site, site], "the manifest does not ask for it"),
        ([site, &["GET http://site.test:PORT/v2/ at 127.0.0.1"], site], "the operator does not grant it"),
        ([site, &["GET https://site.test:PORT at 127.0.0.1"], site], "the operator does not grant it"),
        ([site, &["GET http://site.test at 127.0.0.1"], site], "the operator does not grant it"),
        ([site, site, &["GET http://other.test:PORT"]], "the tenant does not grant it"),
    ] {
        let chain = setup.chain("acme", rules, second).await;
        let (text, log) = setup.get(&chain, "http://site.test:PORT/v1/x", "").await;
        assert_eq!(text, "error: ErrorCode::HttpRequestDenied", "{rules:?}");
        assert!(log.len() == 1 && log[0].contains(&setup.with_port(expected)), "{log:?}");
    }
    assert_eq!(setup.server.requests(), 0, "nothing was sent");
}

/// A private address is reached only if the operator's rule names it, whatever the name server says.
#[tokio::test(flavor = "multi_thread")]
async fn private_addresses_are_reached_only_where_the_operator_names_them() {
    let setup = Setup::new();
    let port = setup.server.address.port();
    for (operator, host, expected) in [
        ("* http://site.test:PORT", "site.test", "DestinationIpProhibited"),
        ("* http://*:*", "site.test", "DestinationIpProhibited"),
        ("* http://mapped.test:PORT", "mapped.test", "DestinationIpProhibited"),
        ("* http://metadata.test:PORT at 127.0.0.0/8", "metadata.test", "DestinationIpProhibited"),
        ("* http://private.test:PORT at 127.0.0.1", "private.test", "DestinationIpProhibited"),
        ("* http://*:*", "127.0.0.1", "DestinationIpProhibited"),
        ("* http://*:*", "[::1]", "DestinationIpProhibited"),
        ("* http://*:*", "[::ffff:127.0.0.1]", "DestinationIpProhibited"),
        ("* http://*:*", "169.254.169.254", "DestinationIpProhibited"),
        ("* http://empty.test:PORT at 127.0.0.1", "empty.test", "DnsError"),
        ("* http://nowhere.test:PORT at 127.0.0.1", "nowhere.test", "DnsError"),
        ("* http://mapped.test:PORT at 127.0.0.1", "mapped.test", "200  5: hello"),
        ("* http://mixed.test:PORT at 127.0.0.1", "mixed.test", "200  5: hello"),
        ("* http://127.0.0.1:PORT", "127.0.0.1", "200  5: hello"),
    ] {
        let all: &[&str] = &["* http://*:*"];
        let chain = setup.chain("acme", [all, &[operator], all], Duration::from_secs(10)).await;
        let (text, log) = setup.get(&chain, &format!("http://{host}:{port}/"), "").await;
        assert!(text.contains(expected), "{operator} {host}: {text}");
        let said = log.iter().any(|line| line.contains("private address"));
        assert_eq!(said, expected == "DestinationIpProhibited", "{operator} {host}: {log:?}");
        assert!(!log.iter().any(|line| line.contains("10.0.0.1")), "no address of the network is told: {log:?}");
    }
}

/// The connection goes to the address that was checked: one lookup for each request, and a new check for each.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_whose_address_changes_is_checked_at_each_request() {
    let setup = Setup::new();
    let chain = setup.granted("* http://rebound.test:PORT at 127.0.0.1").await;
    for (round, expected) in ["200  5: hello", "DestinationIpProhibited", "200  5: hello"].into_iter().enumerate() {
        let (text, _) = setup.get(&chain, "http://rebound.test:PORT/", "").await;
        assert!(text.contains(expected), "{round}: {text}");
        assert_eq!(setup.names.lookups.load(Ordering::SeqCst), round + 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_is_an_answer_and_the_next_request_is_checked() {
    let setup = Setup::new();
    let chain = setup.granted(SITE).await;
    let (text, _) = setup.get(&chain, "http://site.test:PORT/redirect", "").await;
    let target = setup.with_port("http://other.test:PORT/x");
    assert_eq!(text, format!("302 {target} 0: "));
    let (text, _) = setup.get(&chain, &target, "").await;
    assert_eq!(text, "error: ErrorCode::HttpRequestDenied");
    assert_eq!(setup.server.requests(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_change_the_request_on_its_way_is_refused() {
    let setup = Setup::new();
    let chain = setup.granted(SITE).await;
    let url = "http://site.test:PORT/echo";
    for (url, more, expected) in [
        (url, "\"header\": \"x-a: b\\r\\nhost: evil\"", "InvalidSyntax"),
        (url, "\"header\": \"x-a\\r\\nx: b\"", "InvalidSyntax"),
        (url, "\"header\": \"Host: evil.test\"", "Forbidden"),
        (url, "\"header\": \"transfer-encoding: chunked\"", "Forbidden"),
        (url, "\"header\": \"connection: upgrade\"", "Forbidden"),
        (
            url,
            "\"header\": \"content-length: 3\", \"method\": \"POST\", \"body\": \"GET / HTTP\"",
            "HttpRequestBodySize",
        ),
        (url, "\"method\": \"CONNECT\"", "HttpRequestMethodInvalid"),
        (url, "\"method\": \"GET / HTTP/1.1\\r\\n\"", "bad method"),
        ("http://user:pw@site.test:PORT/", "", "HttpRequestUriInvalid"),
        ("http://site.test:PORT@other.test/", "", "HttpRequestUriInvalid"),
        ("http://site.test:0/", "", "HttpRequestUriInvalid"),
        ("http://site.test:/", "", "HttpRequestUriInvalid"),
        ("http://[fe80::1%25eth0]:PORT/", "", "HttpRequestUriInvalid"),
        ("http://site.test:PORT/a b", "", "bad path"),
        ("http://site.test:PORT/a\\r\\nx: y", "", "bad path"),
        ("http://site.test:PORT\\r\\n/", "", "bad authority"),
        ("http:///x", "", "bad authority"),
        ("ftp://site.test:PORT/", "", "HttpProtocolError"),
    ] {
        let (text, _) = setup.get(&chain, url, more).await;
        assert!(text.starts_with("error: ") && text.contains(expected), "{url} {more}: {text}");
    }
    assert_eq!(setup.server.requests(), 0, "nothing was sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_misbehave_are_errors_within_the_limits() {
    let setup = Setup::new();
    let chain = setup.granted(SITE).await;
    for (path, more, expected) in [
        ("/big", "", "HttpResponseBodySize"),
        ("/endless", "", "HttpResponseBodySize"),
        ("/headers", "", "HttpResponseHeaderSectionSize"),
        ("/cut", "", "HttpResponseIncomplete"),
        ("/smuggle", "", "HttpProtocolError"),
        ("/nonsense", "", "HttpProtocolError"),
        ("/silent", "\"timeout_ms\": 100", "HttpResponseTimeout"),
    ] {
        let begun = Instant::now();
        let (text, _) = setup.get(&chain, &format!("http://site.test:PORT{path}"), more).await;
        assert!(text.contains(expected), "{path}: {text:.300}");
        assert!(begun.elapsed() < Duration::from_secs(8), "{path}: {:?}", begun.elapsed());
    }
    let closed = setup.granted("* http://site.test:1 at 127.0.0.1").await;
    let (text, _) = setup.get(&closed, "http://site.test:1/", "").await;
    assert!(text.contains("ConnectionRefused"), "{text}");
    for (times, expected) in [(1_048_576, "200  "), (1_048_577, "HttpRequestBodySize(Some(1048576))")] {
        let body = format!("\"method\": \"POST\", \"body\": \"x\", \"times\": {times}");
        let (text, _) = setup.get(&chain, "http://site.test:PORT/echo", &body).await;
        assert!(text.contains(expected), "{times}: {text:.300}");
    }
}

/// Waiting counts: the call ends at its time limit, and the connection with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_server_ends_with_the_time_of_the_call() {
    let setup = Setup::new();
    let chain = setup.chain("acme", [&[SITE]; 3], Duration::from_millis(300)).await;
    for path in ["/silent", "/drip"] {
        let arguments = setup.with_port(&format!("{{\"do\": \"http\", \"url\": \"http://site.test:PORT{path}\"}}"));
        let call = ToolCall { id: "1".to_owned(), name: "probe".to_owned(), arguments_json: arguments };
        let begun = Instant::now();
        let run = chain.call_tool(&call, &NoProgress).await.expect("it has the tool");
        let error = run.outcome.expect_err("too slow");
        let is_late = matches!(&error, firebox_contract::Error::Fault(fault) if matches!(fault.cause, FaultCause::TimedOut { .. }));
        assert!(is_late && begun.elapsed() < Duration::from_secs(3), "{path}: {error} {:?}", begun.elapsed());
    }
    let deadline = Instant::now() + Duration::from_secs(5);
    while setup.server.ended.load(Ordering::SeqCst) < 2 {
        assert!(Instant::now() < deadline, "the connections end with their calls");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_requests_of_a_call_and_of_a_tenant_are_limited() {
    let setup = Setup::new();
    let chain = setup.granted(SITE).await;
    let url = setup.with_port("http://site.test:PORT/late");
    let (text, log) = ask(&chain, &format!("{{\"do\": \"flood\", \"url\": \"{url}\", \"count\": 50}}")).await;
    let max = limits::HTTP_REQUESTS_PER_CALL_MAX;
    assert_eq!(text, format!("{max} then ErrorCode::ConnectionLimitReached"));
    assert!(log.iter().any(|line| line.contains("one call sends at most")), "{log:?}");
    // Another server, since the requests of that call may still run at the first.
    let setup = Setup::new();
    let chain = setup.granted(SITE).await;
    let calls = (0..24).map(|_| setup.get(&chain, "http://site.test:PORT/late", ""));
    for (text, _) in futures_of(calls).await {
        assert_eq!(text, "200  4: late");
    }
    let peak = setup.server.peak.load(Ordering::SeqCst);
    assert!(peak <= limits::HTTP_REQUESTS_PER_TENANT_MAX, "{peak} at a time");
}

/// Runs futures at the same time.
async fn futures_of<T, F: Future<Output = T>>(futures: impl Iterator<Item = F>) -> Vec<T> {
    let mut waiting: Vec<_> = futures.map(Box::pin).collect();
    let mut done: Vec<Option<T>> = waiting.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (future, done) in waiting.iter_mut().zip(&mut done) {
            if done.is_none()
                && let std::task::Poll::Ready(value) = future.as_mut().poll(context)
            {
                *done = Some(value);
            }
        }
        if done.iter().all(Option::is_some) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    done.into_iter().flatten().collect()
}

/// One tenant that waits for slow servers does not keep another from its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_with_many_slow_requests_delays_no_other() {
    let setup = Setup::new();
    let slow = setup.chain("slow", [&[SITE]; 3], Duration::from_secs(3)).await;
    let quick = setup.chain("quick", [&[SITE]; 3], Duration::from_secs(3)).await;
    let arguments = setup.with_port("{\"do\": \"http\", \"url\": \"http://site.test:PORT/silent\"}");
    let call = ToolCall { id: "1".to_owned(), name: "probe".to_owned(), arguments_json: arguments };
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..12 {
        let (slow, call) = (slow.clone(), call.clone());
        running.spawn(async move { drop(slow.call_tool(&call, &NoProgress).await) });
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    let begun = Instant::now();
    let (text, _) = setup.get(&quick, "http://site.test:PORT/", "").await;
    assert_eq!(text, "200  5: hello");
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    running.abort_all();
}

#[tokio::test]
async fn a_host_that_sends_no_requests_says_so() {
    let sandbox = Sandbox::new(SandboxOptions { pool_memories: 4, ..SandboxOptions::default() }).expect("an engine");
    let setup = Setup { sandbox, ..Setup::new() };
    let chain = setup.granted(SITE).await;
    let (text, _) = setup.get(&chain, "http://site.test:PORT/", "").await;
    assert!(text.contains("this host sends no requests"), "{text}");
}
