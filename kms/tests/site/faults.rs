//! An HSM that goes away, and a disk that is full: nothing leaves that must not, and the site goes on by itself when the
//! part is there again.

use std::fs;

use warifu_api::ErrorCode;
use warifu_api::wire::site::RevocationRequest;
use warifu_broken_parts::disk::Full;
use warifu_broken_parts::{Call, Place, PullableHsm};
use warifu_ledger::Id;
use warifu_ledger::dsse::Envelope;
use warifu_ledger::statement::Receipt;

use crate::people::*;
use crate::revocation::forked;
use crate::stage::test;
use crate::town::{Town, ask, code};

const PULLABLE: Place = Place { pullable: true, disk_kib: None };
const SMALL_DISK: Place = Place { pullable: false, disk_kib: Some(4096) };

fn item(card: &str, unit: &str, label: &str) -> [(Id, Vec<u8>); 1] {
    [(grant_id(card, unit), file(label).to_uncompressed().to_vec())]
}

async fn receipts(town: &Town) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM site_revocation WHERE receipt IS NOT NULL")
        .fetch_one(town.pool())
        .await
        .unwrap()
}

test! {
    in PULLABLE;
    async fn without_its_hsm_a_site_refuses_and_goes_on_when_it_is_back(folder) {
        let hsm = PullableHsm::build(&folder).unwrap();
        let town = Town::working(folder).await;
        let (card, asked) = (town.card("hanako"), item("hanako", "tax", "a"));
        assert!(ask(&card, &asked).await.unwrap()[0].is_ok());
        let refused = Ok(vec![Err(ErrorCode::HsmUnavailable)]);
        let logins = hsm.logins();

        // It goes away when the site has begun to compute, and stays away.
        hsm.pull_at(Call::DeriveKey).unwrap();
        for _ in 0..3 {
            assert_eq!(ask(&card, &asked).await, refused);
        }
        assert!(hsm.is_pulled());
        assert_eq!(hsm.logins(), logins, "a PIN was shown to nobody");
        // Whoever comes anew finds no site here, and asks another one.
        assert!(town.card("taro").get::<warifu_api::wire::site::Me>("/v1/me").await.unwrap_err().code().is_none());

        hsm.put_back().unwrap();
        assert!(ask(&card, &asked).await.unwrap()[0].is_ok());
        town.opens("taro", "team").await;
        assert_eq!(hsm.logins(), logins + 1, "one login for all sessions");
        // Each question has its record, answered or not.
        assert_eq!(town.journal().await.len(), 6);
    }
}

test! {
    in PULLABLE;
    async fn no_receipt_is_signed_while_a_key_pair_could_not_be_destroyed(folder) {
        let hsm = PullableHsm::build(&folder).unwrap();
        let mut town = Town::working(folder).await;
        let bringer = town.stranger();
        let card = town.card("hanako");
        assert!(ask(&card, &item("hanako", "tax", "a")).await.unwrap()[0].is_ok());
        let _: warifu_api::wire::site::Status = bringer.get("/v1/status").await.unwrap();

        // By hand, over a connection that is there. An HSM that does all but destroy gets no receipt signed, though it would
        // sign one; nor one that goes away when the key pair is to be destroyed.
        let order = town.kms.order([revoke_grant("hanako", "tax")], ONE);
        let request = RevocationRequest { order: order.clone(), leaves: None };
        let refused = async || code(&bringer.post::<Envelope>("/v1/revocations", &request).await.unwrap_err());
        hsm.refuse(Call::DestroyObject).unwrap();
        assert_eq!(refused().await, ErrorCode::HsmUnavailable);
        hsm.allow().unwrap();
        hsm.pull_at(Call::DestroyObject).unwrap();
        for _ in 0..2 {
            assert_eq!(refused().await, ErrorCode::HsmUnavailable);
        }
        assert!(hsm.is_pulled());
        assert_eq!(receipts(&town).await, 0);
        // What is marked is dead, with or without an HSM.
        let asked = ask(&card, &item("hanako", "tax", "a")).await;
        assert_eq!(asked, Ok(vec![Err(ErrorCode::GrantNotLive)]));

        // The HSM is back: the key pair is still there, and goes before the receipt.
        hsm.put_back().unwrap();
        assert!(town.key_pairs().contains(&grant_id("hanako", "tax")));
        let envelope: Envelope = bringer.post("/v1/revocations", &request).await.unwrap();
        let receipt: Receipt = envelope.verified(&town.keys.signing).unwrap();
        assert_eq!(receipt.destroyed, [grant_id("hanako", "tax")].into());
        assert!(!town.key_pairs().contains(&grant_id("hanako", "tax")));

        // By the ledger: it is done when the HSM is back, and nobody has to do anything.
        hsm.pull_at(Call::DestroyObject).unwrap();
        let order = town.kms.done([end_contract("acme")], ONE);
        while !hsm.is_pulled() {
            tokio::task::yield_now().await;
        }
        assert!(town.kms.receipts(&order).is_empty());
        hsm.put_back().unwrap();
        let receipt = town.kms.receipt(&order).await;
        assert_eq!(receipt.destroyed, [grant_id("taro", "team")].into());
        assert!(town.key_pairs().is_empty());

        // And at the signature: the receipt waits, over a restart too.
        hsm.pull_at(Call::SignInit).unwrap();
        let order = town.kms.done([revoke_member("jiro")], ONE);
        while !hsm.is_pulled() {
            tokio::task::yield_now().await;
        }
        town.kill().await;
        hsm.put_back().unwrap();
        town.start().await;
        town.kms.receipt(&order).await;
    }
}

