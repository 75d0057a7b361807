//! What is durable, as somebody sees it who reads all databases: checked by itself, and against what was there before.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use sqlx::{AnyPool, Row as _};
use warifu_kms::site::journal::Journal;
use warifu_ledger::dsse::Envelope;
use warifu_ledger::journal::Row as Entry;
use warifu_ledger::leaf::Leaf;
use warifu_ledger::register::Name;
use warifu_ledger::state::State;
use warifu_ledger::statement::{Act, Order, Receipt};
use warifu_ledger::{Digest, Id};

use crate::fold;
use crate::town::SITES;

/// Everything that is durable at one moment.
pub(super) struct Evidence {
    leaves: BTreeMap<&'static str, Vec<Vec<u8>>>,
    /// By service, order and site.
    receipts: BTreeMap<(String, Digest, Id), String>,
    journals: BTreeMap<&'static str, Vec<Entry>>,
    /// What the kms's own ledger says.
    pub(super) state: State,
    orders: Orders,
    labels: BTreeMap<Id, String>,
    /// Grants whose share lies at the kms for the card, at the kms for a site, at the ca.
    waiting: BTreeMap<&'static str, Vec<Id>>,
    /// The grants whose share each site holds and has acknowledged.
    shares: BTreeMap<&'static str, Vec<Id>>,
}

/// Orders by their hashes, with what each does.
type Orders = Vec<(Digest, Vec<Act>)>;

const DATABASES: [(&str, &str); 4] =
    [("kms", "authority.sqlite"), ("ca", "ca.sqlite"), ("honcho", "site.sqlite"), ("omachi", "site.sqlite")];

