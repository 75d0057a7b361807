//! What ends slips: their date, an order, a shredding, the end of those who open them; and what a crash leaves.

use warifu_crash_point::CrashPoint;

use super::*;
use crate::rotating::rotated;
use crate::stage::test;

test! {
    async fn p_15_15_revoked_slips_open_nothing_and_nothing_of_them_is_left(folder) {
        let mut town = with_front_desks(folder).await;
        let letters: Vec<Letter> = (0..3).map(|_| Letter::to(&town, "front")).collect();
        let all: Vec<_> = letters.iter().map(|letter| (letter, "tax")).collect();
        let batch = dispatched(&town, "michi", "front", &all);
        assert_eq!(route(&town, "michi", &batch).await, all_taken());
        let copy = town.back_up().await;
        // By hand, before the ledger has it.
        let one = town.kms.order([revoke_slips(&batch, Some(0))], ONE);
        town.bring(&one, None).await.unwrap();
        assert_eq!(parts_kept(&town).await, 2);
        assert_eq!(ask_routed(&town, "hanako", &letters[0]).await.err(), Some(ErrorCode::NotFound));
        assert_eq!(opens_routed(&town, "hanako", "tax", &letters[1]).await, Ok(true));
        // Nor if the dispatcher brings the same slips once more.
        assert_eq!(route(&town, "michi", &batch).await, all_taken());
        assert_eq!(parts_kept(&town).await, 2);
        assert_eq!(ask_routed(&town, "hanako", &letters[0]).await.err(), Some(ErrorCode::NotFound));
        // Not by a copy of the database from before either.
        town.kill().await;
        town.restore(&copy);
        town.start().await;
        town.until_fresh().await;
        assert_eq!(parts_kept(&town).await, 2);
        assert_eq!(ask_routed(&town, "hanako", &letters[0]).await.err(), Some(ErrorCode::NotFound));
        assert_eq!(opens_routed(&town, "hanako", "tax", &letters[1]).await, Ok(true));

        let rest = town.kms.done([revoke_slips(&batch, None)], ONE);
        town.kms.receipt(&rest).await;
        for letter in &letters {
            assert_eq!(ask_routed(&town, "hanako", letter).await.err(), Some(ErrorCode::NotFound));
        }
        assert_eq!(parts_kept(&town).await, 0);
        town.opens("hanako", "tax").await;
    }
}

test! {
    async fn i3_a_receipt_waits_for_no_kms_and_nothing_goes_to_another_site_after_it(folder) {
        let town = with_front_desks(folder).await;
        let letters: Vec<Letter> = (0..2).map(|_| Letter::to(&town, "front")).collect();
        town.kms.set(|data| data.released_wait = true);
        let batch = dispatched(&town, "michi", "front", &[(&letters[0], "team"), (&letters[1], "away")]);
        assert_eq!(route(&town, "michi", &batch).await, all_taken());
        town.kms.until("released parts", |data| data.released.len() == 1).await;
        let order = town.kms.order([revoke_slips(&batch, Some(0))], ONE);
        let receipt = tokio::time::timeout(std::time::Duration::from_secs(10), town.bring(&order, None)).await;
        receipt.expect("it waits for the kms").unwrap();
        town.kms.set(|data| data.released_wait = false);
        // The other slip goes once more, alone.
        town.kms.until("the other part", |data| data.released.len() == 2).await;
        let again: Released = town.kms.data().released[1].released.verified(&town.keys.signing).unwrap();
        assert_eq!(again.parts.iter().map(|part| part.index).collect::<Vec<_>>(), [1]);
    }
}

