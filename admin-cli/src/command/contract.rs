//! `contract`.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde_json::json;
use warifu_ledger::Id;
use warifu_ledger::register::{Name, Record};
use warifu_ledger::statement::{Act, Millis};

use super::{end_access, reason};
use crate::args::Contract;
use crate::desk::{Book, Desk, rng};
use crate::fault::Fault;
use crate::screen::Table;

pub(super) async fn run(desk: &mut Desk<'_>, command: Contract) -> Result<(), Fault> {
    match command {
        Contract::Open { label, name, ends } => {
            let book = desk.book().await?;
            book.must_be_free(&label, book.state.contracts().map(|(id, c)| (id, c.name)), "contract")?;
            let name = Name::new(label, name).map_err(|_| Fault::NotAName)?;
            let record = Record::draw(&mut rng(), name.to_text());
            let contract = Id::draw(&mut rng());
            let act =
                Act::ContractOpened { contract, name: record.commitment(), ends_at: end_of(&book, &ends)? };
            desk.screen.say_with("contract-preview", &[("name", name.name.clone()), ("ends", ends.clone())]);
            desk.screen.agree()?;
            desk.order(&book, vec![act], vec![record]).await?;
            desk.screen.result(&json!({ "contract": contract }), || {
                desk.screen.text("contract-opened", &[("name", name.name.clone()), ("ends", ends.clone())])
            });
            Ok(())
        }
        Contract::Extend { label, ends } => {
            let book = desk.book().await?;
            let contract = book.contract(&label)?;
            let act = Act::ContractExtended { contract, ends_at: end_of(&book, &ends)? };
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
            let record = reason(why.reason);
            let act = Act::ContractEnded { contract, reason: record.as_ref().map(Record::commitment) };
            let grants = book.state.ended_by(&act).len();
            let name = book.state.contract(&contract).map(|c| book.name(&c.name)).unwrap_or(label);
            desk.screen.say_with("contract-end-preview", &[("name", name), ("grants", grants.to_string())]);
            end_access(desk, &book, vec![act], record.into_iter().collect(), why.watch).await
        }
        Contract::List => {
            let book = desk.book().await?;
            let mut table = Table::new(desk.screen, &["column-label", "column-name", "column-ends"]);
            for (_, contract) in book.state.contracts() {
                let ends = if contract.ended {
                    desk.screen.text("ended", &[])
                } else {
                    desk.screen.instant(contract.ends_at, &book)
                };
                table.row([book.label(&contract.name), book.name(&contract.name), ends]);
            }
            table.show(desk.screen);
            Ok(())
        }
    }
}

/// The first instant after a last day, which is inclusive, in the organization's zone.
fn end_of(book: &Book, day: &str) -> Result<Millis, Fault> {
    let not_a_day = || Fault::NotADay { day: day.to_owned() };
    let date: Date = day.parse().map_err(|_| not_a_day())?;
    let zone = TimeZone::get(&book.state.founding().zone).map_err(|_| not_a_day())?;
    let midnight = date.tomorrow().and_then(|next| next.to_zoned(zone)).map_err(|_| not_a_day())?;
    Millis::try_from(midnight.timestamp().as_millisecond()).map_err(|_| not_a_day())
}
