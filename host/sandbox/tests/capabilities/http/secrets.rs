//! Secrets of guests: used at their host, and found where a guest or a server lets them out.

use std::collections::BTreeMap;
use std::sync::Arc;

use firebox_contract::{Error, FaultCause, TenantId, ToolCall};
use firebox_sandbox::{ComponentSource, Grants, PluginChain, PluginSpec, TenantGrants};

use super::{NoProgress, PROBE, Setup, ask};
use crate::support::{bind, fault, guest, spec};

const SECRET: &str = "secret:key=env:FIRST for http://site.test:PORT/";
const HOSTS: &[&str] = &["http:* http://site.test:PORT at 127.0.0.1", "http:* http://other.test:PORT at 127.0.0.1"];

/// The values of references.
fn read(reference: &str) -> Result<String, String> {
    match reference {
        "env:FIRST" => Ok("first-s3cret-value".to_owned()),
        "env:SECOND" => Ok("second-s3cret-value".to_owned()),
        _ => Err("it is not set".to_owned()),
    }
}

impl Setup {
    /// The probe of `tenant` with the secret `key`, as operator and tenant grant it.
    async fn with_secret(&self, tenant: &str, operator: &[&str], own: &[&str]) -> PluginChain {
        let all =
            |more: &[&str]| -> Vec<String> { HOSTS.iter().chain(more).map(|text| self.with_port(text)).collect() };
        let grants =
            |more: &[&str]| Grants::parse(&all(more)).and_then(|grants| grants.resolved(&read)).expect("grants");
        let spec = PluginSpec {
            asks: all(&["secret:key"]),
            grants: grants(operator),
            ..PluginSpec::new("probe", ComponentSource::BuiltIn(PROBE))
        };
        let plugin = self.sandbox.load(spec).await.unwrap_or_else(|error| panic!("{error}"));
        let own = BTreeMap::from([("probe".to_owned(), grants(own))]);
        let tenant = TenantGrants::new(TenantId::new(tenant), own);
        PluginChain::new(vec![plugin]).expect("a chain").for_tenant(Arc::new(tenant))
    }

    /// The answer and log of a request with the placeholder for `{secret}`.
    async fn send(&self, chain: &PluginChain, url: &str, more: &str) -> (String, Vec<String>) {
        self.get(chain, url, &format!("\"secret\": \"key\", {more}")).await
    }
}

