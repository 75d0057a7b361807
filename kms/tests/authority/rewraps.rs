//! A site comes later to a grant, or again: the kms carries another site's wrap to it (P-6.8 to P-6.10).

use warifu_api::wire::Done;
use warifu_api::wire::authority::{Holdings, Rewrap, Rewraps, Wrap};
use warifu_api::{ClientError, ErrorCode};
use warifu_hardware::hsm::wrap::wrap_share;
use warifu_ledger::Id;
use warifu_ledger::dsse::Envelope;
use warifu_ledger::key::{Bytes, PublicKey};
use warifu_ledger::statement::{Act, GrantKey};

use crate::fixture::*;
use crate::stage::{code, staged};
use crate::town::Town;
use crate::town::*;

/// The site states another key for the grant than the one it had.
async fn states_another(town: &Town, site: &str, card: &str, unit: &str) -> (Envelope, PublicKey) {
    let key = public_of(&format!("{site} again for {card} opens {unit}"));
    let statement = GrantKey { key, ..town.grant_key(site, card, unit).await };
    let envelope = envelope_by_services(&statement, &[site]);
    let _: Done = town.site(site).post("/v1/grant-keys", &envelope).await.unwrap();
    (envelope, key)
}

/// What a site would wrap to that key.
fn wrapped_to(key: PublicKey) -> Rewrap {
    let (_, site_share) = site_share_of("hanako", "tax");
    let wrapped = wrap_share(&mut rng(), &key.0, &site_share).unwrap();
    Rewrap { key, wrapped: Bytes(wrapped.to_bytes()) }
}

fn rng() -> rand_core::UnwrapErr<getrandom::SysRng> {
    rand_core::UnwrapErr(getrandom::SysRng)
}

fn site_share_of(card: &str, unit: &str) -> (Id, Vec<u8>) {
    let delta = issuer_half(unit).delta(&card_share(card, unit)).unwrap();
    let share = keeper_half(unit).site_share(delta).unwrap();
    (grant_id(card, unit), share.to_pkcs8_der().to_vec())
}

async fn asked(town: &Town, site: &str) -> Rewraps {
    town.site(site).get("/v1/rewraps").await.unwrap()
}

async fn give(town: &Town, by: &str, to: &str, rewrap: &Rewrap) -> Result<Done, ClientError> {
    let path = format!("/v1/wraps/{}/{}", grant_id("hanako", "tax"), id(to));
    town.site(by).put(&path, rewrap).await
}

async fn acknowledge(town: &Town, site: &str) {
    let _: Done = town.site(site).delete(&format!("/v1/wraps/{}", grant_id("hanako", "tax"))).await.unwrap();
}

async fn refuse(town: &Town, site: &str) -> Result<Done, ClientError> {
    town.site(site).post(&format!("/v1/wraps/{}/refusal", grant_id("hanako", "tax")), &Done {}).await
}

async fn holdings(town: &Town, card: &str, site: &str) -> Result<Holdings, ClientError> {
    town.card(card).get(&format!("/v1/sites/{}/holdings", id(site))).await
}

/// How many there are, and how many are held; of the others, those are named of which nothing lies ready.
fn counts(holdings: Holdings) -> (u64, u64) {
    assert!(holdings.missing.len() as u64 <= holdings.grants - holdings.held);
    (holdings.grants, holdings.held)
}

/// `tax` is served by a third site.
fn tax_of_three() -> Act {
    let mut act = unit("tax");
    if let Act::UnitOrdered { sites, .. } = &mut act {
        sites.insert(id("dmz"));
    }
    act
}

