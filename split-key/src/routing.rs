//! Routing without reading: one half's contribution to a file, sealed for whoever shall open it in somebody else's place.
//!
//! A file for a front desk needs `x(aR)` and `x(bR)`, as any other. The dispatcher's card gives the first, which its PC seals
//! to the key `P'` of the target unit; the site gives the second, which it seals to a site of the target. So neither of the
//! two ever has both. Both seals are HPKE base mode (RFC 9180; the suite of [`crate::hpke`]) over the 32 bytes of the
//! x-coordinate, without associated data; their info is [`RoutedFile::info`]: a seal that was made for one file, target and
//! slip opens for no other.

use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::hpke::{self, OpenError, SealError};
use crate::partial::{Candidate, PartialX};
use crate::point::Point;

const DOMAIN: &[u8] = b"warifu/slip/v1";
const ENC: usize = 65;

/// Length of a sealed part in bytes: 65 of encapsulated key, 48 of ciphertext.
pub const SEALED_PART: usize = 113;

/// Whose part of a file is sealed, and so for whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The card's, `x(aR)`, sealed to the target unit; role byte 1.
    Card,
    /// The site's, `x(bR)`, sealed to the site with this id, which serves the target; role byte 2.
    Site([u8; 16]),
}

/// One file on its way from one unit to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoutedFile {
    /// The organization's name: the hash of its founding entry.
    pub organization: [u8; 32],
    /// The id of the slips among which this one is.
    pub slips: [u8; 16],
    /// Its place among them, from 0.
    pub index: u64,
    /// The unit whose file it is, or was routed to before.
    pub unit: [u8; 16],
    /// The grant under which it is routed.
    pub grant: [u8; 16],
    /// `R`, the stanza's encapsulated key.
    pub ephemeral: Point,
    /// SHA-256 of the stanza.
    pub stanza: [u8; 32],
    /// The unit that shall open it.
    pub target: [u8; 16],
    /// The slip by which it came to `unit`, if by one: the digest of the slips, and the place among them.
    pub origin: Option<([u8; 32], u64)>,
    /// The first instant at which it is over: milliseconds since the Unix epoch, UTC.
    pub expires_at: u64,
}

impl RoutedFile {
    /// What the slip says, but for its seal: `"warifu/slip/v1" ‖ organization (32) ‖ slips (16) ‖ index (8) ‖ unit (16) ‖
    /// grant (16) ‖ R (33, compressed) ‖ stanza (32) ‖ target (16) ‖ origin ‖ expires_at (8)`, integers big-endian, `origin`
    /// being `00`, or `01 ‖ digest of the slips (32) ‖ index (8)` (protocol P-15.2).
    #[must_use]
    pub fn encoded(&self) -> Vec<u8> {
        let mut bytes = [
            DOMAIN,
            &self.organization,
            &self.slips,
            &self.index.to_be_bytes(),
            &self.unit,
            &self.grant,
            &self.ephemeral.to_compressed(),
            &self.stanza,
            &self.target,
        ]
        .concat();
        match &self.origin {
            None => bytes.push(0),
            Some((slips, index)) => {
                bytes.push(1);
                bytes.extend_from_slice(slips);
                bytes.extend_from_slice(&index.to_be_bytes());
            }
        }
        bytes.extend_from_slice(&self.expires_at.to_be_bytes());
        bytes
    }

    /// The HPKE info: [`RoutedFile::encoded`] ‖ role (1), and for a site's part its id (16) (protocol P-15.3).
    #[must_use]
    pub fn info(&self, part: Part) -> Vec<u8> {
        let mut info = self.encoded();
        match part {
            Part::Card => info.push(1),
            Part::Site(site) => {
                info.push(2);
                info.extend_from_slice(&site);
            }
        }
        info
    }

    /// Seals a part to `recipient`: the card's to the key of the target unit, the site's to the transport key of its site.
    ///
    /// # Errors
    /// Never for a part; the cipher underneath has a limit.
    pub fn seal(
        &self,
        rng: &mut (impl CryptoRng + ?Sized),
        part: Part,
        recipient: &Point,
        x: &PartialX,
    ) -> Result<[u8; SEALED_PART], SealError> {
        let sealed = hpke::seal(rng, recipient, &self.info(part), &[], x.expose())?;
        let length = sealed.ciphertext.len();
        [&sealed.enc[..], &sealed.ciphertext].concat().try_into().map_err(|_| SealError::TooLong { length })
    }

    /// Opens the card's part, given the candidates for the ECDH of the target's key with the seal's [`ephemeral_of`].
    ///
    /// # Errors
    /// [`OpenError`]: it was sealed to another unit, or for another slip, or is no part.
    pub fn open_card_part(
        &self,
        candidates: &[Candidate],
        target: &Point,
        sealed: &[u8; SEALED_PART],
    ) -> Result<PartialX, OpenError> {
        let (enc, ciphertext) = parts_of(sealed)?;
        part_in(hpke::open(candidates, &enc, target, &self.info(Part::Card), &[], ciphertext)?)
    }

    /// Opens a site's part, given the x-coordinate that the site's HSM computed of its transport key `recipient` and the
    /// seal's [`ephemeral_of`].
    ///
    /// # Errors
    /// [`OpenError`]: it was sealed to another site, or for another slip, or is no part.
    pub fn open_site_part(
        &self,
        x: &PartialX,
        site: [u8; 16],
        recipient: &Point,
        sealed: &[u8; SEALED_PART],
    ) -> Result<PartialX, OpenError> {
        let (enc, ciphertext) = parts_of(sealed)?;
        part_in(hpke::open_with_x(x, &enc, recipient, &self.info(Part::Site(site)), &[], ciphertext)?)
    }
}

/// The encapsulated key of a sealed part: what card and site compute their partials with to open it.
///
/// # Errors
/// [`OpenError`] if it is not on the curve.
pub fn ephemeral_of(sealed: &[u8; SEALED_PART]) -> Result<Point, OpenError> {
    parts_of(sealed).map(|(enc, _)| enc)
}

fn parts_of(sealed: &[u8; SEALED_PART]) -> Result<(Point, &[u8]), OpenError> {
    let (enc, ciphertext) = sealed.split_at(ENC);
    let enc = Point::from_sec1(enc).map_err(|_| OpenError::DoesNotOpen)?;
    Ok((enc, ciphertext))
}

fn part_in(opened: Zeroizing<Vec<u8>>) -> Result<PartialX, OpenError> {
    let x: &[u8; 32] = opened.as_slice().try_into().map_err(|_| OpenError::DoesNotOpen)?;
    Ok(PartialX::from_bytes(x))
}
