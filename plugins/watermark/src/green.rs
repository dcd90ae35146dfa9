//! Which tokens are green after which, and how many of a text are.

use std::collections::BTreeSet;

/// The green tokens of a key.
#[derive(Clone)]
pub(crate) struct GreenList {
    seed: u64,
    /// The part of all tokens that is green at each place.
    part: f32,
}

/// How green a text is.
pub(crate) struct Score {
    /// Different pairs of a token and the one before it. A repeated pair proves nothing new.
    pub(crate) tokens: usize,
    pub(crate) green: usize,
    /// Standard deviations above the number that chance gives.
    pub(crate) z: f64,
}

impl GreenList {
    pub(crate) fn new(key: &str, part: f32) -> Self {
        // FNV-1a.
        let seed = key
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
        Self { seed, part }
    }

    /// Whether `token` is green after `before`.
    pub(crate) fn contains(&self, before: u32, token: u32) -> bool {
        let pair = (u64::from(before) << 32) | u64::from(token);
        let unit = (mix(self.seed ^ mix(pair)) >> 40) as f32 / (1 << 24) as f32;
        unit < self.part
    }

    pub(crate) fn score(&self, text: &[u32]) -> Score {
        let pairs: BTreeSet<(u32, u32)> = text.windows(2).map(|pair| (pair[0], pair[1])).collect();
        let green = pairs.iter().filter(|(before, token)| self.contains(*before, *token)).count();
        let (tokens, part) = (pairs.len(), f64::from(self.part));
        let spread = (tokens as f64 * part * (1.0 - part)).sqrt();
        let z = if spread > 0.0 { (green as f64 - part * tokens as f64) / spread } else { 0.0 };
        Score { tokens, green, z }
    }
}

/// The mixing step of SplitMix64 (Steele, Lea, Flood 2014).
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
