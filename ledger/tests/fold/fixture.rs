//! A small town with software keys in place of cards, HSMs and logs.
//!
//! Everything is named by a label: the id of `tax` is the beginning of `SHA-256("tax")`, a private key is `SHA-256` of
//! its label. So a test reads as a story, and every run (and every vector) has the same bytes.

use std::collections::BTreeSet;

use ed25519_dalek::Signer as _;
use p256::ecdsa::signature::hazmat::PrehashSigner as _;
use p256::ecdsa::{Signature, SigningKey};
use warifu_ledger::checkpoint::{Checkpoint, Signer};
use warifu_ledger::dsse::Envelope;
use warifu_ledger::key::{Base64, PublicKey};
use warifu_ledger::leaf::Leaf;
use warifu_ledger::register::{Commitment, Record};
use warifu_ledger::state::{NotAnswered, Rejected, State};
use warifu_ledger::statement::{
    Act, Attestation, Card, Custody, Fact, FactBody, Founding, HalfHolder, Millis, Order, Policy, PublicHalf,
    Right, Role, ServiceId, ServiceKeys, Statement, UnitKind,
};
use warifu_ledger::{Digest, Id};
use warifu_split_key::half::{HalfContext, HalfRole};
use warifu_split_key::issuer::{CardShare, IssuerHalf};
use warifu_split_key::keeper::KeeperHalf;
use warifu_split_key::point::Point;

/// When the town is founded: 2026-03-31T23:33:20Z.
pub(crate) const T0: Millis = 1_775_000_000_000;
pub(crate) const MINUTE: Millis = 60_000;
pub(crate) const DAY: Millis = 24 * 60 * MINUTE;
/// When the contract with acme ends by itself.
pub(crate) const ACME_ENDS: Millis = T0 + 30 * DAY;

/// The officers whose cards sign where two people are needed.
pub(crate) const TWO: &[&str] = &["sakura", "kenji"];
/// One officer.
pub(crate) const ONE: &[&str] = &["sakura"];

pub(crate) fn id(label: &str) -> Id {
    let digest = Digest::of(label.as_bytes());
    Id(digest.0[..16].try_into().unwrap())
}

pub(crate) fn key(label: &str) -> SigningKey {
    SigningKey::from_slice(Digest::of(label.as_bytes()).as_bytes()).unwrap()
}

pub(crate) fn public(key: &SigningKey) -> PublicKey {
    PublicKey(Point::from_sec1(key.verifying_key().to_sec1_point(true).as_bytes()).unwrap())
}

pub(crate) fn public_of(label: &str) -> PublicKey {
    public(&key(label))
}

pub(crate) fn log_key(service: &str) -> ed25519_dalek::SigningKey {
    ed25519_dalek::SigningKey::from_bytes(Digest::of(format!("{service} log").as_bytes()).as_bytes())
}

pub(crate) fn log_public(service: &str) -> Base64<32> {
    Base64(log_key(service).verifying_key().to_bytes())
}

pub(crate) fn record(text: &str) -> Record {
    let label = format!("record {text}");
    Record {
        id: id(&label),
        key: Base64(Digest::of(format!("{label} key").as_bytes()).0),
        text: text.to_owned(),
    }
}

pub(crate) fn name(text: &str) -> Commitment {
    record(text).commitment()
}

/// The private key of the card `sakura`, or of her second card `sakura:spare`.
pub(crate) fn card_key(card: &str, slot: &str) -> SigningKey {
    key(&format!("{card} {slot}"))
}

pub(crate) fn card_id(card: &str) -> Id {
    id(&format!("card {card}"))
}

pub(crate) fn member_of(card: &str) -> &str {
    card.split(':').next().unwrap()
}

