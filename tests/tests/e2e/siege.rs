//! Every port under attack at once, with real processes: a member still opens files, and memory stays bounded.
//!
//! `cargo test --package warifu-tests --test e2e siege -- --nocapture` prints the figures of `docs/operations/limits.md`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use p256::ecdsa::signature::hazmat::PrehashSigner as _;
use p256::ecdsa::{Signature, SigningKey};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use warifu_api::tls::{Identity, client_config};
use warifu_hardware::signer::{DigestSigner, SignerError};
use warifu_split_key::point::Point;
use warifu_tests::town::{MEMBER_READERS, READERS};
use warifu_virtual_card::readers::private;

use crate::Play;

/// By how much the memory of a process under attack may grow, in MiB.
const GROWTH: u64 = 256;
/// A bound against waiting for some time-out, not a measurement.
const SOON: Duration = Duration::from_secs(10);

/// A key that was taken out of a card, as no thief of a real one could.
struct Stolen(SigningKey);

impl Stolen {
    fn from(card: &Path) -> Self {
        let card: serde_json::Value = serde_json::from_slice(&fs::read(card).unwrap()).unwrap();
        let scalar = hex::decode(card["keys"]["9a"]["scalar"].as_str().unwrap()).unwrap();
        Self(SigningKey::from_slice(&scalar).unwrap())
    }
}

impl DigestSigner for Stolen {
    fn public_key(&self) -> Point {
        Point::from_sec1(self.0.verifying_key().to_sec1_point(true).as_bytes()).unwrap()
    }

    fn sign_digest(&self, digest: [u8; 32]) -> Result<[u8; 64], SignerError> {
        let signature: Signature = self.0.sign_prehash(&digest).map_err(SignerError::device)?;
        Ok(signature.to_bytes().into())
    }
}

/// A port, and what it takes to speak to it.
struct Target {
    name: &'static str,
    pid: u32,
    address: String,
    key: Point,
}

/// What the attackers keep open.
#[derive(Default)]
struct Held {
    tcp: Vec<TcpStream>,
    tls: Vec<TlsStream<TcpStream>>,
}

/// The resident memory of a process now, and at most so far, in KiB.
pub(crate) fn memory(pid: u32) -> (u64, u64) {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    };
    (field("VmRSS:"), field("VmHWM:"))
}

async fn connect(source: &str, address: &str) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(format!("{source}:0").parse().unwrap())?;
    socket.connect(address.parse().unwrap()).await
}

/// Writes as much as is taken in: who has lost its place already cannot.
async fn push(stream: &mut (impl tokio::io::AsyncWrite + Unpin), bytes: &[u8]) {
    let all = async {
        let _ = stream.write_all(bytes).await;
        let _ = stream.flush().await;
    };
    let _ = tokio::time::timeout(Duration::from_secs(2), all).await;
}

impl Target {
    async fn shaken(
        &self,
        source: &str,
        identity: Option<&Identity>,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = connect(source, &self.address).await?;
        let config = client_config(self.key, identity).unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(config).connect(name, stream).await
    }

    /// Strangers: silence, endless handshakes, endless headers, and bodies that lack their last byte.
    async fn storm(&self, held: &mut Held) {
        // A handshake message may be long before it is whole.
        let mut hello = Vec::new();
        for number in 0..4 {
            hello.extend([22, 3, 1, 0x3f, 0xff]);
            let mut piece = vec![0; 0x3fff];
            if number == 0 {
                piece[..4].copy_from_slice(&[1, 0, 0xff, 0xff]);
            }
            hello.extend(piece);
        }
        hello.truncate(60_000);
        for number in 0..2000 {
            let source = format!("127.0.{}.{}", number % 8, number % 199 + 2);
            let Ok(mut stream) = connect(&source, &self.address).await else { continue };
            if number % 2 == 0 {
                push(&mut stream, &hello).await;
            }
            held.tcp.push(stream);
        }
        for number in 0..600 {
            let source = format!("127.0.{}.{}", number % 8, number % 199 + 2);
            let Ok(mut stream) = self.shaken(&source, None).await else { continue };
            let (path, length) = match self.name {
                "kms" => ("/v1/orders", 256 << 10),
                _ => ("/v1/revocations", 16 << 20),
            };
            let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n");
            match number % 60 {
                0 => push(&mut stream, &[head.as_bytes(), &vec![b' '; length - 1]].concat()).await,
                _ => push(&mut stream, format!("GET /{}", "a".repeat(30_000)).as_bytes()).await,
            }
            held.tls.push(stream);
        }
    }

