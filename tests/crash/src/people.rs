//! The people of a town: three officers, and members whose cards are software. What they were told is remembered here, to be
//! held against what is there after a crash.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use p256::ecdsa::signature::hazmat::PrehashSigner as _;
use p256::ecdsa::{Signature, SigningKey};
use tokio::time::{Instant, sleep};
use warifu_api::error::ErrorCode;
use warifu_api::tls::Identity;
use warifu_api::wire::authority::{Appended, CheckpointAnswer, OrderRequest, PackagedShare};
use warifu_api::wire::site::{PartialItem, PartialOutcome, PartialsAnswer, PartialsRequest};
use warifu_api::{Client, ClientError};
use warifu_envelope::TagStanza;
use warifu_hardware::signer::{DigestSigner, SignerError};
use warifu_ledger::dsse::Envelope;
use warifu_ledger::key::Bytes;
use warifu_ledger::leaf::Leaf;
use warifu_ledger::state::State;
use warifu_ledger::statement::{Act, Order, ServiceKeys};
use warifu_ledger::{Digest, Id};
use warifu_replica::clock::{Clock as _, SystemClock};
use warifu_split_key::hpke;
use warifu_split_key::issuer::CardShare;
use warifu_split_key::partial::{PartialX, join};
use warifu_split_key::point::Point;

use crate::fixture::{DAY, card_id, card_key, envelope_by_cards, grant_id, id, public, record};
use crate::services::{Place, Who};

/// How long what must happen may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
/// How often is asked again.
pub(crate) const AGAIN: Duration = Duration::from_millis(5);
const SHARE_INFO: &[u8] = b"warifu/card-share/v1";
const ENCAPSULATED: usize = 65;

/// A private key in software.
struct Software(SigningKey);

impl DigestSigner for Software {
    fn public_key(&self) -> Point {
        public(&self.0).0
    }

    fn sign_digest(&self, digest: [u8; 32]) -> Result<[u8; 64], SignerError> {
        let signature: Signature = self.0.sign_prehash(&digest).map_err(SignerError::device)?;
        Ok(signature.to_bytes().into())
    }
}

fn identity(card: &str) -> Result<Identity> {
    Ok(Identity::self_signed(Arc::new(Software(card_key(card, "9A"))), card)?)
}

/// The x-coordinate of the product.
fn agree(secret: &SigningKey, point: &Point) -> Result<PartialX> {
    let other = p256::PublicKey::from_sec1_bytes(&point.to_uncompressed())?;
    let shared = p256::ecdh::diffie_hellman(secret.as_nonzero_scalar(), other.as_affine());
    Ok(PartialX::from_bytes(&(*shared.raw_secret_bytes()).into()))
}

/// Somebody with a card and one grant.
pub(crate) struct Member {
    pub(crate) label: String,
    pub(crate) unit: String,
    pub(crate) contract: Option<String>,
    pub(crate) grant: Id,
    /// `a`, once it is on the card.
    share: Option<SigningKey>,
    clients: BTreeMap<Who, Client>,
    /// Sites that have given a receipt for an order that ends this.
    pub(crate) receipted: BTreeSet<Who>,
    /// As [`Member::receipted`], of a suspension that was not taken back.
    pub(crate) suspended: BTreeSet<Who>,
}

/// What became of a request for a partial.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The file opened, or would with the share.
    Partial,
    Refused(ErrorCode),
    /// Nobody answered.
    Nobody,
}

/// An order with its answer, if there was one.
pub(crate) struct Ordered {
    pub(crate) request: OrderRequest,
    pub(crate) appended: Option<Appended>,
}

