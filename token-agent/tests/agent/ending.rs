//! What ends soon: told to the member, by the site's time, the more sharply the nearer it is.

use std::collections::BTreeMap;

use jiff::civil::{Date, date};
use warifu_api::wire::agent::{CardEnd, Ending};
use warifu_texts::day::Zone;
use warifu_texts::{Language, Texts};
use warifu_token_agent::texts::{AGENT, AgentTexts as _};
use warifu_virtual_card::readers;

use crate::desk::{Desk, Member1, PIN, stderr, stdout};
use crate::organization::Unit;

const LAST_DAY: Date = date(2027, 3, 31);

/// The first instant after a day in Tokyo, in milliseconds.
fn end_of(day: Date) -> u64 {
    Zone::named("Asia/Tokyo").end_of(day).unwrap()
}

/// What the sites say from now on: noon of this day, and when contract and member end. The PIN has to be entered anew.
fn sites_say(desk: &Desk, member: &Member1, today: Date, contract: Option<Date>, leaves: Option<Date>) {
    for site in &desk.sites {
        let mut state = site.state();
        state.time = end_of(today) - 12 * 60 * 60 * 1000;
        let told = state.members.get_mut(&member.key).unwrap();
        told.contract_ends_at = contract.map(end_of);
        told.ends_at = leaves.map(end_of);
    }
    desk.runtime.block_on(desk.client().lock()).unwrap();
    desk.until_pin_needed();
}

fn ends(desk: &Desk) -> Vec<(Ending, u64, String)> {
    desk.status().ends.into_iter().map(|end| (end.what, end.days_left, end.last_day)).collect()
}

fn enter_pin(desk: &Desk) -> String {
    stdout(&desk.warifu(&["unlock", "--pin-stdin"], &format!("{PIN}\n")))
}

#[test]
fn a_contractor_hears_of_the_contracts_end_thirty_seven_and_one_days_before() {
    readers::private(1, |readers| {
        let mut desk = Desk::new(readers);
        let member = desk.member(&[&Unit::draw("税務課")]);
        desk.start_agent();
        desk.insert_and_unlock(member.index);
        assert_eq!(ends(&desk), []);
        let shown = "2027-03-31（令和9年3月31日）";
        for (today, words) in [
            (date(2027, 3, 1), None),
            (date(2027, 3, 2), Some(format!("{shown} まで使えます（あと 30 日）"))),
            (date(2027, 3, 25), Some(format!("あと 7 日、{shown} までです"))),
            (LAST_DAY, Some("明日から、カード 1000 では何も開けません".to_owned())),
            // The site's word decides; a card that it still answers for is not called dead.
            (date(2027, 4, 1), None),
        ] {
            sites_say(&desk, &member, today, Some(LAST_DAY), None);
            let said = enter_pin(&desk);
            assert_eq!(words.is_some(), said.contains("契約"), "{today}: {said}");
            assert!(words.is_none_or(|words| said.contains(&words)), "{today}: {said}");
            let status = stdout(&desk.warifu(&["status"], ""));
            assert_eq!(status, said, "{today}");
        }
        // The nearer of the two.
        let earlier = date(2027, 3, 30);
        sites_say(&desk, &member, date(2027, 3, 25), Some(LAST_DAY), Some(earlier));
        assert!(enter_pin(&desk).contains("在籍の最終日"));
        assert_eq!(ends(&desk), [(Ending::LastDay, 6, "2027-03-30".to_owned())]);
    });
}

#[test]
fn whoever_only_opens_a_file_hears_of_it_once_a_day() {
    readers::private(1, |readers| {
        let mut desk = Desk::new(readers);
        let unit = Unit::draw("税務課");
        let member = desk.member(&[&unit]);
        desk.start_agent();
        desk.insert_and_unlock(member.index);
        let file = desk.sealed("a.age", &unit.key, b"x");
        let open = |today| {
            sites_say(&desk, &member, today, Some(LAST_DAY), None);
            let done = desk.warifu(&["open", "--pin-stdin", file.to_str().unwrap()], &format!("{PIN}\n"));
            assert_eq!(done.status.code(), Some(0), "{}", stderr(&done));
            assert!(!stdout(&done).contains("契約"), "{}", stdout(&done));
            stderr(&done).contains("契約")
        };
        assert!(open(date(2027, 3, 24)));
        assert!(!open(date(2027, 3, 24)));
        assert!(open(date(2027, 3, 25)));
        assert!(!open(date(2027, 3, 25)));
    });
}

#[test]
fn a_certificate_that_ends_before_the_contract_is_told_as_well() {
    readers::private(1, |readers| {
        let mut desk = Desk::new(readers);
        let member = desk.member(&[&Unit::draw("税務課")]);
        desk.start_agent();
        desk.insert_and_unlock(member.index);
        // Test certificates end with the year 4095 in UTC: at nine in the morning of the next day in Tokyo.
        let today = date(4095, 12, 30);
        sites_say(&desk, &member, today, Some(date(4096, 1, 5)), None);
        let said = enter_pin(&desk);
        assert!(
            said.contains("証明書が有効なのは、あと 3 日") && said.contains("切れても、ファイルは開けます"),
            "{said}"
        );
        let both = [
            (Ending::Certificate, 3, "4096-01-01".to_owned()),
            (Ending::Contract, 7, "4096-01-05".to_owned()),
        ];
        assert_eq!(ends(&desk), both);
        sites_say(&desk, &member, today, Some(date(4095, 12, 31)), None);
        enter_pin(&desk);
        assert_eq!(
            ends(&desk),
            [(Ending::Contract, 2, "4095-12-31".to_owned())],
            "nothing is left to renew it for"
        );
    });
}

#[test]
fn every_end_has_words_at_every_stage_in_both_languages() {
    for language in [Language::Japanese, Language::English] {
        let texts = Texts::load(language, &[AGENT]).unwrap();
        let mut seen = BTreeMap::new();
        for what in [Ending::Contract, Ending::LastDay, Ending::Certificate] {
            for days_left in [30, 7, 1] {
                let last_day = LAST_DAY.to_string();
                let end = CardEnd { serial: 1, what, last_day, days_left, ends_at: 1, news: false };
                let said = texts.end(&end).unwrap();
                assert!(said.what.contains("2027-03-31") && !said.remedy.is_empty(), "{said:?}");
                assert!(seen.insert(said.what, (what, days_left)).is_none(), "{what:?} {days_left}");
            }
        }
    }
}
