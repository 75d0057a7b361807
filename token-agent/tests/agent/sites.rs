//! What sites and the kms say, and what the agent does about it.

use warifu_api::ErrorCode;
use warifu_api::wire::UnitEntry;
use warifu_api::wire::agent::{
    AgentFault, AgentState, Forward, ForwardTo, Personalize, PinText, Prepare, SignRequest,
};
use warifu_api::wire::authority::{Directory, Package, PackagedShare};
use warifu_envelope::UnitRecipient;
use warifu_ledger::Id;
use warifu_ledger::dsse::Envelope;
use warifu_ledger::key::Bytes;
use warifu_ledger::statement::{Attestation, Order, ServiceKind, ServiceStatement, UnitKind};
use warifu_split_key::hpke;
use warifu_split_key::issuer::CardShare;
use warifu_virtual_card::readers;
use zeroize::Zeroizing;

use crate::desk::{Desk, PIN, faulty, is_gone, until};
use crate::organization::{Unit, certificate, rng};

#[test]
fn the_next_site_answers_where_the_first_cannot() {
    readers::private(1, |readers| {
        let mut desk = Desk::new(readers);
        let unit = Unit::draw("税務課");
        let member = desk.member(&[&unit]);
        desk.start_agent_with(&["true"]);
        desk.insert_and_unlock(member.index);
        let file = desk.sealed("a.age", &unit.key, b"x");
        desk.view(&file).unwrap();
        desk.sites[0].state().refuse = Some(ErrorCode::LeaseExpired);
        desk.view(&file).unwrap();
        assert_eq!(desk.sites[1].state().batches, 1);
        desk.sites[0].state().refuse = None;
        desk.sites[1].state().refuse_items = Some(ErrorCode::HsmUnavailable);
        desk.view(&file).unwrap();
        desk.sites[0].state().refuse = Some(ErrorCode::LeaseExpired);
        desk.sites[1].state().refuse = Some(ErrorCode::LeaseExpired);
        assert_eq!(desk.view(&file), Err(AgentFault::SiteRefused { code: ErrorCode::LeaseExpired }));
    });
}

#[test]
fn a_site_that_refuses_the_card_locks_and_wipes() {
    readers::private(1, |readers| {
        let mut desk = Desk::new(readers);
        let unit = Unit::draw("税務課");
        let member = desk.member(&[&unit]);
        desk.start_agent();
        desk.insert_and_unlock(member.index);
        let file = desk.sealed("a.age", &unit.key, b"x");
        let shown = desk.view(&file).unwrap();
        desk.sites[0].state().refuse = Some(ErrorCode::ContractOver);
        assert_eq!(desk.view(&file), Err(AgentFault::SiteRefused { code: ErrorCode::ContractOver }));
        until("it is wiped", || is_gone(&shown).then_some(()));
        desk.until_state("refused", |state| {
            matches!(state, AgentState::Refused { code: Some(ErrorCode::ContractOver), .. })
        });
        assert_eq!(desk.sites[1].state().batches, 0, "a refusal is not for another site to overrule");
        assert_eq!(desk.view(&file), Err(AgentFault::SiteRefused { code: ErrorCode::ContractOver }));

        // With the PIN again, once the site has changed its mind.
        desk.sites[0].state().refuse = None;
        desk.unlock(None, PIN).unwrap();
        desk.view(&file).unwrap();
    });
}

#[test]
fn a_card_that_is_resumed_opens_without_being_put_in_again() {
    readers::private(1, |readers| {
        let mut desk = Desk::new(readers);
        let unit = Unit::draw("税務課");
        let member = desk.member(&[&unit]);
        desk.start_agent();
        desk.insert_and_unlock(member.index);
        let file = desk.sealed("a.age", &unit.key, b"x");
        let suspended = AgentFault::SiteRefused { code: ErrorCode::CardSuspended };
        desk.sites[0].state().refuse = Some(ErrorCode::CardSuspended);
        assert_eq!(desk.view(&file), Err(suspended.clone()));
        desk.until_state("refused", |state| {
            matches!(state, AgentState::Refused { code: Some(ErrorCode::CardSuspended), .. })
        });

        // To ask the site again takes the PIN; while the card is suspended, the site says so again.
        assert_eq!(desk.view(&file), Err(AgentFault::PinNeeded { tries_left: 3 }));
        let status = desk.unlock(None, PIN).unwrap();
        assert_eq!(status.state.fault(), Some(suspended));
        assert_eq!(desk.view(&file), Err(AgentFault::PinNeeded { tries_left: 3 }));

        desk.sites[0].state().refuse = None;
        desk.unlock(None, PIN).unwrap();
        desk.view(&file).unwrap();
    });
}

