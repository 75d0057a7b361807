//! A card from the factory at the desk, and what is pulled, mistaken or forgotten there.

use warifu_api::wire::agent::{
    AgentFault, CardInReader, ChangePin, ManagementKeyKind, OpenPuk, Personalize, Personalized, PinText,
    Prepare, Prepared, Unblock,
};
use warifu_api::wire::authority::Package;
use warifu_hardware::card::{Card as _, KeyRole, PivCard};
use warifu_ledger::Id;
use warifu_ledger::key::Bytes;
use warifu_ledger::statement::{Attestation, Custody};
use warifu_split_key::issuer::CardShare;
use warifu_virtual_card::{TestRoot, VirtualCard, ins, readers};
use zeroize::Zeroizing;

use crate::desk::{Desk, PIN, faulty, until};
use crate::organization::{Unit, certificate, rng};
use crate::sites::{new_pin, sealed_share};

fn text(digits: &str) -> PinText {
    PinText(Zeroizing::new(digits.to_owned()))
}

/// A desk that believes the virtual cards' maker.
fn desk_of(readers: warifu_virtual_card::readers::Readers) -> Desk {
    let mut desk = Desk::new(readers);
    desk.believes_the_maker();
    desk
}

fn seen(desk: &Desk, index: usize) -> CardInReader {
    let serial = desk.serial(index);
    until("the card is seen", || {
        let cards = desk.runtime.block_on(desk.client().cards()).unwrap().cards;
        cards.into_iter().find(|card| card.serial == serial)
    })
}

fn prepare(desk: &Desk, index: usize, pin: PinText) -> Result<Prepared, AgentFault> {
    faulty(desk.runtime.block_on(desk.client().prepare(&Prepare { serial: desk.serial(index), pin })))
}

/// What waits for a card at the kms.
struct Waiting {
    card: Id,
    grant: Id,
    unit: Unit,
    share: CardShare,
    officers: Vec<warifu_ledger::key::PublicKey>,
}

impl Waiting {
    fn draw(officers: Vec<warifu_ledger::key::PublicKey>) -> Self {
        let unit = Unit::draw("税務課");
        let (share, _) = unit.split();
        Self { card: Id::draw(&mut rng()), grant: Id::draw(&mut rng()), unit, share, officers }
    }

    fn offer(&self, desk: &Desk, prepared: &Prepared) {
        let uri = format!("urn:warifu:{}:card:{}", desk.organization, self.card);
        let keys = &prepared.keys;
        let share = sealed_share(desk, self.grant, &self.unit, &self.share, &keys.transport.0);
        desk.kms.state().package = Some(Package {
            authentication: Some(vec![Bytes(certificate(&keys.authentication.0, Some(uri)))]),
            signature: Some(vec![Bytes(certificate(&keys.signature.0, None))]),
            shares: vec![share],
            pending: Vec::new(),
        });
    }

    fn bring(&self, desk: &Desk, index: usize) -> Result<Personalized, AgentFault> {
        let request = Personalize {
            serial: desk.serial(index),
            pin: new_pin(),
            card: self.card,
            grants: vec![self.grant],
            officers: self.officers.clone(),
            dead: Vec::new(),
        };
        faulty(desk.runtime.block_on(desk.client().personalize(&request)))
    }
}

