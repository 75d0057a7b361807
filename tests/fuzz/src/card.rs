//! What a card answers.

use std::cell::{Cell, RefCell};

use p256::ecdsa::Signature;
use warifu_hardware::card::{CardError, Conversation, LastTry, Pin, PinEntry, Transmit};
use warifu_split_key::point::Point;

use crate::cursor::Cursor;
use crate::fixture::public_of;

/// More exchanges than the longest answer can take.
const EXCHANGES: usize = 20_000;
const LONGEST: usize = 16 * 1024 + 256;
const PIN: &[u8; 6] = b"123456";
const GET_METADATA: u8 = 0xf7;
/// The tries of the PIN, and those left.
const ONE_TRY_LEFT: &[u8] = &[6, 2, 3, 1, 0x90, 0];

/// A card that answers by a script, and is pulled when the script has ended.
struct Scripted<'a> {
    /// Whether the card has said, before all else, that one try is left.
    last_try: bool,
    answers: RefCell<Cursor<'a>>,
    sent: Cell<usize>,
    pins_sent: Cell<usize>,
}

impl Transmit for &Scripted<'_> {
    fn transmit<'buffer>(&self, apdu: &[u8], buffer: &'buffer mut [u8]) -> Result<&'buffer [u8], CardError> {
        assert!((5..=261).contains(&apdu.len()), "an APDU of {} bytes", apdu.len());
        self.sent.set(self.sent.get() + 1);
        assert!(self.sent.get() < EXCHANGES, "the card is asked for ever");
        let holds_pin = apdu.windows(PIN.len()).any(|at| at == PIN);
        self.pins_sent.set(self.pins_sent.get() + usize::from(holds_pin));
        let mut answers = self.answers.borrow_mut();
        let answer = if self.last_try && apdu.get(1) == Some(&GET_METADATA) {
            ONE_TRY_LEFT
        } else if answers.is_empty() {
            return Err(CardError::Removed);
        } else {
            answers.piece()
        };
        let room = buffer.get_mut(..answer.len()).unwrap();
        room.copy_from_slice(answer);
        Ok(room)
    }
}

/// Whatever a card answers, in whatever pieces: bounded, one reading, and no PIN that the person did not give for it.
pub(crate) fn answers(data: &[u8]) -> bool {
    let mut script = Cursor::new(data);
    let what = script.byte();
    let card = Scripted {
        last_try: what & 0x20 != 0,
        answers: RefCell::new(Cursor::new(script.rest())),
        sent: Cell::new(0),
        pins_sent: Cell::new(0),
    };
    let mut counted = None;
    let mut ever = false;
    // As often as there are answers left: what is counted is kept between conversations.
    while !card.answers.borrow().is_empty() && card.sent.get() < 64 {
        ever |= ask(&card, &mut counted, what);
    }
    ever
}

fn ask(card: &Scripted<'_>, counted: &mut Option<u8>, what: u8) -> bool {
    let mut conversation = Conversation::new(card, counted);
    let pin = Pin::new(PIN).unwrap();
    let pins_before = card.pins_sent.get();
    let last_try = if what & 0x10 == 0 { LastTry::Keep } else { LastTry::Spend };
    let entry = PinEntry::with(&pin, last_try);
    let result = match what & 0x0f {
        0 => conversation.select(),
        1 => conversation.tries_left().map(drop),
        2 => conversation.verify(entry),
        3 => conversation.change_pin(entry, &Pin::new(b"654321").unwrap()),
        10 => conversation.unblock_pin(entry, &Pin::new(b"654321").unwrap()),
        4 => conversation
            .sign(0x9c, &[7; 32])
            .map(|signature| assert!(Signature::from_slice(&signature).is_ok())),
        5 => conversation.agree(0x82, &Point::generator()).map(drop),
        6 => conversation.public_key(0x9a).map(drop),
        7 => conversation.management_algorithm().map(drop),
        11 => conversation.says_protected().map(drop),
        12 => conversation.protected_management_key().map(drop),
        13 => conversation.change_puk(entry, &Pin::new(b"87654321").unwrap()),
        8 => conversation.attest(0x9d).map(|certificate| assert!(certificate.len() < LONGEST)),
        _ => conversation
            .certificate(0x005f_c10d)
            .map(|certificate| assert!(certificate.is_none_or(|certificate| certificate.len() < LONGEST))),
    };
    let pins = card.pins_sent.get() - pins_before;
    assert!(pins <= 1, "the PIN was tried again");
    let enters = matches!(what & 0x0f, 2 | 3 | 10 | 13);
    assert!(pins == 0 || enters);
    assert!(pins == 0 || !card.last_try || last_try == LastTry::Spend, "the last try was spent");
    match &result {
        Err(CardError::LastTry) => assert!(pins == 0 && last_try == LastTry::Keep),
        Err(CardError::PinWrong { tries_left } | CardError::PukWrong { tries_left }) => {
            assert!(*tries_left >= 1 && pins == 1)
        }
        Ok(()) => assert!(pins == 1 || !enters, "verified without a PIN"),
        _ => {}
    }
    result.is_ok()
}