#[test]
fn a_revocation_that_a_site_tells_of_wipes_at_once() {
    readers::private(1, |readers| {
        let mut desk = Desk::new(readers);
        let unit = Unit::draw("税務課");
        let member = desk.member(&[&unit]);
        desk.start_agent();
        desk.insert_and_unlock(member.index);
        let shown = desk.view(&desk.sealed("a.age", &unit.key, b"x")).unwrap();
        until("the agent listens", || desk.sites[0].has_listeners().then_some(()));
        for site in &desk.sites {
            site.state().refuse = Some(ErrorCode::CardNotLive);
            site.send("revoked");
        }
        until("it is wiped", || is_gone(&shown).then_some(()));
        desk.until_state("refused", |state| {
            matches!(state, AgentState::Refused { code: Some(ErrorCode::CardNotLive), .. })
        });
    });
}

#[test]
fn grants_that_have_not_begun_say_from_when() {
    readers::private(1, |readers| {
        let mut desk = Desk::new(readers);
        let unit = Unit::draw("税務課");
        let member = desk.member(&[&unit]);
        let sites = desk.sites.clone();
        let change = |starts_at, refuse| {
            for site in &sites {
                let mut state = site.state();
                state.refuse_items = refuse;
                let grants = &mut state.members.get_mut(&member.key).unwrap().grants;
                grants.iter_mut().for_each(|(grant, _)| grant.starts_at = starts_at);
            }
        };
        // 2027-04-01T00:00+09:00: a day earlier in UTC.
        change(Some(1_806_505_200_000), Some(ErrorCode::GrantNotStarted));
        desk.start_agent();
        desk.insert_and_unlock(member.index);
        desk.until_state(
            "open, for nothing yet",
            |state| matches!(state, AgentState::Open { units, .. } if units.is_empty()),
        );
        desk.sealed("a.age", &unit.key, b"x");
        let begins = AgentFault::NotBegun { from: "2027-04-01 00:00".to_owned() };
        assert_eq!(desk.view(&desk.path("a.age")), Err(begins));
        change(None, None);
        // At the latest with the next refreshing of what the site tells; the site's own word counts at once.
        desk.view(&desk.path("a.age")).unwrap();
    });
}

#[test]
fn a_grant_that_ends_closes_its_files_and_no_others() {
    readers::private(1, |readers| {
        let mut desk = Desk::new(readers);
        let (tax, welfare) = (Unit::draw("税務課"), Unit::draw("福祉課"));
        let member = desk.member(&[&tax, &welfare]);
        desk.start_agent();
        desk.insert_and_unlock(member.index);
        let ended = desk.view(&desk.sealed("a.age", &tax.key, b"x")).unwrap();
        let live = desk.view(&desk.sealed("b.age", &welfare.key, b"x")).unwrap();
        until("the agent listens", || desk.sites[0].has_listeners().then_some(()));
        for site in &desk.sites {
            site.state()
                .members
                .get_mut(&member.key)
                .unwrap()
                .grants
                .retain(|(grant, _)| grant.unit == welfare.id);
            site.send("grants");
        }
        until("it is wiped", || is_gone(&ended).then_some(()));
        assert!(live.exists());
        assert_eq!(desk.view(&desk.path("a.age")), Err(AgentFault::NotForYou));
        desk.view(&desk.path("b.age")).unwrap();
    });
}

fn directory(organization: warifu_ledger::Digest, units: Vec<UnitEntry>) -> Directory {
    Directory { organization, units, orders: vec![], checkpoint: None, included: vec![] }
}

