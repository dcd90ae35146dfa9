//! Results as a Markdown table, as JSON with the names of llama-bench, and as CSV.

use std::time::Duration;

use firebox_contract::{ModelInfo, limits};
use serde_json::{Value, json};

use super::compare::{Earlier, median};
use super::measure::BenchTest;
use crate::cli::Io;
use crate::cli::output::line;
use crate::error::CliError;
use crate::host::BareModel;
use crate::system::cpu;

/// The form of the results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// A Markdown table
    Md,
    /// A list of objects with the names of llama-bench
    Json,
    /// Lines of comma-separated values
    Csv,
}

/// What all results have in common.
struct Setup {
    info: ModelInfo,
    /// The types of the weights that make up most of the file.
    types: String,
    threads: usize,
    /// The type of keys and values in the KV cache.
    kv_cache: &'static str,
    cpu: String,
    flags: Vec<&'static str>,
}

/// Prints results as they come.
pub(super) struct Report {
    format: Format,
    setup: Setup,
    earlier: Option<Earlier>,
    /// For JSON, which is printed at the end.
    results: Vec<Value>,
}

/// One measured test.
struct Measured {
    test: BenchTest,
    samples: Vec<Duration>,
    /// Tokens per second of each sample.
    rates: Vec<f64>,
}

/// The version of this program, and its commit if it was built with one.
const VERSION: &str = env!("CARGO_PKG_VERSION");
const COMMIT: Option<&str> = option_env!("FIREBOX_COMMIT");

impl Report {
    /// For a number of threads and a type of keys and values in the KV cache.
    pub(super) fn new(
        format: Format,
        loaded: &BareModel,
        (threads, kv_cache): (usize, &'static str),
        earlier: Option<Earlier>,
    ) -> Self {
        let setup = Setup {
            info: loaded.model.info().clone(),
            types: main_types(&loaded.types),
            threads,
            kv_cache,
            cpu: cpu::name().unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            flags: cpu::flags(),
        };
        Self { format, setup, earlier, results: Vec::new() }
    }

    /// Prints what comes before the first result.
    pub(super) fn begin(&self, io: &mut Io) -> Result<(), CliError> {
        let Setup { threads, kv_cache, cpu, flags, .. } = &self.setup;
        match self.format {
            Format::Md => {
                let commit = COMMIT.map(|commit| format!(" ({commit})")).unwrap_or_default();
                let (cpu, flags) = (line(cpu, limits::CHAT_SHOWN_CHARACTERS_MAX), flags.join(" "));
                writeln!(
                    io.out,
                    "firebox {VERSION}{commit}, {cpu} ({flags}), {threads} threads, KV cache {kv_cache}; steps of the model, without tokenizer, sampler and server\n"
                )?;
                let compared = if self.earlier.is_some() { ("| ratio ", "---:|") } else { ("", "") };
                writeln!(
                    io.out,
                    "| model | type | size | params | device | threads | sequences | test | t/s | median {}|",
                    compared.0
                )?;
                writeln!(io.out, "|---|---|---:|---:|---|---:|---:|---|---:|---:|{}", compared.1)?;
            }
            Format::Csv => {
                writeln!(io.out, "{}", COLUMNS.join(","))?;
            }
            Format::Json => {}
        }
        Ok(io.out.flush()?)
    }

    /// Prints one result, or keeps it for the end.
    pub(super) fn add(&mut self, test: BenchTest, samples: Vec<Duration>, io: &mut Io) -> Result<(), CliError> {
        let tokens = test.tokens() as f64;
        let rates = samples.iter().map(|time| tokens / time.as_secs_f64().max(1e-9)).collect();
        let measured = Measured { test, samples, rates };
        let found = self.earlier.as_ref().and_then(|earlier| earlier.find(&test, &self.setup.info.name));
        if self.earlier.is_some() && found.is_none() {
            writeln!(io.err, "firebox: the earlier results have no test {test} of this model")?;
        } else if found.is_some_and(|(_, is_other)| is_other) && self.results.is_empty() {
            writeln!(io.err, "firebox: the earlier results are of a model with another name")?;
        }
        let ratio = found.and_then(|(earlier, _)| Some(median(&measured.rates)? / earlier));
        match self.format {
            Format::Md => writeln!(io.out, "{}", self.setup.row(&measured, ratio, self.earlier.is_some()))?,
            Format::Csv => {
                let value = self.setup.value(&measured, ratio);
                let cells: Vec<String> = COLUMNS.iter().map(|name| csv(value.get(name))).collect();
                writeln!(io.out, "{}", cells.join(","))?;
            }
            Format::Json => {}
        }
        self.results.push(self.setup.value(&measured, ratio));
        Ok(io.out.flush()?)
    }

    /// Prints what comes after the last result.
    pub(super) fn end(&self, io: &mut Io) -> Result<(), CliError> {
        if self.format == Format::Json {
            writeln!(io.out, "{:#}", Value::from(self.results.clone()))?;
        }
        Ok(io.out.flush()?)
    }
}

/// The columns of CSV, by their names in JSON.
const COLUMNS: &[&str] = &[
    "version",
    "commit",
    "cpu_info",
    "cpu_flags",
    "device",
    "model_filename",
    "model_type",
    "model_size",
    "model_n_params",
    "n_threads",
    "n_sequences",
    "type_k",
    "type_v",
    "n_prompt",
    "n_gen",
    "n_depth",
    "avg_ns",
    "stddev_ns",
    "avg_ts",
    "stddev_ts",
    "median_ts",
    "ratio",
];

impl Setup {
    fn row(&self, measured: &Measured, ratio: Option<f64>, is_compared: bool) -> String {
        let Self { info, types, threads, .. } = self;
        let cell = |text: &str| line(text, limits::CHAT_SHOWN_CHARACTERS_MAX).replace('|', "\\|");
        let (mean, deviation) = mean_and_deviation(&measured.rates);
        let ratio = match (is_compared, ratio) {
            (false, _) => String::new(),
            (true, Some(ratio)) => format!(" {ratio:.2} |"),
            (true, None) => " - |".to_owned(),
        };
        format!(
            "| {} | {types} | {:.2} MiB | {:.2} M | {} | {threads} | {} | {} | {mean:.2} ± {deviation:.2} | {:.2} |{ratio}",
            cell(&info.name),
            info.weights_bytes as f64 / f64::from(1 << 20),
            info.parameters as f64 / 1e6,
            cell(&info.device),
            measured.test.sequences,
            measured.test,
            median(&measured.rates).unwrap_or(0.0),
        )
    }

