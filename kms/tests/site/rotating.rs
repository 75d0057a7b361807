//! A site goes on with other keys of its own, and knows those of others (P-4.20, P-4.21).

use warifu_api::wire::Leaves;
use warifu_api::{Client, ClientError};
use warifu_console::ConsoleError;
use warifu_console::keys::{Labels, OwnKeys};
use warifu_hardware::hsm::HsmError;
use warifu_kms::site::{Rate, Settings, Site};
use warifu_ledger::checkpoint::Checkpoint;
use warifu_ledger::key::{Base64, Bytes};
use warifu_ledger::statement::{Act, Order, ServiceId, ServiceKeys, ServiceKind, ServiceStatement};

use crate::people::*;
use crate::rewrapping::{grant_key, sites_of, wraps_among};
use crate::stage::test;
use crate::town::Town;

static LABELS: Labels = Labels { tls: "tls", signing: "signing", log: None, transport: Some("transport") };

impl Town {
    /// New keys that wait in the site's token, by a statement that both have signed.
    pub(crate) fn waiting(&self) -> ServiceKeys {
        let own = OwnKeys::ensure(&self.config.hsm.open().unwrap(), &LABELS).unwrap();
        let (_, envelope) =
            own.rotate(ServiceKind::Site, Some(&self.kms.state()), &self.config.data).unwrap();
        let ServiceStatement { service, keys, address } = envelope.statement().unwrap();
        assert_eq!((service, address), (ServiceKind::Site, None));
        envelope.verify(&self.keys.signing).unwrap();
        envelope.verify(&keys.signing).unwrap();
        assert_eq!(envelope.signatures.len(), 2);
        keys
    }