staged! {
    async fn a_site_that_comes_later_gets_its_shares_from_another(stage) {
        let town = Town::open_to_all(&stage).await;
        town.done([site("dmz")], TWO).await;
        assert_eq!(code(town.give_key("dmz", "hanako", "tax").await), ErrorCode::NotServedHere);
        let sites = Some(ids(&["main", "branch", "dmz"]));
        let (unit, none) = (id("tax"), None);
        town.done([Act::UnitChanged { unit, name: none, sites, routes_to: None, two_people: None, own_pcs: None }], TWO)
            .await;
        assert_eq!(counts(holdings(&town, "sakura", "dmz").await.unwrap()), (1, 0));
        let waiting = asked(&town, "main").await;
        assert!(waiting.keys.is_empty() && waiting.outstanding, "not without the site's own key");
        town.give_key("dmz", "hanako", "tax").await.unwrap();
        assert_eq!(asked(&town, "branch").await.keys.len(), 1);
        give(&town, "branch", "dmz", &wrapped_to(public(&grant_key("dmz", "hanako", "tax")))).await.unwrap();
        let wrap = town.wrap("dmz", "hanako", "tax").await.unwrap();
        let b = unwrap(&wrap, &grant_key("dmz", "hanako", "tax"));
        let (_, pkcs8) = site_share_of("hanako", "tax");
        assert!(pkcs8.windows(32).any(|window| window == b));
        acknowledge(&town, "dmz").await;
        assert_eq!(counts(holdings(&town, "sakura", "dmz").await.unwrap()), (1, 1));
        assert!(!asked(&town, "main").await.outstanding);
    }

    async fn a_site_that_was_taken_off_asks_anew(stage) {
        let town = Town::open_to_all(&stage).await;
        let (_, b) = site_share_of("hanako", "tax");
        let serve = async |sites: &[&str]| {
            let (unit, sites) = (id("tax"), Some(ids(sites)));
            let act =
                Act::UnitChanged { unit, name: None, sites, routes_to: None, two_people: None, own_pcs: None };
            town.done([act], TWO).await;
        };
        serve(&["main"]).await;
        assert_eq!(code(town.wrap("branch", "hanako", "tax").await), ErrorCode::NotServedHere);
        assert_eq!(code(town.give_key("branch", "hanako", "tax").await), ErrorCode::NotServedHere);
        serve(&["main", "branch"]).await;
        assert_eq!(counts(holdings(&town, "sakura", "branch").await.unwrap()), (2, 1));
        // With the same key: what it had is forgotten all the same.
        town.give_key("branch", "hanako", "tax").await.unwrap();
        assert_eq!(asked(&town, "main").await.keys.len(), 1);
        let key = public(&grant_key("branch", "hanako", "tax"));
        give(&town, "main", "branch", &wrapped_to(key)).await.unwrap();
        let wrap = town.wrap("branch", "hanako", "tax").await.unwrap();
        let scalar = unwrap(&wrap, &grant_key("branch", "hanako", "tax"));
        assert!(b.windows(32).any(|window| window == scalar));
        acknowledge(&town, "branch").await;
        assert_eq!(counts(holdings(&town, "sakura", "branch").await.unwrap()), (2, 2));
        // Or it never noticed, and says again what it has.
        serve(&["main"]).await;
        serve(&["main", "branch"]).await;
        acknowledge(&town, "branch").await;
        assert_eq!(counts(holdings(&town, "sakura", "branch").await.unwrap()), (2, 2));
    }

    async fn a_site_without_its_share_gets_it_from_another(stage) {
        let town = Town::open_to_all(&stage).await;
        town.done([site("dmz")], TWO).await;
        let nothing = asked(&town, "main").await;
        assert!(nothing.keys.is_empty() && !nothing.outstanding);
        assert_eq!(counts(holdings(&town, "sakura", "branch").await.unwrap()), (2, 2));

        let (statement, key) = states_another(&town, "branch", "hanako", "tax").await;
        assert_eq!(counts(holdings(&town, "sakura", "branch").await.unwrap()), (2, 1));
        let now = asked(&town, "main").await;
        // The site's own statement, signature and all.
        assert_eq!(now.keys.iter().map(Envelope::digest).collect::<Vec<_>>(), [statement.digest()]);
        now.keys[0].verify(&public_of("branch signing")).unwrap();
        assert!(now.outstanding);
        for other in ["branch", "dmz"] {
            assert!(asked(&town, other).await.keys.is_empty(), "{other}");
        }

        let rewrap = wrapped_to(key);
        give(&town, "main", "branch", &rewrap).await.unwrap();
        let fetched: Wrap = town.wrap("branch", "hanako", "tax").await.unwrap();
        assert_eq!(fetched.wrapped, rewrap.wrapped);
        assert_eq!(code(town.wrap("main", "hanako", "tax").await), ErrorCode::NotFound, "for nobody else");
        // One wrap suffices, and the first stays.
        give(&town, "main", "branch", &wrapped_to(key)).await.unwrap();
        assert_eq!(town.wrap("branch", "hanako", "tax").await.unwrap().wrapped, rewrap.wrapped);

        acknowledge(&town, "branch").await;
        assert_eq!(code(town.wrap("branch", "hanako", "tax").await), ErrorCode::NotFound);
        let nothing = asked(&town, "main").await;
        assert!(nothing.keys.is_empty() && !nothing.outstanding);
        assert_eq!(counts(holdings(&town, "sakura", "branch").await.unwrap()), (2, 2));
        // Nor is one kept that comes too late.
        give(&town, "main", "branch", &rewrap).await.unwrap();
        assert_eq!(code(town.wrap("branch", "hanako", "tax").await), ErrorCode::NotFound);
    }

    async fn only_a_site_that_has_the_share_gives_it_to_one_that_serves(stage) {
        let town = Town::open_to_all(&stage).await;
        town.done([site("dmz")], TWO).await;
        let (_, key) = states_another(&town, "branch", "hanako", "tax").await;
        let rewrap = wrapped_to(key);
        assert_eq!(code(give(&town, "branch", "branch", &rewrap).await), ErrorCode::Forbidden, "itself");
        assert_eq!(code(give(&town, "dmz", "branch", &rewrap).await), ErrorCode::NotServedHere);
        assert_eq!(code(give(&town, "main", "dmz", &rewrap).await), ErrorCode::NotServedHere);
        assert_eq!(code(give(&town, "main", "nowhere", &rewrap).await), ErrorCode::NotServedHere);
        let other = wrapped_to(public_of("another key"));
        assert_eq!(code(give(&town, "main", "branch", &other).await), ErrorCode::Rejected);
        let short = Rewrap { wrapped: Bytes(vec![4; 80]), ..wrapped_to(key) };
        assert_eq!(code(give(&town, "main", "branch", &short).await), ErrorCode::Malformed);
        for stranger in [town.ca(), town.card("hanako"), town.stranger()] {
            let path = format!("/v1/wraps/{}/{}", grant_id("hanako", "tax"), id("branch"));
            assert_eq!(code(stranger.put::<Done>(&path, &rewrap).await), ErrorCode::Forbidden);
            assert_eq!(code(stranger.get::<Rewraps>("/v1/rewraps").await), ErrorCode::Forbidden);
        }
        assert_eq!(code(holdings(&town, "hanako", "main").await), ErrorCode::Forbidden);
        assert_eq!(code(holdings(&town, "sakura", "nowhere").await), ErrorCode::NotFound);

        // A site that lost its own share is asked for none, and gives none.
        let (_, main_key) = states_another(&town, "main", "hanako", "tax").await;
        assert!(asked(&town, "main").await.keys.is_empty());
        assert_eq!(code(give(&town, "main", "branch", &rewrap).await), ErrorCode::Forbidden);
        assert_eq!(code(give(&town, "branch", "main", &wrapped_to(main_key)).await), ErrorCode::Forbidden);
    }

    async fn a_revoked_grant_is_carried_to_nobody(stage) {
        let town = Town::open_to_all(&stage).await;
        let (_, key) = states_another(&town, "branch", "hanako", "tax").await;
        give(&town, "main", "branch", &wrapped_to(key)).await.unwrap();
        states_another(&town, "branch", "taro", "team").await;
        town.done([revoke_grant("hanako", "tax"), end_contract("acme")], ONE).await;
        assert_eq!(code(town.wrap("branch", "hanako", "tax").await), ErrorCode::GrantNotLive);
        assert_eq!(code(give(&town, "main", "branch", &wrapped_to(key)).await), ErrorCode::GrantNotLive);
        let nothing = asked(&town, "main").await;
        assert!(nothing.keys.is_empty() && !nothing.outstanding);
        assert_eq!(counts(holdings(&town, "sakura", "branch").await.unwrap()), (0, 0));
        let envelope = envelope_by_services(&town.grant_key("branch", "hanako", "tax").await, &["branch"]);
        let late = town.site("branch").post::<Done>("/v1/grant-keys", &envelope).await;
        assert_eq!(code(late), ErrorCode::GrantNotLive);
    }

    async fn a_key_behind_many_of_grants_that_are_over_is_found(stage) {
        let town = Town::open_to_all(&stage).await;
        let (statement, _) = states_another(&town, "branch", "hanako", "tax").await;
        // More than are read at once, and all before it: of grants that the ledger does not know.
        let mut database = stage.database().await;
        for number in 1..=600_u128 {
            for insert in [
                "INSERT INTO grant_key SELECT $4, site, key, statement FROM grant_key
                 WHERE grant_id = $1 AND site = $2 AND site <> $3",
                "INSERT INTO acknowledgement SELECT $4, site FROM acknowledgement
                 WHERE grant_id = $1 AND site = $3 AND site <> $2",
            ] {
                let done = sqlx::query(insert)
                    .bind(grant_id("hanako", "tax").as_bytes().as_slice())
                    .bind(id("branch").as_bytes().as_slice())
                    .bind(id("main").as_bytes().as_slice())
                    .bind(number.to_be_bytes().as_slice())
                    .execute(&mut database)
                    .await
                    .unwrap();
                assert_eq!(done.rows_affected(), 1);
            }
        }
        let now = asked(&town, "main").await;
        assert_eq!(now.keys.iter().map(Envelope::digest).collect::<Vec<_>>(), [statement.digest()]);
        assert!(now.outstanding);
    }

    async fn a_site_whose_wrap_is_refused_is_asked_no_more(stage) {
        let town = Town::founded(&stage).await;
        town.done([site("main"), site("branch"), site("dmz")], TWO).await;
        town.done([tax_of_three()], TWO).await;
        town.create("tax").await;
        town.done([enrol("hanako"), grant("hanako", "tax")], ONE).await;
        town.give_key("dmz", "hanako", "tax").await.unwrap();
        town.issue("hanako", "tax").await;
        for site in ["main", "branch", "dmz"] {
            acknowledge(&town, site).await;
        }
        let (_, key) = states_another(&town, "dmz", "hanako", "tax").await;
        assert_eq!(code(refuse(&town, "dmz").await), ErrorCode::NotFound, "there is none");
        give(&town, "main", "dmz", &wrapped_to(key)).await.unwrap();
        assert_eq!(code(refuse(&town, "branch").await), ErrorCode::NotFound, "it is not for this one");
        refuse(&town, "dmz").await.unwrap();
        assert_eq!(code(town.wrap("dmz", "hanako", "tax").await), ErrorCode::NotFound);
        let main = asked(&town, "main").await;
        assert!(main.keys.is_empty() && main.outstanding);
        assert_eq!(asked(&town, "branch").await.keys.len(), 1);
        // Once nobody is left, all are asked again: it may have been the disk of the site itself.
        give(&town, "branch", "dmz", &wrapped_to(key)).await.unwrap();
        refuse(&town, "dmz").await.unwrap();
        for site in ["main", "branch"] {
            assert_eq!(asked(&town, site).await.keys.len(), 1, "{site}");
        }
    }

    // A wrap of the kms's own is the only one there is, as long as no other site has a share.
    async fn a_wrap_of_the_kms_is_not_refused_away(stage) {
        let town = Town::working(&stage).await;
        town.done([grant("hanako", "tax")], ONE).await;
        town.issue("hanako", "tax").await;
        assert_eq!(code(refuse(&town, "main").await), ErrorCode::NotFound);
        town.wrap("main", "hanako", "tax").await.unwrap();
    }
}
