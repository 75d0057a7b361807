//! What has to hold, asserted by a model that shares nothing with the programs but the parsing of statements: it hears what goes
//! over the lines, reads what is durable, and knows the true time.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail, ensure};
use sha2::{Digest as _, Sha256};
use warifu_ledger::leaf::Leaf;
use warifu_ledger::statement::{Act, Fact, FactBody, Founding, Millis, Order};
use warifu_ledger::{Digest, Id};

use crate::base::LEASE;

/// What leaves say, read in the plainest way.
#[derive(Debug, Clone, Default)]
pub(crate) struct Told {
    members: BTreeMap<Id, Option<Id>>,
    cards: BTreeMap<Id, Id>,
    grants: BTreeMap<Id, Grant>,
    units: BTreeMap<Id, (BTreeSet<Id>, Option<Id>)>,
    contracts: BTreeMap<Id, Millis>,
    over: BTreeSet<Id>,
    suspended: BTreeSet<Id>,
    shredded: BTreeSet<Digest>,
    orders: BTreeSet<Digest>,
    last_at: Millis,
}

#[derive(Debug, Clone)]
struct Grant {
    card: Id,
    unit: Id,
    expires_at: Option<Millis>,
    issued: bool,
}

/// What an order ends for ever.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ends {
    pub(crate) grants: BTreeSet<Id>,
    pub(crate) files: BTreeSet<Digest>,
    pub(crate) suspends: BTreeSet<Id>,
}

impl Told {
    fn hear(&mut self, bytes: &[u8]) -> Result<()> {
        let leaf = Leaf::from_bytes(bytes.to_vec())?;
        self.last_at = leaf.at();
        let envelope = leaf.envelope();
        if let Ok(founding) = envelope.statement::<Founding>() {
            for card in founding.officers {
                self.members.insert(card.member, card.contract);
                self.cards.insert(card.card, card.member);
            }
        } else if let Ok(order) = envelope.statement::<Order>() {
            self.orders.insert(envelope.digest());
            for act in order.acts {
                self.act(act, leaf.at());
            }
        } else if let Ok(Fact { fact: FactBody::GrantIssued { grant, .. }, .. }) = envelope.statement()
            && let Some(grant) = self.grants.get_mut(&grant)
        {
            grant.issued = true;
        }
        Ok(())
    }

    fn act(&mut self, act: Act, at: Millis) {
        match act {
            Act::CardEnrolled(card) => {
                self.members.entry(card.member).or_insert(card.contract);
                self.cards.insert(card.card, card.member);
            }
            Act::ContractOpened { contract, ends_at, .. } | Act::ContractExtended { contract, ends_at } => {
                self.contracts.insert(contract, ends_at);
            }
            Act::ContractEnded { contract, .. } => {
                self.contracts.insert(contract, at);
            }
            Act::UnitOrdered { unit, sites, contract, .. } => {
                self.units.insert(unit, (sites, contract));
            }
            Act::UnitChanged { unit, sites: Some(sites), .. } => {
                if let Some(unit) = self.units.get_mut(&unit) {
                    unit.0 = sites;
                }
            }
            Act::GrantOrdered { grant, card, unit, expires_at, .. } => {
                self.grants.insert(grant, Grant { card, unit, expires_at, issued: false });
            }
            Act::GrantRevoked { grant: over, effective_at: None, .. }
            | Act::CardRevoked { card: over, .. }
            | Act::MemberRevoked { member: over, effective_at: None, .. } => {
                self.over.insert(over);
            }
            Act::CardSuspended { card } => {
                self.suspended.insert(card);
            }
            Act::CardResumed { card } => {
                self.suspended.remove(&card);
            }
            Act::FileShredded { file } => {
                self.shredded.insert(file);
            }
            _ => {}
        }
    }

