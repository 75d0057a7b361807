//! A town that works through the authority's interface, as its people, ca and sites would.

use std::sync::atomic::{AtomicU32, Ordering};

use p256::ecdsa::SigningKey;
use warifu_api::wire::authority::{
    Appended, CheckpointAnswer, HalfRequest, OrderRequest, ShareRequest, Wrap,
};
use warifu_api::wire::{Done, Leaves, SecretBytes};
use warifu_api::{Client, ClientError};
use warifu_hardware::hsm::WrappedShare;
use warifu_ledger::dsse::Envelope;
use warifu_ledger::key::{Base64, Bytes};
use warifu_ledger::leaf::Leaf;
use warifu_ledger::register::Record;
use warifu_ledger::state::State;
use warifu_ledger::statement::{Act, GrantKey, Order, PublicHalf, Right};
use warifu_ledger::{Digest, Id};
use warifu_split_key::half::{HalfContext, HalfRole};
use warifu_split_key::issuer::CardShare;

use crate::fixture::*;
use crate::stage::{Kms, Stage};

pub(crate) const SITES: &[&str] = &["main", "branch"];
const TEXTS: &[&str] = &[
    "大町市",
    "sakura",
    "kenji",
    "midori",
    "main",
    "branch",
    "dmz",
    "acme",
    "tax",
    "welfare",
    "team",
    "hanako",
    "taro",
    "jiro",
    "goro",
    "gate",
    "front",
    "契約終了",
];

pub(crate) struct Town {
    pub(crate) kms: Kms,
    drawn: AtomicU32,
}

/// The records that acts point to.
pub(crate) fn records_of(acts: &[Act]) -> Vec<Record> {
    let written = serde_json::to_string(acts).unwrap();
    TEXTS.iter().map(|text| record(text)).filter(|r| written.contains(&r.id.to_string())).collect()
}

/// The private half of a site's key pair for a grant.
pub(crate) fn grant_key(site: &str, card: &str, unit: &str) -> SigningKey {
    key(&format!("{site} for {card} opens {unit}"))
}

pub(crate) fn card_share(card: &str, unit: &str) -> CardShare {
    CardShare::from_bytes(Digest::of(format!("{card} opens {unit} a").as_bytes()).as_bytes()).unwrap()
}

/// What an honest ca sends.
pub(crate) fn share_request(card: &str, unit: &str) -> ShareRequest {
    let share = card_share(card, unit);
    let delta = issuer_half(unit).delta(&share).unwrap();
    ShareRequest {
        card_point: share.public().into(),
        delta: SecretBytes(delta.expose_bytes()),
        sealed: Bytes(vec![7; 113]),
    }
}

/// `b`, as the site's HSM would have it.
pub(crate) fn unwrap(wrap: &Wrap, key: &SigningKey) -> Vec<u8> {
    use aes_kw::KeyInit as _;
    let wrapped = WrappedShare::from_bytes(&wrap.wrapped.0).unwrap();
    let ephemeral = p256::PublicKey::from_sec1_bytes(&wrapped.ephemeral().to_uncompressed()).unwrap();
    let shared = p256::ecdh::diffie_hellman(key.as_nonzero_scalar(), ephemeral.as_affine());
    let mut pkcs8 = vec![0; wrapped.blob().len() - 8];
    let pkcs8 =
        aes_kw::KwpAes256::new(shared.raw_secret_bytes()).unwrap_key(wrapped.blob(), &mut pkcs8).unwrap();
    pkcs8[pkcs8.len() - 32..].to_vec()
}

impl Town {
    /// Three officers and nothing else.
    pub(crate) async fn founded(stage: &Stage) -> Self {
        stage.found().await;
        Self::open(stage).await
    }

    pub(crate) async fn open(stage: &Stage) -> Self {
        Self::again(stage.start().await)
    }

    /// The town of an authority that was started again.
    pub(crate) fn again(kms: Kms) -> Self {
        Self { kms, drawn: AtomicU32::new(0) }
    }

    /// Sites `main` and `branch`; the department `tax` and the contract `acme` with its `team`, both with keys; `hanako`,
    /// `taro` (of acme) and `jiro` with cards.
    pub(crate) async fn working(stage: &Stage) -> Self {
        let town = Self::founded(stage).await;
        town.done([site("main"), site("branch"), contract("acme", ACME_ENDS)], TWO).await;
        town.done([unit("tax"), team("team", "acme")], TWO).await;
        town.create("tax").await;
        town.create("team").await;
        town.done([enrol("hanako"), enrol_under("taro", "acme"), enrol("jiro")], ONE).await;
        town
    }

    /// And `hanako` may open `tax`, and `taro` `team`; the sites have their shares.
    pub(crate) async fn open_to_all(stage: &Stage) -> Self {
        let town = Self::working(stage).await;
        town.done([grant("hanako", "tax"), grant("taro", "team")], ONE).await;
        for (card, unit) in [("hanako", "tax"), ("taro", "team")] {
            town.issue(card, unit).await;
            town.acknowledge(card, unit).await;
        }
        town
    }

    pub(crate) fn stranger(&self) -> Client {
        self.kms.stranger()
    }

    pub(crate) fn ca(&self) -> Client {
        self.kms.by(key("ca tls"))
    }

    pub(crate) fn site(&self, label: &str) -> Client {
        self.kms.by(key(&format!("{label} tls")))
    }

