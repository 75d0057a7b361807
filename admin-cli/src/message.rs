//! Every fault in words: what happened, and the one thing to do.

use warifu_admin_cli::sheet::{ROWS_LIMIT, SIZE_LIMIT, SheetError};
use warifu_api::ErrorCode;
use warifu_api::wire::agent::AgentFault;
use warifu_api::wire::authority::ProposalStanding;
use warifu_audit::FileError;
use warifu_texts::{Explained, Language, Message, Sources, Spoken, Texts, TextsError, system};
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

/// What a fault means to a person.
pub(crate) fn explained(words: &Words, fault: &Fault) -> Explained {
    match fault {
        // The kms says it in its own words; this desk has folded the order before, and says most of it itself.
        Fault::Agent(AgentFault::AuthorityRefused { code: ErrorCode::Rejected, message }) => {
            words.admin.explain(&Message::new("rejected-other").with("why", message))
        }
        Fault::Agent(fault) => words.agent.fault(fault),
        fault => words.admin.explain(&fault.message()),
    }
}

/// Why a table is not read.
fn of_sheet(path: &str, why: &SheetError) -> Message {
    let said = Message::new;
    match why {
        SheetError::File(source) => said("fault-file").with("path", path).with_message("why", system(source)),
        SheetError::TooLong => {
            said("fault-sheet-too-long").with("rows", ROWS_LIMIT).with("mebibytes", SIZE_LIMIT >> 20)
        }
        SheetError::Without { columns } => said("fault-sheet-without").with("columns", columns.join("・")),
        SheetError::Twice { column } => said("fault-sheet-twice").with("column", column),
        _ => said("fault-sheet-unreadable"),
    }
}

impl Spoken for Fault {
    fn message(&self) -> Message {
        let said = Message::new;
        match self {
            // Has its words with the agent.
            Self::Agent(_) => said("fault-agent-gone").with("why", self),
            Self::AgentGone(error) => said("fault-agent-gone").with("why", error),
            Self::Rejected(rejected) => rejected.message(),
            Self::Ledger(why) => said("fault-ledger").with("why", why),
            Self::NoOfficerCard => said("fault-no-officer-card"),
            Self::SecondPersonNeeded => said("rejected-two-people"),
            Self::Proposed => said("fault-proposed"),
            Self::ProposedAlready { hash } => said("fault-proposed-already").with("hash", hash),
            Self::ProposalAltered { hash } => said("fault-proposal-altered").with("hash", hash),
            Self::ProposalOver { hash, standing } => said(match standing {
                ProposalStanding::Appended => "fault-proposal-appended",
                ProposalStanding::Withdrawn => "fault-proposal-withdrawn",
                ProposalStanding::Expired | ProposalStanding::Waiting => "fault-proposal-expired",
            })
            .with("hash", hash),
            Self::NoNewCard => said("fault-no-new-card"),
            Self::UnknownLabel { kind, label } => {
                said("fault-unknown-label").with_message("kind", kind_of(kind)).with("label", label)
            }
            Self::AmbiguousLabel { kind, label } => {
                said("fault-ambiguous-label").with_message("kind", kind_of(kind)).with("label", label)
            }
            Self::LabelTaken { label } => said("fault-label-taken").with("label", label),
            Self::NameTaken { name } => said("fault-name-taken").with("name", name),
            Self::NotAName => said("fault-not-a-name"),
            Self::NotADay { day } => said("fault-not-a-day").with("day", day),
            Self::DayOver { day, today } => said("fault-day-over").with("day", day).with("today", today),
            Self::DayBegun { day } => said("fault-day-begun").with("day", day),
            Self::Sheet { path, source } => of_sheet(path, source),
            Self::SheetBad { rows } => said("fault-sheet-bad").with("rows", rows),
            Self::NotForUnits { path } => said("fault-not-for-units").with("path", path),
            Self::NotAuditFile { path, source } => said(match source {
                FileError::Version { .. } => "fault-audit-file-newer",
                _ => "fault-not-audit-file",
            })
            .with("path", path)
            .with("why", source),
            Self::AuditFileOfOneOrder { path } => said("fault-audit-file-of-one-order").with("path", path),
            Self::AuditUnsound { count } => said("fault-audit-unsound").with("count", count),
            Self::NotAFingerprint { text } => said("fault-not-a-fingerprint").with("text", text),
            Self::NotCosigned => said("fault-not-cosigned"),
            Self::DayTooFar { day } => said("fault-day-too-far").with("day", day),
            Self::NoCardLeft { label } => said("fault-no-card-left").with("label", label),
            Self::NotAnOfficer { text } => said("fault-not-an-officer").with("text", text),
            Self::TooFewOfficers => said("fault-too-few-officers"),
            Self::CardTwice { serial } => said("fault-card-twice").with("serial", serial),
            Self::NotAttested { serial } => said("fault-not-attested").with("serial", serial),
            Self::NoOutput => said("fault-no-output"),
            Self::CardNotHere { serial } => said("fault-card-not-here").with("serial", serial),
            Self::CardOfSomebody { serial, name } => {
                said("fault-card-of-somebody").with("serial", serial).with("name", name)
            }
            Self::SeveralCardsOf { label, cards } => {
                said("fault-several-cards-of").with("label", label).with("cards", cards)
            }
            Self::NoSuchCardOf { label, card } => {
                said("fault-no-such-card-of").with("label", label).with("card", card)
            }
            Self::CardOfMemberNotHere { label } => said("fault-card-of-member-not-here").with("label", label),
            Self::NoPuk => said("fault-no-puk"),
            Self::NoneBlocked => said("fault-none-blocked"),
            Self::SeveralBlocked => said("fault-several-blocked"),
            Self::PinLine => said("fault-pin-line"),
            Self::PinMissing { serial } => said("fault-pin-missing").with("serial", serial),
            Self::Fingerprint { found } => said("fault-fingerprint").with("found", found),
            Self::OtherFingerprint => said("fault-other-organization"),
            Self::NoDirectory { address } => said("fault-no-directory").with("address", address),
            Self::Distrusted(why) => {
                let kind = why.kind();
                let id = if kind.is_alarm() { "fault-distrusted" } else { "fault-directory-late" };
                said(id).with_message("why", Message::new(format!("trouble-{}", kind.name())))
            }
            Self::NotAgreed => said("fault-not-agreed"),
            Self::NotReadyInTime { what } => said("fault-not-ready").with("what", what),
            Self::SharesMissing { site, missing } => {
                said("fault-shares-missing").with("site", site).with("missing", missing)
            }
            Self::NotByPresentKeys => said("fault-not-by-present-keys"),
            Self::NotARotation { path } => said("fault-not-a-rotation").with("path", path),
            Self::SiteAhead { site } => said("fault-site-ahead").with("site", site),
            Self::NobodyServes { units } => said("fault-nobody-serves").with("units", units),
            Self::Backup(error) => error.message(),
            Self::NotConfirmed => said("fault-not-confirmed"),
            Self::File { path, source } => {
                said("fault-file").with("path", path).with_message("why", system(source))
            }
            Self::Json(error) => said("fault-json").with("why", error),
            Self::Terminal(error) => said("fault-terminal").with_message("why", system(error)),
        }
    }
}

