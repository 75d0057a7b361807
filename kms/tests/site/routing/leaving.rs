//! What cards bring: to which slips the site contributes its part, and how that leaves.

use warifu_ledger::slip::LONGEST_SLIP_MS;
use warifu_ledger::statement::Released;

use super::*;
use crate::stage::test;

test! {
    async fn w4_a_file_goes_from_the_front_desk_to_a_unit_and_opens_there(folder) {
        let town = with_front_desks(folder).await;
        let (letter, other) = (Letter::to(&town, "front"), Letter::to(&town, "front"));
        let me = town.me("michi").await.unwrap();
        assert_eq!(me.grants[0].routes_to, [id("tax"), id("team"), id("away")].into());

        assert_eq!(ask_routed(&town, "hanako", &letter).await.err(), Some(ErrorCode::NotFound));
        let batch = dispatched(&town, "michi", "front", &[(&letter, "tax"), (&other, "team")]);
        assert_eq!(route(&town, "michi", &batch).await, all_taken());
        assert_eq!(opens_routed(&town, "hanako", "tax", &letter).await, Ok(true));
        assert_eq!(opens_routed(&town, "taro", "team", &other).await, Ok(true));
        // Each for its own unit alone, and for nobody who has no grant there.
        for (card, letter) in [("hanako", &other), ("taro", &letter), ("jiro", &letter), ("michi", &letter)] {
            assert_eq!(ask_routed(&town, card, letter).await.err(), Some(ErrorCode::NotFound), "{card}");
        }
        // Another file under the same stanza is none that was routed.
        let mut item = letter.clone();
        item.ephemeral = other.ephemeral;
        assert_eq!(ask_routed(&town, "hanako", &item).await.err(), Some(ErrorCode::NotFound));

        // Whoever audits sees who routed it where, and who opened it from where.
        let rows = town.journal().await;
        let of = |file: Digest| rows.iter().filter(move |row| row.file == file).collect::<Vec<_>>();
        let [routed, opened] = of(letter.id())[..] else { panic!("{rows:?}") };
        assert_eq!((routed.member, routed.grant, routed.unit), (id("michi"), grant_id("michi", "front"), id("tax")));
        assert_eq!((opened.member, opened.grant, opened.unit), (id("hanako"), grant_id("hanako", "tax"), id("front")));
        let seal = warifu_split_key::routing::ephemeral_of(&batch.items[0].seal.0).unwrap();
        let [sealed] = of(Digest::of(&seal.x()))[..] else { panic!("{rows:?}") };
        assert_eq!((sealed.member, sealed.unit), (id("hanako"), id("front")), "he did not choose to open this");
    }
}

