//! One spelling: what is not exactly a statement is none (P-1.1, P-1.2, P-1.3, P-2.1, P-2.2).

use serde_json::Value;
use warifu_ledger::dsse::{Envelope, EnvelopeError};
use warifu_ledger::key::{Base64, Bytes, PublicKey};
use warifu_ledger::leaf::{Leaf, LeafError};
use warifu_ledger::statement::{Act, Attestation, Card, Fact, Founding, HalfHolder, Order, ServiceId, Stamp};
use warifu_ledger::{Digest, Id};

use crate::fixture::*;

/// What the parser says to an order whose payload was changed as text.
fn changed(from: &str, to: &str) -> String {
    let mut town = Town::working();
    let envelope = town.order([Act::CardEnrolled(card("saburo"))], ONE);
    let text = String::from_utf8(envelope.payload.0.clone()).unwrap();
    assert!(text.contains(from), "{text}");
    let payload = Bytes(text.replacen(from, to, 1).into_bytes());
    match (Envelope { payload, ..envelope }).statement::<Order>() {
        Err(EnvelopeError::Malformed { why }) => why,
        other => panic!("{other:?}"),
    }
}

fn says(why: &str, expected: &str) {
    assert!(why.contains(expected), "{why:?} does not contain {expected:?}");
}

#[test]
fn unknown_fields() {
    says(&changed("{\"organization\"", "{\"x\":1,\"organization\""), "unknown field `x`");
    says(&changed("\"serial\"", "\"x\":1,\"serial\""), "unknown field `x`");
    says(&changed("\"card\":", "\"x\":null,\"card\":"), "unknown field `x`");
    says(&changed("\"record\":", "\"text\":\"花子\",\"record\":"), "unknown field `text`");
}

#[test]
fn unknown_fields_of_each_act() {
    for act in [
        unit("u"),
        site("s"),
        contract("c", 1),
        end_contract("c"),
        enrol("e"),
        grant("e", "u"),
        revoke_grant("e", "u"),
        revoke_card("e"),
        revoke_member("e"),
        suspend("e"),
        resume("e"),
        roles("e", &[]),
        Act::PolicyChanged { policy: policy() },
        Act::SiteRemoved { site: id("s") },
        Act::ContractExtended { contract: id("c"), ends_at: 1 },
        Act::FileShredded { file: Digest::of(b"f") },
        enrol_member("e", None, &["u"]),
        place("e", &[], Some(1)),
        rename("u", "v"),
        close("u", Some(1)),
        merge("u", "v", Some(1)),
        rekey("u", "v"),
        custodians(HalfHolder::Ca, 2, &["e"]),
        recovered(HalfHolder::Ca, "ca 2"),
        rotated(ServiceId::Kms, "kms 2"),
        rotated(ServiceId::Site(id("s")), "s 2"),
    ] {
        let mut json = serde_json::to_value(&act).unwrap();
        assert_eq!(serde_json::from_value::<Act>(json.clone()).unwrap(), act);
        json["note"] = Value::from("x");
        let why = serde_json::from_value::<Act>(json).unwrap_err().to_string();
        says(&why, "unknown field `note`");
    }
}

