//! `unit`.

mod life;
mod person;

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::json;
use warifu_envelope::UnitRecipient;
use warifu_ledger::Id;
use warifu_ledger::register::{Name, Record};
use warifu_ledger::state;
use warifu_ledger::statement::{Act, Millis, UnitKind};
use warifu_split_key::point::Point;

pub(super) use self::person::PersonalUnit;
use self::person::Wanted;
use super::already;
use crate::args::Unit;
use crate::desk::{Book, Desk, rng};
use crate::fault::Fault;
use crate::screen::List;

pub(super) async fn run(desk: &mut Desk<'_>, command: Unit) -> Result<(), Fault> {
    match command {
        Unit::Add { label, name, person: Some(member), sites, two_people, own_pcs, .. } => {
            person::add(desk, Wanted { member, label, name, sites, two_people, own_pcs }).await
        }
        Unit::Add {
            label,
            name,
            person: None,
            front_desk,
            routes_to,
            contract,
            sites,
            two_people,
            own_pcs,
        } => {
            // The command line has them where nobody is named.
            let (label, name) = label.zip(name).ok_or(Fault::NotAName)?;
            let book = desk.book().await?;
            let name = Name::new(label, name).map_err(|_| Fault::NotAName)?;
            let begun = book.begun(&name, book.state.units().map(|(id, u)| (id, u.name)), "unit")?;
            let kind = match (front_desk, &contract) {
                (true, _) => UnitKind::FrontDesk,
                (false, Some(_)) => UnitKind::Contractor,
                (false, None) => UnitKind::Department,
            };
            let contract = contract.map(|label| book.contract(&label)).transpose()?;
            let sites = serving(&book, &sites)?;
            let routes_to = routes_to.iter().map(|label| book.unit(label)).collect::<Result<_, _>>()?;
            let unit = match begun {
                Some(unit) => {
                    let same = book.state.unit(&unit).is_some_and(|found| {
                        (found.kind, found.contract, found.two_people) == (kind, contract, two_people)
                            && found.own_pcs == own_pcs
                            && found.sites == sites
                            && found.routes_to == routes_to
                    });
                    if !same {
                        return Err(Fault::LabelTaken { label: name.label });
                    }
                    unit
                }
                None => {
                    let record = Record::draw(&mut rng(), name.to_text());
                    let unit = Id::draw(&mut rng());
                    let act = Act::UnitOrdered {
                        unit,
                        name: record.commitment(),
                        kind,
                        contract,
                        sites,
                        routes_to,
                        two_people,
                        own_pcs,
                    };
                    desk.screen.say_with("unit-preview", &[("name", name.name.clone())]);
                    desk.screen.agree()?;
                    desk.order(&book, vec![act], vec![record]).await?;
                    unit
                }
            };
            let recipient = wait_for_key(desk, unit, &name.name).await?;
            desk.screen.result(&json!({ "unit": unit, "recipient": recipient }), || {
                desk.screen
                    .text("unit-created", &[("name", name.name.clone()), ("recipient", recipient.clone())])
            });
            Ok(())
        }
        Unit::Sites { label, add, remove, watch_shares } => {
            super::serving::change(desk, &label, &add, &remove, watch_shares).await
        }
        Unit::List => {
            let book = desk.book().await?;
            let mut list =
                List::new(desk.screen, &["column-label", "column-name", "column-kind", "column-recipient"]);
            for (id, unit) in book.state.units() {
                let row = UnitRow::of(&book, *id, unit);
                let kind = desk.screen.text(kind_key(row.kind), &[]);
                let recipient = match &row.recipient {
                    // Senders are not to use it any more.
                    _ if !row.listed => desk.screen.text("not-in-the-directory", &[]),
                    Some(recipient) => recipient.clone(),
                    None => desk.screen.text("no-key-yet", &[]),
                };
                list.row([row.label.clone(), row.name.clone(), kind, recipient], &row)?;
            }
            list.show(desk.screen);
            Ok(())
        }
        Unit::Rename { label, name } => life::rename(desk, label, name).await,
        Unit::OwnPcs { label, forbid } => own_pcs(desk, label, !forbid).await,
        Unit::Close { label, from, replaced, watch } => life::close(desk, label, from, replaced, watch).await,
        Unit::Merge { label, into, from } => life::merge(desk, label, into, from).await,
        Unit::Rekey { label } => life::rekey(desk, label).await,
        Unit::Show { label } => show(desk, label).await,
        Unit::Recipient { label } => {
            let book = desk.book().await?;
            let (_, _, key) = with_key(&book, label)?;
            let recipient = UnitRecipient::encode(&key);
            desk.screen.result(&json!({ "recipient": recipient }), || recipient.clone());
            Ok(())
        }
    }
}

/// A unit with its key, if it has one by now.
fn with_key(book: &Book, label: String) -> Result<(Id, &state::Unit, Point), Fault> {
    let id = book.unit(&label)?;
    let found = book.state.unit(&id).and_then(|unit| Some((id, unit, unit.key?.0)));
    found.ok_or(Fault::NotReadyInTime { what: label })
}

