//! Recorded GPU work that is launched again as a whole. Launching a kernel costs the processor more than most kernels
//! of a decode step cost the GPU, and the launches of all steps are nearly the same: the same kernels, numbers of cubes
//! and buffers. A recording settles them once (CubeCL's graphs; on wgpu the recorded dispatches are encoded again).

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, ThreadId};

use burn_cubecl::cubecl::client::Graph;
use burn_cubecl::cubecl::prelude::Client;

use super::Gpu;

/// Set when a recording failed although its work did not. The device's view of the work's buffers is then lost with the
/// model that owns them, so later loads do without recordings.
static FAILED: AtomicBool = AtomicBool::new(false);

/// Recorded work and its result.
pub(crate) struct Recording<T> {
    graph: Graph,
    /// Each thread has its own stream on the device, and work on two streams has no order.
    thread: ThreadId,
    given: T,
}

impl<T> fmt::Debug for Recording<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recording").field("graph", &self.graph).finish_non_exhaustive()
    }
}

/// The device records while this exists. Recording ends when it is dropped.
struct CaptureWindow<'a>(Option<&'a Client>);

impl CaptureWindow<'_> {
    fn close(mut self) -> Option<Graph> {
        self.0.take().and_then(|client| client.stop_capture().ok())
    }
}

impl Drop for CaptureWindow<'_> {
    fn drop(&mut self) {
        if let Some(client) = self.0 {
            // The work failed, so the incomplete recording is dropped.
            let _dropped = client.stop_capture();
        }
    }
}

impl Gpu {
    /// Runs `task` with buffers of exactly the requested sizes, which are reused for later buffers of the same size.
    /// Otherwise buffers are parts of pages as large as the largest buffer, and a recording would keep whole pages.
    ///
    /// # Panics
    /// When `task` does.
    pub(crate) fn exactly<R: Send>(&self, task: impl FnOnce() -> R + Send) -> R {
        // The allocation mode also ends if the task panics.
        let done = self.client.memory_persistent_allocation((), |()| catch_unwind(AssertUnwindSafe(task)));
        done.unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// Runs `work` and reads its result, then calls `work` again and records its launches, which run in replays only.
    /// Returns the value read and, if the device could record, the recording. `work` must launch the same kernels both
    /// times, into buffers that are free again by then, and must not read or write data on the device.
    ///
    /// # Errors
    /// Those of `work` and `read`.
    pub(crate) fn record<T, R, E>(
        &self,
        mut work: impl FnMut() -> Result<T, E>,
        read: impl FnOnce(T) -> Result<R, E>,
    ) -> Result<(R, Option<Recording<T>>), E> {
        if FAILED.load(Ordering::Relaxed) || self.client.graph_prepare().is_err() {
            return Ok((read(work()?)?, None));
        }
        let window = CaptureWindow(Some(&self.client));
        let ran = read(work()?)?;
        if self.client.start_capture().is_err() {
            return Ok((ran, None));
        }
        let given = work()?;
        let (graph, thread) = (window.close(), thread::current().id());
        if graph.is_none() {
            FAILED.store(true, Ordering::Relaxed);
        }
        Ok((ran, graph.map(|graph| Recording { graph, thread, given })))
    }
}

impl<T: Clone> Recording<T> {
    /// Whether the recording was made on this thread.
    pub(crate) fn is_of_this_thread(&self) -> bool {
        self.thread == thread::current().id()
    }

    /// Launches the work again on the current contents of its buffers, and returns its result.
    ///
    /// # Errors
    /// The device's message.
    pub(crate) fn replay(&self) -> Result<T, String> {
        if !self.is_of_this_thread() {
            return Err("a recording was replayed on another thread than it was made on".to_owned());
        }
        // SAFETY: a graph guards the pages of all buffers that it was recorded with, so none of them is moved, freed or
        // given to other work while the graph lives. It is replayed on the stream that it was recorded on, and all
        // other work of the thread on these buffers uses that stream too.
        unsafe { self.graph.replay() }.map_err(|error| error.to_string())?;
        Ok(self.given.clone())
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Tensor;

    use super::*;
    use crate::kernel::gpu::Input;
    use crate::kernel::gpu::elements::gpu_gated;
    use crate::kernel::gpu::tests::test_gpu;
    use firebox_kernels::elements::Activation;

    fn swiglu(x: Tensor<2>) -> Tensor<2> {
        gpu_gated(Activation::Silu, x)
    }

    fn values(tensor: Tensor<2>) -> Vec<f32> {
        tensor.try_into_vec_as::<f32>().expect("the device answers")
    }

    #[test]
    fn a_replay_uses_the_current_contents_of_its_buffers() {
        let device = test_gpu();
        let gpu = Gpu::new(&device);
        let (first, second) = ([0.5, 1.0, -2.0, 3.0, 0.1, 0.2, 0.3, 0.4], [1.0, -1.0, 4.0, 2.0, 0.9, 0.8, 0.7, 0.6]);
        let input = Input::new(&first, 2, &gpu, &device);
        let compute = |x: &Tensor<2>| Ok::<_, String>(swiglu(Tensor::cat(vec![swiglu(x.clone()); 2], 1)));
        let fresh = |of: &[f32]| values(compute(&Input::new(of, 2, &gpu, &device).tensor).expect("it never fails"));
        let read = |tensor| Ok(values(tensor));
        let recorded = gpu.exactly(|| gpu.record(|| compute(&input.tensor), read));
        let (ran, recording) = recorded.expect("it never fails");
        assert_eq!(ran, fresh(&first));
        let recording = recording.expect("the device records");
        for of in [second, first] {
            input.overwrite(&of, &gpu);
            assert_eq!(values(recording.replay().expect("it replays")), fresh(&of));
        }
        let elsewhere = std::thread::scope(|scope| scope.spawn(|| recording.replay().err()).join().expect("no panic"));
        assert!(elsewhere.is_some_and(|error| error.contains("another thread")));
    }

    #[test]
    fn work_that_fails_or_panics_while_it_is_recorded_leaves_the_device_as_it_was() {
        let device = test_gpu();
        let gpu = Gpu::new(&device);
        let input = Input::new(&[0.5, 1.0], 1, &gpu, &device);
        for fails_at in [1, 2] {
            let mut calls = 0;
            let work = || {
                calls += 1;
                let done = swiglu(input.tensor.clone());
                if calls == fails_at { Err("on purpose".to_owned()) } else { Ok(done) }
            };
            let failed = gpu.exactly(|| gpu.record(work, |tensor| Ok(values(tensor))));
            assert_eq!(failed.err().as_deref(), Some("on purpose"));
            let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                let panics = || -> Result<Tensor<2>, String> { panic!("on purpose") };
                gpu.exactly(|| gpu.record(panics, |tensor| Ok(values(tensor)))).map(|_| ())
            }));
            assert!(panicked.is_err());
            let work = || Ok::<_, String>(swiglu(input.tensor.clone()));
            let recorded = gpu.exactly(|| gpu.record(work, |tensor| Ok(values(tensor))));
            let (ran, recording) = recorded.expect("it works");
            assert_eq!(ran.len(), 1);
            assert!(recording.is_some(), "it records again");
        }
    }
}
