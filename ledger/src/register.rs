//! The register: erasable records that ledger entries point to by random id and commitment.
//!
//! The commitment is under a random key per record, so erasing record and key leaves nothing to guess names against,
//! while the ledger stays verifiable.

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use crate::key::Base64;
use crate::{Digest, Id};

const DOMAIN: &[u8] = b"warifu/record/v1";

/// What a ledger entry holds in place of a name, title or reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Commitment {
    /// The record.
    pub record: Id,
    /// HMAC-SHA-256 under the record's key over `"warifu/record/v1" ‖ id ‖ text`.
    pub digest: Digest,
}

/// A record of the register: personal, erasable.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Random.
    pub id: Id,
    /// Random, 32 bytes.
    pub key: Base64<32>,
    /// The name, title or reason, UTF-8.
    pub text: String,
}

impl Record {
    /// Makes a record of `text` under a fresh id and key.
    pub fn draw(rng: &mut impl rand_core::CryptoRng, text: impl Into<String>) -> Self {
        let mut key = [0; 32];
        let id = Id::draw(rng);
        rng.fill_bytes(&mut key);
        Self { id, key: Base64(key), text: text.into() }
    }

    /// The commitment that a statement carries for this record.
    #[must_use]
    pub fn commitment(&self) -> Commitment {
        #[allow(clippy::expect_used, reason = "HMAC takes keys of any length (RFC 2104 section 2)")]
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key.0).expect("any key length");
        mac.update(DOMAIN);
        mac.update(self.id.as_bytes());
        mac.update(self.text.as_bytes());
        Commitment { record: self.id, digest: Digest(mac.finalize().into_bytes().into()) }
    }

    /// Whether `commitment` is to this record.
    #[must_use]
    pub fn matches(&self, commitment: &Commitment) -> bool {
        let mine = self.commitment();
        mine.record == commitment.record && bool::from(mine.digest.0.ct_eq(&commitment.digest.0))
    }
}

/// The text of a record that names something: a short label for command lines, and the name as people say it.
///
/// Written as `label`, a line feed, `name`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// Lowercase letters, digits and `-`; at most 63 bytes.
    pub label: String,
    /// One line of what can be seen: no control characters, and none that turn the direction of writing or are invisible,
    /// which could make one name look like another (Unicode TR 36 section 3.2, TR 39 section 3). Variation selectors choose
    /// a form of a kanji (UTS 37) and are names' own.
    pub name: String,
}

/// The text is no [`Name`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a label has 1 to 63 lowercase letters, digits and hyphens, and a name is one visible line")]
pub struct NotAName;

impl Name {
    /// Checks label and name.
    ///
    /// # Errors
    /// [`NotAName`].
    pub fn new(label: impl Into<String>, name: impl Into<String>) -> Result<Self, NotAName> {
        let (label, name) = (label.into(), name.into());
        let label_fits = (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !label_fits || !is_visible_line(&name) {
            return Err(NotAName);
        }
        Ok(Self { label, name })
    }

    /// The text of the record.
    #[must_use]
    pub fn to_text(&self) -> String {
        format!("{}\n{}", self.label, self.name)
    }

    /// Reads the text of a record.
    ///
    /// # Errors
    /// [`NotAName`].
    pub fn parse(text: &str) -> Result<Self, NotAName> {
        let (label, name) = text.split_once('\n').ok_or(NotAName)?;
        Self::new(label, name)
    }
}

/// Whether it is one line of what can be seen, as [`Name::name`] has to be.
#[must_use]
pub fn is_visible_line(text: &str) -> bool {
    let visible = |c: char| !c.is_whitespace() && !is_variation_selector(c);
    text.chars().any(visible) && !text.chars().any(is_unseen)
}

/// Standardized variation sequences and ideographic ones.
fn is_variation_selector(c: char) -> bool {
    matches!(c, '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}')
}

/// Characters of the categories Cc, Cf, Zl and Zp, and others that show nothing (`Default_Ignorable_Code_Point`), but for
/// variation selectors.
fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{34f}'
                | '\u{600}'..='\u{605}'
                | '\u{61c}'
                | '\u{6dd}'
                | '\u{70f}'
                | '\u{890}'..='\u{891}'
                | '\u{8e2}'
                | '\u{115f}'..='\u{1160}'
                | '\u{17b4}'..='\u{17b5}'
                | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{2800}'
                | '\u{3164}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff0}'..='\u{fffb}'
                | '\u{110bd}'
                | '\u{110cd}'
                | '\u{13430}'..='\u{1343f}'
                | '\u{1bca0}'..='\u{1bca3}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e00ff}'
                | '\u{e01f0}'..='\u{e0fff}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> Result<Name, NotAName> {
        Name::new("label", name)
    }

    #[test]
    fn names_as_town_halls_write_them() {
        for good in [
            "税務課",
            "信濃 花子",
            "信濃\u{3000}花子",
            "渡邉󠄂 太郎",
            "辻\u{e0100}",
            "神\u{fe00}",
            "アクメ（株）・第１係〜々ゝ゛",
            "ﾊﾝｶｸ",
            "𠮷田",
            "外字\u{e000}",
            "Zoë Ōmachi",
        ] {
            assert_eq!(name(good).map(|name| name.name).as_deref(), Ok(good));
            assert!(Name::parse(&format!("label\n{good}")).is_ok());
        }
    }

    #[test]
    fn a_name_cannot_look_like_another() {
        for bad in [
            "",
            " ",
            "\u{3000}",
            "\u{e0100}",
            "二\n行",
            "福祉課\u{202e}",
            "\u{2066}税務課\u{2069}",
            "税\u{200b}務課",
            "税\u{200d}務課",
            "税務課\u{feff}",
            "税務課\u{3164}",
            "税務課\u{ffa0}",
            "tax\u{ad}",
            "tax\u{2028}",
            "tax\u{e0061}",
            "tax\u{2060}",
            "tax\u{61c}",
        ] {
            assert_eq!(name(bad), Err(NotAName), "{bad:?}");
        }
    }
}
