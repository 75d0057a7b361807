//! The officer's desk: the agent with the cards, a verified fold of the ledger, the register, and signing.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rand_core::UnwrapErr;
use serde::Serialize;
use serde::de::DeserializeOwned;
use warifu_api::wire::Leaves;
use warifu_api::wire::agent::{
    AgentFault, CardInReader, Cards, Forward, ForwardTo, Forwarded, PinText, SignAnswer, SignRequest,
    Standing, Status, Unlock,
};
use warifu_api::wire::audit::{CollectedJournal, JournalAlarm, JournalAlarms, Journals};
use warifu_api::wire::authority::{Appended, CheckpointAnswer, Holdings, Proposals, PukEscrow, Records};
use warifu_api::{ErrorBody, ErrorCode};
use warifu_ledger::Id;
use warifu_ledger::ahead::{self, Ahead};
use warifu_ledger::checkpoint::{Checkpoint, Signer};
use warifu_ledger::dsse::Envelope;
use warifu_ledger::key::{Bytes, PublicKey};
use warifu_ledger::leaf::Leaf;
use warifu_ledger::register::Name;
use warifu_ledger::state::{CardState, CardStatus, Grant, State};
use warifu_ledger::statement::{Custody, HalfHolder, Millis, Profile, Role, ServiceKeys};
use warifu_token_agent::client::AgentClient;
use zeroize::Zeroizing;

use crate::args::Common;
use crate::day::{self, Zone};
use crate::fault::Fault;
use crate::pins::Pins;
use crate::register::Commitments;
use crate::screen::Screen;

/// How long a card is waited for that the reader service may not have seen yet.
pub(crate) const CARD_APPEARS: Duration = Duration::from_secs(10);
/// How long the ca may take to sign what the kms has appended.
const COSIGNED_WITHIN: Duration = Duration::from_secs(30);
/// How often the readers are looked at while a card is waited for.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// The operating system's random generator.
pub(crate) fn rng() -> UnwrapErr<getrandom::SysRng> {
    UnwrapErr(getrandom::SysRng)
}

/// The agent, and what is common to all commands.
pub(crate) struct Desk<'a> {
    pub(crate) agent: AgentClient,
    pub(crate) screen: &'a Screen,
    pub(crate) pins: Pins,
    pub(crate) first_card: Option<u32>,
    /// Whether what needs two people is left for the second one.
    pub(crate) propose: bool,
    /// PINs that cards took in this command. Nothing is signed with one of them: for each signature its person is asked anew.
    taken: BTreeMap<u32, Zeroizing<String>>,
}

/// What a PIN is asked for, said before it is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose {
    /// Reading the ledger and the register.
    Read,
    /// Making keys on a card.
    Prepare,
    /// Bringing shares onto it.
    Bring,
    /// One signature.
    Sign,
}

impl Purpose {
    fn words(self) -> &'static str {
        match self {
            Self::Read => "pin-to-read",
            Self::Prepare => "pin-to-prepare",
            Self::Bring => "pin-to-bring",
            Self::Sign => "pin-to-sign",
        }
    }
}

/// The organization as the ledger and the register tell of it.
pub(crate) struct Book {
    pub(crate) state: State,
    pub(crate) names: BTreeMap<Id, Name>,
    /// What the ledger commits to.
    pub(crate) commitments: Commitments,
    /// The kms-signed checkpoint that the next order names.
    pub(crate) seen: String,
    /// The exact leaves, to bring to sites that lack them.
    leaves: Vec<warifu_ledger::key::Bytes>,
    /// The card whose 9A key opens the kms for reading.
    pub(crate) reader_card: u32,
    /// The kms's time when it was read. This PC's clock is not asked: it may be wrong by more than an order lives.
    pub(crate) at: Millis,
}

