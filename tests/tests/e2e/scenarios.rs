//! The work that Warifu is for (W1 to W5), as `./demo w1` and so on play it; and its pages.

use std::fs;

use warifu_tests::scenarios::{Narrator, Scenario};
use warifu_tests::town::workspace;
use warifu_texts::Language;
use warifu_virtual_card::readers::{Readers, private};

/// Plays one, and compares its pages with what was typed in it.
fn play(scenario: Scenario, readers: Readers) {
    let folder = tempfile::tempdir().unwrap();
    let narrator = Narrator::silent(Language::Japanese).unwrap();
    scenario.play(folder.path(), readers, &narrator).unwrap();
    let typed = narrator.typed();
    for page in ["md", "ja.md"].map(|end| format!("docs/workflows/{}.{end}", scenario.name())) {
        let text = fs::read_to_string(workspace().join(&page)).unwrap();
        let commands: Vec<&str> = text
            .lines()
            .filter(|line| ["warifu ", "warifu-admin ", "rage "].iter().any(|it| line.starts_with(it)))
            .collect();
        assert!(commands.len() >= 5, "{page}: only {commands:?}");
        for command in commands {
            assert!(typed.contains(&command.to_owned()), "{page}: nobody typed {command}");
        }
    }
}

#[test]
fn w1_what_a_contractor_ever_received_is_shut_when_its_contract_ends() {
    private(Scenario::W1.readers(), |readers| play(Scenario::W1, readers));
}

#[test]
fn w2_a_branch_works_without_its_line_until_its_lease_is_over_and_loses_nothing() {
    private(Scenario::W2.readers(), |readers| play(Scenario::W2, readers));
}

#[test]
fn w3_of_many_recipients_one_is_revoked_and_the_others_open_the_same_file() {
    private(Scenario::W3.readers(), |readers| play(Scenario::W3, readers));
}

#[test]
fn w4_a_dispatcher_who_cannot_read_what_comes_from_outside_routes_it_to_who_can() {
    private(Scenario::W4.readers(), |readers| play(Scenario::W4, readers));
}

#[test]
fn w5_a_request_and_its_answer_cross_between_two_organizations_that_share_nothing() {
    private(Scenario::W5.readers(), |readers| play(Scenario::W5, readers));
}
