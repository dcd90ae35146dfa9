//! Least squares: the numbers of a group of weights that leave the smallest squared error.
//!
//! For given codes the best scale (and minimum) is the solution of a linear equation, and for given numbers the best codes are
//! the nearest ones. A search over the range that the codes cover starts it, since the two steps alone stop at the first valley
//! (Lloyd 1982, "Least squares quantization in PCM").

/// `weight ≈ scale * code - minimum`, with codes and minimum that are not negative.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct FittedLine {
    pub(super) scale: f32,
    pub(super) minimum: f32,
}

/// Adding and subtracting it rounds a number below 2^22 to a whole one, ties to even, in vector registers of any processor.
const WHOLE: f32 = 12_582_912.0;

/// The nearest whole number of a number between -2^22 and 2^22.
pub(super) fn whole(value: f32) -> f32 {
    (value + WHOLE) - WHOLE
}

/// The nearest code of each weight, from 0 to `top`.
pub(super) fn codes<const N: usize>(weights: &[f32; N], line: FittedLine, top: f32) -> [f32; N] {
    let inverse = super::inverse(line.scale);
    weights.map(|weight| whole(((weight + line.minimum) * inverse).clamp(0.0, top)))
}

/// As [`codes`] without a minimum, from `-32` to `31`.
pub(super) fn signed_codes<const N: usize>(weights: &[f32; N], scale: f32) -> [f32; N] {
    let inverse = super::inverse(scale);
    weights.map(|weight| whole((weight * inverse).clamp(-32.0, 31.0)))
}

/// Sums over a group that its best line depends on.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sums {
    pub(super) codes: f32,
    pub(super) squares: f32,
    pub(super) products: f32,
}

/// Sums in eight lanes, which the compiler keeps in vector registers.
pub(super) fn sums<const N: usize>(weights: &[f32; N], codes: &[f32; N]) -> Sums {
    let mut lanes = [[0.0_f32; 8]; 3];
    for (weights, codes) in weights.as_chunks::<8>().0.iter().zip(codes.as_chunks::<8>().0) {
        for lane in 0..8 {
            lanes[0][lane] += codes[lane];
            lanes[1][lane] += codes[lane] * codes[lane];
            lanes[2][lane] += codes[lane] * weights[lane];
        }
    }
    let [codes, squares, products] = lanes.map(|lanes| lanes.iter().sum());
    Sums { codes, squares, products }
}

/// Sum of squared differences.
pub(super) fn error<const N: usize>(weights: &[f32; N], codes: &[f32; N], line: FittedLine) -> f32 {
    let mut lanes = [0.0_f32; 8];
    for (weights, codes) in weights.as_chunks::<8>().0.iter().zip(codes.as_chunks::<8>().0) {
        for lane in 0..8 {
            let difference = line.scale * codes[lane] - line.minimum - weights[lane];
            lanes[lane] += difference * difference;
        }
    }
    lanes.iter().sum()
}

/// The best line for these codes.
fn solve<const N: usize>(weights: &[f32; N], total: f32, codes: &[f32; N]) -> FittedLine {
    let sums = sums(weights, codes);
    let count = N as f32;
    let determinant = count * sums.squares - sums.codes * sums.codes;
    if determinant <= 0.0 {
        // All codes are equal, and so are most likely the weights. A line without a minimum reaches those above zero.
        let scale = if sums.squares > 0.0 { (sums.products / sums.squares).max(0.0) } else { 0.0 };
        return FittedLine { scale, minimum: if scale > 0.0 { 0.0 } else { (-total / count).max(0.0) } };
    }
    let scale = (count * sums.products - sums.codes * total) / determinant;
    let minimum = (sums.codes * sums.products - sums.squares * total) / determinant;
    if minimum >= 0.0 {
        return FittedLine { scale: scale.max(0.0), minimum };
    }
    FittedLine { scale: (sums.products / sums.squares).max(0.0), minimum: 0.0 }
}

/// The best line for codes from 0 to `top`. `spread` is how many steps more or less than `top` the range of the weights may
/// have at the start of the search.
pub(super) fn line<const N: usize>(weights: &[f32; N], top: f32, spread: f32) -> FittedLine {
    let (low, high) = super::range(weights);
    let low = low.min(0.0);
    if high <= low {
        return FittedLine { scale: 0.0, minimum: -low };
    }
    let total = weights.iter().sum();
    let mut best = (f32::INFINITY, FittedLine::default());
    for step in 0..STEPS {
        let wider = spread * (2.0 * step as f32 / (STEPS - 1) as f32 - 1.0);
        let start = FittedLine { scale: (high - low) / (top + wider), minimum: -low };
        let line = solve(weights, total, &codes(weights, start, top));
        let found = error(weights, &codes(weights, line, top), line);
        if found < best.0 {
            best = (found, line);
        }
    }
    for _ in 0..REPEATS {
        let line = solve(weights, total, &codes(weights, best.1, top));
        let found = error(weights, &codes(weights, line, top), line);
        if found >= best.0 {
            break;
        }
        best = (found, line);
    }
    best.1
}

/// Starts of a search, and repetitions from the best one.
const STEPS: usize = 17;
const REPEATS: usize = 2;

/// The best scale for codes from -32 to 31.
pub(super) fn scale<const N: usize>(weights: &[f32; N]) -> f32 {
    let peak = super::peak(weights);
    if peak == 0.0 {
        return 0.0;
    }
    let mut best = (-1.0, 0.0);
    for step in 0..STEPS {
        // The largest weight becomes code -31 to -33, the last of which is cut to -32.
        let start = peak / -(31.0 + 2.0 * step as f32 / (STEPS - 1) as f32);
        let sums = sums(weights, &signed_codes(weights, start));
        if sums.squares > 0.0 {
            let explained = sums.products * sums.products / sums.squares;
            if explained > best.0 {
                best = (explained, sums.products / sums.squares);
            }
        }
    }
    best.1
}
