//! Text by the line: register records and names, and streams of events.

use warifu_api::events::{Event, EventBuffer, EventError};
use warifu_api::wire::LeafEvent;
use warifu_ledger::key::Bytes;
use warifu_ledger::leaf::Leaf;
use warifu_ledger::register::{Name, Record};

use crate::fixture::record as record_of;
use crate::statements::town_leaves;
use crate::strict;

/// A record is known by its commitment alone; a name has one form, and fits on a line.
pub(crate) fn record(data: &[u8]) -> bool {
    let name = std::str::from_utf8(data).ok().and_then(|text| Some((text, Name::parse(text).ok()?)));
    if let Some((text, name)) = &name {
        assert_eq!(name.to_text(), *text);
        assert!(!name.name.is_empty() && !name.name.contains(['\n', '\r', '\u{1b}', '\0']));
        assert!(name.label.len() <= 63);
    }
    let Ok(record) = serde_json::from_slice::<Record>(data) else { return name.is_some() };
    assert!(strict::reads::<Record>(data, &[]));
    assert!(record.matches(&record.commitment()));
    for text in ["税務課", "hanako"] {
        let other = record_of(text);
        assert_eq!(other.matches(&record.commitment()), other == record, "two records of one commitment");
    }
    true
}

pub(crate) fn record_seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> =
        ["税務課", "hanako", "契約終了"].map(|text| serde_json::to_vec(&record_of(text)).unwrap()).to_vec();
    seeds.extend(
        ["tax\n税務課", "a-1\nEmergency Desk 24", "x\n\u{202e}"].map(|text| text.as_bytes().to_vec()),
    );
    seeds
}

const EVENT_LIMIT: usize = 512;

/// What comes out of a stream cut into pieces of `size` bytes.
fn read(stream: &[u8], size: usize) -> (Vec<Event>, Option<EventError>) {
    let mut buffer = EventBuffer::new(EVENT_LIMIT);
    let mut events = Vec::new();
    for piece in stream.chunks(size) {
        buffer.push(piece);
        loop {
            match buffer.next_event() {
                Ok(Some(event)) => events.push(event),
                Ok(None) => break,
                Err(error) => return (events, Some(error)),
            }
        }
    }
    (events, None)
}

/// A stream of events says the same wherever it is cut, and gives nothing that did not come.
pub(crate) fn events(data: &[u8]) -> bool {
    let Some((cut, stream)) = data.split_first() else { return false };
    let (events, error) = read(stream, stream.len().max(1));
    assert_eq!(read(stream, usize::from(*cut) + 1), (events.clone(), error));
    let given: usize = events.iter().map(|event| event.data.len()).sum();
    assert!(given <= stream.len());
    assert!(events.iter().all(|event| event.data.len() <= EVENT_LIMIT));
    for event in &events {
        if let Ok(event) = serde_json::from_str::<LeafEvent>(&event.data) {
            let _ = Leaf::from_bytes(event.leaf.0);
        }
    }
    !events.is_empty()
}

pub(crate) fn events_seeds() -> Vec<Vec<u8>> {
    let leaf = LeafEvent { index: 0, leaf: Bytes(town_leaves()[1].as_bytes()[..60].to_vec()) };
    let leaf = serde_json::to_string(&leaf).unwrap();
    let streams = [
        format!("event: leaf\ndata: {leaf}\n\n:keep-alive\n\nevent: leaf\ndata: {leaf}\n\n"),
        "event: revoked\r\ndata: {\"code\":\"card-not-live\",\"message\":\"\"}\n\n\n\ndata:a\ndata: b\n\ndata".to_owned(),
    ];
    let mut seeds: Vec<Vec<u8>> = Vec::new();
    for cut in [0, 1, 2, 50] {
        seeds.extend(streams.iter().map(|stream| [&[cut], stream.as_bytes()].concat()));
    }
    seeds
}
