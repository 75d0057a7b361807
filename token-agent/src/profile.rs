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

/// The JSON of a profile that the kms gave, if it may take the place of `old`; none if it says the same.
pub(crate) fn successor(old: &Profile, envelope: &Envelope) -> Result<Option<Vec<u8>>, ProfileError> {
    let wrong = |why: String| ProfileError::NotTrustworthy { why };
    let new: Profile = envelope.verified(&old.kms.signing).map_err(|e| wrong(e.to_string()))?;
    check_successor(old, &new)?;
    if new == *old {
        return Ok(None);
    }
    serde_json::to_vec(envelope).map(Some).map_err(|e| wrong(e.to_string()))
}

/// A profile that may take the place of `old`: of the same organization, under the same keys.
pub(crate) fn check_successor(old: &Profile, new: &Profile) -> Result<(), ProfileError> {
    if old.organization != new.organization || old.kms != new.kms || old.ca != new.ca {
        return Err(ProfileError::NotTrustworthy {
            why: "the profile is another organization's; restart the agent to change organizations"
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
    use warifu_ledger::statement::ServiceKeys;
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
        ServiceKeys { signing, tls, log: None }
    }

    fn profile() -> Profile {
        Profile {
            organization: Digest::of(b"omachi"),
            name: "大町市".to_owned(),
            zone: "Asia/Tokyo".to_owned(),
            kms: service("kms"),
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
        assert!(successor(&old, &signed(&moved, "kms signing")).unwrap().is_some());
        assert!(successor(&old, &signed(&old, "kms signing")).unwrap().is_none());
        let lies = [
            Profile { organization: Digest::of(b"another"), ..profile() },
            Profile { ca: service("kms's own ca"), ..profile() },
            Profile { kms: service("another kms"), ..profile() },
        ];
        for lie in lies {
            assert!(successor(&old, &signed(&lie, "kms signing")).is_err(), "{lie:?}");
        }
        for signer in ["ca signing", "another kms signing"] {
            assert!(successor(&old, &signed(&moved, signer)).is_err(), "{signer}");
        }
    }
}
