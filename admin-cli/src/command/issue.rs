//! `card issue`: cards for people who were enrolled without one, one after the other.

use warifu_ledger::Id;
use warifu_ledger::register::Name;

use super::already;
use super::enroll::{Enrolment, enroll};
use crate::desk::{Book, Desk};
use crate::fault::Fault;

/// Makes a card for this member, or for the next by short name who has none.
pub(super) async fn issue(
    desk: &mut Desk<'_>,
    label: Option<String>,
    new_card: Option<u32>,
) -> Result<(), Fault> {
    let book = desk.book().await?;
    let member = match label {
        Some(label) => Some(book.member(&label)?),
        None => waiting(&book).into_iter().next().map(|(_, member)| member),
    };
    let Some((member, found)) = member.and_then(|member| Some((member, book.state.member(&member)?))) else {
        return already(desk, "card-issue-none", String::new());
    };
    let record = &found.name.record;
    let unknown = || Fault::UnknownLabel { kind: "member", label: record.to_string() };
    let name: Name = book.names.get(record).cloned().ok_or_else(unknown)?;
    let units: Vec<String> = book
        .state
        .units_of_member(&member, book.now())
        .iter()
        .filter_map(|unit| Some(book.label(&book.state.unit(unit)?.name)))
        .collect();
    let contract = found.contract.and_then(|contract| book.state.contract(&contract));
    let contract = contract.map(|contract| book.label(&contract.name));
    let shown = units.join(desk.screen.separator());
    desk.screen.say_with("card-issue-preview", &[("name", name.name.clone()), ("units", shown)]);
    enroll(desk, &book, Enrolment { name, units, person: false, contract, new_card, letter: None }).await
}

/// Those who are enrolled and have no card, by short name.
fn waiting(book: &Book) -> Vec<(String, Id)> {
    let mut waiting: Vec<(String, Id)> = book
        .state
        .members()
        .filter(|(id, _)| !book.state.member_is_over(id, book.now()))
        .filter(|(id, _)| book.state.cards_of_member(**id).next().is_none())
        .map(|(id, member)| (book.label(&member.name.record), *id))
        .collect();
    waiting.sort();
    waiting
}
