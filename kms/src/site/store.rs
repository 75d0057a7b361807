//! The site's own tables. Whatever a function here writes is durable when it returns.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sqlx::{AnyPool, Row as _};
use warifu_crash_point::{Guard, stands};
use warifu_hardware::hsm::WrappedShare;
use warifu_ledger::dsse::Envelope;
use warifu_ledger::statement::Millis;
use warifu_ledger::{Digest, Id};

use super::dead::Dead;
use super::ending::Ending;
use super::error::SiteError;

mod slips;

pub(super) use slips::{Accepted, Kept, PartKey, Sealed};

/// So many wrapped shares are remembered, of some 150 bytes each.
const SHARES_REMEMBERED: usize = 4096;

/// SQLite's integers are signed; instants and sizes of 2⁶³ do not exist.
pub(super) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(super) fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or_default()
}

pub(super) fn id_of(bytes: &[u8]) -> Result<Id, SiteError> {
    bytes.try_into().map(Id).map_err(|_| SiteError::Damaged { what: "id" })
}

pub(super) fn digest_of(bytes: &[u8]) -> Result<Digest, SiteError> {
    bytes.try_into().map(Digest).map_err(|_| SiteError::Damaged { what: "digest" })
}

/// How far the leaves have been acted on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) leaves: u64,
    pub(super) joined: bool,
}

/// An order that was begun to be acted on.
pub(super) struct Begun {
    pub(super) order: Digest,
    /// The grants whose key pairs existed here and end with it.
    pub(super) destroys: BTreeSet<Id>,
}

/// An order that somebody brought before the ledger had it.
pub(super) struct ByHand {
    pub(super) envelope: Envelope,
    /// When it expires.
    pub(super) until: Millis,
}

/// The tables.
#[derive(Clone)]
pub(super) struct Store {
    pool: AnyPool,
    shares: Arc<Mutex<SharesAsked>>,
}

/// The wrapped shares that were asked for, as they are in the database. They open nothing without the HSM, and are forgotten
/// with their rows.
#[derive(Default)]
struct SharesAsked {
    /// How often some were forgotten: what was read before is not remembered after it.
    forgotten: u64,
    wrapped: HashMap<Id, WrappedShare>,
}

impl Store {
    pub(super) fn new(pool: AnyPool) -> Self {
        Self { pool, shares: Arc::default() }
    }

    fn shares_asked(&self) -> MutexGuard<'_, SharesAsked> {
        self.shares.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn dead(&self) -> Result<Dead, SiteError> {
        let mut dead = Dead::default();
        for row in sqlx::query("SELECT kind, id FROM site_dead").fetch_all(&self.pool).await? {
            let id: &[u8] = row.try_get("id")?;
            match row.try_get("kind")? {
                "grant" => dead.grants.insert(id_of(id)?),
                "card" => dead.cards.insert(id_of(id)?),
                "member" => dead.members.insert(id_of(id)?),
                "contract" => dead.contracts.insert(id_of(id)?),
                "file" => dead.files.insert(digest_of(id)?),
                "slip" => dead.slips.insert(slip_of(id)?),
                _ => {
                    dead.left = true;
                    true
                }
            };
        }
        for row in
            sqlx::query("SELECT card, by_order, until_ms FROM site_suspended").fetch_all(&self.pool).await?
        {
            let (card, order) = (id_of(row.try_get("card")?)?, digest_of(row.try_get("by_order")?)?);
            dead.suspended.entry(card).or_default().insert(order, unsigned(row.try_get("until_ms")?));
        }
        Ok(dead)
    }

