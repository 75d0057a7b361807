//! The signed directory of another organization: everything that is not believed, and what is (P-16.5 to P-16.7).
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on has failed; clippy.toml spares test functions, not what they share"
)]

use warifu_api::wire::UnitEntry;
use warifu_api::wire::authority::{Directory, Included};
use warifu_api::wire::public::{PublicDirectory, SignedDirectory};
use warifu_directory::signed::{CLOCKS_APART_MS, Distrusted, Pin, Seen, Trusted, verify};
use warifu_envelope::UnitRecipient;
use warifu_ledger::Digest;
use warifu_ledger::checkpoint::{Checkpoint, Signer};
use warifu_ledger::key::Bytes;
use warifu_ledger::statement::{DirectoryStatement, OrganizationKeys, ServiceId, UnitKind};

use fixture::*;

#[allow(dead_code, reason = "the ledger's own tests use all of it")]
#[path = "../../ledger/tests/fold/fixture.rs"]
mod fixture;

const NOW: u64 = T0 + 10 * DAY;

fn pinned(town: &Town) -> OrganizationKeys {
    OrganizationKeys { organization: town.organization(), ca: service_keys("ca"), kms: service_keys("kms") }
}

/// The same, pinned before anything else happened.
fn pin(town: &Town) -> Pin {
    Pin { keys: pinned(town), at: T0 }
}

fn included(town: &Town, index: u64) -> Included {
    let leaf = Bytes(town.leaves[usize::try_from(index).unwrap()].as_bytes().to_vec());
    let proof = town.state.tree().inclusion(index, town.head().size).unwrap();
    Included { index, leaf, proof }
}

/// What the town's kms would say of it, whose keys are those of this label.
fn content(town: &Town, kms: &str) -> PublicDirectory {
    let organization = town.organization();
    let unit = town.state.unit(&id("tax")).unwrap();
    let (key, index) = unit.key.unwrap();
    let order = town.leaves.iter().map(|leaf| leaf.envelope()).find(|it| it.digest() == unit.order);
    // As of a name that was erased: texts of the fixture are no names.
    let erased = unit.name.to_string();
    let tax = UnitEntry {
        unit: id("tax"),
        label: erased.clone(),
        name: erased,
        kind: UnitKind::Department,
        recipient: Some(UnitRecipient::encode(&key)),
        created: Some(town.leaves[usize::try_from(index).unwrap()].envelope().clone()),
        name_key: None,
    };
    PublicDirectory {
        name: "大町市".to_owned(),
        address: "public.example:443".to_owned(),
        keys: OrganizationKeys { kms: service_keys(kms), ..pinned(town) },
        successions: vec![],
        directory: Directory {
            organization,
            units: vec![tax],
            orders: order.into_iter().cloned().collect(),
            checkpoint: Some(note(&organization, &town.head(), Signer::Ca)),
            included: vec![],
        },
    }
}

/// Signed by the kms of this label, with what changes the statement before.
fn signed_by(
    kms: &str,
    content: &PublicDirectory,
    size: u64,
    change: impl FnOnce(&mut DirectoryStatement),
) -> SignedDirectory {
    let body = serde_json::to_vec(content).unwrap();
    let mut statement = DirectoryStatement {
        organization: content.keys.organization,
        at: NOW,
        expires_at: NOW + DirectoryStatement::LONGEST_MS,
        size,
        digest: Digest::of(&body),
    };
    change(&mut statement);
    SignedDirectory { statement: envelope_by_services(&statement, &[kms]), body: Bytes(body) }
}

struct Case {
    town: Town,
    content: PublicDirectory,
}

impl Case {
    fn new() -> Self {
        let town = Town::working();
        let content = content(&town, "kms");
        Self { town, content }
    }

    fn signed(&self) -> SignedDirectory {
        signed_by("kms", &self.content, self.town.head().size, |_| ())
    }

    fn verify(&self, signed: &SignedDirectory) -> Result<Trusted, Distrusted> {
        verify(signed, &pin(&self.town), None, NOW)
    }

    /// Why one is refused whose content was changed so, and that its kms has signed all the same.
    fn refused(&self, change: impl FnOnce(&mut PublicDirectory)) -> Distrusted {
        let mut content = self.content.clone();
        change(&mut content);
        let signed = signed_by("kms", &content, self.town.head().size, |_| ());
        self.verify(&signed).unwrap_err()
    }

    /// Why one is refused whose statement was changed so before it was signed.
    fn refused_statement(&self, change: impl FnOnce(&mut DirectoryStatement)) -> Distrusted {
        let signed = signed_by("kms", &self.content, self.town.head().size, change);
        self.verify(&signed).unwrap_err()
    }
}

#[test]
fn p_16_5_what_is_signed_and_cosigned_is_believed() {
    let case = Case::new();
    let found = case.verify(&case.signed()).unwrap();
    assert_eq!(found.content.directory.units.len(), 1);
    let Checkpoint { size, root } = case.town.head();
    assert_eq!(found.seen, Seen { size, root, keys_since: None });
    verify(&case.signed(), &pin(&case.town), Some(&found.seen), NOW).unwrap();
}

