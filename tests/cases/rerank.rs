//! `firebox rerank` and `/v1/rerank` on a tiny cross-encoder, whose scores `tests/parity/make_encoder_goldens.py` knows.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::harness::server::{Response, Server, tenant};
use crate::harness::{Firebox, root};

fn model() -> PathBuf {
    root().join("tests/parity/rerankers/bert")
}

/// Query, documents and their scores by sentence-transformers. The second document is empty.
fn golden() -> (String, Vec<String>, Vec<f64>) {
    let text = fs::read_to_string(model().join("golden.json")).expect("the golden is there");
    let golden: Value = serde_json::from_str(&text).expect("JSON");
    let texts = golden["documents"].as_array().expect("a list").iter().filter_map(Value::as_str).map(str::to_owned);
    let scores = golden["cases"][0]["scores"].as_array().expect("a list").iter().filter_map(Value::as_f64);
    let (texts, scores): (Vec<String>, Vec<f64>) = texts.zip(scores).filter(|(text, _)| !text.is_empty()).unzip();
    (golden["query"].as_str().expect("a text").to_owned(), texts, scores)
}

fn rerank(more: &[&str]) -> Firebox {
    let model = model().display().to_string();
    let args = ["rerank", "--device", "cpu", "-m", &model];
    Firebox::new(args.iter().chain(more))
}

/// Checks that results are the documents of these scores, best first.
fn check(results: &Value, scores: &[f64]) {
    let rows = results.as_array().expect("a list");
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
    assert_eq!(rows.len(), scores.len(), "{results}");
    for (row, index) in rows.iter().zip(order) {
        assert_eq!(row["index"], index, "{results}");
        let score = row["relevance_score"].as_f64().expect("a number");
        assert!((score - scores[index]).abs() < 1e-3, "{results}");
    }
}

#[test]
fn documents_are_arguments_or_lines_and_come_sorted_by_relevance() {
    let (query, documents, scores) = golden();
    let arguments: Vec<&str> =
        [query.as_str(), "--json"].into_iter().chain(documents.iter().map(String::as_str)).collect();
    let answer = rerank(&arguments).run().expect_code(0).json();
    check(&answer["results"], &scores);
    assert_eq!(
        answer["results"][0]["document"]["text"],
        documents[answer["results"][0]["index"].as_u64().expect("a number") as usize]
    );
    assert!(answer["usage"]["prompt_tokens"].as_u64() > Some(200), "{answer}");
    let lines = documents.join("\n") + "\n";
    let piped = rerank(&[&query, "--json"]).input(lines.clone()).run().expect_code(0).json();
    assert_eq!(piped["results"], answer["results"]);
    let folder = tempfile::tempdir().expect("temporary directory");
    fs::write(folder.path().join("lines.txt"), lines).expect("writes");
    let run = rerank(&[&query, "--input", "lines.txt", "--top-n", "1"]).current_dir(folder.path()).run().expect_code(0);
    let rows: Vec<&str> = run.stdout.lines().collect();
    assert_eq!((rows.len(), rows[0]), (2, "SCORE   INDEX  DOCUMENT"), "{}", run.stdout);
    let best = &answer["results"][0];
    assert!(
        rows[1].starts_with(&format!("{:.4}  {}", best["relevance_score"].as_f64().expect("a number"), best["index"])),
        "{}",
        rows[1]
    );
}

#[test]
fn what_cannot_be_ranked_is_refused_with_the_reason() {
    let run = rerank(&["a query"]).input("").run().expect_code(2);
    assert!(run.stderr.contains("at least one document"), "{}", run.stderr);
    let run = rerank(&["a query", "--input", "nowhere.txt"]).run().expect_code(2);
    assert!(run.stderr.contains("nowhere.txt"), "{}", run.stderr);
    let run = rerank(&["a query"]).input("one\n\n").run().expect_code(2);
    assert!(run.stderr.contains("line 2 is empty"), "{}", run.stderr);
    let embedder = root().join("tests/parity/encoders/mpnet").display().to_string();
    let run = Firebox::new(["rerank", "--device", "cpu", "-m", &embedder, "q", "d"]).run().expect_code(2);
    assert!(run.stderr.contains("makes embeddings") && run.stderr.contains("firebox embed"), "{}", run.stderr);
    let model = model().display().to_string();
    let embed = ["embed", "--model", &model, "--input", "-", "--output", "v.jsonl", "--device", "cpu"];
    let folder = tempfile::tempdir().expect("temporary directory");
    let run = Firebox::new(embed).current_dir(folder.path()).input("a text\n").run().expect_code(2);
    assert!(run.stderr.contains("firebox rerank"), "{}", run.stderr);
}

fn server(tenants: &str) -> Server {
    let (ranks, embeds) =
        (model().display().to_string(), root().join("tests/parity/encoders/mpnet").display().to_string());
    Server::start(&format!(
        "[audit]\npath = \"audit.jsonl\"\n[[model]]\nname = \"ranks\"\npath = \"{ranks}\"\ndevice = \"cpu\"\n\
         [[model]]\nname = \"embeds\"\npath = \"{embeds}\"\ndevice = \"cpu\"\n{tenants}"
    ))
}

