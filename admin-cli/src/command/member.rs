//! `member`.

use serde::Serialize;
use serde_json::json;
use warifu_ledger::Id;
use warifu_ledger::register::{Name, Record};
use warifu_ledger::state;
use warifu_ledger::statement::Act;

use super::enroll::{Enrolment, enroll};
use super::{already, end_access, reason};
use crate::args::Member;
use crate::day;
use crate::desk::{Book, Desk};
use crate::fault::Fault;
use crate::screen::List;

pub(super) async fn run(desk: &mut Desk<'_>, command: Member) -> Result<(), Fault> {
    match command {
        Member::Enroll { label, name, unit, person, contract, new_card, letter } => {
            let name = Name::new(label, name).map_err(|_| Fault::NotAName)?;
            let book = desk.book().await?;
            enroll(desk, &book, Enrolment { name, units: unit, person, contract, new_card, letter }).await
        }
        Member::Revoke { label, why } => {
            let book = desk.book().await?;
            let member = book.member(&label)?;
            if book.state.member(&member).is_some_and(|member| member.revoked) {
                return already(desk, "member-revoked-already", label);
            }
            let record = reason(why.reason.clone());
            let act = Act::MemberRevoked {
                member,
                effective_at: None,
                reason: record.as_ref().map(Record::commitment),
            };
            let grants = book.state.ended_by(&act).len();
            let name = book.state.member(&member).map(|m| book.name(&m.name.record)).unwrap_or(label);
            desk.screen.say_with("member-revoke-preview", &[("name", name), ("grants", grants.to_string())]);
            end_access(desk, &book, vec![act], record.into_iter().collect(), &why).await
        }
        Member::Units { label, add, remove, watch } => {
            super::units::change(desk, label, &add, &remove, watch).await
        }
        Member::Leave { label, on, reason: why } => {
            let book = desk.book().await?;
            let member = book.member(&label)?;
            if book.state.member_is_over(&member, book.at) {
                return already(desk, "member-revoked-already", label);
            }
            let day = day::last_day(&book.zone(), &on, book.at)?;
            let end = book.zone().end_of(day).ok_or(Fault::NotADay { day: on })?;
            let name = book.state.member(&member).map(|m| book.name(&m.name.record)).unwrap_or(label);
            let record = reason(why);
            let act = Act::MemberRevoked {
                member,
                effective_at: Some(end),
                reason: record.as_ref().map(Record::commitment),
            };
            desk.screen.say_with(
                "member-leave-preview",
                &[("name", name), ("day", book.zone().last_day_before(end))],
            );
            desk.screen.agree()?;
            let done = desk.order(&book, vec![act], record.into_iter().collect()).await?;
            let answer = json!({ "order": done.digest, "member": member, "ends_at": end });
            desk.screen.result(&answer, || desk.screen.text("order-in-ledger", &[]));
            Ok(())
        }
        Member::EnrollAll { table } => {
            super::bulk::enroll(desk, &table.csv, table.skip_bad, table.report.as_deref()).await
        }
        Member::Move { table, from } => {
            super::bulk::relocate(desk, &table.csv, &from, table.skip_bad, table.report.as_deref()).await
        }
        Member::Role { label, add_roles, remove_roles } => {
            super::roles::change(desk, label, &add_roles, &remove_roles).await
        }
        Member::List => {
            let book = desk.book().await?;
            let columns = ["column-label", "column-name", "column-contract", "column-units", "column-state"];
            let mut list = List::new(desk.screen, &columns);
            for (id, member) in book.state.members() {
                let row = row(&book, *id, member);
                let contract = member.contract.and_then(|c| book.state.contract(&c));
                let units: Vec<&str> = row.units.iter().map(|unit| unit.name.as_str()).collect();
                let state =
                    desk.screen.text(if row.revoked || row.contract_over { "ended" } else { "live" }, &[]);
                let cells = [
                    row.label.clone(),
                    row.name.clone(),
                    contract.map(|contract| book.name(&contract.name)).unwrap_or_default(),
                    units.join(desk.screen.separator()),
                    state,
                ];
                list.row(cells, &row)?;
            }
            list.show(desk.screen);
            Ok(())
        }
    }
}

/// A member, for programs.
#[derive(Serialize)]
struct MemberRow {
    member: Id,
    label: String,
    name: String,
    contract: Option<Id>,
    /// Whether that contract has come to an end.
    contract_over: bool,
    revoked: bool,
    units: Vec<UnitOfMember>,
}

/// A unit that a card of the member has a live grant to.
#[derive(Serialize)]
struct UnitOfMember {
    unit: Id,
    label: String,
    name: String,
}

fn row(book: &Book, id: Id, member: &state::Member) -> MemberRow {
    let cards = book.state.cards().filter(|(_, card)| card.card.member == id);
    let grants = cards.flat_map(|(card, _)| book.state.grants_of_card(*card));
    let units = grants
        .filter(|(id, _)| book.state.live_grant(id, book.at).is_ok())
        .filter_map(|(_, grant)| Some((grant.unit, book.state.unit(&grant.unit)?)))
        .map(|(unit, found)| UnitOfMember {
            unit,
            label: book.label(&found.name),
            name: book.name(&found.name),
        });
    MemberRow {
        member: id,
        label: book.label(&member.name.record),
        name: book.name(&member.name.record),
        contract: member.contract,
        contract_over: member.contract.is_some_and(|c| book.state.contract_is_over(&c, book.at)),
        revoked: book.state.member_is_over(&id, book.at),
        units: units.collect(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn programs_get_the_same_in_every_language() {
        let row = MemberRow {
            member: Id([1; 16]),
            label: "taro".to_owned(),
            name: "安曇 太郎".to_owned(),
            contract: Some(Id([2; 16])),
            contract_over: true,
            revoked: false,
            units: vec![UnitOfMember {
                unit: Id([3; 16]),
                label: "tax".to_owned(),
                name: "税務課".to_owned(),
            }],
        };
        let expected = json!({
            "member": "01010101010101010101010101010101",
            "label": "taro",
            "name": "安曇 太郎",
            "contract": "02020202020202020202020202020202",
            "contract_over": true,
            "revoked": false,
            "units": [{ "unit": "03030303030303030303030303030303", "label": "tax", "name": "税務課" }],
        });
        assert_eq!(serde_json::to_value(row).unwrap(), expected);
    }
}
