//! What is wrong with a command line, in the person's language. `clap` itself speaks English only.

use clap::Command;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::message::Message;
use crate::{Explained, Texts};

/// A mistake in a command line, and what to type instead.
#[must_use]
pub(crate) fn explained(error: &clap::Error, called: &str, texts: &Texts) -> Explained {
    let remedy = match suggestion(error) {
        Some(suggestion) => Message::new("usage-suggestion").with("suggestion", suggestion),
        None => Message::new("usage-see-help").with("command", called),
    };
    Explained { what: texts.say(&message(error, texts)), remedy: texts.say(&remedy) }
}

fn message(error: &clap::Error, texts: &Texts) -> Message {
    let text = |kind| words(error, kind).join(texts.separator());
    let argument = || text(ContextKind::InvalidArg);
    let value = || text(ContextKind::InvalidValue);
    match error.kind() {
        ErrorKind::InvalidValue if value().is_empty() => {
            Message::new("usage-value-missing").with("argument", argument())
        }
        ErrorKind::InvalidValue if !words(error, ContextKind::ValidValue).is_empty() => {
            Message::new("usage-value-not-one-of")
                .with("argument", argument())
                .with("value", value())
                .with("values", text(ContextKind::ValidValue))
        }
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => {
            Message::new("usage-value-invalid").with("argument", argument()).with("value", value())
        }
        ErrorKind::UnknownArgument => Message::new("usage-argument-unknown").with("argument", argument()),
        ErrorKind::InvalidSubcommand => {
            Message::new("usage-command-unknown").with("command", text(ContextKind::InvalidSubcommand))
        }
        ErrorKind::NoEquals => Message::new("usage-equals-missing").with("argument", argument()),
        ErrorKind::TooManyValues => {
            Message::new("usage-value-superfluous").with("argument", argument()).with("value", value())
        }
        ErrorKind::TooFewValues | ErrorKind::WrongNumberOfValues => {
            Message::new("usage-number-of-values").with("argument", argument())
        }
        ErrorKind::ArgumentConflict => {
            let other = text(ContextKind::PriorArg);
            if other.is_empty() || other == argument() {
                Message::new("usage-argument-repeated").with("argument", argument())
            } else {
                Message::new("usage-arguments-conflict").with("argument", argument()).with("other", other)
            }
        }
        ErrorKind::MissingRequiredArgument => {
            Message::new("usage-argument-missing").with("argument", argument())
        }
        ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            Message::new("usage-command-missing")
        }
        ErrorKind::InvalidUtf8 => Message::new("usage-not-text"),
        _ => Message::new("usage-other"),
    }
}

/// What `clap` thinks was meant, if it is plain.
fn suggestion(error: &clap::Error) -> Option<String> {
    [ContextKind::SuggestedArg, ContextKind::SuggestedSubcommand, ContextKind::SuggestedValue]
        .into_iter()
        .find_map(|kind| words(error, kind).into_iter().next())
}

/// The command that was called, as its explanation is asked for.
pub(crate) fn called(command: &Command, mut line: impl Iterator<Item = String>) -> String {
    // The first word is the program as it was started, with its folder.
    let _ = line.next();
    let mut path = vec![command.get_name().to_owned()];
    let mut command = command;
    for word in line {
        if let Some(sub) = command.find_subcommand(&word) {
            path.push(word);
            command = sub;
        }
    }
    path.push("--help".to_owned());
    path.join(" ")
}