/// Everybody.
pub(crate) struct People {
    pub(crate) place: Place,
    pub(crate) kms: Client,
    pub(crate) strangers: BTreeMap<Who, Client>,
    pub(crate) sites: BTreeMap<Who, ServiceKeys>,
    /// Files of each unit, by its label.
    files: BTreeMap<String, (TagStanza, Point)>,
    pub(crate) members: Vec<Member>,
    pub(crate) gone: Vec<Member>,
    /// The ledger as people have read it.
    pub(crate) leaves: Vec<Leaf>,
    pub(crate) state: Option<State>,
    pub(crate) digests: HashSet<Digest>,
    /// Orders of this sequence.
    pub(crate) orders: Vec<Ordered>,
    /// Proposals of which the kms said that it keeps them.
    pub(crate) kept: HashSet<Digest>,
    /// Proposals that were withdrawn: they may be in no ledger.
    pub(crate) withdrawn: HashSet<Digest>,
    /// Every receipt that anybody saw, in its exact bytes.
    pub(crate) receipts: BTreeMap<(Digest, Who), String>,
    /// Partials that left, by site, grant and file.
    pub(crate) partials: BTreeMap<(Who, Id, Digest), u64>,
    /// The audit records seen, likewise.
    pub(crate) recorded: BTreeMap<(Who, Id, Digest), u64>,
    pub(crate) journals: BTreeMap<Who, (u64, Digest)>,
    pub(crate) drawn: u64,
}

/// What may pass: nobody there, or not yet.
pub(crate) fn may_pass(error: &ClientError) -> bool {
    use ErrorCode as E;
    matches!(
        error.code(),
        None | Some(
            E::NotReady | E::Busy | E::LeaseExpired | E::NotFound | E::Internal | E::StorageUnavailable
        )
    )
}

/// Asks until there is an answer.
pub(crate) async fn insist<T>(what: &str, mut ask: impl AsyncFnMut() -> Result<T, ClientError>) -> Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match ask().await {
            Ok(answer) => return Ok(answer),
            Err(error) if may_pass(&error) && Instant::now() < deadline => sleep(AGAIN).await,
            Err(error) => return Err(anyhow!(error).context(format!("in vain: {what}"))),
        }
    }
}

/// Waits until it holds.
pub(crate) async fn until(
    what: &str,
    mut holds: impl AsyncFnMut() -> Result<Result<(), String>>,
) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match holds().await? {
            Ok(()) => return Ok(()),
            Err(_) if Instant::now() < deadline => sleep(AGAIN).await,
            Err(why) => bail!("waited in vain: {what}: {why}"),
        }
    }
}

impl People {
    pub(crate) fn new(place: Place, sites: BTreeMap<Who, ServiceKeys>) -> Result<Self> {
        let client = |who: Who, key: Point, identity: Option<&Identity>| {
            Ok::<_, ClientError>(Client::new(place.address(who), key, identity)?.with_timeout(PATIENCE / 4))
        };
        let kms = client(Who::Kms, place.kms_tls, Some(&identity("sakura")?))?;
        let strangers = sites
            .iter()
            .map(|(who, keys)| Ok((*who, client(*who, keys.tls.0, None)?)))
            .collect::<Result<_, ClientError>>()?;
        Ok(Self {
            kms,
            strangers,
            sites,
            place,
            files: BTreeMap::new(),
            members: Vec::new(),
            gone: Vec::new(),
            leaves: Vec::new(),
            state: None,
            digests: HashSet::new(),
            orders: Vec::new(),
            kept: HashSet::new(),
            withdrawn: HashSet::new(),
            receipts: BTreeMap::new(),
            partials: BTreeMap::new(),
            recorded: BTreeMap::new(),
            journals: BTreeMap::new(),
            drawn: 0,
        })
    }

    /// Somebody new, of whom nobody has heard yet.
    pub(crate) fn newcomer(&self, label: String, unit: String, contract: Option<String>) -> Result<Member> {
        let identity = identity(&label)?;
        let clients = self
            .sites
            .iter()
            .map(|(who, keys)| {
                let client = Client::new(self.place.address(*who), keys.tls.0, Some(&identity))?;
                Ok((*who, client.with_timeout(PATIENCE / 4)))
            })
            .collect::<Result<_, ClientError>>()?;
        let grant = grant_id(&label, &unit);
        let (receipted, suspended) = (BTreeSet::new(), BTreeSet::new());
        Ok(Member { label, unit, contract, grant, share: None, clients, receipted, suspended })
    }

