//! Which files are downloaded, from where, with which token.

use super::*;

const TOKEN: &str = "hf_secret";

#[test]
fn a_pull_makes_blob_link_and_ref() {
    let bench = Bench::new();
    let pulled = bench.pull("o/m").expect("pulled");
    assert_eq!((pulled.files, pulled.bytes, pulled.received), (1, LENGTH as u64, LENGTH as u64));
    assert_eq!((pulled.commit.as_str(), &pulled.model.path), (COMMIT, &bench.snapshot().join(GGUF)));
    assert_eq!(std::fs::read_to_string(bench.repo().join("refs/main")).expect("there"), COMMIT);
    bench.assert_whole();
    let again = bench.pull("o/m:Q8_0").expect("pulled");
    assert_eq!((again.received, bench.hub.downloads().len()), (0, 2), "the bytes came once, by way of a redirect");
}

#[test]
fn revisions_are_asked_for_and_noted() {
    let bench = Bench::new();
    bench.pull("o/m@v1").expect("pulled");
    assert_eq!(std::fs::read_to_string(bench.repo().join("refs/v1")).expect("there"), COMMIT);
    bench.pull(&format!("o/m@{COMMIT}")).expect("pulled");
    assert_eq!(std::fs::read_dir(bench.repo().join("refs")).expect("there").count(), 1, "a commit needs no ref");
    let refused = bench.pull("o/m@v9").expect_err("no such tag").to_string();
    assert!(refused.contains("no revision \"v9\""), "{refused}");
}

#[test]
fn the_token_goes_to_the_hub_and_nowhere_else() {
    let bench = Bench::new();
    bench.hub.require(TOKEN);
    assert!(bench.refused("o/m").contains("set HF_TOKEN"));
    let settings = bench.settings(&[("HF_TOKEN", TOKEN)]);
    bench.pull_with(settings, "o/m").expect("with the token");
    bench.assert_whole();
    let (elsewhere, own): (Vec<_>, Vec<_>) = bench.hub.requests().into_iter().partition(|request| request.elsewhere);
    assert!(elsewhere.len() == 1 && elsewhere.iter().all(|request| !format!("{request:?}").contains(TOKEN)));
    assert!(own.iter().skip(1).all(|request| request.headers["authorization"] == format!("Bearer {TOKEN}")));
    let wrong = bench.pull_with(bench.settings(&[("HF_TOKEN", "hf_wrong")]), "o/m").expect_err("refused").to_string();
    assert!(wrong.contains("refuses the token") && !wrong.contains("hf_wrong"), "{wrong}");
}

#[test]
fn simple_mirrors_are_asked_for_each_size() {
    let bench = Bench::new();
    bench.hub.hide_sizes();
    bench.pull("o/m").expect("pulled");
    bench.assert_whole();
    assert!(bench.hub.requests().iter().any(|request| request.method == "HEAD"));
}

#[test]
fn a_folder_is_pulled_without_the_rest() {
    let bench = Bench::new();
    let id = "b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0";
    for path in ["config.json", "tokenizer.json", "README.md", "pytorch_model.bin", "1_Pooling/config.json"] {
        bench.hub.add("o/s", path, *b"hello", id);
    }
    bench.hub.add("o/s", "model.safetensors", noise(LENGTH), &sha256(&noise(LENGTH)));
    let pulled = bench.pull("o/s").expect("pulled");
    let path = pulled.model.path;
    assert_eq!((pulled.files, path.is_dir()), (4, true));
    let has = |name: &str| path.join(name).exists();
    assert!(has("1_Pooling/config.json") && has("model.safetensors") && !has("README.md") && !has("pytorch_model.bin"));
}

#[test]
fn paths_that_leave_the_cache_are_never_written() {
    let bench = Bench::new();
    for path in ["../../evil.gguf", "/evil.gguf", "a/../../evil.gguf"] {
        bench.hub.add("o/e", path, *b"x", &sha256(b"x"));
    }
    for name in ["o/e", "o/e:Q8_0"] {
        let refused = bench.pull(name).expect_err("nothing to pull").to_string();
        assert!(refused.contains("cannot be used"), "{refused}");
    }
    assert_eq!(bench.hub.downloads().len(), 0);
}

#[test]
fn a_model_of_the_cache_needs_no_network() {
    let bench = Bench::new();
    let offline = || bench.settings(&[("HF_HUB_OFFLINE", "1")]);
    let name: ModelName = "o/m:Q8_0".parse().expect("a name");
    let error = block_on(Hub::new(offline()).find_or_pull(&name, &|_| {})).expect_err("not there");
    assert!(matches!(&error, HubError::Offline(why) if why.contains("firebox models pull o/m:Q8_0")), "{error}");
    assert_eq!(bench.hub.requests().len(), 0);
    bench.pull("o/m").expect("pulled");
    let requests = bench.hub.requests().len();
    let found = block_on(Hub::new(offline()).find_or_pull(&name, &|_| {})).expect("there");
    assert_eq!((found.path, found.in_use.len()), (bench.snapshot().join(GGUF), 1));
    block_on(bench.client().find_or_pull(&name, &|_| {})).expect("there");
    assert_eq!(bench.hub.requests().len(), requests);
}

#[test]
fn a_choice_that_is_not_there_lists_what_is() {
    let bench = Bench::new();
    bench.hub.add("o/m", "m-Q4_0.gguf", *b"x", &sha256(b"x"));
    let refused = bench.refused("o/m:Q6_K");
    assert!(refused.contains("Q4_0, Q8_0"), "{refused}");
}
