//! Fork and join for work of a few microseconds: threads spin briefly between two jobs, and then sleep.
//!
//! No thread yields during a job. On some systems (Linux from 6.18) a thread that yields while another finishes its
//! part loses its whole time slice, and a thread of far lower priority then has the core for milliseconds. Between two
//! jobs each thread yields its core to the threads that serve requests if a token is late. The owner does not wait for
//! a worker that has not entered the job: a worker that has no core when a job begins is left out of it.

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

use firebox_contract::limits::{COMPUTE_IDLE_SPIN, COMPUTE_SPIN_TIME};
use firebox_cpu::delivery::{self, LateMarker};

use super::affinity::{CallerCore, WorkerThread};

/// Parts of `PoolState::state`: the number of workers in the job, whether more may enter, and above them the number of
/// the job.
const INSIDE: u64 = OPEN - 1;
const OPEN: u64 = 1 << 31;
const JOB: u64 = OPEN << 1;
/// Pauses between two reads of the clock.
const PAUSES: u32 = 32;

/// Threads that compute together with the thread that made them: the owner. Dropping the pool ends and joins them.
pub(super) struct Pool {
    shared: Arc<PoolState>,
    threads: Vec<JoinHandle<()>>,
    core: CallerCore,
    /// Set while a job runs. Work that its tasks share out runs on their own threads.
    busy: Cell<bool>,
    /// The tokens for which the owner has yielded.
    late_marker: LateMarker,
}

struct PoolState {
    state: AtomicU64,
    /// The owner writes it while no worker is in the job and the job is closed.
    job: UnsafeCell<Option<PoolJob>>,
    /// The index of the next task.
    next: CacheLine<AtomicUsize>,
    /// For each worker, whether it sleeps or is about to.
    asleep: Vec<AtomicBool>,
    stop: AtomicBool,
    owner: Thread,
    /// The workers' system ids.
    workers: Vec<WorkerThread>,
    /// The first panic of a worker in this job.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

/// A value in cache lines of its own, so that threads that read other values do not slow it down.
#[repr(align(128))]
struct CacheLine<T>(T);

#[derive(Clone, Copy)]
struct PoolJob {
    task: *const (dyn Fn(usize) + Sync),
    count: usize,
}

// SAFETY: only `job` is not `Sync` by itself. The owner writes it while no worker is in the job, and workers read it in
// the job.
unsafe impl Sync for PoolState {}
// SAFETY: as above; a task may be called from any thread.
unsafe impl Send for PoolState {}

impl Pool {
    /// A pool of `threads` threads, the calling thread included, or of fewer if the system refuses to start them.
    pub(super) fn new(threads: usize) -> Self {
        let asleep = (1..threads).map(|_| AtomicBool::new(false)).collect();
        let shared = Arc::new(PoolState {
            state: AtomicU64::new(0),
            job: UnsafeCell::new(None),
            next: CacheLine(AtomicUsize::new(0)),
            asleep,
            stop: AtomicBool::new(false),
            owner: thread::current(),
            workers: (1..threads).map(|_| WorkerThread::default()).collect(),
            panic: Mutex::new(None),
        });
        let start = |worker| {
            let shared = Arc::clone(&shared);
            thread::Builder::new().name("firebox-compute".to_owned()).spawn(move || shared.run_worker(worker)).ok()
        };
        let threads = (1..threads).map_while(|thread| start(thread - 1)).collect();
        Self { shared, threads, core: CallerCore::new(), busy: Cell::new(false), late_marker: LateMarker::default() }
    }

    /// The number of threads, the owner included.
    pub(super) fn width(&self) -> usize {
        self.threads.len() + 1
    }

    /// Runs `task` for each of `0..count` and waits for all of them. Returns false without running any if a job runs
    /// already, or if there are no workers or at most one task.
    ///
    /// # Panics
    /// When a task does.
    pub(super) fn run(&self, count: usize, task: &(dyn Fn(usize) + Sync)) -> bool {
        if self.threads.is_empty() || count <= 1 || self.busy.replace(true) {
            return false;
        }
        offer_core(&self.late_marker);
        let open = OpenJob(self);
        self.publish(PoolJob { task: erased(task), count });
        self.shared.work(task, count);
        drop(open);
        if let Some(panic) = self.shared.take_panic() {
            resume_unwind(panic);
        }
        true
    }

