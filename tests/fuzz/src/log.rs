//! Checkpoints, the Merkle tree, and pages of the ledger as followers are sent them.

use std::sync::OnceLock;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ed25519_dalek::Signer as _;
use warifu_api::wire::Leaves;
use warifu_ledger::Digest;
use warifu_ledger::checkpoint::{Checkpoint, Signer};
use warifu_ledger::key::Bytes;
use warifu_ledger::leaf::Leaf;
use warifu_ledger::state::State;
use warifu_ledger::tile::Tile;
use warifu_ledger::tree::Tree;

use crate::fixture::{Town, log_key, log_public, note};
use crate::statements::town_leaves;

struct Head {
    organization: Digest,
    checkpoint: Checkpoint,
}

fn head() -> &'static Head {
    static HEAD: OnceLock<Head> = OnceLock::new();
    HEAD.get_or_init(|| {
        let town = Town::working();
        Head { organization: town.organization(), checkpoint: town.head() }
    })
}

fn verify(note: &str, signer: Signer) -> Option<Checkpoint> {
    let service = if signer == Signer::Kms { "kms" } else { "ca" };
    Checkpoint::verify(note, &head().organization, signer, &log_public(service)).ok()
}

/// A note as it comes, and the same text under the kms's true signature: a checkpoint has one form, and its signature
/// covers all of it.
pub(crate) fn checkpoint(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    for signer in [Signer::Kms, Signer::Ca] {
        if let Some(found) = verify(text, signer) {
            assert_eq!(found, head().checkpoint, "a checkpoint that nobody signed");
        }
    }
    let joined = Checkpoint::join(text, &note(&head().organization, &head().checkpoint, Signer::Ca));
    if let Ok(joined) = &joined {
        assert_eq!(verify(joined, Signer::Kms), verify(text, Signer::Kms));
    }

    let body = text.rsplit_once("\n\n").map_or(text, |(body, _)| body);
    let signed = format!("{body}\n");
    let Some(found) = verify(&signed_by_the_kms(&signed), Signer::Kms) else { return joined.is_ok() };
    let canonical = found.text(&head().organization).unwrap();
    assert_eq!(signed.as_bytes(), canonical, "a checkpoint of another form");
    true
}

/// The note of any text.
fn signed_by_the_kms(text: &str) -> String {
    // Name and key id as in the note of a true checkpoint.
    let true_note = note(&head().organization, &head().checkpoint, Signer::Kms);
    let (name, signature) = true_note.trim_end().rsplit_once(' ').unwrap();
    let (_, name) = name.rsplit_once('\n').unwrap();
    let id = &BASE64_STANDARD.decode(signature).unwrap()[..4];
    let signature = log_key("kms").sign(text.as_bytes()).to_bytes();
    format!("{text}\n{name} {}\n", BASE64_STANDARD.encode([id, &signature].concat()))
}

pub(crate) fn checkpoint_seeds() -> Vec<Vec<u8>> {
    let Head { organization, checkpoint } = head();
    let kms = note(organization, checkpoint, Signer::Kms);
    let ca = note(organization, checkpoint, Signer::Ca);
    let both = Checkpoint::join(&kms, &ca).unwrap();
    let other = note(&Digest::of(b"another"), checkpoint, Signer::Kms);
    let mut seeds: Vec<Vec<u8>> = [kms, ca, both, other].map(String::into_bytes).to_vec();
    for size in [0, 1, u64::MAX] {
        seeds.push(Checkpoint { size, ..*checkpoint }.text(organization).unwrap());
    }
    // An extension line, which the format allows and the protocol does not (P-4.2).
    seeds.push([checkpoint.text(organization).unwrap().as_slice(), b"more\n"].concat());
    seeds
}

/// RFC 6962, section 2.1, as it is written there.
fn root_of(leaves: &[&[u8]]) -> Digest {
    match leaves {
        [] => Digest::of(&[]),
        [leaf] => Digest::of(&[&[0], *leaf].concat()),
        _ => {
            let half = leaves.len().next_power_of_two() / 2;
            let (left, right) = leaves.split_at(half);
            Digest::of(&[&[1][..], &root_of(left).0, &root_of(right).0].concat())
        }
    }
}

