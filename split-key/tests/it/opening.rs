//! Any split opens what any sender sealed; a wrong half never does.

use proptest::prelude::*;
use warifu_split_key::hpke::{OpenError, open, seal};
use warifu_split_key::issuer::{CardShare, IssuerHalf};
use warifu_split_key::keeper::KeeperHalf;
use warifu_split_key::partial::join;
use warifu_split_key::point::Point;
use warifu_split_key::unit_key;

use crate::{rng, software_partial};

/// 32 bytes that are a scalar, with the small and sparse ones that uniform drawing never meets.
fn scalar_bytes() -> impl Strategy<Value = [u8; 32]> {
    prop_oneof![
        any::<[u8; 32]>(),
        (1_u8..).prop_map(|low| {
            let mut bytes = [0; 32];
            bytes[31] = low;
            bytes
        }),
        (0_usize..32, 1_u8..).prop_map(|(at, value)| {
            let mut bytes = [0; 32];
            bytes[at] = value;
            bytes
        }),
    ]
    .prop_filter("below the order", |bytes| CardShare::from_bytes(bytes).is_ok())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_split_opens(
        s1 in scalar_bytes(), s2 in scalar_bytes(), a in scalar_bytes(), other in scalar_bytes(),
        info in prop::collection::vec(any::<u8>(), 0..64),
        aad in prop::collection::vec(any::<u8>(), 0..64),
        text in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let s1 = IssuerHalf::from_bytes(&s1).unwrap();
        let s2 = KeeperHalf::from_bytes(&s2).unwrap();
        let a = CardShare::from_bytes(&a).unwrap();
        let (Ok(p), Ok(d)) = (unit_key(&s1.public(), &s2.public()), s1.delta(&a)) else { return Ok(()) };
        let Ok(b) = s2.site_share(d) else { return Ok(()) };

        let sealed = seal(&mut rng(), &p, &info, &aad, &text).unwrap();
        let enc = Point::from_sec1(&sealed.enc).unwrap();
        let card = software_partial(&a.expose_bytes(), &enc);
        let site = software_partial(&b.expose_bytes(), &enc);
        for candidates in [join(&card, &site).unwrap(), join(&site, &card).unwrap()] {
            let opened = open(&candidates, &enc, &p, &info, &aad, &sealed.ciphertext).unwrap();
            prop_assert_eq!(&*opened, &text);
        }

        // Another's share in place of either half, unless it is the same up to sign.
        let wrong = software_partial(&other, &enc);
        for (mine, replaced) in [(&card, &site), (&site, &card)] {
            if wrong.expose() == replaced.expose() { continue }
            let candidates = join(mine, &wrong).unwrap();
            prop_assert_eq!(
                open(&candidates, &enc, &p, &info, &aad, &sealed.ciphertext),
                Err(OpenError::DoesNotOpen)
            );
        }
    }
}
