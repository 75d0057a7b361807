//! What other sites have released for this one, from a kms that may alter, withhold, repeat and reorder.

use super::*;
use crate::rotating::{rotated, without_log};
use crate::stage::test;

/// What `mori` routes at `gate`, another site's front desk.
fn from_gate(town: &Town, letters: &[&Letter]) -> Batch {
    let letters: Vec<_> = letters.iter().map(|letter| (*letter, "tax")).collect();
    dispatched(town, "mori", "gate", &letters)
}

test! {
    async fn p_15_5_what_another_site_released_opens_here(folder) {
        let mut town = with_front_desks(folder).await;
        let letters: Vec<Letter> = (0..3).map(|_| Letter::to(&town, "gate")).collect();
        let (first, second) = (from_gate(&town, &[&letters[0], &letters[1]]), from_gate(&town, &[&letters[2]]));
        assert_eq!(ask_routed(&town, "hanako", &letters[0]).await.err(), Some(ErrorCode::NotFound));
        delivered(&town, vec![parcel(&town, 1, &first)]).await;
        assert_eq!(opens_routed(&town, "hanako", "tax", &letters[0]).await, Ok(true));
        assert_eq!(opens_routed(&town, "hanako", "tax", &letters[1]).await, Ok(true));
        // What came before comes again; and what mori may do now is not asked.
        let again = parcel(&town, 1, &first);
        let next = parcel(&town, 2, &second);
        town.kms.done([revoke_member("mori")], TWO);
        delivered(&town, vec![again, next]).await;
        town.restart().await;
        town.until_fresh().await;
        for letter in &letters {
            assert_eq!(opens_routed(&town, "hanako", "tax", letter).await, Ok(true));
        }
        assert_eq!(parts_kept(&town).await, 3);
    }
}

test! {
    async fn p_15_5_what_waited_while_its_sender_got_other_keys_is_taken(folder) {
        let town = with_front_desks(folder).await;
        let letters: Vec<Letter> = (0..2).map(|_| Letter::to(&town, "gate")).collect();
        let waited = parcel(&town, 1, &from_gate(&town, &[&letters[0]]));
        town.kms.done(rotated("branch", without_log("branch 2")), TWO);
        // Signed with the former key when that counted for nothing any more.
        let late = parcel(&town, 2, &from_gate(&town, &[&letters[1]]));
        delivered(&town, vec![waited, late]).await;
        assert_eq!(opens_routed(&town, "hanako", "tax", &letters[0]).await, Ok(true));
        assert_eq!(ask_routed(&town, "hanako", &letters[1]).await.err(), Some(ErrorCode::NotFound));
        assert_eq!(parts_kept(&town).await, 1);
    }
}

test! {
    async fn p_15_5_nothing_is_taken_that_was_altered_or_is_not_for_this_site(folder) {
        let town = with_front_desks(folder).await;
        let letter = Letter::to(&town, "gate");
        let batch = from_gate(&town, &[&letter]);
        let good = parcel(&town, 1, &batch);
        let released = |change: &dyn Fn(&mut Released), signer: &str| {
            let mut statement: Released = good.released.statement().unwrap();
            change(&mut statement);
            Parcel { released: signed(&statement, [format!("{signer} signing")]), ..good.clone() }
        };
        let shown = |change: &dyn Fn(&mut Parcel)| {
            let mut parcel = good.clone();
            change(&mut parcel);
            parcel
        };
        let other = from_gate(&town, &[&Letter::to(&town, "gate")]);
        let by_michi = dispatched(&town, "michi", "front", &[(&letter, "tax")]);
        let cases: Vec<(&str, Parcel)> = vec![
            ("signed by the kms", released(&|_| (), "kms")),
            ("signed by nobody", shown(&|p| p.released.signatures.clear())),
            ("for another site", released(&|r| r.to = id("branch"), "branch")),
            ("of another organization", released(&|r| r.organization = Digest([1; 32]), "branch")),
            ("of other slips", released(&|r| r.slips = other.slips.digest(), "branch")),
            ("of no slip", released(&|r| r.parts[0].index = 1, "branch")),
            ("from a site that is none", released(&|r| r.site = id("nowhere"), "branch")),
            ("for a unit that its sender does not serve", parcel(&town, 1, &by_michi)),
            ("another file", shown(&|p| p.slips.shown[0].slip.ephemeral = public("another"))),
            ("another target", shown(&|p| p.slips.shown[0].slip.target = id("team"))),
            ("without proof", shown(&|p| p.slips.shown[0].slip.index = 1)),
            ("another batch", shown(&|p| p.slips.slips = other.slips.clone())),
            ("slips that nobody signed", shown(&|p| p.slips.slips.signatures.clear())),
            ("slips that somebody else signed", shown(&|p| {
                let slips: Slips = p.slips.slips.statement().unwrap();
                p.slips.slips = signed(&slips, ["hanako 9C".to_owned()]);
            })),
        ];
        for ((what, bad), place) in cases.into_iter().zip(1..) {
            delivered(&town, vec![Parcel { place, ..bad }]).await;
            assert_eq!(parts_kept(&town).await, 0, "{what}");
        }
        // An altered part is taken for what it is: nothing that opens.
        let altered = released(&|r| r.parts[0].sealed.0[112] ^= 1, "branch");
        delivered(&town, vec![Parcel { place: 50, ..altered }]).await;
        assert_eq!(ask_routed(&town, "hanako", &letter).await.err(), Some(ErrorCode::NotFound));
    }
}

