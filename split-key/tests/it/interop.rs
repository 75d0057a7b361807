//! Equality with other implementations: the `hpke` crate, and stanzas made by `age`.

use age::Recipient as _;
use age_core::format::FileKey;
use age_core::secrecy::ExposeSecret;
use base64::Engine;
use hpke::{Deserializable, Kem as _, OpModeR, OpModeS, Serializable};
use warifu_split_key::hpke::{OpenError, open, open_with_x, seal};
use warifu_split_key::issuer::{CardShare, IssuerHalf};
use warifu_split_key::keeper::KeeperHalf;
use warifu_split_key::partial::join;
use warifu_split_key::point::Point;
use warifu_split_key::unit_key;

use crate::{rng, software_partial};

type Kem = hpke::kem::DhP256HkdfSha256;
type Kdf = hpke::kdf::HkdfSha256;
type Aead = hpke::aead::ChaCha20Poly1305;

#[test]
fn the_hpke_crate_opens_ours() {
    let (private, public) = Kem::gen_keypair_with_rng(&mut rng());
    let recipient = Point::from_sec1(&public.to_bytes()).unwrap();
    for length in [0, 1, 16, 1000] {
        let text = vec![7; length];
        let sealed = seal(&mut rng(), &recipient, b"info", b"aad", &text).unwrap();
        let enc = <Kem as hpke::Kem>::EncappedKey::from_bytes(&sealed.enc).unwrap();
        let opened = hpke::single_shot_open::<Aead, Kdf, Kem>(
            &OpModeR::Base,
            &private,
            &enc,
            b"info",
            &sealed.ciphertext,
            b"aad",
        );
        assert_eq!(opened.unwrap(), text);
    }
}

#[test]
fn ours_opens_the_hpke_crate() {
    let secret = CardShare::draw(&mut rng());
    let public = <Kem as hpke::Kem>::PublicKey::from_bytes(&secret.public().to_uncompressed()).unwrap();
    let (enc, ciphertext) = hpke::single_shot_seal_with_rng::<Aead, Kdf, Kem>(
        &OpModeS::Base,
        &public,
        b"info",
        b"text",
        b"aad",
        &mut rng(),
    )
    .unwrap();
    let enc = Point::from_sec1(&enc.to_bytes()).unwrap();
    let x = software_partial(&secret.expose_bytes(), &enc);
    let recipient = secret.public();
    let opened = open_with_x(&x, &enc, &recipient, b"info", b"aad", &ciphertext).unwrap();
    assert_eq!(opened.as_slice(), b"text");

    let refused = Err(OpenError::DoesNotOpen);
    assert_eq!(open_with_x(&x, &enc, &recipient, b"INFO", b"aad", &ciphertext), refused);
    assert_eq!(open_with_x(&x, &enc, &recipient, b"info", b"", &ciphertext), refused);
    assert_eq!(open_with_x(&x, &recipient, &recipient, b"info", b"aad", &ciphertext), refused);
    assert_eq!(open_with_x(&x, &enc, &enc, b"info", b"aad", &ciphertext), refused);
    assert_eq!(open_with_x(&x, &enc, &recipient, b"info", b"aad", &ciphertext[1..]), refused);
    assert_eq!(open_with_x(&x, &enc, &recipient, b"info", b"aad", &[]), refused);
}

/// A `p256tag` stanza made by the `age` crate opens with a card's and a site's answer.
#[test]
fn stanzas_made_by_age_open_with_split_shares() {
    let (s1, s2) = (IssuerHalf::draw(&mut rng()), KeeperHalf::draw(&mut rng()));
    let p = unit_key(&s1.public(), &s2.public()).unwrap();
    let a = CardShare::draw(&mut rng());
    let b = s2.site_share(s1.delta(&a).unwrap()).unwrap();

    let hrp = bech32::Hrp::parse("age1tag").unwrap();
    let recipient = age_core::primitives::bech32_encode(hrp, &p.to_compressed());
    let recipient: age::tag::Recipient = recipient.parse().unwrap();
    for fill in 0..8 {
        let (stanzas, _) = recipient.wrap_file_key(&FileKey::new(Box::new([fill; 16]))).unwrap();
        let [stanza] = &stanzas[..] else { panic!("one stanza per recipient") };
        assert_eq!(stanza.tag, "p256tag");
        let enc = base64::prelude::BASE64_STANDARD_NO_PAD.decode(&stanza.args[1]).unwrap();
        let enc = Point::from_sec1(&enc).unwrap();
        let card = software_partial(&a.expose_bytes(), &enc);
        let site = software_partial(&b.expose_bytes(), &enc);
        let candidates = join(&card, &site).unwrap();
        let info = b"age-encryption.org/p256tag";
        let key = open(&candidates, &enc, &p, info, b"", &stanza.body).unwrap();
        assert_eq!(key.as_slice(), FileKey::new(Box::new([fill; 16])).expose_secret());
    }
}
