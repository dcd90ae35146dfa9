//! The embedding stage: each plugin of the chain sees the texts before an encoder, and the vectors after it.

mod v1;

use std::sync::Arc;

use firebox_contract::{BoxFuture, EmbeddingHook, EmbeddingVerdict, Error, RequestInfo, Stage, limits};
use wasmtime::Store;

use super::{GuestFuture, GuestReturn, StageVersion, stage_missing};
use crate::chain::BoundChain;
use crate::instance::Instance;
use crate::instance::guest::GuestData;
use crate::instance::log::cut;

/// The decision of one plugin about the texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum GuestEmbeddingVerdict {
    /// Continue with the texts as they are.
    Unchanged,
    /// Continue with these texts.
    Replace(Vec<String>),
    /// Do not compute vectors; the text gives the reason.
    Refuse(String),
}

/// Vectors of one length, one after the other.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct GuestVectors {
    pub(crate) dimensions: u32,
    pub(crate) values: Vec<f32>,
}

impl GuestReturn for GuestEmbeddingVerdict {
    fn bytes(&self) -> usize {
        match self {
            Self::Unchanged => 0,
            Self::Replace(texts) => texts.iter().map(|text| size_of_val(text) + text.len()).sum(),
            Self::Refuse(text) => text.len(),
        }
    }

    fn each_text(&self, see: &mut dyn FnMut(&[u8])) {
        match self {
            Self::Unchanged => {}
            Self::Replace(texts) => texts.iter().for_each(|text| see(text.as_bytes())),
            Self::Refuse(text) => see(text.as_bytes()),
        }
    }
}

impl GuestReturn for Option<GuestVectors> {
    fn bytes(&self) -> usize {
        self.as_ref().map_or(0, |vectors| size_of_val(vectors.values.as_slice()))
    }
}

/// The functions of the interface `embedding`, in any version.
pub(crate) trait EmbeddingCalls: Send + Sync {
    /// Decides about the texts.
    fn before<'a>(
        &'a self,
        store: &'a mut Store<GuestData>,
        info: RequestInfo,
        texts: Arc<Vec<String>>,
    ) -> GuestFuture<'a, GuestEmbeddingVerdict>;
    /// Decides about the vectors. `None` if they stay as they are.
    fn after<'a>(
        &'a self,
        store: &'a mut Store<GuestData>,
        vectors: Arc<GuestVectors>,
    ) -> GuestFuture<'a, Option<GuestVectors>>;
}

/// The supported versions, newest first.
pub(crate) const VERSIONS: &[StageVersion<dyn EmbeddingCalls>] =
    &[StageVersion { interface: v1::INTERFACE, find: v1::find }];

impl EmbeddingHook for BoundChain {
    fn before_embedding(&mut self, texts: Vec<String>) -> BoxFuture<'_, Result<EmbeddingVerdict, Error>> {
        Box::pin(before(&self.instances, &self.request, texts, &mut self.splits))
    }

    fn after_embedding(&mut self, vectors: Vec<Vec<f32>>) -> BoxFuture<'_, Result<Vec<Vec<f32>>, Error>> {
        Box::pin(after(&self.instances, vectors, &self.splits))
    }
}

/// A plugin that made more texts of those it got.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Split {
    /// The index of its instance.
    instance: usize,
    /// The number of texts that it got, and so of vectors that it returns.
    texts: usize,
}

fn members(chain: &[Arc<Instance>]) -> impl DoubleEndedIterator<Item = (usize, &Arc<Instance>)> {
    chain.iter().enumerate().filter(|(_, instance)| instance.has(Stage::Embedding))
}

/// Runs the stage over the chain. The first plugin that refuses ends it.
async fn before(
    chain: &[Arc<Instance>],
    info: &RequestInfo,
    texts: Vec<String>,
    splits: &mut Vec<Split>,
) -> Result<EmbeddingVerdict, Error> {
    splits.clear();
    let mut texts = Arc::new(texts);
    for (index, instance) in members(chain) {
        let (info, input) = (info.clone(), Arc::clone(&texts));
        let decided = instance.attempt(Stage::Embedding, |calls, store| match &calls.embedding {
            Some(stage) => stage.before(store, info, input),
            None => stage_missing(),
        });
        match decided.await? {
            Err(_) | Ok((GuestEmbeddingVerdict::Unchanged, _)) => {}
            Ok((GuestEmbeddingVerdict::Replace(new), usage)) => match check_texts(&texts, &new) {
                Ok(()) => {
                    if new.len() > texts.len() {
                        splits.push(Split { instance: index, texts: texts.len() });
                    }
                    texts = Arc::new(new);
                }
                Err(reason) => instance.reject(Stage::Embedding, reason, usage)?,
            },
            Ok((GuestEmbeddingVerdict::Refuse(reason), _)) => {
                let message = cut(&reason, limits::PLUGIN_ERROR_BYTES_MAX).to_owned();
                return Ok(EmbeddingVerdict::Refuse { plugin: instance.name().to_owned(), message });
            }
        }
    }
    Ok(EmbeddingVerdict::Continue(Arc::unwrap_or_clone(texts)))
}

