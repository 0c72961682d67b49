//! Lets blocking callers wait for the lab's few async clients (HTTP, gRPC), also from inside an async test.

use std::future::Future;
use std::sync::LazyLock;

use tokio::runtime::{Builder, Runtime};

#[expect(clippy::expect_used, reason = "a process without threads left can run no lab")]
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("start the lab's runtime")
});

/// Waits for `future` on a thread of its own, since a thread of another runtime must not block on this one.
pub fn wait<F>(future: F) -> F::Output
where
    F: Future + Send,
    F::Output: Send,
{
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| RUNTIME.block_on(future));
        waiting.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Lets what is made in this scope live on the lab's runtime.
pub(crate) fn enter() -> tokio::runtime::EnterGuard<'static> {
    RUNTIME.enter()
}
