//! What is kept of grants on their way to sites and cards.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::Row as _;
use sqlx::any::AnyExecutor;
use warifu_ledger::Id;
use warifu_ledger::dsse::Envelope;
use warifu_split_key::point::Point;

use super::{Result, Store, bytes, id, point};
use crate::authority::error::AuthorityError;

/// `A`, `B`, and `a` sealed to the card.
#[derive(Debug, Clone)]
pub(crate) struct CardShareRow {
    pub(crate) card_point: Point,
    pub(crate) site_point: Point,
    pub(crate) sealed: Vec<u8>,
}

/// Whether a key is the one that is kept of a site for a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyKept {
    Same,
    Another,
    None,
}

impl Store {
    pub(crate) async fn grant_keys(&self, grant: &Id) -> Result<BTreeMap<Id, Point>> {
        let rows = sqlx::query("SELECT site, key FROM grant_key WHERE grant_id = $1")
            .bind(bytes(grant))
            .fetch_all(&self.0)
            .await?;
        rows.iter().map(|row| Ok((id(row, "site")?, point(row, "key")?))).collect()
    }

    /// The site's key for the grant: the one given, or the one that was given first. The same key may be signed anew.
    pub(crate) async fn keep_grant_key(
        &self,
        grant: &Id,
        site: &Id,
        key: &Point,
        statement: &Envelope,
    ) -> Result<Point> {
        let mut transaction = self.write().await?;
        sqlx::query(
            "INSERT INTO grant_key (grant_id, site, key, statement) VALUES ($1, $2, $3, $4)
             ON CONFLICT (grant_id, site) DO UPDATE SET statement = excluded.statement WHERE grant_key.key = excluded.key",
        )
        .bind(bytes(grant))
        .bind(bytes(site))
        .bind(key.to_compressed().as_slice())
        .bind(serde_json::to_string(statement)?)
        .execute(&mut *transaction)
        .await?;
        let row = sqlx::query("SELECT key FROM grant_key WHERE grant_id = $1 AND site = $2")
            .bind(bytes(grant))
            .bind(bytes(site))
            .fetch_one(&mut *transaction)
            .await?;
        transaction.commit().await?;
        point(&row, "key")
    }

    /// The key of a site that has not, or no more, the share of a grant that is issued: it takes the place of an older
    /// one, and what was wrapped to that goes, with the word that the share is there.
    pub(crate) async fn keep_later_key(
        &self,
        grant: &Id,
        site: &Id,
        key: &Point,
        statement: &Envelope,
    ) -> Result<()> {
        let key = key.to_compressed();
        let mut transaction = self.write().await?;
        sqlx::query(
            "DELETE FROM wrap WHERE grant_id = $1 AND site = $2
             AND EXISTS (SELECT 1 FROM grant_key WHERE grant_id = $1 AND site = $2 AND key <> $3)",
        )
        .bind(bytes(grant))
        .bind(bytes(site))
        .bind(key.as_slice())
        .execute(&mut *transaction)
        .await?;
        for sql in [
            "DELETE FROM acknowledgement WHERE grant_id = $1 AND site = $2",
            "DELETE FROM refused_wrap WHERE grant_id = $1 AND site = $2",
        ] {
            sqlx::query(sql).bind(bytes(grant)).bind(bytes(site)).execute(&mut *transaction).await?;
        }
        sqlx::query(
            "INSERT INTO grant_key (grant_id, site, key, statement) VALUES ($1, $2, $3, $4)
             ON CONFLICT (grant_id, site) DO UPDATE SET key = excluded.key, statement = excluded.statement",
        )
        .bind(bytes(grant))
        .bind(bytes(site))
        .bind(key.as_slice())
        .bind(serde_json::to_string(statement)?)
        .execute(&mut *transaction)
        .await?;
        Ok(transaction.commit().await?)
    }

