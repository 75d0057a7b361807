use p256::ecdh::diffie_hellman;
use warifu_api::wire::SecretBytes;
use warifu_api::wire::site::MyGrant;
use warifu_envelope::{read_header, seal};
use warifu_hardware::card::ShareSlot;
use warifu_ledger::dsse::Envelope;
use warifu_ledger::key::Base64;
use warifu_ledger::slip::{ProvedSlip, Slip, SlipId, WAY_LIMIT};
use warifu_split_key::issuer::{CardShare, IssuerHalf};
use warifu_split_key::keeper::{KeeperHalf, SiteShare};
use warifu_split_key::routing::{Part, SEALED_PART};
use warifu_split_key::unit_key;
use zeroize::Zeroizing;

use super::*;
use crate::rng;

const ORGANIZATION: Digest = Digest([1; 32]);
const FRONT: Id = Id([2; 16]);
const TAX: Id = Id([3; 16]);
const WELFARE: Id = Id([4; 16]);

/// A unit's key, and one grant to it.
struct Unit {
    key: Point,
    a: CardShare,
    b: SiteShare,
}

impl Unit {
    fn draw() -> Self {
        let (issuer, keeper) = (IssuerHalf::draw(&mut rng()), KeeperHalf::draw(&mut rng()));
        let a = CardShare::draw(&mut rng());
        let b = keeper.site_share(issuer.delta(&a).unwrap()).unwrap();
        Self { key: unit_key(&issuer.public(), &keeper.public()).unwrap(), a, b }
    }
}

fn x(share: &[u8; 32], point: &Point) -> [u8; 32] {
    let secret = p256::SecretKey::from_slice(share).unwrap();
    let point = p256::PublicKey::from_sec1_bytes(&point.to_uncompressed()).unwrap();
    (*diffie_hellman(&secret.to_nonzero_scalar(), point.as_affine()).raw_secret_bytes()).into()
}

fn secret(bytes: [u8; 32]) -> SecretBytes {
    SecretBytes(Zeroizing::new(bytes))
}

/// Two files for the front desk that were sent to the tax department, whose member has the grant `TAX`.
struct Town {
    front: Unit,
    tax: Unit,
    stanzas: [TagStanza; 2],
    envelope: Envelope,
    proved: Vec<ProvedSlip>,
    held: Vec<Usable>,
}

impl Town {
    fn draw() -> Self {
        let (front, tax, welfare) = (Unit::draw(), Unit::draw(), Unit::draw());
        let stanzas = [(), ()].map(|()| {
            let mut sealed = Vec::new();
            seal(&[front.key], false, &b"x"[..], &mut sealed).unwrap();
            read_header(&sealed[..]).unwrap().tag_stanzas().unwrap().remove(0)
        });
        let slips = slips(ORGANIZATION, FRONT);
        let slip = |(index, stanza): (usize, &TagStanza)| {
            let card = PartialX::from_bytes(&x(&front.a.expose_bytes(), &stanza.enc));
            slip(&slips, index, stanza, TAX, None, &tax.key, &card)
        };
        let items: Vec<Slip> = stanzas.iter().enumerate().map(slip).collect();
        let (envelope, proved) = prove(slips, items);
        let held = [(TAX, &tax), (WELFARE, &welfare)].map(|(unit, of)| held(unit, of)).into();
        Self { front, tax, stanzas, envelope, proved, held }
    }

    fn shown(&self, index: usize) -> ShownSlip {
        ShownSlip { slips: self.envelope.clone(), slip: self.proved[index].clone() }
    }

    /// What an honest site releases of the first file.
    fn part(&self) -> ReleasedPart {
        let seal = Point::from_sec1(&self.proved[0].slip.seal.0[..65]).unwrap();
        ReleasedPart {
            grant: TAX,
            way: vec![self.shown(0)],
            unit_key: self.front.key.into(),
            seal_x: secret(x(&self.tax.b.expose_bytes(), &seal)),
            file_x: secret(x(&self.front.b.expose_bytes(), &self.stanzas[0].enc)),
        }
    }

    fn check(&self, part: ReleasedPart) -> Result<Released, NotUsed> {
        Released::check(part, &self.stanzas[0], ORGANIZATION, &self.held)
    }

    /// What the card of the tax department's member answers.
    fn answer(&self, released: &Released) -> PartialX {
        PartialX::from_bytes(&x(&self.tax.a.expose_bytes(), &released.question().1))
    }
}

