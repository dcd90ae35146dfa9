//! Holds the model on its thread: no panic of it gets past here, and a model that broke is made again.
//!
//! What counts as broken: a panic that reaches this file, since nobody knows what it left behind, and a forward pass in which
//! every sequence failed with `Error::Model`, which by the contract means the device. A single sequence's failure
//! among others that went on is its own. A pass of one sequence cannot tell the two apart; loading again is then the
//! safe answer, and it costs the others nothing but time. A model that breaks again before one sequence went on is not
//! loaded over and over: it counts as failed for a while.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use firebox_contract::limits::MODEL_RELOAD_RETRY;
use firebox_contract::{CacheUse, Error, LanguageModel, Logits, SequenceId, Span};

use crate::status::{EngineStatus, Meter};

/// Makes the model on the thread that will own it; called again when the model broke.
pub type ModelFactory = Box<dyn FnMut() -> Result<Box<dyn LanguageModel>, Error> + Send>;

pub(crate) struct Keeper {
    factory: ModelFactory,
    /// `None` while there is none.
    model: Option<Box<dyn LanguageModel>>,
    meter: Arc<Meter>,
    broken: bool,
    /// Whether something went on since it was made again.
    proven: bool,
    retry_at: Duration,
}

/// One result a span.
type Rows = Vec<Result<Option<Logits>, Error>>;

impl Keeper {
    /// Makes the model for the first time.
    pub(crate) fn load(mut factory: ModelFactory, meter: Arc<Meter>) -> Result<Self, Error> {
        let model = Some(guarded(&mut factory)?);
        Ok(Self { factory, model, meter, broken: false, proven: true, retry_at: Duration::ZERO })
    }

    pub(crate) fn model(&self) -> Option<&dyn LanguageModel> {
        self.model.as_deref()
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.broken
    }

    /// When a broken model may be made again.
    pub(crate) fn retry_at(&self) -> Duration {
        self.retry_at
    }

    /// Makes the model again, and has `first` run it before it counts as ready. Every sequence in it is gone.
    pub(crate) fn reload(&mut self, now: impl Fn() -> Duration, first: impl FnOnce(&mut Self)) -> Result<(), Error> {
        if !self.proven {
            self.proven = true;
            let error = Error::Model("it broke again as soon as it had been loaded".to_owned());
            return Err(self.failed(now(), error));
        }
        self.meter.set_status(EngineStatus::Loading);
        let old = self.model.take();
        // Its memory has to be free before the next one is loaded; a panic in there changes nothing more.
        let _gone = guarded(|| {
            drop(old);
            Ok(())
        });
        match guarded(&mut self.factory) {
            Ok(model) => {
                self.model = Some(model);
                self.broken = false;
                first(self);
                // What it did for nobody does not prove that it does what it broke at.
                self.proven = false;
                self.meter.count(|counters| counters.reloads += 1);
                self.meter.set_status(EngineStatus::Ready);
                Ok(())
            }
            Err(error) => Err(self.failed(now(), error)),
        }
    }

    fn failed(&mut self, now: Duration, error: Error) -> Error {
        self.retry_at = now + MODEL_RELOAD_RETRY;
        self.meter.set_status(EngineStatus::Failed(error.to_string()));
        error
    }

    /// A forward pass; as many results as spans. `None` when it was given up because `goes_on` said so.
    pub(crate) fn forward(&mut self, spans: &[Span<'_>], goes_on: &mut dyn FnMut() -> bool) -> Option<Rows> {
        let rows = match self.ask(|model| model.forward_while(spans, goes_on)) {
            Ok(None) => return None,
            Ok(Some(rows)) if rows.len() == spans.len() => Ok(rows),
            Ok(Some(rows)) => {
                let message = format!("the model gave {} results for {} sequences", rows.len(), spans.len());
                Err(Error::Model(message))
            }
            Err(error) => Err(error),
        };
        let rows = rows.unwrap_or_else(|error| spans.iter().map(|_| Err(error.clone())).collect());
        self.proven |= rows.iter().any(Result::is_ok);
        self.broken |= rows.iter().all(|row| matches!(row, Err(Error::Model(_))));
        Some(rows)
    }

    pub(crate) fn release(&mut self, id: SequenceId) {
        // A failure is remembered as `broken`; there is nothing to release then.
        let _failed = self.ask(|model| model.release(id));
    }

    pub(crate) fn truncate(&mut self, id: SequenceId, tokens: usize) -> bool {
        self.ask(|model| model.truncate(id, tokens)).unwrap_or(false)
    }

    pub(crate) fn fork(&mut self, from: SequenceId, to: SequenceId, tokens: usize) -> bool {
        self.ask(|model| model.fork(from, to, tokens)).unwrap_or(false)
    }

    pub(crate) fn cache_use(&mut self) -> CacheUse {
        self.ask(|model| model.cache_use()).unwrap_or_default()
    }

    fn ask<T>(&mut self, question: impl FnOnce(&mut dyn LanguageModel) -> T) -> Result<T, Error> {
        let gone = || Error::Model("the model broke and is being loaded again".to_owned());
        let model = self.model.as_deref_mut().filter(|_| !self.broken).ok_or_else(gone)?;
        let answer = guarded(|| Ok(question(model)));
        self.broken |= answer.is_err();
        answer
    }
}

/// Runs model code; a panic in it fails what was running and not the process.
fn guarded<T>(work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let message = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("no message");
        Err(Error::Model(format!("the model failed: {message}")))
    })
}
