//! Places for a bounded number of guests, so that whoever comes in great numbers crowds out nobody but itself.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::HttpBody;
use tokio::sync::Notify;

use super::Peer;
use crate::tls::PeerKey;

/// A room with a bounded number of places. Nobody is turned away at its door: when it is full, the newcomer gets the oldest
/// place of whoever holds the most. So a guest with one place keeps it while another takes hundreds, and places that are
/// held in silence are worth nothing.
pub(super) struct Room<K>(Arc<Inner<K>>);

struct Inner<K> {
    size: usize,
    each: usize,
    held: Mutex<Held<K>>,
}

struct Held<K> {
    next: u64,
    count: usize,
    by_guest: HashMap<K, BTreeMap<u64, Arc<Notify>>>,
}

/// A place; it is free again when this is dropped.
pub(super) struct Place<K: Eq + Hash> {
    room: Arc<Inner<K>>,
    guest: K,
    number: u64,
    taken: Arc<Notify>,
}

impl<K: Eq + Hash + Clone> Room<K> {
    /// A room of `size` places, of which one guest may hold `each`.
    pub(super) fn new(size: usize, each: usize) -> Self {
        let held = Held { next: 0, count: 0, by_guest: HashMap::new() };
        Self(Arc::new(Inner { size, each, held: Mutex::new(held) }))
    }

    /// A place for this guest; somebody may lose one for it.
    pub(super) fn enter(&self, guest: K) -> Place<K> {
        let mut held = self.0.held();
        let own = held.by_guest.get(&guest).map_or(0, BTreeMap::len);
        if own >= self.0.each {
            held.take_oldest_of(&guest);
        } else if held.count >= self.0.size
            && let Some(most) = held.greediest()
        {
            held.take_oldest_of(&most);
        }
        self.seat(&mut held, guest)
    }

    /// A place for this guest, if one is free: nobody loses one for it.
    fn try_enter(&self, guest: K) -> Option<Place<K>> {
        let mut held = self.0.held();
        let own = held.by_guest.get(&guest).map_or(0, BTreeMap::len);
        let free = own < self.0.each && held.count < self.0.size;
        free.then(|| self.seat(&mut held, guest))
    }

    fn seat(&self, held: &mut Held<K>, guest: K) -> Place<K> {
        let (number, taken) = (held.next, Arc::new(Notify::new()));
        held.next += 1;
        held.count += 1;
        held.by_guest.entry(guest.clone()).or_default().insert(number, taken.clone());
        Place { room: self.0.clone(), guest, number, taken }
    }
}

impl<K> Inner<K> {
    fn held(&self) -> MutexGuard<'_, Held<K>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash + Clone> Held<K> {
    /// The guest with the most places; of several, the one who has had one for longest.
    fn greediest(&self) -> Option<K> {
        let rank = |places: &BTreeMap<u64, _>| {
            (places.len(), std::cmp::Reverse(places.first_key_value().map(|(number, _)| *number)))
        };
        self.by_guest.iter().max_by_key(|(_, places)| rank(places)).map(|(guest, _)| guest.clone())
    }

    fn take_oldest_of(&mut self, guest: &K) {
        let Some(places) = self.by_guest.get_mut(guest) else { return };
        if let Some((_, taken)) = places.pop_first() {
            self.count -= 1;
            taken.notify_one();
        }
        if places.is_empty() {
            self.by_guest.remove(guest);
        }
    }
}

impl<K: Eq + Hash> Place<K> {
    /// Resolves when the place has been given to somebody else.
    pub(super) async fn taken(&self) {
        self.taken.notified().await;
    }

    /// Leaves the room before its time: from now on the place is nobody's, and cannot be taken.
    pub(super) fn leave(&self) {
        let mut held = self.room.held();
        let Some(places) = held.by_guest.get_mut(&self.guest) else { return };
        let left = places.remove(&self.number).is_some();
        if places.is_empty() {
            held.by_guest.remove(&self.guest);
        }
        if left {
            held.count -= 1;
        }
    }
}