#[test]
fn unknown_fields_beside_a_variant_without_any() {
    let none: Attestation = serde_json::from_str(r#"{"kind":"none"}"#).unwrap();
    assert_eq!(none, Attestation::None);
    assert_eq!(serde_json::to_string(&none).unwrap(), r#"{"kind":"none"}"#);
    let why = serde_json::from_str::<Attestation>(r#"{"kind":"none","serial":1}"#).unwrap_err();
    says(&why.to_string(), "unknown field `serial`");
}

#[test]
fn duplicate_fields() {
    says(&changed("\"expires_at\":", "\"expires_at\":1,\"expires_at\":"), "duplicate field `expires_at`");
    says(&changed("\"type\":", "\"type\":\"card.enrolled\",\"type\":"), "duplicate field `type`");
    says(&changed("\"serial\":", "\"serial\":1,\"serial\":"), "duplicate field `serial`");
    says(&changed("\"firmware\":", "\"firmware\":\"\",\"firmware\":"), "duplicate field `firmware`");
}

#[test]
fn unknown_acts_and_missing_fields() {
    says(&changed("card.enrolled", "card.ennobled"), "unknown variant `card.ennobled`");
    says(&changed("\"seen\":", "\"saw\":"), "unknown field `saw`");
    says(&changed("\"type\":\"card.enrolled\",", ""), "missing field `type`");
    let why = serde_json::from_str::<Act>(r#"{"type":"card.revoked"}"#).unwrap_err().to_string();
    says(&why, "missing field `card`");
}

#[test]
fn trailing_data() {
    let mut town = Town::working();
    let mut envelope = town.order([unit("welfare")], ONE);
    envelope.payload.0.extend_from_slice(b"{}");
    let why = envelope.statement::<Order>().unwrap_err().to_string();
    says(&why, "trailing characters");

    let mut leaf = town.leaves[0].as_bytes().to_vec();
    leaf.push(b'x');
    assert!(matches!(Leaf::from_bytes(leaf), Err(LeafError::Malformed { .. })));
    assert!(matches!(Leaf::from_bytes(Vec::new()), Err(LeafError::Malformed { .. })));
}

#[test]
fn hexadecimal_has_one_spelling() {
    let lower = id("tax").to_string();
    assert_eq!(lower.parse::<Id>(), Ok(id("tax")));
    for wrong in [&lower.to_uppercase(), &lower[1..], "", "zz", &format!("{lower}00"), &format!(" {lower}")] {
        assert!(wrong.parse::<Id>().is_err(), "{wrong:?}");
        assert!(serde_json::from_value::<Id>(Value::from(wrong)).is_err(), "{wrong:?}");
    }
    let digest = Digest::of(b"x").to_string();
    assert!(serde_json::from_value::<Digest>(Value::from(digest.clone())).is_ok());
    assert!(serde_json::from_value::<Digest>(Value::from(digest.to_uppercase())).is_err());
    assert!(serde_json::from_value::<Digest>(Value::from(lower)).is_err());
}

#[test]
fn base64_has_one_spelling() {
    let read = |text: &str| serde_json::from_value::<Base64<2>>(Value::from(text));
    assert_eq!(read("+/8=").unwrap(), Base64([0xfb, 0xff]));
    // No padding, the URL alphabet, bits left over, white space, too short, too long.
    for wrong in ["+/8", "-_8=", "+/9=", "+/8=\n", " +/8=", "+w==", "+/8A", ""] {
        assert!(read(wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn keys_are_compressed_points_of_the_curve() {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let read = |bytes: &[u8]| serde_json::from_value::<PublicKey>(Value::from(STANDARD.encode(bytes)));
    let key = public_of("some key");
    let compressed = key.0.to_compressed();
    assert_eq!(read(&compressed).unwrap(), key);
    assert!(read(&key.0.to_uncompressed()).is_err(), "uncompressed");
    assert!(read(&[0]).is_err(), "the identity");
    let mut off_curve = compressed;
    let off_curve = (0..=255)
        .map(|last| {
            off_curve[32] = last;
            off_curve
        })
        .find(|bytes| p256::PublicKey::from_sec1_bytes(bytes).is_err())
        .unwrap();
    assert!(read(&off_curve).is_err(), "off the curve");
    let mut beyond_field = [0xff; 33];
    beyond_field[0] = 2;
    assert!(read(&beyond_field).is_err(), "not below p");
    let mut hybrid = compressed;
    hybrid[0] = 6;
    assert!(read(&hybrid).is_err(), "hybrid");
}

#[test]
fn one_kind_of_statement_is_no_other() {
    let town = Town::working();
    let founding = town.leaves[0].envelope();
    assert!(founding.statement::<Founding>().is_ok());
    for wrong in [
        founding.statement::<Order>().err(),
        founding.statement::<Fact>().err(),
        founding.statement::<Stamp>().err(),
    ] {
        assert!(matches!(wrong, Some(EnvelopeError::WrongType { .. })), "{wrong:?}");
    }
}

#[test]
fn an_envelope_says_who_signed_and_nothing_more() {
    let town = Town::working();
    let envelope = town.leaves[0].envelope();
    let mut json = serde_json::to_value(envelope).unwrap();
    assert_eq!(serde_json::from_value::<Envelope>(json.clone()).unwrap(), *envelope);
    json["signatures"][0]["x5c"] = Value::from("");
    assert!(serde_json::from_value::<Envelope>(json).is_err());

    let key = service_keys("ca").signing;
    assert!(envelope.verified::<Founding>(&key).is_ok());
    let stranger = public_of("stranger");
    let signer = stranger.key_id();
    assert_eq!(envelope.verified::<Founding>(&stranger).unwrap_err(), EnvelopeError::NotSigned { signer });
}

#[test]
fn the_digest_covers_type_and_payload_and_no_signature() {
    let mut town = Town::working();
    let envelope = town.order([unit("welfare")], &[]);
    // The pre-authentication encoding of the DSSE specification, by hand.
    let payload = String::from_utf8(envelope.payload.0.clone()).unwrap();
    let pae = format!("DSSEv1 36 application/vnd.warifu.order.v1+json {} {payload}", payload.len());
    assert_eq!(envelope.digest(), Digest::of(pae.as_bytes()));

    let mut signed = envelope.clone();
    add_signature(&mut signed, &card_key("sakura", "9C"));
    assert_eq!(signed.digest(), envelope.digest());
    let retyped = Envelope { payload_type: "application/json".to_owned(), ..envelope.clone() };
    assert_ne!(retyped.digest(), envelope.digest());
    let mut spaced = envelope.clone();
    spaced.payload.0.push(b' ');
    assert_ne!(spaced.digest(), envelope.digest());
}

#[test]
fn no_statement_has_room_for_a_name() {
    // The record's text is not in the ledger, nor its key; only its id and the commitment.
    let town = Town::working();
    let hanako = record("hanako");
    for leaf in &town.leaves {
        let payload = String::from_utf8(leaf.envelope().payload.0.clone()).unwrap();
        let key = serde_json::to_string(&hanako.key).unwrap();
        assert!(!payload.contains("hanako") && !payload.contains(&key) && !payload.contains("大町市"));
    }
    let Act::CardEnrolled(Card { name, .. }) = enrol("hanako") else { unreachable!() };
    assert!(hanako.matches(&name));
}
