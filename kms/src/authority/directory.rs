//! What everybody may know: the units' recipients with their proofs, the profile; and the register for those who
//! administer.

use std::collections::BTreeSet;

use axum::body::Bytes;
use warifu_api::wire::UnitEntry;
use warifu_api::wire::authority::{Directory, Included, Records, Register, Status};
use warifu_envelope::UnitRecipient;
use warifu_ledger::leaf::Leaf;
use warifu_ledger::register::Name;
use warifu_ledger::state::{State, Unit};
use warifu_ledger::statement::{HalfHolder, Millis, Profile, ProfileSite, UnitKind};
use warifu_ledger::{Digest, Id};

use super::error::AuthorityError;
use super::{Authority, Result, cached, keep};

/// What a directory depends on besides the ledger. At one size of the ledger, units only leave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Version {
    listed: usize,
    /// Leaves of the newest checkpoint that the ca has cosigned; 0 before there is one.
    pub(crate) cosigned: u64,
}

/// Whether ca or kms had other keys when this leaf was appended.
fn is_older_than_keys(state: &State, index: u64) -> bool {
    [HalfHolder::Ca, HalfHolder::Kms]
        .into_iter()
        .any(|service| state.keys_at(service, index) != state.keys_of(service))
}

impl Authority {
    pub(crate) fn status(&self) -> Status {
        let state = self.replica.state();
        Status {
            organization: state.as_ref().map(|state| state.organization()),
            size: state.as_ref().map_or(0, |state| state.tree().size()),
            time: state.as_ref().map_or_else(|| self.clock.wall_ms(), |state| self.now(state)),
        }
    }

    /// Label and name of something; its record's id for both if the record was erased.
    pub(crate) async fn name(&self, record: &Id) -> Result<Name> {
        let Some(found) = self.store.record(record).await? else {
            return Ok(Name { label: record.to_string(), name: record.to_string() });
        };
        Ok(Name::parse(&found.text).unwrap_or_else(|_| Name { label: record.to_string(), name: found.text }))
    }

    /// A [`Directory`], as JSON.
    pub(crate) async fn directory(&self) -> Result<Bytes> {
        let state = self.state()?;
        let (size, now) = (state.tree().size(), self.now(&state));
        let version = self.directory_version(&state, now).await?;
        if let Some((of, directory)) = cached(&self.directory, size)
            && of == version
        {
            return Ok(directory);
        }
        let listed = state.units().map(|(id, _)| *id).filter(|id| state.unit_is_listed(id, now)).collect();
        let directory = Bytes::from(serde_json::to_vec(&self.directory_of(&state, &listed).await?)?);
        keep(&self.directory, size, (version, directory.clone()));
        Ok(directory)
    }

    /// What the directory at this instant depends on besides the ledger.
    pub(super) async fn directory_version(&self, state: &State, now: Millis) -> Result<Version> {
        let listed = state.units().filter(|(id, _)| state.unit_is_listed(id, now)).count();
        let cosigned = self.store.cosignature().await?.map_or(0, |(size, _)| size);
        Ok(Version { listed, cosigned })
    }

    /// The units at this instant that everybody is told of (P-16.11): those of persons and of contractors would tell who works here.
    pub(super) async fn shown_to_everybody(&self, state: &State, now: Millis) -> Result<BTreeSet<Id>> {
        let mut shown = BTreeSet::new();
        for (id, unit) in state.units().filter(|(id, _)| state.unit_is_listed(id, now)) {
            let is_shown = match unit.kind {
                UnitKind::Department | UnitKind::FrontDesk => true,
                UnitKind::Contractor | UnitKind::Person => {
                    !self.also_shown.is_empty()
                        && self.also_shown.contains(&self.name(&unit.name).await?.label)
                }
            };
            if is_shown {
                shown.insert(*id);
            }
        }
        Ok(shown)
    }

