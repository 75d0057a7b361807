//! Nothing that people read is missing: in either language, for any program, with any value, and without a remedy where it
//! is a fault. Nothing is said to them in the source text instead.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::unwrap_in_result,
    reason = "a test that cannot go on has failed"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use warifu_texts::{Language, Sources, Texts, outline};

/// Each program: its Fluent files, and where its source text is.
const PROGRAMS: &[(&str, &[&str], &[&str])] = &[
    ("warifu and warifu-agent", &["token-agent/warifu", "token-agent/agent"], &["token-agent/src"]),
    ("warifu-admin", &["admin-cli/admin"], &["admin-cli/src"]),
    ("warifu-ca", &["console/console", "console/doctor", "ca/ca"], &["console/src", "ca/src"]),
    (
        "warifu-kms",
        &["console/console", "console/doctor", "kms/kms", "kms/public"],
        &["console/src", "kms/src"],
    ),
    ("the scenarios of ./demo", &["tests/scenarios"], &["tests/scenarios"]),
];
const SHARED: &str = "texts/shared";

/// Messages with these beginnings are faults: what happened, and the one thing to do.
const FAULTS: &[&str] =
    &["fault-", "code-", "state-", "rejected-", "hsm-", "database-", "ledger-", "kms-", "run-"];
/// It begins like a fault, and is told on the way.
const NO_FAULT: &str = "kms-not-asked";

/// Calls whose first argument is a message's name.
const CALLS: &[&str] = &[
    "Message::new(",
    "said(",
    "about(",
    "explained(",
    "text(",
    "say(",
    "say_with(",
    "get(",
    "waiting(",
    "warn(",
    "with(",
    "complain(",
    "attribute(",
    "already(desk, ",
    "row(",
    "step(",
    "seen(",
    "place(",
    "during(",
    "=> ",
    "{ ",
];

/// Lines for programs, which read no language.
const FOR_PROGRAMS: &[&str] = &["ready {}", "statement {}", "fingerprint {}", "tls-key {}", "founded {}"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A Fluent file in a language, by folder and name.
fn locale(file: &str, language: &str) -> String {
    let (folder, name) = file.split_once('/').unwrap();
    read(&root().join(folder).join("locales").join(language).join(format!("{name}.ftl")))
}

/// The Rust files below a folder, without their tests.
fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = read(&path);
                let code = text.split("#[cfg(test)]").next().unwrap_or_default().to_owned();
                found.push((path, code));
            }
        }
    }
    assert!(!found.is_empty(), "{folder}");
    found
}

/// All Fluent files there are, so that a forgotten one is noticed.
fn all_files() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for folder in std::fs::read_dir(root()).unwrap() {
        let folder = folder.unwrap().path();
        let Ok(files) = std::fs::read_dir(folder.join("locales/ja")) else { continue };
        for file in files {
            let path = file.unwrap().path();
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            found.insert(format!("{}/{name}", folder.file_name().unwrap().to_string_lossy()));
        }
    }
    found
}

#[test]
fn every_file_of_texts_belongs_to_a_program() {
    let listed = PROGRAMS.iter().flat_map(|(_, files, _)| *files).chain([&SHARED]);
    assert_eq!(all_files(), listed.map(|file| (*file).to_owned()).collect());
}

#[test]
fn both_languages_have_the_same_messages_with_the_same_values() {
    for file in all_files() {
        assert_eq!(outline(&locale(&file, "ja")), outline(&locale(&file, "en")), "{file}");
        for (language, name) in [(Language::Japanese, "ja"), (Language::English, "en")] {
            let text: &'static str = locale(&file, name).leak();
            let sources: &[Sources] = &[Sources { ja: text, en: text }];
            // A message that is there twice is refused, and what is shared is loaded anyhow.
            let sources = if file == SHARED { &[] } else { sources };
            Texts::load(language, sources).unwrap_or_else(|error| panic!("{file} {name}: {error}"));
        }
    }
}

