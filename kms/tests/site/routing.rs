//! Routing without reading, at a site that runs (P-15.4 to P-15.14, I6).

mod arriving;
mod ending;
mod leaving;

use sqlx::Row as _;
use warifu_api::error::ErrorCode;
use warifu_api::wire::routing::{
    Batch, Parcel, RefusedSlip, ReleasedPart, Routed, RoutedItem, RoutedOutcome, ShownSlips,
};
use warifu_api::wire::site::{PartialsAnswer, PartialsRequest};
use warifu_ledger::Digest;
use warifu_ledger::dsse::Envelope;
use warifu_ledger::key::{Base64, Bytes};
use warifu_ledger::slip::{Slip, SlipId};
use warifu_ledger::statement::{Act, Released, Right, SitePart, Slips, UnitKind};
use warifu_split_key::hpke;
use warifu_split_key::partial::{PartialX, join};
use warifu_split_key::point::Point;
use warifu_split_key::routing::{Part, RoutedFile};

use crate::people::*;
use crate::town::{Town, code};

const CONTENT: &[u8] = b"what the citizen wrote";

fn rng() -> rand_core::UnwrapErr<getrandom::SysRng> {
    rand_core::UnwrapErr(getrandom::SysRng)
}

/// x-only ECDH in software.
fn ecdh(secret: &[u8; 32], point: &Point) -> PartialX {
    let secret = p256::SecretKey::from_slice(secret).unwrap();
    let point = p256::PublicKey::from_sec1_bytes(&point.to_uncompressed()).unwrap();
    let shared = p256::ecdh::diffie_hellman(secret.to_nonzero_scalar(), point.as_affine());
    PartialX::from_bytes(&(*shared.raw_secret_bytes()).into())
}

/// What a card computes.
fn by_card(card: &str, unit: &str, point: &Point) -> PartialX {
    ecdh(&scalar(&format!("{card} opens {unit} a")), point)
}

/// A file that somebody outside sealed to a unit.
#[derive(Clone)]
struct Letter {
    unit_key: Point,
    ephemeral: Point,
    ciphertext: Vec<u8>,
}

impl Letter {
    fn to(town: &Town, unit: &str) -> Self {
        let unit_key = town.kms.state().unit(&id(unit)).unwrap().key.unwrap().0;
        let sealed = hpke::seal(&mut rng(), &unit_key, b"age", &[], CONTENT).unwrap();
        let ephemeral = Point::from_sec1(&sealed.enc).unwrap();
        Self { unit_key, ephemeral, ciphertext: sealed.ciphertext }
    }

    fn stanza(&self) -> Digest {
        Digest::of(&self.ciphertext)
    }

    fn id(&self) -> Digest {
        Digest::of(&self.ephemeral.x())
    }

    fn item(&self) -> RoutedItem {
        RoutedItem { encapsulated: Bytes(self.ephemeral.to_uncompressed().to_vec()), stanza: self.stanza() }
    }

    /// Whether both halves' contributions open it.
    fn opens(&self, card: &PartialX, site: &PartialX) -> bool {
        let Ok(candidates) = join(card, site) else { return false };
        let opened = hpke::open(&candidates, &self.ephemeral, &self.unit_key, b"age", &[], &self.ciphertext);
        opened.is_ok_and(|content| content.as_slice() == CONTENT)
    }
}

/// A batch in the making.
struct Drawn {
    slips: Slips,
    items: Vec<Slip>,
}

impl Drawn {
    /// By this card's grant to `unit`, good for a month.
    fn by(town: &Town, card: &str, unit: &str) -> Self {
        let slips = Slips {
            organization: town.organization(),
            id: id(&format!("slips {:?}", getrandom_id())),
            unit: id(unit),
            grant: grant_id(card, unit),
            expires_at: town.kms.now() + 30 * DAY,
            count: 0,
            root: Digest([0; 32]),
        };
        Self { slips, items: Vec::new() }
    }

