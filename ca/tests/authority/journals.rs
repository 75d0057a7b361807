//! P-13.3: the heads of sites' audit journals are committed by the ca as well, and only what its own fold takes.

use std::path::{Path, PathBuf};

use p256::ecdsa::Signature;
use p256::ecdsa::signature::hazmat::PrehashSigner as _;
use warifu_ca::issue::IssueError;
use warifu_ledger::Digest;
use warifu_ledger::dsse::Envelope;
use warifu_ledger::journal::SignedHead;
use warifu_ledger::key::Base64;
use warifu_ledger::state::Rejected;
use warifu_ledger::statement::{Fact, FactBody};

use crate::fixture::{T0, envelope_by_services, id, key, site};
use crate::kms::Kms;
use crate::stage::{Ca, in_a_process, keys};

in_a_process!(
    p_13_3_a_head_that_its_site_signed_is_signed_by_the_ca,
    p_13_3_nothing_else_is,
    p_15_8_that_there_are_slips_is_signed_and_nothing_else_by_that_way
);

fn head_by(kms: &Kms, signer: &str, size: u64) -> SignedHead {
    let (head, signature) = (Digest::of(b"a row"), Base64([0; 64]));
    let mut head = SignedHead { site: id("main"), journal: id("journal"), size, head, time: T0, signature };
    let digest = head.digest(&kms.organization());
    let signed: Signature = key(&format!("{signer} signing")).sign_prehash(digest.as_bytes()).unwrap();
    head.signature = Base64(signed.to_bytes().into());
    head
}

fn fact(kms: &Kms, fact: FactBody, by: &str) -> Envelope {
    envelope_by_services(&Fact { organization: kms.organization(), fact }, &[by])
}

async fn ready(folder: &Path) -> (Kms, Ca) {
    let kms = Kms::founded(&keys(folder)).await;
    kms.ordered([site("main")]);
    let ca = Ca::ready(folder, &kms).await;
    ca.folded(2).await;
    (kms, ca)
}

async fn p_13_3_a_head_that_its_site_signed_is_signed_by_the_ca(folder: PathBuf) {
    let (kms, ca) = ready(&folder).await;
    ca.issuing.commit_journals(&ca.client).await.unwrap();
    assert!(kms.facts().is_empty(), "nothing was due");
    let heads = vec![head_by(&kms, "main", 3)];
    kms.batches(fact(&kms, FactBody::JournalsBatched { heads }, "kms"));
    ca.issuing.commit_journals(&ca.client).await.unwrap();
    let committed = kms.facts().pop().unwrap();
    committed.verify(&kms.state().ca().signing).unwrap();
    assert_eq!(kms.state().journals(&id("main")).unwrap().head.size, 3);
}

async fn p_13_3_nothing_else_is(folder: PathBuf) {
    let (kms, ca) = ready(&folder).await;
    let batched = |heads: Vec<SignedHead>| FactBody::JournalsBatched { heads };
    // Not signed by the site; and not by the kms.
    kms.batches(fact(&kms, batched(vec![head_by(&kms, "branch", 3)]), "kms"));
    let refused = ca.issuing.commit_journals(&ca.client).await.unwrap_err();
    assert!(matches!(refused, IssueError::Rejected(Rejected::JournalNotSigned { .. })), "{refused}");
    kms.batches(fact(&kms, batched(vec![head_by(&kms, "main", 3)]), "main"));
    let refused = ca.issuing.commit_journals(&ca.client).await.unwrap_err();
    assert!(matches!(refused, IssueError::Answer(_)), "{refused}");
    // Another fact by this way.
    let issued = FactBody::GrantIssued {
        grant: id("grant"),
        order: Digest::of(b"order"),
        card_point: crate::fixture::public_of("a"),
        site_point: crate::fixture::public_of("b"),
        sites: crate::fixture::ids(&["main"]),
    };
    kms.batches(fact(&kms, issued, "kms"));
    let refused = ca.issuing.commit_journals(&ca.client).await.unwrap_err();
    assert!(matches!(refused, IssueError::OtherFact), "{refused}");
    assert!(kms.facts().is_empty());
}

async fn p_15_8_that_there_are_slips_is_signed_and_nothing_else_by_that_way(folder: PathBuf) {
    let (kms, ca) = ready(&folder).await;
    let heads = vec![head_by(&kms, "main", 3)];
    kms.batches(fact(&kms, FactBody::JournalsBatched { heads }, "kms"));
    let refused = ca.issuing.commit_slips(&ca.client).await.unwrap_err();
    assert!(matches!(refused, IssueError::OtherFact), "{refused}");
    let none = FactBody::SlipsBatched { slips: [].into() };
    kms.batches(fact(&kms, none, "kms"));
    let refused = ca.issuing.commit_slips(&ca.client).await.unwrap_err();
    assert!(matches!(refused, IssueError::Rejected(Rejected::SlipsCount { count: 0 })), "{refused}");
    let slips = FactBody::SlipsBatched { slips: [Digest::of(b"slips")].into() };
    kms.batches(fact(&kms, slips.clone(), "main"));
    let refused = ca.issuing.commit_slips(&ca.client).await.unwrap_err();
    assert!(matches!(refused, IssueError::Answer(_)), "{refused}");
    assert!(kms.facts().is_empty());
    kms.batches(fact(&kms, slips, "kms"));
    ca.issuing.commit_slips(&ca.client).await.unwrap();
    kms.facts().pop().unwrap().verify(&kms.state().ca().signing).unwrap();
}
