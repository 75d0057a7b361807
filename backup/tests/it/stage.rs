//! A backup of the town's ca, the cards of its three custodians, and a new machine that asks for it.

use std::convert::Infallible;

use rand_core::{TryCryptoRng, TryRng};
use warifu_backup::HalfBytes;
use warifu_backup::file::{BackupError, Manifest, Subject, Writer, begin};
use warifu_backup::pieces::{BackupKey, SealedPiece};
use warifu_backup::restore::{Request, RestoredPiece, RestoredPieces, join};
use warifu_ledger::dsse::Envelope;
use warifu_ledger::key::Bytes;
use warifu_ledger::statement::{Backup, BackupPiece, HalfHolder, RestoreRequest};
use warifu_ledger::{Digest, Id};
use warifu_split_key::partial::PartialX;
use warifu_split_key::point::Point;
use zeroize::Zeroizing;

use crate::fixture::*;

pub(crate) const CUSTODIANS: [&str; 3] = ["sakura", "hanako", "jiro"];
pub(crate) const DATABASE: &[u8] = b"what SQLite wrote";

/// The same bytes in every run: SHA-256 over a label and a count.
pub(crate) struct Numbered(pub(crate) &'static str, pub(crate) u64);

impl TryRng for Numbered {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for chunk in bytes.chunks_mut(32) {
            let digest = Digest::of(format!("{} {}", self.0, self.1).as_bytes());
            self.1 += 1;
            chunk.copy_from_slice(&digest.as_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

impl TryCryptoRng for Numbered {}

/// What the holder of a private key answers for a point.
pub(crate) fn agree(label: &str, point: &Point) -> PartialX {
    let secret = p256::SecretKey::from_slice(Digest::of(label.as_bytes()).as_bytes()).unwrap();
    let public = p256::PublicKey::from_sec1_bytes(&point.to_uncompressed()).unwrap();
    let shared = p256::ecdh::diffie_hellman(secret.to_nonzero_scalar(), public.as_affine());
    PartialX::from_bytes(shared.raw_secret_bytes().as_slice().try_into().unwrap())
}

pub(crate) fn subject() -> Subject {
    let custodian = |label: &&str| (card_id(label), card(label).transport.0);
    Subject {
        organization: Digest::of(b"the organization"),
        service: HalfHolder::Ca,
        at: T0,
        size: 9,
        root: Digest::of(b"the root"),
        threshold: 2,
        missing: std::collections::BTreeSet::new(),
        custodians: CUSTODIANS.iter().map(custodian).collect(),
    }
}

/// The backup's manifest as the ca signed it, and its key.
pub(crate) fn made() -> (Manifest, BackupKey) {
    let (backup, key) = begin(&subject(), &mut Numbered("backup", 0)).unwrap();
    (signed(&backup), key)
}

pub(crate) fn signed(backup: &Backup) -> Manifest {
    envelope_by_services(backup, &["ca"]).try_into().unwrap()
}

pub(crate) fn halves() -> Vec<(Id, HalfBytes)> {
    ["tax", "team"].map(|unit| (id(unit), Zeroizing::new(Digest::of(unit.as_bytes()).0))).into()
}

pub(crate) fn written(manifest: &Manifest, key: &BackupKey) -> (Vec<u8>, Digest) {
    let mut file = Vec::new();
    let mut writer = Writer::new(&mut file, manifest.envelope(), key, 2).unwrap();
    for (unit, half) in halves() {
        writer.half(&unit, &half).unwrap();
    }
    let digest = writer.database(DATABASE, |_| {}).unwrap();
    (file, digest)
}

pub(crate) fn request_envelope(manifest: &Manifest) -> Envelope {
    let request = RestoreRequest {
        backup: manifest.fingerprint(),
        keys: service_keys("new ca"),
        transport: public_of("new ca transport"),
    };
    envelope_by_services(&request, &["new ca"])
}

pub(crate) fn request(manifest: &Manifest) -> Request {
    Request::read(&request_envelope(manifest), manifest).unwrap()
}

/// What the desk does with one custodian's card.
pub(crate) fn given(
    manifest: &Manifest,
    request: &Request,
    label: &str,
) -> Result<RestoredPiece, BackupError> {
    let card = card_id(label);
    let (place, piece): (_, &BackupPiece) = manifest.piece(&card).unwrap();
    let sealed = SealedPiece::read(place, &piece.sealed)?;
    let x = agree(&format!("{label} 9D"), &sealed.encapsulated());
    let opened = sealed.open_with_card(&x, piece)?;
    let transport = request.request().transport.0;
    let sealed =
        opened.for_service(&place, &request.fingerprint(), transport, &mut Numbered(label_of(label), 0))?;
    Ok(RestoredPiece { card, sealed })
}

fn label_of(label: &str) -> &'static str {
    CUSTODIANS.iter().find(|known| **known == label).unwrap()
}

pub(crate) fn brought(manifest: &Manifest, request: &Request, labels: &[&str]) -> RestoredPieces {
    let pieces = labels.iter().map(|label| given(manifest, request, label).unwrap()).collect();
    RestoredPieces { request: request.fingerprint(), pieces }
}

/// What the service does with what was brought.
pub(crate) fn joined(
    manifest: &Manifest,
    request: &Request,
    brought: &RestoredPieces,
) -> Result<BackupKey, BackupError> {
    join(manifest, request, brought, |point| Ok(agree("new ca transport", point)))
}

/// With one bit another one.
pub(crate) fn bent(bytes: &Bytes, at: usize) -> Bytes {
    let mut bytes = bytes.clone();
    bytes.0[at] ^= 1;
    bytes
}
