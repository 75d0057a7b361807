//! W2: passport applications at a main office and two branches, one department at all of them. A branch whose line is down works
//! until its lease is over, and then refuses; when the line is back, nothing is lost.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::Value;
use warifu_virtual_card::readers::Readers;

use super::stage::{Person, Sent, Stage};
use super::{Narrator, ORGANIZATION};
use crate::made_up::archive;
use crate::made_up::residents::{self, About};
use crate::town::{DESK_READERS, Town, until};

/// The officers', and one at each office.
pub(super) const READERS: usize = DESK_READERS + 3;

const SITES: [(&str, &str); 3] = [("honcho", "本庁"), ("omachi", "大町支所"), ("hakuba", "白馬支所")];
const HANAKO: Person = Person { label: "hanako", name: "信濃 花子", number: Some(0) };
const JIRO: Person = Person { label: "jiro", name: "大町 次郎", number: Some(1) };
const SAKURA: Person = Person { label: "sakura", name: "白馬 さくら", number: Some(2) };
/// Who sits where.
const OFFICES: [(Person, (&str, &str)); 3] = [(HANAKO, SITES[0]), (JIRO, SITES[1]), (SAKURA, SITES[2])];
/// Where the line is cut.
const BRANCH: &str = "omachi";

/// In earnest it is ten minutes; whoever looks on, or waits for a test, has less time.
const LEASE_SECONDS: u64 = 20;
const PATIENCE: Duration = Duration::from_secs(60);
/// The list before and after the line was cut, and what was sealed there meanwhile.
const OPENED_AT_BRANCH: usize = 3;
const SCANS_MEBIBYTES: usize = 300;

pub(super) fn play(folder: &Path, readers: Readers, tell: &Narrator) -> Result<()> {
    tell.begin("w2")?;
    let mut town = Town::new(folder, readers)?;
    town.lease_seconds = LEASE_SECONDS;
    for (person, (place, _)) in &OFFICES[1..] {
        town.lay_line(place)?;
        town.put_at(place, place);
        town.put_at(person.label, place);
    }
    let mut stage = Stage::set(town, tell, ORGANIZATION, &SITES)?;
    stage.tell.step("w2-department", &[])?;
    stage.officer(&["unit", "add", "ryoken", "--name", "市民課 旅券窓口"])?;
    for (person, (_, site)) in &OFFICES {
        stage.enrol_at(person, &["--unit", "ryoken"], &["--site", site])?;
    }
    let list = everywhere(&mut stage)?;
    cut_off(&mut stage, &list)?;
    stage.tell.end("w2-end")?;
    stage.town.close();
    Ok(())
}

/// The day's list and an archive of scans reach all offices. Answers the list.
fn everywhere(stage: &mut Stage<'_>) -> Result<Sent> {
    stage.tell.step("w2-send", &[("mebibytes", &SCANS_MEBIBYTES.to_string())])?;
    stage.write(&HANAKO, "申請一覧.csv", &residents::utf8(About::Passports, 300))?;
    let scans = stage.folder(HANAKO.label).join("申請書スキャン.tar");
    stage.tell.during("w2-scanning", || archive::write(File::create(&scans)?, SCANS_MEBIBYTES))?;
    let list = stage.seal(&HANAKO, "申請一覧.csv", &["ryoken"])?;
    let archive = stage.seal(&HANAKO, "申請書スキャン.tar", &["ryoken"])?;
    stage.carry(&list, &HANAKO, &[&JIRO, &SAKURA])?;
    stage.carry(&archive, &HANAKO, &[&JIRO])?;
    for (person, _) in &OFFICES {
        stage.opens(person, &list)?;
    }
    stage.opens(&JIRO, &archive)?;
    stage.are_untouched(&[&list, &archive])?;
    stage.who_opened(&[&list, &archive])?;
    Ok(list)
}

fn cut_off(stage: &mut Stage<'_>, list: &Sent) -> Result<()> {
    // What is opened to see whether anything opens is not of the story.
    stage.write(&HANAKO, "確認.txt", "確認".as_bytes())?;
    let probe = stage.sealed(&HANAKO, "確認.txt", &["ryoken"])?;
    stage.carry(&probe, &HANAKO, &[&JIRO])?;

    stage.tell.step("w2-cut", &[("seconds", &LEASE_SECONDS.to_string())])?;
    stage.town.cut_line(BRANCH)?;
    stage.opens(&JIRO, list)?;
    stage.write(&JIRO, "追加申請.csv", &residents::shift_jis(About::Passports, 20)?)?;
    let more = stage.seal(&JIRO, "追加申請.csv", &["ryoken"])?;
    stage.opens(&JIRO, &more)?;
    let unknown = stage.unknown_openings(&[list])?;
    ensure!(unknown == 1, "{unknown} openings have not come through the line that is cut");
    stage.tell.seen("w2-kept", &[])?;

    stage.tell.step("w2-lease-over", &[])?;
    stage.tell.during("w2-waiting", || {
        until("the lease is over", PATIENCE, || Ok(!stage.is_open(&JIRO, &probe)?))
    })?;
    stage.is_refused(&JIRO, list, "lease-expired")?;
    stage.opens(&SAKURA, list)?;
    stage.carry(&more, &JIRO, &[&HANAKO])?;
    stage.opens(&HANAKO, &more)?;

    stage.tell.step("w2-back", &[])?;
    stage.town.mend_line(BRANCH)?;
    until("the branch is ready again", PATIENCE, || {
        Ok(stage.town.watched(BRANCH, "/readyz").is_some_and(|(status, _)| status == 200))
    })?;
    stage.opens(&JIRO, list)?;
    stage.are_untouched(&[list, &more])?;

    stage.tell.step("who", &[])?;
    let rows = stage.who_opened(&[list, &more])?;
    let (_, (_, branch)) = OFFICES[1];
    let there = |row: &&Value| {
        row.get("name").is_some_and(|name| name == JIRO.name)
            && row.get("site").is_some_and(|site| site == branch)
    };
    let there = rows.iter().filter(there).count();
    // Once the line is back, the PC may have gone on with another site.
    ensure!(there >= OPENED_AT_BRANCH, "{there} openings at the branch: {rows:?}");
    stage.tell.seen("w2-arrived", &[])
}