#[test]
fn p_16_5_the_wrong_key_the_wrong_root_and_other_organizations_are_refused() {
    let case = Case::new();
    let size = case.town.head().size;
    let sham = signed_by("kms sham", &case.content, size, |_| ());
    assert_eq!(case.verify(&sham).unwrap_err(), Distrusted::NotSigned);
    let of = |label| service_keys(label);
    assert_eq!(case.refused(|it| it.keys.ca = of("ca sham")), Distrusted::RootChanged);
    assert_eq!(case.refused(|it| it.keys.kms = of("kms sham")), Distrusted::KmsChanged);
    let other = Digest::of(b"another");
    let not_this = Distrusted::OtherOrganization { found: other };
    assert_eq!(case.refused(|it| it.keys.organization = other), not_this);
    assert_eq!(case.refused(|it| it.directory.organization = other), not_this);
    assert_eq!(case.refused_statement(|it| it.organization = other), not_this);

    let organization = case.town.organization();
    let by_sham = note_with("ca sham", &organization, &case.town.head(), Signer::Ca);
    assert_eq!(case.refused(|it| it.directory.checkpoint = Some(by_sham)), Distrusted::NotCosigned);
    let by_kms = note(&organization, &case.town.head(), Signer::Kms);
    assert_eq!(case.refused(|it| it.directory.checkpoint = Some(by_kms)), Distrusted::NotCosigned);
    assert_eq!(case.refused(|it| it.directory.checkpoint = None), Distrusted::NotCosigned);
}

#[test]
fn p_16_5_another_body_than_was_signed_is_refused() {
    let case = Case::new();
    let mut altered = case.signed();
    altered.body.0.push(b' ');
    assert_eq!(case.verify(&altered).unwrap_err(), Distrusted::Altered);
    altered.body.0.push(b'x');
    assert!(matches!(case.verify(&altered), Err(Distrusted::Malformed { .. })));
    let size = case.town.head().size;
    let said = Distrusted::OtherSize { said: size + 1, found: size };
    assert_eq!(case.refused_statement(|it| it.size += 1), said);
    let mut other_kind = case.signed();
    other_kind.statement.payload_type = "application/vnd.warifu.stamp.v1+json".to_owned();
    assert!(matches!(case.verify(&other_kind), Err(Distrusted::Malformed { .. })));
}

#[test]
fn p_16_5_it_counts_for_a_week_at_most() {
    let case = Case::new();
    let times = |at, expires_at| Distrusted::Times { at, expires_at };
    let week = DirectoryStatement::LONGEST_MS;
    assert_eq!(case.refused_statement(|it| it.expires_at += 1), times(NOW, NOW + week + 1));
    assert_eq!(case.refused_statement(|it| it.expires_at = NOW), times(NOW, NOW));
    let later = NOW + CLOCKS_APART_MS + 1;
    let future = case.refused_statement(|it| (it.at, it.expires_at) = (later, later + week));
    assert_eq!(future, Distrusted::FromTheFuture { at: later, now: NOW });
    let before = NOW - week;
    let expired = case.refused_statement(|it| (it.at, it.expires_at) = (before, NOW));
    assert_eq!(expired, Distrusted::Expired { expires_at: NOW });
    let last = signed_by("kms", &case.content, case.town.head().size, |it| {
        (it.at, it.expires_at) = (before + 1, NOW + 1);
    });
    case.verify(&last).unwrap();
}

#[test]
fn p_16_7_nothing_older_and_nothing_that_contradicts() {
    let case = Case::new();
    let Checkpoint { size, root } = case.town.head();
    let refused = |seen: Seen| verify(&case.signed(), &pin(&case.town), Some(&seen), NOW).unwrap_err();
    let seen = Seen { size: size + 1, root, keys_since: None };
    assert_eq!(refused(seen), Distrusted::Downgraded { found: size, seen: size + 1 });
    let seen = Seen { size, root: Digest::of(b"another ledger"), keys_since: None };
    assert_eq!(refused(seen), Distrusted::Contradicts { size });
}

