//! I3: after a receipt the site never again answers for what the order ended, and before it everything is done.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use warifu_api::error::ErrorCode;
use warifu_api::wire::site::RevocationRequest;
use warifu_ledger::checkpoint::Checkpoint;
use warifu_ledger::dsse::Envelope;
use warifu_ledger::statement::{Act, Order, Receipt};
use warifu_ledger::{Digest, Id};

use crate::kms::{note, sign_checkpoint};
use crate::people::*;
use crate::stage::test;
use crate::town::{PATIENCE, Town, ask, code};

pub(crate) fn hanako() -> Id {
    grant_id("hanako", "tax")
}

pub(crate) fn taro() -> Id {
    grant_id("taro", "team")
}

pub(crate) async fn rows(town: &Town, sql: &'static str, grant: &Id) -> i64 {
    sqlx::query_scalar(sql).bind(grant.as_bytes().as_slice()).fetch_one(town.pool()).await.unwrap()
}

/// Nothing of the grant is left, and nothing is answered for it.
pub(crate) async fn is_gone(town: &Town, card: &str, unit: &str, code: ErrorCode) {
    let grant = grant_id(card, unit);
    assert!(!town.key_pairs().contains(&grant), "the key pair is still in the HSM");
    assert_eq!(rows(town, "SELECT count(*) FROM site_share WHERE grant_id = ?", &grant).await, 0);
    assert_eq!(rows(town, "SELECT count(*) FROM site_announced WHERE grant_id = ?", &grant).await, 0);
    assert_eq!(town.open(card, unit, "a").await, Err(code));
}

test! {
    async fn a_revocation_in_the_ledger_destroys_cuts_off_and_receipts(folder) {
        let town = Town::working(folder).await;
        let card = town.card("hanako");
        let mut events = card.events("/v1/events").await.unwrap();
        let mut others = town.card("taro").events("/v1/events").await.unwrap();
        assert_eq!(town.key_pairs(), BTreeSet::from([hanako(), taro()]));

        let order = town.kms.done([revoke_member("hanako")], ONE);
        let receipt = town.kms.receipt(&order).await;
        assert_eq!(receipt.site, id("main"));
        assert_eq!(receipt.organization, town.organization());
        assert_eq!(receipt.folded, town.kms.size());
        assert_eq!(receipt.destroyed, BTreeSet::from([hanako()]));
        assert!(receipt.time.is_some());
        is_gone(&town, "hanako", "tax", ErrorCode::CardNotLive).await;
        assert_eq!(town.me("hanako").await.map(|_| ()), Err(ErrorCode::CardNotLive));
        assert!(town.journal().await.is_empty());

        // The card was told, and its stream ended.
        let event = events.next().await.unwrap().unwrap();
        assert_eq!(event.name, "revoked");
        let said: warifu_api::ErrorBody = serde_json::from_str(&event.data).unwrap();
        assert_eq!(said.code, ErrorCode::CardNotLive);
        assert!(!matches!(events.next().await, Ok(Some(_))));
        let again = card.events("/v1/events").await.map(|_| ()).unwrap_err();
        assert_eq!(again.code(), Some(ErrorCode::CardNotLive));

        // The others hear nothing of it.
        assert_eq!(town.key_pairs(), BTreeSet::from([taro()]));
        town.opens("taro", "team").await;
        let order = town.kms.done([end_contract("acme")], ONE);
        let receipt = town.kms.receipt(&order).await;
        assert_eq!(receipt.destroyed, BTreeSet::from([taro()]));
        is_gone(&town, "taro", "team", ErrorCode::ContractOver).await;
        assert_eq!(others.next().await.unwrap().unwrap().name, "revoked");
    }
}