    /// A member: as many connections as it gets, with answers that it does not read and bodies that lack their last byte.
    async fn treason(&self, member: &Identity, held: &mut Held) {
        for number in 0..64 {
            let Ok(mut stream) = self.shaken("127.0.0.1", Some(member)).await else { continue };
            let (path, length) = match (self.name, number % 4) {
                ("kms", 0) => ("/v1/orders", 8 << 20),
                (_, 0) => ("/v1/revocations", 16 << 20),
                (_, 1) => ("/v1/partials", 128 << 10),
                ("kms", _) => ("/v1/ledger?from=0", 0),
                _ => ("/v1/me", 0),
            };
            let bytes = if length == 0 {
                format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").repeat(200).into_bytes()
            } else {
                let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n");
                [head.as_bytes(), &vec![b' '; length - 1]].concat()
            };
            push(&mut stream, &bytes).await;
            held.tls.push(stream);
        }
    }
}

#[test]
fn under_siege_members_open_and_memory_is_bounded() {
    private(READERS, |readers| {
        let mut play = Play::new(readers, 60);
        let sealed = play.sealed("list", b"content");
        play.insert("hanako", "office", MEMBER_READERS[0]);
        play.opens("office", &sealed, b"content");
        let mut targets = Vec::new();
        for name in ["kms", "honcho", "omachi"] {
            targets.push(Target {
                name,
                pid: play.town.service(name).unwrap().id(),
                address: play.town.address(name).unwrap(),
                key: play.town.tls_key(name).unwrap().0,
            });
        }
        let office = play.town.service("office").unwrap().id();
        let bootstrap: serde_json::Value =
            serde_json::from_slice(&fs::read(play.town.bootstrap("office")).unwrap()).unwrap();
        let agent = bootstrap["address"].as_str().unwrap().to_owned();
        let mut processes: BTreeMap<&str, u32> =
            targets.iter().map(|target| (target.name, target.pid)).collect();
        processes.insert("agent", office);
        let before: BTreeMap<&str, (u64, u64)> =
            processes.iter().map(|(name, pid)| (*name, memory(*pid))).collect();

        let traitor =
            Identity::self_signed(Arc::new(Stolen::from(&play.path("cards/taro"))), "taro").unwrap();
        let runtime = Runtime::new().unwrap();
        let mut held = Held::default();
        let mut slowest = Duration::ZERO;
        for target in &targets {
            runtime.block_on(async {
                target.treason(&traitor, &mut held).await;
                target.storm(&mut held).await;
            });
            slowest = slowest.max(opens(&play, &sealed));
        }
        runtime.block_on(async {
            for _ in 0..1000 {
                let Ok(mut stream) = connect("127.0.0.1", &agent).await else { continue };
                push(&mut stream, format!("GET /{}", "a".repeat(30_000)).as_bytes()).await;
                held.tcp.push(stream);
            }
        });
        slowest = slowest.max(opens(&play, &sealed));
        println!("the slowest opening took {slowest:?}");
        for (name, pid) in &processes {
            let ((rss, _), (now, most)) = (before[name], memory(*pid));
            println!("{name}: {} MiB before, {} MiB now, at most {} MiB", rss >> 10, now >> 10, most >> 10);
            assert!(most - rss < GROWTH << 10, "{name} grew by {} MiB", (most - rss) >> 10);
        }
        // A last look at what the attackers hold: most of it has been taken from them.
        let mut open = 0;
        runtime.block_on(async {
            for stream in &mut held.tcp {
                open += usize::from(
                    tokio::time::timeout(Duration::from_millis(1), stream.read(&mut [0; 1])).await.is_err(),
                );
            }
        });
        println!("{open} of {} silent connections are left", held.tcp.len());
    });
}

/// A member opens a file; how long it took.
fn opens(play: &Play, sealed: &Path) -> Duration {
    let start = Instant::now();
    play.opens("office", sealed, b"content");
    assert!(start.elapsed() < SOON, "only after {:?}", start.elapsed());
    start.elapsed()
}
