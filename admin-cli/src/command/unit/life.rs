//! `unit rename | close | merge | rekey`: what becomes of a unit.

use std::collections::BTreeMap;

use serde_json::json;
use warifu_ledger::Id;
use warifu_ledger::register::{Name, Record};
use warifu_ledger::statement::{Act, Millis};

use super::wait_for_key;
use crate::command::gains::{Gain, Gains, Ordered};
use crate::command::{already, end_access};
use crate::desk::{Book, Desk, rng};
use crate::fault::Fault;
use crate::screen::List;

/// Gives a unit another name. Its label stays: command lines go on.
pub(super) async fn rename(desk: &mut Desk<'_>, label: String, name: String) -> Result<(), Fault> {
    let book = desk.book().await?;
    let unit = book.unit(&label)?;
    let name = Name::new(label, name).map_err(|_| Fault::NotAName)?;
    let before = book.unit_name(&unit);
    if before == name.name {
        return already(desk, "unit-renamed-already", before);
    }
    let record = Record::draw(&mut rng(), name.to_text());
    let act = Act::UnitChanged {
        unit,
        name: Some(record.commitment()),
        sites: None,
        routes_to: None,
        two_people: None,
        own_pcs: None,
    };
    desk.screen.say_with("unit-rename-preview", &[("name", before), ("new", name.name)]);
    desk.screen.agree()?;
    let done = desk.order(&book, vec![act], vec![record]).await?;
    desk.screen
        .result(&json!({ "order": done.digest, "unit": unit }), || desk.screen.text("order-in-ledger", &[]));
    Ok(())
}

/// Closes a unit, or with `replaced` the one that it took the place of.
pub(super) async fn close(
    desk: &mut Desk<'_>,
    label: String,
    from: Option<String>,
    replaced: bool,
    watch: bool,
) -> Result<(), Fault> {
    let book = desk.book().await?;
    let unit = if replaced { book.replaced_unit(&label)? } else { book.unit(&label)? };
    let name = book.unit_name(&unit);
    if book.state.unit_is_closed(&unit, book.at) {
        return already(desk, "unit-closed-already", name);
    }
    let effective_at = book.beginning_of(from.as_deref())?;
    let act = Act::UnitClosed { unit, effective_at };
    let grants = book.state.grants_of_unit(unit).filter(|(id, _)| book.state.live_grant(id, book.at).is_ok());
    let values =
        [("name", name), ("from", when(desk, &book, effective_at)), ("grants", grants.count().to_string())];
    desk.screen.say_with("unit-close-preview", &values);
    if effective_at.is_none() {
        return end_access(desk, &book, vec![act], Vec::new(), watch).await;
    }
    desk.screen.agree()?;
    let done = desk.order(&book, vec![act], Vec::new()).await?;
    desk.screen
        .result(&json!({ "order": done.digest, "unit": unit }), || desk.screen.text("order-in-ledger", &[]));
    Ok(())
}

/// Makes one department part of another, whose members get grants to what was sent to it. What was interrupted goes on.
pub(super) async fn merge(
    desk: &mut Desk<'_>,
    label: String,
    into: String,
    from: Option<String>,
) -> Result<(), Fault> {
    let book = desk.book().await?;
    let (unit, into) = (book.unit(&label)?, book.unit(&into)?);
    let (name, into_name) = (book.unit_name(&unit), book.unit_name(&into));
    let (begins, first) = match book.state.unit(&unit).and_then(|unit| unit.merged) {
        Some((same, at)) if same == into => ((at > book.at).then_some(at), None),
        // Where it is part of another one already, the ledger says so.
        _ => {
            let effective_at = book.beginning_of(from.as_deref())?;
            (effective_at, Some(Act::UnitMerged { unit, into, effective_at }))
        }
    };
    let values = [("name", name), ("into", into_name), ("from", when(desk, &book, begins))];
    desk.screen.say_with("unit-merge-preview", &values);
    hand_on(desk, &book, first, (into, unit), begins).await
}

