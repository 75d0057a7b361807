//! Crash points of real processes, named in the environment.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::{Signal, getpid, kill_process};

use crate::CrashPoint;

const VARIABLE: &str = "WARIFU_CRASH_AT";

struct Ordered {
    point: CrashPoint,
    /// How often it is still to be passed.
    left: AtomicU32,
}

/// `NAME` or `NAME:N` with N from 1.
fn parse(text: &str) -> Option<(CrashPoint, u32)> {
    let (name, nth) = match text.split_once(':') {
        Some((name, nth)) => (name, nth.parse().ok().filter(|nth| *nth > 0)?),
        None => (text, 1),
    };
    Some((CrashPoint::named(name)?, nth))
}

fn read() -> Option<Ordered> {
    let text = std::env::var_os(VARIABLE)?;
    let Some((point, nth)) = text.to_str().and_then(parse) else {
        // A test that waits for a crash that never comes would prove nothing.
        eprintln!("{VARIABLE}={}: no such crash point", text.to_string_lossy());
        std::process::abort();
    };
    Some(Ordered { point, left: AtomicU32::new(nth) })
}

/// Kills this process if it is the point, and the time, that the environment names.
pub(crate) fn reached(point: CrashPoint) {
    static ORDERED: OnceLock<Option<Ordered>> = OnceLock::new();
    let Some(ordered) = ORDERED.get_or_init(read) else { return };
    if ordered.point == point && ordered.left.fetch_sub(1, Ordering::SeqCst) == 1 {
        // Neither destructors nor buffers: as if the power had gone.
        let _ = kill_process(getpid(), Signal::KILL);
        loop {
            std::thread::park();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_may_be_counted() {
        assert_eq!(parse("kms.order.checked"), Some((CrashPoint::KmsOrderChecked, 1)));
        assert_eq!(parse("kms.order.checked:3"), Some((CrashPoint::KmsOrderChecked, 3)));
        for wrong in ["", "kms.order", "kms.order.checked:", "kms.order.checked:0", "kms.order.checked:x"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
