//! `/v1/embeddings`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use firebox_contract::{
    Decision, EncoderProfile, Error, HookSource, Prompt, RequestUsage, Reservation, TenantId, ToolCall, ToolOutcome,
    VectorForm, limits,
};
use serde_json::{Value, json};

use super::fields::{Fields, wrong};
use super::request_body::{self, Said};
use super::{Call, Failure, ask, stream, wire};
use crate::serve::App;
use crate::serve::encoder::{EmbedRequest, EncoderThread, TextForm, Vectors};
use crate::serve::models::Ready;
use crate::tenancy::Tenant;

/// A checked request.
struct Ask {
    model: String,
    texts: Vec<String>,
    base64: bool,
    wish: Wish,
    plugins: Vec<String>,
    timeout: Option<Duration>,
}

/// What a request wants of its texts and vectors, before the model has been asked whether it can.
#[derive(Debug, Default)]
struct Wish {
    truncate: bool,
    max_tokens: Option<usize>,
    prompt_name: Option<String>,
    dimensions: Option<usize>,
    normalize: Option<bool>,
}

impl Wish {
    fn form(&self, profile: &EncoderProfile) -> Result<TextForm, Failure> {
        let name = self.prompt_name.as_deref();
        let prompt = profile.prompt(name).map_err(|error| Failure::from(error).about("prompt_name"))?.to_owned();
        let dimensions = profile.length(self.dimensions);
        let dimensions = dimensions.map_err(|error| Failure::from(error).about("dimensions"))?;
        let vector = VectorForm { dimensions, normalize: self.normalize.unwrap_or(profile.uses_cosine) };
        Ok(TextForm { prompt, truncate: self.truncate, max_tokens: self.max_tokens, vector })
    }
}

pub(super) async fn embeddings(app: Arc<App>, mut call: Call) -> Result<Response<Body>, Failure> {
    let started = Instant::now();
    let tenant = call.tenant()?.clone();
    let mut admitted = call.admitted()?;
    let Said { what: ask, held: _held } = request_body::json(&app, &mut call, read).await?;
    let encoder = encoder(&app, &tenant, &ask.model)?;
    let form = ask.wish.form(encoder.profile())?;
    let account = admitted.open_model(&ask.model)?;
    let (model, tenant_id) = (ask.model.clone(), tenant.id.clone());
    let account = Counted { account, app: Arc::clone(&app), model: model.clone(), tenant: tenant_id, started };
    let base64 = ask.base64;
    let outcome = embed(&app, &tenant, &encoder, (ask, form), call.id, Box::new(account)).await;
    let vectors = outcome.map_err(blamed)?;
    answer(model, vectors, base64, started.elapsed()).await
}

/// The way of the texts: admission, the tenant's plugins, the encoder.
async fn embed(
    app: &App,
    tenant: &Tenant,
    encoder: &EncoderThread,
    (ask, form): (Ask, TextForm),
    id: String,
    account: Box<dyn Reservation>,
) -> Result<Vectors, Error> {
    let caller = &tenant.caller;
    let timeout = ask.timeout.map_or(app.request_timeout, |time| time.min(app.request_timeout));
    let request = EmbedRequest { id: id.clone(), texts: ask.texts, form, timeout };
    let admitted = encoder.admit(caller, request, account).await?;
    if let Some(text) = app.tenancy.prompt_text(&Prompt::Text(beginning(admitted.texts()))) {
        app.tenancy.log_prompt(caller, &id, &text);
    }
    let chain = match app.hooks.prompt_stage(caller, &ask.plugins) {
        Ok(chain) => chain,
        Err(error) => return Err(admitted.refuse(error)),
    };
    encoder.embed(admitted, chain.as_ref().map(|chain| chain as &dyn HookSource), ask.plugins).await
}

/// As much of the texts as an audit log has of one prompt.
fn beginning(texts: &[String]) -> String {
    let mut beginning = String::new();
    for text in texts {
        if beginning.len() > limits::AUDIT_TEXT_BYTES_MAX {
            break;
        }
        let room = text.floor_char_boundary(limits::AUDIT_TEXT_BYTES_MAX + 1);
        beginning.push_str(text.get(..room).unwrap_or_default());
        beginning.push('\n');
    }
    beginning
}

/// What is too large is what the client wrote.
fn blamed(error: Error) -> Failure {
    match error {
        Error::TooLarge(_) => Failure::from(error).about("input"),
        error => error.into(),
    }
}

async fn answer(model: String, vectors: Vectors, base64: bool, took: Duration) -> Result<Response<Body>, Failure> {
    let usage = json!({"prompt_tokens": vectors.tokens, "total_tokens": vectors.tokens});
    let firebox = wire::embedded(&vectors.plugins, took);
    let write = move || {
        let rows = vectors.vectors.into_iter().enumerate().map(|(index, vector)| {
            let embedding = if base64 { self::base64(&vector) } else { wire::VectorOut::Numbers(vector) };
            wire::EmbeddingOut { object: "embedding", index, embedding }
        });
        let list = wire::List::of(rows.collect());
        stream::json(&wire::EmbeddingsOut { list, model, usage, firebox })
    };
    // A thousand vectors are megabytes of numbers, and take a serving thread's time from everybody.
    let written = tokio::task::spawn_blocking(write).await;
    written.map_err(|error| Error::Internal(format!("writing the answer stopped: {error}")))?
}

