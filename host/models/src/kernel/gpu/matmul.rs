//! Matrix products of two tensors that are right on every device. The attention of encoders uses them.
//!
//! On some drivers burn's tiled GPU products are wrong without an error. Each device is therefore tested once with
//! small products whose result is known. A device with wrong results gets a slower kernel that uses nothing but memory:
//! one unit sums one element.

use std::sync::{Mutex, PoisonError};

use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, DispatchDevice, Flex, backend_extension};
use burn::tensor::{Device, Tensor as BurnTensor, TensorData};
use burn_cubecl::CubeBackend;
use burn_cubecl::cubecl;
use burn_cubecl::cubecl::calculate_cube_count_elemwise;
use burn_cubecl::cubecl::prelude::*;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;

use super::probe::Probe;

/// `[.., m, k] x [.., k, n]` to `[.., m, n]`, f32, with equal leading dimensions.
pub(crate) fn matmul<const D: usize>(lhs: BurnTensor<D>, rhs: BurnTensor<D>) -> BurnTensor<D> {
    match route(&lhs.device()) {
        Route::Burn => lhs.matmul(rhs),
        Route::Portable => portable(lhs, rhs),
    }
}

/// The implementation that a device uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route {
    /// burn's tuned kernels.
    Burn,
    /// The kernel below.
    Portable,
}

/// The devices tested so far.
static ROUTES: Mutex<Vec<(Device, Route)>> = Mutex::new(Vec::new());

fn route(device: &Device) -> Route {
    if matches!(device.as_dispatch(), DispatchDevice::Flex(_)) {
        return Route::Burn;
    }
    let mut routes = ROUTES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, route)) = routes.iter().find(|(asked, _)| asked == device) {
        return *route;
    }
    let route = if PROBES.iter().all(|shape| burn_is_right(*shape, device)) { Route::Burn } else { Route::Portable };
    routes.push((device.clone(), route));
    route
}

/// `(m, k, n)` of the test products: a vector, odd sizes, whole tiles. burn chooses its kernels by size.
const PROBES: &[(usize, usize, usize)] = &[(1, 64, 96), (7, 65, 33), (64, 128, 64)];

fn burn_is_right(shape: (usize, usize, usize), device: &Device) -> bool {
    let ((_, k, n), probe) = (shape, Probe::new(shape));
    let right = BurnTensor::<2>::from_data(TensorData::new(probe.right.clone(), [n, k]), device);
    // Like the scores of attention, it is multiplied through a transposed view.
    let product = probe.left(device).matmul(right.transpose());
    product.try_into_vec_as::<f32>().is_ok_and(|computed| probe.has_result(&computed))
}

fn portable<const D: usize>(lhs: BurnTensor<D>, rhs: BurnTensor<D>) -> BurnTensor<D> {
    let (left, right) = (lhs.dims(), rhs.dims());
    let batch: usize = left[..D - 2].iter().product();
    let mut shape = left;
    shape[D - 1] = right[D - 1];
    let lhs: BurnTensor<3> = lhs.reshape([batch, left[D - 2], left[D - 1]]);
    let rhs: BurnTensor<3> = rhs.reshape([batch, right[D - 2], right[D - 1]]);
    let out = <Dispatch as PortableMatmul>::portable_matmul(lhs.into_dispatch(), rhs.into_dispatch());
    BurnTensor::<3>::from_dispatch(out).reshape(shape)
}

/// A product as an operation of each backend.
#[backend_extension(Cube, Flex)]
trait PortableMatmul: Backend {
    /// `[batch, m, k] x [batch, k, n]` to `[batch, m, n]`, f32.
    fn portable_matmul(lhs: FloatTensor<Self>, rhs: FloatTensor<Self>) -> FloatTensor<Self>;
}

impl PortableMatmul for Flex {
    fn portable_matmul(lhs: FloatTensor<Self>, rhs: FloatTensor<Self>) -> FloatTensor<Self> {
        Self::float_matmul(lhs, rhs)
    }
}

impl PortableMatmul for CubeBackend {
    fn portable_matmul(lhs: CubeTensor, rhs: CubeTensor) -> CubeTensor {
        let shape = [lhs.meta.shape()[0], lhs.meta.shape()[1], rhs.meta.shape()[2]];
        let client = lhs.client.clone();
        let out = empty_device_contiguous_dtype(client.clone(), lhs.device.clone(), shape.into(), lhs.dtype);
        let elements = shape.iter().product();
        let units = CubeDim::new(&client, elements);
        let cubes = calculate_cube_count_elemwise(&client, elements, units);
        let (left, right) = (lhs.into_tensor_arg(), rhs.into_tensor_arg());
        dot_products::launch(&client, cubes, units, left, right, out.clone().into_tensor_arg());
        out
    }
}

/// Each unit computes one element of `out`, contiguous `[batch, m, n]`. The operands have strides of their own.
#[cube(launch)]
fn dot_products(lhs: &Tensor<f32>, rhs: &Tensor<f32>, out: &mut Tensor<f32>) {
    if ABSOLUTE_POS >= out.len() {
        terminate!();
    }
    let rows = out.shape(1);
    let columns = out.shape(2);
    let column = ABSOLUTE_POS % columns;
    let row = (ABSOLUTE_POS / columns) % rows;
    let batch = ABSOLUTE_POS / (columns * rows);
    let mut left = batch * lhs.stride(0) + row * lhs.stride(1);
    let mut right = batch * rhs.stride(0) + column * rhs.stride(2);
    let mut sum = 0.0f32;
    for _ in 0..lhs.shape(2) {
        sum += lhs[left] * rhs[right];
        left += lhs.stride(2);
        right += rhs.stride(1);
    }
    out[ABSOLUTE_POS] = sum;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::gpu::probe::pattern;
    use crate::kernel::gpu::tests::test_gpu;

    #[test]
    fn the_portable_product_equals_burns_on_a_gpu_and_on_the_cpu() {
        let devices = [test_gpu(), Device::flex()];
        for device in devices {
            for (m, k, n) in PROBES.iter().copied().chain([(3, 17, 5)]) {
                let operand = |rows, columns, step| {
                    let values = pattern(2 * rows * columns, step);
                    BurnTensor::<3>::from_data(TensorData::new(values, [2, rows, columns]), &device)
                };
                // The right operand is a transposed view, as for attention scores.
                let (lhs, rhs) = (operand(m, k, 7), operand(n, k, 11).swap_dims(1, 2));
                let values = |product: BurnTensor<3>| product.try_into_vec_as::<f32>().expect("the device answers");
                let (got, expected) = (values(portable(lhs.clone(), rhs.clone())), values(lhs.matmul(rhs)));
                assert_eq!(got.len(), 2 * m * n);
                let close = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-4 * (k as f32);
                assert!(got.iter().zip(&expected).all(close), "{m} {k} {n} on {device:?}");
            }
        }
    }

    #[test]
    fn the_test_products_accept_a_correct_device() {
        let cpu = Device::flex();
        assert!(PROBES.iter().all(|shape| burn_is_right(*shape, &cpu)));
        assert_eq!(route(&cpu), Route::Burn);
    }
}
