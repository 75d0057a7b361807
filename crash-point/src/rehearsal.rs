//! Crash points of services that all run in the driver's own process, each in a runtime whose threads bear its name.
//!
//! A service that reaches a point where it is to end stops there for good: an asynchronous step never resolves, a blocking
//! one waits for [`clear`]. So does each of its other threads at the next point that it reaches. What runs between two
//! points finishes: it might have finished just before. The driver then shuts the runtime down, waits until nothing of the
//! old life can write any more, and begins a new one from what is on the disk.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::CrashPoint;

/// Told when an armed point is reached; called on the thread that reached it.
pub type Told = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Stage {
    /// Nothing is counted and nobody stopped before a driver is there.
    watched: bool,
    armed: Option<Armed>,
    /// Services that are over.
    over: BTreeSet<String>,
    hits: BTreeMap<(String, CrashPoint), u64>,
    ends: BTreeMap<(String, CrashPoint), u64>,
}

struct Armed {
    service: String,
    point: CrashPoint,
    left: u64,
    /// Who ends with it.
    ends: BTreeSet<String>,
    told: Told,
}

static STAGE: Mutex<Option<Stage>> = Mutex::new(None);
static CLEARED: Condvar = Condvar::new();

fn stage() -> MutexGuard<'static, Option<Stage>> {
    STAGE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn on<T>(change: impl FnOnce(&mut Stage) -> T) -> T {
    change(stage().get_or_insert_default())
}

/// From now on hits are counted.
pub fn watch() {
    on(|stage| stage.watched = true);
}

/// Has `service` end when it reaches `point` for the `nth` time from now (from 1), and everybody in `ends` with it. There
/// is one armed point at a time.
pub fn arm(
    service: &str,
    point: CrashPoint,
    nth: u64,
    ends: impl IntoIterator<Item = String>,
    told: impl FnOnce() + Send + 'static,
) {
    let mut ends: BTreeSet<String> = ends.into_iter().collect();
    ends.insert(service.to_owned());
    let armed = Armed { service: service.to_owned(), point, left: nth.max(1), ends, told: Box::new(told) };
    on(|stage| stage.armed = Some(armed));
}

/// Takes back what [`arm`] said, if it has not happened.
pub fn disarm() {
    on(|stage| stage.armed = None);
}

/// Ends a service without a point.
pub fn end(service: &str) {
    on(|stage| stage.over.insert(service.to_owned()));
}

/// Threads of this service that wait at a point unwind, so that its runtime can be shut down.
pub fn release(service: &str) {
    // A thread that waits looks whether its service is still among those that are over.
    on(|stage| {
        stage.over.remove(service);
        stage.over.insert(gone(service));
    });
    CLEARED.notify_all();
}

/// Nothing of the old life is left: the service may begin anew.
pub fn clear(service: &str) {
    on(|stage| {
        stage.over.remove(service);
        stage.over.remove(&gone(service));
    });
}

/// How often each service reached each point.
#[must_use]
pub fn hits() -> BTreeMap<(String, CrashPoint), u64> {
    on(|stage| stage.hits.clone())
}

/// How often each service ended at each point.
#[must_use]
pub fn ends() -> BTreeMap<(String, CrashPoint), u64> {
    on(|stage| stage.ends.clone())
}

fn gone(service: &str) -> String {
    format!("{service} (released)")
}

/// Counts the hit; whether this thread's service is over.
pub(crate) fn is_over(point: CrashPoint) -> bool {
    let thread = std::thread::current();
    let Some(service) = thread.name() else { return false };
    let mut guard = stage();
    let Some(stage) = guard.as_mut().filter(|stage| stage.watched) else { return false };
    if stage.over.contains(service) || stage.over.contains(&gone(service)) {
        return true;
    }
    *stage.hits.entry((service.to_owned(), point)).or_default() += 1;
    let Some(armed) = stage.armed.as_mut().filter(|armed| armed.point == point && armed.service == service)
    else {
        return false;
    };
    armed.left -= 1;
    if armed.left > 0 {
        return false;
    }
    *stage.ends.entry((service.to_owned(), point)).or_default() += 1;
    let told = stage.armed.take().map(|armed| {
        stage.over.extend(armed.ends);
        armed.told
    });
    drop(guard);
    if let Some(told) = told {
        told();
    }
    true
}

/// Waits until the service is released, then unwinds: a runtime can be shut down only once its blocking threads are done.
pub(crate) fn end_of_thread() {
    let thread = std::thread::current();
    let service = thread.name().unwrap_or_default();
    let mut guard = stage();
    while guard.as_ref().is_some_and(|stage| stage.over.contains(service)) {
        guard = CLEARED.wait(guard).unwrap_or_else(PoisonError::into_inner);
    }
    drop(guard);
    std::panic::resume_unwind(Box::new("a crash point"));
}
