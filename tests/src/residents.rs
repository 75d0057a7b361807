//! Made-up residents: names, readings, birthdays and addresses as a town hall has them, rare characters included.

use std::fmt::Write as _;

const FAMILIES: [(&str, &str); 16] = [
    ("信濃", "シナノ"),
    ("髙﨑", "タカサキ"),
    ("渡邉", "ワタナベ"),
    ("𠮷田", "ヨシダ"),
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
    ("鷗外", "オウガイ"),
];
const GIVEN: [(&str, &str); 14] = [
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

/// A CSV in UTF-8 of `count` residents, the same every time.
#[must_use]
pub fn csv(count: usize) -> String {
    let mut text = String::from("番号,氏名,フリガナ,生年月日,住所,電話,奨学金残額\n");
    // Numerical Recipes' linear congruential generator: all that is needed is variety.
    let mut seed: u32 = 20_141_120;
    let mut draw = |below: usize| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        usize::try_from(seed >> 8).unwrap_or_default() % below.max(1)
    };
    for number in 1..=count {
        let pick = |list: &'static [(&str, &str)], at: usize| list.get(at).copied().unwrap_or_default();
        let family = pick(&FAMILIES, draw(FAMILIES.len()));
        let given = pick(&GIVEN, draw(GIVEN.len()));
        let place = PLACES.get(draw(PLACES.len())).copied().unwrap_or_default();
        let birthday = (1940 + draw(70), 1 + draw(12), 1 + draw(28));
        let line = writeln!(
            text,
            "{number:06},{} {},{} {},{}-{:02}-{:02},大町市{place}{}番地{},0261-22-{:04},{}",
            family.0,
            given.0,
            family.1,
            given.1,
            birthday.0,
            birthday.1,
            birthday.2,
            1 + draw(4000),
            1 + draw(30),
            draw(10_000),
            draw(240) * 10_000,
        );
        debug_assert!(line.is_ok(), "writing to a string does not fail");
    }
    text
}
