//! A mixture of experts (Shazeer et al. 2017): each token goes to the few experts that a router scores highest, and the
//! result is the sum of theirs, weighted by the softmax of the scores.
//!
//! The rows of a step are sorted by expert, so that the weights of an expert are read once for all of its rows. Experts
//! without rows are not read. Which expert takes which row is decided on the host.

use burn::tensor::{Device, Int, Tensor, TensorData};
use firebox_kernels::elements::Activation;
use firebox_kernels::weights::StoredTensor;

use crate::arch::decoder::config::{DecoderConfig, ExpertsConfig};
use crate::arch::decoder::layer::column;
use crate::arch::decoder::tensors::DecoderTensors;
use crate::checkpoint::weights::Weights;
use crate::error::ModelError;
use crate::layers::Linear;

/// The name of gate and up of all experts in one tensor, `[experts, 2 * feed_forward, hidden]`.
const GATE_UP: &str = "gate_up_proj";

#[derive(Debug)]
pub(super) struct Experts {
    router: Linear,
    experts: Vec<Expert>,
    activation: Activation,
    config: ExpertsConfig,
}

#[derive(Debug)]
struct Expert {
    gate_up: Linear,
    down: Linear,
}

/// The matrices of an expert as they are stored.
struct StoredExpert {
    /// Gate and up, in one part or in two.
    gate_up: Vec<StoredTensor>,
    down: StoredTensor,
}

impl Experts {
    /// # Errors
    /// The first tensor that is missing or wrong.
    pub(super) fn load(
        weights: &Weights<'_>,
        config: &DecoderConfig,
        experts: ExpertsConfig,
        names: &DecoderTensors,
        layer: usize,
    ) -> Result<Self, ModelError> {
        let start = names.in_layer(layer, names.experts.experts);
        let stored = load_stored(weights, &start, names.experts.parts, (experts, config.hidden))?;
        let load = |stored: StoredExpert| {
            let gate_up = weights.linear_from(stored.gate_up, None)?;
            Ok(Expert { gate_up, down: weights.linear_from(vec![stored.down], None)? })
        };
        let router = names.in_layer(layer, names.experts.router);
        Ok(Self {
            router: weights.linear(&[(router, experts.count)], config.hidden, false)?,
            experts: stored.into_iter().map(load).collect::<Result<_, ModelError>>()?,
            activation: config.activation,
            config: experts,
        })
    }

    /// `[rows, hidden]` to `[rows, hidden]`.
    ///
    /// # Errors
    /// If the device does not answer.
    pub(super) fn forward(&self, x: Tensor<2>) -> Result<Tensor<2>, String> {
        let ([rows, hidden], device) = (x.dims(), x.device());
        let scores = self.router.forward(x.clone()).try_into_vec_as::<f32>().map_err(|error| error.to_string())?;
        let routes = Routes::new(&scores, self.config);
        let sorted = x.select(0, indices(&routes.rows, &device));
        let (mut first, mut results) = (0, Vec::new());
        for (expert, count) in self.experts.iter().zip(&routes.counts).filter(|(_, count)| **count > 0) {
            let own = sorted.clone().narrow(0, first, *count);
            let wide = expert.gate_up.forward_gated(own, None, self.activation);
            results.push(expert.down.forward(wide));
            first += count;
        }
        let results = Tensor::cat(results, 0) * column(&routes.weights, &device);
        let by_row = results.select(0, indices(&routes.places, &device)).reshape([rows, self.config.chosen, hidden]);
        Ok(by_row.sum_dim(1).reshape([rows, hidden]))
    }
}

fn indices(list: &[i32], device: &Device) -> Tensor<1, Int> {
    Tensor::from_data(TensorData::new(list.to_vec(), [list.len()]), device)
}

/// The matrices of all experts: from tensors that all experts share, which are viewed in place, or from those of each
/// expert. `start` begins their names, and `parts` ends those of gate, up and down.
fn load_stored(
    weights: &Weights<'_>,
    start: &str,
    parts: [&str; 3],
    (experts, hidden): (ExpertsConfig, usize),
) -> Result<Vec<StoredExpert>, ModelError> {
    let (count, wide) = (experts.count, experts.feed_forward);
    let [gate, up, down] = parts.map(|part| format!("{start}{part}.weight"));
    // Without ".weight" transformers 5 saves them, with it GGUF.
    let both = [format!("{start}{GATE_UP}"), format!("{start}{GATE_UP}.weight")];
    let both = both.into_iter().find(|name| weights.has(name));
    let all = |name: &str, rows: usize, columns: usize| {
        weights.stored(name, &[count, rows, columns]).map(|tensor| tensor.matrices())
    };
    let bare_down = format!("{start}{}", parts[2]);
    let down = if weights.has(&bare_down) { bare_down } else { down };
    let gate_up: Vec<Vec<StoredTensor>> = if let Some(both) = both {
        all(&both, 2 * wide, hidden)?.into_iter().map(|both| vec![both]).collect()
    } else if weights.has(&gate) {
        all(&gate, wide, hidden)?.into_iter().zip(all(&up, wide, hidden)?).map(|(gate, up)| vec![gate, up]).collect()
    } else {
        let one = |expert: usize| load_one(weights, &format!("{start}{expert}."), parts, (wide, hidden));
        return (0..count).map(one).collect();
    };
    let down = all(&down, hidden, wide)?;
    Ok(gate_up.into_iter().zip(down).map(|(gate_up, down)| StoredExpert { gate_up, down }).collect())
}

