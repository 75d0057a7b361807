//! `docs/vectors/`: the bytes on the wire, for whoever writes a second implementation.
//!
//! The files are made from the fixture's fixed keys with deterministic signatures (RFC 6979, Ed25519), so code and files
//! differ only if the format changed. `WARIFU_BLESS=1 cargo test -p warifu-ledger vectors` writes them anew.

use std::path::PathBuf;

use serde_json::{Value, json};
use warifu_ledger::Digest;
use warifu_ledger::checkpoint::{Checkpoint, Signer};
use warifu_ledger::delivery::{Sender, received, sent_by};
use warifu_ledger::dsse::Envelope;
use warifu_ledger::journal;
use warifu_ledger::key::Base64;
use warifu_ledger::leaf::Leaf;
use warifu_ledger::register::{Commitment, Record};
use warifu_ledger::slip::{ProvedSlip, Slip};
use warifu_ledger::state::State;
use warifu_ledger::statement::{
    Addressee, Delivery, DirectoryStatement, Fact, FactBody, Founding, GrantKey, HalfHolder, Handling, Order,
    Receipt, Received, ReceivedState, Released, ServiceId, SitePart, Slips, Stamp, Standing, Statement,
};
use warifu_split_key::routing::Part;

use crate::fixture::*;

const KEYS: &str = "Test keys: a private key is SHA-256 over its label in UTF-8, big-endian; an id the first 16 bytes of SHA-256 over its label.";

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/vectors").join(format!("{name}.json"))
}

fn read(name: &str) -> Value {
    let text = std::fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}.json: {error}"));
    serde_json::from_str(&text).unwrap()
}

/// Compares the file with what the code makes, or writes it when blessed.
fn check(name: &str, made: &Value) {
    assert!(made["comment"].is_string());
    if std::env::var_os("WARIFU_BLESS").is_some_and(|bless| bless == "1") {
        std::fs::create_dir_all(path(name).parent().unwrap()).unwrap();
        std::fs::write(path(name), format!("{made:#}\n")).unwrap();
    }
    assert_eq!(
        read(name),
        *made,
        "docs/vectors/{name}.json differs: WARIFU_BLESS=1 if the format was meant to change"
    );
}

fn envelope_vector(comment: &str, labels: &[&str], envelope: &Envelope) -> Value {
    let payload = String::from_utf8(envelope.payload.0.clone()).unwrap();
    let signers: Vec<Value> = labels
        .iter()
        .map(|label| json!({"label": label, "public": public_of(label), "keyid": public_of(label).key_id()}))
        .collect();
    json!({
        "comment": format!("{comment} {KEYS}"),
        "signers": signers,
        "payload": payload,
        "digest": envelope.digest(),
        "envelope": envelope,
    })
}

/// The file's envelope, read as a second implementation would: its payload is a statement, its signatures verify.
fn verified<S: Statement + serde::de::DeserializeOwned>(name: &str) -> S {
    let file = read(name);
    let envelope: Envelope = serde_json::from_value(file["envelope"].clone()).unwrap();
    assert_eq!(file["digest"], json!(envelope.digest()));
    assert_eq!(file["payload"].as_str().unwrap().as_bytes(), envelope.payload.0);
    let signers = file["signers"].as_array().unwrap();
    assert_eq!(signers.len(), envelope.signatures.len());
    for signer in signers {
        envelope.verify(&serde_json::from_value(signer["public"].clone()).unwrap()).unwrap();
    }
    envelope.statement().unwrap()
}

/// The leaf of the working town whose payload contains `text`.
fn leaf_with<'a>(town: &'a Town, text: &str) -> &'a Envelope {
    town.leaves
        .iter()
        .map(Leaf::envelope)
        .find(|envelope| String::from_utf8_lossy(&envelope.payload.0).contains(text))
        .unwrap()
}

#[test]
fn founding_vector() {
    let town = Town::working();
    let labels = ["sakura 9C", "kenji 9C", "midori 9C", "ca signing", "kms signing"];
    let comment =
        "Entry 0: signed by every officer's card, the ca and the kms. Its digest is the organization's name.";
    check("founding", &envelope_vector(comment, &labels, town.leaves[0].envelope()));
    assert_eq!(verified::<Founding>("founding"), founding());
}