test! {
    async fn orders_that_destroy_nothing_here_are_receipted_all_the_same(folder) {
        let town = Town::working(folder).await;
        let acts = [
            vec![suspend("jiro")],
            vec![resume("jiro")],
            vec![revoke_card("jiro")],
            vec![Act::SiteRemoved { site: id("branch") }],
            vec![revoke_member("taro"), Act::FileShredded { file: file_id("b") }],
        ];
        for acts in acts {
            let order = town.kms.done(acts.clone(), TWO);
            let receipt = town.kms.receipt(&order).await;
            assert_eq!(receipt.destroyed.is_empty(), acts.len() == 1, "{acts:?}");
        }
        // Others are not.
        let order = town.kms.done([unit("archive", None, &["main"])], TWO);
        let last = town.kms.done([revoke_member("jiro")], ONE);
        town.kms.receipt(&last).await;
        assert!(town.kms.receipts(&order).is_empty());
        town.opens("hanako", "tax").await;
    }
}

test! {
    async fn an_order_brought_by_hand_counts_at_first_sight_and_for_ever(folder) {
        let mut town = Town::working(folder).await;
        let order = town.kms.order([revoke_card("hanako")], ONE);
        // The kms is out of reach, and the lease is over.
        town.kms.set(|data| data.silent = true);
        town.clock.advance_ms(LEASE);
        let receipt = town.bring(&order, None).await.unwrap();
        assert_eq!(receipt.destroyed, BTreeSet::from([hanako()]));
        assert_eq!((receipt.order, receipt.time, receipt.folded), (order.digest(), None, town.kms.size()));
        is_gone(&town, "hanako", "tax", ErrorCode::CardNotLive).await;
        assert_eq!(town.bring(&order, None).await, Ok(receipt.clone()));

        // The kms comes back, and does not have the order: it counts all the same, over a restart too.
        town.kms.set(|data| data.silent = false);
        town.until_fresh().await;
        is_gone(&town, "hanako", "tax", ErrorCode::CardNotLive).await;
        town.restart().await;
        town.until_fresh().await;
        is_gone(&town, "hanako", "tax", ErrorCode::CardNotLive).await;
        assert_eq!(town.kms.receipt(&order.digest()).await, receipt);

        // What the ledger says later loses: suspended and resumed, and another grant for the dead card.
        town.kms.done([suspend("hanako")], ONE);
        town.kms.done([resume("hanako")], TWO);
        town.kms.done([unit("archive", None, &["main"])], TWO);
        town.kms.create("archive");
        town.kms.done([grant("hanako", "archive")], ONE);
        town.settled().await;
        is_gone(&town, "hanako", "tax", ErrorCode::CardNotLive).await;
        is_gone(&town, "hanako", "archive", ErrorCode::CardNotLive).await;

        // At last the ledger has the order; the receipt stays what it is.
        town.kms.append(order.clone());
        town.settled().await;
        assert_eq!(town.bring(&order, None).await, Ok(receipt));
        is_gone(&town, "hanako", "archive", ErrorCode::CardNotLive).await;
        assert!(!town.kms.data().grant_keys.contains_key(&grant_id("hanako", "archive")));
        town.opens("taro", "team").await;
    }
}

test! {
    async fn a_suspension_by_hand_lapses_unless_the_ledger_confirms_it(folder) {
        let mut town = Town::working(folder).await;
        let order = town.kms.order([suspend("hanako")], ONE);
        let receipt = town.bring(&order, None).await.unwrap();
        assert!(receipt.destroyed.is_empty());
        assert_eq!(town.open("hanako", "tax", "a").await, Err(ErrorCode::CardSuspended));
        town.restart().await;
        town.until_fresh().await;
        assert_eq!(town.open("hanako", "tax", "a").await, Err(ErrorCode::CardSuspended));
        // It lapses with the order.
        let expires_at = order.statement::<Order>().unwrap().expires_at;
        town.clock.advance_ms(expires_at + 1 - T0);
        town.until_status("a stamp of the next day", |s| s.time.is_some_and(|time| time > expires_at)).await;
        town.opens("hanako", "tax").await;

        // Confirmed, it does not, until the ledger resumes the card.
        let order = town.kms.order([suspend("hanako")], ONE);
        town.bring(&order, None).await.unwrap();
        town.kms.append(order);
        town.settled().await;
        town.clock.advance_ms(2 * DAY);
        let later = expires_at + 2 * DAY;
        town.until_status("a later stamp", |s| s.time.is_some_and(|time| time > later)).await;
        assert_eq!(town.open("hanako", "tax", "a").await, Err(ErrorCode::CardSuspended));
        town.kms.done([resume("hanako")], TWO);
        town.settled().await;
        town.opens("hanako", "tax").await;
    }
}

