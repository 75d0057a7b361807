//! I3: what came before, what was restored, and what was cut off half-way revives nothing.

use std::collections::BTreeSet;
use std::sync::Arc;

use warifu_api::error::ErrorCode;
use warifu_kms::site::Site;
use warifu_ledger::Digest;
use warifu_ledger::statement::Act;
use warifu_replica::{Replica, Snapshots};

use crate::people::*;
use crate::revocation::{hanako, is_gone, rows};
use crate::stage::test;
use crate::town::Town;

test! {
    async fn replayed_messages_revive_nothing(folder) {
        let mut town = Town::working(folder).await;
        // What was said when the grant was made: its wrapped share.
        let wrapped = town.kms.wrap("hanako", "tax");
        let order = town.kms.done([revoke_grant("hanako", "tax")], ONE);
        let receipt = town.kms.receipt(&order).await;
        let posts = town.kms.data().grant_key_posts;
        town.kms.set(|data| drop(data.wraps.insert(hanako(), wrapped)));
        for _ in 0..2 {
            // Leaves of the same grant once more on the stream, from the beginning and after a restart.
            town.restart().await;
            town.settled().await;
            town.until_fresh().await;
            is_gone(&town, "hanako", "tax", ErrorCode::GrantNotLive).await;
        }
        assert_eq!(town.kms.data().grant_key_posts, posts);
        assert!(town.kms.data().wraps.contains_key(&hanako()), "a replayed share was taken");
        // It may be sent once more, if the first start ended before it heard that it was accepted.
        assert!(town.kms.receipts(&order).iter().all(|again| *again == receipt));
        let envelope = {
            let data = town.kms.data();
            data.leaves.iter().map(|leaf| leaf.envelope().clone()).find(|one| one.digest() == order).unwrap()
        };
        assert_eq!(town.bring(&envelope, None).await, Ok(receipt));
    }
}

test! {
    async fn a_restored_database_revives_nothing_even_if_the_kms_lies(folder) {
        let mut town = Town::working(folder).await;
        town.opens("hanako", "tax").await;
        let copy = town.back_up().await;
        let before = usize::try_from(town.kms.size()).unwrap();
        let wrapped = town.kms.wrap("hanako", "tax");
        let order = town.kms.done([revoke_card("hanako")], ONE);
        town.kms.receipt(&order).await;

        // The operator puts the copy back, and the kms denies that the order was ever given.
        town.kill().await;
        town.restore(&copy);
        town.kms.set(|data| {
            data.shown = Some(before);
            data.wraps.insert(hanako(), wrapped);
        });
        town.start().await;
        town.until_fresh().await;
        assert_eq!(rows(&town, "SELECT count(*) FROM site_share WHERE grant_id = ?", &hanako()).await, 1);
        assert_eq!(town.open("hanako", "tax", "a").await, Err(ErrorCode::NotServedHere));
        town.opens("taro", "team").await;
        // It keeps trying to no avail, the share deleted and offered anew included.
        sqlx::query("DELETE FROM site_share").execute(town.pool()).await.unwrap();
        town.restart().await;
        town.until_fresh().await;
        assert_eq!(town.open("hanako", "tax", "a").await, Err(ErrorCode::NotServedHere));
        assert!(town.kms.data().wraps.contains_key(&hanako()));

        // The truth comes out, and is receipted again.
        town.kms.set(|data| data.shown = None);
        town.kms.until("a second receipt", |data| data.receipts[&order].len() == 2).await;
        is_gone(&town, "hanako", "tax", ErrorCode::CardNotLive).await;
    }
}

test! {
    async fn a_restored_database_answers_for_no_shredded_file_even_if_the_kms_lies(folder) {
        let mut town = Town::working(folder).await;
        let copy = town.back_up().await;
        let before = usize::try_from(town.kms.size()).unwrap();
        let (by_ledger, by_hand) = (file_id("secret"), file_id("other"));
        let order = town.kms.done([Act::FileShredded { file: by_ledger }], TWO);
        town.kms.receipt(&order).await;
        let order = town.kms.order([Act::FileShredded { file: by_hand }], TWO);
        town.bring(&order, None).await.unwrap();

        town.kill().await;
        town.restore(&copy);
        town.kms.set(|data| data.shown = Some(before));
        town.start().await;
        town.until_fresh().await;
        for file in ["secret", "other"] {
            assert_eq!(town.open("hanako", "tax", file).await, Err(ErrorCode::Shredded), "{file}");
        }
        town.opens("hanako", "tax").await;
    }
}

test! {
    async fn a_shredding_is_in_the_token_before_its_receipt(folder) {
        let mut town = Town::working(folder).await;
        let copy = town.back_up().await;
        let (order, file) = (Digest([7; 32]), file_id("secret"));
        // The state of things after the first step: in the database, and not yet in the token.
        for sql in [
            "INSERT INTO site_dead (kind, id, by_order) VALUES ('file', ?1, ?2)",
            "INSERT INTO site_revocation (by_order, destroys) VALUES (?2, substr(?1, 1, 0))",
        ] {
            let query = sqlx::query(sql).bind(file.as_bytes().as_slice()).bind(order.as_bytes().as_slice());
            query.execute(town.pool()).await.unwrap();
        }
        town.restart().await;
        town.kms.receipt(&order).await;
        town.kill().await;
        town.restore(&copy);
        town.start().await;
        town.until_fresh().await;
        assert_eq!(town.open("hanako", "tax", "secret").await, Err(ErrorCode::Shredded));
    }
}

