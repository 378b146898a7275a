//! The threads on which cells are decoded and rows merged.
//!
//! Such work takes tens of megabytes, and the allocator keeps as much for each thread that ever did
//! it. So it has threads of its own, no more than cores, and what only waits for a disk or a name
//! server has others.

use std::io;
use std::sync::LazyLock;
use std::thread;

use tokio::runtime::{Builder, Runtime};
use tokio::task::{JoinHandle, spawn_blocking};

/// More threads than this are fed by no quota.
const MOST_THREADS: usize = 3;

static WORKERS: LazyLock<io::Result<Runtime>> = LazyLock::new(|| {
    let cores = thread::available_parallelism().map_or(2, usize::from);
    Builder::new_current_thread()
        .thread_name("worker")
        .max_blocking_threads(cores.min(MOST_THREADS))
        .build()
});

/// Does `work` on one of them, as soon as one is free.
pub fn work<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    match &*WORKERS {
        Ok(workers) => workers.spawn_blocking(work),
        Err(_) => spawn_blocking(work),
    }
}
