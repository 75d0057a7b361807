//! The organization's profile, as the kms signed it and enrolment wrote it to this PC.

use std::io::Read as _;
use std::path::Path;

use warifu_api::wire::agent::AgentFault;
use warifu_ledger::dsse::Envelope;
use warifu_ledger::statement::{Profile, ProfileSite};

const LIMIT: u64 = 8 << 20;

/// Why there is no profile to work with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// The file cannot be read.
    #[error("the profile cannot be read")]
    Read(#[source] std::io::Error),
    /// It is no envelope, or not signed by the kms it names.
    #[error("the profile is not to be trusted: {why}")]
    NotTrustworthy {
        /// What does not fit.
        why: String,
    },
}

impl From<ProfileError> for AgentFault {
    fn from(error: ProfileError) -> Self {
        match error {
            ProfileError::Read(_) => Self::NoProfile,
            ProfileError::NotTrustworthy { why } => Self::NotTrustworthy { why },
        }
    }
}

/// Reads a profile: the JSON of its envelope. Its own kms key must have signed it; that this is the right kms follows
/// from who wrote the file.
///
/// # Errors
/// [`ProfileError`].
pub fn read(path: &Path) -> Result<Profile, ProfileError> {
    let mut text = Vec::new();
    let file = std::fs::File::open(path).map_err(ProfileError::Read)?;
    file.take(LIMIT).read_to_end(&mut text).map_err(ProfileError::Read)?;
    parse(&text)
}

/// Reads the content of a profile file.
///
/// # Errors
/// [`ProfileError::NotTrustworthy`].
pub fn parse(text: &[u8]) -> Result<Profile, ProfileError> {
    let wrong = |why: String| ProfileError::NotTrustworthy { why };
    let envelope: Envelope = serde_json::from_slice(text).map_err(|e| wrong(e.to_string()))?;
    let profile: Profile = envelope.statement().map_err(|e| wrong(e.to_string()))?;
    envelope.verify(&profile.kms.signing).map_err(|e| wrong(e.to_string()))?;
    Ok(profile)
}

/// What a profile is that the kms gave, beside the one that is here.
#[derive(Debug)]
pub(crate) enum Successor {
    /// It says the same.
    Same,
    /// It may take the old one's place; its JSON.
    Next(Vec<u8>),
    /// It may, if ca and kms have got these keys; the profile and its JSON. Nothing in it proves that.
    OtherKeys(Box<Profile>, Vec<u8>),
}

/// Reads a profile that whoever answers in the place of the kms gave.
pub(crate) fn successor(old: &Profile, envelope: &Envelope) -> Result<Successor, ProfileError> {
    let wrong = |why: String| ProfileError::NotTrustworthy { why };
    let new: Profile = envelope.statement().map_err(|e| wrong(e.to_string()))?;
    envelope.verify(&new.kms.signing).map_err(|e| wrong(e.to_string()))?;
    if new.organization != old.organization {
        return Err(wrong("the profile is another organization's".to_owned()));
    }
    let json = serde_json::to_vec(envelope).map_err(|e| wrong(e.to_string()))?;
    if new.kms != old.kms || new.ca != old.ca || new.former != old.former {
        return Ok(Successor::OtherKeys(Box::new(new), json));
    }
    Ok(if new == *old { Successor::Same } else { Successor::Next(json) })
}

/// A profile that may take the place of `old`: of the same organization, under the same keys.
pub(crate) fn check_successor(old: &Profile, new: &Profile) -> Result<(), ProfileError> {
    let keys = |profile: &Profile| (profile.kms.clone(), profile.ca.clone(), profile.former.clone());
    if old.organization != new.organization || keys(old) != keys(new) {
        return Err(ProfileError::NotTrustworthy {
            why: "the profile is another organization's or has other keys; restart the agent to take it"
                .to_owned(),
        });
    }
    Ok(())
}

/// The sites in the order in which they are asked: the preferred one (its id or its name) first.
pub(crate) fn sites(profile: &Profile, preferred: Option<&str>) -> Vec<ProfileSite> {
    let mut sites = profile.sites.clone();
    if let Some(preferred) = preferred {
        sites.sort_by_key(|site| site.name != preferred && site.site.to_string() != preferred);
    }
    sites
}

#[cfg(test)]
mod tests {
    use super::*;
    use p256::ecdsa::signature::hazmat::PrehashSigner as _;
    use p256::ecdsa::{Signature, SigningKey};
    use warifu_ledger::Digest;
    use warifu_ledger::key::PublicKey;
    use warifu_ledger::statement::{FormerKeys, HalfHolder, ServiceKeys};
    use warifu_split_key::point::Point;

    fn key(label: &str) -> SigningKey {
        SigningKey::from_slice(Digest::of(label.as_bytes()).as_bytes()).unwrap()
    }

    fn public(label: &str) -> PublicKey {
        let key = key(label);
        PublicKey(Point::from_sec1(key.verifying_key().to_sec1_point(true).as_bytes()).unwrap())
    }

    fn service(label: &str) -> ServiceKeys {
        let [signing, tls] = ["signing", "tls"].map(|use_for| public(&format!("{label} {use_for}")));
        ServiceKeys { signing, tls, log: None, transport: None }
    }

    fn profile() -> Profile {
        Profile {
            organization: Digest::of(b"omachi"),
            name: "大町市".to_owned(),
            zone: "Asia/Tokyo".to_owned(),
            kms: service("kms"),
            former: Vec::new(),
            kms_address: "kms.example:7443".to_owned(),
            ca: service("ca"),
            sites: Vec::new(),
            helpdesk: "内線 1234".to_owned(),
            pin_ceiling_ms: 1,
        }
    }

    fn signed(profile: &Profile, by: &str) -> Envelope {
        let mut envelope = Envelope::unsigned(profile).unwrap();
        let signature: Signature = key(by).sign_prehash(envelope.digest().as_bytes()).unwrap();
        envelope.add_signature(&public(by), signature.to_bytes().into());
        envelope
    }

    #[test]
    fn a_kms_that_gives_another_profile_is_refused() {
        let old = profile();
        let moved = Profile { kms_address: "kms2.example:7443".to_owned(), ..profile() };
        assert!(matches!(successor(&old, &signed(&moved, "kms signing")), Ok(Successor::Next(_))));
        assert!(matches!(successor(&old, &signed(&old, "kms signing")), Ok(Successor::Same)));
        let lie = Profile { organization: Digest::of(b"another"), ..profile() };
        assert!(successor(&old, &signed(&lie, "kms signing")).is_err());
        for signer in ["ca signing", "another kms signing"] {
            assert!(successor(&old, &signed(&moved, signer)).is_err(), "{signer}");
        }
    }

    /// The kms's word is not enough for another ca, nor anybody's for another kms.
    #[test]
    fn other_keys_are_to_be_proved() {
        let old = profile();
        let former = FormerKeys { service: HalfHolder::Ca, signing: public("lost signing"), until: 9 };
        let others = [
            (Profile { ca: service("kms's own ca"), ..profile() }, "kms signing"),
            (Profile { kms: service("another kms"), ..profile() }, "another kms signing"),
            (Profile { former: vec![former], ..profile() }, "kms signing"),
        ];
        for (other, signer) in others {
            let given = successor(&old, &signed(&other, signer));
            assert!(matches!(given, Ok(Successor::OtherKeys(..))), "{other:?}");
            assert!(check_successor(&old, &other).is_err());
        }
    }
}
