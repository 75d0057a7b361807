//! Wall clocks an hour ahead, an hour behind, and jumping while programs run: sites do not ask them; the kms's time never goes
//! back; and nobody is kept from working.

use std::time::Duration;

use warifu_tests::town::{MEMBER_READERS, READERS, until};
use warifu_virtual_card::readers::private;

use crate::Play;
use crate::doctor::{found, has};

impl Play {
    fn restart(&mut self, name: &str) {
        self.town.kill(name);
        self.town.start(name).unwrap();
    }

    fn opens_soon(&self, agent: &str, sealed: &std::path::Path) {
        until("it opens", Duration::from_secs(30), || Ok(self.open(agent, sealed, &[]).0.status.success()))
            .unwrap();
    }
}

#[test]
fn clocks_that_are_wrong_or_jump_keep_nobody_from_working_and_revive_nothing() {
    private(READERS, |readers| {
        let mut play = Play::new(readers, 60);
        let sealed = play.sealed("list", b"content");
        for (name, offset) in
            [("ca", "+1h"), ("kms", "+0"), ("honcho", "-1h"), ("omachi", "+1h"), ("desk", "-1h")]
        {
            play.town.set_clock(name, offset).unwrap();
            play.town.give_clock(name).unwrap();
            play.restart(name);
        }
        play.town.admin_env = play.town.own_clock("desk").unwrap();
        play.insert("hanako", "office", MEMBER_READERS[0]);
        play.insert("taro", "contractor", MEMBER_READERS[1]);
        play.opens_soon("office", &sealed);
        // Everything that takes all of them: a unit with its key, a member with a grant.
        play.town.admin(&["unit", "add", "welfare", "--name", "福祉課"]).unwrap();
        play.town.enroll("jiro", 2003, "信濃 次郎", &["--unit", "welfare"]).unwrap();

        // The clocks are what they are said to be: the desk's against the kms's.
        has(&found(&play.town.try_admin(&["--json", "doctor"]).unwrap()), "clock-behind warning");

        // The kms's clock jumps an hour ahead while it runs, and the others' the other way.
        for (name, offset) in
            [("kms", "+1h"), ("ca", "-1h"), ("honcho", "+1h"), ("omachi", "-1h"), ("desk", "+1h")]
        {
            play.town.set_clock(name, offset).unwrap();
        }
        play.town.admin(&["unit", "add", "water", "--name", "水道課"]).unwrap();
        play.opens("office", &sealed, b"content");
        let ended = play
            .town
            .admin(&["--lang", "ja", "contract", "end", "acme", "--reason", "契約終了", "--watch"])
            .unwrap();
        assert!(ended.contains('✓'), "{ended}");
        assert!(play.refuses("contractor", &sealed).contains("contract is over"));

        // A stamp that is later than every leaf.
        play.town.kill("honcho");
        play.restart_site("honcho");
        has(&found(&play.town.try_admin(&["--json", "doctor"]).unwrap()), "clock ok");

        // Two hours back, while it runs: time stands still, nothing that ended comes back, and orders are taken.
        play.town.set_clock("kms", "-1h").unwrap();
        play.town.admin(&["unit", "add", "roads", "--name", "道路課"]).unwrap();
        assert!(play.refuses("contractor", &sealed).contains("contract is over"));
        play.opens("office", &sealed, b"content");

        // And it starts with a clock that is behind its ledger.
        for name in ["kms", "ca", "honcho", "omachi"] {
            play.restart(name);
        }
        play.opens_soon("office", &sealed);
        assert!(play.refuses("contractor", &sealed).contains("contract is over"));
        play.town.admin(&["member", "revoke", "hanako", "--watch"]).unwrap();
        play.refuses("office", &sealed);
        // The right time again.
        play.town.set_clock("kms", "+0").unwrap();
        play.town.admin(&["unit", "add", "parks", "--name", "公園課"]).unwrap();
        play.refuses("office", &sealed);
    });
}
