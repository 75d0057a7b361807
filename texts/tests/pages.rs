//! The pages that are there in two languages say the same commands under the same headings, and no link leads nowhere.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::path::{Path, PathBuf};

/// Where people read in either language.
const FOLDERS: [&str; 2] = ["docs/operations", "docs/workflows"];
const JAPANESE: &str = ".ja.md";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The pages below a folder, in the order of their paths.
fn pages(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// What of a page is compared, and the rest of it.
#[derive(Default)]
struct Outline {
    /// Each fenced code block with its fences, byte for byte.
    blocks: Vec<String>,
    /// The level of each heading, 1 to 6.
    headings: Vec<usize>,
    /// Every line that is not in a block.
    prose: String,
}

impl Outline {
    fn of(page: &str) -> Self {
        let mut outline = Self::default();
        let mut open: Option<String> = None;
        for line in page.split_inclusive('\n') {
            let fence = line.trim_start().starts_with("```");
            match open.take() {
                Some(mut block) => {
                    block.push_str(line);
                    if fence {
                        outline.blocks.push(block);
                    } else {
                        open = Some(block);
                    }
                }
                None if fence => open = Some(line.to_owned()),
                None => {
                    outline.headings.extend(level(line));
                    outline.prose.push_str(line);
                }
            }
        }
        assert_eq!(open, None, "a block that nothing closes");
        outline
    }

    /// The blocks without what another language says in other words.
    fn compared(&self) -> Vec<String> {
        self.blocks
            .iter()
            .map(|block| if is_picture(block) { skeleton(block) } else { block.clone() })
            .collect()
    }

    /// How many headings there are of each level, 1 to 6.
    fn of_each_level(&self) -> Vec<usize> {
        (1..=6).map(|level| self.headings.iter().filter(|found| **found == level).count()).collect()
    }
}

/// Whether a block is a picture, which viewers draw.
fn is_picture(block: &str) -> bool {
    block.trim_start().starts_with("```mermaid")
}

/// A picture without its words: who is in it, and who turns to whom.
fn skeleton(picture: &str) -> String {
    let bones =
        |line: &str| line.split(" as ").next().and_then(|line| line.split(": ").next()).map(str::to_owned);
    picture.lines().filter_map(bones).collect::<Vec<_>>().join("\n")
}

/// The level of the heading that a line is.
fn level(line: &str) -> Option<usize> {
    let text = line.trim_start_matches('#');
    let level = line.len() - text.len();
    ((1..=6).contains(&level) && text.starts_with(' ')).then_some(level)
}

/// The files that links lead to, as written: no addresses, no places on the same page, no anchors.
fn targets(prose: &str) -> Vec<&str> {
    let links = prose.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0));
    let relative = links.filter(|link| !link.contains("://") && !link.starts_with("mailto:"));
    relative.filter_map(|link| link.split('#').next()).filter(|file| !file.is_empty()).collect()
}

#[test]
fn what_is_compared_is_found() {
    let page = "# A\n\n[b](b.md#c), [`d`](../d.md)\n\n```sh\n# no heading [e](e.md)\n```\n## F\n#g\n\
        1. h\n\n   ```\n   i\n   ```\n\n[j](#j) [k](https://k.example/k.md) [l](mailto:l@example.jp)\n";
    let outline = Outline::of(page);
    assert_eq!(outline.blocks, ["```sh\n# no heading [e](e.md)\n```\n", "   ```\n   i\n   ```\n"]);
    assert_eq!(outline.headings, [1, 2]);
    assert_eq!(outline.of_each_level(), [1, 1, 0, 0, 0, 0]);
    assert_eq!(targets(&outline.prose), ["b.md", "../d.md"]);
    let picture = "```mermaid\n  participant A as Town\n  A->>B: a file\n```\n";
    assert!(is_picture(picture) && !is_picture(&outline.blocks[0]));
    assert_eq!(skeleton(picture), "```mermaid\n  participant A\n  A->>B\n```");
}

#[test]
fn a_page_in_japanese_has_the_commands_and_headings_of_the_english_one() {
    let mut compared = 0;
    for japanese in FOLDERS.into_iter().flat_map(pages) {
        let file = japanese.file_name().unwrap().to_str().unwrap();
        let Some(name) = file.strip_suffix(JAPANESE) else { continue };
        let english = japanese.with_file_name(format!("{name}.md"));
        let (ours, theirs) = (read(&japanese), read(&english));

        assert_eq!(ours.lines().next(), Some(format!("[English]({name}.md)").as_str()), "{file}");
        assert_eq!(theirs.lines().next(), Some(format!("[日本語]({file})").as_str()), "{name}.md");

        let (ours, theirs) = (Outline::of(&ours), Outline::of(&theirs));
        assert_eq!(ours.compared(), theirs.compared(), "{file}: code blocks");
        assert_eq!(ours.of_each_level(), theirs.of_each_level(), "{file}: headings of each level");
        compared += 1;
    }
    assert!(compared >= 5, "only {compared} pages in Japanese found");
}

#[test]
fn no_link_leads_nowhere() {
    let mut followed = 0;
    let readmes = ["README.md", "README.ja.md"].map(|file| root().join(file));
    for page in pages("docs").into_iter().chain(readmes) {
        let outline = Outline::of(&read(&page));
        for target in targets(&outline.prose) {
            assert!(page.with_file_name(target).exists(), "{}: {target} does not exist", page.display());
            followed += 1;
        }
    }
    assert!(followed > 50, "only {followed} links found");
}
