//! Glyphs of a town's own characters (外字), as pictures (PNG, RFC 2083): 64 by 64 pixels, one bit each.

use std::io::Write as _;

use anyhow::Result;
use flate2::write::ZlibEncoder;
use flate2::{Compression, Crc};

use super::Draws;

const SIDE: usize = 64;
const SIGNATURE: [u8; 8] = *b"\x89PNG\r\n\x1a\n";

/// The glyph of a character: strokes that no font has, the same ones every time.
///
/// # Errors
/// None but that of a full memory.
pub fn png(character: char) -> Result<Vec<u8>> {
    let mut packed = ZlibEncoder::new(Vec::new(), Compression::default());
    for row in strokes(character) {
        // No filter.
        packed.write_all(&[0])?;
        packed.write_all(&row.to_be_bytes())?;
    }
    let side = u32::try_from(SIDE)?.to_be_bytes();
    // One bit of grey a pixel, no palette, not interlaced.
    let header = [&side[..], &side[..], &[1, 0, 0, 0, 0]].concat();
    let mut picture = SIGNATURE.to_vec();
    for (kind, data) in [(b"IHDR", header), (b"IDAT", packed.finish()?), (b"IEND", Vec::new())] {
        chunk(&mut picture, kind, &data)?;
    }
    Ok(picture)
}

fn chunk(picture: &mut Vec<u8>, kind: &[u8; 4], data: &[u8]) -> Result<()> {
    picture.extend(u32::try_from(data.len())?.to_be_bytes());
    let mut crc = Crc::new();
    for part in [&kind[..], data] {
        crc.update(part);
        picture.extend_from_slice(part);
    }
    picture.extend(crc.sum().to_be_bytes());
    Ok(())
}

/// One row of pixels after the other, from the left in the highest bit; what is drawn is 0, which is black.
fn strokes(character: char) -> [u64; SIDE] {
    let mut draws = Draws::from_seed(u64::from(u32::from(character)));
    let mut rows = [u64::MAX; SIDE];
    for _ in 0..5 {
        let (at, from, length) = (6 + draws.below(50), 6 + draws.below(16), 24 + draws.below(18));
        let across = (u64::MAX >> (SIDE - length)) << (SIDE - from - length);
        rows.iter_mut().skip(at).take(3).for_each(|row| *row &= !across);
        let (at, from, length) = (6 + draws.below(50), 6 + draws.below(16), 24 + draws.below(18));
        rows.iter_mut().skip(from).take(length).for_each(|row| *row &= !(0b111 << at));
    }
    rows
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::{SIDE, SIGNATURE, png};

    #[test]
    fn a_glyph_is_a_picture_that_others_can_read() {
        let picture = png('\u{e001}').unwrap_or_default();
        assert!(picture.starts_with(&SIGNATURE));
        // The picture's data lies between its header and its end, 12 bytes around each.
        let data = picture.get(SIGNATURE.len() + 12 + 13 + 8..picture.len() - 12 - 4).unwrap_or_default();
        let mut rows = Vec::new();
        let unpacked = flate2::read::ZlibDecoder::new(data).read_to_end(&mut rows);
        assert_eq!((unpacked.ok(), rows.len()), (Some(rows.len()), SIDE * (1 + SIDE / 8)));
        assert_ne!(png('\u{e001}').ok(), png('\u{e002}').ok());
    }
}
