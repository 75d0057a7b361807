//! Why the ledger refuses something, in words.

use warifu_ledger::state::Rejected;

use crate::message::{Message, Spoken};

impl Spoken for Rejected {
    fn message(&self) -> Message {
        let said = Message::new;
        match self {
            Self::Envelope(error) => said("rejected-malformed").with("why", error),
            Self::TimeWentBack { .. } | Self::Tree(_) | Self::Seen(_) | Self::SeenAhead { .. } => {
                said("rejected-out-of-step")
            }
            Self::Unsigned => said("rejected-unsigned"),
            Self::UnknownSigner { .. } => said("rejected-unknown-signer"),
            Self::BadSignature { .. } => said("rejected-bad-signature"),
            Self::SignedTwice { .. } => said("rejected-signed-twice"),
            Self::SignerNotLive { .. } => said("rejected-signer-not-live"),
            Self::WrongRole { .. } => said("rejected-wrong-role"),
            Self::TwoPeopleNeeded { .. } => said("rejected-two-people"),
            Self::ForOneself { .. } => said("rejected-for-oneself"),
            Self::OtherOrganization { .. } => said("rejected-other-organization"),
            Self::Replayed { .. } => said("rejected-replayed"),
            Self::Expired { .. } => said("rejected-expired"),
            Self::ExpiryTooFar => said("rejected-expiry-too-far"),
            Self::Fork { .. } => said("rejected-fork"),
            Self::Empty => said("rejected-empty"),
            Self::Unknown { kind, .. } => said("rejected-unknown").with_message("kind", kind_of(kind)),
            Self::Exists { kind, .. } => said("rejected-exists").with_message("kind", kind_of(kind)),
            Self::Over { kind, .. } => said("rejected-over").with_message("kind", kind_of(kind)),
            Self::MemberMismatch { .. } => said("rejected-member-mismatch"),
            Self::NotAttested => said("rejected-not-attested"),
            Self::EndsInPast { .. } => said("rejected-ends-in-past"),
            Self::EndsEarlier { kind, .. } => {
                said("rejected-ends-earlier").with_message("kind", kind_of(kind))
            }
            Self::StartsAfterEnd { .. } => said("rejected-starts-after-end"),
            Self::DatedEndOfRole { .. } => said("rejected-dated-end-of-role"),
            Self::OwnPcNotAllowed { .. } => said("rejected-own-pc-not-allowed"),
            Self::UnitReplaced { .. } => said("rejected-unit-replaced"),
            Self::NotMergeable { .. } => said("rejected-not-mergeable"),
            Self::UnitMalformed { .. } => said("rejected-unit-malformed"),
            Self::WrongRight { .. } => said("rejected-wrong-right"),
            Self::GrantExists { .. } => said("rejected-grant-exists"),
            Self::CardFull { .. } => said("rejected-card-full"),
            Self::NotSuspended { .. } => said("rejected-not-suspended"),
            Self::CardSuspended { .. } => said("rejected-card-suspended"),
            Self::RoleUnderContract { .. } => said("rejected-role-under-contract"),
            Self::RolesNotSeparate { .. } => said("rejected-roles-not-separate"),
            Self::PolicyOutOfBounds { .. } => said("rejected-policy-out-of-bounds"),
            Self::CustodiansMalformed { why, .. } => said("rejected-custodians").with("why", why),
            Self::CustodianOfBoth { .. } => said("rejected-custodian-of-both"),
            Self::KeysMalformed { why, .. } => said("rejected-keys").with("why", why),
            Self::NotTheHead { .. } => said("rejected-not-the-head"),
            Self::LockOut => said("rejected-lock-out"),
            Self::UnitWithoutKey { .. } => said("rejected-unit-without-key"),
            Self::RepeatedPoint => said("rejected-repeated-point"),
            Self::NotFounding { .. } => said("rejected-not-founding"),
            Self::OtherOrder { .. }
            | Self::HalfNotProved { .. }
            | Self::HalvesCancel { .. }
            | Self::SharesDoNotAdd { .. }
            | Self::DegenerateShare { .. }
            | Self::OtherSites { .. } => said("rejected-unsound").with("why", self),
            Self::JournalNotSigned { .. }
            | Self::JournalNotFurther { .. }
            | Self::JournalOver { .. }
            | Self::JournalsTooMany { .. }
            | Self::JournalHeadsCount { .. } => said("rejected-journal").with("why", self),
            Self::SlipsCount { .. } => said("rejected-slips"),
            Self::TrustMalformed { why, .. } => said("rejected-trust").with("why", why),
            Self::NotTrusted { .. } => said("rejected-not-trusted"),
            other => said("rejected-other").with("why", other),
        }
    }
}

/// What an id names, in words.
fn kind_of(kind: &impl std::fmt::Display) -> Message {
    Message::new(format!("kind-{kind}"))
}

#[cfg(test)]
mod tests {
    use crate::{Language, Texts, outline, variants};

    const REJECTED: &str = include_str!("../../ledger/src/state/rejected.rs");
    const HERE: &str = include_str!("refusal.rs");

    #[test]
    fn every_refusal_of_the_ledger_has_words_of_its_own() {
        for (variant, _) in variants(REJECTED, "Rejected") {
            assert!(HERE.contains(&format!("Self::{variant}")), "{variant} has no words");
        }
        let texts = outline(crate::SHARED.ja);
        for id in HERE.split("said(\"").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(texts.contains_key(id), "no text for {id}");
            assert!(texts.contains_key(&format!("{id}.remedy")), "no remedy for {id}");
        }
        let texts = Texts::load(Language::Japanese, &[]).unwrap();
        for (variant, _) in variants(REJECTED, "Kind") {
            assert!(texts.has(&format!("kind-{}", variant.to_lowercase())), "{variant}");
        }
    }
}
