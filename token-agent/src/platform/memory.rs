//! Memory that holds secrets, and the clock that counts while the PC sleeps.

use std::time::Duration;

use region::LockGuard;
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use rustix::time::{ClockId, clock_gettime};
use zeroize::{Zeroize as _, Zeroizing};

const PAGE: usize = 4096;

#[repr(align(4096))]
struct Page([u8; PAGE]);

/// A short secret in a page of its own that is not swapped out, and is wiped when dropped.
pub(crate) struct LockedSecret {
    // Before the page, so that it is unlocked before it is freed.
    _guard: Option<LockGuard>,
    page: Box<Page>,
    length: usize,
}

impl LockedSecret {
    /// Copies at most a page. Where the page cannot be locked, that is said in the log and the secret kept all the same:
    /// the PC's limit on locked memory is not the person's fault.
    pub(crate) fn new(secret: &[u8]) -> Self {
        let mut page = Box::new(Page([0; PAGE]));
        let guard = match region::lock(page.0.as_ptr(), PAGE) {
            Ok(guard) => Some(guard),
            Err(error) => {
                tracing::warn!(%error, "memory for the PIN could not be locked");
                None
            }
        };
        page.0.iter_mut().zip(secret).for_each(|(slot, byte)| *slot = *byte);
        Self { _guard: guard, page, length: secret.len().min(PAGE) }
    }

    pub(crate) fn expose(&self) -> &[u8] {
        self.page.0.get(..self.length).unwrap_or_default()
    }
}

impl Drop for LockedSecret {
    fn drop(&mut self) {
        self.page.0.zeroize();
    }
}

/// No core dumps, and no other process of this user may look into this one's memory. Every program that is given a PIN begins
/// with it.
pub fn harden() {
    if let Err(error) = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }) {
        tracing::warn!(%error, "core dumps could not be turned off");
    }
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "the process could not be closed to debuggers");
    }
}

/// Time since the PC started, sleep included.
pub(crate) fn boot_time() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    Duration::new(
        u64::try_from(now.tv_sec).unwrap_or_default(),
        u32::try_from(now.tv_nsec).unwrap_or_default(),
    )
}

/// Whether memory may be written to a disk: there, opened files would outlive their removal.
pub(crate) fn swap_in_use() -> bool {
    let swaps = Zeroizing::new(std::fs::read_to_string("/proc/swaps").unwrap_or_default());
    // zram stays in memory.
    swaps.lines().skip(1).any(|line| !line.starts_with("/dev/zram"))
}