fn check_texts(old: &[String], new: &[String]) -> Result<(), String> {
    let most = old.len().max(limits::EMBED_REQUEST_TEXTS_MAX);
    if !(old.len()..=most).contains(&new.len()) {
        return Err(format!("it returned {} texts for {}; at most {most} are allowed", new.len(), old.len()));
    }
    match new.iter().position(String::is_empty) {
        Some(index) => Err(format!("its text {index} is empty")),
        None => Ok(()),
    }
}

/// Runs the stage over the chain, the last plugin first. A plugin that made more texts joins their vectors again.
async fn after(chain: &[Arc<Instance>], vectors: Vec<Vec<f32>>, splits: &[Split]) -> Result<Vec<Vec<f32>>, Error> {
    let Some(dimensions) = vectors.first().map(Vec::len).filter(|_| members(chain).next().is_some()) else {
        return Ok(vectors);
    };
    let mut count = vectors.len();
    let dimensions = u32::try_from(dimensions).unwrap_or(u32::MAX);
    let mut vectors = Arc::new(GuestVectors { dimensions, values: vectors.concat() });
    for (index, instance) in members(chain).rev() {
        let split = splits.iter().find(|split| split.instance == index);
        let wanted = split.map_or(count, |split| split.texts);
        let input = Arc::clone(&vectors);
        let decided = instance.attempt(Stage::Embedding, |calls, store| match &calls.embedding {
            Some(stage) => stage.after(store, input),
            None => stage_missing(),
        });
        let (mut is_joined, mut usage) = (split.is_none(), Default::default());
        match decided.await? {
            Ok((Some(new), used)) => match check_vectors(wanted, &vectors, &new) {
                Ok(()) => (vectors, count, is_joined) = (Arc::new(new), wanted, true),
                Err(reason) => instance.reject(Stage::Embedding, reason, used)?,
            },
            Ok((None, used)) | Err(used) => usage = used,
        }
        if !is_joined {
            // Without the plugin there is no vector for each text, so its fault cannot be skipped.
            instance.reject(Stage::Embedding, "it split texts and did not join their vectors".to_owned(), usage)?;
            let name = instance.name();
            return Err(Error::Plugin(format!("plugin \"{name}\" split texts and did not join their vectors")));
        }
    }
    Ok(vectors.values.chunks(vectors.dimensions.max(1) as usize).map(<[f32]>::to_vec).collect())
}

fn check_vectors(count: usize, old: &GuestVectors, new: &GuestVectors) -> Result<(), String> {
    if !(1..=old.dimensions).contains(&new.dimensions) {
        return Err(format!("its vectors have {} dimensions; 1 to {} are allowed", new.dimensions, old.dimensions));
    }
    let wanted = count.saturating_mul(new.dimensions as usize);
    if new.values.len() != wanted {
        return Err(format!("it returned {} numbers; {count} vectors of its length have {wanted}", new.values.len()));
    }
    match new.values.iter().find(|value| !value.is_finite()) {
        Some(value) => Err(format!("its vectors contain {value}")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_keep_their_number_and_may_become_shorter() {
        let vectors = |dimensions, values: &[f32]| GuestVectors { dimensions, values: values.to_vec() };
        let old = vectors(2, &[1.0; 6]);
        assert_eq!(check_vectors(3, &old, &vectors(2, &[0.5; 6])), Ok(()));
        assert_eq!(check_vectors(3, &old, &vectors(1, &[0.5; 3])), Ok(()));
        for (new, expected) in [
            (vectors(0, &[]), "0 dimensions; 1 to 2"),
            (vectors(3, &[0.5; 9]), "3 dimensions"),
            (vectors(2, &[0.5; 4]), "4 numbers; 3 vectors of its length have 6"),
            (vectors(1, &[0.5; 6]), "6 numbers"),
            (vectors(1, &[0.5, f32::NAN, 0.5]), "contain NaN"),
        ] {
            let reason = check_vectors(3, &old, &new).expect_err(expected);
            assert!(reason.contains(expected), "{reason} should contain {expected}");
        }
    }
}
