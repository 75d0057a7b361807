//! `contract`.

use serde::Serialize;
use serde_json::json;
use warifu_ledger::Id;
use warifu_ledger::register::{Name, Record};
use warifu_ledger::state::{Kind, Rejected};
use warifu_ledger::statement::{Act, Millis};

use super::{already, end_access, reason};
use crate::args::Contract;
use crate::day::{iso, last_day};
use crate::desk::{Book, Desk, rng};
use crate::fault::Fault;
use crate::screen::List;

pub(super) async fn run(desk: &mut Desk<'_>, command: Contract) -> Result<(), Fault> {
    match command {
        Contract::Open { label, name, ends } => {
            let book = desk.book().await?;
            let name = Name::new(label, name).map_err(|_| Fault::NotAName)?;
            let begun = book.begun(&name, book.state.contracts().map(|(id, c)| (id, c.name)), "contract")?;
            let (ends_at, ends) = end_of(&book, &ends)?;
            let contract = match begun {
                Some(contract) => {
                    let found = book.state.contract(&contract);
                    if !found.is_some_and(|found| !found.ended && found.ends_at == ends_at) {
                        return Err(Fault::LabelTaken { label: name.label });
                    }
                    contract
                }
                None => {
                    let record = Record::draw(&mut rng(), name.to_text());
                    let contract = Id::draw(&mut rng());
                    let act = Act::ContractOpened { contract, name: record.commitment(), ends_at };
                    let values = [("name", name.name.clone()), ("ends", ends.clone())];
                    desk.screen.say_with("contract-preview", &values);
                    desk.screen.agree()?;
                    desk.order(&book, vec![act], vec![record]).await?;
                    contract
                }
            };
            desk.screen.result(&json!({ "contract": contract }), || {
                desk.screen.text("contract-opened", &[("name", name.name.clone()), ("ends", ends.clone())])
            });
            Ok(())
        }
        Contract::Extend { label, ends } => {
            let book = desk.book().await?;
            let contract = book.contract(&label)?;
            // The fold says so only of an order that enough people have signed.
            if book.state.contract_is_over(&contract, book.now()) {
                return Err(Fault::Rejected(Rejected::Over { kind: Kind::Contract, id: contract }));
            }
            let (ends_at, ends) = end_of(&book, &ends)?;
            let act = Act::ContractExtended { contract, ends_at };
            let label = book.state.contract(&contract).map(|c| book.name(&c.name)).unwrap_or(label);
            desk.screen.say_with("contract-preview", &[("name", label.clone()), ("ends", ends.clone())]);
            desk.screen.agree()?;
            desk.order(&book, vec![act], vec![]).await?;
            desk.screen.result(&json!({ "contract": contract }), || {
                desk.screen.text("contract-opened", &[("name", label.clone()), ("ends", ends.clone())])
            });
            Ok(())
        }
        Contract::End { label, why } => {
            let book = desk.book().await?;
            let contract = book.contract(&label)?;
            if book.state.contract(&contract).is_some_and(|contract| contract.ended) {
                return already(desk, "contract-ended-already", label);
            }
            let record = reason(why.reason.clone());
            let act = Act::ContractEnded { contract, reason: record.as_ref().map(Record::commitment) };
            let grants = book.state.ended_by(&act).len();
            let name = book.state.contract(&contract).map(|c| book.name(&c.name)).unwrap_or(label);
            desk.screen.say_with("contract-end-preview", &[("name", name), ("grants", grants.to_string())]);
            end_access(desk, &book, vec![act], record.into_iter().collect(), &why).await
        }
        Contract::List => {
            let book = desk.book().await?;
            let mut list =
                List::new(desk.screen, &["column-label", "column-name", "column-ends", "column-state"]);
            for (id, contract) in book.state.contracts() {
                let row = ContractRow {
                    contract: *id,
                    label: book.label(&contract.name),
                    name: book.name(&contract.name),
                    last_day: book.zone().last_day_before(contract.ends_at),
                    ends_at: contract.ends_at,
                    ends_at_iso: iso(contract.ends_at),
                    ended: contract.ended,
                    over: book.state.contract_is_over(id, book.at),
                };
                let state = desk.screen.text(if row.over { "ended" } else { "live" }, &[]);
                list.row([row.label.clone(), row.name.clone(), row.last_day.clone(), state], &row)?;
            }
            list.show(desk.screen);
            desk.screen.say_with("zone-note", &[("zone", book.zone().name())]);
            Ok(())
        }
    }
}

/// A contract, for programs.
#[derive(Serialize)]
struct ContractRow {
    contract: Id,
    label: String,
    name: String,
    /// In the organization's zone; that day included. The day on which an officer ended it, if one did.
    last_day: String,
    ends_at: Millis,
    ends_at_iso: Option<String>,
    /// Whether an officer ended it.
    ended: bool,
    /// Whether it has come to an end, either way.
    over: bool,
}

/// The first instant after a last day, and the day as it is shown.
fn end_of(book: &Book, day: &str) -> Result<(Millis, String), Fault> {
    let zone = book.zone();
    let date = last_day(&zone, day, book.at)?;
    let end = zone.end_of(date).ok_or_else(|| Fault::DayTooFar { day: day.to_owned() })?;
    Ok((end, date.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_get_the_same_in_every_language() {
        let row = ContractRow {
            contract: Id([1; 16]),
            label: "acme".to_owned(),
            name: "アクメ(株)".to_owned(),
            last_day: "2027-03-31".to_owned(),
            ends_at: 1_806_505_200_000,
            ends_at_iso: iso(1_806_505_200_000),
            ended: false,
            over: true,
        };
        let expected = json!({
            "contract": "01010101010101010101010101010101",
            "label": "acme",
            "name": "アクメ(株)",
            "last_day": "2027-03-31",
            "ends_at": 1_806_505_200_000_u64,
            "ends_at_iso": "2027-03-31T15:00:00Z",
            "ended": false,
            "over": true,
        });
        assert_eq!(serde_json::to_value(row).unwrap(), expected);
    }
}
