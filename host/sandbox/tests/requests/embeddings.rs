//! The embedding stage: plugins see the texts before an encoder and the vectors after it.

use firebox_contract::{EmbeddingVerdict, Stage};
use firebox_sandbox::{OnFault, PluginSpec};

use crate::support::{bind, chain, fault, sandbox, scripted};

fn texts() -> Vec<String> {
    vec!["a".to_owned(), "b".to_owned()]
}

fn vectors() -> Vec<Vec<f32>> {
    vec![vec![1.0, 2.0, 3.0, 4.0], vec![5.0, 6.0, 7.0, 8.0]]
}

#[tokio::test]
async fn texts_and_vectors_go_through_the_chain() {
    let sandbox = sandbox();
    let first = sandbox.load(scripted("first", r#"{"texts": "append !", "vectors": "halve"}"#)).await.expect("loaded");
    let second =
        sandbox.load(scripted("second", r#"{"texts": "append ?", "vectors": "halve"}"#)).await.expect("loaded");
    let mut hooks = bind(&chain(&[&first, &second])).await;
    let verdict = hooks.before_embedding(texts()).await.expect("no fault");
    assert_eq!(verdict, EmbeddingVerdict::Continue(vec!["a!?".to_owned(), "b!?".to_owned()]));
    assert_eq!(hooks.after_embedding(vectors()).await.expect("no fault"), [[1.0], [5.0]]);
    assert_eq!(hooks.after_embedding(Vec::new()).await.expect("no fault"), Vec::<Vec<f32>>::new());
    let refuse = sandbox.load(scripted("third", r#"{"texts": "refuse too long"}"#)).await.expect("loaded");
    let mut hooks = bind(&chain(&[&first, &refuse])).await;
    let refused = EmbeddingVerdict::Refuse { plugin: "third".to_owned(), message: "too long".to_owned() };
    assert_eq!(hooks.before_embedding(texts()).await.expect("no fault"), refused);
}

#[tokio::test]
async fn what_is_no_text_and_no_vector_for_each_is_a_fault_or_is_skipped() {
    let sandbox = sandbox();
    for (config, expected) in [
        (r#"{"texts": "lose"}"#, "0 texts for 2"),
        (r#"{"vectors": "nan"}"#, "contain NaN"),
        (r#"{"vectors": "lose"}"#, "1 numbers; 2 vectors of its length have 8"),
    ] {
        let plugin = sandbox.load(scripted("bad", config)).await.expect("loaded");
        let mut hooks = bind(&chain(&[&plugin])).await;
        let texts_checked = hooks.before_embedding(texts()).await.map(drop);
        let fault = fault(match texts_checked {
            Ok(()) => hooks.after_embedding(vectors()).await.map(drop),
            failed => failed,
        });
        assert_eq!(fault.stage, Stage::Embedding);
        assert!(fault.to_string().contains(expected), "{fault}");
        let skip = PluginSpec { on_fault: OnFault::Skip, ..scripted("bad", config) };
        let mut hooks = bind(&chain(&[&sandbox.load(skip).await.expect("loaded")])).await;
        let verdict = hooks.before_embedding(texts()).await.expect("skipped");
        assert_eq!(verdict, EmbeddingVerdict::Continue(texts()));
        assert_eq!(hooks.after_embedding(vectors()).await.expect("skipped"), vectors());
    }
}

#[tokio::test]
async fn a_plugin_that_makes_more_texts_joins_their_vectors() {
    let sandbox = sandbox();
    let joins = r#"{"texts": "double", "vectors": "every second"}"#;
    let (first, last) = (scripted("first", joins), scripted("last", joins));
    let (first, last) = (sandbox.load(first).await.expect("loaded"), sandbox.load(last).await.expect("loaded"));
    let halves = sandbox.load(scripted("halves", r#"{"vectors": "halve"}"#)).await.expect("loaded");
    let mut hooks = bind(&chain(&[&first, &halves, &last])).await;
    let EmbeddingVerdict::Continue(more) = hooks.before_embedding(texts()).await.expect("no fault") else {
        panic!("refused")
    };
    assert_eq!(more, ["a", "a", "a", "a", "b", "b", "b", "b"]);
    let computed: Vec<Vec<f32>> = (0..8_u8).map(|n| vec![f32::from(n), 0.5]).collect();
    let joined = hooks.after_embedding(computed.clone()).await.expect("no fault");
    assert_eq!(joined, [[0.0], [4.0]], "the last plugin joins first");
    for config in [r#"{"texts": "double"}"#, r#"{"texts": "double", "vectors": "lose"}"#] {
        let skip = PluginSpec { on_fault: OnFault::Skip, ..scripted("bad", config) };
        for spec in [scripted("bad", config), skip] {
            let mut hooks = bind(&chain(&[&sandbox.load(spec).await.expect("loaded")])).await;
            hooks.before_embedding(texts()).await.expect("no fault");
            let error = hooks.after_embedding(computed[..4].to_vec()).await.expect_err("there is no vector for each");
            assert!(error.to_string().contains("bad"), "{error}");
        }
    }
}