test! {
    async fn p_15_12_a_kms_that_counts_anew_is_read_from_the_beginning(folder) {
        let mut town = with_front_desks(folder).await;
        let letters: Vec<Letter> = (0..2).map(|_| Letter::to(&town, "gate")).collect();
        let [before, after] = [&letters[0], &letters[1]].map(|letter| from_gate(&town, &[letter]));
        delivered(&town, vec![parcel(&town, 500, &before)]).await;
        // It was restored from a backup, which has fewer.
        let anew = parcel(&town, 1, &after);
        town.kms.set(|data| data.parcels = vec![anew]);
        town.restart().await;
        town.until_fresh().await;
        let taken = async {
            while parts_kept(&town).await < 2 {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(crate::town::PATIENCE, taken).await.expect("nothing is taken any more");
        for letter in &letters {
            assert_eq!(opens_routed(&town, "hanako", "tax", letter).await, Ok(true));
        }
    }
}

test! {
    async fn p_15_5_a_site_that_has_left_releases_nothing_any_more(folder) {
        let town = with_front_desks(folder).await;
        let (letter, later) = (Letter::to(&town, "gate"), Letter::to(&town, "gate"));
        let (batch, after) = (from_gate(&town, &[&letter]), from_gate(&town, &[&later]));
        delivered(&town, vec![parcel(&town, 1, &batch)]).await;
        town.kms.done([Act::SiteRemoved { site: id("branch") }], TWO);
        town.settled().await;
        delivered(&town, vec![parcel(&town, 2, &after)]).await;
        assert_eq!(ask_routed(&town, "hanako", &later).await.err(), Some(ErrorCode::NotFound));
        // What it released before stays what it is.
        assert_eq!(opens_routed(&town, "hanako", "tax", &letter).await, Ok(true));
    }
}

test! {
    async fn p_15_13_garbage_of_one_dispatcher_keeps_nobody_from_what_another_routed(folder) {
        let town = with_front_desks(folder).await;
        // The same letter lies at two front desks; one of their dispatchers seals nonsense, again and again.
        let letter = Letter::to(&town, "front");
        for _ in 0..6 {
            let nonsense = PartialX::from_bytes(&[7; 32]);
            let drawn = Drawn::by(&town, "mori", "gate").add(&town, &letter, "tax", &nonsense, None);
            let place = town.kms.data().parcels.len() as u64 + 1;
            delivered(&town, vec![parcel(&town, place, &drawn.signed_by("mori"))]).await;
        }
        let batch = dispatched(&town, "michi", "front", &[(&letter, "tax")]);
        assert_eq!(route(&town, "michi", &batch).await, all_taken());
        let parts = ask_routed(&town, "hanako", &letter).await.unwrap();
        assert_eq!(parts.len(), 2, "one of each");
        let opened = parts.iter().filter_map(|part| taken_apart(&town, "hanako", "tax", part));
        assert_eq!(opened.filter(|(card, site)| letter.opens(card, site)).count(), 1);
    }
}

test! {
    async fn p_15_7_a_file_goes_on_from_the_unit_that_it_came_to(folder) {
        let town = with_front_desks(folder).await;
        let letter = Letter::to(&town, "gate");
        let came = from_gate(&town, &[&letter]);
        delivered(&town, vec![parcel(&town, 1, &came)]).await;
        let parts = ask_routed(&town, "hanako", &letter).await.unwrap();
        let (card_x, _) = taken_apart(&town, "hanako", "tax", &parts[0]).unwrap();
        let origin = SlipId { slips: came.slips.digest(), index: 0 };
        let expires_at = came.slips.statement::<Slips>().unwrap().expires_at;
        let on = |origin, target: &str, and: u64| {
            let mut drawn = Drawn::by(&town, "hanako", "tax");
            drawn.slips.expires_at = expires_at + and;
            drawn.add(&town, &letter, target, &card_x, Some(origin)).signed_by("hanako")
        };
        let unknown = SlipId { index: 1, ..origin };
        for bad in [on(unknown, "team", 0), on(origin, "team", 1)] {
            assert_eq!(route(&town, "hanako", &bad).await, refused(&[(0, ErrorCode::NotFound)]));
        }
        assert_eq!(route(&town, "hanako", &on(origin, "tax", 0)).await, refused(&[(0, ErrorCode::NotATarget)]));
        let forwarded = on(origin, "team", 0);
        assert_eq!(route(&town, "hanako", &forwarded).await, all_taken());
        assert_eq!(opens_routed(&town, "taro", "team", &letter).await, Ok(true));
        assert_eq!(ask_routed(&town, "taro", &letter).await.unwrap()[0].way.len(), 2);

        // With the first slip ends what went on from it.
        let order = town.kms.done([revoke_slips(&came, Some(0))], ONE);
        town.kms.receipt(&order).await;
        assert_eq!(ask_routed(&town, "taro", &letter).await.err(), Some(ErrorCode::NotFound));
        assert_eq!(parts_kept(&town).await, 0);
    }
}
