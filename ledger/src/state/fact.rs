//! Facts: what ca and kms state together, checked by the public equations (P-3.2, P-4.9).

use warifu_split_key::half::{HalfContext, HalfProof, HalfRole, verify_half};
use warifu_split_key::{GrantError, check_grant, unit_key};

use super::routing::slips_batched;
use super::{Issued, Kind, Rejected, State};
use crate::ahead::Found;
use crate::dsse::Envelope;
use crate::key::PublicKey;
use crate::statement::{Fact, FactBody, PublicHalf};
use crate::{Digest, Id};

impl State {
    /// Checks a fact as if it were appended next, without appending it.
    ///
    /// # Errors
    /// [`Rejected`].
    pub fn check_fact(&self, envelope: &Envelope) -> Result<Fact, Rejected> {
        let found = Found::of(envelope);
        self.clone().fact(envelope, &found)?;
        Ok(found.fact(envelope)?.clone())
    }

    pub(super) fn fact(&mut self, envelope: &Envelope, found: &Found) -> Result<(), Rejected> {
        envelope.check_size()?;
        for service in [&self.ca, &self.kms] {
            found.is_signed_by(envelope, &service.signing)?;
        }
        self.fact_body(found.fact(envelope)?, found)
    }

    /// The state after a fact whose signatures are somebody else's concern: what ca and kms ask before they sign.
    ///
    /// # Errors
    /// [`Rejected`].
    pub fn check_unsigned_fact(&self, fact: &Fact) -> Result<(), Rejected> {
        self.clone().fact_body(fact, &Found::of(&Envelope::unsigned(fact)?))
    }

    fn fact_body(&mut self, fact: &Fact, found: &Found) -> Result<(), Rejected> {
        if fact.organization != self.organization {
            return Err(Rejected::OtherOrganization { found: fact.organization });
        }
        match &fact.fact {
            FactBody::UnitCreated { unit, order, issuer, keeper } => {
                self.unit_created(*unit, *order, issuer, keeper)
            }
            FactBody::GrantIssued { grant, order, card_point, site_point, sites } => {
                let issued =
                    Issued { card_point: card_point.0, site_point: site_point.0, sites: sites.clone() };
                self.grant_issued(*grant, *order, issued)
            }
            FactBody::JournalsBatched { heads } => self.journals_batched(heads, found),
            FactBody::SlipsBatched { slips } => slips_batched(slips),
        }
    }

    fn unit_created(
        &mut self,
        id: Id,
        order: Digest,
        issuer: &PublicHalf,
        keeper: &PublicHalf,
    ) -> Result<(), Rejected> {
        let unit = self.units.get(&id).ok_or(Rejected::Unknown { kind: Kind::Unit, id })?;
        if unit.order != order {
            return Err(Rejected::OtherOrder { kind: Kind::Unit, id });
        }
        if unit.closed {
            return Err(Rejected::Over { kind: Kind::Unit, id });
        }
        if unit.key.is_some() {
            return Err(Rejected::Exists { kind: Kind::Unit, id });
        }
        let key = unit_key_of(&self.organization, id, order, issuer, keeper)?;
        self.first_sight([issuer.point.0, keeper.point.0, key.0])?;
        let leaf = self.tree.size();
        if let Some(unit) = self.units.get_mut(&id) {
            unit.key = Some((key.0, leaf));
        }
        Ok(())
    }

    fn grant_issued(&mut self, id: Id, order: Digest, issued: Issued) -> Result<(), Rejected> {
        let grant = self.grants.get(&id).ok_or(Rejected::Unknown { kind: Kind::Grant, id })?;
        if grant.order != order {
            return Err(Rejected::OtherOrder { kind: Kind::Grant, id });
        }
        if grant.revoked {
            return Err(Rejected::Over { kind: Kind::Grant, id });
        }
        if grant.issued.is_some() {
            return Err(Rejected::Exists { kind: Kind::Grant, id });
        }
        let unit =
            self.units.get(&grant.unit).ok_or(Rejected::Unknown { kind: Kind::Unit, id: grant.unit })?;
        let (key, _) = unit.key.ok_or(Rejected::UnitWithoutKey { unit: grant.unit })?;
        if issued.sites.is_empty() || !issued.sites.iter().all(|site| self.serves(site, &grant.unit)) {
            return Err(Rejected::OtherSites { grant: id });
        }
        check_grant(&key, &issued.card_point, &issued.site_point).map_err(|error| match error {
            GrantError::CardShareDegenerate | GrantError::SiteShareDegenerate => {
                Rejected::DegenerateShare { grant: id }
            }
            _ => Rejected::SharesDoNotAdd { grant: id },
        })?;
        self.first_sight([issued.card_point, issued.site_point])?;
        if let Some(grant) = self.grants.get_mut(&id) {
            grant.issued = Some(issued);
        }
        Ok(())
    }
}

/// The unit key `P = S1 + S2` of two proved halves: what the fold computes, and what everybody who reads a directory
/// checks for himself.
///
/// # Errors
/// [`Rejected::HalfNotProved`] or [`Rejected::HalvesCancel`].
pub fn unit_key_of(
    organization: &Digest,
    unit: Id,
    order: Digest,
    issuer: &PublicHalf,
    keeper: &PublicHalf,
) -> Result<PublicKey, Rejected> {
    for (half, role) in [(issuer, HalfRole::Issuer), (keeper, HalfRole::Keeper)] {
        let context = HalfContext { organization: organization.0, unit: unit.0, order: order.0, role };
        verify_half(&context, &half.point.0, &HalfProof(half.proof.0))
            .map_err(|_| Rejected::HalfNotProved { unit })?;
    }
    unit_key(&issuer.point.0, &keeper.point.0).map(PublicKey).map_err(|_| Rejected::HalvesCancel { unit })
}
