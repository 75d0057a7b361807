//! A site's interface.
//!
//! | method and path | who | request → answer |
//! |---|---|---|
//! | `GET /v1/status` | anybody | → [`Status`] |
//! | `GET /v1/me` | card | → [`Me`] |
//! | `POST /v1/partials` | card | [`PartialsRequest`] → [`PartialsAnswer`] |
//! | `POST /v1/routes` | card | [`Batch`](super::routing::Batch) → [`Routed`](super::routing::Routed): see [`super::routing`] |
//! | `GET /v1/events` | card | → one server-sent event: `revoked` when the card is over or suspended, `grants` when something else that it had is |
//! | `POST /v1/revocations` | anybody (the signatures decide) | [`RevocationRequest`] → `Envelope` of a `Receipt` |

use super::routing::{ROUTED_LIMIT, RoutedItem, RoutedOutcome};
use super::*;
use crate::error::ErrorCode;

/// The most items in one [`PartialsRequest`].
pub const ITEMS_LIMIT: usize = 256;

/// What a site says of itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Status {
    /// The site.
    pub site: Id,
    /// Its organization.
    pub organization: Digest,
    /// Number of leaves folded.
    pub folded: u64,
    /// Site time; none without a stamp.
    pub time: Option<Millis>,
    /// How long it may still answer without news, in milliseconds; 0 if it may not.
    pub lease_left_ms: u64,
}

/// What a card may open here.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Me {
    /// The site.
    pub site: Id,
    /// The card.
    pub card: Id,
    /// The member.
    pub member: Id,
    /// The member's name as people say it, if the register still has it.
    pub member_name: Option<String>,
    /// The card's live grants that this site serves.
    pub grants: Vec<MyGrant>,
    /// The first instant after the contract under which the member works; none where there is no contract. It may still come
    /// nearer, or be put off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contract_ends_at: Option<Millis>,
    /// The first instant after the member's last day, where one was ordered. It may still come nearer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member_ends_at: Option<Millis>,
    /// Site time.
    pub time: Millis,
    /// How long the site may still answer without news, in milliseconds.
    pub lease_left_ms: u64,
}

/// A live grant of the asking card.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MyGrant {
    /// The grant.
    pub grant: Id,
    /// The unit.
    pub unit: Id,
    /// The unit's name as people say it.
    pub unit_name: String,
    /// What it allows.
    pub right: Right,
    /// `P`.
    pub unit_key: PublicKey,
    /// `A`.
    pub card_point: PublicKey,
    /// The first instant at which the site answers for it, if that is to come: the card has its share before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starts_at: Option<Millis>,
    /// Where a front desk's dispatcher may send files now, with this grant to route. A unit that has no key in the directory is to
    /// be passed over.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub routes_to: BTreeSet<Id>,
}

/// A batch of files to open: one item a stanza.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartialsRequest {
    /// At most [`ITEMS_LIMIT`].
    pub items: Vec<PartialItem>,
    /// Files that are sealed to none of the card's units, but may have been routed to one, at most [`ROUTED_LIMIT`] (P-15.13).
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "at_most::<_, _, ROUTED_LIMIT>"
    )]
    pub routed: Vec<RoutedItem>,
}

/// One stanza to open.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartialItem {
    /// The grant to use.
    pub grant: Id,
    /// The stanza's encapsulated key `R`, SEC1, 65 bytes uncompressed.
    pub encapsulated: Bytes,
}

/// The answers, in the order of the items.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartialsAnswer {
    /// One an item.
    pub items: Vec<PartialOutcome>,
    /// One for each in [`PartialsRequest::routed`].
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "at_most::<_, _, ROUTED_LIMIT>"
    )]
    pub routed: Vec<RoutedOutcome>,
}

/// The answer for one stanza.
#[derive(Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case", deny_unknown_fields)]
pub enum PartialOutcome {
    /// `x(bR)`, 32 bytes big-endian.
    Partial {
        /// The x-coordinate.
        x: SecretBytes,
    },
    /// Nothing.
    Refused {
        /// Why.
        code: ErrorCode,
    },
}

/// An order brought to a site directly, with the ledger entries that the site lacks.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevocationRequest {
    /// The signed order.
    pub order: Envelope,
    /// Leaves that follow those the site has folded; may be empty.
    pub leaves: Option<Leaves>,
}
