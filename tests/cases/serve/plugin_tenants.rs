//! Two tenants with the same plugin share nothing: buckets, configuration, secrets, instances and metrics.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::super::plugins::probe::{probe_answer, probe_folder};
use crate::harness::server::{Server, tenant};

/// Answers every request, and remembers the header `authorization` of each.
fn listener() -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let shared = Arc::clone(&seen);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let (mut head, mut byte) = (Vec::new(), [0]);
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count > 0) {
                head.push(byte[0]);
            }
            let head = String::from_utf8_lossy(&head).into_owned();
            let sent = head.lines().find_map(|line| line.strip_prefix("authorization: ")).unwrap_or("none");
            shared.lock().expect("no panic").push(sent.to_owned());
            let _gone = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        }
    });
    (port, seen)
}

/// A server whose plugin `probe` sends requests to this port. The folder has the secrets.
fn server(port: u16) -> (Server, TempDir) {
    let secrets = tempfile::tempdir().expect("a folder");
    let file = |name: &str, value: &str| {
        let path = secrets.path().join(name);
        std::fs::write(&path, value).expect("written");
        path.display().to_string()
    };
    let (first, second) = (file("first", "first-s3cret-value"), file("second", "second-s3cret-value"));
    let asks =
        format!("keyvalue = [\"notes\"]\nmetrics = true\nsecret = [\"key\"]\nhttp = [\"* http://127.0.0.1:{port}\"]");
    let folder = probe_folder(&asks);
    let plugin = |name: &str, more: &str| {
        format!("[[plugin]]\nname = \"{name}\"\nsource = \"{folder}\"\ndigest = \"any\"\n{more}\n")
    };
    let grants = format!(
        "grants = [\"keyvalue:notes\", \"metrics\", \"http:* http://127.0.0.1:{port}\", \
         \"secret:key=file:{first} for http://127.0.0.1:{port}/\"]\nconfig = {{ city = \"Paris\" }}"
    );
    let own = format!("[\"keyvalue:notes\", \"metrics\", \"http:*\", \"secret:key=file:{second}\"]");
    let config = [
        "[[model]]\nname = \"ember\"\ndevice = \"cpu\"\n".to_owned(),
        plugin("probe", &grants),
        plugin("oslo", "config = { city = \"Oslo\" }"),
        plugin("rome", "config = { city = \"Rome\" }"),
        tenant("alpha", "plugins = [\"probe\"]\ngrants = { probe = [\"*\"] }"),
        tenant("beta", &format!("plugins = [\"probe\"]\ngrants = {{ probe = {own} }}")),
        tenant("gamma", "plugins = [\"probe\"]"),
        tenant("north", "plugins = [\"oslo\"]"),
        tenant("south", "plugins = [\"rome\"]"),
    ];
    (Server::start(&config.concat()), secrets)
}

#[test]
fn two_tenants_with_the_same_plugin_share_no_bucket_instance_or_configuration() {
    let (server, _secrets) = server(9);
    let ask = |tenant: &str, arguments: Value| probe_answer(&server, tenant, &arguments);
    // Buckets.
    let store = |with: &str| json!({ "do": "store", "bucket": "notes", "with": with, "key": "k", "value": "of alpha" });
    assert_eq!(ask("alpha", store("set")), "done");
    assert_eq!((ask("alpha", store("get")), ask("beta", store("get"))), ("of alpha".to_owned(), "-".to_owned()));
    assert_eq!(ask("beta", store("keys")), "0 in 1: ");
    assert_eq!(ask("gamma", store("get")), "error: Error::AccessDenied", "a tenant without a grant has none");

    // Instances: a static of the guest starts anew in each request, whoever makes it.
    for tenant in ["alpha", "beta", "alpha", "alpha", "beta"] {
        assert_eq!(ask(tenant, json!({ "do": "count" })), "1", "{tenant}");
    }

    // Configuration.
    for (tenant, city) in [("north", "Oslo Oslo Oslo"), ("south", "Rome Rome Rome"), ("alpha", "Paris Paris Paris")] {
        let answer = ask(tenant, json!({ "do": "config", "key": "city" }));
        assert!(answer.starts_with(city), "{tenant}: {answer}");
    }
}

#[test]
fn two_tenants_with_the_same_plugin_share_no_secret() {
    let (port, seen) = listener();
    let (server, _secrets) = server(port);
    let ask = |tenant: &str, arguments: Value| probe_answer(&server, tenant, &arguments);
    // Secrets: each has the value of its tenant, and a placeholder of its own.
    let url = format!("http://127.0.0.1:{port}/");
    let send = json!({ "do": "http", "secret": "key", "url": url, "header": "authorization: Bearer {secret}" });
    assert_eq!(ask("alpha", send.clone()), "200  2: ok");
    assert_eq!(ask("beta", send.clone()), "200  2: ok");
    assert_eq!(ask("gamma", send), "error: Error::Denied");
    assert_eq!(*seen.lock().expect("no panic"), ["Bearer first-s3cret-value", "Bearer second-s3cret-value"]);
    let placeholder = |tenant: &str| ask(tenant, json!({ "do": "secret", "name": "key" }));
    let theirs = placeholder("alpha");
    assert!(theirs.starts_with("firebox-secret-key-") && theirs != placeholder("beta"), "{theirs}");
    let forged = json!({ "do": "http", "url": url, "header": format!("authorization: Bearer {theirs}") });
    assert_eq!(ask("beta", forged), "200  2: ok");
    assert_eq!(
        seen.lock().expect("no panic").last(),
        Some(&format!("Bearer {theirs}")),
        "a placeholder of another is a text"
    );
    let sent = |tenant: &str| {
        let line =
            format!("firebox_plugin_counter_total{{plugin=\"probe\",tenant=\"{tenant}\",name=\"host_http_requests\"}}");
        server.metric("alpha", &line)
    };
    assert_eq!((sent("alpha"), sent("beta"), sent("gamma")), (1.0, 2.0, 0.0));
}

#[test]
fn a_scrape_of_a_running_server_has_the_numbers_of_a_plugin_for_each_tenant() {
    let (server, _secrets) = server(9);
    let ask = |tenant: &str, arguments: Value| probe_answer(&server, tenant, &arguments);
    // Metrics: the page of the running server has a line for each tenant.
    let count = |by: u32| json!({ "do": "metric", "kind": "count", "name": "pages", "value": by, "label": "a" });
    for (tenant, by) in [("alpha", 3), ("beta", 5), ("alpha", 4)] {
        assert_eq!(ask(tenant, count(by)), "recorded");
    }
    assert_eq!(ask("gamma", count(1)), "error: Error::Denied");
    let pages = |tenant: &str| {
        let line =
            format!("firebox_plugin_counter_total{{plugin=\"probe\",tenant=\"{tenant}\",name=\"pages\",kind=\"a\"}}");
        server.metric("alpha", &line)
    };
    assert_eq!((pages("alpha"), pages("beta"), pages("gamma")), (7.0, 5.0, 0.0));
}
