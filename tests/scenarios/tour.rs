//! The whole of it once, from the founding to the end of a contract: what `./demo` plays when nothing is asked of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use warifu_virtual_card::readers::Readers;

use super::stage::have_confirmed;
use super::{Narrator, ORGANIZATION};
use crate::made_up::residents;
use crate::process::is_shown;
use crate::town::{MEMBER_READERS, PIN, READERS, SITES, Town, rage, until};

const RESIDENTS: usize = 2000;

/// The list of residents, as it was, and sealed to the department and the contractor.
struct List {
    plain: Vec<u8>,
    path: PathBuf,
    sealed: Vec<u8>,
}

/// Plays it in a folder of its own. The town goes on, with a sealed list, `residents.csv.age`, in that folder.
///
/// # Errors
/// Whatever does not go as it should.
pub fn tour(folder: &Path, tell: &Narrator) -> Result<Town> {
    let mut town = founded(folder, tell)?;
    people(&mut town, tell)?;
    let list = seal(&town, tell)?;
    opened_by_card(&mut town, tell, &list)?;
    contract_ends(&mut town, tell, &list)?;
    tell.end("tour-end")?;
    Ok(town)
}

fn founded(folder: &Path, tell: &Narrator) -> Result<Town> {
    tell.step("tour-cards", &[])?;
    let mut town = Town::new(folder, Readers::start(READERS)?)?;
    tell.seen("tour-cards-seen", &[])?;

    tell.step("tour-keys", &[])?;
    tell.during("tour-keys-wait", || town.equip_authorities())?;
    town.open_desk()?;

    tell.step("tour-founding", &[])?;
    tell.during("tour-founding-wait", || town.found(ORGANIZATION))?;
    let hash = town.organization().get(..16).unwrap_or_default().to_owned();
    tell.seen("tour-founded", &[("hash", &hash)])?;

    tell.step("tour-sites", &[])?;
    for (label, name) in SITES {
        tell.during("tour-site-wait", || town.add_site(label, name))?;
        tell.seen("tour-site", &[("site", name)])?;
    }
    town.fetch_profile()?;
    Ok(town)
}

fn people(town: &mut Town, tell: &Narrator) -> Result<()> {
    tell.step("tour-units", &[])?;
    tell.during("tour-unit-wait", || town.admin(&["unit", "add", "tax", "--name", "税務課"]))?;
    town.admin(&["contract", "open", "acme", "--name", "アクメ株式会社", "--ends", "2099-03-31"])?;
    let team = ["unit", "add", "acme-team", "--name", "アクメ 奨学金担当", "--contract", "acme"];
    tell.during("tour-unit-wait", || town.admin(&team))?;
    for unit in ["tax", "acme-team"] {
        tell.seen("tour-recipient", &[("unit", unit), ("recipient", &town.recipient(unit)?)])?;
    }

    tell.step("tour-members", &[])?;
    tell.during("tour-card-wait", || town.enroll("hanako", 2001, "信濃 花子", &["--unit", "tax"]))?;
    tell.seen("tour-member", &[("name", "信濃 花子"), ("unit", "税務課")])?;
    let words = ["--unit", "acme-team", "--contract", "acme"];
    tell.during("tour-card-wait", || town.enroll("taro", 2002, "委託 太郎", &words))?;
    tell.seen("tour-member", &[("name", "委託 太郎"), ("unit", "アクメ株式会社")])?;
    for (agent, reader) in ["office", "contractor"].into_iter().zip(MEMBER_READERS) {
        town.add_agent(agent, &[reader], false, &[])?;
        town.start(agent)?;
    }
    Ok(())
}

fn seal(town: &Town, tell: &Narrator) -> Result<List> {
    tell.step("tour-seal", &[("count", &RESIDENTS.to_string())])?;
    let (list, path) = (town.folder().join("residents.csv"), town.folder().join("residents.csv.age"));
    fs::write(&list, residents::csv(RESIDENTS))?;
    rage(&[town.recipient("tax")?, town.recipient("acme-team")?], &list, &path)?;
    let sealed = fs::read(&path)?;
    tell.seen("tour-sealed", &[("bytes", &sealed.len().to_string())])?;
    Ok(List { plain: fs::read(&list)?, path, sealed })
}