#[test]
fn a_directory_is_shown_as_far_as_it_is_proved() {
    readers::private(1, |readers| {
        let mut desk = Desk::new(readers);
        desk.start_agent();
        let (tax, welfare, forged) = (Unit::draw("税務課"), Unit::draw("福祉課"), Unit::draw("偽"));
        let entry = |unit: &Unit, key, created| UnitEntry {
            unit: unit.id,
            label: unit.id.to_string(),
            name: unit.name.clone(),
            kind: UnitKind::Department,
            recipient: Some(UnitRecipient::encode(key)),
            created: Some(created),
            name_key: Some(unit.record().key),
        };
        let created = |unit: &Unit| unit.created(desk.organization, &desk.ca_service, &desk.kms_service);
        let mut half_signed = created(&forged);
        half_signed.signatures.remove(0);
        let units = vec![
            entry(&tax, &tax.key, created(&tax)),
            entry(&welfare, &forged.key, created(&welfare)),
            entry(&forged, &forged.key, half_signed),
            entry(&forged, &forged.key, created(&tax)),
            UnitEntry { created: None, ..entry(&forged, &forged.key, created(&forged)) },
        ];
        let orders: Vec<_> = [&tax, &welfare, &forged].map(|unit| unit.ordered(desk.organization)).into();
        let shown = |units: Vec<UnitEntry>, orders: &[Envelope]| {
            desk.kms.state().directory =
                Some(Directory { orders: orders.to_vec(), ..directory(desk.organization, units) });
            desk.runtime.block_on(desk.client().directory()).unwrap().units
        };
        assert_eq!(shown(units, &orders).iter().map(|unit| unit.unit).collect::<Vec<_>>(), [tax.id]);

        // P-3.1: a kms that gives one unit's name to another's key.
        let sound = entry(&welfare, &welfare.key, created(&welfare));
        assert_eq!(shown(vec![sound.clone()], &orders).len(), 1);
        assert!(shown(vec![sound.clone()], &orders[..1]).is_empty(), "without its order");
        for renamed in [
            UnitEntry { name: tax.name.clone(), ..sound.clone() },
            UnitEntry { label: tax.label(), ..sound.clone() },
            UnitEntry { label: tax.label(), name: tax.name.clone(), ..sound.clone() },
            UnitEntry { name_key: None, ..sound.clone() },
            UnitEntry { kind: UnitKind::Contractor, ..sound.clone() },
        ] {
            assert!(shown(vec![renamed], &orders).is_empty());
        }
        let erased = welfare.record().id.to_string();
        let erased = UnitEntry { label: erased.clone(), name: erased, name_key: None, ..sound };
        assert_eq!(shown(vec![erased], &orders).len(), 1);

        desk.kms.state().directory = Some(directory(warifu_ledger::Digest::of(b""), vec![]));
        let fault = faulty(desk.runtime.block_on(desk.client().directory())).unwrap_err();
        assert!(matches!(fault, AgentFault::NotTrustworthy { .. }));
    });
}

/// What the member of a new card chooses.
pub(crate) fn new_pin() -> PinText {
    PinText(Zeroizing::new("246810".to_owned()))
}

pub(crate) fn sealed_share(
    desk: &Desk,
    grant: Id,
    unit: &Unit,
    share: &CardShare,
    transport: &warifu_split_key::point::Point,
) -> PackagedShare {
    let info = [b"warifu/card-share/v1".as_slice(), desk.organization.as_bytes(), grant.as_bytes()].concat();
    let sealed = hpke::seal(&mut rng(), transport, &info, &[], share.expose_bytes().as_slice()).unwrap();
    PackagedShare {
        grant,
        unit: unit.id,
        custody: warifu_ledger::statement::Custody::HostMemory,
        card_point: share.public().into(),
        sealed: Bytes([sealed.enc.as_slice(), &sealed.ciphertext].concat()),
        certificate: Bytes(certificate(&share.public(), None)),
    }
}

