//! The life of a town: two hundred members, ten cards of both kinds, and what becomes of them. Whether a file opens is
//! compared, for every card, unit and site, with what the ledger says to somebody who folds it himself.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

use serde_json::Value;
use tempfile::TempDir;
use warifu_ledger::Id;
use warifu_ledger::state::{CardStatus, NotAnswered, State};
use warifu_ledger::statement::{Millis, Right};
use warifu_tests::fold::{of_database, orders_in};
use warifu_tests::process::{must, run};
use warifu_tests::town::{DESK_READERS, PIN, SITES, Town, rage, until};
use warifu_virtual_card::readers::{Readers, private};

/// The reader at the desk for the card that is issued.
const NEW: usize = DESK_READERS - 1;
const MEMBERS: usize = 200;
/// Who gets a card, by the unit that the table names, and the serial number of a PIV card; the others get vendors' tokens.
const HOLDERS: [(&str, &str, Option<u32>); 10] = [
    ("m001", "tax", Some(3001)),
    ("m002", "tax", Some(3002)),
    ("m003", "welfare", Some(3003)),
    ("m004", "税務課、福祉課", Some(3004)),
    ("m005", "parks", Some(3005)),
    ("m006", "front", Some(3006)),
    ("m007", "team", Some(3007)),
    ("m008", "tax", None),
    ("m009", "parks;welfare", None),
    ("m010", "team", None),
];
/// The card that takes the place of the lost one.
const REPLACEMENT: (&str, u32) = ("m001-2", 3101);
const PIV_CARDS: usize = 7;
/// The desk's, and one at every PC of a member with a PIV card.
const READERS: usize = DESK_READERS + PIV_CARDS + 1;
const UNITS: [&str; 5] = ["tax", "welfare", "parks", "front", "team"];
/// How far the kms's clock goes ahead on the day on which the contract has ended, and the kms's word for it.
const AHEAD: (Duration, &str) = (Duration::from_secs(3 * 24 * 60 * 60), "+3d");

const FAMILY_NAMES: [&str; 12] = [
    "信濃",
    "𠮷田",
    "髙橋",
    "山﨑",
    "葛\u{e0100}城",
    "辻\u{e0101}",
    "邉\u{e0101}見",
    "神\u{fa19}",
    "𩸽",
    "齋藤",
    "白馬",
    "安曇",
];
const GIVEN_NAMES: [&str; 7] = ["花子", "太郎", "みどり", "健二", "ナツ", "𣘺子", "德次"];

/// A row of the table: short name, name, units and contract.
type Row = (String, String, &'static str, &'static str);

fn rows() -> Vec<Row> {
    (0..MEMBERS)
        .map(|at| {
            let (family, given) =
                (FAMILY_NAMES[at % FAMILY_NAMES.len()], GIVEN_NAMES[at % GIVEN_NAMES.len()]);
            let units =
                HOLDERS.get(at).map_or(["tax", "福祉課", "parks", "team"][at % 4], |holder| holder.1);
            let contract = if units == "team" { "acme" } else { "" };
            (format!("m{:03}", at + 1), format!("{family} {given}"), units, contract)
        })
        .collect()
}

fn table<'r>(rows: impl IntoIterator<Item = &'r Row>) -> String {
    let mut text = "識別名,氏名,部署,契約\r\n".to_owned();
    for (label, name, units, contract) in rows {
        text.push_str(&format!("{label},{name},{units},{contract}\r\n"));
    }
    text
}

/// What came of a file: it opened, or the agent's answer for programs.
type Outcome = Result<(), String>;

/// A card and the PC that it lies in.
struct Held {
    agent: String,
    card: Id,
    /// The reader, for a card in one.
    reader: Option<usize>,
}

