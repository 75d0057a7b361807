//! Command lines explained in the person's language: `clap` with texts from the Fluent files.
//!
//! A command's explanation is the message `help-NAME` (subcommands append `-SUBCOMMAND`), an argument's is `help-arg-ID`.

use clap::Command;
use clap::builder::Resettable;

use crate::{Language, Texts};

/// The language that a command line asks for with `--lang`, or else the environment. Asked for before the arguments are
/// read, because their explanations depend on it.
#[must_use]
pub fn language() -> Language {
    let mut words = std::env::args().skip(1);
    let mut asked = None;
    while let Some(word) = words.next() {
        if word == "--" {
            break;
        } else if word == "--lang" {
            asked = words.next();
        } else if let Some(value) = word.strip_prefix("--lang=") {
            asked = Some(value.to_owned());
        }
    }
    asked.and_then(|text| Language::parse(&text)).unwrap_or_else(Language::from_environment)
}

/// The command with its explanations.
#[must_use]
pub fn explained(command: Command, texts: &Texts) -> Command {
    let headings = Headings {
        commands: heading(texts, "help-commands"),
        options: heading(texts, "help-options"),
        arguments: heading(texts, "help-arguments"),
    };
    let id = format!("help-{}", command.get_name());
    localized(command, &id, texts, &headings).after_help(texts.get("help-exit-codes"))
}

/// Every message that the explanations of this command need and the texts lack: for tests.
#[must_use]
pub fn missing(command: &Command, texts: &Texts) -> Vec<String> {
    fn collect(command: &Command, id: &str, texts: &Texts, missing: &mut Vec<String>) {
        let arguments = command.get_arguments().map(|arg| format!("help-arg-{}", arg.get_id()));
        missing.extend(std::iter::once(id.to_owned()).chain(arguments).filter(|id| !texts.has(id)));
        for sub in command.get_subcommands() {
            collect(sub, &format!("{id}-{}", sub.get_name()), texts, missing);
        }
    }
    let mut found = Vec::new();
    collect(command, &format!("help-{}", command.get_name()), texts, &mut found);
    found
}

struct Headings {
    commands: &'static str,
    options: &'static str,
    arguments: &'static str,
}

/// `clap` wants headings that live for ever; there are three, and they are made once.
fn heading(texts: &Texts, id: &str) -> &'static str {
    texts.get(id).leak()
}

fn localized(command: Command, id: &str, texts: &Texts, headings: &Headings) -> Command {
    let usage = texts.get("help-usage");
    let template = format!("{{about}}\n\n{usage} {{usage}}\n\n{{all-args}}{{after-help}}");
    let names: Vec<String> = command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    let mut command = command
        .about(texts.get(id))
        .long_about(Resettable::Reset)
        .help_template(template)
        .subcommand_help_heading(headings.commands)
        .mut_args(|arg| {
            let heading = if arg.is_positional() { headings.arguments } else { headings.options };
            let help = texts.get(&format!("help-arg-{}", arg.get_id()));
            arg.help(help).long_help(Resettable::Reset).help_heading(heading)
        });
    for name in names {
        let id = format!("{id}-{name}");
        command = command.mut_subcommand(name, |sub| localized(sub, &id, texts, headings));
    }
    command
}
