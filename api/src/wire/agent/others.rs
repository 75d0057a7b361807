//! Other organizations, as the agent has proved them.

use serde::{Deserialize, Serialize};
use warifu_ledger::statement::{Millis, UnitKind};
use warifu_ledger::{Digest, Id};

use super::super::UnitEntry;
use super::super::trusts::{Trouble, TroubleKind};

/// The organizations of which the ledger proves that officers have pinned them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Others {
    /// They.
    pub organizations: Vec<OtherOrganization>,
}

/// Another organization, and its units that are proved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OtherOrganization {
    /// Its name.
    pub organization: Digest,
    /// Short name for command lines.
    pub label: String,
    /// What it is called here.
    pub name: String,
    /// Its units that have a key; none without a directory that is believed.
    pub units: Vec<OtherUnit>,
    /// From when on its directory counts no more; none if there is none that is believed.
    pub expires_at: Option<Millis>,
    /// What the kms refused loudly since the organization was pinned.
    pub alarm: Option<Trouble>,
    /// Why there is no newer directory, or none that is believed.
    pub trouble: Option<TroubleKind>,
}

/// A unit of another organization.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OtherUnit {
    /// The unit.
    pub unit: Id,
    /// Short name for command lines.
    pub label: String,
    /// Its name as people say it.
    pub name: String,
    /// What it is.
    pub kind: UnitKind,
    /// The `age1tag1…` recipient.
    pub recipient: String,
}

impl OtherUnit {
    /// A unit of a directory, if it has a key.
    #[must_use]
    pub fn of(entry: UnitEntry) -> Option<Self> {
        let UnitEntry { unit, label, name, kind, recipient, .. } = entry;
        Some(Self { unit, label, name, kind, recipient: recipient? })
    }
}
