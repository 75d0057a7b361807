//! `warifu doctor` over set-ups in which something is wrong.

use serde_json::Value;
use warifu_api::ErrorCode;
use warifu_api::wire::agent::AgentState;
use warifu_api::wire::authority::Package;
use warifu_ledger::Id;
use warifu_virtual_card::{VirtualCard, readers};

use crate::desk::{Desk, PIN, stdout};
use crate::organization::{Unit, rng};

/// What a doctor found, by the names of the findings, with how each is.
struct Seen {
    code: i32,
    findings: Vec<(String, String)>,
    text: String,
}

fn doctor(desk: &Desk) -> Seen {
    let done = desk.warifu(&["doctor", "--json"], "");
    let list: Vec<Value> = serde_json::from_str(&stdout(&done)).unwrap();
    let word = |finding: &Value, name: &str| finding[name].as_str().unwrap().to_owned();
    for finding in &list {
        let (check, name) = (word(finding, "check"), word(finding, "finding"));
        assert!(name.starts_with(&check), "{name} is of {check}");
        let state = word(finding, "state");
        let in_order = ["ok", "unknown"].contains(&state.as_str());
        assert!(in_order || !word(finding, "remedy").is_empty(), "{name} without a remedy");
    }
    let findings = list.iter().map(|finding| (word(finding, "finding"), word(finding, "state"))).collect();
    let human = desk.warifu(&["doctor"], "");
    assert_eq!(human.status.code(), done.status.code());
    // For those who want to see it: --nocapture.
    println!("{}\n{}", stdout(&human), stdout(&desk.warifu(&["doctor", "--lang", "en"], "")));
    Seen { code: done.status.code().unwrap(), findings, text: stdout(&human) }
}

impl Seen {
    #[track_caller]
    fn has(&self, finding: &str, state: &str) -> &Self {
        let wanted = (finding.to_owned(), state.to_owned());
        assert!(self.findings.contains(&wanted), "{finding} {state}: {:?}", self.findings);
        self
    }

    /// The exit code, and that people read this and whom to call.
    #[track_caller]
    fn ends(&self, code: i32, said: &str) {
        assert_eq!(self.code, code, "{:?}", self.findings);
        assert!(self.text.contains(said), "{}", self.text);
        let calls = self.text.contains("情報政策課 0261-00-0000");
        let is_well = self.findings.iter().all(|(_, state)| ["ok", "unknown"].contains(&state.as_str()));
        assert_eq!(calls, !is_well, "{}", self.text);
    }

    /// Apart from the PC it runs on.
    #[track_caller]
    fn is_well(&self) {
        let mut others = self.findings.iter().filter(|(finding, _)| finding != "swap-on");
        assert!(others.all(|(_, state)| ["ok", "unknown"].contains(&state.as_str())), "{:?}", self.findings);
        assert_eq!(self.code, 0);
    }
}

#[test]
fn all_is_well() {
    readers::private(1, |readers| {
        let mut desk = Desk::new(readers);
        let member = desk.member(&[&Unit::draw("税務課")]);
        desk.start_agent();
        desk.insert(member.index);
        desk.until_pin_needed();
        let locked = doctor(&desk);
        locked.has("card-locked", "unknown").has("pin-fine", "ok").has("shares-uncertain", "unknown");
        locked.has("certificate-valid", "ok").is_well();
        desk.unlock(None, PIN).unwrap();
        let open = doctor(&desk);
        open.has("card-valid", "ok").has("shares-there", "ok").has("clock-right", "ok").is_well();
        open.has("authority-answers", "ok").has("site-answers", "ok").has("sandbox-works", "ok");
        assert!(open.text.contains("[正常] カード 1000 で開ける宛先: 税務課"), "{}", open.text);
        let english = stdout(&desk.warifu(&["doctor", "--lang", "en"], ""));
        assert!(english.contains("[ok]   Card 1000 opens files of: 税務課"), "{english}");
    });
}

#[test]
fn without_an_agent_it_says_so_and_reads_the_profile_itself() {
    readers::private(1, |readers| {
        let desk = Desk::new(readers);
        let seen = doctor(&desk);
        assert_eq!(seen.code, 4);
        seen.has("agent-not-running", "fault").has("profile-missing", "fault");
        let folder = desk.path("state/warifu");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::copy(desk.path("profile.json"), folder.join("profile.json")).unwrap();
        doctor(&desk).has("profile-there", "ok").ends(4, "warifu-agent を始めてください");
        std::fs::write(folder.join("profile.json"), "{}").unwrap();
        doctor(&desk).has("profile-damaged", "fault");
    });
}

#[test]
fn without_the_reader_service_or_a_card_it_says_so() {
    readers::private(1, |readers| {
        let mut desk = Desk::new(readers);
        desk.start_agent();
        doctor(&desk)
            .has("reader-there", "ok")
            .has("card-missing", "fault")
            .ends(3, "カードをリーダーに入れて");
        desk.readers.kill();
        desk.until_state("no service", |state| matches!(state, AgentState::NoReaderService));
        let seen = doctor(&desk);
        seen.has("reader-service-not-running", "fault").ends(3, "パソコンを再起動");
        assert!(!seen.text.contains("カードが入っていません"), "one thing at a time: {}", seen.text);
    });
}

