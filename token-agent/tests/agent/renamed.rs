//! Names and keys that came later: believed as far as they are in a ledger that the ca has cosigned.

use ed25519_dalek::Signer as _;
use warifu_api::wire::UnitEntry;
use warifu_api::wire::authority::{Directory, Included};
use warifu_directory::units::{DirectoryError, Orders, check, proved};
use warifu_envelope::UnitRecipient;
use warifu_ledger::checkpoint::Checkpoint;
use warifu_ledger::dsse::Envelope;
use warifu_ledger::key::{Base64, Bytes};
use warifu_ledger::leaf::Leaf;
use warifu_ledger::register::{Name, Record};
use warifu_ledger::statement::{Act, Order, Profile, ServiceKeys, UnitKind};
use warifu_ledger::tree::Tree;
use warifu_ledger::{Digest, Id};

use crate::organization::{Service, Unit, rng};

/// What ca and kms have agreed on.
struct Authority {
    organization: Digest,
    ca: Service,
    kms: Service,
    log: ed25519_dalek::SigningKey,
}

impl Authority {
    fn draw() -> Self {
        Self {
            organization: Digest::of(b"an organization"),
            ca: Service::draw(),
            kms: Service::draw(),
            log: ed25519_dalek::SigningKey::from_bytes(Digest::of(b"ca log").as_bytes()),
        }
    }

    fn profile(&self) -> Profile {
        let log = Some(Base64(self.log.verifying_key().to_bytes()));
        Profile {
            organization: self.organization,
            name: "北アルプス広域連合".to_owned(),
            zone: "Asia/Tokyo".to_owned(),
            ca: ServiceKeys { log, ..self.ca.keys() },
            kms: self.kms.keys(),
            former: Vec::new(),
            kms_address: "127.0.0.1:1".to_owned(),
            sites: vec![],
            helpdesk: String::new(),
            pin_ceiling_ms: 1,
        }
    }

    fn note(&self, head: &Checkpoint, log: &ed25519_dalek::SigningKey) -> String {
        let signature = log.sign(&head.cosigned_text(&self.organization, 1).unwrap()).to_bytes();
        let key = Base64(log.verifying_key().to_bytes());
        head.cosigned_note(&self.organization, &key, 1, signature).unwrap()
    }

    /// A directory with these orders in its ledger, each with its proof.
    fn directory(&self, orders: Vec<Envelope>, ledger: &[Envelope]) -> Directory {
        let leaves: Vec<Leaf> = ledger.iter().map(|one| Leaf::new(1, one.clone()).unwrap()).collect();
        let mut tree = Tree::default();
        for leaf in &leaves {
            tree = tree.append(leaf.as_bytes()).unwrap();
        }
        let size = tree.size();
        let head = Checkpoint { size, root: tree.root(size).unwrap() };
        let included = (0..size).zip(&leaves).map(|(index, leaf)| Included {
            index,
            leaf: Bytes(leaf.as_bytes().to_vec()),
            proof: tree.inclusion(index, size).unwrap(),
        });
        Directory {
            organization: self.organization,
            units: vec![],
            orders,
            checkpoint: Some(self.note(&head, &self.log)),
            included: included.collect(),
        }
    }

    fn check(&self, entry: &UnitEntry, directory: &Directory) -> Result<(), DirectoryError> {
        let keys = self.profile().organization_keys();
        check(entry, &Orders::of(directory, &keys), &keys).map(|key| assert!(key.is_some()))
    }

    fn order(&self, acts: Vec<Act>) -> Envelope {
        let order = Order {
            organization: self.organization,
            id: Id::draw(&mut rng()),
            expires_at: 1,
            seen: String::new(),
            acts,
        };
        Envelope::unsigned(&order).unwrap()
    }
}

fn entry(unit: &Unit, name: &str, created: Envelope) -> UnitEntry {
    UnitEntry {
        unit: unit.id,
        label: unit.label(),
        name: name.to_owned(),
        kind: UnitKind::Department,
        recipient: Some(UnitRecipient::encode(&unit.key)),
        created: Some(created),
        name_key: Some(unit.record().key),
    }
}

fn renamed(unit: &Unit, name: &str) -> Act {
    let text = Name::new(unit.label(), name).unwrap().to_text();
    Act::UnitChanged {
        unit: unit.id,
        name: Some(Record { text, ..unit.record() }.commitment()),
        sites: None,
        routes_to: None,
        two_people: None,
        own_pcs: None,
    }
}

#[test]
fn a_later_name_counts_if_it_is_in_a_cosigned_ledger() {
    let town = Authority::draw();
    let (tax, other) = (Unit::draw("税務課"), Unit::draw("福祉課"));
    let ordered = vec![tax.ordered(town.organization)];
    let created = tax.created(town.organization, &town.ca, &town.kms);
    let entry = entry(&tax, "市民税課", created.clone());
    let rename = town.order(vec![renamed(&tax, "市民税課")]);
    let sound = town.directory(ordered.clone(), &[town.order(vec![]), rename.clone()]);
    assert_eq!(town.check(&entry, &sound), Ok(()));
    // The first one stays provable, which is no harm: it was signed for this unit.
    assert_eq!(town.check(&UnitEntry { name: "税務課".to_owned(), ..entry.clone() }, &sound), Ok(()));

    let refused = |directory: &Directory| {
        assert_eq!(town.check(&entry, directory), Err(DirectoryError::AnotherName));
    };
    refused(&Directory { included: vec![], ..sound.clone() });
    refused(&Directory { checkpoint: None, ..sound.clone() });
    // Said beside the ledger, by nobody that the ca has checked.
    refused(&town.directory([ordered.clone(), vec![rename.clone()]].concat(), &[town.order(vec![])]));
    let mut damaged = sound.clone();
    damaged.included[1].index = 0;
    refused(&damaged);
    let stranger = ed25519_dalek::SigningKey::from_bytes(&[9; 32]);
    let head = Checkpoint { size: 2, root: Digest::of(b"another ledger") };
    refused(&Directory { checkpoint: Some(town.note(&head, &town.log)), ..sound.clone() });
    let by_stranger = sound.checkpoint.as_ref().map(|_| town.note(&head, &stranger));
    refused(&Directory { checkpoint: by_stranger, ..sound.clone() });
    // Another unit's name is not this one's.
    let of_another = Act::UnitChanged {
        unit: other.id,
        name: match renamed(&tax, "市民税課") {
            Act::UnitChanged { name, .. } => name,
            _ => None,
        },
        sites: None,
        routes_to: None,
        two_people: None,
        own_pcs: None,
    };
    refused(&town.directory(ordered, &[town.order(vec![of_another])]));
}

