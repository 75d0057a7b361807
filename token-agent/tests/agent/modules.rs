//! Cards behind a vendor's PKCS#11 module: SoftHSM, behind a module that can be pulled and made to hang.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use warifu_api::wire::agent::{
    AgentFault, AgentState, CardInReader, OpenTarget, Personalize, PinText, Prepare, SignRequest,
};
use warifu_api::wire::authority::{Package, PackagedShare};
use warifu_broken_parts::{Call, PullableHsm};
use warifu_hardware::hsm::wrap::wrap_share;
use warifu_ledger::Id;
use warifu_ledger::dsse::Envelope;
use warifu_ledger::key::Bytes;
use warifu_ledger::statement::{Attestation, Custody, Order, Right, UnitKind};
use warifu_virtual_card::readers;
use zeroize::Zeroizing;

use crate::desk::{Desk, ONE_SECOND, PIN, faulty, is_gone, processes_with, until};
use crate::organization::{Unit, certificate, rng};
use crate::routing::{is_sent, route_with};
use crate::services::my_grant;

const LABEL: &str = "hanako";
/// The token's PIN; the PIV card beside it has another one.
const TOKEN_PIN: &str = "246810";

/// A token without keys, for the agent that is started next.
fn token(desk: &mut Desk) -> PullableHsm {
    let program = Path::new(env!("CARGO_BIN_EXE_warifu-agent")).with_file_name("warifu-card-module");
    assert!(program.exists(), "{} is missing: build the programs first", program.display());
    let folder = desk.path("vendor");
    std::fs::create_dir_all(folder.join("tokens")).unwrap();
    let settings = folder.join("softhsm2.conf");
    let text = format!("directories.tokendir = {}\nlog.level = ERROR\n", folder.join("tokens").display());
    std::fs::write(&settings, text).unwrap();
    let made = Command::new("softhsm2-util")
        .args(["--init-token", "--free", "--label", LABEL, "--so-pin", "87654321", "--pin", TOKEN_PIN])
        .env("SOFTHSM2_CONF", &settings)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let module = PullableHsm::build(&folder).unwrap();
    desk.environment("SOFTHSM2_CONF", &settings);
    desk.argument(&["--card-module", &format!("{}:{LABEL}", module.module().display())]);
    module
}

fn pin() -> PinText {
    PinText(Zeroizing::new(TOKEN_PIN.to_owned()))
}

fn of_module(desk: &Desk) -> Option<CardInReader> {
    let cards = desk.runtime.block_on(desk.client().cards()).unwrap().cards;
    cards.into_iter().find(|card| card.reader.contains("pullable.so"))
}

/// Prepares the token, and has the agent bring a share for a unit onto it, as at an officer's desk.
fn issue(desk: &mut Desk, unit: &Unit) -> u32 {
    let found = until("the token is seen", || of_module(desk));
    assert_eq!((found.custody, found.keys, found.shares), (Custody::TokenUnwrap, None, 0));
    let serial = found.serial;
    let client = desk.client();
    let prepared = faulty(desk.runtime.block_on(client.prepare(&Prepare { serial, pin: pin() }))).unwrap();
    assert_eq!((prepared.attestation, prepared.custody), (Attestation::None, Custody::TokenUnwrap));

    let (card, grant) = (Id::draw(&mut rng()), Id::draw(&mut rng()));
    let (a, b) = unit.split();
    let transport = prepared.keys.transport.0;
    let wrapped = |share: &warifu_split_key::issuer::CardShare| {
        Bytes(wrap_share(&mut rng(), &transport, &share.to_pkcs8_der()).unwrap().to_bytes())
    };
    let authentication = prepared.keys.authentication.0;
    let uri = format!("urn:warifu:{}:card:{card}", desk.organization);
    let mut package = Package {
        authentication: Some(vec![Bytes(certificate(&authentication, Some(uri)))]),
        signature: Some(vec![Bytes(certificate(&prepared.keys.signature.0, None))]),
        shares: vec![PackagedShare {
            grant,
            unit: unit.id,
            custody: prepared.custody,
            card_point: a.public().into(),
            // Another share than the one that everybody agreed on.
            sealed: wrapped(&unit.split().0),
            certificate: Bytes(certificate(&a.public(), None)),
        }],
        pending: Vec::new(),
    };
    let request = || Personalize {
        serial,
        pin: pin(),
        card,
        grants: vec![grant],
        officers: Vec::new(),
        dead: Vec::new(),
    };
    desk.kms.state().package = Some(package.clone());
    let refused = faulty(desk.runtime.block_on(desk.client().personalize(&request())));
    assert!(matches!(refused, Err(AgentFault::NotTrustworthy { .. })), "{refused:?}");
    assert_eq!(until("the token is seen", || of_module(desk)).shares, 0);
    package.shares[0].sealed = wrapped(&a);
    desk.kms.state().package = Some(package);
    let done = faulty(desk.runtime.block_on(desk.client().personalize(&request()))).unwrap();
    assert_eq!(done.imported, [grant]);

    for site in &desk.sites {
        let b = warifu_split_key::keeper::SiteShare::from_bytes(&b.expose_bytes()).unwrap();
        let mut state = site.state();
        let member = state.members.entry(warifu_api::tls::PeerKey(authentication)).or_default();
        member.card = Some(card);
        member.grants.push((my_grant(grant, unit, a.public()), b));
    }
    serial
}

