//! A test fixture: the configuration says what the plugin answers at the stages `token`, `tool-call` and `embedding`, right or
//! wrong, so that tests can see what the host makes of it.
//!
//! `tokens` is a list of actions, one for each call; after the last one the plugin keeps everything. `candidates` and `hold` are
//! the session's needs. `before`, `after`, `texts` and `vectors` are the answers of the other stages.

mod tokens;

use firebox_sdk::{
    Arguments, CallVerdict, Embedding, EmbeddingRequest, EmbeddingVerdict, OutcomeVerdict, Plugin, SeenOutcome, Token,
    TokenSequence, ToolCall, ToolGuard, Vectors, VectorsVerdict, log,
};

use tokens::Session;

struct Scripted(Arguments);

impl Plugin for Scripted {
    const DESCRIPTION: &'static str = "Answers as its configuration says.";

    fn init(config_json: &str) -> Result<Self, String> {
        Arguments::parse_config(config_json).map(Self)
    }
}

impl Token for Scripted {
    type Session = Session;

    fn start(&mut self, sequence: TokenSequence) -> Result<Session, String> {
        Session::new(&self.0, sequence)
    }
}

impl ToolGuard for Scripted {
    fn before(&mut self, call: ToolCall) -> Result<CallVerdict, String> {
        log::info(format!("before {} {}", call.name, call.arguments_json));
        let Ok(answer) = self.0.text("before") else { return Ok(CallVerdict::Unchanged) };
        Ok(match answer.split_once(' ').unwrap_or((&answer, "")) {
            ("rewrite", arguments) => CallVerdict::Rewrite(arguments.to_owned()),
            ("refuse", reason) => CallVerdict::Refuse(reason.to_owned()),
            ("fail", reason) => return Err(reason.to_owned()),
            ("trap", _) => panic!("as the configuration says"),
            _ => CallVerdict::Unchanged,
        })
    }

    fn after(&mut self, call: ToolCall, outcome: SeenOutcome) -> Result<OutcomeVerdict, String> {
        log::info(format!("after {} {}", call.name, outcome.content));
        let Ok(answer) = self.0.text("after") else { return Ok(OutcomeVerdict::Unchanged) };
        Ok(match answer.split_once(' ').unwrap_or((&answer, "")) {
            ("append", tail) => {
                OutcomeVerdict::Rewrite(SeenOutcome { content: outcome.content + tail, is_error: outcome.is_error })
            }
            ("refuse", reason) => OutcomeVerdict::Refuse(reason.to_owned()),
            _ => OutcomeVerdict::Unchanged,
        })
    }
}

impl Embedding for Scripted {
    fn before(&mut self, request: EmbeddingRequest) -> Result<EmbeddingVerdict, String> {
        let Ok(answer) = self.0.text("texts") else { return Ok(EmbeddingVerdict::Unchanged) };
        Ok(match answer.split_once(' ').unwrap_or((&answer, "")) {
            ("append", tail) => EmbeddingVerdict::Replace(request.texts.into_iter().map(|text| text + tail).collect()),
            ("double", _) => {
                let twice = request.texts.into_iter().flat_map(|text| [text.clone(), text]);
                EmbeddingVerdict::Replace(twice.collect())
            }
            ("lose", _) => EmbeddingVerdict::Replace(Vec::new()),
            ("refuse", reason) => EmbeddingVerdict::Refuse(reason.to_owned()),
            _ => EmbeddingVerdict::Unchanged,
        })
    }

    fn after(&mut self, mut vectors: Vectors) -> Result<VectorsVerdict, String> {
        let Ok(answer) = self.0.text("vectors") else { return Ok(VectorsVerdict::Unchanged) };
        match answer.as_str() {
            "halve" => {
                let kept = vectors.dimensions / 2;
                let each = vectors.values.chunks(vectors.dimensions as usize);
                let values = each.flat_map(|vector| vector.iter().take(kept as usize).copied()).collect();
                return Ok(VectorsVerdict::Replace(Vectors { dimensions: kept, values }));
            }
            "every second" => {
                let each = vectors.values.chunks(vectors.dimensions as usize).step_by(2);
                vectors.values = each.flatten().copied().collect();
            }
            "nan" => vectors.values.fill(f32::NAN),
            "lose" => vectors.values.truncate(1),
            _ => return Ok(VectorsVerdict::Unchanged),
        }
        Ok(VectorsVerdict::Replace(vectors))
    }
}

firebox_sdk::plugin!(Scripted: token, tool_call, embedding);
