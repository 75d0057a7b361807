//! Until when slips may be good.

use jiff::ToSpan as _;
use jiff::civil::Date;
use warifu_api::wire::agent::AgentFault;
use warifu_ledger::slip::LONGEST_SLIP_MS;
use warifu_ledger::statement::Millis;
use warifu_texts::day::Zone;

use crate::agent::Agent;
use crate::sources::Source;

/// How many days ahead slips are good where nobody says.
const USUAL_DAYS: i32 = 90;

/// Until when slips may be good, by the site's time.
pub(super) struct Ends {
    zone: Zone,
    now: Millis,
}

impl Ends {
    pub(super) fn now(agent: &Agent, source: &Source) -> Self {
        Self { zone: agent.zone(), now: source.link.site_time() }
    }

    /// The first instant after a day, or after the usual one.
    pub(super) fn of(&self, last_day: Option<&str>) -> Result<Millis, AgentFault> {
        let latest = self.now.saturating_add(LONGEST_SLIP_MS);
        let impossible = || AgentFault::UntilImpossible { latest: self.latest() };
        let day: Option<Date> = match last_day {
            Some(day) => day.parse().ok(),
            None => self.zone.day_of(self.now).and_then(|today| today.checked_add(USUAL_DAYS.days()).ok()),
        };
        let end = day.and_then(|day| self.zone.end_of(day)).ok_or_else(impossible)?;
        if end > self.now && end <= latest { Ok(end) } else { Err(impossible()) }
    }

    /// The last day that is over in time.
    fn latest(&self) -> String {
        let day = self.zone.day_of(self.now.saturating_add(LONGEST_SLIP_MS));
        day.and_then(|day| day.yesterday().ok()).map(|day| day.to_string()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Millis = 24 * 60 * 60 * 1000;

    #[test]
    fn a_day_is_the_organizations_and_neither_over_nor_too_far_ahead() {
        // 2027-03-31 23:30 in Tokyo.
        let now = 1_806_503_400_000;
        let ends = Ends { zone: Zone::named("Asia/Tokyo"), now };
        let day = |text: &str| ends.of(Some(text));
        assert_eq!(day("2027-03-31"), Ok(now + DAY / 48), "today ends with today");
        assert_eq!(ends.of(None), Ok(now + DAY / 48 + 90 * DAY));
        assert_eq!(ends.latest(), "2028-05-03");
        assert!(day("2028-05-03").is_ok_and(|end| end <= now + LONGEST_SLIP_MS));
        for impossible in ["2028-05-04", "2027-03-30", "9999-12-31", "-009999-01-01", "soon", ""] {
            let latest = "2028-05-03".to_owned();
            assert_eq!(day(impossible), Err(AgentFault::UntilImpossible { latest }), "{impossible}");
        }
    }
}