struct Life {
    town: Town,
    folder: TempDir,
    /// By the card's name.
    held: BTreeMap<String, Held>,
    units: BTreeMap<&'static str, Id>,
    sites: BTreeMap<&'static str, Id>,
    /// A file to each unit, which says to which.
    sealed: Vec<(&'static str, PathBuf)>,
    /// How far the kms's clock is ahead.
    ahead: Duration,
}

/// What was seen at every site, by card, unit and site.
type Seen = BTreeMap<(String, &'static str, &'static str), Outcome>;

impl Life {
    fn founded(readers: Readers) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut town = Town::new(folder.path(), readers).unwrap();
        town.equip_authorities().unwrap();
        town.give_clock("kms").unwrap();
        town.open_desk().unwrap();
        town.found("北アルプス広域連合").unwrap();
        for (label, name) in SITES {
            town.add_site(label, name).unwrap();
        }
        town.fetch_profile().unwrap();
        let mut life = Self {
            town,
            folder,
            held: BTreeMap::new(),
            units: BTreeMap::new(),
            sites: BTreeMap::new(),
            sealed: Vec::new(),
            ahead: Duration::ZERO,
        };
        // Vendors' tokens cannot prove where their keys were made.
        life.asked(&["policy", "change", "--unattested-cards", "true"]);
        let ends = life.last_day();
        life.asked(&["contract", "open", "acme", "--name", "アクメ株式会社", "--ends", &ends]);
        let units: [&[&str]; 5] = [
            &["tax", "--name", "税務課"],
            &["welfare", "--name", "福祉課", "--sites", "honcho"],
            &["parks", "--name", "公園課", "--sites", "omachi"],
            &["front", "--name", "受付", "--front-desk", "--routes-to", "tax,welfare"],
            &["team", "--name", "アクメ", "--contract", "acme"],
        ];
        for words in units {
            life.asked(&[&["unit", "add"], words].concat());
        }
        life.units = life.ids(&["unit", "list"], "unit", &UNITS);
        life.sites = life.ids(&["site", "list"], "site", &SITES.map(|(site, _)| site));
        life
    }

    fn asked(&self, args: &[&str]) -> Value {
        let answer = self.town.admin(&[&["--json"], args].concat()).unwrap();
        serde_json::from_str(answer.trim()).unwrap_or_else(|_| panic!("{args:?}: {answer}"))
    }