    /// Why `site` must not answer at an instant that is not before `at`.
    fn forbids(&self, site: Id, card: Id, grant: Id, file: &Digest, at: Millis) -> Option<&'static str> {
        let at = at.max(self.last_at);
        let Some(member) = self.cards.get(&card) else { return Some("the card is nobody's") };
        let Some(found) = self.grants.get(&grant) else { return Some("there is no such grant") };
        let Some((sites, of_unit)) = self.units.get(&found.unit) else {
            return Some("there is no such unit");
        };
        let of_member = self.members.get(member).copied().flatten();
        let over = |contract: &Option<Id>| {
            contract.is_some_and(|contract| self.contracts.get(&contract).is_none_or(|&ends| ends <= at))
        };
        if found.card != card {
            Some("the grant is another card's")
        } else if !found.issued {
            Some("the grant is not issued")
        } else if !sites.contains(&site) {
            Some("the unit is not served here")
        } else if [grant, card, *member].iter().any(|id| self.over.contains(id)) {
            Some("grant, card or member is over")
        } else if self.suspended.contains(&card) {
            Some("the card is suspended")
        } else if found.expires_at.is_some_and(|expires| expires <= at) {
            Some("the grant has expired")
        } else if over(&of_member) || over(of_unit) {
            Some("the contract is over")
        } else if self.shredded.contains(file) {
            Some("the file is shredded")
        } else {
            None
        }
    }

    /// What these acts end, as far as it is known.
    pub(crate) fn ended_by(&self, acts: &[Act]) -> Ends {
        let mut ends = Ends::default();
        for act in acts {
            let ended = |id: &Id, grant: &Grant| {
                let member = self.cards.get(&grant.card);
                let contract = member.and_then(|member| self.members.get(member).copied().flatten());
                let of_unit = self.units.get(&grant.unit).and_then(|unit| unit.1);
                match act {
                    Act::GrantRevoked { grant, effective_at: None, .. } => id == grant,
                    Act::CardRevoked { card, .. } => grant.card == *card,
                    Act::MemberRevoked { member: left, effective_at: None, .. } => member == Some(left),
                    Act::ContractEnded { contract: over, .. } => {
                        contract == Some(*over) || of_unit == Some(*over)
                    }
                    _ => false,
                }
            };
            ends.grants.extend(self.grants.iter().filter(|(id, grant)| ended(id, grant)).map(|(id, _)| *id));
            match act {
                Act::FileShredded { file } => drop(ends.files.insert(*file)),
                Act::CardSuspended { card } => drop(ends.suspends.insert(*card)),
                _ => {}
            }
        }
        ends
    }
}

/// The root of RFC 6962, section 2.1, over these leaves.
pub(crate) fn root(leaves: &[Vec<u8>]) -> Digest {
    let hash = |parts: &[&[u8]]| {
        let mut hash = Sha256::new();
        parts.iter().for_each(|part| hash.update(part));
        Digest(hash.finalize().into())
    };
    match leaves {
        [] => hash(&[]),
        [leaf] => hash(&[&[0], leaf]),
        more => {
            let (left, right) = more.split_at(more.len().next_power_of_two() / 2);
            hash(&[&[1], root(left).as_bytes(), root(right).as_bytes()])
        }
    }
}

/// What one database is known to have been told: restored with it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Kept {
    /// Leaves and time of every stamp that was kept.
    stamps: Vec<(u64, Millis)>,
    /// It has seen the kms contradict itself, and how.
    must_halt: Option<&'static str>,
    /// Suspensions that were brought by hand and receipted: order, card, last instant.
    suspended: BTreeMap<Digest, (Id, Millis)>,
    /// Partials that left, by grant and file.
    left: BTreeMap<(Id, usize), u64>,
}

/// A stamp that counted in this life.
#[derive(Debug, Clone, Copy)]
struct Accepted {
    sent: u64,
    size: u64,
    root: Digest,
}

/// What a stamp said that was delivered.
pub(crate) struct Heard {
    pub(crate) nonce: Digest,
    pub(crate) for_this_site: bool,
    pub(crate) time: Millis,
    pub(crate) size: u64,
    pub(crate) root: Digest,
}

/// All that is known of one site.
#[derive(Debug, Clone)]
pub(crate) struct Book {
    pub(crate) site: Id,
    /// The leaves that are durable there.
    ledger: Vec<Vec<u8>>,
    told: Vec<Told>,
    /// Leaves are being taken of which one is another than it has folded.
    takes_another: bool,
    newest: Option<Digest>,
    sent: BTreeMap<Digest, u64>,
    accepted: Vec<Accepted>,
    pub(crate) kept: Kept,
    /// What receipts have ended here, for ever, whatever is restored.
    over_grants: BTreeMap<Id, Digest>,
    over_files: BTreeMap<Digest, Digest>,
    /// Whether the database was ever an older one: then key pairs are made again, and answer for nothing.
    restored: bool,
}

impl Book {
    pub(crate) fn new(site: Id) -> Self {
        Self {
            site,
            ledger: Vec::new(),
            told: Vec::new(),
            takes_another: false,
            newest: None,
            sent: BTreeMap::new(),
            accepted: Vec::new(),
            kept: Kept::default(),
            over_grants: BTreeMap::new(),
            over_files: BTreeMap::new(),
            restored: false,
        }
    }

