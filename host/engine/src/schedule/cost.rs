//! How long a turn takes, learnt from the turns that were: a fixed part (the weights are read once) and a part for each
//! row.

use std::time::Duration;

use super::size::JobSize;

/// Turns are kept apart by the power of two of their rows, so that a long answer does not wash out what prompts cost.
const SIZES: usize = 12;
/// Weight of the newest turn of a size in its average.
const NEWEST: f64 = 0.25;

/// Rows and seconds of the turns of one size, each a moving average.
#[derive(Debug, Clone, Copy)]
struct Seen {
    rows: f64,
    seconds: f64,
}

/// What turns cost on this device.
#[derive(Debug, Default)]
pub(super) struct TurnCost {
    sizes: [Option<Seen>; SIZES],
}

impl TurnCost {
    /// A turn of so many rows took so long.
    pub(super) fn learn(&mut self, rows: usize, took: Duration) {
        let size = (rows.max(1).ilog2() as usize).min(SIZES - 1);
        let new = Seen { rows: rows as f64, seconds: took.as_secs_f64() };
        let mix = |old: f64, new: f64| old + (new - old) * NEWEST;
        let seen = |old: Seen| Seen { rows: mix(old.rows, new.rows), seconds: mix(old.seconds, new.seconds) };
        if let Some(place) = self.sizes.get_mut(size) {
            *place = Some(place.map_or(new, seen));
        }
    }

    /// Seconds of one row more. By least squares over the sizes; where only one is known, its average.
    pub(super) fn each(&self) -> Option<f64> {
        let (count, rows, seconds) = self.sum(|seen| (seen.rows, seen.seconds))?;
        let (mean_rows, mean_seconds) = (rows / count, seconds / count);
        let (_, spread, slope) = self.sum(|seen| {
            let apart = seen.rows - mean_rows;
            (apart * apart, apart * (seen.seconds - mean_seconds))
        })?;
        let average = seconds / rows;
        Some(if spread > 0.5 { (slope / spread).clamp(0.0, average) } else { average })
    }

    /// Seconds of the smallest turn.
    pub(super) fn step(&self) -> Option<f64> {
        let least = self.sizes.iter().flatten().next()?;
        Some((least.seconds - (least.rows - 1.0) * self.each()?).max(0.0))
    }

    /// Rows of a turn that takes `seconds`.
    pub(super) fn rows_in(&self, seconds: f64) -> Option<usize> {
        let (each, step) = (self.each()?.max(1e-9), self.step()?);
        // A float too large saturates.
        Some(((seconds - step) / each + 1.0).max(0.0) as usize)
    }

    /// Seconds of a job that has each of its turns to itself.
    pub(super) fn job(&self, size: JobSize) -> Option<f64> {
        Some(size.prompt as f64 * self.each()? + size.answer as f64 * self.step()?)
    }

    fn sum(&self, part: impl Fn(&Seen) -> (f64, f64)) -> Option<(f64, f64, f64)> {
        let known = self.sizes.iter().flatten();
        let sum = known.map(part).fold((0.0, 0.0, 0.0), |sum, part| (sum.0 + 1.0, sum.1 + part.0, sum.2 + part.1));
        (sum.0 > 0.0).then_some(sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learnt(turns: &[(usize, u64)]) -> TurnCost {
        let mut cost = TurnCost::default();
        turns.iter().for_each(|(rows, ms)| cost.learn(*rows, Duration::from_millis(*ms)));
        cost
    }

    fn near(value: Option<f64>, expected: f64) {
        let value = value.expect("known");
        assert!((value - expected).abs() <= expected * 0.05 + 1e-9, "{value} for {expected}");
    }

    #[test]
    fn the_fixed_part_and_the_part_of_a_row_are_told_apart() {
        let mut cost = learnt(&[(1, 77), (4, 98), (64, 518), (256, 1_862)]);
        near(cost.each(), 0.007);
        near(cost.step(), 0.077);
        assert_eq!(cost.rows_in(0.154), Some(12));
        (0..1_000).for_each(|_| cost.learn(1, Duration::from_millis(77)));
        near(cost.each(), 0.007);
        assert_eq!(cost.rows_in(0.0), Some(0));
    }

    #[test]
    fn little_is_known_at_first() {
        assert!(TurnCost::default().each().is_none() && TurnCost::default().rows_in(1.0).is_none());
        let cost = learnt(&[(100, 50)]);
        near(cost.each(), 0.000_5);
        assert_eq!(cost.rows_in(0.01), Some(20));
    }

    #[test]
    fn rows_that_cost_nothing_and_turns_without_rows_are_no_trouble() {
        let cost = learnt(&[(1, 10), (64, 9)]);
        assert_eq!(cost.each(), Some(0.0));
        assert!(cost.rows_in(1.0).is_some_and(|rows| rows > 1_000_000));
        assert!(learnt(&[(0, 0)]).rows_in(1.0).is_some_and(|rows| rows > 1_000_000));
        assert!(learnt(&[(1_000_000, 10)]).each().is_some());
    }
}