#[test]
fn order_vector() {
    let mut town = Town::working();
    let acts = [revoke_member("hanako"), end_contract("acme")];
    let envelope = town.order(acts.clone(), &["sakura", "kenji"]);
    let comment =
        "An order of two acts, signed by two officers' cards (ES256 over the pre-authentication encoding).";
    check("order", &envelope_vector(comment, &["sakura 9C", "kenji 9C"], &envelope));
    assert_eq!(verified::<Order>("order").acts, acts);
}

#[test]
fn order_of_units_and_dates_vector() {
    let mut town = Town::working();
    town.done([unit("welfare"), unit("library")], ONE);
    town.create("welfare");
    town.create("library");
    let april = T0 + 20 * DAY;
    let acts = [
        enrol_member("saburo", None, &["tax"]),
        place("hanako", &["welfare"], Some(april)),
        rename("welfare", "福祉・子育て課"),
        serve_at("welfare", &["main"]),
        revoke_grant_at("hanako", "tax", april),
        grant_between("hanako opens welfare", "hanako", "welfare", Some(april), Some(april + 365 * DAY)),
        revoke_member_at("jiro", april),
        merge("library", "welfare", Some(april)),
        rekey("tax", "tax 2"),
        close("team", Some(april)),
    ];
    let envelope = town.order(acts.clone(), TWO);
    let comment = "An order of every act that concerns members without cards, units that change, and what is ordered ahead.";
    check("order-units-and-dates", &envelope_vector(comment, &["sakura 9C", "kenji 9C"], &envelope));
    assert_eq!(verified::<Order>("order-units-and-dates").acts, acts);
    town.append(envelope).unwrap();
}

#[test]
fn order_of_rotated_keys_vector() {
    let mut town = Town::working();
    let acts = [
        rotated(ServiceId::Ca, "ca 2"),
        rotated(ServiceId::Kms, "kms 2"),
        rotated(ServiceId::Site(id("main")), "main 2"),
    ];
    let envelope = town.order(acts.clone(), TWO);
    let comment = "An order that gives ca, kms and a site new keys in the place of those that they have; the present kms signed the checkpoint. The Ed25519 seeds are SHA-256 of \"ca 2 log\", \"kms 2 log\" and \"kms log\".";
    check("order-rotated", &envelope_vector(comment, &["sakura 9C", "kenji 9C"], &envelope));
    assert_eq!(verified::<Order>("order-rotated").acts, acts);
    town.append(envelope).unwrap();
}

#[test]
fn order_of_a_recovered_kms_vector() {
    let mut town = Town::working();
    let head = town.head();
    let act = recovered(HalfHolder::Kms, "kms 2");
    let envelope = town.saw("kms 2", &head, act.clone(), TWO);
    let comment = "An order that gives the kms new keys in the place of those that it lost; the checkpoint, over the ledger's head, is signed with the new log key (Ed25519 seed: SHA-256 of \"kms 2 log\").";
    check("order-recovered", &envelope_vector(comment, &["sakura 9C", "kenji 9C"], &envelope));
    assert_eq!(verified::<Order>("order-recovered").acts, [act]);
    town.append(envelope).unwrap();
}

#[test]
fn order_of_trust_vector() {
    let mut town = Town::working();
    let acts = [crate::trust::trust_other(), crate::trust::end_other()];
    let envelope = town.order(acts.clone(), TWO);
    let comment = "An order that believes another organization, and one act later does so no more; the fingerprint is what people compare before. The Ed25519 seeds are SHA-256 of \"ca alps log\" and \"kms alps log\".";
    let mut made = envelope_vector(comment, &["sakura 9C", "kenji 9C"], &envelope);
    made["fingerprint"] = json!(acts[0].pinned().unwrap().fingerprint());
    check("order-trust", &made);
    assert_eq!(verified::<Order>("order-trust").acts, acts);
    town.append(envelope).unwrap();
}

#[test]
fn directory_vector() {
    let town = Town::working();
    let body = "{\"the exact bytes\": \"of a body\"}";
    let statement = DirectoryStatement {
        organization: town.organization(),
        at: town.at,
        expires_at: town.at + DirectoryStatement::LONGEST_MS,
        size: town.head().size,
        digest: Digest::of(body.as_bytes()),
    };
    let comment = "What the kms signs of a directory for other organizations; the body here is none, but any bytes have a digest.";
    let envelope = envelope_by_services(&statement, &["kms"]);
    let mut made = envelope_vector(comment, &["kms signing"], &envelope);
    made["body"] = json!(body);
    check("directory", &made);
    assert_eq!(verified::<DirectoryStatement>("directory"), statement);
    let body = read("directory")["body"].as_str().unwrap().to_owned();
    assert_eq!(Digest::of(body.as_bytes()), statement.digest);
}

