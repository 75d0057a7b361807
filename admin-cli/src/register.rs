//! Names from the register, each checked against its commitment in the ledger.
//!
//! The desk shows people by these names and finds them by these labels; whoever keeps the register could otherwise swap
//! two people's, and have the officers revoke, or grant to, the wrong one. What the ledger commits to was signed by people's
//! cards, and an HMAC under a key per record takes one text only (P-3.1).

use std::collections::BTreeMap;

use warifu_ledger::Id;
use warifu_ledger::leaf::Leaf;
use warifu_ledger::register::{Commitment, Name, Record};
use warifu_ledger::statement::{Act, Founding, Order};

/// The commitments to names in the leaves read so far, by record.
#[derive(Default)]
pub(crate) struct Commitments(BTreeMap<Id, Vec<Commitment>>);

/// The names that the ledger bears out.
pub(crate) struct Names {
    pub(crate) by_record: BTreeMap<Id, Name>,
    /// How many of the records contradict the ledger.
    pub(crate) unsound: usize,
}

impl Commitments {
    /// Takes note of what a leaf commits to. The leaf is one that the fold has accepted.
    pub(crate) fn note(&mut self, leaf: &Leaf) {
        let envelope = leaf.envelope();
        if let Ok(order) = envelope.statement::<Order>() {
            order.acts.iter().filter_map(Act::name).for_each(|commitment| self.add(commitment));
        } else if let Ok(founding) = envelope.statement::<Founding>() {
            founding.commitments().into_iter().for_each(|commitment| self.add(commitment));
        }
    }

    /// Whether the ledger has this commitment, and no other one to the same record.
    pub(crate) fn contain(&self, commitment: &Commitment) -> bool {
        let known = self.0.get(&commitment.record);
        known.is_some_and(|known| known.iter().all(|one| one == commitment))
    }

    fn add(&mut self, commitment: Commitment) {
        self.0.entry(commitment.record).or_default().push(commitment);
    }

    /// The names in those records that are what the ledger commits to. Others count as erased.
    pub(crate) fn names(&self, records: Vec<Record>) -> Names {
        let mut names = Names { by_record: BTreeMap::new(), unsound: 0 };
        for record in records {
            // Reasons, and records of orders that this desk's checkpoint does not contain yet, name nothing here.
            let Some(commitments) = self.0.get(&record.id) else { continue };
            if !commitments.iter().all(|commitment| record.matches(commitment)) {
                names.unsound += 1;
            } else if let Ok(name) = Name::parse(&record.text) {
                names.by_record.insert(record.id, name);
            }
        }
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desk::rng;
    use warifu_ledger::dsse::Envelope;
    use warifu_ledger::{Digest, statement::UnitKind};

    fn unit(name: &Record) -> Act {
        Act::UnitOrdered {
            unit: Id::draw(&mut rng()),
            name: name.commitment(),
            kind: UnitKind::Department,
            contract: None,
            sites: [].into(),
            routes_to: [].into(),
            two_people: false,
            own_pcs: false,
        }
    }

    fn committed(acts: Vec<Act>) -> Commitments {
        let order = Order {
            organization: Digest::of(b"founding"),
            id: Id::draw(&mut rng()),
            expires_at: 1,
            seen: String::new(),
            acts,
        };
        let mut commitments = Commitments::default();
        commitments.note(&Leaf::new(1, Envelope::unsigned(&order).unwrap()).unwrap());
        commitments
    }

    #[test]
    fn p_3_1_names_that_whoever_keeps_the_register_has_swapped_are_not_shown() {
        let [tax, welfare] = ["tax\n税務課", "welfare\n福祉課"].map(|text| Record::draw(&mut rng(), text));
        let commitments = committed(vec![unit(&tax), unit(&welfare)]);
        let honest = commitments.names(vec![tax.clone(), welfare.clone()]);
        assert_eq!((honest.by_record.len(), honest.unsound), (2, 0));
        assert_eq!(honest.by_record[&tax.id].name, "税務課");

        let text = Record { text: welfare.text.clone(), ..tax.clone() };
        let text_and_key = Record { id: tax.id, ..welfare.clone() };
        for swapped in [text, text_and_key] {
            let names = commitments.names(vec![swapped, welfare.clone()]);
            assert_eq!(names.unsound, 1);
            assert!(!names.by_record.contains_key(&tax.id), "counts as erased");
            assert_eq!(names.by_record[&welfare.id].name, "福祉課");
        }
        // A lie beside the truth does not help either.
        let forged = Record { text: "tax\n福祉課".to_owned(), ..tax.clone() };
        for both in [vec![tax.clone(), forged.clone()], vec![forged, tax.clone()]] {
            let names = commitments.names(both);
            assert_eq!((names.by_record[&tax.id].name.as_str(), names.unsound), ("税務課", 1));
        }
    }

    #[test]
    fn a_record_that_nothing_commits_to_names_nothing() {
        let (tax, stray) = (Record::draw(&mut rng(), "tax\n税務課"), Record::draw(&mut rng(), "tax\n偽"));
        let names = committed(vec![unit(&tax)]).names(vec![tax, stray.clone()]);
        assert_eq!((names.by_record.len(), names.unsound), (1, 0));
        assert!(!names.by_record.contains_key(&stray.id));
    }
}
