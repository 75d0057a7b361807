//! The kms authority's interface.
//!
//! | method and path | who | request → answer |
//! |---|---|---|
//! | `GET /v1/status` | anybody | → [`Status`] |
//! | `GET /v1/profile` | anybody | → `Envelope` of a `Profile` |
//! | `GET /v1/directory` | anybody | → [`Directory`] |
//! | `GET /v1/checkpoint` | anybody | → [`CheckpointAnswer`] |
//! | `POST /v1/orders` | anybody (the signatures decide) | [`OrderRequest`] → [`Appended`] |
//! | `POST /v1/proposals` | an officer's or administrator's card | [`OrderRequest`] → [`Done`](super::Done): it waits for a second person |
//! | `GET /v1/proposals` | an officer's, administrator's or auditor's card | → [`Proposals`] |
//! | `GET /v1/proposals/{digest}` | an officer's, administrator's or auditor's card | → [`Proposal`] |
//! | `DELETE /v1/proposals/{digest}` | a card of one of its signers, an officer's card | → [`Done`](super::Done): withdrawn, and erased |
//! | `GET /v1/orders/{digest}/receipts?known=N` | anybody | → [`Receipts`]; waits up to 5 s for more than N receipts |
//! | `GET /v1/ledger?from=N` | card, service | → [`Leaves`](super::Leaves), at most 500 leaves |
//! | `POST /v1/ledger` | ca | [`BroughtLeaves`] → [`Status`]: what a kms that was restored from a backup lacks |
//! | `GET /v1/ledger/stream?from=N` | service | → server-sent [`LeafEvent`](super::LeafEvent)s, then live; for a site also [`SlipsEvent`](super::routing::SlipsEvent)s |
//! | `GET /checkpoint` | card, service | → the newest checkpoint, `text/plain`: a signed note, with the ca's cosignature if it has one (P-4.23) |
//! | `GET /tile/{level}/{number}` | card, service | → a tile of `tlog-tiles`, `application/octet-stream`; `.p/{width}` after a number for a partial one |
//! | `GET /tile/entries/{number}` | card, service | → its entries, each after its length in two bytes; `.p/{width}` as well |
//! | `POST /v1/stamps` | service | [`StampRequest`] → `Envelope` of a `Stamp` |
//! | `POST /v1/units/{unit}/half` | ca | [`HalfRequest`] → `Envelope` of a `Fact`, signed by the kms |
//! | `POST /v1/facts` | ca | `Envelope` signed by both → [`Appended`] |
//! | `GET /v1/grants/{grant}/readiness` | ca | → [`Readiness`]; waits up to 5 s for the sites' keys |
//! | `POST /v1/grants/{grant}/share` | ca | [`ShareRequest`] → `Envelope` of a `Fact`, signed by the kms |
//! | `PUT /v1/certificates` | ca | [`Certificate`] → [`Done`](super::Done) |
//! | `PUT /v1/crls` | ca | [`Crl`] → [`Done`](super::Done); refused if its number is lower than the last one's |
//! | `POST /v1/cosignatures` | ca | [`Cosignature`] → [`Done`](super::Done) |
//! | `POST /v1/grant-keys` | site | `Envelope` of a `GrantKey` → [`Done`](super::Done) |
//! | `GET /v1/wraps/{grant}` | site | → [`Wrap`] for that site |
//! | `DELETE /v1/wraps/{grant}` | site | → [`Done`](super::Done): unwrapped, checked, durable |
//! | `POST /v1/wraps/{grant}/refusal` | site | [`Done`](super::Done) → [`Done`](super::Done): what another site wrapped is not the share |
//! | `GET /v1/rewraps` | site | → [`Rewraps`]; waits up to 5 s for another site's key while one is to come |
//! | `PUT /v1/wraps/{grant}/{site}` | another site | [`Rewrap`] → [`Done`](super::Done) |
//! | `GET /v1/sites/{site}/holdings` | an officer's or administrator's card | → [`Holdings`] |
//! | `POST /v1/receipts` | site | `Envelope` of a `Receipt` → [`Done`](super::Done) |
//! | `GET /v1/certificates/{kind}/{id}` | anybody | → [`Certificate`] |
//! | `GET /v1/cards/{card}/package` | that card, an officer's card | → [`Package`] |
//! | `DELETE /v1/cards/{card}/package/{grant}` | that card, an officer's card | → [`Done`](super::Done): the share is on the card |
//! | `POST /v1/cards/{card}/puk` | that card, an officer's card | [`PukEscrow`] → [`Done`](super::Done): takes the earlier one's place |
//! | `GET /v1/cards/{card}/puk` | an officer's card | → [`PukEscrow`] |
//! | `GET /v1/trusts…` | anybody | see [`super::trusts`] |
//! | `GET /v1/register` | an officer's, administrator's or auditor's card | → [`Records`], to be checked against the ledger |
//! | `POST /v1/slips`, `POST /v1/released`, `GET /v1/slips…` | site, ca, card | see [`super::routing`] |
//! | `GET /v1/box`, `POST /v1/deliveries…`, `GET /v1/inbox` | anybody, card | see [`super::deliveries`] |
//! | `GET /v1/register/served` | site | → [`Register`] of what it may show its cards: its own name, its units', their members' |
//!
//! On a listener of its own, over plain HTTP and for anybody, `GET` and `HEAD` alone, from memory:
//!
//! | path | answer |
//! |---|---|
//! | `/ca.crl`, `/root.crl` | `application/pkix-crl`: the newest CRL of the issuing CA, of the root, DER |
//! | `/ca.cer`, `/root.cer` | `application/pkix-cert`: the certificate of the issuing CA, of the root, DER |
//!
//! A kms that was restored from a backup answers, until officers have ordered its keys into the ledger, `GET` of status,
//! checkpoint, ledger, register and proposals, and `POST` of ledger, proposals and orders; all else is refused with `not-recovered`.
//!
//! with `ETag`, `Last-Modified`, `Cache-Control`; 304 where the asker has it already, 404 before the ca has posted it.