/// The matrices of one expert. `start` begins their names.
fn load_one(
    weights: &Weights<'_>,
    start: &str,
    parts: [&str; 3],
    (wide, hidden): (usize, usize),
) -> Result<StoredExpert, ModelError> {
    let [gate, up, down] = parts.map(|part| format!("{start}{part}.weight"));
    Ok(StoredExpert {
        gate_up: vec![weights.stored(&gate, &[wide, hidden])?, weights.stored(&up, &[wide, hidden])?],
        down: weights.stored(&down, &[hidden, wide])?,
    })
}

/// The experts of the rows of a step.
#[derive(Debug, PartialEq)]
struct Routes {
    /// Sorted by expert: the row that an expert takes.
    rows: Vec<i32>,
    /// The weight of the expert for that row.
    weights: Vec<f32>,
    /// One row after another: the places of its experts in `rows`.
    places: Vec<i32>,
    /// How many rows each expert takes.
    counts: Vec<usize>,
}

impl Routes {
    /// `scores` are those of all experts, for each row.
    fn new(scores: &[f32], config: ExpertsConfig) -> Self {
        let chosen: Vec<Vec<(usize, f32)>> =
            scores.chunks_exact(config.count).map(|scores| choose(scores, config)).collect();
        let mut counts = vec![0; config.count];
        chosen.iter().flatten().for_each(|(expert, _)| counts[*expert] += 1);
        let mut next: Vec<usize> =
            counts.iter().scan(0, |sum, count| Some(std::mem::replace(sum, *sum + count))).collect();
        let all = chosen.len() * config.chosen;
        let (mut rows, mut weights, mut places) = (vec![0; all], vec![0.0; all], Vec::with_capacity(all));
        for (row, experts) in chosen.iter().enumerate() {
            for (expert, weight) in experts {
                let place = next[*expert];
                next[*expert] += 1;
                (rows[place], weights[place]) = (row as i32, *weight);
                places.push(place as i32);
            }
        }
        Self { rows, weights, places, counts }
    }
}

/// The experts with the highest scores, with their weights.
fn choose(scores: &[f32], config: ExpertsConfig) -> Vec<(usize, f32)> {
    let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut shares: Vec<(usize, f32)> = scores.iter().map(|score| (score - most).exp()).enumerate().collect();
    let sum: f32 = shares.iter().map(|(_, share)| share).sum();
    // Of equal ones the first, so that results are the same in every run.
    shares.sort_by(|a, b| b.1.total_cmp(&a.1));
    shares.truncate(config.chosen);
    let sum = if config.normalised { shares.iter().map(|(_, share)| share).sum() } else { sum };
    shares.iter_mut().for_each(|(_, share)| *share /= sum);
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO_OF_FOUR: ExpertsConfig = ExpertsConfig { count: 4, chosen: 2, feed_forward: 1, normalised: true };

    #[test]
    fn rows_are_sorted_by_expert_and_found_again() {
        let scores = [[0.0, 1.0, 2.0, -1.0], [5.0, 4.0, 0.0, 0.0], [0.0, 0.0, 9.0, 0.0]].concat();
        let routes = Routes::new(&scores, TWO_OF_FOUR);
        assert_eq!((routes.rows, routes.counts), (vec![1, 2, 0, 1, 0, 2], vec![2, 2, 2, 0]));
        assert_eq!(routes.places, [4, 2, 0, 3, 5, 1]);
        for (row, places) in [[4, 2], [0, 3], [5, 1]].iter().enumerate() {
            let sum: f32 = places.iter().map(|place| routes.weights[*place]).sum();
            assert!((sum - 1.0).abs() < 1e-6, "row {row}: {sum}");
        }
        assert!((routes.weights[4] - 1.0 / (1.0 + (-1.0_f32).exp())).abs() < 1e-6);
    }

    #[test]
    fn weights_that_are_not_normalised_are_those_of_all_experts() {
        let config = ExpertsConfig { normalised: false, ..TWO_OF_FOUR };
        assert_eq!(choose(&[1.0; 4], config), [(0, 0.25), (1, 0.25)]);
        // Broken weights give broken logits, and nothing stops.
        assert_eq!(choose(&[f32::NAN; 4], config).len(), 2);
    }
}
