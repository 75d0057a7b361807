//! A card in a reader: the client's side of vsmartcard's vpcd protocol.
//!
//! A message is a length of two bytes, big-endian, and that many bytes. A message of one byte is control: 0 power off,
//! 1 power on, 2 reset, 4 send the ATR; everything else is an APDU. Only ATR and APDUs are answered.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::card::{Shared, VirtualCardError};

/// The ATR of a YubiKey 5.
const ATR: &[u8] = &[
    0x3b, 0xfd, 0x13, 0x00, 0x00, 0x81, 0x31, 0xfe, 0x15, 0x80, 0x73, 0xc0, 0x21, 0xc0, 0x57, 0x59, 0x75,
    0x62, 0x69, 0x4b, 0x65, 0x79, 0x40,
];
const READER_DEADLINE: Duration = Duration::from_secs(5);
const RECONNECT_EVERY: Duration = Duration::from_millis(50);

/// pcscd looks at its readers every 0.4 s. A swap that it did not see leaves it waiting for a card for ever, and no hand
/// is that fast: a reader stays empty for at least this long.
const EMPTY_FOR: Duration = Duration::from_millis(800);

/// When the readers, by port, became empty, as far as this process emptied them.
static EMPTIED: Mutex<BTreeMap<u16, Instant>> = Mutex::new(BTreeMap::new());

fn emptied() -> MutexGuard<'static, BTreeMap<u16, Instant>> {
    EMPTIED.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Slot {
    /// The connection to the reader; `None` while there is no reader service.
    stream: Option<TcpStream>,
    removed: bool,
}

struct Socket {
    port: u16,
    slot: Mutex<Slot>,
    changed: Condvar,
}

impl Socket {
    fn lock(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remove(&self) {
        let mut slot = self.lock();
        if !slot.removed {
            emptied().insert(self.port, Instant::now());
        }
        slot.removed = true;
        if let Some(stream) = slot.stream.take() {
            // The reader may have closed it first.
            let _ = stream.shutdown(Shutdown::Both);
        }
        self.changed.notify_all();
    }

    /// Waits a little between attempts to reach the reader; false once the card is removed.
    fn pause(&self) -> bool {
        let slot = self.lock();
        if slot.removed {
            return false;
        }
        match self.changed.wait_timeout(slot, RECONNECT_EVERY) {
            Ok((slot, _)) => !slot.removed,
            Err(_) => false,
        }
    }

    /// Registers the connection so that removal can end it; false once the card is removed.
    fn register(&self, stream: &TcpStream) -> io::Result<bool> {
        let mut slot = self.lock();
        if !slot.removed {
            slot.stream = Some(stream.try_clone()?);
        }
        Ok(!slot.removed)
    }
}

/// A card in a reader. Dropping it takes the card out.
pub struct Inserted {
    shared: Arc<Shared>,
    socket: Arc<Socket>,
    thread: Option<JoinHandle<()>>,
}

impl Inserted {
    pub(crate) fn start(shared: Arc<Shared>, port: u16) -> Result<Self, VirtualCardError> {
        {
            let mut inserted = shared.inserted.lock().unwrap_or_else(PoisonError::into_inner);
            if *inserted {
                return Err(VirtualCardError::AlreadyInserted);
            }
            *inserted = true;
        }
        let slot = Slot { stream: None, removed: false };
        let socket = Arc::new(Socket { port, slot: Mutex::new(slot), changed: Condvar::new() });
        // From here on, dropping `this` takes the card out again.
        let mut this = Self { shared, socket, thread: None };
        let empty_since = emptied().get(&port).copied();
        if let Some(wait) = empty_since.and_then(|since| EMPTY_FOR.checked_sub(since.elapsed())) {
            std::thread::sleep(wait);
        }
        let deadline = Instant::now() + READER_DEADLINE;
        let stream = loop {
            match TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
                Ok(stream) => break stream,
                Err(source) if Instant::now() > deadline => {
                    return Err(VirtualCardError::NoReader { port, source });
                }
                Err(_) => {
                    this.socket.pause();
                }
            }
        };
        let (shared, socket) = (Arc::clone(&this.shared), Arc::clone(&this.socket));
        this.thread = Some(std::thread::spawn(move || run(&shared, &socket, stream, port)));
        Ok(this)
    }

    /// Takes the card out. The reader's daemon notices within half a second.
    pub fn remove(self) {}

    /// Whether the card is still in: false after [`crate::VirtualCard::pull_at`] has struck.
    pub fn is_in(&self) -> bool {
        !self.socket.lock().removed
    }
}

impl Drop for Inserted {
    fn drop(&mut self) {
        self.socket.remove();
        if let Some(thread) = self.thread.take() {
            // Only a panic of the card's own thread fails here, and its message has been printed.
            let _ = thread.join();
        }
        self.shared.reset();
        *self.shared.inserted.lock().unwrap_or_else(PoisonError::into_inner) = false;
    }
}

fn run(shared: &Shared, socket: &Socket, first: TcpStream, port: u16) {
    let mut stream = Some(first);
    loop {
        if let Some(stream) = stream.take() {
            match socket.register(&stream) {
                Ok(true) => {}
                Ok(false) | Err(_) => return,
            }
            if let Ok(Ended::Pulled) = serve(shared, stream) {
                socket.remove();
            }
            shared.reset();
        }
        // The reader service has gone: be there when it comes back.
        if !socket.pause() {
            return;
        }
        stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok();
    }
}

enum Ended {
    Disconnected,
    Pulled,
}

fn serve(shared: &Shared, mut stream: TcpStream) -> io::Result<Ended> {
    stream.set_nodelay(true)?;
    shared.reset();
    loop {
        let mut length = [0; 2];
        if !read_promptly(&mut stream, &mut length)? {
            return Ok(Ended::Disconnected);
        }
        let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
        if !read_promptly(&mut stream, &mut message)? {
            return Ok(Ended::Disconnected);
        }
        match message.as_slice() {
            [] => {}
            [4] => send(&mut stream, ATR)?,
            [_] => shared.reset(),
            apdu => match shared.answer(apdu) {
                Some(answer) => send(&mut stream, &answer)?,
                None => {
                    stream.shutdown(Shutdown::Both)?;
                    return Ok(Ended::Pulled);
                }
            },
        }
    }
}

/// Fills `buffer`; false at the end of the stream.
///
/// vpcd sends length and message in two packets, the second only once the first is acknowledged: without `QUICKACK`,
/// which the kernel forgets after every use, each APDU costs 40 ms.
fn read_promptly(stream: &mut TcpStream, mut buffer: &mut [u8]) -> io::Result<bool> {
    while !buffer.is_empty() {
        rustix::net::sockopt::set_tcp_quickack(&*stream, true)?;
        match stream.read(buffer) {
            Ok(0) => return Ok(false),
            Ok(count) => buffer = buffer.get_mut(count..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

fn send(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(io::Error::other)?;
    let mut packet = length.to_be_bytes().to_vec();
    packet.extend_from_slice(message);
    stream.write_all(&packet)
}