    fn publish(&self, job: PoolJob) {
        let shared = &*self.shared;
        self.core.move_workers_away(&shared.workers);
        // SAFETY: the last job was closed and all workers had left it before `run` returned, and there is one owner.
        unsafe { *shared.job.get() = Some(job) };
        shared.next.0.store(0, Ordering::Relaxed);
        let number = (shared.state.load(Ordering::Relaxed) & !(OPEN | INSIDE)).wrapping_add(JOB);
        shared.state.store(number | OPEN, Ordering::SeqCst);
        // Either this thread sees that a worker sleeps, or the worker, which checks again after it set the flag, sees
        // the job.
        for (asleep, worker) in shared.asleep.iter().zip(&self.threads).take(job.count - 1) {
            if asleep.load(Ordering::SeqCst) && asleep.swap(false, Ordering::SeqCst) {
                worker.thread().unpark();
            }
        }
    }
}

/// The task without its lifetime, which `OpenJob` enforces.
fn erased<'a>(task: &'a (dyn Fn(usize) + Sync + 'a)) -> *const (dyn Fn(usize) + Sync) {
    let task: *const (dyn Fn(usize) + Sync + 'a) = task;
    // SAFETY: only the lifetime changes. Workers call the task in a job, and all workers leave the job before the task
    // ends.
    unsafe { std::mem::transmute(task) }
}

/// An open job. Dropping it closes the job and waits until all workers have left it, also if the owner panics.
struct OpenJob<'a>(&'a Pool);

impl Drop for OpenJob<'_> {
    fn drop(&mut self) {
        let shared = &*self.0.shared;
        let panics = thread::panicking();
        if panics {
            shared.next.0.store(usize::MAX / 2, Ordering::Relaxed);
        }
        shared.state.fetch_and(!OPEN, Ordering::AcqRel);
        let left = || shared.state.load(Ordering::Acquire) & INSIDE == 0;
        while !left() && !spin(COMPUTE_SPIN_TIME, left) {
            thread::park();
        }
        if panics {
            // The owner's own panic continues, and the next job must not see the workers' panics.
            drop(shared.take_panic());
        }
        self.0.busy.set(false);
    }
}

impl PoolState {
    /// Runs tasks until none is left.
    fn work(&self, task: &(dyn Fn(usize) + Sync), count: usize) {
        loop {
            let index = self.next.0.fetch_add(1, Ordering::Relaxed);
            if index >= count {
                return;
            }
            task(index);
        }
    }

    fn take_panic(&self) -> Option<Box<dyn Any + Send>> {
        self.panic.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The loop of worker `worker`.
    fn run_worker(&self, worker: usize) {
        if let Some(worker) = self.workers.get(worker) {
            worker.is_this_thread();
        }
        let (mut seen, late_marker) = (0, LateMarker::default());
        while !self.stop.load(Ordering::SeqCst) {
            if let Some(number) = self.enter(seen) {
                seen = number;
                self.run_job();
                offer_core(&late_marker);
            } else if !spin(COMPUTE_IDLE_SPIN, || self.has_new(seen)) {
                self.sleep(worker, seen);
            }
        }
    }

    fn has_new(&self, seen: u64) -> bool {
        let state = self.state.load(Ordering::SeqCst);
        (state & OPEN != 0 && state / JOB != seen) || self.stop.load(Ordering::SeqCst)
    }

    /// Enters the open job if its number is not `seen`, and returns its number.
    fn enter(&self, seen: u64) -> Option<u64> {
        let mut state = self.state.load(Ordering::Acquire);
        while state & OPEN != 0 && state / JOB != seen {
            match self.state.compare_exchange_weak(state, state + 1, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(state / JOB),
                Err(now) => state = now,
            }
        }
        None
    }

    /// Runs tasks of the entered job, and leaves the job.
    fn run_job(&self) {
        // SAFETY: the owner does not write while a worker is in the job.
        if let Some(job) = unsafe { *self.job.get() } {
            // SAFETY: the owner keeps the task until all workers have left the job.
            let task = unsafe { &*job.task };
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.work(task, job.count))) {
                self.panic.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(panic);
            }
        }
        let before = self.state.fetch_sub(1, Ordering::AcqRel);
        if before & (OPEN | INSIDE) == 1 {
            self.owner.unpark();
        }
    }

    fn sleep(&self, worker: usize, seen: u64) {
        let Some(asleep) = self.asleep.get(worker) else { return };
        asleep.store(true, Ordering::SeqCst);
        while !self.has_new(seen) && asleep.load(Ordering::SeqCst) {
            thread::park();
        }
        asleep.store(false, Ordering::SeqCst);
    }
}