fn held(unit: Id, of: &Unit) -> Usable {
    let grant = MyGrant {
        grant: unit,
        unit,
        unit_name: String::new(),
        right: Right::Open,
        unit_key: of.key.into(),
        card_point: of.a.public().into(),
        starts_at: None,
        routes_to: [].into(),
    };
    Usable { grant, slot: ShareSlot::new(0).unwrap() }
}

fn slips(organization: Digest, unit: Id) -> Slips {
    let (id, root) = (Id([5; 16]), Digest([0; 32]));
    Slips { organization, id, unit, grant: Id([6; 16]), expires_at: 9, count: 0, root }
}

fn slip(
    slips: &Slips,
    index: usize,
    stanza: &TagStanza,
    target: Id,
    origin: Option<SlipId>,
    key: &Point,
    card: &PartialX,
) -> Slip {
    let mut slip = Slip {
        index: index.try_into().unwrap(),
        ephemeral: stanza.enc.into(),
        stanza: Digest(stanza.digest()),
        target,
        origin,
        seal: Base64([0; SEALED_PART]),
    };
    slip.seal = Base64(slip.routed_file(slips).seal(&mut rng(), Part::Card, key, card).unwrap());
    slip
}

fn prove(slips: Slips, items: Vec<Slip>) -> (Envelope, Vec<ProvedSlip>) {
    let slips = slips.over(&items).unwrap();
    let proved = slips.prove(items).unwrap();
    (Envelope::unsigned(&slips).unwrap(), proved)
}

#[test]
fn what_fits_opens_this_file_and_no_other() {
    let town = Town::draw();
    let released = town.check(town.part()).unwrap();
    let answer = town.answer(&released);
    assert!(released.open(&answer, &town.stanzas[0]).is_ok());
    let released = town.check(town.part()).unwrap();
    assert!(matches!(released.open(&answer, &town.stanzas[1]), Err(NotUsed::DoesNotOpen)));
    // The front desk's own card opens no seal.
    let released = town.check(town.part()).unwrap();
    let other = PartialX::from_bytes(&x(&town.front.a.expose_bytes(), &released.question().1));
    assert!(matches!(released.open(&other, &town.stanzas[0]), Err(NotUsed::DoesNotOpen)));
}

type Alteration<'a> = Box<dyn Fn(&mut ReleasedPart) + 'a>;

