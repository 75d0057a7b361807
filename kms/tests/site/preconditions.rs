//! I2: a partial leaves only if every single thing that P-7.2 asks for is there.

use warifu_api::error::ErrorCode;
use warifu_console::Settings as _;
use warifu_ledger::statement::Act;

use crate::people::*;
use crate::stage::test;
use crate::town::{Town, ask, code, request};

test! {
    async fn a_live_card_gets_its_partial_and_the_journal_knows(folder) {
        let town = Town::working(folder).await;
        town.opens("hanako", "tax").await;
        let me = town.me("hanako").await.unwrap();
        assert_eq!((me.site, me.card, me.member), (id("main"), card_id("hanako"), id("hanako")));
        assert_eq!(me.grants.len(), 1);
        assert_eq!(me.grants[0].grant, grant_id("hanako", "tax"));
        assert_eq!(me.grants[0].card_point.0, shares("hanako", "tax").0);
        let journal = town.journal().await;
        assert_eq!(journal.len(), 1);
        assert_eq!((journal[0].card, journal[0].member), (card_id("hanako"), id("hanako")));
        assert_eq!((journal[0].grant, journal[0].unit), (grant_id("hanako", "tax"), id("tax")));
        assert_eq!(journal[0].file, file_id("a file"));

        // A batch: every item its own outcome, and one entry for each partial.
        let good = |label| (grant_id("hanako", "tax"), file(label).to_uncompressed().to_vec());
        let foreign = (grant_id("taro", "team"), file("c").to_uncompressed().to_vec());
        let outcomes = ask(&town.card("hanako"), &[good("b"), foreign, good("d")]).await.unwrap();
        assert_eq!(outcomes[0], Ok(expected("hanako", "tax", "b")));
        assert_eq!(outcomes[1], Err(ErrorCode::GrantNotLive));
        assert_eq!(outcomes[2], Ok(expected("hanako", "tax", "d")));
        assert_eq!(town.journal().await.len(), 3);
        assert_eq!(ask(&town.card("hanako"), &[]).await, Ok(vec![]));
    }
}