fn tlv(tag: u8, value: &[u8]) -> Vec<u8> {
    let length = value.len();
    let head = match length {
        0..=0x7f => vec![tag, length as u8],
        0x80..=0xff => vec![tag, 0x81, length as u8],
        _ => vec![tag, 0x82, (length >> 8) as u8, length as u8],
    };
    [head, value.to_vec()].concat()
}

/// The answer in pieces of at most 200 bytes, as a card gives it.
fn script(what: u8, answers: &[(Vec<u8>, u16)]) -> Vec<u8> {
    let mut script = vec![what];
    for (data, status) in answers {
        let pieces: Vec<&[u8]> = if data.is_empty() { vec![&[]] } else { data.chunks(200).collect() };
        for (index, piece) in pieces.iter().enumerate() {
            let status = if index + 1 == pieces.len() { *status } else { 0x6110 };
            script.push(u8::try_from(piece.len() + 2).unwrap());
            script.extend_from_slice(piece);
            script.extend_from_slice(&status.to_be_bytes());
        }
    }
    script
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let tries = |left: u8| (tlv(6, &[3, left]), 0x9000);
    let none = |status: u16| (Vec::new(), status);
    let point = public_of("card").0.to_uncompressed();
    let metadata = [tlv(1, &[0x11]), tlv(2, &[1, 2]), tlv(4, &tlv(0x86, &point))].concat();
    let result = |value: &[u8]| (tlv(0x7c, &tlv(0x82, value)), 0x9000);
    let signature = [tlv(0x30, &[tlv(2, &[0x11; 32]), tlv(2, &[0x12; 32])].concat())].concat();
    let object = |certificate: &[u8], compressed: u8| {
        let inside = [tlv(0x70, certificate), tlv(0x71, &[compressed]), tlv(0xfe, &[])].concat();
        (tlv(0x53, &inside), 0x9000)
    };
    let mut seeds = vec![
        script(0, &[none(0x9000)]),
        script(0, &[none(0x6a82)]),
        script(1, &[tries(3), tries(0)]),
        script(1, &[none(0x6d00), none(0x63c2), none(0x6d00), none(0x9000), none(0x6d00), none(0x6983)]),
        script(4, &[result(&signature)]),
        script(4, &[none(0x6982)]),
        script(5, &[result(&[5; 32])]),
        script(5, &[none(0x6a80), (metadata.clone(), 0x9000)]),
        script(5, &[none(0x6d00), none(0x9000)]),
        script(6, &[(metadata, 0x9000)]),
        script(6, &[none(0x6a88)]),
        script(7, &[(tlv(1, &[0x0a]), 0x9000), none(0x6d00)]),
        script(8, &[(vec![0x30; 700], 0x9000), none(0x6a80)]),
        script(9, &[object(&[0x30; 600], 0)]),
        script(9, &[object(&[0x1f; 90], 1), none(0x6a82), (tlv(0x53, &[]), 0x9000)]),
    ];
    seeds.push(script(11, &[(tlv(0x53, &tlv(0x80, &tlv(0x81, &[2]))), 0x9000), none(0x6a82)]));
    seeds.push(script(12, &[(tlv(0x53, &tlv(0x88, &tlv(0x89, &[7; 24]))), 0x9000), none(0x6982)]));
    for what in [2, 3, 10, 13, 0x12, 0x13, 0x1a, 0x1d, 0x22, 0x33, 0x2a, 0x2d] {
        seeds.push(script(what, &[tries(3), none(0x9000)]));
        seeds.push(script(what, &[tries(2), none(0x63c1), tries(1), none(0x63c0)]));
        seeds.push(script(what, &[none(0x6d00), none(0x63c1), none(0x6983)]));
    }
    seeds
}
