//! What has to hold after a crash, before anything is repeated, and once all is over.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use sqlx::AnyPool;
use sqlx::any::AnyPoolOptions;
use warifu_api::wire::Leaves;
use warifu_api::wire::authority::{CheckpointAnswer, Receipts};
use warifu_api::wire::site::{RevocationRequest, Status};
use warifu_hardware::hsm::Hsm;
use warifu_kms::site::journal::Journal;
use warifu_ledger::Id;
use warifu_ledger::dsse::Envelope;
use warifu_ledger::journal::genesis;
use warifu_ledger::leaf::Leaf;
use warifu_ledger::state::State;
use warifu_replica::storage;

use crate::fixture::id;
use crate::people::{Answer, Ordered, People, Person, insist, same_place, until};
use crate::services::Who;
use crate::words::Draw;

/// Somebody else's database, to look into.
async fn look_into(path: &Path) -> Result<AnyPool> {
    let options = storage::options(path, "rw")?;
    Ok(AnyPoolOptions::new().max_connections(1).connect_with(options).await?)
}

async fn ids(pool: &AnyPool, sql: &'static str) -> Result<BTreeSet<Id>> {
    let rows: Vec<Vec<u8>> = sqlx::query_scalar(sql).fetch_all(pool).await?;
    rows.into_iter()
        .map(|row| Ok(Id(row.as_slice().try_into().context("an id of another length")?)))
        .collect()
}

fn none_but(what: &str, found: &BTreeSet<Id>, allowed: &BTreeSet<Id>) -> Result<(), String> {
    let rest: Vec<String> = found.difference(allowed).map(ToString::to_string).collect();
    if rest.is_empty() { Ok(()) } else { Err(format!("{what}: {}", rest.join(", "))) }
}

fn exactly(what: &str, found: &BTreeSet<Id>, wanted: &BTreeSet<Id>) -> Result<(), String> {
    none_but(&format!("{what}, too many"), found, wanted)?;
    none_but(&format!("{what}, missing"), wanted, found)
}

impl People {
    /// Reads what is new in the ledger, and folds it. What was read before has to be there still.
    pub(crate) async fn read_ledger(&mut self) -> Result<()> {
        loop {
            let from = self.leaves.len().saturating_sub(1);
            let path = format!("/v1/ledger?from={from}");
            let page: Leaves = insist("the ledger", async || self.kms.get(&path).await).await?;
            let more = page.leaves.len() >= 100;
            for (bytes, index) in page.leaves.into_iter().zip(from..) {
                if let Some(known) = self.leaves.get(index) {
                    ensure!(known.as_bytes() == bytes.0, "leaf {index} has changed");
                    continue;
                }
                let leaf = Leaf::from_bytes(bytes.0)?;
                let digest = leaf.envelope().digest();
                ensure!(self.digests.insert(digest), "{digest} is in the ledger twice");
                self.state = Some(match &self.state {
                    Some(state) => state.apply(&leaf)?,
                    None => State::found(&leaf)?,
                });
                self.leaves.push(leaf);
            }
            if !more {
                return Ok(());
            }
        }
    }

    fn is_issued(&self, grant: &Id) -> bool {
        self.state.as_ref().and_then(|state| state.grant(grant)).is_some_and(|grant| grant.issued.is_some())
    }

    /// Right after a restart, before anybody has caught up: nothing that was receipted opens, nothing that was not issued
    /// does, and what was acknowledged is where it was.
    pub(crate) async fn probe(&mut self, draw: &mut Draw, subject: usize) -> Result<()> {
        for site in Who::SITES {
            if let Answer::Partial = self.ask(Person::Member(subject), site).await? {
                // The site knew of it; then the ledger does.
                self.read_ledger().await?;
                let member = self.members.get(subject).context("nobody")?;
                ensure!(self.is_issued(&member.grant), "a grant that is not issued was answered at {site:?}");
            }
            if !self.gone.is_empty() {
                // Answers that may not be are refused in there.
                let whom = Person::Gone(draw.below(self.gone.len()));
                self.ask(whom, site).await?;
            }
        }
        for ordered in self.orders.iter_mut().filter(|ordered| ordered.appended.is_some()) {
            // If the kms answers at all, then the same.
            if let Ok(appended) = self.kms.post("/v1/orders", &ordered.request).await {
                same_place(ordered, appended)?;
            }
        }
        Ok(())
    }

    /// Once everything has calmed down.
    pub(crate) async fn audit(&mut self, known: u64, ended: Option<Id>) -> Result<()> {
        self.read_ledger().await?;
        ensure!(self.withdrawn.is_disjoint(&self.digests), "what was withdrawn is in the ledger");
        let withdrawn = |ordered: &&Ordered| self.withdrawn.contains(&ordered.request.envelope.digest());
        for ordered in self.orders.iter().filter(|ordered| !withdrawn(ordered)) {
            let appended = ordered.appended.context("an order without an answer")?;
            let leaf = self.leaves.get(usize::try_from(appended.index)?).context("an order is lost")?;
            let there = leaf.envelope().digest() == appended.digest && leaf.at() == appended.at;
            ensure!(there, "an order is not where it was said to be: {appended:?}");
        }
        self.audit_receipts().await?;
        let size = self.leaves.len() as u64;
        for site in Who::SITES {
            let client = self.strangers.get(&site).context("no such site")?;
            until("a site that has caught up", async || {
                let status: Status = insist("a status", async || client.get("/v1/status").await).await?;
                let there = status.folded >= size && status.time.is_some();
                Ok(if there { Ok(()) } else { Err(format!("{site:?}: {status:?}, {size} leaves")) })
            })
            .await?;
        }
        let kms = &self.kms;
        until("cosignatures", async || {
            let newest: CheckpointAnswer =
                insist("a checkpoint", async || kms.get("/v1/checkpoint").await).await?;
            let there = newest.cosigned_size >= known;
            Ok(if there { Ok(()) } else { Err(format!("{} of {known}", newest.cosigned_size)) })
        })
        .await?;
        let grants = self.members.iter().map(|member| member.grant);
        let live: BTreeSet<Id> = grants.filter(|grant| ended != Some(*grant)).collect();
        until("nothing left over", async || self.leftovers(&live).await).await?;
        for site in Who::SITES {
            self.audit_journal(site).await?;
        }
        Ok(())
    }

