//! Residents: names, readings, birthdays and addresses, rare characters included.

use std::fmt::Write as _;

use anyhow::Result;

use super::kana::half_width;
use super::{Draws, shift_jis};

/// A family name and its reading.
type Name = (&'static str, &'static str);

/// What every list may have: JIS X 0208, the NEC and IBM extensions of Shift_JIS.
const FAMILIES: [Name; 14] = [
    ("信濃", "シナノ"),
    ("髙﨑", "タカサキ"),
    ("渡邉", "ワタナベ"),
    ("齋藤", "サイトウ"),
    ("邊見", "ヘンミ"),
    ("大町", "オオマチ"),
    ("白馬", "ハクバ"),
    ("栁澤", "ヤナギサワ"),
    ("濵田", "ハマダ"),
    ("小谷", "オタリ"),
    ("池田", "イケダ"),
    ("德永", "トクナガ"),
    ("松川", "マツカワ"),
    ("槇村", "マキムラ"),
];
/// What Shift_JIS lacks: the supplementary planes, compatibility ideographs, variation sequences (IVS).
const UNICODE_FAMILIES: [Name; 9] = [
    ("𠮷田", "ヨシダ"),
    ("鷗外", "オウガイ"),
    ("葛\u{e0100}城", "カツラギ"),
    ("辻\u{e0101}", "ツジ"),
    ("邉\u{e0101}見", "ヘンミ"),
    ("𣘺本", "ハシモト"),
    ("𩸽谷", "ホッケヤ"),
    ("神\u{fa19}戸", "カンベ"),
    ("𡈽屋", "ツチヤ"),
];
/// Those with a character of the town's own (外字, in Unicode's private use area).
const OWN_FAMILIES: [Name; 3] =
    [("\u{e000}崎", "ツカザキ"), ("\u{e001}部", "ワタベ"), ("五十\u{e002}", "イガラシ")];
const GIVEN: [Name; 14] = [
    ("花子", "ハナコ"),
    ("太郎", "タロウ"),
    ("美咲", "ミサキ"),
    ("蓮", "レン"),
    ("さくら", "サクラ"),
    ("一郎", "イチロウ"),
    ("陽葵", "ヒマリ"),
    ("健", "ケン"),
    ("ゆきゑ", "ユキエ"),
    ("惠", "メグミ"),
    ("翔", "ショウ"),
    ("久美子", "クミコ"),
    ("眞", "マコト"),
    ("千鶴", "チヅル"),
];
const PLACES: [&str; 7] = ["本町", "北原町", "字上ノ山", "大字平", "社", "常盤", "美麻"];

/// The characters of the town's own that are in the lists.
pub const OWN_CHARACTERS: [char; 3] = ['\u{e000}', '\u{e001}', '\u{e002}'];

/// What a list is about.
#[derive(Debug, Clone, Copy)]
pub enum About {
    /// Scholarships that are not paid back (W1).
    Scholarships,
    /// What came of reminding people of them (W1).
    Reminders,
    /// Applications for passports (W2).
    Passports,
    /// Who is invited to the party for the aged (W3).
    Invitations,
}

impl About {
    /// The heads of the columns that only this list has.
    fn columns(self) -> &'static str {
        match self {
            Self::Scholarships => "貸与額,滞納額",
            Self::Reminders => "連絡日,結果",
            Self::Passports => "申請番号,受理窓口",
            Self::Invitations => "出欠,送迎",
        }
    }

    /// The years in which these people were born.
    fn born(self) -> (usize, usize) {
        match self {
            Self::Scholarships | Self::Reminders => (1980, 25),
            Self::Passports => (1940, 70),
            Self::Invitations => (1925, 24),
        }
    }

    fn cells(self, draws: &mut Draws) -> String {
        match self {
            Self::Scholarships => {
                format!("{},{}", (24 + draws.below(200)) * 10_000, (1 + draws.below(24)) * 10_000)
            }
            Self::Reminders => {
                let outcome = draws.pick(&["納付を約束", "分割を相談", "不在", "転居先不明", "電話番号なし"]);
                format!("2026-{:02}-{:02},{outcome}", 4 + draws.below(6), 1 + draws.below(28))
            }
            Self::Passports => {
                format!("PA{:07},{}", draws.below(10_000_000), draws.pick(&["本庁", "大町支所", "白馬支所"]))
            }
            Self::Invitations => {
                format!("{},{}", draws.pick(&["出席", "欠席", "未定"]), draws.pick(&["要", "不要"]))
            }
        }
    }
}

