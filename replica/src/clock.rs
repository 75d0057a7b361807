//! The two clocks, as a parameter: one that counts through suspend and cannot be set, and one that people set.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};
use warifu_ledger::statement::Millis;

/// What time it is.
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since the machine started, time spent suspended included. Nobody can set it.
    fn boot_ms(&self) -> u64;

    /// Milliseconds since the Unix epoch. Only the kms authority may ask (protocol P-5.1).
    fn wall_ms(&self) -> Millis;
}

/// The machine's clocks: `CLOCK_BOOTTIME` and `CLOCK_REALTIME`.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn boot_ms(&self) -> u64 {
        let time = clock_gettime(ClockId::Boottime);
        let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
        let nanos = u64::try_from(time.tv_nsec).unwrap_or_default();
        seconds.saturating_mul(1000).saturating_add(nanos / 1_000_000)
    }

    fn wall_ms(&self) -> Millis {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

/// Clocks that stand still until they are moved, for simulation and tests.
#[derive(Debug, Default)]
pub struct ManualClock {
    boot: AtomicU64,
    wall: AtomicU64,
}

impl ManualClock {
    /// Clocks at these readings.
    #[must_use]
    pub fn new(boot_ms: u64, wall_ms: Millis) -> Self {
        Self { boot: AtomicU64::new(boot_ms), wall: AtomicU64::new(wall_ms) }
    }

    /// Sets the boot-time clock.
    pub fn set_boot_ms(&self, ms: u64) {
        self.boot.store(ms, Ordering::SeqCst);
    }

    /// Sets the wall clock.
    pub fn set_wall_ms(&self, ms: Millis) {
        self.wall.store(ms, Ordering::SeqCst);
    }

    /// Lets time pass on both.
    pub fn advance_ms(&self, ms: u64) {
        self.boot.fetch_add(ms, Ordering::SeqCst);
        self.wall.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn boot_ms(&self) -> u64 {
        self.boot.load(Ordering::SeqCst)
    }

    fn wall_ms(&self) -> Millis {
        self.wall.load(Ordering::SeqCst)
    }
}