#[test]
fn fact_vectors() {
    let town = Town::working();
    let labels = ["ca signing", "kms signing"];
    let comment = "The fact that a unit has its key P = S1 + S2: both halves with proofs of possession, signed by ca and kms. The halves' private parts are SHA-256 of \"tax s1\" and \"tax s2\".";
    let created = leaf_with(&town, "unit.created");
    check("fact-unit-created", &envelope_vector(comment, &labels, created));
    assert_eq!(verified::<Fact>("fact-unit-created").fact, town.unit_created("tax"));

    let comment = "The fact that a grant has its shares A + B = P, signed by ca and kms. The card share is SHA-256 of \"hanako opens tax a\".";
    let issued = leaf_with(&town, "grant.issued");
    check("fact-grant-issued", &envelope_vector(comment, &labels, issued));
    assert_eq!(verified::<Fact>("fact-grant-issued").fact, town.grant_issued("hanako", "tax"));
}

#[test]
fn journal_vector() {
    let town = Town::working();
    let (organization, journal) = (town.organization(), id("journal"));
    let rows = crate::journals::rows(&town, &journal, &["a", "b"]);
    let genesis = journal::genesis(&organization, &id("main"), &journal);
    let made = json!({
        "comment": format!("The first two rows of a site's audit journal, each with its hash. {KEYS}"),
        "organization": organization,
        "site": id("main"),
        "journal": journal,
        "genesis": genesis,
        "rows": rows.iter().map(|row| json!({ "row": row, "hash": row.hash() })).collect::<Vec<_>>(),
    });
    check("journal", &made);

    // From the file alone.
    let mut previous = read("journal")["genesis"].clone();
    for entry in read("journal")["rows"].as_array().unwrap() {
        let row: journal::Row = serde_json::from_value(entry["row"].clone()).unwrap();
        assert_eq!(json!(row.previous), previous);
        assert_eq!(json!(row.hash()), entry["hash"]);
        previous = entry["hash"].clone();
    }

    let fact = FactBody::JournalsBatched {
        heads: vec![crate::journals::head_by("main", &town, "journal", &["a", "b"])],
    };
    let comment = "The fact that a site's audit journal has come so far: the head of the rows in journal.json, signed by the site (key \"main signing\"), stated by ca and kms.";
    let envelope = town.fact(fact.clone(), &["ca", "kms"]);
    check("fact-journals-batched", &envelope_vector(comment, &["ca signing", "kms signing"], &envelope));
    assert_eq!(verified::<Fact>("fact-journals-batched").fact, fact);
    town.state.check_fact(&envelope).unwrap();
    let FactBody::JournalsBatched { heads } = fact else { unreachable!() };
    assert_eq!(json!(heads[0].head), previous);
}

#[test]
fn slips_vector() {
    let town = crate::routing::town();
    let of: Vec<Slip> = ["a", "b", "c"]
        .iter()
        .zip(0..)
        .map(|(file, index)| crate::routing::slip(index, file, if index == 1 { "welfare" } else { "tax" }))
        .collect();
    let slips = crate::routing::slips(&town, "michi", "front", &of);
    let envelope = envelope_by_cards(&slips, &["michi"]);
    let comment = "Three files routed with one signature: the statement that the dispatcher's card signed, each slip with its encoding and its proof, and the infos of both seals for the first one (the seals here are 113 bytes of 07).";
    let mut made = envelope_vector(comment, &["michi 9C"], &envelope);
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let proved = slips.prove(of.clone()).unwrap();
    made["slips"] = proved
        .iter()
        .map(|proved| {
            let encoded = hex(&proved.slip.routed_file(&slips).encoded());
            json!({"slip": proved.slip, "proof": proved.proof, "encoded": encoded})
        })
        .collect();
    let file = of[0].routed_file(&slips);
    made["info_card_part"] = json!(hex(&file.info(Part::Card)));
    made["info_site_part"] = json!(hex(&file.info(Part::Site(id("main").0))));
    check("slips", &made);

    // From the file alone.
    let from_file: Slips = verified("slips");
    assert_eq!(from_file, slips);
    for entry in read("slips")["slips"].as_array().unwrap() {
        let slip = serde_json::from_value(entry["slip"].clone()).unwrap();
        let proof = serde_json::from_value(entry["proof"].clone()).unwrap();
        assert!(from_file.has(&ProvedSlip { slip, proof }));
    }
    town.state.read_slips(&envelope).unwrap();

    let released = Released {
        organization: town.organization(),
        site: id("main"),
        slips: envelope.digest(),
        to: id("branch"),
        parts: vec![SitePart { index: 0, sealed: Base64([7; 113]) }],
    };
    let comment =
        "A site's parts of the files in slips.json, for the site branch (the seal here is 113 bytes of 07).";
    let by_main = envelope_by_services(&released, &["main"]);
    check("released", &envelope_vector(comment, &["main signing"], &by_main));
    assert_eq!(verified::<Released>("released"), released);

    let fact = FactBody::SlipsBatched { slips: [envelope.digest()].into() };
    let comment = "The fact that the slips in slips.json were there by then.";
    let stated = town.fact(fact.clone(), &["ca", "kms"]);
    check("fact-slips-batched", &envelope_vector(comment, &["ca signing", "kms signing"], &stated));
    assert_eq!(verified::<Fact>("fact-slips-batched").fact, fact);
}

