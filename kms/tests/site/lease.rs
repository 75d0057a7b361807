//! I4: without news from the authority for longer than its lease a site answers nothing, whatever its clock does.

use warifu_api::error::ErrorCode;
use warifu_ledger::statement::Act;

use crate::people::*;
use crate::stage::test;
use crate::town::Town;

test! {
    async fn a_lease_that_is_over_answers_nothing_until_the_next_stamp(folder) {
        let town = Town::working(folder).await;
        town.opens("hanako", "tax").await;
        town.kms.set(|data| data.no_stamps = true);
        // No stamp that was under way before may come after the clock has moved.
        town.clock.advance_ms(LEASE - 1);
        assert!(town.open("hanako", "tax", "a").await.is_ok());
        town.clock.advance_ms(1);
        assert_eq!(town.open("hanako", "tax", "a").await, Err(ErrorCode::LeaseExpired));
        assert_eq!(town.me("hanako").await.map(|_| ()), Err(ErrorCode::LeaseExpired));
        let status = town.status().await.unwrap();
        assert_eq!((status.time, status.lease_left_ms), (None, 0));
        assert_eq!(town.journal().await.len(), 2);

        // The wall clock is nobody's business: set back by a year, the lease is as over as before.
        town.clock.set_wall_ms(T0 - 365 * DAY);
        assert_eq!(town.open("hanako", "tax", "a").await, Err(ErrorCode::LeaseExpired));
        town.clock.set_wall_ms(T0 + LEASE);
        town.kms.set(|data| data.no_stamps = false);
        town.until_fresh().await;
        town.opens("hanako", "tax").await;
    }
}

test! {
    async fn a_wall_clock_set_forward_ends_no_lease(folder) {
        let town = Town::working(folder).await;
        town.kms.set(|data| data.no_stamps = true);
        town.clock.set_wall_ms(T0 + 365 * DAY);
        town.opens("hanako", "tax").await;
        town.opens("taro", "team").await;
    }
}

test! {
    async fn after_a_restart_nothing_is_answered_without_a_new_stamp(folder) {
        let mut town = Town::working(folder).await;
        town.opens("hanako", "tax").await;
        town.kms.set(|data| data.no_stamps = true);
        town.restart().await;
        assert_eq!(town.open("hanako", "tax", "a").await, Err(ErrorCode::LeaseExpired));
        town.kms.set(|data| data.no_stamps = false);
        town.until_fresh().await;
        town.opens("hanako", "tax").await;
    }
}

test! {
    async fn a_revoked_card_is_told_so_even_without_a_lease(folder) {
        let town = Town::working(folder).await;
        town.kms.set(|data| data.no_stamps = true);
        town.clock.advance_ms(LEASE);
        let order = town.kms.done([revoke_card("hanako")], ONE);
        let receipt = town.kms.receipt(&order).await;
        assert_eq!(receipt.time, None);
        assert_eq!(town.open("hanako", "tax", "a").await, Err(ErrorCode::CardNotLive));
        assert_eq!(town.open("taro", "team", "a").await, Err(ErrorCode::LeaseExpired));
    }
}

test! {
    async fn a_leaf_that_the_fold_refuses_halts_everything(folder) {
        let mut town = Town::working(folder).await;
        town.opens("hanako", "tax").await;
        // A kms that gives itself the right to let somebody in: one officer's signature where two are needed.
        let forged = town.kms.order([Act::ContractOpened {
            contract: id("mallory"),
            name: name("mallory"),
            ends_at: ACME_ENDS,
        }], ONE);
        town.kms.append_unchecked(forged);
        town.until_status("the halt", |status| status.time.is_none()).await;
        assert_eq!(town.open("hanako", "tax", "a").await, Err(ErrorCode::Fork));
        assert_eq!(town.me("hanako").await.map(|_| ()), Err(ErrorCode::Fork));
        town.clock.advance_ms(10);
        assert_eq!(town.open("taro", "team", "a").await, Err(ErrorCode::Fork));
        // A restart hears the same again, and never answers in between.
        town.restart().await;
        let first = town.open("hanako", "tax", "a").await;
        assert!(matches!(first, Err(ErrorCode::LeaseExpired | ErrorCode::Fork)), "{first:?}");
    }
}
