//! Deliveries: what was offered, which parts of it lie in the folder of the box, and at which units it lies.

use std::collections::BTreeSet;

use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row as _};
use warifu_api::wire::deliveries::{Handling, Offered};
use warifu_ledger::dsse::Envelope;
use warifu_ledger::statement::Millis;
use warifu_ledger::{Digest, Id};

use super::{Result, Store, bytes, id, to_sql, unsigned};
use crate::authority::error::AuthorityError;

const DAMAGED: AuthorityError = AuthorityError::Damaged { what: "delivery" };

/// A delivery as it is first kept.
pub(crate) struct NewDelivery {
    pub(crate) id: Id,
    pub(crate) offered: Offered,
    /// Of what was offered.
    pub(crate) digest: Digest,
    /// The sender's, if somebody signed it.
    pub(crate) organization: Option<Digest>,
    pub(crate) card: Option<Id>,
    pub(crate) units: BTreeSet<Id>,
    pub(crate) size: u64,
    /// SHA-256 of the ciphertext, if it was signed.
    pub(crate) file: Option<Digest>,
    pub(crate) kept_until: Millis,
    pub(crate) expires_at: Millis,
}

/// What a delivery counts for at the least, in bytes: rows and files cost, however little is in them.
pub(crate) const COUNTED: u64 = 1 << 20;

/// How much there is already of what a further delivery has to find room beside. Bytes are counted as [`counted`] says.
pub(crate) struct Held {
    /// Bytes sent from the same organization, or from nobody's.
    pub(crate) from_sender: u64,
    /// Bytes promised to deliveries that are arriving.
    pub(crate) promised: u64,
    /// How many deliveries of the same organization, or of nobody's, are arriving or wait for somebody to look at them.
    pub(crate) unsettled: u64,
    /// How many of the same card are arriving.
    pub(crate) of_card: u64,
    /// For the unit for which most lies here.
    pub(crate) for_unit: HeldFor,
    /// The same, of what is from the same organization, or from nobody's.
    pub(crate) for_unit_from_sender: HeldFor,
}

/// What lies here for a unit.
#[derive(Clone, Copy, Default)]
pub(crate) struct HeldFor {
    pub(crate) bytes: u64,
    /// How many deliveries are arriving for it, or wait there.
    pub(crate) waiting: u64,
}

impl HeldFor {
    fn or_more(self, other: Self) -> Self {
        Self { bytes: self.bytes.max(other.bytes), waiting: self.waiting.max(other.waiting) }
    }
}

/// What a delivery of this size counts for.
pub(crate) fn counted(size: u64) -> u64 {
    size.max(COUNTED)
}

/// How far a delivery has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Arriving { other_file: bool },
    Quarantined { arrived_at: Millis },
    Arrived { arrived_at: Millis },
    Deleted,
}

/// A delivery that is kept.
pub(crate) struct Kept {
    pub(crate) id: Id,
    pub(crate) digest: Digest,
    /// None once the file is deleted.
    pub(crate) offered: Option<Offered>,
    /// Whether a card has signed it.
    pub(crate) is_signed: bool,
    pub(crate) size: u64,
    /// SHA-256 of the ciphertext; none of what nobody signed, until it is complete.
    pub(crate) file: Option<Digest>,
    pub(crate) stage: Stage,
    /// When it was complete, if it ever was.
    pub(crate) arrived_at: Option<Millis>,
    /// What was signed last of it, for who sent it.
    pub(crate) received: Option<Envelope>,
    /// When the file is deleted; once it is, since when it was.
    pub(crate) kept_until: Millis,
    pub(crate) expires_at: Millis,
}

/// Where a delivery lies.
pub(crate) struct Place {
    pub(crate) place: u64,
    pub(crate) delivery: Id,
    pub(crate) unit: Id,
    pub(crate) addressee: Id,
    pub(crate) passed_by: Option<Id>,
    pub(crate) handling: Handling,
    pub(crate) card: Option<Id>,
}

