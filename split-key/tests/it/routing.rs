//! Routing without reading (protocol section 15, invariant I6): what each party holds, and that it opens nothing with that alone.

use p256::elliptic_curve::sec1::ToSec1Point as _;
use warifu_split_key::hpke::{OpenError, open, seal};
use warifu_split_key::issuer::{CardShare, IssuerHalf};
use warifu_split_key::keeper::KeeperHalf;
use warifu_split_key::partial::{Candidate, PartialX, join};
use warifu_split_key::point::Point;
use warifu_split_key::routing::{Part, RoutedFile, SEALED_PART, ephemeral_of};
use warifu_split_key::unit_key;

use crate::{rng, software_partial};

const SITE: [u8; 16] = [0x51; 16];
const TRANSPORT: [u8; 32] = [0x77; 32];

/// A unit with one grant: its key, and the two shares.
struct Unit {
    key: Point,
    card: [u8; 32],
    site: [u8; 32],
}

fn unit(label: u8) -> Unit {
    let issuer = IssuerHalf::from_bytes(&[label; 32]).unwrap();
    let keeper = KeeperHalf::from_bytes(&[label + 1; 32]).unwrap();
    let card = CardShare::from_bytes(&[label + 7; 32]).unwrap();
    let site = keeper.site_share(issuer.delta(&card).unwrap()).unwrap();
    let key = unit_key(&issuer.public(), &keeper.public()).unwrap();
    Unit { key, card: *card.expose_bytes(), site: *site.expose_bytes() }
}

/// A letter to the front desk, and the slip by which it goes to the target.
struct Story {
    desk: Unit,
    target: Unit,
    letter: Vec<u8>,
    file: RoutedFile,
    card_part: [u8; SEALED_PART],
    site_part: [u8; SEALED_PART],
}

fn transport() -> Point {
    let key = p256::SecretKey::from_slice(&TRANSPORT).unwrap().public_key();
    Point::from_sec1(&key.to_sec1_point(true).to_bytes()).unwrap()
}

fn story() -> Story {
    let (desk, target) = (unit(1), unit(11));
    let sealed = seal(&mut rng(), &desk.key, b"age", &[], b"a letter").unwrap();
    let ephemeral = Point::from_sec1(&sealed.enc).unwrap();
    let file = RoutedFile {
        organization: [1; 32],
        slips: [2; 16],
        index: 3,
        unit: [4; 16],
        grant: [5; 16],
        ephemeral,
        stanza: [6; 32],
        target: [7; 16],
        origin: None,
        expires_at: 8,
    };
    let card_part =
        file.seal(&mut rng(), Part::Card, &target.key, &software_partial(&desk.card, &ephemeral)).unwrap();
    let site_part = file
        .seal(&mut rng(), Part::Site(SITE), &transport(), &software_partial(&desk.site, &ephemeral))
        .unwrap();
    Story { desk, target, letter: sealed.ciphertext, file, card_part, site_part }
}

impl Story {
    fn letter_opens(&self, candidates: &[Candidate]) -> bool {
        open(candidates, &self.file.ephemeral, &self.desk.key, b"age", &[], &self.letter).is_ok()
    }

    /// What target's card and site make of the dispatcher's seal.
    fn card_part(&self, file: &RoutedFile) -> Result<PartialX, OpenError> {
        let enc = ephemeral_of(&self.card_part)?;
        let candidates =
            join(&software_partial(&self.target.card, &enc), &software_partial(&self.target.site, &enc))
                .unwrap();
        file.open_card_part(&candidates, &self.target.key, &self.card_part)
    }

    /// What the target's site makes of the front desk's.
    fn site_part(&self, file: &RoutedFile, site: [u8; 16]) -> Result<PartialX, OpenError> {
        let x = software_partial(&TRANSPORT, &ephemeral_of(&self.site_part)?);
        file.open_site_part(&x, site, &transport(), &self.site_part)
    }
}