    pub(crate) fn size(&self) -> usize {
        self.ledger.len()
    }

    pub(crate) fn now_told(&self) -> Told {
        self.told.last().cloned().unwrap_or_default()
    }

    /// The leaves from that index on are these.
    pub(crate) fn folds(&mut self, from: usize, leaves: Vec<Vec<u8>>) -> Result<()> {
        self.ledger.truncate(from);
        self.told.truncate(from);
        for bytes in leaves {
            let mut told = self.now_told();
            told.hear(&bytes)?;
            self.ledger.push(bytes);
            self.kept.suspended.retain(|order, _| !told.orders.contains(order));
            self.told.push(told);
        }
        self.dates()
    }

    /// P-5.4: no leaf is older than a stamp that was given before it.
    fn dates(&self) -> Result<()> {
        for (told, index) in self.told.iter().zip(0u64..) {
            let stamp = self.kept.stamps.iter().find(|(size, time)| *size <= index && told.last_at < *time);
            if let Some((size, time)) = stamp {
                bail!("I4: leaf {index} of {}, after a stamp of {size} leaves and {time}", told.last_at);
            }
        }
        Ok(())
    }

    /// A new life begins; with an older database, or the same.
    pub(crate) fn begins(&mut self, restored: Option<(Kept, Vec<Vec<u8>>)>) -> Result<()> {
        self.takes_another = false;
        self.newest = None;
        self.sent.clear();
        self.accepted.clear();
        if let Some((kept, ledger)) = restored {
            self.kept = kept;
            self.restored = true;
            self.folds(0, ledger)?;
        }
        Ok(())
    }

    pub(crate) fn snapshot(&self) -> (Kept, Vec<Vec<u8>>) {
        (self.kept.clone(), self.ledger.clone())
    }

    pub(crate) fn asks(&mut self, nonce: Digest, now: u64) {
        self.newest = Some(nonce);
        self.sent.insert(nonce, now);
    }

    /// The last stamp that is durable at the site.
    pub(crate) fn keeps(&mut self, stamp: Option<(u64, Millis)>) -> Result<()> {
        if let Some(stamp) = stamp.filter(|stamp| !self.kept.stamps.contains(stamp)) {
            self.kept.stamps.push(stamp);
            self.dates()?;
        }
        Ok(())
    }

    fn floor(&self) -> (u64, Millis) {
        let sizes = self.kept.stamps.iter().map(|stamp| stamp.0).max();
        let times = self.kept.stamps.iter().map(|stamp| stamp.1).max();
        (sizes.unwrap_or_default(), times.unwrap_or_default())
    }

    /// The kms's answer comes to the site. It is signed: whoever lies is the kms.
    pub(crate) fn is_stamped(&mut self, heard: &Heard) {
        let Some(&sent) = self.sent.get(&heard.nonce) else { return };
        let (size, time) = self.floor();
        if self.newest != Some(heard.nonce)
            || !heard.for_this_site
            || heard.time < time
            || heard.size < size
            || self.kept.must_halt.is_some()
        {
            return;
        }
        if self.contradicts(heard.size, heard.root) {
            self.kept.must_halt = Some("a stamp contradicted what it had folded");
            return;
        }
        self.accepted.push(Accepted { sent, size: heard.size, root: heard.root });
    }

    pub(crate) fn contradicts(&self, size: u64, expected: Digest) -> bool {
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        self.ledger.get(..size).is_some_and(|leaves| root(leaves) != expected)
    }

    /// Leaves have come on the stream, and begin to be taken.
    pub(crate) fn hears(&mut self, from: u64, leaves: &[Vec<u8>]) {
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        let mine = self.ledger.get(from..).unwrap_or_default();
        self.takes_another = mine.iter().zip(leaves).any(|(mine, other)| mine != other);
    }

    /// The leaves are taken. What left until then left beside them: they may have waited for other work.
    pub(crate) fn has_heard(&mut self) {
        if std::mem::take(&mut self.takes_another) {
            self.must_halt("the kms showed another leaf in the place of one that it had folded");
        }
    }

    /// Whether what it has folded now contradicts the stamp that it lives by.
    pub(crate) fn compares(&mut self) {
        if let Some(last) = self.accepted.last().copied()
            && self.contradicts(last.size, last.root)
        {
            self.must_halt("what it folded contradicted its last stamp");
        }
    }

    pub(crate) fn must_halt(&mut self, why: &'static str) {
        self.kept.must_halt.get_or_insert(why);
    }