pub(crate) fn card(label: &str) -> Card {
    Card {
        card: card_id(label),
        member: id(member_of(label)),
        name: name(member_of(label)),
        contract: None,
        authentication: public(&card_key(label, "9A")),
        signature: public(&card_key(label, "9C")),
        transport: public(&card_key(label, "9D")),
        attestation: Attestation::Generated {
            serial: 12_345_678,
            firmware: "5.7.2".to_owned(),
            evidence: Digest::of(format!("{label} attestation").as_bytes()),
        },
    }
}

pub(crate) fn service_keys(service: &str) -> ServiceKeys {
    let of_authority = service.starts_with("ca") || service.starts_with("kms");
    ServiceKeys {
        signing: public_of(&format!("{service} signing")),
        tls: public_of(&format!("{service} tls")),
        log: of_authority.then(|| log_public(service)),
        transport: (!of_authority).then(|| public_of(&format!("{service} transport"))),
    }
}

pub(crate) fn policy() -> Policy {
    Policy {
        lease_ms: 10 * MINUTE,
        pin_ceiling_ms: 8 * 60 * MINUTE,
        unattested_cards: false,
        separate_roles: false,
    }
}

pub(crate) fn founding() -> Founding {
    Founding {
        id: id("omachi"),
        name: name("大町市"),
        zone: "Asia/Tokyo".to_owned(),
        officers: ["sakura", "kenji", "midori"].map(card).to_vec(),
        policy: policy(),
        ca: service_keys("ca"),
        kms: service_keys("kms"),
    }
}

pub(crate) fn add_signature(envelope: &mut Envelope, key: &SigningKey) {
    let signature: Signature = key.sign_prehash(envelope.digest().as_bytes()).unwrap();
    envelope.add_signature(&public(key), signature.to_bytes().into());
}

pub(crate) fn envelope_by_cards(statement: &impl Statement, cards: &[&str]) -> Envelope {
    let mut envelope = Envelope::unsigned(statement).unwrap();
    for card in cards {
        add_signature(&mut envelope, &card_key(card, "9C"));
    }
    envelope
}

pub(crate) fn envelope_by_services(statement: &impl Statement, services: &[&str]) -> Envelope {
    let mut envelope = Envelope::unsigned(statement).unwrap();
    for service in services {
        add_signature(&mut envelope, &key(&format!("{service} signing")));
    }
    envelope
}

/// A founding signed by all its officers, the ca and the kms.
pub(crate) fn founding_envelope(founding: &Founding, officers: &[&str]) -> Envelope {
    let mut envelope = envelope_by_cards(founding, officers);
    for service in ["ca", "kms"] {
        add_signature(&mut envelope, &key(&format!("{service} signing")));
    }
    envelope
}

pub(crate) fn found(founding: &Founding, officers: &[&str]) -> Result<State, Rejected> {
    State::found(&Leaf::new(T0, founding_envelope(founding, officers)).unwrap())
}

pub(crate) fn note(organization: &Digest, checkpoint: &Checkpoint, signer: Signer) -> String {
    note_with(if signer == Signer::Kms { "kms" } else { "ca" }, organization, checkpoint, signer)
}

/// The note of whoever has the keys of this label.
pub(crate) fn note_with(
    label: &str,
    organization: &Digest,
    checkpoint: &Checkpoint,
    signer: Signer,
) -> String {
    let (key, public) = (log_key(label), log_public(label));
    if signer == Signer::Kms {
        let signature = key.sign(&checkpoint.text(organization).unwrap()).to_bytes();
        return checkpoint.note(organization, &public, signature).unwrap();
    }
    let time = T0 / 1000;
    let signature = key.sign(&checkpoint.cosigned_text(organization, time).unwrap()).to_bytes();
    checkpoint.cosigned_note(organization, &public, time, signature).unwrap()
}

// Acts.

pub(crate) fn site(label: &str) -> Act {
    Act::SiteJoined {
        site: id(label),
        name: name(label),
        keys: service_keys(label),
        address: format!("{label}.example:8443"),
    }
}