#[test]
fn delivery_vectors() {
    let town = Town::working();
    let delivery = crate::deliveries::delivery(&town, "hanako");
    let sender = crate::deliveries::sender(&town, "hanako");
    let envelope = envelope_by_cards(&delivery, &["hanako"]);
    let comment = "A file sent to a unit of another organization: what the sender's card signed, and the proof that the card is that member's, to be checked with the key of the ca alone. The Ed25519 seed is SHA-256 of \"ca log\".";
    let mut made = envelope_vector(comment, &["hanako 9C"], &envelope);
    made["ca_key"] = json!(log_public("ca"));
    made["sender"] = json!(sender);
    check("delivery", &made);

    // From the file alone.
    let file = read("delivery");
    let from_file: Delivery = verified("delivery");
    assert_eq!(from_file, delivery);
    let (sender, ca): (Sender, Base64<32>) = (
        serde_json::from_value(file["sender"].clone()).unwrap(),
        serde_json::from_value(file["ca_key"].clone()).unwrap(),
    );
    let envelope: Envelope = serde_json::from_value(file["envelope"].clone()).unwrap();
    let sent = sent_by(&envelope, &sender, &from_file.organization, &ca).unwrap();
    assert_eq!(sent.card, card("hanako"));

    let standing = Standing {
        organization: town.organization(),
        nonce: Digest::of(b"nonce"),
        at: town.at + 5000,
        cards: [card_id("hanako"), card_id("jiro")].into(),
        live: [card_id("hanako")].into(),
    };
    let comment = "Whether cards are live: the kms's answer to who has deliveries that they signed.";
    let by_kms = envelope_by_services(&standing, &["kms"]);
    check("standing", &envelope_vector(comment, &["kms signing"], &by_kms));
    assert_eq!(verified::<Standing>("standing"), standing);

    let of = |unit: &warifu_ledger::Id| Addressee {
        unit: *unit,
        handling: Handling::Accepted { at: town.at + 9000 },
    };
    let received_then = Received {
        organization: delivery.to.organization,
        id: delivery.id,
        delivery: envelope.digest(),
        arrived_at: town.at + 8000,
        state: ReceivedState::Arrived { kept_until: town.at + 90 * DAY },
        units: delivery.to.units.iter().map(of).collect(),
        at: town.at + 10_000,
    };
    let comment = "What has become of the delivery in delivery.json: signed by the kms of the organization that it was sent to.";
    let by_kms = envelope_by_services(&received_then, &["kms alps"]);
    check("received", &envelope_vector(comment, &["kms alps signing"], &by_kms));
    assert_eq!(verified::<Received>("received"), received_then);
    let answer: Envelope = serde_json::from_value(read("received")["envelope"].clone()).unwrap();
    let kms = service_keys("kms alps").signing;
    assert_eq!(received(&answer, &envelope, &kms), Ok(received_then));
}

#[test]
fn stamp_vector() {
    let town = Town::working();
    let stamp = Stamp {
        organization: town.organization(),
        site: id("main"),
        nonce: Digest::of(b"nonce"),
        time: town.at + 5000,
        checkpoint: town.seen(),
    };
    let comment =
        "A stamp: the kms's answer to a site's nonce, with the checkpoint of all that was appended before.";
    check("stamp", &envelope_vector(comment, &["kms signing"], &envelope_by_services(&stamp, &["kms"])));
    assert_eq!(verified::<Stamp>("stamp"), stamp);
}

