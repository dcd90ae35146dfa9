//! Earlier results, to compare with: the JSON that `firebox bench` or llama-bench wrote.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use firebox_contract::limits;
use serde_json::Value;

use super::measure::BenchTest;
use crate::error::CliError;

/// The results in a file.
#[derive(Debug)]
pub(super) struct Earlier {
    results: Vec<EarlierResult>,
}

#[derive(Debug)]
struct EarlierResult {
    test: BenchTest,
    /// The last part of the path of the model, without its ending.
    model: String,
    /// The median, or else the mean.
    tokens_per_second: f64,
}

impl Earlier {
    /// Reads a file.
    ///
    /// # Errors
    /// `File` if it cannot be read, and an error of usage if it has no results.
    pub(super) fn read(path: &Path) -> Result<Self, CliError> {
        let failed = |source| CliError::File { action: "read", path: path.display().to_string(), source };
        let mut text = Vec::new();
        let most = limits::BENCH_RESULTS_BYTES_MAX as u64;
        File::open(path).map_err(failed)?.take(most + 1).read_to_end(&mut text).map_err(failed)?;
        let wrong = |why: &str| {
            let path = path.display();
            CliError::usage(format!(
                "\"{path}\" {why}; give a file that firebox bench or llama-bench wrote with -o json"
            ))
        };
        if text.len() as u64 > most {
            return Err(wrong(&format!("has more than {most} bytes")));
        }
        let value: Value = serde_json::from_slice(&text).map_err(|error| wrong(&format!("is not JSON ({error})")))?;
        let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
        let results: Vec<EarlierResult> = list.iter().filter_map(result).collect();
        if results.is_empty() { Err(wrong("has no results")) } else { Ok(Self { results }) }
    }

    /// Tokens per second of the same test: of the model `model`, or of another one if the file has only one. The last result
    /// counts. The flag says that it is of another model.
    pub(super) fn find(&self, test: &BenchTest, model: &str) -> Option<(f64, bool)> {
        let same = || self.results.iter().rev().filter(|result| result.test == *test);
        if let Some(own) = same().find(|result| result.model == model) {
            return Some((own.tokens_per_second, false));
        }
        let first = &self.results.first()?.model;
        let is_single = self.results.iter().all(|result| result.model == *first);
        same().next().filter(|_| is_single).map(|other| (other.tokens_per_second, true))
    }
}

/// One object of the list; `None` if it is not of the form of a result.
fn result(value: &Value) -> Option<EarlierResult> {
    let count = |name: &str| usize::try_from(value.get(name)?.as_u64()?).ok();
    let test = BenchTest {
        prompt: count("n_prompt")?,
        generated: count("n_gen")?,
        depth: count("n_depth").unwrap_or(0),
        sequences: count("n_sequences").unwrap_or(1),
    };
    let model = value.get("model_filename").and_then(Value::as_str).unwrap_or_default();
    let model = Path::new(model).file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let samples = value.get("samples_ts").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let samples: Vec<f64> = samples.iter().filter_map(Value::as_f64).collect();
    let rate = median(&samples).or_else(|| value.get("avg_ts")?.as_f64())?;
    (rate.is_finite() && rate > 0.0).then_some(EarlierResult { test, model, tokens_per_second: rate })
}

/// The median; `None` of no values.
pub(super) fn median(values: &[f64]) -> Option<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() % 2 {
        1 => values.get(middle).copied(),
        _ => Some((values.get(middle.checked_sub(1)?)? + values.get(middle)?) / 2.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PP: BenchTest = BenchTest { prompt: 512, generated: 0, depth: 0, sequences: 1 };

    fn read(text: &str) -> Result<Earlier, CliError> {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), text).expect("written");
        Earlier::read(file.path())
    }

    #[test]
    fn results_of_llama_bench_and_of_this_command_are_found_by_test_and_model() {
        let earlier = read(
            r#"[{"model_filename": "/x/a.gguf", "n_prompt": 512, "n_gen": 0, "n_depth": 0, "avg_ts": 7.0, "samples_ts": []},
                {"model_filename": "a", "n_prompt": 512, "n_gen": 0, "n_sequences": 4, "samples_ts": [30, 10, 20]},
                {"n_prompt": "many"}, 3]"#,
        )
        .expect("two results");
        assert_eq!(earlier.find(&PP, "a"), Some((7.0, false)));
        assert_eq!(earlier.find(&BenchTest { sequences: 4, ..PP }, "a"), Some((20.0, false)));
        assert_eq!(earlier.find(&PP, "b"), Some((7.0, true)), "the only model of the file");
        assert_eq!(earlier.find(&BenchTest { depth: 1, ..PP }, "a"), None);
        let two = r#"[{"model_filename": "a", "n_prompt": 512, "n_gen": 0, "avg_ts": 7},
                      {"model_filename": "b", "n_prompt": 512, "n_gen": 0, "avg_ts": 8}]"#;
        let two = read(two).expect("two results");
        assert_eq!((two.find(&PP, "b"), two.find(&PP, "c")), (Some((8.0, false)), None));
    }

    #[test]
    fn a_file_without_results_is_refused() {
        for (text, why) in [("", "not JSON"), ("{}", "no results"), ("[]", "no results"), ("[{}]", "no results")] {
            let error = read(text).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains(why) && error.contains("-o json"), "{text}: {error}");
        }
        let zero = r#"[{"n_prompt": 512, "n_gen": 0, "avg_ts": 0}]"#;
        assert!(read(zero).is_err(), "nothing can be compared with 0 tokens/s");
        assert!(
            read(&" ".repeat(limits::BENCH_RESULTS_BYTES_MAX + 1))
                .is_err_and(|error| error.to_string().contains("more than"))
        );
    }

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!((median(&[]), median(&[2.0]), median(&[4.0, 2.0])), (None, Some(2.0), Some(3.0)));
        assert_eq!(median(&[9.0, 1.0, 2.0]), Some(2.0));
    }
}