#[test]
fn without_a_reader_it_says_so() {
    readers::private(0, |readers| {
        let mut desk = Desk::new(readers);
        desk.start_agent_anyhow(&["true"]);
        desk.until_state("no reader", |state| matches!(state, AgentState::NoReader));
        doctor(&desk).has("reader-missing", "fault").ends(3, "カードリーダーをパソコンにつないで");
    });
}

#[test]
fn foreign_and_blocked_cards_are_told_apart() {
    readers::private(3, |readers| {
        let mut desk = Desk::new(readers);
        let unit = Unit::draw("税務課");
        let elsewhere = desk.member_of(warifu_ledger::Digest::of(b"another organization"), &[&unit]);
        let ours = desk.member(&[&unit]);
        let unusable = VirtualCard::create_foreign(&desk.path("foreign.json")).unwrap();
        desk.start_agent();
        let inserted = unusable.insert(desk.readers.port(2)).unwrap();
        desk.until_state("a foreign card", |state| matches!(state, AgentState::ForeignCard { .. }));
        doctor(&desk).has("card-foreign", "fault").ends(3, "この組織で受け取ったカード");
        inserted.remove();
        desk.until_state("no card", |state| matches!(state, AgentState::NoCard));
        desk.insert(elsewhere.index);
        desk.until_state("a foreign card", |state| matches!(state, AgentState::ForeignCard { .. }));
        doctor(&desk).has("card-foreign", "fault").ends(3, "この組織で受け取ったカード");

        desk.insert(ours.index);
        desk.until_pin_needed();
        doctor(&desk).has("card-locked", "unknown").has("pin-fine", "ok").is_well();
        for _ in 0..2 {
            desk.unlock(None, "000000").unwrap_err();
        }
        doctor(&desk).has("pin-last-try", "warning").ends(0, "番号に自信がなければ");
        desk.cards[ours.index].0.block_pin().unwrap();
        doctor(&desk).has("pin-blocked", "fault").ends(3, "解除してもらって");
    });
}

#[test]
fn a_card_that_the_organization_does_not_want_is_not_called_valid() {
    readers::private(1, |readers| {
        let mut desk = Desk::new(readers);
        let member = desk.member(&[&Unit::draw("税務課")]);
        desk.start_agent();
        desk.insert_and_unlock(member.index);
        let cases = [
            (ErrorCode::CardSuspended, "card-suspended", "一時停止されています"),
            (ErrorCode::CardNotLive, "card-revoked", "失効しているか"),
            (ErrorCode::ContractOver, "card-contract-over", "契約は終わって"),
        ];
        for (code, finding, said) in cases {
            desk.sites.iter().for_each(|site| site.state().refuse = Some(code));
            desk.runtime.block_on(desk.client().lock()).unwrap();
            desk.unlock(None, PIN).unwrap();
            doctor(&desk).has(finding, "fault").ends(2, said);
        }
    });
}

#[test]
fn what_waits_to_be_put_on_a_card_is_told() {
    readers::private(1, |readers| {
        let mut desk = Desk::new(readers);
        let member = desk.member(&[]);
        desk.start_agent();
        desk.insert_and_unlock(member.index);
        doctor(&desk).has("shares-none", "warning").ends(0, "権限を頼んで");
        let pending = vec![Id::draw(&mut rng())];
        let package = Package { authentication: None, signature: None, shares: Vec::new(), pending };
        desk.kms.state().package = Some(package);
        doctor(&desk).has("shares-waiting", "warning").ends(0, "情報システム担当に渡し");
    });
}

#[test]
fn sites_that_are_down_or_cut_off_are_named() {
    readers::private(1, |readers| {
        let mut desk = Desk::new(readers);
        let member = desk.member(&[&Unit::draw("税務課")]);
        desk.start_agent();
        desk.insert_and_unlock(member.index);
        // As long as one answers, files open.
        desk.sites[0].state().without_lease = true;
        doctor(&desk).has("site-lease-over", "warning").has("site-answers", "ok").ends(0, "「本庁」は本部と");
        desk.sites[1].state().without_lease = true;
        doctor(&desk).has("site-lease-over", "fault").ends(4, "「大町支所」は本部と");
        for site in &desk.sites {
            site.state().without_lease = false;
        }
        // Nobody listens at these any more.
        let mut profile = desk.profile();
        let free = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        profile.sites[1].address = free();
        desk.write_profile(profile.kms_address.clone(), profile.sites.clone(), profile.pin_ceiling_ms);
        desk.runtime.block_on(desk.client().reload_profile()).unwrap();
        doctor(&desk).has("site-unreachable", "warning").ends(0, "「大町支所」につながりません");
        profile.sites[0].address = free();
        desk.write_profile(free(), profile.sites.clone(), profile.pin_ceiling_ms);
        desk.runtime.block_on(desk.client().reload_profile()).unwrap();
        let seen = doctor(&desk);
        seen.has("site-unreachable", "fault").has("authority-unreachable", "warning");
        seen.has("clock-uncertain", "unknown").ends(4, "ネットワークの接続");
    });
}

#[test]
fn a_clock_that_is_wrong_is_told() {
    readers::private(1, |readers| {
        let mut desk = Desk::new(readers);
        desk.start_agent();
        for (ahead_ms, finding, state) in [
            (0, "clock-right", "ok"),
            (4 * 60_000, "clock-right", "ok"),
            (3_600_000, "clock-slow", "warning"),
            (-3_600_000, "clock-fast", "warning"),
        ] {
            desk.sites[0].state().ahead_ms = ahead_ms;
            doctor(&desk).has(finding, state);
        }
    });
}
