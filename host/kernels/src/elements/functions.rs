//! Activation functions of one f32, as code without branches that the compiler turns into vector instructions.

/// An activation function as a type: the loop that applies it is compiled for it, and no element meets a branch.
pub(super) trait Function {
    fn of(x: f32) -> f32;

    /// The product of a gated linear unit.
    #[inline(always)]
    fn gate(gate: f32, up: f32) -> f32 {
        Self::of(gate) * up
    }
}

/// Calls a function that is generic over a [`Function`] with the one of an
/// [`Activation`](crate::elements::Activation): `with_function!(activation, map_row(x, out))`.
macro_rules! with_function {
    ($activation:expr, $function:ident($($argument:expr),*)) => {{
        use crate::elements::functions;
            match $activation {
            Activation::Identity => $function::<functions::Identity>($($argument),*),
            Activation::Gelu => $function::<functions::Gelu>($($argument),*),
            Activation::GeluTanh => $function::<functions::GeluTanh>($($argument),*),
            Activation::GeluSigmoid => $function::<functions::GeluSigmoid>($($argument),*),
            Activation::Relu => $function::<functions::Relu>($($argument),*),
            Activation::Sigmoid => $function::<functions::Sigmoid>($($argument),*),
            Activation::Silu => $function::<functions::Silu>($($argument),*),
            Activation::Tanh => $function::<functions::Tanh>($($argument),*),
        }
    }};
}
pub(super) use with_function;

pub(super) struct Identity;
pub(super) struct Gelu;
pub(super) struct GeluTanh;
pub(super) struct GeluSigmoid;
pub(super) struct Relu;
pub(super) struct Sigmoid;
pub(super) struct Silu;
pub(super) struct Tanh;

impl Function for Identity {
    #[inline(always)]
    fn of(x: f32) -> f32 {
        x
    }
}

impl Function for Gelu {
    #[inline(always)]
    fn of(x: f32) -> f32 {
        0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2))
    }
}

impl Function for GeluTanh {
    /// `x/2 (1 + tanh u)` is `x / (1 + exp(-2u))`.
    #[inline(always)]
    fn of(x: f32) -> f32 {
        /// `2 sqrt(2 / pi)`
        const SCALE: f32 = 1.595_769;
        x / (1.0 + exp(-SCALE * (x + 0.044_715 * x * x * x)))
    }
}

impl Function for GeluSigmoid {
    #[inline(always)]
    fn of(x: f32) -> f32 {
        x / (1.0 + exp(-1.702 * x))
    }
}

impl Function for Relu {
    #[inline(always)]
    fn of(x: f32) -> f32 {
        x.max(0.0)
    }
}

impl Function for Sigmoid {
    #[inline(always)]
    fn of(x: f32) -> f32 {
        1.0 / (1.0 + exp(-x))
    }
}

impl Function for Silu {
    #[inline(always)]
    fn of(x: f32) -> f32 {
        x / (1.0 + exp(-x))
    }

    #[inline(always)]
    fn gate(gate: f32, up: f32) -> f32 {
        gate * up / (1.0 + exp(-gate))
    }
}

impl Function for Tanh {
    /// libm's function: near zero a formula with exponentials loses precision.
    #[inline(always)]
    fn of(x: f32) -> f32 {
        x.tanh()
    }
}

/// `e^x` with a relative error of 1e-7. It is 0 below -87 and `e^88` above 88.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    /// Added to a number below 2^22, it leaves the nearest integer in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    /// The logarithm of 2 in two parts, so that multiples of the first are exact.
    const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
    let near = x.clamp(-87.0, 88.0);
    let shifted = near * std::f32::consts::LOG2_E + ROUND;
    let power = shifted - ROUND;
    let rest = near - power * LN_2[0] - power * LN_2[1];
    let mut sum = 1.987_569_1e-4_f32;
    for coefficient in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        sum = sum * rest + coefficient;
    }
    let sum = sum * rest * rest + rest + 1.0;
    // Multiplied by 2 to that power: the shift moves the lowest bits to the exponent.
    let scaled = f32::from_bits(sum.to_bits().wrapping_add(shifted.to_bits() << 23));
    if x < -87.0 { 0.0 } else { scaled }
}

/// `cap tanh(x / cap)`, with an error of 3e-7 of the cap.
#[inline(always)]
pub fn soft_cap(x: f32, cap: f32) -> f32 {
    cap * (1.0 - 2.0 / (1.0 + exp(2.0 / cap * x)))
}

/// The error function with an error of 2e-7 (Abramowitz and Stegun 1964, 7.1.26).
#[inline(always)]
fn erf(x: f32) -> f32 {
    let size = x.abs();
    let t = 1.0 / (1.0 + 0.327_591_1 * size);
    let mut sum = 1.061_405_4_f32;
    for coefficient in [-1.453_152_1, 1.421_413_8, -0.284_496_74, 0.254_829_6] {
        sum = sum * t + coefficient;
    }
    (1.0 - sum * t * exp(-size * size)).copysign(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn soft_caps_are_hyperbolic_tangents() {
        for cap in [0.5_f32, 30.0, 50.0] {
            for at in -4_000..4_000 {
                let x = at as f32 / 20.0;
                let expected = f64::from(cap) * (f64::from(x) / f64::from(cap)).tanh();
                assert!((f64::from(soft_cap(x, cap)) - expected).abs() <= 3e-7 * f64::from(cap), "{x} of {cap}");
            }
        }
        assert_eq!((soft_cap(f32::INFINITY, 2.0), soft_cap(f32::NEG_INFINITY, 2.0)), (2.0, -2.0));
        assert!(soft_cap(f32::NAN, 2.0).is_nan());
    }

    #[test]
    fn exponentials_have_a_relative_error_of_at_most_2e_7() {
        let inputs = (-87_000..88_000).map(|at| at as f32 / 1_000.0);
        for x in inputs {
            let expected = f64::from(x).exp();
            assert!((f64::from(exp(x)) - expected).abs() <= 2e-7 * expected, "e^{x} is {}", exp(x));
        }
        assert_eq!((exp(0.0), exp(-1e30), exp(f32::NEG_INFINITY)), (1.0, 0.0, 0.0));
        assert!(exp(f32::NAN).is_nan() && exp(1e30).is_finite());
    }
}
