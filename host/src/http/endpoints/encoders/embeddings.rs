//! `/v1/embeddings`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use firebox_contract::{EncoderProfile, EncoderTask, Error, VectorForm, limits};
use serde_json::Value;

use crate::http::body::{self, ParsedBody};
use crate::http::endpoints::encoders::{self, EncoderWork};
use crate::http::request::fields::{Fields, wrong};
use crate::http::request::{plugins, timeout};
use crate::http::response::{json as json_response, wire};
use crate::http::{ApiRequest, Failure};
use crate::serve::App;
use crate::serve::models::encoder::{Embeddings, TextOptions};

/// A checked embedding request.
struct EmbeddingsRequest {
    model: String,
    texts: Vec<String>,
    /// Whether the answer has vectors in base64 instead of numbers.
    base64: bool,
    options: EmbeddingRequestOptions,
    plugins: Vec<String>,
    timeout: Option<Duration>,
}

/// The options of texts and vectors as the request has them, not yet checked against the model.
#[derive(Debug, Default)]
struct EmbeddingRequestOptions {
    truncate: bool,
    max_tokens: Option<usize>,
    prompt_name: Option<String>,
    dimensions: Option<usize>,
    normalize: Option<bool>,
}

impl EmbeddingRequestOptions {
    /// The options for a model with this profile.
    fn resolve(&self, profile: &EncoderProfile) -> Result<TextOptions, Failure> {
        let name = self.prompt_name.as_deref();
        let prompt = profile.prompt(name).map_err(|error| Failure::from(error).with_param("prompt_name"))?.to_owned();
        let dimensions = profile.length(self.dimensions);
        let dimensions = dimensions.map_err(|error| Failure::from(error).with_param("dimensions"))?;
        let vector = VectorForm { dimensions, normalize: self.normalize.unwrap_or(profile.uses_cosine) };
        Ok(TextOptions { prompt, query: None, truncate: self.truncate, max_tokens: self.max_tokens, vector })
    }
}

/// `POST /v1/embeddings`.
pub(in crate::http) async fn embeddings(app: Arc<App>, mut request: ApiRequest) -> Result<Response<Body>, Failure> {
    let started = Instant::now();
    let tenant = request.tenant()?.clone();
    let admitted = request.admitted()?;
    let ParsedBody { value: asked, reserved: _reserved } = body::json(&app, &mut request, read).await?;
    let encoder = encoders::find(&app, &tenant, &asked.model, EncoderTask::Embed)?;
    let options = asked.options.resolve(encoder.profile())?;
    let EmbeddingsRequest { model, texts, base64, plugins, timeout, .. } = asked;
    let work = EncoderWork { model: model.clone(), texts, options, plugins, timeout, started };
    let embeddings = work.run(&app, &tenant, &encoder, admitted, request.id).await;
    answer(model, embeddings.map_err(with_field)?, base64, started.elapsed()).await
}

/// The failure of an embedding. If a text is too large, it names the field of the texts.
fn with_field(error: Error) -> Failure {
    match error {
        Error::TooLarge(_) => Failure::from(error).with_param("input"),
        error => error.into(),
    }
}

async fn answer(
    model: String,
    embeddings: Embeddings,
    base64: bool,
    elapsed: Duration,
) -> Result<Response<Body>, Failure> {
    let usage = encoders::usage(embeddings.tokens);
    let firebox = wire::embedding_details(&embeddings.plugins, elapsed);
    let write = move || {
        let rows = embeddings.vectors.into_iter().enumerate().map(|(index, vector)| {
            let embedding = if base64 { self::base64(&vector) } else { wire::VectorFields::Numbers(vector) };
            wire::EmbeddingItem { object: "embedding", index, embedding }
        });
        let list = wire::ListObject::of(rows.collect());
        json_response(&wire::EmbeddingsObject { list, model, usage, firebox })
    };
    // A thousand vectors are megabytes of numbers. Writing them would block a thread that serves other requests.
    let written = tokio::task::spawn_blocking(write).await;
    written.map_err(|error| Error::Internal(format!("writing the answer panicked: {error}")))?
}

fn base64(vector: &[f32]) -> wire::VectorFields {
    let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
    wire::VectorFields::Base64(STANDARD.encode(bytes))
}

fn read(body: &Value) -> Result<EmbeddingsRequest, Failure> {
    let fields = Fields::of(body, "")?;
    let base64 = match fields.text("encoding_format")? {
        None | Some("float") => false,
        Some("base64") => true,
        Some(other) => {
            let message = format!("unknown encoding format \"{other}\"; use float or base64");
            return Err(Failure::field("encoding_format", message));
        }
    };
    let extensions = fields.object("firebox")?;
    let mut options = options(&fields)?;
    let (mut added, mut time_limit) = (Vec::new(), None);
    if let Some(extra) = &extensions {
        options.truncate |= extra.flag("truncate")?.unwrap_or(false);
        added = plugins(extra)?;
        time_limit = timeout(extra)?;
    }
    let model = fields.need("model", fields.text("model")?)?.to_owned();
    Ok(EmbeddingsRequest { model, texts: texts(&fields)?, base64, options, plugins: added, timeout: time_limit })
}

