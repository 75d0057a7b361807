//! Every fault in words: what happened, and the one thing to do.

use warifu_api::ErrorCode;
use warifu_api::wire::agent::AgentFault;
use warifu_ledger::state::Rejected;
use warifu_texts::{Language, Sources, Texts, TextsError};
use warifu_token_agent::texts::{AGENT, AgentTexts as _};

use crate::fault::Fault;

/// The texts of this program.
const ADMIN: Sources =
    Sources { ja: include_str!("../locales/ja/admin.ftl"), en: include_str!("../locales/en/admin.ftl") };

/// The texts of this program and of the agent, whose faults it passes on.
pub(crate) struct Words {
    admin: Texts,
    agent: Texts,
}

impl Words {
    /// The texts in a language.
    pub(crate) fn load(language: Language) -> Result<Self, TextsError> {
        Ok(Self { admin: Texts::load(language, &[ADMIN])?, agent: Texts::load(language, &[AGENT])? })
    }

    /// This program's own texts.
    pub(crate) fn admin(&self) -> &Texts {
        &self.admin
    }

    /// A text with its arguments filled in.
    pub(crate) fn get(&self, key: &str, args: &[(&str, String)]) -> String {
        let values: Vec<_> = args.iter().map(|(name, value)| (*name, value.as_str().into())).collect();
        self.admin.with(key, &values)
    }
}

/// The message of a fault.
pub(crate) fn of(words: &Words, fault: &Fault) -> String {
    let get = |key: &str, args: &[(&str, String)]| words.get(key, args);
    match fault {
        Fault::Agent(AgentFault::AuthorityRefused { code: ErrorCode::Rejected, message }) => {
            get("rejected", &[("why", message.clone())])
        }
        Fault::Agent(fault) => {
            let said = words.agent.fault(fault);
            format!("{} {}", said.what, said.remedy).trim_end().to_owned()
        }
        Fault::AgentGone(error) => get("fault-agent-gone", &[("why", error.to_string())]),
        Fault::Rejected(rejected) => get(rejected_key(rejected), &[("why", rejected.to_string())]),
        Fault::Ledger(why) => get("fault-ledger", &[("why", why.clone())]),
        Fault::NoOfficerCard => get("fault-no-officer-card", &[]),
        Fault::SecondPersonNeeded => get("fault-second-person", &[]),
        Fault::NoNewCard => get("fault-no-new-card", &[]),
        Fault::UnknownLabel { kind, label } => get(
            "fault-unknown-label",
            &[("kind", get(&format!("kind-{kind}"), &[])), ("label", label.clone())],
        ),
        Fault::AmbiguousLabel { kind, label } => get(
            "fault-ambiguous-label",
            &[("kind", get(&format!("kind-{kind}"), &[])), ("label", label.clone())],
        ),
        Fault::LabelTaken { label } => get("fault-label-taken", &[("label", label.clone())]),
        Fault::NotAName => get("fault-not-a-name", &[]),
        Fault::NotADay { day } => get("fault-not-a-day", &[("day", day.clone())]),
        Fault::NotAnOfficer { text } => get("fault-not-an-officer", &[("text", text.clone())]),
        Fault::TooFewOfficers => get("fault-too-few-officers", &[]),
        Fault::CardNotHere { serial } => get("fault-card-not-here", &[("serial", serial.to_string())]),
        Fault::NoneBlocked => get("fault-none-blocked", &[]),
        Fault::SeveralBlocked => get("fault-several-blocked", &[]),
        Fault::PinsDiffer => get("fault-pins-differ", &[]),
        Fault::PinLine => get("fault-pin-line", &[]),
        Fault::PinMissing { serial } => get("fault-pin-missing", &[("serial", serial.to_string())]),
        Fault::Fingerprint { found } => get("fault-fingerprint", &[("found", found.clone())]),
        Fault::NotAgreed => get("fault-not-agreed", &[]),
        Fault::NotReadyInTime { what } => get("fault-not-ready", &[("what", what.clone())]),
        Fault::NotConfirmed => get("fault-not-confirmed", &[]),
        Fault::File { path, source } => {
            get("fault-file", &[("path", path.clone()), ("why", source.to_string())])
        }
        Fault::Json(error) => get("fault-json", &[("why", error.to_string())]),
        Fault::Terminal(error) => get("fault-terminal", &[("why", error.to_string())]),
    }
}

/// The refusals of the fold that people meet have words of their own; the others show what the fold said.
fn rejected_key(rejected: &Rejected) -> &'static str {
    match rejected {
        Rejected::TwoPeopleNeeded { .. } => "fault-second-person",
        Rejected::WrongRole { .. } => "rejected-wrong-role",
        Rejected::ForOneself { .. } => "rejected-for-oneself",
        Rejected::Over { .. } => "rejected-over",
        Rejected::GrantExists { .. } => "rejected-grant-exists",
        Rejected::CardFull { .. } => "rejected-card-full",
        Rejected::LockOut => "rejected-lock-out",
        Rejected::EndsInPast { .. } => "rejected-ends-in-past",
        Rejected::NotAttested => "rejected-not-attested",
        Rejected::RepeatedPoint => "rejected-repeated",
        Rejected::NotSuspended { .. } => "rejected-not-suspended",
        _ => "rejected",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_languages_are_complete() {
        assert_eq!(warifu_texts::outline(ADMIN.ja), warifu_texts::outline(ADMIN.en));
    }

    #[test]
    fn every_command_and_argument_is_explained() {
        let command = <crate::args::Cli as clap::CommandFactory>::command();
        for language in [Language::Japanese, Language::English] {
            let words = Words::load(language).unwrap();
            assert_eq!(warifu_texts::help::missing(&command, words.admin()), Vec::<String>::new());
            crate::args::command(words.admin()).debug_assert();
        }
    }

    #[test]
    fn every_key_in_the_code_is_in_the_texts() {
        let sources = [
            include_str!("message.rs"),
            include_str!("screen.rs"),
            include_str!("desk.rs"),
            include_str!("found.rs"),
            include_str!("watch.rs"),
            include_str!("pins.rs"),
            include_str!("preview.rs"),
            include_str!("command.rs"),
            include_str!("command/card.rs"),
            include_str!("command/contract.rs"),
            include_str!("command/member.rs"),
            include_str!("command/site.rs"),
            include_str!("command/unit.rs"),
        ];
        let words = Words::load(Language::Japanese).unwrap();
        let calls = ["text(\"", "say(\"", "say_with(\"", "get(\"", "waiting(\"", "=> \"", "say_with(\n"];
        let mut seen = 0;
        for source in sources.iter().map(|s| s.split("#[cfg(test)]").next().unwrap()) {
            for call in calls {
                for rest in source.split(call).skip(1) {
                    let rest = rest.trim_start().trim_start_matches('"');
                    let key = rest.split('"').next().unwrap();
                    if key.starts_with('/')
                        || !key.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')
                        || key.is_empty()
                    {
                        continue;
                    }
                    seen += 1;
                    assert!(words.admin.has(key), "no text for {key}");
                }
            }
        }
        assert!(seen > 60, "only {seen} keys found");
    }
}