pub(crate) fn ids(labels: &[&str]) -> BTreeSet<Id> {
    labels.iter().map(|label| id(label)).collect()
}

pub(crate) fn unit_of(label: &str, kind: UnitKind, contract: Option<&str>, routes_to: &[&str]) -> Act {
    Act::UnitOrdered {
        unit: id(label),
        name: name(label),
        kind,
        contract: contract.map(id),
        sites: ids(&["main", "branch"]),
        routes_to: ids(routes_to),
        two_people: false,
        own_pcs: false,
    }
}

pub(crate) fn unit(label: &str) -> Act {
    unit_of(label, UnitKind::Department, None, &[])
}

pub(crate) fn front_desk(label: &str, routes_to: &[&str]) -> Act {
    unit_of(label, UnitKind::FrontDesk, None, routes_to)
}

pub(crate) fn team(label: &str, contract: &str) -> Act {
    unit_of(label, UnitKind::Contractor, Some(contract), &[])
}

pub(crate) fn contract(label: &str, ends_at: Millis) -> Act {
    Act::ContractOpened { contract: id(label), name: name(label), ends_at }
}

pub(crate) fn end_contract(label: &str) -> Act {
    Act::ContractEnded { contract: id(label), reason: None }
}

pub(crate) fn enrol(label: &str) -> Act {
    Act::CardEnrolled(card(label))
}

pub(crate) fn enrol_under(label: &str, contract: &str) -> Act {
    Act::CardEnrolled(Card { contract: Some(id(contract)), ..card(label) })
}

/// The id of the grant that [`grant`] orders.
pub(crate) fn grant_id(card: &str, unit: &str) -> Id {
    id(&format!("{card} opens {unit}"))
}

pub(crate) fn grant_with(card: &str, unit: &str, right: Right, expires_at: Option<Millis>) -> Act {
    Act::GrantOrdered {
        grant: grant_id(card, unit),
        card: card_id(card),
        unit: id(unit),
        right,
        custody: Custody::HostMemory,
        starts_at: None,
        expires_at,
    }
}

pub(crate) fn grant(card: &str, unit: &str) -> Act {
    grant_with(card, unit, Right::Open, None)
}

pub(crate) fn revoke_grant(card: &str, unit: &str) -> Act {
    Act::GrantRevoked { grant: grant_id(card, unit), effective_at: None, reason: None }
}

/// A grant to be answered for from `starts_at` on, whose id is that of `label`.
pub(crate) fn grant_between(
    label: &str,
    card: &str,
    unit: &str,
    starts_at: Option<Millis>,
    expires_at: Option<Millis>,
) -> Act {
    Act::GrantOrdered {
        grant: id(label),
        card: card_id(card),
        unit: id(unit),
        right: Right::Open,
        custody: Custody::HostMemory,
        starts_at,
        expires_at,
    }
}

pub(crate) fn revoke_grant_at(card: &str, unit: &str, at: Millis) -> Act {
    Act::GrantRevoked { grant: grant_id(card, unit), effective_at: Some(at), reason: None }
}

pub(crate) fn revoke_member_at(member: &str, at: Millis) -> Act {
    Act::MemberRevoked { member: id(member), effective_at: Some(at), reason: None }
}

pub(crate) fn enrol_member(label: &str, contract: Option<&str>, units: &[&str]) -> Act {
    Act::MemberEnrolled {
        member: id(label),
        name: name(label),
        contract: contract.map(id),
        units: ids(units),
    }
}

pub(crate) fn place(member: &str, units: &[&str], effective_at: Option<Millis>) -> Act {
    Act::MemberPlaced { member: id(member), units: ids(units), effective_at }
}

/// A change of a unit that changes nothing yet.
pub(crate) fn no_change(unit: &str) -> Act {
    Act::UnitChanged {
        unit: id(unit),
        name: None,
        sites: None,
        routes_to: None,
        two_people: None,
        own_pcs: None,
    }
}

