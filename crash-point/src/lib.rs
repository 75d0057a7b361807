//! Named places in the programs where a test can end the process: crash points.
//!
//! A program calls [`reached`] (or [`reached_blocking`]) wherever something has just become durable, or is about to leave.
//! What happens there is decided by a test:
//!
//! - **a real process** is started with `WARIFU_CRASH_AT=NAME`, or `NAME:N` for the N-th time, and sends itself SIGKILL
//!   there: no destructor runs, nothing is flushed;
//! - **in process**, a driver arms a point through [`rehearsal`];
//! - **in a simulation**, which decides at each point what goes on next (`simulation`, `docs/testing/simulation.md`). It is
//!   told as well where one task waits for another ([`waiting`]), and takes guards away ([`stands`]).
//!
//! All of it is there in debug builds only. In a release build these functions are empty, the environment is not read, every
//! guard stands, and `rehearsal` and `simulation` do not exist: see `docs/adr/0008-crash-points.md`.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

#[cfg(debug_assertions)]
mod environment;
mod guard;
mod points;
#[cfg(debug_assertions)]
pub mod rehearsal;
#[cfg(debug_assertions)]
pub mod simulation;

#[cfg(debug_assertions)]
pub use guard::remove;
pub use guard::{Guard, stands};
pub use points::{CrashPoint, Program};

/// Ends here if a test says so; else nothing. In a release build, nothing.
#[allow(clippy::unused_async, reason = "in a release build nothing is left of it")]
pub async fn reached(point: CrashPoint) {
    #[cfg(debug_assertions)]
    {
        environment::reached(point);
        if rehearsal::is_over(point) {
            // The process is over: nothing comes after this. The task goes with its runtime.
            std::future::pending::<()>().await;
        }
        if let Some(pause) = simulation::reached(point) {
            pause.await;
        }
    }
    #[cfg(not(debug_assertions))]
    let _ = point;
}

/// As [`reached`], where the thread may block.
pub fn reached_blocking(point: CrashPoint) {
    #[cfg(debug_assertions)]
    {
        environment::reached(point);
        if rehearsal::is_over(point) {
            rehearsal::end_of_thread();
        }
    }
    #[cfg(not(debug_assertions))]
    let _ = point;
}

/// Waits for another task of the same program: `wait` itself, of which a simulator is told.
pub async fn waiting<F: Future>(wait: F) -> F::Output {
    #[cfg(debug_assertions)]
    {
        simulation::waiting(wait).await
    }
    #[cfg(not(debug_assertions))]
    {
        wait.await
    }
}

/// Waits for at most as long as `time` takes: none if that was over first. In a simulation no time passes by itself, and the
/// wait is as long as it takes: how busy the machine is must not change a history.
pub async fn within<W: Future>(time: impl Future<Output = ()>, wait: W) -> Option<W::Output> {
    let (mut time, mut wait) = (pin!(time), pin!(wait));
    poll_fn(|context| match wait.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending if is_simulated() => Poll::Pending,
        Poll::Pending => time.as_mut().poll(context).map(|()| None),
    })
    .await
}

fn is_simulated() -> bool {
    #[cfg(debug_assertions)]
    {
        simulation::is_directed()
    }
    #[cfg(not(debug_assertions))]
    {
        false
    }
}
