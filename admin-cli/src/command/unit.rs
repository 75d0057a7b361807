//! `unit`.

use std::collections::BTreeSet;

use serde_json::json;
use warifu_envelope::UnitRecipient;
use warifu_ledger::Id;
use warifu_ledger::register::{Name, Record};
use warifu_ledger::statement::{Act, UnitKind};

use crate::args::Unit;
use crate::desk::{Book, Desk, rng};
use crate::fault::Fault;
use crate::screen::Table;

pub(super) async fn run(desk: &mut Desk<'_>, command: Unit) -> Result<(), Fault> {
    match command {
        Unit::Add { label, name, front_desk, routes_to, contract, sites, two_people } => {
            let book = desk.book().await?;
            book.must_be_free(&label, book.state.units().map(|(id, u)| (id, u.name)), "unit")?;
            let name = Name::new(label, name).map_err(|_| Fault::NotAName)?;
            let record = Record::draw(&mut rng(), name.to_text());
            let kind = match (front_desk, &contract) {
                (true, _) => UnitKind::FrontDesk,
                (false, Some(_)) => UnitKind::Contractor,
                (false, None) => UnitKind::Department,
            };
            let unit = Id::draw(&mut rng());
            let act = Act::UnitOrdered {
                unit,
                name: record.commitment(),
                kind,
                contract: contract.map(|label| book.contract(&label)).transpose()?,
                sites: serving(&book, &sites)?,
                routes_to: routes_to.iter().map(|label| book.unit(label)).collect::<Result<_, _>>()?,
                two_people,
            };
            desk.screen.say_with("unit-preview", &[("name", name.name.clone())]);
            desk.screen.agree()?;
            desk.order(&book, vec![act], vec![record]).await?;
            let recipient = wait_for_key(desk, unit, &name.name).await?;
            desk.screen.result(&json!({ "unit": unit, "recipient": recipient }), || {
                desk.screen
                    .text("unit-created", &[("name", name.name.clone()), ("recipient", recipient.clone())])
            });
            Ok(())
        }
        Unit::List => {
            let book = desk.book().await?;
            let mut table = Table::new(desk.screen, &["column-label", "column-name", "column-recipient"]);
            for (_, unit) in book.state.units() {
                let recipient = unit.key.map(|(key, _)| UnitRecipient::encode(&key)).unwrap_or_default();
                table.row([book.label(&unit.name), book.name(&unit.name), recipient]);
            }
            table.show(desk.screen);
            Ok(())
        }
        Unit::Recipient { label } => {
            let book = desk.book().await?;
            let id = book.unit(&label)?;
            let key = book.state.unit(&id).and_then(|unit| unit.key);
            let (key, _) = key.ok_or(Fault::NotReadyInTime { what: label })?;
            let recipient = UnitRecipient::encode(&key);
            desk.screen.result(&json!({ "recipient": recipient }), || recipient.clone());
            Ok(())
        }
    }
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
