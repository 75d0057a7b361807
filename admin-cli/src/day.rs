//! Days as people write them, in the organization's time zone.

use jiff::civil::Date;
use warifu_ledger::statement::Millis;
use warifu_texts::day::{BEFORE_REIWA, REIWA_BEGAN};
pub(crate) use warifu_texts::day::{Zone, iso};

use crate::fault::Fault;

/// Nobody makes a longer contract; who writes one has mistyped the year.
const FARTHEST_YEARS: i16 = 100;

/// A last day as somebody wrote it, not before today and not absurdly far.
pub(crate) fn last_day(zone: &Zone, text: &str, now: Millis) -> Result<Date, Fault> {
    let day = || text.to_owned();
    let date = parse(text).ok_or_else(|| Fault::NotADay { day: day() })?;
    let today = zone.day_of(now).ok_or_else(|| Fault::NotADay { day: day() })?;
    if date < today {
        return Err(Fault::DayOver { day: day(), today: today.to_string() });
    }
    if date.year() > today.year().saturating_add(FARTHEST_YEARS) {
        return Err(Fault::DayTooFar { day: day() });
    }
    Ok(date)
}

/// The first instant of a day as somebody wrote it, which is still to come.
pub(crate) fn first_day(zone: &Zone, text: &str, now: Millis) -> Result<Millis, Fault> {
    let date = last_day(zone, text, now)?;
    let too_far = || Fault::DayTooFar { day: text.to_owned() };
    let begins = zone.end_of(date.yesterday().map_err(|_| too_far())?).ok_or_else(too_far)?;
    if begins <= now {
        return Err(Fault::DayBegun { day: text.to_owned() });
    }
    Ok(begins)
}

/// The first instant of a day, past ones as well.
pub(crate) fn begins(zone: &Zone, text: &str) -> Result<Millis, Fault> {
    let before = parse(text).and_then(|date| date.yesterday().ok());
    before.and_then(|day| zone.end_of(day)).ok_or_else(|| Fault::NotADay { day: text.to_owned() })
}

/// The first instant after a day, past ones as well.
pub(crate) fn ends(zone: &Zone, text: &str) -> Result<Millis, Fault> {
    parse(text).and_then(|date| zone.end_of(date)).ok_or_else(|| Fault::NotADay { day: text.to_owned() })
}

/// Reads 2027-03-31, 2027年3月31日, 令和9年3月31日 and R9.3.31, in digits of either width.
fn parse(text: &str) -> Option<Date> {
    let text: String = text.chars().filter(|c| !c.is_whitespace()).map(narrow).collect();
    let era = ["令和", "R", "r"].into_iter().find_map(|name| text.strip_prefix(name));
    let (rest, before) = era.map_or((text.as_str(), 0), |rest| (rest, BEFORE_REIWA));
    let (year, month, day) = match rest.strip_suffix('日') {
        Some(rest) => {
            let (year, rest) = rest.split_once('年')?;
            let (month, day) = rest.split_once('月')?;
            (year, month, day)
        }
        None => {
            let mark = if era.is_some() { '.' } else { '-' };
            let mut parts = rest.split(mark);
            let found = (parts.next()?, parts.next()?, parts.next()?);
            if parts.next().is_some()
                || (era.is_none() && (found.0.len(), found.1.len(), found.2.len()) != (4, 2, 2))
            {
                return None;
            }
            found
        }
    };
    let year = if year == "元" && before > 0 { 1 } else { number(year)? };
    let date =
        Date::new(year.checked_add(before)?, number(month)?.try_into().ok()?, number(day)?.try_into().ok()?)
            .ok()?;
    (before == 0 || date >= REIWA_BEGAN).then_some(date)
}

fn number(text: &str) -> Option<i16> {
    (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?
}

/// Full-width digits and marks as people type them in Japanese, as half-width ones.
fn narrow(c: char) -> char {
    match c {
        '０'..='９' | 'Ｒ' | 'ｒ' | '．' | '－' => char::from_u32(u32::from(c) - 0xfee0).unwrap_or(c),
        '−' | '‐' | '‑' | '–' => '-',
        c => c,
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    const NOON: Millis = 1_764_039_600_000; // 2025-11-25 12:00 in Tokyo

    #[test]
    fn a_day_is_read_as_people_write_it() {
        for text in [
            "2027-03-31",
            "令和9年3月31日",
            "令和 9年 3月31日",
            "令和９年３月３１日",
            "R9.3.31",
            "r9.03.31",
            "Ｒ９．３．３１",
            "2027年3月31日",
        ] {
            assert_eq!(parse(text), Some(date(2027, 3, 31)), "{text}");
        }
        assert_eq!(parse("令和元年5月1日"), Some(date(2019, 5, 1)));
        assert_eq!(parse("令和10年2月29日"), Some(date(2028, 2, 29)));
    }

    #[test]
    fn what_is_no_day_is_none() {
        for text in [
            "",
            "31",
            "tomorrow",
            "2027-3-31",
            "2027-02-29",
            "2027-13-01",
            "27-03-31",
            "2027/03/31",
            "9.3.31",
            "R9-3-31",
            "R9.3",
            "R9.3.31.1",
            "R0.3.31",
            "令和元年4月30日",
            "令和9年2月29日",
            "令和9年3月31",
            "令和-9年3月31日",
            "平成39年3月31日",
            "昭和102年3月31日",
            "元年3月31日",
            "R99999.3.31",
            "2027-03-31T00:00:00Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_last_day_is_not_over_and_not_absurd() {
        let zone = Zone::named("Asia/Tokyo");
        assert_eq!(last_day(&zone, "2025-11-25", NOON).unwrap(), date(2025, 11, 25), "today counts");
        let over = last_day(&zone, "令和7年11月24日", NOON);
        assert!(matches!(over, Err(Fault::DayOver { today, .. }) if today == "2025-11-25"));
        assert!(last_day(&zone, "2125-12-31", NOON).is_ok());
        assert!(matches!(last_day(&zone, "2126-01-01", NOON), Err(Fault::DayTooFar { .. })));
        assert!(matches!(last_day(&zone, "9999-12-31", NOON), Err(Fault::DayTooFar { .. })));
        assert!(matches!(last_day(&zone, "soon", NOON), Err(Fault::NotADay { .. })));
    }

    #[test]
    fn a_first_day_has_not_begun() {
        let zone = Zone::named("Asia/Tokyo");
        for text in ["2025-11-24", "2019-05-01", "令和元年5月1日", "1999-12-31"] {
            assert!(matches!(first_day(&zone, text, NOON), Err(Fault::DayOver { .. })), "{text}");
        }
        assert!(matches!(first_day(&zone, "R7.11.25", NOON), Err(Fault::DayBegun { .. })), "today");
        let begins = first_day(&zone, "令和7年11月26日", NOON).unwrap();
        assert_eq!((zone.instant(begins).as_str(), begins - NOON), ("2025-11-26 00:00:00", 12 * 3_600_000));
        // 2100 has no 29 February, and is 令和82年.
        assert!(matches!(first_day(&zone, "2100-02-29", NOON), Err(Fault::NotADay { .. })));
        let begins = first_day(&zone, "2100-03-01", NOON).unwrap();
        assert_eq!(zone.instant(begins), "2100-03-01 00:00:00");
        assert_eq!(first_day(&zone, "令和82年3月1日", NOON).unwrap(), begins);
        assert!(matches!(first_day(&zone, "令和108年3月1日", NOON), Err(Fault::DayTooFar { .. })));
    }
}
