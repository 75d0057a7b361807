//! I8: a kms that lies gets no signature and no secret from the ca.

use std::path::PathBuf;

use warifu_ca::issue::{IssueError, Progress};
use warifu_ledger::Id;
use warifu_ledger::dsse::{Envelope, EnvelopeError};
use warifu_ledger::leaf::Leaf;
use warifu_ledger::state::Rejected;
use warifu_ledger::statement::{Act, Order};
use warifu_replica::follow::Halt;

use crate::fixture::{card_id, enrol, grant, grant_id, id, revoke_grant, site, suspend, unit};
use crate::kms::{Kms, Lie};
use crate::stage::{Ca, in_a_process, keys};

in_a_process!(
    a_unit_with_anything_else_in_it_is_not_signed,
    a_grant_with_anything_else_in_it_is_not_signed,
    what_nobody_ordered_is_not_even_asked_for,
    a_kms_that_makes_orders_of_its_own_gets_nothing,
    a_kms_that_alters_a_cards_transport_key_gets_nothing,
    a_kms_that_replays_an_order_gets_nothing,
    a_kms_that_hides_the_ledger_gets_nothing,
    a_grant_that_is_over_gets_nothing,
    a_suspended_card_gets_nothing,
);

/// Two sites, the unit `tax` without a key, and hanako's card.
async fn town(folder: &std::path::Path) -> Kms {
    let kms = Kms::founded(&keys(folder)).await;
    kms.ordered([site("main"), site("branch"), site("annex")]);
    kms.ordered([unit("tax"), enrol("hanako")]);
    kms
}

/// The same, with the key of `tax`, and a grant that waits for the ca.
async fn with_grant(folder: &std::path::Path) -> (Kms, Ca, Id) {
    let kms = town(folder).await;
    let ca = Ca::ready(folder, &kms).await;
    ca.issuing.create_unit(&ca.client, id("tax")).await.unwrap();
    kms.ordered([grant("hanako", "tax")]);
    ca.folded(kms.state().tree().size()).await;
    (kms, ca, grant_id("hanako", "tax"))
}

async fn a_unit_with_anything_else_in_it_is_not_signed(folder: PathBuf) {
    let kms = town(&folder).await;
    let ca = Ca::ready(&folder, &kms).await;
    let attempt = async |lie| {
        kms.lies(lie);
        let error = ca.issuing.create_unit(&ca.client, id("tax")).await.unwrap_err();
        assert!(kms.facts().is_empty(), "{lie:?}: the ca signed");
        error
    };
    assert!(matches!(attempt(Lie::OtherIssuerHalf).await, IssueError::NotOurPoint));
    assert!(matches!(attempt(Lie::OtherSubject).await, IssueError::OtherFact));
    assert!(matches!(
        attempt(Lie::UnprovedKeeperHalf).await,
        IssueError::Rejected(Rejected::HalfNotProved { .. })
    ));
    // A half that cancels ours cannot be proved; even if it could, the sum is refused.
    assert!(matches!(attempt(Lie::CancellingHalf).await, IssueError::Rejected(_)));
    assert!(matches!(attempt(Lie::OtherOrder).await, IssueError::Rejected(Rejected::OtherOrder { .. })));
    assert!(matches!(
        attempt(Lie::OtherOrganization).await,
        IssueError::Rejected(Rejected::OtherOrganization { .. })
    ));
    assert!(matches!(attempt(Lie::Unsigned).await, IssueError::Answer(EnvelopeError::NotSigned { .. })));
    // None of this cost anything: the honest answer is signed, with the half of the first try (P-6.1).
    kms.lies(Lie::None);
    ca.issuing.create_unit(&ca.client, id("tax")).await.unwrap();
    assert_eq!(kms.facts().len(), 1);
    let halves = kms.halves();
    assert!(halves.len() > 7 && halves.iter().all(|half| *half == halves[0]));
    assert!(kms.state().unit(&id("tax")).unwrap().key.is_some());
}

