//! The Merkle tree, its checkpoints, and the register's commitments (P-3.1, P-4.1,
//! P-4.2).

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as STANDARD;
use sha2::{Digest as _, Sha256};
use warifu_ledger::checkpoint::{Checkpoint, CheckpointError, Signer};
use warifu_ledger::key::Base64;
use warifu_ledger::register::{Name, NotAName, Record};
use warifu_ledger::tree::{BeyondTree, Tree, is_included};
use warifu_ledger::{Digest, Id};

use crate::fixture::*;

#[test]
fn a_leaf_is_proved_to_be_in_the_ledger() {
    let town = Town::working();
    let (tree, size) = (town.state.tree(), town.head().size);
    for size in 1..=size {
        let head = Checkpoint { size, root: tree.root(size).unwrap() };
        for index in 0..size {
            let leaf = town.leaves[usize::try_from(index).unwrap()].as_bytes();
            let proof = tree.inclusion(index, size).unwrap();
            assert!(is_included(leaf, index, &proof, &head));
            assert!(!is_included(&leaf[1..], index, &proof, &head), "another leaf");
            assert!(!is_included(leaf, (index + 1) % (size + 1), &proof, &head), "another place");
            assert!(size == 1 || !is_included(leaf, index, &proof[1..], &head));
            let other = Checkpoint { root: warifu_ledger::Digest::of(b"another"), ..head };
            assert!(!is_included(leaf, index, &proof, &other));
        }
    }
    for (index, size) in [(size, size), (0, size + 1), (u64::MAX, size)] {
        assert!(tree.inclusion(index, size).is_err());
    }
}

/// RFC 6962 section 2.1, word for word.
fn naive_root(leaves: &[Vec<u8>]) -> Digest {
    match leaves {
        [] => Digest(Sha256::digest(b"").into()),
        [leaf] => Digest(Sha256::new().chain_update([0]).chain_update(leaf).finalize().into()),
        _ => {
            let mut split = 1;
            while split * 2 < leaves.len() {
                split *= 2;
            }
            let (left, right) = leaves.split_at(split);
            let (left, right) = (naive_root(left), naive_root(right));
            Digest(
                Sha256::new().chain_update([1]).chain_update(left.0).chain_update(right.0).finalize().into(),
            )
        }
    }
}

#[test]
fn the_root_is_that_of_rfc_6962_at_every_size() {
    let leaves: Vec<Vec<u8>> = (0..100_u8).map(|n| vec![n; usize::from(n)]).collect();
    let expected: Vec<Digest> = (0..=leaves.len()).map(|size| naive_root(&leaves[..size])).collect();
    let mut tree = Tree::default();
    for size in 0..=leaves.len() {
        assert_eq!(tree.size(), size as u64);
        for (earlier, root) in expected.iter().enumerate().take(size + 1) {
            assert_eq!(tree.root(earlier as u64), Ok(*root), "{earlier} of {size}");
        }
        let asked = size as u64 + 1;
        assert_eq!(tree.root(asked), Err(BeyondTree { size: size as u64, asked }));
        assert_eq!(tree.root(u64::MAX), Err(BeyondTree { size: size as u64, asked: u64::MAX }));
        if let Some(leaf) = leaves.get(size) {
            let before = tree.clone();
            tree = tree.append(leaf).unwrap();
            assert_eq!(before.size(), size as u64, "a tree is a value");
        }
    }
}

#[test]
fn the_ledger_hashes_the_exact_bytes_of_its_leaves() {
    let town = Town::working();
    let bytes: Vec<Vec<u8>> = town.leaves.iter().map(|leaf| leaf.as_bytes().to_vec()).collect();
    assert_eq!(town.head(), Checkpoint { size: bytes.len() as u64, root: naive_root(&bytes) });
}

#[test]
fn a_checkpoint_is_a_note_that_others_can_read() {
    let town = Town::founded();
    let text = town.head().text(&town.organization()).unwrap();
    let root = serde_json::to_value(Base64(town.head().root.0)).unwrap();
    let expected = format!("warifu/{}\n1\n{}\n", town.organization(), root.as_str().unwrap());
    assert_eq!(String::from_utf8(text).unwrap(), expected);
    assert!(town.seen().starts_with(&format!("{expected}\n— warifu/{} ", town.organization())));
}