test! {
    async fn p_15_10_slips_that_go_on_from_nowhere_keep_no_others(folder) {
        let town = with_front_desks(folder).await;
        let letter = Letter::to(&town, "tax");
        let x = by_card("hanako", "tax", &letter.ephemeral);
        let nowhere = SlipId { slips: Digest([3; 32]), index: 0 };
        let mut newest = None;
        // More than are brought at a time.
        for _ in 0..20 {
            let drawn = Drawn::by(&town, "hanako", "tax").add(&town, &letter, "team", &x, None);
            let batch = drawn.add(&town, &letter, "team", &x, Some(nowhere)).signed_by("hanako");
            assert_eq!(route(&town, "hanako", &batch).await, refused(&[(1, ErrorCode::NotFound)]));
            newest = Some(batch);
        }
        let newest = newest.unwrap();
        town.kms.until("all of them", |data| data.released.len() == 20).await;
        assert!(town.kms.data().batches.contains(&newest));
    }
}

test! {
    async fn p_15_6_no_file_is_released_that_was_shredded_nor_to_whom_the_slip_is_not(folder) {
        let town = with_front_desks(folder).await;
        let letters: Vec<Letter> = (0..2).map(|_| Letter::to(&town, "front")).collect();
        let all: Vec<_> = letters.iter().map(|letter| (letter, "tax")).collect();
        let batch = dispatched(&town, "michi", "front", &all);
        assert_eq!(route(&town, "michi", &batch).await, all_taken());
        let order = town.kms.done([Act::FileShredded { file: letters[0].id() }], TWO);
        town.kms.receipt(&order).await;
        assert_eq!(ask_routed(&town, "hanako", &letters[0]).await.err(), Some(ErrorCode::NotFound));
        assert_eq!(parts_kept(&town).await, 1);
        // The card's part is a file of its own: shredded, it opens nothing.
        let seal = warifu_split_key::routing::ephemeral_of(&batch.items[1].seal.0).unwrap();
        assert_eq!(opens_routed(&town, "hanako", "tax", &letters[1]).await, Ok(true));
        let order = town.kms.done([Act::FileShredded { file: Digest::of(&seal.x()) }], TWO);
        town.kms.receipt(&order).await;
        assert_eq!(ask_routed(&town, "hanako", &letters[1]).await.err(), Some(ErrorCode::NotFound));
    }
}