/// P-4.18: the keys that signed it are lost, and whoever found them may sign anything; what the ca has folded is in the ledger.
#[test]
fn a_unit_that_is_older_than_its_keys_is_proved_by_the_ledger() {
    let town = Authority::draw();
    let (tax, lost) = (Unit::draw("税務課"), [Service::draw(), Service::draw()]);
    let ordered = vec![tax.ordered(town.organization)];
    let made = |ca: &Service, kms: &Service| tax.created(town.organization, ca, kms);
    for created in [made(&lost[0], &town.kms), made(&town.ca, &lost[1]), made(&lost[0], &lost[1])] {
        let entry = entry(&tax, "税務課", created.clone());
        let sound = town.directory(ordered.clone(), &[town.order(vec![]), created]);
        assert_eq!(town.check(&entry, &sound), Ok(()));
        let refused = |directory: &Directory| {
            let refused = town.check(&entry, directory);
            assert!(matches!(refused, Err(DirectoryError::NotSigned { .. })), "{refused:?}");
        };
        refused(&Directory { included: vec![], ..sound.clone() });
        refused(&Directory { checkpoint: None, ..sound.clone() });
        // Another fact is in the ledger, of the same unit too.
        let mut another = Unit::draw("税務課");
        another.id = tax.id;
        let another = another.created(town.organization, &lost[0], &lost[1]);
        refused(&town.directory(ordered.clone(), &[another]));
    }
}

#[test]
fn a_unit_with_a_new_key_is_what_its_predecessor_was() {
    let town = Authority::draw();
    let (before, mut after) = (Unit::draw("税務課"), Unit::draw("税務課"));
    let rekeyed = Act::UnitRekeyed { unit: before.id, successor: after.id };
    let rekey = town.order(vec![rekeyed]);
    let created = after.created_by(rekey.digest(), town.organization, &town.ca, &town.kms);
    let successor = after.id;
    // It has the record of the one before.
    after.id = before.id;
    let entry = UnitEntry { unit: successor, ..entry(&after, "税務課", created) };
    let sound = town.directory(vec![rekey.clone()], &[before.ordered(town.organization)]);
    assert_eq!(town.check(&entry, &sound), Ok(()));
    assert_eq!(
        town.check(&UnitEntry { kind: UnitKind::FrontDesk, ..entry.clone() }, &sound),
        Err(DirectoryError::NotOrdered)
    );
    let without = town.directory(vec![rekey.clone()], &[]);
    assert_eq!(town.check(&entry, &without), Err(DirectoryError::NotOrdered));
    let renamed = town.order(vec![renamed(&before, "市民税課")]);
    let later = town.directory(vec![rekey], &[before.ordered(town.organization), renamed]);
    assert_eq!(town.check(&UnitEntry { name: "市民税課".to_owned(), ..entry.clone() }, &later), Ok(()));
    assert_eq!(
        town.check(&UnitEntry { name: "偽".to_owned(), ..entry.clone() }, &later),
        Err(DirectoryError::AnotherName)
    );
    // Nothing goes to the old key, whoever still shows it.
    let mut both = sound.clone();
    both.orders.push(before.ordered(town.organization));
    let old = self::entry(&before, "税務課", before.created(town.organization, &town.ca, &town.kms));
    both.units = vec![old.clone()];
    let listed = |directory: &Directory| {
        let units = proved(directory.clone(), &town.profile().organization_keys()).units;
        units.iter().map(|unit| unit.unit).collect::<Vec<_>>()
    };
    assert_eq!(listed(&both), [before.id], "as long as it has no other");
    both.units.push(entry.clone());
    assert_eq!(listed(&both), [successor]);
    // Two orders that name each other as the one before end somewhere.
    let ring = town.order(vec![
        Act::UnitRekeyed { unit: successor, successor: before.id },
        Act::UnitRekeyed { unit: before.id, successor },
    ]);
    let created = {
        let mut again = Unit::draw("税務課");
        again.id = successor;
        again.created_by(ring.digest(), town.organization, &town.ca, &town.kms)
    };
    let entry = UnitEntry { created: Some(created), ..entry_of(successor) };
    assert_eq!(town.check(&entry, &town.directory(vec![ring], &[])), Err(DirectoryError::NotOrdered));
}

fn entry_of(unit: Id) -> UnitEntry {
    UnitEntry {
        unit,
        label: "tax".to_owned(),
        name: "税務課".to_owned(),
        kind: UnitKind::Department,
        recipient: Some(String::new()),
        created: None,
        name_key: None,
    }
}
