//! W5: a federation asks a union for the shapes of its characters, and whether it took them for the right ones; the union answers.
//! Each has its own authority. They know of each other what was compared once, over the telephone, and what each signs.

use std::path::Path;

use anyhow::{Context as _, Result};
use warifu_virtual_card::readers::Readers;

use super::stage::{Neighbour, Person, Sent, Stage};
use super::{Narrator, ORGANIZATION};
use crate::made_up::gaiji;
use crate::town::{DESK_READERS, SITES, Town};

/// The officers' and one member's, in each organization.
const OF_ONE: usize = DESK_READERS + 1;
pub(super) const READERS: usize = 2 * OF_ONE;

const FEDERATION: Neighbour = Neighbour { label: "kokuho", name: "割符県国保連合会" };
const UNION: Neighbour = Neighbour { label: "alps", name: ORGANIZATION };
/// Of the federation.
const KAORU: Person = Person { label: "kaoru", name: "諏訪 薫", number: Some(0) };
/// Of the union.
const HANAKO: Person = Person { label: "hanako", name: "信濃 花子", number: Some(0) };
const AT_FEDERATION: &str = "割符県国保連合会/資格管理課";
const AT_UNION: &str = "北アルプス広域連合/介護保険課";

const CHARACTERS: usize = 240;
/// Of which the federation has had pictures made itself.
const DRAWN: usize = 40;
const NOT_FOR_YOU: &str = "not-for-you";

pub(super) fn play(folder: &Path, readers: Readers, tell: &Narrator) -> Result<()> {
    tell.begin("w5")?;
    let there = Town::new(&folder.join(FEDERATION.label), readers)?;
    let here = there.beside(&folder.join(UNION.label), OF_ONE)?;
    let mut two = Two {
        federation: Stage::set(there, tell, FEDERATION.name, &SITES[..1])?,
        union: Stage::set(here, tell, UNION.name, &SITES[..1])?,
        tell,
    };
    two.people()?;
    two.unknown()?;
    two.compare()?;
    let requests = two.request()?;
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
        self.federation.officer(&["unit", "add", "shikaku", "--name", "資格管理課"])?;
        self.federation.enrol(&KAORU, &["--unit", "shikaku"])?;
        self.at(UNION)?;
        self.union.officer(&["unit", "add", "kaigo", "--name", "介護保険課"])?;
        self.union.enrol(&HANAKO, &["--unit", "kaigo"])
    }

    fn at(&self, organization: Neighbour) -> Result<()> {
        self.tell.place("w5-at", &[("name", organization.name)])
    }

    /// Before anybody has compared anything.
    fn unknown(&mut self) -> Result<()> {
        self.tell.step("w5-unknown", &[])?;
        self.federation.write(&KAORU, "外字字形提供依頼.csv", &gaiji::shapes_wanted(CHARACTERS)?)?;
        self.federation.cannot_seal(&KAORU, "外字字形提供依頼.csv", AT_UNION)
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
    fn request(&mut self) -> Result<Vec<Sent>> {
        self.tell.step("w5-request", &[("characters", &CHARACTERS.to_string())])?;
        let (list, shapes) = (gaiji::to_be_checked(CHARACTERS)?, gaiji::shapes(DRAWN)?);
        self.federation.write(&KAORU, "外字同定作業確認依頼.csv", &list)?;
        self.federation.write(&KAORU, "同定に使った字形.tar", &shapes)?;
        let mut sent = Vec::new();
        for name in ["外字字形提供依頼.csv", "外字同定作業確認依頼.csv", "同定に使った字形.tar"]
        {
            let file = self.federation.seal_abroad(&KAORU, name, AT_UNION)?;
            self.federation.hands_over(&file, &KAORU, &self.union, &HANAKO)?;
            sent.push(file);
        }
        self.federation.is_refused(&KAORU, sent.last().context("nothing was sent")?, NOT_FOR_YOU)?;
        for file in &sent {
            self.union.opens(&HANAKO, file)?;
        }
        Ok(sent)
    }

    /// The union answers: the shapes, and the outcome of checking.
    fn answer(&mut self) -> Result<Vec<Sent>> {
        self.tell.step("w5-answer", &[])?;
        self.union.write(&HANAKO, "外字字形.tar", &gaiji::shapes(CHARACTERS)?)?;
        self.union.write(&HANAKO, "外字同定作業確認結果.csv", &gaiji::checked(CHARACTERS)?)?;
        let mut sent = Vec::new();
        for name in ["外字字形.tar", "外字同定作業確認結果.csv"] {
            let file = self.union.seal_abroad(&HANAKO, name, AT_FEDERATION)?;
            self.union.hands_over(&file, &HANAKO, &self.federation, &KAORU)?;
            sent.push(file);
        }
        self.union.is_refused(&HANAKO, sent.last().context("nothing was sent")?, NOT_FOR_YOU)?;
        for file in &sent {
            self.federation.opens(&KAORU, file)?;
        }
        Ok(sent)
    }

    /// Each side asks its own journal.
    fn afterwards(&mut self, requests: &[Sent], answers: &[Sent]) -> Result<()> {
        self.tell.step("w5-who", &[])?;
        let (requests, answers): (Vec<_>, Vec<_>) = (requests.iter().collect(), answers.iter().collect());
        let all = [&requests[..], &answers[..]].concat();
        self.at(UNION)?;
        self.union.are_untouched(&all)?;
        self.union.who_opened(&requests)?;
        self.at(FEDERATION)?;
        self.federation.are_untouched(&all)?;
        self.federation.who_opened(&answers)?;
        Ok(())
    }
}

/// A fingerprint whose last digit was heard wrongly.
fn misheard(fingerprint: &str) -> String {
    let (rest, last) = fingerprint.split_at(fingerprint.len() - 1);
    format!("{rest}{}", if last == "0" { "1" } else { "0" })
}
