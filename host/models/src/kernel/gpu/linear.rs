//! `y = x Wᵀ + b` on a GPU, from weights in the type the checkpoint stores them in.
//!
//! ```text
//! gemv  few rows of x: a decode step reads each weight once, at the speed of memory
//! gemm  more rows: a prefill, a batch of texts; a cube shares tiles of x and of weights
//! cooperative  the same on tensor cores, where a device has them and computes rightly
//! codes  quantized weights: their codes and scales on the device
//! halves  BF16 and F16 weights
//! ```
//!
//! BF16 and F16 stay as they are in the device's memory, two to a word, and quantized weights stay codes of 4 or 8 bits.
//! They are widened in registers by [`gemv`] and [`cooperative`]. For [`gemm`], codes are widened to a matrix in memory
//! before the product, which reads each weight many times. A product also computes the operations of a layer before and after it
//! ([`Epilogue`]): a decode step is hundreds of launches, and each costs more than its computation.

mod codes;
mod cooperative;
mod gemm;
mod gemv;
mod halves;
#[cfg(test)]
mod tests;

use burn::tensor::{Device, Tensor as BurnTensor};
use burn_cubecl::cubecl::prelude::BufferArg;
use burn_cubecl::tensor::CubeTensor;
use firebox_kernels::elements::Activation;
use firebox_kernels::weights::StoredTensor;

use super::attention::LONG_TOKENS;
use super::elements::{gpu_gated, gpu_rms_norm};
use super::{argument, empty_like, lanes_of, primitive, tensor, upload_bits};
use codes::CodeForm;
use cooperative::Fragment;
use halves::Half;

/// Rows of `x` up to which `gemv` is faster than `gemm`.
const GEMV_ROWS_MAX: usize = 32;
/// Rows up to which it is cheaper to compute a norm in each cube of a product than in a launch before it.
const NORM_ROWS: usize = 4;

/// Numbers of rows whose steps, with the decode steps after them, use every kernel of a decoder: each size of [`gemv`],
/// [`gemm`], and the attention of long sequences.
pub(crate) const GPU_KERNEL_SIZES: &[usize] =
    &[gemv::X_ROWS[0], gemv::X_ROWS[1], gemv::X_ROWS[2], GEMV_ROWS_MAX + 1, LONG_TOKENS];

/// A matrix `[rows, columns]` on a GPU.
#[derive(Debug)]
pub(crate) struct DeviceMatrix {
    words: CubeTensor,
    /// Of quantized weights: for each group its scale, then its minimum if the form has minima.
    scales: Option<CubeTensor>,
    rows: usize,
    columns: usize,
    form: Form,
    /// The cooperative matrices that multiply many rows.
    fragment: Option<Fragment>,
}

/// The layout of weights in words of 4 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Form {
    element: Element,
    /// Words that are read at once: a vector.
    lanes: usize,
    /// Vectors in a row of weights.
    vectors: usize,
}

impl Form {
    /// Elements in a word. It is also the number of vectors of `x` that belong to one vector of weights.
    fn parts(self) -> usize {
        match self.element {
            Element::F32 => 1,
            Element::Halves(_) => 2,
            Element::Codes(codes) => 32 / codes.bits,
        }
    }

    /// How the weights are quantized, if they are.
    fn codes(self) -> Option<CodeForm> {
        match self.element {
            Element::Codes(codes) => Some(codes),
            Element::F32 | Element::Halves(_) => None,
        }
    }

    /// The type of weights that have two in a word.
    fn halves(self) -> Option<Half> {
        match self.element {
            Element::Halves(half) => Some(half),
            Element::F32 | Element::Codes(_) => None,
        }
    }

    /// Elements of a row.
    fn width(self) -> usize {
        self.vectors * self.lanes * self.parts()
    }
}

/// What a word has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Element {
    F32,
    /// Two, the lower half first.
    Halves(Half),
    /// Codes of quantized weights, the lowest bits first.
    Codes(CodeForm),
}

/// The operations of a layer that a product computes as well: before it (the norm) and after it (bias, gate, sum).
#[derive(Debug, Clone, Default)]
pub(crate) struct Epilogue<'a> {
    /// Root mean square norm of `x` before the product (Zhang and Sennrich 2019): the weights, `[1, columns]`, and
    /// epsilon.
    pub(crate) norm: Option<(&'a BurnTensor<2>, f32)>,
    /// `[1, rows]`, added to each row of the product.
    pub(crate) bias: Option<&'a BurnTensor<2>>,
    /// A gated linear unit (Shazeer 2020): this function of the product's first half of columns, times its second half.
    pub(crate) gate: Option<Activation>,
    /// Added to the result. It has the shape of the result.
    pub(crate) base: Option<BurnTensor<2>>,
}

/// The arguments of a kernel.
struct Product<'a> {
    x: &'a CubeTensor,
    norm: Option<(CubeTensor, f32)>,
    bias: Option<CubeTensor>,
    base: Option<CubeTensor>,
    gate: Option<Activation>,
    out: &'a CubeTensor,
    matrix: &'a DeviceMatrix,
    m: usize,
}

