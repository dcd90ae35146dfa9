//! `firebox bench`: tokens per second of a model, measured as llama-bench measures them.

mod compare;
mod measure;
mod report;

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Args as ClapArgs;
use firebox_contract::limits;

use self::compare::Earlier;
use self::measure::{Bench, BenchTest};
use self::report::{Format, Report};
use super::Io;
use super::options::ModelOptions;
use crate::cli::termination::Termination;
use crate::error::CliError;
use crate::system::threads;

/// The help of `--context`.
const CONTEXT: &str =
    "Maximum length of a sequence in tokens; at most the model's own limit [default: the longest test]";

/// Measure how many tokens per second a model reads and writes, as llama-bench does.
///
/// A test ppN reads a prompt of N random tokens, tgN writes N tokens one by one, and both start with a KV cache of the
/// depth. What is timed is the steps of the model, up to its logits: no tokenizer, sampler or server.
#[derive(ClapArgs, Debug)]
#[command(mut_arg("context", |arg| arg.help(CONTEXT)))]
pub struct Args {
    #[command(flatten)]
    model: ModelOptions,
    /// Tokens of the prompt of a test pp; 0 for no such test (a list, as in 128,512)
    #[arg(short = 'p', long, value_name = "N", default_value = "512", value_delimiter = ',', value_parser = tokens())]
    n_prompt: Vec<u64>,
    /// Tokens that a test tg writes; 0 for no such test (a list)
    #[arg(short = 'n', long, value_name = "N", default_value = "128", value_delimiter = ',', value_parser = tokens())]
    n_gen: Vec<u64>,
    /// A test that reads P tokens and then writes N; also -pg (repeatable)
    #[arg(long, value_name = "P,N", value_parser = parse_pair)]
    pg: Vec<(usize, usize)>,
    /// Tokens in the KV cache before a test begins (a list)
    #[arg(short = 'd', long, value_name = "N", default_value = "0", value_delimiter = ',', value_parser = tokens())]
    n_depth: Vec<u64>,
    /// Sequences that are computed in the same steps (a list)
    #[arg(short = 'b', long, value_name = "N", default_value = "1", value_delimiter = ',',
          value_parser = clap::value_parser!(u64).range(1..=limits::BENCH_SEQUENCES_MAX as u64))]
    batch: Vec<u64>,
    /// Times that each test is measured
    #[arg(short = 'r', long, value_name = "N", default_value_t = limits::BENCH_REPETITIONS_DEFAULT as u64,
          value_parser = clap::value_parser!(u64).range(1..=limits::BENCH_REPETITIONS_MAX as u64))]
    repetitions: u64,
    /// Leave out the run before each test that is not measured
    #[arg(long)]
    no_warmup: bool,
    /// Form of the results
    #[arg(short = 'o', long, value_enum, value_name = "FORMAT", default_value_t = Format::Md)]
    output: Format,
    /// Print the ratio to the results in FILE, which firebox bench or llama-bench wrote with -o json
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,
}

fn tokens() -> clap::builder::RangedU64ValueParser {
    clap::value_parser!(u64).range(0..=limits::CONTEXT_TOKENS_MAX as u64)
}

fn parse_pair(text: &str) -> Result<(usize, usize), String> {
    let number = |text: &str| text.trim().parse().ok().filter(|n| (1..=limits::CONTEXT_TOKENS_MAX).contains(n));
    let pair = text.split_once(',').and_then(|(prompt, generated)| Some((number(prompt)?, number(generated)?)));
    pair.ok_or_else(|| format!("\"{text}\" is not two numbers of tokens; write --pg 512,128"))
}

/// The arguments of the process, with llama-bench's `-pg` in the form of this command line.
pub(super) fn with_long_options(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = arguments.collect();
    if arguments.get(1).is_some_and(|verb| verb == "bench") {
        arguments.iter_mut().filter(|argument| *argument == "-pg").for_each(|argument| *argument = "--pg".into());
    }
    arguments
}