test! {
    in SMALL_DISK;
    async fn on_a_full_disk_nothing_leaves_and_nothing_is_receipted(folder) {
        let town = Town::working(folder).await;
        let data = town.config.data.clone();
        let (card, other) = (town.card("hanako"), town.card("taro"));
        town.opens("hanako", "tax").await;
        assert!(ask(&other, &item("taro", "team", "a")).await.unwrap()[0].is_ok());
        sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(town.pool()).await.unwrap();
        let full = Full::fill(&data).unwrap();

        // What has room in files that are there already may still be answered; then it ends.
        let mut answered = town.journal().await.len();
        let refused = loop {
            match ask(&card, &item("hanako", "tax", "a")).await {
                Ok(outcomes) => {
                    assert!(outcomes[0].is_ok());
                    answered += 1;
                    assert!(answered < 10_000, "the disk is not full");
                }
                Err(refused) => break refused,
            }
        };
        assert_eq!(refused, ErrorCode::StorageUnavailable);
        assert_eq!(town.journal().await.len(), answered, "one record for each answer, and no answer without");

        // An order by hand: no mark is durable, so no receipt; nothing is answered for it all the same.
        let order = town.kms.order([revoke_grant("hanako", "tax")], ONE);
        assert_eq!(town.bring(&order, None).await, Err(ErrorCode::StorageUnavailable));
        assert_eq!(ask(&card, &item("hanako", "tax", "a")).await, Ok(vec![Err(ErrorCode::GrantNotLive)]));
        assert_eq!(receipts(&town).await, 0);
        // One in the ledger comes nowhere either.
        let by_ledger = town.kms.done([end_contract("acme")], ONE);
        assert_eq!(ask(&other, &item("taro", "team", "a")).await, Err(ErrorCode::StorageUnavailable));
        assert!(town.kms.receipts(&by_ledger).is_empty());

        // There is room again: everything goes on by itself.
        drop(full);
        town.kms.receipt(&by_ledger).await;
        let receipt = town.bring(&order, None).await.unwrap();
        assert_eq!(receipt.destroyed, [grant_id("hanako", "tax")].into());
        assert!(town.key_pairs().is_empty());
        assert_eq!(town.journal().await.len(), answered);
    }
}

test! {
    in SMALL_DISK;
    async fn a_halt_for_a_fork_is_kept_though_the_disk_is_full(folder) {
        let mut town = Town::working(folder).await;
        let data = town.config.data.clone();
        let card = town.card("hanako");
        sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(town.pool()).await.unwrap();
        let full = Full::fill(&data).unwrap();
        while ask(&card, &item("hanako", "tax", "a")).await.is_ok() {}
        let order = signed(&forked(&town), ["sakura 9C".to_owned()]);
        assert_eq!(town.bring(&order, None).await, Err(ErrorCode::Fork));
        assert_eq!(ask(&card, &item("hanako", "tax", "a")).await, Ok(vec![Err(ErrorCode::Fork)]));
        let in_the_database: i64 =
            sqlx::query_scalar("SELECT count(*) FROM ledger_fork").fetch_one(town.pool()).await.unwrap();
        assert_eq!(in_the_database, 0, "the disk was to be full");

        // There is room again, and a restart: nothing is answered, though the kms shows the right ledger and stamps.
        drop(full);
        town.restart_halted().await;
        assert_eq!(town.open("hanako", "tax", "a").await, Err(ErrorCode::Fork));
    }
}

test! {
    in SMALL_DISK;
    async fn a_read_only_disk_is_named_and_nothing_is_begun(folder) {
        let mut town = Town::working(folder).await;
        let data = town.config.data.clone();
        town.kill().await;
        let before = fs::read(town.config.database()).unwrap();
        warifu_broken_parts::disk::read_only(&data, true).unwrap();
        let said = town.refused_to_run();
        assert!(said.contains(data.to_str().unwrap()), "{said}");
        warifu_broken_parts::disk::read_only(&data, false).unwrap();
        assert_eq!(fs::read(town.config.database()).unwrap(), before);
        town.start().await;
        town.until_fresh().await;
        town.opens("hanako", "tax").await;
    }
}
