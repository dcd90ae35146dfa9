//! Text encoders: texts in, vectors out.

use std::collections::BTreeMap;

use crate::{Error, ModelInfo};

/// One text to embed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EncoderText<'a> {
    /// Stands before the text, and the model reads both as one. Empty for none.
    pub prompt: &'a str,
    /// The text itself.
    pub text: &'a str,
    /// Tokens after which both together are cut, special tokens included. The model's own limit applies in any case.
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
    /// The whole vector as the model ends, `[EncoderProfile::width]`.
    pub embedding: Vec<f32>,
    /// Tokens of prompt and text after truncation, special tokens included.
    pub tokens: usize,
}

/// What an encoder's files say about its texts and vectors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncoderProfile {
    /// Numbers of a whole vector.
    pub width: usize,
    /// Numbers of a vector unless a caller asks for another count; at most `width`.
    pub dimensions: usize,
    /// What may be put before a text, by name.
    pub prompts: BTreeMap<String, String>,
    /// The prompt of a text that names none; one of `prompts`.
    pub default_prompt: Option<String>,
    /// Whether vectors are compared by their angle alone, so that their length means nothing.
    pub by_angle: bool,
    /// Whether a text that is too long loses its beginning, and not its end.
    pub cuts_beginning: bool,
}

impl EncoderProfile {
    /// A profile without prompts, whose vectors have `width` numbers and are compared by angle.
    #[must_use]
    pub fn plain(width: usize) -> Self {
        Self {
            width,
            dimensions: width,
            prompts: BTreeMap::new(),
            default_prompt: None,
            by_angle: true,
            cuts_beginning: false,
        }
    }

    /// The prompt of this name, or the default one where there is no name; empty where there is none.
    ///
    /// # Errors
    /// `Error::Usage` for a name that the model does not have, with those it has.
    pub fn prompt(&self, name: Option<&str>) -> Result<&str, Error> {
        let Some(name) = name.or(self.default_prompt.as_deref()) else { return Ok("") };
        self.prompts.get(name).map(String::as_str).ok_or_else(|| {
            let names: Vec<String> = self.prompts.keys().map(|name| format!("{name:?}")).collect();
            let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            Error::Usage(format!("the model has no prompt {name:?}; it has {known}"))
        })
    }

    /// How many numbers a vector gets where a caller asks for `dimensions`.
    ///
    /// # Errors
    /// `Error::Usage` for none at all, and for more than the model has.
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

/// What becomes of a whole vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VectorForm {
    /// How many of its first numbers are kept.
    pub dimensions: usize,
    /// Whether what is kept is scaled to length 1.
    pub normalize: bool,
}

impl VectorForm {
    /// Brings `vector` into this form.
    pub fn apply(self, vector: &mut Vec<f32>) {
        vector.truncate(self.dimensions);
        if self.normalize {
            to_unit_length(vector);
        }
    }
}

/// Scales a vector to length 1 (L2); a vector of zeros stays as it is.
pub fn to_unit_length(vector: &mut [f32]) {
    let length = vector.iter().map(|value| f64::from(*value) * f64::from(*value)).sum::<f64>().sqrt();
    #[allow(clippy::cast_possible_truncation, reason = "a length in f64 becomes a scale in f32")]
    let scale = (1.0 / length.max(1e-12)) as f32;
    vector.iter_mut().for_each(|value| *value *= scale);
}

/// A loaded text encoder.
pub trait Encoder: Send {
    /// What it is.
    fn info(&self) -> &ModelInfo;

    /// What its files say about texts and vectors.
    fn profile(&self) -> &EncoderProfile;

    /// Number of tokens of prompt and text, special tokens included, before truncation; used to sort batches by length. Of
    /// a text that is far longer than the model takes, some number above its limit that it has at least.
    ///
    /// # Errors
    /// `Error::Model` when the tokenizer fails.
    fn count_tokens(&self, text: &EncoderText<'_>) -> Result<usize, Error>;

    /// Embeds a padded batch. Texts longer than their `max_tokens`, or than the model takes, are truncated.
    ///
    /// # Errors
    /// `Error::Usage` for a `max_tokens` that leaves no token of the text, `Error::Model` when the tokenizer or the device
    /// failed.
    fn encode(&mut self, texts: &[EncoderText<'_>]) -> Result<Vec<Encoding>, Error>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_is_named_or_the_default_or_none() {
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
    fn a_vector_is_cut_first_and_scaled_then() {
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
