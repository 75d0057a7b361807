//! P-4.2, I5: a checkpoint is cosigned only if history was not rewritten.

use std::path::PathBuf;

use warifu_ca::cosign::{CosignError, Cosigned};
use warifu_ledger::checkpoint::{Checkpoint, Signer};
use warifu_ledger::key::Base64;
use warifu_replica::follow::Halt;

use crate::fixture::{enrol, site};
use crate::kms::Kms;
use crate::stage::{Ca, in_a_process, keys};

in_a_process!(
    what_is_folded_and_grows_is_cosigned,
    a_smaller_checkpoint_is_not_cosigned,
    another_history_halts,
    a_checkpoint_ahead_of_the_fold_is_not_cosigned,
);

async fn what_is_folded_and_grows_is_cosigned(folder: PathBuf) {
    let ca_keys = keys(&folder);
    let kms = Kms::founded(&ca_keys).await;
    kms.ordered([site("main")]);
    let ca = Ca::ready(&folder, &kms).await;
    assert_eq!(ca.cosigner.cosign(&ca.client).await.unwrap(), Cosigned::Up(2));
    kms.ordered([enrol("hanako")]);
    ca.folded(3).await;
    assert_eq!(ca.cosigner.cosign(&ca.client).await.unwrap(), Cosigned::Up(3));
    let note = kms.cosignatures().last().unwrap().clone();
    let key = Base64(ca_keys.log.public());
    let checkpoint = Checkpoint::verify(&note, &kms.organization(), Signer::Ca, &key).unwrap();
    assert_eq!((checkpoint.size, kms.state().check_against(&checkpoint)), (3, Ok(())));
    assert_eq!(ca.vault.cosigned().await.unwrap(), Some(checkpoint));
}

async fn a_smaller_checkpoint_is_not_cosigned(folder: PathBuf) {
    let kms = Kms::founded(&keys(&folder)).await;
    kms.ordered([site("main")]);
    let small = kms.state();
    kms.ordered([enrol("hanako")]);
    let ca = Ca::ready(&folder, &kms).await;
    ca.cosigner.cosign(&ca.client).await.unwrap();
    drop(ca);
    kms.shows_checkpoint_of(small);
    // After a restart as well.
    let ca = Ca::following(&folder, &kms).await;
    let error = ca.cosigner.cosign(&ca.client).await.unwrap_err();
    assert!(matches!(error, CosignError::Shrunk { size: 2, cosigned: 3 }));
    assert_eq!(kms.cosignatures().len(), 1);
}

async fn another_history_halts(folder: PathBuf) {
    let ca_keys = keys(&folder);
    let (kms, other) = (Kms::founded(&ca_keys).await, Kms::founded(&ca_keys).await);
    // The founding's signatures differ, so these are two ledgers from the first leaf on, of one organization.
    assert_eq!(kms.organization(), other.organization());
    kms.ordered([site("main")]);
    other.ordered([site("branch")]);
    let ca = Ca::ready(&folder, &kms).await;
    kms.shows_checkpoint_of(other.state());
    let error = ca.cosigner.cosign(&ca.client).await.unwrap_err();
    assert!(matches!(error, CosignError::Fork { size: 2 }));
    assert_eq!(ca.halted().await, Halt::Fork { size: 2 });
    assert!(ca.follower.fresh().is_none());
    assert!(matches!(ca.cosigner.cosign(&ca.client).await.unwrap_err(), CosignError::Halted));
    assert!(kms.cosignatures().is_empty());
}

async fn a_checkpoint_ahead_of_the_fold_is_not_cosigned(folder: PathBuf) {
    let kms = Kms::founded(&keys(&folder)).await;
    let ca = Ca::ready(&folder, &kms).await;
    kms.in_secret(|town| {
        let order = town.order([site("main")], crate::fixture::TWO);
        town.append(order).unwrap();
    });
    assert_eq!(ca.cosigner.cosign(&ca.client).await.unwrap(), Cosigned::NotFolded);
    assert!(kms.cosignatures().is_empty());
}
