//! Other organizations whose directories are believed (P-16.4).

use super::{Rejected, State};
use crate::checkpoint::is_log_key;
use crate::statement::{OrganizationKeys, ServiceKeys};
use crate::{Digest, Id};

/// The longest address of another organization, in bytes: a host name (RFC 1035, section 2.3.4) and a port.
pub const LONGEST_ADDRESS: usize = 261;

/// Another organization, as two officers have pinned it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust {
    /// What it is called here, in the register.
    pub name: Id,
    /// `host:port` of its public listener.
    pub address: String,
    /// Its keys, as people compared them.
    pub keys: OrganizationKeys,
    /// The leaf (index) that says so.
    pub added: u64,
    /// Whether it is believed no more.
    pub ended: bool,
}

impl State {
    /// What was said of another organization, whether it is believed still or not.
    #[must_use]
    pub fn trust(&self, organization: &Digest) -> Option<&Trust> {
        self.trusts.get(organization)
    }

    /// The organizations that are believed.
    pub fn trusts(&self) -> impl Iterator<Item = &Trust> {
        self.trusts.values().filter(|trust| !trust.ended)
    }

    pub(super) fn add_trust(
        &mut self,
        name: Id,
        address: &str,
        keys: OrganizationKeys,
    ) -> Result<(), Rejected> {
        let organization = keys.organization;
        let malformed = |why| Err(Rejected::TrustMalformed { organization, why });
        if organization == self.organization {
            return malformed("it is this organization itself");
        }
        let visible = |c: char| !c.is_whitespace() && !c.is_control();
        if address.is_empty() || address.len() > LONGEST_ADDRESS || !address.chars().all(visible) {
            return malformed("its address is none");
        }
        if let Err(why) = are_whole(&keys) {
            return malformed(why);
        }
        // Whoever compared them had one's own paper before him.
        let OrganizationKeys { ca, kms, .. } = &keys;
        if [ca, kms].into_iter().flat_map(ServiceKeys::points).any(|point| self.points.contains(&point.x())) {
            return malformed("its keys are keys of this organization");
        }
        let (address, added) = (address.to_owned(), self.tree.size());
        self.trusts.insert_mut(organization, Trust { name, address, keys, added, ended: false });
        Ok(())
    }

    pub(super) fn end_trust(&mut self, organization: Digest) -> Result<(), Rejected> {
        match self.trusts.get_mut(&organization) {
            Some(trust) if !trust.ended => {
                trust.ended = true;
                Ok(())
            }
            _ => Err(Rejected::NotTrusted { organization }),
        }
    }
}

/// Whether these can be the keys of a ca and a kms, as a founding has them.
fn are_whole(OrganizationKeys { ca, kms, .. }: &OrganizationKeys) -> Result<(), &'static str> {
    let (Some(ca_log), Some(kms_log)) = (ca.log, kms.log) else {
        return Err("a log key is missing");
    };
    if ca_log == kms_log || ![ca_log, kms_log].iter().all(is_log_key) {
        return Err("a log key is no Ed25519 public key, or both are the same");
    }
    if ca.transport.is_some() || kms.transport.is_some() {
        return Err(super::keys::NO_TRANSPORT);
    }
    let mut seen: Vec<[u8; 32]> = ca.points().chain(kms.points()).map(|point| point.x()).collect();
    seen.sort_unstable();
    seen.dedup();
    if seen.len() == 4 { Ok(()) } else { Err("one key is there twice") }
}