fn shown(desk: &Desk, unit: &Unit, name: &str) -> PathBuf {
    let file = desk.sealed(name, &unit.key, b"secret");
    desk.view(&file).unwrap()
}

#[test]
fn a_vendors_token_is_issued_and_opens_files_beside_a_piv_card() {
    readers::private(1, |readers| {
        let mut desk = Desk::new(readers);
        let (tax, welfare) = (Unit::draw("税務課"), Unit::draw("福祉課"));
        let member = desk.member(&[&welfare]);
        let module = token(&mut desk);
        desk.start_agent_anyhow(&["sh", "-c", "exec tail -f -- \"$1\"", "viewer"]);
        let serial = issue(&mut desk, &tax);
        desk.insert(member.index);
        let logins = module.logins();
        desk.unlock(Some(serial), TOKEN_PIN).unwrap();
        assert_eq!(module.logins(), logins + 1, "one login an insertion");
        until("the PIV card is seen", || desk.unlock(Some(desk.serial(member.index)), PIN).ok());

        let (of_token, of_card) = (shown(&desk, &tax, "tax.age"), shown(&desk, &welfare, "welfare.age"));
        // One signature by 9C, with its own PIN.
        let order = Order {
            organization: desk.organization,
            id: Id::draw(&mut rng()),
            expires_at: 1,
            seen: String::new(),
            acts: Vec::new(),
        };
        let mut envelope = Envelope::unsigned(&order).unwrap();
        let request = SignRequest { serial, pin: pin(), envelope: envelope.clone() };
        let signed = faulty(desk.runtime.block_on(desk.client().sign(&request))).unwrap();
        envelope.add_signature(&signed.key, signed.signature.0);
        envelope.verify(&signed.key).unwrap();

        let pulled = Instant::now();
        module.pull().unwrap();
        until("what the token opened is gone", || is_gone(&of_token).then_some(()));
        assert!(pulled.elapsed() < ONE_SECOND, "{:?}", pulled.elapsed());
        assert!(!is_gone(&of_card), "the other card is still in");
        assert_eq!(desk.unlock(Some(serial), TOKEN_PIN).err(), Some(AgentFault::NoCard));
        module.put_back().unwrap();
        until("the token is seen again", || of_module(&desk));
        desk.unlock(Some(serial), TOKEN_PIN).unwrap();
        shown(&desk, &tax, "again.age");
    });
}

