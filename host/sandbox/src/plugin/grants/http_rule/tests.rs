//! Which requests a rule includes, and which addresses are private.

use super::address::is_private;
use super::*;

fn rule(text: &str) -> HttpRule {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// The target of `METHOD URL`.
fn target(text: &str) -> HttpTarget {
    let (method, url) = text.split_once(' ').expect("a method");
    let (scheme, rest) = url.split_once("://").expect("a scheme");
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let is_https = scheme == "https";
    let (host, port) = split_port(authority, is_https).expect("a port");
    HttpTarget::new(method, is_https, host, port, path)
}

#[test]
fn a_rule_includes_its_own_requests_only() {
    let api = "GET,POST https://api.example.org/v1/";
    for (rule_text, request, expected) in [
        (api, "GET https://api.example.org/v1/x?q=1", true),
        (api, "post https://API.example.org./v1/", true),
        (api, "DELETE https://api.example.org/v1/x", false),
        (api, "GET http://api.example.org/v1/x", false),
        (api, "GET https://api.example.org:8443/v1/x", false),
        (api, "GET https://api.example.org/v2/x", false),
        (api, "GET https://api.example.org/v1", false),
        (api, "GET https://api.example.org.evil.test/v1/x", false),
        (api, "GET https://evil.test/v1/x", false),
        (api, "GET https://api.example.org/v1/../admin", false),
        (api, "GET https://api.example.org/v1/%2e%2E/admin", false),
        (api, "GET https://api.example.org/v1/.%2e/admin", false),
        (api, "GET https://api.example.org/v1/..;/admin", false),
        (api, "GET https://api.example.org/v1/..%2fadmin", false),
        (api, "GET https://api.example.org/v1/..%252fadmin", false),
        (api, "GET https://api.example.org/v1/..\\admin", false),
        (api, "GET https://api.example.org//v1/x", false),
        ("GET https://api.example.org/v1", "GET https://api.example.org/v1", true),
        ("GET https://api.example.org/v1", "GET https://api.example.org/v1/x", true),
        ("GET https://api.example.org/v1", "GET https://api.example.org/v1x", false),
        ("GET https://api.example.org", "GET https://api.example.org/a/../b", true),
        ("* https://*.example.org", "PATCH https://a.b.example.org/", true),
        ("* https://*.example.org", "GET https://example.org/", false),
        ("* https://*.example.org", "GET https://evilexample.org/", false),
        ("* http://127.0.0.1:8080", "GET http://127.0.0.1:8080/", true),
        ("GET https://*", "GET https://any.example/x", true),
        ("GET https://*", "GET https://any.example:444/x", false),
        ("GET https://*:*", "GET https://any.example:444/x", true),
        ("GET https://*:*", "GET http://any.example:444/x", false),
        ("* http://[::1]:8080", "GET http://[::1]:8080/", true),
        ("* http://[::1]:8080", "GET http://[0:0:0:0:0:0:0:1]:8080/", true),
    ] {
        assert_eq!(rule(rule_text).matches(&target(request)), expected, "{rule_text} <- {request}");
    }
}

#[test]
fn a_rule_that_is_not_one_is_refused() {
    for text in [
        "",
        "GET",
        "https://example.org",
        "GET example.org",
        "GET ftp://example.org",
        "GET https://",
        "G3T https://a.org",
        "GET, https://a.org",
        "GET https://user@a.org",
        "GET https://*.org",
        "GET https://a.*.org",
        "GET https://a.org/../b",
        "GET https://a.org/?q",
        "GET https://a.org/*",
        "GET https://a.org:0",
        "GET https://a..org",
        "GET https://a.org:99999",
        "GET https://é.org",
        "GET https://[::1",
        "GET https://a.org private",
        "GET https://a.org at",
        "GET https://a.org at nowhere",
        "GET https://a.org at 10.0.0.0/33",
        "GET https://a.org at ::ffff:10.0.0.1",
        "GET https://a.org at 10.0.0.1 10.0.0.2",
    ] {
        assert!(text.parse::<HttpRule>().is_err(), "{text}");
    }
}

#[test]
fn coverage_says_whether_an_ask_is_granted_in_full_or_in_part() {
    for (granted, asked, expected) in [
        ("* https://a.org", "GET https://a.org/v1/", Coverage::All),
        ("GET https://a.org", "GET,POST https://a.org", Coverage::Part),
        ("GET https://a.org", "* https://a.org", Coverage::Part),
        ("POST https://a.org", "GET https://a.org", Coverage::Nothing),
        ("GET https://a.org/v1/", "GET https://a.org", Coverage::Part),
        ("GET https://a.org/v1/", "GET https://a.org/v2/", Coverage::Nothing),
        ("GET https://*.a.org", "GET https://b.a.org", Coverage::All),
        ("GET https://b.a.org", "GET https://*.a.org", Coverage::Part),
        ("GET https://*.a.org", "GET https://a.org", Coverage::Nothing),
        ("GET http://a.org", "GET https://a.org", Coverage::Nothing),
        ("GET https://*", "GET https://a.org", Coverage::All),
        ("GET https://a.org", "GET https://*:*", Coverage::Part),
        ("GET https://*:*", "GET https://a.org:1", Coverage::All),
        ("GET https://a.org:1", "GET https://a.org", Coverage::Nothing),
    ] {
        assert_eq!(rule(granted).coverage(&rule(asked)), expected, "{granted} of {asked}");
    }
}

#[test]
fn addresses_that_no_public_server_has_are_private() {
    for text in [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "169.254.169.254",
        "0.0.0.0",
        "100.64.0.1",
        "192.0.0.1",
        "198.18.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "192.0.2.1",
        "::1",
        "::",
        "fe80::1",
        "fc00::1",
        "fd00:ec2::254",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:a9fe:a9fe",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "::7f00:1",
        "2001:db8::1",
        "2001::1",
        "fec0::1",
        "64:ff9b:1::1",
        "::ffff:0:7f00:1",
        "::8.8.8.8",
        "100::1",
        "4000::1",
        "5f00::1",
        "3fff::1",
    ] {
        assert!(is_private(text.parse().expect(text)), "{text}");
    }
    for text in
        ["8.8.8.8", "1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "2a00:1450::1", "64:ff9b::808:808"]
    {
        assert!(!is_private(text.parse().expect(text)), "{text}");
    }
}

#[test]
fn a_private_address_must_be_named() {
    for (text, address, expected) in [
        ("* http://127.0.0.1", "127.0.0.1", true),
        ("* http://127.0.0.1", "::ffff:127.0.0.1", true),
        ("* http://127.0.0.1", "127.0.0.2", false),
        ("* http://localhost", "127.0.0.1", true),
        ("* http://localhost", "::1", true),
        ("* http://localhost", "10.0.0.1", false),
        ("* http://[::1]", "::1", true),
        ("* https://wiki.corp at 10.0.0.0/8", "10.9.8.7", true),
        ("* https://wiki.corp at 10.0.0.0/8", "11.0.0.1", false),
        ("* https://wiki.corp at 10.0.0.0/8", "169.254.169.254", false),
        ("* https://wiki.corp at 10.1.2.3", "10.1.2.3", true),
        ("* https://wiki.corp at 10.1.2.3", "10.1.2.4", false),
        ("* https://wiki.corp at fd00::/8", "fd12::1", true),
        ("* https://wiki.corp at 0.0.0.0/0", "192.168.1.1", true),
        ("* https://wiki.corp", "10.0.0.1", false),
        ("* https://*.corp.example", "10.0.0.1", false),
    ] {
        assert_eq!(rule(text).names_private(address.parse().expect(address)), expected, "{text} {address}");
    }
    assert_eq!(rule("GET https://wiki.corp at 10.0.0.0/8").to_string(), "GET https://wiki.corp/ at 10.0.0.0/8");
    assert_eq!(rule("GET https://wiki.corp at 10.0.0.1/32").to_string(), "GET https://wiki.corp/ at 10.0.0.1");
}
