//! Envelopes, the statements in them, and leaves.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use warifu_ledger::Digest;
use warifu_ledger::dsse::Envelope;
use warifu_ledger::key::{Base64, Bytes};
use warifu_ledger::leaf::Leaf;
use warifu_ledger::statement::{
    Addressee, Addressees, Backup, Delivery, DirectoryStatement, Fact, Founding, GrantKey, Handling, Order,
    Profile, ProfileSite, Receipt, Received, ReceivedState, Released, RestoreRequest, ServiceKind,
    ServiceStatement, SitePart, Slips, Stamp, Standing, Statement,
};

use crate::fixture::{
    DAY, MINUTE, T0, Town, envelope_by_cards, envelope_by_services, id, public_of, service_keys,
};
use crate::strict;

/// The leaves of the working town, the same for the whole run.
pub(crate) fn town_leaves() -> &'static [Leaf] {
    static LEAVES: OnceLock<Vec<Leaf>> = OnceLock::new();
    LEAVES.get_or_init(|| Town::working().leaves)
}

/// One envelope of every kind of statement, by those who sign it.
pub(crate) fn envelopes() -> &'static [Envelope] {
    static ENVELOPES: OnceLock<Vec<Envelope>> = OnceLock::new();
    ENVELOPES.get_or_init(|| {
        let mut town = Town::working();
        let organization = town.organization();
        let order = town.order([crate::fixture::revoke_member("hanako")], &["sakura", "kenji"]);
        let receipt = Receipt {
            organization,
            site: id("main"),
            order: order.digest(),
            time: Some(T0 + MINUTE),
            folded: 9,
            destroyed: BTreeSet::from([id("grant")]),
        };
        let stamp = Stamp {
            organization,
            site: id("main"),
            nonce: Digest::of(b"nonce"),
            time: T0 + DAY,
            checkpoint: town.seen(),
        };
        let key =
            GrantKey { organization, site: id("main"), grant: id("grant"), key: public_of("grant key") };
        let service = ServiceStatement {
            service: ServiceKind::Site,
            keys: service_keys("main"),
            address: Some("main.example:8443".to_owned()),
        };
        let slips = Slips {
            organization,
            id: id("slips"),
            unit: id("front"),
            grant: id("grant"),
            expires_at: T0 + DAY,
            count: 2,
            root: Digest::of(b"root"),
        };
        let released = Released {
            organization,
            site: id("main"),
            slips: Digest::of(b"slips"),
            to: id("branch"),
            parts: vec![SitePart { index: 1, sealed: Base64([7; 113]) }],
        };
        let delivery = Delivery {
            organization,
            id: id("delivery"),
            card: id("card hanako"),
            to: Addressees { organization: Digest::of(b"other"), units: BTreeSet::from([id("welfare")]) },
            title: "介護保険 資格照会".to_owned(),
            name: "照会.pdf.age".to_owned(),
            size: 9_000_000,
            digest: Digest::of(b"ciphertext"),
            sent_at: T0,
            reply_to: Some(id("tax")),
            expires_at: T0 + DAY,
        };
        let standing = Standing {
            organization,
            nonce: Digest::of(b"nonce"),
            at: T0,
            cards: BTreeSet::from([id("card hanako"), id("card taro")]),
            live: BTreeSet::from([id("card hanako")]),
        };
        let received = Received {
            organization: Digest::of(b"other"),
            id: id("delivery"),
            delivery: Digest::of(b"delivery"),
            arrived_at: T0,
            state: ReceivedState::Arrived { kept_until: T0 + DAY },
            units: vec![Addressee {
                unit: id("welfare"),
                handling: Handling::Returned { at: T0 + MINUTE, reason: "宛先違い".to_owned() },
            }],
            at: T0 + MINUTE,
        };
        let directory = DirectoryStatement {
            organization,
            at: T0,
            expires_at: T0 + DAY,
            size: 9,
            digest: Digest::of(b"body"),
        };
        let mut envelopes: Vec<Envelope> = town.leaves.iter().map(|leaf| leaf.envelope().clone()).collect();
        envelopes.extend([
            order,
            envelope_by_services(&receipt, &["main"]),
            envelope_by_services(&stamp, &["kms"]),
            envelope_by_services(&key, &["main"]),
            envelope_by_services(&service, &["main"]),
            envelope_by_cards(&slips, &["michi"]),
            envelope_by_services(&released, &["main"]),
            envelope_by_cards(&delivery, &["hanako"]),
            envelope_by_services(&standing, &["kms"]),
            envelope_by_services(&received, &["kms"]),
            envelope_by_services(&directory, &["kms"]),
            envelope_by_services(&profile_of(organization), &["kms"]),
            envelope_by_cards(&receipt, &[]),
        ]);
        envelopes
    })
}

pub(crate) fn profile_of(organization: Digest) -> Profile {
    Profile {
        organization,
        name: "大町市".to_owned(),
        zone: "Asia/Tokyo".to_owned(),
        ca: service_keys("ca"),
        kms: service_keys("kms"),
        former: Vec::new(),
        kms_address: "kms.example:7443".to_owned(),
        sites: vec![ProfileSite {
            site: id("main"),
            name: "本庁".to_owned(),
            address: "main.example:8443".to_owned(),
            keys: service_keys("main"),
        }],
        helpdesk: "情報政策課 内線 2345".to_owned(),
        pin_ceiling_ms: 8 * 60 * MINUTE,
    }
}

