//! `/v1/chat/completions`, `/v1/completions` and `/v1/sessions/{id}/generate`. All three generate text in the same way and
//! differ in the shape of request and answer.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::http::Response;
use firebox_contract::{Chat, ChatOptions, Error, GenerationRequest, Prompt, Reservation, ToolDefinition};
use firebox_engine::prompt_bytes;
use serde_json::Value;

use super::sessions::SessionTurn;
use crate::config::Scope;
use crate::host::Host;
use crate::http::body::{self, ParsedBody};
use crate::http::request::response_format::FIELD as FORMAT_FIELD;
use crate::http::request::{self, CompletionKind, CompletionRequest};
use crate::http::response::answer::{Answer, PendingAnswer, RequestContext, RequestGuards};
use crate::http::response::events;
use crate::http::{ApiRequest, Failure};
use crate::serve::App;
use crate::serve::connections::request_bytes::ReservedBytes;
use crate::serve::models::LoadedModel;
use crate::sessions::StoredMessage;
use crate::tenancy::{AdmittedRequest, Tenancy, Tenant, WorkKind};

/// `POST /v1/chat/completions`.
pub(in crate::http) async fn chat_completions(app: Arc<App>, request: ApiRequest) -> Result<Response<Body>, Failure> {
    complete(app, request, CompletionKind::Chat, None).await
}

/// `POST /v1/completions`.
pub(in crate::http) async fn completions(app: Arc<App>, request: ApiRequest) -> Result<Response<Body>, Failure> {
    complete(app, request, CompletionKind::Text, None).await
}

/// `POST /v1/sessions/{id}/generate`.
pub(in crate::http) async fn session_generate(app: Arc<App>, request: ApiRequest) -> Result<Response<Body>, Failure> {
    let session = request.param("id").to_owned();
    complete(app, request, CompletionKind::Chat, Some(session)).await
}

async fn complete(
    app: Arc<App>,
    mut request: ApiRequest,
    kind: CompletionKind,
    session: Option<String>,
) -> Result<Response<Body>, Failure> {
    let started = Instant::now();
    let tenant = request.tenant()?.clone();
    let admitted = request.admitted()?;
    let read = move |body: &Value| match kind {
        CompletionKind::Chat => request::chat(body, session.as_deref()),
        CompletionKind::Text => request::text(body),
    };
    let ParsedBody { value: mut completion, mut reserved } = body::json(&app, &mut request, read).await?;
    completion.check_answers()?;
    if completion.stream {
        request.slot.begin_stream()?;
    }
    let (turn, history) = begin_turn(&app, &tenant, &mut completion, &mut reserved).await?;
    let session_model = || turn.as_ref().map(|turn| turn.model().to_owned());
    let model = completion.model.clone().or_else(session_model).unwrap_or_default();
    let host = chat_model(&app, &tenant, &model)?;
    completion.check_template(&host)?;
    apply_operator_limits(&app, &tenant, &mut completion, &request.id);
    fit_history(&app, &tenant, &host, &mut completion, history).await?;
    let prompt = app.tenancy.prompt_text(&completion.generation.prompt);
    let approvals = app.approvals.lease(&request.id, turn.as_ref().map(SessionTurn::id));
    let bytes = prompt_and_tool_bytes(&completion.generation);
    reserved.shrink_to(bytes);
    // Each answer has a prompt of its own.
    reserved.grow(bytes.saturating_mul(completion.answers - 1))?;
    let all = admit_answers(&app, &tenant, &request.id, admitted, completion.answers)?;
    let guards = Arc::new(RequestGuards { _approvals: approvals, _reserved: reserved });
    let head = kind.head(&model, &request.id, completion.stream);
    let shared = AnswerShared { app: &app, host: &host, tenant: &tenant, kind, request_id: &request.id, model: &model };
    let starts = shared.starts(all, &completion, (turn, started), &guards)?;
    let mut starts = starts.into_iter();
    let first = starts.next().ok_or_else(|| Error::Internal("a request has no answer".to_owned()))?.start().await?;
    // After admission, so that a refused tenant cannot fill the audit log.
    if let Some(prompt) = prompt {
        app.tenancy.log_prompt(&tenant.caller, &request.id, &prompt);
    }
    // Later answers may have to wait for a place in the model while the first one is read.
    let later = starts.map(|start| Box::pin(start.start()) as PendingAnswer).collect();
    if completion.stream {
        return Ok(events::events(first, later, kind, head, completion.include_usage, request.id));
    }
    events::whole(first, later, kind, head).await
}