impl Store {
    /// The delivery of this id.
    pub(crate) async fn delivery(&self, delivery: &Id) -> Result<Option<Kept>> {
        let row = sqlx::query("SELECT * FROM delivery WHERE id = $1")
            .bind(bytes(delivery))
            .fetch_optional(&self.0)
            .await?;
        row.as_ref().map(kept).transpose()
    }

    /// Keeps a delivery whose parts are to come. One of this id that is there already stays as it is, and is returned.
    pub(crate) async fn begin_delivery(&self, new: &NewDelivery, now: Millis) -> Result<Option<Kept>> {
        let mut transaction = self.write().await?;
        let row = sqlx::query("SELECT * FROM delivery WHERE id = $1")
            .bind(bytes(&new.id))
            .fetch_optional(&mut *transaction)
            .await?;
        if let Some(row) = row {
            return kept(&row).map(Some);
        }
        sqlx::query(
            "INSERT INTO delivery
             (id, digest, offered, organization, card, size, file, offered_at, state, kept_until, expires_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'arriving', $9, $10)",
        )
        .bind(bytes(&new.id))
        .bind(new.digest.as_bytes().as_slice())
        .bind(serde_json::to_string(&new.offered)?)
        .bind(new.organization.as_ref().map(|organization| organization.as_bytes().as_slice()))
        .bind(new.card.as_ref().map(bytes))
        .bind(to_sql(new.size))
        .bind(new.file.as_ref().map(|file| file.as_bytes().as_slice()))
        .bind(to_sql(now))
        .bind(to_sql(new.kept_until))
        .bind(to_sql(new.expires_at))
        .execute(&mut *transaction)
        .await?;
        for unit in &new.units {
            sqlx::query("INSERT INTO delivery_unit (delivery, unit) VALUES ($1, $2)")
                .bind(bytes(&new.id))
                .bind(bytes(unit))
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(None)
    }

    /// The units that it is for.
    pub(crate) async fn delivery_units(&self, delivery: &Id) -> Result<BTreeSet<Id>> {
        let rows = sqlx::query("SELECT unit FROM delivery_unit WHERE delivery = $1")
            .bind(bytes(delivery))
            .fetch_all(&self.0)
            .await?;
        rows.iter().map(|row| id(row, "unit")).collect()
    }

    /// The parts that lie in the folder.
    pub(crate) async fn parts(&self, delivery: &Id) -> Result<BTreeSet<u64>> {
        let rows = sqlx::query("SELECT part FROM delivery_part WHERE delivery = $1")
            .bind(bytes(delivery))
            .fetch_all(&self.0)
            .await?;
        rows.iter().map(|row| unsigned(row, "part")).collect()
    }

    /// A part lies in the folder, of a delivery that is still arriving.
    pub(crate) async fn keep_part(&self, delivery: &Id, part: u64) -> Result<()> {
        sqlx::query(
            "INSERT INTO delivery_part (delivery, part) SELECT id, $2 FROM delivery
             WHERE id = $1 AND state = 'arriving' ON CONFLICT DO NOTHING",
        )
        .bind(bytes(delivery))
        .bind(to_sql(part))
        .execute(&self.0)
        .await?;
        Ok(())
    }

    /// What came is not the file that was offered: none of its parts counts.
    pub(crate) async fn throw_away_parts(&self, delivery: &Id) -> Result<()> {
        let mut transaction = self.write().await?;
        sqlx::query("DELETE FROM delivery_part WHERE delivery = $1")
            .bind(bytes(delivery))
            .execute(&mut *transaction)
            .await?;
        sqlx::query("UPDATE delivery SET other_file = 1 WHERE id = $1 AND state = 'arriving'")
            .bind(bytes(delivery))
            .execute(&mut *transaction)
            .await?;
        Ok(transaction.commit().await?)
    }

    /// The file of this digest is here, whole, and lies at the units that it is for: what nobody signed until somebody has looked
    /// at it. Once more changes nothing.
    pub(crate) async fn delivery_arrived(&self, delivery: &Id, file: &Digest, now: Millis) -> Result<()> {
        let mut transaction = self.write().await?;
        let moved = sqlx::query(
            "UPDATE delivery SET state = CASE WHEN organization IS NULL THEN 'quarantined' ELSE 'arrived' END,
             file = $2, arrived_at = $3 WHERE id = $1 AND state = 'arriving'",
        )
        .bind(bytes(delivery))
        .bind(file.as_bytes().as_slice())
        .bind(to_sql(now))
        .execute(&mut *transaction)
        .await?;
        if moved.rows_affected() == 1 {
            sqlx::query(
                "INSERT INTO delivery_place (delivery, unit, addressee, handling)
                 SELECT delivery, unit, unit, 'waiting' FROM delivery_unit WHERE delivery = $1 ORDER BY unit",
            )
            .bind(bytes(delivery))
            .execute(&mut *transaction)
            .await?;
        }
        Ok(transaction.commit().await?)
    }

    /// Keeps what was signed of it, in the place of what was before.
    pub(crate) async fn keep_received(&self, delivery: &Id, received: &Envelope) -> Result<()> {
        sqlx::query("UPDATE delivery SET received = $2 WHERE id = $1")
            .bind(bytes(delivery))
            .bind(serde_json::to_string(received)?)
            .execute(&self.0)
            .await?;
        Ok(())
    }

    /// Somebody has looked at it.
    pub(crate) async fn delivery_admitted(&self, delivery: &Id) -> Result<()> {
        sqlx::query("UPDATE delivery SET state = 'arrived' WHERE id = $1 AND state = 'quarantined'")
            .bind(bytes(delivery))
            .execute(&self.0)
            .await?;
        Ok(())
    }

    /// Where it lies.
    pub(crate) async fn places(&self, delivery: &Id) -> Result<Vec<Place>> {
        let rows = sqlx::query("SELECT * FROM delivery_place WHERE delivery = $1 ORDER BY place")
            .bind(bytes(delivery))
            .fetch_all(&self.0)
            .await?;
        rows.iter().map(place).collect()
    }

    /// Up to `limit` of what lies at a unit, after a place, in the order in which it came.
    pub(crate) async fn places_at(&self, unit: &Id, after: u64, limit: usize) -> Result<Vec<Place>> {
        let rows = sqlx::query(
            "SELECT p.* FROM delivery_place p JOIN delivery d ON d.id = p.delivery
             WHERE p.unit = $1 AND p.place > $2 AND d.state <> 'deleted' ORDER BY p.place LIMIT $3",
        )
        .bind(bytes(unit))
        .bind(to_sql(after))
        .bind(to_sql(limit as u64))
        .fetch_all(&self.0)
        .await?;
        rows.iter().map(place).collect()
    }

    /// What a unit does with what lies there, if it has not done anything yet. Whether it had not. Once every unit has taken it or given
    /// it back, it is kept until `then` at the latest.
    pub(crate) async fn handle_delivery(
        &self,
        (delivery, unit): (&Id, &Id),
        card: &Id,
        handling: &Handling,
        then: Millis,
    ) -> Result<bool> {
        let (name, at, reason) = match handling {
            Handling::Waiting | Handling::PassedOn { .. } => return Ok(false),
            Handling::Accepted { at } => ("accepted", at, None),
            Handling::Returned { at, reason } => ("returned", at, Some(reason)),
        };
        let mut transaction = self.write().await?;
        let handled = sqlx::query(
            "UPDATE delivery_place SET handling = $3, at = $4, reason = $5, card = $6
             WHERE delivery = $1 AND unit = $2 AND handling = 'waiting'",
        )
        .bind(bytes(delivery))
        .bind(bytes(unit))
        .bind(name)
        .bind(to_sql(*at))
        .bind(reason)
        .bind(bytes(card))
        .execute(&mut *transaction)
        .await?;
        sqlx::query(
            "UPDATE delivery SET kept_until = $2 WHERE id = $1 AND kept_until > $2 AND NOT EXISTS
             (SELECT 1 FROM delivery_place WHERE delivery = $1 AND handling = 'waiting')",
        )
        .bind(bytes(delivery))
        .bind(to_sql(then))
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(handled.rows_affected() == 1)
    }

    /// What lies at `from` was passed on, and lies at `to` as well, for `keep_ms` from now on at the least, unless it is over before.
    /// Whether it was: not if the unit has taken it or given it back.
    pub(crate) async fn pass_on_delivery(
        &self,
        from: &Place,
        to: &Id,
        card: &Id,
        now: Millis,
        keep_ms: u64,
    ) -> Result<bool> {
        let mut transaction = self.write().await?;
        let passed = sqlx::query(
            "UPDATE delivery_place SET handling = 'passed-on', at = $2, to_unit = $3, card = $4
             WHERE place = $1 AND handling IN ('waiting', 'passed-on')",
        )
        .bind(to_sql(from.place))
        .bind(to_sql(now))
        .bind(bytes(to))
        .bind(bytes(card))
        .execute(&mut *transaction)
        .await?;
        if passed.rows_affected() != 1 {
            return Ok(false);
        }
        sqlx::query(
            "INSERT INTO delivery_place (delivery, unit, addressee, passed_by, handling)
             VALUES ($1, $2, $3, $4, 'waiting') ON CONFLICT (delivery, unit) DO NOTHING",
        )
        .bind(bytes(&from.delivery))
        .bind(bytes(to))
        .bind(bytes(&from.addressee))
        .bind(bytes(&from.unit))
        .execute(&mut *transaction)
        .await?;
        sqlx::query(
            "UPDATE delivery SET kept_until = CASE WHEN expires_at < $2 THEN expires_at ELSE $2 END
             WHERE id = $1 AND state = 'arrived' AND kept_until < $2",
        )
        .bind(bytes(&from.delivery))
        .bind(to_sql(now.saturating_add(keep_ms)))
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// Says of what is over at `now`, or was not complete by then though it was offered before the first of `unfinished` (the second, if
    /// nobody signed it), that it is deleted; erases what was said of it, and forgets what nobody may bring again. How many were deleted.
    pub(crate) async fn end_deliveries(
        &self,
        now: Millis,
        (unfinished, unfinished_outside): (Millis, Millis),
    ) -> Result<u64> {
        // No value comes into the text.
        let over = "state <> 'deleted' AND (kept_until <= $1 OR (state = 'arriving'
             AND offered_at <= CASE WHEN organization IS NULL THEN $3 ELSE $2 END))";
        let parts =
            format!("DELETE FROM delivery_part WHERE delivery IN (SELECT id FROM delivery WHERE {over})");
        let ended =
            format!("UPDATE delivery SET state = 'deleted', offered = NULL, kept_until = $1 WHERE {over}");
        // Whoever appends waits for nobody who has nothing to write.
        let any = format!(
            "SELECT CASE WHEN EXISTS (SELECT 1 FROM delivery WHERE {over})
             OR EXISTS (SELECT 1 FROM delivery WHERE state = 'deleted' AND expires_at <= $1) THEN 1 ELSE 0 END AS any_over"
        );
        let row = sqlx::query(AssertSqlSafe(any))
            .bind(to_sql(now))
            .bind(to_sql(unfinished))
            .bind(to_sql(unfinished_outside))
            .fetch_one(&self.0)
            .await?;
        if row.try_get::<i64, _>("any_over")? == 0 {
            return Ok(0);
        }
        let mut transaction = self.write().await?;
        sqlx::query(AssertSqlSafe(parts))
            .bind(to_sql(now))
            .bind(to_sql(unfinished))
            .bind(to_sql(unfinished_outside))
            .execute(&mut *transaction)
            .await?;
        let ended = sqlx::query(AssertSqlSafe(ended))
            .bind(to_sql(now))
            .bind(to_sql(unfinished))
            .bind(to_sql(unfinished_outside))
            .execute(&mut *transaction)
            .await?;
        sqlx::query("DELETE FROM delivery WHERE state = 'deleted' AND expires_at <= $1")
            .bind(to_sql(now))
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(ended.rows_affected())
    }