/// A dispatcher's token computes its part and signs the slips, as a PIV card does.
#[test]
fn a_vendors_token_routes_what_it_cannot_open() {
    readers::private(1, |readers| {
        let mut desk = Desk::new(readers);
        let (front, tax) = (Unit::of_kind(UnitKind::FrontDesk, "受付"), Unit::draw("税務課"));
        let member = desk.member(&[&tax]);
        let _module = token(&mut desk);
        desk.publish(&[&front, &tax]);
        desk.start_agent_anyhow(&["sh", "-c", "exec tail -f -- \"$1\"", "viewer"]);
        let serial = issue(&mut desk, &front);
        let keys = until("the token is seen with its keys", || of_module(&desk)?.keys);
        let signature = keys.signature.0;
        let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis();
        for site in &desk.sites {
            let mut state = site.state();
            state.time = now.try_into().unwrap();
            let of_token = |grant: &warifu_api::wire::site::MyGrant| grant.unit == front.id;
            for holder in state.members.values_mut() {
                for (grant, _) in holder.grants.iter_mut().filter(|(grant, _)| of_token(grant)) {
                    (grant.right, grant.routes_to) = (Right::Route, [tax.id].into());
                    holder.signature = Some(signature);
                }
            }
        }
        desk.unlock(Some(serial), TOKEN_PIN).unwrap();
        let file = desk.sealed("a.age", &front.key, b"secret");
        assert_eq!(desk.view(&file), Err(AgentFault::ForRouting { unit: "受付".to_owned() }));
        let outcomes = route_with(&desk, &[&file], &[tax.id], TOKEN_PIN).unwrap();
        assert!(outcomes.iter().flatten().all(is_sent), "{outcomes:?}");
        desk.insert(member.index);
        until("the PIV card is seen", || desk.unlock(Some(desk.serial(member.index)), PIN).ok());
        assert_eq!(std::fs::read(desk.view(&file).unwrap()).unwrap(), b"secret");
    });
}

#[test]
fn a_hung_module_is_told_and_its_files_are_closed_within_a_second() {
    readers::private(1, |readers| {
        let mut desk = Desk::new(readers);
        let tax = Unit::draw("税務課");
        let module = token(&mut desk);
        desk.start_agent_anyhow(&["sh", "-c", "exec tail -f -- \"$1\"", "viewer"]);
        let serial = issue(&mut desk, &tax);
        desk.unlock(Some(serial), TOKEN_PIN).unwrap();
        let open = shown(&desk, &tax, "tax.age");
        let hung = Instant::now();
        module.hang_at(Call::GetSlotList).unwrap();
        until("what the token opened is gone", || is_gone(&open).then_some(()));
        assert!(hung.elapsed() < ONE_SECOND, "{:?}", hung.elapsed());
        until("the module is told to hang", || {
            let modules = desk.runtime.block_on(desk.client().cards()).unwrap().modules;
            modules.first().is_some_and(|module| module.hung).then_some(())
        });
        module.let_go().unwrap();
        until("the token is seen again", || of_module(&desk));
        let state = desk.unlock(Some(serial), TOKEN_PIN).unwrap().state;
        assert!(matches!(state, AgentState::Open { .. }), "{state:?}");

        // The process of a module does not outlive the agent.
        desk.kill_agent();
        let program = Path::new(env!("CARGO_BIN_EXE_warifu-agent")).with_file_name("warifu-card-module");
        until("no process of a module is left", || {
            processes_with(program.to_str().unwrap()).is_empty().then_some(())
        });
    });
}

#[test]
fn a_module_that_cannot_be_loaded_is_told() {
    readers::private(1, |readers| {
        let mut desk = Desk::new(readers);
        desk.argument(&["--card-module", "/nowhere/module.so"]);
        desk.start_agent_anyhow(&["true"]);
        until("the module is told to be unusable", || {
            let modules = desk.runtime.block_on(desk.client().cards()).unwrap().modules;
            let first = modules.first()?;
            (first.module == "/nowhere/module.so" && !first.hung).then_some(())
        });
        let output = desk.warifu(&["doctor", "--json"], "");
        assert!(crate::desk::stdout(&output).contains("module-unusable"), "{output:?}");
        let target = OpenTarget::View;
        let unit = Unit::draw("税務課");
        let file = desk.sealed("a.age", &unit.key, b"secret");
        assert_eq!(desk.open(&[&file], target).err(), Some(AgentFault::NoCard), "readers still work");
    });
}