/// Runs the command.
///
/// # Errors
/// A model that does not load or whose context is too short for a test, a file of earlier results that cannot be read, and
/// Ctrl-C. Results that were measured before are printed.
pub fn run(args: Args, io: &mut Io) -> Result<(), CliError> {
    let tests = tests(&args)?;
    let earlier = args.compare.as_deref().map(Earlier::read).transpose()?;
    let runtime = threads::runtime(Some(1))?;
    Termination::default().listen(&runtime)?;
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    runtime.spawn(async move {
        // Without a handler the signal ends the process by itself.
        if tokio::signal::ctrl_c().await.is_ok() {
            flag.store(true, Ordering::Release);
        }
    });
    let longest = tests.iter().map(BenchTest::context_tokens).max();
    let options = ModelOptions { context: args.model.context.or(longest), ..args.model.clone() };
    let builder = runtime.block_on(async {
        tokio::select! {
            builder = options.host_builder() => builder,
            _ = tokio::signal::ctrl_c() => Err(CliError::Interrupted),
        }
    })?;
    let mut loaded = builder.cache_bytes(limits::MODEL_CACHE_BYTES_MAX).load_model()?;
    for note in &loaded.notes {
        writeln!(io.err, "firebox: {note}")?;
    }
    let threads = options.threads.count().unwrap_or_else(firebox_cpu::cores::count);
    let kv_cache = options.kv_cache.name_on(&loaded.model.info().device);
    let mut report = Report::new(args.output, &loaded, (threads, kv_cache), earlier);
    report.begin(io)?;
    let mut bench = Bench::new(&mut *loaded.model, stop);
    for test in tests {
        let samples = bench.run(&test, usize::try_from(args.repetitions).unwrap_or(1), !args.no_warmup)?;
        let Some(samples) = samples else {
            report.end(io)?;
            return Err(CliError::Interrupted);
        };
        report.add(test, samples, io)?;
    }
    report.end(io)
}

/// The tests in the order of llama-bench: pp, tg and pg for each depth and batch.
fn tests(args: &Args) -> Result<Vec<BenchTest>, CliError> {
    let count = |n: &u64| usize::try_from(*n).unwrap_or(usize::MAX);
    let read = args.n_prompt.iter().map(|n| (count(n), 0));
    let written = args.n_gen.iter().map(|n| (0, count(n)));
    let kinds: Vec<(usize, usize)> =
        read.chain(written).chain(args.pg.iter().copied()).filter(|kind| *kind != (0, 0)).collect();
    let mut tests = Vec::new();
    for depth in args.n_depth.iter().map(count) {
        for sequences in args.batch.iter().map(count) {
            tests.extend(kinds.iter().map(|(prompt, generated)| BenchTest {
                prompt: *prompt,
                generated: *generated,
                depth,
                sequences,
            }));
        }
    }
    match tests.len() {
        0 => Err(CliError::usage("there is no test; give -p, -n or --pg a number of tokens")),
        1..=limits::BENCH_TESTS_MAX => Ok(tests),
        count => {
            let max = limits::BENCH_TESTS_MAX;
            Err(CliError::usage(format!("the lists make {count} tests, at most {max} are allowed; shorten a list")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_pg_of_llama_bench_is_understood_for_this_verb_only() {
        let given = |words: &[&str]| {
            let changed = with_long_options(words.iter().map(OsString::from));
            changed.into_iter().map(|word| word.into_string().expect("text")).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(given(&["firebox", "bench", "-pg", "8,4"]), "firebox bench --pg 8,4");
        assert_eq!(given(&["firebox", "run", "-pg"]), "firebox run -pg");
    }

    #[test]
    fn pairs_of_tokens_are_checked() {
        assert_eq!(parse_pair("512,128"), Ok((512, 128)));
        for bad in ["", "512", "512,", "0,1", "1,0", "a,b", "1,2,3", "99999999999,1"] {
            assert!(parse_pair(bad).is_err_and(|message| message.contains("--pg")), "{bad}");
        }
    }
}
