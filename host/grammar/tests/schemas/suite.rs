//! Every case of the JSON Schema Test Suite: its schema is refused with a pointer, or the texts of its instances are
//! accepted and rejected as the case says.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use firebox_contract::{Error, Grammar, GrammarCompiler, TenantId};
use firebox_grammar::Compiler;
use serde_json::Value;

use super::support::TextsCodec;

fn folder() -> PathBuf {
    let script = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/tools/json-schema-suite"));
    let output = Command::new(&script).output().expect("the script runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let path = text.lines().find_map(|line| line.strip_prefix("export FIREBOX_TEST_JSON_SCHEMA_SUITE='"));
    PathBuf::from(path.expect("the script prints it").trim_end_matches('\''))
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Counts {
    /// Cases of schemas that are refused.
    refused: usize,
    /// Cases that are judged as they say.
    right: usize,
    /// Valid instances that are rejected, because answers are not written in that way.
    narrower: usize,
    /// Invalid instances that are accepted.
    wrong: usize,
}

fn judge(draft: &str) -> (Counts, BTreeMap<String, Counts>, Vec<String>) {
    let compiler = Compiler::new(TextsCodec::shared([]));
    let (mut total, mut files, mut notes) = (Counts::default(), BTreeMap::new(), Vec::new());
    for entry in std::fs::read_dir(folder().join(draft)).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let groups: Value = serde_json::from_str(&std::fs::read_to_string(&path).expect("readable")).expect("JSON");
        let mut counts = Counts::default();
        for group in groups.as_array().expect("groups") {
            let mut schema = group["schema"].clone();
            if let (Some(members), "draft7") = (schema.as_object_mut(), draft) {
                members.insert("$schema".to_owned(), "http://json-schema.org/draft-07/schema#".into());
            }
            let grammar = Grammar::JsonSchema(schema.to_string());
            let cases = group["tests"].as_array().expect("cases");
            let compiled = compiler.compile(&TenantId::new("suite"), &grammar);
            if let Err(error) = compiled {
                assert!(matches!(error, Error::Schema { .. }), "{name}: {schema}: {error:?}");
                counts.refused += cases.len();
                continue;
            }
            for case in cases {
                let text = case["data"].to_string();
                let mut state = compiler.compile(&TenantId::new("suite"), &grammar).expect("it compiled before");
                let accepted = state.accept_text(&text).expect("a step") && state.may_end().expect("a step");
                let valid = case["valid"] == true;
                let note = || format!("{name}: {} / {}: {text}", group["description"], case["description"]);
                match (valid, accepted) {
                    (true, true) | (false, false) => counts.right += 1,
                    (true, false) => {
                        counts.narrower += 1;
                        notes.push(format!("narrower {}", note()));
                    }
                    (false, true) => {
                        counts.wrong += 1;
                        notes.push(format!("WRONG {}", note()));
                    }
                }
            }
        }
        total.refused += counts.refused;
        total.right += counts.right;
        total.narrower += counts.narrower;
        total.wrong += counts.wrong;
        files.insert(name, counts);
    }
    notes.sort();
    (total, files, notes)
}

#[test]
fn the_suite_is_judged_as_it_says_or_refused() {
    for draft in ["draft2020-12", "draft7"] {
        let (total, files, notes) = judge(draft);
        for (file, counts) in &files {
            println!("{draft} {file}: {counts:?}");
        }
        notes.iter().for_each(|note| println!("{draft} {note}"));
        println!("{draft}: {total:?}");
        assert_eq!(total.wrong, 0, "an invalid instance is accepted");
    }
}
