//! Mutates inputs.

/// A generator of inputs. The same seed generates the same inputs.
pub(super) struct Mutator {
    state: u64,
    words: &'static [&'static str],
}

/// Numbers that parsers often handle wrongly.
const NUMBERS: &[&str] =
    &["0", "-1", "1e999", "4294967296", "9223372036854775807", "18446744073709551615", "1e-400", "0.1", "null", "NaN"];

impl Mutator {
    pub(super) fn new(seed: u64, words: &'static [&'static str]) -> Self {
        Self { state: seed, words }
    }

    /// SplitMix64 (Steele, Lea and Flood 2014).
    fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.state;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    fn below(&mut self, count: usize) -> usize {
        (self.random() % count.max(1) as u64) as usize
    }

    /// An input of the pool with some mutations, cut to `bytes_max` bytes.
    pub(super) fn next(&mut self, pool: &[Vec<u8>], bytes_max: usize) -> Vec<u8> {
        let at = self.below(pool.len());
        let mut input = pool[at].clone();
        for _ in 0..=self.below(5) {
            self.change(&mut input, pool);
        }
        input.truncate(bytes_max);
        input
    }

    fn range(&mut self, input: &[u8]) -> (usize, usize) {
        let from = self.below(input.len() + 1);
        let length = self.below((input.len() - from).min(64) + 1);
        (from, from + length)
    }

    fn change(&mut self, input: &mut Vec<u8>, pool: &[Vec<u8>]) {
        let (from, to) = self.range(input);
        match self.below(10) {
            0 => {
                let bit = self.below(8);
                input[from..to].iter_mut().take(1).for_each(|byte| *byte ^= 1 << bit);
            }
            1 => {
                let value = self.random() as u8;
                input[from..to].iter_mut().take(1).for_each(|byte| *byte = value);
            }
            2 => drop(input.drain(from..to)),
            3 => {
                let copy = input[from..to].to_vec();
                let times = self.below(8) + 1;
                let at = self.below(input.len() + 1);
                input.splice(at..at, copy.repeat(times));
            }
            4 | 5 => {
                let word = if self.words.is_empty() { "" } else { self.words[self.below(self.words.len())] };
                input.splice(from..to, word.bytes());
            }
            6 => {
                let number = NUMBERS[self.below(NUMBERS.len())];
                input.splice(number_at(input, from), number.bytes());
            }
            7 => {
                let other = &pool[self.below(pool.len())];
                let (start, end) = self.range(other);
                input.splice(from..to, other[start..end].iter().copied());
            }
            8 => {
                let value = [0, 1, u64::MAX, 1 << 31, 1 << 40, self.random()][self.below(6)];
                let end = (from + 8).min(input.len());
                input.splice(from..end, value.to_le_bytes());
            }
            _ => {
                let word = if self.words.is_empty() { "x" } else { self.words[self.below(self.words.len())] };
                let times = 1 << self.below(10);
                input.splice(from..from, word.repeat(times).bytes());
            }
        }
    }
}

/// The range of the first number at or after `from`.
fn number_at(input: &[u8], from: usize) -> std::ops::Range<usize> {
    let start = input[from..].iter().position(u8::is_ascii_digit).map_or(from, |at| from + at);
    let length = input[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    start..start + length
}

#[test]
fn a_seed_determines_the_inputs_and_inputs_are_bounded() {
    let pool = vec![b"{\"a\": 12}".to_vec(), Vec::new()];
    let (mut one, mut other) = (Mutator::new(7, &["true"]), Mutator::new(7, &["true"]));
    for _ in 0..10_000 {
        let input = one.next(&pool, 100);
        assert!(input.len() <= 100);
        assert_eq!(input, other.next(&pool, 100));
    }
}
