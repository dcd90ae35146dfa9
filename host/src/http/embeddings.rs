//! `/v1/embeddings`.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::http::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use firebox_contract::{Gate as _, Usage, limits};
use serde_json::{Value, json};

use super::fields::{Fields, wrong};
use super::{Call, Failure, guard, stream, wire};
use crate::serve::App;
use crate::serve::encoder::EncoderThread;
use crate::serve::models::Ready;
use crate::tenancy::Tenant;

/// A checked request.
struct Ask {
    model: String,
    texts: Vec<String>,
    base64: bool,
    truncate: bool,
}

pub(super) async fn embeddings(app: Arc<App>, call: Call) -> Result<Response<Body>, Failure> {
    let started = Instant::now();
    let tenant = call.tenant()?.clone();
    let ask = read(&guard::json(&app, call.body).await?)?;
    let encoder = encoder(&app, &tenant, &ask.model)?;
    let account = app.tenancy.admit(&tenant.caller, &ask.model, &call.id)?;
    let outcome = encoder.embed(ask.texts, ask.truncate, account).await;
    let word = outcome.as_ref().map_or_else(|error| error.kind().code(), |_| "stop");
    app.metrics.ended(&ask.model, &tenant.id, word, started.elapsed(), None);
    let vectors = outcome.map_err(|error| Failure::from(error).about("input"))?;
    let used = Usage { prompt_tokens: vectors.tokens, ..Usage::default() };
    app.metrics.used(&ask.model, &tenant.id, used, &[]);
    let rows = vectors.vectors.into_iter().enumerate().map(|(index, vector)| {
        let embedding = if ask.base64 { base64(&vector) } else { wire::VectorOut::Numbers(vector) };
        wire::EmbeddingOut { object: "embedding", index, embedding }
    });
    let list = wire::List::of(rows.collect());
    let usage = json!({"prompt_tokens": vectors.tokens, "total_tokens": vectors.tokens});
    stream::json(&wire::EmbeddingsOut { list, model: ask.model, usage })
}

fn base64(vector: &[f32]) -> wire::VectorOut {
    let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
    wire::VectorOut::Base64(STANDARD.encode(bytes))
}

fn encoder(app: &App, tenant: &Tenant, name: &str) -> Result<Arc<EncoderThread>, Failure> {
    let model = app.models.find(&tenant.config.models, name);
    let model = model.map_err(|error| Failure::from(error).about("model").coded("model_not_found"))?;
    match model.ready()? {
        Ready::Encoder(encoder) => Ok(encoder),
        Ready::Chat(_) => {
            let message = format!("model \"{name}\" makes text, not vectors; ask it at /v1/chat/completions");
            Err(Failure::unsupported("model", message))
        }
    }
}

fn read(body: &Value) -> Result<Ask, Failure> {
    let fields = Fields::of(body, "")?;
    if fields.get("dimensions").is_some() {
        let message = "\"dimensions\" is not offered; vectors have the length the model gives them";
        return Err(Failure::unsupported("dimensions", message));
    }
    let base64 = match fields.text("encoding_format")? {
        None | Some("float") => false,
        Some("base64") => true,
        Some(other) => {
            let message = format!("encoding format \"{other}\" is not known; it is float or base64");
            return Err(Failure::field("encoding_format", message));
        }
    };
    let extensions = fields.object("firebox")?;
    let truncate = extensions.map(|extra| extra.flag("truncate")).transpose()?.flatten().unwrap_or(false);
    let model = fields.need("model", fields.text("model")?)?.to_owned();
    Ok(Ask { model, texts: texts(&fields)?, base64, truncate })
}

fn texts(fields: &Fields<'_>) -> Result<Vec<String>, Failure> {
    let texts = match fields.get("input") {
        Some(Value::String(text)) => vec![text.clone()],
        Some(Value::Array(list)) if list.first().is_some_and(|first| first.is_number() || first.is_array()) => {
            return Err(Failure::unsupported("input", "token ids are not taken as \"input\"; send text"));
        }
        Some(Value::Array(_)) => fields.texts("input")?.unwrap_or_default(),
        Some(other) => return Err(wrong("input", "a string or a list of strings", other)),
        None => return Err(Failure::field("input", "\"input\" is missing; it is required")),
    };
    if texts.is_empty() || texts.iter().any(String::is_empty) {
        return Err(Failure::field("input", "\"input\" is empty; send at least one character of text in each place"));
    }
    if texts.len() > limits::EMBED_REQUEST_TEXTS_MAX {
        let (count, max) = (texts.len(), limits::EMBED_REQUEST_TEXTS_MAX);
        return Err(Failure::field("input", format!("{count} texts given, at most {max} are allowed at a time")));
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_are_little_endian_in_base64() {
        let wire::VectorOut::Base64(text) = base64(&[1.0, -2.5]) else { panic!("asked for base64") };
        let bytes = STANDARD.decode(text).expect("base64");
        assert_eq!(bytes, [1.0_f32.to_le_bytes(), (-2.5_f32).to_le_bytes()].concat());
    }

    #[test]
    fn what_cannot_be_meant_names_its_field() {
        let bad = [
            (json!({"model": "m"}), "input"),
            (json!({"model": "m", "input": []}), "input"),
            (json!({"model": "m", "input": ["a", ""]}), "input"),
            (json!({"model": "m", "input": [1, 2]}), "input"),
            (json!({"model": "m", "input": ["a", 7]}), "input[1]"),
            (json!({"model": "m", "input": "a", "dimensions": 12}), "dimensions"),
            (json!({"model": "m", "input": "a", "encoding_format": "int8"}), "encoding_format"),
            (json!({"input": "a"}), "model"),
        ];
        for (body, param) in bad {
            let Err(failure) = read(&body) else { panic!("{body} passed") };
            let text = serde_json::to_value(failure.body_for("r")).expect("JSON");
            assert_eq!(text["error"]["param"], param, "{body}");
        }
    }
}