impl<'a> Desk<'a> {
    pub(crate) fn new(agent: AgentClient, screen: &'a Screen, pins: Pins, common: &Common) -> Self {
        let taken = BTreeMap::new();
        Self { agent, screen, pins, first_card: common.card, propose: common.propose, taken }
    }

    pub(crate) async fn cards(&self) -> Result<Vec<CardInReader>, Fault> {
        Ok(self.agent.get::<Cards>("/v1/cards").await?.cards)
    }

    /// A request to the kms or a site through the agent.
    pub(crate) async fn ask<A: DeserializeOwned>(
        &self,
        target: ForwardTo,
        serial: Option<u32>,
        method: &str,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<A, Fault> {
        let body = body.map(serde_json::to_value).transpose().map_err(Fault::Json)?;
        let of_site = matches!(target, ForwardTo::Site { .. });
        let forward = Forward { target, serial, method: method.to_owned(), path: path.to_owned(), body };
        let answer: Forwarded = self.agent.post("/v1/forward", &forward).await?;
        if (200..300).contains(&answer.status) {
            return serde_json::from_value(answer.body).map_err(Fault::Json);
        }
        let body: ErrorBody = serde_json::from_value(answer.body).map_err(Fault::Json)?;
        Err(Fault::Agent(match of_site {
            true => AgentFault::SiteRefused { code: body.code },
            false => AgentFault::AuthorityRefused { code: body.code, message: body.message },
        }))
    }

    pub(crate) async fn get<A: DeserializeOwned>(&self, serial: Option<u32>, path: &str) -> Result<A, Fault> {
        self.ask(ForwardTo::Authority, serial, "GET", path, None::<&()>).await
    }

    /// What the organization calls itself.
    pub(crate) async fn organization_name(&self) -> Result<String, Fault> {
        Ok(self.agent.profile().await?.name)
    }

    /// Unlocks an officer's or administrator's card for reading, folds the whole ledger and checks it against the
    /// kms-signed checkpoint.
    pub(crate) async fn book(&mut self) -> Result<Book, Fault> {
        self.book_of(None).await
    }

    /// As [`Desk::book`]; of a kms that is to speak with these keys, which the ledger does not name yet.
    pub(crate) async fn book_of(&mut self, restored: Option<&ServiceKeys>) -> Result<Book, Fault> {
        let reader_card = self.reading_card().await?;
        let serial = Some(reader_card);
        let mut profile = self.agent.profile().await?;
        let status: warifu_api::wire::authority::Status = self.get(None, "/v1/status").await?;
        let checkpoint: CheckpointAnswer = self.get(None, "/v1/checkpoint").await?;
        let mut leaves = Vec::new();
        let mut state: Option<State> = None;
        let mut commitments = Commitments::default();
        let mut ahead = Ahead::default();
        loop {
            let part: Leaves = self.get(serial, &format!("/v1/ledger?from={}", leaves.len())).await?;
            if part.leaves.is_empty() {
                break;
            }
            let bytes = part.leaves.iter().map(|bytes| bytes.0.clone()).collect();
            let checked: Result<Vec<_>, _> = ahead.read(state.as_ref(), bytes).into_iter().collect();
            let checked = checked.map_err(|e| Fault::Ledger(e.to_string()))?;
            state = ahead::fold(state.as_ref(), &checked).map_err(|e| Fault::Ledger(e.to_string()))?;
            checked.iter().for_each(|checked| commitments.note(checked.leaf()));
            leaves.extend(part.leaves);
        }
        let state = state.ok_or_else(|| Fault::Ledger("empty".to_owned()))?;
        // A kms could show a ledger of its own making, with the same officers in it, or have put another ca into the
        // profile, by which members' PCs check what it says: the founding hash binds both.
        if state.organization() != profile.organization {
            return Err(Fault::Ledger("the ledger of another organization".to_owned()));
        }
        let keys = |profile: &Profile| *state.ca() == profile.ca && *state.kms() == profile.kms;
        if !keys(&profile) {
            // Another desk may have ordered other keys: the agent folds the ledger before it believes them.
            self.agent.refresh_profile().await?;
            profile = self.agent.profile().await?;
        }
        if !keys(&profile) {
            return Err(Fault::Ledger("the profile on this PC has other keys than the ledger".to_owned()));
        }
        let key = restored
            .unwrap_or_else(|| state.kms())
            .log
            .ok_or_else(|| Fault::Ledger("no log key".to_owned()))?;
        let seen = Checkpoint::verify(&checkpoint.note, &state.organization(), Signer::Kms, &key)
            .map_err(|e| Fault::Ledger(e.to_string()))?;
        state.check_against(&seen).map_err(|e| Fault::Ledger(e.to_string()))?;
        let register: Records = self.get(serial, "/v1/register").await?;
        let names = commitments.names(register.records);
        if names.unsound > 0 {
            self.screen.warn("register-unsound", &[("count", names.unsound.to_string())]);
        }
        self.tell_of_proposals(serial).await?;
        let book = Book {
            state,
            names: names.by_record,
            commitments,
            seen: checkpoint.note,
            leaves,
            reader_card,
            at: status.time,
        };
        self.tell_of_ends(&book).await?;
        Ok(book)
    }

    /// Whoever comes to the desk is told what waits for a second person.
    async fn tell_of_proposals(&self, serial: Option<u32>) -> Result<(), Fault> {
        if self.screen.is_for_programs() {
            return Ok(());
        }
        let waiting = self.get::<Proposals>(serial, "/v1/proposals").await?.waiting;
        let count = waiting.iter().filter(|entry| entry.possible).count();
        if count > 0 {
            self.screen.say_with("proposals-waiting", &[("count", count.to_string())]);
        }
        Ok(())
    }

    /// The card that reads: the one asked for, else the first in the readers that may, unlocked already or by its PIN.
    async fn reading_card(&mut self) -> Result<u32, Fault> {
        let mut refused = None;
        for card in &self.cards_with_keys().await? {
            if !self.pins.knows(card.serial) && self.pins.scripted() {
                continue;
            }
            let opened = match self.unlock(card).await {
                Ok(()) => self.get::<Records>(Some(card.serial), "/v1/register").await.map(|_| ()),
                Err(fault) => Err(fault),
            };
            match opened {
                Ok(()) => return Ok(card.serial),
                // A card that may not read, or a suspended one, does not keep the others from it.
                Err(fault) if fault.code().is_some_and(is_about_the_card) => refused = Some(fault),
                Err(fault) => return Err(fault),
            }
        }
        Err(refused.unwrap_or(Fault::NoOfficerCard))
    }

    /// The cards in the readers that have keys, or the one asked for; waits a moment for the first.
    async fn cards_with_keys(&self) -> Result<Vec<CardInReader>, Fault> {
        let mut wait = self.wait();
        loop {
            let mut cards = self.cards().await?;
            // A blocked card, or one with its last try, is not what is asked for its PIN to read the ledger.
            cards.retain(|card| {
                let asked_for = self.first_card.is_none_or(|first| first == card.serial);
                card.keys.is_some() && asked_for && (card.tries_left > 1 || self.first_card.is_some())
            });
            if !cards.is_empty() {
                return Ok(cards);
            }
            if !wait.goes_on("insert-officer", &[]).await {
                return Ok(cards);
            }
        }
    }

    /// Waiting for a card: as long as it takes where somebody sits at the desk, else for a moment.
    pub(crate) fn wait(&self) -> Wait<'_> {
        Wait { screen: self.screen, patient: !self.pins.scripted(), since: Instant::now(), asked: false }
    }

