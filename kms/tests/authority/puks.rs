//! Cards' PUKs: sealed to officers, kept for officers.

use warifu_api::wire::Done;
use warifu_api::wire::authority::{PukEscrow, SealedPuk};
use warifu_api::{Client, ClientError, ErrorCode};
use warifu_ledger::key::Bytes;
use warifu_ledger::statement::Role;

use crate::fixture::*;
use crate::stage::{code, staged};
use crate::town::Town;

fn sealed_to(cards: &[&str]) -> PukEscrow {
    let seal = |card: &&str| SealedPuk {
        transport: public(&card_key(card, "9D")),
        sealed: Bytes(vec![7; SealedPuk::LENGTH]),
    };
    PukEscrow { seals: cards.iter().map(seal).collect() }
}

async fn keep(by: &Client, card: &str, escrow: &PukEscrow) -> Result<Done, ClientError> {
    by.post(&format!("/v1/cards/{}/puk", card_id(card)), escrow).await
}

async fn kept(by: &Client, card: &str) -> Result<PukEscrow, ClientError> {
    by.get(&format!("/v1/cards/{}/puk", card_id(card))).await
}

staged! {
    async fn a_puk_is_the_officers_business_alone(stage) {
        let town = Town::working(&stage).await;
        let escrow = sealed_to(&["sakura", "kenji"]);
        for (who, client) in [
            ("taro", town.card("taro")),
            ("a stranger", town.stranger()),
            ("the ca", town.ca()),
            ("a site", town.site("main")),
        ] {
            assert_eq!(code(keep(&client, "hanako", &escrow).await), ErrorCode::Forbidden, "{who}");
        }
        assert_eq!(code(kept(&town.card("sakura"), "hanako").await), ErrorCode::NotFound);
        keep(&town.card("hanako"), "hanako", &escrow).await.unwrap();
        for (who, client) in [
            ("the card itself", town.card("hanako")),
            ("taro", town.card("taro")),
            ("a stranger", town.stranger()),
            ("the ca", town.ca()),
        ] {
            assert_eq!(code(kept(&client, "hanako").await), ErrorCode::Forbidden, "{who}");
        }
        // An administrator revokes cards, and unblocks none.
        town.done([roles("jiro", &[Role::Administrator])], TWO).await;
        assert_eq!(code(kept(&town.card("jiro"), "hanako").await), ErrorCode::Forbidden);
        assert_eq!(kept(&town.card("kenji"), "hanako").await.unwrap(), escrow);

        // An officer seals it anew.
        let anew = sealed_to(&["sakura", "kenji", "midori"]);
        keep(&town.card("kenji"), "hanako", &anew).await.unwrap();
        drop(town);
        let town = Town::open(&stage).await;
        assert_eq!(kept(&town.card("sakura"), "hanako").await.unwrap(), anew, "after a restart");
    }

    async fn a_puk_that_nobody_could_open_is_refused(stage) {
        let town = Town::working(&stage).await;
        let mut short = sealed_to(&["sakura"]);
        short.seals[0].sealed.0.pop();
        for (what, bad) in [
            ("nobody", sealed_to(&[])),
            ("a member", sealed_to(&["sakura", "taro"])),
            ("one card twice", sealed_to(&["sakura", "sakura"])),
            ("a short one", short),
        ] {
            assert_eq!(code(keep(&town.card("hanako"), "hanako", &bad).await), ErrorCode::Malformed, "{what}");
        }
        town.done([suspend("kenji")], ONE).await;
        let suspended = keep(&town.card("hanako"), "hanako", &sealed_to(&["kenji"])).await;
        assert_eq!(code(suspended), ErrorCode::Malformed, "a suspended officer's card");
        assert_eq!(code(kept(&town.card("sakura"), "hanako").await), ErrorCode::NotFound);
    }

    async fn the_puk_of_a_card_that_is_over_is_deleted(stage) {
        let town = Town::working(&stage).await;
        let escrow = sealed_to(&["sakura", "kenji"]);
        for card in ["hanako", "taro", "jiro"] {
            keep(&town.card(card), card, &escrow).await.unwrap();
        }
        town.done([revoke_card("hanako")], ONE).await;
        town.done([revoke_member("taro")], ONE).await;
        for card in ["hanako", "taro"] {
            assert_eq!(code(kept(&town.card("sakura"), card).await), ErrorCode::NotFound, "{card}");
        }
        assert_eq!(kept(&town.card("sakura"), "jiro").await.unwrap(), escrow);
        let again = keep(&town.card("sakura"), "hanako", &escrow).await;
        assert_eq!(code(again), ErrorCode::NotFound, "a revoked card");
    }
}
