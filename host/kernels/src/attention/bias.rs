//! A bias of scores by the distance of a key from its query (Raffel et al. 2020).

/// What is added to the scores of each head.
#[derive(Debug)]
pub struct RelativeBias {
    /// `[heads, 2 * span - 1]`, by distance from `1 - span` to `span - 1`.
    values: Vec<f32>,
    span: usize,
}

impl RelativeBias {
    /// For sequences of at most `span` tokens. `of` gives the bias of a head for a key that lies so many tokens behind its
    /// query.
    pub fn new(heads: usize, span: usize, of: impl Fn(usize, isize) -> f32) -> Self {
        let span = span.max(1);
        let distances = 1 - span as isize..span as isize;
        let of_head = |head| distances.clone().map(move |distance| (head, distance));
        Self { values: (0..heads).flat_map(of_head).map(|(head, distance)| of(head, distance)).collect(), span }
    }

    /// The biases of a query for the keys from position 0 on.
    pub(super) fn row(&self, head: usize, query: usize) -> &[f32] {
        let width = 2 * self.span - 1;
        let first = (head * width + self.span - 1).saturating_sub(query);
        self.values.get(first..first + self.span).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_the_bias_of_each_key_by_its_distance() {
        let bias = RelativeBias::new(2, 3, |head, distance| head as f32 * 10.0 + distance as f32);
        assert_eq!(bias.row(0, 0), [0.0, 1.0, 2.0]);
        assert_eq!(bias.row(0, 2), [-2.0, -1.0, 0.0]);
        assert_eq!(bias.row(1, 1), [9.0, 10.0, 11.0]);
        assert!(bias.row(9, 0).is_empty());
    }
}
