//! Files are routed without being read, and open where they were sent (protocol section 15, invariant I6).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use warifu_api::ErrorCode;
use warifu_api::wire::agent::{
    AgentFault, AgentState, FileOutcome, FileToRoute, OpenTarget, PinText, Plan, PlanRequest, PlannedFile,
    ROUTES_LIMIT, RouteOutcome, RouteRequest,
};
use warifu_api::wire::routing::{Batch, ReleasedPart};
use warifu_envelope::{TagStanza, read_header};
use warifu_ledger::statement::{Slips, UnitKind};
use warifu_ledger::{Digest, Id};
use warifu_split_key::partial::{PartialX, join};
use warifu_virtual_card::{ins, readers};
use zeroize::Zeroizing;

use crate::desk::{Desk, Member1, ONE_SECOND, PIN, faulty, stderr, stdout, until};
use crate::organization::Unit;
use crate::services::x_of;
use crate::slips::{digest, secret};

/// A town hall: a front desk, whose dispatcher routes to two departments, and a member of the first.
struct Town {
    desk: Desk,
    front: Unit,
    tax: Unit,
    welfare: Unit,
    dispatcher: Member1,
    member: Member1,
}

impl Town {
    /// One reader for the dispatcher's card, one for the member's; neither card is in.
    fn new(readers: warifu_virtual_card::readers::Readers) -> Self {
        let mut desk = Desk::new(readers);
        let (front, tax, welfare) =
            (Unit::of_kind(UnitKind::FrontDesk, "受付"), Unit::draw("税務課"), Unit::draw("福祉課"));
        let dispatcher = desk.dispatcher(&front, &[&tax, &welfare]);
        let member = desk.member(&[&tax]);
        desk.publish(&[&front, &tax, &welfare]);
        let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis();
        desk.sites.iter().for_each(|site| site.state().time = now.try_into().unwrap());
        desk.start_agent();
        Self { desk, front, tax, welfare, dispatcher, member }
    }

    fn dispatch(&mut self) {
        self.desk.insert_and_unlock(self.dispatcher.index);
    }

    /// The dispatcher goes, the member comes.
    fn change_places(&mut self) {
        let index = self.dispatcher.index;
        self.desk.remove(index);
        self.desk.until_state("no card", |state| matches!(state, AgentState::NoCard));
        self.desk.insert_and_unlock(self.member.index);
    }

    fn plan(&self, files: &[&Path], targets: &[Id]) -> Result<Plan, AgentFault> {
        plan(&self.desk, files, targets)
    }

    fn route(&self, files: &[&Path], targets: &[Id]) -> Result<Vec<Vec<RouteOutcome>>, AgentFault> {
        route_with(&self.desk, files, targets, PIN)
    }

    fn brought(&self) -> Vec<Batch> {
        self.desk.sites[0].state().slips.brought.clone()
    }

    /// Files that have come to the tax department.
    fn sent(&mut self, names: &[&str]) -> Vec<PathBuf> {
        let sealed = |name: &&str| self.desk.sealed(name, &self.front.key, name.as_bytes());
        let files: Vec<PathBuf> = names.iter().map(sealed).collect();
        self.dispatch();
        let outcomes = self.route(&paths(&files), &[self.tax.id]).unwrap();
        assert!(outcomes.iter().flatten().all(is_sent), "{outcomes:?}");
        self.change_places();
        files
    }
}