    /// Unlocks a card's 9A key for this insertion; one that is unlocked already is left so, and nobody is asked.
    async fn unlock(&mut self, card: &CardInReader) -> Result<(), Fault> {
        if matches!(card.standing, Standing::Unanswered | Standing::Open { .. }) {
            return Ok(());
        }
        let pin = self.pin(card, Purpose::Read)?;
        let unlock = Unlock { serial: Some(card.serial), pin: PinText(pin.0.clone()), spend_last_try: false };
        self.agent.post::<Status>("/v1/unlock", &unlock).await?;
        self.took(card.serial, pin);
        Ok(())
    }

    /// The PIN of a card. It is asked for once in a command, and for every signature, and what for is said before.
    pub(crate) fn pin(&self, card: &CardInReader, purpose: Purpose) -> Result<PinText, Fault> {
        let known = self.taken.get(&card.serial).filter(|_| !matches!(purpose, Purpose::Sign));
        if let Some(pin) = known {
            return Ok(PinText(pin.clone()));
        }
        if !self.pins.scripted() && card.tries_left > 1 {
            self.screen.say_with(purpose.words(), &[("serial", card.serial.to_string())]);
        }
        self.pins.pin(self.screen, card.serial, card.tries_left)
    }

    /// The card took this PIN: for the rest of the command it is not asked for again but to sign.
    pub(crate) fn took(&mut self, serial: u32, pin: PinText) {
        self.taken.insert(serial, pin.0);
    }