#[test]
fn a_new_card_is_prepared_signs_and_is_personalized_once() {
    readers::private(1, |readers| {
        let mut desk = Desk::new(readers);
        desk.believes_the_maker();
        let index = desk.new_card();
        desk.start_agent();
        desk.insert(index);
        let serial = desk.serial(index);
        until("the card is seen", || {
            let cards = desk.runtime.block_on(desk.client().cards()).unwrap().cards;
            (cards.len() == 1 && cards[0].keys.is_none()).then_some(())
        });
        let client = desk.client();
        let prepared =
            faulty(desk.runtime.block_on(client.prepare(&Prepare { serial, pin: new_pin() }))).unwrap();
        assert!(matches!(prepared.attestation, Attestation::Generated { serial: s, .. } if s == serial));
        // An enrolment that was interrupted here begins again with the same keys.
        let again =
            faulty(desk.runtime.block_on(client.prepare(&Prepare { serial, pin: new_pin() }))).unwrap();
        assert_eq!(again.keys, prepared.keys);
        assert!(
            matches!(again.attestation, Attestation::Generated { .. }),
            "each attestation is a new certificate"
        );

        let statement =
            ServiceStatement { service: ServiceKind::Kms, keys: desk.kms_service.keys(), address: None };
        let order = |organization| {
            let id = Id::draw(&mut rng());
            let order = Order { organization, id, expires_at: 1, seen: String::new(), acts: Vec::new() };
            Envelope::unsigned(&order).unwrap()
        };
        let mut garbage = order(desk.organization);
        garbage.payload = warifu_ledger::key::Bytes(b"{}".to_vec());
        let another = order(warifu_ledger::Digest::of(b"another"));
        // A person's key speaks in orders and at the founding, and in nothing else that a program may have signed.
        for envelope in [Envelope::unsigned(&statement).unwrap(), garbage, another] {
            let request = SignRequest { serial, pin: new_pin(), envelope };
            let fault = faulty(desk.runtime.block_on(client.sign(&request))).map(|_| ()).unwrap_err();
            assert!(matches!(fault, AgentFault::Malformed { .. }), "{fault:?}");
        }
        let mut envelope = order(desk.organization);
        let request = SignRequest { serial, pin: new_pin(), envelope: envelope.clone() };
        let signed = faulty(desk.runtime.block_on(client.sign(&request))).unwrap();
        assert_eq!(signed.key, prepared.keys.signature);
        envelope.add_signature(&signed.key, signed.signature.0);
        envelope.verify(&prepared.keys.signature).unwrap();
        let wrong = SignRequest { serial, pin: PinText(Zeroizing::new("000000".to_owned())), envelope };
        let fault = faulty(desk.runtime.block_on(client.sign(&wrong))).unwrap_err();
        assert_eq!(fault, AgentFault::PinWrong { tries_left: 2 });

        let (unit, card) = (Unit::draw("税務課"), Id::draw(&mut rng()));
        let (share, _) = unit.split();
        let grant = Id::draw(&mut rng());
        let uri = format!("urn:warifu:{}:card:{card}", desk.organization);
        let transport = prepared.keys.transport.0;
        let mut bad = sealed_share(&desk, grant, &unit, &share, &transport);
        bad.card_point = unit.key.into();
        let package = |share| Package {
            authentication: Some(vec![Bytes(certificate(
                &prepared.keys.authentication.0,
                Some(uri.clone()),
            ))]),
            signature: Some(vec![Bytes(certificate(&prepared.keys.signature.0, None))]),
            shares: vec![share],
            pending: Vec::new(),
        };
        let personalize = || {
            let request = Personalize {
                serial,
                pin: new_pin(),
                card,
                grants: vec![grant],
                officers: Vec::new(),
                dead: Vec::new(),
            };
            faulty(desk.runtime.block_on(client.personalize(&request)))
        };
        desk.kms.state().package = Some(package(bad));
        let fault = personalize().unwrap_err();
        assert!(matches!(fault, AgentFault::NotTrustworthy { .. }), "P-6.3: {fault:?}");

        let good = sealed_share(&desk, grant, &unit, &share, &transport);
        desk.kms.state().package = Some(package(good.clone()));
        assert_eq!(personalize().unwrap().imported, [grant]);
        let state = desk.status().state;
        assert!(
            matches!(state, AgentState::PinNeeded { .. }),
            "one of ours now, and locked again: {state:?}"
        );
        // The confirmation got lost, so it comes again: nothing is imported twice.
        desk.kms.state().package = Some(package(good));
        assert!(personalize().unwrap().imported.is_empty());
        assert!(desk.kms.state().package.as_ref().unwrap().shares.is_empty());
        let cards = desk.runtime.block_on(client.cards()).unwrap().cards;
        assert_eq!(cards[0].shares, 1);
        let askers = desk.kms.state().askers.clone();
        let own = warifu_api::tls::PeerKey(prepared.keys.authentication.0);
        assert!(askers.iter().all(|asker| *asker == Some(own)), "by the card's own key");
        let given = desk.runtime.block_on(client.prepare(&Prepare { serial, pin: new_pin() }));
        assert_eq!(faulty(given).unwrap_err(), AgentFault::CardInUse);
    });
}