fn paths(files: &[PathBuf]) -> Vec<&Path> {
    files.iter().map(PathBuf::as_path).collect()
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

fn plan(desk: &Desk, files: &[&Path], targets: &[Id]) -> Result<Plan, AgentFault> {
    let files = files.iter().map(|path| text(path)).collect();
    let request = PlanRequest { serial: None, files, targets: targets.to_vec(), last_day: None };
    faulty(desk.runtime.block_on(desk.client().plan_routes(&request)))
}

/// Whatever is planned, as if the person agreed to it.
fn request(desk: &Desk, files: &[&Path], targets: &[Id], pin: &str) -> Result<RouteRequest, AgentFault> {
    let plan = plan(desk, files, targets)?;
    let files = files.iter().zip(&plan.files).map(|(path, planned)| match planned {
        PlannedFile::Ready { stanzas, .. } => FileToRoute { path: text(path), stanzas: *stanzas },
        PlannedFile::Failed { .. } => FileToRoute { path: text(path), stanzas: Digest([0; 32]) },
    });
    Ok(RouteRequest {
        serial: plan.serial,
        pin: PinText(Zeroizing::new(pin.to_owned())),
        spend_last_try: false,
        files: files.collect(),
        targets: targets.to_vec(),
        last_day: plan.last_day,
    })
}

pub(crate) fn route_with(
    desk: &Desk,
    files: &[&Path],
    targets: &[Id],
    pin: &str,
) -> Result<Vec<Vec<RouteOutcome>>, AgentFault> {
    let request = request(desk, files, targets, pin)?;
    faulty(desk.runtime.block_on(desk.client().route(&request))).map(|answer| answer.files)
}

pub(crate) fn is_sent(outcome: &RouteOutcome) -> bool {
    matches!(outcome, RouteOutcome::Sent { .. })
}

/// Whether nobody knows, and the slips are these.
fn is_uncertain(outcome: &RouteOutcome, numbers: &[Digest]) -> bool {
    matches!(outcome, RouteOutcome::Uncertain { slip, .. } if numbers.contains(&slip.slips))
}

fn failed(fault: AgentFault) -> Vec<RouteOutcome> {
    vec![RouteOutcome::Failed { fault }]
}

fn stanza(file: &Path) -> TagStanza {
    read_header(std::fs::File::open(file).unwrap()).unwrap().tag_stanzas().unwrap().remove(0)
}

#[test]
fn a_dispatcher_routes_what_he_cannot_read_and_the_member_opens_it() {
    readers::private(2, |readers| {
        let mut town = Town::new(readers);
        let files: Vec<PathBuf> = ["a.csv.age", "b.csv.age", "c.csv.age"]
            .iter()
            .map(|name| town.desk.sealed(name, &town.front.key, name.as_bytes()))
            .collect();
        let bytes = std::fs::read(&files[0]).unwrap();
        town.dispatch();
        let for_routing = AgentFault::ForRouting { unit: "受付".to_owned() };
        assert_eq!(town.desk.view(&files[0]), Err(for_routing.clone()));

        let card = &town.desk.cards[town.dispatcher.index].0;
        let before = (card.seen(ins::VERIFY), card.agreements());
        let plan = town.plan(&paths(&files), &[town.tax.id, town.welfare.id]).unwrap();
        assert_eq!(card.agreements(), before.1, "nothing is computed before the person agrees");
        let names: Vec<&str> = plan.targets.iter().map(|target| target.name.as_str()).collect();
        assert_eq!((names, plan.files.len()), (vec!["税務課", "福祉課"], 3));
        assert!(
            plan.files.iter().all(|file| {
                matches!(file, PlannedFile::Ready { unit: Some(unit), .. } if unit == "受付")
            })
        );
        let outcomes = town.route(&paths(&files), &[town.tax.id, town.welfare.id]).unwrap();
        assert!(outcomes.iter().all(|file| file.len() == 2 && file.iter().all(is_sent)), "{outcomes:?}");
        let card = &town.desk.cards[town.dispatcher.index].0;
        let after = (card.seen(ins::VERIFY), card.agreements());
        assert_eq!(
            after,
            (before.0 + 2, before.1 + 3),
            "one PIN, before the parts and for the signature; a part a file"
        );
        assert_eq!(std::fs::read(&files[0]).unwrap(), bytes, "the file stays as it is");
        let brought = town.brought();
        let statement: Slips = brought[0].slips.statement().unwrap();
        assert_eq!((brought.len(), brought[0].slips.signatures.len()), (1, 1), "one signature");
        assert_eq!((statement.count, statement.unit), (6, town.front.id));
        let time = town.desk.sites[0].state().time;
        let days = (statement.expires_at - time).div_ceil(24 * 60 * 60 * 1000);
        assert!((90..=91).contains(&days), "{days}");
        assert_eq!(town.desk.view(&files[0]), Err(for_routing));

        town.change_places();
        let card = &town.desk.cards[town.member.index].0;
        let (verified, agreed) = (card.seen(ins::VERIFY), card.agreements());
        let requests = town.desk.sites[0].state().batches;
        let outcomes = town.desk.open(&paths(&files), OpenTarget::View).unwrap();
        for (outcome, name) in outcomes.iter().zip(["a.csv", "b.csv", "c.csv"]) {
            let FileOutcome::Viewing { path, unit, routed: true } = outcome else { panic!("{outcome:?}") };
            assert_eq!((unit.as_str(), Path::new(path).file_name().unwrap()), ("税務課", name.as_ref()));
            assert_eq!(std::fs::read_to_string(path).unwrap(), format!("{name}.age"));
        }
        assert_eq!(town.desk.sites[0].state().batches, requests + 1, "one round trip");
        let card = &town.desk.cards[town.member.index].0;
        assert_eq!((card.seen(ins::VERIFY), card.agreements()), (verified, agreed + 3));

        // One for the member's own unit in the same request.
        let own = town.desk.sealed("own.age", &town.tax.key, b"own");
        let outcomes = town.desk.open(&[&files[0], &own], OpenTarget::View).unwrap();
        let routed = |outcome: &FileOutcome| matches!(outcome, FileOutcome::Viewing { routed: true, .. });
        assert_eq!(outcomes.iter().map(routed).collect::<Vec<_>>(), [true, false], "{outcomes:?}");
        assert_eq!(town.desk.sites[0].state().batches, requests + 2);
    });
}

/// I6: what the dispatcher's PC is told, and what his card gives it, opens nothing.
#[test]
fn nothing_that_a_dispatchers_pc_ever_sees_opens_the_file() {
    readers::private(2, |readers| {
        let mut town = Town::new(readers);
        let file = town.desk.sealed("a.age", &town.front.key, b"secret");
        town.dispatch();
        town.desk.view(&file).unwrap_err();
        town.route(&[&file], &[town.tax.id]).unwrap();
        town.desk.view(&file).unwrap_err();

        // What his card gave: it is in the seal, which the target's two halves open.
        let batch = town.brought().remove(0);
        let (statement, slip): (Slips, _) = (batch.slips.statement().unwrap(), &batch.items[0]);
        let (a, b) = town.tax.split();
        let a = warifu_split_key::keeper::SiteShare::from_bytes(&a.expose_bytes()).unwrap();
        let partial = |share| PartialX::from_bytes(&x_of(share, &slip.seal.0[..65]).0);
        let candidates = join(&partial(&a), &partial(&b)).unwrap();
        let routed = slip.routed_file(&statement);
        let card = routed.open_card_part(&candidates, &town.tax.key, &slip.seal.0).unwrap();
        let opens = |x: &[u8; 32]| {
            join(&card, &PartialX::from_bytes(x))
                .is_ok_and(|candidates| stanza(&file).open(&candidates, &town.front.key).is_ok())
        };

        let state = town.desk.sites[0].state();
        let (_, share) = &state.members[&town.dispatcher.key].grants[0];
        assert!(opens(&x_of(share, &stanza(&file).enc.to_uncompressed()).0), "the site's part would");
        let told = state.told.iter().filter(|(key, _)| *key == town.dispatcher.key);
        let mut seen = 0;
        for text in told.flat_map(|(_, text)| text.split('"')) {
            let bytes = BASE64_STANDARD.decode(text).unwrap_or_default();
            for part in bytes.windows(32) {
                seen += 1;
                assert!(!opens(part.try_into().unwrap()), "{text}");
            }
        }
        assert!(seen > 0, "keys at least");
        assert!(state.slips.asked.is_empty(), "a card that opens nothing does not ask for what was routed");
    });
}

#[test]
fn what_may_not_go_there_is_said_before_anything_is_signed() {
    readers::private(2, |readers| {
        let mut town = Town::new(readers);
        let other = Unit::draw("水道課");
        town.desk.publish(&[&town.front, &town.tax, &town.welfare, &other]);
        let (file, stranger) =
            (town.desk.sealed("a.age", &town.front.key, b"x"), town.desk.sealed("b.age", &other.key, b"x"));
        let no_card = plan(&town.desk, &[&file], &[town.tax.id]).unwrap_err();
        assert_eq!(no_card, AgentFault::NoCard);
        town.dispatch();
        let fault = |files: &[&Path], target| {
            let planned = town.plan(files, &[target]).unwrap().files;
            planned.into_iter().map(|file| match file {
                PlannedFile::Failed { fault } => Some(fault),
                PlannedFile::Ready { .. } => None,
            })
        };
        let not_a_target = AgentFault::SiteRefused { code: ErrorCode::NotATarget };
        assert_eq!(fault(&[&file], other.id).collect::<Vec<_>>(), [Some(not_a_target.clone())]);
        let missing = town.desk.path("missing");
        let faults: Vec<_> = fault(&[&file, &stranger, &missing], town.tax.id).collect();
        assert_eq!(faults[..2], [None, Some(AgentFault::NotForYou)]);
        assert!(matches!(faults[2], Some(AgentFault::FileUnreadable { .. })));
        // The others go all the same.
        let outcomes = town.route(&[&file, &stranger], &[town.tax.id]).unwrap();
        assert!(is_sent(&outcomes[0][0]));
        assert_eq!(outcomes[1], failed(AgentFault::FileChanged));
        // Whoever asks for what was not planned gets no further.
        let request = |targets: &[Id], count: usize| {
            let files =
                vec![FileToRoute { path: text(&file), stanzas: Digest::of(&stanza(&file).digest()) }; count];
            let (pin, targets) = (PinText(Zeroizing::new(PIN.to_owned())), targets.to_vec());
            let request = RouteRequest {
                serial: town.desk.serial(0),
                pin,
                spend_last_try: false,
                files,
                targets,
                last_day: town.plan(&[&file], &[town.tax.id]).unwrap().last_day,
            };
            faulty(town.desk.runtime.block_on(town.desk.client().route(&request))).map(|answer| answer.files)
        };
        let brought = town.brought().len();
        assert_eq!(request(&[other.id], 1), Ok(vec![failed(not_a_target)]));
        for (targets, count) in [
            (vec![Id([9; 16])], 1),
            (vec![town.tax.id, town.tax.id], 1),
            (vec![], 1),
            (vec![town.tax.id], 0),
            (vec![town.tax.id], 1025),
            (vec![town.tax.id, town.welfare.id], 513),
        ] {
            let refused = request(&targets, count);
            assert!(matches!(refused, Err(AgentFault::Malformed { .. })), "{targets:?} {count}: {refused:?}");
        }
        assert_eq!(town.brought().len(), brought);
        // The site has the last word.
        town.desk.sites[0].state().slips.refuse = Some(ErrorCode::Shredded);
        let shredded = AgentFault::SiteRefused { code: ErrorCode::Shredded };
        assert_eq!(town.route(&[&file], &[town.tax.id]).unwrap(), [failed(shredded)]);
    });
}

/// A key that the kms shows of a unit is the one that ca and kms have proved, or files do not go there.
#[test]
fn p_15_16_a_directory_that_lies_about_the_target_gets_nothing() {
    readers::private(2, |readers| {
        let mut town = Town::new(readers);
        let file = town.desk.sealed("a.age", &town.front.key, b"x");
        town.dispatch();
        let thief = Unit::draw("thief");
        let lies: [&dyn Fn(&mut warifu_api::wire::UnitEntry); 2] =
            [&|tax| tax.recipient = Some(warifu_envelope::UnitRecipient::encode(&thief.key)), &|tax| {
                tax.recipient = Some(warifu_envelope::UnitRecipient::encode(&thief.key));
                tax.created = Some(thief.created(
                    town.desk.organization,
                    &town.desk.ca_service,
                    &town.desk.kms_service,
                ));
            }];
        for lie in lies {
            town.desk.publish(&[&town.front, &town.tax, &town.welfare]);
            let agreed = request(&town.desk, &[&file], &[town.tax.id], PIN).unwrap();
            lie(&mut town.desk.kms.state().directory.as_mut().unwrap().units[1]);
            let refused = faulty(town.desk.runtime.block_on(town.desk.client().route(&agreed)));
            assert!(matches!(refused, Err(AgentFault::Malformed { .. })), "{refused:?}");
            let refused = town.plan(&[&file], &[town.tax.id]).err();
            assert!(matches!(refused, Some(AgentFault::Malformed { .. })), "{refused:?}");
        }
        assert!(town.brought().is_empty());
    });
}

/// What the card signs is the unit and the grant to it.
#[test]
fn p_15_16_a_site_that_tells_a_grant_under_another_units_id_gets_no_slip() {
    readers::private(2, |readers| {
        let mut town = Town::new(readers);
        let file = town.desk.sealed("a.age", &town.front.key, b"x");
        town.desk.sites.iter().for_each(|site| {
            let mut state = site.state();
            let (grant, _) = &mut state.members.get_mut(&town.dispatcher.key).unwrap().grants[0];
            (grant.unit, grant.unit_name) = (town.welfare.id, "福祉課".to_owned());
        });
        town.dispatch();
        let planned = town.plan(&[&file], &[town.tax.id]).unwrap().files.remove(0);
        let not_trusted = |fault: &AgentFault| matches!(fault, AgentFault::NotTrustworthy { .. });
        assert!(matches!(&planned, PlannedFile::Failed { fault } if not_trusted(fault)), "{planned:?}");
        // Another name of the same unit is not shown.
        town.desk.sites.iter().for_each(|site| {
            let mut state = site.state();
            let (grant, _) = &mut state.members.get_mut(&town.dispatcher.key).unwrap().grants[0];
            (grant.unit, grant.unit_name) = (town.front.id, "福祉課".to_owned());
        });
        assert_eq!(town.desk.warifu(&["lock"], "").status.code(), Some(0));
        town.desk.unlock(None, PIN).unwrap();
        let planned = town.plan(&[&file], &[town.tax.id]).unwrap().files.remove(0);
        assert!(
            matches!(&planned, PlannedFile::Ready { unit: Some(unit), .. } if unit == "受付"),
            "{planned:?}"
        );
    });
}

/// A thousand files, and none of them is kept open.
#[test]
fn as_many_files_as_a_request_takes_are_routed_with_few_descriptors() {
    readers::private(2, |readers| {
        let mut town = Town::new(readers);
        let files: Vec<PathBuf> =
            (0..ROUTES_LIMIT).map(|n| town.desk.sealed(&format!("{n}.age"), &town.front.key, b"x")).collect();
        town.desk.limit_agent("nofile", 256);
        town.dispatch();
        let outcomes = town.route(&paths(&files), &[town.tax.id]).unwrap();
        assert!(
            outcomes.iter().flatten().all(is_sent),
            "{:?}",
            outcomes.iter().flatten().find(|it| !is_sent(it))
        );
        assert_eq!(town.brought().len(), 1);
    });
}

/// Headers that were made to keep the PC busy.
#[test]
fn files_with_too_many_recipients_together_are_not_looked_through() {
    readers::private(2, |readers| {
        let mut town = Town::new(readers);
        let keys = vec![town.front.key; 4096];
        let path = town.desk.path("many.age");
        warifu_envelope::seal(&keys, false, &b"x"[..], std::fs::File::create(&path).unwrap()).unwrap();
        town.dispatch();
        let planned = town.plan(&[path.as_path(); 17], &[town.tax.id]).unwrap().files;
        let (last, others) = planned.split_last().unwrap();
        assert_eq!(*last, PlannedFile::Failed { fault: AgentFault::TooManyRecipients });
        assert!(others.iter().all(|it| matches!(it, PlannedFile::Ready { .. })));
    });
}

/// Nobody here can have been sent it.
#[test]
fn a_file_without_a_recipient_of_this_kind_is_for_nobody_here() {
    readers::private(2, |readers| {
        let mut town = Town::new(readers);
        let path = town.desk.path("other.age");
        let sealed = "age-encryption.org/v1\n-> X25519 TEiF0ypqr+bpvcqXNyCVJpL7OuwPdVwPL7KQEbFDOCc\n\
            EmECAEcKN+n/Vs9SbWiV+Hu0r+E8R77DdWYyd83nw7U\n--- Vn+54jqiiUCE+WZcEVY3f1sqHjlu/z1LCQ/T7Xm7qI0\n0123456789";
        std::fs::write(&path, sealed).unwrap();
        town.desk.insert_and_unlock(town.member.index);
        let planned = town.plan(&[&path], &[town.welfare.id]).unwrap().files;
        assert_eq!(planned, [PlannedFile::Failed { fault: AgentFault::NotForYou }]);
    });
}

/// The PIN was entered: that is not what is missing.
#[test]
fn a_card_that_was_named_and_has_no_site_is_not_asked_for_its_pin() {
    readers::private(3, |readers| {
        let mut town = Town::new(readers);
        let other = town.desk.member(&[&town.welfare]);
        let file = town.desk.sealed("a.age", &town.front.key, b"x");
        town.desk.insert_and_unlock(other.index);
        town.desk.sites.iter().for_each(|site| site.state().refuse = Some(ErrorCode::HsmUnavailable));
        town.desk.insert(town.dispatcher.index);
        let serial = Some(town.desk.serial(town.dispatcher.index));
        until("the card is seen", || town.desk.unlock(serial, PIN).ok());
        let request =
            PlanRequest { serial, files: vec![text(&file)], targets: vec![town.tax.id], last_day: None };
        let planned = faulty(town.desk.runtime.block_on(town.desk.client().plan_routes(&request)));
        let refused = AgentFault::SiteRefused { code: ErrorCode::HsmUnavailable };
        assert_eq!(planned.map(|plan| plan.serial), Err(refused));
    });
}

#[test]
fn a_file_that_changes_after_the_person_has_agreed_stays() {
    readers::private(2, |readers| {
        let mut town = Town::new(readers);
        let file = town.desk.sealed("a.age", &town.front.key, b"x");
        town.dispatch();
        let agreed = request(&town.desk, &[&file], &[town.tax.id], PIN).unwrap();
        town.desk.sealed("a.age", &town.front.key, b"y");
        let answer = faulty(town.desk.runtime.block_on(town.desk.client().route(&agreed))).unwrap();
        assert_eq!(answer.files, [failed(AgentFault::FileChanged)]);
        assert!(town.brought().is_empty());
    });
}

#[test]
fn a_wrong_pin_sends_nothing() {
    readers::private(2, |readers| {
        let mut town = Town::new(readers);
        let file = town.desk.sealed("a.age", &town.front.key, b"x");
        town.dispatch();
        let computed = town.desk.cards[town.dispatcher.index].0.agreements();
        let wrong = route_with(&town.desk, &[&file], &[town.tax.id], "000000");
        assert_eq!(wrong, Err(AgentFault::PinWrong { tries_left: 2 }));
        assert_eq!(town.desk.cards[town.dispatcher.index].0.agreements(), computed, "nothing before the PIN");
        assert_eq!(route_with(&town.desk, &[&file], &[town.tax.id], "123"), Err(AgentFault::PinMalformed));
        assert!(town.brought().is_empty());
        assert!(is_sent(&town.route(&[&file], &[town.tax.id]).unwrap()[0][0]));
    });
}

#[test]
fn slips_are_brought_again_where_the_connection_breaks() {
    readers::private(2, |readers| {
        let mut town = Town::new(readers);
        let file = town.desk.sealed("a.age", &town.front.key, b"x");
        town.dispatch();
        let breaks = |count| town.desk.sites.iter().for_each(|site| site.state().slips.break_off = count);
        town.desk.sites[0].state().slips.break_off = 1;
        assert!(is_sent(&town.route(&[&file], &[town.tax.id]).unwrap()[0][0]));
        let brought = town.brought();
        assert_eq!(brought.iter().map(digest).collect::<Vec<_>>(), [digest(&brought[0]); 2], "the same ones");

        breaks(9);
        let outcomes = town.route(&[&file], &[town.tax.id]).unwrap();
        // With its number, by which it can be revoked.
        let last = town.desk.sites.iter().flat_map(|site| site.state().slips.brought.last().cloned());
        let numbers: Vec<Digest> = last.map(|batch| digest(&batch)).collect();
        assert!(is_uncertain(&outcomes[0][0], &numbers), "{outcomes:?} {numbers:?}");
        breaks(0);
        // A site that cannot, has not.
        town.desk.sites.iter().for_each(|site| site.state().refuse = Some(ErrorCode::HsmUnavailable));
        let refused = AgentFault::SiteRefused { code: ErrorCode::HsmUnavailable };
        let outcome = town.route(&[&file], &[town.tax.id]);
        assert_eq!(outcome, Ok(vec![failed(refused)]));
        town.desk.sites[1].state().refuse = None;
        town.desk.sites[1].state().slips.brought.clear();
        assert!(is_sent(&town.route(&[&file], &[town.tax.id]).unwrap()[0][0]), "by the next one");
        assert_eq!(town.desk.sites[1].state().slips.brought.len(), 1);
        // Nor does a site know whose database failed.
        town.desk.sites.iter().for_each(|site| site.state().refuse = Some(ErrorCode::StorageUnavailable));
        let outcomes = town.route(&[&file], &[town.tax.id]).unwrap();
        assert!(matches!(outcomes[0][0], RouteOutcome::Uncertain { .. }), "{outcomes:?}");
    });
}

/// I7, on both sides.
#[test]
fn a_card_that_goes_midway_ends_it_within_a_second() {
    readers::private(2, |readers| {
        let mut town = Town::new(readers);
        let file = town.desk.sealed("a.age", &town.front.key, b"x");
        town.dispatch();
        let agreed = request(&town.desk, &[&file], &[town.tax.id], PIN).unwrap();
        town.desk.sites[0].state().slips.hold = Some(Arc::default());
        let client = town.desk.client();
        let routing = town.desk.runtime.spawn(async move { client.route(&agreed).await });
        until("the slips are at the site", || (!town.brought().is_empty()).then_some(()));
        let pulled = Instant::now();
        town.desk.remove(town.dispatcher.index);
        let answer = faulty(town.desk.runtime.block_on(routing).unwrap()).unwrap();
        assert!(pulled.elapsed() < ONE_SECOND, "{:?}", pulled.elapsed());
        assert!(is_uncertain(&answer.files[0][0], &[digest(&town.brought()[0])]), "{answer:?}");

        town.desk.until_state("no card", |state| matches!(state, AgentState::NoCard));
        town.desk.insert_and_unlock(town.member.index);
        let (client, asked) = (town.desk.client(), || town.desk.sites[0].state().slips.asked.len());
        let open =
            warifu_api::wire::agent::OpenRequest { files: vec![text(&file)], target: OpenTarget::View };
        let opening = town.desk.runtime.spawn(async move { client.open(&open).await });
        until("the site is asked", || (asked() == 1).then_some(()));
        let pulled = Instant::now();
        town.desk.remove(town.member.index);
        let outcome = faulty(town.desk.runtime.block_on(opening).unwrap()).unwrap().files.remove(0);
        assert!(pulled.elapsed() < ONE_SECOND, "{:?}", pulled.elapsed());
        assert!(matches!(outcome, FileOutcome::Failed { fault: AgentFault::CardRemoved }), "{outcome:?}");
    });
}

/// What a site makes of what it releases.
type Alteration = fn(&mut Vec<ReleasedPart>);

#[test]
fn p_15_16_a_site_that_releases_something_else_opens_nothing() {
    readers::private(2, |readers| {
        let mut town = Town::new(readers);
        let files = town.sent(&["a.age", "b.age"]);
        let out = town.desk.path("out");
        let alter = |alter: Alteration| {
            town.desk.sites[0].state().slips.alter = Some(Box::new(alter));
        };
        let altered: [(&str, Alteration); 5] = [
            ("no part", |parts| parts.clear()),
            ("no way", |parts| parts[0].way.clear()),
            ("the x of the seal for that of the file", |parts| {
                parts[0].file_x = secret(*parts[0].seal_x.0);
            }),
            ("the x of the file for that of the seal", |parts| {
                parts[0].seal_x = secret(*parts[0].file_x.0);
            }),
            ("what is no x", |parts| parts[0].file_x = secret([0xff; 32])),
        ];
        for (what, alteration) in altered {
            alter(alteration);
            assert_eq!(town.desk.export(&files[0], &out), Err(AgentFault::SlipDoesNotOpen), "{what}");
        }
        // The slip of another file, with all that belongs to it.
        let other = town.brought()[0].clone();
        let statement: Slips = other.slips.statement().unwrap();
        let proved = statement.prove(other.items).unwrap();
        town.desk.sites[0].state().slips.alter = Some(Box::new(move |parts| {
            for part in parts {
                let index = part.way[0].slip.slip.index;
                part.way[0].slip = proved[usize::try_from(1 - index).unwrap()].clone();
            }
        }));
        assert_eq!(town.desk.export(&files[0], &out), Err(AgentFault::SlipDoesNotOpen));
        // One that does not open says nothing of the others.
        let double = |parts: &mut Vec<ReleasedPart>, times| {
            for _ in 0..times {
                let good = &parts[0];
                let (seal_x, file_x) = (secret(*good.seal_x.0), secret([5; 32]));
                let (grant, way, unit_key) = (good.grant, good.way.clone(), good.unit_key);
                parts.push(ReleasedPart { grant, way, unit_key, seal_x, file_x });
            }
            parts.reverse();
        };
        town.desk.sites[0].state().slips.alter = Some(Box::new(move |parts| double(parts, 3)));
        assert_eq!(town.desk.export(&files[0], &out), Ok(5));
        std::fs::remove_file(&out).unwrap();
        town.desk.sites[0].state().slips.alter = Some(Box::new(move |parts| double(parts, 4)));
        // An answer with more than there may be is none: the next site is asked, which has nothing.
        assert_eq!(town.desk.export(&files[0], &out), Err(AgentFault::NotForYou));
        assert!(!out.exists());
    });
}

#[test]
fn what_was_routed_to_nobody_here_is_asked_for_in_pieces_and_said_to_be_for_nobody() {
    readers::private(2, |readers| {
        let mut town = Town::new(readers);
        let files: Vec<PathBuf> =
            (0..70).map(|n| town.desk.sealed(&format!("{n}.age"), &town.front.key, b"x")).collect();
        town.desk.insert_and_unlock(town.member.index);
        let outcomes = town.desk.open(&paths(&files), OpenTarget::View).unwrap();
        assert!(
            outcomes.iter().all(|it| matches!(it, FileOutcome::Failed { fault: AgentFault::NotForYou })),
            "{outcomes:?}"
        );
        assert_eq!(town.desk.sites[0].state().slips.asked, [64, 6]);
        // Sent to another unit.
        town.desk.remove(town.member.index);
        town.desk.until_state("no card", |state| matches!(state, AgentState::NoCard));
        town.dispatch();
        assert!(is_sent(&town.route(&[&files[0]], &[town.welfare.id]).unwrap()[0][0]));
        town.change_places();
        assert_eq!(town.desk.view(&files[0]), Err(AgentFault::NotForYou));
    });
}

#[test]
fn whoever_opens_sends_further_for_no_longer_and_not_to_a_front_desk() {
    readers::private(3, |readers| {
        let mut town = Town::new(readers);
        let person = Unit::of_kind(UnitKind::Person, "信濃 花子");
        town.desk.publish(&[&town.front, &town.tax, &town.welfare, &person]);
        let hanako = town.desk.member(&[&person]);
        let files = town.sent(&["a.age"]);
        let first = town.brought()[0].clone();
        let own = town.desk.sealed("own.age", &town.tax.key, b"own");

        let mut agreed = request(&town.desk, &[&files[0], &own], &[person.id], PIN).unwrap();
        let usual = agreed.last_day.clone();
        let later = usual.parse::<jiff::civil::Date>().unwrap().tomorrow().unwrap().to_string();
        agreed.last_day = later.clone();
        let outcomes = faulty(town.desk.runtime.block_on(town.desk.client().route(&agreed))).unwrap().files;
        let last_day = |outcome: &RouteOutcome| match outcome {
            RouteOutcome::Sent { last_day, .. } => last_day.clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!(outcomes.iter().flatten().map(last_day).collect::<Vec<_>>(), [usual, later]);
        let brought = town.brought();
        let of = |batch: &Batch| (batch.slips.statement::<Slips>().unwrap(), batch.items[0].clone());
        let further: Vec<_> = brought[1..].iter().map(of).collect();
        assert!(further.iter().all(|(statement, _)| statement.unit == town.tax.id));
        let (statement, slip) = further.iter().find(|(_, slip)| slip.origin.is_some()).unwrap();
        let origin = slip.origin.unwrap();
        assert_eq!((origin.slips, origin.index), (digest(&first), 0));
        let until = first.slips.statement::<Slips>().unwrap().expires_at;
        assert_eq!(statement.expires_at, until);
        let to_front = town.plan(&[&own], &[town.front.id]).unwrap().files.remove(0);
        let not_a_target = AgentFault::SiteRefused { code: ErrorCode::NotATarget };
        assert_eq!(to_front, PlannedFile::Failed { fault: not_a_target });
        // What came to nobody here goes nowhere.
        let stranger = town.desk.sealed("s.age", &town.front.key, b"x");
        let planned = town.plan(&[&stranger], &[person.id]).unwrap().files.remove(0);
        assert!(matches!(planned, PlannedFile::Ready { unit: None, .. }), "{planned:?}");
        assert_eq!(town.route(&[&stranger], &[person.id]).unwrap(), [failed(AgentFault::NotForYou)]);

        town.desk.remove(town.member.index);
        town.desk.until_state("no card", |state| matches!(state, AgentState::NoCard));
        town.desk.insert_and_unlock(hanako.index);
        for (file, name) in [(&files[0], "a.age"), (&own, "own")] {
            let shown = town.desk.view(file).unwrap();
            assert_eq!(std::fs::read_to_string(shown).unwrap(), name);
        }
    });
}

/// The slip that a file came by may have ended when it is to go further.
#[test]
fn a_file_whose_slip_has_ended_goes_no_further() {
    readers::private(2, |readers| {
        let mut town = Town::new(readers);
        let files = town.sent(&["a.age"]);
        town.desk.sites[0].state().slips.refuse = Some(ErrorCode::NotFound);
        let outcome = town.route(&[&files[0]], &[town.welfare.id]).unwrap();
        assert_eq!(outcome, [failed(AgentFault::NotForYou)]);
    });
}

#[test]
fn routing_at_the_command_line() {
    readers::private(2, |readers| {
        let mut town = Town::new(readers);
        let path = text(&town.desk.sealed("住民.csv.age", &town.front.key, b"x"));
        let pin = format!("{PIN}\n");
        let index = town.dispatcher.index;
        town.desk.insert(index);
        town.desk.until_pin_needed();

        // Standing and diagnosis speak of what he can do.
        assert_eq!(town.desk.warifu(&["unlock", "--pin-stdin"], &pin).status.code(), Some(0));
        let status = stdout(&town.desk.warifu(&["status"], ""));
        assert!(status.contains("受付窓口: 受付。"), "{status}");
        let doctor = stdout(&town.desk.warifu(&["doctor", "--json"], ""));
        assert!(doctor.contains("shares-routing") && !doctor.contains("shares-none"), "{doctor}");
        assert_eq!(town.desk.warifu(&["lock"], "").status.code(), Some(0));
        town.desk.until_pin_needed();

        let unknown = town.desk.warifu(&["route", &path, "--to", "秘書課", "--yes"], "");
        assert_eq!(unknown.status.code(), Some(1));
        assert!(stderr(&unknown).contains("「秘書課」は名簿にありません"), "{}", stderr(&unknown));
        let asked = town.desk.warifu(&["route", &path, "--to", "税務課", "--pin-stdin"], &pin);
        assert_eq!(asked.status.code(), Some(1));
        assert!(stderr(&asked).contains("--yes を付けて"), "{}", stderr(&asked));
        let shown = stdout(&asked);
        assert!(
            shown.contains("税務課 に振り分けます") && shown.contains("住民.csv.age（「受付」宛）"),
            "{shown}"
        );
        let until = ["route", &path, "--to", "税務課", "--until", "2020-01-01", "--yes"];
        let over = town.desk.warifu(&until, "");
        assert_eq!(over.status.code(), Some(1), "{}", stderr(&over));
        assert!(stderr(&over).contains("期限にできるのは"), "{}", stderr(&over));
        assert!(town.brought().is_empty());

        let opened = town.desk.warifu(&["open", &path], "");
        assert_eq!(opened.status.code(), Some(2));
        assert!(stderr(&opened).contains("warifu route ファイル --to 部署"), "{}", stderr(&opened));

        // One PIN for all, though the card is locked before.
        assert_eq!(town.desk.warifu(&["lock"], "").status.code(), Some(0));
        town.desk.until_pin_needed();
        let tomorrow = ["route", &path, "--to", "税務課,福祉課", "--yes", "--pin-stdin"];
        let sent = town.desk.warifu(&tomorrow, &pin);
        assert_eq!(sent.status.code(), Some(0), "{}", stderr(&sent));
        assert!(stdout(&sent).contains("「福祉課」に振り分けました"), "{}", stdout(&sent));
        assert_eq!(town.brought().len(), 1);
        // By what an officer would end it.
        let number =
            format!("この振り分けの番号（取り消すときに使います）: {}\n", digest(&town.brought()[0]));
        assert!(stdout(&sent).contains(&number) && stdout(&sent).contains("（2 件目）"), "{}", stdout(&sent));
        let json =
            town.desk.warifu(&["route", &path, "--to", "税務課", "--yes", "--pin-stdin", "--json"], &pin);
        let told: serde_json::Value = serde_json::from_str(&stdout(&json)).unwrap();
        assert_eq!(told["files"][0]["targets"][0]["what"]["outcome"], "sent", "{told}");
        town.desk.sites[0].state().slips.refuse = Some(ErrorCode::NotATarget);
        let refused = town.desk.warifu(&["route", &path, "--to", "税務課", "--yes", "--pin-stdin"], &pin);
        assert_eq!(refused.status.code(), Some(2));
        assert!(stderr(&refused).contains("「税務課」には振り分けられていません"), "{}", stderr(&refused));
        assert!(stderr(&refused).contains("情報政策課"), "whom to call: {}", stderr(&refused));

        town.change_places();
        let opened = town.desk.warifu(&["open", &path], "");
        assert!(
            stdout(&opened).contains("「税務課」に振り分けられたもの"),
            "{}{}",
            stdout(&opened),
            stderr(&opened)
        );
    });
}