    /// Signs with one card.
    pub(crate) async fn sign(&mut self, card: &CardInReader, envelope: &mut Envelope) -> Result<(), Fault> {
        let pin = self.pin(card, Purpose::Sign)?;
        let request = SignRequest { serial: card.serial, pin, envelope: envelope.clone() };
        let answer: SignAnswer = self.agent.post("/v1/sign", &request).await?;
        envelope.add_signature(&answer.key, answer.signature.0);
        envelope.verify(&answer.key).map_err(|e| Fault::Ledger(e.to_string()))
    }

    /// How far a site has come with the shares of the units that it serves, by the word of the kms.
    pub(crate) async fn holdings(&self, book: &Book, site: &Id) -> Result<Holdings, Fault> {
        self.get(Some(book.reader_card), &format!("/v1/sites/{site}/holdings")).await
    }

    /// Every audit journal that the kms has, site by site, in the order in which they were begun.
    pub(crate) async fn journals(&self, book: &Book) -> Result<Vec<CollectedJournal>, Fault> {
        let (mut all, mut from) = (Vec::new(), 0);
        loop {
            let path = format!("/v1/audit/journals?from={from}");
            let Journals { journals, next } = self.get(Some(book.reader_card), &path).await?;
            all.extend(journals);
            match next {
                Some(next) if next > from => from = next,
                _ => break,
            }
        }
        all.sort_by_key(|journal| journal.site);
        Ok(all)
    }

    /// Everything that was found wrong with them.
    pub(crate) async fn journal_alarms(&self, book: &Book) -> Result<Vec<JournalAlarm>, Fault> {
        let (mut all, mut from) = (Vec::new(), 0);
        loop {
            let path = format!("/v1/audit/alarms?from={from}");
            let JournalAlarms { alarms, next } = self.get(Some(book.reader_card), &path).await?;
            all.extend(alarms);
            match next {
                Some(next) if next > from => from = next,
                _ => return Ok(all),
            }
        }
    }