use super::*;

/// What the authority says of itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Status {
    /// The organization's name; none before the founding.
    pub organization: Option<Digest>,
    /// Number of leaves.
    pub size: u64,
    /// Its time: its wall clock's, but never before the last leaf or stamp.
    pub time: Millis,
}

/// A leaf, with the proof that it is in the ledger under some checkpoint.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Included {
    /// Its index.
    pub index: u64,
    /// Its exact bytes.
    pub leaf: Bytes,
    /// `warifu_ledger::tree::Tree::inclusion`.
    pub proof: Vec<Digest>,
}

/// The units that files can be addressed to: those that are closed, merged, re-keyed or of an ended contract are not among
/// them.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Directory {
    /// The organization's name.
    pub organization: Digest,
    /// Its units.
    pub units: Vec<UnitEntry>,
    /// The orders that the units' `unit.created` answer, each once.
    pub orders: Vec<Envelope>,
    /// The newest checkpoint that the ca has cosigned, under its signature.
    pub checkpoint: Option<String>,
    /// Under it, the orders that gave units other names, and those that a unit's predecessors came from. A name that was
    /// signed for a unit stays provable when a later one has replaced it. And the facts that made units, where ca or kms
    /// have other keys now than they signed with.
    pub included: Vec<Included>,
}

/// Leaves that the ca has and a restored kms lacks. Without any, the kms has all that the ca has.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BroughtLeaves {
    /// Index of the first one: the number of leaves that the kms has.
    pub from: u64,
    /// Consecutive leaves, each in its exact bytes, at most [`LEAVES_LIMIT`].
    #[serde(deserialize_with = "at_most::<_, _, LEAVES_LIMIT>")]
    pub leaves: Vec<Bytes>,
}

/// The newest checkpoint.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckpointAnswer {
    /// Signed by the kms; by the ca too if `cosigned`.
    pub note: String,
    /// Size of the newest checkpoint that the ca cosigned; 0 if none.
    pub cosigned_size: u64,
}

/// An order with the register records that it points to.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderRequest {
    /// The signed order.
    pub envelope: Envelope,
    /// The records of its commitments: all of them, but that a site, which has none, may leave out reasons (P-8.4).
    /// Brought again with the order before it expires, they are added.
    pub records: Vec<Record>,
}

impl OrderRequest {
    /// The largest order that the kms reads from whoever shows no card of the organization, in bytes: some hundred acts.
    pub const LARGEST_OF_STRANGERS: usize = 256 << 10;
}