fn ask(server: &Server, tenant: &str, body: Value) -> Response {
    let mut all = json!({"model": "ranks"});
    all.as_object_mut().expect("an object").extend(body.as_object().expect("an object").clone());
    server.post("/v1/rerank", tenant, &all)
}

#[test]
fn a_server_ranks_documents_in_the_shape_of_other_servers() {
    let server = server(&tenant("alpha", ""));
    let (query, documents, scores) = golden();
    let answer = ask(&server, "alpha", json!({"query": query, "documents": documents}));
    assert_eq!(answer.status, 200, "{answer:?}");
    let body = answer.json();
    check(&body["results"], &scores);
    assert!(body["results"][0].get("document").is_none() && body["model"] == "ranks", "{body}");
    assert_eq!(body["usage"]["prompt_tokens"], body["usage"]["total_tokens"]);
    let objects: Vec<Value> = documents.iter().map(|text| json!({"text": text})).collect();
    let asked = json!({"query": query, "documents": objects, "top_n": 1, "return_documents": true});
    let best = ask(&server, "alpha", asked).json()["results"].clone();
    assert_eq!((best.as_array().map(Vec::len), &best[0]["index"]), (Some(1), &body["results"][0]["index"]));
    assert_eq!(best[0]["document"]["text"], documents[best[0]["index"].as_u64().expect("a number") as usize]);
    assert_eq!(server.get("/v1/models/ranks", "alpha").json()["firebox"]["kind"], "rerank");
    assert!(server.metric("alpha", "firebox_requests_total{model=\"ranks\"") >= 2.0);
    assert!(server.get("/v1/usage", "alpha").json()["total"]["prompt_tokens"].as_u64() > Some(200));

    let refused = [
        (json!({"documents": ["a"]}), 400, "query"),
        (json!({"query": "q", "documents": []}), 400, "documents"),
        (json!({"query": "q", "documents": ["a", {"title": "b"}]}), 400, "documents[1].text"),
        (json!({"query": "q", "texts": ["a"]}), 400, "texts"),
        (json!({"query": "q", "documents": ["a"], "model": "embeds"}), 400, "/v1/embeddings"),
        (json!({"query": "q", "documents": ["a"], "model": "none"}), 404, "model_not_found"),
        (json!({"query": "q", "documents": ["a"], "prompt_name": "none"}), 400, "prompt_name"),
        (json!({"query": "q", "documents": ["a", "word ".repeat(300)], "truncate": false}), 400, "documents[1]"),
        (json!({"query": "x".repeat(100_000), "documents": ["a"], "truncate": false}), 400, "query"),
    ];
    for (body, status, text) in refused {
        let shown: String = body.to_string().chars().take(200).collect();
        let refused = ask(&server, "alpha", body);
        assert!(refused.status == status && refused.body.contains(text), "{shown}: {refused:?}");
    }
    let long =
        json!({"query": "where sat the cat ".repeat(5_000), "documents": ["the cat sat ".repeat(5_000), "a cat"]});
    let cut = ask(&server, "alpha", long);
    assert_eq!(cut.status, 200, "{cut:?}");
    assert!(cut.json()["usage"]["prompt_tokens"].as_u64() <= Some(560), "{cut:?}");
    let other = server.post("/v1/embeddings", "alpha", &json!({"model": "ranks", "input": "a"}));
    assert!(other.status == 400 && other.body.contains("/v1/rerank"), "{other:?}");
}

#[test]
fn query_and_documents_go_through_the_tenants_plugins_and_limits() {
    let server = server(&format!(
        "{}{}",
        tenant("masked", "plugins = [\"redact\"]"),
        tenant("single", "[tenant.limits]\nrequests_per_minute = 1"),
    ));
    let asked = json!({"query": "mail to ann@example.org", "documents": ["ann@example.org", "the cat"]});
    let answer = ask(&server, "masked", asked).json();
    let plugins = answer["firebox"]["plugins"].as_array().expect("a list").clone();
    let row = plugins.iter().find(|row| row["stage"] == "prompt").expect("the stage");
    assert_eq!((&row["plugin"], &row["calls"]), (&json!("redact"), &json!(3)), "{answer}");
    let one = json!({"query": "q", "documents": ["the cat"]});
    assert_eq!(ask(&server, "single", one.clone()).status, 200);
    let refused = ask(&server, "single", one);
    assert_eq!((refused.status, refused.code().as_str()), (429, "rate_limited"), "{refused:?}");
    let log = || fs::read_to_string(server.folder.path().join("audit.jsonl")).expect("an audit log");
    server
        .eventually("written", |_| log().lines().any(|line| line.contains("\"masked\"") && line.contains("\"ranks\"")));
}