async fn a_grant_with_anything_else_in_it_is_not_signed(folder: PathBuf) {
    let (kms, ca, grant) = with_grant(&folder).await;
    let facts = kms.facts().len();
    let attempt = async |lie| {
        kms.lies(lie);
        let error = ca.issuing.issue_grant(&ca.client, grant).await.unwrap_err();
        assert_eq!(kms.facts().len(), facts, "{lie:?}: the ca signed");
        error
    };
    assert!(matches!(attempt(Lie::OtherCardPoint).await, IssueError::NotOurPoint));
    assert!(matches!(attempt(Lie::OtherSubject).await, IssueError::OtherFact));
    assert!(matches!(
        attempt(Lie::OtherSitePoint).await,
        IssueError::Rejected(Rejected::SharesDoNotAdd { .. })
    ));
    for lie in [Lie::SitePointIsUnitKey, Lie::SitePointIsMinusUnitKey] {
        assert!(matches!(attempt(lie).await, IssueError::Rejected(Rejected::DegenerateShare { .. })));
    }
    assert!(matches!(attempt(Lie::OtherOrder).await, IssueError::Rejected(Rejected::OtherOrder { .. })));
    assert!(matches!(attempt(Lie::OtherSite).await, IssueError::Rejected(Rejected::OtherSites { .. })));
    assert!(matches!(
        attempt(Lie::OtherOrganization).await,
        IssueError::Rejected(Rejected::OtherOrganization { .. })
    ));
    assert!(matches!(attempt(Lie::Unsigned).await, IssueError::Answer(EnvelopeError::NotSigned { .. })));
    kms.lies(Lie::None);
    ca.issuing.issue_grant(&ca.client, grant).await.unwrap();
    let shares = kms.shares();
    assert!(shares.iter().all(|(_, point, _)| *point == shares[0].1), "P-6.1: another share");
    assert!(kms.state().grant(&grant).unwrap().issued.is_some());
}

async fn what_nobody_ordered_is_not_even_asked_for(folder: PathBuf) {
    let (kms, ca, _) = with_grant(&folder).await;
    let asked = kms.asked().len();
    let unknown = Id([3; 16]);
    let error = ca.issuing.issue_grant(&ca.client, unknown).await.unwrap_err();
    assert!(matches!(error, IssueError::NotOrdered { id } if id == unknown));
    let error = ca.issuing.create_unit(&ca.client, unknown).await.unwrap_err();
    assert!(matches!(error, IssueError::NotOrdered { id } if id == unknown));
    // The kms has the order, and says that it waits; the ca has not folded it.
    kms.in_secret(|town| {
        let order = town.order([unit("welfare")], crate::fixture::TWO);
        town.append(order).unwrap();
    });
    let error = ca.issuing.create_unit(&ca.client, id("welfare")).await.unwrap_err();
    assert!(matches!(error, IssueError::NotOrdered { .. }));
    assert_eq!(kms.asked().len(), asked, "the kms was asked for something that is not in the ca's fold");
    assert!(ca.vault.shares().await.unwrap().is_empty(), "a share was drawn");
}

async fn a_kms_that_makes_orders_of_its_own_gets_nothing(folder: PathBuf) {
    let (kms, ca, grant) = with_grant(&folder).await;
    let mut leaves = kms.in_secret(|town| town.leaves.clone());
    // Signed by nobody, by one where two are needed: whatever the kms can make without people.
    let puppet = kms.in_secret(|town| town.order([enrol("puppet")], &[]));
    leaves.push(Leaf::new(kms.at() + 1, puppet).unwrap());
    let index = leaves.len() as u64 - 1;
    kms.shows(&leaves);
    assert_eq!(ca.halted().await, Halt::Refused { index, why: Rejected::Unsigned });
    let asked = kms.asked().len();
    // Not even what people did order.
    let error = ca.issuing.issue_grant(&ca.client, grant).await.unwrap_err();
    assert!(matches!(error, IssueError::NoLease));
    assert_eq!(kms.asked().len(), asked);
    assert!(kms.shares().is_empty());
}

/// The share would be sealed to a key of the kms's own.
async fn a_kms_that_alters_a_cards_transport_key_gets_nothing(folder: PathBuf) {
    let kms = town(&folder).await;
    let leaves = kms.in_secret(|town| town.leaves.clone());
    let own = crate::fixture::public_of("kms's own transport key");
    let enrols = |order: Order| order.acts.iter().any(|act| matches!(act, Act::CardEnrolled(_)));
    let found = leaves.iter().position(|leaf| leaf.envelope().statement().is_ok_and(enrols));
    let index = found.unwrap();
    let mut order: Order = leaves[index].envelope().statement().unwrap();
    for act in &mut order.acts {
        if let Act::CardEnrolled(card) = act {
            card.transport = own;
        }
    }
    // The people's signatures are over something else.
    let mut altered = Envelope::unsigned(&order).unwrap();
    altered.signatures.clone_from(&leaves[index].envelope().signatures);
    let mut shown = leaves[..index].to_vec();
    shown.push(Leaf::new(leaves[index].at(), altered).unwrap());
    kms.shows(&shown);
    let ca = Ca::following(&folder, &kms).await;
    let halt = ca.halted().await;
    let index = index as u64;
    assert!(matches!(halt, Halt::Refused { index: at, .. } if at == index), "{halt:?}");
    let error = ca.issuing.issue_grant(&ca.client, grant_id("hanako", "tax")).await.unwrap_err();
    assert!(matches!(error, IssueError::NoLease));
    assert!(kms.shares().is_empty() && kms.asked().is_empty());
}

