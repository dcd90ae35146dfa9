//! The relative bias of scores in buckets of distances (Raffel et al. 2020), as MPNet has it.

use crate::arch::encoder::config::EncoderConfig;
use crate::checkpoint::weights::Weights;
use crate::error::ModelError;

/// Buckets that MPNet uses, whatever its config says: half for keys before the query and half for those behind it.
pub(crate) const BUCKETS: usize = 32;
/// From this distance on, all keys of one side share a bucket.
const FAR: f32 = 128.0;

/// What is added to the scores of each head, by bucket.
#[derive(Debug)]
pub(super) struct BucketBias {
    /// `[buckets, heads]`
    values: Vec<f32>,
    heads: usize,
}

impl BucketBias {
    /// Loads the tensor `name`, `[buckets, heads]`, unless the model has no such bias.
    ///
    /// # Errors
    /// The tensor is missing or wrong.
    pub(super) fn load(weights: &Weights<'_>, name: &str, config: &EncoderConfig) -> Result<Option<Self>, ModelError> {
        if config.buckets == 0 {
            return Ok(None);
        }
        let mut values = Vec::new();
        weights.stored(&format!("{name}.weight"), &[config.buckets, config.heads])?.append_to(&mut values);
        Ok(Some(Self { values, heads: config.heads }))
    }

    /// The bias of a head for a key that lies `distance` tokens behind its query.
    pub(super) fn of(&self, head: usize, distance: isize) -> f32 {
        self.values.get(bucket(distance) * self.heads + head).copied().unwrap_or(0.0)
    }
}

/// The bucket of a key that lies `distance` tokens behind its query. Near keys have a bucket each; the others share buckets
/// of logarithmic width.
fn bucket(distance: isize) -> usize {
    let side = BUCKETS / 2;
    let first = if distance > 0 { side } else { 0 };
    let size = distance.unsigned_abs();
    let exact = side / 2;
    if size < exact {
        return first + size;
    }
    let (near, steps) = (exact as f32, (side - exact) as f32);
    // As in transformers: all in f32, and cut.
    let step = ((size as f32 / near).ln() / (FAR / near).ln() * steps) as usize;
    first + (exact + step).min(side - 1)
}

#[cfg(test)]
mod tests {
    use super::bucket;

    #[test]
    fn near_distances_have_a_bucket_each_and_far_ones_share_the_last_of_their_side() {
        let of = |distances: &[isize]| distances.iter().map(|distance| bucket(*distance)).collect::<Vec<_>>();
        assert_eq!(of(&[0, -1, -7, 1, 7]), [0, 1, 7, 17, 23]);
        assert_eq!(of(&[-8, -15, -16, -32, -64, -127, -128, -5_000]), [8, 9, 10, 12, 14, 15, 15, 15]);
        assert_eq!(of(&[8, 16, 127, 5_000]), [24, 26, 31, 31]);
    }
}
