//! What was ordered ahead: before its instant it opens, after it it is refused, and its key pair is gone, with no
//! message (P-8.5).

use std::collections::BTreeSet;
use std::time::Duration;

use warifu_api::error::ErrorCode;
use warifu_api::wire::site::Me;
use warifu_ledger::statement::{Act, Millis};

use crate::people::*;
use crate::stage::test;
use crate::town::{PATIENCE, Town};

/// Waits until the HSM holds no key pair, and the database no row, of this grant.
async fn until_gone(town: &Town, card: &str, unit: &str) {
    let grant = grant_id(card, unit);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while town.key_pairs().contains(&grant) || rows(town, card, unit).await > 0 {
        assert!(tokio::time::Instant::now() < deadline, "the key pair is still in the HSM");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn rows(town: &Town, card: &str, unit: &str) -> i64 {
    let grant = grant_id(card, unit);
    let bytes = grant.as_bytes().as_slice();
    let sql = "SELECT (SELECT count(*) FROM site_share WHERE grant_id = ?) \
               + (SELECT count(*) FROM site_announced WHERE grant_id = ?)";
    sqlx::query_scalar(sql).bind(bytes).bind(bytes).fetch_one(town.pool()).await.unwrap()
}

/// Moves the clock to an instant, and waits for the stamp that says so.
async fn until(town: &Town, at: Millis) {
    town.clock.advance_ms(at - town.kms.now());
    town.until_status("the time", |status| status.time.is_some_and(|time| time >= at)).await;
}

/// What an act ordered for `end` ends then, and not before: hanako's right to `tax`.
async fn ends_by_its_date(town: &Town, act: impl FnOnce(Millis) -> Act, code: ErrorCode) {
    let end = T0 + 10 * DAY;
    let order = town.kms.done([act(end)], TWO);
    town.settled().await;
    until(town, end - MINUTE).await;
    town.opens("hanako", "tax").await;
    assert!(town.key_pairs().contains(&grant_id("hanako", "tax")), "nothing is destroyed early");
    let size = town.kms.size();
    until(town, end).await;
    assert_eq!(town.open("hanako", "tax", "a").await, Err(code));
    until_gone(town, "hanako", "tax").await;
    assert_eq!(town.open("hanako", "tax", "a").await, Err(code));
    assert_eq!(town.kms.size(), size, "no message was needed");
    assert!(town.kms.receipts(&order).is_empty(), "and none is answered");
    // The others go on.
    town.opens("taro", "team").await;
    assert_eq!(town.key_pairs(), BTreeSet::from([grant_id("taro", "team")]));
}

test! {
    async fn of_a_grant(folder) {
        let town = Town::working(folder).await;
        let act = |end| Act::GrantRevoked {
            grant: grant_id("hanako", "tax"),
            effective_at: Some(end),
            reason: None,
        };
        ends_by_its_date(&town, act, ErrorCode::GrantExpired).await;
    }
}

test! {
    async fn of_a_member_whose_agents_are_told(folder) {
        let town = Town::working(folder).await;
        let act =
            |end| Act::MemberRevoked { member: id("hanako"), effective_at: Some(end), reason: None };
        town.kms.done([act(T0 + 20 * DAY)], ONE);
        town.settled().await;
        // Over the jump, the stream lives: it is one connection of less than ten minutes.
        until(&town, T0 + 10 * DAY - MINUTE).await;
        let mut events = town.card("hanako").events("/v1/events").await.unwrap();
        ends_by_its_date(&town, act, ErrorCode::CardNotLive).await;
        assert_eq!(events.next().await.unwrap().unwrap().name, "revoked");
    }
}

test! {
    async fn of_a_unit(folder) {
        let town = Town::working(folder).await;
        let act = |end| Act::UnitClosed { unit: id("tax"), effective_at: Some(end) };
        ends_by_its_date(&town, act, ErrorCode::UnitClosed).await;
    }
}

test! {
    async fn of_a_contract(folder) {
        let town = Town::working(folder).await;
        until(&town, ACME_ENDS - MINUTE).await;
        town.opens("taro", "team").await;
        let mut events = town.card("taro").events("/v1/events").await.unwrap();
        until(&town, ACME_ENDS).await;
        assert_eq!(town.open("taro", "team", "a").await, Err(ErrorCode::ContractOver));
        until_gone(&town, "taro", "team").await;
        assert_eq!(events.next().await.unwrap().unwrap().name, "revoked");
        town.opens("hanako", "tax").await;
    }
}

test! {
    async fn a_card_is_told_what_ends_ahead(folder) {
        let town = Town::working(folder).await;
        let ends = async |card: &str| {
            let me: Me = town.card(card).get("/v1/me").await.unwrap();
            (me.contract_ends_at, me.member_ends_at)
        };
        assert_eq!(ends("hanako").await, (None, None));
        assert_eq!(ends("taro").await, (Some(ACME_ENDS), None));
        let end = T0 + 10 * DAY;
        let leave = |label| Act::MemberRevoked { member: id(label), effective_at: Some(end), reason: None };
        town.kms.done([leave("hanako"), leave("taro")], ONE);
        town.settled().await;
        assert_eq!(ends("hanako").await, (None, Some(end)));
        assert_eq!(ends("taro").await, (Some(ACME_ENDS), Some(end)));
        // Put off, it is told so.
        let extended = Act::ContractExtended { contract: id("acme"), ends_at: ACME_ENDS + DAY };
        town.kms.done([extended], TWO);
        town.settled().await;
        assert_eq!(ends("taro").await, (Some(ACME_ENDS + DAY), Some(end)));
    }
}

test! {
    async fn a_unit_closed_at_once_is_receipted(folder) {
        let town = Town::working(folder).await;
        let order = town.kms.done([Act::UnitClosed { unit: id("tax"), effective_at: None }], TWO);
        let receipt = town.kms.receipt(&order).await;
        assert_eq!(receipt.destroyed, BTreeSet::from([grant_id("hanako", "tax")]));
        assert_eq!(town.open("hanako", "tax", "a").await, Err(ErrorCode::UnitClosed));
        // By hand as well.
        let order = town.kms.order([Act::UnitClosed { unit: id("team"), effective_at: None }], TWO);
        let receipt = town.bring(&order, None).await.unwrap();
        assert_eq!(receipt.destroyed, BTreeSet::from([grant_id("taro", "team")]));
    }
}

test! {
    async fn an_order_for_a_later_day_is_nothing_to_act_on_at_first_sight(folder) {
        let town = Town::working(folder).await;
        let act = Act::MemberRevoked { member: id("hanako"), effective_at: Some(T0 + DAY), reason: None };
        let order = town.kms.order([act], ONE);
        assert_eq!(town.bring(&order, None).await, Err(ErrorCode::Rejected));
        town.opens("hanako", "tax").await;
    }
}

test! {
    async fn a_unit_that_is_served_elsewhere_leaves_no_key_pair_here(folder) {
        let town = Town::working(folder).await;
        let elsewhere = Act::UnitChanged {
            unit: id("tax"),
            name: None,
            sites: Some(BTreeSet::from([id("branch")])),
            routes_to: None,
            two_people: None,
            own_pcs: None,
        };
        town.kms.done([elsewhere], TWO);
        town.settled().await;
        assert_eq!(town.open("hanako", "tax", "a").await, Err(ErrorCode::NotServedHere));
        until_gone(&town, "hanako", "tax").await;
        town.opens("taro", "team").await;
    }
}

test! {
    async fn a_grant_begins_at_its_instant(folder) {
        let town = Town::working(folder).await;
        let starts_at = T0 + 10 * DAY;
        town.kms.done([grant_from("jiro", "tax", Some(starts_at))], ONE);
        // The share is handed out at once.
        town.give("jiro", "tax", &["main"]).await;
        assert_eq!(town.open("jiro", "tax", "a").await, Err(ErrorCode::GrantNotStarted));
        until(&town, starts_at - MINUTE).await;
        assert_eq!(town.open("jiro", "tax", "a").await, Err(ErrorCode::GrantNotStarted));
        assert!(town.key_pairs().contains(&grant_id("jiro", "tax")));
        until(&town, starts_at).await;
        town.opens("jiro", "tax").await;
    }
}

test! {
    async fn what_may_yet_be_extended_is_refused_and_not_destroyed(folder) {
        let town = Town::working(folder).await;
        until(&town, ACME_ENDS - 2_000).await;
        // The last stamp came before the end; site time goes on without it.
        town.kms.set(|data| data.no_stamps = true);
        let extension = town.kms.order(
            [Act::ContractExtended { contract: id("acme"), ends_at: ACME_ENDS + DAY }],
            TWO,
        );
        town.clock.advance_ms(3_000);
        assert_eq!(town.open("taro", "team", "a").await, Err(ErrorCode::ContractOver));
        // Something to sweep for, which is seen to be done.
        town.kms.set_wall_ms(ACME_ENDS - 1_000);
        let elsewhere = Act::UnitChanged {
            unit: id("tax"),
            name: None,
            sites: Some(BTreeSet::from([id("branch")])),
            routes_to: None,
            two_people: None,
            own_pcs: None,
        };
        town.kms.done([elsewhere], TWO);
        until_gone(&town, "hanako", "tax").await;
        assert!(town.key_pairs().contains(&grant_id("taro", "team")), "destroyed early");
        // An extension that was appended in time, and comes now.
        town.kms.append(extension);
        town.settled().await;
        town.opens("taro", "team").await;
    }
}

test! {
    async fn what_was_over_while_the_site_was_down_is_destroyed_at_its_first_stamp(folder) {
        let mut town = Town::working(folder).await;
        town.kill().await;
        town.clock.advance_ms(31 * DAY);
        town.kms.set(|data| data.no_stamps = true);
        town.start().await;
        // Without a stamp nobody knows what day it is.
        assert!(town.key_pairs().contains(&grant_id("taro", "team")));
        town.kms.set(|data| data.no_stamps = false);
        until_gone(&town, "taro", "team").await;
        town.until_fresh().await;
        town.opens("hanako", "tax").await;
    }
}

test! {
    async fn rows_that_a_crash_left_without_their_key_pair_go_too(folder) {
        let mut town = Town::working(folder).await;
        town.kill().await;
        town.clock.advance_ms(31 * DAY);
        // As if the sweep had died between the HSM and the database.
        let grant = grant_id("taro", "team").to_string();
        town.config.hsm.open().unwrap().grant_key_destroy(&grant).unwrap();
        town.start().await;
        until_gone(&town, "taro", "team").await;
    }
}
