//! The ledger as tiles (P-4.22, P-4.23): audited over mutual TLS by the `tlog_tiles` crate, and by a program that knows nothing
//! of Warifu (`tests/foreign-readers`).

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use axum::http::{Method, StatusCode};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use tlog_tiles::tlog::{self, Error, Hash};
use tlog_tiles::{Tile, TileHashReader, TileReader};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use warifu_api::wire::Done;
use warifu_api::wire::authority::{Appended, Cosignature};
use warifu_api::{Client, ErrorBody, ErrorCode};
use warifu_ledger::Digest;
use warifu_ledger::checkpoint::{Checkpoint, Signer};
use warifu_ledger::leaf::Leaf;
use warifu_ledger::tree::{ENTRY_LIMIT, entry};

use crate::fixture::*;
use crate::stage::{Stage, staged};
use crate::town::Town;

async fn raw(client: &Client, path: &str) -> Vec<u8> {
    let (status, bytes) = client.forward(Method::GET, path, Vec::new().into()).await.unwrap();
    assert_eq!(status, StatusCode::OK, "{path}: {}", String::from_utf8_lossy(&bytes));
    bytes.to_vec()
}

async fn refused(client: &Client, path: &str) -> ErrorCode {
    let (status, bytes) = client.forward(Method::GET, path, Vec::new().into()).await.unwrap();
    assert!(!status.is_success(), "{path}");
    serde_json::from_slice::<ErrorBody>(&bytes).unwrap().code
}

/// What was fetched, by path.
struct Fetched(BTreeMap<String, Vec<u8>>);

impl Fetched {
    /// All that a log of this size publishes.
    async fn all(client: &Client, size: u64) -> Self {
        let mut fetched = BTreeMap::from([("/checkpoint".to_owned(), raw(client, "/checkpoint").await)]);
        for mut tile in Tile::new_tiles(8, 0, size) {
            let hashes = tile.path().replacen("tile/8/", "/tile/", 1);
            fetched.insert(hashes.clone(), raw(client, &hashes).await);
            if tile.level() == 0 {
                tile.set_is_data();
                let entries = tile.path().replacen("tile/8/data/", "/tile/entries/", 1);
                fetched.insert(entries.clone(), raw(client, &entries).await);
            }
        }
        Self(fetched)
    }

    fn write(&self, folder: &Path) {
        for (path, bytes) in &self.0 {
            let path = folder.join(path.trim_start_matches('/'));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
    }

    fn entries(&self) -> Vec<Vec<u8>> {
        let bundles = self.0.iter().filter(|(path, _)| path.starts_with("/tile/entries/"));
        let mut entries = Vec::new();
        for (_, mut bundle) in bundles.map(|(path, bytes)| (path, bytes.as_slice())) {
            while let Some((length, rest)) = bundle.split_first_chunk() {
                let (entry, rest) = rest.split_at(u16::from_be_bytes(*length).into());
                entries.push(entry.to_vec());
                bundle = rest;
            }
        }
        entries
    }
}

impl TileReader for Fetched {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<u8>>, Error> {
        Ok(tiles.iter().map(|tile| self.0[&tile.path().replacen("tile/8/", "/tile/", 1)].clone()).collect())
    }

