//! The activation functions that kernels are compiled for.

/// A function of one number, applied to each element. Kernels are compiled for each of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Activation {
    /// `x` itself.
    Identity,
    /// GELU (Hendrycks and Gimpel 2016) with the error function.
    Gelu,
    /// GELU with the hyperbolic tangent.
    GeluTanh,
    /// GELU with the logistic function: `x * sigmoid(1.702 x)`.
    GeluSigmoid,
    /// `max(x, 0)`.
    Relu,
    /// The logistic function.
    Sigmoid,
    /// `x * sigmoid(x)`.
    Silu,
    /// The hyperbolic tangent.
    Tanh,
}

impl Activation {
    /// Every function.
    pub const ALL: [Self; 8] = [
        Self::Identity,
        Self::Gelu,
        Self::GeluTanh,
        Self::GeluSigmoid,
        Self::Relu,
        Self::Sigmoid,
        Self::Silu,
        Self::Tanh,
    ];
}
