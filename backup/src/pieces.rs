//! The key of a backup, and the pieces of it that custodians hold.
//!
//! The key is split byte by byte by Shamir's scheme over GF(2⁸), with uniform coefficients: fewer pieces than the threshold
//! fit every key equally well. Each piece is sealed to one custodian's card (9D) by HPKE under an info that names the
//! organization, the service, the backup and the card, so that no seal can be opened in another's place (P-10.4).

use age_core::primitives::bech32_encode;
use bech32::Hrp;
use rand_core::CryptoRng;
use vsss_rs::Gf256;
use warifu_ledger::key::Bytes;
use warifu_ledger::statement::{BackupPiece, HalfHolder};
use warifu_ledger::{Digest, Id};
use warifu_split_key::hpke::{self, SealError};
use warifu_split_key::partial::PartialX;
use warifu_split_key::point::Point;
use zeroize::{Zeroize as _, Zeroizing};

/// How the text of an age X25519 identity begins (C2SP `age`, "The X25519 recipient type").
const IDENTITY: Hrp = Hrp::parse_unchecked("age-secret-key-");
/// Bytes of a key.
const KEY: usize = 32;
/// Bytes of a piece: its place on the polynomials, then their values there.
const PIECE: usize = KEY + 1;
/// Bytes of the encapsulated key of a sealed piece.
const ENCAPSULATED: usize = 65;
/// Bytes of a sealed piece.
const SEALED: usize = ENCAPSULATED + PIECE + 16;

const PIECE_INFO: &[u8] = b"warifu/backup-piece/v1";
const COMMITMENT: &[u8] = b"warifu/backup-commitment/v1";
const RESTORED_INFO: &[u8] = b"warifu/restored-piece/v1";

/// Why a key cannot be split, or a piece is not what it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PieceError {
    /// A key cannot be split so.
    #[error("a key cannot be split into {pieces} pieces of which {threshold} are enough")]
    Unsplittable {
        /// How many are enough.
        threshold: u8,
        /// Into how many.
        pieces: usize,
    },
    /// A sealed piece has not the form of one.
    #[error("the piece for card {card} has not the form of one")]
    Malformed {
        /// The custodian's card.
        card: Id,
    },
    /// A sealed piece is not for this key, card, backup, service or organization, or was changed. Which, is not told.
    #[error("the piece for card {card} does not open")]
    DoesNotOpen {
        /// The custodian's card.
        card: Id,
    },
    /// What a seal held is not the piece that the service gave this custodian.
    #[error("the piece of card {card} is not the one that the backup was made with")]
    Wrong {
        /// The custodian's card.
        card: Id,
    },
    /// It is too long to be sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
}

/// Which piece: of which backup, and whose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The organization.
    pub organization: Digest,
    /// The service that made the backup.
    pub service: HalfHolder,
    /// The backup.
    pub backup: Id,
    /// The custodian's card.
    pub card: Id,
}

impl Place {
    /// `domain ‖ organization (32) ‖ service (1: 01 ca, 02 kms) ‖ backup (16) ‖ card (16)`.
    fn bytes(&self, domain: &[u8]) -> Vec<u8> {
        let service = [self.service.role().byte()];
        [domain, &self.organization.0, &service, &self.backup.0, &self.card.0].concat()
    }
}

/// The key of one backup: an age X25519 identity, 32 bytes.
pub struct BackupKey(Zeroizing<[u8; KEY]>);

impl BackupKey {
    /// Draws one.
    pub fn draw(rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        let mut bytes = Zeroizing::new([0; KEY]);
        rng.fill_bytes(bytes.as_mut_slice());
        Self(bytes)
    }

    pub(crate) fn identity(&self) -> Option<age::x25519::Identity> {
        let text = Zeroizing::new(bech32_encode(IDENTITY, self.0.as_slice()));
        Zeroizing::new(text.to_uppercase()).parse().ok()
    }

