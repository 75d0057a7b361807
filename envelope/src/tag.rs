//! The `p256tag` stanza (C2SP `age.md`, "The p256tag recipient type"): HPKE to a P-256 point, and a short tag by which
//! the point's owner recognizes it without asking a card.

use base64::Engine;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use hkdf::Hkdf;
use sha2::{Digest, Sha256};
use warifu_split_key::hpke::{self, OpenError};
use warifu_split_key::partial::Candidate;
use warifu_split_key::point::{Point, PointError};

use crate::file_key::FileKey;
use crate::header::Stanza;

const KIND: &str = "p256tag";
/// HPKE info of the wrapping and HKDF salt of the tag.
const LABEL: &[u8] = b"age-encryption.org/p256tag";

/// A stanza addressed to a unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagStanza {
    /// Says for whom the stanza is, up to one chance in 2³²; see [`TagStanza::matches`].
    pub tag: [u8; 4],
    /// The encapsulated key `R`, on the curve: the only thing of the file that cards and sites see.
    pub enc: Point,
    /// The sealed file key: 16 bytes and the AEAD's tag.
    pub body: [u8; 32],
}

/// Why a `p256tag` stanza is malformed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TagError {
    /// Not exactly two arguments.
    #[error("a p256tag stanza has two arguments, not {count}")]
    Arguments {
        /// How many there are.
        count: usize,
    },
    /// The first argument is not four bytes of canonical base64.
    #[error("the tag is not four bytes of canonical base64")]
    Tag,
    /// The second argument is not 65 bytes of canonical base64.
    #[error("the encapsulated key is not 65 bytes of canonical base64")]
    EncodedKey,
    /// The second argument is not an uncompressed point of the curve.
    #[error("the encapsulated key is not a point of P-256")]
    Key(#[source] PointError),
    /// The body is not 32 bytes.
    #[error("the body is {length} bytes long, not 32")]
    Body {
        /// Its length in bytes.
        length: usize,
    },
}

impl TagStanza {
    /// Reads a stanza; `None` if it is of another type.
    pub fn parse(stanza: &Stanza) -> Result<Option<Self>, TagError> {
        if stanza.kind != KIND {
            return Ok(None);
        }
        let [tag, enc] = stanza.args.as_slice() else {
            return Err(TagError::Arguments { count: stanza.args.len() });
        };
        let tag = decode(tag).ok_or(TagError::Tag)?;
        let enc: [u8; 65] = decode(enc).ok_or(TagError::EncodedKey)?;
        let enc = Point::from_sec1(&enc).map_err(TagError::Key)?;
        let body =
            stanza.body.as_slice().try_into().map_err(|_| TagError::Body { length: stanza.body.len() })?;
        Ok(Some(Self { tag, enc, body }))
    }

    /// Whether the tag is that of `recipient`: the first four bytes of
    /// `HKDF-Extract(salt = label, enc ‖ SHA-256(recipient, compressed)[..4])`.
    ///
    /// A match is a hint: one stanza in 2³² matches by chance, and anyone can put anyone's tag on a stanza.
    pub fn matches(&self, recipient: &Point) -> bool {
        let fingerprint = Sha256::digest(recipient.to_compressed());
        let ikm: Vec<u8> =
            self.enc.to_uncompressed().into_iter().chain(fingerprint.into_iter().take(4)).collect();
        let (prk, _) = Hkdf::<Sha256>::extract(Some(LABEL), &ikm);
        prk.starts_with(&self.tag)
    }

    /// The id by which journals and shredding know this stanza: `SHA-256(x(R))`, 32 bytes.
    pub fn file_id(&self) -> [u8; 32] {
        Sha256::digest(self.enc.x()).into()
    }

    /// SHA-256 of the stanza as it is in the header: its lines, from `->` to the line feed after the body. By it, slips know
    /// the stanza.
    pub fn digest(&self) -> [u8; 32] {
        let [tag, enc] =
            [&self.tag[..], &self.enc.to_uncompressed()].map(|part| BASE64_STANDARD_NO_PAD.encode(part));
        let body = BASE64_STANDARD_NO_PAD.encode(self.body);
        Sha256::digest(format!("-> {KIND} {tag} {enc}\n{body}\n")).into()
    }

    /// Opens the stanza with the candidates that [`warifu_split_key::partial::join`] made of a card's and a site's
    /// partial. There is one error, whatever went wrong.
    pub fn open(&self, candidates: &[Candidate], recipient: &Point) -> Result<FileKey, OpenError> {
        let opened = hpke::open(candidates, &self.enc, recipient, LABEL, &[], &self.body)?;
        let key: &[u8; 16] = opened.as_slice().try_into().map_err(|_| OpenError::DoesNotOpen)?;
        Ok(FileKey::from_bytes(key))
    }
}

fn decode<const N: usize>(argument: &str) -> Option<[u8; N]> {
    BASE64_STANDARD_NO_PAD.decode(argument).ok()?.try_into().ok()
}
