//! Other organizations, as the kms tells its own cards of them (protocol section 16).
//!
//! | method and path | who | request → answer |
//! |---|---|---|
//! | `GET /v1/trusts` | anybody | → [`Trusts`] |
//! | `GET /v1/trusts/{organization}` | anybody | → [`SignedDirectory`](super::public::SignedDirectory): the newest that was good, as it came |

use serde::{Deserialize, Serialize};
use warifu_ledger::Digest;
use warifu_ledger::key::Base64;
use warifu_ledger::statement::Millis;

use super::authority::Included;

/// The organizations that are trusted. Whoever reads it believes nothing but what the leaves prove.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trusts {
    /// The newest checkpoint that the ca has cosigned, under its signature.
    pub checkpoint: Option<String>,
    /// They.
    pub organizations: Vec<TrustEntry>,
}

/// Another organization that is trusted.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustEntry {
    /// Its name.
    pub organization: Digest,
    /// Short name for command lines.
    pub label: String,
    /// What it is called here.
    pub name: String,
    /// The key of the register's record that label and name come from; none if the record was erased. Then both are its id.
    pub name_key: Option<Base64<32>>,
    /// The order that pins it, under the checkpoint; none before the ca has cosigned that.
    pub pinned: Option<Included>,
    /// The newest directory that was good; none before there was one.
    pub directory: Option<FetchedDirectory>,
    /// The last refusal that is an alarm, since it was pinned.
    pub alarm: Option<Trouble>,
    /// Why there has been no newer directory; none once there is.
    pub trouble: Option<Trouble>,
}

/// How far a directory goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FetchedDirectory {
    /// Leaves of the other organization's ledger that it stands on.
    pub size: u64,
    /// When the other organization made it, by its own clock.
    pub at: Millis,
    /// From when on it counts no more.
    pub expires_at: Millis,
    /// When it was fetched.
    pub fetched_at: Millis,
}

/// What went wrong with another organization's directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trouble {
    /// What.
    pub kind: TroubleKind,
    /// When.
    pub at: Millis,
}

/// Why another organization's directory was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum TroubleKind {
    /// Nobody answers at its address, or not in time.
    Unreachable,
    /// Whoever answers has no directory to give.
    Refused,
    /// It does not parse.
    Malformed,
    /// Its ca has not cosigned what it stands on.
    NotCosigned,
    /// It has expired.
    Expired,
    /// It was made in the future: one of the two clocks is wrong.
    FromTheFuture,
    /// It counts for longer than it may.
    Times,
    /// It is another organization's.
    OtherOrganization,
    /// The body is not the one that was signed, or not of that size.
    Altered,
    /// The ca has other keys than those that were pinned.
    RootChanged,
    /// The kms has other keys than those that were pinned, and nothing proves them.
    KmsChanged,
    /// Its kms did not sign it.
    NotSigned,
    /// It is older than one that was here before.
    Downgraded,
    /// It contradicts one that was here before.
    Contradicts,
}

impl TroubleKind {
    /// Whether somebody else answers, or the organization's keys are not what they were. What is merely late, or breaks off, is no
    /// alarm.
    #[must_use]
    pub fn is_alarm(self) -> bool {
        !matches!(
            self,
            Self::Unreachable
                | Self::Refused
                | Self::Malformed
                | Self::NotCosigned
                | Self::Expired
                | Self::FromTheFuture
        )
    }

    /// As statements and programs write it.
    #[must_use]
    pub fn name(self) -> String {
        serde_json::to_value(self).ok().and_then(|name| Some(name.as_str()?.to_owned())).unwrap_or_default()
    }
}