async fn a_kms_that_replays_an_order_gets_nothing(folder: PathBuf) {
    let (kms, ca, grant) = with_grant(&folder).await;
    kms.ordered([revoke_grant("hanako", "tax")]);
    ca.folded(kms.state().tree().size()).await;
    // What people signed when hanako was to have it, once more.
    let mut leaves = kms.in_secret(|town| town.leaves.clone());
    let granting = leaves[leaves.len() - 2].envelope().clone();
    leaves.push(Leaf::new(kms.at() + 1, granting).unwrap());
    kms.shows(&leaves);
    let halt = ca.halted().await;
    assert!(matches!(halt, Halt::Refused { why: Rejected::Replayed { .. }, .. }), "{halt:?}");
    let error = ca.issuing.issue_grant(&ca.client, grant).await.unwrap_err();
    assert!(matches!(error, IssueError::NoLease));
    assert!(kms.shares().is_empty());
}

async fn a_kms_that_hides_the_ledger_gets_nothing(folder: PathBuf) {
    let kms = town(&folder).await;
    let ca_keys = keys(&folder);
    let before = kms.in_secret(|town| town.leaves.clone());
    // The revocation is stamped, and not shown: the shortened ledger is all the ca has.
    kms.in_secret(|town| {
        let order = town.order([suspend("hanako")], crate::fixture::TWO);
        town.append(order).unwrap();
    });
    kms.shows(&before);
    let ca = Ca::following(&folder, &kms).await;
    let mut status = ca.follower.status();
    status.wait_for(|status| status.stamps > 0).await.unwrap();
    ca.folded(before.len() as u64).await;
    let error = ca.issuing.create_unit(&ca.client, id("tax")).await.unwrap_err();
    assert!(matches!(error, IssueError::NoLease));
    assert!(kms.asked().is_empty());

    // Another history in its place is a fork.
    let other = Kms::founded(&ca_keys).await;
    other.ordered([site("main"), site("branch"), site("annex")]);
    other.ordered([unit("tax"), enrol("shiro")]);
    kms.shows(&[before, other.in_secret(|town| town.leaves[2..].to_vec())].concat());
    let halt = ca.halted().await;
    assert!(matches!(halt, Halt::Refused { .. } | Halt::Fork { .. }));
    assert!(kms.asked().is_empty());
}

async fn a_grant_that_is_over_gets_nothing(folder: PathBuf) {
    let (kms, ca, grant) = with_grant(&folder).await;
    // The share is drawn, and the kms keeps its part back.
    kms.lies(Lie::RefuseFacts);
    ca.issuing.issue_grant(&ca.client, grant).await.unwrap_err();
    assert_eq!(ca.vault.shares().await.unwrap(), [grant]);
    kms.lies(Lie::None);
    kms.ordered([revoke_grant("hanako", "tax")]);
    ca.folded(kms.state().tree().size()).await;
    let asked = kms.asked().len();
    assert_eq!(ca.issuing.issue_grant(&ca.client, grant).await.unwrap(), Progress::Done);
    assert_eq!(kms.asked().len(), asked);
    assert!(ca.vault.shares().await.unwrap().is_empty(), "the share of a dead grant is still here");
}

async fn a_suspended_card_gets_nothing(folder: PathBuf) {
    let (kms, ca, grant) = with_grant(&folder).await;
    kms.ordered([suspend("hanako")]);
    ca.folded(kms.state().tree().size()).await;
    assert!(kms.state().card(&card_id("hanako")).is_some());
    let asked = kms.asked().len();
    assert_eq!(ca.issuing.issue_grant(&ca.client, grant).await.unwrap(), Progress::Waiting);
    assert_eq!(kms.asked().len(), asked);
    assert!(ca.vault.shares().await.unwrap().is_empty());
}