    /// An order of these acts, signed by two officers.
    pub(crate) async fn draft(&mut self, acts: Vec<Act>, names: &[&str]) -> Result<OrderRequest> {
        let seen: CheckpointAnswer =
            insist("a checkpoint", async || self.kms.get("/v1/checkpoint").await).await?;
        self.drawn += 1;
        let order = Order {
            organization: self.place.organization,
            id: id(&format!("order {}", self.drawn)),
            expires_at: SystemClock.wall_ms() + DAY,
            seen: seen.note,
            acts,
        };
        let written = serde_json::to_string(&order.acts)?;
        let records = names.iter().map(|text| record(text));
        let records = records.filter(|record| written.contains(&record.id.to_string())).collect();
        Ok(OrderRequest { envelope: envelope_by_cards(&order, &["sakura", "kenji"]), records })
    }

    /// Brings an order of this sequence to the kms, until it is answered; the answer is the same for ever.
    pub(crate) async fn order(&mut self, number: usize) -> Result<Appended> {
        let ordered = self.orders.get_mut(number).context("no such order")?;
        let request = &ordered.request;
        let appended: Appended =
            insist("an order", async || self.kms.post("/v1/orders", request).await).await?;
        same_place(ordered, appended)?;
        Ok(appended)
    }

    /// Takes a share from its package onto the card.
    pub(crate) fn import(&mut self, member: usize, share: &PackagedShare) -> Result<()> {
        let organization = self.place.organization;
        let member = self.members.get_mut(member).context("nobody")?;
        let (encapsulated, ciphertext) =
            share.sealed.0.split_at_checked(ENCAPSULATED).context("a short sealed share")?;
        let encapsulated = Point::from_sec1(encapsulated)?;
        let transport = card_key(&member.label, "9D");
        let info = [SHARE_INFO, organization.as_bytes(), share.grant.as_bytes()].concat();
        let x = agree(&transport, &encapsulated)?;
        let opened = hpke::open_with_x(&x, &encapsulated, &public(&transport).0, &info, &[], ciphertext)?;
        let scalar: [u8; 32] = opened.as_slice().try_into().context("no scalar")?;
        ensure!(
            CardShare::from_bytes(&scalar)?.public() == share.card_point.0,
            "another share than agreed on"
        );
        member.share = Some(SigningKey::from_slice(&scalar)?);
        Ok(())
    }

    pub(crate) fn has_share(&self, member: usize) -> bool {
        self.members.get(member).is_some_and(|member| member.share.is_some())
    }

    /// A file of that unit.
    fn file(&mut self, unit: &str) -> Result<Option<(TagStanza, Point)>> {
        if !self.files.contains_key(unit) {
            let key = self.state.as_ref().and_then(|state| state.unit(&id(unit)));
            let Some((key, _)) = key.and_then(|unit| unit.key) else { return Ok(None) };
            let mut sealed = Vec::new();
            warifu_envelope::seal(&[key], false, &b"a file"[..], &mut sealed)?;
            let stanzas = warifu_envelope::read_header(&*sealed)?.tag_stanzas()?;
            let stanza = stanzas.into_iter().next().context("a file without a stanza")?;
            self.files.insert(unit.to_owned(), (stanza, key));
        }
        Ok(self.files.get(unit).cloned())
    }