    /// The ledger as far as kms and ca have both signed it, from what this desk has folded on, with that checkpoint.
    pub(crate) async fn cosigned_ledger(&self, book: &Book) -> Result<(Vec<Bytes>, String), Fault> {
        let ledger = |error: &dyn std::fmt::Display| Fault::Ledger(error.to_string());
        let (mut leaves, mut state) = (book.leaves.clone(), book.state.clone());
        let since = Instant::now();
        loop {
            let CheckpointAnswer { note, .. } = self.get(None, "/v1/checkpoint").await?;
            let by = |signer, service| {
                let key = state.keys_of(service).log?;
                Checkpoint::verify(&note, &state.organization(), signer, &key).ok()
            };
            let signed = (by(Signer::Kms, HalfHolder::Kms), by(Signer::Ca, HalfHolder::Ca));
            if let (Some(checkpoint), Some(_)) = signed {
                while state.tree().size() < checkpoint.size {
                    let path = format!("/v1/ledger?from={}", state.tree().size());
                    let part: Leaves = self.get(Some(book.reader_card), &path).await?;
                    if part.leaves.is_empty() {
                        return Err(ledger(&"leaves are missing"));
                    }
                    for bytes in part.leaves {
                        if state.tree().size() == checkpoint.size {
                            break;
                        }
                        let leaf = Leaf::from_bytes(bytes.0.clone()).map_err(|e| ledger(&e))?;
                        state = state.apply(&leaf).map_err(|e| ledger(&e))?;
                        leaves.push(bytes);
                    }
                }
                state.check_against(&checkpoint).map_err(|e| ledger(&e))?;
                if state.tree().size() == checkpoint.size {
                    return Ok((leaves, note));
                }
            }
            if since.elapsed() > COSIGNED_WITHIN {
                return Err(Fault::NotCosigned);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Whether a checkpoint that contains what was appended is signed by the ca as well, and is of this desk's own fold.
    pub(crate) async fn is_cosigned(&self, book: &Book, appended: &Appended) -> Result<bool, Fault> {
        let ledger = |error: &dyn std::fmt::Display| Fault::Ledger(error.to_string());
        let answer: CheckpointAnswer = self.get(None, "/v1/checkpoint").await?;
        let key = book.state.ca().log.ok_or_else(|| ledger(&"the ca has no log key"))?;
        let Ok(cosigned) = Checkpoint::verify(&answer.note, &book.state.organization(), Signer::Ca, &key)
        else {
            return Ok(false);
        };
        let mut state = book.state.clone();
        while state.tree().size() < cosigned.size {
            let path = format!("/v1/ledger?from={}", state.tree().size());
            let part: Leaves = self.get(Some(book.reader_card), &path).await?;
            if part.leaves.is_empty() {
                return Ok(false);
            }
            for bytes in part.leaves {
                let leaf = Leaf::from_bytes(bytes.0).map_err(|e| ledger(&e))?;
                state = state.apply(&leaf).map_err(|e| ledger(&e))?;
            }
        }
        state.check_against(&cosigned).map_err(|e| ledger(&e))?;
        Ok(cosigned.size > appended.index)
    }
}

/// Waiting for a card to be inserted.
pub(crate) struct Wait<'a> {
    screen: &'a Screen,
    patient: bool,
    since: Instant,
    asked: bool,
}

impl Wait<'_> {
    /// Says once what is waited for, and waits a moment; false where the wait is over.
    pub(crate) async fn goes_on(&mut self, prompt: &str, args: &[(&str, String)]) -> bool {
        if !self.patient && self.since.elapsed() > CARD_APPEARS {
            return false;
        }
        if !self.asked {
            self.screen.say_with(prompt, args);
            if self.patient {
                self.screen.say("wait-can-be-stopped");
            }
            self.asked = true;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
        true
    }
}

/// Whether a service refuses this card, rather than every card.
fn is_about_the_card(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::Forbidden | ErrorCode::CardNotLive | ErrorCode::CardSuspended | ErrorCode::ContractOver
    )
}

impl Book {
    /// What a file says whose every signature was verified: to read words from. Nothing can be asked or ordered by it.
    pub(crate) fn of_file(state: State, names: BTreeMap<Id, Name>) -> Self {
        let at = state.last_at();
        let (commitments, seen, leaves) = (Commitments::default(), String::new(), Vec::new());
        Self { state, names, commitments, seen, leaves, reader_card: 0, at }
    }

    /// The organization's time zone, which days and times are shown in.
    pub(crate) fn zone(&self) -> Zone {
        Zone::named(&self.state.founding().zone)
    }

