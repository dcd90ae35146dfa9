//! Sampling parameters. They are checked once, when a [`Sampling`] is made.

use crate::error::Error;
use crate::limits;
use crate::model::TokenId;

/// Checked sampling parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// Logits are divided by it; 0 is greedy.
    pub temperature: f32,
    /// Keep the k most likely tokens; 0 keeps all.
    pub top_k: usize,
    /// Keep the smallest set of tokens whose probability reaches this; 1 keeps all, 0 keeps the most likely one.
    pub top_p: f32,
    /// Drop tokens that are less likely than this times the most likely one; 0 drops none.
    pub min_p: f32,
    /// Divides positive and multiplies negative logits of tokens in prompt or answer (Keskar et al. 2019, as in Hugging
    /// Face); 1 is off.
    pub repetition_penalty: f32,
    /// Subtracted once from the logits of tokens in the answer; 0 is off.
    pub presence_penalty: f32,
    /// Subtracted for each occurrence in the answer; 0 is off.
    pub frequency_penalty: f32,
    /// Added to the logits of these tokens before penalties; -100 forbids a token, 100 practically forces it.
    pub logit_bias: Vec<(TokenId, f32)>,
    /// The number of most likely tokens whose probabilities the answer has for each of its tokens, next to that of the token
    /// itself. `None` leaves out all probabilities.
    pub logprobs: Option<usize>,
    /// Seed of the random choice. The same seed, prompt, model and device give the same text.
    pub seed: u64,
    /// Maximum number of answer tokens. `None` is up to the end of the context.
    pub max_tokens: Option<usize>,
    /// Number of answer tokens before the answer may end.
    pub min_tokens: usize,
    /// The answer ends before any of these strings. None is empty.
    pub stop: Vec<String>,
    /// Tokens that end the answer, in addition to the checkpoint's own.
    pub stop_tokens: Vec<TokenId>,
    /// Whether the checkpoint's end tokens do not end the answer.
    pub ignore_end: bool,
    /// Whether the stop string or token that ends the answer is part of it.
    pub keep_stop: bool,
    /// Whether special tokens are shown as text.
    pub show_special: bool,
}

/// Sampling parameters that a checkpoint or a request sets.
#[derive(Debug, Clone, PartialEq, Default)]
#[allow(missing_docs, reason = "each field is the optional form of the field of the same name in `Sampling`")]
pub struct SamplingOverrides {
    pub temperature: Option<f32>,
    pub top_k: Option<usize>,
    pub top_p: Option<f32>,
    pub min_p: Option<f32>,
    pub repetition_penalty: Option<f32>,
    pub presence_penalty: Option<f32>,
    pub frequency_penalty: Option<f32>,
    pub logit_bias: Vec<(TokenId, f32)>,
    pub logprobs: Option<usize>,
    pub seed: Option<u64>,
    pub max_tokens: Option<usize>,
    pub min_tokens: Option<usize>,
    pub stop: Vec<String>,
    pub stop_tokens: Vec<TokenId>,
    pub ignore_end: bool,
    pub keep_stop: bool,
    pub show_special: bool,
}

impl SamplingOverrides {
    /// These parameters, with `defaults` for those that are not set, checked. `fresh_seed` is the seed if none is set.
    ///
    /// # Errors
    /// `Error::Usage` names the first value out of range.
    pub fn resolve(&self, defaults: &Self, fresh_seed: u64) -> Result<Sampling, Error> {
        let mut stop = self.stop.clone();
        stop.extend(defaults.stop.iter().filter(|text| !self.stop.contains(text)).cloned());
        // Some clients send an empty string for no stop string.
        stop.retain(|text| !text.is_empty());
        let sampling = Sampling {
            temperature: self.temperature.or(defaults.temperature).unwrap_or(1.0),
            top_k: self.top_k.or(defaults.top_k).unwrap_or(0),
            top_p: self.top_p.or(defaults.top_p).unwrap_or(1.0),
            min_p: self.min_p.or(defaults.min_p).unwrap_or(0.0),
            repetition_penalty: self.repetition_penalty.or(defaults.repetition_penalty).unwrap_or(1.0),
            presence_penalty: self.presence_penalty.or(defaults.presence_penalty).unwrap_or(0.0),
            frequency_penalty: self.frequency_penalty.or(defaults.frequency_penalty).unwrap_or(0.0),
            logit_bias: if self.logit_bias.is_empty() { defaults.logit_bias.clone() } else { self.logit_bias.clone() },
            logprobs: self.logprobs,
            seed: self.seed.or(defaults.seed).unwrap_or(fresh_seed),
            max_tokens: self.max_tokens.or(defaults.max_tokens),
            min_tokens: self.min_tokens.or(defaults.min_tokens).unwrap_or(0),
            stop,
            stop_tokens: self.stop_tokens.clone(),
            ignore_end: self.ignore_end,
            keep_stop: self.keep_stop,
            show_special: self.show_special,
        };
        sampling.check()?;
        Ok(sampling)
    }
}