/// What the answers of a request share.
struct AnswerShared<'a> {
    app: &'a Arc<App>,
    host: &'a Arc<Host>,
    tenant: &'a Tenant,
    kind: CompletionKind,
    request_id: &'a str,
    model: &'a str,
}

impl AnswerShared<'_> {
    /// One start for each admitted answer. The first one completes the session's turn.
    fn starts(
        &self,
        admitted: Vec<AdmittedRequest>,
        completion: &CompletionRequest,
        (mut turn, started): (Option<SessionTurn>, Instant),
        guards: &Arc<RequestGuards>,
    ) -> Result<Vec<AnswerStart>, Failure> {
        let mut starts = Vec::with_capacity(admitted.len());
        for (number, mut admitted) in admitted.into_iter().enumerate() {
            let reservation = admitted.open_model(self.model)?;
            let context = RequestContext {
                request_id: self.request_id.to_owned(),
                model: self.model.to_owned(),
                caller: self.tenant.caller.clone(),
                client_tools: completion.client_tools.clone(),
                hides_reasoning: completion.hides_reasoning,
                ignored_fields: completion.ignored_fields.clone(),
                started,
                turn: turn.take(),
                _in_flight: admitted.into_in_flight(),
                _guards: Arc::clone(guards),
            };
            let (app, host) = (Arc::clone(self.app), Arc::clone(self.host));
            let generation = nth_request(&completion.generation, number);
            starts.push(AnswerStart { app, host, kind: self.kind, generation, reservation, context });
        }
        Ok(starts)
    }
}

/// Admits all answers of a request before the first one starts: each takes a slot and counts as a request of its tenant.
fn admit_answers(
    app: &App,
    tenant: &Tenant,
    request_id: &str,
    first: AdmittedRequest,
    answers: usize,
) -> Result<Vec<AdmittedRequest>, Failure> {
    let mut all = vec![first];
    for number in 1..answers {
        all.push(app.tenancy.begin(&tenant.caller, WorkKind::Generation, &format!("{request_id}.{number}"))?);
    }
    Ok(all)
}

/// The request for the answer `number`. Each answer has a seed of its own.
fn nth_request(request: &GenerationRequest, number: usize) -> GenerationRequest {
    let mut request = request.clone();
    if number > 0 {
        request.sampling.seed = request.sampling.seed.map(|seed| seed.wrapping_add(number as u64));
        request.id = request.id.map(|id| format!("{id}.{number}"));
    }
    request
}

/// An answer that can start.
struct AnswerStart {
    app: Arc<App>,
    host: Arc<Host>,
    kind: CompletionKind,
    generation: GenerationRequest,
    reservation: Box<dyn Reservation>,
    context: RequestContext,
}

impl AnswerStart {
    async fn start(self) -> Result<Answer, Failure> {
        let Self { app, host, kind, generation, reservation, context } = self;
        match host.engine().generate_reserved(&context.caller, generation, reservation).await {
            Ok(generation) => Ok(Answer::new(app, generation, context)),
            Err(error) => {
                let (model, tenant) = (&context.model, &context.caller.tenant);
                app.metrics.ended(model, tenant, error.kind().code(), context.started.elapsed(), None);
                Err(with_field(error, kind))
            }
        }
    }
}

/// The bytes of the request that stay in memory while it is answered: prompt, template options and tools.
fn prompt_and_tool_bytes(request: &GenerationRequest) -> usize {
    let tools = request.tools.client.iter();
    let tools = tools.map(|tool| {
        let sent = tool.as_sent_json.as_ref().map_or(0, String::len);
        tool.description.len() + tool.input_schema_json.len() + sent
    });
    let tools = tools.sum::<usize>();
    prompt_bytes(&request.prompt).saturating_add(request.chat.bytes()).saturating_add(tools)
}

/// The failure of a generation. If the prompt is too large, it names the field of the prompt.
fn with_field(error: Error, kind: CompletionKind) -> Failure {
    let field = match kind {
        CompletionKind::Chat => "messages",
        CompletionKind::Text => "prompt",
    };
    match error {
        Error::TooLarge(_) => Failure::from(error).with_param(field),
        Error::Schema { ref tool, ref pointer, .. } => {
            let field = if tool.is_some() { "tools" } else { FORMAT_FIELD };
            let param = format!("{field}{}", pointer.trim_start_matches('#'));
            Failure::from(error).with_param(&param)
        }
        error => error.into(),
    }
}