/// An account that counts in the metrics what it is told at its end: so that is done once, whoever ends the request.
struct Counted {
    account: Box<dyn Reservation>,
    app: Arc<App>,
    model: String,
    tenant: TenantId,
    started: Instant,
}

impl Reservation for Counted {
    fn reserve(&mut self, tokens: usize) -> Result<(), Error> {
        self.account.reserve(tokens)
    }

    fn allow_call(&mut self, call: &ToolCall) -> Result<(), Error> {
        self.account.allow_call(call)
    }

    fn may_continue(&mut self, fuel: u64) -> Result<(), Error> {
        self.account.may_continue(fuel)
    }

    fn record_call(&mut self, call: &ToolCall, decision: Decision, outcome: &ToolOutcome) {
        self.account.record_call(call, decision, outcome);
    }

    fn settle(&mut self, spent: &RequestUsage<'_>) {
        self.account.settle(spent);
        let cancelled = spent.outcome == Error::Interrupted.kind().code();
        let word = if cancelled { "cancelled" } else { spent.outcome };
        self.app.metrics.ended(&self.model, &self.tenant, word, self.started.elapsed(), None);
        self.app.metrics.used(&self.model, &self.tenant, spent.usage, spent.plugins);
    }
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
    let base64 = match fields.text("encoding_format")? {
        None | Some("float") => false,
        Some("base64") => true,
        Some(other) => {
            let message = format!("encoding format \"{other}\" is not known; it is float or base64");
            return Err(Failure::field("encoding_format", message));
        }
    };
    let extensions = fields.object("firebox")?;
    let mut wish = wish(&fields)?;
    let (mut plugins, mut timeout) = (Vec::new(), None);
    if let Some(extra) = &extensions {
        wish.truncate |= extra.flag("truncate")?.unwrap_or(false);
        plugins = ask::plugins(extra)?;
        timeout = ask::timeout(extra)?;
    }
    let model = fields.need("model", fields.text("model")?)?.to_owned();
    Ok(Ask { model, texts: texts(&fields)?, base64, wish, plugins, timeout })
}

/// The fields of other servers that change a vector: `prompt_name`, `truncate` and `normalize` are those of Text Embeddings
/// Inference, `truncate_prompt_tokens` that of vLLM. Those that are not offered are refused.
fn wish(fields: &Fields<'_>) -> Result<Wish, Failure> {
    let refused = [
        ("prompt", "write it before each text, or name one of the model's prompts in \"prompt_name\""),
        ("input_type", "name one of the model's prompts in \"prompt_name\""),
        ("task", "name one of the model's prompts in \"prompt_name\""),
    ];
    if let Some((field, remedy)) = refused.into_iter().find(|(field, _)| fields.get(field).is_some()) {
        return Err(Failure::unsupported(field, format!("\"{field}\" is not offered; {remedy}")));
    }
    for field in ["truncation_direction", "truncation_side"] {
        if let Some(side) = fields.text(field)?.filter(|side| !side.eq_ignore_ascii_case("right")) {
            let message = format!("{field} \"{side}\" is not offered; texts are cut where the model says");
            return Err(Failure::unsupported(field, message));
        }
    }
    if fields.flag("add_special_tokens")? == Some(false) {
        let message = "texts are embedded with the model's special tokens; leave \"add_special_tokens\" out";
        return Err(Failure::unsupported("add_special_tokens", message));
    }
    let (all, max_tokens) = match fields.get("truncate_prompt_tokens") {
        Some(Value::Number(number)) if number.as_i64() == Some(-1) => (true, None),
        _ => (false, fields.count("truncate_prompt_tokens")?),
    };
    Ok(Wish {
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
            let Err(failure) = read(&body) else { panic!("{body} passed") };
            let text = serde_json::to_value(failure.body_for("r")).expect("JSON");
            assert_eq!(text["error"]["param"], param, "{body}");
        }
    }

    #[test]
    fn what_a_model_cannot_do_names_its_field_and_what_it_can() {
        let mut profile = EncoderProfile { dimensions: 3, ..EncoderProfile::plain(4) };
        profile.prompts.insert("query".to_owned(), "query: ".to_owned());
        let form = |body: Value| read(&body).and_then(|ask| ask.wish.form(&profile));
        let bad = [("prompt_name", json!("nothing"), "\"query\""), ("dimensions", json!(5), "1 to the 4")];
        for (field, value, expected) in bad {
            let Err(failure) = form(json!({"model": "m", "input": "a", field: value})) else {
                panic!("{field} passed")
            };
            let error = serde_json::to_value(failure.body_for("r")).expect("JSON")["error"].clone();
            assert_eq!(error["param"], field, "{error}");
            assert!(error["message"].as_str().is_some_and(|text| text.contains(expected)), "{error}");
        }
        let given = json!({"model": "m", "input": "a", "prompt_name": "query", "dimensions": 2,
                           "truncate_prompt_tokens": 7, "normalize": false});
        let Ok(form) = form(given) else { panic!("refused") };
        let vector = VectorForm { dimensions: 2, normalize: false };
        assert_eq!(form, TextForm { prompt: "query: ".to_owned(), truncate: false, max_tokens: Some(7), vector });
    }
}
