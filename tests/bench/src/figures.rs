//! Times, and how they are told.

use std::time::Duration;

/// Many times of one kind.
pub(crate) struct Times(Vec<Duration>);

impl Times {
    pub(crate) fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self(times)
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// The time that so many percent of them do not exceed; zero where there are none.
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        let last = self.0.len().saturating_sub(1);
        let place = (self.0.len() * percent).div_ceil(100).saturating_sub(1).min(last);
        self.0.get(place).copied().unwrap_or_default()
    }

    pub(crate) fn median(&self) -> Duration {
        self.percentile(50)
    }

    pub(crate) fn longest(&self) -> Duration {
        self.percentile(100)
    }
}

/// Milliseconds, as people read them.
pub(crate) fn ms(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1000.0)
}

/// Microseconds for each of so many.
#[allow(clippy::cast_precision_loss, reason = "below 2^53")]
pub(crate) fn each_of(time: Duration, count: usize) -> String {
    format!("{:.0} µs", time.as_secs_f64() * 1e6 / count.max(1) as f64)
}

/// How many a second.
#[allow(clippy::cast_precision_loss, reason = "below 2^53")]
pub(crate) fn rate(count: usize, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64().max(f64::MIN_POSITIVE)
}

/// One line of the report.
pub(crate) fn say(what: &str, figure: &str) {
    println!("{what:<64} {figure}");
}
