//! The audit journal on its way to the kms, and what happens where it is not the one that others know (P-13.2, P-13.4).

use sqlx::Row as _;
use warifu_kms::site::journal::Journal;
use warifu_ledger::Id;
use warifu_ledger::journal::Row;

use crate::people::*;
use crate::stage::test;
use crate::town::Town;

async fn id_of(town: &Town) -> Id {
    Journal::new(town.pool().clone()).id().await.unwrap()
}

/// Waits until the kms has so many rows of each journal, in the order in which they were begun.
async fn delivered(town: &Town, sizes: &[usize]) {
    let has = |data: &crate::kms::Data| {
        data.journals.iter().map(|(_, rows)| rows.len()).collect::<Vec<_>>() == sizes
    };
    town.kms.until("rows of the journal", has).await;
}

fn collected(town: &Town) -> Vec<(Id, Vec<Row>)> {
    town.kms.data().journals.clone()
}

async fn former_rows(town: &Town) -> i64 {
    let row = sqlx::query("SELECT count(*) FROM site_former_journal").fetch_one(town.pool()).await.unwrap();
    row.get(0)
}

test! {
    async fn p_13_2_what_was_answered_comes_to_the_kms_signed_and_over_a_restart(folder) {
        let mut town = Town::working(folder).await;
        town.opens("hanako", "tax").await;
        town.opens("taro", "team").await;
        delivered(&town, &[2]).await;
        let journal = id_of(&town).await;
        assert_eq!(collected(&town), [(journal, town.journal().await)]);
        town.restart().await;
        town.until_fresh().await;
        town.opens("hanako", "tax").await;
        delivered(&town, &[3]).await;
        assert_eq!(collected(&town), [(journal, town.journal().await)]);
        // A kms that was restored from a backup has fewer rows than it had.
        town.kms.set(|data| {
            data.journals.clear();
            data.heads.clear();
        });
        town.opens("hanako", "tax").await;
        delivered(&town, &[4]).await;
        assert_eq!(collected(&town), [(journal, town.journal().await)]);
    }
}

test! {
    async fn p_13_4_a_database_from_before_what_the_kms_has_begins_another_journal(folder) {
        let mut town = Town::working(folder).await;
        town.opens("hanako", "tax").await;
        let copy = town.back_up().await.with_extension("first");
        std::fs::rename(town.back_up().await, &copy).unwrap();
        let journal = id_of(&town).await;
        town.opens("hanako", "tax").await;
        delivered(&town, &[2]).await;
        let whole = town.back_up().await;
        town.kill().await;
        town.restore(&copy);
        town.start().await;
        town.until_fresh().await;
        town.opens("hanako", "tax").await;
        delivered(&town, &[2, 1]).await;
        assert_ne!(id_of(&town).await, journal, "the journal went on as if nothing had been lost");
        assert_eq!((town.journal().await.len(), former_rows(&town).await), (1, 1));
        // A copy that has all of the first journal: it knows nothing of the one that was begun since.
        town.kill().await;
        town.restore(&whole);
        town.start().await;
        town.until_fresh().await;
        town.opens("hanako", "tax").await;
        delivered(&town, &[2, 1, 1]).await;
    }
}

test! {
    async fn p_13_4_a_database_from_before_what_the_ledger_has_begins_another_journal(folder) {
        let mut town = Town::working(folder).await;
        let copy = town.back_up().await;
        town.opens("hanako", "tax").await;
        delivered(&town, &[1]).await;
        let journal = id_of(&town).await;
        let head = town.kms.data().heads[&journal].clone();
        town.kms.commit(head);
        // The kms itself was restored from a backup: the ledger alone knows.
        town.kms.set(|data| {
            data.journals.clear();
            data.heads.clear();
        });
        town.kill().await;
        town.restore(&copy);
        town.start().await;
        town.until_fresh().await;
        town.opens("hanako", "tax").await;
        assert_ne!(id_of(&town).await, journal);
        delivered(&town, &[1]).await;
    }
}

test! {
    async fn p_13_4_a_row_that_was_changed_where_it_lay_begins_another_journal(folder) {
        let mut town = Town::working(folder).await;
        town.opens("hanako", "tax").await;
        town.opens("hanako", "tax").await;
        delivered(&town, &[2]).await;
        let journal = id_of(&town).await;
        // The last row, hash and all.
        let mut row = town.journal().await.remove(1);
        row.card = card_id("jiro");
        sqlx::query("UPDATE site_journal SET card = ?, hash = ? WHERE idx = 1")
            .bind(row.card.as_bytes().as_slice())
            .bind(row.hash().as_bytes().as_slice())
            .execute(town.pool())
            .await
            .unwrap();
        town.restart().await;
        town.until_fresh().await;
        town.opens("hanako", "tax").await;
        delivered(&town, &[2, 1]).await;
        assert_ne!(id_of(&town).await, journal);
    }
}

test! {
    async fn p_13_4_where_the_kms_finds_rows_broken_another_journal_is_begun(folder) {
        let town = Town::working(folder).await;
        let journal = id_of(&town).await;
        town.kms.set(|data| data.refuse_rows = true);
        town.opens("hanako", "tax").await;
        while id_of(&town).await == journal {
            tokio::task::yield_now().await;
        }
        town.kms.set(|data| data.refuse_rows = false);
        assert_eq!((town.journal().await.len(), former_rows(&town).await), (0, 1));
        town.opens("hanako", "tax").await;
        delivered(&town, &[1]).await;
    }
}

test! {
    async fn the_doctor_names_the_row_that_was_changed(folder) {
        let town = Town::working(folder).await;
        for _ in 0..3 {
            town.opens("hanako", "tax").await;
        }
        let journal = Journal::new(town.pool().clone());
        assert_eq!(journal.first_broken().await.unwrap(), (3, None));
        let changed = async |sql: &'static str, row: u64| {
            let mut transaction = town.pool().begin().await.unwrap();
            sqlx::query(sql).execute(&mut *transaction).await.unwrap();
            transaction.commit().await.unwrap();
            assert_eq!(journal.first_broken().await.unwrap().1, Some(row), "{sql}");
        };
        changed("UPDATE site_journal SET time_ms = time_ms + 1 WHERE idx = 2", 2).await;
        changed("UPDATE site_journal SET card = randomblob(16) WHERE idx = 1", 1).await;
        changed("UPDATE site_journal SET hash = randomblob(32) WHERE idx = 0", 0).await;
        changed("DELETE FROM site_journal WHERE idx = 0", 0).await;
    }
}
