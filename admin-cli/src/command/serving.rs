//! Which sites serve which units: one is added, one leaves, one is lost (docs/operations/sites.md).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::json;
use warifu_api::wire::authority::Holdings;
use warifu_ledger::Id;
use warifu_ledger::state::{Grant, Rejected};
use warifu_ledger::statement::Act;

use super::units::custody_elsewhere;
use crate::desk::{Book, Desk, rng};
use crate::fault::Fault;
use crate::watch::end_access;

/// Grants in one order that are ended and ordered anew: some 400 bytes each, of the 4 MiB that an order may have (P-2.3).
const REISSUES_AT_ONCE: usize = 5_000;
/// How long the shares of a new site are waited for without one more coming.
const PATIENCE: Duration = Duration::from_secs(120);
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// The units of these labels; `all` is every unit that is not closed.
pub(super) fn named(book: &Book, labels: &[String]) -> Result<BTreeSet<Id>, Fault> {
    if labels.iter().any(|label| label == "all") {
        let open = book.state.units().filter(|(id, _)| !book.state.unit_is_closed(id, book.at));
        return Ok(open.map(|(id, _)| *id).collect());
    }
    labels.iter().map(|label| book.unit(label)).collect()
}

/// Has `site` serve these units beside those that serve them, and says how many shares it will get.
pub(super) fn served_too(desk: &Desk<'_>, book: &Book, units: &BTreeSet<Id>, site: Id) -> Vec<Act> {
    if units.is_empty() {
        return Vec::new();
    }
    let shares: usize = units.iter().map(|unit| grants_of(book, unit).count()).sum();
    let (units_count, shares) = (units.len().to_string(), shares.to_string());
    desk.screen.say_with("sites-added-preview", &[("units", units_count), ("shares", shares)]);
    let with = |unit: &Id| {
        let mut sites = book.state.serving_sites(unit);
        sites.insert(site);
        sites
    };
    units.iter().map(|unit| changed(*unit, with(unit))).collect()
}

fn changed(unit: Id, sites: BTreeSet<Id>) -> Act {
    Act::UnitChanged {
        unit,
        name: None,
        sites: Some(sites),
        routes_to: None,
        two_people: None,
        own_pcs: None,
    }
}

/// The live grants of a unit that have shares.
fn grants_of<'b>(book: &'b Book, unit: &Id) -> impl Iterator<Item = (Id, &'b Grant)> {
    let live = |id: &Id| book.state.live_grant(id, book.at).is_ok();
    book.state.grants_of_unit(*unit).filter(move |(id, grant)| grant.issued.is_some() && live(id))
}

/// `unit sites`.
pub(super) async fn change(
    desk: &mut Desk<'_>,
    label: &str,
    add: &[String],
    remove: &[String],
    watch_shares: bool,
) -> Result<(), Fault> {
    let book = desk.book().await?;
    let unit = book.unit(label)?;
    let sites = |labels: &[String]| labels.iter().map(|label| book.site(label)).collect::<Result<_, _>>();
    let (add, remove): (BTreeSet<Id>, BTreeSet<Id>) = (sites(add)?, sites(remove)?);
    let before = book.state.serving_sites(&unit);
    let after: BTreeSet<Id> = before.union(&add).filter(|site| !remove.contains(site)).copied().collect();
    if after != before {
        if !before.is_subset(&after) {
            // What is destroyed at the ones is not to be had from the others, if they do not have it yet.
            have_all(desk, &book, after.intersection(&before), &before).await?;
        }
        let shares = if after.is_subset(&before) { 0 } else { grants_of(&book, &unit).count() };
        let preview = [("units", "1".to_owned()), ("shares", shares.to_string())];
        desk.screen.say_with("sites-added-preview", &preview);
        desk.screen.agree()?;
        desk.order(&book, vec![changed(unit, after.clone())], Vec::new()).await?;
    }
    desk.screen.result(&json!({ "unit": unit, "sites": after }), || desk.screen.text("sites-changed", &[]));
    if watch_shares {
        for site in add {
            watch(desk, &book, &site, &site_name(&book, &site)).await?;
        }
    }
    Ok(())
}

fn site_name(book: &Book, site: &Id) -> String {
    book.state.site(site).map_or_else(|| site.to_string(), |site| book.name(&site.name))
}

