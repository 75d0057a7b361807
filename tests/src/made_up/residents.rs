//! Residents: names, readings, birthdays and addresses, rare characters included.

use std::fmt::Write as _;

use anyhow::Result;

use super::kana::half_width;
use super::{Draws, shift_jis};

/// A family name, its reading, and how a system writes it that has Shift_JIS alone.
type Family = (&'static str, &'static str, &'static str);
/// A given name and its reading.
type Name = (&'static str, &'static str);

const FAMILIES: [Family; 26] = [
    // JIS X 0208, and the NEC and IBM extensions of Shift_JIS.
    ("信濃", "シナノ", "信濃"),
    ("髙﨑", "タカサキ", "髙﨑"),
    ("渡邉", "ワタナベ", "渡邉"),
    ("齋藤", "サイトウ", "齋藤"),
    ("邊見", "ヘンミ", "邊見"),
    ("大町", "オオマチ", "大町"),
    ("白馬", "ハクバ", "白馬"),
    ("栁澤", "ヤナギサワ", "栁澤"),
    ("濵田", "ハマダ", "濵田"),
    ("小谷", "オタリ", "小谷"),
    ("池田", "イケダ", "池田"),
    ("德永", "トクナガ", "德永"),
    ("松川", "マツカワ", "松川"),
    ("槇村", "マキムラ", "槇村"),
    ("\u{fa19}戸", "カンベ", "\u{fa19}戸"),
    // What Shift_JIS lacks: other characters of Unicode, variation sequences (IVS), the supplementary planes.
    ("鷗外", "オウガイ", "鴎外"),
    ("葛\u{e0100}城", "カツラギ", "葛城"),
    ("辻\u{e0101}", "ツジ", "辻"),
    ("邉\u{e0101}見", "ヘンミ", "邉見"),
    ("𠮷田", "ヨシダ", "吉田"),
    ("𣘺本", "ハシモト", "橋本"),
    ("𩸽谷", "ホッケヤ", "ホッケ谷"),
    ("𡈽屋", "ツチヤ", "土屋"),
    // A character of the town's own (外字), in Unicode's private use area.
    ("\u{e000}崎", "ツカザキ", "\u{e000}崎"),
    ("\u{e001}部", "ワタベ", "\u{e001}部"),
    ("五十\u{e002}", "イガラシ", "五十\u{e002}"),
];
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
    /// Who has moved, told by other towns (W4).
    Moves,
    /// How much care somebody needs (W4).
    Care,
    /// What somebody earned (W4).
    Incomes,
}

impl About {
    /// The heads of the columns that only this list has.
    fn columns(self) -> &'static str {
        match self {
            Self::Scholarships => "貸与額,滞納額",
            Self::Reminders => "連絡日,結果",
            Self::Passports => "申請番号,受理窓口",
            Self::Invitations => "出欠,送迎",
            Self::Moves => "異動日,異動事由",
            Self::Care => "認定日,要介護度",
            Self::Incomes => "総所得,控除額",
        }
    }

    /// The years in which these people were born.
    fn born(self) -> (usize, usize) {
        match self {
            Self::Scholarships | Self::Reminders => (1980, 25),
            Self::Passports | Self::Moves | Self::Incomes => (1940, 70),
            Self::Invitations | Self::Care => (1925, 24),
        }
    }

    fn cells(self, draws: &mut Draws) -> String {
        match self {
            Self::Scholarships => {
                format!("{},{}", (24 + draws.below(200)) * 10_000, (1 + draws.below(24)) * 10_000)
            }
            Self::Reminders => {
                let outcome = draws.pick(&["納付を約束", "分割を相談", "不在", "転居先不明", "電話番号なし"]);
                format!("{},{outcome}", day(draws))
            }
            Self::Passports => {
                format!("PA{:07},{}", draws.below(10_000_000), draws.pick(&["本庁", "大町支所", "白馬支所"]))
            }
            Self::Invitations => {
                format!("{},{}", draws.pick(&["出席", "欠席", "未定"]), draws.pick(&["要", "不要"]))
            }
            Self::Moves => {
                let why = draws.pick(&["転入", "転出", "転居", "出生", "死亡", "氏名変更"]);
                format!("{},{why}", day(draws))
            }
            Self::Care => format!("{},要介護{}", day(draws), 1 + draws.below(5)),
            Self::Incomes => format!("{},{}", draws.below(900) * 10_000, draws.below(120) * 10_000),
        }
    }
}

/// A day of the year in which the stories are told.
fn day(draws: &mut Draws) -> String {
    format!("2026-{:02}-{:02}", 4 + draws.below(6), 1 + draws.below(28))
}

/// How a list is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Writing {
    Unicode,
    ShiftJis,
}

/// A CSV in UTF-8 of `count` residents, the same every time.
#[must_use]
pub fn csv(count: usize) -> String {
    list(About::Scholarships, count, Writing::Unicode, "\n")
}

/// A list as a spreadsheet saves it in UTF-8: with a byte order mark, lines ended by CR LF.
#[must_use]
pub fn utf8(about: About, count: usize) -> Vec<u8> {
    [b"\xef\xbb\xbf", list(about, count, Writing::Unicode, "\r\n").as_bytes()].concat()
}

/// A list as an older system writes it: in Shift_JIS, lines ended by CR LF. Names that cannot be written so are written
/// otherwise, as such systems do.
///
/// # Errors
/// None: all else can be written so.
pub fn shift_jis(about: About, count: usize) -> Result<Vec<u8>> {
    shift_jis::encoded(&list(about, count, Writing::ShiftJis, "\r\n"))
}

/// The same people in every list of people who were born in the same years.
fn list(about: About, count: usize, writing: Writing, end: &str) -> String {
    let (mut draws, mut of_list) = (Draws::from_seed(20_141_120), Draws::from_seed(20_141_121));
    let mut text = format!("番号,氏名,フリガナ,生年月日,住所,電話,{}{end}", about.columns());
    for number in 1..=count {
        let ((family, reading, older), given) = (draws.pick(&FAMILIES), draws.pick(&GIVEN));
        let (first, years) = about.born();
        let line = write!(
            text,
            // There is no town of this name, and no telephone has such a number.
            "{number:06},{} {},{} {},{}-{:02}-{:02},割符市{}{}番地{},0000-00-{:04},{}{end}",
            if writing == Writing::ShiftJis { older } else { family },
            given.0,
            half_width(reading),
            half_width(given.1),
            first + draws.below(years),
            1 + draws.below(12),
            1 + draws.below(28),
            draws.pick(&PLACES),
            1 + draws.below(4000),
            1 + draws.below(30),
            draws.below(10_000),
            about.cells(&mut of_list),
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
        // The same people, in both.
        let people = |text: &str| {
            let rows =
                text.lines().skip(1).map(|row| row.split(',').skip(2).take(4).collect::<Vec<_>>().join(","));
            rows.collect::<Vec<_>>()
        };
        assert_eq!(people(&String::from_utf8(utf8(About::Reminders, 500))?), people(&older));
        assert_eq!(shift_jis(About::Passports, 9)?, shift_jis(About::Passports, 9)?, "the same every time");
        Ok(())
    }
}
