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

/// The JSON of a profile that the kms gave, if it may take the place of `old`.
pub(crate) fn successor(old: &Profile, envelope: &Envelope) -> Result<Vec<u8>, ProfileError> {
    let wrong = |why: String| ProfileError::NotTrustworthy { why };
    let new: Profile = envelope.verified(&old.kms.signing).map_err(|e| wrong(e.to_string()))?;
    check_successor(old, &new)?;
    serde_json::to_vec(envelope).map_err(|e| wrong(e.to_string()))
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
