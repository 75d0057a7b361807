//! Having an order signed: here, by as many people as it needs; or by one, and left for the second, who may sit at another desk
//! on another day.

use std::collections::BTreeSet;

use serde_json::json;
use warifu_api::wire::Done;
use warifu_api::wire::agent::{CardInReader, ForwardTo};
use warifu_api::wire::authority::{Appended, OrderRequest};
use warifu_ledger::dsse::Envelope;
use warifu_ledger::register::{Name, Record};
use warifu_ledger::state::{CardStatus, LONGEST_EXPIRY_MS, Rejected};
use warifu_ledger::statement::{Act, Order};
use warifu_ledger::{Digest, Id};

use crate::day::iso;
use crate::desk::{Book, Desk, rng};
use crate::fault::Fault;
use crate::preview::Preview;
use crate::proposal::Proposed;

/// How long an order may wait to be appended: signed at one desk, 24 hours. A proposal has seven days, the most that P-4.4 allows.
const EXPIRES_IN_MS: u64 = 24 * 60 * 60 * 1000;
/// How many lines of an order are shown at once where it is signed; the rest is shown to whoever wants it.
const LINES_SHOWN: usize = 60;
/// The most people who are asked to sign one order.
const PEOPLE_LIMIT: usize = 4;

/// Somebody at this desk who can sign.
struct Signer {
    reader: CardInReader,
    card: Id,
    member: Id,
}

