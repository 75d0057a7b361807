//! `site` and `profile`.

use std::path::Path;

use serde::Serialize;
use serde_json::json;
use warifu_api::wire::agent::ForwardTo;
use warifu_api::wire::site::Status;
use warifu_envelope::Overwrite;
use warifu_ledger::Id;
use warifu_ledger::dsse::Envelope;
use warifu_ledger::register::{Name, Record};
use warifu_ledger::statement::{Act, Profile, ServiceKind};

use super::serving;
use crate::args::Site;
use crate::desk::{Desk, rng};
use crate::fault::Fault;
use crate::file::write_json;
use crate::found::statement;
use crate::screen::List;

pub(super) async fn run(desk: &mut Desk<'_>, command: Site) -> Result<(), Fault> {
    match command {
        Site::Add { label, name, statement: path, fingerprint, serves, watch_shares } => {
            let (joining, found) = statement(&path, ServiceKind::Site)?;
            let found = found.to_string();
            if fingerprint.as_ref().is_some_and(|told| *told != found) {
                return Err(Fault::Fingerprint { found });
            }
            let address =
                joining.address.ok_or_else(|| Fault::Ledger("a site without address".to_owned()))?;
            let book = desk.book().await?;
            let name = Name::new(label, name).map_err(|_| Fault::NotAName)?;
            let units = serving::named(&book, &serves)?;
            let site = match book.begun(&name, book.state.sites().map(|(id, s)| (id, s.name)), "site")? {
                Some(site) => {
                    let same = book.state.site(&site).is_some_and(|found| {
                        !found.removed && found.keys == joining.keys && found.address == address
                    });
                    if !same {
                        return Err(Fault::LabelTaken { label: name.label });
                    }
                    // It has joined; what it is to serve may be more than it does.
                    let more = units.iter().filter(|unit| !book.state.serves(&site, unit)).copied().collect();
                    let acts = serving::served_too(desk, &book, &more, site);
                    if !acts.is_empty() {
                        desk.screen.agree()?;
                        desk.order(&book, acts, Vec::new()).await?;
                    }
                    site
                }
                None => {
                    let record = Record::draw(&mut rng(), name.to_text());
                    let site = Id::draw(&mut rng());
                    desk.screen.say_with(
                        "site-preview",
                        &[("name", name.name.clone()), ("address", address.clone()), ("fingerprint", found)],
                    );
                    if fingerprint.is_none() {
                        desk.screen.agree()?;
                    }
                    let name = record.commitment();
                    let mut acts = vec![Act::SiteJoined { site, name, keys: joining.keys, address }];
                    acts.extend(serving::served_too(desk, &book, &units, site));
                    desk.order(&book, acts, vec![record]).await?;
                    site
                }
            };
            // The agent has to know the new site before it can reach it.
            desk.agent.refresh_profile().await?;
            desk.screen.result(&json!({ "site": site }), || {
                desk.screen.text("site-joined", &[("name", name.name.clone())])
            });
            if watch_shares { serving::watch(desk, &book, &site, &name.name).await } else { Ok(()) }
        }
        Site::Remove { label, lost, to, watch } => {
            let book = desk.book().await?;
            let site = book.site(&label)?;
            let to = to.map(|to| book.site(&to)).transpose()?;
            if lost {
                serving::lost(desk, &book, site, to).await
            } else {
                serving::leaves(desk, &book, site, watch).await
            }
        }
        Site::List => {
            let book = desk.book().await?;
            let columns =
                ["column-label", "column-name", "column-address", "column-position", "column-lease"];
            let mut list = List::new(desk.screen, &columns);
            for (id, site) in book.state.sites().filter(|(_, site)| !site.removed) {
                let to = ForwardTo::Site { address: site.address.clone(), key: site.keys.tls };
                let status = desk.ask::<Status>(to, None, "GET", "/v1/status", None::<&()>).await.ok();
                let row = SiteRow {
                    site: *id,
                    label: book.label(&site.name),
                    name: book.name(&site.name),
                    address: site.address.clone(),
                    reachable: status.is_some(),
                    folded: status.as_ref().map(|status| status.folded),
                    ledger_size: book.state.tree().size(),
                    lease_left_ms: status.as_ref().map(|status| status.lease_left_ms),
                };
                let position = row.folded.map(|folded| format!("{folded}/{}", row.ledger_size));
                let lease = row
                    .lease_left_ms
                    .map(|left| desk.screen.text("seconds", &[("seconds", (left / 1000).to_string())]));
                let cells = [
                    row.label.clone(),
                    row.name.clone(),
                    row.address.clone(),
                    position.unwrap_or_else(|| desk.screen.text("unreachable", &[])),
                    lease.unwrap_or_default(),
                ];
                list.row(cells, &row)?;
            }
            list.show(desk.screen);
            Ok(())
        }
    }
}

/// A site, for programs.
#[derive(Serialize)]
struct SiteRow {
    site: Id,
    label: String,
    name: String,
    address: String,
    reachable: bool,
    /// How many leaves of the ledger it has read; none if it cannot be reached.
    folded: Option<u64>,
    ledger_size: u64,
    /// What is left of its lease, 0 without one; none if it cannot be reached.
    lease_left_ms: Option<u64>,
}

/// Fetches the profile, checks that it is the organization's, and writes it.
pub(super) async fn profile(
    desk: &mut Desk<'_>,
    out: &Path,
    organization: Option<&str>,
) -> Result<(), Fault> {
    let envelope: Envelope = desk.get(None, "/v1/profile").await?;
    let profile: Profile = envelope.statement().map_err(|e| Fault::Ledger(e.to_string()))?;
    envelope.verify(&profile.kms.signing).map_err(|e| Fault::Ledger(e.to_string()))?;
    let found = profile.organization.to_string();
    match organization {
        Some(told) if told != found => return Err(Fault::Fingerprint { found }),
        Some(_) => {}
        None => {
            desk.screen
                .say_with("profile-preview", &[("name", profile.name.clone()), ("hash", found.clone())]);
            desk.screen.agree()?;
        }
    }
    write_json(out, Overwrite::Refuse, &envelope)?;
    desk.screen.result(&json!({ "organization": found }), || {
        desk.screen.text("profile-written", &[("file", out.display().to_string())])
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_get_the_same_in_every_language() {
        let row = SiteRow {
            site: Id([1; 16]),
            label: "omachi".to_owned(),
            name: "大町支所".to_owned(),
            address: "127.0.0.1:7444".to_owned(),
            reachable: false,
            folded: None,
            ledger_size: 12,
            lease_left_ms: None,
        };
        let expected = json!({
            "site": "01010101010101010101010101010101",
            "label": "omachi",
            "name": "大町支所",
            "address": "127.0.0.1:7444",
            "reachable": false,
            "folded": null,
            "ledger_size": 12,
            "lease_left_ms": null,
        });
        assert_eq!(serde_json::to_value(row).unwrap(), expected);
    }
}
