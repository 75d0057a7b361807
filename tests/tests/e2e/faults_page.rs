//! `docs/operations/faults.md` says for each fault what a person reads and which test proves it. Both have to be true.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use warifu_tests::town::workspace;
use warifu_texts::{Language, Sources, Texts, outline};

const PAGE: &str = "docs/operations/faults.md";

/// The faults that the page has to speak of, by their English names.
const FAULTS: [&str; 54] = [
    "no reader",
    "no card",
    "a foreign card",
    "two cards at once",
    "wrong PIN",
    "blocked PIN",
    "card pulled during PIN entry",
    "card pulled during ECDH",
    "card pulled while 1 GiB is being opened",
    "reader service killed and started again",
    "the factory's PIN chosen",
    "a PUK that is sealed to other officers",
    "card pulled during enrolment",
    "a card that is in use",
    "a card of another program's",
    "somebody else's card",
    "a full card",
    "card module hung",
    "card module that cannot be loaded",
    "a card that cannot be issued through its module",
    "a file for another unit",
    "a truncated file",
    "an extended file",
    "a bit-flipped file",
    "a stanza with a point off the curve",
    "an organization that is not trusted",
    "a directory that is refused or has expired",
    "an organization that does not trust one's own",
    "a box without room",
    "a delivery that has not arrived",
    "a name that is more than a name",
    "a title that is more than a line",
    "a number that is none",
    "what came without a card's signature",
    "two members handle one delivery",
    "routing back to where it lies",
    "HSM token missing",
    "HSM PIN wrong",
    "HSM gone in the middle of a request",
    "database read-only",
    "disk full",
    "database damaged",
    "database server away",
    "database server refuses",
    "two databases",
    "database put back",
    "S3 of the box away",
    "a service that does not start",
    "site down",
    "wall clock an hour off",
    "wall clock jumping",
    "the same revocation twice",
    "kill -9 during enrolment",
    "kill -9 during revocation",
];

/// One line of a table. Lines without a name go on with the fault above.
struct Row {
    line: usize,
    fault: String,
    /// Japanese and English, as people read it.
    quoted: [String; 2],
    whom: String,
    /// The program's Fluent file and the message in it.
    text: Option<(String, String)>,
    /// Files and functions.
    tests: Vec<(PathBuf, String)>,
}

fn read(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn rows() -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for (index, line) in read(workspace().join(PAGE)).lines().enumerate() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let ["", name, ja, en, whom, text, tests, ""] = cells.as_slice() else {
            assert!(!line.starts_with('|'), "line {}: not six columns", index + 1);
            continue;
        };
        if name.starts_with("---") || name.starts_with("障害") {
            continue;
        }
        let fault = match name.split_once("<br>") {
            Some((_, english)) => english.to_owned(),
            None => rows.last().map(|row| row.fault.clone()).unwrap_or_default(),
        };
        rows.push(Row {
            line: index + 1,
            fault,
            quoted: [(*ja).to_owned(), (*en).to_owned()],
            whom: (*whom).to_owned(),
            text: code(text).first().map(|text| split(text, ":")),
            tests: code(tests).iter().map(|test| split(test, "::")).map(|(f, n)| (f.into(), n)).collect(),
        });
    }
    assert!(!rows.is_empty());
    rows
}

