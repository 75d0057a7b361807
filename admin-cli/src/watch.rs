//! Revocation, brought to every site and watched: the kms pushes it, and so does this desk, with the ledger entries that a
//! site may lack. Receipts count from whichever way they come first.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use serde_json::json;
use warifu_api::wire::agent::ForwardTo;
use warifu_api::wire::authority::{Appended, OrderRequest, Receipts};
use warifu_api::wire::site::{RevocationRequest, Status};
use warifu_ledger::checkpoint::Checkpoint;
use warifu_ledger::dsse::Envelope;
use warifu_ledger::key::PublicKey;
use warifu_ledger::statement::{Order, Receipt, ServiceKeys};
use warifu_ledger::{Digest, Id};
use warifu_texts::table::pad;

use crate::args::Why;
use crate::command::audit::order::{self as evidence, Sent};
use crate::desk::{Book, Desk};
use crate::fault::Fault;

/// How long `--watch` waits for sites that do not confirm.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long until a kms that does not answer is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// What comes after an order was sent.
#[derive(Clone, Copy)]
pub(crate) struct Watching<'a> {
    /// Whether every site's receipt is waited for, and shown.
    receipts: bool,
    /// Where evidence of it is written then.
    evidence: Option<&'a Path>,
}

impl From<bool> for Watching<'_> {
    fn from(receipts: bool) -> Self {
        Self { receipts, evidence: None }
    }
}

impl<'a> From<&'a Why> for Watching<'a> {
    fn from(why: &'a Why) -> Self {
        Self { receipts: why.watch, evidence: why.evidence.as_deref() }
    }
}

impl Watching<'_> {
    /// Before anything is signed: nothing is in the place of the evidence.
    ///
    /// # Errors
    /// [`Fault::File`].
    pub(crate) fn check(&self) -> Result<(), Fault> {
        self.evidence.map_or(Ok(()), evidence::check_place)
    }
}

struct Awaited {
    name: String,
    address: String,
    keys: ServiceKeys,
}

/// The sites that have not confirmed, and those that have.
struct Watch<'a> {
    desk: &'a Desk<'a>,
    order: Digest,
    /// How many leaves the order stands on: a site that has not read them has not acted on it.
    stands_on: u64,
    sent: Instant,
    awaited: BTreeMap<Id, Awaited>,
    confirmed: Vec<serde_json::Value>,
    receipts: BTreeMap<Id, Envelope>,
}

/// Hands the order to the kms and brings it to every site at once, each whatever the other does: a kms that refuses or is
/// silent does not keep a revocation from the sites. With `watch`, shows every site's receipt by name and in milliseconds
/// since the order was sent.
///
/// # Errors
/// [`Fault::NotConfirmed`] if a site has not confirmed in time; else what the kms said, if it did not take the order.
pub(crate) async fn end_access(
    desk: &Desk<'_>,
    book: &Book,
    request: OrderRequest,
    watching: impl Into<Watching<'_>>,
) -> Result<(), Fault> {
    let Ended { json, outcome, evidence } = carry_out(desk, book, request, watching).await;
    if let Some(json) = json {
        desk.screen.result(&json, String::new);
    }
    // Which sites have not confirmed was shown; that there is no evidence was not.
    evidence.and(outcome)
}

/// What became of an order that ends access.
pub(crate) struct Ended {
    /// For programs: the order, if the kms took it, and which sites have confirmed. None if nobody took it.
    pub(crate) json: Option<serde_json::Value>,
    /// As for [`end_access`], but for the evidence.
    pub(crate) outcome: Result<(), Fault>,
    /// Why the evidence that was wished for is not written. What was ordered is ordered all the same.
    pub(crate) evidence: Result<(), Fault>,
}

/// As [`end_access`], for an order that is not the end of its command.
pub(crate) async fn carry_out(
    desk: &Desk<'_>,
    book: &Book,
    request: OrderRequest,
    watching: impl Into<Watching<'_>>,
) -> Ended {
    let watching = watching.into();
    let watch = watching.receipts;
    let mut state = Watch {
        desk,
        order: request.envelope.digest(),
        stands_on: stands_on(book, &request.envelope),
        sent: Instant::now(),
        awaited: sites(book),
        confirmed: Vec::new(),
        receipts: BTreeMap::new(),
    };
    let mut brought: FuturesUnordered<_> = state
        .awaited
        .iter()
        .map(|(id, site)| bring(desk, book, &request.envelope, *id, site.address.clone(), site.keys.tls))
        .collect();
    let submitted = desk.submit(book, &request);
    tokio::pin!(submitted);
    let mut appended: Option<Result<Appended, Fault>> = None;
    // Both ways are gone to their end: an order that the kms has but a site has not heard of is pushed by the kms.
    while appended.is_none() || !brought.is_empty() {
        tokio::select! {
            answer = &mut submitted, if appended.is_none() => {
                if answer.is_ok() {
                    desk.screen.say("order-appended");
                }
                appended = Some(answer);
            }
            Some((site, receipt)) = brought.next() => match receipt {
                Ok(receipt) => state.confirm(site, &receipt, watch),
                // The kms reaches sites that this desk does not; what counts is the receipt.
                Err(_) => state.not_brought(site),
            },
        }
    }
    let appended = appended.unwrap_or(Err(Fault::NotConfirmed));
    if watch {
        state.until_confirmed(appended.is_ok()).await;
        if let Ok(appended) = &appended {
            state.show_outstanding(book, appended).await;
        }
    }
    let evidence = match (watching.evidence, &appended) {
        (Some(out), Ok(_)) => {
            let receipts = std::mem::take(&mut state.receipts);
            evidence::write(desk, book, Sent { envelope: &request.envelope, receipts }, out).await
        }
        _ => Ok(()),
    };
    let outstanding: Vec<&String> = state.awaited.values().map(|site| &site.name).collect();
    // An order that the kms did not take is no order that is done, whatever sites have acted on it.
    let order = appended.as_ref().ok().map(|appended| appended.digest);
    let json = (order.is_some() || !state.confirmed.is_empty())
        .then(|| json!({ "order": order, "confirmed": state.confirmed, "outstanding": outstanding }));
    let outcome = match appended {
        Ok(_) if watch && !state.awaited.is_empty() => Err(Fault::NotConfirmed),
        appended => appended.map(|_| ()),
    };
    Ended { json, outcome, evidence }
}

