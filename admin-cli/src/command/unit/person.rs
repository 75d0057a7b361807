//! One person as an address. The address and the grants of that person's cards are one order.

use std::collections::BTreeSet;

use serde_json::json;
use warifu_ledger::Id;
use warifu_ledger::register::{Name, Record};
use warifu_ledger::statement::{Act, UnitKind};

use super::{serving, wait_for_key};
use crate::command::enroll::grant;
use crate::command::placing::Span;
use crate::command::units::{bring, key_of_elsewhere, live_cards};
use crate::desk::{Book, Desk, rng};
use crate::fault::Fault;

/// A unit for one person.
pub(in crate::command) struct PersonalUnit {
    name: Name,
    sites: Vec<String>,
    two_people: bool,
    own_pcs: bool,
}

/// Which unit that is, and what has to be ordered, with its record, if it is not there yet.
pub(in crate::command) struct Ordered {
    pub(in crate::command) unit: Id,
    pub(in crate::command) order: Option<(Act, Record)>,
}

impl PersonalUnit {
    /// One of this label and name, which all sites serve.
    pub(in crate::command) fn named(name: Name) -> Self {
        Self { name, sites: Vec::new(), two_people: false, own_pcs: false }
    }

    /// The unit that was ordered in the same words before, or else what orders it.
    pub(in crate::command) fn ordered(&self, book: &Book) -> Result<Ordered, Fault> {
        let Self { name, two_people, own_pcs, .. } = self;
        let sites = serving(book, &self.sites)?;
        if let Some(unit) = book.begun(name, book.state.units().map(|(id, unit)| (id, unit.name)), "unit")? {
            let same = book.state.unit(&unit).is_some_and(|found| {
                (found.kind, found.two_people, found.own_pcs) == (UnitKind::Person, *two_people, *own_pcs)
                    && found.sites == sites
            });
            return if same {
                Ok(Ordered { unit, order: None })
            } else {
                Err(Fault::LabelTaken { label: name.label.clone() })
            };
        }
        let record = Record::draw(&mut rng(), name.to_text());
        let unit = Id::draw(&mut rng());
        let act = Act::UnitOrdered {
            unit,
            name: record.commitment(),
            kind: UnitKind::Person,
            contract: None,
            sites,
            routes_to: BTreeSet::new(),
            two_people: *two_people,
            own_pcs: *own_pcs,
        };
        Ok(Ordered { unit, order: Some((act, record)) })
    }
}

/// What `unit add --person` is told.
pub(super) struct Wanted {
    /// The member's label.
    pub(super) member: String,
    /// The unit's own label and name, where they are not to be the member's.
    pub(super) label: Option<String>,
    pub(super) name: Option<String>,
    pub(super) sites: Vec<String>,
    pub(super) two_people: bool,
    pub(super) own_pcs: bool,
}

/// Makes a member who is enrolled an address. Given again after an interruption, it goes on where it stopped.
pub(super) async fn add(desk: &mut Desk<'_>, wanted: Wanted) -> Result<(), Fault> {
    let Wanted { member: label, sites, two_people, own_pcs, .. } = wanted;
    let book = desk.book().await?;
    let member = book.member(&label)?;
    let cards = live_cards(&book, member);
    if cards.is_empty() {
        return Err(Fault::NoCardLeft { label });
    }
    let person = book.member_name(&member);
    let name = Name::new(
        wanted.label.unwrap_or_else(|| label.clone()),
        wanted.name.unwrap_or_else(|| person.clone()),
    )
    .map_err(|_| Fault::NotAName)?;
    let wanted = PersonalUnit { name, sites, two_people, own_pcs };
    let Ordered { unit, order } = wanted.ordered(&book)?;
    let name = wanted.name.name;

    let here = desk.cards().await?;
    let has = |card: &Id| book.live_grants(*card).any(|(_, grant)| grant.unit == unit);
    let grants = cards.iter().filter(|card| !has(card)).map(|card| {
        let in_reader = here.iter().find(|found| book.card_in(found).is_some_and(|(id, _)| id == *card));
        let custody = in_reader.map_or_else(|| book.custody_where(card, own_pcs), |found| found.custody);
        grant(&book, *card, Span::open(unit), custody).1
    });
    let (first, record) = order.unzip();
    let acts: Vec<Act> = first.into_iter().chain(grants).collect();
    if !acts.is_empty() {
        let values = [("name", name.clone()), ("member", person.clone())];
        desk.screen.say_with("unit-person-preview", &values);
        desk.screen.agree()?;
        desk.order(&book, acts, record.into_iter().collect()).await?;
    }
    let recipient = wait_for_key(desk, unit, &name).await?;
    // As the ledger is after the order.
    let book = desk.book().await?;
    let (brought, elsewhere) = bring(desk, &book, &here, cards).await?;
    if elsewhere > 0 {
        desk.screen.say_with(key_of_elsewhere(own_pcs), &[("name", person), ("label", label)]);
    }
    let told =
        json!({ "unit": unit, "recipient": recipient, "grants": brought, "cards_elsewhere": elsewhere });
    let values = [("name", name), ("recipient", recipient)];
    desk.screen.result(&told, || desk.screen.text("unit-created", &values));
    Ok(())
}
