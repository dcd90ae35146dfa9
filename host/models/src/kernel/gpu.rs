//! Kernels for GPUs, and their common parts: buffers of burn's tensors, and sums over the units of a cube.
//!
//! The kernels are written in CubeCL (`#[cube]`) and compiled at run time to SPIR-V, MSL or WGSL. They need shared
//! memory and barriers, but no subgroups, no f16 and at most 256 units in a cube, so the software drivers of the tests
//! run the kernels of a real GPU. Only the product on cooperative matrices needs more. Sizes that change from step to
//! step are arguments, so no kernel is compiled again for them.

mod attention;
mod elements;
mod linear;
mod matmul;
mod probe;
mod recording;
#[cfg(test)]
pub(super) mod tests;

use std::fmt;

use burn::tensor::{Device, Int, Tensor as BurnTensor, TensorData};
use burn_cubecl::CubeBackend;
use burn_cubecl::cubecl;
use burn_cubecl::cubecl::bytes::Bytes;
use burn_cubecl::cubecl::prelude::*;
use burn_cubecl::cubecl::server::Handle;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;

pub(crate) use attention::{
    PAGE_TOKENS, PageShape, PageStore, PagedAttention, PagedRows, PagedSequenceRows, Pages, RowPlan,
};
pub(crate) use elements::{gpu_gated, gpu_rms_norm};
pub(crate) use linear::{DeviceMatrix, Epilogue, GPU_KERNEL_SIZES};
pub(crate) use matmul::matmul;
pub(crate) use recording::Recording;

/// burn's float tensor as a CubeCL tensor, row-major.
///
/// # Panics
/// When the tensor is on the CPU. No caller has such a tensor.
pub(super) fn primitive<const D: usize>(tensor: BurnTensor<D>) -> CubeTensor {
    match tensor.try_into_primitive::<CubeBackend>() {
        Ok(tensor) => into_contiguous(tensor),
        Err(error) => panic!("a kernel of GPUs was given a tensor of another device: {error:?}"),
    }
}

/// A CubeCL tensor as burn's float tensor.
pub(super) fn tensor<const D: usize>(primitive: CubeTensor) -> BurnTensor<D> {
    BurnTensor::from_primitive::<CubeBackend>(primitive)
}

/// An uninitialised tensor on the device of `like`. The caller's kernel writes every element.
pub(super) fn empty_like<const D: usize>(like: &CubeTensor, shape: [usize; D]) -> CubeTensor {
    empty_device_contiguous_dtype(like.client.clone(), like.device.clone(), shape.into(), like.dtype)
}

/// A device, for buffers that are not tensors.
#[derive(Clone)]
pub(crate) struct Gpu {
    pub(super) client: Client,
}

impl fmt::Debug for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gpu")
    }
}

impl Gpu {
    /// # Panics
    /// When the device is the CPU.
    pub(crate) fn new(device: &Device) -> Self {
        Self { client: primitive(BurnTensor::<1>::from_data(TensorData::from([0.0_f32]), device)).client }
    }

    /// CubeCL's name of the compiler of the device's kernels.
    #[cfg(test)]
    pub(crate) fn compiler(&self) -> &'static str {
        self.client.name()
    }

    /// `T` is an element of 4 bytes.
    pub(super) fn upload<T: bytemuck::NoUninit>(&self, elements: &[T]) -> DeviceBuffer {
        let bytes: &[u8] = bytemuck::cast_slice(elements);
        DeviceBuffer { handle: self.client.create_from_slice(bytes), count: bytes.len() / size_of::<u32>() }
    }

    /// Overwrites a buffer. `elements` has as many elements as the buffer.
    pub(super) fn overwrite<T: bytemuck::NoUninit>(&self, words: &DeviceBuffer, elements: &[T]) {
        let bytes: &[u8] = bytemuck::cast_slice(elements);
        assert_eq!(bytes.len(), words.count * size_of::<u32>(), "a buffer is written over with less or more");
        self.client.write(&words.handle, Bytes::from_bytes_vec(bytes.to_vec()));
    }

    /// Checks that the device had memory for these buffers, as far as they have been requested.
    ///
    /// # Errors
    /// The device's message.
    pub(super) fn check<'a>(&self, buffers: impl IntoIterator<Item = &'a DeviceBuffer>) -> Result<(), String> {
        self.client.check(buffers.into_iter().map(|words| &words.handle)).map_err(|error| error.to_string())
    }

    /// An uninitialised buffer of `count` elements of 4 bytes.
    pub(super) fn room(&self, count: usize) -> DeviceBuffer {
        DeviceBuffer { handle: self.client.empty(count * size_of::<u32>()), count }
    }
}