impl Desk<'_> {
    /// Has the acts signed by as many people as they need, and hands them to the kms.
    ///
    /// # Errors
    /// [`Fault::Proposed`] if the second person is to come later.
    pub(crate) async fn order(
        &mut self,
        book: &Book,
        acts: Vec<Act>,
        records: Vec<Record>,
    ) -> Result<Appended, Fault> {
        let request = self.signed(book, acts, records).await?;
        self.submit(book, &request).await
    }

    /// Hands a signed order to the kms: a small one as anybody may, since with one reader the card that read the ledger may be
    /// out by now; a large one is taken from a card alone.
    pub(crate) async fn submit(&self, book: &Book, request: &OrderRequest) -> Result<Appended, Fault> {
        let size = serde_json::to_vec(request).map_err(Fault::Json)?.len();
        let serial = (size > OrderRequest::LARGEST_OF_STRANGERS).then_some(book.reader_card);
        self.ask(ForwardTo::Authority, serial, "POST", "/v1/orders", Some(request)).await
    }

    /// Has the acts signed by as many people as they need, and checks the order as ca, kms and sites will.
    ///
    /// # Errors
    /// [`Fault::Proposed`] if the second person is to come later.
    pub(crate) async fn signed(
        &mut self,
        book: &Book,
        acts: Vec<Act>,
        records: Vec<Record>,
    ) -> Result<OrderRequest, Fault> {
        let at = book.now();
        let mut order = Order {
            organization: book.state.organization(),
            id: Id::draw(&mut rng()),
            expires_at: at.saturating_add(EXPIRES_IN_MS),
            seen: book.seen.clone(),
            acts,
        };
        let first = self.next_signer(book, &BTreeSet::new(), &BTreeSet::new()).await?;
        // What is not good is known before anybody has entered a PIN for it.
        match book.state.check_unsigned(&order, &BTreeSet::from([first.card]), at) {
            Ok(()) | Err(Rejected::WrongRole { .. }) => {}
            Err(Rejected::TwoPeopleNeeded { .. }) => {
                if self.is_left(book, &first).await? {
                    order.expires_at = at.saturating_add(LONGEST_EXPIRY_MS);
                    return Err(self.propose(book, &order, records, &first).await?);
                }
            }
            Err(rejected) => return Err(Fault::Rejected(rejected)),
        }
        let envelope = Envelope::unsigned(&order).map_err(|e| Fault::Ledger(e.to_string()))?;
        let mut request = OrderRequest { envelope, records };
        let (mut next, mut done, mut cards) = (Some(first), BTreeSet::new(), BTreeSet::new());
        let mut used = BTreeSet::new();
        loop {
            let signer = match next.take() {
                Some(signer) => signer,
                None => self.next_signer(book, &done, &used).await?,
            };
            cards.insert(signer.card);
            let outlook = book.state.check_unsigned(&order, &cards, at);
            let is_enough = outlook.is_ok();
            match outlook {
                Ok(()) => {}
                // The first signer may lack the role that the second one has.
                Err(Rejected::TwoPeopleNeeded { .. } | Rejected::WrongRole { .. })
                    if cards.len() < PEOPLE_LIMIT => {}
                Err(rejected) => return Err(Fault::Rejected(rejected)),
            }
            self.sign_seen(book, &order, &mut request, &signer).await?;
            if is_enough {
                break;
            }
            done.insert(signer.member);
            used.insert(signer.reader.serial);
        }
        book.state.check_order(&request.envelope, at).map_err(Fault::Rejected)?;
        Ok(request)
    }

    /// Has a second person sign what a first one proposed; the order is whole then.
    pub(crate) async fn sign_proposed(&mut self, book: &Book, proposed: &mut Proposed) -> Result<(), Fault> {
        let at = book.now();
        let signer = self.next_signer(book, &proposed.members(book), &BTreeSet::new()).await?;
        let mut cards = proposed.cards.clone();
        cards.insert(signer.card);
        book.state.check_unsigned(&proposed.order, &cards, at).map_err(Fault::Rejected)?;
        let Proposed { order, request, .. } = proposed;
        self.sign_seen(book, order, request, &signer).await?;
        book.state.check_order(&request.envelope, at).map_err(Fault::Rejected)?;
        Ok(())
    }

    /// Shows the order, and has it signed by this person. To each of them: the second person has not seen what the first one
    /// has typed.
    async fn sign_seen(
        &mut self,
        book: &Book,
        order: &Order,
        request: &mut OrderRequest,
        signer: &Signer,
    ) -> Result<(), Fault> {
        let hash = request.envelope.digest().to_string();
        self.screen.say_with("order-preview", &[("hash", hash)]);
        let mut lines = Preview::new(self.screen, book, order, &request.records).lines();
        let rest = lines.split_off(lines.len().min(LINES_SHOWN));
        self.screen.say_lines(&lines);
        if !rest.is_empty() {
            // Nobody signs what cannot be read; whoever has read the table need not read it again.
            self.screen.say_with("order-more-lines", &[("more", rest.len().to_string())]);
            if self.screen.choose("order-show-rest")? {
                self.screen.say_lines(&rest);
            }
        }
        self.sign(&signer.reader, &mut request.envelope).await
    }

    /// Whether the second person is to sign later, at another desk.
    async fn is_left(&self, book: &Book, first: &Signer) -> Result<bool, Fault> {
        if self.propose {
            return Ok(true);
        }
        let others_are_here = !self.signers(book, &BTreeSet::from([first.member])).await?.is_empty();
        if self.pins.scripted() || others_are_here {
            return Ok(false);
        }
        self.screen.choose("offer-proposal")
    }

    /// Leaves an order at the kms, signed by one person; says so as a fault, since whoever asked for the order must not go on
    /// as if it were done.
    async fn propose(
        &mut self,
        book: &Book,
        order: &Order,
        records: Vec<Record>,
        first: &Signer,
    ) -> Result<Fault, Fault> {
        if let Some(same) = self.proposed_before(book, order, &records, first).await? {
            self.say_kept(book, same.digest(), &same.order);
            return Ok(Fault::Proposed);
        }
        let envelope = Envelope::unsigned(order).map_err(|e| Fault::Ledger(e.to_string()))?;
        let mut request = OrderRequest { envelope, records };
        self.sign_seen(book, order, &mut request, first).await?;
        book.state.check_awaiting(&request.envelope, book.now()).map_err(Fault::Rejected)?;
        let reader = Some(book.reader_card);
        let _: Done = self.ask(ForwardTo::Authority, reader, "POST", "/v1/proposals", Some(&request)).await?;
        self.say_kept(book, request.envelope.digest(), order);
        Ok(Fault::Proposed)
    }

    fn say_kept(&self, book: &Book, digest: Digest, order: &Order) {
        let json = json!({
            "proposed": digest,
            "expires_at": order.expires_at,
            "expires_at_iso": iso(order.expires_at),
        });
        self.screen.result(&json, || {
            let until = book.zone().instant(order.expires_at);
            let values = [("hash", digest.to_string()), ("until", until), ("zone", book.zone().name())];
            self.screen.text("proposal-kept", &values)
        });
    }

    /// What this person has left for a second one already, in the same words: a command that is given again while its order
    /// waits orders nothing twice.
    ///
    /// # Errors
    /// [`Fault::ProposedAlready`] if it is somebody else's, or something else of the same name.
    async fn proposed_before(
        &self,
        book: &Book,
        order: &Order,
        records: &[Record],
        first: &Signer,
    ) -> Result<Option<Proposed>, Fault> {
        let lines = Preview::new(self.screen, book, order, records).lines();
        let is_name = |record: &&Record| Name::parse(&record.text).is_ok();
        for entry in self.waiting(book).await?.waiting {
            // What was altered is nobody's.
            let Ok(other) = self.proposed(book, entry.digest).await else { continue };
            if other.impossible.is_some() {
                continue;
            }
            let of_other = &other.request.records;
            let is_same = Preview::new(self.screen, book, &other.order, of_other).lines() == lines;
            if is_same && other.members(book).contains(&first.member) {
                return Ok(Some(other));
            }
            let shares_a_name = |record: &Record| of_other.iter().any(|theirs| theirs.text == record.text);
            if is_same || records.iter().filter(is_name).any(shares_a_name) {
                return Err(Fault::ProposedAlready { hash: entry.digest.to_string() });
            }
        }
        Ok(None)
    }

    /// Those with a role whose cards are in the readers, without these people; the card that was asked for first.
    async fn signers(&self, book: &Book, without: &BTreeSet<Id>) -> Result<Vec<Signer>, Fault> {
        let mut able: Vec<Signer> = self
            .cards()
            .await?
            .into_iter()
            .filter(|card| !self.pins.scripted() || self.pins.knows(card.serial))
            .filter_map(|card| signer(book, card))
            .filter(|signer| !without.contains(&signer.member))
            .collect();
        able.sort_by_key(|signer| self.first_card != Some(signer.reader.serial));
        Ok(able)
    }

    /// The next to sign: a person with a role who has not signed yet; `used` are the serials of the cards that signed at this
    /// desk. Waits for a card to be inserted if people sit at the desk.
    async fn next_signer(
        &self,
        book: &Book,
        signed: &BTreeSet<Id>,
        used: &BTreeSet<u32>,
    ) -> Result<Signer, Fault> {
        let mut wait = self.wait();
        loop {
            if let Some(signer) = self.signers(book, signed).await?.into_iter().next() {
                return Ok(signer);
            }
            // In a script, a card whose PIN it has is on its way into the one reader; others do not come.
            let present = self.cards().await?;
            let is_away = |serial: u32| present.iter().all(|card| card.serial != serial);
            let comes = !self.pins.scripted()
                || self.pins.serials().any(|serial| !used.contains(&serial) && is_away(serial));
            let prompt = if signed.is_empty() { "insert-officer" } else { "insert-second-officer" };
            if !comes || !wait.goes_on(prompt, &[]).await {
                return Err(if signed.is_empty() { Fault::NoOfficerCard } else { Fault::SecondPersonNeeded });
            }
        }
    }
}

/// Whose living card this is, if the member has a role.
fn signer(book: &Book, reader: CardInReader) -> Option<Signer> {
    let card = book.state.card_of_authentication_key(&reader.keys?.authentication.0)?;
    let found = book.state.card(&card).filter(|c| c.status == CardStatus::Live)?;
    let member = found.card.member;
    let has_role = !book.state.member(&member)?.roles.is_empty();
    has_role.then_some(Signer { reader, card, member })
}
