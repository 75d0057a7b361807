//! `warifu`, as people and scripts use it.

use warifu_api::wire::agent::{AgentState, OpenAnswer, Status};
use warifu_envelope::UnitRecipient;
use warifu_virtual_card::readers;

use crate::desk::{Desk, PIN, stderr, stdout};
use crate::organization::Unit;

#[test]
fn sealing_and_opening_at_the_command_line() {
    readers::private(1, |readers| {
        let mut desk = Desk::new(readers);
        let unit = Unit::draw("税務課");
        let member = desk.member(&[&unit]);
        let path = |name: &str| desk.path(name).to_str().unwrap().to_owned();
        let (plain, sealed, out, armored) =
            (path("住民.csv"), path("住民.csv.age"), path("out.csv"), path("a.txt"));
        std::fs::write(&plain, "氏名,住所\n").unwrap();

        // Without an agent: a recipient suffices for sealing, and everything else says what is missing.
        let recipient = UnitRecipient::encode(&unit.key);
        let done = desk.warifu(&["seal", "-r", &recipient, &plain], "");
        assert_eq!(done.status.code(), Some(0), "{}", stderr(&done));
        let done = desk.warifu(&["seal", "-r", "tax", &plain], "");
        assert_eq!(done.status.code(), Some(4));
        assert!(stderr(&done).contains("warifu-agent を始めてください"), "{}", stderr(&done));
        // Programs are told the same.
        let done = desk.warifu(&["open", "--json", &sealed], "");
        let told: serde_json::Value = serde_json::from_str(&stdout(&done)).unwrap();
        assert!(told["remedy"].as_str().unwrap().contains("warifu-agent を始めてください"), "{told}");
        assert_eq!((done.status.code(), &told["error"]["fault"]), (Some(4), &"local".into()));
        assert_eq!(desk.warifu(&["status"], "").status.code(), Some(4));
        assert_eq!(desk.warifu(&["doctor"], "").status.code(), Some(4));
        assert_eq!(desk.warifu(&["open"], "").status.code(), Some(1));
        assert_eq!(desk.warifu(&["--help"], "").status.code(), Some(0));
        assert_eq!(desk.warifu(&["seal", "-r", "age1tag1xyz", &plain], "").status.code(), Some(1));

        desk.start_agent();
        desk.publish(&[&unit]);
        let done = desk.warifu(&["seal", "--armor", "-o", &armored, "-r", &unit.label(), &plain], "");
        assert_eq!(done.status.code(), Some(0), "{}", stderr(&done));
        assert!(std::fs::read_to_string(&armored).unwrap().starts_with("-----BEGIN AGE"));
        assert_eq!(desk.warifu(&["seal", "-r", "nobody", &plain], "").status.code(), Some(1));
        let done = desk.warifu(&["seal", "-r", &unit.label(), &plain], "");
        assert_eq!(done.status.code(), Some(5), "there is a file of that name");

        let done = desk.warifu(&["open", &sealed], "");
        assert_eq!(done.status.code(), Some(3));
        assert!(stderr(&done).contains("カードが入っていません"), "{}", stderr(&done));
        assert!(stderr(&done).contains("情報政策課"), "whom to call: {}", stderr(&done));
        desk.insert(member.index);
        desk.until_pin_needed();
        let done = desk.warifu(&["status", "--json"], "");
        let status: Status = serde_json::from_str(&stdout(&done)).unwrap();
        assert!(matches!(status.state, AgentState::PinNeeded { .. }));
        let done = desk.warifu(&["open", "--pin-stdin", &sealed], "000000\n");
        assert_eq!(done.status.code(), Some(3));
        assert!(stderr(&done).contains("あと 2 回"), "{}", stderr(&done));
        let done = desk.warifu(&["open", "--pin-stdin", "-o", &out, &sealed], &format!("{PIN}\n"));
        assert_eq!(done.status.code(), Some(0), "{}", stderr(&done));
        assert_eq!(std::fs::read_to_string(&out).unwrap(), "氏名,住所\n");
        let done = desk.warifu(&["open", "-o", &out, &sealed], "");
        assert_eq!(done.status.code(), Some(5), "the output exists");
        let done = desk.warifu(&["open", "-o", &out, "--overwrite", &armored, "--json"], "");
        let answer: OpenAnswer = serde_json::from_str(&stdout(&done)).unwrap();
        assert_eq!((done.status.code(), answer.files.len()), (Some(0), 1));
        let done = desk.warifu(&["open", &armored], "");
        assert!(stdout(&done).contains("税務課"), "{}", stdout(&done));
        let done = desk.warifu(&["status", "--lang", "en"], "");
        assert!(stdout(&done).contains("can open files"), "{}", stdout(&done));

        let done = desk.warifu(&["doctor"], "");
        assert_eq!(done.status.code(), Some(0), "{}", stdout(&done));
        let done = desk.warifu(&["doctor", "--json"], "");
        let findings: serde_json::Value = serde_json::from_str(&stdout(&done)).unwrap();
        assert!(
            findings
                .as_array()
                .unwrap()
                .iter()
                .any(|finding| finding["finding"] == "site-answers" && finding["state"] == "ok")
        );
        assert_eq!(desk.warifu(&["lock"], "").status.code(), Some(0));
        desk.until_pin_needed();
        let done = desk.warifu(&["unlock", "--pin-stdin"], &format!("{PIN}\n"));
        assert_eq!(done.status.code(), Some(0), "{}", stderr(&done));
    });
}