    /// One more file; `x` is what the card computed of it.
    fn add(
        mut self,
        town: &Town,
        letter: &Letter,
        target: &str,
        x: &PartialX,
        origin: Option<SlipId>,
    ) -> Self {
        let mut slip = Slip {
            index: self.items.len() as u64,
            ephemeral: letter.ephemeral.into(),
            stanza: letter.stanza(),
            target: id(target),
            origin,
            seal: Base64([0; 113]),
        };
        let key = town.kms.state().unit(&id(target)).and_then(|unit| unit.key);
        let key = key.map_or(public("no key").0, |(key, _)| key);
        let file = slip.routed_file(&self.slips);
        slip.seal = Base64(file.seal(&mut rng(), Part::Card, &key, x).unwrap());
        self.items.push(slip);
        self
    }

    fn signed_by(self, card: &str) -> Batch {
        let Self { slips, items } = self;
        let slips = slips.over(&items).unwrap();
        Batch { slips: signed(&slips, [format!("{card} 9C")]), items }
    }
}

fn getrandom_id() -> u64 {
    getrandom::u64().unwrap()
}

/// What a dispatcher's PC does with files for `unit`.
fn dispatched(town: &Town, card: &str, unit: &str, letters: &[(&Letter, &str)]) -> Batch {
    let drawn = letters.iter().fold(Drawn::by(town, card, unit), |drawn, (letter, target)| {
        drawn.add(town, letter, target, &by_card(card, unit, &letter.ephemeral), None)
    });
    drawn.signed_by(card)
}

fn front_desk(label: &str, targets: &[&str], sites: &[&str]) -> Act {
    let mut act = unit(label, None, sites);
    if let Act::UnitOrdered { kind, routes_to, .. } = &mut act {
        *kind = UnitKind::FrontDesk;
        routes_to.extend(targets.iter().map(|target| id(target)));
    }
    act
}

fn route_grant(card: &str, unit: &str) -> Act {
    let mut act = grant(card, unit);
    if let Act::GrantOrdered { right, .. } = &mut act {
        *right = Right::Route;
    }
    act
}

/// The town with the front desk `front`, where `michi` routes to `tax`, `team`, and `away`, which the site `branch` serves
/// alone; and with the front desk `gate` at `branch`, where `mori` routes to `tax`.
async fn with_front_desks(folder: std::path::PathBuf) -> Town {
    let town = Town::working(folder).await;
    town.kms.done([unit("away", None, &["branch"]), unit("library", None, &["main"])], TWO);
    town.kms.done(
        [front_desk("front", &["tax", "team", "away"], &["main"]), front_desk("gate", &["tax"], &["branch"])],
        TWO,
    );
    for unit in ["away", "library", "front", "gate"] {
        town.kms.create(unit);
    }
    town.kms.done(["michi", "mori", "yuki"].map(|label| Act::CardEnrolled(card(label, None))), TWO);
    town.kms.done([route_grant("michi", "front"), route_grant("mori", "gate")], TWO);
    town.kms.issue("mori", "gate", &["branch"]);
    town.give("michi", "front", &["main"]).await;
    town.settled().await;
    town.until_fresh().await;
    town
}

async fn route(town: &Town, card: &str, batch: &Batch) -> Result<Routed, ErrorCode> {
    town.card(card).post("/v1/routes", batch).await.map_err(|error| code(&error))
}

fn all_taken() -> Result<Routed, ErrorCode> {
    Ok(Routed { refused: Vec::new() })
}

fn refused(of: &[(u64, ErrorCode)]) -> Result<Routed, ErrorCode> {
    let refused = of.iter().map(|(index, code)| RefusedSlip { index: *index, code: *code });
    Ok(Routed { refused: refused.collect() })
}

/// Asks with a card for a file that may have been routed.
async fn ask_routed(town: &Town, card: &str, letter: &Letter) -> Result<Vec<ReleasedPart>, ErrorCode> {
    let request = PartialsRequest { items: Vec::new(), routed: vec![letter.item()] };
    let answer: PartialsAnswer =
        town.card(card).post("/v1/partials", &request).await.map_err(|error| code(&error))?;
    assert_eq!(answer.routed.len(), 1);
    match answer.routed.into_iter().next().unwrap() {
        RoutedOutcome::Released { parts } => {
            assert!(!parts.is_empty());
            Ok(parts)
        }
        RoutedOutcome::Refused { code } => Err(code),
    }
}

