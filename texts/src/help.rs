//! Command lines explained in the person's language: `clap` with texts from the Fluent files.
//!
//! A command's explanation is the message `help-NAME` (subcommands append `-SUBCOMMAND`), an argument's is `help-arg-ID`.

use std::process::ExitCode;

use clap::builder::Resettable;
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, Command, Parser};

use crate::{Language, Message, Texts, usage};

/// The language that a command line asks for with `--lang`, or else the environment. Asked for before the arguments are
/// read, because their explanations depend on it.
#[must_use]
pub fn language() -> Language {
    let mut words = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned());
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

/// Reads the command line; or says, in the person's language, what it asked for or what is wrong with it, and with which
/// code the program ends.
///
/// # Errors
/// The exit code: 0 for help and version, 1 for a mistake.
pub fn read<C: Parser>(texts: &Texts) -> Result<C, ExitCode> {
    let line = std::env::args_os().map(|word| word.to_string_lossy().into_owned());
    let command = explained(C::command(), texts);
    let called = usage::called(&command, line);
    let found = command.try_get_matches().and_then(|found| C::from_arg_matches(&found));
    found.map_err(|error| {
        let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
        if asked || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
            let _ = error.print();
        } else {
            crate::complain(texts, &usage::explained(&error, &called, texts), None);
        }
        ExitCode::from(u8::from(!asked))
    })
}

/// The command with its explanations, and with the options that every program has.
#[must_use]
pub fn explained(command: Command, texts: &Texts) -> Command {
    let command = whole(command);
    let id = format!("help-{}", command.get_name());
    localized(command, &id, texts, &Headings::new(texts))
}

/// Every message that the explanations of this command need and the texts lack: for tests.
#[must_use]
pub fn missing(command: Command, texts: &Texts) -> Vec<String> {
    fn collect(command: &Command, id: &str, texts: &Texts, missing: &mut Vec<String>) {
        let arguments = command.get_arguments().map(|arg| format!("help-arg-{}", arg.get_id()));
        missing.extend(std::iter::once(id.to_owned()).chain(arguments).filter(|id| !texts.has(id)));
        for sub in command.get_subcommands() {
            collect(sub, &format!("{id}-{}", sub.get_name()), texts, missing);
        }
    }
    let command = whole(command);
    let mut found = Vec::new();
    collect(&command, &format!("help-{}", command.get_name()), texts, &mut found);
    found.extend(Some("help-exit-codes".to_owned()).filter(|id| !texts.has(id)));
    found
}

/// Language, help and version, in the words of our texts rather than of `clap`.
fn whole(command: Command) -> Command {
    let lang = Arg::new("lang").long("lang").global(true).value_name("ja|en").value_parser(["ja", "en"]);
    let help = Arg::new("help").long("help").short('h').global(true).action(ArgAction::Help);
    let version = Arg::new("version").long("version").short('V').action(ArgAction::Version);
    command
        .version(env!("CARGO_PKG_VERSION"))
        .disable_help_flag(true)
        .disable_version_flag(true)
        .disable_help_subcommand(true)
        .args([lang, help, version])
}

struct Headings {
    commands: &'static str,
    options: &'static str,
    arguments: &'static str,
}

impl Headings {
    /// `clap` wants headings that live for ever; there are three, and they are made once.
    fn new(texts: &Texts) -> Self {
        let heading = |id| -> &'static str { texts.get(id).leak() };
        Self {
            commands: heading("help-commands"),
            options: heading("help-options"),
            arguments: heading("help-arguments"),
        }
    }
}

/// An argument's explanation, with its default.
fn explanation(arg: &Arg, texts: &Texts) -> String {
    let help = texts.get(&format!("help-arg-{}", arg.get_id()));
    let defaults: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    if defaults.is_empty() || !arg.get_action().takes_values() {
        return help;
    }
    let default = Message::new("help-default").with("value", defaults.join(texts.separator()));
    format!("{help} {}", texts.say(&default))
}

fn localized(command: Command, id: &str, texts: &Texts, headings: &Headings) -> Command {
    let usage = texts.get("help-usage");
    let template = format!("{{about}}\n\n{usage} {{usage}}\n\n{{all-args}}{{after-help}}");
    let names: Vec<String> = command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    let mut command = command
        .about(texts.get(id))
        .long_about(Resettable::Reset)
        .after_help(texts.get("help-exit-codes"))
        .help_template(template)
        .subcommand_help_heading(headings.commands)
        .mut_args(|arg| {
            let heading = if arg.is_positional() { headings.arguments } else { headings.options };
            let help = explanation(&arg, texts);
            let takes_values = arg.get_action().takes_values();
            let arg = arg.help(help).long_help(Resettable::Reset).help_heading(heading);
            if takes_values { arg.hide_default_value(true).hide_possible_values(true) } else { arg }
        });
    for name in names {
        let id = format!("{id}-{name}");
        command = command.mut_subcommand(name, |sub| localized(sub, &id, texts, headings));
    }
    command
}
