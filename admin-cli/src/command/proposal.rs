//! `proposal`: what waits for a second person.

use serde::Serialize;
use serde_json::json;
use warifu_api::wire::Done;
use warifu_api::wire::agent::ForwardTo;
use warifu_api::wire::authority::ProposalStanding;
use warifu_ledger::statement::{Act, Millis};
use warifu_ledger::{Digest, Id};

use super::already;
use crate::args::Proposal;
use crate::day::iso;
use crate::desk::{Book, Desk};
use crate::fault::Fault;
use crate::preview::Preview;
use crate::proposal::Proposed;
use crate::screen::List;
use crate::watch;

/// How much of a hash a table shows.
const SHOWN: usize = 12;
/// How much of a hash has to be given at least.
const LEAST: usize = 4;

pub(super) async fn run(desk: &mut Desk<'_>, command: Proposal) -> Result<(), Fault> {
    let book = desk.book().await?;
    match command {
        Proposal::List => list(desk, &book).await,
        Proposal::Show { hash } => {
            let proposed = found(desk, &book, &hash).await?;
            show(desk, &book, &proposed);
            Ok(())
        }
        Proposal::Sign { hash, watch } => sign(desk, &book, &hash, watch).await,
        Proposal::Withdraw { hash } => {
            let digest = digest(desk, &book, &hash).await?;
            desk.screen.agree()?;
            let (path, reader) = (format!("/v1/proposals/{digest}"), Some(book.reader_card));
            let _: Done = desk.ask(ForwardTo::Authority, reader, "DELETE", &path, None::<&()>).await?;
            desk.screen.result(&json!({ "withdrawn": digest }), || {
                desk.screen.text("proposal-withdrawn", &[("hash", digest.to_string())])
            });
            Ok(())
        }
    }
}

async fn list(desk: &Desk<'_>, book: &Book) -> Result<(), Fault> {
    let columns = ["column-order", "column-what", "column-signed-by", "column-until", "column-state"];
    let mut list = List::new(desk.screen, &columns);
    for entry in desk.waiting(book).await?.waiting {
        // Of one that was altered nothing is shown but that.
        let proposed = match desk.proposed(book, entry.digest).await {
            Ok(proposed) => Some(proposed),
            Err(Fault::ProposalAltered { .. }) => None,
            // It was signed or withdrawn this very moment.
            Err(Fault::ProposalOver { .. }) => continue,
            Err(fault) => return Err(fault),
        };
        let row = row(book, entry.digest, proposed.as_ref());
        let what = proposed.as_ref().map(|proposed| summary(desk, book, proposed)).unwrap_or_default();
        let state = match &proposed {
            None => "proposal-altered",
            Some(proposed) if proposed.impossible.is_some() => "proposal-impossible",
            Some(_) => "proposal-waiting",
        };
        let cells = [
            entry.digest.to_string().chars().take(SHOWN).collect(),
            what,
            row.signed_by.join(desk.screen.separator()),
            row.expires_at.map(|at| book.zone().instant(at)).unwrap_or_default(),
            desk.screen.text(state, &[]),
        ];
        list.row(cells, &row)?;
    }
    list.show(desk.screen);
    Ok(())
}

/// Shows what would be signed, in words, who has signed it, and whether that is still possible.
fn show(desk: &Desk<'_>, book: &Book, proposed: &Proposed) {
    let row = row(book, proposed.digest(), Some(proposed));
    let json = serde_json::to_value(&row).unwrap_or_default();
    desk.screen.result(&json, || {
        let lines = Preview::new(desk.screen, book, &proposed.order, &proposed.request.records).lines();
        let signed_by = row.signed_by.join(desk.screen.separator());
        let mut text = desk.screen.text(
            "proposal-shown",
            &[
                ("hash", proposed.digest().to_string()),
                ("names", signed_by),
                ("until", book.zone().instant(proposed.order.expires_at)),
                ("zone", book.zone().name()),
            ],
        );
        for line in lines {
            text.push('\n');
            text.push_str(&line);
        }
        if let Some(why) = &proposed.impossible {
            text.push('\n');
            text.push_str(
                &desk
                    .screen
                    .text("proposal-in-vain", &[("why", desk.screen.what(&Fault::Rejected(why.clone())))]),
            );
        }
        text
    });
}