/// A buffer of 4-byte elements.
#[derive(Debug, Clone)]
pub(super) struct DeviceBuffer {
    handle: Handle,
    pub(super) count: usize,
}

impl DeviceBuffer {
    /// The buffer as a kernel argument whose elements are vectors of `lanes`.
    pub(super) fn argument(&self, lanes: usize) -> BufferArg {
        // SAFETY: the buffer was made with this many elements, and a vector is `lanes` of them.
        unsafe { BufferArg::from_raw_parts(self.handle.clone(), self.count / lanes) }
    }
}

/// The input of a step: `[rows, columns]` of f32, in a buffer that later steps can overwrite.
#[derive(Debug)]
pub(crate) struct Input {
    pub(crate) tensor: BurnTensor<2>,
    words: DeviceBuffer,
}

impl Input {
    /// # Panics
    /// When the device is the CPU.
    pub(crate) fn new(values: &[f32], rows: usize, gpu: &Gpu, device: &Device) -> Self {
        let like = primitive(BurnTensor::<1>::from_data(TensorData::from([0.0_f32]), device));
        let words = gpu.upload(values);
        let (shape, handle) = ([rows, values.len() / rows.max(1)], words.handle.clone());
        Self {
            tensor: tensor(CubeTensor::new_contiguous(like.client, like.device, shape.into(), handle, like.dtype)),
            words,
        }
    }

    /// Overwrites the input. `values` has as many elements as before.
    pub(crate) fn overwrite(&self, values: &[f32], gpu: &Gpu) {
        gpu.overwrite(&self.words, values);
    }
}

/// A tensor of 4-byte elements as a kernel argument whose elements are vectors of `lanes`.
pub(super) fn argument(tensor: &CubeTensor, lanes: usize) -> BufferArg {
    let count: usize = tensor.meta.shape().iter().product();
    // SAFETY: a row-major tensor has this many elements, and a vector is `lanes` of them.
    unsafe { BufferArg::from_raw_parts(tensor.handle.clone(), count / lanes) }
}

/// Uploads bytes as u32, `[words]`.
pub(super) fn upload_bits(bytes: Vec<u8>, device: &Device) -> CubeTensor {
    let words = bytes.len() / size_of::<u32>();
    let data = TensorData::from_bytes_vec(bytes, [words], burn::tensor::DType::U32);
    let tensor = BurnTensor::<1, Int>::from_data(data, (device, burn::tensor::DType::U32));
    match tensor.try_into_primitive::<CubeBackend>() {
        Ok(tensor) => tensor,
        Err(error) => panic!("a kernel of GPUs was given a tensor of another device: {error:?}"),
    }
}

/// The widest vectors that rows of this many elements can be read in.
pub(super) fn lanes_of(elements: usize) -> usize {
    [4, 2].into_iter().find(|lanes| elements.is_multiple_of(*lanes)).unwrap_or(1)
}

/// The sum of `value` over the `units` of a cube, a power of two. Every unit gets the sum. `shared` has room for one
/// value of each unit.
#[cube]
pub(super) fn cube_sum(value: f32, shared: &mut Shared<[f32]>, unit: usize, #[comptime] units: usize) -> f32 {
    shared[unit] = value;
    sync_cube();
    let mut half = comptime!(units / 2).runtime();
    while half > 0 {
        if unit < half {
            shared[unit] += shared[unit + half];
        }
        sync_cube();
        half /= 2;
    }
    shared[0]
}

/// The sum of a vector's lanes.
#[cube]
pub(super) fn lanes_sum<N: Size>(vector: Vector<f32, N>) -> f32 {
    let mut sum = 0.0f32;
    #[unroll]
    for lane in 0..N::value() {
        sum += vector.extract(lane);
    }
    sum
}
