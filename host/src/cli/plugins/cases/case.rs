//! One case of a plugin: the input of a stage, and the expected answer or fault.

use std::collections::BTreeMap;
use std::path::PathBuf;

use firebox_contract::{TokenId, limits};
use serde::Deserialize;

use super::canned_model::ModelMock;
use super::http::HttpMock;
use crate::cli::output::line;

/// The content of the file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CaseFile {
    /// What all cases have, unless they say otherwise.
    #[serde(default)]
    pub(super) mock: Mock,
    #[serde(default)]
    pub(super) case: Vec<Case>,
}

/// What stands in for the capabilities of the plugin. It is granted what is mocked, and nothing else.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Mock {
    /// The configuration of the plugin.
    pub(super) config: Option<toml::Table>,
    /// The time that the plugin sees, such as `2027-01-31T12:00:00Z`. It grants `clock`.
    pub(super) time: Option<String>,
    /// Chooses the random numbers that the plugin sees. They are the same in every run.
    pub(super) random: Option<u64>,
    /// The buckets that the plugin may use, with the texts under their keys before the case.
    pub(super) keyvalue: Option<BTreeMap<String, BTreeMap<String, String>>>,
    /// The folders that the plugin may read, relative to the file of the cases.
    pub(super) files: Option<BTreeMap<String, PathBuf>>,
    /// The model that the plugin may use.
    pub(super) model: Option<ModelMock>,
    /// The HTTP requests that the plugin may send, with their answers. It may send those that its manifest asks for.
    pub(super) http: Option<Vec<HttpMock>>,
    /// The secrets that the plugin may use, by their names.
    pub(super) secret: Option<BTreeMap<String, SecretMock>>,
}

/// A secret of the cases, which is none.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SecretMock {
    /// What the header of a request has in place of the plugin's placeholder.
    pub(super) value: String,
    /// The address that it may be sent to, such as `https://example.org/v1/`.
    #[serde(rename = "for")]
    pub(super) destination: String,
}

impl Mock {
    /// This mock, with what it leaves out from `general`.
    pub(super) fn or(self, general: &Self) -> Self {
        let general = general.clone();
        Self {
            config: self.config.or(general.config),
            time: self.time.or(general.time),
            random: self.random.or(general.random),
            keyvalue: self.keyvalue.or(general.keyvalue),
            files: self.files.or(general.files),
            model: self.model.or(general.model),
            http: self.http.or(general.http),
            secret: self.secret.or(general.secret),
        }
    }

    /// Whether a case changes what the next one with the same mock sees.
    pub(super) fn has_state(&self) -> bool {
        self.keyvalue.is_some() || self.model.is_some() || self.http.is_some()
    }
}

/// One case. The stage decides which of the inputs it has.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Case {
    pub(super) name: String,
    pub(super) stage: String,
    /// For `prompt`: the message of the user.
    pub(super) input: Option<String>,
    /// For `text`: the answer in chunks.
    pub(super) chunks: Option<Vec<String>>,
    /// For `tool` and `tool-call`: the tool and its arguments.
    pub(super) tool: Option<String>,
    pub(super) arguments: Option<String>,
    /// For `tool-call`: the result of the call, which the stage sees then instead of the call.
    pub(super) result: Option<String>,
    /// For `embedding`: the texts before the encoder.
    pub(super) texts: Option<Vec<String>>,
    /// For `embedding`: the vectors after it. With texts too, these are the vectors of what the plugin made of them.
    pub(super) vectors: Option<Vec<Vec<f32>>>,
    /// For `token`: the texts of the tokens. An empty text ends an answer.
    pub(super) vocabulary: Option<Vec<String>>,
    /// For `token`: the tokens that are accepted, one after the other.
    pub(super) tokens: Option<Vec<TokenId>>,
    /// The expected answer.
    pub(super) expect: Option<String>,
    /// The code of the expected fault, or `tool_error` for a result that is an error.
    pub(super) fault: Option<String>,
    #[serde(default)]
    pub(super) mock: Mock,
}

/// What a plugin did in a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum CaseAnswer {
    /// Its answer.
    Text(String),
    /// The code of its fault, and the whole message.
    Fault(String, String),
    /// What it did, which no expectation meets: its requests are other ones than the mocks expect.
    Unexpected(String),
}

/// For each stage: its name, the inputs that a case must have, and those that it may have.
const INPUTS: &[(&str, &[&str], &[&str])] = &[
    ("prompt", &["input"], &[]),
    ("token", &["tokens", "vocabulary"], &[]),
    ("text", &["chunks"], &[]),
    ("tool-call", &["tool"], &["arguments", "result"]),
    ("tool", &["tool"], &["arguments"]),
    ("embedding", &[], &["texts", "vectors"]),
];

impl CaseAnswer {
    /// What is another one than the mocks expect.
    pub(super) fn unexpected(&self) -> Option<&str> {
        match self {
            Self::Unexpected(why) => Some(why),
            _ => None,
        }
    }
}

impl Case {
    /// # Errors
    /// What the case lacks, or has too much.
    pub(super) fn check(&self) -> Result<(), String> {
        let names = INPUTS.iter().map(|row| row.0).collect::<Vec<_>>().join(", ");
        let unknown = || format!("there is no stage \"{}\"; the stages are {names}", line(&self.stage, 64));
        let (stage, must, may) = INPUTS.iter().find(|row| row.0 == self.stage).ok_or_else(unknown)?;
        let given = self.given();
        let all = must.iter().chain(*may).copied().collect::<Vec<_>>().join(", ");
        let lacks = must.iter().any(|name| !given.contains(name));
        let nothing = given.is_empty();
        if lacks || nothing || given.iter().any(|name| !must.contains(name) && !may.contains(name)) {
            return Err(format!("a case of the stage {stage} has {all}; it has {}", given.join(", ")));
        }
        if self.expect.is_some() && self.fault.is_some() {
            return Err("it has both expect and fault; write one of them".to_owned());
        }
        let vocabulary = self.vocabulary.as_deref().unwrap_or_default().len();
        if let Some(token) = self.tokens.iter().flatten().find(|token| **token as usize >= vocabulary) {
            return Err(format!("there is no token {token}; the vocabulary has {vocabulary}"));
        }
        self.mock.http.iter().flatten().try_for_each(HttpMock::check)?;
        if vocabulary > limits::MODEL_VOCABULARY_TOKENS_MAX {
            return Err("the vocabulary is too large".to_owned());
        }
        Ok(())
    }

    /// The names of the inputs that the case has.
    fn given(&self) -> Vec<&'static str> {
        let inputs = [
            ("input", self.input.is_some()),
            ("chunks", self.chunks.is_some()),
            ("tool", self.tool.is_some()),
            ("arguments", self.arguments.is_some()),
            ("result", self.result.is_some()),
            ("texts", self.texts.is_some()),
            ("vectors", self.vectors.is_some()),
            ("vocabulary", self.vocabulary.is_some()),
            ("tokens", self.tokens.is_some()),
        ];
        inputs.into_iter().filter(|input| input.1).map(|input| input.0).collect()
    }

    pub(super) fn is_met(&self, answer: &CaseAnswer) -> bool {
        match (answer, &self.expect, &self.fault) {
            (CaseAnswer::Text(text), Some(expected), None) => text == expected,
            (CaseAnswer::Fault(code, _), None, Some(expected)) => code == expected,
            // A case without an expectation shows the answer, and fails until there is one.
            _ => false,
        }
    }
}
