//! What goes between those who keep characters of towns' own (外字): a request for their shapes, a list of which character of
//! Unicode each is taken for, the shapes, and what came of checking.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};

use super::kana::half_width;
use super::{Draws, archive, glyph, shift_jis};

/// Characters that such a one is taken for, and the reading: JIS X 0208 and its extensions, compatibility characters, the
/// supplementary planes, variation sequences (IVS). Few fonts have them all.
const CANDIDATES: [(&str, &str); 14] = [
    ("髙", "タカ"),
    ("﨑", "サキ"),
    ("\u{fa19}", "カミ"),
    ("鷗", "カモメ"),
    ("𠮷", "ヨシ"),
    ("𣘺", "ハシ"),
    ("𩸽", "ホッケ"),
    ("𡈽", "ツチ"),
    ("𡌛", "マツ"),
    ("辻\u{e0101}", "ツジ"),
    ("葛\u{e0100}", "クズ"),
    ("邉\u{e0101}", "ナベ"),
    ("邉\u{e010f}", "ナベ"),
    ("齋\u{e0102}", "サイ"),
];
/// The first character of a town's own.
const FIRST: u32 = 0xe000;

/// One of a town's own characters, what it is taken for, and how it is read.
struct Entry {
    own: char,
    code: String,
    candidate: &'static str,
    reading: &'static str,
}

fn entries(count: usize) -> Result<Vec<Entry>> {
    let mut draws = Draws::from_seed(20_141_122);
    let characters = (FIRST..).map_while(char::from_u32).take(count);
    characters
        .map(|own| {
            let (candidate, reading) = draws.pick(&CANDIDATES);
            let code = hex::encode_upper(shift_jis::encoded(&own.to_string())?);
            Ok(Entry { own, code, candidate, reading })
        })
        .collect()
}

/// A request for the shapes of `count` characters, as an older system writes it: in Shift_JIS, lines ended by CR LF.
///
/// # Errors
/// Where there are more characters than a town has of its own.
pub fn shapes_wanted(count: usize) -> Result<Vec<u8>> {
    let mut text = "依頼番号,外字コード,外字,読み,用例,回答期限\r\n".to_owned();
    for (number, Entry { own, code, reading, .. }) in (1..).zip(entries(count)?) {
        let reading = half_width(reading);
        write!(text, "{number:05},{code},{own},{reading},{own}田 花子,2026-12-25\r\n")?;
    }
    shift_jis::encoded(&text)
}

/// What each of them is taken for, to be checked, as a spreadsheet saves it in UTF-8.
///
/// # Errors
/// As [`shapes_wanted`].
pub fn to_be_checked(count: usize) -> Result<Vec<u8>> {
    let mut text = "\u{feff}番号,外字コード,外字,同定候補,候補の符号位置,字形\r\n".to_owned();
    for (number, entry) in (1..).zip(entries(count)?) {
        writeln!(text, "{number:05},{}\r", entry.cells())?;
    }
    Ok(text.into_bytes())
}

/// What came of checking: the same list, with the outcome.
///
/// # Errors
/// As [`shapes_wanted`].
pub fn checked(count: usize) -> Result<Vec<u8>> {
    let mut draws = Draws::from_seed(20_141_123);
    let mut text = "\u{feff}番号,外字コード,外字,同定候補,候補の符号位置,字形,確認結果\r\n".to_owned();
    for (number, entry) in (1..).zip(entries(count)?) {
        let outcome = draws.pick(&["同定", "同定", "同定", "別字", "要協議"]);
        writeln!(text, "{number:05},{},{outcome}\r", entry.cells())?;
    }
    Ok(text.into_bytes())
}

/// The shapes of `count` characters, as pictures in an archive.
///
/// # Errors
/// As [`shapes_wanted`].
pub fn shapes(count: usize) -> Result<Vec<u8>> {
    let pictures = entries(count)?
        .iter()
        .map(|entry| Ok((format!("{}.png", entry.code), glyph::png(entry.own)?)))
        .collect::<Result<Vec<_>>>()?;
    archive::of(&pictures).context("an archive of pictures")
}

impl Entry {
    fn cells(&self) -> String {
        let points: Vec<_> = self.candidate.chars().map(|c| format!("U+{:04X}", u32::from(c))).collect();
        format!("{},{},{},{},{}.png", self.code, self.own, self.candidate, points.join(" "), self.code)
    }
}

#[cfg(test)]
mod tests {
    use encoding_rs::SHIFT_JIS;

    use super::{checked, shapes, shapes_wanted, to_be_checked};

    #[test]
    fn the_lists_have_what_makes_glyphs_of_towns_hard() -> anyhow::Result<()> {
        let bytes = shapes_wanted(300)?;
        let (wanted, _, damaged) = SHIFT_JIS.decode(&bytes);
        assert!(
            !damaged && wanted.contains("00001,F040,\u{e000},"),
            "{}",
            wanted.lines().nth(1).unwrap_or_default()
        );
        assert!(wanted.contains(",F140,\u{e0bc},"), "188 to a row");
        let list = String::from_utf8(to_be_checked(300)?)?;
        let has = |what: fn(char) -> bool| list.chars().any(what);
        assert!(has(|c| matches!(c, '\u{e0100}'..='\u{e01ef}')), "variation sequences");
        assert!(has(|c| matches!(c, '\u{20000}'..='\u{2ffff}')), "supplementary planes");
        assert!(has(|c| matches!(c, '\u{f900}'..='\u{faff}')), "compatibility characters");
        assert!(list.contains("U+8FBB U+E0101"));
        let answer = String::from_utf8(checked(300)?)?;
        assert_eq!((answer.lines().count(), list.lines().count()), (301, 301));
        assert!(shapes(40)?.windows(4).filter(|four| four == b"\x89PNG").count() == 40);
        Ok(())
    }
}
