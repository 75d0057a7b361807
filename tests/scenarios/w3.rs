//! W3: one list for two departments, three persons inside and outside, and a group outside. One of them is revoked; the others
//! still open it, and the file is the same.

use std::path::Path;

use anyhow::Result;
use warifu_virtual_card::readers::Readers;

use super::stage::{Person, Stage, have_confirmed};
use super::{Narrator, ORGANIZATION};
use crate::made_up::residents::{self, About};
use crate::town::{DESK_READERS, SITES, Town};

/// The officers', and one for each person.
pub(super) const READERS: usize = DESK_READERS + 6;

const HANAKO: Person = Person { label: "hanako", name: "信濃 花子", number: Some(0) };
const JIRO: Person = Person { label: "jiro", name: "大町 次郎", number: Some(1) };
const SAKURA: Person = Person { label: "sakura", name: "白馬 さくら", number: Some(2) };
const KIKU: Person = Person { label: "kiku", name: "池田 菊", number: Some(3) };
const GORO: Person = Person { label: "goro", name: "小谷 五郎", number: Some(4) };
const REN: Person = Person { label: "ren", name: "松川 蓮", number: Some(5) };
const EVERYBODY: [&Person; 6] = [&HANAKO, &JIRO, &SAKURA, &KIKU, &GORO, &REN];
/// Two departments, three persons, a group.
const ADDRESSES: [&str; 6] = ["fukushi", "shimin", "sakura", "kiku", "goro", "shakyo-team"];

const GUESTS: usize = 800;

pub(super) fn play(folder: &Path, readers: Readers, tell: &Narrator) -> Result<()> {
    tell.begin("w3")?;
    let mut stage = Stage::set(Town::new(folder, readers)?, tell, ORGANIZATION, &SITES)?;
    addresses(&mut stage)?;

    stage.tell.step("w3-send", &[("guests", &GUESTS.to_string())])?;
    stage.write(&HANAKO, "敬老会招待.csv", &residents::utf8(About::Invitations, GUESTS))?;
    let list = stage.seal(&HANAKO, "敬老会招待.csv", &ADDRESSES)?;
    stage.carry(&list, &HANAKO, &EVERYBODY[1..])?;

    stage.tell.step("w3-open", &[])?;
    for person in EVERYBODY {
        stage.opens(person, &list)?;
    }

    stage.tell.step("w3-revoke", &[("name", KIKU.name)])?;
    let copy = stage.keep(&list, &KIKU, "USB/招待.csv.age")?;
    let receipts = stage.officer(&["member", "revoke", "kiku", "--reason", "退任", "--watch"])?;
    have_confirmed(&receipts, &SITES)?;
    stage.tell.seen("confirmed", &[])?;
    for site in SITES {
        stage.alone_at(site, &SITES, |stage| {
            [&list, &copy].into_iter().try_for_each(|file| stage.is_refused(&KIKU, file, "card-not-live"))
        })?;
    }

    stage.tell.step("w3-others", &[])?;
    for person in EVERYBODY.into_iter().filter(|person| person.label != KIKU.label) {
        stage.opens(person, &list)?;
    }
    stage.are_untouched(&[&list])?;

    stage.tell.step("who", &[])?;
    stage.who_opened(&[&list])?;
    stage.tell.end("w3-end")?;
    stage.town.close();
    Ok(())
}

fn addresses(stage: &mut Stage<'_>) -> Result<()> {
    stage.tell.step("w3-departments", &[])?;
    for (label, name) in [("fukushi", "福祉課"), ("shimin", "市民課"), ("kyoiku", "教育委員会")] {
        stage.officer(&["unit", "add", label, "--name", name])?;
    }
    stage.enrol(&HANAKO, &["--unit", "fukushi"])?;
    stage.enrol(&JIRO, &["--unit", "shimin"])?;
    stage.enrol(&SAKURA, &["--unit", "kyoiku"])?;

    stage.tell.step("w3-persons", &[])?;
    stage.comes_to_the_desk(&SAKURA, &["unit", "add", "--person", "sakura"])?;
    let open = ["contract", "open", "chiku", "--name", "地区委員の委嘱", "--ends", "2099-03-31"];
    stage.officer(&open)?;
    for person in [&KIKU, &GORO] {
        stage.enrol(person, &["--person", "--contract", "chiku"])?;
    }

    stage.tell.step("w3-group", &[])?;
    let open = ["contract", "open", "shakyo", "--name", "社会福祉協議会", "--ends", "2099-03-31"];
    stage.officer(&open)?;
    stage.officer(&["unit", "add", "shakyo-team", "--name", "社協 敬老会担当", "--contract", "shakyo"])?;
    stage.enrol(&REN, &["--unit", "shakyo-team", "--contract", "shakyo"])
}
