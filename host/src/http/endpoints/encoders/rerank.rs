//! `/v1/rerank`: documents sorted by their relevance to a query, in the shape that Jina, Cohere and Text Embeddings Inference
//! share.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::Response;
use firebox_contract::{EncoderProfile, EncoderTask, Error, VectorForm, limits};
use serde_json::Value;

use crate::http::body::{self, ParsedBody};
use crate::http::endpoints::encoders::{self, EncoderWork};
use crate::http::request::fields::{Fields, wrong};
use crate::http::request::{plugins, timeout};
use crate::http::response::json as json_response;
use crate::http::response::wire::{self, RerankDocument, RerankItem, RerankObject};
use crate::http::{ApiRequest, Failure};
use crate::serve::App;
use crate::serve::models::encoder::TextOptions;

/// A checked rerank request.
#[derive(Debug)]
struct RerankRequest {
    model: String,
    query: String,
    documents: Vec<String>,
    /// The number of results; all without it.
    top_n: Option<usize>,
    /// Whether the answer has the texts of the documents.
    return_documents: bool,
    truncate: bool,
    max_tokens: Option<usize>,
    prompt_name: Option<String>,
    plugins: Vec<String>,
    timeout: Option<Duration>,
}

impl RerankRequest {
    /// The options for a model with this profile. Its vectors are scores.
    fn options(&self, profile: &EncoderProfile) -> Result<TextOptions, Failure> {
        let prompt = profile.prompt(self.prompt_name.as_deref());
        let prompt = prompt.map_err(|error| Failure::from(error).with_param("prompt_name"))?.to_owned();
        Ok(TextOptions {
            prompt,
            query: Some(self.query.clone()),
            truncate: self.truncate,
            max_tokens: self.max_tokens,
            vector: VectorForm { dimensions: profile.width, normalize: false },
        })
    }
}

/// `POST /v1/rerank`.
pub(in crate::http) async fn rerank(app: Arc<App>, mut request: ApiRequest) -> Result<Response<Body>, Failure> {
    let started = Instant::now();
    let tenant = request.tenant()?.clone();
    let admitted = request.admitted()?;
    let ParsedBody { value: asked, reserved: _reserved } = body::json(&app, &mut request, read).await?;
    let encoder = encoders::find(&app, &tenant, &asked.model, EncoderTask::Rank)?;
    let options = asked.options(encoder.profile())?;
    let RerankRequest { model, documents, top_n, return_documents, plugins, timeout, .. } = asked;
    let kept = if return_documents { documents.clone() } else { Vec::new() };
    let work = EncoderWork { model: model.clone(), texts: documents, options, plugins, timeout, started };
    let scored = work.run(&app, &tenant, &encoder, admitted, request.id.clone()).await.map_err(with_field)?;
    let scores = scored.vectors.iter().map(|vector| vector.first().copied().unwrap_or_default()).collect();
    json_response(&RerankObject {
        id: request.id,
        object: "list",
        model,
        results: ranked(scores, top_n, kept),
        usage: encoders::usage(scored.tokens),
        firebox: wire::embedding_details(&scored.plugins, started.elapsed()),
    })
}

/// The failure of a request. If a text is too large, it names the field of the texts.
fn with_field(error: Error) -> Failure {
    match error {
        Error::TooLarge(_) => Failure::from(error).with_param("documents"),
        error => error.into(),
    }
}

/// The best `top_n` of all documents, the most relevant first; of equal ones, the first. `texts` is empty if the answer has
/// no texts.
fn ranked(scores: Vec<f32>, top_n: Option<usize>, mut texts: Vec<String>) -> Vec<RerankItem> {
    let mut rows: Vec<(usize, f32)> = scores.into_iter().enumerate().collect();
    rows.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    rows.truncate(top_n.unwrap_or(usize::MAX));
    let mut item = |(index, relevance_score): (usize, f32)| {
        let document = texts.get_mut(index).map(|text| RerankDocument { text: std::mem::take(text) });
        RerankItem { index, relevance_score, document }
    };
    rows.drain(..).map(&mut item).collect()
}

/// Fields of other servers that are refused, and what to do instead.
const REFUSED: [(&str, &str); 9] = [
    ("texts", "send the texts as \"documents\""),
    ("return_text", "use \"return_documents\""),
    ("top_k", "use \"top_n\""),
    ("rank_fields", "send the text of each document"),
    ("max_tokens_per_doc", "use \"truncate_prompt_tokens\""),
    ("max_chunks_per_doc", "a document is scored as a whole"),
    ("instruction", "choose one of the model's prompts with \"prompt_name\""),
    ("instruct", "choose one of the model's prompts with \"prompt_name\""),
    ("return_embeddings", "the answer has scores only"),
];

