//! Which sites serve which units: one is added, one leaves, one is lost (docs/operations/sites.md).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::json;
use warifu_api::wire::authority::Holdings;
use warifu_ledger::Id;
use warifu_ledger::state::Grant;
use warifu_ledger::statement::Act;

use super::gains::{Gain, Gains, Ordered};
use crate::desk::{Book, Desk, rng};
use crate::fault::Fault;
use crate::watch::end_access;

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
        if !after.is_subset(&before) {
            let shares = grants_of(&book, &unit).count().to_string();
            desk.screen.say_with("sites-added-preview", &[("units", "1".to_owned()), ("shares", shares)]);
        }
        let leaving: Vec<String> = before.difference(&after).map(|site| book.site_name(site)).collect();
        if !leaving.is_empty() {
            let sites = leaving.join(desk.screen.separator());
            desk.screen
                .say_with("sites-removed-preview", &[("sites", sites), ("unit", book.unit_name(&unit))]);
        }
        desk.screen.agree()?;
        desk.order(&book, vec![changed(unit, after.clone())], Vec::new()).await?;
    }
    desk.screen.result(&json!({ "unit": unit, "sites": after }), || desk.screen.text("sites-changed", &[]));
    if watch_shares {
        for site in add {
            watch(desk, &book, &site, &book.site_name(&site)).await?;
        }
    }
    Ok(())
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
            return Err(Fault::SharesMissing { site: book.site_name(site), missing: grants - held });
        }
    }
    match before.first().filter(|_| alone) {
        Some(leaving) => {
            let Holdings { held, .. } = desk.holdings(book, leaving).await?;
            Err(Fault::SharesMissing { site: book.site_name(leaving), missing: held })
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
    desk.screen.say_with("site-leaves-preview", &[("site", book.site_name(&site))]);
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
    let orphans = Gains::new(book, orphans(desk, book, site).await?);
    let name = book.site_name(&site);
    let preview = [
        ("site", name.clone()),
        ("shared", names_of(desk, book, &shared)),
        ("alone", names_of(desk, book, &alone)),
        ("grants", orphans.possible.len().to_string()),
    ];
    desk.screen.say_with("site-lost-preview", &preview);
    desk.screen.agree()?;
    let Ordered { orders, left } = orphans.order(desk, book, acts).await?;
    desk.screen.result(&json!({ "site": site, "orders": orders, "left": left }), || {
        desk.screen.text("site-lost-done", &[("site", name.clone())])
    });
    Ok(())
}

/// The live grants that had shares at the lost site and at no other, each ordered anew.
async fn orphans(desk: &Desk<'_>, book: &Book, site: Id) -> Result<Vec<Gain>, Fault> {
    // By the word of the kms: a lie orders shares anew that nobody had lost.
    let mut lacked: BTreeMap<Id, BTreeSet<Id>> = BTreeMap::new();
    if book.state.site(&site).is_some_and(|found| found.removed) {
        for (other, _) in book.state.sites().filter(|(_, found)| !found.removed) {
            lacked.insert(*other, desk.holdings(book, other).await?.missing.into_iter().collect());
        }
    }
    let mut orphans = Vec::new();
    for (unit, _) in book.state.units() {
        let serving = book.state.serving_sites(unit);
        for (id, grant) in grants_of(book, unit) {
            // The second time the unit is another site's already, which has nothing of it, nor is anything on its way there.
            // Where the share was at first tells nothing: it may have come to the lost site later.
            let lost = serving
                .iter()
                .all(|other| *other == site || lacked.get(other).is_some_and(|lacked| lacked.contains(&id)));
            if lost && let Some(card) = book.state.card(&grant.card) {
                let acts = reissued(book, id, grant).into();
                orphans.push(Gain { member: card.card.member, card: grant.card, acts });
            }
        }
    }
    Ok(orphans)
}

/// The grant ends, and the same is ordered again.
fn reissued(book: &Book, id: Id, grant: &Grant) -> [Act; 2] {
    [
        Act::GrantRevoked { grant: id, reason: None, effective_at: None },
        Act::GrantOrdered {
            grant: Id::draw(&mut rng()),
            card: grant.card,
            unit: grant.unit,
            right: grant.right,
            custody: book.custody_elsewhere(&grant.card, &grant.unit),
            starts_at: grant.starts_at.filter(|start| *start > book.at),
            expires_at: grant.expires_at,
        },
    ]
}