/// Locks and reads the session, if the request names one. Returns the turn, and the session's messages followed by those
/// of the request.
async fn begin_turn(
    app: &Arc<App>,
    tenant: &Tenant,
    completion: &mut CompletionRequest,
    reserved: &mut ReservedBytes,
) -> Result<(Option<SessionTurn>, Option<Vec<StoredMessage>>), Failure> {
    let Some(id) = completion.session.take() else { return Ok((None, None)) };
    Tenancy::require(tenant, Scope::Sessions)?;
    let Prompt::Chat(new) = std::mem::replace(&mut completion.generation.prompt, Prompt::Chat(Vec::new())) else {
        return Ok((None, None));
    };
    // The turn is written under this scope, whichever scope admitted the request.
    let caller = app.tenancy.limited_to_scopes(tenant.clone(), &[Scope::Sessions]).caller;
    let (turn, history) = SessionTurn::begin(app, &caller, &id, new, reserved).await?;
    Ok((Some(turn), Some(history)))
}

/// The loaded chat model of this name.
///
/// # Errors
/// 404 if the tenant may not use it or it does not exist, 400 if it makes no text, 503 while it is not loaded.
fn chat_model(app: &App, tenant: &Tenant, name: &str) -> Result<Arc<Host>, Failure> {
    let model = app.models.find(&tenant.config.models, name);
    let model = model.map_err(|error| Failure::from(error).with_param("model").with_code("model_not_found"))?;
    match model.ready()? {
        LoadedModel::Chat(host) => Ok(host),
        LoadedModel::Encoder(encoder) => {
            let (makes, path) = super::encoders::makes(encoder.profile().task);
            let message = format!("model \"{name}\" makes {makes}, not text; use it with {path}");
            Err(Failure::unsupported("model", message))
        }
    }
}

/// Applies the tenant's tool policy and the operator's limits on time, tool rounds and tool calls.
fn apply_operator_limits(app: &App, tenant: &Tenant, completion: &mut CompletionRequest, request_id: &str) {
    let generation = &mut completion.generation;
    let operator = app.tools();
    generation.id = Some(request_id.to_owned());
    generation.timeout = Some(generation.timeout.map_or(app.request_timeout, |time| time.min(app.request_timeout)));
    generation.tools.policy = tenant.config.tools.clone();
    generation.tools.rounds = generation.tools.rounds.min(operator.rounds);
    if completion.answers > 1 {
        // The tools of the server would run once for each answer.
        generation.tools.rounds = 0;
    }
    generation.tools.calls_max = generation.tools.calls_max.min(operator.calls_max);
}

/// Makes the prompt of a session: drops the oldest turns until the rest fits the context and leaves room for an answer.
async fn fit_history(
    app: &Arc<App>,
    tenant: &Tenant,
    host: &Arc<Host>,
    completion: &mut CompletionRequest,
    history: Option<Vec<StoredMessage>>,
) -> Result<(), Failure> {
    let generation = &mut completion.generation;
    let limit = tenant.config.limits.context_tokens_max;
    generation.context_tokens_max = limit;
    let Some(history) = history else { return Ok(()) };
    let model_context = host.engine().info().context_tokens;
    let context = limit.map_or(model_context, |limit| limit.min(model_context));
    let mut tools = app.offered(&tenant.caller, generation).await?;
    tools.retain(|tool| {
        generation.tools.policy.stricter(&generation.tools.tightened, &tool.name) < firebox_contract::Permission::Deny
    });
    let answer = generation.sampling.max_tokens.unwrap_or_else(|| host.answer_tokens());
    let room = answer.min(context / 2).max(1);
    let counting = Arc::clone(host);
    let (host, options) = (Arc::clone(host), generation.chat.clone());
    let work = move || fitted(&host, history, (&tools, &options), context.saturating_sub(room));
    generation.prompt = counting.engine().run_blocking(&tenant.caller, work).await??;
    Ok(())
}

fn fitted(
    host: &Host,
    history: Vec<StoredMessage>,
    (tools, options): (&[ToolDefinition], &ChatOptions),
    max: usize,
) -> Result<Prompt, Failure> {
    let chat = Chat { messages: &[], tools, prefix: "", options };
    Ok(Prompt::Chat(host.fit_to_context(history, chat, max)?))
}