fn read(body: &Value) -> Result<RerankRequest, Failure> {
    let fields = Fields::of(body, "")?;
    let is_off = |value: &Value| *value == Value::Bool(false);
    let asks = |field: &str| fields.get(field).is_some_and(|value| !is_off(value));
    if let Some((field, remedy)) = REFUSED.into_iter().find(|(field, _)| asks(field)) {
        return Err(Failure::unsupported(field, format!("\"{field}\" is not supported; {remedy}")));
    }
    if fields.flag("raw_scores")? == Some(true) {
        let message = "the model's own activation is always applied; remove \"raw_scores\"";
        return Err(Failure::unsupported("raw_scores", message));
    }
    let extensions = fields.object("firebox")?;
    let (mut truncate, mut added, mut time_limit) = (fields.flag("truncate")?, Vec::new(), None);
    if let Some(extra) = &extensions {
        truncate = extra.flag("truncate")?.or(truncate);
        added = plugins(extra)?;
        time_limit = timeout(extra)?;
    }
    let query = fields.need("query", fields.text("query")?)?.to_owned();
    if query.is_empty() {
        return Err(Failure::field("query", "\"query\" is empty; it needs at least one character"));
    }
    let top_n = fields.count("top_n")?;
    if top_n == Some(0) {
        return Err(Failure::field("top_n", "\"top_n\" is 0; ask for at least one result"));
    }
    let max_tokens = match fields.get("truncate_prompt_tokens") {
        Some(Value::Number(number)) if number.as_i64() == Some(-1) => None,
        _ => fields.count("truncate_prompt_tokens")?,
    };
    Ok(RerankRequest {
        model: fields.need("model", fields.text("model")?)?.to_owned(),
        query,
        documents: documents(&fields)?,
        top_n,
        return_documents: fields.flag("return_documents")?.unwrap_or(false),
        // Pairs that are too long are cut, as other servers and sentence-transformers do.
        truncate: truncate.unwrap_or(true),
        max_tokens,
        prompt_name: fields.text("prompt_name")?.map(str::to_owned),
        plugins: added,
        timeout: time_limit,
    })
}

/// Texts, or objects with a `text`.
fn documents(fields: &Fields<'_>) -> Result<Vec<String>, Failure> {
    let list = fields.need("documents", fields.list("documents")?)?;
    if list.len() > limits::EMBED_REQUEST_TEXTS_MAX {
        let (count, max) = (list.len(), limits::EMBED_REQUEST_TEXTS_MAX);
        let message = format!("{count} documents given, at most {max} are allowed in one request");
        return Err(Failure::field("documents", message));
    }
    let text = |(index, value): (usize, &Value)| {
        let name = format!("documents[{index}]");
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Object(_) => {
                let document = Fields::of(value, &name)?;
                document.need("text", document.text("text")?)?.to_owned()
            }
            other => return Err(wrong(&name, "a string or an object with a \"text\"", other)),
        };
        if text.is_empty() {
            return Err(Failure::field(&name, format!("\"{name}\" is empty; each text needs at least one character")));
        }
        Ok(text)
    };
    let documents = list.iter().enumerate().map(text).collect::<Result<Vec<_>, _>>()?;
    if documents.is_empty() {
        return Err(Failure::field("documents", "\"documents\" is empty; send at least one"));
    }
    Ok(documents)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn results_are_sorted_by_relevance_and_name_their_document() {
        let texts = || ["a", "b", "c"].map(str::to_owned).to_vec();
        let results = ranked(vec![0.5, 0.9, 0.5], Some(2), texts());
        let rows = serde_json::to_value(&results).expect("JSON");
        assert_eq!(rows[0]["index"], 1);
        assert_eq!((&rows[0]["document"]["text"], &rows[1]["index"]), (&json!("b"), &json!(0)));
        assert_eq!(results.len(), 2);
        let bare = serde_json::to_value(ranked(vec![0.1], None, Vec::new())).expect("JSON");
        assert!(bare[0].get("document").is_none(), "{bare}");
    }

    #[test]
    fn documents_are_texts_or_objects_with_a_text() {
        let read = |documents: Value| read(&json!({"model": "m", "query": "q", "documents": documents}));
        let asked = read(json!(["a", {"text": "b", "title": "ignored"}])).map_err(|_| "refused").expect("accepted");
        assert_eq!((asked.documents.as_slice(), asked.truncate), (&["a".to_owned(), "b".to_owned()][..], true));
        let bad = [
            (json!([]), "documents"),
            (json!("a"), "documents"),
            (json!(["a", ""]), "documents[1]"),
            (json!(["a", 7]), "documents[1]"),
            (json!([{"title": "x"}]), "documents[0].text"),
        ];
        for (documents, param) in bad {
            let Err(failure) = read(documents.clone()) else { panic!("{documents} was accepted") };
            let body = serde_json::to_value(failure.body_for("r")).expect("JSON");
            assert_eq!(body["error"]["param"], param, "{documents}");
        }
    }

    #[test]
    fn a_field_that_is_missing_or_of_another_server_is_named() {
        let bad = [
            (json!({"query": null}), "query"),
            (json!({"query": ""}), "query"),
            (json!({"documents": null}), "documents"),
            (json!({"top_n": 0}), "top_n"),
            (json!({"top_n": -1}), "top_n"),
            (json!({"raw_scores": true}), "raw_scores"),
            (json!({"return_documents": "yes"}), "return_documents"),
            (json!({"model": null}), "model"),
        ];
        let refused = REFUSED.iter().map(|(field, _)| (json!({ *field: 1 }), *field));
        for (change, param) in bad.into_iter().chain(refused) {
            let mut body = json!({"model": "m", "query": "q", "documents": ["a"]});
            body.as_object_mut().expect("an object").extend(change.as_object().expect("an object").clone());
            let Err(failure) = read(&body) else { panic!("{body} was accepted") };
            let text = serde_json::to_value(failure.body_for("r")).expect("JSON");
            assert_eq!(text["error"]["param"], param, "{body}");
        }
        let body =
            json!({"model": "m", "query": "q", "documents": ["a"], "return_text": false, "truncate_prompt_tokens": -1});
        assert!(read(&body).is_ok_and(|asked| asked.max_tokens.is_none()));
    }
}