    /// What there is beside which this one has to find room. Read without the ledger's lock: what strangers offer keeps no order waiting.
    pub(crate) async fn held(&self, new: &NewDelivery) -> Result<Held> {
        let organization = new.organization.as_ref().map(|organization| organization.as_bytes().as_slice());
        let from =
            if organization.is_some() { "organization = $1" } else { "organization IS NULL AND $1 IS NULL" };
        let sum = format!(
            "COALESCE(CAST(SUM(CASE WHEN size < {COUNTED} THEN {COUNTED} ELSE size END) AS BIGINT), 0)"
        );
        let of_sender = format!(
            "SELECT {sum} AS bytes, COUNT(CASE WHEN state = 'arriving' OR (state = 'quarantined' AND EXISTS
              (SELECT 1 FROM delivery_place p WHERE p.delivery = delivery.id AND p.handling = 'waiting')) THEN 1 END) AS unsettled
             FROM delivery WHERE state <> 'deleted' AND {from}"
        );
        let sender = sqlx::query(AssertSqlSafe(of_sender)).bind(organization).fetch_one(&self.0).await?;
        let card = new.card.as_ref().map(bytes);
        let arriving = format!(
            "SELECT {sum} AS bytes, COUNT(CASE WHEN card = $1 THEN 1 END) AS of_card FROM delivery WHERE state = 'arriving'"
        );
        let arriving = sqlx::query(AssertSqlSafe(arriving)).bind(card).fetch_one(&self.0).await?;
        let (mut for_unit, mut for_unit_from_sender) = (HeldFor::default(), HeldFor::default());
        for unit in &new.units {
            let lying = |from: &str| {
                format!(
                    "SELECT {sum} AS bytes, COUNT(CASE WHEN d.state = 'arriving' OR EXISTS (SELECT 1 FROM delivery_place p
                      WHERE p.delivery = d.id AND p.unit = $2 AND p.handling = 'waiting') THEN 1 END) AS waiting
                     FROM delivery d JOIN delivery_unit u ON u.delivery = d.id
                     WHERE u.unit = $2 AND d.state <> 'deleted' AND {from}"
                )
            };
            let anybodys = self.held_for(lying("COALESCE($1, d.id) IS NOT NULL"), organization, unit).await?;
            let senders = self.held_for(lying(from), organization, unit).await?;
            for_unit = anybodys.or_more(for_unit);
            for_unit_from_sender = senders.or_more(for_unit_from_sender);
        }
        Ok(Held {
            from_sender: unsigned(&sender, "bytes")?,
            unsettled: unsigned(&sender, "unsettled")?,
            promised: unsigned(&arriving, "bytes")?,
            of_card: unsigned(&arriving, "of_card")?,
            for_unit,
            for_unit_from_sender,
        })
    }

    async fn held_for(&self, sql: String, organization: Option<&[u8]>, unit: &Id) -> Result<HeldFor> {
        let query = sqlx::query(AssertSqlSafe(sql)).bind(organization).bind(bytes(unit));
        let row = query.fetch_one(&self.0).await?;
        Ok(HeldFor { bytes: unsigned(&row, "bytes")?, waiting: unsigned(&row, "waiting")? })
    }

    /// The deliveries whose files are kept, or are to come.
    pub(crate) async fn kept_deliveries(&self) -> Result<BTreeSet<Id>> {
        let rows = sqlx::query("SELECT id FROM delivery WHERE state <> 'deleted'").fetch_all(&self.0).await?;
        rows.iter().map(|row| id(row, "id")).collect()
    }

    /// Bytes that are kept or promised, and deliveries that nobody of their units has done anything with.
    pub(crate) async fn box_figures(&self) -> Result<(u64, u64)> {
        let row = sqlx::query(
            "SELECT (SELECT COALESCE(CAST(SUM(size) AS BIGINT), 0) FROM delivery WHERE state <> 'deleted') AS bytes,
             (SELECT COUNT(*) FROM delivery_place p JOIN delivery d ON d.id = p.delivery
              WHERE p.handling = 'waiting' AND d.state <> 'deleted') AS waiting",
        )
        .fetch_one(&self.0)
        .await?;
        Ok((unsigned(&row, "bytes")?, unsigned(&row, "waiting")?))
    }
}

