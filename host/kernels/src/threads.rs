//! The threads that compute on the CPU: the pool of a thread, and how the thread shares work out to it.

mod affinity;
mod pool;

use std::cell::OnceCell;
use std::marker::PhantomData;

use firebox_cpu::cores::{self, ComputeGuard};
use pool::Pool;

thread_local! {
    /// The pool ends with its thread.
    static POOL: OnceCell<Pool> = const { OnceCell::new() };
}

/// Gives the calling thread a pool of `threads` threads, itself included, unless it has a pool. A pool is not shared: in a
/// shared pool a thread would also wait for the work of other threads, which may be the whole step of another model. Its
/// threads count as computing until the guard is dropped.
pub fn join_pool(threads: usize) -> ComputeGuard<'static> {
    cores::compute(POOL.with(|pool| pool.get_or_init(|| Pool::new(threads)).width()))
}

/// The number of threads that `share` uses, the calling thread included.
pub(super) fn width() -> usize {
    POOL.try_with(|pool| pool.get().map_or(1, Pool::width)).unwrap_or(1)
}

/// Runs `task` once for each of `0..count`, in no order, on the pool of the calling thread. A thread without a pool runs
/// all tasks itself.
///
/// # Panics
/// When a task does.
pub(super) fn share(count: usize, task: impl Fn(usize) + Sync) {
    let shared = POOL.try_with(|pool| match pool.get() {
        Some(pool) => pool.run(count, &task),
        None => false,
    });
    if !shared.unwrap_or(false) {
        (0..count).for_each(task);
    }
}

/// As `share`, with a task for each chunk of `size` elements of `items`. The task gets the number of the chunk.
pub(super) fn share_chunks<T: Send>(items: &mut [T], size: usize, task: impl Fn(usize, &mut [T]) + Sync) {
    let chunks = Chunks { first: items.as_mut_ptr(), count: items.len(), size: size.max(1), items: PhantomData };
    share(items.len().div_ceil(chunks.size), |index| {
        // SAFETY: `share` gives each index to one thread once, and `items` stays borrowed until all tasks have ended.
        let chunk = unsafe { chunks.get(index) };
        task(index, chunk);
    });
}

/// A slice whose chunks go to different threads.
struct Chunks<'a, T> {
    first: *mut T,
    count: usize,
    size: usize,
    items: PhantomData<&'a mut [T]>,
}

// SAFETY: threads get chunks that do not overlap, and `T` may be sent to another thread.
unsafe impl<T: Send> Sync for Chunks<'_, T> {}

impl<'a, T> Chunks<'a, T> {
    /// # Safety
    /// No two live results have the same index.
    // SAFETY: the caller's promise is the only requirement.
    unsafe fn get(&self, index: usize) -> &'a mut [T] {
        let start = (index * self.size).min(self.count);
        let length = self.size.min(self.count - start);
        // SAFETY: `start + length` is within the slice, and chunks of different indices do not overlap.
        unsafe { std::slice::from_raw_parts_mut(self.first.add(start), length) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn each_chunk_is_given_to_one_task() {
        join_pool(4);
        for (length, size) in [(0, 4), (1, 4), (4, 4), (1_000, 7), (1_000, 2_000), (5, 0)] {
            let mut items: Vec<usize> = vec![0; length];
            share_chunks(&mut items, size, |index, chunk| {
                chunk.iter_mut().enumerate().for_each(|(at, item)| *item += 1 + index * size.max(1) + at);
            });
            assert_eq!(items, (1..=length).collect::<Vec<_>>(), "{length} by {size}");
        }
    }

    #[test]
    fn tasks_that_share_out_work_themselves_finish_it() {
        join_pool(4);
        let done = AtomicUsize::new(0);
        share(8, |_| {
            share(4, |_| {
                done.fetch_add(1, Ordering::Relaxed);
            });
        });
        assert_eq!(done.into_inner(), 32);
    }

    #[test]
    fn a_thread_without_a_pool_runs_all_tasks_itself() {
        let mine = std::thread::spawn(|| {
            let me = std::thread::current().id();
            let mut of = vec![None; 100];
            share_chunks(&mut of, 1, |_, of| of[0] = Some(std::thread::current().id()));
            of.iter().all(|id| *id == Some(me))
        });
        assert!(mine.join().expect("no panic"));
    }
}