macro_rules! kinds {
    ($($name:ident),*) => {
        /// Every kind of statement: its payload type, and whether a payload is one.
        const KINDS: &[(&str, fn(&[u8]) -> bool)] = &[$(($name::PAYLOAD_TYPE, payload::<$name>)),*];

        /// Whether an envelope carries a statement, of each kind.
        fn carried(envelope: &Envelope) -> Vec<&'static str> {
            let mut found = Vec::new();
            $(if envelope.statement::<$name>().is_ok() { found.push($name::PAYLOAD_TYPE); })*
            found
        }
    };
}

kinds!(
    Founding,
    Order,
    Fact,
    Stamp,
    Receipt,
    ServiceStatement,
    GrantKey,
    Profile,
    Backup,
    RestoreRequest,
    Slips,
    Released,
    Delivery,
    Standing,
    Received,
    DirectoryStatement
);

/// The payload types that have a target.
#[must_use]
pub fn payload_types() -> Vec<&'static str> {
    KINDS.iter().map(|(kind, _)| *kind).collect()
}

fn payload<S: Statement + Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(text: &[u8]) -> bool {
    let envelope = |text: &[u8]| Envelope {
        payload_type: S::PAYLOAD_TYPE.to_owned(),
        payload: Bytes(text.to_vec()),
        signatures: Vec::new(),
    };
    let Ok(statement) = envelope(text).statement::<S>() else {
        assert!(serde_json::from_slice::<S>(text).is_err());
        return false;
    };
    let again = Envelope::unsigned(&statement).unwrap();
    assert_eq!(again.statement::<S>().unwrap(), statement, "what was written reads as something else");
    assert!(strict::reads::<S>(text, &[]));
    true
}

/// The payload of a statement, its kind in the first byte: one reading, and strict (P-1.1).
pub(crate) fn statement(data: &[u8]) -> bool {
    let Some((kind, text)) = data.split_first() else { return false };
    (KINDS[usize::from(*kind) % KINDS.len()].1)(text)
}

pub(crate) fn statement_seeds() -> Vec<Vec<u8>> {
    let seed = |envelope: &Envelope| {
        let kind = KINDS.iter().position(|(kind, _)| *kind == envelope.payload_type).unwrap();
        [&[u8::try_from(kind).unwrap()], envelope.payload.0.as_slice()].concat()
    };
    envelopes().iter().map(seed).collect()
}

/// An envelope: one reading; its name leaves out the signatures; it carries one kind of statement (P-2.3); nobody's
/// signature stands under anything but what he signed.
pub(crate) fn envelope(data: &[u8]) -> bool {
    let Ok(envelope) = serde_json::from_slice::<Envelope>(data) else { return false };
    let again: Envelope = serde_json::from_slice(&serde_json::to_vec(&envelope).unwrap()).unwrap();
    assert_eq!(again, envelope);
    assert!(strict::reads::<Envelope>(data, &[]));
    let bare = Envelope { signatures: Vec::new(), ..envelope.clone() };
    assert_eq!(bare.digest(), envelope.digest());
    let carried = carried(&envelope);
    assert!(carried.iter().all(|kind| *kind == envelope.payload_type), "{carried:?}");
    for label in ["sakura 9C", "kms signing"] {
        if envelope.verify(&public_of(label)).is_ok() {
            let digest = envelope.digest();
            assert!(signed().contains(&digest), "a forged signature");
        }
    }
    !carried.is_empty()
}

/// What was ever signed.
fn signed() -> &'static BTreeSet<Digest> {
    static SIGNED: OnceLock<BTreeSet<Digest>> = OnceLock::new();
    SIGNED.get_or_init(|| {
        let seeds = envelope_seeds();
        seeds.iter().map(|seed| serde_json::from_slice::<Envelope>(seed).unwrap().digest()).collect()
    })
}

pub(crate) fn envelope_seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<_> =
        envelopes().iter().map(|envelope| serde_json::to_vec(envelope).unwrap()).collect();
    seeds.extend(
        vectors().into_iter().filter_map(|vector| Some(vector.get("envelope")?.to_string().into_bytes())),
    );
    seeds
}

/// `docs/vectors/`.
fn vectors() -> Vec<Value> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/vectors");
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()).collect()
}

/// A leaf keeps its exact bytes, and what it says is what it is made of.
pub(crate) fn leaf(data: &[u8]) -> bool {
    let Ok(leaf) = Leaf::from_bytes(data.to_vec()) else { return false };
    assert_eq!(leaf.as_bytes(), data);
    let made = Leaf::new(leaf.at(), leaf.envelope().clone()).unwrap();
    let again = Leaf::from_bytes(made.as_bytes().to_vec()).unwrap();
    assert_eq!((again.at(), again.envelope()), (leaf.at(), leaf.envelope()));
    assert!(Leaf::from_bytes([data, b"0"].concat()).is_err(), "trailing data");
    let doubled = String::from_utf8_lossy(data).replacen('{', &format!("{{\"at\":{},", leaf.at()), 1);
    assert!(Leaf::from_bytes(doubled.into_bytes()).is_err(), "a field that comes twice");
    true
}

pub(crate) fn leaf_seeds() -> Vec<Vec<u8>> {
    town_leaves().iter().map(|leaf| leaf.as_bytes().to_vec()).collect()
}