#[test]
fn kms_and_ca_sign_one_note_each_under_its_own_name() {
    let town = Town::working();
    let (organization, head) = (town.organization(), town.head());
    let verify =
        |note: &str, signer, service| Checkpoint::verify(note, &organization, signer, &log_public(service));
    let kms = note(&organization, &head, Signer::Kms);
    let ca = note(&organization, &head, Signer::Ca);
    assert_eq!(verify(&kms, Signer::Kms, "kms"), Ok(head));
    assert_eq!(verify(&ca, Signer::Ca, "ca"), Ok(head));
    // Neither for the other, nor with the other's key.
    assert_eq!(verify(&kms, Signer::Ca, "ca"), Err(CheckpointError::NotSigned(Signer::Ca)));
    assert_eq!(verify(&ca, Signer::Kms, "kms"), Err(CheckpointError::NotSigned(Signer::Kms)));
    assert_eq!(verify(&kms, Signer::Kms, "ca"), Err(CheckpointError::NotSigned(Signer::Kms)));
    assert_eq!(verify(&kms, Signer::Ca, "kms"), Err(CheckpointError::NotSigned(Signer::Ca)));

    for joined in [Checkpoint::join(&kms, &ca).unwrap(), Checkpoint::join(&ca, &kms).unwrap()] {
        assert_eq!(verify(&joined, Signer::Kms, "kms"), Ok(head));
        assert_eq!(verify(&joined, Signer::Ca, "ca"), Ok(head));
    }
}

/// P-4.2: the key id is SHA-256 of name, line feed, 0x04 and key; eight bytes of time come before the signature, which covers them.
#[test]
fn p_4_2_the_ca_cosigns_as_witnesses_do() {
    let town = Town::working();
    let (organization, head) = (town.organization(), town.head());
    let cosigned = note(&organization, &head, Signer::Ca);
    let (text, line) = cosigned.rsplit_once("\n\n").unwrap();
    let (name, bytes) = line.trim_end().strip_prefix("— ").unwrap().split_once(' ').unwrap();
    assert_eq!(name, format!("warifu/{organization}/ca"));
    let bytes: Base64<76> = serde_json::from_value(bytes.into()).unwrap();
    let key = log_public("ca").0;
    let id = Sha256::new().chain_update(name).chain_update(b"\n\x04").chain_update(key).finalize();
    assert_eq!(bytes.0[..4], id[..4]);
    assert_eq!(bytes.0[4..12], (T0 / 1000).to_be_bytes());
    let signature = ed25519_dalek::Signature::from_bytes(bytes.0[12..].try_into().unwrap());
    let signed = format!("cosignature/v1\ntime {}\n{text}\n", T0 / 1000);
    log_key("ca").verifying_key().verify_strict(signed.as_bytes(), &signature).unwrap();

    let verify = |note: &str| Checkpoint::verify(note, &organization, Signer::Ca, &log_public("ca"));
    assert_eq!(verify(&cosigned), Ok(head));
    let not_signed = Err(CheckpointError::NotSigned(Signer::Ca));
    let written = |bytes: &[u8]| format!("{text}\n\n— {name} {}\n", STANDARD.encode(bytes));
    let mut later = bytes.0;
    later[11] ^= 1;
    assert_eq!(verify(&written(&later)), not_signed, "another time");
    assert_eq!(verify(&written(&bytes.0[..11])), not_signed, "no time");
    assert_eq!(verify(&written(&[&bytes.0[..4], &bytes.0[12..]].concat())), not_signed, "a signature alone");
    // What the kms's way of signing would make of the ca's key: no time is in it.
    use ed25519_dalek::Signer as _;
    let plain = log_key("ca").sign(&head.text(&organization).unwrap()).to_bytes();
    let id = Sha256::new().chain_update(name).chain_update(b"\n\x01").chain_update(key).finalize();
    assert_eq!(verify(&written(&[&id[..4], &plain].concat())), not_signed, "no cosignature");
}

#[test]
fn notes_over_different_texts_are_not_joined() {
    let mut town = Town::working();
    let kms = town.seen();
    town.done([unit("welfare")], ONE);
    let ca = note(&town.organization(), &town.head(), Signer::Ca);
    assert_eq!(Checkpoint::join(&kms, &ca), Err(CheckpointError::Malformed));
    for broken in ["", "\n\n", "no note", "text\n\n— x"] {
        assert_eq!(Checkpoint::join(&kms, broken), Err(CheckpointError::Malformed), "{broken:?}");
        assert_eq!(Checkpoint::join(broken, &kms), Err(CheckpointError::Malformed), "{broken:?}");
    }
    let text = kms.rsplit_once("\n\n").unwrap().0;
    assert_eq!(Checkpoint::join(&kms, &format!("{text}\n\n")), Err(CheckpointError::Malformed));
}