/// A change that a plugin makes to the sampling parameters of a request. What is `None` stays as it is.
#[derive(Debug, Clone, PartialEq, Default)]
#[allow(missing_docs, reason = "each field changes the field of the same name in `Sampling`")]
pub struct SamplingChange {
    pub temperature: Option<f32>,
    pub top_k: Option<usize>,
    pub top_p: Option<f32>,
    pub min_p: Option<f32>,
    /// At most that of the request.
    pub max_tokens: Option<usize>,
    /// Added to those of the request.
    pub stop: Vec<String>,
}

impl SamplingChange {
    /// The parameters of `old` with this change.
    ///
    /// # Errors
    /// `Error::Usage` names the first value out of range, or a maximum of tokens above that of the request.
    pub fn apply(self, old: &Sampling) -> Result<Sampling, Error> {
        if let (Some(new), Some(old)) = (self.max_tokens, old.max_tokens)
            && new > old
        {
            return Err(Error::Usage(format!("max tokens \"{new}\" are more than the request's {old}")));
        }
        let mut stop = old.stop.clone();
        stop.extend(self.stop.into_iter().filter(|text| !text.is_empty() && !old.stop.contains(text)));
        let sampling = Sampling {
            temperature: self.temperature.unwrap_or(old.temperature),
            top_k: self.top_k.unwrap_or(old.top_k),
            top_p: self.top_p.unwrap_or(old.top_p),
            min_p: self.min_p.unwrap_or(old.min_p),
            max_tokens: self.max_tokens.or(old.max_tokens),
            stop,
            ..old.clone()
        };
        sampling.check()?;
        Ok(sampling)
    }
}

impl Sampling {
    fn check(&self) -> Result<(), Error> {
        within("temperature", self.temperature, 0.0, limits::TEMPERATURE_MAX)?;
        within("top-p", self.top_p, 0.0, 1.0)?;
        within("min-p", self.min_p, 0.0, 1.0)?;
        within("presence penalty", self.presence_penalty, -2.0, 2.0)?;
        within("frequency penalty", self.frequency_penalty, -2.0, 2.0)?;
        if self.repetition_penalty <= 0.0 || !self.repetition_penalty.is_finite() {
            let value = self.repetition_penalty;
            return Err(Error::Usage(format!(
                "repetition penalty \"{value}\" is not a positive number; 1 turns it off"
            )));
        }
        if self.max_tokens == Some(0) {
            let message = "max tokens \"0\" leaves no answer; ask for 1 or more, or leave it out for as many as fit";
            return Err(Error::Usage(message.to_owned()));
        }
        if let Some(max) = self.max_tokens.filter(|max| self.min_tokens > *max) {
            let min = self.min_tokens;
            return Err(Error::Usage(format!("min tokens \"{min}\" are more than max tokens \"{max}\"")));
        }
        if let Some(count) = self.logprobs.filter(|count| *count > limits::LOGPROB_TOKENS_MAX) {
            let max = limits::LOGPROB_TOKENS_MAX;
            return Err(Error::Usage(format!("top logprobs \"{count}\" are more than {max}; ask for fewer")));
        }
        if self.stop_tokens.len() > limits::STOP_TOKENS_MAX {
            let (count, max) = (self.stop_tokens.len(), limits::STOP_TOKENS_MAX);
            return Err(Error::Usage(format!("{count} stop token ids given, at most {max} are allowed")));
        }
        if self.logit_bias.len() > limits::LOGIT_BIAS_TOKENS_MAX {
            let (count, max) = (self.logit_bias.len(), limits::LOGIT_BIAS_TOKENS_MAX);
            return Err(Error::Usage(format!("{count} logit biases given, at most {max} are allowed")));
        }
        for (token, bias) in &self.logit_bias {
            within(&format!("logit bias of token {token}"), *bias, -100.0, 100.0)?;
        }
        self.check_stop()
    }

