//! P-8.4: what people ordered and brought to a site reaches the ledger, whoever fell on the way.

use warifu_api::error::ErrorCode;
use warifu_ledger::Digest;
use warifu_ledger::dsse::Envelope;
use warifu_ledger::statement::Order;

use crate::people::*;
use crate::stage::test;
use crate::town::{PATIENCE, Town};

/// Waits until the kms has nothing more to be told.
async fn nothing_waits(town: &Town) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while waiting(town).await > 0 {
        assert!(tokio::time::Instant::now() < deadline, "an order still waits");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

async fn waiting(town: &Town) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM site_courier").fetch_one(town.pool()).await.unwrap()
}

async fn until_in_ledger(town: &Town, order: &Envelope) {
    let digest = order.digest();
    town.kms
        .until("the order in the ledger", |data| data.leaves.iter().any(|l| l.envelope().digest() == digest))
        .await;
}

fn brought(town: &Town, order: &Digest) -> usize {
    town.kms.data().brought.get(order).copied().unwrap_or_default()
}

test! {
    async fn a_suspension_that_the_kms_did_not_take_ends_as_if_ordered_once(folder) {
        let mut town = Town::working(folder).await;
        // The kms falls; the person gives the order again, and later resumes.
        let first = town.kms.order([suspend("hanako")], ONE);
        town.bring(&first, None).await.unwrap();
        town.kms.until("a try", |data| data.brought.contains_key(&first.digest())).await;
        town.restart().await;
        town.until_fresh().await;
        let again = town.kms.done([suspend("hanako")], ONE);
        town.kms.set(|data| data.refuse_orders = None);
        until_in_ledger(&town, &first).await;
        town.kms.receipt(&again).await;
        assert_eq!(town.open("hanako", "tax", "a").await, Err(ErrorCode::CardSuspended));
        town.kms.done([resume("hanako")], TWO);
        town.settled().await;
        town.opens("hanako", "tax").await;
        nothing_waits(&town).await;
    }
}

test! {
    async fn a_suspension_that_comes_after_the_resumption_is_the_ledgers_to_end(folder) {
        let town = Town::working(folder).await;
        let late = town.kms.order([suspend("hanako")], ONE);
        town.bring(&late, None).await.unwrap();
        town.kms.done([suspend("hanako")], ONE);
        town.kms.done([resume("hanako")], TWO);
        town.settled().await;
        assert_eq!(town.open("hanako", "tax", "a").await, Err(ErrorCode::CardSuspended));
        town.kms.set(|data| data.refuse_orders = None);
        until_in_ledger(&town, &late).await;
        town.settled().await;
        assert_eq!(town.open("hanako", "tax", "a").await, Err(ErrorCode::CardSuspended));
        // Everybody sees it now, and resumes the card again.
        town.kms.done([resume("hanako")], TWO);
        town.settled().await;
        town.opens("hanako", "tax").await;
    }
}

test! {
    async fn a_refusal_for_good_ends_the_courier_and_another_does_not(folder) {
        let mut town = Town::working(folder).await;
        let order = town.kms.order([revoke_card("jiro")], ONE);
        let digest = order.digest();
        for code in [ErrorCode::Busy, ErrorCode::StorageUnavailable, ErrorCode::LeaseExpired] {
            town.kms.set(|data| data.refuse_orders = Some(code));
            town.bring(&order, None).await.unwrap();
            let before = brought(&town, &digest);
            town.kms.until("two more tries", |data| data.brought.get(&digest) > Some(&(before + 1))).await;
            assert_eq!(waiting(&town).await, 1, "{code:?}");
        }
        town.kms.set(|data| data.refuse_orders = Some(ErrorCode::Rejected));
        nothing_waits(&town).await;
        let tries = brought(&town, &digest);
        town.restart().await;
        town.until_fresh().await;
        // What is brought next is couriered, and the other one is not.
        let next = town.kms.order([suspend("hanako")], ONE);
        town.bring(&next, None).await.unwrap();
        town.kms.until("the next one", |data| data.brought.contains_key(&next.digest())).await;
        assert_eq!(brought(&town, &digest), tries);
    }
}

test! {
    async fn only_what_was_brought_by_hand_and_acted_on_is_couriered(folder) {
        let town = Town::working(folder).await;
        // Refused here; in the ledger already; or nothing that ends.
        let by_member = town.kms.order([revoke_card("hanako")], &["taro"]);
        town.bring(&by_member, None).await.unwrap_err();
        let in_ledger = town.kms.order([suspend("jiro")], ONE);
        town.kms.append(in_ledger.clone());
        town.settled().await;
        town.bring(&in_ledger, None).await.unwrap();
        let grants = town.kms.order([grant("jiro", "tax")], ONE);
        town.bring(&grants, None).await.unwrap_err();
        assert_eq!(waiting(&town).await, 0);

        // What the ledger gets from the person who brought it needs no courier any more.
        let both = town.kms.order([suspend("taro")], ONE);
        town.bring(&both, None).await.unwrap();
        assert_eq!(waiting(&town).await, 1);
        town.kms.append(both.clone());
        town.settled().await;
        assert_eq!(waiting(&town).await, 0);
        assert!(both.statement::<Order>().is_ok());
        assert_eq!(brought(&town, &by_member.digest()), 0);
    }
}