test! {
    async fn names_come_from_the_kms_and_are_not_needed(folder) {
        let mut town = Town::working(folder).await;
        let named = async |town: &Town| {
            let deadline = tokio::time::Instant::now() + crate::town::PATIENCE;
            loop {
                let me = town.me("hanako").await.unwrap();
                if me.grants[0].unit_name == "tax 様" && me.member_name.as_deref() == Some("hanako 様") {
                    return;
                }
                assert!(tokio::time::Instant::now() < deadline, "no names: {me:?}");
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        named(&town).await;
        town.restart().await;
        town.until_fresh().await;
        assert_eq!(town.me("hanako").await.unwrap().grants[0].unit_name, "tax 様");
        let me = town.me("jiro").await.unwrap();
        assert_eq!((me.member_name, me.grants.len()), (None, 0));
    }
}

test! {
    async fn a_key_that_no_officer_enrolled_is_nobody(folder) {
        let town = Town::working(folder).await;
        let item = (grant_id("hanako", "tax"), file("a").to_uncompressed().to_vec());
        for client in [town.client(Some("mallory 9A")), town.client(Some("hanako 9C")), town.stranger()] {
            assert_eq!(ask(&client, std::slice::from_ref(&item)).await, Err(ErrorCode::CardNotLive));
            let me = client.get::<warifu_api::wire::site::Me>("/v1/me").await.unwrap_err();
            assert_eq!(code(&me), ErrorCode::CardNotLive);
            let events = client.events("/v1/events").await.map(|_| ()).unwrap_err();
            assert_eq!(code(&events), ErrorCode::CardNotLive);
        }
        // Enrolled, but another's grant.
        assert_eq!(ask(&town.card("jiro"), &[item]).await, Ok(vec![Err(ErrorCode::GrantNotLive)]));
        assert!(town.journal().await.is_empty());
    }
}

test! {
    async fn a_grant_that_is_not_issued_or_is_elsewhere_is_not_served(folder) {
        let town = Town::working(folder).await;
        let kms = &town.kms;
        kms.done([unit("archive", None, &["branch"])], TWO);
        kms.create("archive");
        kms.done([grant("hanako", "archive"), grant("jiro", "tax")], ONE);
        town.settled().await;
        assert_eq!(town.open("jiro", "tax", "a").await, Err(ErrorCode::NotReady));
        kms.issue("hanako", "archive", &["branch"]);
        town.settled().await;
        assert_eq!(town.open("hanako", "archive", "a").await, Err(ErrorCode::NotServedHere));
        assert!(!town.key_pairs().contains(&grant_id("hanako", "archive")));
        assert!(!kms.data().grant_keys.contains_key(&grant_id("hanako", "archive")));
        assert!(town.journal().await.is_empty());
        // Issued, and the share is not here yet.
        kms.until("a grant key", |data| data.grant_keys.contains_key(&grant_id("jiro", "tax"))).await;
        kms.issue("jiro", "tax", &["main"]);
        town.settled().await;
        assert_eq!(town.open("jiro", "tax", "a").await, Err(ErrorCode::NotServedHere));
        assert!(town.me("jiro").await.unwrap().grants.is_empty());
    }
}

test! {
    async fn a_share_of_another_point_is_not_kept(folder) {
        let town = Town::working(folder).await;
        let kms = &town.kms;
        kms.done([grant("jiro", "tax")], ONE);
        let jiro = grant_id("jiro", "tax");
        kms.until("a grant key", |data| data.grant_keys.contains_key(&jiro)).await;
        // The kms wraps hanako's share to the key for jiro's grant.
        let key = kms.data().grant_keys[&jiro];
        kms.set(|data| {
            data.grant_keys.insert(grant_id("hanako", "tax"), key);
        });
        let wrong = kms.wrap("hanako", "tax");
        let right = kms.wrap("jiro", "tax");
        kms.set(|data| drop(data.wraps.insert(jiro, wrong)));
        kms.issue("jiro", "tax", &["main"]);
        town.settled().await;
        assert_eq!(town.open("jiro", "tax", "a").await, Err(ErrorCode::NotServedHere));
        assert!(kms.data().wraps.contains_key(&jiro), "a wrong share was acknowledged");
        kms.set(|data| drop(data.wraps.insert(jiro, right)));
        kms.until("an acknowledgement", |data| !data.wraps.contains_key(&jiro)).await;
        town.opens("jiro", "tax").await;
    }
}

test! {
    async fn a_grant_and_a_contract_end_by_site_time_without_a_message(folder) {
        let town = Town::working(folder).await;
        town.kms.done([grant_until("jiro", "tax", Some(T0 + DAY))], ONE);
        town.give("jiro", "tax", &["main"]).await;
        town.settled().await;
        town.opens("jiro", "tax").await;
        town.clock.advance_ms(DAY);
        town.until_status("a stamp of the next day", |s| s.time.is_some_and(|time| time >= T0 + DAY)).await;
        assert_eq!(town.open("jiro", "tax", "a").await, Err(ErrorCode::GrantExpired));
        assert!(town.me("jiro").await.unwrap().grants.is_empty());
        town.opens("taro", "team").await;

        town.clock.advance_ms(ACME_ENDS - T0 - DAY);
        town.until_status("a stamp after the contract", |s| s.time.is_some_and(|time| time >= ACME_ENDS)).await;
        assert_eq!(town.open("taro", "team", "a").await, Err(ErrorCode::ContractOver));
        assert_eq!(town.me("taro").await.map(|_| ()), Err(ErrorCode::ContractOver));
        town.opens("hanako", "tax").await;
    }
}

test! {
    async fn a_suspended_card_waits_until_it_is_resumed(folder) {
        let town = Town::working(folder).await;
        town.opens("hanako", "tax").await;
        let order = town.kms.done([suspend("hanako")], ONE);
        let receipt = town.kms.receipt(&order).await;
        assert!(receipt.destroyed.is_empty());
        assert_eq!(town.open("hanako", "tax", "a").await, Err(ErrorCode::CardSuspended));
        assert_eq!(town.me("hanako").await.map(|_| ()), Err(ErrorCode::CardSuspended));
        let order = town.kms.done([resume("hanako")], ONE);
        town.kms.receipt(&order).await;
        town.opens("hanako", "tax").await;
    }
}

test! {
    async fn a_shredded_file_stays_shut_and_the_others_open(folder) {
        let town = Town::working(folder).await;
        assert!(town.open("hanako", "tax", "secret").await.is_ok());
        let order = town.kms.done([Act::FileShredded { file: file_id("secret") }], TWO);
        let receipt = town.kms.receipt(&order).await;
        assert!(receipt.destroyed.is_empty());
        assert_eq!(town.open("hanako", "tax", "secret").await, Err(ErrorCode::Shredded));
        town.opens("hanako", "tax").await;

        // By hand, before the ledger has it; two people have to sign.
        let shred = || [Act::FileShredded { file: file_id("a file") }];
        let one = town.kms.order(shred(), ONE);
        assert_eq!(town.bring(&one, None).await, Err(ErrorCode::Rejected));
        town.opens("hanako", "tax").await;
        let two = town.kms.order(shred(), TWO);
        town.bring(&two, None).await.unwrap();
        assert_eq!(town.open("hanako", "tax", "a file").await, Err(ErrorCode::Shredded));
    }
}

test! {
    async fn what_is_no_point_never_reaches_the_hsm(folder) {
        let town = Town::working(folder).await;
        let r = file("a").to_uncompressed().to_vec();
        let mut off_curve = r.clone();
        off_curve[64] ^= 1;
        let mut hybrid = r.clone();
        hybrid[0] = 6;
        let compressed = file("a").to_compressed().to_vec();
        let bad = [off_curve, hybrid, compressed, vec![0], vec![], vec![4; 64], vec![4; 66], vec![0; 65]];
        let items: Vec<_> = bad.into_iter().map(|r| (grant_id("hanako", "tax"), r)).collect();
        let outcomes = ask(&town.card("hanako"), &items).await.unwrap();
        assert!(outcomes.iter().all(|outcome| *outcome == Err(ErrorCode::InvalidPoint)), "{outcomes:?}");
        assert!(town.journal().await.is_empty());
    }
}

test! {
    async fn too_much_at_once_is_refused_before_anything_durable(folder) {
        let town = Town::working(folder).await;
        let item = (grant_id("hanako", "tax"), file("a").to_uncompressed().to_vec());
        let card = town.card("hanako");
        assert_eq!(ask(&card, &vec![item.clone(); 257]).await, Err(ErrorCode::TooLarge));
        assert_eq!(ask(&card, &vec![item.clone(); 5000]).await, Err(ErrorCode::TooLarge));
        assert!(town.journal().await.is_empty());
        let outcomes = ask(&card, &vec![item.clone(); 256]).await.unwrap();
        assert!(outcomes.iter().all(Result::is_ok));
        assert_eq!(town.journal().await.len(), 256);

        // One is served, three wait, the others are turned away.
        let batch = vec![item; 256];
        let asked: Vec<_> = (0..12)
            .map(|_| {
                let (card, batch) = (town.card("hanako"), batch.clone());
                tokio::spawn(async move { ask(&card, &batch).await.map(|outcomes| outcomes.len()) })
            })
            .collect();
        let mut served = 0;
        for one in asked {
            match one.await.unwrap() {
                Ok(256) => served += 1,
                outcome => assert_eq!(outcome, Err(ErrorCode::Busy)),
            }
        }
        assert!(served >= 4, "only {served} were served");
        assert_eq!(town.journal().await.len(), 256 * (1 + served));
    }
}

test! {
    async fn malformed_requests_get_a_clear_answer(folder) {
        let town = Town::working(folder).await;
        let card = town.card("hanako");
        for body in ["", "{", "{}", "{\"items\":[],\"more\":1}", "{\"items\":[]}x", "{\"items\":[{\"grant\":\"AB\"}]}"] {
            for path in ["/v1/partials", "/v1/revocations"] {
                let bytes = axum::body::Bytes::from_static(body.as_bytes());
                let (status, answer) = card.forward(axum::http::Method::POST, path, bytes).await.unwrap();
                let answer: warifu_api::ErrorBody = serde_json::from_slice(&answer).unwrap();
                assert_eq!((status.as_u16(), answer.code), (400, ErrorCode::Malformed), "{path} {body}");
            }
        }
        let missing = card.get::<warifu_api::wire::Done>("/v1/nothing").await.unwrap_err();
        assert_eq!(code(&missing), ErrorCode::NotFound);
    }
}

test! {
    async fn without_a_durable_audit_record_nothing_is_computed(folder) {
        let town = Town::working(folder).await;
        let item = [(grant_id("hanako", "tax"), file("a").to_uncompressed().to_vec())];
        // With the key pair gone, whoever computes fails with another code: the record comes before the computation.
        town.hsm().grant_key_destroy(&grant_id("hanako", "tax").to_string()).unwrap();
        assert_eq!(ask(&town.card("hanako"), &item).await, Ok(vec![Err(ErrorCode::NotServedHere)]));
        assert_eq!(town.journal().await.len(), 1, "the record was not there before the HSM was asked");
        sqlx::query("ALTER TABLE site_journal RENAME TO elsewhere").execute(town.pool()).await.unwrap();
        assert_eq!(ask(&town.card("hanako"), &item).await, Err(ErrorCode::StorageUnavailable));
        // And where the HSM could compute, nothing leaves.
        let item = [(grant_id("taro", "team"), file("a").to_uncompressed().to_vec())];
        assert_eq!(ask(&town.card("taro"), &item).await, Err(ErrorCode::StorageUnavailable));
        sqlx::query("ALTER TABLE elsewhere RENAME TO site_journal").execute(town.pool()).await.unwrap();
        town.opens("taro", "team").await;
        assert_eq!(town.journal().await.len(), 2);
    }
}

test! {
    async fn a_damaged_journal_is_not_continued(folder) {
        let town = Town::working(folder).await;
        town.opens("hanako", "tax").await;
        sqlx::query("UPDATE site_journal SET card = ?")
            .bind(card_id("jiro").as_bytes().as_slice())
            .execute(town.pool())
            .await
            .unwrap();
        let item = [(grant_id("hanako", "tax"), file("a").to_uncompressed().to_vec())];
        let answer = request(&town.card("hanako"), &item).await.map(|_| ()).unwrap_err();
        assert_eq!(code(&answer), ErrorCode::Internal);
    }
}

test! {
    async fn a_site_follows_one_organization_and_says_who_it_is(folder) {
        let mut town = Town::founded(folder).await;
        let config = &town.config;
        let bytes = std::fs::read(config.statement()).unwrap();
        let envelope: warifu_ledger::dsse::Envelope = serde_json::from_slice(&bytes).unwrap();
        let statement: warifu_ledger::statement::ServiceStatement =
            envelope.verified(&town.keys.signing).unwrap();
        assert_eq!(statement.address.as_deref(), Some("main.example:8443"));
        assert_eq!(statement.keys, town.keys);
        // Again changes nothing.
        let again = warifu_kms::site::command::init(config, None, None).unwrap();
        assert_eq!(again.digest(), envelope.digest());

        // Before the ledger knows it, it answers nobody.
        town.start().await;
        assert_eq!(code(&town.status().await.unwrap_err()), ErrorCode::NotFounded);
        let order = town.kms.order([revoke_card("midori")], TWO);
        assert_eq!(town.bring(&order, None).await, Err(ErrorCode::NotFounded));
    }
}

test! {
    async fn the_certificate_that_the_ca_issued_is_shown_once_it_is_there(folder) {
        let town = Town::working(folder).await;
        let shown = async || {
            let connection = town.connection("hanako").await;
            connection.get_ref().1.peer_certificates().unwrap()[0].to_vec()
        };
        // One over another key is not.
        let other = certificate_chain(&public("mallory").0);
        town.kms.set(|data| data.chain = Some(other.clone()));
        let first = shown().await;
        let chain = certificate_chain(&town.keys.tls.0);
        town.kms.set(|data| data.chain = Some(chain.clone()));
        let deadline = tokio::time::Instant::now() + crate::town::PATIENCE;
        loop {
            let now = shown().await;
            if now == chain[0] {
                break;
            }
            assert_eq!(now, first);
            assert!(tokio::time::Instant::now() < deadline, "it is not shown");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        town.opens("hanako", "tax").await;
    }
}
