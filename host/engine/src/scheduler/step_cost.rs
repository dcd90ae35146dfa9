//! How long a step takes, learned from measured steps: a fixed part, in which the weights are read once, and a part for
//! each row. A row is one token of one sequence.

use std::time::Duration;

use super::job_size::JobSize;

/// Steps are averaged separately by the power of two of their rows, so that many decode steps do not hide the cost of
/// prefill.
const SIZES: usize = 12;
/// Weight of the newest step of a size in its moving average.
const NEWEST: f64 = 0.25;

/// Moving averages of the rows and seconds of steps of one size.
#[derive(Debug, Clone, Copy)]
struct SizeAverage {
    rows: f64,
    seconds: f64,
}

/// The cost of steps on this device.
#[derive(Debug, Default)]
pub(super) struct StepCost {
    sizes: [Option<SizeAverage>; SIZES],
}

impl StepCost {
    /// Learns that a step of `rows` rows took `took`.
    pub(super) fn learn(&mut self, rows: usize, took: Duration) {
        let size = (rows.max(1).ilog2() as usize).min(SIZES - 1);
        let new = SizeAverage { rows: rows as f64, seconds: took.as_secs_f64() };
        let mix = |old: f64, new: f64| old + (new - old) * NEWEST;
        let average =
            |old: SizeAverage| SizeAverage { rows: mix(old.rows, new.rows), seconds: mix(old.seconds, new.seconds) };
        if let Some(slot) = self.sizes.get_mut(size) {
            *slot = Some(slot.map_or(new, average));
        }
    }

    /// Seconds of one more row, by least squares over the sizes. If only one size is known, its average.
    pub(super) fn per_row(&self) -> Option<f64> {
        let (count, rows, seconds) = self.sum(|size| (size.rows, size.seconds))?;
        let (mean_rows, mean_seconds) = (rows / count, seconds / count);
        let (_, spread, slope) = self.sum(|size| {
            let difference = size.rows - mean_rows;
            (difference * difference, difference * (size.seconds - mean_seconds))
        })?;
        let average = seconds / rows;
        Some(if spread > 0.5 { (slope / spread).clamp(0.0, average) } else { average })
    }

    /// Seconds of a step of one row.
    pub(super) fn smallest_step(&self) -> Option<f64> {
        let smallest = self.sizes.iter().flatten().next()?;
        Some((smallest.seconds - (smallest.rows - 1.0) * self.per_row()?).max(0.0))
    }

    /// Seconds of a step of `rows` rows, by a fixed time for each row beyond the first.
    pub(super) fn linear_step(&self, rows: usize) -> Option<f64> {
        Some(self.smallest_step()? + (rows as f64 - 1.0).max(0.0) * self.per_row()?)
    }

    /// Seconds of a step of `rows` rows, between the known sizes around it. Kernels for few rows differ, so that time does
    /// not grow evenly with rows.
    pub(super) fn step(&self, rows: usize) -> Option<f64> {
        let rows = rows as f64;
        let below = self.sizes.iter().flatten().rfind(|size| size.rows <= rows);
        let above = self.sizes.iter().flatten().find(|size| size.rows > rows);
        match (below, above) {
            (Some(below), Some(above)) => {
                let part = (rows - below.rows) / (above.rows - below.rows);
                Some(below.seconds + (above.seconds - below.seconds) * part)
            }
            (Some(below), None) => Some(below.seconds + (rows - below.rows) * self.per_row()?),
            (None, Some(above)) => Some((above.seconds - (above.rows - rows) * self.per_row()?).max(0.0)),
            (None, None) => None,
        }
    }

    /// Rows of a step that takes `seconds`.
    pub(super) fn rows_in(&self, seconds: f64) -> Option<usize> {
        let (per_row, step) = (self.per_row()?.max(1e-9), self.smallest_step()?);
        // The cast saturates if the number is too large.
        Some(((seconds - step) / per_row + 1.0).max(0.0) as usize)
    }

    /// Seconds of a job that shares its steps with no other.
    pub(super) fn job(&self, size: JobSize) -> Option<f64> {
        Some(size.prompt as f64 * self.per_row()? + size.answer as f64 * self.smallest_step()?)
    }

    /// The number of known sizes, and the sums of both parts over them.
    fn sum(&self, part: impl Fn(&SizeAverage) -> (f64, f64)) -> Option<(f64, f64, f64)> {
        let known = self.sizes.iter().flatten();
        let sum = known.map(part).fold((0.0, 0.0, 0.0), |sum, part| (sum.0 + 1.0, sum.1 + part.0, sum.2 + part.1));
        (sum.0 > 0.0).then_some(sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learned(steps: &[(usize, u64)]) -> StepCost {
        let mut cost = StepCost::default();
        steps.iter().for_each(|(rows, ms)| cost.learn(*rows, Duration::from_millis(*ms)));
        cost
    }

    fn near(value: Option<f64>, expected: f64) {
        let value = value.expect("known");
        assert!((value - expected).abs() <= expected * 0.05 + 1e-9, "{value} for {expected}");
    }

    #[test]
    fn the_fixed_part_and_the_part_per_row_are_estimated_separately() {
        let mut cost = learned(&[(1, 77), (4, 98), (64, 518), (256, 1_862)]);
        near(cost.per_row(), 0.007);
        near(cost.smallest_step(), 0.077);
        assert_eq!(cost.rows_in(0.154), Some(12));
        (0..1_000).for_each(|_| cost.learn(1, Duration::from_millis(77)));
        near(cost.per_row(), 0.007);
        assert_eq!(cost.rows_in(0.0), Some(0));
    }

    #[test]
    fn a_step_between_two_known_sizes_takes_a_time_between_theirs() {
        let cost = learned(&[(1, 20), (4, 60), (64, 360)]);
        near(cost.step(1), 0.020);
        near(cost.step(3), 0.020 + 0.040 * 2.0 / 3.0);
        near(cost.step(4), 0.060);
        near(cost.step(34), 0.210);
        assert!(cost.step(128) > cost.step(64) && cost.linear_step(4) < cost.step(4));
        assert!(StepCost::default().step(1).is_none());
        assert!(learned(&[(64, 360)]).step(1).is_some_and(|seconds| (0.0..0.360).contains(&seconds)));
    }

    #[test]
    fn one_known_size_gives_its_average_per_row() {
        assert!(StepCost::default().per_row().is_none() && StepCost::default().rows_in(1.0).is_none());
        let cost = learned(&[(100, 50)]);
        near(cost.per_row(), 0.000_5);
        assert_eq!(cost.rows_in(0.01), Some(20));
    }

    #[test]
    fn rows_without_cost_and_steps_without_rows_give_finite_numbers() {
        let cost = learned(&[(1, 10), (64, 9)]);
        assert_eq!(cost.per_row(), Some(0.0));
        assert!(cost.rows_in(1.0).is_some_and(|rows| rows > 1_000_000));
        assert!(learned(&[(0, 0)]).rows_in(1.0).is_some_and(|rows| rows > 1_000_000));
        assert!(learned(&[(1_000_000, 10)]).per_row().is_some());
    }
}