/// Names that a Fluent file has more than once: of messages, and of one message's attributes.
fn twice(source: &str) -> Vec<String> {
    let (mut seen, mut twice, mut message) = (BTreeSet::new(), Vec::new(), String::new());
    for line in source.lines() {
        let Some((name, _)) = line.split_once('=') else { continue };
        let name = match name.trim_start().strip_prefix('.') {
            Some(attribute) if name.starts_with(' ') => format!("{message}.{}", attribute.trim_end()),
            _ if name.starts_with(|c: char| c.is_ascii_alphabetic()) => {
                name.trim_end().clone_into(&mut message);
                message.clone()
            }
            _ => continue,
        };
        if !seen.insert(name.clone()) {
            twice.push(name);
        }
    }
    twice
}

#[test]
fn nothing_is_said_twice_in_one_file() {
    let file = "a = x\n    .remedy = y\nb = x\n    .remedy = y = z\n    .remedy = y\na= x\n# a = x\n";
    assert_eq!(twice(file), ["b.remedy", "a"]);
    for file in all_files() {
        for language in ["ja", "en"] {
            assert_eq!(twice(&locale(&file, language)), Vec::<String>::new(), "{file} {language}");
        }
    }
}

#[test]
fn every_fault_says_the_one_thing_to_do() {
    for file in all_files() {
        let outline = outline(&locale(&file, "ja"));
        let is_fault = |id: &&String| {
            !id.contains('.') && *id != NO_FAULT && FAULTS.iter().any(|fault| id.starts_with(fault))
        };
        for id in outline.keys().filter(is_fault) {
            assert!(outline.contains_key(&format!("{id}.remedy")), "{file}: {id} has no remedy");
        }
    }
}

/// Whether a literal may be the name of a message.
fn is_name(literal: &str) -> bool {
    literal.contains('-')
        && literal.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !literal.starts_with('-')
        && !literal.ends_with('-')
}

/// The names of messages in a source text: string literals in calls that take one.
fn named(code: &str) -> BTreeSet<String> {
    let literals = CALLS.iter().flat_map(|call| code.split(call).skip(1));
    let literals = literals.filter_map(|rest| rest.trim_start().strip_prefix('"')?.split('"').next());
    literals.filter(|literal| is_name(literal)).map(str::to_owned).collect()
}

#[test]
fn every_message_in_the_code_has_a_text() {
    for (program, files, folders) in PROGRAMS {
        let texts: BTreeMap<_, _> =
            files.iter().chain([&SHARED]).flat_map(|file| outline(&locale(file, "en"))).collect();
        // What begins otherwise is no message: a header, a file's name.
        let beginnings: BTreeSet<_> = texts.keys().filter_map(|id| id.split('-').next()).collect();
        let mut seen = 0;
        for (path, code) in folders.iter().flat_map(|folder| sources(folder)) {
            for id in named(&code) {
                if id.split('-').next().is_some_and(|beginning| beginnings.contains(beginning)) {
                    let said = texts.contains_key(&id) || texts.contains_key(&format!("doctor-{id}"));
                    assert!(said, "{program}: no text for {id} ({})", path.display());
                    seen += 1;
                }
            }
        }
        assert!(seen > 20, "{program}: only {seen} messages found");
    }
}

#[test]
fn nobody_is_spoken_to_in_the_source_text() {
    let print =
        ["println!(", "print!(", "write!(", "writeln!(", "process::say(", ".detail(", "println(", ".help("];
    let folders: BTreeSet<&str> =
        PROGRAMS.iter().flat_map(|(_, _, folders)| folders.iter().copied()).collect();
    let mut looked_at = 0;
    for (path, code) in folders.iter().flat_map(|folder| sources(folder)) {
        for rest in print.iter().flat_map(|call| code.split(call).skip(1)) {
            looked_at += 1;
            let statement = rest.split(';').next().unwrap_or_default();
            for literal in statement.split('"').skip(1).step_by(2) {
                let words = literal.split(|c: char| !c.is_alphabetic()).filter(|word| word.len() > 1).count();
                let allowed = FOR_PROGRAMS.contains(&literal) || is_name(literal) || words < 2;
                assert!(allowed, "{}: {literal:?} is said to people in one language", path.display());
            }
        }
    }
    assert!(looked_at > 10, "only {looked_at} calls found");
}
