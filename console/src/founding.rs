//! A founding that a service is asked to sign: what it says, and that the person at the console means this one.

use std::io::{self, BufRead, IsTerminal as _, Write};
use std::path::Path;

use warifu_ledger::Digest;
use warifu_ledger::dsse::{Envelope, EnvelopeError};
use warifu_ledger::key::PublicKey;
use warifu_ledger::statement::Founding;
use warifu_texts::table::Table;
use warifu_texts::{Message, Texts, help};

use crate::words::CONSOLE;
use crate::{ConsoleError, file};

/// A founding that all its officers signed.
#[derive(Debug, Clone)]
pub struct Proposal {
    envelope: Envelope,
    founding: Founding,
}

impl TryFrom<Envelope> for Proposal {
    type Error = EnvelopeError;

    /// Checks that it is a founding and that its officers signed it; nothing else of it.
    fn try_from(envelope: Envelope) -> Result<Self, EnvelopeError> {
        let founding: Founding = envelope.statement()?;
        for officer in &founding.officers {
            envelope.verify(&officer.signature)?;
        }
        Ok(Self { envelope, founding })
    }
}

impl Proposal {
    /// Reads it from a file, JSON.
    ///
    /// # Errors
    /// [`ConsoleError::File`], [`ConsoleError::Json`], [`ConsoleError::NotAFounding`].
    pub fn read(path: &Path) -> Result<Self, ConsoleError> {
        let envelope: Envelope = file::read_json(path)?;
        envelope.try_into().map_err(|source| ConsoleError::NotAFounding { path: path.to_owned(), source })
    }

    /// What it says.
    #[must_use]
    pub fn founding(&self) -> &Founding {
        &self.founding
    }

    /// The organization's name, which people compare.
    #[must_use]
    pub fn fingerprint(&self) -> Digest {
        self.envelope.digest()
    }

    /// This is the founding that people mean: it has the fingerprint that was given; or, where none was, the person at the
    /// terminal is shown what it says, and says yes.
    ///
    /// # Errors
    /// [`ConsoleError::OtherFingerprint`], [`ConsoleError::NobodyConfirms`] if standard input is no terminal,
    /// [`ConsoleError::NotConfirmed`], [`ConsoleError::System`].
    pub fn confirm(self, given: Option<Digest>) -> Result<Confirmed, ConsoleError> {
        let found = self.fingerprint();
        match given {
            Some(expected) if expected != found => {
                return Err(ConsoleError::OtherFingerprint { expected, found });
            }
            Some(_) => {}
            None if !io::stdin().is_terminal() => return Err(ConsoleError::NobodyConfirms),
            None => {
                let texts = Texts::load(help::language(), &[CONSOLE])?;
                self.ask(&texts, &mut io::stdin().lock(), &mut io::stdout().lock())?;
            }
        }
        Ok(Confirmed(self))
    }

    fn ask(
        &self,
        texts: &Texts,
        input: &mut impl BufRead,
        output: &mut impl Write,
    ) -> Result<(), ConsoleError> {
        let mut answer = String::new();
        let shown = self.shown(texts).join("\n");
        write!(output, "{shown}\n{} ", texts.get("founding-question"))
            .and_then(|()| output.flush())
            .and_then(|()| input.read_line(&mut answer))
            .map_err(ConsoleError::System)?;
        if ["yes", "はい"].contains(&answer.trim()) { Ok(()) } else { Err(ConsoleError::NotConfirmed) }
    }