#[test]
fn a_new_card_gets_secrets_of_its_own() {
    readers::private(2, |readers| {
        let mut desk = desk_of(readers);
        let officer = desk.member(&[]);
        let other = desk.new_card();
        desk.start_agent();
        desk.insert(officer.index);
        desk.insert(other);
        let new = seen(&desk, other);
        assert!(new.secrets.factory_pin && new.secrets.factory_puk);
        assert_eq!(new.secrets.management_key, ManagementKeyKind::Factory);
        let transport = seen(&desk, officer.index).keys.unwrap().transport;

        assert_eq!(prepare(&desk, other, text("123456")).unwrap_err(), AgentFault::FactoryPin);
        assert_eq!(prepare(&desk, other, text("1234")).unwrap_err(), AgentFault::PinMalformed);
        assert_eq!(desk.cards[other].0.changes(), 0, "nothing was changed");
        let prepared = prepare(&desk, other, new_pin()).unwrap();
        let waiting = Waiting::draw(vec![transport]);
        waiting.offer(&desk, &prepared);
        assert!(waiting.bring(&desk, other).unwrap().puk_replaced);
        let ready = seen(&desk, other);
        assert!(!ready.secrets.factory_pin && !ready.secrets.factory_puk);
        assert_eq!(ready.secrets.management_key, ManagementKeyKind::Protected);
        assert_eq!((ready.tries_left, ready.puk_tries_left), (3, Some(3)));
        assert_eq!(ready.share_points, [waiting.share.public().into()]);

        // Its member forgets the PIN; an officer's card knows the PUK, nobody types it.
        desk.cards[other].0.block_pin().unwrap();
        let escrow = desk.kms.state().puk.clone().unwrap();
        let open = |serial, card| {
            let request = OpenPuk { serial, card, escrow: escrow.clone() };
            faulty(desk.runtime.block_on(desk.client().open_puk(&request)))
        };
        let (officers, members) = (desk.serial(officer.index), desk.serial(other));
        let refused = |answer: Result<warifu_api::wire::agent::OpenedPuk, AgentFault>| answer.err().unwrap();
        assert_eq!(refused(open(officers, waiting.card)), AgentFault::PinNeeded { tries_left: 3 });
        desk.unlock(Some(officers), PIN).unwrap();
        assert_eq!(refused(open(members, waiting.card)), AgentFault::PukNotForThisCard);
        assert_eq!(refused(open(officers, Id::draw(&mut rng()))), AgentFault::PukNotForThisCard);
        let puk = open(officers, waiting.card).unwrap().puk;
        let unblock = |puk, pin: &str| {
            let request = Unblock { serial: members, puk, pin: text(pin), spend_last_try: false };
            faulty(desk.runtime.block_on(desk.client().unblock(&request))).map(|_| ())
        };
        assert_eq!(unblock(text("00000000"), "123456"), Err(AgentFault::FactoryPin));
        assert_eq!(seen(&desk, other).puk_tries_left, Some(3), "no try was spent on it");
        unblock(puk, "135790").unwrap();

        // And changes it to one of his own.
        let change = |old: &str, new: &str| {
            let request = ChangePin { serial: Some(members), old: text(old), new: text(new) };
            faulty(desk.runtime.block_on(desk.client().change_pin(&request))).map(|_| ())
        };
        assert_eq!(change("135790", "123456"), Err(AgentFault::FactoryPin));
        assert_eq!(change("000000", "864200"), Err(AgentFault::PinWrong { tries_left: 2 }));
        change("135790", "864200").unwrap();
        desk.unlock(Some(members), "864200").unwrap();
    });
}