pub(crate) fn rename(unit: &str, to: &str) -> Act {
    let mut act = no_change(unit);
    if let Act::UnitChanged { name: new, .. } = &mut act {
        *new = Some(name(to));
    }
    act
}

pub(crate) fn serve_at(unit: &str, labels: &[&str]) -> Act {
    let mut act = no_change(unit);
    if let Act::UnitChanged { sites, .. } = &mut act {
        *sites = Some(ids(labels));
    }
    act
}

pub(crate) fn route_to(desk: &str, units: &[&str]) -> Act {
    let mut act = no_change(desk);
    if let Act::UnitChanged { routes_to, .. } = &mut act {
        *routes_to = Some(ids(units));
    }
    act
}

pub(crate) fn allow_own_pcs(unit: &str, allowed: bool) -> Act {
    let mut act = no_change(unit);
    if let Act::UnitChanged { own_pcs, .. } = &mut act {
        *own_pcs = Some(allowed);
    }
    act
}

pub(crate) fn demand_two_people(unit: &str, demanded: bool) -> Act {
    let mut act = no_change(unit);
    if let Act::UnitChanged { two_people, .. } = &mut act {
        *two_people = Some(demanded);
    }
    act
}

pub(crate) fn close(unit: &str, effective_at: Option<Millis>) -> Act {
    Act::UnitClosed { unit: id(unit), effective_at }
}

pub(crate) fn merge(unit: &str, into: &str, effective_at: Option<Millis>) -> Act {
    Act::UnitMerged { unit: id(unit), into: id(into), effective_at }
}

pub(crate) fn rekey(unit: &str, successor: &str) -> Act {
    Act::UnitRekeyed { unit: id(unit), successor: id(successor) }
}

pub(crate) fn revoke_card(card: &str) -> Act {
    Act::CardRevoked { card: card_id(card), reason: None }
}

pub(crate) fn revoke_member(member: &str) -> Act {
    Act::MemberRevoked { member: id(member), effective_at: None, reason: Some(name("契約終了")) }
}

pub(crate) fn suspend(card: &str) -> Act {
    Act::CardSuspended { card: card_id(card) }
}

pub(crate) fn resume(card: &str) -> Act {
    Act::CardResumed { card: card_id(card) }
}

pub(crate) fn roles(member: &str, roles: &[Role]) -> Act {
    Act::RoleChanged { member: id(member), roles: roles.iter().copied().collect() }
}

pub(crate) fn custodians(service: HalfHolder, threshold: u8, cards: &[&str]) -> Act {
    Act::CustodiansChanged { service, threshold, cards: cards.iter().map(|card| card_id(card)).collect() }
}

/// A service speaks with the keys of this label from here on.
pub(crate) fn recovered(service: HalfHolder, label: &str) -> Act {
    let keys = ServiceKeys { log: Some(log_public(label)), transport: None, ..service_keys(label) };
    Act::AuthorityRecovered { service, keys }
}

/// A service goes on with the keys of this label, which it made beside those that it has.
pub(crate) fn rotated(service: ServiceId, label: &str) -> Act {
    let keys = match service {
        ServiceId::Site(_) => ServiceKeys { log: None, ..service_keys(label) },
        _ => ServiceKeys { log: Some(log_public(label)), transport: None, ..service_keys(label) },
    };
    Act::KeyRotated { service, keys }
}

// Halves and shares, by the label of their unit and of their card.

pub(crate) fn issuer_half(unit: &str) -> IssuerHalf {
    IssuerHalf::from_bytes(Digest::of(format!("{unit} s1").as_bytes()).as_bytes()).unwrap()
}

pub(crate) fn keeper_half(unit: &str) -> KeeperHalf {
    KeeperHalf::from_bytes(Digest::of(format!("{unit} s2").as_bytes()).as_bytes()).unwrap()
}