#[test]
fn what_does_not_fit_never_gets_to_the_card() {
    let town = Town::draw();
    let refused = |alter: &dyn Fn(&mut ReleasedPart)| {
        let mut part = town.part();
        alter(&mut part);
        town.check(part).err().map(|why| format!("{why:?}").split([' ', '(']).next().unwrap().to_owned())
    };
    let statement = |change: &dyn Fn(&mut Slips)| {
        let mut slips: Slips = town.envelope.statement().unwrap();
        change(&mut slips);
        Envelope::unsigned(&slips).unwrap()
    };
    let elsewhere = |stanza: &TagStanza, organization, target, origin| {
        let slips = slips(organization, FRONT);
        let card = PartialX::from_bytes(&[7; 32]);
        let items = vec![slip(&slips, 0, stanza, target, origin, &town.tax.key, &card)];
        let (slips, mut proved) = prove(slips, items);
        vec![ShownSlip { slips, slip: proved.remove(0) }]
    };
    let table: Vec<(&str, &str, Alteration<'_>)> = vec![
        ("an unknown grant", "Grant", Box::new(|part| part.grant = Id([9; 16]))),
        ("another unit's grant", "OtherFile", Box::new(|part| part.grant = WELFARE)),
        ("no way", "OtherWay", Box::new(|part| part.way.clear())),
        ("the way twice", "OtherWay", Box::new(|part| part.way.push(part.way[0].clone()))),
        ("another place", "NotAmong", Box::new(|part| part.way[0].slip.slip.index = 1)),
        ("a place far out", "NotAmong", Box::new(|part| part.way[0].slip.slip.index = u64::MAX)),
        ("another target", "NotAmong", Box::new(|part| part.way[0].slip.slip.target = WELFARE)),
        (
            "another seal",
            "NotAmong",
            Box::new(|part| {
                part.way[0].slip.slip.seal = town.proved[1].slip.seal;
            }),
        ),
        ("no proof", "NotAmong", Box::new(|part| part.way[0].slip.proof.clear())),
        ("another file's slip", "OtherFile", Box::new(|part| part.way[0] = town.shown(1))),
        (
            "another stanza with this R",
            "OtherFile",
            Box::new(|part| {
                let stanza = TagStanza { body: [0; 32], ..town.stanzas[0].clone() };
                part.way = elsewhere(&stanza, ORGANIZATION, TAX, None);
            }),
        ),
        (
            "this stanza with another R",
            "OtherFile",
            Box::new(|part| {
                let mut slip = town.proved[0].slip.clone();
                (slip.ephemeral, slip.index) = (town.stanzas[1].enc.into(), 0);
                let (slips, mut proved) = prove(slips(ORGANIZATION, FRONT), vec![slip]);
                part.way = vec![ShownSlip { slips, slip: proved.remove(0) }];
            }),
        ),
        (
            "sent to another unit",
            "OtherFile",
            Box::new(|part| {
                part.way = elsewhere(&town.stanzas[0], ORGANIZATION, WELFARE, None);
            }),
        ),
        (
            "another organization's",
            "OtherOrganization",
            Box::new(|part| {
                part.way = elsewhere(&town.stanzas[0], Digest([8; 32]), TAX, None);
            }),
        ),
        (
            "an origin that is not shown",
            "OtherWay",
            Box::new(|part| {
                let origin = SlipId { slips: town.envelope.digest(), index: 0 };
                part.way = elsewhere(&town.stanzas[0], ORGANIZATION, TAX, Some(origin));
            }),
        ),
        ("another key", "OtherKey", Box::new(|part| part.unit_key = town.tax.key.into())),
        (
            "another number of slips",
            "NotAmong",
            Box::new(|part| {
                part.way[0].slips = statement(&|slips| slips.count = 3);
            }),
        ),
        (
            "none at all",
            "NotAmong",
            Box::new(|part| {
                part.way[0].slips = statement(&|slips| slips.count = 0);
            }),
        ),
        (
            "another statement",
            "Statement",
            Box::new(|part| {
                part.way[0].slips.payload_type = "application/vnd.warifu.order.v1+json".to_owned();
            }),
        ),
        (
            "a seal without a point",
            "DoesNotOpen",
            Box::new(|part| {
                let mut slip = town.proved[0].slip.clone();
                slip.seal = Base64([0; SEALED_PART]);
                let (slips, mut proved) = prove(slips(ORGANIZATION, FRONT), vec![slip]);
                part.way = vec![ShownSlip { slips, slip: proved.remove(0) }];
            }),
        ),
    ];
    for (what, why, alter) in table {
        assert_eq!(refused(&*alter).as_deref(), Some(why), "{what}");
    }
    // Who may only route opens nothing.
    let mut town = town;
    town.held[0].grant.right = Right::Route;
    assert!(matches!(town.check(town.part()), Err(NotUsed::Grant { .. })));
}

#[test]
fn a_file_that_went_further_shows_the_whole_way() {
    let town = Town::draw();
    let welfare = Unit::draw();
    let further = |ends: u64| {
        let mut on = slips(ORGANIZATION, TAX);
        on.expires_at = ends;
        let card = PartialX::from_bytes(&x(&town.front.a.expose_bytes(), &town.stanzas[0].enc));
        let origin = Some(SlipId { slips: town.envelope.digest(), index: 0 });
        let items = vec![slip(&on, 0, &town.stanzas[0], WELFARE, origin, &welfare.key, &card)];
        let (envelope, mut proved) = prove(on, items);
        let shown = ShownSlip { slips: envelope, slip: proved.remove(0) };
        let seal = Point::from_sec1(&shown.slip.slip.seal.0[..65]).unwrap();
        ReleasedPart {
            grant: WELFARE,
            way: vec![shown, town.shown(0)],
            seal_x: secret(x(&welfare.b.expose_bytes(), &seal)),
            ..town.part()
        }
    };
    let held = vec![held(WELFARE, &welfare)];
    let check = |part| Released::check(part, &town.stanzas[0], ORGANIZATION, &held);
    let released = check(further(9)).unwrap();
    let answer = PartialX::from_bytes(&x(&welfare.a.expose_bytes(), &released.question().1));
    assert!(released.open(&answer, &town.stanzas[0]).is_ok());
    assert!(matches!(check(further(10)), Err(NotUsed::OtherWay)), "for longer than it came");
    let mut short = further(9);
    short.way.truncate(1);
    assert!(matches!(check(short), Err(NotUsed::OtherWay)));
    let mut long = further(9);
    long.way = vec![long.way[0].clone(); WAY_LIMIT + 1];
    assert!(matches!(check(long), Err(NotUsed::OtherWay)));
}
