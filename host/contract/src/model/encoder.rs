//! Text encoders: texts in, vectors (embeddings) out, or pairs of texts in and scores out.

use std::collections::BTreeMap;

use crate::{Error, ModelInfo};

/// What a text encoder is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum EncoderTask {
    /// It makes a vector of each text.
    #[default]
    Embed,
    /// It is a cross-encoder: it scores how relevant a text is to a query, and ranks texts by it.
    Rank,
}

/// One text to embed, or to score for a query.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EncoderText<'a> {
    /// Prepended to the text, or to the query if there is one; empty for none.
    pub prompt: &'a str,
    /// The query that a cross-encoder reads before the text; `None` for an encoder that embeds texts.
    pub query: Option<&'a str>,
    /// The text itself.
    pub text: &'a str,
    /// Maximum number of tokens of prompt, query and text together, including special tokens. Longer texts are truncated:
    /// of query and text, the longer one first. The model's own limit applies in addition.
    pub max_tokens: Option<usize>,
}

impl<'a> From<&'a str> for EncoderText<'a> {
    fn from(text: &'a str) -> Self {
        Self { text, ..Self::default() }
    }
}

/// One text's embedding.
#[derive(Debug, Clone, PartialEq)]
pub struct Encoding {
    /// The whole vector, `[EncoderProfile::width]`. Of a cross-encoder, the score alone.
    pub embedding: Vec<f32>,
    /// Tokens of prompt, query and text after truncation, including special tokens.
    pub tokens: usize,
}

/// The properties of an encoder's texts and vectors, from its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncoderProfile {
    /// What the encoder is for.
    pub task: EncoderTask,
    /// Number of dimensions of a whole vector.
    pub width: usize,
    /// Default number of dimensions of a vector; at most `width`.
    pub dimensions: usize,
    /// Prompts to prepend to a text, by name.
    pub prompts: BTreeMap<String, String>,
    /// The name of the default prompt, if there is one.
    pub default_prompt: Option<String>,
    /// Whether vectors are compared by cosine similarity, so that their length has no meaning.
    pub uses_cosine: bool,
    /// Whether a text that is too long is truncated at its beginning instead of its end.
    pub truncates_left: bool,
}

impl EncoderProfile {
    /// A profile without prompts, for vectors of `width` dimensions that are compared by cosine similarity.
    #[must_use]
    pub fn plain(width: usize) -> Self {
        Self {
            task: EncoderTask::Embed,
            width,
            dimensions: width,
            prompts: BTreeMap::new(),
            default_prompt: None,
            uses_cosine: true,
            truncates_left: false,
        }
    }

    /// The prompt with this name, or the default prompt without a name. Empty if there is no default.
    ///
    /// # Errors
    /// `Error::Usage` for an unknown name. The error lists the known ones.
    pub fn prompt(&self, name: Option<&str>) -> Result<&str, Error> {
        let Some(name) = name.or(self.default_prompt.as_deref()) else { return Ok("") };
        self.prompts.get(name).map(String::as_str).ok_or_else(|| {
            let names: Vec<String> = self.prompts.keys().map(|name| format!("{name:?}")).collect();
            let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            Error::Usage(format!("the model has no prompt {name:?}; it has {known}"))
        })
    }

    /// The number of dimensions of a vector if the request asks for `dimensions`.
    ///
    /// # Errors
    /// `Error::Usage` for 0 and for more than `width`.
    pub fn length(&self, dimensions: Option<usize>) -> Result<usize, Error> {
        match dimensions {
            None => Ok(self.dimensions),
            Some(wanted) if (1..=self.width).contains(&wanted) => Ok(wanted),
            Some(wanted) => {
                let width = self.width;
                Err(Error::Usage(format!(
                    "dimensions \"{wanted}\" is not from 1 to the {width} of the model's vectors"
                )))
            }
        }
    }
}

/// The form of a returned vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VectorForm {
    /// The number of leading dimensions that are kept.
    pub dimensions: usize,
    /// Whether the vector is scaled to length 1.
    pub normalize: bool,
}

impl VectorForm {
    /// Converts `vector` to this form.
    pub fn apply(self, vector: &mut Vec<f32>) {
        vector.truncate(self.dimensions);
        if self.normalize {
            to_unit_length(vector);
        }
    }
}

/// Scales a vector to length 1 (L2). A vector of zeros is not changed.
pub fn to_unit_length(vector: &mut [f32]) {
    let length = vector.iter().map(|value| f64::from(*value) * f64::from(*value)).sum::<f64>().sqrt();
    #[allow(clippy::cast_possible_truncation, reason = "a length in f64 becomes a scale in f32")]
    let scale = (1.0 / length.max(1e-12)) as f32;
    vector.iter_mut().for_each(|value| *value *= scale);
}

/// A loaded text encoder.
pub trait Encoder: Send {
    /// Its properties.
    fn info(&self) -> &ModelInfo;

    /// The properties of its texts and vectors.
    fn profile(&self) -> &EncoderProfile;

    /// The number of tokens of prompt, query and text before truncation, including special tokens. For a text far above the
    /// model's limit it is a lower bound above that limit. Batches are sorted by it.
    ///
    /// # Errors
    /// `Error::Model` if the tokenizer fails.
    fn count_tokens(&self, text: &EncoderText<'_>) -> Result<usize, Error>;

    /// Embeds a padded batch. Texts longer than their `max_tokens` or the model's limit are truncated.
    ///
    /// # Errors
    /// `Error::Usage` if `max_tokens` leaves no token of the text, `Error::Model` if the tokenizer or the device fails.
    fn encode(&mut self, texts: &[EncoderText<'_>]) -> Result<Vec<Encoding>, Error>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_is_found_by_name_or_by_default() {
        let mut profile = EncoderProfile::plain(4);
        assert_eq!(profile.prompt(None).expect("no prompt"), "");
        assert!(profile.prompt(Some("query")).expect_err("unknown").to_string().contains("it has none"));
        profile.prompts = [("a", "A: "), ("b", "")].map(|(name, text)| (name.to_owned(), text.to_owned())).into();
        profile.default_prompt = Some("a".to_owned());
        assert_eq!((profile.prompt(None).expect("a"), profile.prompt(Some("b")).expect("b")), ("A: ", ""));
        let error = profile.prompt(Some("c")).expect_err("unknown").to_string();
        assert!(error.contains("no prompt \"c\"; it has \"a\", \"b\""), "{error}");
    }

    #[test]
    fn a_vector_is_cut_before_it_is_scaled() {
        let mut vector = vec![3.0, 4.0, 100.0];
        VectorForm { dimensions: 2, normalize: true }.apply(&mut vector);
        assert_eq!(vector, [0.6, 0.8]);
        VectorForm { dimensions: 9, normalize: false }.apply(&mut vector);
        assert_eq!(vector, [0.6, 0.8]);
        let mut nothing = vec![0.0; 3];
        to_unit_length(&mut nothing);
        assert_eq!(nothing, [0.0; 3]);
        let profile = EncoderProfile { dimensions: 2, ..EncoderProfile::plain(3) };
        assert_eq!(profile.length(None).expect("its own"), 2);
        assert_eq!(profile.length(Some(3)).expect("all"), 3);
        assert!([0, 4].iter().all(|wanted| profile.length(Some(*wanted)).is_err()));
    }
}