/// `A` and `B` of the grant of `unit` to `card`, by the very steps of ca and kms.
pub(crate) fn shares(card: &str, unit: &str) -> (Point, Point) {
    let share =
        CardShare::from_bytes(Digest::of(format!("{card} opens {unit} a").as_bytes()).as_bytes()).unwrap();
    let delta = issuer_half(unit).delta(&share).unwrap();
    (share.public(), keeper_half(unit).site_share(delta).unwrap().public())
}

pub(crate) struct Town {
    pub(crate) state: State,
    pub(crate) leaves: Vec<Leaf>,
    pub(crate) at: Millis,
    drawn: u32,
}

impl Town {
    /// Three officers, who are administrators too, and nothing else.
    pub(crate) fn founded() -> Self {
        let envelope = founding_envelope(&founding(), &["sakura", "kenji", "midori"]);
        let leaf = Leaf::new(T0, envelope).unwrap();
        Self { state: State::found(&leaf).unwrap(), leaves: vec![leaf], at: T0, drawn: 0 }
    }

    /// Sites `main` and `branch`; the department `tax`, which `hanako` opens; the contract `acme` with its `team`, which
    /// `taro` opens; and `jiro`, who has a card and nothing more.
    pub(crate) fn working() -> Self {
        let mut town = Self::founded();
        town.done([site("main"), site("branch"), contract("acme", ACME_ENDS)], TWO);
        town.done([unit("tax"), team("team", "acme")], TWO);
        town.create("tax");
        town.create("team");
        // By two, so that they can take roles.
        town.done([enrol("hanako"), enrol_under("taro", "acme"), enrol("jiro")], TWO);
        town.done([grant("hanako", "tax"), grant("taro", "team")], ONE);
        town.issue("hanako", "tax");
        town.issue("taro", "team");
        town
    }

    pub(crate) fn organization(&self) -> Digest {
        self.state.organization()
    }

    pub(crate) fn head(&self) -> Checkpoint {
        let tree = self.state.tree();
        Checkpoint { size: tree.size(), root: tree.root(tree.size()).unwrap() }
    }

    /// The kms's note of the ledger as it is now.
    pub(crate) fn seen(&self) -> String {
        note(&self.organization(), &self.head(), Signer::Kms)
    }

    pub(crate) fn draft(&mut self, acts: impl IntoIterator<Item = Act>) -> Order {
        self.drawn += 1;
        Order {
            organization: self.organization(),
            id: id(&format!("order {}", self.drawn)),
            expires_at: self.at + DAY,
            seen: self.seen(),
            acts: acts.into_iter().collect(),
        }
    }

    pub(crate) fn order(&mut self, acts: impl IntoIterator<Item = Act>, cards: &[&str]) -> Envelope {
        envelope_by_cards(&self.draft(acts), cards)
    }

    /// An order whose signers saw this ledger as the kms of this label shows it.
    pub(crate) fn saw(&mut self, label: &str, seen: &Checkpoint, act: Act, cards: &[&str]) -> Envelope {
        let mut order = self.draft([act]);
        order.seen = note_with(label, &self.organization(), seen, Signer::Kms);
        envelope_by_cards(&order, cards)
    }

    /// The kms goes on with the keys of this label.
    pub(crate) fn recover_kms(&mut self, label: &str) {
        let head = self.head();
        let order = self.saw(label, &head, recovered(HalfHolder::Kms, label), TWO);
        self.append(order).unwrap();
    }

    /// Appends, a second later than the leaf before.
    pub(crate) fn append(&mut self, envelope: Envelope) -> Result<(), Rejected> {
        let leaf = Leaf::new(self.at + 1000, envelope).unwrap();
        self.state = self.state.apply(&leaf)?;
        self.at = leaf.at();
        self.leaves.push(leaf);
        Ok(())
    }