    /// I2, I3, I4, I5: a partial has left.
    pub(crate) fn answers(
        &mut self,
        card: Id,
        item: (Id, usize),
        file: Digest,
        leaving: &Leaving,
    ) -> Result<()> {
        let grant = item.0;
        if let Some(why) = self.kept.must_halt {
            bail!("I5: a partial left though {why}");
        }
        if let Some(order) = self.over_grants.get(&grant) {
            bail!("I3: a partial left for a grant that was receipted as ended by {order}");
        }
        if let Some(order) = self.over_files.get(&file) {
            bail!("I3: a partial left for a file that was receipted as shredded by {order}");
        }
        let (size, floor) = self.floor();
        let fresh =
            |stamp: &Accepted| leaving.now < stamp.sent + LEASE && stamp.size <= self.ledger.len() as u64;
        ensure!(
            self.accepted.iter().any(fresh),
            "I4: a partial left without a stamp whose nonce was sent within the lease, and all it contains folded"
        );
        ensure!(
            size <= self.ledger.len() as u64,
            "I4: a partial left though a stamp has spoken of {size} leaves and {} are folded",
            self.ledger.len()
        );
        // The site looked at some moment from the request on: a card may have been resumed since.
        let since = leaving.folded.checked_sub(1).and_then(|last| self.told.get(last..)).unwrap_or_default();
        let forbidden = |told: &Told| told.forbids(self.site, card, grant, &file, floor);
        match since.split_first() {
            None => bail!("I2: a partial left though nothing was folded"),
            Some((first, later)) => {
                if let Some(why) = forbidden(first)
                    && later.iter().all(|told| forbidden(told).is_some())
                {
                    bail!("I2: a partial left though {why}");
                }
            }
        }
        let suspended = self.kept.suspended.values().any(|(suspended, until)| {
            *suspended == card && leaving.site_time.is_some_and(|time| time <= *until)
        });
        ensure!(!suspended, "I2: a partial left for a card that was suspended by hand");
        let left = self.kept.left.entry(item).or_default();
        *left += 1;
        ensure!(leaving.recorded >= *left, "I2: a partial left without an audit record");
        Ok(())
    }

    /// I3: the site has given its receipt for an order; `holds` says of which grants its HSM has key pairs.
    pub(crate) fn receipts(
        &mut self,
        digest: Digest,
        order: &Order,
        holds: impl Fn(&Id) -> bool,
    ) -> Result<()> {
        let told = self.now_told();
        let ends = told.ended_by(&order.acts);
        if !told.orders.contains(&digest) {
            let suspended = ends.suspends.iter().map(|card| (digest, (*card, order.expires_at)));
            self.kept.suspended.extend(suspended);
        }
        self.over_grants.extend(ends.grants.iter().map(|grant| (*grant, digest)));
        self.over_files.extend(ends.files.iter().map(|file| (*file, digest)));
        self.holds(holds)
    }

    /// I3: of what was receipted as ended there is no key pair.
    pub(crate) fn holds(&self, holds: impl Fn(&Id) -> bool) -> Result<()> {
        if self.restored {
            return Ok(());
        }
        match self.over_grants.iter().find(|(grant, _)| holds(grant)) {
            Some((_, order)) => {
                bail!("I3: there is a key pair of a grant that was receipted as ended by {order}")
            }
            None => Ok(()),
        }
    }
}

/// What is known of the moment at which a partial leaves.
pub(crate) struct Leaving {
    /// True time.
    pub(crate) now: u64,
    /// Leaves that were folded when the request came.
    pub(crate) folded: usize,
    pub(crate) site_time: Option<Millis>,
    /// Rows of the journal for this grant and file.
    pub(crate) recorded: u64,
}

/// I5: what the ca has cosigned.
#[derive(Debug, Default)]
pub(crate) struct Cosigned(Vec<(u64, Digest)>);

impl Cosigned {
    /// `histories` are all that the kms ever showed anybody.
    pub(crate) fn add(&mut self, size: u64, of: Digest, histories: &[Vec<Vec<u8>>]) -> Result<()> {
        self.0.push((size, of));
        let has = |history: &[Vec<u8>], size: u64, of: Digest| {
            let size = usize::try_from(size).unwrap_or(usize::MAX);
            history.get(..size).is_some_and(|leaves| root(leaves) == of)
        };
        for (other, other_of) in &self.0 {
            ensure!(
                histories.iter().any(|h| has(h, size, of) && has(h, *other, *other_of)),
                "I5: the ca has cosigned two checkpoints, of {other} and {size} leaves, of which no history has both"
            );
        }
        Ok(())
    }
}
