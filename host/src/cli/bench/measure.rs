//! Runs the tests: steps of the model on random tokens, timed.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use firebox_contract::limits::STEP_PREFILL_TOKENS;
use firebox_contract::{Error, LanguageModel, SequenceId, Span, TokenId};

/// One test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BenchTest {
    /// Tokens that are read.
    pub(super) prompt: usize,
    /// Tokens that are written after that, one a step.
    pub(super) generated: usize,
    /// Tokens in the KV cache of each sequence before the test.
    pub(super) depth: usize,
    /// Sequences that do all this in the same steps.
    pub(super) sequences: usize,
}

impl BenchTest {
    /// Tokens of one sequence at the end of the test.
    pub(super) fn context_tokens(&self) -> usize {
        self.depth.saturating_add(self.prompt).saturating_add(self.generated)
    }

    /// Tokens that the test computes, over all sequences.
    pub(super) fn tokens(&self) -> usize {
        (self.prompt + self.generated) * self.sequences
    }
}

/// As llama-bench names it, such as `pp512` and `tg128 @ d4096`.
impl fmt::Display for BenchTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.prompt, self.generated) {
            (prompt, 0) => write!(f, "pp{prompt}")?,
            (0, generated) => write!(f, "tg{generated}")?,
            (prompt, generated) => write!(f, "pp{prompt}+tg{generated}")?,
        }
        if self.depth > 0 { write!(f, " @ d{}", self.depth) } else { Ok(()) }
    }
}

/// A loaded model whose steps are timed.
pub(super) struct Bench<'a> {
    model: &'a mut dyn LanguageModel,
    vocabulary: u64,
    random: u64,
    stop: Arc<AtomicBool>,
}

/// Why a test did not run to its end.
enum Ended {
    Interrupted,
    Failed(Error),
}

impl From<Error> for Ended {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl<'a> Bench<'a> {
    /// `stop` ends a test at the next layer.
    pub(super) fn new(model: &'a mut dyn LanguageModel, stop: Arc<AtomicBool>) -> Self {
        let vocabulary = model.info().vocabulary.max(1) as u64;
        Self { model, vocabulary, random: 1, stop }
    }

    /// The times of `repetitions` runs of a test, after a shorter one that is not measured if `warms_up` is set. `None` if
    /// it was stopped.
    ///
    /// # Errors
    /// The context of the model is too short, or a step fails.
    pub(super) fn run(
        &mut self,
        test: &BenchTest,
        repetitions: usize,
        warms_up: bool,
    ) -> Result<Option<Vec<Duration>>, Error> {
        let (needed, context) = (test.context_tokens(), self.model.info().context_tokens);
        if needed > context {
            let message = format!(
                "the test {test} needs {needed} tokens of context, and the model has {context}; choose smaller numbers"
            );
            return Err(Error::Usage(message));
        }
        let measured = self.measure(test, repetitions, warms_up);
        sequences(test).for_each(|id| self.model.release(id));
        match measured {
            Ok(samples) => Ok(Some(samples)),
            Err(Ended::Interrupted) => Ok(None),
            Err(Ended::Failed(error)) => Err(error),
        }
    }

    fn measure(&mut self, test: &BenchTest, repetitions: usize, warms_up: bool) -> Result<Vec<Duration>, Ended> {
        let mut samples = Vec::with_capacity(repetitions);
        self.prepare(test, 0)?;
        if warms_up {
            self.read(test, test.prompt)?;
            self.write(test, test.generated.min(1))?;
            self.prepare(test, test.depth)?;
        }
        for repetition in 0..repetitions {
            if repetition > 0 {
                self.prepare(test, test.depth)?;
            }
            let began = Instant::now();
            self.read(test, test.prompt)?;
            self.write(test, test.generated)?;
            samples.push(began.elapsed());
        }
        Ok(samples)
    }

    /// Makes the KV cache of each sequence as deep as the test wants. `kept` tokens of it are there already.
    fn prepare(&mut self, test: &BenchTest, kept: usize) -> Result<(), Ended> {
        let mut is_kept = kept > 0;
        for id in sequences(test) {
            is_kept &= kept > 0 && self.model.truncate(id, kept);
        }
        if is_kept {
            return Ok(());
        }
        sequences(test).for_each(|id| self.model.release(id));
        self.read(test, test.depth)
    }

    /// Appends `tokens` tokens to each sequence, in steps as large as the engine's.
    fn read(&mut self, test: &BenchTest, tokens: usize) -> Result<(), Ended> {
        let texts: Vec<(SequenceId, Vec<TokenId>)> = sequences(test).map(|id| (id, self.tokens(tokens))).collect();
        let mut step: Vec<Span<'_>> = Vec::new();
        let mut room = STEP_PREFILL_TOKENS;
        for (sequence, text) in &texts {
            let mut rest = text.as_slice();
            while !rest.is_empty() {
                let (now, later) = rest.split_at(rest.len().min(room));
                step.push(Span { sequence: *sequence, tokens: now, wants_logits: later.is_empty() });
                (rest, room) = (later, room - now.len());
                if room == 0 {
                    self.step(&std::mem::take(&mut step))?;
                    room = STEP_PREFILL_TOKENS;
                }
            }
        }
        if step.is_empty() { Ok(()) } else { self.step(&step) }
    }

