//! `docs/testing/betrayals.md` names for each betrayal the tests that try it, `docs/testing/bad-input.md` for each input that nobody
//! should send.

use std::fs;
use std::path::Path;

use warifu_tests::town::workspace;

use crate::faults_page::is_test;

/// The page, and how many tests its tables name: three columns, what is tried, what becomes of it, and the tests, each of which is
/// one.
fn page_with_tests(page: &str, head: &str) -> (String, usize) {
    let text = fs::read_to_string(workspace().join(page)).unwrap();
    let mut named = 0;
    for (index, line) in text.lines().enumerate().filter(|(_, line)| line.starts_with('|')) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let ["", tried, outcome, tests, ""] = cells.as_slice() else {
            panic!("{page}, line {}: not three columns", index + 1);
        };
        if tried.starts_with("---") || *tried == head {
            continue;
        }
        assert!(!tried.is_empty() && !outcome.is_empty(), "{page}, line {}", index + 1);
        let tests: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
        assert!(!tests.is_empty(), "{page}, line {}: no test", index + 1);
        for test in tests {
            let (file, name) = test.split_once("::").unwrap();
            assert!(is_test(Path::new(file), name), "{page}, line {}: {file} has no test {name}", index + 1);
            named += 1;
        }
    }
    (text, named)
}

#[test]
fn each_betrayal_on_the_page_names_its_tests() {
    let (page, named) = page_with_tests("docs/testing/betrayals.md", "who betrays, and how");
    assert!(named > 25, "only {named}");
    for invariant in ["I1", "I8", "I10"] {
        assert!(page.contains(invariant), "{invariant} is not named");
    }
}

#[test]
fn each_bad_input_on_the_page_names_its_tests() {
    let (_, named) = page_with_tests("docs/testing/bad-input.md", "what comes");
    assert!(named > 30, "only {named}");
}
