//! Nobody is shown as the sender of what he did not send (P-17.3, P-17.4).

use std::collections::BTreeSet;

use ed25519_dalek::Signer as _;
use warifu_api::wire::deliveries::Handling;
use warifu_ledger::checkpoint::Checkpoint;
use warifu_ledger::delivery::Sender;
use warifu_ledger::key::Bytes;
use warifu_ledger::leaf::Leaf;
use warifu_ledger::register::{Name, Record};
use warifu_ledger::statement::{Act, Addressees, Attestation, Card, Order};
use warifu_ledger::tree::Tree;

use super::*;
use crate::deliveries::made_up::{public, signed};

const CARD: Id = Id([1; 16]);
const FRONT: Id = Id([2; 16]);

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
    let (sent, known) = knowledge.prove(&offer, &FRONT, false, 1)?;
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

/// What the kms shows at a unit.
fn entry(place: u64, offered: Offered, unit: Id, passed_by: Option<Id>) -> InboxEntry {
    InboxEntry {
        place,
        offered,
        unit,
        passed_by,
        state: DeliveryState::Arrived { arrived_at: 1, kept_until: 2 },
        handling: Handling::Waiting,
        handled_by: None,
    }
}

fn genuine() -> Delivery {
    Delivery { expires_at: 1 + delivery::LONGEST_MS, sent_at: others::now(), ..TOWN.delivery(&TOWN) }
}

fn by_hanako(delivery: Delivery) -> Offered {
    let expires_at = delivery.sent_at + 60_000;
    let delivery = signed(&Delivery { expires_at, ..delivery }, "9C");
    Offered::Signed { offer: Offer { delivery, sender: TOWN.sender() } }
}

/// What a kms makes up, under the number of what hanako has sent.
fn made_up() -> OutsideOffer {
    OutsideOffer {
        id: genuine().id,
        unit: FRONT,
        from: "somebody".to_owned(),
        title: "照会".to_owned(),
        name: "名簿.csv.age".to_owned(),
        size: 1,
    }
}

fn shows(entries: Vec<InboxEntry>) -> Vec<Lying> {
    let (zone, knowledge) = (Zone::named("Asia/Tokyo"), knowledge());
    entries.into_iter().map(|entry| lying(&zone, &knowledge, &[], 0, entry)).collect()
}

/// A kms that shows one delivery, and hands out another one under its number.
#[test]
fn p_17_11_what_was_shown_is_taken_out_and_nothing_else() {
    let delivery = genuine();
    let genuine = || entry(2, by_hanako(delivery.clone()), FRONT, None);
    let other = Digest::of(b"another file");
    let sham = || entry(1, Offered::Outside { offer: made_up(), digest: Some(other) }, FRONT, None);
    let listed = shows(vec![genuine()]);
    let [hanakos] = &listed[..] else { panic!("one") };
    let (id, said) = (hanakos.told.id, hanakos.told.said);
    assert!(matches!(hanakos.told.from, DeliveredFrom::Member { .. }), "{:?}", hanakos.told);
    for both in [vec![sham(), genuine()], vec![genuine(), sham()]] {
        for unit in [None, Some(&FRONT)] {
            let found = shown(shows(both.clone()), &id, &said, unit).unwrap();
            assert_eq!((found.told.said, found.digest), (said, Some(Digest::of(b"x"))));
        }
    }
    // It answers the second time that there is the made-up one alone.
    for instead in [
        vec![sham()],
        vec![entry(1, Offered::Outside { offer: made_up(), digest: Some(Digest::of(b"x")) }, FRONT, None)],
        vec![entry(1, by_hanako(Delivery { digest: other, ..delivery.clone() }), FRONT, None)],
        vec![],
    ] {
        let refused = shown(shows(instead), &id, &said, None).map(|it| it.told);
        assert_eq!(refused, Err(AgentFault::NoSuchDelivery));
    }
    // Nor is it taken, given back or passed on where it was not shown.
    let elsewhere = shown(shows(vec![genuine()]), &id, &said, Some(&Id([9; 16]))).map(|it| it.told);
    assert_eq!(elsewhere, Err(AgentFault::NoSuchDelivery));
}

#[test]
fn p_17_11_what_is_shown_where_it_was_not_sent_or_is_over_is_not_believed() {
    let elsewhere = Id([9; 16]);
    let told = |entry| shows(vec![entry]).remove(0);
    let is_believed = |entry| !matches!(told(entry).told.from, DeliveredFrom::Unproved { .. });
    assert!(is_believed(entry(1, by_hanako(genuine()), FRONT, None)));
    assert!(!is_believed(entry(1, by_hanako(genuine()), elsewhere, None)), "it was sent to another unit");
    assert!(is_believed(entry(1, by_hanako(genuine()), elsewhere, Some(FRONT))), "passed on there");
    let long_ago = Delivery { sent_at: 1, ..genuine() };
    let old = told(entry(1, by_hanako(long_ago), FRONT, None));
    assert!(matches!(old.told.from, DeliveredFrom::Unproved { .. }) && old.told.title.is_empty());
}

#[test]
fn p_17_10_what_nobody_has_signed_is_shown_only_as_lines_and_names() {
    let outside =
        |offer| shows(vec![entry(1, Offered::Outside { offer, digest: None }, FRONT, None)]).remove(0);
    assert!(matches!(outside(made_up()).told.from, DeliveredFrom::Outside { .. }));
    for bad in [
        OutsideOffer { from: "a\nFrom 大町市 / 市長".to_owned(), ..made_up() },
        OutsideOffer { title: "\u{202e}".to_owned(), ..made_up() },
        OutsideOffer { name: "../x".to_owned(), ..made_up() },
    ] {
        let told = outside(bad).told;
        assert!(matches!(told.from, DeliveredFrom::Unproved { .. }), "{told:?}");
        assert!(told.title.is_empty() && told.name.is_empty(), "{told:?}");
    }
}
