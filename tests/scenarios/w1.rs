//! W1: reminding scholarship debtors is contracted out. The list goes to two contractors, the results come back. One contract is
//! ended, the other one's last day passes: what a contractor ever received, copies included, opens nowhere any more, and no
//! file was touched.

use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::Result;
use serde_json::Value;
use warifu_texts::day::Zone;
use warifu_virtual_card::readers::Readers;

use super::stage::{Person, Sent, Stage, have_confirmed};
use super::{Narrator, ORGANIZATION};
use crate::made_up::glyph;
use crate::made_up::residents::{self, About, OWN_CHARACTERS};
use crate::town::{DESK_READERS, SITES, Town, until};

/// The officers', and one for each person.
pub(super) const READERS: usize = DESK_READERS + 4;

const HANAKO: Person = Person { label: "hanako", name: "信濃 花子", number: Some(0) };
const TARO: Person = Person { label: "taro", name: "委託 太郎", number: Some(1) };
const JIRO: Person = Person { label: "jiro", name: "委託 二郎", number: Some(2) };
/// Of another contractor, whose contract is short.
const SAYO: Person = Person { label: "sayo", name: "印刷 さよ", number: Some(3) };

const DEBTORS: usize = 2000;
/// How long it may take until every site has heard of another day.
const PATIENCE: Duration = Duration::from_secs(60);
/// Why a site refuses, once the contract is over.
const OVER: &str = "contract-over";

pub(super) fn play(folder: &Path, readers: Readers, tell: &Narrator) -> Result<()> {
    tell.begin("w1")?;
    let mut stage = Stage::set(Town::new(folder, readers)?, tell, ORGANIZATION, &SITES)?;
    // Days pass when the story says so.
    stage.town.stop("kms");
    stage.town.give_clock("kms")?;
    stage.town.start("kms")?;
    contract(&mut stage)?;
    let files = there_and_back(&mut stage)?;
    end(&mut stage, &files)?;
    last_day(&mut stage, &files.list)?;
    whole(&mut stage, &files)?;
    stage.tell.end("w1-end")?;
    stage.town.close();
    Ok(())
}

fn contract(stage: &mut Stage<'_>) -> Result<()> {
    stage.tell.step("w1-contract", &[])?;
    stage.officer(&["unit", "add", "shogaku", "--name", "学校教育課 奨学金係"])?;
    stage.officer(&["contract", "open", "acme", "--name", "アクメ債権株式会社", "--ends", "2099-03-31"])?;
    stage.officer(&["unit", "add", "acme-team", "--name", "アクメ 勧奨担当", "--contract", "acme"])?;
    let tomorrow = tomorrow()?;
    stage.officer(&["contract", "open", "vega", "--name", "ベガ印刷株式会社", "--ends", &tomorrow])?;
    stage.officer(&["unit", "add", "vega-team", "--name", "ベガ 発送担当", "--contract", "vega"])?;
    stage.tell.step("w1-people", &[])?;
    stage.enrol(&HANAKO, &["--unit", "shogaku"])?;
    for person in [&TARO, &JIRO] {
        stage.enrol(person, &["--unit", "acme-team", "--contract", "acme"])?;
    }
    stage.enrol(&SAYO, &["--unit", "vega-team", "--contract", "vega"])
}

/// The list and a glyph, sealed to the department and to both contractors; the results, to the department and who wrote them.
struct Files {
    list: Sent,
    glyph: Sent,
    results: Sent,
}

impl Files {
    fn all(&self) -> [&Sent; 3] {
        [&self.list, &self.glyph, &self.results]
    }
}

fn there_and_back(stage: &mut Stage<'_>) -> Result<Files> {
    let everybody = ["shogaku", "acme-team", "vega-team"];
    stage.tell.step("w1-send", &[("debtors", &DEBTORS.to_string())])?;
    stage.write(&HANAKO, "滞納者一覧.csv", &residents::shift_jis(About::Scholarships, DEBTORS)?)?;
    let [own, ..] = OWN_CHARACTERS;
    stage.write(&HANAKO, "外字.png", &glyph::png(own)?)?;
    let list = stage.seal(&HANAKO, "滞納者一覧.csv", &everybody)?;
    let glyph = stage.seal(&HANAKO, "外字.png", &everybody)?;
    for file in [&list, &glyph] {
        stage.carry(file, &HANAKO, &[&TARO, &JIRO, &SAYO])?;
    }

    stage.tell.step("w1-open", &[])?;
    for person in [&TARO, &JIRO, &SAYO] {
        for file in [&list, &glyph] {
            stage.opens(person, file)?;
        }
    }

    stage.tell.step("w1-return", &[])?;
    stage.write(&TARO, "勧奨結果.csv", &residents::utf8(About::Reminders, DEBTORS))?;
    let results = stage.seal(&TARO, "勧奨結果.csv", &["shogaku", "acme-team"])?;
    stage.carry(&results, &TARO, &[&HANAKO])?;
    stage.opens(&HANAKO, &results)?;
    stage.opens(&TARO, &results)?;
    Ok(Files { list, glyph, results })
}

fn end(stage: &mut Stage<'_>, files: &Files) -> Result<()> {
    stage.tell.step("w1-copies", &[])?;
    let copies = [
        stage.keep(&files.list, &TARO, "USB/控え.csv.age")?,
        stage.keep(&files.list, &JIRO, "メール/添付.age")?,
    ];
    stage.opens(&TARO, &copies[0])?;

    stage.tell.step("w1-ends", &[])?;
    let words = ["contract", "end", "acme", "--reason", "契約終了", "--watch"];
    have_confirmed(&stage.officer(&words)?, &SITES)?;
    stage.tell.seen("confirmed", &[])?;

    stage.tell.step("w1-over", &[])?;
    for site in SITES {
        stage.alone_at(site, &SITES, |stage| {
            for (person, kept) in [(&TARO, &copies[0]), (&JIRO, &copies[1])] {
                for file in [&files.list, kept] {
                    stage.is_refused(person, file, OVER)?;
                }
            }
            stage.is_refused(&TARO, &files.results, OVER)
        })?;
    }
    stage.opens(&SAYO, &files.list)
}

/// The other contract is over by itself.
fn last_day(stage: &mut Stage<'_>, list: &Sent) -> Result<()> {
    stage.tell.step("w1-last-day", &[])?;
    stage.town.set_clock("kms", "+3d")?;
    until("the sites have heard what day it is", PATIENCE, || {
        let status = stage.town.status(SAYO.label)?;
        Ok(status.pointer("/state/state").and_then(Value::as_str) == Some("refused"))
    })?;
    stage.is_refused(&SAYO, list, OVER)
}

fn whole(stage: &mut Stage<'_>, files: &Files) -> Result<()> {
    stage.tell.step("w1-goes-on", &[])?;
    for file in [&files.list, &files.results] {
        stage.opens(&HANAKO, file)?;
    }
    stage.are_untouched(&files.all())?;

    stage.tell.step("who", &[])?;
    stage.who_opened(&files.all())?;
    Ok(())
}

/// The day after this one, in the organization's time zone.
fn tomorrow() -> Result<String> {
    let in_a_day = UNIX_EPOCH.elapsed()? + Duration::from_secs(24 * 60 * 60);
    Ok(Zone::named("Asia/Tokyo").last_day_before(u64::try_from(in_a_day.as_millis())?))
}
