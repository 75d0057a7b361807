//! The keys with which services speak: those of the founding, or with which a site joined, until officers order others in
//! their place, because the service lost them with its token (P-4.15) or shall go on with new ones (P-4.20). Where the keys come
//! from differs, and who vouches for what the signers of the order saw; what follows from it is the same.

use std::sync::Arc;

use super::{Rejected, State};
use crate::ahead::Found;
use crate::checkpoint::{Checkpoint, Signer, is_log_key};
use crate::key::PublicKey;
use crate::statement::{Act, FormerKeys, HalfHolder, Order, ServiceId, ServiceKeys};
use crate::{Digest, Id};

impl State {
    /// The ca's keys now.
    #[must_use]
    pub fn ca(&self) -> &ServiceKeys {
        &self.ca
    }

    /// The kms's keys now.
    #[must_use]
    pub fn kms(&self) -> &ServiceKeys {
        &self.kms
    }

    /// The keys of either now.
    #[must_use]
    pub fn keys_of(&self, service: HalfHolder) -> &ServiceKeys {
        match service {
            HalfHolder::Ca => self.ca(),
            HalfHolder::Kms => self.kms(),
        }
    }

    /// The keys of any service now; none of a site that never joined.
    #[must_use]
    pub fn keys_of_service(&self, service: ServiceId) -> Option<&ServiceKeys> {
        match service {
            ServiceId::Ca => Some(self.ca()),
            ServiceId::Kms => Some(self.kms()),
            ServiceId::Site(site) => self.site(&site).map(|site| &site.keys),
        }
    }

    /// The key under which whoever signs with this `keyid` is known: a person's card, the ca or the kms as they are now.
    pub(crate) fn signing_key(&self, keyid: &Digest) -> Option<PublicKey> {
        let card = self.signers.get(keyid).and_then(|card| self.cards.get(card));
        card.map(|card| card.card.signature).or_else(|| {
            [&self.ca, &self.kms].map(|keys| keys.signing).into_iter().find(|key| key.key_id() == *keyid)
        })
    }

    /// The keys that a service had before, each with the largest ledger that it spoke for, oldest first.
    pub fn former_keys(&self, service: impl Into<ServiceId>) -> impl Iterator<Item = (u64, &ServiceKeys)> {
        let service = service.into();
        let all = (service, 0)..=(service, u64::MAX);
        self.former_keys.range(all).map(|(&(_, until), keys)| (until, keys.as_ref()))
    }

    /// Of which service this was the TLS key before others took its place, with the largest ledger that it spoke for.
    #[must_use]
    pub fn former_service_of_tls_key(&self, key: &PublicKey) -> Option<(ServiceId, u64)> {
        self.former_keys.iter().find(|(_, keys)| keys.tls == *key).map(|(&former, _)| former)
    }

    /// What ca and kms signed with before, as profiles tell it: of each the oldest first.
    #[must_use]
    pub fn former_signers(&self) -> Vec<FormerKeys> {
        let told = |service| {
            let told = move |(until, keys): (u64, &ServiceKeys)| FormerKeys {
                service,
                signing: keys.signing,
                until,
            };
            self.former_keys(service).map(told)
        };
        told(HalfHolder::Ca).chain(told(HalfHolder::Kms)).collect()
    }

    /// The keys with which a service spoke for the ledger while it had `size` leaves.
    #[must_use]
    pub fn keys_at(&self, service: HalfHolder, size: u64) -> &ServiceKeys {
        let former = self.former_keys(service).find(|(until, _)| size <= *until);
        former.map_or_else(|| self.keys_of(service), |(_, keys)| keys)
    }

    /// The keys with which a site spoke while its ledger had `size` leaves; none of a site that never joined.
    #[must_use]
    pub fn site_keys_at(&self, site: &Id, size: u64) -> Option<&ServiceKeys> {
        let former = self.former_keys(ServiceId::Site(*site)).find(|(until, _)| size <= *until);
        former.map(|(_, keys)| keys).or_else(|| self.site(site).map(|site| &site.keys))
    }