#[test]
fn a_card_that_is_pulled_at_any_step_goes_on() {
    readers::private(2, |readers| {
        let mut desk = desk_of(readers);
        let officer = desk.member(&[]);
        desk.start_agent();
        desk.insert(officer.index);
        let transport = seen(&desk, officer.index).keys.unwrap().transport;
        desk.remove(officer.index);
        let index = desk.new_card();
        let mut steps = 0;
        for nth in 1.. {
            // Also where the command took effect and its answer was lost, every other time.
            let done = nth % 2 == 0;
            let path = desk.path(&format!("pulled-{nth}.json"));
            desk.cards[index].0 = VirtualCard::create(&path, 8_000 + nth, &desk.root).unwrap();
            desk.kms.state().puk = None;
            desk.insert(index);
            seen(&desk, index);
            let waiting = Waiting::draw(vec![transport]);
            desk.cards[index].0.pull_at_change(nth, done);
            let go = |desk: &Desk| {
                let prepared = prepare(desk, index, new_pin())?;
                waiting.offer(desk, &prepared);
                waiting.bring(desk, index)
            };
            let mut outcome = go(&desk);
            let pulled = !desk.cards[index].0.disarm();
            if pulled {
                let fault = outcome.unwrap_err();
                let said = [AgentFault::CardRemoved, AgentFault::NoCard];
                assert!(said.contains(&fault), "{nth}: {fault:?}");
                steps += 1;
                desk.remove(index);
                until("the card is out", || {
                    let cards = desk.runtime.block_on(desk.client().cards()).unwrap().cards;
                    cards.is_empty().then_some(())
                });
                desk.insert(index);
                let card = seen(&desk, index);
                // What the ledger knows by then is brought; else the enrolment begins again with the same words.
                outcome = match card.certificate {
                    Some(_) => waiting.bring(&desk, index),
                    None => go(&desk),
                };
            }
            outcome.unwrap_or_else(|fault| panic!("pulled at change {nth}: {fault:?}"));
            let ready = seen(&desk, index);
            assert!(!ready.secrets.factory_pin && !ready.secrets.factory_puk, "{nth}");
            assert_eq!(ready.secrets.management_key, ManagementKeyKind::Protected, "{nth}");
            assert_eq!(ready.share_points, [waiting.share.public().into()], "{nth}");
            assert!(desk.kms.state().puk.is_some(), "{nth}: nobody can unblock it");
            desk.remove(index);
            if !pulled {
                break;
            }
        }
        // PIN; the kept management key, the key, the note; three keys; PUK; two certificates; share, its certificate, history.
        assert_eq!(steps, 13);
    });
}

#[test]
fn a_card_of_somebody_elses_is_not_touched() {
    readers::private(1, |readers| {
        let mut desk = desk_of(readers);
        desk.start_agent();

        let index = desk.new_card();
        desk.cards[index].0.set_management_key(3, &[0x5a; 24]).unwrap();
        desk.insert(index);
        let card = seen(&desk, index);
        assert_eq!(card.secrets.management_key, ManagementKeyKind::Unknown);
        assert_eq!(prepare(&desk, index, new_pin()).unwrap_err(), AgentFault::ManagementKeyUnknown);
        assert_eq!(desk.cards[index].0.seen(ins::GENERATE), 0);
        desk.remove(index);
    });
}

#[test]
fn keys_of_unknown_origin_are_left_alone() {
    readers::private(1, |readers| {
        let mut desk = desk_of(readers);
        let elsewhere = desk.path("elsewhere");
        std::fs::create_dir(&elsewhere).unwrap();
        let maker = TestRoot::open(&elsewhere).unwrap();
        let index = desk.new_card();
        desk.cards[index].0 = VirtualCard::create(&elsewhere.join("card.json"), 8_100, &maker).unwrap();
        desk.start_agent();
        desk.insert(index);
        seen(&desk, index);
        // Its maker is not believed here: now there are keys, and nothing that proves where they come from.
        assert_eq!(prepare(&desk, index, new_pin()).unwrap().attestation, Attestation::None);
        let (made, changes) = (desk.cards[index].0.seen(ins::GENERATE), desk.cards[index].0.changes());
        assert_eq!(prepare(&desk, index, new_pin()).unwrap_err(), AgentFault::CardInUse);
        assert_eq!((desk.cards[index].0.seen(ins::GENERATE), desk.cards[index].0.changes()), (made, changes));
    });
}

#[test]
fn a_blocked_new_card_says_so_and_is_not_tried() {
    readers::private(1, |readers| {
        let mut desk = desk_of(readers);
        desk.start_agent();
        let index = desk.new_card();
        desk.cards[index].0.block_pin().unwrap();
        desk.insert(index);
        seen(&desk, index);
        assert_eq!(prepare(&desk, index, new_pin()).unwrap_err(), AgentFault::PinBlocked);
        assert_eq!(desk.cards[index].0.changes(), 0);
    });
}

#[test]
fn half_of_the_keys_are_completed() {
    readers::private(1, |readers| {
        let mut desk = desk_of(readers);
        desk.start_agent();
        let index = desk.new_card();
        desk.insert(index);
        let first = prepare_until_two_keys(&mut desk, index);
        let prepared = prepare(&desk, index, new_pin()).unwrap();
        assert_eq!(prepared.keys.authentication.0, first);
        assert!(matches!(prepared.attestation, Attestation::Generated { .. }));
    });
}