test! {
    async fn i6_what_leaves_for_other_sites_is_sealed_to_those_of_the_target(folder) {
        let town = with_front_desks(folder).await;
        let letters: Vec<Letter> = (0..3).map(|_| Letter::to(&town, "front")).collect();
        let targets = ["tax", "team", "away"];
        let all: Vec<_> = letters.iter().zip(targets).collect();
        let batch = dispatched(&town, "michi", "front", &all);
        assert_eq!(route(&town, "michi", &batch).await, all_taken());
        town.kms.until("released parts", |data| !data.released.is_empty()).await;
        let (batches, released) = {
            let data = town.kms.data();
            (data.batches.clone(), data.released.clone())
        };
        assert_eq!(batches.as_slice(), std::slice::from_ref(&batch));
        let [released] = &released[..] else { panic!("one other site, one statement") };
        assert_eq!(released.key, public("branch transport"));
        let slips: Slips = batch.slips.statement().unwrap();
        let statement: Released = released.released.verified(&town.keys.signing).unwrap();
        assert_eq!((statement.to, statement.slips), (id("branch"), batch.slips.digest()));
        let indexes: Vec<u64> = statement.parts.iter().map(|part| part.index).collect();
        assert_eq!(indexes, [1, 2], "tax is served here alone");
        let transport = scalar("branch transport");
        for part in &statement.parts {
            let file = batch.items[part.index as usize].routed_file(&slips);
            let ephemeral = warifu_split_key::routing::ephemeral_of(&part.sealed.0).unwrap();
            let x = ecdh(&transport, &ephemeral);
            let key = public("branch transport").0;
            let x = file.open_site_part(&x, id("branch").0, &key, &part.sealed.0).unwrap();
            let letter = &letters[part.index as usize];
            assert!(letter.opens(&by_card("michi", "front", &letter.ephemeral), &x));
        }
        // What is not for the cards here does not stay.
        let deadline = tokio::time::Instant::now() + crate::town::PATIENCE;
        while parts_kept(&town).await != 2 {
            assert!(tokio::time::Instant::now() < deadline);
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        assert_eq!(opens_routed(&town, "hanako", "tax", &letters[0]).await, Ok(true));
        assert_eq!(opens_routed(&town, "taro", "team", &letters[1]).await, Ok(true));
    }
}

test! {
    async fn i6_a_hostile_dispatcher_gets_nothing(folder) {
        let town = with_front_desks(folder).await;
        let letter = Letter::to(&town, "front");
        let x = by_card("michi", "front", &letter.ephemeral);
        let drawn = |target: &str| Drawn::by(&town, "michi", "front").add(&town, &letter, target, &x, None);
        // A unit off the list, his own front desk, one that does not exist.
        for target in ["library", "front", "gate", "nowhere"] {
            let answer = route(&town, "michi", &drawn(target).signed_by("michi")).await;
            assert_eq!(answer, refused(&[(0, ErrorCode::NotATarget)]), "{target}");
        }
        let changed = |change: &dyn Fn(&mut Slips)| {
            let mut drawn = drawn("tax");
            change(&mut drawn.slips);
            drawn.signed_by("michi")
        };
        let now = town.kms.now();
        let cases: [(&str, Batch, ErrorCode); 8] = [
            ("another organization", changed(&|s| s.organization = Digest([1; 32])), ErrorCode::Rejected),
            ("another unit", changed(&|s| s.unit = id("tax")), ErrorCode::Rejected),
            ("somebody else's grant", changed(&|s| (s.grant, s.unit) = (grant_id("hanako", "tax"), id("tax"))), ErrorCode::Rejected),
            ("over", changed(&|s| s.expires_at = now), ErrorCode::Rejected),
            ("too long", changed(&|s| s.expires_at = now + LONGEST_SLIP_MS + 60 * MINUTE), ErrorCode::Rejected),
            ("not signed by the card", drawn("tax").signed_by("jiro"), ErrorCode::Rejected),
            ("no slips", Batch { slips: drawn("tax").signed_by("michi").slips, items: Vec::new() }, ErrorCode::Malformed),
            ("an order", Batch { slips: order_of(&town, &town.kms.done([suspend("jiro")], ONE)), items: Vec::new() }, ErrorCode::Malformed),
        ];
        for (what, batch, code) in cases {
            assert_eq!(route(&town, "michi", &batch).await, Err(code), "{what}");
        }
        let good = drawn("tax").add(&town, &Letter::to(&town, "front"), "tax", &x, None).signed_by("michi");
        let changes: [fn(&mut Batch); 5] = [
            |batch| batch.items[1].index = 0,
            |batch| batch.items.swap(0, 1),
            |batch| batch.items[0].target = id("team"),
            |batch| batch.items[1].ephemeral = public("chosen"),
            |batch| batch.items.truncate(1),
        ];
        for change in changes {
            let mut altered = good.clone();
            change(&mut altered);
            assert_eq!(route(&town, "michi", &altered).await, Err(ErrorCode::Malformed));
        }
        // Somebody else brings them.
        assert_eq!(route(&town, "hanako", &good).await, Err(ErrorCode::GrantNotLive));
        // Where the dispatcher could open.
        town.kms.done([grant("michi", "team")], ONE);
        town.settled().await;
        let answer = route(&town, "michi", &drawn("team").signed_by("michi")).await;
        assert_eq!(answer, refused(&[(0, ErrorCode::NotATarget)]));
        assert!(town.journal().await.is_empty(), "nothing was computed");
        assert_eq!(parts_kept(&town).await, 0);
        assert!(town.kms.data().batches.is_empty());
        // And his grant to route opens nothing.
        assert_eq!(town.open("michi", "front", "a file").await, Err(ErrorCode::Forbidden));

        town.kms.done([suspend("michi")], ONE);
        town.settled().await;
        assert_eq!(route(&town, "michi", &good).await, Err(ErrorCode::CardSuspended));
        town.kms.done([revoke_card("michi")], ONE);
        town.settled().await;
        assert_eq!(route(&town, "michi", &good).await, Err(ErrorCode::CardNotLive));
    }
}

test! {
    async fn i6_a_chosen_ephemeral_key_brings_the_dispatcher_nothing(folder) {
        let town = with_front_desks(folder).await;
        // He knows the discrete logarithm of what he routes, and is granted the target afterwards.
        let mut letter = Letter::to(&town, "front");
        letter.ephemeral = file("chosen");
        let batch = dispatched(&town, "michi", "front", &[(&letter, "tax")]);
        assert_eq!(route(&town, "michi", &batch).await, all_taken());
        town.kms.done([grant("michi", "tax"), grant("yuki", "tax")], ONE);
        town.give("michi", "tax", &["main"]).await;
        town.give("yuki", "tax", &["main"]).await;
        town.settled().await;
        town.opens("michi", "tax").await;
        assert_eq!(ask_routed(&town, "michi", &letter).await.err(), Some(ErrorCode::NotFound));
        assert!(ask_routed(&town, "yuki", &letter).await.is_ok());
    }
}

test! {
    async fn p_15_10_the_same_batch_again_is_answered_as_the_first_time(folder) {
        let mut town = with_front_desks(folder).await;
        let (letter, shredded) = (Letter::to(&town, "front"), Letter::to(&town, "front"));
        town.kms.done([Act::FileShredded { file: shredded.id() }], TWO);
        town.settled().await;
        let letters = [(&letter, "tax"), (&shredded, "tax"), (&letter, "library")];
        let batch = dispatched(&town, "michi", "front", &letters);
        let answer = refused(&[(1, ErrorCode::Shredded), (2, ErrorCode::NotATarget)]);
        assert_eq!(route(&town, "michi", &batch).await, answer);
        let rows = town.journal().await.len();
        assert_eq!(rows, 1);
        assert_eq!(route(&town, "michi", &batch).await, answer);
        town.restart().await;
        town.until_fresh().await;
        assert_eq!(route(&town, "michi", &batch).await, answer);
        assert_eq!(town.journal().await.len(), rows);
        assert_eq!(opens_routed(&town, "hanako", "tax", &letter).await, Ok(true));
    }
}

test! {
    async fn p_15_10_a_batch_of_a_thousand_is_taken_and_nobody_waits_for_it(folder) {
        let town = with_front_desks(folder).await;
        let letter = Letter::to(&town, "front");
        let x = by_card("michi", "front", &letter.ephemeral);
        let mut drawn = Drawn::by(&town, "michi", "front");
        drawn = drawn.add(&town, &letter, "tax", &x, None);
        for index in 1..warifu_ledger::slip::SLIPS_LIMIT {
            let slip = Slip { index, ..drawn.items[0].clone() };
            drawn.items.push(slip);
        }
        let batch = drawn.signed_by("michi");
        let (taken, ()) = tokio::join!(route(&town, "michi", &batch), town.opens("hanako", "tax"));
        assert_eq!(taken, all_taken());
        let mut more = batch;
        more.items.push(more.items[0].clone());
        assert_eq!(route(&town, "michi", &more).await, Err(ErrorCode::Malformed));
    }
}

test! {
    async fn p_15_11_slips_wait_for_a_kms_that_does_not_take_them(folder) {
        let mut town = with_front_desks(folder).await;
        town.kms.set(|data| data.refuse_slips = true);
        let letter = Letter::to(&town, "front");
        let batch = dispatched(&town, "michi", "front", &[(&letter, "away")]);
        assert_eq!(route(&town, "michi", &batch).await, all_taken());
        assert_eq!(parts_kept(&town).await, 1);
        // The dispatcher leaves, and his grant is destroyed: what he routed goes its way.
        let order = town.kms.done([revoke_member("michi")], TWO);
        town.kms.receipt(&order).await;
        town.restart().await;
        town.until_fresh().await;
        assert!(town.kms.data().released.is_empty());
        town.kms.set(|data| data.refuse_slips = false);
        town.kms.until("released parts", |data| !data.released.is_empty()).await;
        assert_eq!(town.kms.data().batches.last(), Some(&batch));
    }
}