#[test]
fn receipt_vector() {
    let mut town = Town::working();
    let act = revoke_card("hanako");
    let order = town.done([act.clone()], ONE);
    let receipt = Receipt {
        organization: town.organization(),
        site: id("main"),
        order,
        time: Some(town.at + 40),
        folded: town.head().size,
        destroyed: town.state.ended_by(&act),
    };
    let comment = "A receipt: the site has destroyed the key pairs of these grants because of this order.";
    check(
        "receipt",
        &envelope_vector(comment, &["main signing"], &envelope_by_services(&receipt, &["main"])),
    );
    assert_eq!(verified::<Receipt>("receipt"), receipt);
}

#[test]
fn grant_key_vector() {
    let town = Town::working();
    let grant_key = GrantKey {
        organization: town.organization(),
        site: id("main"),
        grant: grant_id("hanako", "tax"),
        key: public_of("main hanako opens tax"),
    };
    let comment = "A site's public key for one grant: b will be wrapped to it.";
    check(
        "grant-key",
        &envelope_vector(comment, &["main signing"], &envelope_by_services(&grant_key, &["main"])),
    );
    assert_eq!(verified::<GrantKey>("grant-key"), grant_key);
}

#[test]
fn checkpoint_vector() {
    let town = Town::working();
    let (organization, head) = (town.organization(), town.head());
    let kms = note(&organization, &head, Signer::Kms);
    let ca = note(&organization, &head, Signer::Ca);
    let joined = Checkpoint::join(&kms, &ca).unwrap();
    let made = json!({
        "comment": "A checkpoint (C2SP tlog-checkpoint) as a signed note: by the kms alone, and joined with the ca's cosignature (C2SP tlog-cosignature). The Ed25519 seeds are SHA-256 of \"kms log\" and \"ca log\".",
        "organization": organization,
        "size": head.size,
        "root": head.root,
        "kms_key": log_public("kms"),
        "ca_key": log_public("ca"),
        "note": kms,
        "cosigned": joined,
    });
    check("checkpoint", &made);

    let file = read("checkpoint");
    let verify = |note: &str, signer, key: &str| {
        let key = serde_json::from_value(file[key].clone()).unwrap();
        Checkpoint::verify(file[note].as_str().unwrap(), &organization, signer, &key).unwrap()
    };
    assert_eq!(verify("note", Signer::Kms, "kms_key"), head);
    assert_eq!(verify("cosigned", Signer::Kms, "kms_key"), head);
    assert_eq!(verify("cosigned", Signer::Ca, "ca_key"), head);
}

#[test]
fn record_vector() {
    let record = record("信濃 花子");
    let made = json!({
        "comment": "A record of the register and the commitment that a statement carries for it: HMAC-SHA-256 under the record's key over \"warifu/record/v1\", the id (16 bytes) and the text (UTF-8).",
        "record": record,
        "commitment": record.commitment(),
    });
    check("record", &made);

    let file = read("record");
    let from_file: Record = serde_json::from_value(file["record"].clone()).unwrap();
    let commitment: Commitment = serde_json::from_value(file["commitment"].clone()).unwrap();
    assert!(from_file.matches(&commitment));
}

#[test]
fn leaves_vector() {
    let town = Town::working();
    let leaves: Vec<Value> = town
        .leaves
        .iter()
        .zip(1..)
        .map(|(leaf, size)| {
            json!({
                "leaf": String::from_utf8(leaf.as_bytes().to_vec()).unwrap(),
                "size": size,
                "root": town.state.tree().root(size).unwrap(),
            })
        })
        .collect();
    let made = json!({
        "comment": format!("A ledger from its founding to the first two grants: each leaf's exact bytes (UTF-8) and the RFC 6962 root once it is appended. {KEYS}"),
        "organization": town.organization(),
        "leaves": leaves,
    });
    check("leaves", &made);

    // Folded from the file alone.
    let mut state: Option<State> = None;
    for entry in read("leaves")["leaves"].as_array().unwrap() {
        let leaf = Leaf::from_bytes(entry["leaf"].as_str().unwrap().as_bytes().to_vec()).unwrap();
        let next = state.map_or_else(|| State::found(&leaf), |state| state.apply(&leaf)).unwrap();
        assert_eq!(json!(next.tree().size()), entry["size"]);
        assert_eq!(json!(next.tree().root(next.tree().size()).unwrap()), entry["root"]);
        state = Some(next);
    }
    assert_eq!(state.unwrap().organization(), town.organization());
}