    /// Nothing is sealed to the transport key with this label any more.
    pub(crate) async fn transport_key_gone(&self, label: &str) {
        let gone = || matches!(self.hsm().agreement_key_there(label), Err(HsmError::KeyMissing { .. }));
        let deadline = tokio::time::Instant::now() + crate::town::PATIENCE;
        while !gone() {
            assert!(tokio::time::Instant::now() < deadline, "the former key is there still");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
}

/// A site speaks with the keys of this label from here on.
pub(crate) fn rotated(site: &str, keys: ServiceKeys) -> [Act; 1] {
    [Act::KeyRotated { service: ServiceId::Site(id(site)), keys }]
}

pub(crate) fn without_log(label: &str) -> ServiceKeys {
    ServiceKeys { log: None, ..service_keys(label) }
}

test! {
    async fn p_4_20_a_site_goes_on_with_the_keys_that_were_ordered(folder) {
        let mut town = Town::working(folder).await;
        let before = town.keys.clone();
        town.kms.done([grant("jiro", "tax")], ONE);
        let wanted = grant_id("jiro", "tax");
        town.kms.until("a key pair", |data| data.grant_keys.contains_key(&wanted)).await;
        town.settled().await;

        let waiting = town.waiting();
        assert_eq!(town.waiting(), waiting, "again, it makes no others");
        town.restart().await;
        town.until_fresh().await;
        town.opens("hanako", "tax").await;

        let posts = town.kms.data().grant_key_posts;
        town.kms.done(rotated("main", waiting.clone()), TWO);
        town.ended().await;
        town.keys = waiting.clone();
        // What is sealed to the former one is still to be sealed anew.
        let own = OwnKeys::ensure(&town.config.hsm.open().unwrap(), &LABELS).unwrap();
        let again = own.rotate(ServiceKind::Site, Some(&town.kms.state()), &town.config.data);
        assert!(matches!(again, Err(ConsoleError::FormerTransportKey)));
        drop(own);
        town.start().await;
        town.until_fresh().await;
        town.opens("hanako", "tax").await;
        // The key pair is what it was, and signed anew: what waits for a share is believed by the site's present key alone.
        town.kms.until("its key once more", |data| data.grant_key_posts > posts).await;
        town.give("jiro", "tax", &["main"]).await;
        town.settled().await;
        town.opens("jiro", "tax").await;
        let order = town.kms.done([revoke_card("jiro")], ONE);
        town.kms.receipt(&order).await;

        let missing = |label: &str| {
            matches!(town.hsm().signing_key_there(label), Err(HsmError::KeyMissing { .. }))
        };
        assert!(missing("tls") && missing("signing"));
        let other = Client::new(town.address(), before.tls.0, None).unwrap();
        let refused = other.get::<serde_json::Value>("/v1/status").await;
        assert!(matches!(refused, Err(ClientError::NotTrusted { .. })));

        // And back into the first place.
        town.transport_key_gone("transport").await;
        let next = town.waiting();
        town.kms.done(rotated("main", next.clone()), TWO);
        town.ended().await;
        town.keys = next;
        town.start().await;
        town.until_fresh().await;
        town.opens("hanako", "tax").await;
        let missing = |label: &str| {
            matches!(town.hsm().signing_key_there(label), Err(HsmError::KeyMissing { .. }))
        };
        assert!(missing("tls-2") && missing("signing-2") && !missing("tls"));
    }
}

test! {
    async fn p_4_21_between_order_and_switch_it_signs_nothing(folder) {
        let mut town = Town::working(folder).await;
        let waiting = town.waiting();
        town.kill().await;
        // It follows and acts, and never comes to its end.
        let pool = Site::database(&town.config.database()).await.unwrap();
        let site = Site::start(Settings {
            pool: pool.clone(),
            hsm: town.config.hsm.open().unwrap(),
            organization: town.config.organization.unwrap(),
            kms_address: town.config.kms.address.clone(),
            kms_tls_key: town.config.kms.key().unwrap().unwrap(),
            data: None,
            clock: town.clock.clone(),
            rate: Rate::default(),
        })
        .await
        .unwrap();
        let has = async |size: u64| {
            let all = async {
                let counted = "SELECT count(*) FROM ledger_leaf";
                while sqlx::query_scalar::<_, i64>(counted).fetch_one(&pool).await.unwrap() < size as i64 {
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(crate::town::PATIENCE, all).await.expect("the leaves did not come");
        };
        // The stream is open, for as long as it lasts.
        town.kms.done([suspend("jiro")], ONE);
        has(town.kms.size()).await;
        town.kms.done(rotated("main", waiting.clone()), TWO);
        let order = town.kms.done([revoke_card("hanako")], ONE);
        has(town.kms.size()).await;
        assert!(town.kms.receipts(&order).is_empty());
        site.shutdown().await;
        pool.close().await;

        town.keys = waiting;
        town.start().await;
        // The kms takes one that is signed with the new key, and no other.
        let receipt = town.kms.receipt(&order).await;
        assert!(receipt.destroyed.contains(&grant_id("hanako", "tax")));
    }
}

test! {
    async fn p_6_9_a_former_key_of_another_site_is_none(folder) {
        let town = Town::working(folder).await;
        let (team, tax) = (grant_id("taro", "team"), grant_id("hanako", "tax"));
        town.kms.done([sites_of("tax", &["main", "branch"])], TWO);
        town.settled().await;
        town.kms.done(rotated("branch", without_log("branch 2")), TWO);
        town.settled().await;
        let stated = |grant, signer: &str| signed(&grant_key(&town, "branch", grant), [format!("{signer} signing")]);
        let (by_the_former, by_the_present) = (stated(team, "branch"), stated(tax, "branch 2"));
        let wrapped = wraps_among(&town, vec![by_the_former, by_the_present]).await;
        assert_eq!(wrapped, [(tax, id("branch"))]);
    }
}

test! {
    async fn p_4_17_leaves_that_are_brought_may_give_the_kms_other_keys(folder) {
        let town = Town::working(folder).await;
        let from = town.kms.data().leaves.len();
        // The site hears of nothing any more.
        town.kms.set(|data| data.shown = Some(from));
        town.kms.done([Act::KeyRotated { service: ServiceId::Kms, keys: service_keys("kms 2") }], TWO);
        let state = town.kms.state();
        let (organization, size) = (state.organization(), state.tree().size());
        let head = Checkpoint { size, root: state.tree().root(size).unwrap() };
        let by = |label: &str| {
            use ed25519_dalek::Signer as _;
            let signature = log_key(label).sign(&head.text(&organization).unwrap());
            let key = Base64(log_key(label).verifying_key().to_bytes());
            head.note(&organization, &key, signature.to_bytes()).unwrap()
        };
        let order = Order {
            organization,
            id: id("by the present kms's word"),
            expires_at: state.last_at() + DAY,
            seen: by("kms 2"),
            acts: vec![revoke_card("hanako")],
        };
        let order = signed(&order, ["sakura 9C".to_owned()]);
        let leaves: Vec<_> = town.kms.data().leaves[from..].to_vec();
        let brought = |label: &str| Leaves {
            from: from as u64,
            leaves: leaves.iter().map(|leaf| Bytes(leaf.as_bytes().to_vec())).collect(),
            checkpoint: by(label),
        };
        town.bring(&order, Some(brought("kms 3"))).await.unwrap_err();
        town.bring(&order, Some(brought("kms"))).await.unwrap_err();
        let receipt = town.bring(&order, Some(brought("kms 2"))).await.unwrap();
        assert_eq!((receipt.folded, receipt.time), (size, None), "the former kms's stamp counts no more");
    }
}
