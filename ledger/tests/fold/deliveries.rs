//! Who sent a delivery, and which ones nobody takes in (P-17.1 to P-17.4).

use std::collections::BTreeSet;

use warifu_ledger::checkpoint::Signer;
use warifu_ledger::delivery::{
    ADDRESSEES_LIMIT, LARGEST, LINE_LIMIT, LONGEST_MS, NotSent, Sender, Sent, Unfit, is_file_name, is_line,
    sent_by,
};
use warifu_ledger::dsse::{Envelope, EnvelopeError};
use warifu_ledger::key::Bytes;
use warifu_ledger::statement::{Addressees, Delivery};
use warifu_ledger::{Digest, Id};

use crate::fixture::*;

pub(crate) fn delivery(town: &Town, card: &str) -> Delivery {
    Delivery {
        organization: town.organization(),
        id: id("delivery"),
        card: card_id(card),
        to: Addressees { organization: Digest::of(b"alps"), units: BTreeSet::from([id("kaigo")]) },
        title: "介護保険 資格照会（３件）".to_owned(),
        name: "照会 令和8年4月.pdf.age".to_owned(),
        size: 12_345,
        digest: Digest::of(b"ciphertext"),
        sent_at: town.at,
        reply_to: Some(id("tax")),
        expires_at: town.at + 30 * DAY,
    }
}

/// Proof of the card's holder: the leaf at which the card came into being, under a checkpoint of the ledger's head.
pub(crate) fn sender(town: &Town, card: &str) -> Sender {
    let has =
        |leaf: &warifu_ledger::leaf::Leaf| warifu_ledger::delivery::enrolled(leaf, &card_id(card)).is_some();
    let index = town.leaves.iter().position(has).unwrap();
    assert_eq!(town.state.card(&card_id(card)).unwrap().enrolled, index as u64, "the fold knows the leaf");
    let head = town.head();
    Sender {
        index: index as u64,
        leaf: Bytes(town.leaves[index].as_bytes().to_vec()),
        proof: town.state.tree().inclusion(index as u64, head.size).unwrap(),
        checkpoint: note(&town.organization(), &head, Signer::Ca),
        name: Some(record(member_of(card))),
    }
}

fn asked(town: &Town, envelope: &Envelope, sender: &Sender) -> Result<Sent, NotSent> {
    sent_by(envelope, sender, &town.organization(), &log_public("ca"))
}

fn by(card: &str, delivery: &Delivery) -> Envelope {
    envelope_by_cards(delivery, &[card])
}

#[test]
fn p_17_3_the_sender_is_who_the_ledger_enrolled() {
    let town = Town::working();
    for card in ["hanako", "sakura"] {
        let delivery = delivery(&town, card);
        let sent = asked(&town, &by(card, &delivery), &sender(&town, card)).unwrap();
        assert_eq!((sent.delivery, sent.card.card), (delivery, card_id(card)));
    }
}

#[test]
fn p_17_3_nobody_else_is_the_sender() {
    let town = Town::working();
    let (signed, proof) = (by("hanako", &delivery(&town, "hanako")), sender(&town, "hanako"));

    // Another card's signature, or none.
    for card in ["sakura", "nobody"] {
        let forged = by(card, &delivery(&town, "hanako"));
        let signer = card_key("hanako", "9C");
        let expected = EnvelopeError::NotSigned { signer: public(&signer).key_id() };
        assert_eq!(asked(&town, &forged, &proof), Err(NotSent::Envelope(expected)));
    }
    // A leaf that enrolled somebody else.
    assert_eq!(
        asked(&town, &signed, &sender(&town, "sakura")),
        Err(NotSent::NotEnrolled { card: card_id("hanako") })
    );
    // A leaf that is not in the ledger: somebody enrolled himself.
    let mut other = Town::working();
    other.done([enrol("mallory")], TWO);
    let made_up = Sender {
        index: town.leaves.len() as u64 - 1,
        leaf: sender(&other, "mallory").leaf,
        proof: town.state.tree().inclusion(town.leaves.len() as u64 - 1, town.head().size).unwrap(),
        checkpoint: proof.checkpoint.clone(),
        name: None,
    };
    let by_mallory = by("mallory", &delivery(&town, "mallory"));
    assert_eq!(asked(&town, &by_mallory, &made_up), Err(NotSent::NotIncluded));
    // A checkpoint that the ca did not cosign.
    let by_kms =
        Sender { checkpoint: note(&town.organization(), &town.head(), Signer::Kms), ..proof.clone() };
    assert!(matches!(asked(&town, &signed, &by_kms), Err(NotSent::Checkpoint(_))));
    let by_other = Sender {
        checkpoint: note_with("ca 2", &town.organization(), &town.head(), Signer::Ca),
        ..proof.clone()
    };
    assert!(matches!(asked(&town, &signed, &by_other), Err(NotSent::Checkpoint(_))));
    // Another's name.
    let named = Sender { name: Some(record("sakura")), ..proof.clone() };
    assert_eq!(asked(&town, &signed, &named), Err(NotSent::OtherName));
    // From another organization than the one that is asked about.
    let mut foreign = delivery(&town, "hanako");
    foreign.organization = Digest::of(b"alps");
    assert_eq!(
        asked(&town, &by("hanako", &foreign), &proof),
        Err(NotSent::OtherOrganization { found: foreign.organization })
    );
    // Not a delivery.
    let leaf = town.leaves[1].envelope();
    assert!(matches!(asked(&town, leaf, &proof), Err(NotSent::Envelope(EnvelopeError::WrongType { .. }))));
}

