//! Days and instants as people read them, in the organization's time zone; and how near an end is.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use warifu_ledger::statement::Millis;

use crate::Language;

/// The year before the first of 令和, which began on 1 May 2019.
pub const BEFORE_REIWA: i16 = 2018;
/// The first day of 令和.
pub const REIWA_BEGAN: Date = Date::constant(2019, 5, 1);

/// A time zone: the organization's.
#[derive(Debug, Clone)]
pub struct Zone(TimeZone);

impl Zone {
    /// The zone of this name, which the founding names; UTC where this PC does not know it.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self(TimeZone::get(name).unwrap_or(TimeZone::UTC))
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> String {
        self.0.iana_name().unwrap_or("UTC").to_owned()
    }

    /// The first instant after a day.
    #[must_use]
    pub fn end_of(&self, day: Date) -> Option<Millis> {
        let midnight = day.tomorrow().ok()?.to_zoned(self.0.clone()).ok()?;
        Millis::try_from(midnight.timestamp().as_millisecond()).ok()
    }

    /// The day that an instant is in.
    #[must_use]
    pub fn day_of(&self, at: Millis) -> Option<Date> {
        Some(timestamp(at)?.to_zoned(self.0.clone()).date())
    }

    /// The last day before an instant, such as a contract's, which ends with it: 2027-03-31.
    #[must_use]
    pub fn last_day_before(&self, end: Millis) -> String {
        self.day_of(end.saturating_sub(1)).map_or_else(|| end.to_string(), |day| day.to_string())
    }

    /// The days that are left until an instant, today among them: 1 on the last day, 0 once it is over.
    #[must_use]
    pub fn days_left(&self, end: Millis, now: Millis) -> u64 {
        if end <= now {
            return 0;
        }
        let days = self
            .day_of(now)
            .zip(self.day_of(end.saturating_sub(1)))
            .and_then(|(today, last)| Some(today.until(last).ok()?.get_days()));
        days.and_then(|days| u64::try_from(days).ok()).map_or(u64::MAX, |days| days.saturating_add(1))
    }

    /// An instant, to the second: 2027-04-01 00:00:00.
    #[must_use]
    pub fn instant(&self, at: Millis) -> String {
        self.formatted(at, "%Y-%m-%d %H:%M:%S")
    }

    /// An instant, to the minute: 2027-04-01 00:00.
    #[must_use]
    pub fn minute(&self, at: Millis) -> String {
        self.formatted(at, "%Y-%m-%d %H:%M")
    }

    fn formatted(&self, at: Millis, format: &str) -> String {
        let zoned = timestamp(at).map(|at| at.to_zoned(self.0.clone()));
        zoned.map_or_else(|| at.to_string(), |at| at.strftime(format).to_string())
    }
}

/// An instant for programs: RFC 3339, UTC.
#[must_use]
pub fn iso(at: Millis) -> Option<String> {
    timestamp(at).map(|at| at.to_string())
}

/// A day that is written 2027-03-31, as people say it: in Japanese with the year of the era behind it.
#[must_use]
pub fn said(day: &str, language: Language) -> String {
    let date = day.parse::<Date>().ok().filter(|date| language == Language::Japanese && *date >= REIWA_BEGAN);
    let Some(date) = date else { return day.to_owned() };
    let year = match date.year().saturating_sub(BEFORE_REIWA) {
        1 => "元".to_owned(),
        year => year.to_string(),
    };
    format!("{day}（令和{year}年{}月{}日）", date.month(), date.day())
}

fn timestamp(at: Millis) -> Option<Timestamp> {
    Timestamp::from_millisecond(i64::try_from(at).ok()?).ok()
}

/// How near an end is of which people are told: within 30 days, within 7, or with today.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Near {
    /// Within 30 days.
    Month,
    /// Within 7 days.
    Week,
    /// Today is the last day.
    Today,
}

impl Near {
    /// So many days, today among them; none where it is farther away, or over.
    #[must_use]
    pub fn of(days_left: u64) -> Option<Self> {
        match days_left {
            1 => Some(Self::Today),
            2..=7 => Some(Self::Week),
            8..=30 => Some(Self::Month),
            _ => None,
        }
    }

    /// How names of messages end that are said at this stage.
    #[must_use]
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Month => "month",
            Self::Week => "week",
            Self::Today => "today",
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    const HOUR: Millis = 60 * 60 * 1000;

    #[test]
    fn an_end_is_shown_with_its_last_day_in_the_organizations_zone() {
        let zone = Zone::named("Asia/Tokyo");
        let end = zone.end_of(date(2027, 3, 31)).unwrap();
        assert_eq!(iso(end).as_deref(), Some("2027-03-31T15:00:00Z"), "midnight in Tokyo");
        assert_eq!(zone.last_day_before(end), "2027-03-31");
        assert_eq!(zone.instant(end), "2027-04-01 00:00:00");
        assert_eq!(zone.minute(end), "2027-04-01 00:00");
        // The day on which clocks go forward has 23 hours.
        let zone = Zone::named("Europe/Berlin");
        let end = zone.end_of(date(2027, 3, 28)).unwrap();
        assert_eq!(zone.last_day_before(end), "2027-03-28");
        assert_eq!((zone.name().as_str(), Zone::named("nowhere").name().as_str()), ("Europe/Berlin", "UTC"));
    }

    #[test]
    fn days_are_counted_as_the_calendar_does() {
        let zone = Zone::named("Asia/Tokyo");
        let end = zone.end_of(date(2027, 3, 31)).unwrap();
        for (before, left) in [
            (0, 0),
            (1, 1),
            (24, 1),
            (25, 2),
            (48, 2),
            (6 * 24 + 1, 7),
            (7 * 24 + 1, 8),
            (29 * 24 + 1, 30),
            (30 * 24 + 1, 31),
        ] {
            assert_eq!(zone.days_left(end, end - before * HOUR), left, "{before} hours before");
        }
        assert_eq!(zone.days_left(end, end + HOUR), 0);
        // Last days are those of the organization: in Tokyo it is 1 April, in UTC still 31 March.
        assert_eq!(Zone::named("UTC").days_left(end, end), 0);
        assert_eq!(Zone::named("UTC").days_left(end + 9 * HOUR, end), 1);
        assert_eq!(zone.days_left(Millis::MAX, end), Millis::MAX);
        // Over months, and on the day that has 23 hours.
        let berlin = Zone::named("Europe/Berlin");
        let end = berlin.end_of(date(2027, 3, 28)).unwrap();
        assert_eq!(berlin.days_left(end, end - 23 * HOUR), 1);
        assert_eq!(berlin.days_left(end, end - 23 * HOUR - 1), 2);
        let february = berlin.end_of(date(2027, 2, 20)).unwrap();
        assert_eq!(berlin.days_left(end, february), 36);
    }

    #[test]
    fn three_stages() {
        let stages: Vec<_> = [0, 1, 2, 7, 8, 30, 31, u64::MAX].map(Near::of).into();
        let (today, week, month) = (Some(Near::Today), Some(Near::Week), Some(Near::Month));
        assert_eq!(stages, [None, today, week, week, month, month, None, None]);
    }

    #[test]
    fn the_era_is_said_in_japanese() {
        for (day, said_so) in [
            ("2027-03-31", "2027-03-31（令和9年3月31日）"),
            ("2019-05-01", "2019-05-01（令和元年5月1日）"),
            ("2019-04-30", "2019-04-30"),
            ("soon", "soon"),
        ] {
            assert_eq!(said(day, Language::Japanese), said_so);
            assert_eq!(said(day, Language::English), day);
        }
    }
}
