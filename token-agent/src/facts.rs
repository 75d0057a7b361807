//! What a card tells about itself without its PIN.

use std::collections::BTreeMap;

use rustls::pki_types::CertificateDer;
use warifu_api::tls::{card_of_certificate, key_of_certificate};
use warifu_api::wire::agent::{CardCertificate, CardKeys};
use warifu_hardware::card::{Card, CardError, KeyRole, ShareSlot};
use warifu_ledger::Digest;
use warifu_split_key::point::Point;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::time::ASN1Time;

/// What a card tells.
#[derive(Clone, Default)]
pub(crate) struct Facts {
    /// The keys that are there.
    pub(crate) authentication: Option<Point>,
    pub(crate) signature: Option<Point>,
    pub(crate) transport: Option<Point>,
    /// The 9A certificate, DER, if it is for the 9A key.
    pub(crate) certificate: Option<Vec<u8>>,
    /// What it says.
    pub(crate) certificate_says: Option<CardCertificate>,
    /// The shares, by their point `A`.
    pub(crate) shares: BTreeMap<Point, ShareSlot>,
}

impl Facts {
    /// Asks the card.
    pub(crate) fn read(card: &mut dyn Card) -> Result<Self, CardError> {
        let authentication = key(card, KeyRole::Authentication)?;
        let signature = key(card, KeyRole::Signature)?;
        let transport = key(card, KeyRole::Transport)?;
        let certificate = card.certificate(KeyRole::Authentication)?.filter(|der| {
            authentication.is_some()
                && key_of_certificate(&CertificateDer::from(der.as_slice())).ok() == authentication
        });
        let certificate_says = certificate.as_deref().and_then(read_certificate);
        let shares = card
            .shares()?
            .into_iter()
            .filter_map(|share| {
                let point = key_of_certificate(&CertificateDer::from(share.certificate.as_slice())).ok()?;
                Some((point, share.slot))
            })
            .collect();
        Ok(Self { authentication, signature, transport, certificate, certificate_says, shares })
    }

    /// The organization that the card says it is of.
    pub(crate) fn organization(&self) -> Option<Digest> {
        let (organization, _) = self.certificate_says.as_ref()?.member_of?;
        Some(organization)
    }

    /// The three keys, if all are there.
    pub(crate) fn keys(&self) -> Option<CardKeys> {
        Some(CardKeys {
            authentication: self.authentication?.into(),
            signature: self.signature?.into(),
            transport: self.transport?.into(),
        })
    }

    /// Whether the card has been given to somebody: it holds a certificate or a share.
    pub(crate) fn is_personalized(&self) -> bool {
        self.certificate.is_some() || !self.shares.is_empty()
    }
}

fn key(card: &mut dyn Card, role: KeyRole) -> Result<Option<Point>, CardError> {
    match card.public_key(role) {
        Ok(point) => Ok(Some(point)),
        Err(CardError::KeyMissing) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What a certificate says: hints for people; sites go by the key alone (P-7.1).
fn read_certificate(der: &[u8]) -> Option<CardCertificate> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let millis = |time: ASN1Time| u64::try_from(time.timestamp()).unwrap_or_default().saturating_mul(1000);
    let validity = certificate.validity();
    Some(CardCertificate {
        member_of: card_of_certificate(&CertificateDer::from(der)),
        not_before: millis(validity.not_before),
        not_after: millis(validity.not_after),
    })
}
