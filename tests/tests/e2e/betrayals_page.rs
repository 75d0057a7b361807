//! `docs/testing/betrayals.md` names for each betrayal the tests that try it.

use std::fs;
use std::path::Path;

use warifu_tests::town::workspace;

use crate::faults_page::is_test;

const PAGE: &str = "docs/testing/betrayals.md";

#[test]
fn each_betrayal_on_the_page_names_its_tests() {
    let page = fs::read_to_string(workspace().join(PAGE)).unwrap();
    let mut named = 0;
    for (index, line) in page.lines().enumerate().filter(|(_, line)| line.starts_with('|')) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let ["", betrayal, keeper, tests, ""] = cells.as_slice() else {
            panic!("line {}: not three columns", index + 1);
        };
        if betrayal.starts_with("---") || *betrayal == "who betrays, and how" {
            continue;
        }
        assert!(!betrayal.is_empty() && !keeper.is_empty(), "line {}", index + 1);
        let tests: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
        assert!(!tests.is_empty(), "line {}: no test", index + 1);
        for test in tests {
            let (file, name) = test.split_once("::").unwrap();
            assert!(is_test(Path::new(file), name), "line {}: {file} has no test {name}", index + 1);
            named += 1;
        }
    }
    assert!(named > 25, "only {named}");
    for invariant in ["I1", "I8", "I10"] {
        assert!(page.contains(invariant), "{invariant} is not named");
    }
}