#[test]
fn p_16_6_other_keys_of_the_kms_are_believed_where_the_cosigned_ledger_says_so() {
    let mut town = Town::working();
    let pin = pin(&town);
    let index = town.head().size;
    town.done([rotated(ServiceId::Kms, "kms 2")], TWO);
    let mut said = content(&town, "kms 2");
    // What the former keys signed is proved by the leaf (P-4.18).
    let (_, created) = town.state.unit(&id("tax")).unwrap().key.unwrap();
    said.directory.included.push(included(&town, created));
    let signed = |said: &PublicDirectory, by| signed_by(by, said, town.head().size, |_| ());
    let verified = |signed: &SignedDirectory, seen| verify(signed, &pin, seen, NOW);
    assert_eq!(verified(&signed(&said, "kms 2"), None).unwrap_err(), Distrusted::KmsChanged);

    said.successions = vec![included(&town, index)];
    let found = verified(&signed(&said, "kms 2"), None).unwrap();
    assert_eq!(found.seen.keys_since, Some(index));
    assert_eq!(found.content.directory.units.len(), 1);
    assert_eq!(verified(&signed(&said, "kms"), None).unwrap_err(), Distrusted::NotSigned);

    // Once they are known, the former keys bring nothing back: they may be in anybody's hands.
    let former = content(&town, "kms");
    verified(&signed(&former, "kms"), None).unwrap();
    let refused = verified(&signed(&former, "kms"), Some(&found.seen)).unwrap_err();
    assert!(matches!(refused, Distrusted::Downgraded { .. }), "{refused}");

    // A leaf that gives others, or that is not in the ledger, proves nothing.
    said.successions = vec![included(&town, index - 1)];
    assert_eq!(verified(&signed(&said, "kms 2"), None).unwrap_err(), Distrusted::KmsChanged);
    let mut moved = included(&town, index);
    moved.index -= 1;
    said.successions = vec![moved];
    assert_eq!(verified(&signed(&said, "kms 2"), None).unwrap_err(), Distrusted::KmsChanged);
}

/// A kms whose keys were stolen and replaced, and replaced once more; officers have pinned it anew since.
#[test]
fn p_16_6_what_was_ordered_before_the_pin_counts_for_nothing() {
    let mut town = Town::working();
    let stolen = town.head().size;
    town.done([rotated(ServiceId::Kms, "kms 2")], TWO);
    let stolen_at = town.at;
    town.at += DAY;
    let (replaced, head) = (town.head().size, town.head());
    let order = town.saw("kms 2", &head, rotated(ServiceId::Kms, "kms 3"), TWO);
    town.append(order).unwrap();
    let of_now = OrganizationKeys { kms: service_keys("kms 3"), ..pinned(&town) };
    let (first, second) = (included(&town, stolen), included(&town, replaced));
    let verified = |kms: &str, successions: &[&Included], pin: &Pin| {
        let mut said = content(&town, kms);
        said.successions = successions.iter().copied().cloned().collect();
        let found = verify(&signed_by(kms, &said, town.head().size, |_| ()), pin, None, NOW);
        found.map(|trusted| trusted.seen.keys_since)
    };
    let pinned_now = Pin { keys: of_now, at: town.at + MINUTE };

    // The thief's proof is genuine, and of today's ledger: but officers compared other keys since.
    let thief = |pin: &Pin| verified("kms 2", &[&first], pin);
    assert_eq!(thief(&pinned_now), Err(Distrusted::KmsChanged));
    // The rightful one is never refused for what the thief has shown.
    assert_eq!(verified("kms 3", &[&first, &second], &pinned_now), Ok(Some(replaced)));
    let later = Pin { at: town.at + CLOCKS_APART_MS + 1, ..pinned_now.clone() };
    assert_eq!(verified("kms 3", &[&first, &second], &later), Ok(None));
    assert_eq!(thief(&later), Err(Distrusted::KmsChanged));

    // Two clocks may be apart, and no more.
    let at = |at| Pin { at, ..pin(&town) };
    assert_eq!(thief(&at(stolen_at + CLOCKS_APART_MS)), Ok(Some(stolen)));
    assert_eq!(thief(&at(stolen_at + CLOCKS_APART_MS + 1)), Err(Distrusted::KmsChanged));
    // Of what counts the newest decides, whatever its place.
    assert_eq!(verified("kms 2", &[&first, &second], &at(T0)), Err(Distrusted::KmsChanged));
    assert_eq!(verified("kms 3", &[&second, &first], &at(T0)), Ok(Some(replaced)));
    assert_eq!(verified("kms", &[&first], &at(T0)), Err(Distrusted::KmsChanged), "they were replaced since");
}

/// A kms alone makes no unit: what is not proved is not there.
#[test]
fn p_16_5_each_unit_proves_itself() {
    let case = Case::new();
    let left = |change: &dyn Fn(&mut UnitEntry)| {
        let mut content = case.content.clone();
        change(&mut content.directory.units[0]);
        let signed = signed_by("kms", &content, case.town.head().size, |_| ());
        case.verify(&signed).unwrap().content.directory.units.len()
    };
    assert_eq!(left(&|_| ()), 1);
    let own = UnitRecipient::encode(&public_of("a key of the kms's own").0);
    assert_eq!(left(&|unit| unit.recipient = Some(own.clone())), 0);
    assert_eq!(left(&|unit| unit.name = "福祉課".to_owned()), 0);
    assert_eq!(left(&|unit| unit.created = None), 0);
    let by_kms_alone = |unit: &mut UnitEntry| {
        let created = unit.created.as_mut().unwrap();
        created.signatures.retain(|signature| signature.keyid != service_keys("ca").signing.key_id());
    };
    assert_eq!(left(&by_kms_alone), 0);
}
