use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::json;

use super::{cell, check};
use crate::harness::server::{PLUGINS, Server, tenant};

/// A family of metrics, as a scrape shows it.
#[derive(Default)]
struct Family {
    kind: String,
    help: String,
    labels: BTreeSet<String>,
}

/// The families of a scrape by name, with the labels of their samples.
fn families(scrape: &str) -> BTreeMap<String, Family> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    for line in scrape.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            families.entry(name.to_owned()).or_default().help = help.trim_end_matches('.').to_owned();
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            kind.clone_into(&mut families.entry(name.to_owned()).or_default().kind);
        } else if let Some((sample, labels)) = line.split_once('{') {
            let names = labels.split("=\"").map(|part| part.rsplit([',', '"', '}', ' ']).next().unwrap_or_default());
            let names = names.filter(|name| {
                !name.is_empty() && *name != "le" && name.chars().all(|c| c.is_ascii_lowercase() || c == '_')
            });
            let endings = ["", "_total", "_bucket", "_sum", "_count"];
            let family = endings.iter().find_map(|end| {
                sample.strip_suffix(end).filter(|name| families.contains_key(*name)).map(str::to_owned)
            });
            if let Some(family) = family.and_then(|name| families.get_mut(&name)) {
                family.labels.extend(names.map(str::to_owned));
            }
        }
    }
    families
}

/// A scrape of a server that has answered a chat with a tool call, an embedding error and an MCP listing.
fn scrape() -> String {
    let config = format!(
        "[[model]]\nname = \"ember\"\n[[mcp.server]]\nname = \"units\"\ncommand = [{:?}, \"mcp\", \"serve\", \"--plugin\", \"units\"]\n{}",
        env!("CARGO_BIN_EXE_firebox"),
        tenant("acme", &format!("{PLUGINS}\nmcp_servers = [\"units\"]")),
    );
    let server = Server::start(&config);
    let body = json!({ "model": "ember", "messages": [{ "role": "user", "content": "What is 1234 * 87?" }] });
    assert_eq!(server.post("/v1/chat/completions", "acme", &body).status, 200);
    server.get("/metrics", "acme").body
}

#[test]
fn the_page_of_metrics_shows_every_family() {
    let families = families(&scrape());
    let mut page = "# Metrics\n\nGenerated from a scrape of `GET /metrics`, which answers in the text format of Prometheus. A key \
                    needs the scope `metrics`. Histograms have the usual samples `_bucket`, `_sum` and `_count`.\n\n\
                    | metric | type | labels | meaning |\n|---|---|---|---|\n"
        .to_owned();
    for (name, Family { kind, help, labels }) in &families {
        let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
        let total = if kind == "counter" { "_total" } else { "" };
        writeln!(page, "| `{name}{total}` | {kind} | {} | {}. |", labels.join(", "), cell(help)).expect("a string");
    }
    assert!(families.len() > 30 && families.keys().all(|name| name.starts_with("firebox_")), "{page}");
    check("metrics.md", &page);
}

#[test]
fn labels_are_read_from_samples() {
    let scrape = "# HELP a_x Help.\n# TYPE a_x counter\na_x_total{model=\"m=\\\"1\",tenant=\"t\"} 3\n# HELP b Text\n# TYPE b histogram\n\
                  b_bucket{le=\"0.5\",model=\"m\"} 1\n# EOF\n";
    let families = families(scrape);
    let labels = |name: &str| families[name].labels.iter().map(String::as_str).collect::<Vec<_>>();
    assert_eq!((labels("a_x"), labels("b")), (vec!["model", "tenant"], vec!["model"]));
    assert_eq!((families["a_x"].help.as_str(), families["b"].kind.as_str()), ("Help", "histogram"));
}