/// A CSV in UTF-8 of `count` residents, the same every time.
#[must_use]
pub fn csv(count: usize) -> String {
    list(About::Scholarships, count, &[&FAMILIES, &UNICODE_FAMILIES], "\n")
}

/// A list as a spreadsheet saves it in UTF-8: with a byte order mark, lines ended by CR LF.
#[must_use]
pub fn utf8(about: About, count: usize) -> Vec<u8> {
    let text = list(about, count, &[&FAMILIES, &UNICODE_FAMILIES, &OWN_FAMILIES], "\r\n");
    [b"\xef\xbb\xbf", text.as_bytes()].concat()
}

/// A list as an older system writes it: in Shift_JIS, lines ended by CR LF.
///
/// # Errors
/// None: the names that are in it can be written so.
pub fn shift_jis(about: About, count: usize) -> Result<Vec<u8>> {
    shift_jis::encoded(&list(about, count, &[&FAMILIES, &OWN_FAMILIES], "\r\n"))
}

fn list(about: About, count: usize, families: &[&[Name]], end: &str) -> String {
    let mut draws = Draws::from_seed(20_141_120);
    let families = families.concat();
    let mut text = format!("番号,氏名,フリガナ,生年月日,住所,電話,{}{end}", about.columns());
    for number in 1..=count {
        let (family, given) = (draws.pick(&families), draws.pick(&GIVEN));
        let (first, years) = about.born();
        let line = write!(
            text,
            "{number:06},{} {},{} {},{}-{:02}-{:02},大町市{}{}番地{},0261-22-{:04},{}{end}",
            family.0,
            given.0,
            half_width(family.1),
            half_width(given.1),
            first + draws.below(years),
            1 + draws.below(12),
            1 + draws.below(28),
            draws.pick(&PLACES),
            1 + draws.below(4000),
            1 + draws.below(30),
            draws.below(10_000),
            about.cells(&mut draws),
        );
        debug_assert!(line.is_ok(), "writing to a string does not fail");
    }
    text
}

#[cfg(test)]
mod tests {
    use encoding_rs::SHIFT_JIS;

    use super::{About, OWN_CHARACTERS, shift_jis, utf8};

    #[test]
    fn the_lists_have_what_makes_lists_of_towns_hard() -> anyhow::Result<()> {
        let modern = utf8(About::Invitations, 500);
        assert!(modern.starts_with(b"\xef\xbb\xbf"));
        let text = String::from_utf8(modern)?;
        let has = |what: fn(char) -> bool| text.chars().any(what);
        assert!(has(|c| matches!(c, '\u{e0100}'..='\u{e01ef}')), "variation sequences");
        assert!(has(|c| matches!(c, '\u{20000}'..='\u{2ffff}')), "supplementary planes");
        assert!(has(|c| matches!(c, 'ｦ'..='ﾟ')), "half-width katakana");
        assert!(OWN_CHARACTERS.iter().all(|own| text.contains(*own)), "a town's own characters");

        let bytes = shift_jis(About::Scholarships, 500)?;
        let (older, _, damaged) = SHIFT_JIS.decode(&bytes);
        assert!(!damaged && older.contains("髙﨑") && older.contains(OWN_CHARACTERS));
        assert_eq!(older.lines().count(), 501);
        assert_eq!(shift_jis(About::Passports, 9)?, shift_jis(About::Passports, 9)?, "the same every time");
        Ok(())
    }
}