const BEARER: &str = "\"header\": \"authorization: Bearer {secret}\"";

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_used_at_its_host_and_the_guest_never_has_it() {
    let setup = Setup::new();
    let chain = setup.with_secret("acme", &[SECRET], &["secret:key"]).await;
    let (text, log) = setup.send(&chain, "http://site.test:PORT/auth", BEARER).await;
    assert_eq!((text.as_str(), log.len()), ("200  5: right", 0), "{log:?}");
    let (placeholder, _) = ask(&chain, "{\"do\": \"secret\", \"name\": \"key\"}").await;
    assert!(placeholder.starts_with("firebox-secret-key-") && !placeholder.contains("s3cret"), "{placeholder}");
    // A forged placeholder is only a text.
    let forged = "\"header\": \"authorization: Bearer firebox-secret-key-0000000000000000\"";
    assert_eq!(setup.get(&chain, "http://site.test:PORT/auth", forged).await.0, "200  5: wrong");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_goes_nowhere_else() {
    let setup = Setup::new();
    let chain = setup.with_secret("acme", &[SECRET], &["secret:key"]).await;
    let (text, log) = setup.send(&chain, "http://other.test:PORT/auth", BEARER).await;
    assert_eq!(text, "error: ErrorCode::HttpRequestDenied");
    assert!(log.iter().any(|line| line.contains("the secret \"key\" is bound to another host")), "{log:?}");
    assert_eq!(setup.server.requests(), 0);
    // In a body and an address the placeholder stays what it is.
    for more in ["\"method\": \"POST\", \"body\": \"{secret}\"", "\"header\": \"x-a: b\""] {
        let (text, _) = setup.send(&chain, "http://other.test:PORT/echo?{secret}", more).await;
        assert!(text.starts_with("200 ") && !text.contains("s3cret"), "{text}");
    }
    // What a guest knows from elsewhere is found too.
    let refused = setup.server.requests();
    for (url, more) in [
        ("http://site.test:PORT/x", "\"method\": \"POST\", \"body\": \"key=first-s3cret-value\""),
        ("http://site.test:PORT/x", "\"method\": \"POST\", \"body\": \"66697273742d7333637265742d76616c7565\""),
        ("http://site.test:PORT/x", "\"header\": \"x-a: dXNlcjpmaXJzdC1zM2NyZXQtdmFsdWU=\""),
        ("http://site.test:PORT/first%2Ds3cret%2Dvalue", "\"header\": \"x-a: b\""),
        ("http://site.test:PORT/?k=first-s3cret-value", "\"header\": \"x-a: b\""),
    ] {
        let (text, log) = setup.get(&chain, url, more).await;
        assert_eq!(text, "error: ErrorCode::HttpRequestDenied", "{url} {more}");
        assert!(log.iter().all(|line| !line.contains("s3cret")), "{log:?}");
    }
    assert_eq!(setup.server.requests(), refused, "none of these was sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_sends_a_secret_back_is_not_heard() {
    let setup = Setup::new();
    let chain = setup.with_secret("acme", &[SECRET], &["secret:key"]).await;
    for (path, expected) in [
        ("/echo", "the response contains a secret"),
        ("/reveal", "the response contains a secret"),
        ("/base64", "the response contains a secret"),
        ("/in-header", "the response contains a secret"),
        ("/escaped", "the response contains a secret"),
        ("/packed", "HttpResponseContentCoding"),
        ("/packed-parts", "HttpResponseTransferCoding"),
    ] {
        let (text, log) = setup.send(&chain, &format!("http://site.test:PORT{path}"), BEARER).await;
        assert!(text.contains(expected) && !text.contains("first-s3cret"), "{path}: {text:.300}");
        let said = log.iter().any(|line| line.contains("it contains the secret \"key\""));
        assert_eq!(said, !path.starts_with("/packed"), "{path}: {log:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_guest_returns_and_logs_has_no_secret() {
    let setup = Setup::new();
    let chain = setup.with_secret("acme", &[SECRET], &["secret:key"]).await;
    let (_, log) = ask(&chain, "{\"do\": \"log\", \"text\": \"it is first-s3cret-value\"}").await;
    assert_eq!(log, ["error probe: it is [secret key]", "info it is [secret key]"]);
    for text in ["first-s3cret-value", "dXNlcjpmaXJzdC1zM2NyZXQtdmFsdWU=", "FIRST-S3CRET-VALUE"] {
        for what in ["echo", "fail"] {
            let arguments_json = format!("{{\"do\": \"{what}\", \"text\": \"a {text}\"}}");
            let call = ToolCall { id: "1".to_owned(), name: "probe".to_owned(), arguments_json };
            let run = chain.call_tool(&call, &NoProgress).await.expect("it has the tool");
            let Err(Error::Fault(fault)) = run.outcome else { panic!("{text}: {:?}", run.outcome) };
            let FaultCause::Refused { message } = &fault.cause else { panic!("{text}: {fault:?}") };
            assert!(message.contains("its answer contains the secret \"key\"") && !message.contains(text), "{message}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_in_chunks_of_a_text_is_found_with_its_last_chunk() {
    let setup = Setup::new();
    let grants = |text: &str| Grants::parse(&[setup.with_port(text)]).and_then(|grants| grants.resolved(&read));
    let spec = PluginSpec {
        asks: vec!["secret:key".to_owned()],
        grants: grants(SECRET).expect("grants"),
        ..spec("repeat", guest("repeat"))
    };
    let plugin = setup.sandbox.load(spec).await.unwrap_or_else(|error| panic!("{error}"));
    let chain = PluginChain::new(vec![plugin]).expect("a chain");
    for chunks in
        [&["it is first-s3cret-", "value!"][..], &["f", "irst-s3cret-valu", "e"], &["first", "", "-s3cret-value"]]
    {
        let mut hooks = bind(&chain).await;
        let (last, first) = chunks.split_last().expect("one");
        for chunk in first {
            assert!(hooks.push((*chunk).to_owned()).await.is_ok(), "{chunk} of {chunks:?}");
        }
        let fault = fault(hooks.push((*last).to_owned()).await);
        assert!(
            matches!(&fault.cause, FaultCause::Refused { message } if message.contains("the secret \"key\"")),
            "{fault}"
        );
    }
    // Each request has a text of its own.
    for chunk in ["first-s3cret-", "value"] {
        assert!(bind(&chain).await.push(chunk.to_owned()).await.is_ok(), "{chunk}");
    }
}

/// Tenants with the same plugin have their own values, and none without a grant.
#[tokio::test(flavor = "multi_thread")]
async fn tenants_share_no_secret() {
    let setup = Setup::new();
    for (tenant, own, expected) in [
        ("first", &["secret:key"][..], "200  5: right"),
        ("second", &["secret:key=env:SECOND"], "200  5: wrong"),
        ("third", &[], "error: Error::Denied"),
        ("fourth", &["secret:other"], "error: Error::Denied"),
    ] {
        let chain = setup.with_secret(tenant, &[SECRET], own).await;
        let (text, log) = setup.send(&chain, "http://site.test:PORT/auth", BEARER).await;
        assert_eq!(text, expected, "{tenant}: {log:?}");
    }
    let unset = setup.with_secret("acme", &["secret:key for http://site.test:PORT/"], &["secret:key"]).await;
    let (text, _) = setup.send(&unset, "http://site.test:PORT/auth", BEARER).await;
    assert!(text.contains("the secret has no value"), "{text}");
    let nowhere = setup.with_secret("acme", &["secret:key=env:FIRST"], &["secret:key"]).await;
    let (text, _) = setup.send(&nowhere, "http://site.test:PORT/auth", BEARER).await;
    assert!(text.contains("the secret has no value"), "a secret without a host is not used: {text}");
}
