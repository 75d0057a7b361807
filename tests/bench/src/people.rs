//! People and sites whose keys are software.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use p256::ecdsa::signature::hazmat::PrehashSigner as _;
use p256::ecdsa::{Signature, SigningKey};
use warifu_api::Client;
use warifu_api::tls::Identity;
use warifu_api::wire::authority::{Appended, CheckpointAnswer, OrderRequest};
use warifu_hardware::signer::{DigestSigner, SignerError};
use warifu_ledger::Digest;
use warifu_ledger::dsse::Envelope;
use warifu_ledger::key::PublicKey;
use warifu_ledger::statement::{Act, Millis, Order, Statement};
use warifu_split_key::point::Point;

use crate::fixture::{DAY, TWO, card_key, envelope_by_cards, id, key, public, record};

struct Software(SigningKey);

impl DigestSigner for Software {
    fn public_key(&self) -> Point {
        public(&self.0).0
    }

    fn sign_digest(&self, digest: [u8; 32]) -> Result<[u8; 64], SignerError> {
        let signature: Signature = self.0.sign_prehash(&digest).map_err(SignerError::device)?;
        Ok(signature.to_bytes().into())
    }
}

/// A service's key of this label.
pub(crate) fn software(label: &str) -> Arc<dyn DigestSigner> {
    Arc::new(Software(key(label)))
}

/// TLS with a card's 9A key.
pub(crate) fn of_card(card: &str) -> Result<Identity> {
    Ok(Identity::self_signed(Arc::new(Software(card_key(card, "9A"))), card)?)
}

/// TLS with a site's key.
pub(crate) fn of_site(site: &str) -> Result<Identity> {
    Ok(Identity::self_signed(Arc::new(Software(key(&format!("{site} tls")))), site)?)
}

/// A site's signing key, with its public half.
pub(crate) struct Signer(SigningKey, PublicKey);

impl Signer {
    pub(crate) fn of_site(site: &str) -> Self {
        let key = key(&format!("{site} signing"));
        let public = public(&key);
        Self(key, public)
    }

    pub(crate) fn sign(&self, statement: &impl Statement) -> Result<Envelope> {
        let mut envelope = Envelope::unsigned(statement)?;
        let signature: Signature = self.0.sign_prehash(envelope.digest().as_bytes())?;
        envelope.add_signature(&self.1, signature.to_bytes().into());
        Ok(envelope)
    }
}

pub(crate) fn now() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis::try_from(since.as_millis()).unwrap_or_default()
}

/// The officers' desk.
pub(crate) struct Desk {
    pub(crate) kms: Client,
    organization: Digest,
    drawn: u32,
}

impl Desk {
    pub(crate) fn new(address: &str, kms: Point, organization: Digest) -> Result<Self> {
        let kms = Client::new(address, kms, Some(&of_card("sakura")?))?;
        Ok(Self { kms, organization, drawn: 0 })
    }

    /// An order of these acts, signed by two officers, with the records that it points to.
    pub(crate) async fn draft(&mut self, acts: Vec<Act>, names: &[String]) -> Result<OrderRequest> {
        let seen: CheckpointAnswer = self.kms.get("/v1/checkpoint").await?;
        self.drawn += 1;
        let order = Order {
            organization: self.organization,
            id: id(&format!("order {}", self.drawn)),
            expires_at: now() + DAY,
            seen: seen.note,
            acts,
        };
        let records = names.iter().map(|text| record(text)).collect();
        Ok(OrderRequest { envelope: envelope_by_cards(&order, TWO), records })
    }

    pub(crate) async fn order(&mut self, acts: Vec<Act>, names: &[String]) -> Result<Appended> {
        let request = self.draft(acts, names).await?;
        Ok(self.kms.post("/v1/orders", &request).await?)
    }
}
