//! Programs on the same PC that mean no good: many, slow, huge, guessing, and with paths that lead astray.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use warifu_api::wire::agent::{AgentFault, Bootstrap, FileOutcome, OpenTarget};
use warifu_virtual_card::{ins, readers};

use crate::desk::{Desk, PIN, until};
use crate::organization::Unit;

/// Longer than the agent leaves anybody waiting.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long the agent waits for a header.
const HEADER_TIME: Duration = Duration::from_secs(10);

fn bootstrap(desk: &Desk) -> Bootstrap {
    serde_json::from_slice(&std::fs::read(desk.bootstrap()).unwrap()).unwrap()
}

fn stranger(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Everything until the agent hangs up.
fn heard(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    if let Err(error) = stream.read_to_end(&mut answer) {
        let hung_up = error.kind() == std::io::ErrorKind::ConnectionReset;
        assert!(hung_up, "the connection is still open: {error}");
    }
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn however_many_strangers_come_the_member_is_served() {
    readers::private(1, |readers| {
        let mut desk = Desk::new(readers);
        let unit = Unit::draw("税務課");
        let member = desk.member(&[&unit]);
        desk.start_agent();
        desk.insert_and_unlock(member.index);
        let file = desk.sealed("a.age", &unit.key, b"x");
        let Bootstrap { address, .. } = bootstrap(&desk);

        let began = Instant::now();
        let mut silent: Vec<_> = (0..400).map(|_| stranger(&address)).collect();
        // The first of them loses its place to those who come next, long before its time is over.
        assert!(heard(silent.remove(0)).is_empty());
        assert!(began.elapsed() < HEADER_TIME, "only after {:?}", began.elapsed());
        let mut slow = Vec::new();
        for _ in 0..400 {
            let mut stream = stranger(&address);
            // Some have lost their place already.
            let _ = stream.write_all(b"POST /v1/unlock HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n");
            slow.push(stream);
        }
        let start = Instant::now();
        desk.export(&file, &desk.path("out")).unwrap();
        assert!(start.elapsed() < Duration::from_secs(5), "only after {:?}", start.elapsed());
        for stream in silent.into_iter().chain(slow) {
            assert!(!heard(stream).contains(" 200 "));
        }
    });
}

#[test]
fn what_is_huge_is_refused() {
    readers::private(1, |readers| {
        let mut desk = Desk::new(readers);
        desk.start_agent();
        let Bootstrap { address, token } = bootstrap(&desk);
        let head = |path: &str, more: &str| {
            format!(
                "POST {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\n\
                 content-type: application/json\r\nconnection: close\r\n{more}"
            )
        };
        let body = |body: &str| head("/v1/open", &format!("content-length: {}\r\n\r\n{body}", body.len()));
        let paths = |count: usize| {
            let paths = vec!["/tmp/x"; count];
            format!(
                "{{\"files\":{},\"target\":{{\"kind\":\"view\"}}}}",
                serde_json::to_string(&paths).unwrap()
            )
        };
        let chunk = format!("{:x}\r\n{}\r\n", 1 << 20, "x".repeat(1 << 20));
        for (what, request) in [
            ("1,025 paths", body(&paths(1025))),
            ("a million paths", body(&paths(1_000_000))),
            ("deep nesting", body(&"[".repeat(100_000))),
            ("a deep field", body(&format!("{{\"files\":{}", "[".repeat(100_000)))),
            ("a field twice", body("{\"files\":[],\"files\":[],\"target\":{\"kind\":\"view\"}}")),
            (
                "a body without end",
                head("/v1/open", "transfer-encoding: chunked\r\n\r\n") + &chunk.repeat(20),
            ),
            ("a long field", head("/v1/open", &format!("a: {}\r\n\r\n", "b".repeat(1 << 20)))),
            ("many fields", head("/v1/open", &"a: b\r\n".repeat(5000)) + "\r\n"),
            ("a long path", head(&format!("/{}", "a".repeat(1 << 20)), "\r\n")),
        ] {
            let mut stream = stranger(&address);
            // Who is refused early may be hung up on while it still speaks.
            let _ = stream.write_all(request.as_bytes());
            let answer = heard(stream);
            assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{what}: {answer}");
            desk.status();
        }
    });
}

#[test]
fn a_request_has_so_many_files() {
    readers::private(1, |readers| {
        let mut desk = Desk::new(readers);
        desk.start_agent();
        let paths = vec![Path::new("/tmp/x"); 1025];
        let said = |count: usize| desk.open(&paths[..count], OpenTarget::View).err();
        assert_eq!(said(1024), Some(AgentFault::NoCard));
        assert!(matches!(said(1025), Some(AgentFault::Malformed { .. })), "{:?}", said(1025));
    });
}

#[test]
fn so_many_requests_are_answered_at_once() {
    readers::private(1, |readers| {
        let mut desk = Desk::new(readers);
        desk.start_agent();
        let Bootstrap { address, token } = bootstrap(&desk);
        let head = |method: &str, more: &str| {
            format!(
                "{method} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\n\
                 content-type: application/json\r\n{more}\r\n\r\n"
            )
        };
        let slow = head("POST /v1/open", "expect: 100-continue\r\ncontent-length: 100");
        let begun = || {
            let mut stream = stranger(&address);
            stream.write_all(slow.as_bytes()).unwrap();
            let mut line = [0; 12];
            stream.read_exact(&mut line).unwrap();
            assert_eq!(&line, b"HTTP/1.1 100", "told to go on, and so under way");
            stream
        };
        let status = || {
            let mut stream = stranger(&address);
            stream.write_all(head("GET /v1/status", "connection: close").as_bytes()).unwrap();
            heard(stream)
        };
        let held: Vec<_> = (0..64).map(|_| begun()).collect();
        let answer = status();
        assert!(answer.starts_with("HTTP/1.1 429"), "{answer}");
        drop(held);
        until("there is room again", || status().starts_with("HTTP/1.1 200").then_some(()));
    });
}

#[test]
fn guessing_at_the_pin_spends_no_more_tries_than_are_asked_for_and_never_the_last() {
    readers::private(1, |readers| {
        let mut desk = Desk::new(readers);
        let member = desk.member(&[]);
        desk.start_agent();
        desk.insert(member.index);
        desk.until_pin_needed();
        let before = desk.cards[0].0.seen(ins::VERIFY);
        let answers: Vec<_> = std::thread::scope(|scope| {
            let desk = &desk;
            let guesses: Vec<_> =
                (0..20).map(|guess| scope.spawn(move || desk.unlock(None, &format!("{guess:06}")))).collect();
            guesses.into_iter().map(|guess| guess.join().unwrap()).collect()
        });
        let tried =
            answers.iter().filter(|answer| matches!(answer, Err(AgentFault::PinWrong { .. }))).count();
        assert_eq!(tried, 2, "{answers:?}");
        assert!(
            answers
                .iter()
                .all(|answer| { matches!(answer, Err(AgentFault::PinWrong { .. } | AgentFault::LastTry)) })
        );
        assert_eq!(desk.cards[0].0.seen(ins::VERIFY), before + 2);
        desk.unlock_with(None, PIN, true).unwrap();
    });
}

#[test]
fn paths_that_lead_to_no_file_hold_nobody_up() {
    readers::private(1, |readers| {
        let mut desk = Desk::new(readers);
        let unit = Unit::draw("税務課");
        let member = desk.member(&[&unit]);
        desk.start_agent();
        desk.insert_and_unlock(member.index);
        let fifo = desk.path("fifo");
        assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        let (one, other) = (desk.path("one"), desk.path("other"));
        std::os::unix::fs::symlink(&one, &other).unwrap();
        std::os::unix::fs::symlink(&other, &one).unwrap();
        let socket = desk.path("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let file = desk.sealed("a.age", &unit.key, b"x");
        let astray: Vec<PathBuf> = [&fifo, &one, &socket]
            .into_iter()
            .cloned()
            .chain(["/dev/zero", "/dev/random", "/dev/tty", "/proc/self/mem", "/", "/dev"].map(PathBuf::from))
            .collect();
        let paths: Vec<&Path> = astray.iter().map(PathBuf::as_path).chain([file.as_path()]).collect();
        let start = Instant::now();
        let outcomes = desk.open(&paths, OpenTarget::View).unwrap();
        assert!(start.elapsed() < Duration::from_secs(10), "only after {:?}", start.elapsed());
        for (path, outcome) in astray.iter().zip(&outcomes) {
            let refused = matches!(
                outcome,
                FileOutcome::Failed { fault: AgentFault::FileUnreadable { .. } | AgentFault::FileDamaged }
            );
            assert!(refused, "{}: {outcome:?}", path.display());
        }
        assert!(matches!(outcomes.last(), Some(FileOutcome::Viewing { .. })), "{outcomes:?}");
    });
}