    /// Appends one token to each sequence, `steps` times.
    fn write(&mut self, test: &BenchTest, steps: usize) -> Result<(), Ended> {
        for _ in 0..steps {
            let tokens = self.tokens(test.sequences);
            let span = |(sequence, token)| Span { sequence, tokens: std::slice::from_ref(token), wants_logits: true };
            let step: Vec<Span<'_>> = sequences(test).zip(&tokens).map(span).collect();
            self.step(&step)?;
        }
        Ok(())
    }

    fn step(&mut self, spans: &[Span<'_>]) -> Result<(), Ended> {
        let stop = &self.stop;
        let results = self.model.forward_while(spans, &mut || !stop.load(Ordering::Acquire));
        results.ok_or(Ended::Interrupted)?.into_iter().try_for_each(|result| result.map(drop))?;
        // Not every model can abort a step.
        if self.stop.load(Ordering::Acquire) { Err(Ended::Interrupted) } else { Ok(()) }
    }

    /// Random tokens; the same ones in every process (PCG, O'Neill 2014).
    fn tokens(&mut self, count: usize) -> Vec<TokenId> {
        let mut token = || {
            self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((self.random >> 33) % self.vocabulary) as TokenId
        };
        (0..count).map(|_| token()).collect()
    }
}

fn sequences(test: &BenchTest) -> impl Iterator<Item = SequenceId> + use<> {
    (1..=test.sequences as u64).map(SequenceId)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use firebox_contract::{Logits, ModelInfo};

    use super::*;

    /// The spans of each step: sequence, tokens before it, tokens.
    type Steps = Vec<Vec<(u64, usize, usize)>>;

    /// Records the lengths of the spans of each step.
    struct Recorder {
        info: ModelInfo,
        lengths: HashMap<SequenceId, usize>,
        steps: Arc<std::sync::Mutex<Steps>>,
        stop: Option<Arc<AtomicBool>>,
    }

    impl LanguageModel for Recorder {
        fn info(&self) -> &ModelInfo {
            &self.info
        }

        fn forward(&mut self, batch: &[Span<'_>]) -> Vec<Result<Option<Logits>, Error>> {
            let mut step = Vec::new();
            for span in batch {
                let length = self.lengths.entry(span.sequence).or_default();
                step.push((span.sequence.0, *length, span.tokens.len()));
                *length += span.tokens.len();
            }
            self.steps.lock().expect("lock").push(step);
            if let Some(stop) = &self.stop {
                stop.store(true, Ordering::Release);
            }
            batch.iter().map(|span| Ok(span.wants_logits.then(|| vec![0.0; 8]))).collect()
        }

        fn release(&mut self, sequence: SequenceId) {
            self.lengths.remove(&sequence);
        }
    }

    fn run(test: BenchTest, warms_up: bool, stops: bool) -> (Result<Option<Vec<Duration>>, Error>, Steps) {
        let info = ModelInfo {
            name: "recorder".to_owned(),
            architecture: "Fake".to_owned(),
            parameters: 0,
            context_tokens: 2_000,
            vocabulary: 8,
            device: "none".to_owned(),
            dtype: "f32",
            weights_bytes: 0,
        };
        let (steps, stop) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let mut model = Recorder {
            info,
            lengths: HashMap::new(),
            steps: Arc::clone(&steps),
            stop: stops.then(|| Arc::clone(&stop)),
        };
        let result = Bench::new(&mut model, stop).run(&test, 2, warms_up);
        let steps = steps.lock().expect("lock").clone();
        (result, steps)
    }

    #[test]
    fn a_test_reads_in_steps_of_the_engine_and_writes_token_by_token() {
        let test = BenchTest { prompt: 300, generated: 2, depth: 0, sequences: 2 };
        let (samples, steps) = run(test, false, false);
        assert_eq!(samples.expect("ran").map(|samples| samples.len()), Some(2));
        let once = [
            vec![(1, 0, 300), (2, 0, 212)],
            vec![(2, 212, 88)],
            vec![(1, 300, 1), (2, 300, 1)],
            vec![(1, 301, 1), (2, 301, 1)],
        ];
        assert_eq!(steps, [once.clone(), once].concat());
    }

    #[test]
    fn every_repetition_starts_at_the_depth() {
        let test = BenchTest { prompt: 0, generated: 1, depth: 600, sequences: 1 };
        let (_, steps) = run(test, true, false);
        let once = [vec![(1, 0, 512)], vec![(1, 512, 88)], vec![(1, 600, 1)]];
        assert_eq!(steps, [once.clone(), once.clone(), once].concat(), "the first one warms up");
    }

    #[test]
    fn a_stopped_test_and_a_test_beyond_the_context_have_no_samples() {
        let test = BenchTest { prompt: 8, generated: 8, depth: 0, sequences: 1 };
        let (result, steps) = run(test, false, true);
        assert!(matches!(result, Ok(None)));
        assert_eq!(steps.len(), 1);
        let (result, steps) = run(BenchTest { depth: 1_990, ..test }, false, false);
        assert!(result.is_err_and(|error| error.to_string().contains("2006")) && steps.is_empty());
    }
}