    /// An order that has to be accepted; its digest.
    pub(crate) fn done(&mut self, acts: impl IntoIterator<Item = Act>, cards: &[&str]) -> Digest {
        let envelope = self.order(acts, cards);
        let digest = envelope.digest();
        self.append(envelope).unwrap();
        digest
    }

    /// Why an envelope with an order is refused, by the question and by the fold, which leaves the state as it was.
    pub(crate) fn why_not(&mut self, envelope: Envelope) -> Rejected {
        let asked = self.state.check_order(&envelope, self.at + 1000).unwrap_err();
        let before = self.head();
        let refused = self.append(envelope).unwrap_err();
        assert_eq!(asked, refused, "the question and the fold disagree");
        assert_eq!(self.head(), before);
        refused
    }

    /// Why an order is refused.
    pub(crate) fn refused(&mut self, acts: impl IntoIterator<Item = Act>, cards: &[&str]) -> Rejected {
        let envelope = self.order(acts, cards);
        self.why_not(envelope)
    }

    pub(crate) fn half_context(&self, unit: &str, role: HalfRole) -> HalfContext {
        let order = self.state.unit(&id(unit)).unwrap().order;
        HalfContext { organization: self.organization().0, unit: id(unit).0, order: order.0, role }
    }

    pub(crate) fn unit_created(&self, unit: &str) -> FactBody {
        let context = self.half_context(unit, HalfRole::Issuer);
        let (issuer, keeper) = (issuer_half(unit), keeper_half(unit));
        FactBody::UnitCreated {
            unit: id(unit),
            order: Digest(context.order),
            issuer: PublicHalf { point: issuer.public().into(), proof: Base64(issuer.prove(&context).0) },
            keeper: PublicHalf { point: keeper.public().into(), proof: Base64(keeper.prove(&context).0) },
        }
    }

    pub(crate) fn grant_issued(&self, card: &str, unit: &str) -> FactBody {
        let grant = grant_id(card, unit);
        let (card_point, site_point) = shares(card, unit);
        FactBody::GrantIssued {
            grant,
            order: self.state.grant(&grant).unwrap().order,
            card_point: card_point.into(),
            site_point: site_point.into(),
            sites: ids(&["main", "branch"]),
        }
    }

    pub(crate) fn fact(&self, fact: FactBody, services: &[&str]) -> Envelope {
        envelope_by_services(&Fact { organization: self.organization(), fact }, services)
    }

    pub(crate) fn create(&mut self, unit: &str) {
        self.append(self.fact(self.unit_created(unit), &["ca", "kms"])).unwrap();
    }

    pub(crate) fn issue(&mut self, card: &str, unit: &str) {
        self.append(self.fact(self.grant_issued(card, unit), &["ca", "kms"])).unwrap();
    }

    /// Why a fact that both services signed is refused, asked in all three ways.
    pub(crate) fn fact_refused(&mut self, body: FactBody) -> Rejected {
        let fact = Fact { organization: self.organization(), fact: body.clone() };
        let unsigned = self.state.check_unsigned_fact(&fact).unwrap_err();
        let envelope = self.fact(body, &["ca", "kms"]);
        assert_eq!(self.state.check_fact(&envelope).unwrap_err(), unsigned);
        let before = self.head();
        assert_eq!(self.append(envelope).unwrap_err(), unsigned);
        assert_eq!(self.head(), before);
        unsigned
    }

    /// Whether `site` answers the card for its grant to `unit` at `at`.
    pub(crate) fn answers_at(
        &self,
        site: &str,
        card: &str,
        unit: &str,
        at: Millis,
    ) -> Result<(), NotAnswered> {
        self.state.may_answer(&id(site), &card_id(card), &grant_id(card, unit), Right::Open, at).map(|_| ())
    }

    pub(crate) fn answers(&self, site: &str, card: &str, unit: &str) -> Result<(), NotAnswered> {
        self.answers_at(site, card, unit, self.at)
    }
}