/// Between two jobs: yields the core to the thread that delivers a token, if the token is late.
fn offer_core(late_marker: &LateMarker) {
    if delivery::is_late(late_marker) {
        thread::yield_now();
    }
}

/// Spins until `done` is true, for at most `time`. Returns whether it is true.
fn spin(time: Duration, done: impl Fn() -> bool) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < time {
        for _ in 0..PAUSES {
            if done() {
                return true;
            }
            std::hint::spin_loop();
        }
    }
    false
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        for worker in self.threads.drain(..) {
            worker.thread().unpark();
            // Workers do not panic: panics of tasks are caught.
            let _ended = worker.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sums(pool: &Pool, count: usize) -> bool {
        let counts: Vec<AtomicUsize> = (0..count).map(|_| AtomicUsize::new(0)).collect();
        let ran = pool.run(count, &|index| {
            counts[index].fetch_add(1, Ordering::Relaxed);
        });
        assert!(!ran || counts.iter().all(|count| count.load(Ordering::Relaxed) == 1), "each task once");
        ran
    }

    #[test]
    fn each_task_runs_once_with_any_number_of_awake_workers() {
        let pool = Pool::new(4);
        for round in 0..20_000 {
            assert!(sums(&pool, 2 + round % 9));
            if round % 4_000 == 0 {
                thread::sleep(2 * COMPUTE_IDLE_SPIN);
            }
        }
    }

    #[test]
    fn long_tasks_are_taken_by_different_threads_and_waited_for() {
        let pool = Pool::new(3);
        let threads = Mutex::new(std::collections::HashSet::new());
        for _ in 0..3 {
            let begun = Instant::now();
            assert!(pool.run(3, &|_| {
                threads.lock().expect("no panic").insert(thread::current().id());
                thread::sleep(Duration::from_millis(30));
            }));
            assert!(begun.elapsed() >= Duration::from_millis(30));
            // The workers sleep by now.
            thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(threads.lock().expect("no panic").len(), 3);
    }

    #[test]
    fn a_job_of_one_task_or_thread_does_not_run() {
        let pool = Pool::new(2);
        assert!(!sums(&pool, 1) && !sums(&pool, 0) && !sums(&Pool::new(1), 10));
    }

    #[test]
    fn panics_on_all_threads_at_once_are_one_panic() {
        let pool = Pool::new(4);
        for _ in 0..200 {
            let failed = catch_unwind(AssertUnwindSafe(|| pool.run(64, &|_| panic!("each"))));
            assert!(failed.is_err());
            assert!(sums(&pool, 64), "nothing is left of it");
        }
    }

    #[test]
    fn a_panic_of_any_thread_reaches_the_caller_and_the_pool_continues() {
        let pool = Pool::new(3);
        for bad in 0..64 {
            let failed = catch_unwind(AssertUnwindSafe(|| {
                pool.run(64, &|index| assert_ne!(index, bad, "task {bad}"));
            }));
            let message = failed.expect_err("it panics").downcast::<String>().expect("text");
            assert!(message.contains(&format!("task {bad}")), "{message}");
            assert!(sums(&pool, 64));
        }
    }
}
