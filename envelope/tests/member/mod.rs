//! A unit and a member with a split share of it: card and site in software.

use p256::{PublicKey, SecretKey};
use warifu_envelope::{FileKey, Stanza, TagStanza, Unwrap, UnwrapError};
use warifu_split_key::issuer::{CardShare, IssuerHalf};
use warifu_split_key::keeper::{KeeperHalf, SiteShare};
use warifu_split_key::partial::{Candidate, PartialX, join};
use warifu_split_key::point::Point;
use warifu_split_key::unit_key;

/// Both shares of one grant, which only a test may hold together.
pub(crate) struct Member {
    pub(crate) unit: Point,
    card: CardShare,
    site: SiteShare,
}

impl Member {
    /// A member of a new unit.
    pub(crate) fn draw() -> Self {
        let mut rng = rand_core::UnwrapErr(getrandom::SysRng);
        let (s1, s2) = (IssuerHalf::draw(&mut rng), KeeperHalf::draw(&mut rng));
        let unit = unit_key(&s1.public(), &s2.public()).unwrap();
        let card = CardShare::draw(&mut rng);
        let site = s2.site_share(s1.delta(&card).unwrap()).unwrap();
        Self { unit, card, site }
    }

    /// What card and site give for a stanza.
    pub(crate) fn candidates(&self, stanza: &TagStanza) -> [Candidate; 2] {
        let card = partial(&self.card.expose_bytes(), &stanza.enc);
        let site = partial(&self.site.expose_bytes(), &stanza.enc);
        join(&card, &site).unwrap()
    }
}

fn partial(secret: &[u8; 32], r: &Point) -> PartialX {
    let public = PublicKey::from_sec1_bytes(&r.to_uncompressed()).unwrap();
    let shared = SecretKey::from_slice(secret).unwrap().diffie_hellman(&public);
    PartialX::from_bytes(&shared.raw_secret_bytes().0)
}

impl Unwrap for Member {
    fn unwrap_stanzas(&self, stanzas: &[Stanza]) -> Result<FileKey, UnwrapError> {
        for stanza in stanzas {
            let parsed =
                TagStanza::parse(stanza).map_err(|source| UnwrapError::Refused { source: source.into() })?;
            match parsed {
                Some(stanza) if stanza.matches(&self.unit) => {
                    return Ok(stanza.open(&self.candidates(&stanza), &self.unit)?);
                }
                _ => {}
            }
        }
        Err(UnwrapError::NoMatch)
    }
}