fn words(error: &clap::Error, kind: ContextKind) -> Vec<String> {
    match error.get(kind) {
        Some(ContextValue::String(text)) => vec![text.clone()],
        Some(ContextValue::Strings(texts)) => texts.clone(),
        Some(ContextValue::StyledStr(text)) => vec![text.to_string()],
        Some(ContextValue::StyledStrs(texts)) => texts.iter().map(ToString::to_string).collect(),
        Some(ContextValue::Number(number)) => vec![number.to_string()],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use clap::{Arg, ArgAction};

    use super::*;
    use crate::{Language, SHARED, outline};

    fn tool() -> Command {
        Command::new("tool")
            .subcommand_required(true)
            .subcommand(
                Command::new("send")
                    .arg(Arg::new("to").long("to").required(true))
                    .arg(Arg::new("copies").long("copies").value_parser(clap::value_parser!(u8)))
                    .arg(Arg::new("colour").long("colour").value_parser(["red", "green"]))
                    .arg(Arg::new("quick").long("quick").action(ArgAction::SetTrue))
                    .arg(Arg::new("slow").long("slow").action(ArgAction::SetTrue).conflicts_with("quick"))
                    .arg(Arg::new("equals").long("equals").require_equals(true))
                    .arg(Arg::new("pair").long("pair").num_args(2)),
            )
            .subcommand(
                Command::new("range").arg(Arg::new("some").long("some").num_args(2..=3).required(true)),
            )
    }

    /// Every kind of mistake, a command line that makes it, and what has to be named.
    const MISTAKES: &[(&str, ErrorKind, &str, &str)] = &[
        ("send --to", ErrorKind::InvalidValue, "usage-value-missing", "--to <to>"),
        ("send --to a --colour blue", ErrorKind::InvalidValue, "usage-value-not-one-of", "red"),
        ("send --to a --copies many", ErrorKind::ValueValidation, "usage-value-invalid", "many"),
        ("send --to a --xyz", ErrorKind::UnknownArgument, "usage-argument-unknown", "--xyz"),
        ("sell", ErrorKind::InvalidSubcommand, "usage-command-unknown", "sell"),
        ("send --to a --equals b", ErrorKind::NoEquals, "usage-equals-missing", "--equals"),
        ("send --to a --quick=yes", ErrorKind::TooManyValues, "usage-value-superfluous", "yes"),
        ("range --some 1", ErrorKind::TooFewValues, "usage-number-of-values", "--some"),
        ("send --to a --pair 1", ErrorKind::WrongNumberOfValues, "usage-number-of-values", "--pair"),
        ("send --to a --quick --slow", ErrorKind::ArgumentConflict, "usage-arguments-conflict", "--slow"),
        ("send --to a --to b", ErrorKind::ArgumentConflict, "usage-argument-repeated", "--to"),
        ("send", ErrorKind::MissingRequiredArgument, "usage-argument-missing", "--to"),
        ("", ErrorKind::MissingSubcommand, "usage-command-missing", ""),
    ];

    #[test]
    fn every_mistake_in_a_command_line_has_words() {
        for (line, kind, id, named) in MISTAKES {
            let words = std::iter::once("tool").chain(line.split_whitespace());
            let error = tool().try_get_matches_from(words).unwrap_err();
            assert_eq!(error.kind(), *kind, "{line}");
            for language in [Language::Japanese, Language::English] {
                let texts = Texts::load(language, &[]).unwrap();
                assert_eq!(message(&error, &texts).id(), *id, "{line}");
                let said = explained(&error, "tool --help", &texts);
                assert!(said.what.contains(named), "{line}: {}", said.what);
                assert!(!said.what.contains('{') && !said.remedy.is_empty(), "{line}: {said:?}");
                let japanese = said.what.chars().any(|c| ('ぁ'..='ん').contains(&c));
                assert_eq!(japanese, language == Language::Japanese, "{line}: {}", said.what);
            }
        }
        let untested = outline(SHARED.ja)
            .into_keys()
            .filter(|id| id.starts_with("usage-") && !MISTAKES.iter().any(|(_, _, tested, _)| tested == id));
        // Tested below.
        let others = ["usage-not-text", "usage-other", "usage-see-help", "usage-suggestion"];
        assert_eq!(untested.collect::<Vec<_>>(), others);
    }

    #[test]
    fn what_cannot_be_read_as_text_is_said_too() {
        for (kind, id) in [(ErrorKind::InvalidUtf8, "usage-not-text"), (ErrorKind::Io, "usage-other")] {
            let error = clap::Error::new(kind);
            let texts = Texts::load(Language::Japanese, &[]).unwrap();
            assert_eq!(message(&error, &texts).id(), id);
        }
    }

    #[test]
    fn the_remedy_is_what_was_meant_or_where_it_is_explained() {
        let texts = Texts::load(Language::English, &[]).unwrap();
        let said = |line: &str| {
            let words = || std::iter::once("tool").chain(line.split_whitespace());
            let error = tool().try_get_matches_from(words()).unwrap_err();
            explained(&error, &called(&tool(), words().map(str::to_owned)), &texts).remedy
        };
        assert!(said("send --to a --quik").contains("--quick"));
        assert!(said("snd").contains("send"));
        assert!(said("send").contains("tool send --help"));
        assert!(said("send --to a --copies many").contains("tool send --help"));
        assert!(said("--xyz").contains("“tool --help”"));
    }
}
