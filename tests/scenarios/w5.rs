//! W5: a federation asks a union for the shapes of its characters, and whether it took them for the right ones; the union answers.
//! Each has its own authority, in a network of its own. They know of each other what was compared once, over the telephone, and
//! what each signs; what one sends goes to the box of the other.

use std::path::Path;

use anyhow::{Result, ensure};
use warifu_virtual_card::readers::Readers;

use super::stage::{Lying, Neighbour, Person, Posted, Stage};
use super::{Narrator, ORGANIZATION};
use crate::made_up::gaiji;
use crate::town::{DESK_READERS, SITES, Town};

/// The officers' and one member's, in the federation; in the union there is a dispatcher as well.
const OF_FEDERATION: usize = DESK_READERS + 1;
pub(super) const READERS: usize = OF_FEDERATION + DESK_READERS + 2;

const FEDERATION: Neighbour = Neighbour { label: "kokuho", name: "割符県国保連合会" };
const UNION: Neighbour = Neighbour { label: "alps", name: ORGANIZATION };
/// Of the federation.
const KAORU: Person = Person { label: "kaoru", name: "諏訪 薫", number: Some(0) };
/// Of the union.
const HANAKO: Person = Person { label: "hanako", name: "信濃 花子", number: Some(0) };
/// The union's dispatcher.
const SAKI: Person = Person { label: "saki", name: "松本 咲", number: Some(1) };

const SECTION: &str = "資格管理課";
const CARE: &str = "介護保険課";
const FRONT_DESK: &str = "受付窓口";
const AT_FEDERATION: &str = "割符県国保連合会/資格管理課";
const AT_UNION: &str = "北アルプス広域連合/受付窓口";

const ASKED: &str = "外字字形提供依頼・同定作業確認依頼";
const ANSWERED: &str = "外字字形提供・同定作業確認の回答";
const WANTED: &str = "外字字形提供依頼.csv";
const TO_BE_CHECKED: &str = "外字同定作業確認依頼.csv";
const USED: &str = "同定に使った字形.tar";
const SHAPES: &str = "外字字形.tar";
const CHECKED: &str = "外字同定作業確認結果.csv";
const ALL_SHAPES: &str = "外字字形_240字.tar";

const CHARACTERS: usize = 240;
/// Of which the federation has had pictures made itself.
const DRAWN: usize = 40;
/// Of which the union sends pictures first.
const FIRST: usize = 200;
const TOO_FEW: &str = "40字の字形が足りません";
/// Why the agent does not open for a dispatcher.
const FOR_ROUTING: &str = "for-routing";

pub(super) fn play(folder: &Path, readers: Readers, tell: &Narrator) -> Result<()> {
    tell.begin("w5")?;
    let mut there = Town::new(&folder.join(FEDERATION.label), readers)?;
    let mut here = there.beside(&folder.join(UNION.label), OF_FEDERATION)?;
    there.live_apart(FEDERATION.label)?;
    here.live_apart(UNION.label)?;
    let mut two = Two {
        federation: Stage::set(there, tell, FEDERATION.name, &SITES[..1])?,
        union: Stage::set(here, tell, UNION.name, &SITES[..1])?,
        tell,
    };
    two.people()?;
    two.apart()?;
    two.unknown()?;
    two.compare()?;
    let asked = two.request()?;
    let requests = two.inside_the_union(&asked)?;
    let answers = two.answer()?;
    two.afterwards(&requests, &answers)?;
    tell.end("w5-end")?;
    two.federation.town.close();
    two.union.town.close();
    Ok(())
}

/// Two organizations with nothing in common.
struct Two<'n> {
    federation: Stage<'n>,
    union: Stage<'n>,
    tell: &'n Narrator,
}