/// Says what a unit is known by, and its fingerprint, which senders compare by telephone.
async fn show(desk: &mut Desk<'_>, label: String) -> Result<(), Fault> {
    let book = desk.book().await?;
    let (id, unit, key) = with_key(&book, label)?;
    let row = UnitRow::of(&book, id, unit);
    let shown = serde_json::to_value(&row).map_err(Fault::Json)?;
    desk.screen.result(&shown, || {
        let kind = desk.screen.text(kind_key(row.kind), &[]);
        let values = [
            ("name", row.name),
            ("label", row.label),
            ("kind", kind),
            ("recipient", UnitRecipient::encode(&key)),
            ("fingerprint", UnitRecipient::fingerprint(&key)),
        ];
        let mut text = desk.screen.text("unit-shown", &values);
        if !row.listed {
            text = format!("{text}\n{}", desk.screen.text("not-in-the-directory", &[]));
        }
        text
    });
    Ok(())
}

/// The sites named, or all of them.
fn serving(book: &Book, labels: &[String]) -> Result<BTreeSet<Id>, Fault> {
    if labels.is_empty() {
        return Ok(book.state.sites().filter(|(_, site)| !site.removed).map(|(id, _)| *id).collect());
    }
    labels.iter().map(|label| book.site(label)).collect()
}

/// Waits until ca and kms have made the unit's key, and returns its recipient, computed from the two proved halves.
async fn wait_for_key(desk: &mut Desk<'_>, unit: Id, name: &str) -> Result<String, Fault> {
    let spinner = desk.screen.waiting("waiting-for-unit");
    for _ in 0..150 {
        let directory: warifu_api::wire::authority::Directory = desk.agent.get("/v1/directory").await?;
        let found = directory.units.into_iter().find(|entry| entry.unit == unit);
        if let Some(recipient) = found.and_then(|entry| entry.recipient) {
            spinner.finish_and_clear();
            return Ok(recipient);
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    Err(Fault::NotReadyInTime { what: name.to_owned() })
}

/// What kind of unit it is, by the key of its text.
pub(crate) fn kind_key(kind: UnitKind) -> &'static str {
    match kind {
        UnitKind::Department => "unit-kind-department",
        UnitKind::FrontDesk => "unit-kind-front-desk",
        UnitKind::Contractor => "unit-kind-contractor",
        UnitKind::Person => "unit-kind-person",
    }
}

/// Lets members' own PCs put the unit's shares on cards, or no more.
async fn own_pcs(desk: &mut Desk<'_>, label: String, allowed: bool) -> Result<(), Fault> {
    let book = desk.book().await?;
    let unit = book.unit(&label)?;
    if book.state.unit(&unit).is_some_and(|unit| unit.own_pcs == allowed) {
        return already(desk, "unit-own-pcs-already", label);
    }
    let act = Act::UnitChanged {
        unit,
        name: None,
        sites: None,
        routes_to: None,
        two_people: None,
        own_pcs: Some(allowed),
    };
    let done = desk.order(&book, vec![act], Vec::new()).await?;
    desk.screen
        .result(&json!({ "order": done.digest, "unit": unit }), || desk.screen.text("order-in-ledger", &[]));
    Ok(())
}

/// A unit, for programs.
#[derive(Serialize)]
struct UnitRow {
    unit: Id,
    label: String,
    name: String,
    kind: UnitKind,
    contract: Option<Id>,
    sites: BTreeSet<Id>,
    routes_to: BTreeSet<Id>,
    two_people: bool,
    /// Whether members' own PCs may put its shares on cards.
    own_pcs: bool,
    /// None until it has its key.
    recipient: Option<String>,
    /// [`UnitRecipient::fingerprint`]; none until it has its key.
    fingerprint: Option<String>,
    /// Whether the directory has it: it is not closed, merged, re-keyed or of an ended contract.
    listed: bool,
    closed: bool,
    closes_at: Option<Millis>,
    merged_into: Option<Id>,
    successor: Option<Id>,
}

impl UnitRow {
    fn of(book: &Book, id: Id, unit: &state::Unit) -> Self {
        let key = unit.key.map(|(key, _)| key);
        Self {
            unit: id,
            label: book.label(&unit.name),
            name: book.name(&unit.name),
            kind: unit.kind,
            contract: unit.contract,
            sites: unit.sites.clone(),
            routes_to: unit.routes_to.clone(),
            two_people: unit.two_people,
            own_pcs: unit.own_pcs,
            recipient: key.as_ref().map(UnitRecipient::encode),
            fingerprint: key.as_ref().map(UnitRecipient::fingerprint),
            listed: book.state.unit_is_listed(&id, book.at),
            closed: book.state.unit_is_closed(&id, book.at),
            closes_at: unit.closes_at,
            merged_into: unit.merged.map(|(into, _)| into),
            successor: unit.successor,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_get_the_same_in_every_language() {
        let row = UnitRow {
            unit: Id([1; 16]),
            label: "front".to_owned(),
            name: "受付".to_owned(),
            kind: UnitKind::FrontDesk,
            contract: None,
            sites: BTreeSet::from([Id([2; 16])]),
            routes_to: BTreeSet::from([Id([3; 16])]),
            two_people: true,
            own_pcs: false,
            recipient: None,
            fingerprint: None,
            listed: true,
            closed: false,
            closes_at: Some(5),
            merged_into: None,
            successor: None,
        };
        let expected = json!({
            "unit": "01010101010101010101010101010101",
            "label": "front",
            "name": "受付",
            "kind": "front-desk",
            "contract": null,
            "sites": ["02020202020202020202020202020202"],
            "routes_to": ["03030303030303030303030303030303"],
            "two_people": true,
            "own_pcs": false,
            "recipient": null, "fingerprint": null,
            "listed": true,
            "closed": false,
            "closes_at": 5,
            "merged_into": null,
            "successor": null,
        });
        assert_eq!(serde_json::to_value(row).unwrap(), expected);
    }
}