test! {
    async fn orders_that_nobody_may_give_end_nothing(folder) {
        let town = Town::working(folder).await;
        let mut unsigned = town.kms.order([revoke_card("hanako")], ONE);
        unsigned.signatures.clear();
        let by_member = town.kms.order([revoke_card("hanako")], &["taro"]);
        let one_of_two = town.kms.order([revoke_card("midori")], ONE);
        let mut altered = town.kms.order([revoke_card("jiro")], ONE);
        let signatures = altered.signatures.clone();
        altered = town.kms.order([revoke_card("hanako")], ONE);
        altered.signatures = signatures;
        let nothing = town.kms.order([unit("archive", None, &["main"])], TWO);
        for order in [unsigned, by_member, one_of_two, altered, nothing] {
            assert_eq!(town.bring(&order, None).await, Err(ErrorCode::Rejected));
        }
        // To resume is the ledger's to do.
        town.kms.done([suspend("hanako")], ONE);
        town.settled().await;
        let resumed = town.kms.order([resume("hanako")], TWO);
        assert_eq!(town.bring(&resumed, None).await, Err(ErrorCode::NotReady));
        assert_eq!(town.open("hanako", "tax", "a").await, Err(ErrorCode::CardSuspended));
        town.kms.append(resumed.clone());
        town.settled().await;
        town.bring(&resumed, None).await.unwrap();
        town.opens("hanako", "tax").await;
        assert_eq!(town.key_pairs().len(), 2);
    }
}

test! {
    async fn of_a_mixed_order_only_the_ends_are_acted_on_by_hand(folder) {
        let town = Town::working(folder).await;
        let mixed = town.kms.order(
            [revoke_card("taro"), Act::CardEnrolled(card("hanako:2", None)), suspend("jiro")],
            ONE,
        );
        let receipt = town.bring(&mixed, None).await.unwrap();
        assert_eq!(receipt.destroyed, BTreeSet::from([taro()]));
        is_gone(&town, "taro", "team", ErrorCode::CardNotLive).await;
        assert_eq!(town.me("jiro").await.map(|_| ()), Err(ErrorCode::CardSuspended));
        assert_eq!(town.me("hanako:2").await.map(|_| ()), Err(ErrorCode::CardNotLive));
        town.kms.append(mixed);
        town.settled().await;
        assert!(town.me("hanako:2").await.is_ok());
    }
}

