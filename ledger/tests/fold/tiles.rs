//! The log as `tlog-tiles` publishes it (P-4.22, P-4.23), read by the crate of that name.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};
use tlog_tiles::tlog::{self, Error, Hash};
use tlog_tiles::{TileHashReader, TileReader};
use warifu_ledger::tile::{Tile, bundled};
use warifu_ledger::tree::{ENTRY_LIMIT, Tree, entry, is_included};
use warifu_ledger::{Digest, checkpoint::Checkpoint};

/// Reads tiles by their paths, as it would over HTTP.
struct Read<'a>(&'a Tree);

impl TileReader for Read<'_> {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[tlog_tiles::Tile]) -> Result<Vec<Vec<u8>>, Error> {
        let read = |tile: &tlog_tiles::Tile| {
            let path = tile.path();
            let tile: Tile = path.strip_prefix("tile/8/").unwrap().parse().unwrap();
            tile.hashes(self.0).unwrap().unwrap()
        };
        Ok(tiles.iter().map(read).collect())
    }

    fn save_tiles(&self, _: &[tlog_tiles::Tile], _: &[Vec<u8>]) {}
}

fn leaf(index: u64) -> Vec<u8> {
    format!("leaf {index}").into_bytes()
}

#[test]
fn p_4_23_inclusion_and_consistency_are_proved_from_tiles_alone() {
    const LEAVES: u64 = 66_000;
    let (mut trees, mut tree) = (BTreeMap::from([(0, Tree::default())]), Tree::default());
    for index in 0..LEAVES {
        tree = tree.append(&leaf(index)).unwrap();
        if [1, 255, 256, 257, 511, 65_535, 65_536, 65_537, LEAVES].contains(&tree.size()) {
            trees.insert(tree.size(), tree.clone());
        }
    }
    trees.remove(&0);
    for (&size, tree) in &trees {
        let root = Hash(tree.root(size).unwrap().0);
        let read = Read(tree);
        let hashes = TileHashReader::new(size, root, &read);
        for index in [0, 1, 255, 256, size / 2, size - 1].into_iter().filter(|index| *index < size) {
            let proof = tlog::prove_record(size, index, &hashes).unwrap();
            tlog::check_record(&proof, size, root, index, tlog::record_hash(&leaf(index))).unwrap();
        }
        for (&old, before) in trees.range(..size) {
            let proof = tlog::prove_tree(size, old, &hashes).unwrap();
            tlog::check_tree(&proof, size, root, old, Hash(before.root(old).unwrap().0)).unwrap();
        }
    }
}

#[test]
fn p_4_23_a_tile_is_there_once_the_log_has_come_so_far() {
    let mut tree = Tree::default();
    for index in 0..300 {
        tree = tree.append(&leaf(index)).unwrap();
    }
    let hashes = |path: &str| path.parse::<Tile>().unwrap().hashes(&tree);
    assert_eq!(hashes("0/000").unwrap().unwrap().len(), 256 * 32);
    assert_eq!(hashes("0/001.p/44").unwrap().unwrap().len(), 44 * 32);
    assert_eq!(hashes("0/001.p/3").unwrap().unwrap().len(), 3 * 32, "what a smaller log had is there still");
    assert_eq!(hashes("1/000.p/1").unwrap().unwrap().len(), 32);
    for beyond in ["0/001", "0/001.p/45", "1/000.p/2", "1/000", "2/000.p/1", "0/002.p/1", "5/000"] {
        assert!(hashes(beyond).is_err(), "{beyond}");
    }
    assert_eq!(hashes("entries/000"), Ok(None));
    let largest = "18/x446/x744/x073/x709/x551/615";
    for far in [format!("5/x0{largest}"), format!("entries/x0{largest}.p/255")] {
        let tile: Tile = far.parse().unwrap();
        assert_eq!((tile.needs(), tile.entries()), (None, None), "{far}");
        assert!(far.starts_with("entries") || tile.hashes(&tree).is_err());
    }
}

#[test]
fn p_4_23_a_tile_has_one_path() {
    for path in ["0/000", "5/x001/x234/067", "entries/x001/000.p/255", "entries/999.p/1", "1/001.p/12"] {
        assert_eq!(path.parse::<Tile>().unwrap().to_string(), path);
    }
    for other in [
        "",
        "0",
        "0/",
        "0/0",
        "0/00",
        "0/0000",
        "00/000",
        "+0/000",
        "6/000",
        "64/000",
        "255/000",
        "-1/000",
        "data/000",
        "0/x000/000",
        "0/001/000",
        "0/x001/x000",
        "0/xx01/000",
        "0/000.p/0",
        "0/000.p/256",
        "0/000.p/01",
        "0/000.p/",
        "0/000.p",
        "0/000.p/+1",
        "0/000.p/1/",
        "0/000/",
        "/0/000",
        "0//000",
        "0/000.p/1.p/1",
        "entries/",
        "entries/x018/x446/x744/x073/x709/x551/616",
        "0/x001/x001/x001/x001/x001/x001/x001/001",
        "0/1000",
        "0/x01/000",
        "0/000?",
        "0/0 0",
    ] {
        assert!(other.parse::<Tile>().is_err(), "{other:?}");
    }
}

/// P-4.22: an entry's length is written in two bytes, so of a longer leaf the log has the digest.
#[test]
fn p_4_22_a_long_leaf_has_a_short_entry() {
    let (longest, longer) = (vec![b'x'; ENTRY_LIMIT], vec![b'x'; ENTRY_LIMIT + 1]);
    assert_eq!(entry(&longest), longest);
    let expected = [b"warifu/long-leaf/v1".as_slice(), &Sha256::digest(&longer)].concat();
    assert_eq!(entry(&longer), expected);
    assert_eq!(bundled(b"leaf"), b"\x00\x04leaf");
    assert_eq!(bundled(&longest)[..2], [255, 255]);
    assert_eq!(bundled(&longer), [&[0, 51], expected.as_slice()].concat());

    let tree = Tree::default().append(&longest).unwrap().append(&longer).unwrap();
    let node = |tag: u8, parts: &[&[u8]]| -> [u8; 32] {
        parts
            .iter()
            .fold(Sha256::new().chain_update([tag]), |hash, part| hash.chain_update(part))
            .finalize()
            .into()
    };
    let root = node(1, &[&node(0, &[&longest]), &node(0, &[&expected])]);
    let head = Checkpoint { size: 2, root: Digest(root) };
    assert_eq!(tree.root(2), Ok(head.root));
    assert!(is_included(&longer, 1, &tree.inclusion(1, 2).unwrap(), &head));
    // No leaf can be what stands for another one: it is JSON.
    assert!(warifu_ledger::leaf::Leaf::from_bytes(expected).is_err());
}
