//! W4: what comes from outside is routed to a department by somebody who cannot read it, and opens there (invariant I6).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use serde_json::Value;
use warifu_tests::made_up::residents;
use warifu_tests::town::{MEMBER_READERS, READERS, rage, until};
use warifu_virtual_card::readers::private;

use crate::Play;

const PATIENCE: Duration = Duration::from_secs(30);
const READER: usize = MEMBER_READERS[0];

impl Play {
    /// The front desk, another department, and somebody at each.
    pub(super) fn with_front_desk(readers: warifu_virtual_card::readers::Readers) -> Self {
        Self::new(readers, 60).and_front_desk()
    }

    /// These in a town that is there already.
    pub(super) fn and_front_desk(mut self) -> Self {
        let play = &mut self;
        let admin = |args: &[&str]| play.town.admin(args).unwrap();
        admin(&["unit", "add", "welfare", "--name", "福祉課"]);
        admin(&["unit", "add", "front", "--name", "受付", "--front-desk", "--routes-to", "tax"]);
        play.town.enroll("saki", 3001, "松本 咲", &["--unit", "front"]).unwrap();
        play.town.enroll("yui", 3002, "安曇野 結衣", &["--unit", "welfare", "--person"]).unwrap();
        self
    }

    /// A file for the front desk, sealed by stock rage.
    fn sent_from_outside(&self, name: &str, content: &[u8]) -> PathBuf {
        let (plain, sealed) = (self.path(name), self.path(&format!("{name}.age")));
        fs::write(&plain, content).unwrap();
        rage(&[self.town.recipient("front").unwrap()], &plain, &sealed).unwrap();
        sealed
    }

    /// Somebody else's card at the office.
    pub(super) fn takes_over(&mut self, before: &str, label: &str) {
        self.town.remove(before);
        until("the card is gone", PATIENCE, || Ok(self.state("office") == "no-card")).unwrap();
        self.insert(label, "office", READER);
    }

    pub(super) fn routes(&self, file: &Path, to: &str) -> Output {
        let words = ["--lang", "en", "route", file.to_str().unwrap(), "--to", to, "--yes", "--pin-stdin"];
        self.town.warifu("office", &words, self.town.pin()).unwrap()
    }

    pub(super) fn comes_in_time(&self, sealed: &Path, content: &[u8]) {
        until("what was routed has come", PATIENCE, || {
            let (output, out) = self.open("office", sealed, &[]);
            Ok(output.status.success() && fs::read(out)? == content)
        })
        .unwrap();
    }
}

#[test]
fn a_file_for_the_front_desk_is_routed_unread_and_opens_in_the_department() {
    private(READERS, |readers| {
        let mut play = Play::with_front_desk(readers);
        let list = residents::csv(500).into_bytes();
        let sealed = play.sent_from_outside("residents.csv", &list);
        let bytes = fs::read(&sealed).unwrap();

        play.insert("hanako", "office", READER);
        assert!(play.refuses("office", &sealed).contains("neither addressed nor routed"));
        play.takes_over("hanako", "saki");
        assert!(
            play.refuses("office", &sealed).contains("warifu route"),
            "the dispatcher is told what he can do"
        );
        let refused = play.routes(&sealed, "福祉課");
        assert_eq!(refused.status.code(), Some(2), "not on the list: {refused:?}");
        let routed = play.routes(&sealed, "税務課");
        assert!(routed.status.success(), "{routed:?}");
        let said = String::from_utf8(routed.stdout).unwrap();
        assert!(said.contains("routed to “税務課”"), "{said}");
        let number = said.lines().find(|line| line.starts_with("Number of these slips")).unwrap();
        let number = number.rsplit(' ').next().unwrap().to_owned();
        assert!(play.refuses("office", &sealed).contains("warifu route"), "and still reads nothing");

        play.takes_over("saki", "hanako");
        play.comes_in_time(&sealed, &list);
        assert!(fs::read(&sealed).unwrap() == bytes, "the file was touched");
        // By the other site as well.
        play.town.kill("honcho");
        play.comes_in_time(&sealed, &list);
        play.restart_site("honcho");

        // Another department does not open it before it was routed there, by whoever can open it.
        play.takes_over("hanako", "yui");
        play.refuses("office", &sealed);
        play.takes_over("yui", "hanako");
        // To a person.
        let further = play.routes(&sealed, "安曇野 結衣");
        assert!(further.status.success(), "{further:?}");
        play.takes_over("hanako", "yui");
        play.comes_in_time(&sealed, &list);

        until("the journals have come to the kms", PATIENCE, || {
            let words = ["--json", "audit", "who-opened", sealed.to_str().unwrap()];
            let told: Value = serde_json::from_str(&play.town.admin(&words)?)?;
            let told: Vec<_> =
                told.as_array().unwrap().iter().map(|row| (&row["name"], &row["what"])).collect();
            let seen = |name: &str, what: &str| told.iter().any(|row| *row.0 == *name && *row.1 == *what);
            Ok(seen("松本 咲", "routed")
                && seen("信濃 花子", "opened-by-slip")
                && seen("安曇野 結衣", "opened-by-slip"))
        })
        .unwrap();

        // The first slip ends, and with it what went on from it.
        play.town.admin(&["slip", "revoke", &number]).unwrap();
        until("it opens no more", PATIENCE, || Ok(!play.open("office", &sealed, &[]).0.status.success()))
            .unwrap();
        play.town.kill("honcho");
        assert!(play.refuses("office", &sealed).contains("neither addressed nor routed"));
    });
}