    /// Marks as dead what an order ends, and which key pairs go with it. An order that was brought by hand is kept for the
    /// kms; once the ledger has it, it needs no courier. Returns all grants that the order was ever found to destroy here.
    pub(super) async fn mark(
        &self,
        order: Digest,
        site: Id,
        ending: &Ending,
        by_hand: Option<&ByHand>,
        destroys: &BTreeSet<Id>,
    ) -> Result<BTreeSet<Id>, SiteError> {
        let order = order.as_bytes().as_slice();
        let ids = |kind: &'static str, ids: &BTreeSet<Id>| {
            ids.iter().map(|id| (kind, id.as_bytes().to_vec())).collect::<Vec<_>>()
        };
        let mut dead = ids("grant", &ending.grants);
        dead.extend(ids("card", &ending.cards));
        dead.extend(ids("member", &ending.members));
        dead.extend(ids("contract", &ending.contracts));
        dead.extend(ending.files.iter().map(|file| ("file", file.as_bytes().to_vec())));
        dead.extend(ending.slips.iter().map(|slip| ("slip", bytes_of_slip(slip))));
        dead.extend(ending.leaves.then(|| ("site", site.as_bytes().to_vec())));

        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        for (kind, id) in dead.into_iter().filter(|_| stands(Guard::MarkDurable)) {
            sqlx::query("INSERT INTO site_dead (kind, id, by_order) VALUES (?, ?, ?) ON CONFLICT DO NOTHING")
                .bind(kind)
                .bind(id)
                .bind(order)
                .execute(&mut *transaction)
                .await?;
        }
        match by_hand {
            Some(ByHand { envelope, until }) => {
                let text =
                    serde_json::to_string(envelope).map_err(|_| SiteError::Damaged { what: "order" })?;
                sqlx::query(
                    "INSERT INTO site_courier (by_order, envelope) VALUES (?, ?) ON CONFLICT DO NOTHING",
                )
                .bind(order)
                .bind(text)
                .execute(&mut *transaction)
                .await?;
                for card in &ending.suspended {
                    sqlx::query(
                        "INSERT INTO site_suspended (card, by_order, until_ms) VALUES (?, ?, ?) \
                         ON CONFLICT DO NOTHING",
                    )
                    .bind(card.as_bytes().as_slice())
                    .bind(order)
                    .bind(signed(*until))
                    .execute(&mut *transaction)
                    .await?;
                }
            }
            None => {
                for sql in [
                    "DELETE FROM site_suspended WHERE by_order = ?",
                    "DELETE FROM site_courier WHERE by_order = ?",
                ] {
                    sqlx::query(sql).bind(order).execute(&mut *transaction).await?;
                }
            }
        }
        let before: Option<Vec<u8>> =
            sqlx::query_scalar("SELECT destroys FROM site_revocation WHERE by_order = ?")
                .bind(order)
                .fetch_optional(&mut *transaction)
                .await?;
        let mut all = ids_of(&before.unwrap_or_default())?;
        all.extend(destroys);
        let bytes: Vec<u8> = all.iter().flat_map(|id| id.0).collect();
        sqlx::query(
            "INSERT INTO site_revocation (by_order, destroys) VALUES (?, ?) \
             ON CONFLICT (by_order) DO UPDATE SET destroys = excluded.destroys",
        )
        .bind(order)
        .bind(bytes)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(all)
    }

    /// The orders that were begun to be acted on and have no receipt yet.
    pub(super) async fn begun(&self) -> Result<Vec<Begun>, SiteError> {
        let rows = sqlx::query("SELECT by_order, destroys FROM site_revocation WHERE receipt IS NULL")
            .fetch_all(&self.pool)
            .await?;
        rows.iter()
            .map(|row| {
                let order = digest_of(row.try_get("by_order")?)?;
                Ok(Begun { order, destroys: ids_of(row.try_get("destroys")?)? })
            })
            .collect()
    }

    /// The receipt for an order, if it has been acted on.
    pub(super) async fn receipt(&self, order: &Digest) -> Result<Option<Envelope>, SiteError> {
        let text: Option<Option<String>> =
            sqlx::query_scalar("SELECT receipt FROM site_revocation WHERE by_order = ?")
                .bind(order.as_bytes().as_slice())
                .fetch_optional(&self.pool)
                .await?;
        text.flatten().map(|text| envelope_of(&text)).transpose()
    }

    pub(super) async fn put_receipt(&self, order: &Digest, receipt: &Envelope) -> Result<(), SiteError> {
        let text = serde_json::to_string(receipt).map_err(|_| SiteError::Damaged { what: "receipt" })?;
        sqlx::query("UPDATE site_revocation SET receipt = ? WHERE by_order = ?")
            .bind(text)
            .bind(order.as_bytes().as_slice())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// The receipts that the kms has not accepted yet.
    pub(super) async fn unaccepted(&self) -> Result<Vec<(Digest, Envelope)>, SiteError> {
        let rows = sqlx::query(
            "SELECT by_order, receipt FROM site_revocation WHERE accepted = 0 AND receipt IS NOT NULL LIMIT 256",
        )
        .fetch_all(&self.pool)
        .await?;
        rows.iter()
            .map(|row| Ok((digest_of(row.try_get("by_order")?)?, envelope_of(row.try_get("receipt")?)?)))
            .collect()
    }

    pub(super) async fn accepted(&self, order: &Digest) -> Result<(), SiteError> {
        sqlx::query("UPDATE site_revocation SET accepted = 1 WHERE by_order = ?")
            .bind(order.as_bytes().as_slice())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// The orders that were brought by hand and that the kms has not answered yet.
    pub(super) async fn to_courier(&self) -> Result<Vec<(Digest, Envelope)>, SiteError> {
        let rows =
            sqlx::query("SELECT by_order, envelope FROM site_courier LIMIT 64").fetch_all(&self.pool).await?;
        rows.iter()
            .map(|row| {
                let envelope = serde_json::from_str(row.try_get("envelope")?)
                    .map_err(|_| SiteError::Damaged { what: "order" })?;
                Ok((digest_of(row.try_get("by_order")?)?, envelope))
            })
            .collect()
    }

    /// The kms has given its last word on an order.
    pub(super) async fn couriered(&self, order: &Digest) -> Result<(), SiteError> {
        sqlx::query("DELETE FROM site_courier WHERE by_order = ?")
            .bind(order.as_bytes().as_slice())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    pub(super) async fn position(&self) -> Result<Position, SiteError> {
        let row = sqlx::query("SELECT leaves, joined FROM site_position WHERE one = 1")
            .fetch_one(&self.pool)
            .await?;
        Ok(Position {
            leaves: unsigned(row.try_get("leaves")?),
            joined: row.try_get::<i64, _>("joined")? != 0,
        })
    }

    pub(super) async fn set_position(&self, position: Position) -> Result<(), SiteError> {
        sqlx::query("UPDATE site_position SET leaves = ?, joined = ? WHERE one = 1")
            .bind(signed(position.leaves))
            .bind(position.joined)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    pub(super) async fn is_announced(&self, grant: &Id) -> Result<bool, SiteError> {
        let announced = sqlx::query("SELECT 1 FROM site_announced WHERE grant_id = ?")
            .bind(grant.as_bytes().as_slice())
            .fetch_optional(&self.pool)
            .await?;
        Ok(announced.is_some())
    }

    pub(super) async fn announced(&self, grant: &Id) -> Result<(), SiteError> {
        sqlx::query("INSERT INTO site_announced (grant_id) VALUES (?) ON CONFLICT DO NOTHING")
            .bind(grant.as_bytes().as_slice())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Every key pair that has no share yet is to be announced once more.
    pub(super) async fn announce_again(&self) -> Result<(), SiteError> {
        sqlx::query(
            "DELETE FROM site_announced WHERE NOT EXISTS
             (SELECT 1 FROM site_share WHERE site_share.grant_id = site_announced.grant_id)",
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Whether the share is here, and if so whether the kms knows.
    pub(super) async fn has_share(&self, grant: &Id) -> Result<Option<bool>, SiteError> {
        let acknowledged: Option<i64> =
            sqlx::query_scalar("SELECT acknowledged FROM site_share WHERE grant_id = ?")
                .bind(grant.as_bytes().as_slice())
                .fetch_optional(&self.pool)
                .await?;
        Ok(acknowledged.map(|acknowledged| acknowledged != 0))
    }

    pub(super) async fn put_share(&self, grant: &Id, share: &WrappedShare) -> Result<(), SiteError> {
        sqlx::query("INSERT INTO site_share (grant_id, wrapped) VALUES (?, ?) ON CONFLICT DO NOTHING")
            .bind(grant.as_bytes().as_slice())
            .bind(share.to_bytes())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    pub(super) async fn acknowledged(&self, grant: &Id) -> Result<(), SiteError> {
        sqlx::query("UPDATE site_share SET acknowledged = 1 WHERE grant_id = ?")
            .bind(grant.as_bytes().as_slice())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// The kms is to be told again of the shares of these grants that are here.
    pub(super) async fn acknowledge_again(&self, grants: &[Id]) -> Result<(), SiteError> {
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        for grant in grants {
            sqlx::query("UPDATE site_share SET acknowledged = 0 WHERE grant_id = ?")
                .bind(grant.as_bytes().as_slice())
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// The wrapped shares of these grants, those that are here.
    pub(super) async fn shares(
        &self,
        grants: impl IntoIterator<Item = Id>,
    ) -> Result<BTreeMap<Id, WrappedShare>, SiteError> {
        let mut shares = BTreeMap::new();
        let mut to_read = Vec::new();
        let forgotten = {
            let asked = self.shares_asked();
            for grant in grants {
                match asked.wrapped.get(&grant) {
                    Some(share) => drop(shares.insert(grant, share.clone())),
                    None => to_read.push(grant),
                }
            }
            asked.forgotten
        };
        for grant in to_read {
            let Some(share) = self.read_share(&grant).await? else { continue };
            let mut asked = self.shares_asked();
            if asked.wrapped.len() >= SHARES_REMEMBERED {
                asked.wrapped.clear();
            }
            if asked.forgotten == forgotten {
                asked.wrapped.insert(grant, share.clone());
            }
            shares.insert(grant, share);
        }
        Ok(shares)
    }

    async fn read_share(&self, grant: &Id) -> Result<Option<WrappedShare>, SiteError> {
        let bytes: Option<Vec<u8>> = sqlx::query_scalar("SELECT wrapped FROM site_share WHERE grant_id = ?")
            .bind(grant.as_bytes().as_slice())
            .fetch_optional(&self.pool)
            .await?;
        let read = |bytes: Vec<u8>| WrappedShare::from_bytes(&bytes);
        bytes.map(read).transpose().map_err(|_| SiteError::Damaged { what: "wrapped share" })
    }

    /// The grants of which there is anything here.
    pub(super) async fn grants(&self) -> Result<BTreeSet<Id>, SiteError> {
        let rows = sqlx::query("SELECT grant_id FROM site_share UNION SELECT grant_id FROM site_announced")
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(|row| id_of(row.try_get("grant_id")?)).collect()
    }

    /// Deletes what is left of grants whose key pairs are destroyed.
    pub(super) async fn forget_grants(&self, grants: &BTreeSet<Id>) -> Result<(), SiteError> {
        if grants.is_empty() {
            return Ok(());
        }
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        for grant in grants {
            for sql in
                ["DELETE FROM site_share WHERE grant_id = ?", "DELETE FROM site_announced WHERE grant_id = ?"]
            {
                sqlx::query(sql).bind(grant.as_bytes().as_slice()).execute(&mut *transaction).await?;
            }
        }
        transaction.commit().await?;
        let mut asked = self.shares_asked();
        asked.forgotten += 1;
        asked.wrapped.retain(|grant, _| !grants.contains(grant));
        Ok(())
    }

    pub(super) async fn names(&self) -> Result<BTreeMap<Id, String>, SiteError> {
        let rows = sqlx::query("SELECT record, text FROM site_name").fetch_all(&self.pool).await?;
        rows.iter().map(|row| Ok((id_of(row.try_get("record")?)?, row.try_get("text")?))).collect()
    }

    /// Replaces all names: what was erased from the register is erased here.
    pub(super) async fn set_names(&self, names: &BTreeMap<Id, String>) -> Result<(), SiteError> {
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        sqlx::query("DELETE FROM site_name").execute(&mut *transaction).await?;
        for (record, text) in names {
            sqlx::query("INSERT INTO site_name (record, text) VALUES (?, ?)")
                .bind(record.as_bytes().as_slice())
                .bind(text)
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(())
    }
}

/// A batch, or one of its slips: the digest (32), and the place (8, big-endian).
fn bytes_of_slip((batch, index): &(Digest, Option<u64>)) -> Vec<u8> {
    let index = index.map(u64::to_be_bytes);
    [batch.as_bytes().as_slice(), index.as_ref().map_or(&[], <[u8; 8]>::as_slice)].concat()
}

fn slip_of(bytes: &[u8]) -> Result<(Digest, Option<u64>), SiteError> {
    let damaged = SiteError::Damaged { what: "slip" };
    let Some((batch, index)) = bytes.split_at_checked(32) else { return Err(damaged) };
    let index = match index {
        [] => None,
        index => Some(u64::from_be_bytes(index.try_into().map_err(|_| damaged)?)),
    };
    Ok((digest_of(batch)?, index))
}

fn ids_of(bytes: &[u8]) -> Result<BTreeSet<Id>, SiteError> {
    bytes.chunks(16).map(id_of).collect()
}

fn envelope_of(text: &str) -> Result<Envelope, SiteError> {
    serde_json::from_str(text).map_err(|_| SiteError::Damaged { what: "receipt" })
}