test! {
    async fn leaves_count_only_under_a_checkpoint_of_the_kms(folder) {
        let town = Town::working(folder).await;
        let size = town.kms.size();
        town.kms.set(|data| data.shown = Some(usize::try_from(size).unwrap()));
        // Two leaves that the site does not hear of: a new officer, and what an order's signers then saw.
        town.kms.done([Act::RoleChanged {
            member: id("jiro"),
            roles: BTreeSet::from([warifu_ledger::statement::Role::Administrator]),
        }], TWO);
        town.kms.done([suspend("midori")], ONE);
        let order = town.kms.order([revoke_card("hanako")], &["jiro"]);
        assert_eq!(town.bring(&order, None).await, Err(ErrorCode::NotReady), "its signers saw more");

        // The same leaves at other instants, or with one left out, are none of the kms's.
        let good = town.kms.leaves(size);
        let mut reordered = good.clone();
        reordered.leaves.swap(0, 1);
        let mut fewer = good.clone();
        fewer.leaves.pop();
        let mut other_instant = good.clone();
        let leaf = warifu_ledger::leaf::Leaf::from_bytes(good.leaves[1].0.clone()).unwrap();
        let leaf = warifu_ledger::leaf::Leaf::new(leaf.at() + 1, leaf.envelope().clone()).unwrap();
        other_instant.leaves[1].0 = leaf.as_bytes().to_vec();
        let mut unsigned = good.clone();
        unsigned.checkpoint = good.checkpoint.replace("warifu/", "warifu/x");
        let mut own = good.clone();
        let last = town.kms.state();
        let checkpoint = Checkpoint { size: size + 2, root: last.tree().root(size + 2).unwrap() };
        own.checkpoint = sign_checkpoint(&Digest([1; 32]), &checkpoint);
        for bad in [reordered, fewer, other_instant, unsigned, own] {
            assert_eq!(town.bring(&order, Some(bad)).await, Err(ErrorCode::Rejected));
            assert_eq!(town.status().await.unwrap().folded, size);
        }
        assert_eq!(town.key_pairs().len(), 2);

        // With what the kms signed, they count.
        let receipt = town.bring(&order, Some(good)).await.unwrap();
        assert_eq!(receipt.destroyed, BTreeSet::from([hanako()]));
        assert_eq!(receipt.folded, size + 2);
        is_gone(&town, "hanako", "tax", ErrorCode::CardNotLive).await;
        // And the stream goes on where they end.
        town.kms.set(|data| data.shown = None);
        town.kms.append(order);
        town.settled().await;
        town.opens("taro", "team").await;
    }
}

/// An order whose signer saw another ledger, which the kms has signed as well.
pub(crate) fn forked(town: &Town) -> Order {
    let state = town.kms.state();
    let other = Checkpoint { size: state.tree().size(), root: Digest([6; 32]) };
    Order {
        organization: state.organization(),
        id: id("forked"),
        expires_at: T0 + DAY,
        seen: sign_checkpoint(&state.organization(), &other),
        acts: vec![revoke_card("hanako")],
    }
}

test! {
    async fn an_order_over_another_ledger_of_the_same_kms_halts_the_site(folder) {
        let mut town = Town::working(folder).await;
        let state = town.kms.state();
        let order = forked(&town);
        // Anybody can say so; only the kms's and an officer's signature prove it.
        let mut nobody = order.clone();
        nobody.seen = note(&state).replace("\n\n", "\n\nx");
        let nobody = signed(&nobody, ["sakura 9C".to_owned()]);
        assert_eq!(town.bring(&nobody, None).await, Err(ErrorCode::Rejected));
        town.opens("hanako", "tax").await;
        let order = signed(&order, ["sakura 9C".to_owned()]);
        assert_eq!(town.bring(&order, None).await, Err(ErrorCode::Fork));
        assert_eq!(town.open("hanako", "tax", "a").await, Err(ErrorCode::Fork));
        assert_eq!(town.open("taro", "team", "a").await, Err(ErrorCode::Fork));
        // Ending access still works.
        let order = town.kms.order([revoke_card("hanako")], ONE);
        town.bring(&order, None).await.unwrap();
        assert_eq!(town.key_pairs(), BTreeSet::from([taro()]));
        // A restart forgets nothing of it, though the kms shows the right ledger and stamps.
        town.restart_halted().await;
        town.kms.done([Act::CardEnrolled(card("saburo", None))], TWO);
        town.restart_halted().await;
    }
}