#[test]
fn requests_are_forwarded_with_the_cards_key_or_without() {
    readers::private(1, |readers| {
        let mut desk = Desk::new(readers);
        let member = desk.member(&[&Unit::draw("税務課")]);
        desk.start_agent();
        desk.insert(member.index);
        desk.until_pin_needed();
        let site = desk.runtime.block_on(desk.client().profile()).unwrap().sites[0].clone();
        let to_site = || ForwardTo::Site { address: site.address.clone(), key: site.keys.tls };
        let ask = |target, serial, path: &str| {
            let request =
                Forward { target, serial, method: "GET".to_owned(), path: path.to_owned(), body: None };
            faulty(desk.runtime.block_on(desk.client().forward(&request)))
        };
        assert_eq!(ask(ForwardTo::Authority, None, "/v1/status").unwrap().status, 200);
        let serial = Some(desk.serial(0));
        let package = "/v1/cards/00/package";
        assert_eq!(
            ask(ForwardTo::Authority, serial, package).unwrap_err(),
            AgentFault::PinNeeded { tries_left: 3 }
        );
        desk.unlock(serial, PIN).unwrap();
        let answer = ask(ForwardTo::Authority, serial, package).unwrap();
        assert_eq!((answer.status, answer.body["code"].as_str()), (404, Some("not-found")));
        // The agent has looked for what waits for the card as well.
        let askers = desk.kms.state().askers.clone();
        assert!(!askers.is_empty() && askers.iter().all(|asker| *asker == Some(member.key)));
        assert_eq!(ask(to_site(), None, "/v1/status").unwrap().status, 200);
        let elsewhere =
            ["status", "/v2/status", "/v1/a b", "/v1/../v1/status", "/v1/%73tatus", "/v1/ledger/stream"];
        let bad = elsewhere.map(|path| (ForwardTo::Authority, path));
        // What the agent does for a card by itself.
        let own = ["/v1/partials", "/v1/me", "/v1/events"].map(|path| (to_site(), path));
        for (target, path) in bad.into_iter().chain(own) {
            assert!(matches!(ask(target, None, path), Err(AgentFault::Malformed { .. })), "{path}");
        }
        let unsafe_ones =
            [("POST", "/v1/partials"), ("DELETE", "/v1/cards/00/package/00"), ("PUT", "/v1/status")];
        for (method, path) in unsafe_ones {
            for (target, serial) in [(ForwardTo::Authority, serial), (to_site(), None)] {
                let (method, path) = (method.to_owned(), path.to_owned());
                let request = Forward { target, serial, method, path, body: Some(serde_json::json!({})) };
                let answer = faulty(desk.runtime.block_on(desk.client().forward(&request)));
                assert!(matches!(answer, Err(AgentFault::Malformed { .. })));
            }
        }
        // A card shows itself to the kms of the profile, and to no address that somebody names.
        assert!(matches!(ask(to_site(), serial, "/v1/status"), Err(AgentFault::Malformed { .. })));
        let wrong_key = ForwardTo::Site { address: site.address.clone(), key: member.key.0.into() };
        assert_eq!(ask(wrong_key, None, "/v1/status").unwrap_err(), AgentFault::SiteUnreachable);
    });
}