    fn check_stop(&self) -> Result<(), Error> {
        if self.stop.len() > limits::STOP_STRINGS_MAX {
            let count = self.stop.len();
            return Err(Error::Usage(format!(
                "{count} stop strings given, at most {} are allowed",
                limits::STOP_STRINGS_MAX
            )));
        }
        for text in &self.stop {
            if text.len() > limits::STOP_STRING_BYTES_MAX {
                return Err(Error::Usage(format!(
                    "stop string \"{}\" is longer than {} bytes",
                    text.chars().take(40).collect::<String>(),
                    limits::STOP_STRING_BYTES_MAX
                )));
            }
        }
        Ok(())
    }
}

fn within(name: &str, value: f32, low: f32, high: f32) -> Result<(), Error> {
    if value.is_finite() && (low..=high).contains(&value) {
        return Ok(());
    }
    Err(Error::Usage(format!("{name} \"{value}\" is not between {low} and {high}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_changes_sampling_within_the_limits_of_the_request() {
        let ask = SamplingOverrides { max_tokens: Some(10), stop: vec!["a".to_owned()], ..Default::default() };
        let old = ask.resolve(&SamplingOverrides::default(), 1).expect("in range");
        let change =
            SamplingChange { max_tokens: Some(5), stop: vec!["a".to_owned(), "b".to_owned()], ..Default::default() };
        let new = change.apply(&old).expect("in range");
        assert_eq!((new.max_tokens, new.stop.as_slice()), (Some(5), &["a".to_owned(), "b".to_owned()][..]));
        assert_eq!(Sampling { max_tokens: Some(10), stop: old.stop.clone(), ..new }, old, "nothing else changes");
        for (change, expected) in [
            (SamplingChange { max_tokens: Some(11), ..Default::default() }, "more than the request's 10"),
            (SamplingChange { max_tokens: Some(0), ..Default::default() }, "leaves no answer"),
            (SamplingChange { temperature: Some(f32::NAN), ..Default::default() }, "temperature"),
            (SamplingChange { top_p: Some(2.0), ..Default::default() }, "top-p"),
            (SamplingChange { stop: vec!["x".repeat(1 << 20)], ..Default::default() }, "longer than"),
        ] {
            let error = change.apply(&old).expect_err(expected).to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn the_request_overrides_the_checkpoint() {
        let ask = SamplingOverrides { temperature: Some(0.5), ..Default::default() };
        let defaults = SamplingOverrides { temperature: Some(0.9), top_k: Some(20), ..Default::default() };
        let sampling = ask.resolve(&defaults, 7).expect("in range");
        assert_eq!((sampling.temperature, sampling.top_k, sampling.seed), (0.5, 20, 7));
    }

    #[test]
    fn empty_stop_strings_are_ignored_and_large_values_are_kept() {
        let ask = SamplingOverrides {
            top_p: Some(0.0),
            max_tokens: Some(usize::MAX),
            stop: vec![String::new(), "x".to_owned()],
            ..Default::default()
        };
        let sampling = ask.resolve(&SamplingOverrides::default(), 7).expect("in range");
        assert_eq!((sampling.stop, sampling.max_tokens), (vec!["x".to_owned()], Some(usize::MAX)));
        let unset = SamplingOverrides::default().resolve(&SamplingOverrides::default(), 7).expect("in range");
        assert_eq!(unset.max_tokens, None);
    }

    #[test]
    fn values_out_of_range_are_named_in_the_error() {
        let bad: [(SamplingOverrides, &str); 6] = [
            (SamplingOverrides { temperature: Some(-1.0), ..Default::default() }, "temperature \"-1\""),
            (SamplingOverrides { temperature: Some(f32::NAN), ..Default::default() }, "temperature \"NaN\""),
            (SamplingOverrides { top_p: Some(1.5), ..Default::default() }, "top-p \"1.5\""),
            (SamplingOverrides { repetition_penalty: Some(0.0), ..Default::default() }, "repetition penalty \"0\""),
            (SamplingOverrides { max_tokens: Some(0), ..Default::default() }, "max tokens \"0\""),
            (
                SamplingOverrides { max_tokens: Some(3), min_tokens: Some(4), ..Default::default() },
                "min tokens \"4\" are more than max tokens \"3\"",
            ),
        ];
        for (ask, expected) in bad {
            let error = ask.resolve(&SamplingOverrides::default(), 0).expect_err(expected);
            assert!(error.to_string().contains(expected), "{error} should contain {expected}");
        }
    }
}