    /// Splits it into as many pieces as asked for, any `threshold` of which are the whole key.
    ///
    /// # Errors
    /// [`PieceError::Unsplittable`] for a threshold below two or above the number of pieces, and for more than 255.
    pub fn split(
        &self,
        threshold: u8,
        pieces: usize,
        rng: &mut impl CryptoRng,
    ) -> Result<Vec<Piece>, PieceError> {
        let split = Gf256::split_bytes(threshold.into(), pieces, self.0.as_slice(), rng);
        let split = split.map_err(|_| PieceError::Unsplittable { threshold, pieces })?;
        Ok(split.into_iter().map(|piece| Piece(Zeroizing::new(piece))).collect())
    }

    /// The key again, if these are enough pieces of one, all different. Too few give another key, or none: whether it is the
    /// right one is told by the file that it opens.
    #[must_use]
    pub fn join(pieces: &[Piece]) -> Option<Self> {
        let mut pieces: Vec<Vec<u8>> = pieces.iter().map(|piece| piece.0.to_vec()).collect();
        let joined = Gf256::combine_bytes(&pieces).map(Zeroizing::new);
        pieces.iter_mut().for_each(|piece| piece.zeroize());
        let joined = joined.ok()?;
        joined.as_slice().try_into().ok().map(|bytes| Self(Zeroizing::new(bytes)))
    }
}

/// A custodian's piece of a key, in the clear.
pub struct Piece(Zeroizing<Vec<u8>>);

impl Piece {
    fn commitment(&self, place: &Place) -> Digest {
        let committed = Zeroizing::new([place.bytes(COMMITMENT).as_slice(), self.0.as_slice()].concat());
        Digest::of(&committed)
    }

    /// Seals it to the custodian's transport key, as the backup carries it.
    ///
    /// # Errors
    /// [`PieceError::Seal`].
    pub fn for_custodian(
        &self,
        place: &Place,
        transport: Point,
        rng: &mut impl CryptoRng,
    ) -> Result<BackupPiece, PieceError> {
        let sealed = seal(rng, &transport, &place.bytes(PIECE_INFO), self)?;
        let commitment = self.commitment(place);
        Ok(BackupPiece { card: place.card, transport: transport.into(), sealed, commitment })
    }

    /// Seals it to the service that restores the backup, for this request (its digest) alone (P-10.6).
    ///
    /// # Errors
    /// [`PieceError::Seal`].
    pub fn for_service(
        &self,
        place: &Place,
        request: &Digest,
        transport: Point,
        rng: &mut impl CryptoRng,
    ) -> Result<Bytes, PieceError> {
        Ok(seal(rng, &transport, &restored_info(place, request), self)?)
    }
}

fn restored_info(place: &Place, request: &Digest) -> Vec<u8> {
    [place.bytes(RESTORED_INFO).as_slice(), request.as_bytes()].concat()
}

fn seal(rng: &mut impl CryptoRng, to: &Point, info: &[u8], piece: &Piece) -> Result<Bytes, SealError> {
    let sealed = hpke::seal(rng, to, info, &[], &piece.0)?;
    Ok(Bytes([&sealed.enc[..], &sealed.ciphertext].concat()))
}

/// A piece as it is sealed, before card or token have multiplied the point in it.
pub struct SealedPiece {
    place: Place,
    encapsulated: Point,
    ciphertext: Vec<u8>,
}

impl SealedPiece {
    /// Reads 65 bytes of encapsulated key and 49 of ciphertext. The point is on the curve: a card or token may see it.
    ///
    /// # Errors
    /// [`PieceError::Malformed`].
    pub fn read(place: Place, sealed: &Bytes) -> Result<Self, PieceError> {
        let malformed = PieceError::Malformed { card: place.card };
        if sealed.0.len() != SEALED {
            return Err(malformed);
        }
        let (encapsulated, ciphertext) = sealed.0.split_at(ENCAPSULATED);
        let encapsulated = Point::from_sec1(encapsulated).map_err(|_| malformed)?;
        Ok(Self { place, encapsulated, ciphertext: ciphertext.to_vec() })
    }