test! {
    async fn a_restored_database_still_knows_less_than_the_hsm(folder) {
        let mut town = Town::working(folder).await;
        // As it was before the grant's key pair was made.
        let copy = town.back_up().await;
        let before = usize::try_from(town.kms.size()).unwrap();
        town.kms.done([grant("jiro", "tax")], ONE);
        town.give("jiro", "tax", &["main"]).await;
        town.settled().await;
        let order = town.kms.done([revoke_card("jiro"), revoke_card("hanako")], ONE);
        town.kms.receipt(&order).await;
        town.kill().await;
        town.restore(&copy);
        town.start().await;
        town.kms.until("a second receipt", |data| data.receipts[&order].len() == 2).await;
        town.until_fresh().await;
        assert!(before < town.kms.data().leaves.len());
        is_gone(&town, "jiro", "tax", ErrorCode::CardNotLive).await;
        is_gone(&town, "hanako", "tax", ErrorCode::CardNotLive).await;
    }
}

test! {
    async fn what_a_crash_interrupts_is_finished_at_the_next_start(folder) {
        let mut town = Town::working(folder).await;
        let order = Digest([7; 32]);
        // The state of things after the first step: marked, and the key pair not yet destroyed.
        for sql in [
            "INSERT INTO site_dead (kind, id, by_order) VALUES ('grant', ?1, ?2)",
            "INSERT INTO site_revocation (by_order, destroys) VALUES (?2, ?1)",
        ] {
            sqlx::query(sql)
                .bind(hanako().as_bytes().as_slice())
                .bind(order.as_bytes().as_slice())
                .execute(town.pool())
                .await
                .unwrap();
        }
        assert!(town.key_pairs().contains(&hanako()));
        town.restart().await;
        is_gone(&town, "hanako", "tax", ErrorCode::GrantNotLive).await;
        let receipt = town.kms.receipt(&order).await;
        assert_eq!(receipt.destroyed, BTreeSet::from([hanako()]));
        town.until_fresh().await;
        town.opens("taro", "team").await;
    }
}

test! {
    async fn a_process_killed_after_its_receipt_never_answers_again(folder) {
        let mut town = Town::working(folder).await;
        town.kill().await;
        let mut process = town.start_process();
        town.until_fresh().await;
        town.opens("hanako", "tax").await;
        let order = town.kms.order([revoke_card("hanako")], ONE);
        let receipt = town.bring(&order, None).await.unwrap();
        assert_eq!(receipt.destroyed, BTreeSet::from([hanako()]));
        for _ in 0..2 {
            drop(process);
            process = town.start_process();
            let early = town.open("hanako", "tax", "a").await;
            assert!(early.is_err(), "answered after the receipt");
            town.until_fresh().await;
            assert_eq!(town.open("hanako", "tax", "a").await, Err(ErrorCode::CardNotLive));
            town.opens("taro", "team").await;
            assert_eq!(town.bring(&order, None).await, Ok(receipt.clone()));
        }
    }
}

/// Keeps a snapshot of the ledger of a site that does not run, signed with the key of this label in its token.
async fn keep_snapshot(town: &Town, label: &str) {
    let pool = Site::database(&town.config.database()).await.unwrap();
    let key = Arc::new(town.config.hsm.open().unwrap().ensure_signing_key(label).unwrap());
    let snapshots = Snapshots::new(&town.config.data, key).after(u64::MAX, 0);
    let opened = Replica::open_with_snapshots(pool.clone(), town.config.organization, Some(snapshots)).await;
    opened.unwrap().keep_snapshot().await;
    pool.close().await;
}

/// Puts other bytes in the place of a leaf; those that were there.
async fn put_leaf(town: &Town, index: i64, bytes: &[u8]) -> Vec<u8> {
    let pool = Site::database(&town.config.database()).await.unwrap();
    let leaf = sqlx::query_scalar("SELECT bytes FROM ledger_leaf WHERE idx = $1").bind(index);
    let before = leaf.fetch_one(&pool).await.unwrap();
    let put = sqlx::query("UPDATE ledger_leaf SET bytes = $1 WHERE idx = $2").bind(bytes).bind(index);
    put.execute(&pool).await.unwrap();
    pool.close().await;
    before
}

test! {
    async fn a_site_goes_on_from_its_own_snapshot_and_revives_nothing(folder) {
        let mut town = Town::working(folder).await;
        town.kill().await;
        keep_snapshot(&town, "snapshots").await;
        // A start that folded all of the ledger would fail.
        let leaf = put_leaf(&town, 1, b"spoilt").await;
        town.start().await;
        town.until_fresh().await;
        town.opens("hanako", "tax").await;
        // The snapshot is from before.
        let order = town.kms.done([revoke_grant("hanako", "tax")], ONE);
        town.kms.receipt(&order).await;
        town.restart().await;
        town.until_fresh().await;
        is_gone(&town, "hanako", "tax", ErrorCode::GrantNotLive).await;
        // Under another key, it is nobody's.
        town.kill().await;
        put_leaf(&town, 1, &leaf).await;
        std::fs::remove_file(town.config.data.join("ledger.snapshot")).unwrap();
        keep_snapshot(&town, "others").await;
        put_leaf(&town, 1, b"spoilt").await;
        assert!(!town.refused_to_run().is_empty());
    }
}
