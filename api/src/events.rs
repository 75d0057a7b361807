//! Server-sent events, as far as our services send them: lines end in a line feed, an event in an empty line.

use std::string::FromUtf8Error;

/// One server-sent event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its name; `message` if it has none.
    pub name: String,
    /// Its data, lines joined by newlines.
    pub data: String,
}

/// Why a stream of events makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EventError {
    /// An event goes on beyond the limit.
    #[error("an event is longer than {limit} bytes")]
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// An event is not UTF-8.
    #[error("an event is not UTF-8")]
    NotUtf8(#[source] FromUtf8Error),
}

/// Puts events together from the pieces in which they arrive. The pieces may be cut anywhere; every byte is looked at once.
#[derive(Debug)]
pub struct EventBuffer {
    limit: usize,
    bytes: Vec<u8>,
    /// So many bytes have been given out.
    taken: usize,
    /// So many bytes after those hold no end of an event.
    searched: usize,
}

impl EventBuffer {
    /// For events of at most `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { limit, bytes: Vec::new(), taken: 0, searched: 0 }
    }

    /// Takes a piece of the stream.
    pub fn push(&mut self, piece: &[u8]) {
        // Here and not with every event: a piece may hold very many.
        self.bytes.drain(..self.taken);
        self.taken = 0;
        self.bytes.extend_from_slice(piece);
    }

    /// The next event that is complete. Comments (keep-alives) are passed over.
    ///
    /// # Errors
    /// [`EventError`]; the stream is of no use any more.
    pub fn next_event(&mut self) -> Result<Option<Event>, EventError> {
        while let Some(block) = self.next_block()? {
            let text = String::from_utf8(block).map_err(EventError::NotUtf8)?;
            if let Some(event) = parse(&text) {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    /// What comes before the first empty line.
    fn next_block(&mut self) -> Result<Option<Vec<u8>>, EventError> {
        let rest = self.bytes.get(self.taken..).unwrap_or_default();
        let unsearched = rest.get(self.searched..).unwrap_or_default();
        let found = unsearched.windows(2).position(|pair| pair == b"\n\n");
        // Without an end, the last byte may be the first of the two that make it.
        let length = found.map_or(rest.len().saturating_sub(1), |found| self.searched + found);
        if length > self.limit {
            return Err(EventError::TooLarge { limit: self.limit });
        }
        if found.is_none() {
            self.searched = length;
            return Ok(None);
        }
        let block = rest.get(..length).map(<[u8]>::to_vec);
        self.taken += length + 2;
        self.searched = 0;
        Ok(block)
    }
}

fn parse(block: &str) -> Option<Event> {
    let mut event = Event { name: "message".to_owned(), data: String::new() };
    let mut has_data = false;
    for line in block.lines() {
        if let Some(name) = line.strip_prefix("event:") {
            event.name = name.trim_start().to_owned();
        } else if let Some(data) = line.strip_prefix("data:") {
            if has_data {
                event.data.push('\n');
            }
            event.data.push_str(data.strip_prefix(' ').unwrap_or(data));
            has_data = true;
        }
    }
    has_data.then_some(event)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &str, data: &str) -> Event {
        Event { name: name.to_owned(), data: data.to_owned() }
    }

    #[test]
    fn events_come_out_whole_wherever_they_are_cut() {
        let stream =
            b": keep-alive\n\nevent: leaf\ndata: a\ndata: b\n\n\n\ndata:c\n\nevent: none\n\ndata: cut";
        for cut in 0..=stream.len() {
            let (first, second) = stream.split_at(cut);
            let mut buffer = EventBuffer::new(64);
            let mut events = Vec::new();
            for piece in [first, second] {
                buffer.push(piece);
                while let Some(event) = buffer.next_event().unwrap() {
                    events.push(event);
                }
            }
            assert_eq!(events, [event("leaf", "a\nb"), event("message", "c")], "{cut}");
        }
    }

    #[test]
    fn an_event_without_end_or_not_in_utf8_is_refused() {
        let mut buffer = EventBuffer::new(10);
        buffer.push(b"data: 6789");
        assert_eq!(buffer.next_event(), Ok(None));
        buffer.push(b"ab");
        assert_eq!(buffer.next_event(), Err(EventError::TooLarge { limit: 10 }));
        let mut buffer = EventBuffer::new(10);
        buffer.push(b"data: \xff\n\n");
        assert!(matches!(buffer.next_event(), Err(EventError::NotUtf8(_))));
    }

    /// It took time with the square of the piece: a service could keep its followers busy for minutes with a megabyte.
    #[test]
    fn a_piece_of_very_many_events_is_read_once() {
        let begun = std::time::Instant::now();
        let mut buffer = EventBuffer::new(10);
        buffer.push(&b"\n".repeat(1 << 20));
        buffer.push(b"data: last\n\n");
        assert_eq!(buffer.next_event(), Ok(Some(event("message", "last"))));
        assert!(begun.elapsed().as_secs() < 10, "{:?}", begun.elapsed());
    }
}
