//! Shift_JIS as Windows writes it (CP932): JIS X 0208, the NEC and IBM extensions, half-width katakana, and the 1,880 places
//! that each town fills with characters of its own (外字), which Unicode has as U+E000 to U+E757.

use anyhow::{Result, ensure};
use encoding_rs::SHIFT_JIS;

/// The first place for a town's own characters, as a pointer (WHATWG Encoding, Shift_JIS decoder).
const OWN_CHARACTERS: u32 = 8836;

/// A text in Shift_JIS.
///
/// # Errors
/// Where it has a character that Shift_JIS lacks.
pub fn encoded(text: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    for part in text.split_inclusive(is_own) {
        let (plain, own) = match part.chars().next_back().filter(|last| is_own(*last)) {
            Some(own) => (part.strip_suffix(own).unwrap_or(part), Some(own)),
            None => (part, None),
        };
        let (encoded, _, lossy) = SHIFT_JIS.encode(plain);
        ensure!(!lossy, "Shift_JIS lacks a character of {plain}");
        bytes.extend_from_slice(&encoded);
        bytes.extend(own.into_iter().flat_map(own_character));
    }
    Ok(bytes)
}

fn is_own(character: char) -> bool {
    matches!(character, '\u{e000}'..='\u{e757}')
}

/// The two bytes of a character of the town's own: encoders leave these places out.
fn own_character(character: char) -> [u8; 2] {
    let pointer = OWN_CHARACTERS + (u32::from(character) - 0xe000);
    let (lead, trail) = (pointer / 188, pointer % 188);
    let lead = lead + if lead < 0x1f { 0x81 } else { 0xc1 };
    let trail = trail + if trail < 0x3f { 0x40 } else { 0x41 };
    [lead, trail].map(|byte| u8::try_from(byte).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use encoding_rs::SHIFT_JIS;

    use super::encoded;

    #[test]
    fn what_is_written_reads_back_a_towns_own_characters_included() {
        let text = "番号,髙﨑 ㈱①,ﾀｶｻｷ,\u{e000}\u{e03f}田\u{e757}\r\n";
        let bytes = encoded(text).unwrap_or_default();
        let (decoded, _, damaged) = SHIFT_JIS.decode(&bytes);
        assert_eq!((decoded.as_ref(), damaged), (text, false));
        assert!(bytes.windows(2).any(|pair| pair == [0xf0, 0x40]), "the first place is F040");
        assert!(encoded("葛\u{e0100}").is_err(), "a variation sequence has no place in it");
        assert!(encoded("𠮷").is_err());
    }
}
