//! Readings in half-width katakana, as resident registers have them.

/// U+30A1 to U+30F4, one after the other, in half-width characters.
const HALF_WIDTH: &str = "ｧ ｱ ｨ ｲ ｩ ｳ ｪ ｴ ｫ ｵ ｶ ｶﾞ ｷ ｷﾞ ｸ ｸﾞ ｹ ｹﾞ ｺ ｺﾞ ｻ ｻﾞ ｼ ｼﾞ ｽ ｽﾞ ｾ ｾﾞ ｿ ｿﾞ ﾀ ﾀﾞ ﾁ ﾁﾞ ｯ ﾂ ﾂﾞ ﾃ ﾃﾞ ﾄ ﾄﾞ ﾅ ﾆ ﾇ ﾈ ﾉ ﾊ ﾊﾞ ﾊﾟ ﾋ ﾋﾞ ﾋﾟ ﾌ ﾌﾞ ﾌﾟ ﾍ ﾍﾞ ﾍﾟ ﾎ ﾎﾞ ﾎﾟ ﾏ ﾐ ﾑ ﾒ ﾓ ｬ ﾔ ｭ ﾕ ｮ ﾖ ﾗ ﾘ ﾙ ﾚ ﾛ ﾜ ﾜ ｲ ｴ ｦ ﾝ ｳﾞ";

/// A reading in half-width characters; what is no katakana stays.
#[must_use]
pub fn half_width(reading: &str) -> String {
    let mut text = String::new();
    for character in reading.chars() {
        let at = u32::from(character).checked_sub(0x30a1).and_then(|at| usize::try_from(at).ok());
        match at.and_then(|at| HALF_WIDTH.split(' ').nth(at)) {
            Some(half) => text.push_str(half),
            None if character == 'ー' => text.push('ｰ'),
            None => text.push(character),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::half_width;

    #[test]
    fn each_katakana_has_its_half_width_form() {
        assert_eq!(half_width("サイトウ ジュンペー"), "ｻｲﾄｳ ｼﾞｭﾝﾍﾟｰ");
        assert_eq!(half_width("ヲンヴ"), "ｦﾝｳﾞ");
    }
}