    /// Grants, other sites, and their signed keys, for which nothing is wrapped and nothing acknowledged, and which `by`
    /// could wrap, if the ledger agrees: it has the share, and what it wrapped was not refused. So many of them at most, by
    /// grant and site, those that follow `after`.
    pub(crate) async fn keys_that_wait(
        &self,
        by: &Id,
        after: (Id, Id),
        most: u32,
    ) -> Result<Vec<(Id, Id, Envelope)>> {
        let rows = sqlx::query(
            "SELECT k.grant_id, k.site, k.statement FROM grant_key k
             JOIN acknowledgement own ON own.grant_id = k.grant_id AND own.site = $1
             WHERE k.site <> $1
             AND NOT EXISTS (SELECT 1 FROM acknowledgement a WHERE a.grant_id = k.grant_id AND a.site = k.site)
             AND NOT EXISTS (SELECT 1 FROM wrap w WHERE w.grant_id = k.grant_id AND w.site = k.site)
             AND NOT EXISTS (SELECT 1 FROM refused_wrap r
                             WHERE r.grant_id = k.grant_id AND r.site = k.site AND r.by_site = $1)
             AND (k.grant_id, k.site) > ($2, $3)
             ORDER BY k.grant_id, k.site LIMIT $4",
        )
        .bind(bytes(by))
        .bind(bytes(&after.0))
        .bind(bytes(&after.1))
        .bind(i64::from(most))
        .fetch_all(&self.0)
        .await?;
        rows.iter()
            .map(|row| {
                let text: String = row.try_get("statement")?;
                let statement =
                    serde_json::from_str(&text).map_err(|_| AuthorityError::Damaged { what: "grant key" })?;
                Ok((id(row, "grant_id")?, id(row, "site")?, statement))
            })
            .collect()
    }

    /// Keeps what `by` wrapped to that key of `to`, unless something is there already or is not needed any more.
    pub(crate) async fn keep_rewrap(
        &self,
        grant: &Id,
        to: &Id,
        by: &Id,
        key: &Point,
        wrapped: &[u8],
    ) -> Result<KeyKept> {
        let mut transaction = self.write().await?;
        let row = sqlx::query("SELECT key FROM grant_key WHERE grant_id = $1 AND site = $2")
            .bind(bytes(grant))
            .bind(bytes(to))
            .fetch_optional(&mut *transaction)
            .await?;
        match row.map(|row| point(&row, "key")).transpose()? {
            Some(kept) if kept == *key => {}
            Some(_) => return Ok(KeyKept::Another),
            None => return Ok(KeyKept::None),
        }
        sqlx::query(
            "INSERT INTO wrap (grant_id, site, wrapped, by_site) SELECT $1, $2, $3, $4
             WHERE NOT EXISTS (SELECT 1 FROM acknowledgement WHERE grant_id = $1 AND site = $2)
             ON CONFLICT DO NOTHING",
        )
        .bind(bytes(grant))
        .bind(bytes(to))
        .bind(wrapped)
        .bind(bytes(by))
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(KeyKept::Same)
    }