    /// What it says, as lines for people.
    fn shown(&self, texts: &Texts) -> Vec<String> {
        let Founding { zone, officers, policy, ca, kms, .. } = &self.founding;
        let signs = |key: &PublicKey| texts.say(&Message::new("founding-signs").with("key", key.key_id()));
        let seconds = |ms: u64| texts.say(&Message::new("founding-seconds").with("seconds", ms / 1000));
        let unattested = if policy.unattested_cards { "founding-yes" } else { "founding-no" };
        let mut table = Table::new(vec![texts.get("founding-fingerprint"), self.fingerprint().to_string()]);
        let mut row = |title: &str, value: String| table.row(vec![texts.get(title), value]);
        // Whoever wrote the file chose it, and must not move the cursor.
        row("founding-zone", zone.escape_debug().to_string());
        for officer in officers {
            let card =
                Message::new("founding-card").with("member", officer.member).with("card", officer.card);
            row("founding-officer", texts.say(&card));
            row("", signs(&officer.signature));
        }
        row("founding-lease", seconds(policy.lease_ms));
        row("founding-pin", seconds(policy.pin_ceiling_ms));
        row("founding-unattested", texts.get(unattested));
        let separate = if policy.separate_roles { "founding-apart" } else { "founding-together" };
        row("founding-roles", texts.get(separate));
        row("founding-ca", signs(&ca.signing));
        row("founding-kms", signs(&kms.signing));
        let tls = Message::new("founding-tls").with("key", kms.tls.key_id());
        row("", texts.say(&tls));
        std::iter::once(texts.get("founding-shown")).chain(table.lines(None)).collect()
    }
}

/// A founding that its officers signed, and that a person at this console has confirmed.
pub struct Confirmed(Proposal);

impl Confirmed {
    /// What it says.
    #[must_use]
    pub fn founding(&self) -> &Founding {
        self.0.founding()
    }

    /// The organization's name.
    #[must_use]
    pub fn fingerprint(&self) -> Digest {
        self.0.fingerprint()
    }

    /// With its signatures.
    #[must_use]
    pub fn into_envelope(self) -> Envelope {
        self.0.envelope
    }
}

#[cfg(test)]
mod tests {
    use warifu_texts::Language;

    use super::*;
    use crate::fixture::{envelope_by_cards, founding as statement};

    fn founding() -> Envelope {
        envelope_by_cards(&statement(), &["sakura", "kenji", "midori"])
    }

    #[test]
    fn whoever_is_asked_sees_the_fingerprint_and_has_to_say_yes() {
        let proposal = Proposal::try_from(founding()).unwrap();
        let texts = Texts::load(Language::Japanese, &[CONSOLE]).unwrap();
        for (answer, agreed) in [
            ("yes\n", true),
            (" yes \r\n", true),
            ("はい\n", true),
            ("y\n", false),
            ("いいえ\n", false),
            ("\n", false),
            ("", false),
        ] {
            let mut shown = Vec::new();
            let result = proposal.ask(&texts, &mut answer.as_bytes(), &mut shown);
            assert_eq!(result.is_ok(), agreed, "{answer:?}");
            assert!(agreed || matches!(result, Err(ConsoleError::NotConfirmed)));
            let shown = String::from_utf8(shown).unwrap();
            assert!(shown.contains(&proposal.fingerprint().to_string()), "{shown}");
            assert!(shown.contains(&proposal.founding().kms.tls.key_id().to_string()), "{shown}");
        }
    }

    #[test]
    fn a_given_fingerprint_has_to_be_the_right_one() {
        let proposal = Proposal::try_from(founding()).unwrap();
        let (found, other) = (proposal.fingerprint(), Digest::of(b"another"));
        let refused = proposal.clone().confirm(Some(other)).err().unwrap();
        assert!(
            matches!(refused, ConsoleError::OtherFingerprint { expected, found: f } if expected == other && f == found)
        );
        assert_eq!(proposal.confirm(Some(found)).unwrap().fingerprint(), found);
    }

    #[test]
    fn every_officer_has_signed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("founding.json");
        let mut envelope = founding();
        envelope.signatures.pop();
        file::write_json(&path, &envelope).unwrap();
        assert!(matches!(Proposal::read(&path), Err(ConsoleError::NotAFounding { .. })));
        file::write_json(&path, &founding()).unwrap();
        Proposal::read(&path).unwrap();
    }
}