impl<K: Eq + Hash> Drop for Place<K> {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Seats for those who send what is large: as much as is sent is in memory until it has been dealt with. Nobody loses a
/// seat, and a stranger never takes that of somebody known.
pub struct Seats {
    known: Room<PeerKey>,
    strangers: Room<Network>,
}

/// A seat, if one was needed; it is free again when this is dropped.
pub struct Seat(#[expect(dead_code, reason = "held, and let go of")] Option<Either>);

#[expect(dead_code, reason = "held, and let go of")]
enum Either {
    Known(Place<PeerKey>),
    Stranger(Place<Network>),
}

/// The largest body for which no seat is needed, in bytes.
const NO_SEAT: u64 = 64 << 10;
/// How many of the seats one guest may have.
const SEATS_EACH: usize = 2;

impl Seats {
    /// So many seats for those who are known, and for everybody else.
    #[must_use]
    pub fn new(known: usize, strangers: usize) -> Self {
        Self { known: Room::new(known, SEATS_EACH), strangers: Room::new(strangers, SEATS_EACH) }
    }

    /// A seat for what this peer is going to send, if one is free. A body that says beforehand that it has at most 64 KiB needs
    /// none: what is small is read whoever sits there.
    #[must_use]
    pub fn take(&self, peer: &Peer, body: &impl HttpBody) -> Option<Seat> {
        if body.size_hint().upper().is_some_and(|bytes| bytes <= NO_SEAT) {
            return Some(Seat(None));
        }
        self.take_for(peer)
    }

    /// A seat for what this peer is going to be sent, if one is free: put it beside the bytes, for as long as they are in memory.
    #[must_use]
    pub fn take_for(&self, peer: &Peer) -> Option<Seat> {
        let either = match peer.key.filter(|_| peer.known) {
            Some(key) => Either::Known(self.known.try_enter(key)?),
            None => Either::Stranger(self.strangers.try_enter(peer.address.ip().into())?),
        };
        Some(Seat(Some(either)))
    }
}

/// Who comes from an address, as far as it tells: whoever has one IPv6 address has all that begin with the same 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network(IpAddr);

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(address) => {
                let prefix = address.to_bits() & !u128::from(u64::MAX);
                Self(Ipv6Addr::from_bits(prefix).into())
            }
            v4 => Self(v4),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn is_taken<K: Eq + Hash>(place: &Place<K>) -> bool {
        place.taken().now_or_never().is_some()
    }

    #[test]
    fn whoever_holds_the_most_makes_room_with_the_oldest() {
        let room = Room::new(4, 4);
        let quiet = room.enter("quiet");
        let greedy: Vec<_> = (0..3).map(|_| room.enter("greedy")).collect();
        let newcomer = room.enter("newcomer");
        assert_eq!(greedy.iter().map(is_taken).collect::<Vec<_>>(), [true, false, false]);
        let more: Vec<_> = (0..100).map(|_| room.enter("greedy")).collect();
        assert_eq!(more.iter().filter(|place| !is_taken(place)).count(), 2, "its own places are taken");
        assert!(!is_taken(&quiet) && !is_taken(&newcomer));
    }

    #[test]
    fn a_guest_has_so_many_places_even_where_there_is_room() {
        let room = Room::new(100, 2);
        let places: Vec<_> = (0..3).map(|_| room.enter("one")).collect();
        assert_eq!(places.iter().map(is_taken).collect::<Vec<_>>(), [true, false, false]);
    }

    #[test]
    fn who_asks_for_a_free_place_takes_nobodys() {
        let room = Room::new(3, 2);
        let places: Vec<_> = (0..2).filter_map(|_| room.try_enter("one")).collect();
        assert!(room.try_enter("one").is_none(), "it has its two");
        let other = room.try_enter("other");
        assert!(other.is_some() && room.try_enter("third").is_none(), "all are taken");
        assert!(!places.iter().any(is_taken));
        drop(places);
        assert!(room.try_enter("third").is_some());
    }

    #[test]
    fn a_place_that_was_left_is_free_and_cannot_be_taken() {
        let room = Room::new(1, 1);
        let first = room.enter("one");
        first.leave();
        let second = room.enter("two");
        assert!(!is_taken(&first));
        drop(first);
        drop(room.enter("three"));
        assert!(is_taken(&second));
        drop(second);
        let held = room.0.held();
        assert!(held.count == 0 && held.by_guest.is_empty());
    }

    #[test]
    fn one_line_is_one_guest() {
        let network = |address: &str| Network::from(address.parse::<IpAddr>().unwrap());
        assert_eq!(network("2001:db8:0:1::1"), network("2001:db8:0:1:ffff::2"));
        assert_ne!(network("2001:db8:0:1::1"), network("2001:db8:0:2::1"));
        assert_eq!(network("::ffff:192.0.2.1"), network("192.0.2.1"));
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
    }
}