fn opened_by_card(town: &mut Town, tell: &Narrator, list: &List) -> Result<()> {
    let [office, contractor] = MEMBER_READERS;
    tell.step("tour-open", &[])?;
    town.insert("hanako", office)?;
    town.wait_for_member_card("office")?;
    opens(town, tell, "office", list)?;
    let shown = view(town, "office", &list.path)?;
    tell.seen("tour-shown", &[("path", &shown.display().to_string())])?;

    tell.step("tour-out", &[])?;
    let pulled = Instant::now();
    town.remove("hanako");
    until("viewer and plaintext are gone", Duration::from_secs(5), || {
        Ok(!shown.exists() && !is_shown(&shown))
    })?;
    tell.seen("tour-wiped", &[("milliseconds", &pulled.elapsed().as_millis().to_string())])?;
    is_refused(town, tell, "office", &list.path)?;

    tell.step("tour-contractor", &[])?;
    town.insert("taro", contractor)?;
    town.wait_for_member_card("contractor")?;
    opens(town, tell, "contractor", list)
}

fn contract_ends(town: &mut Town, tell: &Narrator, list: &List) -> Result<()> {
    let [office, contractor] = MEMBER_READERS;
    tell.step("tour-ends", &[])?;
    let words = ["contract", "end", "acme", "--reason", "契約終了", "--watch"];
    let receipts = town.admin(&[&["--lang", tell.language().code()], &words[..]].concat())?;
    tell.answers(&receipts);
    have_confirmed(&receipts, &SITES)?;

    tell.step("tour-over", &[])?;
    for (label, name) in SITES {
        let agent = format!("contractor-{label}");
        town.stop("contractor");
        town.add_agent(&agent, &[contractor], false, &["--site", name])?;
        town.start(&agent)?;
        town.wait_for_member_card(&agent)?;
        tell.place("tour-site-first", &[("site", name)])?;
        is_refused(town, tell, &agent, &list.path)?;
        town.stop(&agent);
    }
    town.start("contractor")?;

    tell.step("tour-goes-on", &[])?;
    town.insert("hanako", office)?;
    town.wait_for_member_card("office")?;
    opens(town, tell, "office", list)?;
    ensure!(fs::read(&list.path)? == list.sealed, "the file was touched");
    tell.seen("tour-untouched", &[])
}

/// The list opens at a PC, and is what it was.
fn opens(town: &Town, tell: &Narrator, agent: &str, list: &List) -> Result<()> {
    let out = town.folder().join("opened.csv");
    let (sealed, to) = (list.path.to_str().context("path")?, out.to_str().context("path")?);
    let output = town.warifu(agent, &["open", "--pin-stdin", "-o", to, sealed], PIN)?;
    ensure!(
        output.status.success(),
        "warifu open: {}{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
        town.log(agent)
    );
    ensure!(fs::read(&out)? == list.plain, "what was opened is not what was sealed");
    fs::remove_file(&out)?;
    tell.seen("tour-same", &[("count", &RESIDENTS.to_string())])
}

/// Opens a file in a viewer; where its plaintext is.
fn view(town: &Town, agent: &str, sealed: &Path) -> Result<PathBuf> {
    let sealed = sealed.to_str().context("path")?;
    let output = town.warifu(agent, &["open", "--pin-stdin", "--json", sealed], PIN)?;
    ensure!(output.status.success(), "warifu open: {}", String::from_utf8_lossy(&output.stderr));
    let answer: Value = serde_json::from_slice(&output.stdout)?;
    let path = answer.pointer("/files/0/path").and_then(Value::as_str).context("no viewer")?;
    ensure!(Path::new(path).exists() && is_shown(Path::new(path)), "{path} is not shown");
    Ok(path.into())
}

/// Tries to open a file, and shows the words of the refusal.
fn is_refused(town: &Town, tell: &Narrator, agent: &str, sealed: &Path) -> Result<()> {
    let out = sealed.with_extension("should-not-be");
    let (sealed, to) = (sealed.to_str().context("path")?, out.to_str().context("path")?);
    let words = ["--lang", tell.language().code(), "open", "--pin-stdin", "-o", to, sealed];
    let output = town.warifu(agent, &words, PIN)?;
    ensure!(!output.status.success() && !out.exists(), "it opened");
    tell.answers(&String::from_utf8_lossy(&output.stderr));
    Ok(())
}