    pub(crate) fn card(&self, label: &str) -> Client {
        self.kms.by(card_key(label, "9A"))
    }

    pub(crate) async fn leaves(&self) -> Vec<Leaf> {
        let ca = self.ca();
        let mut leaves = Vec::new();
        loop {
            let page: Leaves = ca.get(&format!("/v1/ledger?from={}", leaves.len())).await.unwrap();
            if page.leaves.is_empty() {
                return leaves;
            }
            leaves.extend(page.leaves.into_iter().map(|leaf| Leaf::from_bytes(leaf.0).unwrap()));
        }
    }

    /// What everybody who reads the ledger comes to.
    pub(crate) async fn state(&self) -> State {
        let leaves = self.leaves().await;
        let first = State::found(&leaves[0]).unwrap();
        leaves[1..].iter().fold(first, |state, leaf| state.apply(leaf).unwrap())
    }

    pub(crate) async fn organization(&self) -> Digest {
        let status: warifu_api::wire::authority::Status = self.stranger().get("/v1/status").await.unwrap();
        status.organization.unwrap()
    }

    pub(crate) async fn checkpoint(&self) -> CheckpointAnswer {
        self.stranger().get("/v1/checkpoint").await.unwrap()
    }

    pub(crate) async fn draft(&self, acts: impl IntoIterator<Item = Act>) -> Order {
        use warifu_replica::clock::Clock as _;
        let drawn = self.drawn.fetch_add(1, Ordering::SeqCst);
        Order {
            organization: self.organization().await,
            id: id(&format!("order {drawn} {}", self.kms.address)),
            expires_at: self.kms.clock.wall_ms() + DAY,
            seen: self.checkpoint().await.note,
            acts: acts.into_iter().collect(),
        }
    }

    pub(crate) async fn request(&self, acts: impl IntoIterator<Item = Act>, cards: &[&str]) -> OrderRequest {
        let order = self.draft(acts).await;
        OrderRequest { envelope: envelope_by_cards(&order, cards), records: records_of(&order.acts) }
    }

    pub(crate) async fn order(
        &self,
        acts: impl IntoIterator<Item = Act>,
        cards: &[&str],
    ) -> Result<Appended, ClientError> {
        let request = self.request(acts, cards).await;
        self.stranger().post("/v1/orders", &request).await
    }

    pub(crate) async fn done(&self, acts: impl IntoIterator<Item = Act>, cards: &[&str]) -> Appended {
        self.order(acts, cards).await.unwrap()
    }

    // As the ca.

    pub(crate) async fn half_request(&self, unit: &str, half: &str) -> HalfRequest {
        let state = self.state().await;
        let order = state.unit(&id(unit)).unwrap().order;
        let organization = state.organization().0;
        let role = HalfRole::Issuer;
        let context = HalfContext { organization, unit: id(unit).0, order: order.0, role };
        let half = issuer_half(half);
        let issuer = PublicHalf { point: half.public().into(), proof: Base64(half.prove(&context).0) };
        HalfRequest { issuer }
    }

    pub(crate) async fn half(&self, unit: &str, half: &str) -> Result<Envelope, ClientError> {
        let request = self.half_request(unit, half).await;
        self.ca().post(&format!("/v1/units/{}/half", id(unit)), &request).await
    }

    pub(crate) async fn fact(&self, mut fact: Envelope) -> Result<Appended, ClientError> {
        add_signature(&mut fact, &key("ca signing"));
        self.ca().post("/v1/facts", &fact).await
    }

    pub(crate) async fn create(&self, unit: &str) -> Appended {
        self.fact(self.half(unit, unit).await.unwrap()).await.unwrap()
    }

    pub(crate) async fn share(&self, grant: Id, request: &ShareRequest) -> Result<Envelope, ClientError> {
        self.ca().post(&format!("/v1/grants/{grant}/share"), request).await
    }

    pub(crate) async fn issue(&self, card: &str, unit: &str) -> Appended {
        for site in SITES {
            self.give_key(site, card, unit).await.unwrap();
        }
        let fact = self.share(grant_id(card, unit), &share_request(card, unit)).await.unwrap();
        self.fact(fact).await.unwrap()
    }

    // As a site.

    pub(crate) async fn grant_key(&self, site: &str, card: &str, unit: &str) -> GrantKey {
        GrantKey {
            organization: self.organization().await,
            site: id(site),
            grant: grant_id(card, unit),
            key: public(&grant_key(site, card, unit)),
        }
    }

    pub(crate) async fn give_key(&self, site: &str, card: &str, unit: &str) -> Result<Done, ClientError> {
        let statement = self.grant_key(site, card, unit).await;
        let envelope = envelope_by_services(&statement, &[site]);
        self.site(site).post("/v1/grant-keys", &envelope).await
    }

    pub(crate) async fn wrap(&self, site: &str, card: &str, unit: &str) -> Result<Wrap, ClientError> {
        self.site(site).get(&format!("/v1/wraps/{}", grant_id(card, unit))).await
    }

    pub(crate) async fn acknowledge(&self, card: &str, unit: &str) {
        for site in SITES {
            let _: Done =
                self.site(site).delete(&format!("/v1/wraps/{}", grant_id(card, unit))).await.unwrap();
        }
    }
}

/// A grant that ends by itself.
pub(crate) fn grant_until(card: &str, unit: &str, end: u64) -> Act {
    grant_with(card, unit, Right::Open, Some(end))
}
