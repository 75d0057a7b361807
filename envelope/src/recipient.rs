//! Recipients as people pass them on: `age1tag1…`.

use age_core::primitives::{bech32_decode, bech32_encode};
use bech32::Hrp;
use bech32::primitives::decode::CheckedHrpstringError;
use sha2::{Digest as _, Sha256};
use warifu_split_key::point::{Point, PointError};

const HRP: Hrp = Hrp::parse_unchecked("age1tag");
/// How many bytes of the hash a fingerprint shows. Whoever wants another key with the same one must find it among 2^128: two keys
/// of his own that agree help nobody.
const FINGERPRINT: usize = 16;

/// The text form of a unit key: Bech32 of the compressed point, with the prefix `age1tag`.
#[derive(Debug)]
pub enum UnitRecipient {}

/// Why a text is not a unit's recipient.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecipientError {
    /// Not Bech32: a typing error, most likely.
    #[error("this is not a recipient; was it copied completely?")]
    Encoding(#[source] CheckedHrpstringError),
    /// A recipient or identity of another type.
    #[error("this begins with {prefix}1, not with age1tag1")]
    Prefix {
        /// The prefix that was found, before the separating `1`.
        prefix: String,
    },
    /// Not 33 bytes.
    #[error("a recipient holds 33 bytes, not {length}")]
    Length {
        /// How many bytes it holds.
        length: usize,
    },
    /// Not a compressed point of P-256.
    #[error("this recipient holds no point of P-256")]
    Point(#[source] PointError),
}

impl UnitRecipient {
    /// The `age1tag1…` text of a unit key.
    pub fn encode(point: &Point) -> String {
        bech32_encode(HRP, &point.to_compressed())
    }

    /// What people read to each other to know that both have the same unit key: the first 16 bytes of SHA-256 over the
    /// characters of [`encode`](Self::encode), as eight groups of four lowercase hexadecimal digits.
    pub fn fingerprint(point: &Point) -> String {
        let hash = Sha256::digest(Self::encode(point));
        let pairs: Vec<String> = hash.iter().take(FINGERPRINT).map(|byte| format!("{byte:02x}")).collect();
        pairs.chunks(2).map(<[String]>::concat).collect::<Vec<_>>().join(" ")
    }

    /// Reads an `age1tag1…` text.
    pub fn parse(text: &str) -> Result<Point, RecipientError> {
        bech32_decode(
            text,
            RecipientError::Encoding,
            |hrp| match hrp == HRP {
                true => Ok(()),
                // An identity typed in by mistake must not end up in an error message: only its prefix does.
                false => Err(RecipientError::Prefix { prefix: hrp.to_lowercase() }),
            },
            |_, bytes| {
                let bytes: Vec<u8> = bytes.collect();
                match bytes.len() {
                    33 => Point::from_sec1(&bytes).map_err(RecipientError::Point),
                    length => Err(RecipientError::Length { length }),
                }
            },
        )
    }
}
