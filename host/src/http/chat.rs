//! `/v1/chat/completions`, `/v1/completions` and `/v1/sessions/{id}/generate`: one road with three doors.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::http::Response;
use firebox_contract::{Chat, ChatOptions, Error, GenerationRequest, Prompt, ToolDefinition};
use firebox_engine::prompt_bytes;
use serde_json::Value;

use super::ask::{self, Ask};
use super::request_body::{self, Said};
use super::stream::{self, Shape};
use super::turn::Turn;
use super::work::{About, Work};
use super::{Call, Failure};
use crate::config::Scope;
use crate::host::Host;
use crate::serve::App;
use crate::serve::models::Ready;
use crate::serve::request_bytes::HeldBytes;
use crate::sessions::StoredMessage;
use crate::tenancy::{Tenancy, Tenant};

pub(super) async fn chat_completions(app: Arc<App>, call: Call) -> Result<Response<Body>, Failure> {
    answer(app, call, Shape::Chat, None).await
}

pub(super) async fn completions(app: Arc<App>, call: Call) -> Result<Response<Body>, Failure> {
    answer(app, call, Shape::Text, None).await
}

pub(super) async fn session_generate(app: Arc<App>, call: Call) -> Result<Response<Body>, Failure> {
    let session = call.param("id").to_owned();
    answer(app, call, Shape::Chat, Some(session)).await
}

async fn answer(
    app: Arc<App>,
    mut call: Call,
    shape: Shape,
    session: Option<String>,
) -> Result<Response<Body>, Failure> {
    let started = Instant::now();
    let tenant = call.tenant()?.clone();
    let mut admitted = call.admitted()?;
    let read = move |body: &Value| match shape {
        Shape::Chat => ask::chat(body, session.as_deref()),
        Shape::Text => ask::text(body),
    };
    let Said { what: mut ask, mut held } = request_body::json(&app, &mut call, read).await?;
    if ask.stream {
        call.open.begin_stream()?;
    }
    let (turn, history) = begin_turn(&app, &tenant, &mut ask, &mut held).await?;
    let name = ask.model.clone().or_else(|| turn.as_ref().map(|turn| turn.model().to_owned())).unwrap_or_default();
    let host = chat_model(&app, &tenant, &name)?;
    ask.meet_template(&host)?;
    prepare(&app, &tenant, &mut ask, &call.id);
    make_fit(&app, &tenant, &host, &mut ask, history).await?;
    let prompt = app.tenancy.prompt_text(&ask.request.prompt);
    let lease = app.approvals.lease(&call.id, turn.as_ref().map(Turn::id));
    held.shrink_to(request_bytes(&ask.request));
    let account = admitted.open_model(&name)?;
    let generation = match host.engine().generate_reserved(&tenant.caller, ask.request, account).await {
        Ok(generation) => generation,
        Err(error) => {
            app.metrics.ended(&name, &tenant.id, error.kind().code(), started.elapsed(), None);
            return Err(blamed(error, shape));
        }
    };
    // Only what was admitted is written: a refused tenant fills no log.
    if let Some(prompt) = prompt {
        app.tenancy.log_prompt(&tenant.caller, &call.id, &prompt);
    }
    let about = About {
        request: call.id.clone(),
        model: name.clone(),
        caller: tenant.caller.clone(),
        client_tools: ask.client_tools,
        passed_over: ask.passed_over,
        started,
        turn,
        _lease: lease,
        _in_flight: admitted.into_in_flight(),
        _held: held,
    };
    let work = Work::new(Arc::clone(&app), generation, about);
    let head = shape.head(&name, &call.id, ask.stream);
    if ask.stream {
        return Ok(stream::events(work, shape, head, ask.include_usage, call.id));
    }
    stream::whole(work, shape, head).await
}

/// Bytes that a request goes on holding while it is answered.
fn request_bytes(request: &GenerationRequest) -> usize {
    let tools = request.tools.client.iter();
    let tools = tools.map(|tool| {
        let sent = tool.as_sent_json.as_ref().map_or(0, String::len);
        tool.description.len() + tool.input_schema_json.len() + sent
    });
    let tools = tools.sum::<usize>();
    prompt_bytes(&request.prompt).saturating_add(request.chat.bytes()).saturating_add(tools)
}