test! {
    async fn p_15_6_the_openers_grant_and_the_lease_and_the_slips_date_decide(folder) {
        let town = with_front_desks(folder).await;
        let letter = Letter::to(&town, "front");
        let mut drawn = Drawn::by(&town, "michi", "front");
        drawn.slips.expires_at = town.kms.now() + 5 * MINUTE;
        let x = by_card("michi", "front", &letter.ephemeral);
        let batch = drawn.add(&town, &letter, "tax", &x, None).signed_by("michi");
        assert_eq!(route(&town, "michi", &batch).await, all_taken());
        town.kms.done([suspend("hanako")], ONE);
        town.settled().await;
        assert_eq!(ask_routed(&town, "hanako", &letter).await.err(), Some(ErrorCode::CardSuspended));
        town.kms.done([resume("hanako")], TWO);
        town.settled().await;
        assert_eq!(opens_routed(&town, "hanako", "tax", &letter).await, Ok(true));

        // No lease, nothing.
        town.kms.set(|data| data.no_stamps = true);
        town.clock.advance_ms(2 * LEASE);
        assert_eq!(ask_routed(&town, "hanako", &letter).await.err(), Some(ErrorCode::LeaseExpired));
        assert_eq!(route(&town, "michi", &batch).await, Err(ErrorCode::LeaseExpired));
        town.kms.set(|data| data.no_stamps = false);
        town.until_fresh().await;
        assert_eq!(opens_routed(&town, "hanako", "tax", &letter).await, Ok(true));

        // Over by its date: refused at once, and gone with the next stamp.
        town.clock.advance_ms(6 * MINUTE);
        town.until_status("a stamp of later", |status| status.time.is_some_and(|time| time >= T0 + 5 * MINUTE)).await;
        assert_eq!(ask_routed(&town, "hanako", &letter).await.err(), Some(ErrorCode::NotFound));
        let deadline = tokio::time::Instant::now() + crate::town::PATIENCE;
        while parts_kept(&town).await != 0 {
            assert!(tokio::time::Instant::now() < deadline, "nothing is swept");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        assert_eq!(route(&town, "michi", &batch).await, Err(ErrorCode::Rejected));
    }
}

test! {
    async fn p_15_10_a_crash_anywhere_loses_no_slip_and_answers_no_other_way(folder) {
        let mut town = with_front_desks(folder).await;
        let points = [
            (CrashPoint::SiteRoutesRecorded, 2),
            (CrashPoint::SiteRoutesKept, 1),
            (CrashPoint::SiteSlipsBrought, 1),
            (CrashPoint::SiteSlipsSettled, 1),
        ];
        for (point, rows) in points {
            let letter = Letter::to(&town, "front");
            let batch = dispatched(&town, "michi", "front", &[(&letter, "team")]);
            town.kill().await;
            let mut process = town.start_process_that_ends_at(point);
            town.until_fresh().await;
            // Answered or not: it is the same batch that is brought again.
            drop(town.card("michi").post::<Routed>("/v1/routes", &batch).await);
            process.ended();
            drop(process);
            town.start().await;
            town.until_fresh().await;
            assert_eq!(route(&town, "michi", &batch).await, all_taken(), "{point:?}");
            assert_eq!(opens_routed(&town, "taro", "team", &letter).await, Ok(true));
            // The next process would settle it as well, and end there.
            nothing_waits(&town).await;
            let digest = batch.slips.digest();
            town.kms
                .until("released parts", |data| {
                    let of = |one: &warifu_api::wire::routing::ReleasedParts| {
                        one.released.statement::<Released>().unwrap().slips == digest
                    };
                    data.released.iter().any(of)
                })
                .await;
            let written = town.journal().await.into_iter().filter(|row| row.file == letter.id());
            let routed = written.filter(|row| row.member == id("michi")).count();
            assert_eq!(routed, rows, "{point:?}");
        }
        // And what comes.
        let letter = Letter::to(&town, "gate");
        let batch = dispatched(&town, "mori", "gate", &[(&letter, "tax")]);
        town.kill().await;
        let mut process = town.start_process_that_ends_at(CrashPoint::SiteParcelTaken);
        let parcel = parcel(&town, 1, &batch);
        town.kms.set(|data| data.parcels.push(parcel));
        process.ended();
        drop(process);
        town.start().await;
        town.until_fresh().await;
        assert_eq!(opens_routed(&town, "hanako", "tax", &letter).await, Ok(true));
        assert_eq!(parts_kept(&town).await, 5);
    }
}

test! {
    async fn p_15_9_what_was_sealed_to_a_former_transport_key_opens_and_the_key_goes(folder) {
        let mut town = with_front_desks(folder).await;
        let letters: Vec<Letter> = ["front", "gate", "gate"].map(|unit| Letter::to(&town, unit)).to_vec();
        let own = dispatched(&town, "michi", "front", &[(&letters[0], "tax")]);
        assert_eq!(route(&town, "michi", &own).await, all_taken());
        let came = dispatched(&town, "mori", "gate", &[(&letters[1], "tax")]);
        delivered(&town, vec![parcel(&town, 1, &came)]).await;
        // Sealed to the key of now, and not fetched before the other one is in its place.
        let late = dispatched(&town, "mori", "gate", &[(&letters[2], "tax")]);
        let late = parcel(&town, 2, &late);

        let waiting = town.waiting();
        town.kms.done(rotated("main", waiting.clone()), TWO);
        town.ended().await;
        town.keys = waiting;
        town.kms.data().parcels.push(late);
        town.start().await;
        town.until_fresh().await;
        town.transport_key_gone("transport").await;
        for letter in &letters {
            assert_eq!(opens_routed(&town, "hanako", "tax", letter).await, Ok(true));
        }
        // By the present key alone.
        town.restart().await;
        town.until_fresh().await;
        for letter in &letters {
            assert_eq!(opens_routed(&town, "hanako", "tax", letter).await, Ok(true));
        }
    }
}