/// The orders that wait for a second person, the next to expire first.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proposals {
    /// They.
    pub waiting: Vec<ProposalEntry>,
}

/// An order that waits.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProposalEntry {
    /// Digest of its envelope.
    pub digest: Digest,
    /// The last instant at which it may be appended.
    pub expires_at: Millis,
    /// Whether one more signature makes it good today. What happened meanwhile may have made it impossible: its signer's
    /// card was revoked, what it gives exists already. Only for counting: a desk finds out by itself.
    pub possible: bool,
}

/// One proposal.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proposal {
    /// Whether it waits, or what became of it.
    pub standing: ProposalStanding,
    /// The order as its first person signed it, with the records that came with it; none once it does not wait any more.
    pub request: Option<OrderRequest>,
}

/// What became of a proposal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProposalStanding {
    /// It waits for a second person.
    Waiting,
    /// A second person has signed it, and it is in the ledger.
    Appended,
    /// It was withdrawn, and erased.
    Withdrawn,
    /// It has expired, and was erased.
    Expired,
}

impl std::fmt::Display for ProposalStanding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Waiting => "waiting",
            Self::Appended => "appended",
            Self::Withdrawn => "withdrawn",
            Self::Expired => "expired",
        })
    }
}

/// An order or fact is in the ledger, and durable.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Appended {
    /// Index of its leaf.
    pub index: u64,
    /// Digest of its envelope.
    pub digest: Digest,
    /// When it was appended.
    pub at: Millis,
}

/// Which sites have acted on an order.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipts {
    /// When the order was appended.
    pub appended_at: Millis,
    /// Whether a checkpoint that contains the order is cosigned by the ca. Until then nothing bounds how long a site that
    /// nobody else reaches may go on answering.
    pub cosigned: bool,
    /// Every site.
    pub sites: Vec<SiteReceipt>,
}

/// One site's part in [`Receipts`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SiteReceipt {
    /// The site.
    pub site: Id,
    /// Its name as people say it.
    pub name: String,
    /// Its signed receipt, if it has confirmed.
    pub receipt: Option<Envelope>,
    /// When the authority had it.
    pub received_at: Option<Millis>,
    /// The moment by which its lease has ended, if it does not confirm: the time of the last stamp it was given before
    /// the order was appended, plus its lease.
    pub lease_ends_at: Option<Millis>,
}

/// A request for proof of freshness.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StampRequest {
    /// 32 random bytes.
    pub nonce: Digest,
}

/// The ca's public half of a unit.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HalfRequest {
    /// `S1` with its proof.
    pub issuer: PublicHalf,
}

/// Whether the sites have made their key pairs for a grant.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Readiness {
    /// The sites that have not.
    pub waiting_for: Vec<Id>,
}

/// The ca's part of a grant.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShareRequest {
    /// `A = aG`.
    pub card_point: PublicKey,
    /// `d = s1 - a`, 32 bytes big-endian. Never stored.
    pub delta: SecretBytes,
    /// `a`, HPKE-sealed to the card's transport key: 65 bytes of encapsulated key, then 48 of ciphertext
    /// (`docs/protocol.md` section 6).
    pub sealed: Bytes,
}

/// What a certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CertificateKind {
    /// The organization's root and issuing CA; the id is all zeroes.
    Authority,
    /// A service's TLS certificate; the id is the site's, all zeroes for the kms.
    Service,
    /// A card's 9A certificate; the id is the card's.
    CardAuthentication,
    /// A card's 9C certificate; the id is the card's.
    CardSignature,
    /// The certificate for `A`, beside a card share; the id is the grant's.
    CardShare,
    /// A unit's certificate over `P`; the id is the unit's.
    Unit,
}

/// A certificate that the ca issued.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// What it is for.
    pub kind: CertificateKind,
    /// Whose it is.
    pub id: Id,
    /// DER: the certificate, then those above it up to and including the root.
    pub chain: Vec<Bytes>,
}

/// Who signs a CRL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CrlIssuer {
    /// The issuing CA, for everything below it.
    Issuing,
    /// The root, for the issuing CA.
    Root,
}

