//! Watching readers.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use warifu_hardware::card::readers::{ReaderEvent, Watcher};
use warifu_virtual_card::readers::{self, Readers};
use warifu_virtual_card::{TestRoot, VirtualCard};

/// A function deadline: the agent has one second from removal to wiped.
const DEADLINE: Duration = Duration::from_secs(10);
const REMOVAL_DEADLINE: Duration = Duration::from_millis(900);

struct Desk {
    _folder: tempfile::TempDir,
    cards: [VirtualCard; 2],
    readers: Readers,
}

impl Desk {
    fn new(readers: Readers) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = TestRoot::open(folder.path()).unwrap();
        let cards = [1, 2].map(|serial| {
            VirtualCard::create(&folder.path().join(format!("{serial}.json")), serial, &root).unwrap()
        });
        Self { _folder: folder, cards, readers }
    }
}

fn next(events: &Receiver<ReaderEvent>) -> ReaderEvent {
    events.recv_timeout(DEADLINE).unwrap()
}

/// The next events, in whatever order.
fn next_ones<const N: usize>(events: &Receiver<ReaderEvent>, mut expected: [ReaderEvent; N]) {
    let mut found = std::array::from_fn::<_, N, _>(|_| next(events));
    let order = |event: &ReaderEvent| format!("{event:?}");
    expected.sort_by_key(order);
    found.sort_by_key(order);
    assert_eq!(found, expected);
}

#[test]
fn cards_that_come_and_go_are_seen() {
    readers::private(2, |readers| {
        let desk = Desk::new(readers);
        let names = [desk.readers.name(0), desk.readers.name(1)];
        let added = |index: usize| ReaderEvent::ReaderAdded { reader: names[index].clone() };
        let inserted = |index: usize| ReaderEvent::CardInserted { reader: names[index].clone() };
        let removed = |index: usize| ReaderEvent::CardRemoved { reader: names[index].clone() };
        let first = desk.cards[0].insert(desk.readers.port(0)).unwrap();

        let (watcher, events) = Watcher::channel(|_| true);
        assert_eq!(next(&events), ReaderEvent::ServiceUp);
        next_ones(&events, [added(0), added(1)]);
        assert_eq!(next(&events), inserted(0), "what is there at the start is reported");
        let second = desk.cards[1].insert(desk.readers.port(1)).unwrap();
        assert_eq!(next(&events), inserted(1));
        let pulled = Instant::now();
        first.remove();
        assert_eq!(next(&events), removed(0));
        println!("removal seen after {:?}", pulled.elapsed());
        assert!(pulled.elapsed() < REMOVAL_DEADLINE);
        let _again = desk.cards[0].insert(desk.readers.port(0)).unwrap();
        assert_eq!(next(&events), inserted(0));
        second.remove();
        assert_eq!(next(&events), removed(1));

        let stopping = Instant::now();
        drop(watcher);
        assert!(stopping.elapsed() < REMOVAL_DEADLINE, "{:?}", stopping.elapsed());
        assert_eq!(events.recv_timeout(DEADLINE), Err(RecvTimeoutError::Disconnected));
    });
}

#[test]
fn readers_that_are_not_wanted_are_not_reported() {
    readers::private(2, |readers| {
        let desk = Desk::new(readers);
        let wanted = desk.readers.name(1);
        let filter = wanted.clone();
        let (_watcher, events) = Watcher::channel(move |name| name == filter);
        assert_eq!(next(&events), ReaderEvent::ServiceUp);
        assert_eq!(next(&events), ReaderEvent::ReaderAdded { reader: wanted.clone() });
        let _unwanted = desk.cards[0].insert(desk.readers.port(0)).unwrap();
        let _wanted = desk.cards[1].insert(desk.readers.port(1)).unwrap();
        assert_eq!(next(&events), ReaderEvent::CardInserted { reader: wanted });
    });
}

#[test]
fn a_reader_service_that_is_killed_and_started_again_is_seen() {
    readers::private(2, |readers| {
        let mut desk = Desk::new(readers);
        let (reader, other) = (desk.readers.name(0), desk.readers.name(1));
        let only = reader.clone();
        let inserted = desk.cards[0].insert(desk.readers.port(0)).unwrap();
        let (watcher, events) = Watcher::channel(move |name| name == only);
        assert_ne!(reader, other);
        let all_there = [
            ReaderEvent::ServiceUp,
            ReaderEvent::ReaderAdded { reader: reader.clone() },
            ReaderEvent::CardInserted { reader: reader.clone() },
        ];
        all_there.iter().for_each(|event| assert_eq!(next(&events), *event));
        for _ in 0..2 {
            desk.readers.kill();
            assert_eq!(next(&events), ReaderEvent::CardRemoved { reader: reader.clone() });
            assert_eq!(next(&events), ReaderEvent::ReaderRemoved { reader: reader.clone() });
            assert_eq!(next(&events), ReaderEvent::ServiceDown);
            desk.readers.restart().unwrap();
            // The card has been in its reader all the time.
            all_there.iter().for_each(|event| assert_eq!(next(&events), *event));
        }
        inserted.remove();
        assert_eq!(next(&events), ReaderEvent::CardRemoved { reader });
        desk.readers.kill();
        drop(watcher);
    });
}

#[test]
fn no_reader_service_is_reported_and_waited_for() {
    readers::private(1, |readers| {
        let mut desk = Desk::new(readers);
        desk.readers.kill();
        let (_watcher, events) = Watcher::channel(|_| true);
        assert_eq!(next(&events), ReaderEvent::ServiceDown);
        desk.readers.restart().unwrap();
        assert_eq!(next(&events), ReaderEvent::ServiceUp);
    });
}
