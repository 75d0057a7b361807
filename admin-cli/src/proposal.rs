//! Proposals as a desk takes them from the kms: only if every word that will be shown is bound by the signature that
//! is on them (P-11.2).

use std::collections::{BTreeMap, BTreeSet};

use warifu_api::wire::authority::{OrderRequest, Proposal, Proposals};
use warifu_ledger::dsse::Envelope;
use warifu_ledger::register::Record;
use warifu_ledger::state::Rejected;
use warifu_ledger::statement::Order;
use warifu_ledger::{Digest, Id};

use crate::desk::{Book, Desk};
use crate::fault::Fault;
use crate::register::Commitments;

/// An order that waits for a second person, just as the first one signed it: the signatures verify, and each text that comes
/// with it is what the order commits to. Made by [`Proposed::checked`] alone.
pub(crate) struct Proposed {
    pub(crate) order: Order,
    pub(crate) request: OrderRequest,
    /// The cards that have signed.
    pub(crate) cards: BTreeSet<Id>,
    /// Why no further signature makes it good any more, if so.
    pub(crate) impossible: Option<Rejected>,
}

impl Proposed {
    /// Takes what the kms gave as `digest`.
    ///
    /// # Errors
    /// [`Fault::ProposalAltered`] if it is not what somebody has signed, or does not have exactly its texts.
    pub(crate) fn checked(book: &Book, digest: Digest, request: OrderRequest) -> Result<Self, Fault> {
        let altered = || Fault::ProposalAltered { hash: digest.to_string() };
        let order = order_named(digest, &request.envelope).ok_or_else(altered)?;
        let cards = signers(book, &request.envelope).ok_or_else(altered)?;
        let impossible = match book.state.check_awaiting(&request.envelope, book.now()) {
            Ok(_) => None,
            Err(
                Rejected::BadSignature { .. }
                | Rejected::SignedTwice { .. }
                | Rejected::UnknownSigner { .. }
                | Rejected::Unsigned
                | Rejected::OtherOrganization { .. }
                | Rejected::Envelope(_),
            ) => return Err(altered()),
            Err(why) => Some(why),
        };
        if !are_its_texts(&book.commitments, &order, &request.records) {
            return Err(altered());
        }
        Ok(Self { order, request, cards, impossible })
    }

    /// The people who have signed.
    pub(crate) fn members(&self, book: &Book) -> BTreeSet<Id> {
        self.cards.iter().filter_map(|card| Some(book.state.card(card)?.card.member)).collect()
    }

    /// Its name.
    pub(crate) fn digest(&self) -> Digest {
        self.request.envelope.digest()
    }
}

/// The order that has this name; none if it is another one.
fn order_named(digest: Digest, envelope: &Envelope) -> Option<Order> {
    (envelope.digest() == digest).then(|| envelope.statement().ok()).flatten()
}

/// The cards that have signed; none if there is a key that is no card's.
fn signers(book: &Book, envelope: &Envelope) -> Option<BTreeSet<Id>> {
    let card = |keyid| match book.state.may_sign(keyid, book.now()) {
        Ok(card) | Err(Rejected::SignerNotLive { card }) => Some(card),
        Err(_) => None,
    };
    envelope.signatures.iter().map(|signature| card(signature.keyid)).collect()
}

/// Whether these are the order's texts, all of them and nothing else (P-3.1): each in the records, or borne out by the ledger.
fn are_its_texts(ledger: &Commitments, order: &Order, records: &[Record]) -> bool {
    let commitments = order.commitments();
    let by_id: BTreeMap<Id, &Record> = records.iter().map(|record| (record.id, record)).collect();
    by_id.len() == records.len()
        && commitments.iter().all(|commitment| match by_id.get(&commitment.record) {
            Some(record) => record.matches(commitment),
            None => ledger.contain(commitment),
        })
        && by_id.keys().all(|id| commitments.iter().any(|commitment| commitment.record == *id))
}

impl Desk<'_> {
    /// What waits at the kms.
    pub(crate) async fn waiting(&self, book: &Book) -> Result<Proposals, Fault> {
        self.get(Some(book.reader_card), "/v1/proposals").await
    }

    /// One proposal.
    ///
    /// # Errors
    /// [`Fault::ProposalOver`] if it does not wait any more, [`Fault::ProposalAltered`].
    pub(crate) async fn proposed(&self, book: &Book, digest: Digest) -> Result<Proposed, Fault> {
        let path = format!("/v1/proposals/{digest}");
        let Proposal { standing, request } = self.get(Some(book.reader_card), &path).await?;
        let hash = digest.to_string();
        let request = request.ok_or(Fault::ProposalOver { hash, standing })?;
        Proposed::checked(book, digest, request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desk::rng;
    use warifu_ledger::statement::Act;

    fn order(acts: Vec<Act>) -> Order {
        let organization = Digest::of(b"founding");
        Order { organization, id: Id::draw(&mut rng()), expires_at: 1, seen: String::new(), acts }
    }

    fn opened(name: &Record) -> Act {
        Act::ContractOpened { contract: Id::draw(&mut rng()), name: name.commitment(), ends_at: 9 }
    }

    #[test]
    fn another_order_than_the_one_that_was_asked_for_is_refused() {
        let [asked, given] = ["acme", "another"].map(|label| {
            let name = Record::draw(&mut rng(), format!("{label}\n{label}"));
            Envelope::unsigned(&order(vec![opened(&name)])).unwrap()
        });
        assert!(order_named(asked.digest(), &asked).is_some());
        assert!(order_named(asked.digest(), &given).is_none());
    }

    #[test]
    fn p_3_1_texts_that_the_order_does_not_commit_to_are_refused() {
        let [name, reason, stray] =
            ["acme\nアクメ(株)", "契約終了", "acme\n別の会社"].map(|text| Record::draw(&mut rng(), text));
        let ended = Act::ContractEnded { contract: Id::draw(&mut rng()), reason: Some(reason.commitment()) };
        let order = order(vec![opened(&name), ended]);
        let ledger = Commitments::default();
        let whole = [name.clone(), reason.clone()];
        assert!(are_its_texts(&ledger, &order, &whole));

        let text = Record { text: stray.text.clone(), ..name.clone() };
        let swapped = Record { id: name.id, ..stray.clone() };
        for altered in [
            vec![],
            vec![name.clone()],
            vec![text, reason.clone()],
            vec![swapped, reason.clone()],
            vec![name.clone(), reason.clone(), stray],
            vec![name.clone(), name.clone(), reason.clone()],
        ] {
            assert!(!are_its_texts(&ledger, &order, &altered));
        }
    }

    #[test]
    fn a_name_that_the_ledger_bears_out_need_not_come_again() {
        let name = Record::draw(&mut rng(), "acme\nアクメ(株)");
        let first = order(vec![opened(&name)]);
        let mut ledger = Commitments::default();
        let leaf = warifu_ledger::leaf::Leaf::new(1, Envelope::unsigned(&first).unwrap()).unwrap();
        ledger.note(&leaf);
        assert!(are_its_texts(&ledger, &order(vec![opened(&name)]), &[]));
        // Under the same id, but another text.
        let other = Record { text: "acme\n別の会社".to_owned(), ..name };
        assert!(!are_its_texts(&ledger, &order(vec![opened(&other)]), &[]));
    }
}
