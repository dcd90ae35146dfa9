//! Supervises the model on its thread: catches its panics and reloads it.
//!
//! A model counts as broken after a panic, because its state is unknown then, and after a step in which every sequence
//! failed with `Error::Model`, which means that the device failed. If only some sequences of a step fail, the model is
//! not broken. In a step of a single sequence the supervisor cannot tell the two cases apart, so it reloads the model.
//! A model that breaks again before any sequence succeeded is not reloaded at once: it counts as failed for
//! `MODEL_RELOAD_RETRY`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use firebox_contract::limits::MODEL_RELOAD_RETRY;
use firebox_contract::{CacheUse, Error, LanguageModel, Logits, SequenceId, Span, panic_text};

use crate::status::{EngineMetrics, EngineStatus};

/// Loads the model, on the thread that owns it. It is called again if the model breaks.
pub type ModelFactory = Box<dyn FnMut() -> Result<Box<dyn LanguageModel>, Error> + Send>;

/// The results of one step: the rows of logits of each span, in order.
pub(crate) type StepResults = Vec<Result<Vec<Logits>, Error>>;

pub(crate) struct ModelSupervisor {
    factory: ModelFactory,
    /// `None` while no model is loaded.
    model: Option<Box<dyn LanguageModel>>,
    metrics: Arc<EngineMetrics>,
    broken: bool,
    /// Whether a sequence succeeded since the last reload.
    proven: bool,
    retry_at: Duration,
}

impl ModelSupervisor {
    /// Loads the model for the first time.
    pub(crate) fn load(mut factory: ModelFactory, metrics: Arc<EngineMetrics>) -> Result<Self, Error> {
        let model = Some(guarded(&mut factory)?);
        Ok(Self { factory, model, metrics, broken: false, proven: true, retry_at: Duration::ZERO })
    }

    pub(crate) fn model(&self) -> Option<&dyn LanguageModel> {
        self.model.as_deref()
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.broken
    }

    /// The time at which a failed model may be loaded again.
    pub(crate) fn retry_at(&self) -> Duration {
        self.retry_at
    }

    /// Reloads the model and runs `warm_up` on it before the model counts as ready. All its sequences are lost.
    pub(crate) fn reload(&mut self, now: impl Fn() -> Duration, warm_up: impl FnOnce(&mut Self)) -> Result<(), Error> {
        if !self.proven {
            self.proven = true;
            let error = Error::Model("it broke again as soon as it had been loaded".to_owned());
            return Err(self.failed(now(), error));
        }
        self.metrics.set_status(EngineStatus::Loading);
        let old = self.model.take();
        // The old model's memory must be free before the next one is loaded. A panic in its destructor is ignored.
        let _dropped = guarded(|| {
            drop(old);
            Ok(())
        });
        match guarded(&mut self.factory) {
            Ok(model) => {
                self.model = Some(model);
                self.broken = false;
                warm_up(self);
                // A successful warm-up does not prove that the model can run the request that broke it.
                self.proven = false;
                self.metrics.count(|counters| counters.reloads += 1);
                self.metrics.set_status(EngineStatus::Ready);
                Ok(())
            }
            Err(error) => Err(self.failed(now(), error)),
        }
    }

    fn failed(&mut self, now: Duration, error: Error) -> Error {
        self.retry_at = now + MODEL_RELOAD_RETRY;
        self.metrics.set_status(EngineStatus::Failed(error.to_string()));
        error
    }

    /// Runs one step over `spans`, whose last `drafted` tokens are drafts. Returns `None` if `may_continue` returned false and
    /// the model aborted the step.
    pub(crate) fn forward(
        &mut self,
        spans: &[Span<'_>],
        drafted: &[usize],
        may_continue: &mut dyn FnMut() -> bool,
    ) -> Option<StepResults> {
        let results = match self.with_model(|model| model.forward_drafts(spans, drafted, may_continue)) {
            Ok(None) => return None,
            Ok(Some(results)) if results.len() == spans.len() => Ok(results),
            Ok(Some(results)) => {
                let message = format!("the model gave {} results for {} sequences", results.len(), spans.len());
                Err(Error::Model(message))
            }
            Err(error) => Err(error),
        };
        let results = results.unwrap_or_else(|error| spans.iter().map(|_| Err(error.clone())).collect());
        self.proven |= results.iter().any(Result::is_ok);
        self.broken |= results.iter().all(|result| matches!(result, Err(Error::Model(_))));
        Some(results)
    }

    /// Whether the model can verify drafted tokens.
    pub(crate) fn verifies_drafts(&self) -> bool {
        self.model().is_some_and(LanguageModel::verifies_drafts)
    }

    pub(crate) fn release(&mut self, id: SequenceId) {
        // `with_model` records a failure in `broken`. A broken model has nothing to release.
        let _failed = self.with_model(|model| model.release(id));
    }

    pub(crate) fn truncate(&mut self, id: SequenceId, tokens: usize) -> bool {
        self.with_model(|model| model.truncate(id, tokens)).unwrap_or(false)
    }

    pub(crate) fn fork(&mut self, from: SequenceId, to: SequenceId, tokens: usize) -> bool {
        self.with_model(|model| model.fork(from, to, tokens)).unwrap_or(false)
    }

    pub(crate) fn cache_use(&mut self) -> CacheUse {
        self.with_model(|model| model.cache_use()).unwrap_or_default()
    }

    fn with_model<T>(&mut self, work: impl FnOnce(&mut dyn LanguageModel) -> T) -> Result<T, Error> {
        let gone = || Error::Model("the model broke and is being loaded again".to_owned());
        let model = self.model.as_deref_mut().filter(|_| !self.broken).ok_or_else(gone)?;
        let done = guarded(|| Ok(work(model)));
        self.broken |= done.is_err();
        done
    }
}

/// Runs model code. A panic becomes `Error::Model` and does not end the process.
fn guarded<T>(work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|panic| Err(Error::Model(format!("the model failed: {}", panic_text(&*panic)))))
}