/// The options of other servers that change a vector: `prompt_name`, `truncate` and `normalize` of Text Embeddings
/// Inference, `truncate_prompt_tokens` of vLLM. Options that are not supported are refused.
fn options(fields: &Fields<'_>) -> Result<EmbeddingRequestOptions, Failure> {
    let refused = [
        ("prompt", "write it in front of each text, or choose one of the model's prompts with \"prompt_name\""),
        ("input_type", "choose one of the model's prompts with \"prompt_name\""),
        ("task", "choose one of the model's prompts with \"prompt_name\""),
    ];
    if let Some((field, remedy)) = refused.into_iter().find(|(field, _)| fields.get(field).is_some()) {
        return Err(Failure::unsupported(field, format!("\"{field}\" is not supported; {remedy}")));
    }
    for field in ["truncation_direction", "truncation_side"] {
        if let Some(side) = fields.text(field)?.filter(|side| !side.eq_ignore_ascii_case("right")) {
            let message = format!("{field} \"{side}\" is not supported; the model decides which end of a text is cut");
            return Err(Failure::unsupported(field, message));
        }
    }
    if fields.flag("add_special_tokens")? == Some(false) {
        let message = "texts are embedded with the model's special tokens; remove \"add_special_tokens\"";
        return Err(Failure::unsupported("add_special_tokens", message));
    }
    let (all, max_tokens) = match fields.get("truncate_prompt_tokens") {
        Some(Value::Number(number)) if number.as_i64() == Some(-1) => (true, None),
        _ => (false, fields.count("truncate_prompt_tokens")?),
    };
    Ok(EmbeddingRequestOptions {
        truncate: all || fields.flag("truncate")?.unwrap_or(false),
        max_tokens,
        prompt_name: fields.text("prompt_name")?.map(str::to_owned),
        dimensions: fields.count("dimensions")?,
        normalize: fields.flag("normalize")?,
    })
}

fn texts(fields: &Fields<'_>) -> Result<Vec<String>, Failure> {
    let texts = match fields.get("input") {
        Some(Value::String(text)) => vec![text.clone()],
        Some(Value::Array(list)) if list.first().is_some_and(|first| first.is_number() || first.is_array()) => {
            return Err(Failure::unsupported("input", "token ids are not supported as \"input\"; send text"));
        }
        Some(Value::Array(_)) => fields.texts("input")?.unwrap_or_default(),
        Some(other) => return Err(wrong("input", "a string or a list of strings", other)),
        None => return Err(Failure::field("input", "\"input\" is missing; it is required")),
    };
    if texts.is_empty() || texts.iter().any(String::is_empty) {
        return Err(Failure::field("input", "\"input\" has an empty text; each text needs at least one character"));
    }
    if texts.len() > limits::EMBED_REQUEST_TEXTS_MAX {
        let (count, max) = (texts.len(), limits::EMBED_REQUEST_TEXTS_MAX);
        return Err(Failure::field("input", format!("{count} texts given, at most {max} are allowed in one request")));
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn base64_has_the_little_endian_bytes_of_a_vector() {
        let wire::VectorFields::Base64(text) = base64(&[1.0, -2.5]) else { panic!("asked for base64") };
        let bytes = STANDARD.decode(text).expect("base64");
        assert_eq!(bytes, [1.0_f32.to_le_bytes(), (-2.5_f32).to_le_bytes()].concat());
    }

    #[test]
    fn the_error_for_an_invalid_value_names_its_field() {
        let bad = [
            (json!({"model": "m"}), "input"),
            (json!({"model": "m", "input": []}), "input"),
            (json!({"model": "m", "input": ["a", ""]}), "input"),
            (json!({"model": "m", "input": [1, 2]}), "input"),
            (json!({"model": "m", "input": ["a", 7]}), "input[1]"),
            (json!({"model": "m", "input": "a", "dimensions": -1}), "dimensions"),
            (json!({"model": "m", "input": "a", "truncate_prompt_tokens": -2}), "truncate_prompt_tokens"),
            (json!({"model": "m", "input": "a", "truncation_side": "left"}), "truncation_side"),
            (json!({"model": "m", "input": "a", "add_special_tokens": false}), "add_special_tokens"),
            (json!({"model": "m", "input": "a", "prompt": "query: "}), "prompt"),
            (json!({"model": "m", "input": "a", "input_type": "query"}), "input_type"),
            (json!({"model": "m", "input": "a", "encoding_format": "int8"}), "encoding_format"),
            (json!({"input": "a"}), "model"),
        ];
        for (body, param) in bad {
            let Err(failure) = read(&body) else { panic!("{body} was accepted") };
            let text = serde_json::to_value(failure.body_for("r")).expect("JSON");
            assert_eq!(text["error"]["param"], param, "{body}");
        }
    }

    #[test]
    fn the_error_for_an_option_that_the_model_lacks_names_the_field_and_the_supported_values() {
        let mut profile = EncoderProfile { dimensions: 3, ..EncoderProfile::plain(4) };
        profile.prompts.insert("query".to_owned(), "query: ".to_owned());
        let resolve = |body: Value| read(&body).and_then(|asked| asked.options.resolve(&profile));
        let bad = [("prompt_name", json!("nothing"), "\"query\""), ("dimensions", json!(5), "1 to the 4")];
        for (field, value, expected) in bad {
            let Err(failure) = resolve(json!({"model": "m", "input": "a", field: value})) else {
                panic!("{field} was accepted")
            };
            let error = serde_json::to_value(failure.body_for("r")).expect("JSON")["error"].clone();
            assert_eq!(error["param"], field, "{error}");
            assert!(error["message"].as_str().is_some_and(|text| text.contains(expected)), "{error}");
        }
        let given = json!({"model": "m", "input": "a", "prompt_name": "query", "dimensions": 2,
                           "truncate_prompt_tokens": 7, "normalize": false});
        let Ok(options) = resolve(given) else { panic!("refused") };
        let vector = VectorForm { dimensions: 2, normalize: false };
        let prompt = "query: ".to_owned();
        assert_eq!(options, TextOptions { prompt, query: None, truncate: false, max_tokens: Some(7), vector });
    }
}
