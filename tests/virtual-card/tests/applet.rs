//! The card's manners, APDU by APDU.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::time::{Duration, Instant};

use pcsc::{Context, Protocols, Scope, ShareMode};
use warifu_virtual_card::readers::{self, Readers};
use warifu_virtual_card::{Inserted, TestRoot, VirtualCard, ins};

const DEADLINE: Duration = Duration::from_secs(10);
const SELECT: &[u8] = &[0, 0xa4, 4, 0, 5, 0xa0, 0, 0, 3, 8];
const SELECT_OTHER: &[u8] = &[0, 0xa4, 4, 0, 8, 0xa0, 0, 0, 5, 0x27, 0x47, 0x11, 0x17];
const VERIFY: &[u8] = b"\x00\x20\x00\x80\x08123456\xff\xff";
const IS_VERIFIED: &[u8] = &[0, 0x20, 0, 0x80];

struct Desk {
    _folder: tempfile::TempDir,
    card: VirtualCard,
    inserted: Option<Inserted>,
    readers: Readers,
}

impl Desk {
    fn new(readers: Readers) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = TestRoot::open(folder.path()).unwrap();
        let card = VirtualCard::create(&folder.path().join("card.json"), 1, &root).unwrap();
        let inserted = Some(card.insert(readers.port(0)).unwrap());
        Self { _folder: folder, card, inserted, readers }
    }

    fn connect(&self) -> pcsc::Card {
        let context = Context::establish(Scope::User).unwrap();
        let name = std::ffi::CString::new(self.readers.name(0)).unwrap();
        let deadline = Instant::now() + DEADLINE;
        loop {
            match context.connect(&name, ShareMode::Shared, Protocols::T1) {
                Ok(card) => return card,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn send(card: &pcsc::Card, apdu: &[u8]) -> (Vec<u8>, u16) {
    let mut buffer = vec![0; 70_000];
    let answer = card.transmit(apdu, &mut buffer).unwrap();
    let (data, status) = answer.split_at(answer.len() - 2);
    (data.to_vec(), u16::from_be_bytes([status[0], status[1]]))
}

fn status(card: &pcsc::Card, apdu: &[u8]) -> u16 {
    send(card, apdu).1
}

/// 3DES with the factory key, by way of OpenSSL: the test's own arithmetic.
fn manage(card: &pcsc::Card) {
    let (witness, sw) = send(card, &[0, 0x87, 3, 0x9b, 4, 0x7c, 2, 0x81, 0]);
    assert_eq!(sw, 0x9000);
    let mut command = vec![0, 0x87, 3, 0x9b, 12, 0x7c, 10, 0x82, 8];
    command.extend(des_ede3_factory(&witness[4..]));
    assert_eq!(status(card, &command), 0x9000);
}

fn des_ede3_factory(block: &[u8]) -> Vec<u8> {
    use std::io::Write;
    use std::process::{Command, Stdio};
    let key = "0102030405060708".repeat(3);
    let mut child = Command::new("openssl")
        .args(["enc", "-des-ede3", "-nopad", "-K", &key, "-provider", "default", "-provider", "legacy"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(block).unwrap();
    child.wait_with_output().unwrap().stdout
}

#[test]
fn nothing_is_answered_before_select() {
    readers::private(1, |readers| {
        let desk = Desk::new(readers);
        let card = desk.connect();
        assert_eq!(status(&card, VERIFY), 0x6d00);
        assert_eq!(status(&card, &[0, 0xa4, 4, 0, 5, 0xa0, 0, 0, 3, 9]), 0x6a82);
        let full = [0, 0xa4, 4, 0, 11, 0xa0, 0, 0, 3, 8, 0, 0, 0x10, 0, 1, 0];
        assert_eq!(status(&card, &full), 0x9000);
        assert_eq!(status(&card, SELECT), 0x9000);
        assert_eq!(send(&card, &[0, 0xfd, 0, 0, 0]), (vec![5, 4, 3], 0x9000));
        assert_eq!(status(&card, &[0, 0x01, 0, 0, 0]), 0x6d00);
        assert_eq!(status(&card, &[0x80, 0xfd, 0, 0, 0]), 0x6e00);
        assert_eq!(status(&card, &[0, 0x20, 0, 0x80, 9, 1]), 0x6700);
    });
}

#[test]
fn pin_state_is_lost_by_select_reset_and_removal() {
    readers::private(1, |readers| {
        let mut desk = Desk::new(readers);
        let mut card = desk.connect();
        let verified = |card: &pcsc::Card| {
            assert_eq!(status(card, VERIFY), 0x9000);
            assert_eq!(status(card, IS_VERIFIED), 0x9000);
        };
        status(&card, SELECT);
        assert_eq!(status(&card, IS_VERIFIED), 0x63c3);
        verified(&card);
        assert_eq!(status(&card, SELECT_OTHER), 0x9000);
        assert_eq!(status(&card, IS_VERIFIED), 0x6d00);
        status(&card, SELECT);
        assert_eq!(status(&card, IS_VERIFIED), 0x63c3);
        verified(&card);
        assert_eq!(status(&card, &[0, 0x20, 0xff, 0x80]), 0x9000);
        assert_eq!(status(&card, IS_VERIFIED), 0x63c3);
        verified(&card);
        card.reconnect(ShareMode::Shared, Protocols::T1, pcsc::Disposition::ResetCard).unwrap();
        status(&card, SELECT);
        assert_eq!(status(&card, IS_VERIFIED), 0x63c3);
        verified(&card);

        desk.inserted = None;
        drop(card);
        desk.inserted = Some(desk.card.insert(desk.readers.port(0)).unwrap());
        let card = desk.connect();
        status(&card, SELECT);
        assert_eq!(status(&card, IS_VERIFIED), 0x63c3);
    });
}

#[test]
fn writing_needs_the_management_key_and_long_objects_are_chained_both_ways() {
    readers::private(1, |readers| {
        let desk = Desk::new(readers);
        let card = desk.connect();
        status(&card, SELECT);
        let value: Vec<u8> = (0..600_u32).map(|index| index as u8).collect();
        let mut data = vec![0x5c, 3, 0x5f, 0xc1, 0x05, 0x53, 0x82, 2, 88];
        data.extend(&value);
        let put = |card: &pcsc::Card| {
            let (first, rest) = data.split_at(255);
            let (second, third) = rest.split_at(255);
            let part = |cla, bytes: &[u8]| {
                let mut apdu = vec![cla, 0xdb, 0x3f, 0xff, bytes.len() as u8];
                apdu.extend(bytes);
                status(card, &apdu)
            };
            assert_eq!((part(0x10, first), part(0x10, second)), (0x9000, 0x9000));
            part(0, third)
        };
        let get = [0, 0xcb, 0x3f, 0xff, 5, 0x5c, 3, 0x5f, 0xc1, 0x05, 0];
        assert_eq!(put(&card), 0x6982);
        assert_eq!(status(&card, &get), 0x6a82);
        manage(&card);
        assert_eq!(put(&card), 0x9000);

        let (mut read, mut sw) = send(&card, &get);
        while sw >> 8 == 0x61 {
            let (more, next) = send(&card, &[0, 0xc0, 0, 0, 0]);
            read.extend(more);
            sw = next;
        }
        assert_eq!(sw, 0x9000);
        assert_eq!(read[..4], [0x53, 0x82, 2, 88]);
        assert_eq!(read[4..], value);
        let extended = [0, 0xcb, 0x3f, 0xff, 0, 0, 5, 0x5c, 3, 0x5f, 0xc1, 0x05, 0, 0];
        assert_eq!(send(&card, &extended), (read, 0x9000));
    });
}

#[test]
fn each_pin_policy_is_kept() {
    readers::private(1, |readers| {
        let desk = Desk::new(readers);
        let card = desk.connect();
        status(&card, SELECT);
        manage(&card);
        let generate = |slot| status(&card, &[0, 0x47, 0, slot, 5, 0xac, 3, 0x80, 1, 0x11]);
        let sign = |slot| {
            let mut apdu = vec![0, 0x87, 0x11, slot, 38, 0x7c, 36, 0x82, 0, 0x81, 32];
            apdu.extend([7; 32]);
            status(&card, &apdu)
        };
        assert_eq!(generate(0x83), 0x9000);
        for slot in [0x9a, 0x9c, 0x9d, 0x9e] {
            assert_eq!(sign(slot), 0x6a80, "an empty slot");
            assert_eq!(generate(slot), 0x9000);
        }
        for slot in [0x9a, 0x9c, 0x9d, 0x83] {
            assert_eq!(sign(slot), 0x6982);
        }
        assert_eq!(sign(0x9e), 0x9000, "card authentication needs no PIN");
        assert_eq!(status(&card, VERIFY), 0x9000);
        assert_eq!((sign(0x9c), sign(0x9c)), (0x9000, 0x6982), "always");
        assert_eq!(
            (sign(0x9a), sign(0x9a), sign(0x9d), sign(0x83)),
            (0x9000, 0x9000, 0x9000, 0x9000),
            "once"
        );
        assert_eq!(status(&card, VERIFY), 0x9000);
        assert_eq!((sign(0x9a), sign(0x9c)), (0x9000, 0x6982), "another key came between");

        let never = [0, 0x47, 0, 0x9d, 8, 0xac, 6, 0x80, 1, 0x11, 0xaa, 1, 1];
        assert_eq!(status(&card, &never), 0x9000);
        assert_eq!(status(&card, &[0, 0x20, 0xff, 0x80]), 0x9000);
        assert_eq!(sign(0x9d), 0x9000);
    });
}

#[test]
fn points_off_the_curve_are_refused() {
    readers::private(1, |readers| {
        let desk = Desk::new(readers);
        let card = desk.connect();
        status(&card, SELECT);
        manage(&card);
        assert_eq!(status(&card, &[0, 0x47, 0, 0x9e, 5, 0xac, 3, 0x80, 1, 0x11]), 0x9000);
        let agree = |point: &[u8]| {
            let length = point.len() as u8;
            let mut apdu = vec![0, 0x87, 0x11, 0x9e, length + 6, 0x7c, length + 4, 0x82, 0, 0x85, length];
            apdu.extend(point);
            status(&card, &apdu)
        };
        let mut off = [7; 65];
        off[0] = 4;
        assert_eq!(agree(&off), 0x6a80);
        assert_eq!(agree(&[0]), 0x6a80);
        assert_eq!(agree(&[2; 33]), 0x6a80);
        assert_eq!(desk.card.agreements(), 0);
    });
}

#[test]
fn a_reset_needs_both_blocked_and_leaves_the_attestation_key() {
    readers::private(1, |readers| {
        let desk = Desk::new(readers);
        let card = desk.connect();
        status(&card, SELECT);
        let reset = [0, 0xfb, 0, 0];
        assert_eq!(status(&card, &reset), 0x6985);
        for _ in 0..3 {
            status(&card, b"\x00\x20\x00\x80\x08999999\xff\xff");
            status(&card, b"\x00\x24\x00\x81\x1099999999888888\xff\xff");
        }
        assert_eq!(status(&card, VERIFY), 0x6983);
        assert_eq!(status(&card, &reset), 0x9000);
        assert_eq!(status(&card, VERIFY), 0x9000);
        assert_eq!(status(&card, &[0, 0xcb, 0x3f, 0xff, 5, 0x5c, 3, 0x5f, 0xff, 0x01]) & 0xff00, 0x6100);
    });
}

#[test]
fn the_nth_command_pulls_the_card_and_its_state_survives() {
    readers::private(1, |readers| {
        let mut desk = Desk::new(readers);
        let card = desk.connect();
        status(&card, SELECT);
        desk.card.pull_at(ins::VERIFY, 2);
        assert_eq!(status(&card, b"\x00\x20\x00\x80\x08999999\xff\xff"), 0x63c2);
        let mut buffer = [0; 300];
        // vpcd passes the silence on as an answer without a status word.
        assert!(card.transmit(VERIFY, &mut buffer).is_ok_and(|answer| answer.len() < 2));
        assert!(card.transmit(VERIFY, &mut buffer).is_err());
        let deadline = Instant::now() + DEADLINE;
        while desk.inserted.as_ref().unwrap().is_in() {
            assert!(Instant::now() < deadline);
            std::thread::yield_now();
        }
        assert!(desk.card.insert(desk.readers.port(0)).is_err(), "it is still in somebody's hand");
        desk.inserted = None;

        // As if another process had played the card.
        let again = VirtualCard::open(desk.card.path()).unwrap();
        desk.inserted = Some(again.insert(desk.readers.port(0)).unwrap());
        drop(card);
        let card = desk.connect();
        status(&card, SELECT);
        assert_eq!(status(&card, IS_VERIFIED), 0x63c2);
    });
}

#[test]
fn a_foreign_card_has_no_piv() {
    readers::private(3, |readers| {
        let folder = tempfile::tempdir().unwrap();
        let card = VirtualCard::create_foreign(&folder.path().join("foreign.json")).unwrap();
        let inserted = card.insert(readers.port(0)).unwrap();
        let desk = Desk { _folder: folder, card, inserted: Some(inserted), readers };
        assert_eq!(status(&desk.connect(), SELECT), 0x6a82);
        assert_eq!(status(&desk.connect(), VERIFY), 0x6d00);
    });
}
