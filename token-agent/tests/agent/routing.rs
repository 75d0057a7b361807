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

mod faults;
mod hostile;

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

/// What a site makes of what it releases.
type Alteration = fn(&mut Vec<ReleasedPart>);

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