    /// Puts new keys in the place of those that a service has, or had.
    pub(super) fn replace_keys(&mut self, service: ServiceId, keys: &ServiceKeys) -> Result<(), Rejected> {
        let malformed = |why| Err(Rejected::KeysMalformed { service, why });
        // The leaf that says so is not among those for which the former keys spoke.
        let until = (service, self.tree.size());
        if self.former_keys.contains_key(&until) {
            return malformed("an order gives a service other keys once");
        }
        match (service, keys.log) {
            (ServiceId::Site(site), _) => {
                self.serving_site(&site)?;
                site_keys_are_whole(site, keys)?;
            }
            (ServiceId::Ca | ServiceId::Kms, log) => {
                let Some(log) = log.filter(is_log_key) else {
                    return malformed("the log key is missing, or is no Ed25519 public key");
                };
                if self.log_keys.contains(&log.0) {
                    return malformed("the log key was used before");
                }
                self.log_keys.insert_mut(log.0);
                if keys.transport.is_some() {
                    return malformed(NO_TRANSPORT);
                }
            }
        }
        self.first_sight(keys.points())?;
        let former = match service {
            ServiceId::Ca => std::mem::replace(&mut self.ca, Arc::new(keys.clone())),
            ServiceId::Kms => std::mem::replace(&mut self.kms, Arc::new(keys.clone())),
            ServiceId::Site(id) => match self.sites.get_mut(&id) {
                Some(site) => {
                    let former = std::mem::replace(&mut site.keys, keys.clone());
                    self.site_connections.remove_mut(&former.tls.0);
                    self.site_connections.insert_mut(keys.tls.0, id);
                    Arc::new(former)
                }
                None => return Ok(()),
            },
        };
        self.former_keys.insert_mut(until, former);
        Ok(())
    }

    /// The checkpoint that the signers of an order saw: one of the kms that this ledger extends (P-4.4).
    pub(super) fn check_seen(&self, order: &Order, found: &Found) -> Result<(), Rejected> {
        let Order { seen: note, acts, .. } = order;
        let read = |keys: &ServiceKeys| {
            let log = keys.log.ok_or(Rejected::NotFounding { why: "the kms has no log key" })?;
            let found = found.seen(&self.organization, &log).map(Ok);
            let verified = || Checkpoint::verify(note, &self.organization, Signer::Kms, &log);
            found.unwrap_or_else(verified).map_err(Rejected::Seen)
        };
        let recovered = acts.iter().find_map(|act| match act {
            Act::AuthorityRecovered { service: HalfHolder::Kms, keys } => Some(keys),
            _ => None,
        });
        // The one whose word it would be is lost. The new one says where it goes on, and people sign that: exactly at the
        // head, so that whoever has more leaves of the lost one sees that they would be lost, and halts.
        if let Some(keys) = recovered {
            if acts.len() != 1 {
                let why = "an order that gives the kms new keys does nothing else";
                return Err(Rejected::KeysMalformed { service: ServiceId::Kms, why });
            }
            let (seen, here) = (read(keys)?, self.tree.size());
            self.check_against(&seen)?;
            return if seen.size == here {
                Ok(())
            } else {
                Err(Rejected::NotTheHead { size: seen.size, here })
            };
        }
        match read(&self.kms) {
            Ok(seen) => self.check_against(&seen),
            // An order that was on its way when the kms was lost. What lost keys sign against this ledger proves nothing.
            Err(refused) => {
                let was_seen = |(until, keys)| {
                    read(keys).is_ok_and(|seen| seen.size <= until && self.check_against(&seen).is_ok())
                };
                if self.former_keys(HalfHolder::Kms).any(was_seen) { Ok(()) } else { Err(refused) }
            }
        }
    }
}

/// Why ca and kms have no transport key in the ledger.
pub(super) const NO_TRANSPORT: &str = "a site alone has a transport key";

/// A site signs no checkpoints, and has a key to which others seal (P-15.3).
pub(super) fn site_keys_are_whole(site: Id, keys: &ServiceKeys) -> Result<(), Rejected> {
    let service = ServiceId::Site(site);
    if keys.log.is_some() {
        return Err(Rejected::KeysMalformed { service, why: "a site signs no checkpoints" });
    }
    if keys.transport.is_none() {
        return Err(Rejected::KeysMalformed { service, why: "a site has a transport key" });
    }
    Ok(())
}
