//! A relay between clients and a server, at which the line can be torn.

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};

/// How many bytes are handed on at once: a line is torn to within that.
const AT_ONCE: usize = 16 << 10;

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From clients to the server.
    Up,
    /// From the server to clients.
    Down,
}

/// What goes through it, and when it is torn.
#[derive(Default)]
struct Traffic {
    up: AtomicU64,
    down: AtomicU64,
    tears: Mutex<Option<Tears>>,
}

/// The next connection on which so many bytes have gone this way is torn; then the next one, after the next number.
struct Tears {
    way: Way,
    after: VecDeque<u64>,
}

/// Hands on what comes to an address, for as long as this process lives.
pub struct Relay(Arc<Traffic>);

impl Relay {
    /// Listens there from now on, for a server that may come later.
    ///
    /// # Errors
    /// Where that address is taken.
    pub fn start(listen: &str, server: String) -> Result<Self> {
        let listener = TcpListener::bind(listen).with_context(|| format!("the relay at {listen}"))?;
        let traffic = Arc::new(Traffic::default());
        let all = traffic.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // Nobody there: the client sees its connection end.
                if let Ok(server) = TcpStream::connect(&server) {
                    carry(&all, &client, &server);
                }
            }
        });
        Ok(Self(traffic))
    }

    /// From now on the first connection on which so many bytes have gone this way is torn, then one on which as many have gone as
    /// the next number says, and so on.
    pub fn tear(&self, way: Way, after: impl IntoIterator<Item = u64>) {
        let tears = Tears { way, after: after.into_iter().collect() };
        *self.0.tears.lock().unwrap_or_else(PoisonError::into_inner) = Some(tears);
    }

    /// How many tears are left.
    #[must_use]
    pub fn tears_left(&self) -> usize {
        self.0
            .tears
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_ref()
            .map_or(0, |tears| tears.after.len())
    }

    /// How many bytes have gone this way in all.
    #[must_use]
    pub fn carried(&self, way: Way) -> u64 {
        self.0.count(way).load(Ordering::SeqCst)
    }
}

impl Traffic {
    fn count(&self, way: Way) -> &AtomicU64 {
        match way {
            Way::Up => &self.up,
            Way::Down => &self.down,
        }
    }

    /// Whether the line is torn now, after so many bytes of a connection.
    fn is_torn(&self, way: Way, carried: u64) -> bool {
        let mut tears = self.tears.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(tears) = tears.as_mut().filter(|tears| tears.way == way) else { return false };
        tears.after.pop_front_if(|after| carried >= *after).is_some()
    }
}

fn carry(traffic: &Arc<Traffic>, client: &TcpStream, server: &TcpStream) {
    for (way, from, to) in [(Way::Up, client, server), (Way::Down, server, client)] {
        let (Ok(from), Ok(to), traffic) = (from.try_clone(), to.try_clone(), traffic.clone()) else { return };
        std::thread::spawn(move || hand_on(&traffic, way, from, to));
    }
}

fn hand_on(traffic: &Traffic, way: Way, mut from: TcpStream, mut to: TcpStream) {
    let (mut buffer, mut carried) = (vec![0; AT_ONCE], 0);
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        let Some(bytes) = buffer.get(..count) else { break };
        if to.write_all(bytes).is_err() {
            break;
        }
        carried += count as u64;
        traffic.count(way).fetch_add(count as u64, Ordering::SeqCst);
        if traffic.is_torn(way, carried) {
            break;
        }
    }
    // Both ways: what is torn is torn for both.
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
