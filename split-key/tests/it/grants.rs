use p256::SecretKey;
use p256::pkcs8::DecodePrivateKey;
use warifu_split_key::issuer::{CardShare, Delta, IssuerHalf};
use warifu_split_key::keeper::{KeeperHalf, SiteShare};
use warifu_split_key::point::{Point, PointError};
use warifu_split_key::{GrantError, ScalarError, check_grant, unit_key};

use crate::{rng, scalar};

const ORDER: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";

fn negated(bytes: &[u8; 32]) -> [u8; 32] {
    (-scalar(bytes)).to_bytes().0
}

fn minus(point: &Point) -> Point {
    let mut encoded = point.to_compressed();
    encoded[0] ^= 1;
    Point::from_sec1(&encoded).unwrap()
}

fn public(secret: &[u8; 32]) -> Point {
    CardShare::from_bytes(secret).unwrap().public()
}

#[test]
fn points_that_are_none_are_refused() {
    let good = Point::generator();
    assert_eq!(Point::from_sec1(&[]), Err(PointError::Length { length: 0 }));
    assert_eq!(Point::from_sec1(&[0]), Err(PointError::Length { length: 1 }), "the identity");
    assert_eq!(Point::from_sec1(&[0; 33]), Err(PointError::Encoding { tag: 0 }));
    assert_eq!(Point::from_sec1(&[0; 65]), Err(PointError::Encoding { tag: 0 }));
    for tag in [0, 1, 4, 5, 6, 7, 0xff] {
        let mut encoded = good.to_compressed();
        encoded[0] = tag;
        assert_eq!(Point::from_sec1(&encoded), Err(PointError::Encoding { tag }));
    }
    for tag in [0, 1, 2, 3, 5, 6, 7, 0xff] {
        let mut encoded = good.to_uncompressed();
        encoded[0] = tag;
        assert_eq!(Point::from_sec1(&encoded), Err(PointError::Encoding { tag }));
    }
    let mut off_curve = good.to_uncompressed();
    off_curve[64] ^= 1;
    assert_eq!(Point::from_sec1(&off_curve), Err(PointError::NotOnCurve));
    let mut zero = [0; 65];
    zero[0] = 4;
    assert_eq!(Point::from_sec1(&zero), Err(PointError::NotOnCurve));
}

#[test]
fn sums_that_cancel_out_are_the_identity() {
    let g = Point::generator();
    assert_eq!(Point::checked_add(&g, &minus(&g)), Err(PointError::Identity));
    assert_eq!(Point::checked_sub(&g, &g), Err(PointError::Identity));
    assert_eq!(unit_key(&g, &minus(&g)), Err(PointError::Identity));
    let double = Point::checked_add(&g, &g).unwrap();
    assert_eq!(Point::checked_sub(&double, &g).unwrap(), g);
    assert!(g.is_plus_or_minus(&minus(&g)) && g.is_plus_or_minus(&g) && !g.is_plus_or_minus(&double));
}

#[test]
fn encodings_of_points_agree() {
    let point = CardShare::draw(&mut rng()).public();
    assert_eq!(Point::from_sec1(&point.to_compressed()).unwrap(), point);
    assert_eq!(Point::from_sec1(&point.to_uncompressed()).unwrap(), point);
    assert_eq!(point.x(), point.to_compressed()[1..]);
    assert_eq!(format!("{point:?}"), hex::encode(point.to_compressed()));
}

#[test]
fn scalars_out_of_range_are_refused() {
    let order: [u8; 32] = hex::decode(ORDER).unwrap().try_into().unwrap();
    for bad in [[0; 32], order, [0xff; 32]] {
        assert_eq!(IssuerHalf::from_bytes(&bad).err(), Some(ScalarError::OutOfRange));
        assert_eq!(KeeperHalf::from_bytes(&bad).err(), Some(ScalarError::OutOfRange));
        assert_eq!(CardShare::from_bytes(&bad).err(), Some(ScalarError::OutOfRange));
        assert_eq!(SiteShare::from_bytes(&bad).err(), Some(ScalarError::OutOfRange));
        assert_eq!(Delta::from_bytes(&bad).err(), Some(ScalarError::OutOfRange));
    }
}

#[test]
fn shares_that_would_be_zero_are_refused() {
    let s1 = IssuerHalf::draw(&mut rng());
    let a = CardShare::from_bytes(&s1.expose_bytes()).unwrap();
    assert_eq!(s1.delta(&a).err(), Some(ScalarError::Zero));

    let s2 = KeeperHalf::draw(&mut rng());
    let d = Delta::from_bytes(&negated(&s2.expose_bytes())).unwrap();
    assert_eq!(s2.site_share(d).err(), Some(ScalarError::Zero));
}

#[test]
fn a_grant_satisfies_the_public_equation() {
    let (s1, s2) = (IssuerHalf::draw(&mut rng()), KeeperHalf::draw(&mut rng()));
    let p = unit_key(&s1.public(), &s2.public()).unwrap();
    let a = CardShare::draw(&mut rng());
    let delta = Delta::from_bytes(&s1.delta(&a).unwrap().expose_bytes()).unwrap();
    let b = s2.site_share(delta).unwrap();
    assert_eq!(check_grant(&p, &a.public(), &b.public()), Ok(()));
    assert_eq!(Point::checked_sub(&p, &a.public()).unwrap(), b.public());

    // A second card of the same unit: other shares, the same key.
    let a2 = CardShare::draw(&mut rng());
    let b2 = s2.site_share(s1.delta(&a2).unwrap()).unwrap();
    assert_eq!(check_grant(&p, &a2.public(), &b2.public()), Ok(()));
    assert_eq!(check_grant(&p, &a.public(), &b2.public()), Err(GrantError::SumMismatch));
    assert_eq!(check_grant(&p, &a.public(), &minus(&a.public())), Err(GrantError::SumMismatch));
    assert_eq!(check_grant(&minus(&p), &a.public(), &b.public()), Err(GrantError::SumMismatch));
}

#[test]
fn degenerate_grants_are_refused() {
    let p = CardShare::draw(&mut rng()).public();
    let double = Point::checked_add(&p, &p).unwrap();
    // A = -P, B = 2P adds up, and gives the site's share away to whoever knows the card's.
    assert_eq!(check_grant(&p, &minus(&p), &double), Err(GrantError::CardShareDegenerate));
    assert_eq!(check_grant(&p, &double, &minus(&p)), Err(GrantError::SiteShareDegenerate));
    assert_eq!(check_grant(&p, &p, &double), Err(GrantError::CardShareDegenerate));
    assert_eq!(check_grant(&p, &double, &p), Err(GrantError::SiteShareDegenerate));
}

#[test]
fn a_site_share_is_a_pkcs8_key() {
    let secret = KeeperHalf::draw(&mut rng()).expose_bytes();
    let share = SiteShare::from_bytes(&secret).unwrap();
    let der = share.to_pkcs8_der();
    assert_eq!(der.len(), 67);
    let parsed = SecretKey::from_pkcs8_der(&der).unwrap();
    assert_eq!(parsed.to_bytes().as_slice(), secret.as_slice());
    assert_eq!(share.public(), public(&secret));
}
