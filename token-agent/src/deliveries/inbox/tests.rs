//! Nobody is shown as the sender of what he did not send (P-17.3, P-17.4).

use std::collections::BTreeSet;

use ed25519_dalek::Signer as _;
use p256::ecdsa::SigningKey;
use p256::ecdsa::signature::hazmat::PrehashSigner as _;
use warifu_ledger::checkpoint::Checkpoint;
use warifu_ledger::delivery::Sender;
use warifu_ledger::key::Bytes;
use warifu_ledger::leaf::Leaf;
use warifu_ledger::register::{Name, Record};
use warifu_ledger::statement::{Act, Addressees, Attestation, Card, Order, Statement};
use warifu_ledger::tree::Tree;
use warifu_split_key::point::Point;

use super::*;

const CARD: Id = Id([1; 16]);
const FRONT: Id = Id([2; 16]);

fn key(label: &str) -> SigningKey {
    SigningKey::from_slice(Digest::of(label.as_bytes()).as_bytes()).unwrap()
}

fn public(label: &str) -> PublicKey {
    Point::from_sec1(key(label).verifying_key().to_sec1_point(true).as_bytes()).unwrap().into()
}

fn signed(statement: &impl Statement, by: &str) -> Envelope {
    let mut envelope = Envelope::unsigned(statement).unwrap();
    let signature: p256::ecdsa::Signature = key(by).sign_prehash(envelope.digest().as_bytes()).unwrap();
    envelope.add_signature(&public(by), signature.to_bytes().into());
    envelope
}