/// What a label names, in words.
fn kind_of(kind: &str) -> Message {
    Message::new(format!("kind-{kind}"))
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
        let command = <crate::args::Cli as clap::CommandFactory>::command;
        for language in [Language::Japanese, Language::English] {
            let words = Words::load(language).unwrap();
            assert_eq!(warifu_texts::help::missing(command(), words.admin()), Vec::<String>::new());
            warifu_texts::help::explained(command(), words.admin()).debug_assert();
        }
    }

    #[test]
    fn every_key_in_the_code_is_in_the_texts() {
        let sources = [
            include_str!("message.rs"),
            include_str!("screen.rs"),
            include_str!("desk.rs"),
            include_str!("found.rs"),
            include_str!("found/minutes.rs"),
            include_str!("found/officers.rs"),
            include_str!("watch.rs"),
            include_str!("pins.rs"),
            include_str!("preview.rs"),
            include_str!("signing.rs"),
            include_str!("command/proposal.rs"),
            include_str!("command/bulk.rs"),
            include_str!("command/roles.rs"),
            include_str!("command/expiring.rs"),
            include_str!("command/issue.rs"),
            include_str!("command.rs"),
            include_str!("command/audit.rs"),
            include_str!("command/slip.rs"),
            include_str!("command/trust.rs"),
            include_str!("command/audit/evidence.rs"),
            include_str!("command/audit/export.rs"),
            include_str!("command/audit/verify.rs"),
            include_str!("command/backup.rs"),
            include_str!("command/card.rs"),
            include_str!("command/contract.rs"),
            include_str!("command/member.rs"),
            include_str!("command/serving.rs"),
            include_str!("command/site.rs"),
            include_str!("command/unit.rs"),
            include_str!("command/unit/life.rs"),
        ];
        let words = Words::load(Language::Japanese).unwrap();
        let calls = [
            "ask(\"",
            "text(\"",
            "say(\"",
            "say_with(\"",
            "get(\"",
            "waiting(\"",
            "=> \"",
            "say_with(\n",
            "said(\"",
        ];
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
