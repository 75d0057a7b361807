//! A state as bytes, so that whoever folded it need not fold it again.
//!
//! A state is what its leaves come to, and nothing else makes one. So bytes of a snapshot are to be read only where they are
//! known to be one's own, by a signature over them that nobody else can make: of what is in them, nothing is verified again but
//! that points are on the curve, that what is ordered is in its order, and that the tree has as many hashes as its size demands.
//!
//! The format is private to a service, and of one version of the fold. [`FORMAT`] names it; where it is another, the leaves are
//! folded from the founding. A value is written as its fields, one after the other, integers big-endian, whatever there may be
//! several of behind its number, points uncompressed (SEC1, 65 bytes): decompressing takes a square root.
//!
//! These are not the serde forms of the same types: JSON is made for people and for other programs, its keys are compressed, and
//! its tags and left-out fields need a format that describes itself.

use rpds::VectorSync;

use super::{
    CardState, CardStatus, Contract, Custodians, Grant, Issued, Journals, Member, Site, State, Trust, Unit,
};
use crate::journal::Position;
use crate::register::Commitment;
use crate::statement::{
    Attestation, Card, Custody, Founding, HalfHolder, OrganizationKeys, Policy, Right, Role, ServiceId,
    ServiceKeys, UnitKind,
};
use crate::tree::Tree;

mod form;

use form::{Form, choice, record};

/// The format of these bytes, and the fold whose states they are: whatever changes either takes the next number. A test has
/// the digest of the snapshot of a known ledger.
pub const FORMAT: u32 = 1;

/// The bytes are no snapshot of this format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("these bytes are no snapshot of a state")]
pub struct NotASnapshot;

impl State {
    /// This state as bytes.
    #[must_use]
    pub fn to_snapshot(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.write(&mut bytes);
        bytes
    }

    /// Reads what [`State::to_snapshot`] wrote. Only for bytes that are known to be one's own.
    ///
    /// # Errors
    /// [`NotASnapshot`].
    pub fn from_snapshot(mut bytes: &[u8]) -> Result<Self, NotASnapshot> {
        let state = Self::read(&mut bytes).ok_or(NotASnapshot)?;
        if bytes.is_empty() { Ok(state) } else { Err(NotASnapshot) }
    }
}

record!(State {
    tree,
    last_at,
    organization,
    founding,
    ca,
    kms,
    former_keys,
    log_keys,
    policy,
    members,
    cards,
    contracts,
    units,
    grants,
    sites,
    signers,
    site_connections,
    authenticators,
    grants_of_card,
    grants_of_unit,
    cards_of_member,
    members_of_contract,
    units_of_contract,
    points,
    role_holders,
    executed,
    shredded,
    revoked_slips,
    custodians,
    ever_custodians,
    journals,
    trusts,
});
record!(Founding { id, name, zone, officers, policy, ca, kms });
record!(Policy { lease_ms, pin_ceiling_ms, unattested_cards, separate_roles });
record!(ServiceKeys { signing, tls, log, transport });
record!(Commitment { record, digest });
record!(Member { name, contract, roles, placements, ends_at, revoked });
record!(CardState { card, vouched, enrolled, status });
record!(Card { card, member, name, contract, authentication, signature, transport, attestation });
record!(Contract { name, ends_at, ended });
record!(Unit {
    name,
    kind,
    contract,
    sites,
    routes_to,
    two_people,
    own_pcs,
    order,
    key,
    closes_at,
    closed,
    merged,
    successor,
    replaces,
    renamed,
});
record!(Grant { card, unit, right, custody, starts_at, expires_at, order, issued, revoked });
record!(Issued { card_point, site_point, sites });
record!(Site { name, keys, address, removed });
record!(Custodians { threshold, cards });
record!(Journals { current, head, former, begun });
record!(Position { size, head });
record!(Trust { name, address, keys, added, ended });
record!(OrganizationKeys { organization, ca, kms });

choice!(CardStatus { Live = 0, Suspended = 1, Revoked = 2 });
choice!(UnitKind { Department = 0, FrontDesk = 1, Contractor = 2, Person = 3 });
choice!(Right { Open = 0, Route = 1 });
choice!(Custody { TokenUnwrap = 0, Scp11b = 1, HostMemory = 2, OwnPc = 3 });
choice!(Role { Officer = 0, Administrator = 1, Auditor = 2, Dispatcher = 3 });
choice!(HalfHolder { Ca = 0, Kms = 1 });

impl Form for ServiceId {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Ca => out.push(0),
            Self::Kms => out.push(1),
            Self::Site(site) => {
                out.push(2);
                site.write(out);
            }
        }
    }

    fn read(input: &mut &[u8]) -> Option<Self> {
        match u8::read(input)? {
            0 => Some(Self::Ca),
            1 => Some(Self::Kms),
            2 => Form::read(input).map(Self::Site),
            _ => None,
        }
    }
}

impl Form for Attestation {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::None => out.push(0),
            Self::Generated { serial, firmware, evidence } => {
                out.push(1);
                serial.write(out);
                firmware.write(out);
                evidence.write(out);
            }
        }
    }

    fn read(input: &mut &[u8]) -> Option<Self> {
        match u8::read(input)? {
            0 => Some(Self::None),
            1 => Some(Self::Generated {
                serial: Form::read(input)?,
                firmware: Form::read(input)?,
                evidence: Form::read(input)?,
            }),
            _ => None,
        }
    }
}

impl Form for Tree {
    fn write(&self, out: &mut Vec<u8>) {
        let (size, stored) = self.parts();
        size.write(out);
        stored.iter().for_each(|hash| hash.write(out));
    }

    fn read(input: &mut &[u8]) -> Option<Self> {
        let size = u64::read(input)?;
        let mut stored = VectorSync::new_sync();
        for _ in 0..Self::hashes(size)? {
            stored.push_back_mut(Form::read(input)?);
        }
        Some(Self::from_parts(size, stored))
    }
}
