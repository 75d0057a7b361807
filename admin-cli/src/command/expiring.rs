//! `expiring`: contracts that end soon, of which whoever comes to the desk is told as well.

use serde::Serialize;
use warifu_ledger::Id;
use warifu_ledger::statement::Millis;

use crate::day::iso;
use crate::desk::{Book, Desk};
use crate::fault::Fault;
use crate::screen::List;

const DAY_MS: Millis = 24 * 60 * 60 * 1000;

/// A contract that ends soon, for programs.
#[derive(Serialize)]
pub(crate) struct Ending {
    contract: Id,
    label: String,
    pub(crate) name: String,
    /// In the organization's zone; that day included.
    last_day: String,
    ends_at: Millis,
    ends_at_iso: Option<String>,
    /// Days until then, those that have begun counted whole.
    pub(crate) days_left: u64,
    /// Members whose access ends with it.
    members: usize,
}

/// The contracts that end within so many days, the next first.
pub(crate) fn ending(book: &Book, days: u64) -> Vec<Ending> {
    let now = book.now();
    let soon = |ends_at: Millis| ends_at.saturating_sub(now) <= days.saturating_mul(DAY_MS);
    let running = book.state.contracts().filter(|(id, _)| !book.state.contract_is_over(id, now));
    let mut found: Vec<Ending> = running
        .filter(|(_, contract)| soon(contract.ends_at))
        .map(|(id, contract)| Ending {
            contract: *id,
            label: book.label(&contract.name),
            name: book.name(&contract.name),
            last_day: book.zone().last_day_before(contract.ends_at),
            ends_at: contract.ends_at,
            ends_at_iso: iso(contract.ends_at),
            days_left: contract.ends_at.saturating_sub(now).div_ceil(DAY_MS),
            members: book
                .state
                .members_of_contract(*id)
                .filter(|member| !book.state.member_is_over(member, now))
                .count(),
        })
        .collect();
    found.sort_by_key(|contract| contract.ends_at);
    found
}

pub(super) async fn list(desk: &mut Desk<'_>, days: u64) -> Result<(), Fault> {
    let book = desk.book().await?;
    let columns = ["column-label", "column-name", "column-ends", "column-days-left", "column-people"];
    let mut list = List::new(desk.screen, &columns);
    for row in ending(&book, days) {
        let cells = [
            row.label.clone(),
            row.name.clone(),
            row.last_day.clone(),
            row.days_left.to_string(),
            row.members.to_string(),
        ];
        list.row(cells, &row)?;
    }
    list.show(desk.screen);
    Ok(())
}