/// Each of these sites, at least one, has all shares of what it serves.
async fn have_all(
    desk: &Desk<'_>,
    book: &Book,
    staying: impl Iterator<Item = &Id>,
    before: &BTreeSet<Id>,
) -> Result<(), Fault> {
    let mut alone = true;
    for site in staying {
        alone = false;
        let Holdings { grants, held, .. } = desk.holdings(book, site).await?;
        if held < grants {
            return Err(Fault::SharesMissing { site: site_name(book, site), missing: grants - held });
        }
    }
    match before.first().filter(|_| alone) {
        Some(leaving) => {
            let Holdings { held, .. } = desk.holdings(book, leaving).await?;
            Err(Fault::SharesMissing { site: site_name(book, leaving), missing: held })
        }
        None => Ok(()),
    }
}

/// Shows how many shares a site has until it has all.
pub(super) async fn watch(desk: &Desk<'_>, book: &Book, site: &Id, name: &str) -> Result<(), Fault> {
    let spinner = desk.screen.waiting("waiting-for-site-shares");
    let mut before = None;
    let mut since = std::time::Instant::now();
    loop {
        let now = desk.holdings(book, site).await?;
        let args =
            [("site", name.to_owned()), ("held", now.held.to_string()), ("grants", now.grants.to_string())];
        spinner.set_message(desk.screen.text("site-shares", &args));
        if now.held >= now.grants {
            spinner.finish_and_clear();
            desk.screen.say_with("site-shares", &args);
            return Ok(());
        }
        if before.replace(now.held) != Some(now.held) {
            since = std::time::Instant::now();
        } else if since.elapsed() > PATIENCE {
            return Err(Fault::NotReadyInTime { what: name.to_owned() });
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

/// The units that a site serves: with others, and alone.
fn served_by(book: &Book, site: Id) -> (BTreeSet<Id>, BTreeSet<Id>) {
    let units = book
        .state
        .units()
        .map(|(id, _)| *id)
        .filter(|unit| book.state.serves(&site, unit) && !book.state.unit_is_closed(unit, book.at));
    units.partition(|unit| book.state.serving_sites(unit).len() > 1)
}

fn names_of(desk: &Desk<'_>, book: &Book, units: &BTreeSet<Id>) -> String {
    let names = units.iter().filter_map(|unit| book.state.unit(unit)).map(|unit| book.name(&unit.name));
    names.collect::<Vec<_>>().join(desk.screen.separator())
}

/// `site remove`: one leaves whose work others do.
pub(super) async fn leaves(
    desk: &mut Desk<'_>,
    book: &Book,
    site: Id,
    watch_receipts: bool,
) -> Result<(), Fault> {
    let (shared, alone) = served_by(book, site);
    if !alone.is_empty() {
        return Err(Fault::NobodyServes { units: names_of(desk, book, &alone) });
    }
    let others: BTreeSet<Id> = shared.iter().flat_map(|unit| book.state.serving_sites(unit)).collect();
    have_all(desk, book, others.iter().filter(|other| **other != site), &BTreeSet::new()).await?;
    desk.screen.say_with("site-leaves-preview", &[("site", site_name(book, &site))]);
    desk.screen.agree()?;
    let mut acts: Vec<Act> = shared.iter().map(|unit| without(book, *unit, site)).collect();
    acts.push(Act::SiteRemoved { site });
    let request = desk.signed(book, acts, Vec::new()).await?;
    // Brought to the site as well: a kms that keeps it back does not keep its keys alive.
    end_access(desk, book, request, watch_receipts).await
}

fn without(book: &Book, unit: Id, site: Id) -> Act {
    let mut sites = book.state.serving_sites(&unit);
    sites.remove(&site);
    changed(unit, sites)
}

/// `site remove --lost`: what no other site serves is ordered anew, with the same cards (`docs/operations/sites.md`). Given again,
/// it goes on where it was.
pub(super) async fn lost(desk: &mut Desk<'_>, book: &Book, site: Id, to: Option<Id>) -> Result<(), Fault> {
    let (shared, alone) = served_by(book, site);
    let mut acts: Vec<Act> = shared.iter().map(|unit| without(book, *unit, site)).collect();
    if !alone.is_empty() {
        let nobody = || Fault::NobodyServes { units: names_of(desk, book, &alone) };
        let to = to.filter(|to| *to != site).ok_or_else(nobody)?;
        acts.extend(alone.iter().map(|unit| changed(*unit, BTreeSet::from([to]))));
    }
    if book.state.site(&site).is_some_and(|found| !found.removed) {
        acts.push(Act::SiteRemoved { site });
    }
    let orphans = orphans(desk, book, site).await?;
    let name = site_name(book, &site);
    let preview = [
        ("site", name.clone()),
        ("shared", names_of(desk, book, &shared)),
        ("alone", names_of(desk, book, &alone)),
        ("grants", orphans.values().map(Vec::len).sum::<usize>().to_string()),
    ];
    desk.screen.say_with("site-lost-preview", &preview);
    desk.screen.agree()?;

    // Nobody signs for himself (P-4.7): the grants of people with a role come last, in an order for each person.
    let has_role = |member: &Id| book.state.member(member).is_some_and(|m| !m.roles.is_empty());
    let (own, others): (BTreeMap<_, _>, BTreeMap<_, _>) =
        orphans.into_iter().partition(|(member, _)| has_role(member));
    let mut orders: Vec<(Option<Id>, Vec<Act>)> = Vec::new();
    let others: Vec<(Id, &Grant)> = others.into_values().flatten().collect();
    let mut batches = others.chunks(REISSUES_AT_ONCE);
    acts.extend(batches.next().into_iter().flatten().flat_map(|grant| reissued(book, *grant)));
    orders.push((None, acts));
    orders
        .extend(batches.map(|batch| (None, batch.iter().flat_map(|grant| reissued(book, *grant)).collect())));
    for (member, grants) in own {
        orders.push((Some(member), grants.iter().flat_map(|grant| reissued(book, *grant)).collect()));
    }

    let mut left = Vec::new();
    for (whose, acts) in orders.into_iter().filter(|(_, acts)| !acts.is_empty()) {
        match (desk.order(book, acts, Vec::new()).await, whose) {
            (Ok(_), _) => {}
            (Err(Fault::Rejected(Rejected::ForOneself { .. })), Some(member)) => {
                let name = book.state.member(&member).map(|found| book.name(&found.name.record));
                left.push(name.unwrap_or_else(|| member.to_string()));
            }
            (Err(fault), _) => return Err(fault),
        }
    }
    if !left.is_empty() {
        desk.screen.warn("site-lost-left", &[("names", left.join(desk.screen.separator()))]);
    }
    desk.screen.result(&json!({ "site": site, "left": left }), || {
        desk.screen.text("site-lost-done", &[("site", name.clone())])
    });
    Ok(())
}

/// The live grants that had shares at the lost site and at no other, by the member who has them.
async fn orphans<'b>(
    desk: &Desk<'_>,
    book: &'b Book,
    site: Id,
) -> Result<BTreeMap<Id, Vec<(Id, &'b Grant)>>, Fault> {
    // By the word of the kms: a lie orders shares anew that nobody had lost.
    let mut lacked: BTreeMap<Id, BTreeSet<Id>> = BTreeMap::new();
    if book.state.site(&site).is_some_and(|found| found.removed) {
        for (other, _) in book.state.sites().filter(|(_, found)| !found.removed) {
            lacked.insert(*other, desk.holdings(book, other).await?.missing.into_iter().collect());
        }
    }
    let mut orphans: BTreeMap<Id, Vec<(Id, &Grant)>> = BTreeMap::new();
    for (unit, _) in book.state.units() {
        let serving = book.state.serving_sites(unit);
        for (id, grant) in grants_of(book, unit) {
            let first = grant.issued.as_ref().is_some_and(|issued| issued.sites.contains(&site));
            // The second time the unit is another site's already, which has nothing of it.
            let lost = serving.iter().all(|other| {
                *other == site || (first && lacked.get(other).is_some_and(|lacked| lacked.contains(&id)))
            });
            if lost && let Some(card) = book.state.card(&grant.card) {
                orphans.entry(card.card.member).or_default().push((id, grant));
            }
        }
    }
    Ok(orphans)
}

/// The grant ends, and the same is ordered again.
fn reissued(book: &Book, (id, grant): (Id, &Grant)) -> [Act; 2] {
    let own_pc = book.state.unit(&grant.unit).is_some_and(|unit| unit.own_pcs);
    [
        Act::GrantRevoked { grant: id, reason: None, effective_at: None },
        Act::GrantOrdered {
            grant: Id::draw(&mut rng()),
            card: grant.card,
            unit: grant.unit,
            right: grant.right,
            custody: custody_elsewhere(book, &grant.card, own_pc),
            starts_at: grant.starts_at.filter(|start| *start > book.at),
            expires_at: grant.expires_at,
        },
    ]
}
