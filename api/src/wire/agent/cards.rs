//! Cards in the readers, and what the officers' desk does with them.

use warifu_ledger::statement::Custody;

use super::*;

/// What is in the readers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cards {
    /// One a card.
    pub cards: Vec<CardInReader>,
    /// Readers with a card of a kind that cannot be used.
    #[serde(default)]
    pub unusable: Vec<String>,
    /// Card modules that do not work.
    #[serde(default)]
    pub modules: Vec<BrokenModule>,
}

/// A card module that does not work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BrokenModule {
    /// Its file.
    pub module: String,
    /// Whether it was loaded and then did not answer in time; else it cannot be loaded.
    pub hung: bool,
}

/// A card in a reader.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CardInReader {
    /// The reader's name.
    pub reader: String,
    /// The serial number.
    pub serial: u32,
    /// Firmware version, such as `5.4.3`.
    pub firmware: String,
    /// The product, such as `YubiKey`.
    pub model: String,
    /// PIN tries left; 0 if blocked.
    pub tries_left: u8,
    /// PUK tries left; 0 if blocked; nothing where the card does not tell.
    pub puk_tries_left: Option<u8>,
    /// Which of its own secrets are still the factory's.
    pub secrets: CardSecrets,
    /// The 9A, 9C and 9D public keys, if the card has all three.
    pub keys: Option<CardKeys>,
    /// How many shares it holds.
    pub shares: usize,
    /// The shares' public points `A`.
    pub share_points: Vec<PublicKey>,
    /// What its 9A certificate says, if it has one.
    pub certificate: Option<CardCertificate>,
    /// How shares come onto it: what an order has to say.
    pub custody: Custody,
    /// How far it is open.
    pub standing: Standing,
}

/// Which of a card's own secrets are still those that every card comes with, as far as the card tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CardSecrets {
    /// The PIN is the factory's.
    pub factory_pin: bool,
    /// The PUK is the factory's.
    pub factory_puk: bool,
    /// Who knows the management key.
    pub management_key: ManagementKeyKind,
}

/// Who knows a card's management key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ManagementKeyKind {
    /// Everybody: it is the factory's.
    Factory,
    /// Whoever has the card and its PIN: it lies on the card, behind the PIN.
    Protected,
    /// Whoever has set it.
    Unknown,
}

/// What a card's 9A certificate says. Sites go by the key alone; this is for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CardCertificate {
    /// The organization that it names, and the card's id there.
    pub member_of: Option<(Digest, Id)>,
    /// The first instant of its validity.
    pub not_before: Millis,
    /// The last one.
    pub not_after: Millis,
}

/// How far a card is open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "standing", rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Standing {
    /// It is none of this organization's, as far as it says.
    #[serde(deserialize_with = "nothing_more")]
    Foreign,
    /// It waits for its PIN, so whether the organization still wants it is not known.
    #[serde(deserialize_with = "nothing_more")]
    Locked,
    /// It was unlocked, and no site answers.
    #[serde(deserialize_with = "nothing_more")]
    Unanswered,
    /// A site answers for it.
    Open {
        /// Names of the units whose files it can open.
        units: Vec<String>,
        /// Names of the front desks whose files it can route.
        #[serde(default)]
        desks: Vec<String>,
        /// How many grants to open the site tells whose share is not on the card.
        missing: usize,
    },
    /// The sites want no more of it.
    Refused {
        /// Why.
        code: ErrorCode,
    },
}

/// The three keys of a card.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CardKeys {
    /// 9A.
    pub authentication: PublicKey,
    /// 9C.
    pub signature: PublicKey,
    /// 9D.
    pub transport: PublicKey,
}

/// Generate the three keys on a card that has none.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prepare {
    /// The card's serial number.
    pub serial: u32,
    /// The PIN that it has, or gets in the place of the factory's.
    pub pin: PinText,
}

/// A card with its keys.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prepared {
    /// The keys.
    pub keys: CardKeys,
    /// What the card proves about them.
    pub attestation: warifu_ledger::statement::Attestation,
    /// How shares come onto it: the ca seals them in that way.
    pub custody: Custody,
}

/// Bring onto a card what waits for it at the kms.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Personalize {
    /// The serial number of the card that gets it.
    pub serial: u32,
    /// Its PIN: the shares are sealed to its 9D key.
    pub pin: PinText,
    /// The card's id in the ledger.
    pub card: Id,
    /// The grants that have to be there before it is done.
    pub grants: Vec<Id>,
    /// The transport keys (9D) of the officers' cards, to which a new PUK is sealed in the place of the factory's; with none, a
    /// factory PUK stays.
    #[serde(default)]
    pub officers: Vec<PublicKey>,
    /// The points `A` of shares of this card whose grants are over: they are destroyed first, to make room.
    #[serde(default)]
    pub dead: Vec<PublicKey>,
}

/// A card is ready.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Personalized {
    /// The grants whose shares were imported now.
    pub imported: Vec<Id>,
    /// Whether the factory's PUK was replaced now.
    pub puk_replaced: bool,
}

/// Give a custodian's piece of a backup to the service that restores it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GivePiece {
    /// The serial number of the custodian's card.
    pub serial: u32,
    /// Its PIN: the piece is sealed to its 9D key.
    pub pin: PinText,
    /// The backup's manifest (P-10.2).
    pub manifest: Envelope,
    /// The new machine's request, whose fingerprint people have compared (P-10.6).
    pub request: Envelope,
}

/// The piece, sealed to the service.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GivenPiece {
    /// The custodian's card.
    pub card: Id,
    /// 65 bytes of encapsulated key, 49 of ciphertext.
    pub sealed: Bytes,
}