fn kept(row: &AnyRow) -> Result<Kept> {
    let offered: Option<String> = row.try_get("offered")?;
    let offered = offered.map(|text| serde_json::from_str(&text).map_err(|_| DAMAGED)).transpose()?;
    let file: Option<Vec<u8>> = row.try_get("file")?;
    let received: Option<String> = row.try_get("received")?;
    let received = received.map(|text| serde_json::from_str(&text).map_err(|_| DAMAGED)).transpose()?;
    let organization: Option<Vec<u8>> = row.try_get("organization")?;
    let arrived_at: Option<i64> = row.try_get("arrived_at")?;
    let arrived_at = arrived_at.map(i64::unsigned_abs);
    let state: String = row.try_get("state")?;
    let stage = match state.as_str() {
        "arriving" => Stage::Arriving { other_file: unsigned(row, "other_file")? != 0 },
        "quarantined" => Stage::Quarantined { arrived_at: arrived_at.ok_or(DAMAGED)? },
        "arrived" => Stage::Arrived { arrived_at: arrived_at.ok_or(DAMAGED)? },
        "deleted" => Stage::Deleted,
        _ => return Err(DAMAGED),
    };
    Ok(Kept {
        id: id(row, "id")?,
        digest: digest(row, "digest")?,
        offered,
        is_signed: organization.is_some(),
        size: unsigned(row, "size")?,
        file: file.map(|bytes| bytes.try_into().map(Digest).map_err(|_| DAMAGED)).transpose()?,
        stage,
        arrived_at,
        received,
        kept_until: unsigned(row, "kept_until")?,
        expires_at: unsigned(row, "expires_at")?,
    })
}