    fn ids(&self, list: &[&str], key: &str, labels: &[&'static str]) -> BTreeMap<&'static str, Id> {
        let rows = self.asked(list);
        let id = |label: &&'static str| {
            let row = rows.as_array().unwrap().iter().find(|row| row["label"] == *label).unwrap();
            (*label, serde_json::from_value(row[key].clone()).unwrap())
        };
        labels.iter().map(id).collect()
    }

    /// Tomorrow, where the organization is: the contract's last day.
    fn last_day(&self) -> String {
        let mut command = Command::new("date");
        command.env("TZ", "Asia/Tokyo").args(["-d", "tomorrow", "+%F"]);
        must(command, b"").unwrap().trim().to_owned()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The kms's time: the right time, moved as its clock is.
    fn now(&self) -> Millis {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap() + self.ahead;
        Millis::try_from(now.as_millis()).unwrap()
    }

    /// The ledger, folded here.
    fn ledger(&self) -> PathBuf {
        self.path("kms").join("data").join("authority.sqlite")
    }

    fn state(&self) -> State {
        of_database(&self.ledger()).unwrap()
    }

    fn enrol_from_tables(&mut self) {
        let rows = rows();
        fs::write(self.path("all.csv"), format!("\u{feff}{}", table(&rows))).unwrap();
        let file = self.path("all.csv").display().to_string();
        let done = self.asked(&["member", "enroll-all", "--csv", &file]);
        let fates = |answer: &Value, fate: &str| {
            answer["rows"].as_array().unwrap().iter().filter(|row| row["fate"] == fate).count()
        };
        assert_eq!((fates(&done, "ordered"), done["orders"].as_array().unwrap().len()), (MEMBERS, 1));

        // The same people, as an older system writes those that it can: it has read the same names.
        let in_shift_jis = |row: &&Row| !encoding_rs::SHIFT_JIS.encode(&row.1).2;
        let plain: Vec<&Row> = rows.iter().filter(in_shift_jis).collect();
        let text = table(plain.iter().copied());
        let (bytes, _, lossy) = encoding_rs::SHIFT_JIS.encode(&text);
        assert!(!lossy && plain.len() > MEMBERS / 4 && plain.iter().any(|row| row.1.contains('髙')));
        fs::write(self.path("some.csv"), bytes).unwrap();
        let file = self.path("some.csv").display().to_string();
        let again = self.asked(&["member", "enroll-all", "--csv", &file]);
        assert_eq!((fates(&again, "already"), again["orders"].as_array().unwrap().len()), (plain.len(), 0));

        let members = self.asked(&["member", "list"]);
        let names: BTreeMap<&str, &str> = members
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|row| Some((row["label"].as_str()?, row["name"].as_str()?)))
            .collect();
        for (label, name, ..) in &rows {
            assert_eq!(names.get(label.as_str()), Some(&name.as_str()), "{label}");
        }
        // A place is no right.
        assert_eq!(self.state().grants().count(), 0);
    }

    fn issue(&mut self) {
        let tokens: Vec<&str> =
            HOLDERS.iter().filter(|holder| holder.2.is_none()).map(|holder| holder.0).collect();
        self.town.use_tokens("desk", &tokens).unwrap();
        for label in &tokens {
            self.town.new_token("desk", label).unwrap();
        }
        self.town.stop("desk");
        self.town.start("desk").unwrap();
        let mut readers = DESK_READERS..;
        for (label, _, piv) in HOLDERS {
            let serial = match piv {
                Some(serial) => {
                    self.town.new_card(label, serial).unwrap();
                    self.town.insert(label, NEW).unwrap();
                    serial
                }
                None => self.town.wait_for_token(label).unwrap(),
            };
            let issued = self.asked(&["card", "issue", label, "--new-card", &serial.to_string()]);
            let reader = piv.and_then(|_| readers.next());
            self.town.remove(label);
            self.hand_over(label, &issued, reader);
        }
        self.town.stop("desk");
        for label in &tokens {
            self.town.add_agent(label, &[], false, &["--reader", "no reader"]).unwrap();
            self.town.use_tokens(label, &[label]).unwrap();
            self.town.carry_token(label, "desk", label).unwrap();
            self.town.start(label).unwrap();
        }
        self.town.start("desk").unwrap();
    }

    /// A card that was issued goes to a PC of its own.
    fn hand_over(&mut self, label: &str, issued: &Value, reader: Option<usize>) {
        let card = serde_json::from_value(issued["card"].clone()).unwrap();
        if let Some(reader) = reader {
            self.town.add_agent(label, &[reader], false, &[]).unwrap();
            self.town.start(label).unwrap();
            self.town.insert(label, reader).unwrap();
        }
        self.held.insert(label.to_owned(), Held { agent: label.to_owned(), card, reader });
    }

    fn seal(&mut self) {
        for unit in UNITS {
            let (plain, sealed) = (self.path(unit), self.path(&format!("{unit}.age")));
            fs::write(&plain, unit).unwrap();
            rage(&[self.town.recipient(unit).unwrap()], &plain, &sealed).unwrap();
            self.sealed.push((unit, sealed));
        }
    }

    /// Tries every card on every unit's file at every site alone, and holds what comes of it against the ledger.
    fn compared(&mut self, when: &str) -> Seen {
        let mut seen = Seen::new();
        let (state, orders) = (self.state(), orders_in(&self.ledger()).unwrap());
        let at = self.now();
        for (site, _) in SITES {
            let others: Vec<&str> =
                SITES.iter().map(|(other, _)| *other).filter(|other| *other != site).collect();
            others.iter().for_each(|other| self.town.kill(other));
            self.put_in_again();
            for (name, outcomes) in self.tried() {
                for ((unit, _), outcome) in self.sealed.iter().zip(outcomes) {
                    let ledger =
                        says(&state, &self.sites[site], &self.held[&name].card, &self.units[unit], at);
                    let shown = format!("{when}: {name}, {unit}, {site}: {ledger:?}, and {outcome:?}");
                    match (&ledger, &outcome) {
                        (Ok(()), Ok(())) | (Err(None), Err(_)) => {}
                        // What the person is told is the reason that the ledger has.
                        (Err(Some(why)), Err(told)) if told.contains(code(*why)) => {}
                        _ => panic!("{shown}\n{}", self.town.log(&self.held[&name].agent)),
                    }
                    seen.insert((name.clone(), *unit, site), outcome);
                }
            }
            for other in others {
                self.town.start(other).unwrap();
                self.town.wait_for_lease(other).unwrap();
            }
        }
        let after = orders_in(&self.ledger()).unwrap();
        assert_eq!(after, orders, "{when}: something was ordered meanwhile");
        seen
    }

    /// Every card is taken out and put in again: what sites said before is not asked of them any more.
    fn put_in_again(&mut self) {
        for (name, held) in &self.held {
            match held.reader {
                Some(_) => self.town.remove(name),
                None => self.town.stop(&held.agent),
            }
        }
        let held: Vec<(&String, &Held)> = self.held.iter().collect();
        for (name, held) in held {
            let is_out = || Ok(self.town.status(&held.agent)?["state"]["state"] == "no-card");
            match held.reader {
                Some(reader) => {
                    until("the card is out", Duration::from_secs(10), is_out).unwrap();
                    self.town.insert(name, reader).unwrap();
                }
                None => self.town.start(&held.agent).unwrap(),
            }
        }
        for held in self.held.values() {
            self.town.wait_for_member_card(&held.agent).unwrap();
        }
    }

    /// Every card on every file, all PCs at once: by the card's name, one outcome a file.
    fn tried(&self) -> Vec<(String, Vec<Outcome>)> {
        let tried = |held: &Held| {
            let mut words = vec!["--lang", "en", "open", "--pin-stdin", "--json"];
            words.extend(self.sealed.iter().map(|(_, sealed)| sealed.to_str().unwrap()));
            let command = self.town.warifu_command(&held.agent, &words).unwrap();
            let input = format!("{PIN}\n").into_bytes();
            std::thread::spawn(move || run(command, &input).unwrap())
        };
        let running: Vec<_> = self.held.iter().map(|(name, held)| (name.clone(), tried(held))).collect();
        let outcomes = |output: &Output| {
            let answer = String::from_utf8_lossy(&output.stdout).into_owned();
            let parsed: Value = serde_json::from_str(answer.trim())
                .unwrap_or_else(|_| panic!("{answer}{}", String::from_utf8_lossy(&output.stderr)));
            let outcome = |(at, (unit, _)): (usize, &(&'static str, PathBuf))| match &parsed["files"][at] {
                Value::Null => Err(answer.clone()),
                file if file["outcome"] == "viewing" => {
                    let path = Path::new(file["path"].as_str().unwrap());
                    assert_eq!(fs::read(path).unwrap(), unit.as_bytes(), "another content");
                    Ok(())
                }
                file => Err(file.to_string()),
            };
            self.sealed.iter().enumerate().map(outcome).collect()
        };
        running.into_iter().map(|(name, thread)| (name, outcomes(&thread.join().unwrap()))).collect()
    }
}

/// Whether a site answers a card for a unit, by the ledger: written out here once more, of what the fold says of grants, cards
/// and sites. Without a reason where the card has no grant to the unit at all, or the site does not serve it.
fn says(state: &State, site: &Id, card: &Id, unit: &Id, at: Millis) -> Result<(), Option<NotAnswered>> {
    let status = state.card(card).unwrap().status;
    let mut grants = state.grants_of_card(*card).filter(|(_, grant)| grant.unit == *unit);
    let Some((id, grant)) = grants.next() else { return Err(None) };
    assert!(grants.next().is_none(), "two grants of one card to one unit");
    state.live_grant(&id, at).map_err(Some)?;
    match status {
        CardStatus::Live => {}
        CardStatus::Suspended => return Err(Some(NotAnswered::CardSuspended)),
        CardStatus::Revoked => return Err(Some(NotAnswered::CardNotLive)),
    }
    let is_served = state.unit(unit).unwrap().sites.contains(site);
    let opens = grant.right == Right::Open && grant.issued.is_some() && is_served;
    if opens { Ok(()) } else { Err(None) }
}

fn code(why: NotAnswered) -> &'static str {
    match why {
        NotAnswered::CardSuspended => "card-suspended",
        NotAnswered::CardNotLive => "card-not-live",
        NotAnswered::ContractOver => "contract-over",
        _ => "a reason that nobody here has",
    }
}

const NOTHING: [(&str, &str); 0] = [];

/// Where a card opens something.
fn open_at(seen: &Seen, card: &str) -> Vec<(&'static str, &'static str)> {
    let of_card = seen.iter().filter(|((name, ..), outcome)| name == card && outcome.is_ok());
    of_card.map(|((_, unit, site), _)| (*unit, *site)).collect()
}

#[test]
fn two_hundred_members_and_ten_cards_have_what_the_ledger_says() {
    private(READERS, |readers| {
        let mut life = Life::founded(readers);
        life.enrol_from_tables();
        life.issue();
        life.seal();
        let bytes: Vec<_> = life.sealed.iter().map(|(_, sealed)| fs::read(sealed).unwrap()).collect();
        let seen = life.compared("all are issued");
        let both = vec![("tax", "honcho"), ("tax", "omachi")];
        assert_eq!((open_at(&seen, "m001"), open_at(&seen, "m008")), (both.clone(), both.clone()));
        assert_eq!(open_at(&seen, "m006"), NOTHING, "a front desk reads nothing");
        assert_eq!(open_at(&seen, "m009"), [("parks", "omachi"), ("welfare", "honcho")]);
        assert_eq!(open_at(&seen, "m010"), [("team", "honcho"), ("team", "omachi")]);

        // One is lost and replaced, one is suspended, one's PIN is blocked, and a contract's last day passes.
        let (name, serial) = REPLACEMENT;
        life.town.new_card(name, serial).unwrap();
        life.town.insert(name, NEW).unwrap();
        let serial = serial.to_string();
        let words = ["card", "replace", "m001", "--new-card", &serial, "--reason", "紛失", "--watch"];
        let replaced = life.asked(&words);
        life.town.remove(name);
        life.hand_over(name, &replaced, Some(READERS - 1));

        life.asked(&["card", "suspend", "m002", "--watch"]);

        let reader = life.held["m003"].reader.unwrap();
        life.town.remove("m003");
        life.town.card("m003").unwrap().block_pin().unwrap();
        life.town.insert("m003", NEW).unwrap();
        life.town.wait_for_card(3003).unwrap();
        life.asked(&["card", "unblock", "3003"]);
        life.town.remove("m003");
        life.town.insert("m003", reader).unwrap();

        let (ahead, offset) = AHEAD;
        life.town.set_clock("kms", offset).unwrap();
        life.ahead = ahead;
        // What no message says, a site learns with its next stamp.
        for (site, _) in SITES {
            life.town.kill(site);
            life.town.start(site).unwrap();
            life.town.wait_for_lease(site).unwrap();
        }
        let seen = life.compared("all has happened");
        for dead in ["m001", "m002", "m007", "m010"] {
            assert_eq!(open_at(&seen, dead), NOTHING, "{dead}");
        }
        assert_eq!((open_at(&seen, name), open_at(&seen, "m008")), (both.clone(), both.clone()));
        assert_eq!(open_at(&seen, "m003"), [("welfare", "honcho")]);

        life.asked(&["card", "resume", "m002", "--watch"]);
        let seen = life.compared("it is resumed");
        assert_eq!((open_at(&seen, "m002"), open_at(&seen, "m001")), (both, vec![]));

        // Whoever has no card has no right, and no file was touched (I10).
        let state = life.state();
        let mut cardless = 0;
        for (member, _) in state.members() {
            let mut cards = state.cards_of_member(*member);
            cardless += usize::from(cards.next().is_none());
        }
        assert_eq!(cardless, MEMBERS - HOLDERS.len());
        let issued = state.cards().filter(|(id, _)| life.held.values().any(|held| held.card == **id));
        assert_eq!(issued.count(), HOLDERS.len() + 1);
        assert!(state.grants().all(|(_, grant)| life.held.values().any(|held| held.card == grant.card)));
        assert_eq!(
            life.sealed.iter().map(|(_, sealed)| fs::read(sealed).unwrap()).collect::<Vec<_>>(),
            bytes
        );
        life.town.close();
    });
}
