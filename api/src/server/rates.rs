//! How often those who come from one network may ask.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::room::Network;

/// Networks that are remembered at most.
const REMEMBERED: usize = 16_384;

/// A bucket of requests for each network: it holds so many, and fills again at a steady rate.
pub struct Rates {
    /// How many may come at once.
    burst: u32,
    /// How long it takes until one more may come.
    each: Duration,
    /// Until when each network has asked ahead: its bucket is empty where that is `burst * each` away, and full where it is past.
    ahead: Mutex<HashMap<Network, Instant>>,
}

impl Rates {
    /// `burst` requests at once, and `a_second` (not 0) on the long run.
    #[must_use]
    pub fn new(burst: u32, a_second: u32) -> Self {
        Self::every(burst, Duration::from_secs(1) / a_second.max(1))
    }

    /// `burst` requests at once, and on the long run one more after `each`.
    #[must_use]
    pub fn every(burst: u32, each: Duration) -> Self {
        Self { burst, each, ahead: Mutex::default() }
    }

    /// Takes a request from this address in.
    ///
    /// # Errors
    /// How long to wait before another one is taken in.
    pub fn admit(&self, address: IpAddr, now: Instant) -> Result<(), Duration> {
        let mut ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        if ahead.len() >= REMEMBERED {
            ahead.retain(|_, until| *until > now);
            // Whoever has that many networks is held back by the places for connections, and by nothing here.
            if ahead.len() >= REMEMBERED {
                ahead.clear();
            }
        }
        let until = ahead.entry(address.into()).or_insert(now);
        let next = (*until).max(now) + self.each;
        let room = self.each * self.burst;
        match next.saturating_duration_since(now).checked_sub(room) {
            None | Some(Duration::ZERO) => {
                *until = next;
                Ok(())
            }
            Some(wait) => Err(wait),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    #[test]
    fn a_network_has_so_many_at_once_and_then_a_steady_rate() {
        let (rates, start) = (Rates::new(3, 10), Instant::now());
        for _ in 0..3 {
            assert_eq!(rates.admit(address(1), start), Ok(()));
        }
        assert_eq!(rates.admit(address(1), start), Err(Duration::from_millis(100)));
        assert_eq!(rates.admit(address(2), start), Ok(()), "another one is not held back");
        let later = start + Duration::from_millis(100);
        assert_eq!(rates.admit(address(1), later), Ok(()));
        assert!(rates.admit(address(1), later).is_err());
        // Silence gains no more than a full bucket.
        let much_later = start + Duration::from_secs(60);
        let admitted = (0..10).filter(|_| rates.admit(address(1), much_later).is_ok()).count();
        assert_eq!(admitted, 3);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (rates, start) = (Rates::new(3, 10), Instant::now());
        for network in 0..(3 * REMEMBERED) {
            let bits = u128::from(u64::try_from(network).unwrap()) << 64;
            assert_eq!(rates.admit(std::net::Ipv6Addr::from_bits(bits).into(), start), Ok(()));
        }
        assert!(rates.ahead.lock().unwrap().len() <= REMEMBERED);
    }
}