impl CrlIssuer {
    /// As it is written on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Issuing => "issuing",
            Self::Root => "root",
        }
    }

    /// The path under which its CRL is published.
    #[must_use]
    pub fn crl_path(self) -> &'static str {
        match self {
            Self::Issuing => "/ca.crl",
            Self::Root => "/root.crl",
        }
    }

    /// The path under which its own certificate is published.
    #[must_use]
    pub fn certificate_path(self) -> &'static str {
        match self {
            Self::Issuing => "/ca.cer",
            Self::Root => "/root.cer",
        }
    }
}

/// A certificate revocation list.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Crl {
    /// Whose it is.
    pub issuer: CrlIssuer,
    /// DER (RFC 5280, section 5): whole, with a number that only grows, signed with ECDSA and SHA-256.
    pub der: Bytes,
}

/// The ca's cosignature.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cosignature {
    /// The checkpoint note with the ca's signature alone.
    pub note: String,
}

/// A site share, wrapped to the site's key for its grant.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wrap {
    /// `WrappedShare` in its byte form (`docs/protocol.md` section 6).
    pub wrapped: Bytes,
}

/// What a site is asked to do for sites that came later to a unit (P-6.9).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rewraps {
    /// `Envelope`s of [`GrantKey`](warifu_ledger::statement::GrantKey): keys of other sites for grants whose shares this
    /// site has. To be checked against the ledger: whoever owns such a key learns a share.
    pub keys: Vec<Envelope>,
    /// Whether another site still lacks a share that this site has.
    pub outstanding: bool,
}

/// A site share that one site wrapped to another's key.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rewrap {
    /// The key of the other site for this grant.
    pub key: PublicKey,
    /// As in [`Wrap::wrapped`].
    pub wrapped: Bytes,
}

/// How far a site has come with the shares of the units that it serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Holdings {
    /// Live grants with shares, of all units that it serves.
    pub grants: u64,
    /// Of those, the ones whose share it has acknowledged.
    pub held: u64,
    /// Of the others, those of which nothing lies ready for it either: the first 10,000 by their ids.
    pub missing: Vec<Id>,
}

/// What has to go onto a card.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// The 9A certificate chain, DER, once issued.
    pub authentication: Option<Vec<Bytes>>,
    /// The 9C certificate chain, DER, once issued.
    pub signature: Option<Vec<Bytes>>,
    /// The shares that wait for the card.
    pub shares: Vec<PackagedShare>,
    /// Grants that are ordered and not yet issued or not yet at all their sites.
    pub pending: Vec<Id>,
}

/// One card share that waits for its card.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackagedShare {
    /// The grant.
    pub grant: Id,
    /// The unit.
    pub unit: Id,
    /// How it may reach the card: a member's own PC takes [`OwnPc`](warifu_ledger::statement::Custody::OwnPc) alone.
    pub custody: warifu_ledger::statement::Custody,
    /// `A`, to check the opened share against.
    pub card_point: PublicKey,
    /// As in [`ShareRequest::sealed`].
    pub sealed: Bytes,
    /// The certificate for `A`, DER.
    pub certificate: Bytes,
}

/// A card's PUK, for the officers alone: erasable, and not in the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PukEscrow {
    /// One for each officer's card, at most [`PukEscrow::MOST`].
    pub seals: Vec<SealedPuk>,
}

impl PukEscrow {
    /// The most cards that one PUK is sealed to.
    pub const MOST: usize = 64;
}

/// A PUK, sealed to one officer's card (P-6.6).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealedPuk {
    /// The officer's transport key (9D).
    pub transport: PublicKey,
    /// 65 bytes of encapsulated key, then 24 of ciphertext.
    pub sealed: Bytes,
}

impl SealedPuk {
    /// The length of `sealed` in bytes.
    pub const LENGTH: usize = 65 + 8 + 16;
}

/// The register, for those who administer: with the keys, so that each record can be checked against its commitment in
/// the ledger. One that is not is nothing to decide by: whoever keeps the register could swap two people's names.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Records {
    /// All that were not erased.
    pub records: Vec<Record>,
}

/// Names, for those who only show them.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Register {
    /// Record id to text; each id once.
    #[serde(deserialize_with = "each_once")]
    pub records: BTreeMap<Id, String>,
}
