//! The endpoints of text encoders, and what they have in common: the model, admission, plugins, metrics and audit.

mod embeddings;
mod rerank;

use std::sync::Arc;
use std::time::{Duration, Instant};

use firebox_contract::{
    Decision, EncoderTask, Error, HookSource, Prompt, RequestUsage, Reservation, TenantId, ToolCall, ToolOutcome,
    limits,
};
use serde_json::{Value, json};

pub(in crate::http) use embeddings::embeddings;
pub(in crate::http) use rerank::rerank;

use crate::http::Failure;
use crate::serve::App;
use crate::serve::models::LoadedModel;
use crate::serve::models::encoder::{EmbedRequest, Embeddings, EncoderThread, TextOptions};
use crate::tenancy::{AdmittedRequest, Tenant};

/// The texts of a request, and what it asks of the encoder.
struct EncoderWork {
    model: String,
    texts: Vec<String>,
    options: TextOptions,
    plugins: Vec<String>,
    timeout: Option<Duration>,
    started: Instant,
}

impl EncoderWork {
    /// Encodes the texts: reservation, admission, the tenant's plugins, the encoder.
    async fn run(
        self,
        app: &Arc<App>,
        tenant: &Tenant,
        encoder: &EncoderThread,
        mut admitted: AdmittedRequest,
        id: String,
    ) -> Result<Embeddings, Error> {
        let Self { model, texts, options, plugins, timeout, started } = self;
        let caller = &tenant.caller;
        let reservation = admitted.open_model(&model)?;
        let reservation =
            MeteredReservation { reservation, app: Arc::clone(app), model, tenant: tenant.id.clone(), started };
        let timeout = timeout.map_or(app.request_timeout, |time| time.min(app.request_timeout));
        let request = EmbedRequest { id: id.clone(), texts, options, timeout };
        let admitted = encoder.admit(caller, request, Box::new(reservation)).await?;
        if let Some(text) = app.tenancy.prompt_text(&Prompt::Text(audited_text(admitted.texts()))) {
            app.tenancy.log_prompt(caller, &id, &text);
        }
        let chain = match app.hooks.prompt_stage(caller, &plugins) {
            Ok(chain) => chain,
            Err(error) => return Err(admitted.refuse(error)),
        };
        let stage = match app.hooks.embedding_stage(caller, &plugins) {
            Ok(stage) => stage.map(|stage| Box::new(stage) as Box<dyn HookSource>),
            Err(error) => return Err(admitted.refuse(error)),
        };
        let admitted = admitted.through(stage);
        encoder.embed(admitted, chain.as_ref().map(|chain| chain as &dyn HookSource), plugins).await
    }
}

/// The loaded encoder of this name, which is for `task`.
///
/// # Errors
/// 404 if the tenant may not use it or it does not exist, 400 if it is for something else, 503 while it is not loaded.
fn find(app: &App, tenant: &Tenant, name: &str, task: EncoderTask) -> Result<Arc<EncoderThread>, Failure> {
    let model = app.models.find(&tenant.config.models, name);
    let model = model.map_err(|error| Failure::from(error).with_param("model").with_code("model_not_found"))?;
    let (found, path) = match model.ready()? {
        LoadedModel::Encoder(encoder) if encoder.profile().task == task => return Ok(encoder),
        LoadedModel::Encoder(encoder) => makes(encoder.profile().task),
        LoadedModel::Chat(_) => ("text", "/v1/chat/completions"),
    };
    let (wanted, _) = makes(task);
    let message = format!("model \"{name}\" makes {found}, not {wanted}; use it with {path}");
    Err(Failure::unsupported("model", message))
}

/// What an encoder for this task makes, and at which endpoint.
pub(super) fn makes(task: EncoderTask) -> (&'static str, &'static str) {
    match task {
        EncoderTask::Embed => ("embeddings", "/v1/embeddings"),
        EncoderTask::Rank => ("relevance scores", "/v1/rerank"),
    }
}

/// The `usage` of an answer.
fn usage(tokens: usize) -> Value {
    json!({"prompt_tokens": tokens, "total_tokens": tokens})
}

/// The part of the texts that an audit record has: at most `limits::AUDIT_TEXT_BYTES_MAX` bytes and a little more.
fn audited_text<'a>(texts: impl Iterator<Item = &'a String>) -> String {
    let mut audited = String::new();
    for text in texts {
        if audited.len() > limits::AUDIT_TEXT_BYTES_MAX {
            break;
        }
        let room = text.floor_char_boundary(limits::AUDIT_TEXT_BYTES_MAX + 1);
        audited.push_str(text.get(..room).unwrap_or_default());
        audited.push('\n');
    }
    audited
}

/// A reservation that also counts the request in the metrics when it is settled. A request is settled exactly once.
struct MeteredReservation {
    reservation: Box<dyn Reservation>,
    app: Arc<App>,
    model: String,
    tenant: TenantId,
    started: Instant,
}

impl Reservation for MeteredReservation {
    fn reserve(&mut self, tokens: usize) -> Result<(), Error> {
        self.reservation.reserve(tokens)
    }

    fn allow_call(&mut self, call: &ToolCall) -> Result<(), Error> {
        self.reservation.allow_call(call)
    }

    fn may_continue(&mut self, fuel: u64) -> Result<(), Error> {
        self.reservation.may_continue(fuel)
    }

    fn record_call(&mut self, call: &ToolCall, decision: Decision, outcome: &ToolOutcome) {
        self.reservation.record_call(call, decision, outcome);
    }

    fn settle(&mut self, spent: &RequestUsage<'_>) {
        self.reservation.settle(spent);
        let cancelled = spent.outcome == Error::Interrupted.kind().code();
        let outcome = if cancelled { "cancelled" } else { spent.outcome };
        self.app.metrics.ended(&self.model, &self.tenant, outcome, self.started.elapsed(), None);
        self.app.metrics.used(&self.model, &self.tenant, spent.usage, spent.plugins);
    }
}