/// What a target's card makes of a released part: both contributions to the file, if the card's opens.
fn taken_apart(town: &Town, card: &str, unit: &str, part: &ReleasedPart) -> Option<(PartialX, PartialX)> {
    assert_eq!(part.grant, grant_id(card, unit));
    let shown = part.way.first().unwrap();
    let slips: Slips = shown.slips.statement().unwrap();
    assert!(slips.has(&shown.slip));
    let slip = &shown.slip.slip;
    let target = town.kms.state().unit(&id(unit)).unwrap().key.unwrap().0;
    let ephemeral = warifu_split_key::routing::ephemeral_of(&slip.seal.0).ok()?;
    let candidates = join(&by_card(card, unit, &ephemeral), &PartialX::from_bytes(&part.seal_x.0)).ok()?;
    let card_x = slip.routed_file(&slips).open_card_part(&candidates, &target, &slip.seal.0).ok()?;
    Some((card_x, PartialX::from_bytes(&part.file_x.0)))
}

/// Whether the card opens the file with what its site releases to it.
async fn opens_routed(town: &Town, card: &str, unit: &str, letter: &Letter) -> Result<bool, ErrorCode> {
    let parts = ask_routed(town, card, letter).await?;
    Ok(parts.iter().any(|part| {
        assert_eq!(part.unit_key, letter.unit_key.into());
        taken_apart(town, card, unit, part).is_some_and(|(card_x, site_x)| letter.opens(&card_x, &site_x))
    }))
}

/// Parts of routed files in the site's database.
async fn parts_kept(town: &Town) -> i64 {
    let row = sqlx::query("SELECT COUNT(*) AS n FROM site_part").fetch_one(town.pool()).await.unwrap();
    row.get("n")
}

/// Waits until the kms has whatever was routed, and the site knows that it has.
async fn nothing_waits(town: &Town) {
    let deadline = tokio::time::Instant::now() + crate::town::PATIENCE;
    loop {
        let waiting: i64 =
            sqlx::query_scalar("SELECT COUNT(*) FROM site_outbox").fetch_one(town.pool()).await.unwrap();
        if waiting == 0 {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "{waiting} batches wait for the kms");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// The site's half of the work, for a slip, by another site that holds the share of `card` for `unit`.
fn part_by_branch(town: &Town, card: &str, unit: &str, file: &RoutedFile) -> [u8; 113] {
    let (_, b) = shares(card, unit);
    let b: [u8; 32] = b.expose_bytes().as_slice().try_into().unwrap();
    let x = ecdh(&b, &file.ephemeral);
    let to = town.keys.transport.unwrap().0;
    file.seal(&mut rng(), Part::Site(id("main").0), &to, &x).unwrap()
}

/// A parcel as the kms hands it out, of what `mori` routed at `gate`.
fn parcel(town: &Town, place: u64, batch: &Batch) -> Parcel {
    let slips: Slips = batch.slips.statement().unwrap();
    let parts = batch.items.iter().map(|slip| {
        let sealed = part_by_branch(town, "mori", "gate", &slip.routed_file(&slips));
        SitePart { index: slip.index, sealed: Base64(sealed) }
    });
    let released = Released {
        organization: town.organization(),
        site: id("branch"),
        slips: batch.slips.digest(),
        to: id("main"),
        parts: parts.collect(),
    };
    Parcel {
        place,
        size: town.kms.size(),
        slips: ShownSlips { slips: batch.slips.clone(), shown: slips.prove(batch.items.clone()).unwrap() },
        before: Vec::new(),
        released: signed(&released, ["branch signing".to_owned()]),
    }
}

/// The kms has this for the site, which comes for it.
async fn delivered(town: &Town, parcels: Vec<Parcel>) {
    let last = parcels.iter().map(|parcel| parcel.place).max().unwrap();
    town.kms.set(|data| data.parcels.extend(parcels));
    let taken = async {
        loop {
            let row = sqlx::query("SELECT place FROM site_inbox").fetch_one(town.pool()).await.unwrap();
            if row.get::<i64, _>("place").cast_unsigned() >= last {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(crate::town::PATIENCE, taken).await.expect("the parcels are not taken");
}

fn revoke_slips(batch: &Batch, index: Option<u64>) -> Act {
    Act::SlipRevoked { slips: batch.slips.digest(), index }
}

/// The envelope of an order that was appended.
fn order_of(town: &Town, order: &Digest) -> Envelope {
    let data = town.kms.data();
    data.leaves.iter().map(|leaf| leaf.envelope().clone()).find(|one| one.digest() == *order).unwrap()
}