#[test]
fn the_target_opens_the_letter_with_what_both_have_sealed() {
    let story = story();
    let card = story.card_part(&story.file).unwrap();
    let site = story.site_part(&story.file, SITE).unwrap();
    assert!(story.letter_opens(&join(&card, &site).unwrap()));
}

#[test]
fn i6_the_dispatcher_has_a_card_part_and_seals_and_opens_nothing_with_them() {
    let story = story();
    // x(aR) for every R that he likes, with his card; both seals; never x(bR).
    let enc = ephemeral_of(&story.card_part).unwrap();
    let other_enc = ephemeral_of(&story.site_part).unwrap();
    let his = [story.file.ephemeral, enc, other_enc, story.desk.key, story.target.key];
    let his: Vec<_> = his.iter().map(|r| software_partial(&story.desk.card, r)).collect();
    for left in &his {
        for right in &his {
            let Ok(candidates) = join(left, right) else { continue };
            assert!(!story.letter_opens(&candidates));
            assert!(story.file.open_card_part(&candidates, &story.target.key, &story.card_part).is_err());
        }
        assert!(story.file.open_site_part(left, SITE, &transport(), &story.site_part).is_err());
    }
}

#[test]
fn i6_the_sites_have_their_parts_and_seals_and_open_nothing_with_them() {
    let story = story();
    let enc = ephemeral_of(&story.card_part).unwrap();
    let theirs = [
        software_partial(&story.desk.site, &story.file.ephemeral),
        story.site_part(&story.file, SITE).unwrap(),
        software_partial(&story.target.site, &enc),
        software_partial(&story.desk.site, &enc),
        software_partial(&story.target.site, &story.file.ephemeral),
    ];
    for left in &theirs {
        for right in &theirs {
            let Ok(candidates) = join(left, right) else { continue };
            assert!(!story.letter_opens(&candidates));
            assert!(story.file.open_card_part(&candidates, &story.target.key, &story.card_part).is_err());
        }
    }
}

#[test]
fn i6_a_slip_that_was_altered_anywhere_opens_neither_part() {
    let story = story();
    let alterations: [fn(&mut RoutedFile); 11] = [
        |file| file.organization[0] ^= 1,
        |file| file.slips[15] ^= 1,
        |file| file.index += 1,
        |file| file.unit[0] ^= 1,
        |file| file.grant[0] ^= 1,
        |file| file.ephemeral = Point::generator(),
        |file| file.stanza[31] ^= 1,
        |file| file.target[0] ^= 1,
        |file| file.origin = Some(([0; 32], 0)),
        |file| file.expires_at += 1,
        |file| file.origin = Some((file.organization, file.index)),
    ];
    for alter in alterations {
        let mut file = story.file;
        alter(&mut file);
        assert!(story.card_part(&file).is_err(), "{file:?}");
        assert!(story.site_part(&file, SITE).is_err(), "{file:?}");
    }
    assert!(story.site_part(&story.file, [0; 16]).is_err(), "another site's id");
}

#[test]
fn i6_a_seal_with_any_byte_altered_opens_nothing() {
    let story = story();
    for at in 0..SEALED_PART {
        let mut altered = Story { letter: story.letter.clone(), ..self::story() };
        (altered.file, altered.card_part, altered.site_part) = (story.file, story.card_part, story.site_part);
        altered.card_part[at] ^= 1;
        altered.site_part[at] ^= 1;
        assert!(altered.card_part(&altered.file).is_err(), "byte {at}");
        assert!(altered.site_part(&altered.file, SITE).is_err(), "byte {at}");
    }
}

#[test]
fn i6_the_parts_are_not_each_others() {
    let story = story();
    let enc = ephemeral_of(&story.site_part).unwrap();
    let candidates =
        join(&software_partial(&story.target.card, &enc), &software_partial(&story.target.site, &enc))
            .unwrap();
    assert!(story.file.open_card_part(&candidates, &story.target.key, &story.site_part).is_err());
    assert_ne!(story.file.info(Part::Card), story.file.info(Part::Site([0; 16])));
}