#[test]
fn p_17_3_without_the_record_there_is_no_name() {
    let town = Town::working();
    let nameless = Sender { name: None, ..sender(&town, "hanako") };
    assert_eq!(asked(&town, &by("hanako", &delivery(&town, "hanako")), &nameless).unwrap().name, None);
}

#[test]
fn p_17_2_what_nobody_takes_in() {
    let town = Town::working();
    let unfit = |change: &dyn Fn(&mut Delivery)| {
        let mut changed = delivery(&town, "hanako");
        change(&mut changed);
        match asked(&town, &by("hanako", &changed), &sender(&town, "hanako")) {
            Err(NotSent::Unfit(unfit)) => unfit,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(unfit(&|it| it.title = String::new()), Unfit::Title);
    assert_eq!(unfit(&|it| it.title = "あ".repeat(86)), Unfit::Title, "258 bytes");
    assert_eq!(unfit(&|it| it.title = "見積\u{202e}書".to_owned()), Unfit::Title);
    assert_eq!(unfit(&|it| it.name = "../見積.age".to_owned()), Unfit::FileName);
    assert_eq!(unfit(&|it| it.size = 0), Unfit::Size { size: 0 });
    assert_eq!(unfit(&|it| it.size = LARGEST + 1), Unfit::Size { size: LARGEST + 1 });
    assert_eq!(unfit(&|it| it.to.units.clear()), Unfit::Addressees { count: 0 });
    let many: BTreeSet<Id> = (0..=ADDRESSEES_LIMIT).map(|n| id(&format!("unit {n}"))).collect();
    assert_eq!(unfit(&|it| it.to.units = many.clone()), Unfit::Addressees { count: ADDRESSEES_LIMIT + 1 });
    assert_eq!(unfit(&|it| it.expires_at = it.sent_at), Unfit::Dates);
    assert_eq!(unfit(&|it| it.expires_at = it.sent_at + LONGEST_MS + 1), Unfit::Dates);
    assert_eq!(unfit(&|it| it.sent_at = u64::MAX), Unfit::Dates);
}

#[test]
fn p_17_2_names_of_files() {
    for good in
        ["照会.pdf.age", "a", "令和8年4月 照会（改）.xlsx", "file.tar.gz", "-rf", "渡邉󠄂.txt", "~", "#1 50%"]
    {
        assert!(is_file_name(good), "{good:?}");
    }
    for bad in [
        "",
        " ",
        ".",
        "..",
        "../x",
        "a/b",
        "/etc/passwd",
        "..\\x",
        "C:\\x",
        "C:x",
        "a\0b",
        "a\nb",
        "a\u{1b}[2Jb",
        ".bashrc",
        "a.",
        "a ",
        " a",
        "a\u{3000}",
        "a\u{202e}fdp.exe",
        "a\u{200b}b",
        "a:b",
        "a?",
        "a*",
        "a|b",
        "<a>",
        "\"a\"",
        "\u{feff}a",
        "\u{85}",
    ] {
        assert!(!is_file_name(bad), "{bad:?}");
    }
    // With the end that a sealed file has, it is still a name.
    let long = |length: usize, end: &str| format!("{}{end}", "a".repeat(length - end.len()));
    assert!(is_file_name(&long(LINE_LIMIT - 4, "")) && is_file_name(&long(LINE_LIMIT, ".age")));
    assert!(!is_file_name(&long(LINE_LIMIT - 3, "")) && !is_file_name(&long(LINE_LIMIT + 1, ".age")));
    for device in
        ["CON", "con.txt", "Nul.age", "aux", "PRN.tar.gz", "COM1", "lpt9.pdf.age", "COM1 .age", "com¹"]
    {
        assert!(!is_file_name(device), "{device}");
    }
    for good in ["CONTRACT.pdf", "COM", "COM10.age", "COM0.txt", "LPTX", "a.con"] {
        assert!(is_file_name(good), "{good}");
    }
    assert!(!is_file_name(&"a".repeat(4096)));
    assert!(is_line("a/b: ?") && !is_line("a\tb") && !is_line(&"a".repeat(LINE_LIMIT + 1)));
}

#[test]
fn p_17_1_a_delivery_is_over_from_its_last_instant_on() {
    let town = Town::working();
    let delivery = delivery(&town, "hanako");
    assert!(!delivery.is_over(delivery.expires_at - 1));
    assert!(delivery.is_over(delivery.expires_at));
}