    /// The directory of these units.
    pub(super) async fn directory_of(&self, state: &State, shown: &BTreeSet<Id>) -> Result<Directory> {
        let listed: Vec<_> = state.units().filter(|(id, _)| shown.contains(id)).collect();
        let cosigned = self.store.cosignature().await?;
        let cosigned_size = cosigned.as_ref().map_or(0, |(size, _)| *size);
        let (mut units, mut orders, mut named) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
        for (id, unit) in listed {
            let Name { label, name } = self.name(&unit.name).await?;
            let name_key = self.store.record(&unit.name).await?.map(|record| record.key);
            if unit.key.is_some() {
                orders.insert(unit.order);
                named.extend(self.naming_leaves(state, unit).await?);
            }
            // Ca and kms signed it with keys that they have no more: that it is in the ledger proves it.
            named.extend(unit.key.map(|(_, index)| index).filter(|index| is_older_than_keys(state, *index)));
            let created = match unit.key {
                Some((_, index)) => Some(self.leaf(index).await?.envelope().clone()),
                None => None,
            };
            let recipient = unit.key.map(|(key, _)| UnitRecipient::encode(&key));
            units.push(UnitEntry { unit: *id, label, name, kind: unit.kind, recipient, created, name_key });
        }
        let mut answered = Vec::new();
        for order in orders {
            answered.push(self.leaf(self.position(&order).await?).await?.envelope().clone());
        }
        let mut included = Vec::new();
        // What the ca has not cosigned yet proves nothing; it will in a moment.
        for index in named.into_iter().filter(|index| *index < cosigned_size) {
            let leaf = warifu_ledger::key::Bytes(self.leaf(index).await?.as_bytes().to_vec());
            included.push(Included { index, leaf, proof: state.tree().inclusion(index, cosigned_size)? });
        }
        let checkpoint = cosigned.map(|(_, note)| note);
        let organization = state.organization();
        Ok(Directory { organization, units, orders: answered, checkpoint, included })
    }

    /// The leaves, beside the order that asked for the unit, that its name and kind are to be found in.
    async fn naming_leaves(&self, state: &State, unit: &Unit) -> Result<BTreeSet<u64>> {
        let mut leaves: BTreeSet<u64> = unit.renamed.into_iter().collect();
        let mut replaces = unit.replaces;
        while let Some(before) = replaces.and_then(|id| state.unit(&id)) {
            leaves.insert(self.position(&before.order).await?);
            leaves.extend(before.renamed);
            replaces = before.replaces;
        }
        Ok(leaves)
    }

    /// Where an order that the fold knows of stands in the ledger.
    async fn position(&self, order: &Digest) -> Result<u64> {
        let entry = self.entry(order).await?.ok_or(AuthorityError::Damaged { what: "ledger" })?;
        Ok(entry.position)
    }

    pub(crate) async fn leaf(&self, index: u64) -> Result<Leaf> {
        let bytes = self.replica.leaves(index, 1).await?.pop();
        Ok(Leaf::from_bytes(bytes.ok_or(AuthorityError::Damaged { what: "ledger" })?)?)
    }

    /// The signed [`Profile`], as JSON.
    pub(crate) async fn profile(&self) -> Result<Bytes> {
        let state = self.state()?;
        let size = state.tree().size();
        if let Some(profile) = cached(&self.profile, size) {
            return Ok(profile);
        }
        let mut sites = Vec::new();
        for (id, site) in state.sites().filter(|(_, site)| !site.removed) {
            let name = self.name(&site.name).await?.name;
            sites.push(ProfileSite {
                site: *id,
                name,
                address: site.address.clone(),
                keys: site.keys.clone(),
            });
        }
        let founding = state.founding();
        let envelope = self
            .sign(Profile {
                organization: state.organization(),
                name: self.name(&founding.name.record).await?.name,
                zone: founding.zone.clone(),
                ca: state.ca().clone(),
                kms: state.kms().clone(),
                former: state.former_signers(),
                kms_address: self.address.clone(),
                sites,
                helpdesk: self.helpdesk.clone(),
                pin_ceiling_ms: state.policy().pin_ceiling_ms,
            })
            .await?;
        let profile = Bytes::from(serde_json::to_vec(&envelope)?);
        keep(&self.profile, size, profile.clone());
        Ok(profile)
    }

    pub(crate) async fn register(&self) -> Result<Records> {
        Ok(Records { records: self.store.records().await? })
    }

    /// The names that a site may show its cards: its own, those of the units it serves, and those of the members who hold
    /// grants to them.
    pub(crate) async fn register_served(&self, site: Id) -> Result<Register> {
        let state = self.state()?;
        let mut wanted: BTreeSet<Id> = state.site(&site).map(|site| site.name).into_iter().collect();
        let serves = |unit: &Id| state.serves(&site, unit);
        wanted.extend(state.units().filter(|(id, _)| serves(id)).map(|(_, unit)| unit.name));
        for (_, grant) in state.grants().filter(|(_, grant)| !grant.revoked && serves(&grant.unit)) {
            let member = state.card(&grant.card).and_then(|card| state.member(&card.card.member));
            wanted.extend(member.map(|member| member.name.record));
        }
        let mut records = self.store.texts().await?;
        records.retain(|record, _| wanted.contains(record));
        Ok(Register { records })
    }
}