fn place(row: &AnyRow) -> Result<Place> {
    let handling: String = row.try_get("handling")?;
    let at = || unsigned(row, "at");
    let handling = match handling.as_str() {
        "waiting" => Handling::Waiting,
        "accepted" => Handling::Accepted { at: at()? },
        "returned" => Handling::Returned { at: at()?, reason: row.try_get("reason")? },
        "passed-on" => Handling::PassedOn { at: at()?, to: id(row, "to_unit")? },
        _ => return Err(DAMAGED),
    };
    Ok(Place {
        place: unsigned(row, "place")?,
        delivery: id(row, "delivery")?,
        unit: id(row, "unit")?,
        addressee: id(row, "addressee")?,
        passed_by: optional_id(row, "passed_by")?,
        handling,
        card: optional_id(row, "card")?,
    })
}

fn optional_id(row: &AnyRow, column: &str) -> Result<Option<Id>> {
    let bytes: Option<Vec<u8>> = row.try_get(column)?;
    bytes.map(|bytes| bytes.try_into().map(Id).map_err(|_| DAMAGED)).transpose()
}

fn digest(row: &AnyRow, column: &str) -> Result<Digest> {
    let bytes: Vec<u8> = row.try_get(column)?;
    bytes.try_into().map(Digest).map_err(|_| DAMAGED)
}