/// Gives a unit a new key: orders the successor, waits until it has its key, and grants it to the cards of the unit. Given
/// again, it goes on where it stopped.
pub(super) async fn rekey(desk: &mut Desk<'_>, label: String) -> Result<(), Fault> {
    let mut book = desk.book().await?;
    let unit = book.unit(&label)?;
    let name = book.unit_name(&unit);
    let begun = book.state.unit(&unit).and_then(|unit| unit.replaces).filter(|before| {
        !book.state.unit_is_closed(before, book.at)
            && !missing(&book, *before, unit, None).possible.is_empty()
    });
    let (before, successor) = match (begun, book.state.unit(&unit).and_then(|unit| unit.successor)) {
        (Some(before), _) => (before, unit),
        (None, Some(successor)) => (unit, successor),
        (None, None) => {
            let successor = Id::draw(&mut rng());
            desk.screen.say_with("unit-rekey-preview", &[("name", name.clone())]);
            desk.screen.agree()?;
            desk.order(&book, vec![Act::UnitRekeyed { unit, successor }], Vec::new()).await?;
            (unit, successor)
        }
    };
    if book.state.unit(&successor).and_then(|unit| unit.key).is_none() {
        wait_for_key(desk, successor, &name).await?;
        book = desk.book().await?;
    }
    desk.screen.say_with("unit-rekey-grants", &[("name", name)]);
    hand_on(desk, &book, None, (before, successor), None).await
}

/// Grants `to` to every card that has `from` and lacks it, in one order with `first`.
async fn hand_on(
    desk: &mut Desk<'_>,
    book: &Book,
    first: Option<Act>,
    (from, to): (Id, Id),
    starts_at: Option<Millis>,
) -> Result<(), Fault> {
    let gains = missing(book, from, to, starts_at);
    if first.is_none() && gains.is_empty() {
        return already(desk, "unit-handed-on-already", book.unit_name(&to));
    }
    let mut cards: BTreeMap<Id, usize> = BTreeMap::new();
    for gain in &gains.possible {
        *cards.entry(gain.member).or_default() += 1;
    }
    let mut list = List::new(desk.screen, &["column-name", "column-cards"]);
    for (member, count) in &cards {
        let name = book.state.member(member).map(|member| book.name(&member.name.record)).unwrap_or_default();
        list.row([name, count.to_string()], &json!({ "member": member, "cards": count }))?;
    }
    list.say(desk.screen);
    let values = [("members", cards.len().to_string()), ("cards", gains.possible.len().to_string())];
    desk.screen.say_with("unit-grants-preview", &values);
    if first.is_some() || !gains.possible.is_empty() {
        desk.screen.agree()?;
    }
    let Ordered { orders, left } = gains.order(desk, book, first.into_iter().collect()).await?;
    let key = if orders.is_empty() { "unit-nobody-handed-on" } else { "order-in-ledger" };
    desk.screen.result(&json!({ "orders": orders, "unit": to, "left": left }), || desk.screen.text(key, &[]));
    Ok(())
}

/// The grants of `to` that cards with a grant to `from` lack.
fn missing(book: &Book, from: Id, to: Id, starts_at: Option<Millis>) -> Gains {
    let state = &book.state;
    let is_live = |id: &Id| state.live_grant(id, book.at).is_ok();
    let has = |card: Id| state.grants_of_card(card).any(|(id, grant)| grant.unit == to && is_live(&id));
    let lacking = state.grants_of_unit(from).filter(|(id, grant)| is_live(id) && !has(grant.card));
    let gains = lacking.filter_map(|(_, grant)| {
        let act = Act::GrantOrdered {
            grant: Id::draw(&mut rng()),
            card: grant.card,
            unit: to,
            right: grant.right,
            custody: book.custody_elsewhere(&grant.card, &to),
            starts_at: starts_at.max(grant.starts_at),
            expires_at: grant.expires_at,
        };
        let member = state.card(&grant.card)?.card.member;
        Some(Gain { member, card: grant.card, acts: vec![act] })
    });
    Gains::new(book, gains)
}

fn when(desk: &Desk<'_>, book: &Book, at: Option<Millis>) -> String {
    at.map_or_else(|| desk.screen.text("at-once", &[]), |at| book.zone().instant(at))
}