async fn sign(desk: &mut Desk<'_>, book: &Book, hash: &str, watch: bool) -> Result<(), Fault> {
    let mut proposed = match found(desk, book, hash).await {
        // Given again, perhaps because the answer was lost.
        Err(Fault::ProposalOver { hash, standing: ProposalStanding::Appended }) => {
            return already(desk, "proposal-signed-already", hash);
        }
        found => found?,
    };
    if let Some(why) = proposed.impossible.take() {
        return Err(Fault::Rejected(why));
    }
    let signed_by = names(book, &proposed).join(desk.screen.separator());
    desk.screen.say_with("proposal-first", &[("names", signed_by)]);
    desk.screen
        .say_lines(&Preview::new(desk.screen, book, &proposed.order, &proposed.request.records).lines());
    desk.screen.agree()?;
    desk.sign_proposed(book, &mut proposed).await?;
    if proposed.order.acts.iter().any(Act::calls_for_receipt) {
        return watch::end_access(desk, book, proposed.request, watch).await;
    }
    let appended = desk.submit(book, &proposed.request).await?;
    desk.screen.result(&json!({ "order": appended.digest }), || desk.screen.text("proposal-signed", &[]));
    Ok(())
}

async fn found(desk: &Desk<'_>, book: &Book, hash: &str) -> Result<Proposed, Fault> {
    let digest = digest(desk, book, hash).await?;
    desk.proposed(book, digest).await
}

/// The one proposal whose hash begins so. A whole hash need not be among those that wait: then it is said what became of it.
async fn digest(desk: &Desk<'_>, book: &Book, hash: &str) -> Result<Digest, Fault> {
    if let Ok(digest) = hash.parse() {
        return Ok(digest);
    }
    let unknown = || Fault::UnknownLabel { kind: "proposal", label: hash.to_owned() };
    if hash.len() < LEAST {
        return Err(unknown());
    }
    let waiting = desk.waiting(book).await?.waiting;
    let mut found = waiting.iter().filter(|entry| entry.digest.to_string().starts_with(hash));
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one.digest),
        (None, _) => Err(unknown()),
        (Some(_), Some(_)) => Err(Fault::AmbiguousLabel { kind: "proposal", label: hash.to_owned() }),
    }
}

/// The first thing that it does, and how many more.
fn summary(desk: &Desk<'_>, book: &Book, proposed: &Proposed) -> String {
    let lines = Preview::new(desk.screen, book, &proposed.order, &proposed.request.records).lines();
    let first = lines.first().map(|line| line.trim_start_matches("- ").to_owned()).unwrap_or_default();
    match proposed.order.acts.len().saturating_sub(1) {
        0 => first,
        more => desk.screen.text("and-more", &[("first", first), ("more", more.to_string())]),
    }
}

fn names(book: &Book, proposed: &Proposed) -> Vec<String> {
    let name = |member: &Id| book.state.member(member).map(|member| book.name(&member.name.record));
    proposed.members(book).iter().filter_map(name).collect()
}

/// A proposal, for programs.
#[derive(Serialize)]
struct ProposalRow {
    proposal: Digest,
    /// Whether what the kms gives is not what was signed; then nothing of it is told.
    altered: bool,
    /// The names of those who have signed.
    signed_by: Vec<String>,
    /// The last instant at which it may be carried out.
    expires_at: Option<Millis>,
    expires_at_iso: Option<String>,
    /// Whether a second person can sign.
    possible: bool,
    /// Why not.
    why: Option<String>,
    /// As in the order.
    acts: Vec<Act>,
}

fn row(book: &Book, digest: Digest, proposed: Option<&Proposed>) -> ProposalRow {
    let expires_at = proposed.map(|proposed| proposed.order.expires_at);
    let impossible = proposed.and_then(|proposed| proposed.impossible.as_ref());
    ProposalRow {
        proposal: digest,
        altered: proposed.is_none(),
        signed_by: proposed.map(|proposed| names(book, proposed)).unwrap_or_default(),
        expires_at,
        expires_at_iso: expires_at.and_then(iso),
        possible: proposed.is_some() && impossible.is_none(),
        why: impossible.map(ToString::to_string),
        acts: proposed.map(|proposed| proposed.order.acts.clone()).unwrap_or_default(),
    }
}