    /// Deletes what another site wrapped and `site` found to be no share; who wrapped it, if there was such a wrap. When
    /// every one of `all` has been refused, all may try again.
    pub(crate) async fn refuse_wrap(&self, grant: &Id, site: &Id, all: &BTreeSet<Id>) -> Result<Option<Id>> {
        let mut transaction = self.write().await?;
        let row = sqlx::query(
            "DELETE FROM wrap WHERE grant_id = $1 AND site = $2 AND by_site IS NOT NULL RETURNING by_site",
        )
        .bind(bytes(grant))
        .bind(bytes(site))
        .fetch_optional(&mut *transaction)
        .await?;
        let Some(by) = row.map(|row| id(&row, "by_site")).transpose()? else { return Ok(None) };
        sqlx::query(
            "INSERT INTO refused_wrap (grant_id, site, by_site) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        )
        .bind(bytes(grant))
        .bind(bytes(site))
        .bind(bytes(&by))
        .execute(&mut *transaction)
        .await?;
        let refused = sqlx::query("SELECT by_site FROM refused_wrap WHERE grant_id = $1 AND site = $2")
            .bind(bytes(grant))
            .bind(bytes(site))
            .fetch_all(&mut *transaction)
            .await?;
        let refused: BTreeSet<Id> = refused.iter().map(|row| id(row, "by_site")).collect::<Result<_>>()?;
        if all.is_subset(&refused) {
            sqlx::query("DELETE FROM refused_wrap WHERE grant_id = $1 AND site = $2")
                .bind(bytes(grant))
                .bind(bytes(site))
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(Some(by))
    }

    /// Grants and sites of which a key, a wrap or an acknowledgement is kept.
    pub(crate) async fn grants_and_sites(&self) -> Result<BTreeSet<(Id, Id)>> {
        let rows = sqlx::query(
            "SELECT grant_id, site FROM grant_key UNION SELECT grant_id, site FROM wrap
             UNION SELECT grant_id, site FROM acknowledgement",
        )
        .fetch_all(&self.0)
        .await?;
        rows.iter().map(|row| Ok((id(row, "grant_id")?, id(row, "site")?))).collect()
    }

    /// Deletes what is kept of sites that do not serve these grants any more.
    pub(crate) async fn forget_sites(&self, grants: &BTreeSet<(Id, Id)>) -> Result<()> {
        if grants.is_empty() {
            return Ok(());
        }
        let mut transaction = self.write().await?;
        for (grant, site) in grants {
            for sql in [
                "DELETE FROM wrap WHERE grant_id = $1 AND site = $2",
                "DELETE FROM acknowledgement WHERE grant_id = $1 AND site = $2",
                "DELETE FROM refused_wrap WHERE grant_id = $1 AND site = $2",
                "DELETE FROM grant_key WHERE grant_id = $1 AND site = $2",
            ] {
                sqlx::query(sql).bind(bytes(grant)).bind(bytes(site)).execute(&mut *transaction).await?;
            }
        }
        Ok(transaction.commit().await?)
    }

    /// The grants whose shares a site has acknowledged.
    pub(crate) async fn held_by(&self, site: &Id) -> Result<BTreeSet<Id>> {
        self.grants("SELECT grant_id FROM acknowledgement WHERE site = $1", site).await
    }

    /// The grants of which a wrap lies ready for a site.
    pub(crate) async fn wrapped_for(&self, site: &Id) -> Result<BTreeSet<Id>> {
        self.grants("SELECT grant_id FROM wrap WHERE site = $1", site).await
    }

    async fn grants(&self, sql: &'static str, site: &Id) -> Result<BTreeSet<Id>> {
        let rows = sqlx::query(sql).bind(bytes(site)).fetch_all(&self.0).await?;
        rows.iter().map(|row| id(row, "grant_id")).collect()
    }

    /// Puts shares and wraps of a grant in the place of those that may be there.
    pub(crate) async fn keep_share(
        &self,
        grant: &Id,
        share: &CardShareRow,
        wraps: &BTreeMap<Id, Vec<u8>>,
    ) -> Result<()> {
        let mut transaction = self.write().await?;
        sqlx::query("DELETE FROM wrap WHERE grant_id = $1")
            .bind(bytes(grant))
            .execute(&mut *transaction)
            .await?;
        sqlx::query(
            "INSERT INTO card_share (grant_id, card_point, site_point, sealed) VALUES ($1, $2, $3, $4)
             ON CONFLICT (grant_id) DO UPDATE
             SET card_point = excluded.card_point, site_point = excluded.site_point, sealed = excluded.sealed",
        )
        .bind(bytes(grant))
        .bind(share.card_point.to_compressed().as_slice())
        .bind(share.site_point.to_compressed().as_slice())
        .bind(&share.sealed)
        .execute(&mut *transaction)
        .await?;
        for (site, wrapped) in wraps {
            sqlx::query("INSERT INTO wrap (grant_id, site, wrapped) VALUES ($1, $2, $3)")
                .bind(bytes(grant))
                .bind(bytes(site))
                .bind(wrapped)
                .execute(&mut *transaction)
                .await?;
        }
        Ok(transaction.commit().await?)
    }

    pub(crate) async fn card_share(&self, grant: &Id) -> Result<Option<CardShareRow>> {
        card_share(&self.0, grant).await
    }

    pub(crate) async fn forget_card_share(&self, grant: &Id) -> Result<()> {
        sqlx::query("DELETE FROM card_share WHERE grant_id = $1").bind(bytes(grant)).execute(&self.0).await?;
        Ok(())
    }

    pub(crate) async fn wrap(&self, grant: &Id, site: &Id) -> Result<Option<Vec<u8>>> {
        let row = sqlx::query("SELECT wrapped FROM wrap WHERE grant_id = $1 AND site = $2")
            .bind(bytes(grant))
            .bind(bytes(site))
            .fetch_optional(&self.0)
            .await?;
        row.map(|row| Ok(row.try_get("wrapped")?)).transpose()
    }

    pub(crate) async fn acknowledge(&self, grant: &Id, site: &Id) -> Result<()> {
        let mut transaction = self.write().await?;
        sqlx::query("INSERT INTO acknowledgement (grant_id, site) VALUES ($1, $2) ON CONFLICT DO NOTHING")
            .bind(bytes(grant))
            .bind(bytes(site))
            .execute(&mut *transaction)
            .await?;
        sqlx::query("DELETE FROM wrap WHERE grant_id = $1 AND site = $2")
            .bind(bytes(grant))
            .bind(bytes(site))
            .execute(&mut *transaction)
            .await?;
        Ok(transaction.commit().await?)
    }

    pub(crate) async fn acknowledged(&self, grant: &Id) -> Result<BTreeSet<Id>> {
        sites(&self.0, "SELECT site FROM acknowledgement WHERE grant_id = $1", grant).await
    }

    /// Grants of which something is kept that a card or a site still waits for.
    pub(crate) async fn grants_under_way(&self) -> Result<BTreeSet<Id>> {
        let rows = sqlx::query(
            "SELECT grant_id FROM wrap UNION SELECT grant_id FROM card_share UNION SELECT grant_id FROM grant_key",
        )
        .fetch_all(&self.0)
        .await?;
        rows.iter().map(|row| id(row, "grant_id")).collect()
    }

    /// Deletes everything of grants that are over.
    pub(crate) async fn forget_grants(&self, grants: &BTreeSet<Id>) -> Result<()> {
        let mut transaction = self.write().await?;
        for grant in grants {
            for sql in [
                "DELETE FROM wrap WHERE grant_id = $1",
                "DELETE FROM card_share WHERE grant_id = $1",
                "DELETE FROM grant_key WHERE grant_id = $1",
                "DELETE FROM acknowledgement WHERE grant_id = $1",
                "DELETE FROM refused_wrap WHERE grant_id = $1",
            ] {
                sqlx::query(sql).bind(bytes(grant)).execute(&mut *transaction).await?;
            }
        }
        Ok(transaction.commit().await?)
    }
}

/// What is kept for a card, as of this transaction.
pub(crate) async fn card_share(database: impl AnyExecutor<'_>, grant: &Id) -> Result<Option<CardShareRow>> {
    let row = sqlx::query("SELECT card_point, site_point, sealed FROM card_share WHERE grant_id = $1")
        .bind(bytes(grant))
        .fetch_optional(database)
        .await?;
    row.map(|row| {
        Ok(CardShareRow {
            card_point: point(&row, "card_point")?,
            site_point: point(&row, "site_point")?,
            sealed: row.try_get("sealed")?,
        })
    })
    .transpose()
}

/// The sites that something is wrapped to, as of this transaction.
pub(crate) async fn wrapped_to(database: impl AnyExecutor<'_>, grant: &Id) -> Result<BTreeSet<Id>> {
    sites(database, "SELECT site FROM wrap WHERE grant_id = $1", grant).await
}

async fn sites(database: impl AnyExecutor<'_>, sql: &'static str, grant: &Id) -> Result<BTreeSet<Id>> {
    let rows = sqlx::query(sql).bind(bytes(grant)).fetch_all(database).await?;
    rows.iter().map(|row| id(row, "site")).collect()
}