impl Product<'_> {
    /// Columns of the result.
    fn columns(&self) -> usize {
        if self.gate.is_some() { self.matrix.rows / 2 } else { self.matrix.rows }
    }

    /// An absent argument is replaced by `x`, which the kernel then does not read.
    fn norm(&self, lanes: usize) -> BufferArg {
        argument(self.norm.as_ref().map_or(self.x, |(weight, _)| weight), lanes)
    }

    fn bias(&self) -> BufferArg {
        argument(self.bias.as_ref().unwrap_or(self.x), 1)
    }

    fn base(&self) -> BufferArg {
        argument(self.base.as_ref().unwrap_or(self.x), 1)
    }

    fn epsilon(&self) -> f32 {
        self.norm.as_ref().map_or(0.0, |(_, epsilon)| *epsilon)
    }
}

impl DeviceMatrix {
    /// `parts` are matrices with the same number of columns, stacked along their rows.
    pub(crate) fn new(parts: &[StoredTensor], device: &Device) -> Self {
        let mut matrix = Self::uploaded(parts, device);
        if cooperative::takes(matrix.form) {
            let is_right = |fragment| cooperative::is_right(fragment, device);
            matrix.fragment = cooperative::fragment_of(device, &matrix.words.client, is_right);
        }
        matrix
    }

    /// A matrix that is multiplied without cooperative matrices.
    fn uploaded(parts: &[StoredTensor], device: &Device) -> Self {
        let rows = parts.iter().filter_map(|part| part.shape.first()).sum();
        let columns = parts.first().and_then(|part| part.shape.get(1)).copied().unwrap_or(0);
        if let Some(codes) = codes::Codes::of(parts) {
            return Self::of_codes(codes, rows, columns, device);
        }
        let half = Half::of(parts).filter(|_| columns.is_multiple_of(2));
        let mut bytes = Vec::with_capacity(rows * columns * if half.is_some() { 2 } else { 4 });
        for part in parts {
            match half {
                Some(_) => bytes.extend_from_slice(part.bytes()),
                None => bytes.extend_from_slice(part.widened().bytes()),
            }
        }
        let element = half.map_or(Element::F32, Element::Halves);
        let words = if half.is_some() { columns / 2 } else { columns };
        let lanes = lanes_of(words);
        let form = Form { element, lanes, vectors: words / lanes };
        Self { words: upload_bits(bytes, device), scales: None, rows, columns, form, fragment: None }
    }

    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    /// Bytes on the device.
    pub(crate) fn bytes(&self) -> usize {
        let words = self.rows * self.form.vectors * self.form.lanes;
        let scales = self.form.codes().map_or(0, |codes| codes.scales(self.rows * self.columns));
        (words + scales) * size_of::<u32>()
    }

    /// `x` is `[m, columns]`. The result is `[m, rows]`, or half as wide if it is gated.
    ///
    /// # Panics
    /// When `x` has another width, as burn's products do.
    pub(crate) fn product(&self, x: BurnTensor<2>, epilogue: Epilogue<'_>) -> BurnTensor<2> {
        let [m, width] = x.dims();
        assert_eq!(width, self.columns, "the input of a product has rows of {width}, not of {}", self.columns);
        let normed = m <= NORM_ROWS;
        let x = primitive(match epilogue.norm {
            Some((weight, epsilon)) if !normed => gpu_rms_norm(x, weight, epsilon),
            _ => x,
        });
        let shared = x.client.properties().hardware.max_shared_memory_size;
        let few = m <= GEMV_ROWS_MAX || shared < gemm::SHARED_BYTES;
        let gate = epilogue.gate.filter(|_| few);
        let gate_later = epilogue.gate.filter(|_| !few);
        let columns = if gate.is_some() { self.rows / 2 } else { self.rows };
        let out = empty_like(&x, [m, columns]);
        let norm = epilogue.norm.filter(|_| normed);
        // If the gate is a launch of its own, the base is added after it.
        let (base, base_later) = if gate_later.is_some() { (None, epilogue.base) } else { (epilogue.base, None) };
        // The kernels do not check bounds.
        assert!(
            epilogue.norm.is_none_or(|(weight, _)| weight.dims() == [1, width]),
            "the norm of a product has another width"
        );
        assert!(
            epilogue.bias.is_none_or(|bias| bias.dims() == [1, self.rows]),
            "the bias of a product has another width"
        );
        assert!(
            base.as_ref().is_none_or(|base| base.dims() == [m, columns]),
            "the base of a product has another shape"
        );
        let product = Product {
            x: &x,
            norm: norm.map(|(weight, epsilon)| (primitive(weight.clone()), epsilon)),
            bias: epilogue.bias.map(|bias| primitive(bias.clone())),
            base: base.map(primitive),
            gate,
            out: &out,
            matrix: self,
            m,
        };
        match (few, self.fragment, self.form.codes()) {
            (true, _, _) => gemv::launch(&product),
            (false, Some(fragment), _) => cooperative::launch(&product, fragment),
            (false, None, None) => gemm::launch(&product),
            (false, None, Some(_)) => gemm::launch(&Product { matrix: &self.widened(), ..product }),
        }
        let out = match gate_later {
            Some(activation) => gpu_gated(activation, tensor(out)),
            None => tensor(out),
        };
        match base_later {
            Some(base) => out + base,
            None => out,
        }
    }
}
