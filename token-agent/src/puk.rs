//! A card's PUK, sealed to the officers (P-6.6): the kms keeps it and cannot open it; any one officer's card can.

use rand_core::CryptoRng;
use warifu_api::wire::authority::{PukEscrow, SealedPuk};
use warifu_hardware::card::Pin;
use warifu_ledger::key::{Bytes, PublicKey};
use warifu_ledger::{Digest, Id};
use warifu_split_key::hpke::{self, OpenError, SealError};
use warifu_split_key::partial::PartialX;
use warifu_split_key::point::Point;

const INFO: &[u8] = b"warifu/puk/v1";
const ENCAPSULATED: usize = 65;

fn info(organization: &Digest, card: &Id) -> Vec<u8> {
    [INFO, organization.as_bytes(), card.as_bytes()].concat()
}

/// Seals the PUK of `card`, 8 ASCII digits, to each of the officers' transport keys.
///
/// # Errors
/// [`SealError`] does not come for so few bytes.
pub fn seal(
    rng: &mut dyn CryptoRng,
    organization: &Digest,
    card: &Id,
    puk: &[u8],
    officers: &[PublicKey],
) -> Result<PukEscrow, SealError> {
    let info = info(organization, card);
    let seals = officers.iter().map(|transport| {
        let sealed = hpke::seal(rng, &transport.0, &info, &[], puk)?;
        let sealed = Bytes([sealed.enc.as_slice(), &sealed.ciphertext].concat());
        Ok(SealedPuk { transport: *transport, sealed })
    });
    Ok(PukEscrow { seals: seals.collect::<Result<_, SealError>>()? })
}

/// A seal in its parts.
pub struct Seal {
    encapsulated: Point,
    ciphertext: Vec<u8>,
    transport: Point,
    info: Vec<u8>,
}

impl Seal {
    /// The seal to this transport key, if there is one in the right form.
    #[must_use]
    pub fn find(escrow: &PukEscrow, transport: &Point, organization: &Digest, card: &Id) -> Option<Self> {
        let found = escrow.seals.iter().find(|seal| seal.transport.0 == *transport)?;
        if found.sealed.0.len() != SealedPuk::LENGTH {
            return None;
        }
        let (encapsulated, ciphertext) = found.sealed.0.split_at_checked(ENCAPSULATED)?;
        Some(Self {
            encapsulated: Point::from_sec1(encapsulated).ok()?,
            ciphertext: ciphertext.to_vec(),
            transport: *transport,
            info: info(organization, card),
        })
    }

    /// The point that the transport key has to be multiplied with.
    #[must_use]
    pub fn encapsulated(&self) -> &Point {
        &self.encapsulated
    }

    /// Opens it, given the x-coordinate of that product.
    ///
    /// # Errors
    /// [`OpenError`]; also for what is no PUK.
    pub fn open(&self, x: &PartialX) -> Result<Pin, OpenError> {
        let opened =
            hpke::open_with_x(x, &self.encapsulated, &self.transport, &self.info, &[], &self.ciphertext)?;
        Pin::new(&opened).map_err(|_| OpenError::DoesNotOpen)
    }
}

#[cfg(test)]
#[path = "puk/tests.rs"]
mod tests;
