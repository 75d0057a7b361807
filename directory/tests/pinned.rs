//! That another organization is pinned, and what it is called: nothing but a leaf of the cosigned ledger says so (P-16.8).
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on has failed; clippy.toml spares test functions, not what they share"
)]

use warifu_api::wire::authority::Included;
use warifu_api::wire::trusts::TrustEntry;
use warifu_directory::pinned::{NotPinned, pinned};
use warifu_directory::signed::Pin;
use warifu_ledger::Digest;
use warifu_ledger::checkpoint::Checkpoint;
use warifu_ledger::key::{Base64, Bytes};
use warifu_ledger::leaf::Leaf;
use warifu_ledger::register::Record;
use warifu_ledger::statement::{Act, OrganizationKeys};

use fixture::*;

#[allow(dead_code, reason = "the ledger's own tests use all of it")]
#[path = "../../ledger/tests/fold/fixture.rs"]
mod fixture;

fn alps() -> OrganizationKeys {
    OrganizationKeys {
        organization: Digest::of(b"alps"),
        ca: service_keys("ca alps"),
        kms: service_keys("kms alps"),
    }
}

fn named(text: &str) -> Record {
    Record { id: id("name of alps"), key: Base64([7; 32]), text: text.to_owned() }
}

fn its_name() -> Record {
    named("alps\n北アルプス広域連合")
}

fn trust() -> Act {
    Act::trust(alps(), its_name().commitment(), "alps.example:443")
}

/// What the kms says of it, with the newest leaf as its proof, and the checkpoint.
fn said(acts: impl IntoIterator<Item = Act>) -> (TrustEntry, Checkpoint) {
    let mut town = Town::working();
    let index = town.head().size;
    town.done(acts, TWO);
    let leaf = Bytes(town.leaves.last().unwrap().as_bytes().to_vec());
    let proof = town.state.tree().inclusion(index, town.head().size).unwrap();
    let entry = TrustEntry {
        organization: alps().organization,
        label: "alps".to_owned(),
        name: "北アルプス広域連合".to_owned(),
        name_key: Some(its_name().key),
        pinned: Some(Included { index, leaf, proof }),
        directory: None,
        alarm: None,
        trouble: None,
    };
    (entry, town.head())
}

#[test]
fn p_16_8_the_leaf_says_who_is_pinned_and_under_which_name() {
    let (entry, head) = said([trust()]);
    let at = Leaf::from_bytes(entry.pinned.as_ref().unwrap().leaf.0.clone()).unwrap().at();
    assert_eq!(pinned(&entry, &head), Ok(Pin { keys: alps(), at }));
    let without = TrustEntry { pinned: None, ..entry.clone() };
    assert_eq!(pinned(&without, &head), Err(NotPinned::NotYet));
    let other = Checkpoint { root: Digest::of(b"another ledger"), ..head };
    assert_eq!(pinned(&entry, &other), Err(NotPinned::NotIncluded));
    let organization = Digest::of(b"another");
    assert_eq!(pinned(&TrustEntry { organization, ..entry.clone() }, &head), Err(NotPinned::NotOrdered));
    let another_name = [
        TrustEntry { name: "大町市".to_owned(), ..entry.clone() },
        TrustEntry { label: "omachi".to_owned(), ..entry.clone() },
        TrustEntry { name_key: Some(Base64([8; 32])), ..entry.clone() },
        TrustEntry { name_key: None, ..entry.clone() },
    ];
    for entry in another_name {
        assert_eq!(pinned(&entry, &head), Err(NotPinned::AnotherName), "{entry:?}");
    }
    let erased = its_name().id.to_string();
    let nameless = TrustEntry { name_key: None, label: erased.clone(), name: erased, ..entry };
    assert_eq!(pinned(&nameless, &head), Ok(Pin { keys: alps(), at }));
}

#[test]
fn p_16_8_of_several_acts_the_last_one_counts() {
    let end = Act::TrustEnded { organization: alps().organization };
    let (entry, head) = said([trust(), end]);
    assert_eq!(pinned(&entry, &head), Err(NotPinned::NotOrdered));
    let later = OrganizationKeys { ca: service_keys("ca alps 2"), ..alps() };
    let (entry, head) =
        said([trust(), Act::trust(later.clone(), its_name().commitment(), "alps.example:443")]);
    assert_eq!(pinned(&entry, &head).map(|pin| pin.keys), Ok(later));
    let (entry, head) = said([suspend("hanako")]);
    assert_eq!(pinned(&entry, &head), Err(NotPinned::NotOrdered));
}
