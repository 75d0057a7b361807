//! Why the fold refuses a leaf.

use crate::checkpoint::CheckpointError;
use crate::dsse::EnvelopeError;
use crate::statement::{HalfHolder, Millis, Role, ServiceId};
use crate::{Digest, Id};

/// What an id names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// A member.
    Member,
    /// A card.
    Card,
    /// A contract.
    Contract,
    /// A unit.
    Unit,
    /// A grant.
    Grant,
    /// A site.
    Site,
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Member => "member",
            Self::Card => "card",
            Self::Contract => "contract",
            Self::Unit => "unit",
            Self::Grant => "grant",
            Self::Site => "site",
        })
    }
}

/// Why a leaf, an order or a fact is refused. The state stays as it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Rejected {
    /// The envelope cannot be read or lacks the signature of a service.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// It is appended before the leaf that precedes it.
    #[error("appended at {at}, before the leaf at {last}")]
    TimeWentBack {
        /// The leaf's instant.
        at: Millis,
        /// The instant of the leaf before.
        last: Millis,
    },
    /// Nobody signed it.
    #[error("nobody signed it")]
    Unsigned,
    /// A signature names a key that is no card of this organization.
    #[error("signed with the unknown key {keyid}")]
    UnknownSigner {
        /// The DSSE `keyid`.
        keyid: Digest,
    },
    /// A signature does not verify.
    #[error("the signature of card {card} does not verify")]
    BadSignature {
        /// The card whose key is named.
        card: Id,
    },
    /// A card signed twice.
    #[error("card {card} signed twice")]
    SignedTwice {
        /// The card.
        card: Id,
    },
    /// A signing card is suspended or dead, or its member has left.
    #[error("card {card} may not sign: it is suspended or revoked")]
    SignerNotLive {
        /// The card.
        card: Id,
    },
    /// Nobody who signed has the role that is needed.
    #[error("nobody who signed has one of the roles {needed:?}")]
    WrongRole {
        /// Any of these would do.
        needed: &'static [Role],
    },
    /// Two different people have to sign.
    #[error("two different people with one of the roles {needed:?} have to sign")]
    TwoPeopleNeeded {
        /// Any of these would do.
        needed: &'static [Role],
    },
    /// A signer would give something to himself.
    #[error("member {member} signed for his own advantage")]
    ForOneself {
        /// The member.
        member: Id,
    },
    /// Addressed to another organization.
    #[error("of another organization ({found})")]
    OtherOrganization {
        /// The organization it names.
        found: Digest,
    },
    /// The order has executed before.
    #[error("order {id} has executed before")]
    Replayed {
        /// The order.
        id: Id,
    },
    /// The order has expired.
    #[error("expired at {expires_at}; it is {at}")]
    Expired {
        /// Its expiry.
        expires_at: Millis,
        /// The leaf's instant.
        at: Millis,
    },
    /// The order would be valid for longer than seven days.
    #[error("expires more than seven days ahead")]
    ExpiryTooFar,
    /// The checkpoint that its signers saw is missing or not signed by the kms.
    #[error("the checkpoint its signers saw does not count: {0}")]
    Seen(CheckpointError),
    /// The checkpoint that its signers saw is larger than this ledger.
    #[error("its signers saw {seen} leaves; here are {size}")]
    SeenAhead {
        /// Leaves they saw.
        seen: u64,
        /// Leaves here.
        size: u64,
    },
    /// The checkpoint that its signers saw, signed by the kms, contradicts this ledger: proof of a fork.
    #[error("FORK: the kms signed two different ledgers of {size} leaves")]
    Fork {
        /// The size at which they differ.
        size: u64,
    },
    /// An order without acts.
    #[error("it does nothing")]
    Empty,
    /// It names something that the ledger does not know.
    #[error("unknown {kind} {id}")]
    Unknown {
        /// What is unknown.
        kind: Kind,
        /// Its id.
        id: Id,
    },
    /// It brings into being what exists.
    #[error("{kind} {id} exists already")]
    Exists {
        /// What exists.
        kind: Kind,
        /// Its id.
        id: Id,
    },
    /// It uses something that is over for ever.
    #[error("{kind} {id} is over")]
    Over {
        /// What is over.
        kind: Kind,
        /// Its id.
        id: Id,
    },
    /// The member's card says another name or contract than his first one.
    #[error("card and member {member} do not agree")]
    MemberMismatch {
        /// The member.
        member: Id,
    },
    /// Cards without attestation are not allowed.
    #[error("the card's keys are not attested, and the policy demands it")]
    NotAttested,
    /// What is ordered ahead has to lie in the future.
    #[error("nothing can be ordered for {ends_at}: it is {at}")]
    EndsInPast {
        /// The instant asked for.
        ends_at: Millis,
        /// The leaf's instant.
        at: Millis,
    },
    /// It ends earlier already, and an end comes nearer only.
    #[error("{kind} {id} ends at {ends_at} already")]
    EndsEarlier {
        /// What ends.
        kind: Kind,
        /// Its id.
        id: Id,
        /// When.
        ends_at: Millis,
    },
    /// A grant would be over before it begins.
    #[error("a grant that ends at {ends_at} cannot begin at {starts_at}")]
    StartsAfterEnd {
        /// The beginning asked for.
        starts_at: Millis,
        /// The end asked for.
        ends_at: Millis,
    },
    /// A member with a role would leave at an instant that was ordered ahead.
    #[error("member {member} has a role, which cannot end by a date")]
    DatedEndOfRole {
        /// The member.
        member: Id,
    },
    /// The unit does not let members' own PCs import its shares.
    #[error("unit {unit} does not allow import by a member's own PC")]
    OwnPcNotAllowed {
        /// The unit.
        unit: Id,
    },
    /// The unit has been merged or re-keyed, or is to be.
    #[error("another unit takes the place of unit {unit} already")]
    UnitReplaced {
        /// The unit.
        unit: Id,
    },
    /// Only two different departments become one.
    #[error("unit {unit} cannot be merged: only two different departments can")]
    NotMergeable {
        /// The unit that is none, or both.
        unit: Id,
    },
    /// A unit of this kind cannot be so.
    #[error("unit {unit} is not well formed: {why}")]
    UnitMalformed {
        /// The unit.
        unit: Id,
        /// What does not fit.
        why: &'static str,
    },
    /// Front desks route and do not open; other units open and do not route.
    #[error("unit {unit} does not give this right")]
    WrongRight {
        /// The unit.
        unit: Id,
    },
    /// The card has a live grant to this unit.
    #[error("card {card} has a grant to unit {unit} already")]
    GrantExists {
        /// The card.
        card: Id,
        /// The unit.
        unit: Id,
    },
    /// The card's key slots are taken.
    #[error("card {card} holds {GRANTS_PER_CARD} grants already", GRANTS_PER_CARD = super::GRANTS_PER_CARD)]
    CardFull {
        /// The card.
        card: Id,
    },
    /// The card is not suspended.
    #[error("card {card} is not suspended")]
    NotSuspended {
        /// The card.
        card: Id,
    },
    /// A grant is ordered for a suspended card.
    #[error("card {card} is suspended")]
    CardSuspended {
        /// The card.
        card: Id,
    },
    /// Somebody who works under a contract would become officer or administrator.
    #[error("member {member} works under a contract and can only be an auditor")]
    RoleUnderContract {
        /// The member.
        member: Id,
    },
    /// One person would be officer and administrator, or officer and auditor, where the policy keeps these apart.
    #[error("member {member} would hold roles that the policy keeps apart")]
    RolesNotSeparate {
        /// The member.
        member: Id,
    },
    /// The policy is out of its bounds.
    #[error("the policy is out of bounds: {why}")]
    PolicyOutOfBounds {
        /// What is.
        why: &'static str,
    },
    /// Fewer than two people could sign afterwards.
    #[error("fewer than two officers would be left")]
    LockOut,
    /// A backup cannot be kept by these people.
    #[error("these cannot be the custodians of the {service}'s backups: {why}", service = service.name())]
    CustodiansMalformed {
        /// Whose backups.
        service: HalfHolder,
        /// What does not fit.
        why: &'static str,
    },
    /// One person would open backups of both halves, older ones among them.
    #[error("member {member} is custodian of the other half's backups, or was")]
    CustodianOfBoth {
        /// The member.
        member: Id,
    },
    /// A service cannot speak with these keys.
    #[error("these cannot be the keys of {service}: {why}")]
    KeysMalformed {
        /// Which service.
        service: ServiceId,
        /// What does not fit.
        why: &'static str,
    },
    /// A kms would go on from another place than the head of this ledger.
    #[error("the recovered kms goes on after {size} leaves; here are {here}")]
    NotTheHead {
        /// Leaves that the order names.
        size: u64,
        /// Leaves here.
        here: u64,
    },
    /// The fact answers another order.
    #[error("{kind} {id} was asked for by another order")]
    OtherOrder {
        /// What was asked for.
        kind: Kind,
        /// Its id.
        id: Id,
    },
    /// A half's proof of possession does not verify.
    #[error("a half of unit {unit} is not proved")]
    HalfNotProved {
        /// The unit.
        unit: Id,
    },
    /// The two halves of a unit cancel each other.
    #[error("the halves of unit {unit} add up to nothing")]
    HalvesCancel {
        /// The unit.
        unit: Id,
    },
    /// The unit has no key yet.
    #[error("unit {unit} has no key yet")]
    UnitWithoutKey {
        /// The unit.
        unit: Id,
    },
    /// `A + B` is not `P`.
    #[error("the shares of grant {grant} do not add up to the unit's key")]
    SharesDoNotAdd {
        /// The grant.
        grant: Id,
    },
    /// `A` or `B` is `P` or `-P`.
    #[error("a share of grant {grant} is the unit's key itself")]
    DegenerateShare {
        /// The grant.
        grant: Id,
    },
    /// A public key, or its negative, came before, somewhere.
    #[error("a public key was used before")]
    RepeatedPoint,
    /// The sites of a grant are not sites of its unit, or have left.
    #[error("the sites of grant {grant} do not serve its unit")]
    OtherSites {
        /// The grant.
        grant: Id,
    },
    /// The head of a journal is not signed by its site.
    #[error("the head of site {site}'s journal is not signed by the site")]
    JournalNotSigned {
        /// The site.
        site: Id,
    },
    /// The head of a journal is not beyond the one that is in the ledger.
    #[error("site {site}'s journal has {size} rows; the ledger has its head after {committed}")]
    JournalNotFurther {
        /// The site.
        site: Id,
        /// Rows.
        size: u64,
        /// Rows of the head in the ledger.
        committed: u64,
    },
    /// The head of a journal after which its site has begun another one.
    #[error("site {site} has begun another journal than {journal}")]
    JournalOver {
        /// The site.
        site: Id,
        /// The journal.
        journal: Id,
    },
    /// Too many journals that one site has begun within a day, or one that a site began which has left.
    #[error("site {site} has begun more journals than it may")]
    JournalsTooMany {
        /// The site.
        site: Id,
    },
    /// No heads, or more than one fact takes.
    #[error("{count} heads of journals are none, or too many for one fact")]
    JournalHeadsCount {
        /// How many.
        count: usize,
    },
    /// No slips, or more than one fact or order takes.
    #[error("{count} slips are none, or too many at once")]
    SlipsCount {
        /// How many.
        count: usize,
    },
    /// Another organization cannot be trusted like this.
    #[error("organization {organization} cannot be trusted like this: {why}")]
    TrustMalformed {
        /// The other organization.
        organization: Digest,
        /// What does not fit.
        why: &'static str,
    },
    /// The other organization is not trusted, or no more.
    #[error("organization {organization} is not trusted")]
    NotTrusted {
        /// The other organization.
        organization: Digest,
    },
    /// Entry 0 is not a founding, or a founding comes later.
    #[error("not the founding of an organization: {why}")]
    NotFounding {
        /// What does not fit.
        why: &'static str,
    },
    /// The tree refused the leaf.
    #[error(transparent)]
    Tree(#[from] crate::tree::BeyondTree),
}