/// The tree's roots are RFC 6962's, for all its sizes, and there are none beyond.
pub(crate) fn tree(data: &[u8]) -> bool {
    let leaves: Vec<&[u8]> = data.split(|byte| *byte == b'\n').take(200).collect();
    let mut tree = Tree::default();
    for leaf in &leaves {
        tree = tree.append(leaf).unwrap();
    }
    assert_eq!(tree.size(), leaves.len() as u64);
    for size in 0..=leaves.len() {
        // All near the end, and some before.
        if size + 4 >= leaves.len() || size.is_multiple_of(31) {
            assert_eq!(tree.root(size as u64), Ok(root_of(&leaves[..size])));
        }
    }
    assert!(tree.root(tree.size() + 1).is_err() && tree.root(u64::MAX).is_err());
    true
}

/// A tile's path has one spelling, and no path makes a tile that the log has not come to.
pub(crate) fn tile(data: &[u8]) -> bool {
    static TREE: OnceLock<Tree> = OnceLock::new();
    let tree = TREE.get_or_init(|| {
        (0..300_u32).fold(Tree::default(), |tree, leaf| tree.append(&leaf.to_be_bytes()).unwrap())
    });
    let Ok(path) = std::str::from_utf8(data) else { return false };
    let Ok(tile) = path.parse::<Tile>() else { return false };
    assert_eq!(tile.to_string(), path);
    let there = tile.needs().is_some_and(|needs| needs <= tree.size());
    match tile.hashes(tree) {
        Ok(Some(hashes)) => assert!(there && (32..=256 * 32).contains(&hashes.len())),
        Ok(None) => assert!(path.starts_with("entries/")),
        Err(_) => assert!(!there),
    }
    true
}

pub(crate) fn tile_seeds() -> Vec<Vec<u8>> {
    ["0/000", "0/001.p/44", "1/000.p/1", "entries/001", "5/x018/x446/x744/x073/x709/x551/615", "0/000.p/0"]
        .map(|path| path.as_bytes().to_vec())
        .to_vec()
}

pub(crate) fn tree_seeds() -> Vec<Vec<u8>> {
    [1, 2, 3, 7, 8, 9, 64, 65].map(|count| "leaf\n".repeat(count).into_bytes()).to_vec()
}

/// Whatever a kms sends as a page of the ledger, what is folded of it is what people and services signed.
pub(crate) fn page(data: &[u8]) -> bool {
    let Ok(page) = serde_json::from_slice::<Leaves>(data) else { return false };
    let mut state: Option<State> = None;
    for bytes in page.leaves {
        let Ok(leaf) = Leaf::from_bytes(bytes.0) else { break };
        let after = state.as_ref().map_or_else(|| State::found(&leaf), |state| state.apply(&leaf));
        let Ok(after) = after else { break };
        let digest = leaf.envelope().digest();
        assert!(town_leaves().iter().any(|known| known.envelope().digest() == digest), "nobody signed this");
        state = Some(after);
    }
    let Some(state) = state else { return false };
    if let Some(checkpoint) = verify(&page.checkpoint, Signer::Kms) {
        let _ = state.check_against(&checkpoint);
    }
    true
}

pub(crate) fn page_seeds() -> Vec<Vec<u8>> {
    let Head { organization, checkpoint } = head();
    let page = |from: usize, to: usize| {
        let leaves = town_leaves()[from..to].iter().map(|leaf| Bytes(leaf.as_bytes().to_vec())).collect();
        let checkpoint = note(organization, checkpoint, Signer::Kms);
        serde_json::to_vec(&Leaves { from: from as u64, leaves, checkpoint }).unwrap()
    };
    vec![page(0, 1), page(0, 3), page(1, 3), page(0, town_leaves().len()), page(2, 2)]
}
