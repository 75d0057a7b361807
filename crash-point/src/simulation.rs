//! A simulator that decides, on a thread of its own, when each thing that is under way goes on.
//!
//! What a thread's [`Director`] is asked at a crash point, and where one task waits for another of the same program
//! ([`crate::waiting`]), lets it run one task at a time and so have the same history twice.

use std::cell::RefCell;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use crate::CrashPoint;

/// Resolves when the task may go on; never, if its program is over.
pub type Pause = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Decides what goes on when.
pub trait Director: Send + Sync {
    /// A task has come to a point; what has to pass before it goes on.
    fn reached(&self, point: CrashPoint) -> Option<Pause>;

    /// A task waits for another one.
    fn waits(&self) -> Box<dyn Waiting>;
}

/// A task that waits. If it gives up, this is dropped.
pub trait Waiting: Send {
    /// What it waited for has come; what has to pass before it goes on.
    fn over(self: Box<Self>) -> Pause;
}

thread_local! {
    static DIRECTOR: RefCell<Option<Arc<dyn Director>>> = const { RefCell::new(None) };
}

/// From now on, this thread is directed so; the director before.
pub fn direct(director: Option<Arc<dyn Director>>) -> Option<Arc<dyn Director>> {
    DIRECTOR.with_borrow_mut(|current| std::mem::replace(current, director))
}

fn director() -> Option<Arc<dyn Director>> {
    DIRECTOR.with_borrow(Clone::clone)
}

pub(crate) fn is_directed() -> bool {
    DIRECTOR.with_borrow(Option::is_some)
}

pub(crate) fn reached(point: CrashPoint) -> Option<Pause> {
    director()?.reached(point)
}

pub(crate) async fn waiting<F: Future>(wait: F) -> F::Output {
    let mut wait = pin!(wait);
    if let Poll::Ready(output) =
        std::future::poll_fn(|context| Poll::Ready(wait.as_mut().poll(context))).await
    {
        return output;
    }
    let Some(director) = director() else { return wait.await };
    let waits = director.waits();
    let output = wait.await;
    waits.over().await;
    output
}