impl Evidence {
    /// Reads it, and checks what has to be true of it at any moment.
    pub(super) fn read(town: &Path) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(Self::gather(town))
    }

    async fn gather(town: &Path) -> Result<Self> {
        let mut pools = BTreeMap::new();
        for (service, file) in DATABASES {
            let path: PathBuf = town.join(service).join("data").join(file);
            let pool = fold::open(&path).await.with_context(|| path.display().to_string())?;
            let verdict: String = sqlx::query_scalar("PRAGMA integrity_check").fetch_one(&pool).await?;
            ensure!(verdict == "ok", "{service}: {verdict}");
            pools.insert(service, pool);
        }
        let of = |service: &str| pools.get(service).with_context(|| format!("no {service}"));
        // Followers first: whoever is read later has as much or more.
        let mut leaves = BTreeMap::new();
        for service in ["honcho", "omachi", "ca", "kms"] {
            leaves.insert(service, fold::leaves(of(service)?).await?);
        }
        let ledger = leaves.get("kms").context("the ledger")?;
        for (service, copy) in &leaves {
            ensure!(ledger.starts_with(copy), "{service} has leaves that the kms has not");
        }
        let (state, orders) = (fold::fold(ledger)?, orders(ledger)?);

        let mut receipts = BTreeMap::new();
        let rows =
            sqlx::query("SELECT order_digest, site, envelope FROM receipt").fetch_all(of("kms")?).await?;
        for row in &rows {
            receipts.insert(("kms".to_owned(), digest(row.get(0))?, id(row.get(1))?), row.get(2));
        }
        let mut journals = BTreeMap::new();
        let mut shares = BTreeMap::new();
        for (site, _) in SITES {
            let pool = of(site)?;
            let rows = sqlx::query("SELECT by_order, receipt FROM site_revocation WHERE receipt IS NOT NULL");
            for row in &rows.fetch_all(pool).await? {
                let envelope: String = row.get(1);
                let signed: Envelope = serde_json::from_str(&envelope)?;
                let who = signed.statement::<Receipt>()?.site;
                receipts.insert((site.to_owned(), digest(row.get(0))?, who), envelope);
            }
            // Checks the chain.
            journals.insert(site, Journal::new(pool.clone()).rows(0, u32::MAX).await?);
            let held = "SELECT grant_id FROM site_share WHERE acknowledged = 1";
            shares.insert(site, ids(pool, held).await?);
        }
        for ((_, order, site), envelope) in &receipts {
            let key = state.site(site).context("a receipt of no site")?.keys.signing;
            let receipt: Receipt = serde_json::from_str::<Envelope>(envelope)?.verified(&key)?;
            ensure!(receipt.order == *order && receipt.site == *site, "a receipt for something else");
        }
        let mut labels = BTreeMap::new();
        for row in &sqlx::query("SELECT id, text FROM record").fetch_all(of("kms")?).await? {
            if let Ok(name) = Name::parse(row.get(1)) {
                labels.insert(id(row.get(0))?, name.label);
            }
        }
        let waiting = BTreeMap::from([
            ("sealed card shares at the kms", ids(of("kms")?, "SELECT grant_id FROM card_share").await?),
            ("wraps at the kms", ids(of("kms")?, "SELECT grant_id FROM wrap").await?),
            ("card shares at the ca", ids(of("ca")?, "SELECT grant_id FROM card_share").await?),
        ]);
        for pool in pools.values() {
            pool.close().await;
        }
        Ok(Self { leaves, receipts, journals, state, orders, labels, waiting, shares })
    }

    /// Nothing that was durable before is gone or has become another.
    pub(super) fn follows(&self, before: &Self) -> Result<()> {
        for (service, old) in &before.leaves {
            let new = self.leaves.get(service).context("a ledger")?;
            ensure!(new.starts_with(old), "{service}: entries were lost, or are others now");
        }
        for (whose, old) in &before.receipts {
            ensure!(
                self.receipts.get(whose) == Some(old),
                "the receipt {whose:?} was lost, or is another now"
            );
        }
        for (site, old) in &before.journals {
            let new = self.journals.get(site).context("a journal")?;
            ensure!(new.starts_with(old), "{site}: journal entries were lost, or are others now");
        }
        Ok(())
    }

    /// How many partials the sites have recorded.
    #[must_use]
    pub(super) fn recorded(&self) -> usize {
        self.journals.values().map(Vec::len).sum()
    }

    /// Whether the ledger has this order.
    #[must_use]
    pub(super) fn has_order(&self, hash: &str) -> bool {
        self.orders.iter().any(|(order, _)| order.to_string() == hash)
    }

    /// The orders with an act like this.
    pub(super) fn orders_with(&self, like: impl Fn(&Act) -> bool) -> Vec<Digest> {
        let with = self.orders.iter().filter(|(_, acts)| acts.iter().any(&like));
        with.map(|(order, _)| *order).collect()
    }

    /// The sites that have signed a receipt for an order.
    #[must_use]
    pub(super) fn receipted(&self, order: &Digest) -> usize {
        SITES
            .iter()
            .filter(|(name, _)| self.receipts.keys().any(|(at, of, _)| at == name && of == order))
            .count()
    }

    /// The receipts for an order that the kms has.
    #[must_use]
    pub(super) fn delivered(&self, order: &Digest) -> usize {
        self.receipts.keys().filter(|(at, of, _)| at == "kms" && of == order).count()
    }

    /// Whether every service has read the whole ledger.
    #[must_use]
    pub(super) fn is_level(&self) -> bool {
        let lengths: Vec<usize> = self.leaves.values().map(Vec::len).collect();
        lengths.windows(2).all(|pair| pair.first() == pair.last())
    }

    /// The ids of things with this label.
    #[must_use]
    pub(super) fn labelled<'a>(&self, label: &str, all: impl Iterator<Item = (&'a Id, Id)>) -> Vec<Id> {
        let named = |record: &Id| self.labels.get(record).is_some_and(|found| found == label);
        all.filter(|(_, record)| named(record)).map(|(id, _)| *id).collect()
    }

    /// The one member with this label.
    pub(super) fn member(&self, label: &str) -> Result<Id> {
        let found = self.labelled(label, self.state.members().map(|(id, member)| (id, member.name.record)));
        let [one] = found.as_slice() else { anyhow::bail!("{} members are called {label}", found.len()) };
        Ok(*one)
    }

    /// Whether what serves a grant is complete: the ledger says that it is issued, and every site has its share.
    #[must_use]
    pub(super) fn is_whole(&self, grant: &Id) -> bool {
        let issued = self.state.grant(grant).is_some_and(|found| found.issued.is_some());
        issued && self.shares.values().all(|held| held.contains(grant))
    }

    /// What is left over where everything has been done: nothing.
    #[must_use]
    pub(super) fn left_over(&self) -> Option<String> {
        let waiting = self.waiting.iter().find(|(_, grants)| !grants.is_empty());
        if let Some((what, grants)) = waiting {
            return Some(format!("{what}: {}", grants.len()));
        }
        let live: Vec<Id> = self
            .state
            .grants()
            .filter(|(_, grant)| grant.issued.is_some() && !grant.revoked)
            .map(|(id, _)| *id)
            .collect();
        for (site, held) in &self.shares {
            let missing = live.iter().filter(|grant| !held.contains(grant)).count();
            let beyond = held.iter().filter(|grant| !live.contains(grant)).count();
            if missing + beyond > 0 {
                return Some(format!("{site}: {missing} shares missing, {beyond} shares of dead grants"));
            }
        }
        (!self.is_level()).then(|| "somebody has not read the whole ledger".to_owned())
    }
}

async fn ids(pool: &AnyPool, query: &'static str) -> Result<Vec<Id>> {
    sqlx::query(query).fetch_all(pool).await?.iter().map(|row| id(row.get(0))).collect()
}

fn id(bytes: Vec<u8>) -> Result<Id> {
    Ok(serde_json::from_value(hex::encode(bytes).into())?)
}

fn digest(bytes: Vec<u8>) -> Result<Digest> {
    Ok(serde_json::from_value(hex::encode(bytes).into())?)
}

/// The orders in the ledger; each of it is there once.
fn orders(leaves: &[Vec<u8>]) -> Result<Orders> {
    let mut orders = Orders::new();
    for bytes in leaves {
        let leaf = Leaf::from_bytes(bytes.clone())?;
        if let Ok(order) = leaf.envelope().statement::<Order>() {
            let hash = leaf.envelope().digest();
            ensure!(orders.iter().all(|(other, _)| *other != hash), "order {hash} is in the ledger twice");
            orders.push((hash, order.acts));
        }
    }
    Ok(orders)
}