/// The ca's note of `text`, whatever it says, with true signatures.
fn cosigned(organization: &Digest, text: &str, signatures: usize) -> String {
    use ed25519_dalek::Signer as _;
    let honest = Checkpoint { size: 1, root: Digest([0; 32]) };
    let line = note(organization, &honest, Signer::Ca).trim_end().rsplit_once('\n').unwrap().1.to_owned();
    let (name, signature) = line.rsplit_once(' ').unwrap();
    let mut bytes: Base64<76> = serde_json::from_value(signature.into()).unwrap();
    let time = u64::from_be_bytes(bytes.0[4..12].try_into().unwrap());
    let signed = format!("cosignature/v1\ntime {time}\n{text}");
    bytes.0[12..].copy_from_slice(&log_key("ca").sign(signed.as_bytes()).to_bytes());
    let signature = serde_json::to_value(bytes).unwrap();
    let line = format!("{name} {}\n", signature.as_str().unwrap());
    format!("{text}\n{}", line.repeat(signatures))
}

#[test]
fn a_checkpoint_has_one_form() {
    let town = Town::working();
    let (organization, head) = (town.organization(), town.head());
    let text = String::from_utf8(head.text(&organization).unwrap()).unwrap();
    let verify = |text: &str, signatures| {
        let note = cosigned(&organization, text, signatures);
        Checkpoint::verify(&note, &organization, Signer::Ca, &log_public("ca"))
    };
    assert_eq!(verify(&text, 1), Ok(head));
    assert_eq!(verify(&text, 16), Ok(head));
    assert_eq!(verify(&text, 17), Err(CheckpointError::Malformed), "too many to be joined with others");
    assert_eq!(verify(&format!("{text}more\n"), 1), Err(CheckpointError::Malformed), "an extension line");
    let size = format!("\n{}\n", head.size);
    for other in [format!("\n0{}\n", head.size), format!("\n+{}\n", head.size)] {
        assert_eq!(verify(&text.replacen(&size, &other, 1), 1), Err(CheckpointError::Malformed));
    }
}

#[test]
fn a_note_with_any_byte_changed_is_no_checkpoint() {
    let town = Town::working();
    let note = town.seen();
    for at in 0..note.len() {
        let mut bytes = note.clone().into_bytes();
        bytes[at] ^= 1;
        let Ok(changed) = String::from_utf8(bytes) else { continue };
        let verified = Checkpoint::verify(&changed, &town.organization(), Signer::Kms, &log_public("kms"));
        assert!(verified.is_err(), "byte {at}: {changed:?}");
    }
    let longer = note.replacen('\n', "0\n", 2);
    assert!(Checkpoint::verify(&longer, &town.organization(), Signer::Kms, &log_public("kms")).is_err());
}

#[test]
fn a_commitment_is_to_one_record() {
    let hanako = record("信濃 花子");
    let commitment = hanako.commitment();
    assert!(hanako.matches(&commitment));
    assert_eq!(commitment.record, hanako.id);

    let renamed = Record { text: "信濃 太郎".to_owned(), ..hanako.clone() };
    let rekeyed = Record { key: Base64([7; 32]), ..hanako.clone() };
    let renumbered = Record { id: id("another record"), ..hanako.clone() };
    for other in [renamed, rekeyed, renumbered] {
        assert!(!other.matches(&commitment));
        assert_ne!(other.commitment().digest, commitment.digest);
    }
}

#[test]
fn records_and_ids_are_drawn_apart() {
    let mut rng = getrandom::rand_core::UnwrapErr(getrandom::SysRng);
    let (one, two) = (Record::draw(&mut rng, "課長"), Record::draw(&mut rng, "課長"));
    assert_ne!(one.id, two.id);
    assert_ne!(one.key, two.key);
    assert_ne!(one.commitment().digest, two.commitment().digest, "equal names do not show");
    assert_ne!(Id::draw(&mut rng), Id::draw(&mut rng));
}

#[test]
fn a_name_is_a_label_and_one_line() {
    let tax = Name::new("tax-2", "税務課").unwrap();
    assert_eq!(tax.to_text(), "tax-2\n税務課");
    assert!(Name::parse(&tax.to_text()) == Ok(tax));
    let long = "a".repeat(64);
    for (label, name) in [
        ("", "税務課"),
        (long.as_str(), "税務課"),
        ("Tax", "税務課"),
        ("税", "税務課"),
        ("../tax", "税務課"),
        ("tax", ""),
        ("tax", "税務課\n"),
        ("tax", "税\u{1b}[2J"),
    ] {
        assert!(Name::new(label, name) == Err(NotAName), "{label:?} {name:?}");
        assert!(Name::parse(&format!("{label}\n{name}")) == Err(NotAName));
    }
    assert!(Name::parse("tax") == Err(NotAName));
}