    fn save_tiles(&self, _: &[Tile], _: &[Vec<u8>]) {}
}

fn suspended_and_resumed(times: usize) -> Vec<warifu_ledger::statement::Act> {
    (0..times).flat_map(|_| [suspend("midori"), resume("midori")]).collect()
}

async fn head(town: &Town, stage: &Stage) -> Checkpoint {
    let note = town.checkpoint().await.note;
    Checkpoint::verify(&note, &town.organization().await, Signer::Kms, &stage.keys.log.unwrap()).unwrap()
}

staged! {
    async fn p_4_23_the_log_is_audited_from_its_tiles_alone(stage) {
        let town = Town::working(&stage).await;
        let signers: &[&str] = &["sakura", "kenji"];
        // An order of more than an entry can be.
        let request = town.request(suspended_and_resumed(500), signers).await;
        let long: Appended = town.card("sakura").post("/v1/orders", &request).await.unwrap();
        let before = head(&town, &stage).await;
        while head(&town, &stage).await.size < 260 {
            town.done(suspended_and_resumed(1), signers).await;
        }
        let (organization, head) = (town.organization().await, head(&town, &stage).await);
        let note = note(&organization, &head, Signer::Ca);
        let _: Done = town.ca().post("/v1/cosignatures", &Cosignature { note }).await.unwrap();

        let fetched = Fetched::all(&town.card("hanako"), head.size).await;
        let note = String::from_utf8(fetched.0["/checkpoint"].clone()).unwrap();
        for (signer, key) in [(Signer::Kms, stage.keys.log.unwrap()), (Signer::Ca, log_public("ca"))] {
            assert_eq!(Checkpoint::verify(&note, &organization, signer, &key), Ok(head));
        }
        let root = Hash(head.root.0);
        let hashes = TileHashReader::new(head.size, root, &fetched);
        let leaves = town.leaves().await;
        for (leaf, index) in leaves.iter().zip(0..) {
            let proof = tlog::prove_record(head.size, index, &hashes).unwrap();
            let hash = tlog::record_hash(&entry(leaf.as_bytes()));
            tlog::check_record(&proof, head.size, root, index, hash).unwrap();
        }
        let proof = tlog::prove_tree(head.size, before.size, &hashes).unwrap();
        tlog::check_tree(&proof, head.size, root, before.size, Hash(before.root.0)).unwrap();
        let entries: Vec<Vec<u8>> = leaves.iter().map(|leaf| entry(leaf.as_bytes()).to_vec()).collect();
        assert!(fetched.entries() == entries);
        let long: &Leaf = &leaves[usize::try_from(long.index).unwrap()];
        assert!(long.as_bytes().len() > ENTRY_LIMIT);

        let folder = tempfile::tempdir().unwrap();
        fetched.write(folder.path());
        let base64 = |bytes: [u8; 32]| BASE64_STANDARD.encode(bytes);
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/foreign-readers/tiles.mjs");
        let audit = |root: Digest| {
            Command::new("node")
                .arg(&script)
                .arg(folder.path())
                .arg(format!("warifu/{organization}"))
                .args([base64(stage.keys.log.unwrap().0), base64(log_public("ca").0)])
                .args([before.size.to_string(), base64(root.0)])
                .output()
                .unwrap()
        };
        let found = audit(before.root);
        let told = String::from_utf8_lossy(&found.stderr).into_owned();
        assert!(found.status.success(), "{told}");
        assert_eq!(found.stdout, format!("{} entries, cosigned\n", head.size).as_bytes());
        // It would have seen what it looks for.
        assert_eq!(audit(Digest::of(b"another")).stderr, b"the log was rewritten\n");
        let bundle = folder.path().join("tile/entries/000");
        let mut bytes = std::fs::read(&bundle).unwrap();
        bytes[10] ^= 1;
        std::fs::write(&bundle, bytes).unwrap();
        assert_eq!(audit(before.root).stderr, b"entry 0 is another one\n");
    }

    async fn p_4_23_tiles_are_for_those_who_read_the_ledger(stage) {
        let town = Town::working(&stage).await;
        town.done([site("dmz")], TWO).await;
        town.done([warifu_ledger::statement::Act::SiteRemoved { site: id("dmz") }], TWO).await;
        let size = town.leaves().await.len();
        let partial = [format!("/tile/0/000.p/{size}"), format!("/tile/entries/000.p/{size}")];
        let paths = ["/checkpoint", &partial[0], &partial[1]];
        for reader in [town.ca(), town.site("main"), town.card("hanako")] {
            for path in paths {
                raw(&reader, path).await;
            }
        }
        for stranger in [town.stranger(), town.card("nobody"), town.site("dmz")] {
            for path in paths {
                assert_eq!(refused(&stranger, path).await, ErrorCode::Forbidden, "{path}");
            }
        }
        let beyond = format!("/tile/0/000.p/{}", size + 1);
        let entries_beyond = format!("/tile/entries/000.p/{}", size + 1);
        let largest = "/tile/entries/x018/x446/x744/x073/x709/x551/615";
        for path in [
            &beyond, &entries_beyond, largest, "/tile/0/000", "/tile/entries/000", "/tile/0/000.p/0", "/tile/64/000",
            "/tile/0/0", "/tile/data/000.p/1", "/tile/", "/tile/0/000.p%2F1",
        ] {
            // What is written with an escape is the path that it stands for, and that is one.
            if path.contains('%') {
                raw(&town.ca(), path).await;
            } else {
                assert_eq!(refused(&town.ca(), path).await, ErrorCode::NotFound, "{path}");
            }
        }
    }

    async fn p_4_23_what_is_final_may_be_kept_and_nothing_else(stage) {
        let town = Town::working(&stage).await;
        let size = town.leaves().await.len();
        let head = async |path: &str| {
            let mut stream = town.kms.connection("127.0.0.1", Some(key("ca tls"))).await;
            let request = format!("GET {path} HTTP/1.1\r\nhost: kms\r\nconnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            stream.flush().await.unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await.ok();
            let text = String::from_utf8_lossy(&answer).to_lowercase();
            text.split("\r\n\r\n").next().unwrap().to_owned()
        };
        let partial = head(&format!("/tile/0/000.p/{size}")).await;
        assert!(partial.contains("cache-control: no-cache"), "{partial}");
        assert!(partial.contains("content-type: application/octet-stream"), "{partial}");
        let note = head("/checkpoint").await;
        assert!(note.contains("cache-control: no-cache") && note.contains("content-type: text/plain"), "{note}");
        while town.leaves().await.len() < 256 {
            town.done(suspended_and_resumed(1), &["sakura", "kenji"]).await;
        }
        for path in ["/tile/0/000", "/tile/entries/000"] {
            let full = head(path).await;
            assert!(full.contains("cache-control: private, max-age=31536000, immutable"), "{full}");
        }
    }
}
