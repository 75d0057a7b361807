//! `member`.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::json;
use warifu_api::wire::agent::{CardInReader, Personalize, Personalized};
use warifu_ledger::Id;
use warifu_ledger::register::{Name, Record};
use warifu_ledger::state::{self, CardStatus};
use warifu_ledger::statement::{Act, Card, Custody, Right, UnitKind};

use super::{already, end_access, reason};
use crate::args::Member;
use crate::desk::{Book, Desk, rng};
use crate::fault::Fault;
use crate::found::{card_with, prepare};
use crate::screen::List;

struct Enrolment {
    name: Name,
    units: Vec<String>,
    contract: Option<String>,
    new_card: Option<u32>,
}

pub(super) async fn run(desk: &mut Desk<'_>, command: Member) -> Result<(), Fault> {
    match command {
        Member::Enroll { label, name, unit, contract, new_card } => {
            let name = Name::new(label, name).map_err(|_| Fault::NotAName)?;
            enroll(desk, Enrolment { name, units: unit, contract, new_card }).await
        }
        Member::Revoke { label, why } => {
            let book = desk.book().await?;
            let member = book.member(&label)?;
            if book.state.member(&member).is_some_and(|member| member.revoked) {
                return already(desk, "member-revoked-already", label);
            }
            let record = reason(why.reason);
            let act = Act::MemberRevoked {
                member,
                effective_at: None,
                reason: record.as_ref().map(Record::commitment),
            };
            let grants = book.state.ended_by(&act).len();
            let name = book.state.member(&member).map(|m| book.name(&m.name.record)).unwrap_or(label);
            desk.screen.say_with("member-revoke-preview", &[("name", name), ("grants", grants.to_string())]);
            end_access(desk, &book, vec![act], record.into_iter().collect(), why.watch).await
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

/// Enrols a member with a new card: keys on the card, one order for card and grants, then the shares onto the card.
async fn enroll(desk: &mut Desk<'_>, enrolment: Enrolment) -> Result<(), Fault> {
    let book = desk.book().await?;
    let Enrolment { name, units, contract, new_card } = enrolment;
    let begun = book.begun(&name, book.state.members().map(|(id, m)| (id, m.name.record)), "member")?;
    // Everything that can be wrong with the words is found before a key is made.
    let contract = contract.map(|label| book.contract(&label)).transpose()?;
    let granted = units.iter().map(|label| book.unit(label)).collect::<Result<BTreeSet<_>, _>>()?;
    if let Some(member) = begun {
        let taken = || Fault::LabelTaken { label: name.label.clone() };
        let (card, grants) = ordered_already(&book, &member, contract, &granted).ok_or_else(taken)?;
        let serial = its_card(&book, &desk.cards().await?, &card, new_card)?;
        desk.screen.say_with("member-continued", &[("name", name.name.clone())]);
        return hand_out(desk, serial, card, grants, &name, &units).await;
    }
    let serial = match new_card {
        Some(serial) => card_with(desk, serial).await?.serial,
        None => only_new_card(&book, &desk.cards().await?)?,
    };
    desk.screen.say_with(
        "member-preview",
        &[
            ("name", name.name.clone()),
            ("units", units.join(desk.screen.separator())),
            ("serial", serial.to_string()),
        ],
    );
    desk.screen.agree()?;
    let prepared = prepare(desk, serial).await?;
    let record = Record::draw(&mut rng(), name.to_text());
    let card = Card {
        card: Id::draw(&mut rng()),
        member: Id::draw(&mut rng()),
        name: record.commitment(),
        contract,
        authentication: prepared.keys.authentication,
        signature: prepared.keys.signature,
        transport: prepared.keys.transport,
        attestation: prepared.attestation,
    };
    let card_id = card.card;
    let mut acts = vec![Act::CardEnrolled(card)];
    let mut grants = Vec::new();
    for unit in granted {
        let front_desk = book.state.unit(&unit).is_some_and(|u| u.kind == UnitKind::FrontDesk);
        let grant = Id::draw(&mut rng());
        grants.push(grant);
        acts.push(Act::GrantOrdered {
            grant,
            card: card_id,
            unit,
            right: if front_desk { Right::Route } else { Right::Open },
            custody: Custody::HostMemory,
            starts_at: None,
            expires_at: None,
        });
    }
    desk.order(&book, acts, vec![record]).await?;
    hand_out(desk, serial, card_id, grants, &name, &units).await
}

/// What an enrolment that was interrupted after its order has ordered: the one card and its grants, if the order was for
/// exactly this contract and these units, and nothing of it is over.
fn ordered_already(
    book: &Book,
    member: &Id,
    contract: Option<Id>,
    units: &BTreeSet<Id>,
) -> Option<(Id, Vec<Id>)> {
    let found = book.state.member(member).filter(|found| found.contract == contract)?;
    if book.state.member_is_over(member, book.state.last_at()) {
        return None;
    }
    if found.contract.is_some_and(|contract| book.state.contract_is_over(&contract, book.state.last_at())) {
        return None;
    }
    let mut cards = book.state.cards_of_member(*member);
    let (Some((card, of_card)), None) = (cards.next(), cards.next()) else { return None };
    if of_card.status != CardStatus::Live {
        return None;
    }
    let live = book.state.grants_of_card(card).filter(|(id, _)| book.state.live_grant(id, book.at).is_ok());
    let (grants, granted): (Vec<Id>, BTreeSet<Id>) = live.map(|(id, grant)| (id, grant.unit)).unzip();
    (granted == *units).then_some((card, grants))
}

/// The serial number of an enrolled card that is in the readers.
fn its_card(book: &Book, cards: &[CardInReader], card: &Id, told: Option<u32>) -> Result<u32, Fault> {
    let is_it = |found: &&CardInReader| {
        let key = found.keys.map(|keys| keys.authentication.0);
        key.and_then(|key| book.state.card_of_authentication_key(&key)) == Some(*card)
    };
    let found = cards.iter().find(is_it).map(|found| found.serial);
    match (found, told) {
        (Some(serial), None) => Ok(serial),
        (Some(serial), Some(told)) if serial == told => Ok(serial),
        (_, Some(serial)) => Err(Fault::CardNotHere { serial }),
        (None, None) => Err(Fault::NoNewCard),
    }
}

/// Waits for the shares of an enrolled card and brings them onto it; what is there already stays.
async fn hand_out(
    desk: &mut Desk<'_>,
    serial: u32,
    card_id: Id,
    grants: Vec<Id>,
    name: &Name,
    units: &[String],
) -> Result<(), Fault> {
    let spinner = desk.screen.waiting("waiting-for-shares");
    let tries_left = card_with(desk, serial).await?.tries_left;
    let pin = desk.pins.pin(desk.screen, serial, tries_left)?;
    let request = Personalize { serial, pin, card: card_id, grants };
    let done: Personalized = desk.agent.post("/v1/cards/personalize", &request).await?;
    spinner.finish_and_clear();
    desk.screen.result(&json!({ "card": card_id, "grants": done.imported }), || {
        desk.screen.text(
            "member-enrolled",
            &[("name", name.name.clone()), ("units", units.join(desk.screen.separator()))],
        )
    });
    Ok(())
}

/// The one card in the readers that is nobody's: without keys, or with those of an enrolment that was interrupted.
fn only_new_card(book: &Book, cards: &[CardInReader]) -> Result<u32, Fault> {
    let is_new = |card: &&CardInReader| {
        card.keys.is_none_or(|keys| book.state.card_of_authentication_key(&keys.authentication.0).is_none())
    };
    let new: Vec<u32> = cards.iter().filter(is_new).map(|card| card.serial).collect();
    match new.as_slice() {
        [serial] => Ok(*serial),
        _ => Err(Fault::NoNewCard),
    }
}

#[cfg(test)]
mod tests {
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
