//! A founding that a service is asked to sign: what it says, and that the person at the console means this one.

use std::fmt::Write as _;
use std::io::{self, BufRead, IsTerminal as _, Write};
use std::path::Path;

use warifu_ledger::Digest;
use warifu_ledger::dsse::{Envelope, EnvelopeError};
use warifu_ledger::statement::Founding;

use crate::{ConsoleError, file};

const QUESTION: &str =
    "Compare the fingerprint with the one that the officers read out. Type `yes` if it is the same: ";

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
            None => self.ask(&mut io::stdin().lock(), &mut io::stdout().lock())?,
        }
        Ok(Confirmed(self))
    }

    fn ask(&self, input: &mut impl BufRead, output: &mut impl Write) -> Result<(), ConsoleError> {
        let mut answer = String::new();
        write!(output, "{}{QUESTION}", self.text())
            .and_then(|()| output.flush())
            .and_then(|()| input.read_line(&mut answer))
            .map_err(ConsoleError::System)?;
        if answer.trim() == "yes" { Ok(()) } else { Err(ConsoleError::NotConfirmed) }
    }

    fn text(&self) -> String {
        let Founding { zone, officers, policy, ca, kms, .. } = &self.founding;
        let mut text = format!(
            "The founding of an organization, signed by all its officers:\n  \
             fingerprint  {}\n  time zone    {}\n",
            self.fingerprint(),
            // Whoever wrote the file chose it, and must not move the cursor.
            zone.escape_debug(),
        );
        for officer in officers {
            // Writing to a string does not fail.
            let _ = write!(
                text,
                "  officer      member {} card {}\n    signs with {}\n",
                officer.member,
                officer.card,
                officer.signature.key_id()
            );
        }
        let unattested = if policy.unattested_cards { "yes" } else { "no" };
        let (lease, ceiling) = (policy.lease_ms / 1000, policy.pin_ceiling_ms / 1000);
        let _ = write!(
            text,
            "  policy       lease {lease} s, PIN for {ceiling} s, cards without attestation: {unattested}\n  \
             ca           signs with {}\n  kms          signs with {}\n               TLS key    {}\n",
            ca.signing.key_id(),
            kms.signing.key_id(),
            kms.tls.key_id(),
        );
        text
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
    use super::*;
    use crate::fixture::{envelope_by_cards, founding as statement};

    fn founding() -> Envelope {
        envelope_by_cards(&statement(), &["sakura", "kenji", "midori"])
    }

    #[test]
    fn whoever_is_asked_sees_the_fingerprint_and_has_to_say_yes() {
        let proposal = Proposal::try_from(founding()).unwrap();
        for (answer, agreed) in
            [("yes\n", true), (" yes \r\n", true), ("y\n", false), ("\n", false), ("", false)]
        {
            let mut shown = Vec::new();
            let result = proposal.ask(&mut answer.as_bytes(), &mut shown);
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