    /// The transport keys (9D) of the officers' cards, to which a card's PUK is sealed; its own cannot help it.
    pub(crate) fn officers_besides(&self, card: &Id) -> Vec<PublicKey> {
        let is_officer = |member: &Id| {
            self.state
                .member(member)
                .is_some_and(|found| !found.revoked && found.roles.contains(&Role::Officer))
        };
        self.state
            .cards()
            .filter(|(id, found)| *id != card && found.vouched && found.status == CardStatus::Live)
            .filter(|(_, found)| is_officer(&found.card.member))
            .map(|(_, found)| found.card.transport)
            .take(PukEscrow::MOST)
            .collect()
    }

    /// The card that is in a reader, if the ledger knows it.
    pub(crate) fn card_in(&self, card: &CardInReader) -> Option<(Id, &CardState)> {
        let id = self.state.card_of_authentication_key(&card.keys?.authentication.0)?;
        Some((id, self.state.card(&id)?))
    }

    /// The instant at which an order would be appended.
    pub(crate) fn now(&self) -> Millis {
        self.at.max(self.state.last_at())
    }

    /// The name of a record; its id where the register has it no more.
    pub(crate) fn name(&self, record: &Id) -> String {
        self.names.get(record).map_or_else(|| record.to_string(), |name| name.name.clone())
    }

    /// The label of a record; its id where the register has it no more.
    pub(crate) fn label(&self, record: &Id) -> String {
        self.names.get(record).map_or_else(|| record.to_string(), |name| name.label.clone())
    }

    /// The name of a member; the id where the ledger has none such.
    pub(crate) fn member_name(&self, member: &Id) -> String {
        self.state.member(member).map_or_else(|| member.to_string(), |found| self.name(&found.name.record))
    }

    /// The name of a unit; the id where the ledger has none such.
    pub(crate) fn unit_name(&self, unit: &Id) -> String {
        self.state.unit(unit).map_or_else(|| unit.to_string(), |found| self.name(&found.name))
    }

    /// The name of a site; the id where the ledger has none such.
    pub(crate) fn site_name(&self, site: &Id) -> String {
        self.state.site(site).map_or_else(|| site.to_string(), |found| self.name(&found.name))
    }

    /// The grants of a card that are not over.
    pub(crate) fn live_grants(&self, card: Id) -> impl Iterator<Item = (Id, &Grant)> {
        self.state.grants_of_card(card).filter(|(id, _)| self.state.live_grant(id, self.at).is_ok())
    }

    /// How the share of a new grant comes onto a card that is not here: a token that has unwrapped one goes on doing so; onto
    /// others the member's own PC brings it where the unit allows that, else the officers' desk does.
    pub(crate) fn custody_elsewhere(&self, card: &Id, unit: &Id) -> Custody {
        self.custody_where(card, self.state.unit(unit).is_some_and(|unit| unit.own_pcs))
    }

    /// The same, of a unit that allows members' own PCs or does not.
    pub(crate) fn custody_where(&self, card: &Id, own_pcs: bool) -> Custody {
        if self.state.grants_of_card(*card).any(|(_, grant)| grant.custody == Custody::TokenUnwrap) {
            Custody::TokenUnwrap
        } else if own_pcs {
            Custody::OwnPc
        } else {
            Custody::HostMemory
        }
    }

    /// The one thing among `all` whose record has this label, or whose id, or that of its record, this is: lists show that where
    /// the register has the name no more.
    pub(crate) fn find<'a>(
        &self,
        label: &str,
        all: impl Iterator<Item = (&'a Id, Id)>,
        kind: &'static str,
    ) -> Result<Id, Fault> {
        let named = label.parse::<Id>().ok();
        let is_meant = |(id, record): &(&Id, Id)| match named {
            Some(named) => **id == named || *record == named,
            None => self.names.get(record).is_some_and(|n| n.label == label),
        };
        let mut found = all.filter(is_meant);
        let unknown = || Fault::UnknownLabel { kind, label: label.to_owned() };
        let (id, _) = found.next().ok_or_else(unknown)?;
        // Two desks may have given the same label at once, or a register that withheld a record hid the first one.
        match found.next() {
            Some(_) => Err(Fault::AmbiguousLabel { kind, label: label.to_owned() }),
            None => Ok(*id),
        }
    }