    /// Every receipt of this sequence is given again, byte for byte, by the site and by the kms.
    async fn audit_receipts(&mut self) -> Result<()> {
        for number in 0..self.orders.len() {
            let envelope = self.orders.get(number).context("no order")?.request.envelope.clone();
            let digest = envelope.digest();
            if !self.receipts.contains_key(&(digest, Who::Main)) {
                continue;
            }
            let receipts: Receipts =
                insist("receipts", async || self.kms.get(&format!("/v1/orders/{digest}/receipts")).await)
                    .await?;
            for site in Who::SITES {
                let client = self.strangers.get(&site).context("no such site")?;
                let request = RevocationRequest { order: envelope.clone(), leaves: None };
                let again: Envelope =
                    insist("a receipt again", async || client.post("/v1/revocations", &request).await)
                        .await?;
                self.saw_receipt(digest, site, &again)?;
                let of_site = receipts.sites.iter().find(|one| one.site == id(site.name()));
                let kept = of_site.and_then(|one| one.receipt.as_ref()).context("a receipt is lost")?;
                self.saw_receipt(digest, site, kept)?;
            }
        }
        Ok(())
    }

    /// What is in HSMs and databases: what live grants need, and nothing else.
    async fn leftovers(&self, live: &BTreeSet<Id>) -> Result<Result<(), String>> {
        for site in Who::SITES {
            // The handle that the site has.
            let labels = Hsm::open(self.place.token(site).hsm_config())?.grant_keys()?;
            let pairs = labels.iter().map(|label| label.parse()).collect::<Result<BTreeSet<Id>, _>>()?;
            if let Err(why) = exactly(&format!("key pairs of {site:?}"), &pairs, live) {
                return Ok(Err(why));
            }
            let pool = look_into(&self.database(site)).await?;
            let shares = ids(&pool, "SELECT grant_id FROM site_share WHERE acknowledged = 1").await?;
            let announced = ids(&pool, "SELECT grant_id FROM site_announced").await?;
            let unaccepted = sqlx::query_scalar::<_, i64>(
                "SELECT count(*) FROM site_revocation WHERE receipt IS NULL OR accepted = 0",
            );
            let unaccepted = unaccepted.fetch_one(&pool).await?;
            pool.close().await;
            let all = exactly(&format!("shares of {site:?}"), &shares, live)
                .and_then(|()| none_but(&format!("announced by {site:?}"), &announced, live));
            if all.is_err() {
                return Ok(all);
            }
            if unaccepted > 0 {
                return Ok(Err(format!("{unaccepted} receipts of {site:?} are not delivered")));
            }
        }
        let pool = look_into(&self.database(Who::Ca)).await?;
        let kept = ids(&pool, "SELECT grant_id FROM card_share").await?;
        pool.close().await;
        let nobody = BTreeSet::new();
        if let Err(why) = none_but("card shares at the ca", &kept, &nobody) {
            return Ok(Err(why));
        }
        let pool = look_into(&self.database(Who::Kms)).await?;
        let wraps = ids(&pool, "SELECT grant_id FROM wrap").await?;
        let sealed = ids(&pool, "SELECT grant_id FROM card_share").await?;
        let keys =
            ids(&pool, "SELECT grant_id FROM grant_key UNION SELECT grant_id FROM acknowledgement").await?;
        pool.close().await;
        Ok(none_but("wraps", &wraps, &nobody)
            .and_then(|()| none_but("sealed card shares at the kms", &sealed, &nobody))
            .and_then(|()| none_but("keys of grants at the kms", &keys, live)))
    }

    /// The journal's chain goes on where it ended, and has a record of every partial that left.
    async fn audit_journal(&mut self, site: Who) -> Result<()> {
        let pool = look_into(&self.database(site)).await?;
        let journal = Journal::new(pool.clone());
        let start = (0, genesis(&self.place.organization, &id(site.name()), &journal.id().await?));
        let (from, mut previous) = self.journals.get(&site).copied().unwrap_or(start);
        let entries = journal.rows(from, 10_000).await?;
        pool.close().await;
        let mut next = from;
        for entry in entries {
            ensure!(entry.index == next && entry.previous == previous, "the journal of {site:?} is broken");
            previous = entry.hash();
            next += 1;
            *self.recorded.entry((site, entry.grant, entry.file)).or_default() += 1;
        }
        self.journals.insert(site, (next, previous));
        for (key, left) in self.partials.iter().filter(|((of, ..), _)| *of == site) {
            let recorded = self.recorded.get(key).copied().unwrap_or_default();
            ensure!(
                recorded >= *left,
                "{left} partials left {site:?}, {recorded} are in its journal: {key:?}"
            );
        }
        Ok(())
    }

    /// Nobody whose grant is over is answered anywhere.
    pub(crate) async fn sweep(&mut self) -> Result<()> {
        for index in 0..self.gone.len() {
            for site in Who::SITES {
                self.ask(Person::Gone(index), site).await?;
            }
        }
        Ok(())
    }
}
