//! W4: what comes from outside is addressed to the front desk, whose dispatcher cannot read it. He routes it to the departments
//! that deal with it; the file that opens there is the one that came. A slip that went to the wrong department is taken back.

use std::fs::File;
use std::path::Path;

use anyhow::Result;
use warifu_virtual_card::readers::Readers;

use super::Narrator;
use super::stage::{Person, Sent, Stage, have_confirmed};
use crate::made_up::archive;
use crate::made_up::residents::{self, About};
use crate::town::{DESK_READERS, SITES, Town};

/// The officers', and one for each person inside.
pub(super) const READERS: usize = DESK_READERS + 4;

/// Of the prefecture: no card, and no software of ours.
const OUTSIDE: Person = Person { label: "ken", name: "県 市町村課", number: None };
/// The dispatcher.
const SAKI: Person = Person { label: "saki", name: "松本 咲", number: Some(0) };
const HANAKO: Person = Person { label: "hanako", name: "信濃 花子", number: Some(1) };
const JIRO: Person = Person { label: "jiro", name: "大町 次郎", number: Some(2) };
const SAKURA: Person = Person { label: "sakura", name: "白馬 さくら", number: Some(3) };

const FRONT_DESK: &str = "受付窓口";
const REGISTER: &str = "市民課";
const WELFARE: &str = "福祉課";
const TAX: &str = "税務課";

const SCANS_MEBIBYTES: usize = 16;
/// Of two files that went to two departments, the second file's second slip.
const WRONG_SLIP: usize = 4;

/// Why the agent does not open a file for a dispatcher, and not for a member before it was routed.
const FOR_ROUTING: &str = "for-routing";
const NOT_FOR_YOU: &str = "not-for-you";

pub(super) fn play(folder: &Path, readers: Readers, tell: &Narrator) -> Result<()> {
    tell.begin("w4")?;
    let mut stage = Stage::set(Town::new(folder, readers)?, tell, "割符市", &SITES)?;
    front_desk(&mut stage)?;
    let files = from_outside(&mut stage)?;
    unread(&mut stage, &files)?;
    let slips = routed(&mut stage, &files)?;
    in_departments(&mut stage, &files)?;
    taken_back(&mut stage, &files, &slips)?;
    stage.are_untouched(&files.all())?;

    stage.tell.step("who", &[])?;
    stage.who_opened(&files.all())?;
    stage.tell.end("w4-end")?;
    stage.town.close();
    Ok(())
}

fn front_desk(stage: &mut Stage<'_>) -> Result<()> {
    stage.tell.step("w4-departments", &[])?;
    for (label, name) in [("jumin", REGISTER), ("fukushi", WELFARE), ("zeimu", TAX)] {
        stage.officer(&["unit", "add", label, "--name", name])?;
    }
    let targets = ["--front-desk", "--routes-to", "jumin,fukushi,zeimu"];
    stage.officer(&[&["unit", "add", "uketsuke", "--name", FRONT_DESK], &targets[..]].concat())?;

    stage.tell.step("w4-people", &[])?;
    let [(_, main), (_, branch)] = SITES;
    for (person, unit, site) in [
        (&SAKI, "uketsuke", main),
        (&HANAKO, "jumin", main),
        (&JIRO, "fukushi", branch),
        (&SAKURA, "zeimu", main),
    ] {
        stage.enrol_at(person, &["--unit", unit], &["--site", site])?;
    }
    stage.is_outside(&OUTSIDE)
}

/// What comes from outside, each to the front desk alone.
struct Files {
    arrivals: Sent,
    register: Sent,
    care: Sent,
    incomes: Sent,
    scans: Sent,
}

impl Files {
    fn all(&self) -> [&Sent; 5] {
        [&self.arrivals, &self.register, &self.care, &self.incomes, &self.scans]
    }
}

fn from_outside(stage: &mut Stage<'_>) -> Result<Files> {
    stage.tell.step("w4-send", &[])?;
    stage.write(&OUTSIDE, "転入通知.csv", &residents::utf8(About::Moves, 400))?;
    stage.write(&OUTSIDE, "戸籍附票記載事項.csv", &residents::shift_jis(About::Moves, 250)?)?;
    stage.write(&OUTSIDE, "介護認定照会.csv", &residents::shift_jis(About::Care, 300)?)?;
    stage.write(&OUTSIDE, "所得照会.csv", &residents::utf8(About::Incomes, 500))?;
    let scans = File::create(stage.folder(OUTSIDE.label).join("申告書スキャン.tar"))?;
    archive::write(scans, SCANS_MEBIBYTES)?;
    let one = ["uketsuke"];
    let files = Files {
        arrivals: stage.seal(&OUTSIDE, "転入通知.csv", &one)?,
        register: stage.seal(&OUTSIDE, "戸籍附票記載事項.csv", &one)?,
        care: stage.seal(&OUTSIDE, "介護認定照会.csv", &one)?,
        incomes: stage.seal_in_browser(&OUTSIDE, "所得照会.csv", &one)?,
        scans: stage.seal(&OUTSIDE, "申告書スキャン.tar", &one)?,
    };
    for file in files.all() {
        stage.carry(file, &OUTSIDE, &[&SAKI, &HANAKO, &JIRO, &SAKURA])?;
    }
    Ok(files)
}

fn unread(stage: &mut Stage<'_>, files: &Files) -> Result<()> {
    stage.tell.step("w4-unread", &[])?;
    for file in files.all() {
        stage.is_refused(&SAKI, file, FOR_ROUTING)?;
    }
    stage.is_refused(&JIRO, &files.care, NOT_FOR_YOU)
}

/// Everything goes where it belongs, and one file where it does not. Answers the number of the slips among which that is.
fn routed(stage: &mut Stage<'_>, files: &Files) -> Result<String> {
    stage.tell.step("w4-route", &[])?;
    stage.routes(&SAKI, &[&files.arrivals, &files.register], &[REGISTER])?;
    stage.routes(&SAKI, &[&files.care], &[WELFARE])?;
    let slips = stage.routes(&SAKI, &[&files.incomes, &files.scans], &[TAX, WELFARE])?;
    stage.is_refused(&SAKI, &files.care, FOR_ROUTING)?;
    Ok(slips)
}

fn in_departments(stage: &mut Stage<'_>, files: &Files) -> Result<()> {
    stage.tell.step("w4-open", &[])?;
    stage.opens_routed(&HANAKO, &files.arrivals, FRONT_DESK)?;
    stage.opens_routed(&HANAKO, &files.register, FRONT_DESK)?;
    for file in [&files.care, &files.incomes, &files.scans] {
        stage.opens_routed(&JIRO, file, FRONT_DESK)?;
    }
    for file in [&files.incomes, &files.scans] {
        stage.opens_routed(&SAKURA, file, FRONT_DESK)?;
    }
    stage.is_refused(&SAKURA, &files.care, NOT_FOR_YOU)
}

/// The scans of tax returns were not for the welfare department.
fn taken_back(stage: &mut Stage<'_>, files: &Files, slips: &str) -> Result<()> {
    stage.tell.step("w4-wrong", &[])?;
    have_confirmed(&stage.takes_back(slips, WRONG_SLIP)?, &SITES)?;
    stage.tell.seen("confirmed", &[])?;
    stage.is_refused(&JIRO, &files.scans, NOT_FOR_YOU)?;
    stage.opens_routed(&JIRO, &files.incomes, FRONT_DESK)?;
    stage.opens_routed(&SAKURA, &files.scans, FRONT_DESK)
}