    fn value(&self, measured: &Measured, ratio: Option<f64>) -> Value {
        let nanoseconds: Vec<f64> = measured.samples.iter().map(|time| time.as_nanos() as f64).collect();
        let ((ns, ns_deviation), (rate, deviation)) =
            (mean_and_deviation(&nanoseconds), mean_and_deviation(&measured.rates));
        json!({
            "version": VERSION, "commit": COMMIT, "cpu_info": self.cpu, "cpu_flags": self.flags.join(" "),
            "device": self.info.device, "model_filename": self.info.name, "model_architecture": self.info.architecture,
            "model_type": self.types, "model_size": self.info.weights_bytes, "model_n_params": self.info.parameters,
            "n_threads": self.threads, "type_k": self.kv_cache, "type_v": self.kv_cache, "n_sequences": measured.test.sequences, "n_prompt": measured.test.prompt,
            "n_gen": measured.test.generated, "n_depth": measured.test.depth, "avg_ns": ns, "stddev_ns": ns_deviation,
            "avg_ts": rate, "stddev_ts": deviation, "median_ts": median(&measured.rates), "ratio": ratio,
            "samples_ns": nanoseconds, "samples_ts": measured.rates,
        })
    }
}

/// The types that make up at least a twentieth of the bytes, the largest first, as in `Q4_K+Q6_K`.
fn main_types(types: &[(String, u64)]) -> String {
    let total: u64 = types.iter().map(|(_, bytes)| bytes).sum();
    let main = types.iter().filter(|(_, bytes)| bytes.saturating_mul(20) >= total);
    main.map(|(name, _)| name.as_str()).collect::<Vec<_>>().join("+")
}

/// The mean, and the standard deviation of a sample; 0 of fewer than two values.
fn mean_and_deviation(values: &[f64]) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count.max(1.0);
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (mean, if values.len() > 1 { (squares / (count - 1.0)).sqrt() } else { 0.0 })
}

/// A cell of CSV (RFC 4180).
fn csv(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => format!("\"{}\"", text.replace('"', "\"\"")),
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_and_deviation_are_those_of_a_sample() {
        assert_eq!(mean_and_deviation(&[2.0, 4.0, 9.0]).0, 5.0);
        assert!((mean_and_deviation(&[2.0, 4.0, 9.0]).1 - 13.0_f64.sqrt()).abs() < 1e-12);
        assert_eq!((mean_and_deviation(&[3.0]), mean_and_deviation(&[])), ((3.0, 0.0), (0.0, 0.0)));
    }

    #[test]
    fn small_parts_of_a_file_are_not_among_its_types() {
        let types = |list: &[(&str, u64)]| {
            main_types(&list.iter().map(|(name, bytes)| ((*name).to_owned(), *bytes)).collect::<Vec<_>>())
        };
        assert_eq!(types(&[("Q4_K", 70), ("Q6_K", 29), ("F32", 1)]), "Q4_K+Q6_K");
        assert_eq!(types(&[]), "");
    }

    #[test]
    fn texts_in_csv_are_quoted() {
        assert_eq!(csv(Some(&json!("a \"b\", c"))), "\"a \"\"b\"\", c\"");
        assert_eq!(
            (csv(Some(&json!(1.5))), csv(Some(&Value::Null)), csv(None)),
            ("1.5".to_owned(), String::new(), String::new())
        );
    }
}
