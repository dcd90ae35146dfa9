//! The threads that compute on the CPU.

use std::cell::OnceCell;

use rayon::{ThreadPool, ThreadPoolBuilder};

thread_local! {
    /// Ends with its thread. None where the system gives no threads: then those of the whole process compute.
    static POOL: OnceCell<Option<ThreadPool>> = const { OnceCell::new() };
}

/// Makes the calling thread one of a pool of its own, as many threads as cores with it; it stays that.
///
/// A thread outside of any pool hands each product over, sleeps, and is woken when it is done: two hundred times for one
/// token. One that is in the pool takes its part of it, and hands over the rest. The pool is not shared, since who waits
/// in a shared one is given the work of others to do, and that may be the whole pass of another model.
pub(crate) fn join_in() {
    let build = || match rayon::current_thread_index() {
        Some(_) => None,
        None => {
            ThreadPoolBuilder::new().use_current_thread().thread_name(|_| "firebox-compute".to_owned()).build().ok()
        }
    };
    POOL.with(|pool| {
        let _kept = pool.get_or_init(build);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_joins_once_and_others_have_their_own() {
        let index = || {
            join_in();
            join_in();
            rayon::current_thread_index()
        };
        for _ in 0..2 {
            assert_eq!(std::thread::spawn(index).join().expect("no panic"), Some(0));
        }
        assert_eq!(std::thread::spawn(rayon::current_thread_index).join().expect("no panic"), None);
    }

    #[test]
    fn a_thread_of_a_pool_stays_in_it() {
        let pool = ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
        let threads = pool.install(|| {
            join_in();
            rayon::current_num_threads()
        });
        assert_eq!(threads, 1);
    }
}