    /// The point whose product with the private key opens it.
    #[must_use]
    pub fn encapsulated(&self) -> Point {
        self.encapsulated
    }

    /// Opens what the backup carries for a custodian with the card's answer to [`Self::encapsulated`], and checks that it is
    /// the piece that the service gave him.
    ///
    /// # Errors
    /// [`PieceError::DoesNotOpen`], [`PieceError::Wrong`].
    pub fn open_with_card(&self, x: &PartialX, piece: &BackupPiece) -> Result<Piece, PieceError> {
        self.open(x, &piece.transport.0, &self.place.bytes(PIECE_INFO), piece)
    }

    /// Opens what the desk sealed to the service that restores, and checks that it is the piece that the backup names.
    ///
    /// # Errors
    /// [`PieceError::DoesNotOpen`], [`PieceError::Wrong`].
    pub fn open_with_token(
        &self,
        x: &PartialX,
        transport: &Point,
        request: &Digest,
        piece: &BackupPiece,
    ) -> Result<Piece, PieceError> {
        self.open(x, transport, &restored_info(&self.place, request), piece)
    }

    fn open(
        &self,
        x: &PartialX,
        recipient: &Point,
        info: &[u8],
        expected: &BackupPiece,
    ) -> Result<Piece, PieceError> {
        let card = self.place.card;
        let opened = hpke::open_with_x(x, &self.encapsulated, recipient, info, &[], &self.ciphertext);
        let piece = Piece(opened.map_err(|_| PieceError::DoesNotOpen { card })?);
        if piece.0.len() != PIECE || piece.commitment(&self.place) != expected.commitment {
            return Err(PieceError::Wrong { card });
        }
        Ok(piece)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Sevens;

    impl rand_core::TryRng for Sevens {
        type Error = std::convert::Infallible;

        fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
            Ok(7)
        }

        fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
            Ok(7)
        }

        fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
            bytes.fill(7);
            Ok(())
        }
    }

    impl rand_core::TryCryptoRng for Sevens {}

    /// One piece of two fits every key: for each there is exactly one second piece.
    #[test]
    fn fewer_pieces_than_the_threshold_tell_nothing() {
        let key = BackupKey(Zeroizing::new([0xa5; KEY]));
        let mut pieces = key.split(2, 2, &mut Sevens).unwrap();
        let mut second = pieces.pop().unwrap();
        let mut keys = std::collections::BTreeSet::new();
        for value in 0..=u8::MAX {
            second.0[1..].fill(value);
            let pieces = [Piece(pieces[0].0.clone()), Piece(second.0.clone())];
            keys.insert(*BackupKey::join(&pieces).unwrap().0);
        }
        assert_eq!(keys.len(), 256);
        assert!(
            (0..KEY).all(|at| keys
                .iter()
                .map(|key| key[at])
                .collect::<std::collections::BTreeSet<_>>()
                .len()
                == 256)
        );
    }

    #[test]
    fn pieces_that_are_none_of_one_key_make_none() {
        let key = BackupKey(Zeroizing::new([0xa5; KEY]));
        let pieces = key.split(2, 2, &mut Sevens).unwrap();
        let again = |at: usize| Piece(pieces[at].0.clone());
        assert!(BackupKey::join(&[]).is_none());
        assert!(BackupKey::join(&[again(0)]).is_none());
        assert!(BackupKey::join(&[again(0), again(0)]).is_none());
        assert!(BackupKey::join(&[again(0), Piece(Zeroizing::new(vec![9; KEY]))]).is_none());
        assert_eq!(*BackupKey::join(&[again(1), again(0)]).unwrap().0, *key.0);
    }
}