/// The size of the ledger that whoever signed the order has seen.
fn stands_on(book: &Book, order: &Envelope) -> u64 {
    let seen = order.statement::<Order>().ok().map(|order| order.seen);
    let read = seen.and_then(|note| Checkpoint::read(&note, &book.state.organization()).ok());
    read.map_or(0, |checkpoint| checkpoint.size)
}

fn sites(book: &Book) -> BTreeMap<Id, Awaited> {
    let serving = book.state.sites().filter(|(_, site)| !site.removed);
    serving
        .map(|(id, site)| {
            let awaited = Awaited {
                name: book.name(&site.name),
                address: site.address.clone(),
                keys: site.keys.clone(),
            };
            (*id, awaited)
        })
        .collect()
}

impl Watch<'_> {
    /// Takes a receipt, if it is the site's own and for this order.
    fn confirm(&mut self, id: Id, envelope: &Envelope, show: bool) {
        let Some(site) = self.awaited.get(&id) else { return };
        let sound = envelope.verified::<Receipt>(&site.keys.signing).is_ok_and(|receipt| {
            receipt.site == id && receipt.order == self.order && receipt.folded >= self.stands_on
        });
        let screen = self.desk.screen;
        if !sound {
            screen.say_with("receipt-unsound", &[("site", site.name.clone())]);
            return;
        }
        let milliseconds = u64::try_from(self.sent.elapsed().as_millis()).unwrap_or(u64::MAX);
        if show {
            let name = pad(&site.name, 16);
            screen.say_with("receipt", &[("site", name), ("milliseconds", milliseconds.to_string())]);
        }
        self.receipts.insert(id, envelope.clone());
        self.confirmed.push(json!({ "site": site.name, "milliseconds": milliseconds }));
        self.awaited.remove(&id);
    }

    /// Tells that this desk has not reached a site.
    fn not_brought(&self, id: Id) {
        let Some(site) = self.awaited.get(&id) else { return };
        self.desk.screen.warn("site-not-reached", &[("site", site.name.clone())]);
    }

    /// Waits for the receipts that reach the kms.
    async fn until_confirmed(&mut self, appended: bool) {
        let mut known = 0;
        while appended && !self.awaited.is_empty() && self.sent.elapsed() < PATIENCE {
            let path = format!("/v1/orders/{}/receipts?known={known}", self.order);
            match self.desk.get::<Receipts>(None, &path).await {
                Ok(answer) => {
                    known = answer.sites.iter().filter(|site| site.receipt.is_some()).count();
                    for site in &answer.sites {
                        if let Some(receipt) = &site.receipt {
                            self.confirm(site.site, receipt, true);
                        }
                    }
                }
                Err(fault) => {
                    self.desk.screen.warn("kms-not-asked", &[("why", self.desk.screen.what(&fault))]);
                    tokio::time::sleep(ASK_AGAIN).await;
                }
            }
        }
    }

    /// Names the sites that have not confirmed, with the moment by which their lease has ended, if there is one to rely on.
    async fn show_outstanding(&self, book: &Book, appended: &Appended) {
        if self.awaited.is_empty() {
            return;
        }
        let bounded = self.desk.is_cosigned(book, appended).await.unwrap_or(false);
        let path = format!("/v1/orders/{}/receipts", self.order);
        let answer = self.desk.get::<Receipts>(None, &path).await.ok().filter(|_| bounded);
        let screen = self.desk.screen;
        for (id, site) in &self.awaited {
            let told = answer.as_ref().and_then(|answer| answer.sites.iter().find(|told| told.site == *id));
            match told.and_then(|told| told.lease_ends_at) {
                Some(ends) => screen.say_with(
                    "receipt-bounded",
                    &[
                        ("site", site.name.clone()),
                        ("until", book.zone().instant(ends)),
                        ("zone", book.zone().name()),
                    ],
                ),
                None => screen.say_with("receipt-unbounded", &[("site", site.name.clone())]),
            }
        }
    }
}

/// Brings the order to one site, with the leaves that it lacks.
async fn bring(
    desk: &Desk<'_>,
    book: &Book,
    order: &Envelope,
    site: Id,
    address: String,
    key: PublicKey,
) -> (Id, Result<Envelope, Fault>) {
    let receipt = async {
        let to = || ForwardTo::Site { address: address.clone(), key };
        let status: Status = desk.ask(to(), None, "GET", "/v1/status", None::<&()>).await?;
        let leaves = book.leaves_from(status.folded).filter(|leaves| !leaves.leaves.is_empty());
        let request = RevocationRequest { order: order.clone(), leaves };
        desk.ask(to(), None, "POST", "/v1/revocations", Some(&request)).await
    };
    (site, receipt.await)
}