test! {
    async fn a_receipt_is_sent_until_it_is_accepted(folder) {
        let mut town = Town::working(folder).await;
        town.kms.set(|data| data.refuse_receipts = true);
        let order = town.kms.done([revoke_card("hanako")], ONE);
        town.settled().await;
        town.restart().await;
        town.kms.set(|data| data.refuse_receipts = false);
        let receipt = town.kms.receipt(&order).await;
        assert_eq!(receipt.destroyed, BTreeSet::from([hanako()]));
        // Accepted, it is not sent again.
        let accepted = "SELECT count(*) FROM site_revocation WHERE accepted = 1 AND ?1 IS NOT NULL";
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while rows(&town, accepted, &hanako()).await == 0 {
            assert!(tokio::time::Instant::now() < deadline);
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        town.restart().await;
        let next = town.kms.done([revoke_card("jiro")], ONE);
        town.kms.receipt(&next).await;
        assert_eq!(town.kms.receipts(&order).len(), 1);
    }
}

test! {
    async fn a_site_that_is_removed_keeps_nothing(folder) {
        let town = Town::working(folder).await;
        let order = town.kms.done([Act::SiteRemoved { site: id("main") }], TWO);
        let receipt = town.kms.receipt(&order).await;
        assert_eq!(receipt.destroyed, BTreeSet::from([hanako(), taro()]));
        assert!(town.key_pairs().is_empty());
        assert_eq!(town.open("hanako", "tax", "a").await, Err(ErrorCode::NotServedHere));
    }
}

test! {
    async fn no_partial_leaves_after_the_receipt(folder) {
        let town = Arc::new(Town::working(folder).await);
        let receipted = Arc::new(AtomicBool::new(false));
        let stop = Arc::new(AtomicBool::new(false));
        let item = (hanako(), file("a").to_uncompressed().to_vec());
        let askers: Vec<_> = (0..3)
            .map(|_| {
                let (town, receipted, stop) = (town.clone(), receipted.clone(), stop.clone());
                let batch = vec![item.clone(); 32];
                tokio::spawn(async move {
                    let (mut answered, mut client) = (0, town.card("hanako"));
                    while !stop.load(Ordering::SeqCst) {
                        let late = receipted.load(Ordering::SeqCst);
                        match crate::town::request(&client, &batch).await {
                            Ok(answer) => {
                                let partials = answer.items.iter().filter(|item| {
                                    matches!(item, warifu_api::wire::site::PartialOutcome::Partial { .. })
                                });
                                let partials = partials.count();
                                assert!(!late || partials == 0, "a partial after the receipt");
                                answered += partials;
                            }
                            // The connection was ended, or is refused from now on.
                            Err(_) => client = town.card("hanako"),
                        }
                    }
                    answered
                })
            })
            .collect();
        // Under way, before it is ended.
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while town.journal().await.len() < 200 {
            assert!(tokio::time::Instant::now() < deadline);
            tokio::task::yield_now().await;
        }
        let order = town.kms.order([revoke_card("hanako")], ONE);
        let receipt: Receipt = town.bring(&order, None).await.unwrap();
        receipted.store(true, Ordering::SeqCst);
        assert_eq!(receipt.destroyed, BTreeSet::from([hanako()]));
        let journal = town.journal().await.len();
        for _ in 0..20 {
            let refused = ask(&town.card("hanako"), std::slice::from_ref(&item)).await;
            assert!(matches!(refused, Ok(ref all) if *all == [Err(ErrorCode::CardNotLive)]) || refused == Err(ErrorCode::Busy));
        }
        stop.store(true, Ordering::SeqCst);
        let mut answered = 0;
        for asker in askers {
            answered += asker.await.unwrap();
        }
        assert!(answered > 0, "nothing was answered before");
        assert_eq!(town.journal().await.len(), journal, "a record was written after the receipt");
        is_gone(&town, "hanako", "tax", ErrorCode::CardNotLive).await;
    }
}

test! {
    async fn the_connections_of_a_revoked_card_have_ended_when_the_receipt_comes(folder) {
        let town = Town::working(folder).await;
        let mut revoked = town.connection("hanako").await;
        let mut other = town.connection("taro").await;
        let request = b"GET /v1/status HTTP/1.1\r\nHost: main\r\n\r\n";
        for stream in [&mut revoked, &mut other] {
            stream.write_all(request).await.unwrap();
            assert!(stream.read_u8().await.is_ok());
        }
        let order = town.kms.order([revoke_card("hanako")], ONE);
        town.bring(&order, None).await.unwrap();
        let ended = async {
            let mut rest = Vec::new();
            let _ = revoked.read_to_end(&mut rest).await;
        };
        // An idle connection ends by itself only after ten seconds.
        let soon = std::time::Duration::from_secs(5);
        tokio::time::timeout(soon, ended).await.expect("the connection is still open");
        other.write_all(request).await.unwrap();
        assert!(other.read_u8().await.is_ok());
    }
}

test! {
    async fn what_was_asked_before_a_shredding_is_over_before_its_receipt(folder) {
        let town = Arc::new(Town::working(folder).await);
        let busy = async |count: usize| {
            let deadline = tokio::time::Instant::now() + PATIENCE;
            while (town.pool().size() as usize).saturating_sub(town.pool().num_idle()) < count {
                assert!(tokio::time::Instant::now() < deadline);
                tokio::task::yield_now().await;
            }
        };
        for round in 0..5 {
            let label = format!("file {round}");
            // Both wait for the database: the one between check and audit record, the other before it marks the file.
            let lock = town.pool().begin_with("BEGIN IMMEDIATE").await.unwrap();
            let asked = {
                let (town, label) = (town.clone(), label.clone());
                tokio::spawn(async move { town.open("hanako", "tax", &label).await })
            };
            busy(2).await;
            let brought = {
                let order = town.kms.order([Act::FileShredded { file: file_id(&label) }], TWO);
                let town = town.clone();
                tokio::spawn(async move { town.bring(&order, None).await })
            };
            busy(3).await;
            lock.rollback().await.unwrap();
            brought.await.unwrap().unwrap();
            let recorded = town.journal().await.len();
            let outcome = asked.await.unwrap();
            assert!(matches!(outcome, Ok(_) | Err(ErrorCode::Shredded)), "{outcome:?}");
            assert_eq!(town.journal().await.len(), recorded, "recorded after the receipt");
            assert_eq!(town.open("hanako", "tax", &label).await, Err(ErrorCode::Shredded));
        }
    }
}

test! {
    async fn the_same_revocation_at_the_same_time_and_again_is_one_receipt(folder) {
        let mut town = Town::working(folder).await;
        let order = town.kms.order([revoke_grant("hanako", "tax")], ONE);
        let bring = |town: &Town| {
            let (client, order) = (town.stranger(), order.clone());
            tokio::spawn(async move {
                let request = RevocationRequest { order, leaves: None };
                loop {
                    match client.post::<Envelope>("/v1/revocations", &request).await {
                        Ok(receipt) => return serde_json::to_vec(&receipt).unwrap(),
                        // Strangers wait for each other.
                        Err(busy) => assert_eq!(code(&busy), ErrorCode::Busy),
                    }
                }
            })
        };
        // By hand, by several, and by the ledger.
        let bringing: Vec<_> = (0..8).map(|_| bring(&town)).collect();
        town.kms.append(order.clone());
        let mut receipts = Vec::new();
        for brought in bringing {
            receipts.push(brought.await.unwrap());
        }
        town.settled().await;
        receipts.push(bring(&town).await.unwrap());
        town.restart().await;
        town.settled().await;
        receipts.push(bring(&town).await.unwrap());
        assert!(receipts.windows(2).all(|pair| pair[0] == pair[1]), "not the same, byte for byte");
        let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM site_revocation").fetch_one(town.pool()).await.unwrap();
        assert_eq!(rows, 1);
        let kept = town.kms.receipt(&order.digest()).await;
        assert!(town.kms.receipts(&order.digest()).iter().all(|receipt| *receipt == kept));
    }
}
