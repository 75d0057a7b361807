//! The ca's console: what it shows, and what it signs once.

use std::path::{Path, PathBuf};

use warifu_ca::founding::{FoundingError, Proposal, service_statement};
use warifu_ca::vault::pinned;
use warifu_console::ConsoleError;
use warifu_console::file::write_json;
use warifu_ledger::Digest;
use warifu_ledger::dsse::{Envelope, EnvelopeError};
use warifu_ledger::key::PublicKey;
use warifu_ledger::leaf::Leaf;
use warifu_ledger::state::{Rejected, State};
use warifu_ledger::statement::{Founding, ServiceKind, ServiceStatement};

use crate::fixture::{T0, add_signature, envelope_by_cards, founding, key};
use crate::stage::{database, in_a_process, keys};

in_a_process!(
    the_statement_says_whose_keys_these_are,
    a_founding_is_refused_unless_it_is_whole_and_meant,
    a_founding_is_signed_in_place_and_pinned_for_ever,
);

const OFFICERS: &[&str] = &["sakura", "kenji", "midori"];

fn write(folder: &Path, envelope: &Envelope) -> PathBuf {
    let path = folder.join("founding.json");
    write_json(&path, envelope).unwrap();
    path
}

fn read(path: &Path) -> Envelope {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

async fn the_statement_says_whose_keys_these_are(folder: PathBuf) {
    let keys = keys(&folder);
    let statement = service_statement(&keys).unwrap();
    let own = PublicKey(keys.own.signing.public_key());
    let said: ServiceStatement = statement.verified(&own).unwrap();
    assert_eq!((said.service, said.address), (ServiceKind::Ca, None));
    assert_eq!(said.keys, keys.service_keys());
    // ECDSA signatures differ, the fingerprint does not.
    assert_eq!(service_statement(&crate::stage::keys(&folder)).unwrap().digest(), statement.digest());
}

async fn a_founding_is_refused_unless_it_is_whole_and_meant(folder: PathBuf) {
    let (keys, pool) = (keys(&folder), database(&folder).await);
    let ours = Founding { ca: keys.service_keys(), ..founding() };

    let path = write(&folder, &envelope_by_cards(&founding(), OFFICERS));
    assert!(matches!(Proposal::read(&path, &keys).err().unwrap(), FoundingError::OtherCa));
    let path = write(&folder, &envelope_by_cards(&ours, &["sakura", "kenji"]));
    assert!(matches!(
        Proposal::read(&path, &keys).err().unwrap(),
        FoundingError::Console(ConsoleError::NotAFounding { source: EnvelopeError::NotSigned { .. }, .. })
    ));
    std::fs::write(&path, "{}").unwrap();
    assert!(matches!(
        Proposal::read(&path, &keys).err().unwrap(),
        FoundingError::Console(ConsoleError::Json { .. })
    ));

    let mut lonely = ours.clone();
    lonely.officers.truncate(1);
    let path = write(&folder, &envelope_by_cards(&lonely, &["sakura"]));
    let proposal = Proposal::read(&path, &keys).unwrap();
    let fingerprint = proposal.fingerprint();
    let error = proposal.confirm(Some(fingerprint)).unwrap().accept(&keys, &pool).await.unwrap_err();
    assert!(matches!(error, FoundingError::Rejected(Rejected::NotFounding { .. })));

    let path = write(&folder, &envelope_by_cards(&ours, OFFICERS));
    let proposal = Proposal::read(&path, &keys).unwrap();
    let error = proposal.confirm(Some(Digest::of(b"something else"))).err().unwrap();
    assert!(matches!(error, FoundingError::Console(ConsoleError::OtherFingerprint { .. })));
    assert_eq!(read(&path).signatures.len(), OFFICERS.len(), "signed without confirmation");
    assert_eq!(pinned(&pool).await.unwrap(), None);
}

async fn a_founding_is_signed_in_place_and_pinned_for_ever(folder: PathBuf) {
    let (keys, pool) = (keys(&folder), database(&folder).await);
    let ours = Founding { ca: keys.service_keys(), ..founding() };
    let path = write(&folder, &envelope_by_cards(&ours, OFFICERS));
    // Once before the kms, once after; a repetition adds nothing.
    for _ in 0..2 {
        let proposal = Proposal::read(&path, &keys).unwrap();
        let fingerprint = proposal.fingerprint();
        proposal.confirm(Some(fingerprint)).unwrap().accept(&keys, &pool).await.unwrap();
    }
    let mut signed = read(&path);
    assert_eq!(signed.signatures.len(), OFFICERS.len() + 1);
    add_signature(&mut signed, &key("kms signing"));
    write_json(&path, &signed).unwrap();
    let state = State::found(&Leaf::new(T0, signed).unwrap()).unwrap();
    let proposal = Proposal::read(&path, &keys).unwrap();
    let fingerprint = proposal.fingerprint();
    proposal.confirm(Some(fingerprint)).unwrap().accept(&keys, &pool).await.unwrap();
    assert_eq!(read(&path).signatures.len(), OFFICERS.len() + 2);
    assert_eq!(pinned(&database(&folder).await).await.unwrap().unwrap().organization, state.organization());

    let other = Founding { zone: "Asia/Seoul".to_owned(), ..ours };
    let path = write(&folder, &envelope_by_cards(&other, OFFICERS));
    let proposal = Proposal::read(&path, &keys).unwrap();
    let fingerprint = proposal.fingerprint();
    let error = proposal.confirm(Some(fingerprint)).unwrap().accept(&keys, &pool).await.unwrap_err();
    assert!(matches!(error, FoundingError::FoundedAlready { pinned } if pinned == state.organization()));
    assert_eq!(read(&path).signatures.len(), OFFICERS.len(), "a second organization was signed");
}