/// What is too large is what the client wrote.
fn blamed(error: Error, shape: Shape) -> Failure {
    let field = match shape {
        Shape::Chat => "messages",
        Shape::Text => "prompt",
    };
    match error {
        Error::TooLarge(_) => Failure::from(error).about(field),
        error => error.into(),
    }
}

/// Takes hold of the session, where there is one; its messages stand before those of the request.
async fn begin_turn(
    app: &Arc<App>,
    tenant: &Tenant,
    ask: &mut Ask,
    held: &mut HeldBytes,
) -> Result<(Option<Turn>, Option<Vec<StoredMessage>>), Failure> {
    let Some(id) = ask.session.take() else { return Ok((None, None)) };
    Tenancy::require(tenant, Scope::Sessions)?;
    let Prompt::Chat(new) = std::mem::replace(&mut ask.request.prompt, Prompt::Chat(Vec::new())) else {
        return Ok((None, None));
    };
    // The turn is written under this scope, whatever else let the request in.
    let caller = app.tenancy.limited_to_scopes(tenant.clone(), &[Scope::Sessions]).caller;
    let (turn, history) = Turn::begin(app, &caller, &id, new, held).await?;
    Ok((Some(turn), Some(history)))
}

/// The model, which must make text and be one this tenant may see.
pub(super) fn chat_model(app: &App, tenant: &Tenant, name: &str) -> Result<Arc<Host>, Failure> {
    let model = app.models.find(&tenant.config.models, name);
    let model = model.map_err(|error| Failure::from(error).about("model").coded("model_not_found"))?;
    match model.ready()? {
        Ready::Chat(host) => Ok(host),
        Ready::Encoder(_) => {
            let message = format!("model \"{name}\" makes vectors, not text; ask it at /v1/embeddings");
            Err(Failure::unsupported("model", message))
        }
    }
}

/// What the operator has to say about the request: its tenant's policy, and what loops and times are at most.
fn prepare(app: &App, tenant: &Tenant, ask: &mut Ask, request_id: &str) {
    let request = &mut ask.request;
    let operator = app.tools();
    request.id = Some(request_id.to_owned());
    request.timeout = Some(request.timeout.map_or(app.request_timeout, |time| time.min(app.request_timeout)));
    request.tools.policy = tenant.config.tools.clone();
    request.tools.rounds = request.tools.rounds.min(operator.rounds);
    request.tools.calls_max = request.tools.calls_max.min(operator.calls_max);
}

/// Drops the oldest turns of a session until the rest fits, and leaves room for an answer.
async fn make_fit(
    app: &Arc<App>,
    tenant: &Tenant,
    host: &Arc<Host>,
    ask: &mut Ask,
    history: Option<Vec<StoredMessage>>,
) -> Result<(), Failure> {
    let limit = tenant.config.limits.context_tokens_max;
    ask.request.context_tokens_max = limit;
    let Some(history) = history else { return Ok(()) };
    let context =
        limit.map_or(host.engine().info().context_tokens, |limit| limit.min(host.engine().info().context_tokens));
    let mut tools = app.offered(&tenant.caller, &ask.request).await?;
    tools.retain(|tool| {
        ask.request.tools.policy.stricter(&ask.request.tools.tightened, &tool.name) < firebox_contract::Permission::Deny
    });
    let asked = ask.request.sampling.max_tokens.unwrap_or_else(|| host.answer_tokens());
    let room = asked.min(context / 2).max(1);
    let counting = Arc::clone(host);
    let (host, options) = (Arc::clone(host), ask.request.chat.clone());
    let work = move || fitted(&host, history, (&tools, &options), context.saturating_sub(room));
    ask.request.prompt = counting.engine().run_blocking(&tenant.caller, work).await??;
    Ok(())
}

fn fitted(
    host: &Host,
    history: Vec<StoredMessage>,
    (tools, options): (&[ToolDefinition], &ChatOptions),
    most: usize,
) -> Result<Prompt, Failure> {
    let chat = Chat { messages: &[], tools, prefix: "", options };
    Ok(Prompt::Chat(host.fit_to_context(history, chat, most)?))
}
