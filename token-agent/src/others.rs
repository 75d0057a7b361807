//! Other organizations and their units, as far as this PC can prove them: that officers pinned the organization, and that its own ca
//! and kms say of which key each unit is (P-16.8). One's own kms passes both on, and is believed in neither.

use std::time::{SystemTime, UNIX_EPOCH};

use warifu_api::ErrorCode;
use warifu_api::wire::agent::{AgentFault, OtherOrganization, OtherUnit, Others};
use warifu_api::wire::public::SignedDirectory;
use warifu_api::wire::trusts::{TrustEntry, Trusts};

use warifu_directory::pinned::{NotPinned, pinned};
use warifu_directory::signed::{self, Pin, Trusted};
use warifu_ledger::checkpoint::{Checkpoint, Signer};
use warifu_ledger::statement::{Millis, OrganizationKeys};

use crate::agent::Agent;
use crate::forward;

/// An organization of which it is proved that it is pinned, with what was.
pub(crate) struct Pinned {
    pub(crate) entry: TrustEntry,
    pub(crate) pin: Pin,
}

/// The organizations that are trusted, and the units that files can be addressed to there.
pub(crate) async fn others(agent: &Agent) -> Result<Others, AgentFault> {
    let mut organizations = Vec::new();
    for Pinned { entry, pin } in all_pinned(agent).await? {
        let mut told = OtherOrganization {
            organization: entry.organization,
            label: entry.label.clone(),
            name: entry.name.clone(),
            units: Vec::new(),
            expires_at: None,
            alarm: entry.alarm,
            trouble: entry.trouble.map(|trouble| trouble.kind),
        };
        if let Some(signed) = directory_of(agent, &entry).await? {
            // How far the newest one went is the kms's to remember: this PC keeps nothing of it.
            match signed::verify(&signed, &pin, None, now()) {
                Ok(Trusted { statement, content, .. }) => {
                    told.expires_at = Some(statement.expires_at);
                    told.units = content.directory.units.into_iter().filter_map(OtherUnit::of).collect();
                }
                Err(why) => {
                    tracing::error!(organization = %entry.organization, %why, "a directory is refused");
                    told.trouble = Some(why.kind());
                }
            }
        }
        organizations.push(told);
    }
    Ok(Others { organizations })
}

/// The organizations of which the ledger proves that they are pinned.
pub(crate) async fn all_pinned(agent: &Agent) -> Result<Vec<Pinned>, AgentFault> {
    let trusts: Trusts = forward::of_authority(agent, "/v1/trusts").await?;
    let profile = agent.profile().ok_or(AgentFault::NoProfile)?;
    let cosigned = trusts.checkpoint.as_deref().zip(profile.ca.log);
    let checkpoint = cosigned
        .and_then(|(note, log)| Checkpoint::verify(note, &profile.organization, Signer::Ca, &log).ok());
    let Some(checkpoint) = checkpoint else { return Ok(Vec::new()) };
    let proved = trusts.organizations.into_iter().filter_map(|entry| match pinned(&entry, &checkpoint) {
        Ok(pin) => Some(Pinned { entry, pin }),
        Err(NotPinned::NotYet) => None,
        Err(error) => {
            tracing::error!(organization = %entry.organization, %error, "the kms shows an organization that is not pinned");
            None
        }
    });
    Ok(proved.collect())
}

/// The keys of an organization as its directory proves them now; none where no directory does. What was pinned was true once: former
/// keys of a kms may be in anybody's hands.
pub(crate) async fn speaking(agent: &Agent, pinned: &Pinned) -> Option<OrganizationKeys> {
    let signed = directory_of(agent, &pinned.entry).await.ok().flatten()?;
    let verified = signed::verify(&signed, &pinned.pin, None, now());
    verified.ok().map(|trusted| trusted.keys)
}

async fn directory_of(agent: &Agent, entry: &TrustEntry) -> Result<Option<SignedDirectory>, AgentFault> {
    match forward::of_authority(agent, &format!("/v1/trusts/{}", entry.organization)).await {
        Ok(signed) => Ok(Some(signed)),
        Err(AgentFault::AuthorityRefused { code: ErrorCode::NotReady | ErrorCode::NotFound, .. }) => Ok(None),
        Err(fault) => Err(fault),
    }
}

/// By this PC's clock.
pub(crate) fn now() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis::try_from(since.as_millis()).unwrap_or(Millis::MAX)
}