    /// Asks a site once for a partial with this card, and opens the file with it if the card has its share.
    pub(crate) async fn ask(&mut self, whom: Person, site: Who) -> Result<Answer> {
        let unit = self.person(whom)?.unit.clone();
        // A unit that has no key yet has no files.
        let Some((stanza, key)) = self.file(&unit)? else { return Ok(Answer::Nobody) };
        let member = self.person(whom)?;
        let client = member.clients.get(&site).context("no such site")?;
        let items = vec![PartialItem {
            grant: member.grant,
            encapsulated: Bytes(stanza.enc.to_uncompressed().to_vec()),
        }];
        let answer: PartialsAnswer =
            match client.post("/v1/partials", &PartialsRequest { items, routed: Vec::new() }).await {
                Ok(answer) => answer,
                Err(error) => return Ok(error.code().map_or(Answer::Nobody, Answer::Refused)),
            };
        let outcome = answer.items.into_iter().next().context("an answer without an item")?;
        let x = match outcome {
            PartialOutcome::Refused { code } => return Ok(Answer::Refused(code)),
            PartialOutcome::Partial { x } => PartialX::from_bytes(&x.0),
        };
        let (grant, label) = (member.grant, member.label.clone());
        ensure!(!member.receipted.contains(&site), "{label} was answered by {site:?} after its receipt");
        ensure!(!member.suspended.contains(&site), "{label} was answered by {site:?} while suspended there");
        if let Some(share) = &member.share {
            let candidates = join(&agree(share, &stanza.enc)?, &x)?;
            stanza
                .open(&candidates, &key)
                .with_context(|| format!("{label}'s halves at {site:?} do not meet"))?;
        }
        *self.partials.entry((site, grant, Digest(stanza.file_id()))).or_default() += 1;
        Ok(Answer::Partial)
    }

    pub(crate) fn person(&self, whom: Person) -> Result<&Member> {
        let found = match whom {
            Person::Member(index) => self.members.get(index),
            Person::Gone(index) => self.gone.get(index),
        };
        found.context("nobody")
    }

    /// Asks until the file opens.
    pub(crate) async fn opens(&mut self, member: usize, site: Who) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.ask(Person::Member(member), site).await?;
            match answer {
                Answer::Partial => return Ok(()),
                Answer::Nobody
                | Answer::Refused(
                    ErrorCode::LeaseExpired
                    | ErrorCode::Busy
                    | ErrorCode::Internal
                    | ErrorCode::StorageUnavailable,
                ) if Instant::now() < deadline => {
                    sleep(AGAIN).await;
                }
                other => bail!("{}'s file does not open at {site:?}: {other:?}", self.label(member)?),
            }
        }
    }

    /// Asks until there is a refusal that is not for want of a lease.
    pub(crate) async fn is_refused(&mut self, member: usize, site: Who) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.ask(Person::Member(member), site).await? {
                Answer::Refused(
                    ErrorCode::CardNotLive
                    | ErrorCode::CardSuspended
                    | ErrorCode::GrantNotLive
                    | ErrorCode::ContractOver,
                ) => return Ok(()),
                other if Instant::now() >= deadline => {
                    bail!("{} is not refused at {site:?}: {other:?}", self.label(member)?)
                }
                _ => sleep(AGAIN).await,
            }
        }
    }

    fn label(&self, member: usize) -> Result<&str> {
        Ok(&self.members.get(member).context("nobody")?.label)
    }

    pub(crate) fn card(&self, member: usize) -> Result<Id> {
        Ok(card_id(self.label(member)?))
    }

    /// Remembers a receipt, which is the same for ever.
    pub(crate) fn saw_receipt(&mut self, order: Digest, site: Who, envelope: &Envelope) -> Result<()> {
        let keys = self.sites.get(&site).context("no such site")?;
        envelope.verify(&keys.signing)?;
        let text = serde_json::to_string(envelope)?;
        let first = self.receipts.entry((order, site)).or_insert_with(|| text.clone());
        ensure!(*first == text, "{site:?} gave another receipt for {order}:\n{first}\n{text}");
        Ok(())
    }

    pub(crate) fn database(&self, who: Who) -> PathBuf {
        who.database(&self.place.folder)
    }
}

/// An order's place in the ledger never changes.
pub(crate) fn same_place(ordered: &mut Ordered, appended: Appended) -> Result<()> {
    ensure!(appended.digest == ordered.request.envelope.digest(), "an answer for another order");
    if let Some(before) = ordered.appended {
        let same = before.index == appended.index && before.at == appended.at;
        ensure!(same, "an order was appended twice: {before:?}, {appended:?}");
    }
    ordered.appended = Some(appended);
    Ok(())
}

/// Whose card.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Person {
    Member(usize),
    Gone(usize),
}