/// What stands between backticks.
fn code(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

fn split(text: &str, at: &str) -> (String, String) {
    let (before, after) = text.split_once(at).unwrap_or_else(|| panic!("{text}: no {at}"));
    (before.to_owned(), after.to_owned())
}

/// The Fluent files of all programs, in Japanese and English, by their names without `.ftl`.
fn fluent_files() -> BTreeMap<String, Sources> {
    let mut files = BTreeMap::new();
    for program in fs::read_dir(workspace()).unwrap().flatten() {
        let (ja, en) = (program.path().join("locales/ja"), program.path().join("locales/en"));
        for file in fs::read_dir(&ja).into_iter().flatten().flatten() {
            let name = file.file_name().into_string().unwrap();
            let sources = Sources { ja: read(file.path()).leak(), en: read(en.join(&name)).leak() };
            files.insert(name.trim_end_matches(".ftl").to_owned(), sources);
        }
    }
    files
}

/// What a person reads: a message, its remedy, and `{name}` for each value.
fn spoken(texts: &Texts, id: &str, values: &[String]) -> String {
    let values: Vec<_> = values.iter().map(|value| (value.as_str(), format!("{{{value}}}").into())).collect();
    let what = texts.with(id, &values);
    match texts.attribute(id, "remedy", &values) {
        Some(remedy) => format!("{what}<br>→ {remedy}"),
        None => what,
    }
}

#[test]
fn each_message_on_the_page_is_what_people_read() {
    let files = fluent_files();
    for row in rows() {
        let Some((program, id)) = &row.text else {
            assert_eq!(row.quoted, ["—", "—"], "line {}: a message without its name", row.line);
            continue;
        };
        let sources = files.get(program).unwrap_or_else(|| panic!("line {}: no {program}.ftl", row.line));
        let own = [*sources];
        // What all programs share is loaded anyway.
        let own: &[Sources] = if program == "shared" { &[] } else { &own };
        let values = outline(sources.ja);
        let mut used: Vec<String> = values.get(id).cloned().unwrap_or_default();
        used.extend(values.get(&format!("{id}.remedy")).cloned().unwrap_or_default());
        for (language, quoted) in [Language::Japanese, Language::English].into_iter().zip(&row.quoted) {
            let texts = Texts::load(language, own).unwrap();
            assert!(texts.has(id), "line {}: {program}.ftl has no {id}", row.line);
            assert_eq!(*quoted, spoken(&texts, id, &used), "line {}: {id} in {language:?}", row.line);
        }
    }
}

#[test]
fn each_fault_on_the_page_names_its_tests() {
    for row in rows() {
        assert!(FAULTS.contains(&row.fault.as_str()), "line {}: {:?} is not in FAULTS", row.line, row.fault);
        assert!(!row.whom.is_empty(), "line {}: nobody is concerned", row.line);
        assert!(!row.tests.is_empty(), "line {}: no test", row.line);
        for (file, name) in &row.tests {
            assert!(is_test(file, name), "line {}: {} has no test {name}", row.line, file.display());
        }
    }
}

#[test]
fn no_fault_is_left_out() {
    let there: BTreeSet<String> = rows().into_iter().map(|row| row.fault).collect();
    let missing: Vec<&str> = FAULTS.into_iter().filter(|fault| !there.contains(*fault)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// Whether a file has a test of this name: marked as one, or made by a macro of its folder, or of the one above, that marks it.
pub(crate) fn is_test(file: &Path, name: &str) -> bool {
    let path = workspace().join(file);
    let text = read(&path);
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let declared = [format!("fn {name}("), format!("async fn {name}(")];
    let marked = lines.iter().enumerate().filter(|(_, line)| declared.iter().any(|d| line.starts_with(d)));
    for (index, _) in marked {
        let attributes: Vec<_> = lines[..index]
            .iter()
            .rev()
            .take_while(|line| line.starts_with("#[") || line.starts_with("//"))
            .collect();
        if attributes.iter().any(|line| line.starts_with("#[ignore")) {
            return false;
        }
        if attributes.iter().any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test")) {
            return true;
        }
    }
    let named = |body: &str| {
        body.lines().map(str::trim).any(|line| {
            line.trim_end_matches(',') == name || declared.iter().any(|declared| line.starts_with(declared))
        })
    };
    let mut macros = path.ancestors().skip(1).take(2).flat_map(test_macros);
    macros.any(|name| calls(&text, &name).any(named))
}

/// The macros of a folder of tests that make `#[test]` functions.
fn test_macros(folder: &Path) -> Vec<String> {
    let mut macros = Vec::new();
    for file in fs::read_dir(folder).unwrap().flatten().filter(|file| file.path().is_file()) {
        for definition in read(file.path()).split("macro_rules! ").skip(1) {
            let body = definition.split("\n}").next().unwrap_or_default();
            if body.contains("#[test]") {
                macros.push(definition.split([' ', '{']).next().unwrap_or_default().to_owned());
            }
        }
    }
    macros
}

/// What stands between the parentheses or braces of a macro's calls.
fn calls<'a>(text: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let call = format!("\n{name}!");
    let bodies: Vec<&str> = text.split(&call).skip(1).collect();
    bodies.into_iter().map(|body| {
        let end = ["\n}", "\n)"].iter().filter_map(|end| body.find(end)).min();
        body.get(..end.unwrap_or(body.len())).unwrap_or(body)
    })
}
