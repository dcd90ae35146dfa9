//! `/v1/models`: the models that the key's tenant may use.

use std::sync::Arc;

use axum::body::Body;
use axum::http::Response;
use firebox_contract::EncoderTask;
use serde_json::{Value, json};

use crate::http::response::{json as json_response, wire};
use crate::http::{ApiRequest, Failure};
use crate::serve::App;
use crate::serve::models::{LoadedModel, ModelState, ServedModel};

/// `GET /v1/models`.
pub(in crate::http) async fn list(app: Arc<App>, request: ApiRequest) -> Result<Response<Body>, Failure> {
    let globs = &request.tenant()?.config.models;
    let rows = app.models.visible(globs).map(|model| model_row(&app, model)).collect();
    json_response(&wire::ListObject::<Value>::of(rows))
}

/// `GET /v1/models/{id}`.
pub(in crate::http) async fn get(app: Arc<App>, request: ApiRequest) -> Result<Response<Body>, Failure> {
    let found = app.models.find(&request.tenant()?.config.models, request.param("id"));
    let model = found.map_err(|error| Failure::from(error).with_param("model").with_code("model_not_found"))?;
    json_response(&model_row(&app, model))
}

fn model_row(app: &App, model: &ServedModel) -> Value {
    let details = match model.state() {
        ModelState::Loading => json!({"status": "loading"}),
        ModelState::Failed(_) => json!({"status": "failed"}),
        ModelState::Ready(ready) => {
            let info = ready.info();
            let mut details = json!({
                "status": "ready", "kind": ready.kind(), "architecture": info.architecture,
                "parameters": info.parameters, "context_tokens": info.context_tokens, "device": info.device,
            });
            if let (LoadedModel::Encoder(encoder), Some(object)) = (&ready, details.as_object_mut()) {
                let profile = encoder.profile();
                if profile.task == EncoderTask::Embed {
                    object.insert("dimensions".to_owned(), json!(profile.dimensions));
                }
                object.insert("prompts".to_owned(), json!(profile.prompts.keys().collect::<Vec<_>>()));
                object.insert("default_prompt".to_owned(), json!(profile.default_prompt));
            }
            details
        }
    };
    json!({
        "id": model.name(), "object": "model", "created": wire::unix_seconds(app.started), "owned_by": "firebox",
        "firebox": details,
    })
}