/// An organization, by its name.
struct Town(&'static str);

impl Town {
    fn organization(&self) -> Digest {
        Digest::of(self.0.as_bytes())
    }

    fn log(&self) -> ed25519_dalek::SigningKey {
        ed25519_dalek::SigningKey::from_bytes(Digest::of(format!("{} log", self.0).as_bytes()).as_bytes())
    }

    fn known(&self) -> Known {
        let log = Some(Base64(self.log().verifying_key().to_bytes()));
        Known { log, kms: Some(public(&format!("{} kms", self.0))), name: self.0.to_owned() }
    }

    fn record(&self) -> Record {
        let text = Name::new("hanako", "信濃 花子").unwrap().to_text();
        Record { id: Id([3; 16]), key: Base64([4; 32]), text }
    }

    /// Proof that the card is hanako's.
    fn sender(&self) -> Sender {
        let card = Card {
            card: CARD,
            member: Id([5; 16]),
            name: self.record().commitment(),
            contract: None,
            authentication: public("9A"),
            signature: public("9C"),
            transport: public("9D"),
            attestation: Attestation::None,
        };
        let order = Order {
            organization: self.organization(),
            id: Id([6; 16]),
            expires_at: 1,
            seen: String::new(),
            acts: vec![Act::CardEnrolled(card)],
        };
        let leaf = Leaf::new(1, Envelope::unsigned(&order).unwrap()).unwrap();
        let tree = Tree::default().append(leaf.as_bytes()).unwrap();
        let head = Checkpoint { size: 1, root: tree.root(1).unwrap() };
        let signature = self.log().sign(&head.cosigned_text(&self.organization(), 1).unwrap()).to_bytes();
        let log = Base64(self.log().verifying_key().to_bytes());
        Sender {
            index: 0,
            leaf: Bytes(leaf.as_bytes().to_vec()),
            proof: tree.inclusion(0, 1).unwrap(),
            checkpoint: head.cosigned_note(&self.organization(), &log, 1, signature).unwrap(),
            name: Some(self.record()),
        }
    }

    fn delivery(&self, to: &Town) -> Delivery {
        Delivery {
            organization: self.organization(),
            id: Id([7; 16]),
            card: CARD,
            to: Addressees { organization: to.organization(), units: [FRONT].into() },
            title: "照会".to_owned(),
            name: "名簿.csv.age".to_owned(),
            size: 1,
            digest: Digest::of(b"x"),
            sent_at: 1,
            reply_to: None,
            expires_at: 2,
        }
    }

    fn standing(&self, live: bool, by: &str) -> Envelope {
        let cards = BTreeSet::from([CARD]);
        let live = if live { cards.clone() } else { BTreeSet::new() };
        let nonce = Digest::of(b"nonce");
        signed(&Standing { organization: self.organization(), nonce, at: 1, cards, live }, by)
    }
}

const TOWN: Town = Town("town");
const ALPS: Town = Town("alps");
const STRANGER: Town = Town("stranger");

/// Of one's own town, and one that is pinned.
fn knowledge() -> Knowledge {
    let organizations = [TOWN, ALPS].map(|town| (town.organization(), town.known()));
    Knowledge { own: TOWN.organization(), organizations: organizations.into(), units: BTreeMap::new() }
}

fn proved(delivery: &Delivery, by: &str, sender: Sender) -> Result<String, NotProved> {
    let offer = Offer { delivery: signed(delivery, by), sender };
    let knowledge = knowledge();
    let (sent, known) = knowledge.prove(&offer)?;
    Ok(format!("{} / {}", known.name, sent.name.map(|name| name.name).unwrap_or_default()))
}

#[test]
fn p_17_3_a_sender_is_shown_as_far_as_his_organization_proves_him() {
    assert_eq!(proved(&TOWN.delivery(&TOWN), "9C", TOWN.sender()).unwrap(), "town / 信濃 花子");
    assert_eq!(proved(&ALPS.delivery(&TOWN), "9C", ALPS.sender()).unwrap(), "alps / 信濃 花子");

    let refused = |delivery: &Delivery, by, sender| proved(delivery, by, sender).unwrap_err();
    let stranger = refused(&STRANGER.delivery(&TOWN), "9C", STRANGER.sender());
    assert!(matches!(stranger, NotProved::Stranger { .. }), "{stranger:?}");
    let elsewhere = refused(&ALPS.delivery(&ALPS), "9C", ALPS.sender());
    assert!(matches!(elsewhere, NotProved::ForAnother), "{elsewhere:?}");
    for made_up in [
        refused(&TOWN.delivery(&TOWN), "another card", TOWN.sender()),
        refused(&ALPS.delivery(&TOWN), "9C", TOWN.sender()),
        refused(&TOWN.delivery(&TOWN), "9C", Sender { proof: vec![Digest([0; 32])], ..TOWN.sender() }),
        refused(
            &TOWN.delivery(&TOWN),
            "9C",
            Sender {
                name: Some(Record { text: "somebody else".to_owned(), ..TOWN.record() }),
                ..TOWN.sender()
            },
        ),
    ] {
        assert!(matches!(made_up, NotProved::NotSent(_)), "{made_up:?}");
    }
}

#[test]
fn p_17_4_a_card_is_live_by_the_word_of_its_own_kms_alone() {
    let standing = |standings: &[Envelope]| knowledge().standing(standings, ALPS.organization(), CARD, 1);
    let later = |standings: &[Envelope]| {
        knowledge().standing(standings, ALPS.organization(), CARD, 2 + STANDING_FRESH_MS)
    };
    assert_eq!(later(&[ALPS.standing(true, "alps kms")]), SenderStanding::Unknown, "long ago");
    assert_eq!(standing(&[ALPS.standing(true, "alps kms")]), SenderStanding::Live);
    assert_eq!(standing(&[ALPS.standing(false, "alps kms")]), SenderStanding::NotLive);
    assert_eq!(standing(&[]), SenderStanding::Unknown);
    assert_eq!(standing(&[ALPS.standing(true, "town kms")]), SenderStanding::Unknown, "another one's word");
    assert_eq!(
        standing(&[TOWN.standing(true, "town kms")]),
        SenderStanding::Unknown,
        "of another one's cards"
    );
    let mut unspoken = knowledge();
    unspoken.organizations.get_mut(&ALPS.organization()).unwrap().kms = None;
    assert_eq!(
        unspoken.standing(&[ALPS.standing(true, "alps kms")], ALPS.organization(), CARD, 1),
        SenderStanding::Unknown,
        "no directory proves whose word counts now"
    );
    let both = [ALPS.standing(true, "town kms"), ALPS.standing(false, "alps kms")];
    assert_eq!(standing(&both), SenderStanding::NotLive);
}