/// Pulls the card as it makes its third key, and puts it in again; the first key.
fn prepare_until_two_keys(desk: &mut Desk, index: usize) -> warifu_split_key::point::Point {
    seen(desk, index);
    desk.cards[index].0.pull_at(ins::GENERATE, 3);
    prepare(desk, index, new_pin()).unwrap_err();
    desk.remove(index);
    desk.insert(index);
    let name = desk.readers.name(index);
    let first = until("the card is seen", || {
        PivCard::open(&name).ok().and_then(|mut card| card.public_key(KeyRole::Authentication).ok())
    });
    seen(desk, index);
    first
}

#[test]
fn a_full_card_says_so_until_dead_shares_make_room() {
    readers::private(1, |readers| {
        let mut desk = desk_of(readers);
        let units: Vec<Unit> = (0..20).map(|number| Unit::draw(&format!("課 {number}"))).collect();
        let member = desk.member(&units.iter().collect::<Vec<_>>());
        desk.start_agent();
        desk.insert(member.index);
        let card = seen(&desk, member.index);
        assert_eq!(card.shares, 20);
        let waiting = Waiting::draw(Vec::new());
        let prepared =
            Prepared { keys: card.keys.unwrap(), attestation: Attestation::None, custody: card.custody };
        let bring = |dead| {
            waiting.offer(&desk, &prepared);
            let request = Personalize {
                serial: card.serial,
                pin: text(PIN),
                card: waiting.card,
                grants: vec![waiting.grant],
                officers: Vec::new(),
                dead,
            };
            faulty(desk.runtime.block_on(desk.client().personalize(&request)))
        };
        assert_eq!(bring(Vec::new()).unwrap_err(), AgentFault::CardFull);
        // What is dead is named one by one: a point that the card has not is no harm.
        let over = card.share_points[7];
        assert_eq!(bring(vec![over, waiting.unit.key.into()]).unwrap().imported, [waiting.grant]);
        let points = seen(&desk, member.index).share_points;
        assert!(points.len() == 20 && !points.contains(&over));
        assert!(points.contains(&waiting.share.public().into()));
    });
}

#[test]
fn a_members_pc_picks_up_what_may_come_there_and_nothing_else() {
    readers::private(1, |readers| {
        let mut desk = desk_of(readers);
        let old = Unit::draw("税務課");
        let member = desk.member(&[&old]);
        desk.start_agent();
        desk.insert(member.index);
        let keys = seen(&desk, member.index).keys.unwrap();
        let (at_own_pcs, at_the_desk) = (Waiting::draw(Vec::new()), Waiting::draw(Vec::new()));
        at_own_pcs
            .offer(&desk, &Prepared { keys, attestation: Attestation::None, custody: Custody::HostMemory });
        let held_back =
            sealed_share(&desk, at_the_desk.grant, &at_the_desk.unit, &at_the_desk.share, &keys.transport.0);
        {
            let mut kms = desk.kms.state();
            let package = kms.package.as_mut().unwrap();
            package.shares[0].custody = Custody::OwnPc;
            package.shares.push(held_back);
        }
        desk.until_pin_needed();
        assert!(desk.status().brought.is_empty());
        desk.unlock(None, PIN).unwrap();
        let brought = until("the share comes by itself", || {
            let brought = desk.status().brought;
            (!brought.is_empty()).then_some(brought)
        });
        assert_eq!(brought.len(), 1);
        let points = until("the card is read again", || {
            let points = seen(&desk, member.index).share_points;
            (points.len() == 2).then_some(points)
        });
        assert!(points.contains(&at_own_pcs.share.public().into()));
        let waiting: Vec<Id> =
            desk.kms.state().package.as_ref().unwrap().shares.iter().map(|share| share.grant).collect();
        assert_eq!(waiting, [at_the_desk.grant], "it waits for the officers' desk");
    });
}