    /// The unit of this label: the one that files are addressed to, if there is one. A unit that has got a new key has its
    /// label from the one before.
    pub(crate) fn unit(&self, label: &str) -> Result<Id, Fault> {
        let listed = self.state.units().filter(|(id, _)| self.state.unit_is_listed(id, self.at));
        match self.find(label, listed.map(|(id, u)| (id, u.name)), "unit") {
            Err(Fault::UnknownLabel { .. }) => {
                let others = self.state.units().filter(|(_, u)| u.replaces.is_none() || u.key.is_some());
                self.find(label, others.map(|(id, u)| (id, u.name)), "unit")
            }
            found => found,
        }
    }

    /// The unit that the one of this label has taken the place of, and that is not closed yet.
    pub(crate) fn replaced_unit(&self, label: &str) -> Result<Id, Fault> {
        let replaced = self
            .state
            .units()
            .filter(|(id, unit)| unit.successor.is_some() && !self.state.unit_is_closed(id, self.at));
        self.find(label, replaced.map(|(id, u)| (id, u.name)), "unit")
    }

    /// The first instant of a day that somebody wrote; none for today, or if none was written: at once.
    pub(crate) fn beginning_of(&self, day: Option<&str>) -> Result<Option<Millis>, Fault> {
        let Some(text) = day else { return Ok(None) };
        let zone = self.zone();
        let not_a_day = || Fault::NotADay { day: text.to_owned() };
        let before = day::last_day(&zone, text, self.at)?.yesterday().map_err(|_| not_a_day())?;
        let start = zone.end_of(before).ok_or_else(not_a_day)?;
        Ok((start > self.at).then_some(start))
    }

    pub(crate) fn contract(&self, label: &str) -> Result<Id, Fault> {
        self.find(label, self.state.contracts().map(|(id, c)| (id, c.name)), "contract")
    }

    pub(crate) fn member(&self, label: &str) -> Result<Id, Fault> {
        self.find(label, self.state.members().map(|(id, m)| (id, m.name.record)), "member")
    }

    pub(crate) fn site(&self, label: &str) -> Result<Id, Fault> {
        self.find(label, self.state.sites().map(|(id, s)| (id, s.name)), "site")
    }

    /// The one thing among `all` with this label and name, if there is one: a command that is given again, perhaps because
    /// the first time was interrupted. Fails if the label is in use for anything else.
    pub(crate) fn begun<'a>(
        &self,
        name: &Name,
        all: impl Iterator<Item = (&'a Id, Id)>,
        kind: &'static str,
    ) -> Result<Option<Id>, Fault> {
        let all: BTreeMap<&Id, Id> = all.collect();
        match self.find(&name.label, all.iter().map(|(id, record)| (*id, *record)), kind) {
            Err(Fault::UnknownLabel { .. }) => Ok(None),
            Ok(id) if all.get(&id).and_then(|record| self.names.get(record)) == Some(name) => Ok(Some(id)),
            Ok(_) | Err(_) => Err(Fault::LabelTaken { label: name.label.clone() }),
        }
    }

    /// The leaves from `from` on, with the checkpoint that covers them.
    pub(crate) fn leaves_from(&self, from: u64) -> Option<Leaves> {
        let skip = usize::try_from(from).ok()?;
        let leaves = self.leaves.get(skip..)?.to_vec();
        Some(Leaves { from, leaves, checkpoint: self.seen.clone() })
    }
}
