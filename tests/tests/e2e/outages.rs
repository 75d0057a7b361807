//! One site without its HSM, without room, or off: people are sent to the next one. All of them: people are told why, and it
//! works again when the part is there again, without a restart.

use std::fs;
use std::process::Command;
use std::time::Duration;

use warifu_broken_parts::disk::{self, Full};
use warifu_broken_parts::{Call, PullableHsm};
use warifu_tests::town::{MEMBER_READERS, READERS, until};
use warifu_virtual_card::readers::private;

use crate::Play;

/// A database with its journal has room on it, and it is filled quickly.
const DISK_KIB: u32 = 8 << 10;

impl Play {
    /// From now on the site's HSM can be pulled, and its data is on a small disk.
    pub(crate) fn on_parts_that_break(&mut self, site: &str) -> PullableHsm {
        self.town.stop(site);
        let config = self.town.configuration(site);
        let hsm = PullableHsm::build(config.parent().unwrap()).unwrap();
        let text = fs::read_to_string(&config).unwrap();
        fs::write(&config, text.replace("[hsm]\n", "[hsm]\nmodule = \"pullable.so\"\n")).unwrap();
        let (data, aside) = (self.path(site).join("data"), self.path(&format!("{site}-data")));
        fs::rename(&data, &aside).unwrap();
        disk::mount(&data, DISK_KIB).unwrap();
        assert!(
            Command::new("cp")
                .arg("-a")
                .arg(format!("{}/.", aside.display()))
                .arg(&data)
                .status()
                .unwrap()
                .success()
        );
        self.restart_site(site);
        hsm
    }

    pub(crate) fn opens_in_time(&self, agent: &str, sealed: &std::path::Path) {
        until("it opens", Duration::from_secs(30), || Ok(self.open(agent, sealed, &[]).0.status.success()))
            .unwrap();
    }
}

#[test]
fn a_site_that_cannot_answer_sends_people_to_the_next_and_comes_back_by_itself() {
    private(READERS, |readers| {
        let mut play = Play::new(readers, 60);
        let sealed = play.sealed("list", b"content");
        let hsm = play.on_parts_that_break("honcho");
        play.insert("hanako", "office", MEMBER_READERS[0]);
        play.opens("office", &sealed, b"content");

        // The HSM goes away while the site works at an answer: the next site gives it.
        hsm.pull_at(Call::DeriveKey).unwrap();
        play.opens("office", &sealed, b"content");
        play.opens("office", &sealed, b"content");
        // The only other one is off, too.
        play.town.kill("omachi");
        let said = play.refuses("office", &sealed);
        assert!(said.contains("site") && said.contains('→'), "what happened, and what to do: {said}");
        if !hsm.is_pulled() {
            hsm.pull().unwrap();
        }
        hsm.put_back().unwrap();
        play.opens_in_time("office", &sealed);

        // No room for the audit record: no answer; and again when there is room.
        let full = Full::fill(&play.path("honcho").join("data")).unwrap();
        until("the site refuses", Duration::from_secs(30), || {
            Ok(!play.open("office", &sealed, &[]).0.status.success())
        })
        .unwrap();
        let said = play.refuses("office", &sealed);
        assert!(said.contains("cannot store"), "{said}");
        drop(full);
        play.opens_in_time("office", &sealed);

        // All sites are off, and one comes back.
        play.town.kill("honcho");
        let said = play.refuses("office", &sealed);
        assert!(said.contains("site"), "{said}");
        play.restart_site("omachi");
        play.opens_in_time("office", &sealed);
    });
}