impl Two<'_> {
    fn people(&mut self) -> Result<()> {
        self.tell.step("w5-people", &[])?;
        self.at(FEDERATION)?;
        self.federation.officer(&["unit", "add", "shikaku", "--name", SECTION])?;
        self.federation.enrol(&KAORU, &["--unit", "shikaku"])?;
        self.at(UNION)?;
        self.union.officer(&["unit", "add", "kaigo", "--name", CARE])?;
        let front = ["unit", "add", "uketsuke", "--name", FRONT_DESK, "--front-desk", "--routes-to", "kaigo"];
        self.union.officer(&front)?;
        self.union.enrol(&HANAKO, &["--unit", "kaigo"])?;
        self.union.enrol(&SAKI, &["--unit", "uketsuke"])
    }

    fn at(&self, organization: Neighbour) -> Result<()> {
        self.tell.place("w5-at", &[("name", organization.name)])
    }

    /// What each can reach of the other one, and that neither knows the other one's people.
    fn apart(&mut self) -> Result<()> {
        self.tell.step("w5-networks", &[])?;
        self.at(FEDERATION)?;
        self.federation.is_apart_from(&mut self.union, UNION.name)?;
        self.at(UNION)?;
        self.union.is_apart_from(&mut self.federation, FEDERATION.name)?;
        for (stage, people) in [(&self.federation, &[HANAKO, SAKI][..]), (&self.union, &[KAORU])] {
            let members = stage.asked(&["member", "list"])?.to_string();
            ensure!(
                people.iter().all(|it| !members.contains(it.name)),
                "an account of a stranger: {members}"
            );
        }
        Ok(())
    }

    /// Before anybody has compared anything.
    fn unknown(&mut self) -> Result<()> {
        self.tell.step("w5-unknown", &[])?;
        self.federation.write(&KAORU, WANTED, &gaiji::shapes_wanted(CHARACTERS)?)?;
        self.federation.cannot_send(&KAORU, WANTED, AT_UNION, ASKED)
    }

    /// Each side reads out its fingerprint to the other one.
    fn compare(&mut self) -> Result<()> {
        self.tell.step("w5-compare", &[])?;
        let (federation, union) = (self.federation.town.public_address()?, self.union.town.public_address()?);
        self.at(UNION)?;
        let read_out = self.union.fingerprint()?;
        self.at(FEDERATION)?;
        self.federation.does_not_pin(UNION, &union, &misheard(&read_out))?;
        self.federation.pins(UNION, &union, &read_out)?;
        let read_out = self.federation.fingerprint()?;
        self.at(UNION)?;
        self.union.pins(FEDERATION, &federation, &read_out)?;
        self.union.officer(&["trust", "list"]).map(|_| ())
    }

    /// The federation asks: two lists and the shapes as it has them.
    fn request(&mut self) -> Result<Vec<Posted>> {
        self.tell.step("w5-request", &[("characters", &CHARACTERS.to_string())])?;
        self.federation.write(&KAORU, TO_BE_CHECKED, &gaiji::to_be_checked(CHARACTERS)?)?;
        self.federation.write(&KAORU, USED, &gaiji::shapes(DRAWN)?)?;
        let files = [WANTED, TO_BE_CHECKED, USED];
        let posted = self.federation.sends(&KAORU, &files, AT_UNION, ASKED, SECTION)?;

        self.tell.step("w5-front-desk", &[])?;
        let lying = self.union.finds(&SAKI, ASKED, &posted, (FEDERATION.name, &KAORU))?;
        if let Some(first) = lying.first() {
            self.union.cannot_open_delivery(&SAKI, first, FOR_ROUTING)?;
        }
        self.union.routes_deliveries(&SAKI, &lying, CARE)?;
        Ok(posted)
    }

    /// Whoever deals with it has it from the front desk, sees who sent it, and takes it.
    fn inside_the_union(&mut self, posted: &[Posted]) -> Result<Vec<Lying>> {
        self.tell.step("w5-open", &[])?;
        let mut lying = self.union.finds(&HANAKO, ASKED, posted, (FEDERATION.name, &KAORU))?;
        self.union.gets(&HANAKO, &mut lying)?;
        self.union.were_routed(&SAKI, &lying, CARE);
        for delivery in &lying {
            self.union.opens_delivery(&HANAKO, delivery)?;
            self.union.accepts(&HANAKO, delivery)?;
        }
        self.federation.sees_sent(&KAORU, (3, 0), None)?;
        Ok(lying)
    }

    /// The union answers: shapes, of which some are missing at first, and the outcome of checking.
    fn answer(&mut self) -> Result<Vec<Lying>> {
        self.tell.step("w5-answer", &[])?;
        self.union.write(&HANAKO, SHAPES, &gaiji::shapes(FIRST)?)?;
        self.union.write(&HANAKO, CHECKED, &gaiji::checked(CHARACTERS)?)?;
        let posted = self.union.sends(&HANAKO, &[SHAPES, CHECKED], AT_FEDERATION, ANSWERED, CARE)?;
        let mut answers = self.federation.finds(&KAORU, ANSWERED, &posted, (UNION.name, &HANAKO))?;
        self.federation.gets(&KAORU, &mut answers)?;
        for delivery in &answers {
            self.federation.opens_delivery(&KAORU, delivery)?;
        }

        self.tell.step("w5-returned", &[])?;
        if let [shapes, checked] = answers.as_slice() {
            self.federation.returns(&KAORU, shapes, TOO_FEW)?;
            self.federation.accepts(&KAORU, checked)?;
        }
        self.union.sees_sent(&HANAKO, (1, 1), Some(TOO_FEW))?;
        self.union.write(&HANAKO, ALL_SHAPES, &gaiji::shapes(CHARACTERS)?)?;
        let posted = self.union.sends(&HANAKO, &[ALL_SHAPES], AT_FEDERATION, ANSWERED, CARE)?;
        let mut rest = self.federation.finds(&KAORU, ANSWERED, &posted, (UNION.name, &HANAKO))?;
        self.federation.gets(&KAORU, &mut rest)?;
        for delivery in &rest {
            self.federation.opens_delivery(&KAORU, delivery)?;
            self.federation.accepts(&KAORU, delivery)?;
        }
        self.union.sees_sent(&HANAKO, (2, 1), Some(TOO_FEW))?;
        answers.append(&mut rest);
        Ok(answers)
    }

    /// Each side asks its own journal.
    fn afterwards(&mut self, requests: &[Lying], answers: &[Lying]) -> Result<()> {
        self.tell.step("w5-who", &[])?;
        for (organization, stage, received) in
            [(UNION, &mut self.union, requests), (FEDERATION, &mut self.federation, answers)]
        {
            self.tell.place("w5-at", &[("name", organization.name)])?;
            let files: Vec<_> = received.iter().map(Lying::file).collect();
            stage.are_untouched(&files)?;
            stage.who_opened(&files)?;
        }
        Ok(())
    }
}

/// A fingerprint whose last digit was heard wrongly.
fn misheard(fingerprint: &str) -> String {
    let (rest, last) = fingerprint.split_at(fingerprint.len() - 1);
    format!("{rest}{}", if last == "0" { "1" } else { "0" })
}
